/*
 * What a call within a command says, once it has joined its run: one dispatcher, a function for each message. Worker.
 *
 * It may save steps, suspend the run and ask for what any handler may, but the command itself ends the execution. What is
 * in order is forwarded to the master as it came.
 */
#include "config.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "common/log.h"
#include "common/xmalloc.h"
#include "worker/internal.h"

#define INLINE_BYTES	(256u << 10)	/* of saved steps in a frame, if it is more than one */

/* Whether anything that it does still counts; LOG always does. */
static bool
is_over(const struct caller *c)
{
	return c->o->x->stop == STOP_SUSPENDED || c->o->x->stop == STOP_REFUSED;
}

static void
on_step(struct caller *c, const struct msg_step *m, const uint8_t *body, size_t len)
{
	struct kept *k;

	if (is_over(c) || !durable_step_ok(c->o->x, m))
		return;
	k = c->o->keys != NULL ? keys_get(c->o->keys, m->key) : NULL;
	if (k == NULL || k->caller != c) {
		caller_refuse(c, "protocol error: STEP with a key that is not its own");
	} else if (k->saved) {
		exec_refuse(c->o->x, "nondeterminism", "the key \"%.200s\" has a result already", k->key);
	} else {
		k->saved = true;
		link_forward(c->w, body, len);
	}
}

static void
on_suspend(struct caller *c, const struct msg_suspend *m, const uint8_t *body, size_t len)
{
	struct oneshot *o = c->o;
	char text[SUSPEND_TEXT];
	const char *code;

	if (o->x->stop != STOP_NONE)
		return;
	if (!durable_suspend_ok(c->w, m, &code, text)) {
		exec_refuse(o->x, code, "%s", text);
		return;
	}
	buf_add(&o->suspend, body, len);
	exec_suspend(o->x);
}

/* Of a key used twice; that it was stopped, which is known; or what the command fails with, unless it goes on. */
static void
on_fail(struct caller *c, struct msg_fail *m, size_t len)
{
	struct oneshot *o = c->o;

	if (pstr_is(m->code, "nondeterminism")) {
		exec_refuse(o->x, "nondeterminism", "%.*s", (int)(m->message.len < 400 ? m->message.len : 400), m->message.p);
		return;
	}
	if (o->x->stop != STOP_NONE)
		return;
	if (len > c->w->max_payload) {
		caller_refuse(c, "what it fails with is too long");
		return;
	}
	if (m->data.p != NULL && json_check(m->data.p, m->data.len, NULL, NULL) == -1)
		m->data.p = NULL;
	o->for_good = m->has_retry && !m->retry;
	buf_reset(&o->failure, 0);
	msg_fail_encode(&o->failure, o->x->exec, m);
	buf_drain(&o->failure, MSG_HEAD);
}

static void
on_call(struct caller *c, struct msg_call *m)
{
	if (!durable_call_ok(c->peer, c->o->x, m) || is_over(c))
		return;
	m->call |= c->number << CALL_BITS;
	link_call(c->w, c->o->x->exec, m);
}

/* More of what is saved under its keys. */
static void
on_journal(struct caller *c, const struct msg_journal *m)
{
	struct msg_steps answer = { .has_more_steps = true };
	size_t bytes = 0, first = m->after < c->saved_n ? (size_t)m->after : c->saved_n;
	struct msg_saved *steps = xcalloc(c->saved_n + 1, sizeof(*steps));

	for (size_t i = first; i < c->saved_n && (i == first || bytes < INLINE_BYTES); i++) {
		struct msg_saved *s = &steps[answer.steps_n++];

		s->key = pstr(c->saved[i]->key);
		s->result = pstr(c->saved[i]->result);
		s->error = pstr(c->saved[i]->error);
		bytes += s->key.len + s->result.len + s->error.len;
		/* The next one might not fit any more. */
		if (i + 1 < c->saved_n && c->saved[i + 1]->result != NULL)
			bytes += strlen(c->saved[i + 1]->result);
	}
	answer.steps = steps;
	answer.more_steps = first + answer.steps_n < c->saved_n;
	msg_steps_encode(peer_out(c->peer), c->o->x->exec, &answer);
	peer_flush(c->peer);
	free(steps);
}

static void
on_log(struct caller *c, const struct msg_log *m)
{
	stream_catch_up(&c->o->err);
	meter_log(&c->o->meter, m, c->o->x);
}

/* One function for each; -1 with the reason when it is not what it should be. */
static int
dispatch(struct caller *c, struct msg *frame, const uint8_t *body, size_t len, const char **why)
{
	union {
		struct msg_step step;
		struct msg_suspend suspend;
		struct msg_fail fail;
		struct msg_call call;
		struct msg_journal journal;
		struct msg_progress progress;
		struct msg_log log;
	} u;

	switch (frame->type) {
	case MSG_STEP:
		if (msg_step_decode(frame, &u.step, why) == -1)
			return -1;
		on_step(c, &u.step, body, len);
		return 0;
	case MSG_SUSPEND:
		if (msg_suspend_decode(frame, &u.suspend, why) == -1)
			return -1;
		on_suspend(c, &u.suspend, body, len);
		return 0;
	case MSG_FAIL:
		if (msg_fail_decode(frame, &u.fail, why) == -1)
			return -1;
		on_fail(c, &u.fail, len);
		return 0;
	case MSG_CALL:
		if (msg_call_decode(frame, &u.call, why) == -1)
			return -1;
		on_call(c, &u.call);
		return 0;
	case MSG_JOURNAL:
		if (msg_journal_decode(frame, &u.journal, why) == -1)
			return -1;
		on_journal(c, &u.journal);
		return 0;
	case MSG_PROGRESS:
		if (msg_progress_decode(frame, &u.progress, why) == -1)
			return -1;
		if (!is_over(c))
			link_forward(c->w, body, len);
		return 0;
	case MSG_LOG:
		if (msg_log_decode(frame, &u.log, why) == -1)
			return -1;
		on_log(c, &u.log);
		return 0;
	}
	*why = "it is not for a call within a command";
	return -1;
}

static void
caller_frame(struct peer *peer, const uint8_t *body, size_t len, void *arg)
{
	struct caller *c = arg;
	struct msg *frame = &c->w->frame;
	const char *why;

	(void)peer;
	if (msg_open(frame, body, len, &why) == -1)
		caller_refuse(c, "protocol error: %s", why);
	else if (!msg_known(frame->type) && msg_ignorable(frame->type))
		return;
	else if (frame->type == MSG_HELLO)
		caller_hello(c, frame);
	else if (peer_pending(c->peer) > c->w->max_frame)
		caller_refuse(c, "it does not read");
	else if (c->state != CALLER_JOINED || !msg_allowed(frame->type, MSG_HANDLER_TO_WORKER))
		caller_refuse(c, "protocol error: %s is out of place", msg_name(frame->type));
	else if (frame->type == MSG_BYE)
		peer_close(c->peer, "BYE");
	else if (frame->type == MSG_BEAT)
		return;
	else if (frame->exec != c->o->x->exec)
		caller_refuse(c, "protocol error: %s for execution %" PRIu64 ", which it does not have", msg_name(frame->type),
		    frame->exec);
	else if (dispatch(c, frame, body, len, &why) == -1)
		caller_refuse(c, "protocol error: %s: %s", msg_name(frame->type), why);
}

static void
caller_closed(struct peer *peer, const char *why, void *arg)
{
	(void)peer;
	(void)why;
	caller_free(arg);
}

const struct peer_ops caller_ops = {
	.frame = caller_frame,
	.closed = caller_closed,
};
