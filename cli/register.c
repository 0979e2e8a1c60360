/*
 * pgconductor register and retire: declaring tasks without serving them, and taking one out of service. The cli process
 * only.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/discover.h"
#include "common/buf.h"
#include "common/conf.h"
#include "common/json.h"
#include "common/xmalloc.h"

static const char *conf_path;

static const struct cli_option options[] = {
	{ "config", 'c', CLI_TEXT, &conf_path, "FILE", "the configuration (else " CONF_DEFAULT_PATH " if it is there)" },
	{ .name = NULL }
};

/* What is to be declared: JSON lists, of programs and of their tasks. Options and triggers stand in them as texts. */
struct target {
	struct buf	 sources, tasks;
	const char	*source;
	size_t		 n;
};

/* A unit is what one source says for one queue; of programs everything is told. */
static const char register_sql[] =
    "with t as materialized ("
    "  select x.source, coalesce(x.home, case when x.source = 'config' then '' else 'default' end) as queue, x.task, x.home,"
    "    x.options::json as options, x.triggers::json as triggers"
    "  from json_to_recordset($2::json) as x(source text, task text, home text, options text, triggers text)"
    "), u as materialized ("
    "  select d.source, d.queue, row_number() over (order by d.source, d.queue)::int as unit"
    "  from (select distinct t.source, t.queue from t) d)"
    " select r.source, r.task, r.message from pgconductor.register(null, null,"
    "  array(select json_array_elements_text($1::json)),"
    "  array(select u.source from u order by u.unit), array(select u.queue from u order by u.unit),"
    "  array(select true from u),"
    "  array(select u.unit from t join u using (source, queue) order by u.unit, t.task),"
    "  array(select t.task from t join u using (source, queue) order by u.unit, t.task),"
    "  array(select t.home from t join u using (source, queue) order by u.unit, t.task),"
    "  array(select t.options from t join u using (source, queue) order by u.unit, t.task),"
    "  array(select t.triggers from t join u using (source, queue) order by u.unit, t.task)) r";

static void
target_init(struct target *t)
{
	memset(t, 0, sizeof(*t));
	buf_init(&t->sources);
	buf_init(&t->tasks);
}

static void
add_text(struct buf *out, const char *before, const char *text)
{
	buf_addstr(out, before);
	if (text != NULL)
		json_quote(out, text, strlen(text));
	else
		buf_addstr(out, "null");
}

static void
declare(const struct discovered *d, void *arg)
{
	struct target *t = arg;

	add_text(&t->tasks, t->n == 0 ? "[{\"source\":" : ",{\"source\":", t->source);
	add_text(&t->tasks, ",\"task\":", d->name);
	add_text(&t->tasks, ",\"home\":", d->queue);
	add_text(&t->tasks, ",\"options\":", d->options != NULL ? d->options : "{}");
	add_text(&t->tasks, ",\"triggers\":", d->triggers);
	buf_addstr(&t->tasks, "}");
	t->n++;
}

static void
declare_program(struct target *t, const struct conf *conf, const struct conf_handler *h)
{
	char *source = xasprintf("code:%s", h->name);

	add_text(&t->sources, t->sources.len == 0 ? "[" : ",", source);
	t->source = source;
	discover_tasks(conf, h, declare, t);
	free(source);
}

static void
declare_configured(struct target *t, const struct conf *conf)
{
	t->source = "config";
	for (size_t i = 0; i < conf->tasks_n; i++) {
		const struct conf_task *task = conf->tasks[i];
		struct discovered d = { .name = task->name, .queue = task->queue };
		char *text, *triggers = conf_task_triggers(task);
		struct buf json;

		buf_init(&json);
		conf_task_options(task, &json);
		d.options = text = buf_steal_str(&json);
		d.triggers = triggers;
		declare(&d, t);
		free(text);
		free(triggers);
	}
}

/* Tells what cannot be declared; returns how many those are. */
static int
complain(const PGresult *res, const struct conf *conf)
{
	for (int i = 0; i < PQntuples(res); i++) {
		const char *source = PQgetvalue(res, i, 0), *task = PQgetvalue(res, i, 1), *message = PQgetvalue(res, i, 2);
		const struct conf_task *t = strcmp(source, "config") == 0 ? conf_task_find(conf, task) : NULL;

		if (t != NULL)
			cli_warn("%s:%d: task \"%s\": %s", t->place.file, t->place.line, task, message);
		else
			cli_warn("%s: task %s: %s", source, task, message);
	}
	return PQntuples(res);
}

static int
target_send(PGconn *conn, struct target *t, const struct conf *conf)
{
	const char *params[2];
	char *sources, *tasks;
	PGresult *res;
	int bad;

	buf_addstr(&t->sources, t->sources.len == 0 ? "[]" : "]");
	buf_addstr(&t->tasks, t->n == 0 ? "[]" : "]");
	params[0] = sources = buf_steal_str(&t->sources);
	params[1] = tasks = buf_steal_str(&t->tasks);
	res = cli_query(conn, register_sql, 2, params);
	bad = complain(res, conf);
	PQclear(res);
	free(sources);
	free(tasks);
	return bad;
}

void
register_configured(PGconn *conn, const struct conf *conf)
{
	struct target t;

	target_init(&t);
	declare_configured(&t, conf);
	target_send(conn, &t, conf);
}

static int
run(int argc, char **argv)
{
	struct target t;
	struct conf *conf;
	PGconn *conn;
	int bad;

	if (argc > 1)
		cli_usage("%s: unexpected argument; a command stands behind --", argv[1]);
	conf = cli_load_conf(conf_path, cli_words_n == 0);
	if (conf->path == NULL && cli_words_n == 0)
		cli_usage("nothing to register: give a configuration with -c, or a command behind --");
	if (cli_words_n > 0)
		conf_set_command(conf, cli_words);
	conn = cli_connect(cli_conninfo(conf));
	target_init(&t);
	declare_configured(&t, conf);
	for (size_t i = 0; i < conf->handlers_n; i++)
		declare_program(&t, conf, conf->handlers[i]);
	bad = target_send(conn, &t, conf);
	printf("%zu tasks declared\n", t.n);
	PQfinish(conn);
	conf_free(conf);
	return cli_done(bad == 0 ? EX_OK : EX_DATAERR);
}

/* ---- taking one out of service ---- */

static void
tell_retired(const char *name, const PGresult *res)
{
	printf("%s retired\n", name);
	if (strcmp(PQgetvalue(res, 0, 0), "0") != 0)
		printf("%s of its executions wait, until it is declared again\n", PQgetvalue(res, 0, 0));
	if (strcmp(PQgetvalue(res, 0, 1), "0") != 0)
		printf("%s of its schedules were made at run time and go on: `pgconductor schedules %s`\n", PQgetvalue(res, 0, 1), name);
	if (*PQgetvalue(res, 0, 2) != '\0')
		printf("what is ready still runs on node %s, which has not been told to leave it\n", PQgetvalue(res, 0, 2));
}

static int
run_retire(int argc, char **argv)
{
	const char *params[1];
	PGconn *conn;
	PGresult *res;
	int rc = EX_OK;

	if (argc < 2 || strcmp(argv[1], "task") != 0)
		cli_usage(argc < 2 ? "what is to be retired is missing: task NAME" : "%s: not what can be retired: task", argv[1]);
	if (argc < 3)
		cli_usage("NAME is missing");
	if (argc > 3)
		cli_usage("%s: unexpected argument", argv[3]);
	params[0] = argv[2];
	conn = cli_connect(cli_conninfo(NULL));
	res = cli_query(conn, "select waiting, schedules, array_to_string(nodes, ', ') from pgconductor.retire($1)", 1, params);
	if (PQntuples(res) == 1) {
		tell_retired(argv[2], res);
	} else {
		cli_warn("%s: no program and no configuration has declared this task", argv[2]);
		rc = 1;
	}
	PQclear(res);
	PQfinish(conn);
	return cli_done(rc);
}

const struct cli_command cmd_register = {
	.name = "register",
	.arguments = "[-c FILE] [--db URL] [-- CMD…]",
	.summary = "declare tasks without serving them",
	.details = "Those of the configuration, and those that its handlers or CMD announce, with their triggers: each program is\n"
	    "started and asked. Afterwards they can be invoked; what is invoked waits until somebody serves them. Exits with 65 if\n"
	    "something of it is wrong; the rest is declared.\n",
	.options = options,
	.takes_command = true,
	.run = run,
};

const struct cli_command cmd_retire = {
	.name = "retire",
	.arguments = "task NAME",
	.operand = "task",
	.summary = "take a task out of service that is declared and should not be",
	.details = "What programs and the configuration say of it counts no more: the schedules and subscriptions that they have declared\n"
	    "are gone. What is unfinished waits, and what is invoked too. A server that is started with a program that declares it,\n"
	    "or a new version of one, brings it back. Exits with 1 if there is no such task.\n",
	.run = run_retire,
};
