/*
 * Executions that last: steps, waiting and calls on their way between a handler and the master. Worker.
 *
 * What a handler sends is checked as its outcomes are, then handed on as it came; answers go the other way. Nothing is
 * kept here. What cannot be handed on fails that execution, or that call, and not the handler.
 */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/json.h"
#include "common/log.h"
#include "worker/internal.h"

#define KEY_BYTES	1024		/* of a step's key: it stands in an index */
#define WAITS_MAX	100000		/* of one SUSPEND */

static bool
is_json(struct pstr s, const char **why, size_t *at)
{
	return s.p == NULL || json_check(s.p, s.len, at, why) == 0;
}

static bool
key_ok(struct execution *x, struct pstr key)
{
	if (key.len > 0 && key.len <= KEY_BYTES)
		return true;
	exec_refuse(x, "app", "the key of a step is %s", key.len == 0 ? "empty" : "longer than 1024 bytes");
	return false;
}

bool
durable_step_ok(struct execution *x, const struct msg_step *m)
{
	const char *why;
	size_t at;

	if (!key_ok(x, m->key))
		return false;
	if (m->result.len > x->w->max_payload) {
		exec_refuse(x, "oversize", "the result of step %.*s is %zu bytes long; the limit is %" PRIu64, (int)m->key.len,
		    m->key.p, m->result.len, x->w->max_payload);
		return false;
	}
	if (!is_json(m->result, &why, &at)) {
		exec_refuse(x, "bad_result", "the result of step %.*s is not JSON: %s at byte %zu", (int)m->key.len, m->key.p,
		    why, at);
		return false;
	}
	return true;
}

/* Whose frame it is; not one of a batch, which can be neither stopped nor resumed by itself. */
static struct execution *
lasting(struct handler *h, const struct msg *frame)
{
	struct execution *x = session_execution(h, frame);

	if (x == NULL || x->batch == NULL)
		return x;
	handler_fault(h, "protocol error: %s for execution %" PRIu64 ", which is of a batch: it has no steps, and does not wait",
	    msg_name(frame->type), frame->exec);
	return NULL;
}

void
durable_step(struct handler *h, struct msg *frame, const uint8_t *body, size_t len)
{
	struct execution *x = lasting(h, frame);
	struct msg_step m;
	const char *why;

	if (x == NULL)
		return;
	if (msg_step_decode(frame, &m, &why) == -1) {
		handler_fault(h, "protocol error: %s", why);
		return;
	}
	if (!durable_step_ok(x, &m))
		return;
	handler_tell_started(h);
	link_forward(h->w, body, len);
}

/* What is wrong with what it waits for; NULL: nothing. */
static const char *
bad_wait(const struct worker *w, const struct msg_wait *wait)
{
	const char *why;
	size_t at;

	if (wait->key.len == 0 || wait->key.len > KEY_BYTES)
		return "its key is empty, or longer than 1024 bytes";
	if (wait->has_timer_ms + (wait->task.p != NULL) + (wait->event.p != NULL) + (wait->change.p != NULL) != 1)
		return "it is neither a timer nor an event nor a change nor a child";
	if (wait->since.p != NULL && ((wait->event.p == NULL && wait->change.p == NULL) || !pstr_is(wait->since, "start")))
		return "since is neither left out nor \"start\", for an event or a change";
	if (wait->change.p != NULL && !is_json(wait->change, &why, &at))
		return "its change is not JSON";
	if (wait->payload.len > w->max_payload)
		return "its payload is too long";
	if (!is_json(wait->payload, &why, &at))
		return "its payload is not JSON";
	if (wait->metadata.len > w->max_payload)
		return "its metadata is too long";
	if (!is_json(wait->metadata, &why, &at))
		return "its metadata is not JSON";
	return NULL;
}

bool
durable_suspend_ok(const struct worker *w, const struct msg_suspend *m, const char **code, char *text)
{
	if (m->waits_n > WAITS_MAX) {
		*code = "oversize";
		snprintf(text, SUSPEND_TEXT, "it waits for %zu things at once; the limit is %d", m->waits_n, WAITS_MAX);
		return false;
	}
	for (size_t i = 0; i < m->waits_n; i++) {
		const struct msg_wait *wait = &m->waits[i];
		const char *bad = bad_wait(w, wait);

		if (bad == NULL)
			continue;
		*code = "app";
		snprintf(text, SUSPEND_TEXT, "waiting for %.*s: %s", (int)(wait->key.len < 200 ? wait->key.len : 200), wait->key.p,
		    bad);
		return false;
	}
	return true;
}

/* As an outcome, it gives the credit back and is the last that is said of the run. */
void
durable_suspend(struct handler *h, struct msg *frame, const uint8_t *body, size_t len)
{
	struct execution *x = lasting(h, frame);
	char text[SUSPEND_TEXT];
	struct msg_suspend m;
	const char *why;

	if (x == NULL)
		return;
	if (msg_suspend_decode(frame, &m, &why) == -1) {
		handler_fault(h, "protocol error: %s", why);
		return;
	}
	handler_tell_started(h);
	if (x->stop == STOP_REFUSED)
		exec_fail_stopped(h->w, x);
	else if (durable_suspend_ok(h->w, &m, &why, text))
		link_forward(h->w, body, len);
	else
		link_fail(h->w, x->exec, why, false, "%s", text);
	handler_answered(h, x);
}

static void
refuse_call(struct peer *peer, uint64_t exec, uint64_t call, const char *code, const char *why)
{
	struct msg_return m = { .call = call };
	struct buf error;

	buf_init(&error);
	buf_addf(&error, "{\"code\":\"%s\",\"message\":", code);
	json_quote(&error, why, strlen(why));
	buf_addstr(&error, "}");
	m.error = (struct pstr){ (const char *)buf_ptr(&error), error.len };
	msg_return_encode(peer_out(peer), exec, &m);
	peer_flush(peer);
	buf_free(&error);
}

bool
durable_call_ok(struct peer *peer, struct execution *x, const struct msg_call *m)
{
	char fault[SCHEMAS_WHY];
	const char *why;
	size_t at;

	if (m->args.len > x->w->max_payload)
		refuse_call(peer, x->exec, m->call, "bad_args", "the arguments are too long");
	else if (!is_json(m->args, &why, &at))
		refuse_call(peer, x->exec, m->call, "bad_args", "the arguments are not JSON");
	else if (m->call >> CALL_BITS != 0 && x->oneshot != NULL)
		refuse_call(peer, x->exec, m->call, "bad_args", "the number of the call is too high");
	else if (!schemas_take_emit(x->pool, m, fault))
		refuse_call(peer, x->exec, m->call, "bad_payload", fault);
	else
		return true;
	return false;
}

void
durable_call(struct handler *h, struct msg *frame, const uint8_t *body, size_t len)
{
	struct execution *x = session_execution(h, frame);
	struct msg_call m;
	const char *why;

	if (x == NULL)
		return;
	if (msg_call_decode(frame, &m, &why) == -1) {
		handler_fault(h, "protocol error: %s", why);
		return;
	}
	if (!durable_call_ok(h->peer, x, &m))
		return;
	handler_tell_started(h);
	link_forward(h->w, body, len);
}

void
durable_progress(struct handler *h, struct msg *frame, const uint8_t *body, size_t len)
{
	struct execution *x = session_execution(h, frame);
	struct msg_progress m;
	const char *why;

	if (x == NULL)
		return;
	if (msg_progress_decode(frame, &m, &why) == -1) {
		handler_fault(h, "protocol error: %s", why);
		return;
	}
	handler_tell_started(h);
	link_forward(h->w, body, len);
}

void
durable_journal(struct handler *h, struct msg *frame, const uint8_t *body, size_t len)
{
	struct execution *x = lasting(h, frame);
	struct msg_journal m;
	const char *why;

	if (x == NULL)
		return;
	if (msg_journal_decode(frame, &m, &why) == -1) {
		handler_fault(h, "protocol error: %s", why);
		return;
	}
	handler_tell_started(h);
	link_forward(h->w, body, len);
}

/* Whoever asked for them does not get them, but is asked to end. */
static bool
steps_ok(struct execution *x, struct msg *frame)
{
	char fault[SCHEMAS_WHY];
	struct msg_steps m;
	const char *why;

	if (msg_steps_decode(frame, &m, &why) == -1) {
		log_error("from the master: STEPS: %s", why);
		return false;
	}
	if (schemas_take_saved(x->pool, m.steps, m.steps_n, fault))
		return true;
	exec_refuse(x, "bad_payload", "%s", fault);
	return false;
}

void
durable_answer(struct worker *w, struct msg *frame, const uint8_t *body, size_t len)
{
	struct execution *x = exec_find(w, frame->exec);

	/* It may have ended meanwhile. */
	if (x != NULL && frame->type == MSG_STEPS && !steps_ok(x, frame))
		return;
	if (x != NULL && x->handler != NULL && x->handler->peer != NULL)
		peer_send_raw(x->handler->peer, body, len);
	else if (x != NULL && x->oneshot != NULL)
		callers_answer(x->oneshot, frame, body, len);
}
