/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Make the call that the argument names and print "ok" or errno's name ("euid": print that); several are made one after another.
 *
 * Statically linked it is all that a container needs. "x32" and "i386" make getpid() by another ABI's table.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define X32_BIT 0x40000000

static long inet(void)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof(at);
	int listener = socket(AF_INET, SOCK_STREAM, 0), client = socket(AF_INET, SOCK_STREAM, 0);
	char byte = 0;

	if (listener < 0 || client < 0 || bind(listener, (void *)&at, size) || listen(listener, 1) ||
	    getsockname(listener, (void *)&at, &size) || connect(client, (void *)&at, size))
		return -1;
	int served = accept(listener, NULL, NULL);

	return write(client, "x", 1) == 1 && read(served, &byte, 1) == 1 && byte == 'x' ? 0 : -1;
}

static long traced_child(void)
{
	pid_t child = fork();
	int status;

	if (child == 0) {
		if (ptrace(PTRACE_TRACEME, 0, 0, 0))
			_exit(errno);
		raise(SIGSTOP);
		_exit(0);
	}
	if (waitpid(child, &status, 0) < 0)
		return -1;
	if (WIFEXITED(status)) {
		errno = WEXITSTATUS(status);
		return -1;
	}
	return ptrace(PTRACE_CONT, child, 0, 0) || waitpid(child, &status, 0) < 0 || status ? -1 : 0;
}

static long i386(void)
{
#ifdef __x86_64__
	long result = 20; /* getpid of i386 */

	__asm__ volatile("int $0x80" : "+a"(result) : : "memory");
	return result < 0 ? (errno = -result, -1) : 0;
#else
	errno = ENOSYS;
	return -1;
#endif
}

static long call(const char *name)
{
	union bpf_attr map = {.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 1};
	struct perf_event_attr event = {.size = sizeof(event), .type = PERF_TYPE_SOFTWARE};
	char ring[256] = {0};
	int pair[2];

	if (!strcmp(name, "bpf"))
		return syscall(SYS_bpf, BPF_MAP_CREATE, &map, sizeof(map));
	if (!strcmp(name, "perf_event_open"))
		return syscall(SYS_perf_event_open, &event, 0, -1, -1, 0);
	if (!strcmp(name, "io_uring_setup"))
		return syscall(SYS_io_uring_setup, 1, ring);
	if (!strcmp(name, "io_uring_enter"))
		return syscall(SYS_io_uring_enter, -1, 0, 0, 0, NULL, 0);
	if (!strcmp(name, "io_uring_register"))
		return syscall(SYS_io_uring_register, -1, 0, NULL, 0);
	if (!strcmp(name, "x32"))
		return syscall(X32_BIT | SYS_getpid);
	if (!strcmp(name, "i386"))
		return i386();
	if (!strcmp(name, "mount")) /* whoever may mount gets ENODEV */
		return mount("none", "/proc", "no-such-file-system", 0, NULL);
	if (!strcmp(name, "unshare-net"))
		return unshare(CLONE_NEWNET);
	if (!strcmp(name, "unshare-user"))
		return unshare(CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWNS);
	if (!strcmp(name, "raw"))
		return socket(AF_INET, SOCK_RAW, IPPROTO_ICMP);
	if (!strcmp(name, "ping"))
		return socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP);
	if (!strcmp(name, "keyctl"))
		return syscall(SYS_add_key, "user", "rubicon-test", "x", 1, -2 /* KEY_SPEC_PROCESS_KEYRING */);
	if (!strcmp(name, "trace-child"))
		return traced_child();
	if (!strcmp(name, "trace-parent"))
		return ptrace(PTRACE_SEIZE, getppid(), 0, 0);
	if (!strcmp(name, "inet"))
		return inet();
	if (!strncmp(name, "socket:", 7)) /* all 64 bits: the C library's own would cut them */
		return syscall(SYS_socket, strtoul(name + 7, NULL, 0), SOCK_RAW, 0);
	if (!strncmp(name, "datagram:", 9))
		return syscall(SYS_socket, strtoul(name + 9, NULL, 0), SOCK_DGRAM, 0);
	if (!strncmp(name, "pair:", 5))
		return syscall(SYS_socketpair, strtoul(name + 5, NULL, 0), SOCK_DGRAM, 0, pair);
	errno = EINVAL;
	return -1;
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "euid")) {
			printf("%d\n", geteuid());
			fflush(stdout);
			continue;
		}
		long result = call(argv[i]);

		printf("%s\n", result < 0 ? strerrorname_np(errno) : "ok");
		fflush(stdout);
	}
	return 0;
}
