/*
 * pgconductor ready: is work that is invoked now going to be run? For scripts and health checks. The cli process only.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "common/buf.h"
#include "common/xmalloc.h"

#define LOOK_MS		200

static const char *conf_path, *queue, *timeout;

static const struct cli_option options[] = {
	{ "config", 'c', CLI_TEXT, &conf_path, "FILE", "take the database from this configuration" },
	{ "queue", 0, CLI_TEXT, &queue, "Q", "this queue must be served, whatever becomes of others" },
	{ "timeout", 0, CLI_TEXT, &timeout, "D", "wait for it, with exit 75 if it has not come about by then" },
	{ .name = NULL }
};

/*
 * One row: why not, or null; and who serves what. $1: tasks, as an array; $2: a queue; null: everything that some node
 * serves. A queue is served when each of its shards has a living owner: then what is invoked is read at once.
 */
static const char ready_sql[] =
    "with live as materialized ("
    "  select n.id, n.queues, n.serves from pgconductor.nodes n join pgconductor.live_nodes() l on l.node = n.id"
    "), wanted as materialized ("
    "  select t.name as task, k.queue from unnest($1::text[]) t(name) left join pgconductor.tasks k on k.name = t.name"
    "), queue as materialized ("
    "  select distinct q from ("
    "    select queue as q from wanted union all select $2::text"
    "    union all select unnest(queues) from live where $2::text is null and not exists (select from wanted)) a"
    "  where q is not null"
    "), reason as ("
    "  select 1 as rank, 'no node is running' as why where not exists (select from live)"
    "  union all select 2, w.task || ': no program and no configuration has declared this task' from wanted w"
    "    where w.queue is null"
    "  union all select 3, 'no node says yet what it serves' where not exists (select from queue)"
    "  union all select 4, 'no running program serves task ' || w.task from wanted w"
    "    where w.queue is not null and not exists (select from live where w.queue || '/' || w.task = any (serves))"
    "  union all select 5, 'no node serves queue ' || q from queue where not exists (select from live where q = any (queues))"
    "  union all select 6, 'shards of queue ' || q || ' are being taken over' from queue where exists ("
    "    select from pgconductor.queues u join pgconductor.shards s on s.id = any (u.shard_ids)"
    "    where u.name = q and (s.owner is null or s.owner not in (select id from live)))"
    ")"
    " select (select why from reason order by rank, why limit 1),"
    " (select count(*) from live), (select string_agg(q, ' ' order by q) from queue)";

/* The names as an array of PostgreSQL; NULL if there are none. */
static char *
names(int n, char **v)
{
	struct buf out;

	if (n == 0)
		return NULL;
	buf_init(&out);
	for (int i = 0; i < n; i++) {
		buf_addstr(&out, i == 0 ? "{\"" : ",\"");
		for (const char *s = v[i]; *s != '\0'; s++)
			buf_addf(&out, *s == '"' || *s == '\\' ? "\\%c" : "%c", *s);
		buf_addstr(&out, "\"");
	}
	buf_addstr(&out, "}");
	return buf_steal_str(&out);
}

/* An answer that is no reason to give up: the schema may be about to be installed. */
static char *
trouble(PGconn *conn, const PGresult *res)
{
	const char *state = PQresultErrorField(res, PG_DIAG_SQLSTATE), *message = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);

	if (state != NULL && (strcmp(state, "42P01") == 0 || strcmp(state, "3F000") == 0 || strcmp(state, "42883") == 0))
		return xstrdup("the schema is not installed");
	if (state == NULL || strncmp(state, "57", 2) == 0 || strncmp(state, "08", 2) == 0)
		return xasprintf("database: %s", message != NULL ? message : "the connection was lost");
	exit(cli_db_error(conn, res));
}

/* NULL: it is ready, and that was said. Else the reason, and what to end with. */
static char *
look(PGconn *conn, const char *tasks, int *status)
{
	const char *const params[] = { tasks, queue };
	PGresult *res = PQexecParams(conn, ready_sql, 2, NULL, params, NULL, NULL, 0);
	char *why = NULL;

	*status = 1;
	if (PQresultStatus(res) != PGRES_TUPLES_OK) {
		why = trouble(conn, res);
		*status = PQstatus(conn) == CONNECTION_OK ? EX_CONFIG : EX_UNAVAILABLE;
	} else if (!PQgetisnull(res, 0, 0)) {
		why = xstrdup(PQgetvalue(res, 0, 0));
	} else {
		printf("ready: %s %s %s %s\n", PQgetvalue(res, 0, 1), strcmp(PQgetvalue(res, 0, 1), "1") == 0 ? "node," : "nodes,",
		    strchr(PQgetvalue(res, 0, 2), ' ') != NULL ? "queues" : "queue", PQgetvalue(res, 0, 2));
	}
	PQclear(res);
	return why;
}

/* Which database it is, is found out each time: a dev server may be about to be started in this directory. */
static char *
try(const struct conf *conf, const char *tasks, int *status)
{
	const char *why, *conninfo = cli_find_conninfo(conf, &why);
	PGconn *conn;
	char *reason;

	*status = EX_UNAVAILABLE;
	if (conninfo == NULL)
		return xstrdup(why);
	if ((conn = cli_try_connect(conninfo, &reason)) == NULL) {
		char *text = xasprintf("database: %s", reason);

		free(reason);
		return text;
	}
	reason = look(conn, tasks, status);
	PQfinish(conn);
	return reason;
}

static int
run(int argc, char **argv)
{
	int64_t until = timeout != NULL ? cli_now_ms() + cli_duration("--timeout", timeout) : 0;
	struct conf *conf = conf_path != NULL ? cli_load_conf(conf_path, false) : NULL;
	char *tasks = names(argc - 1, argv + 1), *why;
	int status;

	while ((why = try(conf, tasks, &status)) != NULL) {
		if (cli_now_ms() >= until)
			cli_fail(timeout != NULL ? EX_TEMPFAIL : status, "%s", why);
		free(why);
		cli_pause_ms(LOOK_MS);
	}
	free(tasks);
	return cli_done(EX_OK);
}

const struct cli_command cmd_ready = {
	.name = "ready",
	.arguments = "[TASK…] [--queue Q] [-c FILE] [--timeout D]",
	.operand = "TASK",
	.summary = "tell whether work is being taken: exit 0, or 1 with the reason",
	.details = "A node must be running, and serve each TASK, or the queue; without these, all that running nodes serve must\n"
	    "be in their hands. Exits with 69 if the database cannot be reached.\n",
	.options = options,
	.run = run,
};
