/*
 * What HELLO says of tasks and events, as SQL takes it. Master and command line.
 */
#ifndef PROTO_DECLARED_H
#define PROTO_DECLARED_H

#include <stddef.h>

struct msg_event_type;
struct msg_task;

/* Its options with its schemas among them, an object as declare_task takes it; NULL: none. The caller frees it. */
char	*declared_options(const struct msg_task *);
/* The list that declare_events takes, likewise. */
char	*declared_events(const struct msg_event_type *, size_t n);

#endif
