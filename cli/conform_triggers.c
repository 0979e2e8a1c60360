/*
 * conform: the cases about events and schedules: waiting for them, emitting, scheduling. The cli process only.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/conform.h"
#include "common/xmalloc.h"

#define EVENT		"conform.event"
#define CHANGE		"conform.change"
#define EMIT		"conform.emit"
#define SCHEDULE	"conform.schedule"
#define UNSCHEDULE	"conform.unschedule"

/* Waiting for an event */

/* Runs conform.event; fails unless it waits for orders.paid under this key, with these. */
static void
expect_event(struct session *s, const char *key, const char *more, const char *filter, const char *since, uint64_t timeout_ms)
{
	char *payload = xasprintf("{\"key\": \"%s\", \"event\": \"orders.paid\"%s}", key, more);
	char *expected = xasprintf("SUSPEND with one wait, as given: %s", payload);
	uint64_t exec = session_run(s, EVENT, payload);
	const struct frame *f = session_next(s, expected);
	const struct msg_suspend *m = &f->suspend;
	const struct msg_wait *w = m->waits;

	if (f->type != MSG_SUSPEND || f->exec != exec || m->waits_n != 1 || !pstr_is(w->key, key) || !pstr_is(w->event, "orders.paid"))
		conform_fail(s, expected, session_text(f));
	if (!pstr_is(w->filter, filter) || !(pstr_is(w->since, since) || (since == NULL && pstr_is(w->since, "now"))))
		conform_fail(s, expected, "a wait with another filter or since");
	if ((w->has_timeout_ms ? w->timeout_ms : m->has_timeout_ms ? m->timeout_ms : 0) != timeout_ms)
		conform_fail(s, expected, "a wait with another timeout_ms");
	free(expected);
	free(payload);
}

static void
event_wait(struct session *s)
{
	if (session_offers(s, "suspend", EVENT))
		expect_event(s, "payment", "", NULL, NULL, 0);
}

static void
event_filter(struct session *s)
{
	if (session_offers(s, "suspend", EVENT))
		expect_event(s, "large", ", \"when\": \"payload->>'city' = 'Plzeň'\"", "payload->>'city' = 'Plzeň'", NULL, 0);
}

static void
event_since(struct session *s)
{
	if (session_offers(s, "suspend", EVENT))
		expect_event(s, "earlier", ", \"since\": \"start\"", NULL, "start", 0);
}

static void
event_timeout(struct session *s)
{
	if (session_offers(s, "suspend", EVENT))
		expect_event(s, "hasty", ", \"timeout_ms\": 5000", NULL, NULL, 5000);
}

static void
event_change(struct session *s)
{
	static const char given[] = "{\"schema\": \"shop\", \"table\": \"Orders\", \"operation\": \"update\", "
	    "\"when\": \"new.paid and not old.paid\"}";
	static const char payload[] = "{\"key\": \"row\", \"change\": {\"schema\": \"shop\", \"table\": \"Orders\", "
	    "\"operation\": \"update\", \"when\": \"new.paid and not old.paid\"}}";
	static const char expected[] = "SUSPEND with one wait, row, whose change is as given";
	const struct frame *f;
	uint64_t exec;
	char *change;

	if (!session_offers(s, "suspend", CHANGE))
		return;
	exec = session_run(s, CHANGE, payload);
	f = session_next(s, expected);
	if (f->type != MSG_SUSPEND || f->exec != exec || f->suspend.waits_n != 1 || !pstr_is(f->suspend.waits[0].key, "row") ||
	    f->suspend.waits[0].change.p == NULL)
		conform_fail(s, expected, session_text(f));
	change = xstrndup(f->suspend.waits[0].change.p, f->suspend.waits[0].change.len);
	if (!conform_has_json(change, given))
		conform_differs(s, expected, "change %s", change);
	free(change);
}

static uint64_t
resume(struct session *s, const char *result, const char *error)
{
	struct msg_saved saved = { .key = pstr("came"), .result = pstr(result), .error = pstr(error) };
	struct msg_run m = { .steps = &saved, .steps_n = 1 };

	return session_run_as(s, EVENT, "{\"key\": \"came\", \"event\": \"orders.paid\"}", &m);
}

static void
event_payload(struct session *s)
{
	static const char *const payloads[] = { "{\"event\": \"its own\", \"n\": [1]}", "0", "false", "\"\"", "null", "[]" };

	if (!session_offers(s, "suspend", EVENT))
		return;
	for (size_t i = 0; i < sizeof(payloads) / sizeof(payloads[0]); i++)
		session_expect(s, resume(s, payloads[i], NULL), payloads[i]);
	session_expect(s, resume(s, NULL, NULL), "null");
}

static void
event_late(struct session *s)
{
	static const char error[] = "{\"code\": \"timeout\", \"message\": \"no orders.paid within 5 s\"}";
	const struct msg_fail *m;

	if (!session_offers(s, "suspend", EVENT))
		return;
	m = session_expect_fail(s, resume(s, NULL, error));
	if (memmem(m->message.p, m->message.len, "orders.paid", strlen("orders.paid")) == NULL)
		conform_differs(s, "FAIL with a message that names the event", "%s", session_text(&s->frame));
	if (!m->has_retry || m->retry)
		conform_fail(s, "FAIL with retry false", m->has_retry ? "FAIL with retry true" : "FAIL without retry");
}

/* Calls */

/* Begins a task that makes one call with what it was given; returns the execution. */
static uint64_t
begin(struct session *s, const char *task, const char *name, const char *given, uint64_t *number)
{
	char *expected = xasprintf("CALL of %s, as given: %s", name, given), *args;
	uint64_t exec = session_run(s, task, given);
	const struct frame *f = session_next(s, expected);

	if (f->type != MSG_CALL || f->exec != exec || !pstr_is(f->call.name, name))
		conform_fail(s, expected, session_text(f));
	args = xstrndup(f->call.args.p, f->call.args.len);
	if (!conform_has_json(args, given))
		conform_fail(s, expected, session_text(f));
	*number = f->call.call;
	free(args);
	free(expected);
	return exec;
}

static void
expect_call(struct session *s, const char *task, const char *name, const char *given, const char *result)
{
	uint64_t number, exec = begin(s, task, name, given, &number);
	struct msg_return m = { .call = number, .result = pstr(result) };

	msg_return_encode(&s->out, exec, &m);
	session_expect(s, exec, result);
}

static void
expect_refused(struct session *s, const char *task, const char *name, const char *given, const char *message)
{
	uint64_t number, exec = begin(s, task, name, given, &number);
	char *error = xasprintf("{\"code\": \"PC013\", \"message\": \"%s\"}", message);
	struct msg_return m = { .call = number, .error = pstr(error) };
	const struct msg_fail *fail;

	msg_return_encode(&s->out, exec, &m);
	fail = session_expect_fail(s, exec);
	if (memmem(fail->message.p, fail->message.len, message, strlen(message)) == NULL)
		conform_differs(s, "FAIL with the message of the error that RETURN bears", "%s", session_text(&s->frame));
	free(error);
}

static void
emit(struct session *s)
{
	if (!session_offers(s, "call", EMIT))
		return;
	expect_call(s, EMIT, "emit", "{\"event\": \"orders.paid\", \"payload\": {\"event\": \"x\", \"items\": [1, null]}}",
	    "\"9223372036854775807\"");
	expect_call(s, EMIT, "emit", "{\"event\": \"orders.paid\", \"payload\": 0}", "\"1\"");
}

static void
emit_error(struct session *s)
{
	if (session_offers(s, "call", EMIT))
		expect_refused(s, EMIT, "emit", "{\"event\": \"orders.refused\", \"payload\": {}}", "orders.refused is no event");
}

static void
schedule(struct session *s)
{
	if (!session_offers(s, "call", SCHEDULE))
		return;
	expect_call(s, SCHEDULE, "schedule", "{\"task\": \"reports.render\", \"name\": \"daily\", \"cron\": \"0 9 * * *\", "
	    "\"payload\": {\"pages\": 2}, \"timezone\": \"Europe/Prague\"}", "\"2030-01-31T08:00:00.000Z\"");
}

static void
schedule_error(struct session *s)
{
	if (session_offers(s, "call", SCHEDULE))
		expect_refused(s, SCHEDULE, "schedule", "{\"task\": \"reports.render\", \"name\": \"never\", "
		    "\"cron\": \"61 * * * *\", \"payload\": null, \"timezone\": \"UTC\"}", "61 is no minute");
}

static void
unschedule(struct session *s)
{
	if (!session_offers(s, "call", UNSCHEDULE))
		return;
	expect_call(s, UNSCHEDULE, "unschedule", "{\"task\": \"reports.render\", \"name\": \"daily\"}", "true");
	expect_call(s, UNSCHEDULE, "unschedule", "{\"task\": \"reports.render\", \"name\": \"gone\"}", "false");
}

const struct conform_case conform_triggers_cases[] = {
	{ "event-wait", "SUSPEND with an event ends a run that is to wait for it", event_wait, "triggers", false },
	{ "event-filter", "a wait for an event may have a filter", event_filter, "triggers", false },
	{ "event-since", "a wait for an event may count what was before", event_since, "triggers", false },
	{ "event-timeout", "a wait for an event may have a timeout_ms", event_timeout, "triggers", false },
	{ "event-change", "a wait may be for a change of a table", event_change, "triggers", false },
	{ "event-payload", "the payload of the event survives", event_payload, "triggers", false },
	{ "event-late", "that it did not come in time fails the execution for good", event_late, "triggers", false },
	{ "emit", "CALL emits an event, and RETURN has its id", emit, "triggers", false },
	{ "emit-error", "that it was refused is the task's error", emit_error, "triggers", false },
	{ "schedule", "CALL makes a schedule, and RETURN has its next time", schedule, "triggers", false },
	{ "schedule-error", "that it was refused is the task's error", schedule_error, "triggers", false },
	{ "unschedule", "CALL removes a schedule, and RETURN says if there was one", unschedule, "triggers", false },
	{ .name = NULL }
};
