/*
 * pgconductor cancel and retry, and what other commands do to executions named by id, or to many at once by what they
 * have in common. The cli process only.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "cli/action.h"
#include "cli/cli.h"
#include "cli/filter.h"
#include "common/buf.h"
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

static const struct action cancel_action = {
	"pgconductor.cancel(%s, $%d)", 1, "cancelled", "there is no unfinished execution with this id", "unfinished", NULL
};

static const struct action retry_action = {
	"pgconductor.retry(%s)", 0, "made ready", "there is no finished execution with this id", "finished", "failed"
};

/* The call with the numbers of its parameters put in, behind the id's. */
static char *
call_text(const struct action *action, const char *id, int first)
{
	struct buf text;
	int n = first;

	buf_init(&text);
	for (const char *s = action->call; *s != '\0'; s++) {
		if (s[0] == '%' && s[1] == 's')
			buf_addstr(&text, id);
		else if (s[0] == '%' && s[1] == 'd')
			buf_addf(&text, "%d", n++);
		else
			buf_addf(&text, "%c", *s);
		s += *s == '%';
	}
	return buf_steal_str(&text);
}

/* By id: one statement each, so that one that is not there does not keep the others from being done. */
static int
by_id(PGconn *conn, int argc, char **argv, const struct action *action, const char *const *extra)
{
	char *call = call_text(action, "$1", 2), *sql = xasprintf("select %s", call);
	const char *params[1 + ACTION_EXTRA] = { NULL };
	PGresult *res;
	int rc = EX_OK;

	for (int i = 0; i < action->extra; i++)
		params[1 + i] = extra[i];
	for (int i = 1; i < argc; i++) {
		params[0] = argv[i];
		res = cli_query(conn, sql, 1 + action->extra, params);
		if (cli_is_true(res, 0, 0)) {
			printf("%s %s\n", argv[i], action->done);
		} else {
			cli_warn("%s: %s", argv[i], action->none);
			rc = 1;
		}
		PQclear(res);
	}
	free(sql);
	free(call);
	return rc;
}

#define LAST	(FILTER_PARAMS + 1)

/* Many: in batches, in the order of their ids; one created meanwhile may or may not be among them. */
static int
by_filter(PGconn *conn, struct filter *f, const struct action *action, const char *const *extra)
{
	char *call = call_text(action, "id", LAST + 1);
	char *sql = xasprintf("with picked as materialized (select id from pgconductor.executions_all where " FILTER_SQL
	    " and id > $%d order by id limit " BATCH ") select id, %s from picked", LAST, call);
	const char *params[LAST + ACTION_EXTRA] = { NULL };
	char last[32] = "0";
	long total = 0;
	PGresult *res;
	int rows;

	f->part = action->part;
	if (f->state == NULL)
		f->state = action->state;
	filter_params(f, params);
	params[LAST - 1] = last;
	for (int i = 0; i < action->extra; i++)
		params[LAST + i] = extra[i];
	do {
		res = cli_query(conn, sql, LAST + action->extra, params);
		rows = PQntuples(res);
		for (int i = 0; i < rows; i++)
			total += cli_is_true(res, i, 1);
		if (rows > 0)
			snprintf(last, sizeof(last), "%s", PQgetvalue(res, rows - 1, 0));
		PQclear(res);
	} while (rows > 0);
	printf("%ld %s\n", total, action->done);
	free(sql);
	free(call);
	return EX_OK;
}

void
action_check(int argc, char **argv, const struct filter *f)
{
	for (int i = 1; i < argc; i++)
		cli_id(argv[i]);
	if (argc > 1 && filter_given(f))
		cli_usage("name executions by id or by options, not both");
	if (argc == 1 && !filter_given(f))
		cli_usage("ID is missing, or one of --task, --queue, --state, --after, --before, --error, --key, --metadata");
	filter_check(f);
}

int
action_run(PGconn *conn, int argc, char **argv, struct filter *f, const struct action *action, const char *const *extra)
{
	return argc > 1 ? by_id(conn, argc, argv, action, extra) : by_filter(conn, f, action, extra);
}

static int
run_action(int argc, char **argv, const struct action *action)
{
	PGconn *conn;
	int rc;

	action_check(argc, argv, &filter);
	conn = cli_connect(cli_conninfo(NULL));
	rc = action_run(conn, argc, argv, &filter, action, &reason);
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
