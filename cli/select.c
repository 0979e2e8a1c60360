/*
 * pgconductor cancel and retry: executions named by id, or many at once by what they have in common. The cli process
 * only.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/filter.h"
#include "common/xmalloc.h"

/* So many in one transaction. */
#define BATCH "1000"

static const char *reason;
static struct filter filter;

static const struct cli_option cancel_options[] = {
	{ "reason", 0, CLI_TEXT, &reason, "R", "stored with the execution, and told to its handler" },
	FILTER_OPTIONS(filter),
	{ .name = NULL }
};

static const struct cli_option retry_options[] = {
	FILTER_OPTIONS(filter),
	{ .name = NULL }
};

struct action {
	const char		*by_id;		/* the call; $1 is the id, $2 the reason if it takes one */
	const char		*by_filter;	/* the call on id; $11 is the reason */
	bool			 takes_reason;
	const char		*done;
	const char		*none;
	const char		*part;		/* of executions, when no state is given */
	const char		*state;		/* likewise; NULL: any */
};

static const struct action cancel_action = {
	"pgconductor.cancel($1, $2)", "pgconductor.cancel(id, $11)", true, "cancelled",
	"there is no unfinished execution with this id", "unfinished", NULL
};

static const struct action retry_action = {
	"pgconductor.retry($1)", "pgconductor.retry(id)", false, "made ready",
	"there is no finished execution with this id", "finished", "failed"
};

/* By id: one statement each, so that one that is not there does not keep the others from being done. */
static int
by_id(PGconn *conn, int argc, char **argv, const struct action *action)
{
	char *sql = xasprintf("select %s", action->by_id);
	const char *params[2] = { NULL, reason };
	PGresult *res;
	int rc = EX_OK;

	for (int i = 1; i < argc; i++) {
		params[0] = argv[i];
		res = cli_query(conn, sql, action->takes_reason ? 2 : 1, params);
		if (cli_is_true(res, 0, 0)) {
			printf("%s %s\n", argv[i], action->done);
		} else {
			cli_warn("%s: %s", argv[i], action->none);
			rc = 1;
		}
		PQclear(res);
	}
	free(sql);
	return rc;
}

/* Many: in batches, in the order of their ids; one created meanwhile may or may not be among them. */
static int
by_filter(PGconn *conn, const struct action *action, const char **params)
{
	char *sql = xasprintf("with picked as materialized (select id from pgconductor.executions_all where " FILTER_SQL
	    " and id > $10 order by id limit " BATCH ") select id, %s from picked", action->by_filter);
	char last[32] = "0";
	long total = 0;
	PGresult *res;
	int rows;

	params[FILTER_PARAMS] = last;
	params[FILTER_PARAMS + 1] = reason;
	do {
		res = cli_query(conn, sql, FILTER_PARAMS + (action->takes_reason ? 2 : 1), params);
		rows = PQntuples(res);
		for (int i = 0; i < rows; i++)
			total += cli_is_true(res, i, 1);
		if (rows > 0)
			snprintf(last, sizeof(last), "%s", PQgetvalue(res, rows - 1, 0));
		PQclear(res);
	} while (rows > 0);
	printf("%ld %s\n", total, action->done);
	free(sql);
	return EX_OK;
}

static int
run_action(int argc, char **argv, const struct action *action)
{
	const char *params[FILTER_PARAMS + 2] = { NULL };
	PGconn *conn;
	int rc;

	for (int i = 1; i < argc; i++)
		cli_id(argv[i]);
	if (argc > 1 && filter_given(&filter))
		cli_usage("name executions by id or by options, not both");
	if (argc == 1 && !filter_given(&filter))
		cli_usage("ID is missing, or one of --task, --queue, --state, --after, --before, --error");
	filter.part = action->part;
	if (filter.state == NULL)
		filter.state = action->state;
	filter_params(&filter, params);
	conn = cli_connect(cli_conninfo(NULL));
	rc = argc > 1 ? by_id(conn, argc, argv, action) : by_filter(conn, action, params);
	PQfinish(conn);
	return cli_done(rc);
}

static int
run_cancel(int argc, char **argv)
{
	return run_action(argc, argv, &cancel_action);
}

static int
run_retry(int argc, char **argv)
{
	return run_action(argc, argv, &retry_action);
}

const struct cli_command cmd_cancel = {
	.name = "cancel",
	.arguments = "ID… | " FILTER_ARGUMENTS,
	.summary = "cancel unfinished executions; stop those that are running",
	.details = "By options, all that they are true of. Exits with 1 if one of the ids is not of an unfinished execution.\n",
	.states = "ready delayed suspended running",
	.options = cancel_options,
	.run = run_cancel,
};

const struct cli_command cmd_retry = {
	.name = "retry",
	.arguments = "ID… | " FILTER_ARGUMENTS,
	.summary = "run finished executions again, from their first attempt",
	.details = "By options, all that they are true of; those that have failed, if there is no --state. Their history\n"
	    "stays as it is. Exits with 1 if one of the ids is not of a finished execution.\n",
	.states = "failed cancelled completed",
	.options = retry_options,
	.run = run_retry,
};
