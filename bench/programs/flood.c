/* SPDX-License-Identifier: Apache-2.0 */
/*
 * flood RATE SECONDS FORKS PORT: about RATE records a second for SECONDS, evenly, and prints how many it made.
 *
 * Of them FORKS processes a second, two records each (fork and exit). The rest are made by one datagram socket that takes a new
 * peer on PORT before each datagram: connect, send, payload and packet, one record each. Somebody must be bound to PORT on every
 * address of loopback; he need not read.
 */
#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define TICKS 500 /* a second */

static struct sockaddr_in to = { .sin_family = AF_INET };
static uint32_t turn;
static long made;
static int datagrams;

/* To somewhere in 127.1.0.0/16. */
static void datagram(void)
{
	to.sin_addr.s_addr = htonl(0x7f010000u | (turn++ & 0xffff));
	if (connect(datagrams, (struct sockaddr *)&to, sizeof(to)) ||
	    sendto(datagrams, "x", 1, 0, (struct sockaddr *)&to, sizeof(to)) != 1) {
		perror("datagram");
		exit(1);
	}
	made += 4;
}

static void child(void)
{
	pid_t pid = fork();

	if (!pid)
		_exit(0);
	if (pid < 0 || waitpid(pid, 0, 0) != pid)
		exit(1);
	made += 2;
}

int main(int argc, char **argv)
{
	double rate = atof(argv[1]), seconds = atof(argv[2]), forks = atof(argv[3]), forked = 0;
	struct timespec next;

	if (argc != 5)
		return 2;
	to.sin_port = htons(atoi(argv[4]));
	datagrams = socket(AF_INET, SOCK_DGRAM, 0);
	clock_gettime(CLOCK_MONOTONIC, &next);
	for (long tick = 1; tick <= seconds * TICKS; tick++) {
		for (; forked < tick * forks / TICKS; forked++)
			child();
		while (made < tick * rate / TICKS)
			datagram();
		next.tv_nsec += 1000000000 / TICKS;
		if (next.tv_nsec >= 1000000000) {
			next.tv_nsec -= 1000000000;
			next.tv_sec++;
		}
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, 0);
	}
	printf("%ld\n", made);
	return 0;
}
