/*
 * conform: the cases about steps, what is saved and what is found again. The cli process only.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/conform.h"
#include "common/json.h"
#include "common/xmalloc.h"

#define TASK		"conform.steps"
#define TRAIN		20		/* steps that are on their way together */
#define LARGE		(300u << 10)	/* a result that RUN does not bear */

/* A step: its key, and JSON. */
struct kept {
	const char	*key, *json;
};

#define N(list)	(sizeof(list) / sizeof((list)[0]))

static bool
does_not_apply(struct session *s)
{
	return !session_offers(s, "step", TASK);
}

/* Executions of conform.steps */

/* A payload that has these steps. The caller frees it. */
static char *
payload_of(const struct kept *k, size_t n, bool piped)
{
	struct buf b;

	buf_init(&b);
	buf_addstr(&b, "{\"steps\": [");
	for (size_t i = 0; i < n; i++) {
		buf_addstr(&b, i > 0 ? ", [" : "[");
		json_quote(&b, k[i].key, strlen(k[i].key));
		buf_addf(&b, ", %s]", k[i].json);
	}
	buf_addf(&b, "], \"piped\": %s}", piped ? "true" : "false");
	return buf_steal_str(&b);
}

/* Begins one of which this is saved. */
static uint64_t
resume(struct session *s, const struct kept *k, size_t n, struct msg_saved *saved, size_t saved_n)
{
	struct msg_run m = { .steps = saved, .steps_n = saved_n, .attempt = saved_n > 0 ? 2 : 1 };
	char *payload = payload_of(k, n, false);
	uint64_t exec = session_run_as(s, TASK, payload, &m);

	free(payload);
	return exec;
}

static uint64_t
begin(struct session *s, const struct kept *k, size_t n)
{
	return resume(s, k, n, NULL, 0);
}

static void
expect_step(struct session *s, uint64_t exec, const struct kept *k)
{
	struct pstr json = pstr(k->json), key = pstr(k->key);
	char *cut = session_cut(json.p, json.len), *key_cut = session_cut(key.p, key.len);
	char *expected = xasprintf("STEP of execution %llu with the key %s and the result %s", (unsigned long long)exec,
	    key_cut, cut);
	const struct frame *f = session_next(s, expected);

	if (f->type != MSG_STEP || f->exec != exec || f->step.key.len != key.len ||
	    memcmp(f->step.key.p, key.p, key.len) != 0 || !session_means(f->step.result, k->json))
		conform_fail(s, expected, session_text(f));
	free(expected);
	free(key_cut);
	free(cut);
}

static void
acknowledge(struct session *s, uint64_t exec, const struct kept *k)
{
	struct msg_step_ok m = { .key = pstr(k->key) };

	msg_step_ok_encode(&s->out, exec, &m);
}

static void
take_step(struct session *s, uint64_t exec, const struct kept *k)
{
	expect_step(s, exec, k);
	acknowledge(s, exec, k);
}

static void
send_steps(struct session *s, uint64_t exec, struct msg_saved *saved, size_t n, bool more)
{
	struct msg_steps m = { .steps = saved, .steps_n = n, .has_more_steps = more, .more_steps = more };

	msg_steps_encode(&s->out, exec, &m);
}

static void
expect_journal(struct session *s, uint64_t exec, uint64_t after)
{
	char expected[96];
	const struct frame *f;

	snprintf(expected, sizeof(expected), "JOURNAL of execution %llu with after %llu", (unsigned long long)exec,
	    (unsigned long long)after);
	f = session_next(s, expected);
	if (f->type != MSG_JOURNAL || f->exec != exec || f->journal.after != after)
		conform_fail(s, expected, session_text(f));
}

/* Saving */

static void
step(struct session *s)
{
	static const struct kept steps[] = { { "first", "{\"a\": [1, 2]}" } };
	uint64_t exec;

	if (does_not_apply(s))
		return;
	exec = begin(s, steps, 1);
	take_step(s, exec, &steps[0]);
	session_expect(s, exec, "[{\"a\": [1, 2]}]");
}

static void
step_awaited(struct session *s)
{
	static const struct kept steps[] = { { "one", "1" }, { "two", "2" } };
	const struct frame *f;
	uint64_t exec;

	if (does_not_apply(s))
		return;
	exec = begin(s, steps, N(steps));
	for (size_t i = 0; i < N(steps); i++) {
		expect_step(s, exec, &steps[i]);
		f = session_try(s, session_now() + CONFORM_QUIET_MS);
		if (f != NULL || s->eof)
			conform_fail(s, "nothing before STEP_OK", f != NULL ? session_text(f) : session_fate(s));
		acknowledge(s, exec, &steps[i]);
	}
	session_expect(s, exec, "[1, 2]");
}

static void
step_order(struct session *s)
{
	static const char *const numbers[TRAIN] = {
		"0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16", "17", "18", "19"
	};
	struct kept steps[TRAIN];
	char *payload;
	uint64_t exec;

	if (does_not_apply(s))
		return;
	for (size_t i = 0; i < TRAIN; i++)
		steps[i] = (struct kept){ numbers[i], numbers[i] };
	payload = payload_of(steps, TRAIN, true);
	exec = session_run(s, TASK, payload);
	for (size_t i = 0; i < TRAIN; i++)
		take_step(s, exec, &steps[i]);
	session_expect(s, exec, "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19]");
	free(payload);
}

static void
take_steps(struct session *s, const struct kept *steps, size_t n, const char *results)
{
	uint64_t exec = begin(s, steps, n);

	for (size_t i = 0; i < n; i++)
		take_step(s, exec, &steps[i]);
	session_expect(s, exec, results);
}

static void
step_values(struct session *s)
{
	static const struct kept steps[] = {
		{ "zero", "0" }, { "false", "false" }, { "text", "\"\"" }, { "null", "null" }, { "list", "[]" }, { "map", "{}" },
		{ "deep", "{\"a\": [{\"b\": [null, 1.5, -7]}]}" }, { "words", "\"žluťoučký 漢字 😀 \\n\"" },
	};

	if (does_not_apply(s))
		return;
	take_steps(s, steps, N(steps), "[0, false, \"\", null, [], {}, {\"a\": [{\"b\": [null, 1.5, -7]}]}, "
	    "\"žluťoučký 漢字 😀 \\n\"]");
}

/* Names of what objects have by themselves in some languages are among them. */
static void
step_keys(struct session *s)
{
	char longest[CONFORM_KEY_BYTES + 1] = "";
	struct kept steps[] = {
		{ "two words", "1" }, { "\"quoted\" \\", "2" }, { "ключ 😀", "3" }, { "constructor", "4" }, { "__proto__", "5" },
		{ longest, "6" },
	};
	struct msg_saved saved[N(steps)] = { { .key = { NULL, 0 } } };

	if (does_not_apply(s))
		return;
	for (size_t i = 0; i < CONFORM_KEY_BYTES; i += strlen("é"))
		memcpy(longest + i, "é", strlen("é"));
	take_steps(s, steps, N(steps), "[1, 2, 3, 4, 5, 6]");
	for (size_t i = 0; i < N(steps); i++)
		saved[i] = (struct msg_saved){ .key = pstr(steps[i].key), .result = pstr("\"saved\"") };
	session_expect(s, resume(s, steps, N(steps), saved, N(saved)),
	    "[\"saved\", \"saved\", \"saved\", \"saved\", \"saved\", \"saved\"]");
}

/* The same key in another execution is another step. */
static void
step_apart(struct session *s)
{
	static const struct kept one = { "same", "1" }, other = { "same", "2" };

	if (does_not_apply(s))
		return;
	take_steps(s, &one, 1, "[1]");
	take_steps(s, &other, 1, "[2]");
}

/* Finding it again */

static void
step_replay(struct session *s)
{
	static const struct kept steps[] = { { "alpha", "1" }, { "beta", "2" }, { "gamma", "3" } };
	struct msg_saved saved[] = {
		{ .key = pstr("alpha"), .result = pstr("10") }, { .key = pstr("beta"), .result = pstr("{\"x\": [20]}") },
	};
	uint64_t exec;

	if (does_not_apply(s))
		return;
	exec = resume(s, steps, N(steps), saved, N(saved));
	take_step(s, exec, &steps[2]);
	session_expect(s, exec, "[10, {\"x\": [20]}, 3]");
}

static void
step_replay_empty(struct session *s)
{
	static const struct kept steps[] = {
		{ "absent", "1" }, { "null", "1" }, { "zero", "1" }, { "false", "1" }, { "text", "1" }
	};
	struct msg_saved saved[] = {
		{ .key = pstr("absent") }, { .key = pstr("null"), .result = pstr("null") },
		{ .key = pstr("zero"), .result = pstr("0") }, { .key = pstr("false"), .result = pstr("false") },
		{ .key = pstr("text"), .result = pstr("\"\"") },
	};

	if (does_not_apply(s))
		return;
	session_expect(s, resume(s, steps, N(steps), saved, N(saved)), "[null, null, 0, false, \"\"]");
}

static void
step_unused(struct session *s)
{
	static const struct kept steps[] = { { "kept", "1" } };
	struct msg_saved saved[] = { { .key = pstr("of a former version"), .result = pstr("7") } };
	uint64_t exec;

	if (does_not_apply(s))
		return;
	exec = resume(s, steps, 1, saved, 1);
	take_step(s, exec, &steps[0]);
	session_expect(s, exec, "[1]");
}

/* In three pieces; what is new comes after them. */
static void
step_journal(struct session *s)
{
	static const struct kept steps[] = { { "a", "0" }, { "b", "0" }, { "c", "0" }, { "d", "0" }, { "e", "5" } };
	struct msg_saved saved[] = {
		{ .key = pstr("a"), .result = pstr("1") }, { .key = pstr("b"), .result = pstr("2") },
		{ .key = pstr("c"), .result = pstr("3") }, { .key = pstr("d"), .result = pstr("4") },
	};
	struct msg_run m = { .steps = saved, .steps_n = 1, .has_more_steps = true, .more_steps = true, .attempt = 2 };
	char *payload;
	uint64_t exec;

	if (does_not_apply(s))
		return;
	payload = payload_of(steps, N(steps), false);
	exec = session_run_as(s, TASK, payload, &m);
	free(payload);
	expect_journal(s, exec, 1);
	send_steps(s, exec, &saved[1], 2, true);
	expect_journal(s, exec, 3);
	send_steps(s, exec, &saved[3], 1, false);
	take_step(s, exec, &steps[4]);
	session_expect(s, exec, "[1, 2, 3, 4, 5]");
}

/* As when the first one is too large for RUN. */
static void
step_journal_only(struct session *s)
{
	static const struct kept steps[] = { { "large", "0" } };
	struct msg_run m = { .has_more_steps = true, .more_steps = true, .attempt = 2 };
	struct msg_saved saved = { .key = pstr("large") };
	char *payload, *text, *results;
	uint64_t exec;

	if (does_not_apply(s))
		return;
	text = xmalloc(LARGE + 3);
	memset(text, 'j', LARGE + 2);
	text[0] = text[LARGE + 1] = '"';
	text[LARGE + 2] = '\0';
	saved.result = pstr(text);
	payload = payload_of(steps, N(steps), false);
	results = xasprintf("[%s]", text);
	exec = session_run_as(s, TASK, payload, &m);
	expect_journal(s, exec, 0);
	send_steps(s, exec, &saved, 1, false);
	session_expect(s, exec, results);
	free(results);
	free(payload);
	free(text);
}

/* A key that is used twice */

static void
expect_nondeterminism(struct session *s, uint64_t exec, const char *key)
{
	const struct msg_fail *m = session_expect_fail(s, exec);

	if (m->code.len != strlen("nondeterminism") || memcmp(m->code.p, "nondeterminism", m->code.len) != 0)
		conform_fail(s, "FAIL with code nondeterminism", session_text(&s->frame));
	if (!m->has_retry || m->retry)
		conform_fail(s, "FAIL with retry false", m->has_retry ? "FAIL with retry true" : "FAIL without retry");
	if (memmem(m->message.p, m->message.len, key, strlen(key)) == NULL)
		conform_differs(s, "FAIL with a message that names the key", "%s", session_text(&s->frame));
}

static void
step_twice(struct session *s)
{
	static const struct kept steps[] = { { "charge", "1" }, { "charge", "2" } };
	uint64_t exec;

	if (does_not_apply(s))
		return;
	exec = begin(s, steps, N(steps));
	take_step(s, exec, &steps[0]);
	expect_nondeterminism(s, exec, "charge");
}

static void
step_twice_saved(struct session *s)
{
	static const struct kept steps[] = { { "refund", "1" }, { "refund", "2" } };
	struct msg_saved saved[] = { { .key = pstr("refund"), .result = pstr("1") } };

	if (does_not_apply(s))
		return;
	expect_nondeterminism(s, resume(s, steps, N(steps), saved, 1), "refund");
}

/* A run that is no longer current */

static bool
cannot_cancel(struct session *s)
{
	if (does_not_apply(s))
		return true;
	if (!session_can(s, "cancel"))
		conform_skip(s, "it does not name the capability cancel");
	return !session_can(s, "cancel");
}

static uint64_t
lose(struct session *s, const struct kept *k)
{
	uint64_t exec = begin(s, k, 1);

	expect_step(s, exec, k);
	session_lose(s, exec);
	session_expect_end(s, exec);
	return exec;
}

static void
step_lost(struct session *s)
{
	static const struct kept steps[] = { { "not acknowledged", "1" } };

	if (!cannot_cancel(s))
		lose(s, steps);
}

static void
step_late(struct session *s)
{
	static const struct kept steps[] = { { "late", "1" } };

	if (cannot_cancel(s))
		return;
	acknowledge(s, lose(s, steps), steps);
	session_echo(s, "\"after a STEP_OK that came late\"");
}

const struct conform_case conform_steps_cases[] = {
	{ "step", "STEP saves what a step returned, before DONE", step, "steps", false },
	{ "step-awaited", "what follows a step is begun when STEP_OK has come", step_awaited, "steps", false },
	{ "step-order", "steps are sent in their order, each once", step_order, "steps", false },
	{ "step-values", "0, false, the empty string, null and what is nested can be saved", step_values, "steps", false },
	{ "step-keys", "a key is any text of 1,024 bytes at most", step_keys, "steps", false },
	{ "step-apart", "a key belongs to its execution alone", step_apart, "steps", false },
	{ "step-replay", "what came with RUN is not sent again, and is what the step returns", step_replay, "steps", false },
	{ "step-replay-empty", "null, 0, false and the empty string are saved results too", step_replay_empty, "steps", false },
	{ "step-unused", "a saved step that is not asked for does not matter", step_unused, "steps", false },
	{ "step-journal", "with more_steps the rest is asked for, until that is all", step_journal, "steps", false },
	{ "step-journal-only", "RUN may have more_steps and no steps", step_journal_only, "steps", false },
	{ "step-twice", "a key that is used twice fails it for good, with nondeterminism", step_twice, "steps", false },
	{ "step-twice-saved", "so does one that came with RUN", step_twice_saved, "steps", false },
	{ "step-lost", "CANCEL in place of STEP_OK ends it (capability cancel)", step_lost, "steps", false },
	{ "step-late", "STEP_OK of what was answered is ignored (capability cancel)", step_late, "steps", false },
	{ .name = NULL }
};
