/*
 * What processes leave behind. Worker.
 *
 * The worker is a subreaper, so a process that a handler or a command detached from itself becomes a child of the
 * worker: one that it did not start. It lives as long as the process that it came from, told by process group or by
 * PROCESS_MARK in its environment.
 */
#include "config.h"

#include <sys/wait.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/children.h"
#include "common/log.h"
#include "common/xmalloc.h"
#include "worker/internal.h"

#define CHILDREN_MAX	4096
#define ENVIRON_BYTES	(256u << 10)
#define LAST_SWEEP_MS	2000

static bool
serial_lives(struct worker *w, uint64_t serial)
{
	for (size_t i = 0; i < w->pids.cap; i++)
		if (w->pids.slots[i].key != 0 && ((struct process *)w->pids.slots[i].value)->serial == serial)
			return true;
	return false;
}

static ssize_t
read_environ(pid_t pid, char *text, size_t size)
{
	char path[64];
	size_t done = 0;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/environ", (int)pid);
	if ((fd = open(path, O_RDONLY | O_CLOEXEC)) == -1)
		return -1;
	while (done < size - 1 && (n = read(fd, text + done, size - 1 - done)) > 0)
		done += (size_t)n;
	close(fd);
	text[done] = '\0';
	return (ssize_t)done;
}

/* Whether the process that this one came from is still there. */
static bool
origin_lives(struct worker *w, pid_t pid)
{
	pid_t group = getpgid(pid);
	char *text, *mark;
	ssize_t len;
	bool lives = false;

	if (group > 0 && table_get(&w->pids, (uint64_t)group) != NULL)
		return true;
	text = xmalloc(ENVIRON_BYTES);
	len = read_environ(pid, text, ENVIRON_BYTES);
	if (len == -1 && errno == EACCES)
		lives = true;		/* not ours to judge */
	else if (len > 0 && (mark = memmem(text, (size_t)len, PROCESS_MARK, strlen(PROCESS_MARK))) != NULL)
		lives = serial_lives(w, strtoull(mark + strlen(PROCESS_MARK), NULL, 10));
	free(text);
	return lives;
}

void
sweep_orphans(struct worker *w)
{
	pid_t pids[CHILDREN_MAX];
	size_t n = children_list(pids, CHILDREN_MAX);

	for (size_t i = 0; i < n; i++) {
		if (table_get(&w->pids, (uint64_t)pids[i]) != NULL || origin_lives(w, pids[i]))
			continue;
		/* Of a command that waits all processes were told to end; the first is gone, the others may be a moment late. */
		if (w->suspended)
			log_debug("ending process %d of a command that waits", (int)pids[i]);
		else
			log_info("ending process %d, which outlived the one that started it", (int)pids[i]);
		kill(pids[i], SIGKILL);
	}
	w->suspended = false;
}

static void
kill_children(void)
{
	pid_t pids[CHILDREN_MAX];
	size_t n = children_list(pids, CHILDREN_MAX);

	for (size_t i = 0; i < n; i++)
		kill(pids[i], SIGKILL);
}

void
sweep_everything(struct worker *w)
{
	uint64_t until = worker_now() + LAST_SWEEP_MS;
	struct timespec pause = { .tv_nsec = 1000000 };

	for (size_t i = 0; i < w->pids.cap; i++)
		if (w->pids.slots[i].key != 0)
			kill(-(pid_t)w->pids.slots[i].key, SIGKILL);
	/* What dies leaves its own children to us. */
	while (worker_now() < until) {
		pid_t pid;

		kill_children();
		while ((pid = waitpid(-1, NULL, WNOHANG)) > 0)
			;
		if (pid == -1 && errno == ECHILD)
			return;
		nanosleep(&pause, NULL);
	}
}
