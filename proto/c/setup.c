/*
 * libpgconductor: making a connection object, describing what it serves, and the loop around it.
 */
#include "config.h"

#include <sysexits.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/xmalloc.h"
#include "proto/c/private.h"

#define FIRST_MAX_FRAME	(1024 * 1024)	/* until WELCOME names the limit */

PUBLIC struct pgc *
pgc_new(void)
{
	struct pgc *c = xcalloc(1, sizeof(*c));

	c->fd = -1;
	c->concurrency = 1;
	c->max_frame = FIRST_MAX_FRAME;
	buf_init(&c->in);
	buf_init(&c->out);
	msg_init(&c->msg);
	return c;
}

PUBLIC void
pgc_free(struct pgc *c)
{
	if (c == NULL)
		return;
	runs_free(c);
	for (size_t i = 0; i < c->tasks_n; i++) {
		free(c->tasks[i].name);
		free(c->tasks[i].queue);
		free(c->tasks[i].options);
		free(c->tasks[i].triggers);
		free(c->tasks[i].payload_schema);
		free(c->tasks[i].returns_schema);
	}
	free(c->tasks);
	for (size_t i = 0; i < c->events_n; i++) {
		free(c->events[i].name);
		free(c->events[i].schema);
	}
	free(c->events);
	free(c->queue);
	buf_free(&c->in);
	buf_free(&c->out);
	msg_free(&c->msg);
	if (c->fd != -1)
		close(c->fd);
	free(c);
}

PUBLIC void
pgc_task_with(struct pgc *c, const char *name, const char *queue, const char *options, pgc_task_fn *fn, void *arg)
{
	struct task *t;

	c->tasks = xreallocarray(c->tasks, c->tasks_n + 1, sizeof(*c->tasks));
	t = &c->tasks[c->tasks_n++];
	t->name = xstrdup(name);
	t->queue = queue != NULL ? xstrdup(queue) : NULL;
	t->options = options != NULL ? xstrdup(options) : NULL;
	t->triggers = t->payload_schema = t->returns_schema = NULL;
	t->fn = fn;
	t->arg = arg;
	t->batch_fn = NULL;
}

PUBLIC void
pgc_task(struct pgc *c, const char *name, pgc_task_fn *fn, void *arg)
{
	pgc_task_with(c, name, NULL, NULL, fn, arg);
}

PUBLIC void
pgc_triggers(struct pgc *c, const char *task, const char *json)
{
	for (size_t i = 0; i < c->tasks_n; i++) {
		if (strcmp(c->tasks[i].name, task) != 0)
			continue;
		free(c->tasks[i].triggers);
		c->tasks[i].triggers = xstrdup(json);
	}
}

static void
replace(char **old, const char *text)
{
	free(*old);
	*old = text != NULL ? xstrdup(text) : NULL;
}

PUBLIC void
pgc_schemas(struct pgc *c, const char *task, const char *payload, const char *returns)
{
	for (size_t i = 0; i < c->tasks_n; i++) {
		if (strcmp(c->tasks[i].name, task) != 0)
			continue;
		replace(&c->tasks[i].payload_schema, payload);
		replace(&c->tasks[i].returns_schema, returns);
	}
}

PUBLIC void
pgc_event_type(struct pgc *c, const char *event, const char *schema)
{
	struct event_type *e;

	c->events = xreallocarray(c->events, c->events_n + 1, sizeof(*c->events));
	e = &c->events[c->events_n++];
	e->name = xstrdup(event);
	e->schema = schema != NULL ? xstrdup(schema) : NULL;
}

PUBLIC void
pgc_set_concurrency(struct pgc *c, unsigned n)
{
	c->concurrency = n != 0 ? n : 1;
}

PUBLIC void
pgc_set_credit(struct pgc *c, unsigned n)
{
	struct msg_credit m = { .credit = n != 0 ? n : 1 };

	c->credit = n != 0 ? n : 1;
	if (c->welcome && !c->ending)
		msg_credit_encode(&c->out, 0, &m);
}

PUBLIC void
pgc_set_window(struct pgc *c, uint64_t bytes)
{
	c->window = bytes;
}

PUBLIC void
pgc_set_beat(struct pgc *c, unsigned ms)
{
	c->beat_ms = ms;
}

PUBLIC void
pgc_on_saved(struct pgc *c, pgc_saved_fn *fn, void *arg)
{
	c->on_saved = fn;
	c->on_saved_arg = arg;
}

PUBLIC void
pgc_on_cancel(struct pgc *c, pgc_cancel_fn *fn, void *arg)
{
	c->on_cancel = fn;
	c->on_cancel_arg = arg;
}

PUBLIC void
pgc_on_drain(struct pgc *c, pgc_drain_fn *fn, void *arg)
{
	c->on_drain = fn;
	c->on_drain_arg = arg;
}

/* The descriptor named in the environment, which our own children must not take for theirs; -1 when there is none. */
static int
inherited_fd(struct pgc *c)
{
	const char *s = getenv("PGCONDUCTOR_FD");
	char *end;
	long fd;
	int flags;

	if (s == NULL) {
		pgc_lose(c, "not started by pgconductor: PGCONDUCTOR_FD is not set");
		return -1;
	}
	errno = 0;
	fd = strtol(s, &end, 10);
	if (*s == '\0' || *end != '\0' || errno != 0 || fd < 0 || fd > 1 << 20) {
		pgc_lose(c, "PGCONDUCTOR_FD is not a descriptor: %s", s);
		return -1;
	}
	if ((flags = fcntl((int)fd, F_GETFL)) == -1 || fcntl((int)fd, F_SETFL, flags | O_NONBLOCK) == -1 ||
	    fcntl((int)fd, F_SETFD, FD_CLOEXEC) == -1) {
		pgc_lose(c, "PGCONDUCTOR_FD=%s: %s", s, strerror(errno));
		return -1;
	}
	unsetenv("PGCONDUCTOR_FD");
	return (int)fd;
}

PUBLIC int
pgc_open(struct pgc *c)
{
	if ((c->fd = inherited_fd(c)) == -1)
		return -1;
	pgc_hello(c);
	pgc_flush(c);
	return c->lost ? -1 : 0;
}

PUBLIC int
pgc_fd(const struct pgc *c)
{
	return c->fd;
}

PUBLIC short
pgc_events(const struct pgc *c)
{
	return (short)(POLLIN | (c->out.len != 0 ? POLLOUT : 0));
}

static bool
finished(struct pgc *c)
{
	static const struct msg_bye none;

	if (!c->ending || c->waiting.n != 0 || c->running.n != 0)
		return false;
	if (!c->bye)
		msg_bye_encode(&c->out, 0, &none);
	c->bye = true;
	pgc_flush(c);
	return c->out.len == 0;
}

PUBLIC int
pgc_step(struct pgc *c)
{
	if (c->fd == -1 || c->lost)
		return -1;
	pgc_beat(c, pgc_now());
	pgc_read(c);
	run_start_waiting(c);
	pgc_flush(c);
	if (finished(c))
		return 0;
	return c->lost ? -1 : 1;
}

PUBLIC void
pgc_stop(struct pgc *c)
{
	static const struct msg_credit none;

	if (c->ending)
		return;
	c->ending = true;
	if (c->welcome)
		msg_credit_encode(&c->out, 0, &none);
}

PUBLIC int
pgc_serve(struct pgc *c, int argc, char **argv)
{
	struct pollfd pfd;
	int going = 1;

	if (getenv("PGCONDUCTOR_FD") == NULL)
		return pgc_launch(argc, argv);
	if (pgc_open(c) == -1)
		going = -1;
	while (going == 1) {
		pfd.fd = pgc_fd(c);
		pfd.events = pgc_events(c);
		if (poll(&pfd, 1, pgc_beat(c, pgc_now())) == -1 && errno != EINTR)
			pgc_lose(c, "poll: %s", strerror(errno));
		going = pgc_step(c);
	}
	if (going == 0)
		return EXIT_SUCCESS;
	fprintf(stderr, "pgconductor: %s\n", pgc_error(c));
	return EXIT_FAILURE;
}

PUBLIC const char *
pgc_error(const struct pgc *c)
{
	return c->error;
}

PUBLIC const char *
pgc_queue(const struct pgc *c)
{
	return c->queue != NULL ? c->queue : "";
}
