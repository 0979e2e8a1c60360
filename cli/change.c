/*
 * pgconductor edit, move and discard: executions named by id, or many at once by what they have in common. The cli process
 * only.
 */
#include "config.h"

#include <stdlib.h>

#include "cli/action.h"
#include "cli/cli.h"
#include "cli/filter.h"
#include "common/xmalloc.h"

static struct filter filter;
static const char *payload, *priority, *run_at, *delay, *set_metadata, *to;

static const struct cli_option edit_options[] = {
	{ "payload", 0, CLI_TEXT, &payload, "JSON", "the new payload: JSON, - for stdin, or @FILE" },
	{ "priority", 0, CLI_TEXT, &priority, "N", "-32768 to 32767, higher first" },
	{ "run-at", 0, CLI_TEXT, &run_at, "T", "not before this time, such as \"2030-01-31 12:00+01\"" },
	{ "delay", 0, CLI_TEXT, &delay, "D", "not before this long has passed: 250ms, 10s, 5m, 2h, 7d" },
	{ "set-metadata", 0, CLI_TEXT, &set_metadata, "JSON", "the new metadata, instead of what there is" },
	FILTER_OPTIONS(filter),
	{ .name = NULL }
};

static const struct cli_option move_options[] = {
	{ "to", 0, CLI_TEXT, &to, "Q", "the queue that they go to" },
	FILTER_OPTIONS(filter),
	{ .name = NULL }
};

static const struct cli_option discard_options[] = {
	FILTER_OPTIONS(filter),
	{ .name = NULL }
};

/* Read, or checked, before anything is changed. */
static char *
run_time(PGconn *conn)
{
	char *interval = NULL, *due;
	const char *params[1];
	PGresult *res;

	if (delay == NULL)
		return run_at != NULL ? xstrdup(run_at) : NULL;
	interval = xasprintf("%lld milliseconds", (long long)cli_duration("--delay", delay));
	params[0] = interval;
	res = cli_query(conn, "select (clock_timestamp() + $1::interval)::text", 1, params);
	due = xstrdup(PQgetvalue(res, 0, 0));
	PQclear(res);
	free(interval);
	return due;
}

static int
run_edit(int argc, char **argv)
{
	static const char unfinished[] = "there is no unfinished execution with this id that does not run";
	const struct action action = { .call = "pgconductor.edit(%s, $%d::text, $%d::int, $%d::timestamptz, $%d::json)", .extra = 4,
		.done = "changed", .none = unfinished, .part = "unfinished" };
	const char *extra[4] = { NULL };
	char *body, *due;
	PGconn *conn;
	int rc;

	if (payload == NULL && priority == NULL && run_at == NULL && delay == NULL && set_metadata == NULL)
		cli_usage("what is to change is missing: --payload, --priority, --run-at, --delay or --set-metadata");
	if (run_at != NULL && delay != NULL)
		cli_usage("--run-at and --delay: give one of them");
	if (priority != NULL)
		cli_priority("--priority", priority);
	action_check(argc, argv, &filter);
	body = payload != NULL ? cli_read_payload(payload) : NULL;
	conn = cli_connect(cli_conninfo(NULL));
	due = run_time(conn);
	extra[0] = body;
	extra[1] = priority;
	extra[2] = due;
	extra[3] = set_metadata;
	rc = action_run(conn, argc, argv, &filter, &action, extra);
	PQfinish(conn);
	free(body);
	free(due);
	return cli_done(rc);
}

static int
run_move(int argc, char **argv)
{
	const struct action action = { .call = "pgconductor.move(%s, $%d)", .extra = 1, .done = "moved",
		.none = "there is no unfinished execution with this id that does not run", .part = "unfinished" };
	PGconn *conn;
	int rc;

	if (to == NULL)
		cli_usage("--to is missing, the queue that they go to");
	action_check(argc, argv, &filter);
	conn = cli_connect(cli_conninfo(NULL));
	rc = action_run(conn, argc, argv, &filter, &action, &to);
	PQfinish(conn);
	return cli_done(rc);
}

static int
run_discard(int argc, char **argv)
{
	const struct action action = { .call = "pgconductor.discard(%s)", .done = "discarded",
		.none = "there is no failed execution with this id that was not discarded", .part = "finished", .state = "failed" };
	PGconn *conn;
	int rc;

	action_check(argc, argv, &filter);
	conn = cli_connect(cli_conninfo(NULL));
	rc = action_run(conn, argc, argv, &filter, &action, NULL);
	PQfinish(conn);
	return cli_done(rc);
}

const struct cli_command cmd_edit = {
	.name = "edit",
	.arguments = "ID… | " FILTER_ARGUMENTS " OPTION…",
	.summary = "change unfinished executions that do not run",
	.details = "What is not given stays as it is. By options, all that they are true of. One that is ready is changed by its server\n"
	    "within a moment; if it is handed out just then, it runs as it was. Exits with 1 if one of the ids is not of such an\n"
	    "execution.\n",
	.states = "ready delayed suspended",
	.options = edit_options,
	.run = run_edit,
};

const struct cli_command cmd_move = {
	.name = "move",
	.arguments = "ID… --to Q | " FILTER_ARGUMENTS " --to Q",
	.summary = "move unfinished executions that do not run to another queue",
	.details = "By options, all that they are true of. As with edit, one that is handed out just then stays. Exits with 1 if one of\n"
	    "the ids is not of such an execution.\n",
	.states = "ready delayed suspended",
	.options = move_options,
	.run = run_move,
};

const struct cli_command cmd_discard = {
	.name = "discard",
	.arguments = "ID… | " FILTER_ARGUMENTS,
	.summary = "look after failed executions no more: lists leave them out",
	.details = "Their history stays as long as that of others: show has them, and list --discarded. By options, all that they are\n"
	    "true of. Exits with 1 if one of the ids is not of a failed execution, or was discarded before.\n",
	.states = "failed",
	.options = discard_options,
	.run = run_discard,
};
