/*
 * The children of this process, those included that reparented to it because it is a subreaper.
 */
#ifndef COMMON_CHILDREN_H
#define COMMON_CHILDREN_H

#include <stddef.h>
#include <sys/types.h>

/* Makes the process a subreaper; a failure is logged, and then children_list finds nothing. Single-threaded processes only. */
void	children_init(void);
/* Fills in at most max pids, returns how many. A child that has not been reaped is listed: its number is its own. */
size_t	children_list(pid_t *, size_t max);

#endif
