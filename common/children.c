/*
 * The children of this process. Master and worker.
 */
#include "config.h"

#include <sys/prctl.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/children.h"
#include "common/log.h"

#define LIST_BYTES	(32u << 10)

static int children_fd = -1;

void
children_init(void)
{
	char path[64];

	if (prctl(PR_SET_CHILD_SUBREAPER, 1) == -1)
		log_warn("subreaper");
	snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
	children_fd = open(path, O_RDONLY | O_CLOEXEC);
	if (children_fd == -1)
		log_warn("%s: what programs detach from themselves is not ended with them", path);
}

size_t
children_list(pid_t *pids, size_t max)
{
	char list[LIST_BYTES], *end;
	ssize_t len = children_fd == -1 ? 0 : pread(children_fd, list, sizeof(list) - 1, 0);
	size_t n = 0;

	/* Each number is followed by a blank; one that was cut off is none. */
	while (len > 0 && list[len - 1] != ' ')
		len--;
	list[len > 0 ? len : 0] = '\0';
	for (char *p = list; *p != '\0' && n < max; p = end + 1) {
		pid_t pid = (pid_t)strtol(p, &end, 10);

		if (pid > 0)
			pids[n++] = pid;
	}
	return n;
}
