/*
 * pgconductor schedule, unschedule, schedules, and pause and resume, also of queues and tasks. The cli process only.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

#define TIME(column) "to_char(" column ", 'YYYY-MM-DD HH24:MI:SS')"

static const char *timezone_name, *overlap, *catchup;
static bool paused, json;

static const struct cli_option schedule_options[] = {
	{ "timezone", 0, CLI_TEXT, &timezone_name, "TZ", "of the expression, such as Europe/Berlin; UTC if left out" },
	{ "overlap", 0, CLI_TEXT, &overlap, "O", "allow, or skip: no execution while the former one is unfinished" },
	{ "catchup", 0, CLI_TEXT, &catchup, "C", "what is made up for when nothing ran: skip (nothing), last, all, or how many" },
	{ "paused", 0, CLI_FLAG, &paused, NULL, "it begins when it is resumed" },
	{ .name = NULL }
};

static const struct cli_option schedules_options[] = {
	{ "json", 0, CLI_FLAG, &json, NULL, "as lines of JSON" },
	{ .name = NULL }
};

#define CATCHUP "case s.catchup when 0 then 'skip' when 1 then 'last' when 2147483647 then 'all' else s.catchup::text end"
#define ORDER " from pgconductor.schedules s join pgconductor.task_states() t on t.task = s.task where $1::text is null or s.task = $1 order by s.task, s.name"

static const char schedules_sql[] =
    "select s.task, s.name, s.cron, s.timezone, " TIME("nullif(s.next_at, 'infinity')") " as next, " TIME("s.last_at") " as last,"
    " s.overlap, " CATCHUP " as catchup, coalesce(s.program, 'run time') as source,"
    " case when not s.enabled then 'paused' else coalesce('stopped: ' || s.problem, 'on') end"
    " || case when t.state = 'served' then '' else ', task ' || t.state end as state" ORDER;

static const char schedules_json_sql[] =
    "select s.task, s.name, s.cron, s.timezone, s.payload, s.enabled, s.overlap, " CATCHUP " as catchup, s.program as source,"
    " nullif(s.next_at, 'infinity') as next_at, s.last_at, s.last_execution::text as last_execution, s.problem,"
    " t.state as task_state" ORDER;

static int
run_schedule(int argc, char **argv)
{
	const char *params[8] = { NULL, NULL, NULL, "null", NULL, NULL, NULL, NULL };
	char *payload = NULL;
	PGconn *conn;
	PGresult *res;

	if (argc < 4)
		cli_usage("%s is missing", argc < 2 ? "TASK" : argc < 3 ? "NAME" : "CRON, an expression in quotes,");
	if (argc > 5)
		cli_usage("%s: unexpected argument; an expression of several fields is one argument, in quotes", argv[5]);
	for (int i = 1; i < 4; i++)
		params[i - 1] = argv[i];
	if (argc > 4)
		params[3] = payload = cli_read_payload(argv[4]);
	params[4] = timezone_name;
	params[5] = paused ? "false" : "true";
	params[6] = overlap;
	params[7] = catchup;
	conn = cli_connect(cli_conninfo(NULL));
	if (payload != NULL)
		cli_check_task(conn, params[0], payload);
	res = cli_query(conn, "select pgconductor.schedule($1, $2, $3, $4::text, timezone => $5, enabled => $6::boolean, overlap => $7,"
	    " catchup => $8)", 8, params);
	printf("%s\n", PQgetvalue(res, 0, 0));
	PQclear(res);
	PQfinish(conn);
	free(payload);
	return cli_done(EX_OK);
}

/* Something is done to one schedule; the exit status is 1 if there is no such schedule. */
static int
change(int argc, char **argv, const char *sql, const char *done)
{
	const char *params[2];
	PGconn *conn;
	PGresult *res;
	int rc = EX_OK;

	if (argc < 3)
		cli_usage("%s is missing", argc < 2 ? "TASK" : "NAME");
	if (argc > 3)
		cli_usage("%s: unexpected argument", argv[3]);
	params[0] = argv[1];
	params[1] = argv[2];
	conn = cli_connect(cli_conninfo(NULL));
	res = cli_query(conn, sql, 2, params);
	if (cli_is_true(res, 0, 0)) {
		printf("%s %s %s\n", argv[1], argv[2], done);
	} else {
		cli_warn("%s: there is no schedule \"%s\" of this task", argv[1], argv[2]);
		rc = 1;
	}
	PQclear(res);
	PQfinish(conn);
	return cli_done(rc);
}

static int
run_unschedule(int argc, char **argv)
{
	return change(argc, argv, "select pgconductor.unschedule($1, $2)", "removed");
}

/* The same with a queue or a task. */
static int
change_one(int argc, char **argv, const char *what, const char *sql, const char *done)
{
	const char *name = argv[1];
	PGconn *conn;
	PGresult *res;
	int rc = EX_OK;

	if (argc < 2)
		cli_usage("NAME of the %s is missing", what);
	if (argc > 2)
		cli_usage("%s: unexpected argument", argv[2]);
	conn = cli_connect(cli_conninfo(NULL));
	res = cli_query(conn, sql, 1, &name);
	if (cli_is_true(res, 0, 0)) {
		printf("%s %s %s\n", what, name, done);
	} else {
		cli_warn("%s: there is no %s of this name", name, what);
		rc = 1;
	}
	PQclear(res);
	PQfinish(conn);
	return cli_done(rc);
}

/* What is to be paused or resumed is named first. */
static int
set_enabled(int argc, char **argv, bool enabled)
{
	const char *done = enabled ? "resumed" : "paused";

	if (argc < 2)
		cli_usage("queue, task or schedule is missing, and which one");
	if (strcmp(argv[1], "schedule") == 0)
		return change(argc - 1, argv + 1, enabled ? "select pgconductor.enable_schedule($1, $2, true)" :
		    "select pgconductor.enable_schedule($1, $2, false)", done);
	if (strcmp(argv[1], "queue") == 0)
		return change_one(argc - 1, argv + 1, "queue", enabled ? "select pgconductor.enable_queue($1, true)" :
		    "select pgconductor.enable_queue($1, false)", done);
	if (strcmp(argv[1], "task") == 0)
		return change_one(argc - 1, argv + 1, "task", enabled ? "select pgconductor.enable_task($1, true)" :
		    "select pgconductor.enable_task($1, false)", done);
	cli_usage("%s: not what can be paused and resumed: queue, task or schedule", argv[1]);
}

static int
run_pause(int argc, char **argv)
{
	return set_enabled(argc, argv, false);
}

static int
run_resume(int argc, char **argv)
{
	return set_enabled(argc, argv, true);
}

static int
run_schedules(int argc, char **argv)
{
	const char *task = argc > 1 ? argv[1] : NULL;
	PGconn *conn;

	if (argc > 2)
		cli_usage("%s: unexpected argument", argv[2]);
	conn = cli_connect(cli_conninfo(NULL));
	cli_report(conn, json, json ? schedules_json_sql : schedules_sql, 1, &task, "no schedules");
	PQfinish(conn);
	return cli_done(EX_OK);
}

const struct cli_command cmd_schedule = {
	.name = "schedule",
	.arguments = "TASK NAME CRON [JSON | - | @FILE] [OPTION…]",
	.operand = "TASK",
	.summary = "have a task executed again and again",
	.details = "CRON is an expression such as \"30 9 * * mon-fri\": minute, hour, day of month, month, day of week; six fields begin\n"
	    "with seconds; or @hourly, @daily, @weekly, @monthly, @yearly. JSON is the payload. One of the same name is replaced.\n"
	    "Prints when it is due next.\n",
	.options = schedule_options,
	.run = run_schedule,
};

const struct cli_command cmd_unschedule = {
	.name = "unschedule",
	.arguments = "TASK NAME",
	.operand = "TASK",
	.summary = "remove a schedule; what it has started goes on",
	.details = "One that a program or the configuration declares would come back: it is refused. Pause it. Exits with 1 if\n"
	    "there is no such schedule.\n",
	.run = run_unschedule,
};

const struct cli_command cmd_schedules = {
	.name = "schedules",
	.arguments = "[TASK] [--json]",
	.operand = "TASK",
	.summary = "list schedules, and when they are due",
	.details = "source: code:PROGRAM or config if it was declared with its task, run time if somebody has made it since.\n"
	    "state: of the schedule; and of the task, unless it is served: what is started waits until it is.\n",
	.options = schedules_options,
	.run = run_schedules,
};

const struct cli_command cmd_pause = {
	.name = "pause",
	.arguments = "queue NAME | task NAME | schedule TASK NAME",
	.operand = "queue|task|schedule",
	.summary = "hand out nothing of a queue or task, start nothing by a schedule",
	.details = "It stays so, whatever is deployed. What runs goes on; what is invoked waits. Exits with 1 if there is none of this\n"
	    "name.\n",
	.run = run_pause,
};

const struct cli_command cmd_resume = {
	.name = "resume",
	.arguments = "queue NAME | task NAME | schedule TASK NAME",
	.operand = "queue|task|schedule",
	.summary = "go on with a queue, a task or a schedule",
	.details = "What a schedule has missed is not made up for. Also for one that could not be computed. Exits with 1 if there is\n"
	    "none of this name.\n",
	.run = run_resume,
};
