/*
 * pgconductor ctx emit and wait. The cli process only.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/ctx.h"
#include "common/xmalloc.h"

/* ---- emit ---- */

static int
do_emit(struct pgc_run *run, void *arg)
{
	char **argv = arg;
	const char *id;

	if (pgc_emit(run, argv[1], argv[2], &id) != 0)
		return PGC_OVER;
	if (id == NULL) {
		cli_warn("%s", pgc_error(pgc_of(run)));
		ctx_status = EX_DATAERR;
	} else {
		puts(id);
	}
	return 0;
}

static int
run_emit(int argc, char **argv)
{
	const char *payload;

	if (argc < 2)
		cli_usage("EVENT is missing");
	if (argc > 3)
		cli_usage("%s: unexpected argument", argv[3]);
	payload = ctx_payload(argc > 2 ? argv[2] : NULL);
	return ctx_do(do_emit, (const char *[]){ argv[0], argv[1], payload }, NULL, 0);
}

const struct cli_command ctx_emit = {
	.name = "ctx emit",
	.arguments = "EVENT [JSON | - | @FILE]",
	.summary = "say that something has happened; print the event's id",
	.details = "It is done in each run of the command. To have it done once: pgconductor ctx step KEY -- pgconductor ctx emit …\n",
	.no_database = true,
	.run = run_emit,
};

/* ---- wait ---- */

static struct cli_values events;
static struct pgc_event_wait change = PGC_EVENT;
static const char *when, *since, *timeout;
static bool any, want_json;

static const struct cli_option options[] = {
	{ "event", 0, CLI_EACH, &events, "EVENT", "its name; may be given several times" },
	{ "table", 0, CLI_TEXT, &change.table, "TABLE", "a change of a row of this table" },
	{ "operation", 0, CLI_TEXT, &change.operation, "O", "insert, update or delete" },
	{ "schema", 0, CLI_TEXT, &change.schema, "S", "of the table, if it is not public" },
	{ "columns", 0, CLI_TEXT, &change.columns, "A,B", "of old and new; all of them if left out" },
	{ "when", 0, CLI_TEXT, &when, "SQL",
	    "only one for which this holds: an expression over event and payload (jsonb), or over new and old of a table" },
	{ "since", 0, CLI_TEXT, &since, "start",
	    "also one since the execution was invoked, or behind the last one of that name that it got" },
	{ "timeout", 0, CLI_TEXT, &timeout, "D", "wait so long at most: exit 124" },
	{ "any", 0, CLI_FLAG, &any, NULL, "of several, wait for the first: print its name and its payload" },
	{ "json", 'j', CLI_FLAG, &want_json, NULL, "print the payload as JSON: strings in quotes, null as null" },
	{ .name = NULL }
};

/* What is waited for, and the keys that are named: of several, for any of them, the first is for which one it was. */
static struct {
	struct pgc_event_wait	*v;
	size_t			 n;
	const char		**keys;
	size_t			 keys_n;
} waits;

static bool
is_race(void)
{
	return any && waits.n > 1;
}

static char *
label(const struct pgc_event_wait *e)
{
	if (e->table == NULL)
		return xstrdup(e->event);
	return xasprintf("%s.%s.%s", e->schema != NULL ? e->schema : "public", e->table, e->operation);
}

/* As a child that fails. */
static int
fail(struct pgc_run *run, const struct pgc_event_wait *e)
{
	char *message = cli_json_get(e->error, "message"), *code = cli_json_get(e->error, "code"), *what = label(e);
	struct pgc_failure f = PGC_FAILURE;

	cli_warn("waiting for %s: %s", what, message != NULL ? message : "(no message)");
	ctx_status = code != NULL && strcmp(code, "timeout") == 0 ? CTX_CHILD_TIMEOUT : CTX_CHILD_FAILED;
	f.code = code;
	f.message = message != NULL ? message : "(no message)";
	f.data = e->error;
	f.for_good = true;
	pgc_fail_with(run, &f);
	free(message);
	free(code);
	free(what);
	return 0;
}

static int
print_all(struct pgc_run *run)
{
	for (size_t i = 0; i < waits.n; i++)
		if (waits.v[i].error != NULL)
			return fail(run, &waits.v[i]);
	for (size_t i = 0; i < waits.n; i++)
		ctx_print(waits.v[i].payload, want_json || waits.n > 1);
	return 0;
}

/* Which one it was stays the same, whatever comes later. */
static int
print_first(struct pgc_run *run, const char *saved)
{
	size_t first = saved != NULL ? strtoul(saved, NULL, 10) : 0;
	char number[24], *what;

	while (saved == NULL && waits.v[first].payload == NULL && waits.v[first].error == NULL)
		first++;
	snprintf(number, sizeof(number), "%zu", first);
	if (saved == NULL && pgc_save_now(run, waits.keys[0], number) != 0)
		return PGC_OVER;
	if (first >= waits.n || (waits.v[first].payload == NULL && waits.v[first].error == NULL))
		cli_fail(EX_DATAERR, "the key \"%s\" was used for something else", waits.keys[0]);
	if (waits.v[first].error != NULL)
		return fail(run, &waits.v[first]);
	what = label(&waits.v[first]);
	printf("%s %s\n", what, waits.v[first].payload);
	free(what);
	return 0;
}

static int
do_wait(struct pgc_run *run, void *arg)
{
	const char *saved = is_race() ? pgc_saved(run, waits.keys[0]) : NULL;

	(void)arg;
	if (pgc_wait_events(run, waits.v, waits.n, is_race()) != 0)
		return PGC_OVER;
	return is_race() ? print_first(run, saved) : print_all(run);
}

static void
check_options(void)
{
	if (events.n == 0 && change.table == NULL)
		cli_usage("--event or --table is missing");
	if (change.table != NULL && change.operation == NULL)
		cli_usage("--operation is missing: insert, update or delete");
	if (change.table == NULL && (change.operation != NULL || change.schema != NULL || change.columns != NULL))
		cli_usage("--table is missing");
	if (when != NULL && events.n != 0 && change.table != NULL)
		cli_usage("--when: of events and of a table they are different; use two tasks, or do without one of them");
	if (since != NULL && strcmp(since, "start") != 0)
		cli_usage("--since: \"%s\" is not start", since);
}

static void
gather(const char *key)
{
	size_t race;

	waits.n = events.n + (change.table != NULL);
	if (is_race() && key == NULL)
		cli_usage("--any: a KEY is needed, for which one it was is saved");
	race = is_race();
	waits.v = xcalloc(waits.n, sizeof(*waits.v));
	waits.keys = xcalloc(waits.n + 1, sizeof(*waits.keys));
	waits.keys_n = waits.n + race;
	if (race)
		waits.keys[0] = key;
	for (size_t i = 0; i < waits.n; i++) {
		struct pgc_event_wait *w = &waits.v[i];

		*w = i < events.n ? (struct pgc_event_wait)PGC_EVENT : change;
		w->event = i < events.n ? events.v[i] : NULL;
		if (key != NULL)
			w->key = waits.n == 1 ? key : ctx_key(xasprintf("%s#%zu", key, i + 1));
		waits.keys[race + i] = key != NULL ? w->key : "";
		w->filter = when;
		w->since_start = since != NULL;
		if (timeout != NULL)
			w->timeout_ms = cli_duration("--timeout", timeout);
	}
}

static int
run_wait(int argc, char **argv)
{
	if (argc > 2)
		cli_usage("%s: unexpected argument", argv[2]);
	check_options();
	gather(argc == 2 ? ctx_key(argv[1]) : NULL);
	return ctx_do(do_wait, NULL, waits.keys, waits.keys_n);
}

const struct cli_command ctx_wait = {
	.name = "ctx wait",
	.arguments = "[KEY] --event EVENT… | --table TABLE --operation O [OPTION…]",
	.summary = "wait for an event, or a change of a table, and print its payload; meanwhile the execution takes neither a process nor a slot",
	.details = "The command is ended (TERM, then KILL) and run again from its beginning when the event has come. If that takes\n"
	    "longer than --timeout this exits with 124, and with 65 if the condition cannot be used, or there is no such table; a\n"
	    "command that exits with either of them then has failed for good, for that reason. Several are all waited for, and\n"
	    "their payloads are printed as JSON, a line each, in the order of the options, a table's last. With --any it is the\n"
	    "first that comes: its name, a blank, and its payload as JSON; for a table the name is as public.users.insert.\n",
	.options = options,
	.no_database = true,
	.run = run_wait,
};
