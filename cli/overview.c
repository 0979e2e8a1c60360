/*
 * pgconductor queues, tasks, nodes and ps: what there is, and what runs on all nodes. The cli process only.
 */
#include "config.h"

#include <string.h>

#include "cli/cli.h"

#define TIME(column) "to_char(" column ", 'YYYY-MM-DD HH24:MI:SS')"

static bool json;
static const char *ps_task, *ps_queue, *ps_node;

static const struct cli_option options[] = {
	{ "json", 0, CLI_FLAG, &json, NULL, "as lines of JSON" },
	{ .name = NULL }
};

static const struct cli_option ps_options[] = {
	{ "task", 0, CLI_TEXT, &ps_task, "TASK", "of this task" },
	{ "queue", 0, CLI_TEXT, &ps_queue, "Q", "in this queue" },
	{ "node", 0, CLI_TEXT, &ps_node, "N", "on this node" },
	{ "json", 0, CLI_FLAG, &json, NULL, "as lines of JSON" },
	{ .name = NULL }
};

#define AT_REST "e.ready_xid is null and e.waiting is distinct from 'suspended'"
#define LATER "pgconductor.delayed(e.waiting, e.run_at)"

#define PAUSED "(q.paused_at is not null or t.paused_at is not null)"

/* Counts what is unfinished, by queue: reads the whole table of executions. */
static const char queues_sql[] =
    "select q.name as queue, count(e.id) filter (where e.ready_xid is not null and not " LATER " and r.id is null and not " PAUSED ") as ready,"
    " count(r.id) as running,"
    " count(e.id) filter (where " AT_REST " and e.run_at <> 'infinity' or " LATER ") as delayed,"
    " count(e.id) filter (where e.ready_xid is null and e.waiting = 'suspended') as suspended,"
    " count(e.id) filter (where " AT_REST " and e.run_at = 'infinity' and e.waiting is distinct from 'paused') as unserved,"
    " count(e.id) filter (where e.waiting = 'paused' and e.ready_xid is null or e.ready_xid is not null and not " LATER " and r.id is null and " PAUSED ") as paused,"
    " cardinality(q.shard_ids) as shards,"
    " (select count(distinct s.owner) from pgconductor.shards s where s.queue = q.name and s.owner in"
    "  (select l.node from pgconductor.live_nodes() l)) as nodes,"
    " case when q.paused_at is null then 'on' else 'paused' end as state"
    " from pgconductor.queues q left join pgconductor.executions e on e.queue = q.name"
    " left join pgconductor.running r on r.id = e.id and r.ready_xid = e.ready_xid"
    " left join pgconductor.tasks t on t.name = e.task"
    " group by q.name order by q.name";

/* Lists and objects without the marks of JSON: 15s, 30s, 60s. */
#define PLAIN(value) "translate(" value " #>> '{}', '[]{}\"', '')"
#define PAUSED_TOO(task) \
	"coalesce((select ', paused' from pgconductor.tasks t where t.name = " task " and t.paused_at is not null), '')"

static const char tasks_sql[] =
    "select o.task, max(s.state) || " PAUSED_TOO("o.task") " as state,"
    " max(" PLAIN("o.value") " || case o.source when 'default' then '' else ' (' || o.source || ')' end)"
    "  filter (where o.option = 'queue') as queue,"
    " array_to_string(max(s.programs), ', ') as programs, array_to_string(max(s.triggers), ', ') as triggers,"
    " string_agg(o.option || ' ' || " PLAIN("o.value") " || ' (' || o.source || ')', '; ' order by o.option)"
    "  filter (where o.source <> 'default' and o.option <> 'queue') as settings"
    " from pgconductor.task_options() o join pgconductor.task_states() s on s.task = o.task"
    " where $1::text is null or o.task = $1 group by o.task order by o.task";

/* One task, a line for each of its settings. */
static const char task_sql[] =
    "select v.setting, v.value, v.source as \"from\" from pgconductor.task_states() s"
    " cross join lateral ("
    "  select 0 as place, 'task' as setting, s.task as value, '' as source"
    "  union all select 1, 'state', s.state || " PAUSED_TOO("s.task") ", ''"
    "  union all select 2, 'nodes', array_to_string(s.nodes, ', '), ''"
    "  union all select 3, 'programs', array_to_string(s.programs, ', '), ''"
    "  union all select 4, 'triggers', array_to_string(s.triggers, ', '), ''"
    "  union all select 5, o.option, " PLAIN("o.value") ", o.source from pgconductor.task_options() o where o.task = s.task) v"
    " where s.task = $1 order by v.place, v.setting";

static const char tasks_json_sql[] =
    "select s.task, s.state, s.programs, s.nodes, s.invocable, s.triggers, s.retired_at,"
    " (select t.paused_at from pgconductor.tasks t where t.name = s.task) as paused_at,"
    " (select json_object_agg(o.option, json_build_object('value', o.value, 'source', o.source) order by o.option)"
    "   from pgconductor.task_options() o where o.task = s.task) as options"
    " from pgconductor.task_states() s where $1::text is null or s.task = $1 order by s.task";

#define RUNS_THERE "(select count(*) from pgconductor.running r where r.node = n.id)"

static const char nodes_sql[] =
    "select n.id as node, n.host, n.pid, n.version, " TIME("n.started_at") " as started,"
    " case when l.node is not null then 'yes' else 'no' end as alive,"
    " (select count(*) from pgconductor.shards s where s.owner = n.id) as shards, " RUNS_THERE " as running,"
    " array_to_string(n.queues, ' ') as queues"
    " from pgconductor.nodes n left join pgconductor.live_nodes() l on l.node = n.id order by n.id";

static const char nodes_json_sql[] =
    "select n.id as node, n.host, n.pid, n.version, n.started_at, n.seen_at, l.node is not null as alive,"
    " array(select s.id from pgconductor.shards s where s.owner = n.id order by s.id) as shards, " RUNS_THERE " as running,"
    " n.queues, n.serves"
    " from pgconductor.nodes n left join pgconductor.live_nodes() l on l.node = n.id order by n.id";

/*
 * From `running`, which has little in it, and not from executions_all, which has everything. What a dead node was
 * running stands there until another one has taken its shards.
 */
#define PS_FROM \
	" from pgconductor.running r join pgconductor.executions e on e.id = r.id and e.ready_xid = r.ready_xid" \
	" left join pgconductor.nodes n on n.id = r.node left join pgconductor.live_nodes() l on l.node = r.node" \
	" where ($1::text is null or e.task = $1) and ($2::text is null or e.queue = $2) and ($3::int is null or r.node = $3)" \
	" order by r.started_at, r.id"

static const char ps_sql[] =
    "select r.id, e.task, e.queue, r.attempt, r.node, n.host || case when l.node is null then ' (dead)' else '' end as host,"
    " r.program, r.pid, " TIME("r.started_at") " as started,"
    " extract(epoch from now() - r.started_at)::bigint as seconds, concat_ws(' ', r.percent || ' %', r.note) as progress" PS_FROM;

static const char ps_json_sql[] =
    "select r.id::text as id, e.task, e.queue, r.attempt, r.node, n.host, l.node is not null as alive, r.program, r.pid,"
    " r.started_at, r.percent, r.note" PS_FROM;

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
	if (report(json ? tasks_json_sql : name != NULL ? task_sql : tasks_sql, 1, &name, "no tasks") == 0 && name != NULL) {
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

static int
run_ps(int argc, char **argv)
{
	const char *const params[] = { ps_task, ps_queue, ps_node };

	if (argc > 1)
		cli_usage("%s: unexpected argument", argv[1]);
	if (ps_node != NULL && (*ps_node == '\0' || ps_node[strspn(ps_node, "0123456789")] != '\0' || strlen(ps_node) > 9))
		cli_usage("--node: \"%s\" is not a node's number", ps_node);
	report(json ? ps_json_sql : ps_sql, 3, params, "nothing is running");
	return cli_done(EX_OK);
}

const struct cli_command cmd_queues = {
	.name = "queues",
	.arguments = "[--json]",
	.summary = "list queues with what waits in them",
	.details = "suspended: asleep, or waiting for other executions. unserved: ready, but no running program serves its task.\n"
	    "paused: ready, but the queue, or its task, is paused. nodes: how many serve the queue.\n",
	.options = options,
	.run = run_queues,
};

const struct cli_command cmd_tasks = {
	.name = "tasks",
	.arguments = "[TASK] [--json]",
	.operand = "TASK",
	.summary = "list tasks with their settings and where these come from",
	.details = "state: served by a running node; unserved: what is invoked waits for one; retired: no program and no configuration\n"
	    "declares it any more; paused: see pause. programs: those that declare it. triggers: what starts it. settings: those that\n"
	    "are not defaults; config, set or code:PROGRAM says who set a value, retired whoever did before that. With a TASK a\n"
	    "line for each of its settings, defaults too.\n",
	.options = options,
	.run = run_tasks,
};

const struct cli_command cmd_nodes = {
	.name = "nodes",
	.arguments = "[--json]",
	.summary = "list nodes: running servers, what they serve and run",
	.details = "alive: it is connected to the database. One that is not, stands here for a day.\n",
	.options = options,
	.run = run_nodes,
};

const struct cli_command cmd_ps = {
	.name = "ps",
	.arguments = "[--task TASK] [--queue Q] [--node N] [--json]",
	.summary = "list the executions that have been running for a second or longer, on all nodes",
	.details = "pid: of the handler, on that host. progress: how far it says to be. What stands at a dead node is run again, or\n"
	    "fails, when another node has taken its shards. What is suspended does not run.\n",
	.options = ps_options,
	.run = run_ps,
};
