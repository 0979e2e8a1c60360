/*
 * pgconductor show and list: executions. The cli process only.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/filter.h"
#include "common/xmalloc.h"

#define TIME(column) "to_char(" column ", 'YYYY-MM-DD HH24:MI:SS')"

/* Everything of an execution, for programs; the id is a string, as in every library. */
#define JSON_COLUMNS \
	"id::text as id, task, queue, state, waiting, priority, attempt, payload, metadata, event, result, error, created_at," \
	" run_at, started_at, finished_at, took_ms, node, program, pid, parent::text as parent, percent, note, event_at, discarded_at, key"

static struct filter filter;
static const char *limit = "50";
static const char *group;
static bool json, oldest, failed;

static const struct cli_option show_options[] = {
	{ "json", 0, CLI_FLAG, &json, NULL, "as one JSON document" },
	{ .name = NULL }
};

static const struct cli_option list_options[] = {
	FILTER_OPTIONS(filter),
	{ "failed", 0, CLI_FLAG, &failed, NULL, "the same as --state failed" },
	{ "discarded", 0, CLI_FLAG, &filter.discarded, NULL, "also those that were discarded" },
	{ "group", 0, CLI_TEXT, &group, "error", "a line for each kind of error of each task, the most frequent first" },
	{ "limit", 0, CLI_TEXT, &limit, "N", "at most so many; 50 if left out" },
	{ "oldest", 0, CLI_FLAG, &oldest, NULL, "the oldest ones, and these first" },
	{ "json", 0, CLI_FLAG, &json, NULL, "as lines of JSON" },
	{ .name = NULL }
};

static const char show_sql[] =
    "select id, task, queue, key, state || coalesce(' (' || waiting || ')', '') || case when discarded_at is not null then ' (discarded)' else '' end as state,"
    " nullif(concat_ws(' ', percent || ' %', note), '') as progress, parent, nullif(priority, 0) as priority, attempt, event, event_at as \"for\","
    " created_at as created, run_at as due, started_at as started, finished_at as finished,"
    " took_ms || ' ms' as took, node, program, pid, payload, metadata,"
    " result, error"
    " from pgconductor.executions_all where id = $1";

/* What it has remembered: for people no more than the beginning of it. */
static const char steps_sql[] =
    "select key as step, case when result is not null or error is not null then '' else concat_ws(', ', 'child ' || child,"
    " case when due_at < 'infinity' then 'until ' || " TIME("due_at") " end) end as \"waits for\","
    " case when length(result::text) > 60 then left(result::text, 60) || '…' else result::text end as result, error"
    " from pgconductor.execution_steps($1)";

static const char show_json_sql[] = "select " JSON_COLUMNS ","
    " (select coalesce(json_agg(json_build_object('key', key, 'state', case when error is not null then 'failed'"
    "   when result is not null then 'done' else 'waiting' end, 'result', result, 'error', error, 'due_at',"
    "   nullif(due_at, 'infinity'), 'child', child::text)), '[]') from pgconductor.execution_steps($1)) as steps"
    " from pgconductor.executions_all where id = $1";

#define LIST_COLUMNS \
	"id, task, queue, state || coalesce(' (' || waiting || ')', '') as state, attempt, " \
	TIME("created_at") " as created, " TIME("run_at") " as due, " TIME("finished_at") " as finished, took_ms as ms," \
	" error"

static void
show_steps(PGconn *conn, const char *id)
{
	PGresult *res = cli_query(conn, steps_sql, 1, &id);

	if (PQntuples(res) > 0) {
		putchar('\n');
		cli_table(res, "");
	}
	PQclear(res);
}

static int
show_one(PGconn *conn, const char *id)
{
	PGresult *res;
	int rows;

	if (json)
		return cli_report(conn, true, show_json_sql, 1, &id, "") > 0 ? EX_OK : 1;
	res = cli_query(conn, show_sql, 1, &id);
	rows = PQntuples(res);
	if (rows > 0)
		cli_record(res);
	PQclear(res);
	if (rows > 0)
		show_steps(conn, id);
	return rows > 0 ? EX_OK : 1;
}

static int
run_show(int argc, char **argv)
{
	PGconn *conn;
	int rc;

	if (argc != 2)
		cli_usage(argc < 2 ? "ID is missing" : "one ID is enough");
	cli_id(argv[1]);
	conn = cli_connect(cli_conninfo(NULL));
	rc = show_one(conn, argv[1]);
	if (rc != EX_OK)
		cli_warn("%s: there is no execution with this id, or its history is gone", argv[1]);
	PQfinish(conn);
	return cli_done(rc);
}

/* First only the ids, so that PostgreSQL does not work out every column of the whole history to drop most of it. */
static char *
list_sql(void)
{
	const char *direction = oldest ? "asc" : "desc";

	return xasprintf("select %s from pgconductor.executions_all where id = any (array(select id from pgconductor.executions_all"
	    " where " FILTER_SQL " order by id %s limit $14)) order by executions_all.id %s", json ? JSON_COLUMNS : LIST_COLUMNS,
	    direction, direction);
}

/*
 * Errors that differ in their traceback, their data and in numbers alone are of one kind: there may be ids of processes and
 * of customers in a message. The latest one stands for them.
 */
static char *
group_sql(void)
{
	return xasprintf("select task, count, %s, %s, error from (select task, count(*) as count, min(at) as first_at, max(at) as last_at,"
	    " (array_agg(error order by at desc, id desc))[1] as error from (select id, task, coalesce(finished_at, created_at) as at,"
	    " pgconductor.error_kind(error) as error from pgconductor.executions_all where error is not null and " FILTER_SQL ") e"
	    " group by task, regexp_replace(error::text, '[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9]+', '0', 'g')"
	    " order by 2 desc, 4 desc, 1 limit $14) g",
	    json ? "first_at" : TIME("first_at") " as first", json ? "last_at" : TIME("last_at") " as last");
}

static int
run_list(int argc, char **argv)
{
	const char *params[FILTER_PARAMS + 1];
	PGconn *conn;
	char *sql;

	if (argc > 1)
		cli_usage("%s: unexpected argument", argv[1]);
	if (limit[0] == '\0' || limit[strspn(limit, "0123456789")] != '\0' || strlen(limit) > 9)
		cli_usage("--limit: \"%s\" is not a whole number", limit);
	if (group != NULL && strcmp(group, "error") != 0)
		cli_usage("--group: \"%s\" is not what can be grouped by: error", group);
	if (failed && filter.state != NULL)
		cli_usage("--failed and --state: give one of them");
	if (failed)
		filter.state = "failed";
	filter_check(&filter);
	filter_params(&filter, params);
	params[FILTER_PARAMS] = limit;
	conn = cli_connect(cli_conninfo(NULL));
	sql = group != NULL ? group_sql() : list_sql();
	cli_report(conn, json, sql, FILTER_PARAMS + 1, params, "no executions");
	free(sql);
	PQfinish(conn);
	return cli_done(EX_OK);
}

const struct cli_command cmd_show = {
	.name = "show",
	.arguments = "ID [--json]",
	.operand = "ID",
	.summary = "show an execution: state, payload, result, error, steps",
	.options = show_options,
	.run = run_show,
};

const struct cli_command cmd_list = {
	.name = "list",
	.arguments = FILTER_ARGUMENTS " [--failed] [--discarded] [--group error] [--limit N] [--oldest]\n    [--json]",
	.summary = "list executions, the newest first",
	.details = "Those that all of the options are true of. What a suspended one waits for stands behind its state. Failed ones that\n"
	    "were discarded are left out.\n",
	.states = "ready delayed suspended running completed failed cancelled",
	.options = list_options,
	.run = run_list,
};
