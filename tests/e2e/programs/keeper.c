/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs a fork bomb so that it cannot hurt the machine, whatever the thing under test does: it stands outside the bomb, is no
 * part of what is killed, and ends it when its own time or its own parent ends.
 *
 * keeper GROUP SECONDS CMD...
 *
 * It prints the child's pid. The child puts itself into the v1 pids cgroup GROUP, waits for a line on stdin and then executes CMD. Orphans
 * come to the keeper (it is a subreaper) and are reaped at once: pid 1 may be slow about it, and zombies hold pids. After
 * SECONDS, or when the parent dies or says SIGTERM, nobody in GROUP may fork any more and everybody there is killed. It exits
 * when nobody is left: with the child's status, 128 + signal for a killed one, or 99 when it had to end the bomb itself.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static char procs[4096], most[4096];
static volatile sig_atomic_t over;

static void on_signal(int number)
{
	(void)number;
	over = 1;
}

static void put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) < 0) {
		perror(path);
		_exit(98);
	}
	close(fd);
}

static void end_group(void)
{
	FILE *list = fopen(procs, "re");
	int pid;

	if (!access(most, F_OK)) /* a hierarchy without a controller has no limit */
		put(most, "0");
	while (list && fscanf(list, "%d", &pid) == 1)
		if (pid > 1 && pid != getpid())
			kill(pid, SIGKILL);
	if (list)
		fclose(list);
}

int main(int argc, char **argv)
{
	struct sigaction action = { .sa_handler = on_signal }; /* no SA_RESTART: waitpid returns */
	char line[64];
	pid_t child, pid;
	int status, result = 99;

	if (argc < 4)
		return 97;
	snprintf(procs, sizeof(procs), "%s/cgroup.procs", argv[1]);
	snprintf(most, sizeof(most), "%s/pids.max", argv[1]);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	child = fork();
	if (!child) {
		put(procs, "0");
		if (!fgets(line, sizeof(line), stdin))
			_exit(96);
		execvp(argv[3], argv + 3);
		perror(argv[3]);
		_exit(127);
	}
	sigaction(SIGALRM, &action, 0);
	sigaction(SIGTERM, &action, 0);
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	alarm(atoi(argv[2]));
	printf("%d\n", child);
	fflush(stdout);
	for (;;) {
		if (over) {
			result = 99;
			end_group();
			alarm(1); /* again until nobody is left */
		}
		pid = waitpid(-1, &status, 0);
		if (pid < 0 && errno == ECHILD)
			return result;
		if (pid == child && !over)
			result = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	}
}
