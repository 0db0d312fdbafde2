/*
 * Preloaded into a client: its real arguments come from the file that SCRUB names, one a line; those that it was started with,
 * which are all that the kernel and ps ever see, are thrown away.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int (*main_function)(int, char **, char **);
typedef int (*start_function)(main_function, int, char **, void (*)(void), void (*)(void), void (*)(void), void *);

static main_function real_main;

static int scrubbed_main(int argc, char **argv, char **environment)
{
	static char *words[64];
	char line[4096];
	int count = 0;
	FILE *file = fopen(getenv("SCRUB"), "r");

	if (!file)
		return real_main(argc, argv, environment);
	while (count < 63 && fgets(line, sizeof(line), file)) {
		line[strcspn(line, "\n")] = 0;
		words[count++] = strdup(line);
	}
	fclose(file);
	unsetenv("LD_PRELOAD");
	unsetenv("SCRUB");
	return real_main(count, words, environment);
}

int __libc_start_main(main_function main, int argc, char **argv, void (*init)(void), void (*fini)(void), void (*rtld)(void),
		      void *stack_end)
{
	start_function start = (start_function)dlsym(RTLD_NEXT, "__libc_start_main");

	real_main = main;
	return start(scrubbed_main, argc, argv, init, fini, rtld, stack_end);
}
