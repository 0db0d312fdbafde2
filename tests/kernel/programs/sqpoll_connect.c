// SPDX-License-Identifier: Apache-2.0
/*
 * Connects to 127.0.0.1:PORT from an io_uring SQPOLL thread, and, where asked, sends: no connect(2), no socket(2), no system call of
 * the process at all carries the request. Waits for a byte on stdin first. Prints the result of the connect, or of the send.
 *
 *     sqpoll_connect PORT [connect|send]	prints a line, and waits for another byte, before the connect or the send
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/io_uring.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

struct uring {
	int fd;
	_Atomic unsigned *tail, *flags, *complete_head, *complete_tail;
	unsigned mask, complete_mask;
	unsigned *array;
	struct io_uring_sqe *entries;
	struct io_uring_cqe *completions;
};

static void die(const char *what)
{
	fprintf(stderr, "sqpoll_connect: %s: %s\n", what, strerror(errno));
	exit(2);
}

static void uring_open(struct uring *ring)
{
	struct io_uring_params params = { .flags = IORING_SETUP_SQPOLL, .sq_thread_idle = 2000 };
	char *queue;

	ring->fd = syscall(SYS_io_uring_setup, 4, &params);
	if (ring->fd < 0)
		die("io_uring_setup");
	/* IORING_FEAT_SINGLE_MMAP (5.4): both queues in one mapping */
	queue = mmap(NULL, params.cq_off.cqes + params.cq_entries * sizeof(struct io_uring_cqe) + 4096, PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_POPULATE, ring->fd, IORING_OFF_SQ_RING);
	ring->entries = mmap(NULL, params.sq_entries * sizeof(struct io_uring_sqe), PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_POPULATE, ring->fd, IORING_OFF_SQES);
	if (queue == MAP_FAILED || ring->entries == MAP_FAILED)
		die("mmap");
	ring->tail = (void *)(queue + params.sq_off.tail);
	ring->flags = (void *)(queue + params.sq_off.flags);
	ring->mask = *(unsigned *)(queue + params.sq_off.ring_mask);
	ring->array = (void *)(queue + params.sq_off.array);
	ring->complete_head = (void *)(queue + params.cq_off.head);
	ring->complete_tail = (void *)(queue + params.cq_off.tail);
	ring->complete_mask = *(unsigned *)(queue + params.cq_off.ring_mask);
	ring->completions = (void *)(queue + params.cq_off.cqes);
}

/* Put one request where the kernel's thread finds it, and wait for its answer without a system call for the submission. */
static int uring_do(struct uring *ring, const struct io_uring_sqe *request)
{
	unsigned tail = atomic_load(ring->tail);
	unsigned head;
	int result;

	ring->entries[tail & ring->mask] = *request;
	ring->array[tail & ring->mask] = tail & ring->mask;
	atomic_store(ring->tail, tail + 1);
	if (atomic_load(ring->flags) & IORING_SQ_NEED_WAKEUP)
		syscall(SYS_io_uring_enter, ring->fd, 0, 0, IORING_ENTER_SQ_WAKEUP, NULL, 0);
	head = atomic_load(ring->complete_head);
	if (atomic_load(ring->complete_tail) == head)
		syscall(SYS_io_uring_enter, ring->fd, 0, 1, IORING_ENTER_GETEVENTS, NULL, 0);
	result = ring->completions[head & ring->complete_mask].res;
	atomic_store(ring->complete_head, head + 1);
	return result;
}

static void pause_here(void)
{
	char byte;

	puts("ready");
	fflush(stdout);
	if (read(0, &byte, 1) != 1)
		exit(2);
}

int main(int argc, char **argv)
{
	struct sockaddr_in peer = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct io_uring_sqe request = { .opcode = IORING_OP_SOCKET, .fd = AF_INET, .off = SOCK_STREAM };
	struct uring ring;
	const char *late = argc == 3 ? argv[2] : "";
	char data[100] = "";
	char byte;
	int fd;

	if (argc < 2)
		return 2;
	peer.sin_port = htons(atoi(argv[1]));
	if (read(0, &byte, 1) != 1)
		return 2;
	uring_open(&ring);
	fd = uring_do(&ring, &request);
	if (fd < 0) {
		errno = -fd;
		die("IORING_OP_SOCKET");
	}
	if (!strcmp(late, "connect"))
		pause_here();
	request =
		(struct io_uring_sqe){ .opcode = IORING_OP_CONNECT, .fd = fd, .addr = (unsigned long)&peer, .off = sizeof(peer) };
	fd = uring_do(&ring, &request);
	if (strcmp(late, "send")) {
		printf("%d\n", fd);
		return 0;
	}
	if (fd)
		die("IORING_OP_CONNECT");
	pause_here();
	request = (struct io_uring_sqe){
		.opcode = IORING_OP_SEND, .fd = request.fd, .addr = (unsigned long)data, .len = sizeof(data)
	};
	printf("%d\n", uring_do(&ring, &request));
	return 0;
}
