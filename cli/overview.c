/*
 * pgconductor queues, tasks and nodes: what there is. The cli process only.
 */
#include "config.h"

#include "cli/cli.h"

static bool json;

static const struct cli_option options[] = {
	{ "json", 0, CLI_FLAG, &json, NULL, "as lines of JSON" },
	{ .name = NULL }
};

/* Counts what is unfinished, by queue: reads the whole table of executions. */
static const char queues_sql[] =
    "select q.name as queue, count(e.id) filter (where e.ready_xid is not null and r.id is null) as ready,"
    " count(r.id) as running,"
    " count(e.id) filter (where e.ready_xid is null and e.run_at <> 'infinity') as delayed,"
    " count(e.id) filter (where e.run_at = 'infinity') as unserved,"
    " cardinality(q.shard_ids) as shards,"
    " (select count(distinct s.owner) from pgconductor.shards s where s.queue = q.name and s.owner in"
    "  (select l.node from pgconductor.live_nodes() l)) as nodes"
    " from pgconductor.queues q left join pgconductor.executions e on e.queue = q.name"
    " left join pgconductor.running r on r.id = e.id and r.ready_xid = e.ready_xid"
    " group by q.name order by q.name";

/* Lists and objects without the marks of JSON: 15s, 30s, 60s. */
#define OPTION(name) \
	"max(translate(o.value #>> '{}', '[]{}\"', '') || case o.source when 'default' then '' else ' (' || o.source || ')' end)" \
	" filter (where o.option = '" name "') as " name

static const char tasks_sql[] =
    "select o.task, " OPTION("queue") ", " OPTION("max_attempts") ", " OPTION("timeout") ", " OPTION("remove_on_complete") ", "
    OPTION("remove_on_fail") ", " OPTION("backoff")
    " from pgconductor.task_options() o where $1::text is null or o.task = $1 group by o.task order by o.task";

static const char tasks_json_sql[] =
    "select o.task, json_object_agg(o.option, json_build_object('value', o.value, 'source', o.source) order by o.option)"
    " as options from pgconductor.task_options() o where $1::text is null or o.task = $1 group by o.task order by o.task";

static const char nodes_sql[] =
    "select n.id as node, n.host, n.pid, n.version, to_char(n.started_at, 'YYYY-MM-DD HH24:MI:SS') as started,"
    " case when l.node is not null then 'yes' else 'no' end as alive,"
    " (select count(*) from pgconductor.shards s where s.owner = n.id) as shards,"
    " array_to_string(n.queues, ' ') as queues"
    " from pgconductor.nodes n left join pgconductor.live_nodes() l on l.node = n.id order by n.id";

static const char nodes_json_sql[] =
    "select n.id as node, n.host, n.pid, n.version, n.started_at, n.seen_at, l.node is not null as alive,"
    " array(select s.id from pgconductor.shards s where s.owner = n.id order by s.id) as shards, n.queues, n.serves"
    " from pgconductor.nodes n left join pgconductor.live_nodes() l on l.node = n.id order by n.id";

static int
report(const char *sql, int n, const char *const *params, const char *nothing)
{
	PGconn *conn = cli_connect(cli_conninfo(NULL));
	int rows = cli_report(conn, json, sql, n, params, nothing);

	PQfinish(conn);
	return rows;
}

static int
run_queues(int argc, char **argv)
{
	if (argc > 1)
		cli_usage("%s: unexpected argument", argv[1]);
	report(queues_sql, 0, NULL, "no queues");
	return cli_done(EX_OK);
}

static int
run_tasks(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : NULL;

	if (argc > 2)
		cli_usage("%s: unexpected argument", argv[2]);
	if (report(json ? tasks_json_sql : tasks_sql, 1, &name, "no tasks") == 0 && name != NULL) {
		cli_warn("%s: no program and no configuration has declared this task", name);
		return cli_done(1);
	}
	return cli_done(EX_OK);
}

static int
run_nodes(int argc, char **argv)
{
	if (argc > 1)
		cli_usage("%s: unexpected argument", argv[1]);
	report(json ? nodes_json_sql : nodes_sql, 0, NULL, "no nodes");
	return cli_done(EX_OK);
}

const struct cli_command cmd_queues = {
	.name = "queues",
	.arguments = "[--json]",
	.summary = "list queues with what waits in them",
	.details = "unserved: ready, but no running program serves its task. nodes: how many serve the queue.\n",
	.options = options,
	.run = run_queues,
};

const struct cli_command cmd_tasks = {
	.name = "tasks",
	.arguments = "[NAME] [--json]",
	.summary = "list tasks with their settings and where these come from",
	.details = "(config), (set) or (code:PROGRAM) says who set a value; the others are defaults.\n",
	.options = options,
	.run = run_tasks,
};

const struct cli_command cmd_nodes = {
	.name = "nodes",
	.arguments = "[--json]",
	.summary = "list nodes: running servers, and what they serve",
	.options = options,
	.run = run_nodes,
};
