/*
 * What one-shot commands cost at least: fork, exec and wait, so many at a time, and nothing else.
 *
 * usage: forkloop RUNS AT_A_TIME COMMAND [ARG…]
 * Prints runs per second.
 */
#include <sys/wait.h>
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static void
start(char **argv)
{
	switch (fork()) {
	case -1:
		err(71, "fork");
	case 0:
		execv(argv[0], argv);
		_exit(127);
	}
}

static void
reap(const char *what)
{
	int status;

	if (wait(&status) == -1)
		err(71, "wait");
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		errx(70, "%s: status %d", what, status);
}

int
main(int argc, char *argv[])
{
	struct timespec a, b;
	int i, runs, at_once, running = 0;

	if (argc < 4)
		errx(64, "usage: forkloop RUNS AT_A_TIME COMMAND [ARG...]");
	runs = atoi(argv[1]);
	at_once = atoi(argv[2]);
	clock_gettime(CLOCK_MONOTONIC, &a);
	for (i = 0; i < runs; i++) {
		if (running == at_once) {
			reap(argv[3]);
			running--;
		}
		start(argv + 3);
		running++;
	}
	for (; running > 0; running--)
		reap(argv[3]);
	clock_gettime(CLOCK_MONOTONIC, &b);
	printf("%.1f\n", runs / ((double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) / 1e9));
	return (0);
}
