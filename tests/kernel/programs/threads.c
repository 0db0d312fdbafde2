/*
 * What threads do to a process's identity.
 *   threads exec            a thread that is not the leader executes `true`
 *   threads last            the leader ends first; its thread reads a line, makes a child, prints its pid, ends
 *   threads exit STATUS     a thread that is not the leader ends the process
 *   threads race COUNT      so many threads end at once, by exit(2) each, together with the leader
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static pthread_barrier_t barrier;

static void *execute(void *nothing)
{
	execlp("true", "true", (char *)0);
	return nothing;
}

static void *outlive(void *nothing)
{
	char line[16];
	pid_t pid;

	if (!fgets(line, sizeof(line), stdin))
		return nothing;
	pid = fork();
	if (!pid)
		_exit(3);
	waitpid(pid, 0, 0);
	printf("%d\n", pid);
	fflush(stdout);
	return nothing;
}

static void *end_all(void *status)
{
	exit(atoi(status));
}

static void *end_together(void *nothing)
{
	pthread_barrier_wait(&barrier);
	syscall(SYS_exit, 0);
	return nothing;
}

static void start(void *(*work)(void *), void *argument)
{
	pthread_t thread;

	if (pthread_create(&thread, 0, work, argument)) {
		perror("pthread_create");
		exit(1);
	}
}

int main(int count, char **words)
{
	if (count < 2)
		return 2;
	if (!strcmp(words[1], "exec")) {
		start(execute, 0);
	} else if (!strcmp(words[1], "last")) {
		start(outlive, 0);
		syscall(SYS_exit, 5);
	} else if (!strcmp(words[1], "exit") && count > 2) {
		start(end_all, words[2]);
	} else if (!strcmp(words[1], "race") && count > 2) {
		pthread_barrier_init(&barrier, 0, atoi(words[2]) + 1);
		for (int i = 0; i < atoi(words[2]); i++)
			start(end_together, 0);
		end_together(0);
	} else {
		return 2;
	}
	for (;;)
		pause();
}
