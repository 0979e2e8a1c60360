/*
 * The link to the master. Worker.
 *
 * The master is trusted: what is wrong with its frames is a bug, and ends the worker. Final frames go up in the order
 * they came. When the master does not read, handlers are not read either.
 */
#include "config.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#include "common/log.h"
#include "worker/internal.h"

#define PENDING_HIGH	(8u << 20)	/* bytes for the master before handlers are held up */
#define LOG_PENDING	(2u << 20)	/* bytes for the master before log lines are dropped */
#define MESSAGE_BYTES	2048

static void
broken(struct worker *w, const char *what, const char *why)
{
	log_error("from the master: %s: %s", what, why);
	worker_stop(w, "the link is broken", EX_SOFTWARE);
}

/* From the master */

static void
on_setup(struct worker *w, struct msg *frame)
{
	struct msg_setup m;
	const char *why;

	if (msg_setup_decode(frame, &m, &why) == -1)
		broken(w, "SETUP", why);
	else
		worker_set_up(w, &m);
}

static void
on_events(struct worker *w, struct msg *frame)
{
	struct msg_events m;
	const char *why;

	if (msg_events_decode(frame, &m, &why) == -1)
		broken(w, "EVENTS", why);
	else
		events_set(w, m.schemas, m.schemas_n);
}

static void
on_run(struct worker *w, struct msg *frame, const uint8_t *body, size_t len)
{
	struct msg_run m;
	const char *why;

	if (msg_run_decode(frame, &m, &why) == -1)
		broken(w, "RUN", why);
	else
		worker_run(w, frame->exec, &m, body, len);
}

static void
on_cancel(struct worker *w, struct msg *frame)
{
	struct execution *x = exec_find(w, frame->exec);
	struct msg_cancel m;
	const char *why;

	if (msg_cancel_decode(frame, &m, &why) == -1)
		broken(w, "CANCEL", why);
	else if (x != NULL)
		exec_cancel(w, x, &m);
}

static void
on_drain(struct worker *w, struct msg *frame)
{
	struct msg_drain m;
	const char *why;

	struct execution *x = exec_find(w, frame->exec);

	if (msg_drain_decode(frame, &m, &why) == -1)
		broken(w, "DRAIN", why);
	else if (frame->exec == 0)
		worker_begin_drain(w, m.deadline_ms);
	else if (x != NULL)
		exec_leave(x);
}

static void
link_frame(struct peer *peer, const uint8_t *body, size_t len, void *arg)
{
	struct worker *w = arg;
	struct msg *frame = &w->frame;
	const char *why;

	(void)peer;
	if (msg_open(frame, body, len, &why) == -1) {
		broken(w, "frame", why);
		return;
	}
	if (!msg_known(frame->type) && msg_ignorable(frame->type))
		return;
	if (!msg_allowed(frame->type, MSG_MASTER_TO_WORKER) || (!w->set_up && frame->type != MSG_SETUP)) {
		broken(w, msg_name(frame->type), "out of place");
		return;
	}
	switch (frame->type) {
	case MSG_SETUP:
		on_setup(w, frame);
		break;
	case MSG_EVENTS:
		on_events(w, frame);
		break;
	case MSG_RUN:
		on_run(w, frame, body, len);
		break;
	case MSG_CANCEL:
		on_cancel(w, frame);
		break;
	case MSG_DRAIN:
		on_drain(w, frame);
		break;
	case MSG_STEP_OK:
	case MSG_RETURN:
	case MSG_STEPS:
		durable_answer(w, frame, body, len);
		break;
	}
}

static void
link_closed(struct peer *peer, const char *why, void *arg)
{
	struct worker *w = arg;

	w->master = NULL;
	peer_free(peer);
	worker_stop(w, why, 0);
}

static void
link_flushed(struct peer *peer, void *arg)
{
	struct worker *w = arg;

	(void)peer;
	worker_choke(w, false);
}

static const struct peer_ops link_ops = {
	.frame = link_frame,
	.closed = link_closed,
	.flushed = link_flushed,
};

void
link_open(struct worker *w, int fd)
{
	/* What the master may send is bounded by what it was told to accept itself. */
	w->master = peer_new(w->base, fd, UINT32_MAX, &link_ops, w);
}

/* To the master */

static struct buf *
out(struct worker *w)
{
	static struct buf nobody;

	if (w->master != NULL)
		return peer_out(w->master);
	buf_reset(&nobody, 0);
	return &nobody;
}

static void
flush(struct worker *w)
{
	if (w->master == NULL)
		return;
	peer_flush(w->master);
	if (!w->choked && peer_pending(w->master) > PENDING_HIGH)
		worker_choke(w, true);
}

/* A peer tells that it is flushed only if it had to wait for the socket. */
void
link_check_choked(struct worker *w)
{
	worker_choke(w, w->master != NULL && peer_pending(w->master) > PENDING_HIGH / 2);
}

void
link_forward(struct worker *w, const uint8_t *body, size_t len)
{
	if (w->master != NULL)
		peer_send_raw(w->master, body, len);
	flush(w);
}

void
link_send_fail(struct worker *w, uint64_t exec, const struct msg_fail *fail)
{
	msg_fail_encode(out(w), exec, fail);
	flush(w);
}

void
link_fail(struct worker *w, uint64_t exec, const char *code, bool retry, const char *fmt, ...)
{
	char raw[MESSAGE_BYTES];
	struct msg_fail fail = { .code = pstr(code), .has_retry = !retry, .retry = retry };
	struct buf text;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(raw, sizeof(raw), fmt, ap);
	va_end(ap);
	if (n > (int)sizeof(raw) - 1)
		n = (int)sizeof(raw) - 1;
	buf_init(&text);
	text_clean(&text, raw, (size_t)n, sizeof(raw));
	fail.message = (struct pstr){ (const char *)buf_ptr(&text), text.len };
	link_send_fail(w, exec, &fail);
	buf_free(&text);
}

void
link_fail_cut(struct worker *w, uint64_t exec, struct msg_fail *fail)
{
	struct buf text;

	buf_init(&text);
	text_clean(&text, fail->message.p, fail->message.len, MESSAGE_BYTES);
	fail->message = (struct pstr){ text.len > 0 ? (const char *)buf_ptr(&text) : "", text.len };
	fail->stack = fail->data = (struct pstr){ NULL, 0 };
	if (fail->code.len > 64)
		fail->code = pstr("app");
	if (fail->type.len > MESSAGE_BYTES)
		fail->type = (struct pstr){ NULL, 0 };
	link_send_fail(w, exec, fail);
	buf_free(&text);
}

void
link_done(struct worker *w, uint64_t exec, struct pstr result)
{
	struct msg_done done = { .result = result };

	msg_done_encode(out(w), exec, &done);
	flush(w);
}

void
link_deferred(struct worker *w, uint64_t exec, struct pstr message)
{
	struct msg_deferred deferred = { .message = message };

	msg_deferred_encode(out(w), exec, &deferred);
	flush(w);
}

void
link_returned(struct worker *w, uint64_t *execs, size_t n, const char *reason)
{
	struct msg_returned returned = { .execs = execs, .execs_n = n, .reason = pstr(reason) };

	if (n == 0)
		return;
	msg_returned_encode(out(w), 0, &returned);
	flush(w);
}

void
link_started(struct worker *w, const struct pool *pool, pid_t pid, uint64_t *execs, size_t n)
{
	struct msg_started started = { .execs = execs, .execs_n = n, .pid = (uint64_t)pid, .pool = pool->number };

	msg_started_encode(out(w), 0, &started);
	flush(w);
}

void
link_slots(struct worker *w, unsigned pool, int64_t n)
{
	struct msg_slots slots = { .pool = pool, .slots = n };

	msg_slots_encode(out(w), 0, &slots);
	flush(w);
}

void
link_announce(struct worker *w, const struct msg_announce *announce)
{
	msg_announce_encode(out(w), 0, announce);
	flush(w);
}

void
link_broken(struct worker *w, const struct pool *pool, const char *reason)
{
	struct msg_broken m = { .pool = pool->number };
	struct buf text;

	buf_init(&text);
	text_clean(&text, reason, strlen(reason), MESSAGE_BYTES);
	m.reason = (struct pstr){ text.len > 0 ? (const char *)buf_ptr(&text) : "", text.len };
	msg_broken_encode(out(w), 0, &m);
	flush(w);
	buf_free(&text);
}

bool
link_log(struct worker *w, uint64_t exec, const struct msg_log *line)
{
	if (w->master == NULL || peer_pending(w->master) > LOG_PENDING)
		return false;
	msg_log_encode(out(w), exec, line);
	flush(w);
	return true;
}

void
link_call(struct worker *w, uint64_t exec, const struct msg_call *call)
{
	msg_call_encode(out(w), exec, call);
	flush(w);
}

void
link_journal(struct worker *w, uint64_t exec, uint64_t after)
{
	struct msg_journal m = { .after = after };

	msg_journal_encode(out(w), exec, &m);
	flush(w);
}

void
link_bye(struct worker *w)
{
	struct msg_bye bye = { 0 };

	msg_bye_encode(out(w), 0, &bye);
	flush(w);
}
