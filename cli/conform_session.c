/*
 * Playing the worker to one process of a handler, for conform. The cli process only; blocking, with one poll(2) in which
 * both directions of the socket go on, so that a handler which writes before it reads on blocks nobody.
 */
#include "config.h"

#include <sys/ioctl.h>
#include <sys/socket.h>

#include <errno.h>
#include <inttypes.h>
#include <linux/sockios.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/conform.h"
#include "common/duration.h"
#include "common/xmalloc.h"

#define READ_BYTES	(256u << 10)
#define SETTLE_MS	100		/* for beginning with what was read */
#define EXIT_MS		500		/* from the end of its socket until its exit status says more */
#define LOG_KEEP	(1u << 20)

static const char *const capabilities[CONFORM_CAPABILITIES] = {
	"beat", "call", "cancel", "credit", "drain", "log", "progress", "step", "suspend"
};

int64_t
session_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int64_t
session_due(void)
{
	return session_now() + conform_timeout_ms;
}

const char *
session_patience(void)
{
	static char text[8 + DURATION_STRLEN];
	char duration[DURATION_STRLEN];

	snprintf(text, sizeof(text), "within %s", duration_format(conform_timeout_ms, duration, sizeof(duration)));
	return text;
}

void
session_init(struct session *s)
{
	memset(s, 0, sizeof(*s));
	s->pidfd = s->fd = s->output = -1;
	s->next_exec = 1;
	s->max_payload = CONFORM_MAX_PAYLOAD;
	s->max_frame = CONFORM_MAX_PAYLOAD + CONFORM_FRAME_ROOM;
	msg_init(&s->msg);
	msg_init(&s->hello_frame);
}

/* Waiting */

static void
read_socket(struct session *s)
{
	size_t room = s->sip != 0 ? s->sip : READ_BYTES;
	ssize_t n = recv(s->fd, buf_reserve(&s->in, room), room, 0);

	if (n > 0) {
		buf_grew(&s->in, (size_t)n);
		s->heard = session_now();
	} else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
		s->eof = true;
	}
}

static void
write_socket(struct session *s)
{
	ssize_t n = send(s->fd, buf_ptr(&s->out), s->out.len, MSG_NOSIGNAL);

	if (n > 0)
		buf_drain(&s->out, (size_t)n);
	else if (n == -1 && errno != EAGAIN && errno != EINTR)
		buf_reset(&s->out, 0);	/* it has gone: reading says so */
}

static void
read_output(struct session *s)
{
	ssize_t n = read(s->output, buf_reserve(&s->log, READ_BYTES), READ_BYTES);

	if (n > 0) {
		buf_grew(&s->log, (size_t)n);
	} else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
		close(s->output);
		s->output = -1;
	}
	if (s->log.len > LOG_KEEP)
		buf_drain(&s->log, s->log.len - LOG_KEEP);
}

bool
session_pump(struct session *s, int64_t until)
{
	int64_t left = until - session_now();
	struct pollfd p[3] = {
		{ .fd = s->fd, .events = (short)((s->eof || s->deaf ? 0 : POLLIN) | (s->out.len > 0 ? POLLOUT : 0)) },
		{ .fd = s->output, .events = POLLIN },
		{ .fd = s->exited ? -1 : s->pidfd, .events = POLLIN },
	};

	/* A socket that has ended would be ready for ever. */
	if (p[0].events == 0)
		p[0].fd = -1;
	if (poll(p, 3, left > 0 ? (int)left : 0) == -1 && errno != EINTR)
		return false;
	if (s->out.len > 0 && p[0].fd != -1 && p[0].revents != 0)
		write_socket(s);
	if (!s->deaf && !s->eof && p[0].fd != -1 && (p[0].revents & (POLLIN | POLLHUP | POLLERR)) != 0)
		read_socket(s);
	if (s->output != -1 && p[1].revents != 0)
		read_output(s);
	if (p[2].fd != -1 && p[2].revents != 0)
		process_look(s);
	return left > 0;
}

void
session_pause(struct session *s, int64_t ms)
{
	int64_t until = session_now() + ms;

	while (session_pump(s, until))
		continue;
}

void
session_flush(struct session *s)
{
	int64_t until = session_due();
	int unread = 1;

	while (session_pump(s, session_now()) || session_now() < until) {
		if (s->eof || s->exited)
			return;
		if (s->out.len == 0 && ioctl(s->fd, SIOCOUTQ, &unread) == 0 && unread == 0)
			return;
		usleep(50);
	}
}

void
session_settle(struct session *s)
{
	session_flush(s);
	session_pause(s, SETTLE_MS);
}

const char *
session_fate(struct session *s)
{
	static char text[160];
	int64_t until = session_now() + EXIT_MS;

	if (s->eof)
		while (!s->exited && session_pump(s, until))
			continue;
	if (s->exited)
		snprintf(text, sizeof(text), "%s", process_fate(s));
	else if (s->eof)
		snprintf(text, sizeof(text), "it closed its socket");
	else
		snprintf(text, sizeof(text), "nothing came %s", session_patience());
	return text;
}

/* Beginning */

/* What it says about itself, with what stands for what it leaves out. */
static void
take_hello(struct session *s)
{
	const struct msg_hello *m = &s->hello;
	uint64_t concurrency = m->has_concurrency ? m->concurrency : 0;

	s->credit = m->has_credit ? m->credit : concurrency != 0 ? concurrency : 1;
	s->concurrency = concurrency != 0 ? concurrency : s->credit != 0 ? s->credit : 1;
	s->window = m->has_window ? m->window : 0;
	s->beat_ms = m->has_beat_ms ? m->beat_ms : 0;
}

/* True when this frame is HELLO, or one that cannot be read at all. */
static bool
is_hello(struct session *s, const uint8_t *body, size_t len)
{
	const char *why;

	s->hello_body = xmemdup(body, len);
	if (msg_open(&s->hello_frame, s->hello_body, len, &why) == -1) {
		s->hello_wrong = xstrdup(why);
		return true;
	}
	if (s->hello_frame.type == MSG_HELLO) {
		s->hellos = 1;
		if (msg_hello_decode(&s->hello_frame, &s->hello, &why) == -1)
			s->hello_wrong = xstrdup(why);
		else
			take_hello(s);
		return true;
	}
	if (s->before_hello == NULL)
		s->before_hello = xasprintf("type %u (%s)", s->hello_frame.type, msg_name(s->hello_frame.type));
	free(s->hello_body);
	s->hello_body = NULL;
	return false;
}

bool
session_listen(struct session *s, const char *queue)
{
	int64_t until;
	const uint8_t *body;
	bool more = true;
	size_t len;

	process_start(s, queue);
	until = session_due();
	for (;;) {
		while ((body = session_body(s, &len)) != NULL)
			if (is_hello(s, body, len))
				return true;
		if (!more || s->eof)
			return false;
		more = session_pump(s, until);
	}
}

void
session_begin(struct session *s, const char *queue)
{
	if (!session_listen(s, queue))
		conform_fail(s, "HELLO", session_fate(s));
	if (s->hello_wrong != NULL)
		conform_fail(s, "a HELLO as docs/protocol.md describes it", s->hello_wrong);
}

void
session_fill_welcome(struct session *s, const char *queue, struct msg_welcome *m, struct pstr *shared)
{
	*m = (struct msg_welcome){
		.protocol = 1, .queue = pstr(queue), .max_frame = s->max_frame, .max_payload = s->max_payload,
		.capabilities = shared,
	};
	for (size_t i = 0; i < CONFORM_CAPABILITIES; i++)
		if (session_can(s, capabilities[i]))
			shared[m->capabilities_n++] = pstr(capabilities[i]);
	s->open = true;
}

void
session_welcome(struct session *s, const char *queue)
{
	struct pstr shared[CONFORM_CAPABILITIES];
	struct msg_welcome m;

	session_fill_welcome(s, queue, &m, shared);
	msg_welcome_encode(&s->out, 0, &m);
}

void
session_open(struct session *s)
{
	if (s->open)
		return;
	session_begin(s, CONFORM_QUEUE);
	session_welcome(s, CONFORM_QUEUE);
	/* What comes in one piece with it is a case of its own. */
	session_flush(s);
}

bool
session_announced(const struct session *s, const char *task)
{
	for (size_t i = 0; i < s->hello.tasks_n; i++)
		if (s->hello.tasks[i].name.len == strlen(task) &&
		    memcmp(s->hello.tasks[i].name.p, task, s->hello.tasks[i].name.len) == 0)
			return true;
	return false;
}

bool
session_can(const struct session *s, const char *capability)
{
	const struct msg_hello *m = &s->hello;

	for (size_t i = 0; i < m->capabilities_n; i++)
		if (m->capabilities[i].len == strlen(capability) &&
		    memcmp(m->capabilities[i].p, capability, m->capabilities[i].len) == 0)
			return true;
	return false;
}

bool
session_offers(struct session *s, const char *capability, const char *task)
{
	static char why[64];

	session_open(s);
	if (session_can(s, capability) && session_announced(s, task))
		return true;
	if (session_can(s, capability))
		snprintf(why, sizeof(why), "it does not announce %s", task);
	else
		snprintf(why, sizeof(why), "it does not name the capability %s", capability);
	conform_skip(s, why);
	return false;
}

/* Saying something */

void
session_send(struct session *s, struct buf *b)
{
	buf_add(&s->out, buf_ptr(b), b->len);
	buf_free(b);
}

/* How many executions of so many bytes it can be given at once: as its credit and its window allow. */
size_t
session_room(const struct session *s, size_t most, size_t bytes)
{
	uint64_t n = s->credit < most ? s->credit : most;

	bytes += 512;		/* what a RUN has beside its payload, amply */
	if (s->window != 0 && n * bytes > s->window)
		n = s->window / bytes;
	return n > 1 ? (size_t)n : 1;
}

/* A handler may have begun with a credit of 0. */
static void
await_credit(struct session *s)
{
	int64_t until = session_due();
	const struct frame *f = NULL;

	while (f == NULL && s->credit <= s->given_n && !s->eof && session_now() < until)
		f = session_try(s, session_now() + 10);
	if (f != NULL || s->credit <= s->given_n)
		conform_differs(s, "CREDIT, as it has none left", "%s", f != NULL ? session_text(f) : session_fate(s));
}

static void
note_given(struct session *s, uint64_t exec, size_t bytes)
{
	if (s->given_n == s->given_cap) {
		s->given_cap = s->given_cap != 0 ? s->given_cap * 2 : 16;
		s->given = xreallocarray(s->given, s->given_cap, sizeof(*s->given));
	}
	s->given[s->given_n++] = (struct given){ .exec = exec, .bytes = bytes };
	s->given_bytes += bytes;
}

void
session_give_as(struct session *s, uint64_t exec, size_t bytes)
{
	await_credit(s);
	note_given(s, exec, bytes);
}

uint64_t
session_give_along(struct session *s, size_t bytes)
{
	note_given(s, s->next_exec, bytes);
	return s->next_exec++;
}

uint64_t
session_give(struct session *s, size_t bytes)
{
	session_give_as(s, s->next_exec, bytes);
	return s->next_exec++;
}

uint64_t
session_run_as(struct session *s, const char *task, const char *payload, struct msg_run *m)
{
	uint64_t exec = session_give(s, strlen(payload));
	char id[24], token[48];

	snprintf(id, sizeof(id), "%" PRIu64, 1000 + exec);
	snprintf(token, sizeof(token), "%" PRIu64 ".1763712345678.7212345678901234567", 731 + exec);
	if (m->id.p == NULL)
		m->id = pstr(id);
	if (m->token.p == NULL)
		m->token = pstr(token);
	if (m->event.name.p == NULL)
		m->event.name = pstr("pgconductor.invoke");
	if (m->attempt == 0)
		m->attempt = 1;
	m->task = pstr(task);
	m->event.payload = pstr(payload);
	msg_run_encode(&s->out, exec, m);
	return exec;
}

uint64_t
session_run(struct session *s, const char *task, const char *payload)
{
	struct msg_run m = { 0 };

	return session_run_as(s, task, payload, &m);
}

static void
send_cancel(struct session *s, uint64_t exec, const char *reason)
{
	struct msg_cancel m = { .reason = pstr(reason), .grace_ms = (uint64_t)conform_timeout_ms };

	msg_cancel_encode(&s->out, exec, &m);
}

void
session_cancel(struct session *s, uint64_t exec)
{
	send_cancel(s, exec, "cancelled");
}

void
session_lose(struct session *s, uint64_t exec)
{
	send_cancel(s, exec, "lost");
}

void
session_drain(struct session *s)
{
	struct msg_drain m = { .deadline_ms = (uint64_t)conform_timeout_ms };

	msg_drain_encode(&s->out, 0, &m);
}

/* What is still to be written goes first. */
static void
write_all(struct session *s)
{
	int64_t until = session_due();

	while (s->out.len > 0 && !s->eof && session_pump(s, until))
		continue;
}

void
session_shut(struct session *s)
{
	write_all(s);
	shutdown(s->fd, SHUT_WR);
}

void
session_close(struct session *s)
{
	write_all(s);
	close(s->fd);
	s->fd = -1;
}

/* Expecting something */

bool
session_means(struct pstr got, const char *json)
{
	char *text = got.p != NULL ? xstrndup(got.p, got.len) : xstrdup("null");
	bool same = conform_same_json(json, text);

	free(text);
	return same;
}

void
session_expect(struct session *s, uint64_t exec, const char *json)
{
	char *cut = session_cut(json, strlen(json)), *expected;
	const struct frame *f;

	expected = xasprintf("DONE of execution %" PRIu64 " with the result %s", exec, cut);
	f = session_final(s, expected);
	if (f->type != MSG_DONE || f->exec != exec || !session_means(f->done.result, json))
		conform_fail(s, expected, session_text(f));
	free(expected);
	free(cut);
}

const struct msg_fail *
session_expect_fail(struct session *s, uint64_t exec)
{
	char expected[64];
	const struct frame *f;

	snprintf(expected, sizeof(expected), "FAIL of execution %" PRIu64, exec);
	f = session_final(s, expected);
	if (f->type != MSG_FAIL || f->exec != exec)
		conform_fail(s, expected, session_text(f));
	return &f->fail;
}

void
session_expect_end(struct session *s, uint64_t exec)
{
	static const char expected[] = "a final frame of any kind after CANCEL, within its grace";
	const struct frame *f;

	do {
		f = session_next(s, expected);
		if (f->type == MSG_BYE || f->exec != exec)
			conform_fail(s, expected, session_text(f));
	} while (f->type != MSG_DONE && f->type != MSG_FAIL && f->type != MSG_SUSPEND);
}

void
session_echo(struct session *s, const char *json)
{
	session_expect(s, session_run(s, "conform.echo", json), json);
}

void
session_expect_exit(struct session *s, const char *expected)
{
	int64_t until = session_due();
	const struct frame *f;

	while (!s->exited && session_now() < until) {
		f = session_try(s, session_now() + 20);
		/* It may say that it goes, and wait for our side. */
		if (f != NULL && f->type == MSG_BYE)
			session_shut(s);
		if (s->eof)
			session_pump(s, session_now() + 20);
	}
	if (!s->exited)
		conform_differs(s, expected, "it still runs %s", session_patience());
}
