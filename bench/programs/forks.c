/* SPDX-License-Identifier: Apache-2.0 */
/* forks COUNT RATE: make COUNT short processes, about RATE a second, one after the other. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define TICKS 100 /* a second */

int main(int count, char **words)
{
	struct timespec next;
	long left, rate;

	if (count != 3) {
		fprintf(stderr, "usage: forks COUNT RATE\n");
		return 2;
	}
	left = atol(words[1]);
	rate = atol(words[2]);
	clock_gettime(CLOCK_MONOTONIC, &next);
	while (left > 0) {
		for (long n = rate / TICKS; n > 0 && left > 0; n--, left--) {
			pid_t child = fork();

			if (!child)
				_exit(0);
			if (child < 0 || waitpid(child, NULL, 0) != child) {
				perror("forks");
				return 1;
			}
		}
		next.tv_nsec += 1000000000 / TICKS;
		if (next.tv_nsec >= 1000000000) {
			next.tv_nsec -= 1000000000;
			next.tv_sec++;
		}
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
	}
	return 0;
}
