/* SPDX-License-Identifier: Apache-2.0 */
/* tree COUNT idle|busy|sockets [PORT]: COUNT processes with this one; prints a line once all of them live. `busy`: all burn, from a line
 * on stdin on. `sockets`: each holds ten connections to PORT; this one beats then, five hundred times a second: a byte on an open
 * connection there, a datagram on an open socket, a new connection. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int ready[2], burn[2];

static int connected(int type, int port)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, type, 0);

	if (connect(fd, (struct sockaddr *)&to, sizeof(to)))
		perror("connect");
	return fd;
}

static void hold(int port)
{
	for (int i = 0; i < 10; i++)
		connected(SOCK_STREAM, port);
}

static void live(const char *how, int port)
{
	char byte;

	if (!strcmp(how, "sockets"))
		hold(port);
	if (write(ready[1], "x", 1) < 0)
		_exit(1);
	close(burn[1]);
	if (!strcmp(how, "busy") && read(burn[0], &byte, 1))
		_exit(1);
	for (;;)
		if (strcmp(how, "busy"))
			pause();
}

static void beat(int port)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int stream = connected(SOCK_STREAM, port), datagrams = connected(SOCK_DGRAM, port);
	struct linger reset = { .l_onoff = 1 }; /* or the ports would run out */

	for (;;) {
		int fresh = socket(AF_INET, SOCK_STREAM, 0);

		setsockopt(fresh, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
		send(stream, "x", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
		send(datagrams, "x", 1, MSG_DONTWAIT);
		connect(fresh, (struct sockaddr *)&to, sizeof(to));
		close(fresh);
		usleep(2000);
	}
}

int main(int argc, char **argv)
{
	int count = atoi(argv[1]);
	char byte;

	if (pipe(ready) || pipe(burn))
		return 1;
	for (int i = 1; i < count; i++)
		if (!fork())
			live(argv[2], argc > 3 ? atoi(argv[3]) : 0);
	for (int i = 1; i < count; i++)
		if (read(ready[0], &byte, 1) != 1)
			return 1;
	printf("ready\n");
	fflush(stdout);
	if (!strcmp(argv[2], "busy") && read(0, &byte, 1) != 1)
		return 1;
	if (!strcmp(argv[2], "sockets")) {
		hold(atoi(argv[3]));
		beat(atoi(argv[3]));
	}
	live(argv[2], argc > 3 ? atoi(argv[3]) : 0);
}
