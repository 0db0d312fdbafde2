/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Micro workloads. Prints one line a workload: NAME MIN MEDIAN, nanoseconds an operation over batches.
 *   micro serve                                   the other end: prints its TCP and its UDP port, serves until stdin ends
 *   micro SECONDS_PER_WORKLOAD TCP UDP [NAME...]  the workloads, against that other end
 * Two processes, so that an enrolled client talks to somebody who is not, as agents do.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char path_true[] = "/bin/true";
static int tcp_client = -1, bulk_client = -1, udp_socket, pipes[2];
static struct sockaddr_in tcp_address, udp_address;
static char block[65536];

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static void need(int ok, const char *what)
{
	if (ok)
		return;
	perror(what);
	exit(1);
}

static void run_getppid(void)
{
	syscall(SYS_getppid);
}

static void run_open(void)
{
	int fd = open("/etc/passwd", O_RDONLY);

	need(fd >= 0 && read(fd, block, 256) > 0, "open");
	close(fd);
}

static void run_pipe(void)
{
	need(write(pipes[1], block, 64) == 64 && read(pipes[0], block, 64) == 64, "pipe");
}

static void run_fork(void)
{
	pid_t pid = fork();

	if (!pid)
		_exit(0);
	need(pid > 0 && waitpid(pid, NULL, 0) == pid, "fork");
}

static void run_exec(void)
{
	char *argv[] = { path_true, NULL }, *env[] = { NULL };
	pid_t pid;

	need(!posix_spawn(&pid, path_true, NULL, NULL, argv, env) && waitpid(pid, NULL, 0) == pid, "exec");
}

static int dial(void)
{
	int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	need(!connect(fd, (struct sockaddr *)&tcp_address, sizeof(tcp_address)), "connect");
	return fd;
}

static void run_connect(void)
{
	struct linger hard = { 1, 0 };
	int fd = dial();

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	close(fd);
}

static void run_tcp_round_trip(void)
{
	if (tcp_client < 0) {
		tcp_client = dial();
		need(write(tcp_client, "e", 1) == 1, "mode");
	}
	need(write(tcp_client, block, 64) == 64 && read(tcp_client, block, 64) > 0, "round trip");
}

static void run_tcp_bulk(void)
{
	size_t left = sizeof(block);
	ssize_t done;

	if (bulk_client < 0) {
		bulk_client = dial();
		need(write(bulk_client, "s", 1) == 1, "mode");
	}
	for (; left; left -= done)
		need((done = write(bulk_client, block, left)) > 0, "bulk");
}

static void run_udp_send(void)
{
	need(sendto(udp_socket, block, 64, 0, (struct sockaddr *)&udp_address, sizeof(udp_address)) == 64, "udp");
}

/* One forked server a connection: 'e' echoes, 's' swallows. */
static void answer(int fd)
{
	char buffer[65536], mode;
	int one = 1;
	ssize_t n;

	if (read(fd, &mode, 1) == 1 && !fork()) {
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		while ((n = read(fd, buffer, sizeof(buffer))) > 0)
			if (mode == 'e' && write(fd, buffer, n) != n)
				break;
		_exit(0);
	}
	close(fd);
}

static int listening(int type, struct sockaddr_in *address)
{
	socklen_t length = sizeof(*address);
	int fd = socket(AF_INET, type, 0);

	need(!bind(fd, (struct sockaddr *)address, length), "bind");
	need(type == SOCK_DGRAM || !listen(fd, 512), "listen");
	getsockname(fd, (struct sockaddr *)address, &length);
	return fd;
}

static int serve(void)
{
	struct pollfd ready[2] = { { .fd = 0, .events = POLLIN }, { .events = POLLIN } };

	signal(SIGCHLD, SIG_IGN);
	ready[1].fd = listening(SOCK_STREAM, &tcp_address);
	listening(SOCK_DGRAM, &udp_address);
	printf("%d %d\n", ntohs(tcp_address.sin_port), ntohs(udp_address.sin_port));
	fflush(stdout);
	while (poll(ready, 2, -1) > 0 && !ready[0].revents)
		if (ready[1].revents) {
			int fd = accept(ready[1].fd, NULL, NULL);

			if (fd >= 0)
				answer(fd);
		}
	return 0;
}

static const struct workload {
	const char *name;
	void (*run)(void);
	int batch;
} workloads[] = {
	{ "getppid", run_getppid, 20000 },
	{ "open_read_close", run_open, 2000 },
	{ "pipe", run_pipe, 4000 },
	{ "fork", run_fork, 20 },
	{ "exec", run_exec, 10 },
	{ "connect_close", run_connect, 50 },
	{ "tcp_round_trip", run_tcp_round_trip, 300 },
	{ "tcp_bulk", run_tcp_bulk, 100 },
	{ "udp_send", run_udp_send, 1000 },
};

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/*
 * Both ends on the last processor. Where the scheduler places two processes that wake each other differs by tens of microseconds an
 * operation, and from one start to the next: that is not what is measured. Only who sends in bulk is on another one, the first: on
 * the same, it measures how the two take turns.
 */
static void pin(bool away)
{
	static cpu_set_t allowed;
	cpu_set_t one;
	int cpu = away ? 0 : CPU_SETSIZE - 1;

	if (!CPU_COUNT(&allowed))
		need(!sched_getaffinity(0, sizeof(allowed), &allowed), "sched_getaffinity");
	while (!CPU_ISSET(cpu, &allowed))
		cpu += away ? 1 : -1;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	need(!sched_setaffinity(0, sizeof(one), &one), "sched_setaffinity");
}

static void measure(const struct workload *work, double seconds)
{
	static double batches[100000];
	uint64_t end = now() + (uint64_t)(seconds * 1e9);
	size_t count = 0;

	pin(work->run == run_tcp_bulk);
	for (int i = 0; i < work->batch / 10 + 1; i++)
		work->run();
	while (count < 100000 && (now() < end || count < 5)) {
		uint64_t start = now();

		for (int i = 0; i < work->batch; i++)
			work->run();
		batches[count++] = (double)(now() - start) / work->batch;
	}
	qsort(batches, count, sizeof(*batches), by_value);
	printf("%s %.1f %.1f\n", work->name, batches[0], batches[count / 2]);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	pin(false);
	tcp_address.sin_family = udp_address.sin_family = AF_INET;
	tcp_address.sin_addr.s_addr = udp_address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	signal(SIGPIPE, SIG_IGN);
	if (argc == 2 && !strcmp(argv[1], "serve"))
		return serve();
	if (argc < 4) {
		fprintf(stderr, "usage: micro serve | micro SECONDS TCP_PORT UDP_PORT [NAME...]\n");
		return 2;
	}
	tcp_address.sin_port = htons(atoi(argv[2]));
	udp_address.sin_port = htons(atoi(argv[3]));
	need(!pipe(pipes), "pipe");
	udp_socket = socket(AF_INET, SOCK_DGRAM, 0);
	for (size_t i = 0; i < sizeof(workloads) / sizeof(*workloads); i++) {
		int wanted = argc == 4;

		for (int j = 4; j < argc; j++)
			wanted |= !strcmp(argv[j], workloads[i].name);
		if (wanted)
			measure(&workloads[i], atof(argv[1]));
	}
	return 0;
}
