/*
 * pgconductor ctx emit and wait. The cli process only.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/ctx.h"

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

static struct pgc_event_wait event = PGC_EVENT;
static const char *since, *timeout;
static bool want_json;

static const struct cli_option options[] = {
	{ "event", 0, CLI_TEXT, &event.event, "EVENT", "its name" },
	{ "when", 0, CLI_TEXT, &event.filter, "SQL", "only one for which this holds: an expression over event and payload (jsonb)" },
	{ "since", 0, CLI_TEXT, &since, "start",
	    "also one since the execution was invoked, or behind the last one of that name that it got" },
	{ "timeout", 0, CLI_TEXT, &timeout, "D", "wait so long at most: exit 124" },
	{ "json", 'j', CLI_FLAG, &want_json, NULL, "print the payload as JSON: strings in quotes, null as null" },
	{ .name = NULL }
};

/* As a child that fails. */
static int
fail(struct pgc_run *run)
{
	char *message = cli_json_get(event.error, "message"), *code = cli_json_get(event.error, "code");
	struct pgc_failure f = PGC_FAILURE;

	cli_warn("waiting for %s: %s", event.event, message != NULL ? message : "(no message)");
	ctx_status = code != NULL && strcmp(code, "timeout") == 0 ? CTX_CHILD_TIMEOUT : CTX_CHILD_FAILED;
	f.code = code;
	f.message = message != NULL ? message : "(no message)";
	f.data = event.error;
	f.for_good = true;
	pgc_fail_with(run, &f);
	free(message);
	free(code);
	return 0;
}

static int
do_wait(struct pgc_run *run, void *arg)
{
	(void)arg;
	if (pgc_wait_event(run, &event) != 0)
		return PGC_OVER;
	if (event.error != NULL)
		return fail(run);
	ctx_print(event.payload, want_json);
	return 0;
}

static int
run_wait(int argc, char **argv)
{
	const char *key = "";

	if (argc > 2)
		cli_usage("%s: unexpected argument", argv[2]);
	if (event.event == NULL)
		cli_usage("--event is missing");
	if (since != NULL && strcmp(since, "start") != 0)
		cli_usage("--since: \"%s\" is not start", since);
	if (argc == 2)
		key = event.key = ctx_key(argv[1]);
	if (timeout != NULL)
		event.timeout_ms = cli_duration("--timeout", timeout);
	event.since_start = since != NULL;
	return ctx_do(do_wait, NULL, &key, 1);
}

const struct cli_command ctx_wait = {
	.name = "ctx wait",
	.arguments = "[KEY] --event EVENT [OPTION…]",
	.summary = "wait for an event and print its payload; meanwhile the execution takes neither a process nor a slot",
	.details = "The command is ended (TERM, then KILL) and run again from its beginning when the event has come. If that takes\n"
	    "longer than --timeout this exits with 124, and with 65 if the condition cannot be used; a command that exits with\n"
	    "either of them then has failed for good, for that reason.\n",
	.options = options,
	.no_database = true,
	.run = run_wait,
};
