/*
 * System calls of the 32-bit ABI from a 64-bit process (int 0x80), as a program would make them that wants to pass by hooks on
 * system calls. Prints what the call returned.
 *   foreign connect PORT    socketcall: a TCP socket, connected to 127.0.0.1
 *   foreign fork            a child that executes `true`; its pid
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define FORK_32 2
#define SOCKETCALL_32 102
#define SOCKETCALL_SOCKET 1
#define SOCKETCALL_CONNECT 3

static long call_32(long number, long first, long second)
{
	long result;

	__asm__ volatile("int $0x80"
			 : "=a"(result)
			 : "a"(number), "b"(first), "c"(second), "d"(0)
			 : "memory", "r8", "r9", "r10", "r11");
	return (int)result;
}

int main(int count, char **words)
{
	/* whatever a 32-bit call points at must lie below 4 GB */
	unsigned *low = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	struct sockaddr_in *peer = (void *)(low + 16);
	long result;

	if (low == MAP_FAILED || count < 2)
		return 2;
	if (!strcmp(words[1], "fork")) {
		result = call_32(FORK_32, 0, 0);
		if (!result) {
			execlp("true", "true", (char *)0);
			_exit(127);
		}
		waitpid(result, 0, 0);
	} else if (!strcmp(words[1], "connect") && count > 2) {
		peer->sin_family = AF_INET;
		peer->sin_port = htons(atoi(words[2]));
		peer->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		low[0] = AF_INET;
		low[1] = SOCK_STREAM;
		low[2] = 0;
		result = call_32(SOCKETCALL_32, SOCKETCALL_SOCKET, (long)low);
		if (result >= 0) {
			low[0] = result;
			low[1] = (unsigned)(long)peer;
			low[2] = sizeof(*peer);
			result = call_32(SOCKETCALL_32, SOCKETCALL_CONNECT, (long)low);
		}
	} else {
		return 2;
	}
	printf("%ld\n", result);
	return result < 0;
}
