/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client that looks to the kernel as `ssh -N -R 9000:127.0.0.1:8000 -p PORT 127.0.0.1` does, up to its banner.
 * Its tree is CHILDREN sleeping processes, which start first.
 *   tunnel -N -R FORWARD -p PORT HOST        with CHILDREN in the environment
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	const char *children = getenv("CHILDREN");
	char answer[64];
	int fd;

	for (int i = 1; i + 1 < argc; i++)
		if (!strcmp(argv[i], "-p"))
			to.sin_port = htons(atoi(argv[i + 1]));
	for (int i = 0; i < atoi(children ? children : "0"); i++)
		if (!fork())
			for (;;)
				pause();
	fd = socket(AF_INET, SOCK_STREAM, 0);
	if (connect(fd, (struct sockaddr *)&to, sizeof(to))) {
		perror("connect");
		return 1;
	}
	if (write(fd, "SSH-2.0-OpenSSH_bench\r\n", 23) != 23 || read(fd, answer, sizeof(answer)) <= 0)
		return 1;
	for (;;)
		pause();
}
