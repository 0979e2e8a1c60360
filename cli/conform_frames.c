/*
 * The frames that a handler sends, for conform. The cli process only.
 *
 * Every frame of every case is held against the protocol here: what breaks it fails the case that runs.
 */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/conform.h"
#include "common/json.h"
#include "common/xmalloc.h"

/* Not within a character. */
char *
session_cut(const char *s, size_t len)
{
	size_t shown = CONFORM_TEXT;

	if (len <= CONFORM_TEXT)
		return xstrndup(s, len);
	while (((uint8_t)s[shown] & 0xc0) == 0x80)
		shown--;
	return xasprintf("%.*s… (%zu bytes)", (int)shown, s, len);
}

static void
add_cut(struct buf *out, struct pstr text)
{
	char *cut = session_cut(text.p != NULL ? text.p : "null", text.p != NULL ? text.len : 4);

	buf_addstr(out, cut);
	free(cut);
}

static void
add_waits(struct buf *out, const struct msg_suspend *m)
{
	if (m->waits_n == 0)
		buf_addstr(out, " without waits");
	for (size_t i = 0; i < m->waits_n && i < 2; i++) {
		const struct msg_wait *w = &m->waits[i];

		buf_addstr(out, i == 0 ? " with the wait " : " and ");
		add_cut(out, w->key);
		if (w->has_timer_ms)
			buf_addf(out, ", a timer of %" PRIu64 " ms", w->timer_ms);
		if (w->task.p != NULL)
			buf_addf(out, ", a child %.*s", (int)(w->task.len < 128 ? w->task.len : 128), w->task.p);
	}
}

static void
add_details(struct buf *out, const struct frame *f)
{
	switch (f->type) {
	case MSG_DONE:
		buf_addstr(out, " with the result ");
		add_cut(out, f->done.result);
		break;
	case MSG_FAIL:
		buf_addf(out, " with code %.*s: ", (int)(f->fail.code.len < 40 ? f->fail.code.len : 40), f->fail.code.p);
		add_cut(out, f->fail.message);
		break;
	case MSG_SUSPEND:
		add_waits(out, &f->suspend);
		break;
	case MSG_STEP:
		buf_addstr(out, " with the key ");
		add_cut(out, f->step.key);
		buf_addstr(out, " and the result ");
		add_cut(out, f->step.result);
		break;
	case MSG_CALL:
		buf_addf(out, " of %.*s with ", (int)(f->call.name.len < 40 ? f->call.name.len : 40), f->call.name.p);
		add_cut(out, f->call.args);
		break;
	case MSG_PROGRESS:
		if (f->progress.has_percent)
			buf_addf(out, " with percent %" PRIu64, f->progress.percent);
		buf_addstr(out, f->progress.note.p != NULL ? " with the note " : " without a note");
		if (f->progress.note.p != NULL)
			add_cut(out, f->progress.note);
		break;
	case MSG_JOURNAL:
		buf_addf(out, " with after %" PRIu64, f->journal.after);
		break;
	}
}

const char *
session_text(const struct frame *f)
{
	static char *text;
	struct buf b;

	buf_init(&b);
	buf_addstr(&b, msg_name(f->type));
	if (f->type != MSG_BYE) {
		buf_addf(&b, " of execution %" PRIu64, f->exec);
		add_details(&b, f);
	}
	free(text);
	text = buf_steal_str(&b);
	return text;
}

const uint8_t *
session_body(struct session *s, size_t *len)
{
	buf_drain(&s->in, s->taken);
	s->taken = 0;
	if (s->in.len < MSG_HEAD)
		return NULL;
	*len = msg_length(buf_ptr(&s->in));
	if (*len > s->max_frame)
		conform_differs(s, "no frame longer than max_frame", "one of %zu bytes; max_frame is %" PRIu64, *len,
		    s->max_frame);
	if (s->in.len < MSG_HEAD + *len)
		return NULL;
	s->taken = MSG_HEAD + *len;
	return buf_ptr(&s->in) + MSG_HEAD;
}

static void
breach(struct session *s, const char *why)
{
	conform_fail(s, "frames as docs/protocol.md describes them", why);
}

static bool
is_json(struct pstr text)
{
	return json_check(text.p, text.len, NULL, NULL) == 0;
}

static bool
is_object(struct pstr text)
{
	return is_json(text) && text.p[strspn(text.p, " \t\r\n")] == '{';
}

static void
take_credit(struct session *s)
{
	struct msg_credit m;
	const char *why;

	if (msg_credit_decode(&s->msg, &m, &why) == -1)
		breach(s, why);
	s->credit = m.credit;
}

static void
take_log(struct session *s)
{
	static const char *const levels[] = { "debug", "info", "warn", "error" };
	struct msg_log m;
	const char *why;
	bool known = false;

	if (msg_log_decode(&s->msg, &m, &why) == -1)
		breach(s, why);
	for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++)
		known |= m.level.len == strlen(levels[i]) && memcmp(m.level.p, levels[i], m.level.len) == 0;
	if (!known)
		breach(s, "LOG.level: none of debug, info, warn, error");
	if (m.fields.p != NULL && !is_object(m.fields))
		breach(s, "LOG.fields: not a JSON object");
	free(s->last_log.level);
	free(s->last_log.message);
	s->last_log.exec = s->msg.exec;
	s->last_log.level = xstrndup(m.level.p, m.level.len);
	s->last_log.message = xstrndup(m.message.p, m.message.len);
}

/* Frames of an execution. It has it, and until it has answered it. */

static size_t
place_of(const struct session *s, uint64_t exec)
{
	size_t i = 0;

	while (i < s->given_n && s->given[i].exec != exec)
		i++;
	return i;
}

static void
answered(struct session *s, uint64_t exec)
{
	size_t i = place_of(s, exec);

	s->given_bytes -= s->given[i].bytes;
	memmove(&s->given[i], &s->given[i + 1], (s->given_n - i - 1) * sizeof(s->given[0]));
	s->given_n--;
}

static int
decode(struct session *s, struct frame *f, const char **why)
{
	switch (f->type) {
	case MSG_DONE:
		return msg_done_decode(&s->msg, &f->done, why);
	case MSG_FAIL:
		return msg_fail_decode(&s->msg, &f->fail, why);
	case MSG_SUSPEND:
		return msg_suspend_decode(&s->msg, &f->suspend, why);
	case MSG_STEP:
		return msg_step_decode(&s->msg, &f->step, why);
	case MSG_CALL:
		return msg_call_decode(&s->msg, &f->call, why);
	case MSG_PROGRESS:
		return msg_progress_decode(&s->msg, &f->progress, why);
	default:
		return msg_journal_decode(&s->msg, &f->journal, why);
	}
}

static void
check_answer(struct session *s, const struct frame *f)
{
	if (f->type == MSG_DONE && f->done.result.p != NULL && !is_json(f->done.result))
		conform_differs(s, "a result that is JSON", "%s", session_text(f));
	if (f->type == MSG_DONE && f->done.result.len > s->max_payload)
		conform_differs(s, "no result longer than max_payload", "one of %zu bytes; max_payload is %" PRIu64,
		    f->done.result.len, s->max_payload);
	if (f->type == MSG_FAIL && f->fail.data.p != NULL && !is_json(f->fail.data))
		breach(s, "FAIL.data: not JSON");
}

static void
check_step(struct session *s, const struct msg_step *m)
{
	if (m->key.len == 0 || m->key.len > CONFORM_KEY_BYTES)
		breach(s, "STEP.key: not of 1 to 1,024 bytes");
	if (m->result.p != NULL && !is_json(m->result))
		breach(s, "STEP.result: not JSON");
	if (m->result.len > s->max_payload)
		breach(s, "STEP.result: longer than max_payload");
}

static void
check_wait(struct session *s, const struct msg_wait *m)
{
	if (m->key.len == 0 || m->key.len > CONFORM_KEY_BYTES)
		breach(s, "SUSPEND.waits: a key that is not of 1 to 1,024 bytes");
	if (m->has_timer_ms + (m->task.p != NULL) + (m->event.p != NULL) + (m->change.p != NULL) != 1)
		breach(s, "SUSPEND.waits: one that is neither a timer nor an event nor a change nor a child");
	if (m->payload.p != NULL && !is_json(m->payload))
		breach(s, "SUSPEND.waits: a payload that is not JSON");
	if (m->payload.len > s->max_payload)
		breach(s, "SUSPEND.waits: a payload longer than max_payload");
}

static const struct frame *
take_of_execution(struct session *s)
{
	struct frame *f = &s->frame;
	const char *why;

	if (decode(s, f, &why) == -1)
		breach(s, why);
	check_answer(s, f);
	if (f->type == MSG_STEP)
		check_step(s, &f->step);
	for (size_t i = 0; i < f->suspend.waits_n; i++)
		check_wait(s, &f->suspend.waits[i]);
	if (f->type == MSG_CALL && !is_object(f->call.args))
		breach(s, "CALL.args: not a JSON object");
	if (f->type == MSG_PROGRESS && f->progress.percent > 100)
		breach(s, "PROGRESS.percent: above 100");
	if (place_of(s, f->exec) == s->given_n)
		conform_differs(s, "one answer to each execution it was given, and nothing about others", "%s, which it does not have",
		    session_text(f));
	if (f->type == MSG_DONE || f->type == MSG_FAIL || f->type == MSG_SUSPEND)
		answered(s, f->exec);
	return f;
}

/* A frame after WELCOME; NULL: it was the session's own business. */
static const struct frame *
inspect(struct session *s, const uint8_t *body, size_t len)
{
	union {
		struct msg_bye bye;
		struct msg_beat beat;
	} m;
	const char *why;
	char type[64];

	if (msg_open(&s->msg, body, len, &why) == -1)
		breach(s, why);
	memset(&s->frame, 0, sizeof(s->frame));
	s->frame.type = s->msg.type;
	s->frame.exec = s->msg.exec;
	if (s->said_bye && s->after_bye[0] == '\0')
		snprintf(s->after_bye, sizeof(s->after_bye), "type %u (%s)", s->msg.type, msg_name(s->msg.type));
	if (!msg_known(s->msg.type) && msg_ignorable(s->msg.type))
		return NULL;
	if (!msg_allowed(s->msg.type, MSG_HANDLER_TO_WORKER)) {
		snprintf(type, sizeof(type), "type %u, which a handler does not send", s->msg.type);
		conform_fail(s, "messages of a handler", type);
	}
	switch (s->msg.type) {
	case MSG_HELLO:
		s->hellos++;		/* the case hello-once is about this one */
		return NULL;
	case MSG_CREDIT:
		take_credit(s);
		return NULL;
	case MSG_LOG:
		take_log(s);
		return NULL;
	case MSG_BYE:
		if (msg_bye_decode(&s->msg, &m.bye, &why) == -1)
			breach(s, why);
		s->said_bye = true;
		return &s->frame;
	case MSG_BEAT:
		if (msg_beat_decode(&s->msg, &m.beat, &why) == -1)
			breach(s, why);
		return NULL;
	default:
		return take_of_execution(s);
	}
}

const struct frame *
session_try(struct session *s, int64_t until)
{
	const struct frame *f;
	const uint8_t *body;
	bool more = true;
	size_t len;

	for (;;) {
		while ((body = session_body(s, &len)) != NULL)
			if ((f = inspect(s, body, len)) != NULL)
				return f;
		if (!more || s->eof)
			return NULL;
		more = session_pump(s, until);
	}
}

const struct frame *
session_next(struct session *s, const char *expected)
{
	const struct frame *f = session_try(s, session_due());

	if (f == NULL)
		conform_fail(s, expected, session_fate(s));
	return f;
}

const struct frame *
session_final(struct session *s, const char *expected)
{
	const struct frame *f = session_next(s, expected);

	if (f->type != MSG_DONE && f->type != MSG_FAIL)
		conform_fail(s, expected, session_text(f));
	return f;
}
