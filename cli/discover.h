/*
 * Asking a program which tasks it has, without serving them. Private to cli/.
 */
#ifndef CLI_DISCOVER_H
#define CLI_DISCOVER_H

#include <stddef.h>

struct conf;
struct conf_handler;

/* A task as its program announced it. All but the name may be NULL; borrowed for the call. */
struct discovered {
	const char	*name, *queue, *options, *triggers;
};

typedef void (*discover_task)(const struct discovered *, void *arg);

/*
 * Starts a worker for discovery with this program, and calls back for each task it announces. Exits with a message when
 * it does not start or breaks the protocol.
 */
void	discover_tasks(const struct conf *, const struct conf_handler *, discover_task, void *arg);

#endif
