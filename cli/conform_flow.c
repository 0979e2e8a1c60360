/*
 * conform: the cases about signs of life, several executions at a time, cancelling and draining. The cli process only.
 */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/conform.h"
#include "common/xmalloc.h"

#define AT_ONCE		64		/* executions that are given at once at most */
#define LONG_SLEEP	"{\"ms\": 600000}"
#define PIECE		(128u << 10)
#define LOOK_MS		5

/* The caller frees it. */
static char *
nth_payload(uint64_t nth, size_t bytes)
{
	char *filling = xmalloc(bytes + 1), *payload;

	memset(filling, 'f', bytes);
	filling[bytes] = '\0';
	payload = xasprintf("{\"nth\": %" PRIu64 ", \"filling\": \"%s\"}", nth, filling);
	free(filling);
	return payload;
}

/* n executions of conform.echo in one go, each with a payload of its own and so many bytes more. */
static uint64_t
give_many(struct session *s, size_t n, size_t bytes)
{
	uint64_t first = s->next_exec;

	for (size_t i = 0; i < n; i++) {
		char *payload = nth_payload(i, bytes);

		session_run(s, "conform.echo", payload);
		free(payload);
	}
	return first;
}

/* Takes the answers of give_many, in any order. That none comes twice is seen to in the session. */
static void
take_many(struct session *s, uint64_t first, size_t n, size_t bytes)
{
	for (size_t left = n; left > 0; left--) {
		const struct frame *f = session_final(s, "DONE for each of several executions");
		char *payload, *result;

		if (f->type != MSG_DONE || f->done.result.p == NULL)
			conform_fail(s, "DONE for each of several executions", session_text(f));
		payload = nth_payload(f->exec - first, bytes);
		result = xstrndup(f->done.result.p, f->done.result.len);
		if (!conform_same_json(payload, result))
			conform_fail(s, "the result that belongs to the execution", session_text(f));
		free(payload);
		free(result);
	}
}

static void
credit(struct session *s)
{
	session_open(s);
	for (int round = 0; round < 3; round++) {
		size_t n = session_room(s, AT_ONCE, 64);

		take_many(s, give_many(s, n, 8), n, 8);
	}
}

static void
prefetch_order(struct session *s)
{
	uint64_t first;
	size_t n;

	session_open(s);
	n = session_room(s, 8, 64);
	if (s->concurrency != 1 || n < 2) {
		conform_skip(s, s->concurrency != 1 ? "it runs several at once" : "its credit is 1");
		return;
	}
	first = give_many(s, n, 8);
	for (uint64_t i = 0; i < n; i++) {
		const struct frame *f = session_final(s, "answers in the order in which the executions came");

		if (f->exec != first + i)
			conform_differs(s, "answers in the order in which the executions came", "execution %" PRIu64 " before %" PRIu64,
			    f->exec, first + i);
	}
}

/* Those that sleep are ended, one way or the other. */
static void
end_sleeps(struct session *s, uint64_t first, size_t n)
{
	for (size_t i = 0; i < n && session_can(s, "cancel"); i++)
		session_cancel(s, first + i);
	for (size_t i = 0; i < n; i++)
		session_final(s, "an answer of conform.sleep");
}

static void
several_at_once(struct session *s)
{
	const struct frame *f;
	uint64_t first, last;
	size_t n;

	session_open(s);
	n = session_room(s, s->concurrency < 8 ? (size_t)s->concurrency : 8, 64);
	if (n < 2) {
		conform_skip(s, "it runs one execution at a time");
		return;
	}
	first = s->next_exec;
	for (size_t i = 0; i + 1 < n; i++)
		session_run(s, "conform.sleep", "{\"ms\": 1500}");
	last = session_run(s, "conform.echo", "\"not behind those that sleep\"");
	f = session_final(s, "DONE of conform.echo while conform.sleep runs");
	if (f->exec != last)
		conform_differs(s, "DONE of conform.echo before that of conform.sleep, which takes 1.5 s", "%s", session_text(f));
	end_sleeps(s, first, n - 1);
}

/* Until it writes no more, for want of room. */
static void
let_it_fill(struct session *s)
{
	size_t before;

	s->deaf = true;
	do {
		before = s->out.len;
		session_pause(s, CONFORM_QUIET_MS);
	} while (s->out.len != before);
	s->deaf = false;
}

static void
slow_reader(struct session *s)
{
	char *text = xmalloc((1u << 20) + 3);
	uint64_t exec;

	memset(text, 'w', (1u << 20) + 2);
	text[0] = text[(1u << 20) + 1] = '"';
	text[(1u << 20) + 2] = '\0';
	session_open(s);
	exec = session_run(s, "conform.echo", text);
	let_it_fill(s);
	s->sip = 1000;
	for (int i = 0; i < 20; i++) {
		session_pump(s, session_now());
		session_pause(s, 1);
	}
	s->sip = 0;
	session_expect(s, exec, text);
	free(text);
}

static void
slow_reader_many(struct session *s)
{
	uint64_t first;
	size_t n;

	session_open(s);
	n = session_room(s, 32, PIECE);
	if (n < 2) {
		conform_skip(s, "it takes one execution at a time");
		return;
	}
	first = give_many(s, n, PIECE);
	let_it_fill(s);
	take_many(s, first, n, PIECE);
}

/* Signs of life */

/* Until it answers, or for so long. Judged is what had come before we looked: we may be late ourselves. */
static const struct frame *
listen(struct session *s, int64_t until)
{
	const struct frame *f;
	int64_t now;

	for (;;) {
		now = session_now();
		f = session_try(s, now);
		if (now - s->heard > (int64_t)s->beat_ms)
			conform_differs(s, "something from it more often than every beat_ms of its HELLO",
			    "nothing for %lld ms; beat_ms is %llu", (long long)(now - s->heard),
			    (unsigned long long)s->beat_ms);
		if (f != NULL || s->eof || now >= until)
			return f;
		session_pause(s, LOOK_MS);
	}
}

static void
beat(struct session *s)
{
	const struct frame *f;
	uint64_t exec;
	int64_t span;
	char text[64];

	session_open(s);
	if (s->beat_ms == 0 || s->beat_ms > (uint64_t)conform_timeout_ms) {
		conform_skip(s, s->beat_ms == 0 ? "its HELLO has no beat_ms" : "its beat_ms is longer than --timeout");
		return;
	}
	span = (int64_t)s->beat_ms * 5 / 4;
	s->heard = session_now();
	f = listen(s, session_now() + span);
	if (f == NULL && !s->eof) {
		snprintf(text, sizeof(text), "{\"ms\": %lld}", (long long)span);
		exec = session_run(s, "conform.sleep", text);
		f = listen(s, session_due() + span);
		if (f != NULL && f->type == MSG_DONE && f->exec == exec)
			return;
	}
	conform_fail(s, "nothing but BEAT, and DONE of conform.sleep", f != NULL ? session_text(f) : session_fate(s));
}

/* CANCEL */

static bool
cannot_cancel(struct session *s)
{
	return !session_offers(s, "cancel", "conform.sleep");
}

static void
expect_stopped(struct session *s, uint64_t exec)
{
	const struct frame *f = session_final(s, "a final frame after CANCEL, within its grace");

	if (f->exec != exec)
		conform_differs(s, "a final frame of the execution that was cancelled", "%s", session_text(f));
}

static void
cancel(struct session *s)
{
	uint64_t exec;

	if (cannot_cancel(s))
		return;
	exec = session_run(s, "conform.sleep", LONG_SLEEP);
	session_settle(s);
	session_cancel(s, exec);
	expect_stopped(s, exec);
}

static void
cancel_at_once(struct session *s)
{
	uint64_t exec;

	if (cannot_cancel(s))
		return;
	exec = session_run(s, "conform.sleep", LONG_SLEEP);
	session_cancel(s, exec);
	expect_stopped(s, exec);
}

static void
cancel_late(struct session *s)
{
	uint64_t exec;

	if (cannot_cancel(s))
		return;
	session_expect(s, exec = session_run(s, "conform.echo", "\"soon over\""), "\"soon over\"");
	session_cancel(s, exec);
	session_echo(s, "\"after a CANCEL that came late\"");
}

static void
cancel_one(struct session *s)
{
	uint64_t first, second;

	if (cannot_cancel(s))
		return;
	if (s->concurrency < 2 || session_room(s, 2, 64) < 2) {
		conform_skip(s, "it runs one execution at a time");
		return;
	}
	first = session_run(s, "conform.sleep", LONG_SLEEP);
	second = session_run(s, "conform.sleep", "{\"ms\": 400}");
	session_settle(s);
	session_cancel(s, first);
	expect_stopped(s, first);
	session_expect(s, second, "400");
}

/* The end while something runs */

static void
closed_running(struct session *s)
{
	session_open(s);
	session_run(s, "conform.sleep", "{\"ms\": 300}");
	session_settle(s);
	session_close(s);
	session_expect_exit(s, "its end when the socket is closed while an execution runs, at the latest when that is over");
}

/* DRAIN: these cases look at one and the same, from which they keep this. */
static struct {
	bool	done, failed, bye;
} drained;

static void
note(const struct frame *f)
{
	if (f->type == MSG_BYE)
		drained.bye = true;
	else if (f->type == MSG_DONE)
		drained.done = !drained.bye;
	else
		drained.failed = true;
}

/* A worker closes its side after BYE. False: the case does not apply. */
static bool
drain(struct session *s)
{
	const struct frame *f;
	int64_t until;

	if (s->pid != 0)
		return true;
	if (!session_offers(s, "drain", "conform.sleep"))
		return false;
	session_run(s, "conform.sleep", "{\"ms\": 300}");
	session_settle(s);
	session_drain(s);
	until = session_due();
	while (!drained.bye && (f = session_try(s, until)) != NULL)
		note(f);
	session_shut(s);
	while ((f = session_try(s, until)) != NULL)
		note(f);
	while (!s->exited && session_pump(s, until))
		continue;
	return true;
}

static void
drain_running(struct session *s)
{
	if (drain(s) && !drained.done)
		conform_fail(s, "DONE, before BYE, of what was running when DRAIN came",
		    drained.failed ? "FAIL" : drained.bye ? "BYE alone" : session_fate(s));
}

static void
drain_bye(struct session *s)
{
	if (drain(s) && !drained.bye)
		conform_fail(s, "BYE after DRAIN", session_fate(s));
}

static void
drain_last(struct session *s)
{
	if (drain(s) && s->after_bye[0] != '\0')
		conform_fail(s, "nothing after BYE", s->after_bye);
}

static void
drain_exit(struct session *s)
{
	if (drain(s) && (!s->exited || s->status != 0))
		conform_fail(s, "exit status 0 after DRAIN", process_fate(s));
}

/* The first takes longest. */
const struct conform_case conform_flow_cases[] = {
	{ "beat", "it is never silent for as long as beat_ms (beat_ms in HELLO)", beat, NULL, false },
	{ "credit", "as many executions as its credit, at once: each is answered, once, with its own result", credit, "flow",
	    false },
	{ "prefetch-order", "running one at a time, it begins executions as they came", prefetch_order, "flow", false },
	{ "several-at-once", "executions run at the same time (concurrency above 1)", several_at_once, "flow", false },
	{ "slow-reader", "a result of 1 MiB is whole when the worker reads slowly", slow_reader, "flow", false },
	{ "slow-reader-many", "many results are whole when the worker reads late (credit above 1)", slow_reader_many, "flow",
	    false },
	{ "cancel", "CANCEL ends an execution that runs (capability cancel)", cancel, "flow", false },
	{ "cancel-at-once", "CANCEL may come right behind RUN (capability cancel)", cancel_at_once, "flow", false },
	{ "cancel-late", "CANCEL of what was answered is ignored (capability cancel)", cancel_late, "flow", false },
	{ "cancel-one", "CANCEL ends no other execution (capability cancel, concurrency above 1)", cancel_one, "flow", false },
	{ "closed-running", "it ends when the socket is closed while an execution runs", closed_running, NULL, false },
	{ "drain-running", "after DRAIN, what runs is finished first (capability drain)", drain_running, "drain", false },
	{ "drain-bye", "BYE answers DRAIN (capability drain)", drain_bye, "drain", false },
	{ "drain-last", "nothing follows BYE (capability drain)", drain_last, "drain", false },
	{ "drain-exit", "after DRAIN it exits with 0 (capability drain)", drain_exit, "drain", false },
	{ .name = NULL }
};
