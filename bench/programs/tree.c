/* SPDX-License-Identifier: Apache-2.0 */
/* tree COUNT idle|busy|sockets [PORT]: COUNT processes with this one; prints a line once all of them live. `sockets`: each holds ten connections. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int ready[2];

static void live(const char *how, int port)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

	if (!strcmp(how, "sockets"))
		for (int i = 0; i < 10; i++) {
			int fd = socket(AF_INET, SOCK_STREAM, 0);

			if (connect(fd, (struct sockaddr *)&to, sizeof(to)))
				perror("connect");
		}
	if (write(ready[1], "x", 1) < 0)
		_exit(1);
	for (;;)
		if (strcmp(how, "busy"))
			pause();
}

int main(int argc, char **argv)
{
	int count = atoi(argv[1]);
	char byte;

	if (pipe(ready))
		return 1;
	for (int i = 1; i < count; i++)
		if (!fork())
			live(argv[2], argc > 3 ? atoi(argv[3]) : 0);
	for (int i = 1; i < count; i++)
		if (read(ready[0], &byte, 1) != 1)
			return 1;
	printf("ready\n");
	fflush(stdout);
	live(argv[2], argc > 3 ? atoi(argv[3]) : 0);
}
