/*
 * burst WIDTH: so many processes that wait for one another and then fork at once, again and again, as do their children: every
 * second child, the others only wait. Nobody ends by itself but by the watchdog. Prints a line when all are ready, and starts at
 * end of input.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

int main(int count, char **words)
{
	int width = count > 1 ? atoi(words[1]) : 1, gate[2], ready[2];
	char byte;

	/* orphans come to this process, which ignores them: they leave no zombies */
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	signal(SIGCHLD, SIG_IGN);
	alarm(20);
	if (pipe(gate) || pipe(ready))
		return 1;
	for (int i = 0; i < width; i++) {
		if (fork())
			continue;
		alarm(20);
		close(gate[1]);
		if (write(ready[1], "", 1) != 1 || read(gate[0], &byte, 1) < 0)
			_exit(1);
		for (;;) {
			pid_t pid = fork();

			if (!pid)
				alarm(20);
			if (pid < 0 || (!pid && getpid() % 2))
				pause();
		}
	}
	for (int i = 0; i < width; i++)
		if (read(ready[0], &byte, 1) != 1)
			return 1;
	puts("ready");
	fflush(stdout);
	while (read(0, &byte, 1) > 0)
		;
	close(gate[1]);
	pause();
	return 0;
}
