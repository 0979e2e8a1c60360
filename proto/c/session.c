/*
 * libpgconductor: the session with the worker. Reads frames, answers those of the session, writes what was gathered.
 * May not wait, and may not call a task's function: frames also come in while one is running (pgc_look).
 */
#include "config.h"

#include <sys/socket.h>

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/xmalloc.h"
#include "proto/c/join.h"
#include "proto/c/private.h"

#define READ_BYTES	(128 * 1024)
#define LOOK_EVERY	1000000		/* nanoseconds between reads while functions run */

int64_t
pgc_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* The first reason is the one that counts. */
void
pgc_lose(struct pgc *c, const char *fmt, ...)
{
	va_list ap;

	if (c->lost)
		return;
	c->lost = true;
	buf_reset(&c->out, 0);
	va_start(ap, fmt);
	vsnprintf(c->error, sizeof(c->error), fmt, ap);
	va_end(ap);
}

/* Writing */

void
pgc_flush(struct pgc *c)
{
	ssize_t n;

	if (c->out.len == 0 || c->lost)
		return;
	do {
		n = send(c->fd, buf_ptr(&c->out), c->out.len, MSG_NOSIGNAL);
	} while (n == -1 && errno == EINTR);
	if (n > 0)
		buf_drain(&c->out, (size_t)n);
	else if (n == -1 && errno != EAGAIN && errno != EWOULDBLOCK)
		pgc_lose(c, "the worker went away: %s", strerror(errno));
	if (c->out.len == 0)
		buf_reset(&c->out, READ_BYTES);
}

/* Whether a task is to be announced: for discovery all are, else those of the queue served. */
static bool
is_of_queue(const struct task *t, const char *queue)
{
	return queue == NULL || strcmp(t->queue != NULL ? t->queue : "default", queue) == 0;
}

/* A call within a command says whose it is. */
static void
name_run(const struct pgc_join *join, struct msg_hello *m, struct pstr **keys)
{
	m->run = pstr(join->run);
	m->token = pstr(join->token);
	m->keys = *keys = xcalloc(join->keys_n + 1, sizeof(**keys));
	for (m->keys_n = 0; m->keys_n < join->keys_n; m->keys_n++)
		m->keys[m->keys_n] = pstr(join->keys[m->keys_n]);
}

void
pgc_hello(struct pgc *c)
{
	static uint64_t versions[] = { 1 };
	struct pstr capabilities[] = { pstr("call"), pstr("cancel"), pstr("credit"), pstr("drain"), pstr("log"),
		pstr("progress"), pstr("step"), pstr("suspend"), pstr("beat") };
	const char *queue = getenv("PGCONDUCTOR_QUEUE");
	struct msg_task *tasks = xcalloc(c->tasks_n, sizeof(*tasks));
	struct msg_event_type *events = xcalloc(c->events_n + 1, sizeof(*events));
	struct pstr *keys = NULL;
	struct msg_hello m = {
		.protocols = versions, .protocols_n = 1,
		.sdk = pstr("c"), .version = pstr(PACKAGE_VERSION),
		.capabilities = capabilities, .capabilities_n = c->beat_ms != 0 ? 9 : 8,
		.has_beat_ms = c->beat_ms != 0, .beat_ms = c->beat_ms,
		.has_credit = true, .credit = c->credit != 0 ? c->credit : c->concurrency,
		.has_concurrency = true, .concurrency = c->concurrency,
		.has_window = c->window != 0, .window = c->window,
		.tasks = tasks, .events = events
	};

	if (c->join != NULL)
		name_run(c->join, &m, &keys);
	for (size_t i = 0; i < c->tasks_n; i++) {
		const struct task *t = &c->tasks[i];

		if (c->join != NULL || !is_of_queue(t, queue))
			continue;
		tasks[m.tasks_n++] = (struct msg_task){
			.name = pstr(t->name), .queue = pstr(t->queue), .options = pstr(t->options),
			.triggers = pstr(t->triggers), .payload_schema = pstr(t->payload_schema),
			.returns_schema = pstr(t->returns_schema), .has_batch = t->batch_fn != NULL, .batch.size = t->batch_size,
			.batch.has_timeout_ms = t->batch_ms >= 0, .batch.timeout_ms = (uint64_t)t->batch_ms
		};
	}
	for (; c->join == NULL && m.events_n < c->events_n; m.events_n++)
		events[m.events_n] = (struct msg_event_type){
			.name = pstr(c->events[m.events_n].name), .schema = pstr(c->events[m.events_n].schema)
		};
	msg_hello_encode(&c->out, 0, &m);
	free(events);
	free(tasks);
	free(keys);
}

/* Frames */

static void
got_welcome(struct pgc *c, const struct msg_welcome *m)
{
	if (c->welcome || m->protocol != 1) {
		pgc_lose(c, "the worker chose protocol %llu", (unsigned long long)m->protocol);
		return;
	}
	c->welcome = true;
	c->max_frame = m->max_frame;
	c->max_payload = m->max_payload;
	c->queue = xstrndup(m->queue.p, m->queue.len);
}

static void
got_drain(struct pgc *c, const struct msg_drain *m)
{
	c->ending = true;
	/* A call within a command has its run to itself. */
	if (c->join == NULL)
		run_drop_waiting(c);
	if (c->on_drain != NULL)
		c->on_drain(c, m->deadline_ms, c->on_drain_arg);
}

static void
got_reject(struct pgc *c, const struct msg_reject *m)
{
	pgc_lose(c, "%s%.*s", c->join == NULL ? "the worker refused this program: " : "", (int)m->reason.len, m->reason.p);
}

/* What is said of an execution that has just been finished is late, no more. */
static int
got_about_run(struct pgc *c, struct msg *m, const char **why)
{
	struct pgc_run *r = run_of_exec(c, m->exec);
	union {
		struct msg_step_ok ok;
		struct msg_return ret;
		struct msg_steps steps;
	} u;

	switch (m->type) {
	case MSG_STEP_OK:
		if (msg_step_ok_decode(m, &u.ok, why) == -1)
			return -1;
		if (r != NULL)
			steps_ok(r, &u.ok.key);
		break;
	case MSG_RETURN:
		if (msg_return_decode(m, &u.ret, why) == -1)
			return -1;
		if (r != NULL)
			steps_return(r, &u.ret);
		break;
	default:
		if (msg_steps_decode(m, &u.steps, why) == -1)
			return -1;
		if (r != NULL)
			journal_more(r, &u.steps);
	}
	return 0;
}

/* -1 with the reason when the frame is not what it should be. */
static int
dispatch(struct pgc *c, struct msg *m, const uint8_t *body, size_t len, const char **why)
{
	union {
		struct msg_welcome welcome;
		struct msg_run run;
		struct msg_reject reject;
		struct msg_cancel cancel;
		struct msg_drain drain;
	} u;

	switch (m->type) {
	case MSG_WELCOME:
		if (msg_welcome_decode(m, &u.welcome, why) == -1)
			return -1;
		got_welcome(c, &u.welcome);
		return 0;
	case MSG_RUN:
		if (msg_run_decode(m, &u.run, why) == -1)
			return -1;
		if (u.run.items_n != 0 && c->join == NULL && !c->bye)
			batch_queue(c, &u.run, body, len);
		else if (u.run.items_n == 0)
			run_queue(c, m->exec, &u.run, body, len);
		return 0;
	case MSG_REJECT:
		if (msg_reject_decode(m, &u.reject, why) == -1)
			return -1;
		got_reject(c, &u.reject);
		return 0;
	case MSG_CANCEL:
		if (msg_cancel_decode(m, &u.cancel, why) == -1)
			return -1;
		run_cancel(c, m->exec, &u.cancel.reason);
		return 0;
	case MSG_DRAIN:
		if (msg_drain_decode(m, &u.drain, why) == -1)
			return -1;
		got_drain(c, &u.drain);
		return 0;
	case MSG_STEP_OK:
	case MSG_RETURN:
	case MSG_STEPS:
		return got_about_run(c, m, why);
	}
	*why = "unexpected";
	return -1;
}

static void
frame(struct pgc *c, const uint8_t *body, size_t len)
{
	struct msg *m = &c->msg;
	const char *why;

	if (msg_open(m, body, len, &why) == -1) {
		pgc_lose(c, "protocol error: %s", why);
		return;
	}
	if (!msg_known(m->type) && msg_ignorable(m->type))
		return;
	if (!msg_allowed(m->type, MSG_WORKER_TO_HANDLER)) {
		pgc_lose(c, "protocol error: message %u (%s)", m->type, msg_name(m->type));
		return;
	}
	if (!c->welcome && m->type != MSG_WELCOME && m->type != MSG_REJECT) {
		pgc_lose(c, "protocol error: %s before WELCOME", msg_name(m->type));
		return;
	}
	if (dispatch(c, m, body, len, &why) == -1)
		pgc_lose(c, "protocol error: %s: %s", msg_name(m->type), why);
}

/* Handles the frames that are whole; returns how many bytes the next one needs in all. */
static size_t
frames(struct pgc *c)
{
	size_t len;

	while (!c->lost && c->in.len >= MSG_HEAD) {
		len = msg_length(buf_ptr(&c->in));
		if (len > c->max_frame) {
			pgc_lose(c, "protocol error: a frame of %zu bytes; the limit is %zu", len, c->max_frame);
			break;
		}
		if (c->in.len < MSG_HEAD + len)
			return MSG_HEAD + len;
		/* A callback may ask for news: not in the middle of these. */
		c->reading = true;
		frame(c, buf_ptr(&c->in) + MSG_HEAD, len);
		c->reading = false;
		buf_drain(&c->in, MSG_HEAD + len);
	}
	return MSG_HEAD;
}

/* One read, of as much as there is. */
void
pgc_read(struct pgc *c)
{
	size_t need, room;
	uint8_t *at;
	ssize_t n;

	if (c->lost || c->reading)
		return;
	need = frames(c);
	if (c->lost)
		return;
	room = need > c->in.len + READ_BYTES ? need - c->in.len : READ_BYTES;
	at = buf_reserve(&c->in, room);
	do {
		n = recv(c->fd, at, room, 0);
	} while (n == -1 && errno == EINTR);
	c->looked = pgc_now();
	if (n == -1 && (errno == EAGAIN || errno == EWOULDBLOCK))
		return;
	if (n <= 0) {
		pgc_lose(c, "the worker went away%s%s", n == -1 ? ": " : "", n == -1 ? strerror(errno) : "");
		return;
	}
	buf_grew(&c->in, (size_t)n);
	frames(c);
	if (c->in.len == 0)
		buf_reset(&c->in, 2 * READ_BYTES);
}

int
pgc_beat(struct pgc *c, int64_t now)
{
	static const struct msg_beat none;
	int64_t every = (int64_t)c->beat_ms * 1000000 / 4;

	if (every == 0 || !c->welcome)
		return -1;
	if (now - c->beaten >= every) {
		c->beaten = now;
		if (!c->lost && c->out.len == 0)
			msg_beat_encode(&c->out, 0, &none);
	}
	return (int)((c->beaten + every - now) / 1000000) + 1;
}

/* Between and in the middle of functions: are there news (CANCEL, DRAIN)? */
void
pgc_look(struct pgc *c, int64_t now)
{
	pgc_beat(c, now);
	if (now - c->looked < LOOK_EVERY)
		return;
	pgc_flush(c);
	pgc_read(c);
}
