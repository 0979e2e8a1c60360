/*
 * conform: the cases about waiting, children, calls, and what else an execution does on its way. The cli process only.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/conform.h"
#include "common/xmalloc.h"

#define WAIT		"conform.wait"
#define CHILD		"conform.child"
#define START		"conform.start"
#define PROGRESS	"conform.progress"
#define CHECKPOINT	"conform.checkpoint"
#define WAITS_MOST	66		/* executions that are suspended one after the other at most */

/* Both capabilities, and the task. */
static bool
offers(struct session *s, const char *capability, const char *task, const char *other)
{
	if (!session_offers(s, capability, task))
		return false;
	if (session_can(s, other))
		return true;
	conform_skip(s, strcmp(other, "cancel") == 0 ? "it does not name the capability cancel" :
	    "it does not name the capability drain");
	return false;
}

/* An execution of which one step is saved. */
static uint64_t
resume(struct session *s, const char *task, const char *payload, const char *key, const char *result, const char *error)
{
	struct msg_saved saved = { .key = pstr(key), .result = pstr(result), .error = pstr(error) };
	struct msg_run m = { .steps = &saved, .steps_n = 1 };

	return session_run_as(s, task, payload, &m);
}

/* Fails unless it waits for one thing under this key; borrowed. */
static const struct msg_wait *
expect_wait(struct session *s, uint64_t exec, const char *key)
{
	char *expected = xasprintf("SUSPEND of execution %llu with one wait, %s", (unsigned long long)exec, key);
	const struct frame *f = session_next(s, expected);

	if (f->type != MSG_SUSPEND || f->exec != exec || f->suspend.waits_n != 1 || !pstr_is(f->suspend.waits[0].key, key))
		conform_fail(s, expected, session_text(f));
	free(expected);
	return &f->suspend.waits[0];
}

static void
expect_timer(struct session *s, uint64_t exec, const char *key, uint64_t ms)
{
	const struct msg_wait *w = expect_wait(s, exec, key);

	if (!w->has_timer_ms || w->timer_ms != ms)
		conform_differs(s, "SUSPEND with a timer as long as conform.wait is to wait", "%s", session_text(&s->frame));
}

/* Timers */

static void
suspend_timer(struct session *s)
{
	if (!session_offers(s, "suspend", WAIT))
		return;
	expect_timer(s, session_run(s, WAIT, "{\"key\": \"nap\", \"ms\": 60000}"), "nap", 60000);
	expect_timer(s, session_run(s, WAIT, "{\"key\": \"long nap\", \"ms\": 31536000000}"), "long nap", 31536000000);
}

/* Of a timer the outcome is null, which may be left out. */
static void
suspend_resume(struct session *s)
{
	static const char payload[] = "{\"key\": \"rest\", \"ms\": 60000}";

	if (!session_offers(s, "suspend", WAIT))
		return;
	session_expect(s, resume(s, WAIT, payload, "rest", NULL, NULL), "\"waited\"");
	session_expect(s, resume(s, WAIT, payload, "rest", "null", NULL), "\"waited\"");
}

static void
suspend_early(struct session *s)
{
	static const char payload[] = "{\"key\": \"early\", \"ms\": 60000}";

	if (!session_offers(s, "suspend", WAIT))
		return;
	expect_wait(s, session_run(s, WAIT, payload), "early");
	expect_wait(s, resume(s, WAIT, payload, "something else", "1", NULL), "early");
}

static void
suspend_credit(struct session *s)
{
	uint64_t n;

	if (!session_offers(s, "suspend", WAIT))
		return;
	n = s->credit < WAITS_MOST - 2 ? s->credit + 2 : WAITS_MOST;
	for (uint64_t i = 0; i < n; i++)
		expect_wait(s, session_run(s, WAIT, "{\"key\": \"one of many\", \"ms\": 60000}"), "one of many");
	session_echo(s, "\"after many that wait\"");
}

static void
suspend_late(struct session *s)
{
	uint64_t exec;

	if (!offers(s, "suspend", WAIT, "cancel"))
		return;
	exec = session_run(s, WAIT, "{\"key\": \"crossed\", \"ms\": 60000}");
	expect_wait(s, exec, "crossed");
	session_cancel(s, exec);
	session_echo(s, "\"after a CANCEL of what waits\"");
}

/* Children */

static void
expect_child(struct session *s, const char *key, const char *payload, uint64_t timeout_ms)
{
	char limit[48] = "", *text;
	const struct msg_wait *w;
	uint64_t exec, came;

	if (timeout_ms != 0)
		snprintf(limit, sizeof(limit), ", \"timeout_ms\": %llu", (unsigned long long)timeout_ms);
	text = xasprintf("{\"key\": \"%s\", \"task\": \"reports.render\", \"payload\": %s%s}", key, payload, limit);
	exec = session_run(s, CHILD, text);
	w = expect_wait(s, exec, key);
	if (!pstr_is(w->task, "reports.render") || !session_means(w->payload, payload))
		conform_differs(s, "SUSPEND with a child: task reports.render and the payload given", "%s and %s %.*s",
		    session_text(&s->frame), w->payload.p != NULL ? "the payload" : "no payload",
		    (int)(w->payload.len < CONFORM_TEXT ? w->payload.len : CONFORM_TEXT), w->payload.p != NULL ? w->payload.p : "");
	came = w->has_timeout_ms ? w->timeout_ms : s->frame.suspend.has_timeout_ms ? s->frame.suspend.timeout_ms : 0;
	if (came != timeout_ms)
		conform_differs(s, timeout_ms != 0 ? "SUSPEND with the timeout_ms given" : "SUSPEND without timeout_ms",
		    came != 0 ? "SUSPEND with timeout_ms %llu" : "SUSPEND without timeout_ms", (unsigned long long)came);
	free(text);
}

static void
suspend_child(struct session *s)
{
	static const char *const payloads[] = { "0", "false", "\"\"", "null", "[]" };

	if (!session_offers(s, "suspend", CHILD))
		return;
	expect_child(s, "kid", "{\"pages\": [1, 2]}", 0);
	for (size_t i = 0; i < sizeof(payloads) / sizeof(payloads[0]); i++)
		expect_child(s, "kid", payloads[i], 0);
}

static void
child_timeout(struct session *s)
{
	if (session_offers(s, "suspend", CHILD))
		expect_child(s, "hasty", "{\"pages\": []}", 5000);
}

static void
child_result(struct session *s)
{
	static const char payload[] = "{\"key\": \"heir\", \"task\": \"reports.render\", \"payload\": 1}";
	static const char *const results[] = { "{\"ok\": [true]}", "0", "false", "\"\"", "null" };

	if (!session_offers(s, "suspend", CHILD))
		return;
	for (size_t i = 0; i < sizeof(results) / sizeof(results[0]); i++)
		session_expect(s, resume(s, CHILD, payload, "heir", results[i], NULL), results[i]);
	session_expect(s, resume(s, CHILD, payload, "heir", NULL, NULL), "null");
}

static void
expect_message(struct session *s, const struct msg_fail *m, const char *message)
{
	if (!pstr_is(m->message, message))
		conform_differs(s, message, "%s", session_text(&s->frame));
}

static void
child_error(struct session *s)
{
	static const char payload[] = "{\"key\": \"stray\", \"task\": \"reports.render\", \"payload\": 1}";
	static const char error[] = "{\"code\": \"app\", \"message\": \"no disk\", \"type\": \"DiskError\"}";
	const struct msg_fail *m;

	if (!session_offers(s, "suspend", CHILD))
		return;
	m = session_expect_fail(s, resume(s, CHILD, payload, "stray", NULL, error));
	expect_message(s, m, "Child execution failed: no disk");
	if (!m->has_retry || m->retry)
		conform_fail(s, "FAIL with retry false", m->has_retry ? "FAIL with retry true" : "FAIL without retry");
}

/* Calls */

/* Begins conform.start, takes its CALL; returns the execution. */
static uint64_t
start(struct session *s, uint64_t *call)
{
	static const char expected[] = "CALL of invoke with the task reports.render and the payload given";
	static const char given[] = "{\"task\": \"reports.render\", \"payload\": {\"pages\": [1, 2]}}";
	uint64_t exec = session_run(s, START, given);
	const struct frame *f = session_next(s, expected);
	char *args;

	if (f->type != MSG_CALL || f->exec != exec || !pstr_is(f->call.name, "invoke"))
		conform_fail(s, expected, session_text(f));
	args = xstrndup(f->call.args.p, f->call.args.len);
	if (!conform_has_json(args, given))
		conform_fail(s, expected, session_text(f));
	free(args);
	*call = f->call.call;
	return exec;
}

static void
answer(struct session *s, uint64_t exec, uint64_t call, const char *result, const char *error)
{
	struct msg_return m = { .call = call, .result = pstr(result), .error = pstr(error) };

	msg_return_encode(&s->out, exec, &m);
}

static void
call(struct session *s)
{
	uint64_t exec, number;

	if (!session_offers(s, "call", START))
		return;
	exec = start(s, &number);
	answer(s, exec, number, "\"9223372036854775807\"", NULL);
	session_expect(s, exec, "\"9223372036854775807\"");
}

static void
call_error(struct session *s)
{
	static const char message[] = "task reports.render is not declared";
	const struct msg_fail *m;
	uint64_t exec, number;

	if (!session_offers(s, "call", START))
		return;
	exec = start(s, &number);
	answer(s, exec, number, NULL, "{\"code\": \"PC001\", \"message\": \"task reports.render is not declared\"}");
	m = session_expect_fail(s, exec);
	if (memmem(m->message.p, m->message.len, message, strlen(message)) == NULL)
		conform_differs(s, "FAIL with the message of the error that RETURN bears", "%s", session_text(&s->frame));
}

static void
call_lost(struct session *s)
{
	uint64_t exec, number;

	if (!offers(s, "call", START, "cancel"))
		return;
	exec = start(s, &number);
	session_lose(s, exec);
	session_expect_end(s, exec);
}

static void
call_late(struct session *s)
{
	uint64_t exec, number;

	if (!offers(s, "call", START, "cancel"))
		return;
	exec = start(s, &number);
	session_cancel(s, exec);
	session_expect_end(s, exec);
	answer(s, exec, number, "\"1\"", NULL);
	session_echo(s, "\"after a RETURN that came late\"");
}

/* On the way */

static void
expect_progress(struct session *s, const char *payload, int percent, const char *note)
{
	uint64_t exec = session_run(s, PROGRESS, payload);
	char *expected = xasprintf("PROGRESS of the execution, as given: %s", payload);
	const struct frame *f = session_next(s, expected);
	const struct msg_progress *m = &f->progress;

	if (f->type != MSG_PROGRESS || f->exec != exec || m->has_percent != (percent >= 0) ||
	    (percent >= 0 && m->percent != (uint64_t)percent) || !pstr_is(m->note.p != NULL ? m->note : pstr(""), note))
		conform_fail(s, expected, session_text(f));
	session_expect(s, exec, "null");
	free(expected);
}

static void
progress(struct session *s)
{
	if (!session_offers(s, "progress", PROGRESS))
		return;
	expect_progress(s, "{\"percent\": 40, \"note\": \"na půl cesty\"}", 40, "na půl cesty");
	expect_progress(s, "{\"percent\": 0}", 0, "");
	expect_progress(s, "{\"percent\": 100}", 100, "");
	expect_progress(s, "{\"note\": \"a note alone\"}", -1, "a note alone");
}

static void
checkpoint_cancel(struct session *s)
{
	uint64_t exec;

	if (!offers(s, "suspend", CHECKPOINT, "cancel"))
		return;
	exec = session_run(s, CHECKPOINT, "{}");
	session_settle(s);
	session_cancel(s, exec);
	session_expect_end(s, exec);
}

static void
checkpoint_drain(struct session *s)
{
	static const char expected[] = "SUSPEND without waits, then BYE, as DRAIN came at a checkpoint";
	const struct frame *f;
	uint64_t exec;

	if (!offers(s, "suspend", CHECKPOINT, "drain"))
		return;
	exec = session_run(s, CHECKPOINT, "{}");
	session_settle(s);
	session_drain(s);
	f = session_next(s, expected);
	if (f->type != MSG_SUSPEND || f->exec != exec || f->suspend.waits_n != 0)
		conform_fail(s, expected, session_text(f));
	f = session_next(s, expected);
	if (f->type != MSG_BYE)
		conform_fail(s, expected, session_text(f));
}

const struct conform_case conform_waits_cases[] = {
	{ "suspend-timer", "SUSPEND with a timer ends a run that is to wait", suspend_timer, "waits", false },
	{ "suspend-resume", "it goes on when the outcome of its wait is among its steps", suspend_resume, "waits", false },
	{ "suspend-early", "run again without the outcome, it waits under the same key", suspend_early, "waits", false },
	{ "suspend-credit", "SUSPEND gives the credit back", suspend_credit, "waits", false },
	{ "suspend-late", "CANCEL of what has been suspended is ignored (capability cancel)", suspend_late, "waits", false },
	{ "suspend-child", "a child has its task and its payload", suspend_child, "waits", false },
	{ "child-timeout", "a child may have a timeout_ms", child_timeout, "waits", false },
	{ "child-result", "the result of a child survives", child_result, "waits", false },
	{ "child-error", "the error of a child fails it for good, and is named in its message", child_error, "waits", false },
	{ "call", "CALL asks for an execution, and RETURN has its id", call, "waits", false },
	{ "call-error", "an error in RETURN is the task's error", call_error, "waits", false },
	{ "call-lost", "CANCEL in place of RETURN ends it (capability cancel)", call_lost, "waits", false },
	{ "call-late", "RETURN of what was answered is ignored (capability cancel)", call_late, "waits", false },
	{ "progress", "PROGRESS bears the execution, the percentage and the note", progress, "waits", false },
	{ "checkpoint-cancel", "CANCEL ends it at a checkpoint (capability cancel)", checkpoint_cancel, "waits", false },
	{ "checkpoint-drain", "after DRAIN a checkpoint suspends it, and BYE follows (capability drain)", checkpoint_drain, NULL,
	    false },
	{ .name = NULL }
};
