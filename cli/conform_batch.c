/*
 * conform: the cases about several executions at once. The cli process only.
 */
#include "config.h"

#include <string.h>

#include "cli/conform.h"

#define BATCH		"conform.batch"
#define ITEMS_MAX	8

/* An execution, and what is to come of it. */
struct item {
	const char	*payload;
	const char	*result;	/* NULL: FAIL */
	const char	*message;	/* of that; NULL: any */
	uint64_t	 exec;
};

/* Whether it takes several at once; with a capability, that too. */
static bool
offers(struct session *s, const char *capability)
{
	session_open(s);
	if (capability != NULL && !session_offers(s, capability, BATCH))
		return false;
	for (size_t i = 0; i < s->hello.tasks_n; i++)
		if (pstr_is(s->hello.tasks[i].name, BATCH) && s->hello.tasks[i].has_batch)
			return true;
	conform_skip(s, "it does not announce conform.batch with a batch");
	return false;
}

/* Sends them in one RUN; what full has besides. */
static void
run_batch(struct session *s, struct item *items, size_t n, const struct msg_item *full)
{
	static const char *const ids[] = { "1001", "1002", "1003", "1004", "1005", "1006", "1007", "9007199254740993" };
	struct msg_item m[ITEMS_MAX] = { { .exec = 0 } };
	struct msg_run run = { .task = pstr(BATCH), .items = m, .items_n = n };

	for (size_t i = 0; i < n; i++) {
		items[i].exec = i == 0 ? session_give(s, strlen(items[i].payload)) : session_give_along(s, strlen(items[i].payload));
		if (full != NULL)
			m[i] = *full;
		m[i].exec = items[i].exec;
		m[i].id = pstr(ids[i]);
		m[i].attempt = full != NULL ? full->attempt : 1;
		m[i].token = pstr("731.1763712345678.7212345678901234567");
		m[i].event.payload = pstr(items[i].payload);
		if (full == NULL)
			m[i].event.name = pstr("pgconductor.invoke");
	}
	msg_run_encode(&s->out, 0, &run);
}

static struct item *
find(struct session *s, struct item *items, size_t n, const char *expected, const struct frame *f)
{
	for (size_t i = 0; i < n; i++)
		if (items[i].exec == f->exec)
			return &items[i];
	conform_fail(s, expected, session_text(f));
}

/* Each is answered, in any order. */
static void
expect_all(struct session *s, struct item *items, size_t n, const char *expected)
{
	for (size_t i = 0; i < n; i++) {
		const struct frame *f = session_final(s, expected);
		const struct item *item = find(s, items, n, expected, f);

		if (item->result != NULL ? f->type != MSG_DONE || !session_means(f->done.result, item->result)
		    : f->type != MSG_FAIL || (item->message != NULL && !pstr_is(f->fail.message, item->message)))
			conform_fail(s, expected, session_text(f));
	}
}

static void
batch(struct session *s)
{
	struct item items[] = {
		{ .payload = "{\"value\": 1}", .result = "1" }, { .payload = "{\"value\": null}", .result = "null" },
		{ .payload = "{\"value\": [\"three\"]}", .result = "[\"three\"]" }, { .payload = "{\"value\": \"four\"}", .result = "\"four\"" },
	};

	if (!offers(s, NULL))
		return;
	run_batch(s, items, 4, NULL);
	expect_all(s, items, 4, "DONE of each execution of a batch, with its own value");
	session_echo(s, "\"after a batch\"");
}

static void
batch_of_one(struct session *s)
{
	struct item item = { .payload = "{\"value\": \"alone\"}", .result = "\"alone\"" };

	if (!offers(s, NULL))
		return;
	run_batch(s, &item, 1, NULL);
	expect_all(s, &item, 1, "DONE of the only execution of a batch");
}

static void
batch_full(struct session *s)
{
	struct item items[] = { { .payload = "{\"value\": 1}", .result = "1" }, { .payload = "{\"value\": 2}", .result = "2" } };
	const struct msg_item full = {
		.attempt = 3, .has_deadline_ms = true, .deadline_ms = 3600000, .metadata = pstr("{\"tenant\": 7}"),
		.trace = pstr("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"), .event.name = pstr("nightly"),
		.event.at = pstr("2030-01-31T09:00:00.000Z"), .event.kind = pstr("schedule"),
	};

	if (!offers(s, NULL))
		return;
	run_batch(s, items, 2, &full);
	expect_all(s, items, 2, "DONE of executions with every optional field");
}

/* The credit is one, whatever it was. */
static void
batch_credit(struct session *s)
{
	struct item items[ITEMS_MAX];

	if (!offers(s, NULL))
		return;
	for (size_t i = 0; i < ITEMS_MAX; i++)
		items[i] = (struct item){ .payload = "{\"value\": \"one of eight\"}", .result = "\"one of eight\"" };
	for (int i = 0; i < 3; i++) {
		run_batch(s, items, ITEMS_MAX, NULL);
		expect_all(s, items, ITEMS_MAX, "DONE of each of eight executions, which take one credit together");
	}
}

static void
batch_error(struct session *s)
{
	struct item items[] = {
		{ .payload = "{\"value\": 1}", .result = "1" }, { .payload = "{\"fail\": \"not this one\"}", .message = "not this one" },
		{ .payload = "{\"value\": 3}", .result = "3" },
	};

	if (!offers(s, NULL))
		return;
	run_batch(s, items, 3, NULL);
	expect_all(s, items, 3, "FAIL of the execution whose result is an error, and DONE of the others");
}

static void
batch_mismatch(struct session *s)
{
	struct item items[] = { { .payload = "{\"value\": 1}" }, { .payload = "{\"short\": true}" }, { .payload = "{\"value\": 3}" } };

	if (!offers(s, NULL))
		return;
	run_batch(s, items, 3, NULL);
	expect_all(s, items, 3, "FAIL of each execution of a batch that has a result too few");
}

static void
batch_cancel(struct session *s)
{
	struct item items[] = { { .payload = "{\"value\": 1, \"ms\": 200}" }, { .payload = "{\"value\": 2, \"ms\": 200}", .result = "2" } };
	static const char expected[] = "a final frame for the execution that was cancelled, and DONE of the other one of its batch";

	if (!offers(s, "cancel"))
		return;
	run_batch(s, items, 2, NULL);
	session_settle(s);
	session_cancel(s, items[0].exec);
	for (int i = 0; i < 2; i++) {
		const struct frame *f = session_final(s, expected);

		if (find(s, items, 2, expected, f) == &items[1] && (f->type != MSG_DONE || !session_means(f->done.result, "2")))
			conform_fail(s, expected, session_text(f));
	}
}

const struct conform_case conform_batch_cases[] = {
	{ "batch", "each execution of a batch is answered by its own number (conform.batch)", batch, "batch", false },
	{ "batch-of-one", "a batch may have a single execution (conform.batch)", batch_of_one, "batch", false },
	{ "batch-full", "every optional field of an item is taken (conform.batch)", batch_full, "batch", false },
	{ "batch-credit", "a batch takes one credit, however many it has (conform.batch)", batch_credit, "batch", false },
	{ "batch-error", "an error in the place of a result fails that execution alone (conform.batch)", batch_error, "batch", false },
	{ "batch-mismatch", "a result too few fails all of a batch (conform.batch)", batch_mismatch, "batch", false },
	{ "batch-cancel", "CANCEL ends no other execution of a batch (capability cancel, conform.batch)", batch_cancel, "batch", false },
	{ .name = NULL }
};
