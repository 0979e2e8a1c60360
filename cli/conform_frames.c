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

const char *
session_text(const struct frame *f)
{
	static char text[2 * CONFORM_TEXT + 200];
	struct pstr what = f->type == MSG_FAIL ? f->fail.message : f->done.result.p != NULL ? f->done.result : pstr("null");
	char *cut;

	if (f->type != MSG_DONE && f->type != MSG_FAIL)
		return msg_name(f->type);
	cut = session_cut(what.p, what.len);
	if (f->type == MSG_DONE)
		snprintf(text, sizeof(text), "DONE of execution %" PRIu64 " with the result %s", f->exec, cut);
	else
		snprintf(text, sizeof(text), "FAIL of execution %" PRIu64 " with code %.*s: %s", f->exec,
		    (int)(f->fail.code.len < 40 ? f->fail.code.len : 40), f->fail.code.p, cut);
	free(cut);
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
	if (m.fields.p != NULL && (!is_json(m.fields) || m.fields.p[strspn(m.fields.p, " \t\r\n")] != '{'))
		breach(s, "LOG.fields: not a JSON object");
	free(s->last_log.level);
	free(s->last_log.message);
	s->last_log.exec = s->msg.exec;
	s->last_log.level = xstrndup(m.level.p, m.level.len);
	s->last_log.message = xstrndup(m.message.p, m.message.len);
}

static void
answered(struct session *s, uint64_t exec)
{
	for (size_t i = 0; i < s->given_n; i++) {
		if (s->given[i].exec != exec)
			continue;
		s->given_bytes -= s->given[i].bytes;
		memmove(&s->given[i], &s->given[i + 1], (s->given_n - i - 1) * sizeof(s->given[0]));
		s->given_n--;
		return;
	}
	conform_differs(s, "one answer to each execution it was given, with the number of its RUN", "%s, which it does not have",
	    session_text(&s->frame));
}

static const struct frame *
take_final(struct session *s)
{
	struct frame *f = &s->frame;
	const char *why;
	int rc;

	if (f->type == MSG_DONE)
		rc = msg_done_decode(&s->msg, &f->done, &why);
	else
		rc = msg_fail_decode(&s->msg, &f->fail, &why);
	if (rc == -1)
		breach(s, why);
	if (f->type == MSG_DONE && f->done.result.p != NULL && !is_json(f->done.result))
		conform_differs(s, "a result that is JSON", "%s", session_text(f));
	if (f->type == MSG_DONE && f->done.result.len > s->max_payload)
		conform_differs(s, "no result longer than max_payload", "one of %zu bytes; max_payload is %" PRIu64,
		    f->done.result.len, s->max_payload);
	if (f->type == MSG_FAIL && f->fail.data.p != NULL && !is_json(f->fail.data))
		breach(s, "FAIL.data: not JSON");
	answered(s, f->exec);
	return f;
}

/* A frame after WELCOME; NULL: it was the session's own business. */
static const struct frame *
inspect(struct session *s, const uint8_t *body, size_t len)
{
	struct msg_bye bye;
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
		if (msg_bye_decode(&s->msg, &bye, &why) == -1)
			breach(s, why);
		s->said_bye = true;
		return &s->frame;
	default:
		return take_final(s);
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
session_final(struct session *s, const char *expected)
{
	const struct frame *f = session_try(s, session_due());

	if (f == NULL)
		conform_fail(s, expected, session_fate(s));
	if (f->type == MSG_BYE)
		conform_fail(s, expected, "BYE");
	return f;
}
