/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A fork bomb for tests: WIDTH forkers, each forking as fast as it can, children forking on and ending at random, so that
 * the population stays near WIDTH while parentage is lost all the time. The first process is a subreaper and reaps for all,
 * so that pid 1 is not flooded. It ends by itself after SECONDS; the pids controller outside caps it.
 *
 * bomb WIDTH SECONDS
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

/* Hand the work to a child and end: nobody keeps a pid for long. */
static void relay(double end)
{
	while (now() < end) {
		pid_t child = fork();

		if (child > 0)
			_exit(0);
		if (child < 0)
			usleep(200);
	}
	_exit(0);
}

int main(int argc, char **argv)
{
	int width = argc > 1 ? atoi(argv[1]) : 64;
	double end = now() + (argc > 2 ? atof(argv[2]) : 20);

	prctl(PR_SET_CHILD_SUBREAPER, 1);
	printf("up\n");
	fflush(stdout);
	for (int i = 0; i < width; i++) {
		pid_t child = fork();

		if (!child) {
			if (i % 2)
				relay(end);
			/* the other half stays and forks children that end */
			while (now() < end) {
				pid_t leaf = fork();

				if (!leaf)
					_exit(0);
				while (waitpid(-1, 0, leaf > 0 ? WNOHANG : 0) > 0)
					;
			}
			_exit(0);
		}
	}
	for (;;) {
		if (waitpid(-1, 0, 0) < 0 && errno == ECHILD)
			return 0;
	}
}
