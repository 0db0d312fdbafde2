/*
 * Children made in the ways that a shell cannot: each executes `true` and its pid is printed.
 *   clone parent | vfork | into CGROUP | reuse | as PID
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static pid_t clone3(struct clone_args *arguments)
{
	return syscall(SYS_clone3, arguments, sizeof(*arguments));
}

static int child(void)
{
	execlp("true", "true", (char *)0);
	_exit(127);
}

static pid_t checked(pid_t pid)
{
	if (pid < 0) {
		perror("clone");
		exit(1);
	}
	return pid;
}

static pid_t as(pid_t wanted)
{
	struct clone_args arguments = { .exit_signal = SIGCHLD, .set_tid = (uint64_t)(uintptr_t)&wanted, .set_tid_size = 1 };
	pid_t pid = checked(clone3(&arguments));

	if (!pid)
		child();
	waitpid(pid, 0, 0);
	return pid;
}

int main(int count, char **words)
{
	struct clone_args arguments = { .exit_signal = SIGCHLD };
	pid_t pid;

	if (count < 2)
		return 2;
	if (!strcmp(words[1], "parent")) {
		arguments.flags = CLONE_PARENT;
		arguments.exit_signal = 0;
		pid = checked(clone3(&arguments));
		if (!pid) {
			usleep(20000);
			child();
		}
	} else if (!strcmp(words[1], "vfork")) {
		pid = checked(vfork());
		if (!pid)
			child();
		waitpid(pid, 0, 0);
	} else if (!strcmp(words[1], "into") && count > 2) {
		arguments.flags = CLONE_INTO_CGROUP;
		arguments.cgroup = open(words[2], O_PATH | O_DIRECTORY | O_CLOEXEC);
		pid = checked(clone3(&arguments));
		if (!pid)
			child();
		waitpid(pid, 0, 0);
	} else if (!strcmp(words[1], "reuse")) {
		as(77);
		pid = as(77);
	} else if (!strcmp(words[1], "as") && count > 2) {
		pid = as(atoi(words[2]));
	} else {
		return 2;
	}
	printf("%d\n", pid);
	return 0;
}
