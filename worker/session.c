/*
 * What a handler says: one dispatcher, a function for each message. Worker.
 *
 * Handlers are not trusted. Whatever breaks the protocol ends that handler alone. Final frames that are in order are
 * forwarded to the master as they came.
 */
#include "config.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "common/log.h"
#include "common/xmalloc.h"
#include "worker/internal.h"

#define PROTOCOL	1
#define TASKS_MAX	4096
#define TASK_NAME_MAX	128
#define QUEUE_NAME_MAX	63
#define BATCH_MAX	1000
#define BATCH_MS_MAX	86400000

static const char *const capabilities[] = { "beat", "call", "cancel", "credit", "drain", "log", "progress", "step",
	"suspend" };

#define CAPABILITIES (sizeof(capabilities) / sizeof(capabilities[0]))

static bool
is_json(struct pstr s)
{
	const char *why;
	size_t at;

	return json_check(s.p, s.len, &at, &why) == 0;
}

/* HELLO */

static int
by_name(const void *a, const void *b)
{
	const struct pstr *s = a, *t = b;
	int order = memcmp(s->p, t->p, s->len < t->len ? s->len : t->len);

	return order != 0 ? order : s->len < t->len ? -1 : s->len > t->len;
}

/* The name that stands in it twice; p NULL: none. */
static struct pstr
twice(const struct msg_hello *m)
{
	struct pstr *names = xcalloc(m->tasks_n + 1, sizeof(*names)), found = { NULL, 0 };

	for (size_t i = 0; i < m->tasks_n; i++)
		names[i] = m->tasks[i].name;
	qsort(names, m->tasks_n, sizeof(*names), by_name);
	for (size_t i = 1; i < m->tasks_n && found.p == NULL; i++)
		if (by_name(&names[i - 1], &names[i]) == 0)
			found = names[i];
	free(names);
	return found;
}

static bool
has_capability(const struct msg_hello *m, const char *name)
{
	for (size_t i = 0; i < m->capabilities_n; i++)
		if (pstr_is(m->capabilities[i], name))
			return true;
	return false;
}

static bool
speaks(const struct msg_hello *m, uint64_t protocol)
{
	for (size_t i = 0; i < m->protocols_n; i++)
		if (m->protocols[i] == protocol)
			return true;
	return false;
}

static bool
task_name_ok(struct pstr s)
{
	if (s.len == 0 || s.len > TASK_NAME_MAX || strchr(".:-", s.p[0]) != NULL)
		return false;
	for (size_t i = 0; i < s.len; i++)
		if (!((s.p[i] >= 'a' && s.p[i] <= 'z') || (s.p[i] >= 'A' && s.p[i] <= 'Z') ||
		    (s.p[i] >= '0' && s.p[i] <= '9') || strchr("_.:-", s.p[i]) != NULL))
			return false;
	return true;
}

static bool
queue_name_ok(struct pstr s)
{
	if (s.len == 0 || s.len > QUEUE_NAME_MAX || s.p[0] == '.' || s.p[0] == '-')
		return false;
	for (size_t i = 0; i < s.len; i++)
		if (!((s.p[i] >= 'a' && s.p[i] <= 'z') || (s.p[i] >= '0' && s.p[i] <= '9') ||
		    strchr("_.-", s.p[i]) != NULL))
			return false;
	return true;
}

static bool
tasks_ok(struct handler *h, const struct msg_hello *m)
{
	struct pstr again;

	if (m->tasks_n > TASKS_MAX) {
		handler_fault(h, "HELLO: %zu tasks; at most %d", m->tasks_n, TASKS_MAX);
		return false;
	}
	for (size_t i = 0; i < m->tasks_n; i++) {
		const struct msg_task *t = &m->tasks[i];

		if (!task_name_ok(t->name)) {
			handler_fault(h, "HELLO: \"%.*s\" is not a task name", (int)(t->name.len < 64 ? t->name.len : 64),
			    t->name.p);
			return false;
		}
		if (t->queue.p != NULL && !queue_name_ok(t->queue)) {
			handler_fault(h, "HELLO: queue of task %.*s: not a queue name", (int)t->name.len, t->name.p);
			return false;
		}
		if (t->options.p != NULL && !is_json(t->options)) {
			handler_fault(h, "HELLO: options of task %.*s: not JSON", (int)t->name.len, t->name.p);
			return false;
		}
		if (t->triggers.p != NULL && !is_json(t->triggers)) {
			handler_fault(h, "HELLO: triggers of task %.*s: not JSON", (int)t->name.len, t->name.p);
			return false;
		}
		if (t->has_batch && (t->batch.size == 0 || t->batch.size > BATCH_MAX || t->batch.timeout_ms > BATCH_MS_MAX)) {
			handler_fault(h, "HELLO: batch of task %.*s: its size is not from 1 to %d, or its timeout above a day",
			    (int)t->name.len, t->name.p, BATCH_MAX);
			return false;
		}
	}
	again = twice(m);
	if (again.p != NULL)
		handler_fault(h, "HELLO: task %.*s stands in it twice", (int)again.len, again.p);
	return again.p == NULL;
}

static uint64_t
bounded(uint64_t n)
{
	return n < CREDIT_MAX ? n : CREDIT_MAX;
}

static void
take_hello(struct handler *h, const struct msg_hello *m)
{
	uint64_t concurrency = m->has_concurrency && m->concurrency > 0 ? bounded(m->concurrency) : 0;

	/* A handler that says how many it runs and not how many it takes wants that many. */
	if (m->has_credit)
		h->credit = bounded(m->credit);
	else
		h->credit = concurrency != 0 ? concurrency : 1;
	h->concurrency = concurrency != 0 ? concurrency : h->credit != 0 ? h->credit : 1;
	if (h->program->credit != 0)
		h->credit = h->program->credit;
	h->window = m->has_window ? m->window : 0;
	h->can_cancel = has_capability(m, "cancel");
	h->can_drain = has_capability(m, "drain");
	h->beat_ms = m->has_beat_ms ? m->beat_ms : 0;
	h->said_hello = true;
}

static void
send_welcome(struct handler *h, const struct msg_hello *m)
{
	struct pstr shared[CAPABILITIES];
	struct msg_welcome welcome = {
		.protocol = PROTOCOL,
		.queue = pstr(h->w->queue),
		.max_frame = h->w->max_frame,
		.max_payload = h->w->max_payload,
		.capabilities = shared,
	};

	for (size_t i = 0; i < CAPABILITIES; i++)
		if (has_capability(m, capabilities[i]))
			shared[welcome.capabilities_n++] = pstr(capabilities[i]);
	msg_welcome_encode(peer_out(h->peer), 0, &welcome);
	peer_flush(h->peer);
}

static void
on_hello(struct handler *h, struct msg *frame)
{
	char fault[SCHEMAS_WHY];
	struct schemas *schemas;
	struct msg_hello m;
	const char *why;
	bool announced;

	if (h->said_hello) {
		handler_fault(h, "protocol error: a second HELLO");
		return;
	}
	if (msg_hello_decode(frame, &m, &why) == -1) {
		handler_fault(h, "protocol error: %s", why);
		return;
	}
	if (!speaks(&m, PROTOCOL)) {
		handler_fault(h, "it does not speak version %d of the protocol", PROTOCOL);
		return;
	}
	if (!tasks_ok(h, &m))
		return;
	if (!schemas_make(&schemas, h->w, m.tasks, m.tasks_n, m.events, m.events_n, fault)) {
		handler_fault(h, "HELLO: %s", fault);
		return;
	}
	take_hello(h, &m);
	send_welcome(h, &m);
	handler_watch_beat(h);
	announced = pool_announce(h->pool, &m, schemas);
	pool_handler_ready(h->pool, h, announced);
}

/* Final frames */

struct execution *
session_execution(struct handler *h, const struct msg *frame)
{
	struct execution *x = exec_find(h->w, frame->exec);

	if (x != NULL && x->handler == h) {
		/* What it has printed so far is this one's, as long as it is alone. */
		if (h->outstanding_n == 1)
			stream_catch_up(&h->log);
		return x;
	}
	/* It ended while CANCEL was on its way, and then answered that. */
	if (x == NULL && h->strays > 0) {
		if (frame->type == MSG_DONE || frame->type == MSG_FAIL || frame->type == MSG_SUSPEND)
			h->strays--;
		return NULL;
	}
	handler_fault(h, "protocol error: %s for execution %" PRIu64 ", which it does not have", msg_name(frame->type),
	    frame->exec);
	return NULL;
}

static void
on_done(struct handler *h, struct msg *frame, const uint8_t *body, size_t len)
{
	struct execution *x = session_execution(h, frame);
	struct worker *w = h->w;
	char fault[SCHEMAS_WHY];
	struct msg_done m;
	const char *why;
	size_t at;

	if (x == NULL)
		return;
	if (msg_done_decode(frame, &m, &why) == -1) {
		handler_fault(h, "protocol error: %s", why);
		return;
	}
	handler_tell_started(h);
	if (x->stop == STOP_REFUSED)
		exec_fail_stopped(w, x);
	else if (m.result.len > w->max_payload)
		link_fail(w, x->exec, "oversize", false, "the result is %zu bytes long; the limit is %" PRIu64,
		    m.result.len, w->max_payload);
	else if (m.result.p != NULL && json_check(m.result.p, m.result.len, &at, &why) == -1)
		link_fail(w, x->exec, "bad_result", true, "the result is not JSON: %s at byte %zu", why, at);
	else if (!schemas_take_result(x->pool, x->task, m.result, fault))
		link_fail(w, x->exec, "bad_result", true, "%s", fault);
	else
		link_forward(w, body, len);
	handler_answered(h, x);
}

static void
on_fail(struct handler *h, struct msg *frame, const uint8_t *body, size_t len)
{
	struct execution *x = session_execution(h, frame);
	struct msg_fail m;
	const char *why;

	if (x == NULL)
		return;
	if (msg_fail_decode(frame, &m, &why) == -1) {
		handler_fault(h, "protocol error: %s", why);
		return;
	}
	handler_tell_started(h);
	if (x->stop != STOP_NONE && h->strays > 0)
		h->strays--;	/* this is the answer */
	if (x->stop != STOP_NONE)
		exec_fail_stopped(h->w, x);
	else if (len > h->w->max_payload || (m.data.p != NULL && !is_json(m.data)))
		link_fail_cut(h->w, x->exec, &m);
	else
		link_forward(h->w, body, len);
	handler_answered(h, x);
}

/* The session */

static void
on_credit(struct handler *h, struct msg *frame)
{
	struct msg_credit m;
	const char *why;

	if (msg_credit_decode(frame, &m, &why) == -1) {
		handler_fault(h, "protocol error: %s", why);
		return;
	}
	h->credit = bounded(m.credit);
	pool_touch(h->pool);
	pool_place_waiting(h->pool);
}

static void
on_log(struct handler *h, struct msg *frame)
{
	struct execution *x = exec_find(h->w, frame->exec);
	struct msg_log m;
	const char *why;

	if (msg_log_decode(frame, &m, &why) == -1) {
		handler_fault(h, "protocol error: %s", why);
		return;
	}
	/* What it has printed before stands before this. */
	stream_listen(&h->log);
	stream_catch_up(&h->log);
	meter_log(&h->meter, &m, x != NULL && x->handler == h ? x : NULL);
}

static void
on_bye(struct handler *h)
{
	h->said_bye = true;
	if (h->state == HANDLER_READY)
		handler_set_state(h, HANDLER_DRAINING, "BYE");
	if (h->state == HANDLER_DRAINING || h->state == HANDLER_ENDING)
		handler_finish(h);
}

static void
dispatch(struct handler *h, struct msg *frame, const uint8_t *body, size_t len)
{
	switch (frame->type) {
	case MSG_HELLO:
		on_hello(h, frame);
		break;
	case MSG_DONE:
		on_done(h, frame, body, len);
		break;
	case MSG_FAIL:
		on_fail(h, frame, body, len);
		break;
	case MSG_CREDIT:
		on_credit(h, frame);
		break;
	case MSG_LOG:
		on_log(h, frame);
		break;
	case MSG_STEP:
		durable_step(h, frame, body, len);
		break;
	case MSG_SUSPEND:
		durable_suspend(h, frame, body, len);
		break;
	case MSG_CALL:
		durable_call(h, frame, body, len);
		break;
	case MSG_PROGRESS:
		durable_progress(h, frame, body, len);
		break;
	case MSG_JOURNAL:
		durable_journal(h, frame, body, len);
		break;
	case MSG_BEAT:
		/* That it came is all there is to it. */
		break;
	case MSG_BYE:
		on_bye(h);
		break;
	}
}

static void
session_frame(struct peer *peer, const uint8_t *body, size_t len, void *arg)
{
	struct handler *h = arg;
	struct msg *frame = &h->w->frame;
	const char *why;

	(void)peer;
	if (h->blame == BLAME_FAULT)
		return;
	h->silent = 0;
	if (msg_open(frame, body, len, &why) == -1)
		handler_fault(h, "protocol error: %s", why);
	else if (!h->said_hello && frame->type != MSG_HELLO)
		handler_fault(h, "protocol error: its first frame is not HELLO");
	else if (!msg_known(frame->type) && msg_ignorable(frame->type))
		log_debug("handler %s[%d]: ignored type %u", h->program->name, (int)h->proc.pid, frame->type);
	else if (!msg_allowed(frame->type, MSG_HANDLER_TO_WORKER))
		handler_fault(h, "protocol error: a handler does not send type %u (%s)", frame->type,
		    msg_name(frame->type));
	else
		dispatch(h, frame, body, len);
}

static void
session_drained(struct peer *peer, void *arg)
{
	(void)peer;
	handler_check_ended(arg);
}

static void
session_closed(struct peer *peer, const char *why, void *arg)
{
	(void)peer;
	handler_closed(arg, why);
}

/* It reads again. */
static void
session_flushed(struct peer *peer, void *arg)
{
	struct handler *h = arg;

	(void)peer;
	pool_touch(h->pool);
	pool_place_waiting(h->pool);
}

const struct peer_ops session_ops = {
	.frame = session_frame,
	.drained = session_drained,
	.closed = session_closed,
	.flushed = session_flushed,
};
