/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A fork bomb for tests: WIDTH forkers, each forking as fast as it can. In every mode but `leaf` the work is handed from process to
 * process, so that nobody keeps a pid for long and parentage is lost all the time. The first process is a subreaper and
 * reaps for all, so that pid 1 is not flooded. It ends by itself after SECONDS; keeper.c caps it from outside.
 *
 * bomb WIDTH SECONDS [MODE [CGROUP...]]
 *
 * MODE: leaf | relay | session | vfork | thread | namespace | parent | move | into | mixed (any at every step); without one,
 * half are `relay` and half `leaf`. CGROUP: folders of v2 cgroups, for `move` and `into`.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char *const modes[] = { "leaf", "relay", "session", "vfork", "thread", "namespace", "parent", "move", "into" };
enum { LEAF, RELAY, SESSION, VFORK, THREAD, NAMESPACE, PARENT, MOVE, INTO, MIXED };

static double end;
static int mode, places;
static char **folders, **self;

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static unsigned int any(unsigned int below)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return ((unsigned int)t.tv_nsec / 7 + (unsigned int)getpid() * 2654435761u) % below;
}

static pid_t clone3(uint64_t flags, int exit_signal, int cgroup)
{
	struct clone_args arguments = { .flags = flags, .exit_signal = exit_signal, .cgroup = cgroup };

	pid_t child = syscall(SYS_clone3, &arguments, sizeof(arguments));

	if (child < 0 && errno == ENOSYS && !(flags & CLONE_INTO_CGROUP)) /* as under the launch profile */
		child = syscall(SYS_clone, flags | exit_signal, 0, 0, 0, 0);
	return child;
}

/* One step on in a fresh image: the process that executes this goes on with the bomb. */
static void again(void)
{
	execv("/proc/self/exe", self);
	_exit(0);
}

static void *from_thread(void *execute)
{
	if (!execute && fork() > 0) /* in a full group it goes on itself, or the bomb would fade */
		_exit(0);
	again(); /* by a thread that is not the leader, or by its child */
	return 0;
}

static void join_any(void)
{
	char path[4096];
	int fd;

	snprintf(path, sizeof(path), "%s/cgroup.procs", folders[any(places)]);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd >= 0) {
		if (write(fd, "0", 1) < 0)
			usleep(50);
		close(fd);
	}
}

static pid_t born_in_any(void)
{
	int fd = open(folders[any(places)], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	pid_t child = fd < 0 ? -1 : clone3(CLONE_INTO_CGROUP, SIGCHLD, fd);

	close(fd);
	return child;
}

/* A bomb of its own in namespaces of its own, three deep, that comes to its end: with their first process all of it would die. */
static void namespaces(int depth)
{
	pid_t first = clone3(CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC, SIGCHLD, 0);

	if (first) {
		waitpid(first, 0, 0);
		return;
	}
	for (int i = 0; i < 8; i++)
		if (!fork()) {
			setsid();
			if (!fork() && depth < 3 && i == 7)
				namespaces(depth + 1);
			_exit(0);
		}
	while (waitpid(-1, 0, 0) > 0 || errno != ECHILD)
		;
	_exit(0);
}

/* Hand the work on in one way. Returns in whoever goes on. */
static void hop(int way)
{
	pid_t child = -1;
	pthread_t thread;

	switch (way) {
	case SESSION:
		child = fork();
		if (!child) {
			setsid();
			child = fork();
		}
		break;
	case VFORK:
		child = vfork();
		if (!child)
			again();
		break;
	case THREAD:
		if (!pthread_create(&thread, 0, from_thread, any(2) ? (void *)1 : 0)) {
			pthread_join(thread, 0); /* it does not come back */
			_exit(0);
		}
		break;
	case NAMESPACE:
		namespaces(1);
		break;
	case PARENT:
		child = clone3(CLONE_PARENT, 0, 0);
		break;
	case MOVE:
		join_any();
		child = fork();
		break;
	case INTO:
		child = born_in_any();
		break;
	}
	if (child < 0)
		child = fork();
	if (child > 0)
		_exit(0);
	if (child < 0)
		usleep(200);
}

static void leaves(void)
{
	while (now() < end) {
		pid_t leaf = fork();

		if (!leaf)
			_exit(0);
		while (waitpid(-1, 0, leaf > 0 ? WNOHANG : 0) > 0)
			;
	}
}

/* A forker, however full the group is: those before it fork already, and only this process reaps. */
static pid_t forker(void)
{
	pid_t child;

	while ((child = fork()) < 0)
		while (waitpid(-1, 0, WNOHANG) > 0)
			;
	return child;
}

static void work(void)
{
	if (mode == LEAF)
		leaves();
	while (now() < end) {
		int way = mode == MIXED ? RELAY + (int)any(MIXED - RELAY) : mode;

		hop(!places && way >= MOVE ? RELAY : way);
	}
	_exit(0);
}

int main(int argc, char **argv)
{
	int width = argc > 1 ? atoi(argv[1]) : 64, wanted = -1;
	char until[32];

	self = argv;
	if (!width) { /* bomb 0 END MODE: by again() */
		end = atof(argv[2]);
		mode = atoi(argv[3]);
		folders = argv + 4;
		places = argc - 4;
		work();
	}
	end = now() + (argc > 2 ? atof(argv[2]) : 20);
	for (int i = 0; argc > 3 && i < MIXED; i++)
		if (!strcmp(argv[3], modes[i]))
			wanted = i;
	if (argc > 3 && wanted < 0 && strcmp(argv[3], "mixed"))
		return 2;
	folders = argv + 4;
	places = argc > 4 ? argc - 4 : 0;
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	printf("up\n");
	fflush(stdout);
	snprintf(until, sizeof(until), "%f", end);
	for (int i = 0; i < width; i++) {
		char number[8];

		mode = argc > 3 ? (wanted < 0 ? MIXED : wanted) : i % 2 ? RELAY : LEAF;
		if (!forker()) {
			if (argc > 3) {
				snprintf(number, sizeof(number), "%d", mode);
				argv[1] = "0";
				argv[2] = until;
				argv[3] = number;
			}
			work();
		}
	}
	for (;;) {
		if (waitpid(-1, 0, 0) < 0 && errno == ECHILD) {
			if (now() >= end)
				return 0;
			usleep(1000); /* they were killed before this one: its turn comes */
		}
	}
}
