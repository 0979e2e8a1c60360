/*
 * A look at all nodes and queues. The cli process only; blocking.
 *
 * It is taken every few seconds, perhaps by several people, so it must cost next to nothing however much there is:
 *
 *	ready		read from each lane's floor on (what is below is dead), LOOK_MAX rows at most; paused where the queue is, or the
 *			task that the shard belongs to; what has a key is read by shard
 *	delayed		LOOK_MAX rows at most, those that sleep among them
 *	unserved	likewise, those that wait for others, or are paused, among them
 *	running		a small table: only runs of a second or longer stand in it
 *	ended		the end of history: the pages that were added since the last look; where old rows have been removed
 *			from today's, new ones may stand anywhere, and they are found by time
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/look.h"
#include "common/xmalloc.h"

#define STRING_(x)	#x
#define STRING(x)	STRING_(x)
/* One more, to tell "so many" from "more". */
#define LIMIT		" limit " STRING(LOOK_MAX) " + 1"

/*
 * No statement may take long; and indexes, read as far as they are needed, are the way to everything here, whatever the
 * statistics say. Compiling these statements took half a second, running them a hundredth of one.
 */
static const char begin_sql[] = "set statement_timeout = '5s'; set enable_seqscan = off; set enable_hashjoin = off;"
    " set enable_mergejoin = off; set jit = off; set default_transaction_read_only = on";
static const char whole_sql[] = "set enable_bitmapscan = off";
/* History has an index that is read in no other way. */
static const char bitmap_sql[] = "set enable_bitmapscan = on";

/*
 * Pages of history are filled by several connections, each its own way: some behind the end are looked at again. A
 * page has 8 kB nearly everywhere.
 */
static const char now_sql[] =
    "select now(), current_database(), (select count(*) from pgconductor.live_nodes()),"
    " coalesce((select format('(%s,0)', case when pg_stat_get_tuples_deleted(p.oid) = 0"
    "   then greatest(pg_relation_size(p.oid) / current_setting('block_size')::int - 512, 0) else 0 end)"
    "  from to_regclass('pgconductor.finished_' || to_char(now() at time zone 'UTC', 'YYYYMMDD')) p(oid)), '(0,0)')";

/* What waits for time, or for ever: of so many rows, those that are suspended and the others. */
#define AT_REST(when, others) \
	"select count(*) filter (where coalesce(n.waiting, '') not in ('suspended', 'paused')) as " others "," \
	" count(*) filter (where n.waiting = 'suspended') as suspended, count(*) filter (where n.waiting = 'paused') as paused" \
	" from (select e.waiting from pgconductor.shards s cross join lateral (select e.waiting from pgconductor.executions e" \
	"  where e.shard = s.id and e.ready_xid is null and e.run_at " when LIMIT ") e where s.queue = q.name" LIMIT ") n"

/* Rows of a lane, and of a shard whose rows have keys; what runs is among them. */
#define OF_LANE		"from pgconductor.executions e where e.shard = l.shard and e.lane = l.lane and e.key is null and e.waiting is null and e.ready_xid >= l.floor"
#define OF_TIME(is)	"from pgconductor.executions e where e.shard = l.shard and e.lane = l.lane and e.waiting = 'delayed' and e.run_at " is " pgconductor.now()"
#define OF_KEYS		"from pgconductor.executions e where e.shard = k.id and e.key is not null and e.ready_xid is not null"
#define RUNS		"exists (select from pgconductor.running r where r.id = e.id and r.ready_xid = e.ready_xid)"
#define READY(paused) \
	"(select count(*) from (select from lane l cross join lateral (select " OF_LANE LIMIT ") e" \
	"  where l.queue = q.name and " paused " l.paused" \
	"  union all select from lane l cross join lateral (select " OF_TIME("<=") LIMIT ") e" \
	"  where l.queue = q.name and " paused " l.paused" \
	"  union all select from shard k cross join lateral (select " OF_KEYS LIMIT ") e" \
	"  where k.queue = q.name and " paused " k.paused and k.task is not null" LIMIT ") n)"
#define RUNNING(paused) \
	"(select count(*) from pgconductor.running r join shard k on k.id = r.shard where k.queue = q.name and " paused " k.paused)"

/* A floor of another cluster (a restored dump) says nothing of this one. */
static const char queues_sql[] =
    "with shard as materialized ("
    "  select s.id, s.queue, s.task, q.paused_at is not null or t.paused_at is not null as paused,"
    "   case when s.system_id = pgconductor.system_id() then s.floor else '0' end as floor"
    "  from pgconductor.shards s join pgconductor.queues q on q.name = s.queue"
    "  left join pgconductor.tasks t on t.name = s.task),"
    " lane as materialized ("
    "  select distinct k.queue, k.id as shard, l.lane, k.floor, k.paused from shard k join pgconductor.lanes l on l.shard = k.id)"
    " select q.name, " READY("not") ", " RUNNING("not") ","
    " timed.delayed + (select count(*) from (select from lane l cross join lateral (select " OF_TIME(">") LIMIT ") e"
    "  where l.queue = q.name" LIMIT ") n), timed.suspended, parked.unserved, parked.suspended,"
    " (select extract(epoch from now() - min(w.run_at)) from ("
    "  select e.run_at from lane l cross join lateral (select e.run_at " OF_LANE " and not " RUNS
    "   order by e.ready_xid, e.id limit 1) e where l.queue = q.name and not l.paused"
    "  union all select e.run_at from lane l cross join lateral (select e.run_at " OF_TIME("<=") " and not " RUNS
    "   order by e.run_at, e.id limit 1) e where l.queue = q.name and not l.paused"
    "  union all select e.run_at from shard k cross join lateral (select e.run_at " OF_KEYS " and not " RUNS LIMIT ") e"
    "   where k.queue = q.name and k.task is not null and not k.paused) w),"
    " " READY("") ", " RUNNING("") ", parked.paused"
    " from pgconductor.queues q cross join lateral (" AT_REST("< 'infinity'", "delayed") ") timed"
    " cross join lateral (" AT_REST("= 'infinity'", "unserved") ") parked order by q.name";

static const char ended_sql[] =
    "select f.queue, count(*) filter (where f.state = 'completed'), count(*) filter (where f.state = 'failed'),"
    " extract(epoch from $3::timestamptz - $1::timestamptz)"
    " from pgconductor.finished_executions f"
    " where f.finished_at > $1::timestamptz and f.finished_at <= $3::timestamptz and f.ctid >= $2::tid group by f.queue";

static const char running_sql[] =
    "select r.id, e.task, e.queue, r.attempt, r.node, n.host, r.program, r.pid,"
    " extract(epoch from now() - r.started_at)::bigint as seconds, r.percent, r.note"
    " from pgconductor.running r join pgconductor.executions e on e.id = r.id and e.ready_xid = r.ready_xid"
    " left join pgconductor.nodes n on n.id = r.node order by r.started_at, r.id limit $1";

static PGresult *
ask(PGconn *conn, const char *sql, int n, const char *const *params, char **why)
{
	PGresult *res = PQexecParams(conn, sql, n, NULL, params, NULL, NULL, 0);
	const char *message;

	if (PQresultStatus(res) == PGRES_TUPLES_OK)
		return res;
	message = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);
	*why = xstrdup(message != NULL ? message : PQerrorMessage(conn));
	(*why)[strcspn(*why, "\n")] = '\0';
	PQclear(res);
	return NULL;
}

static bool
command(PGconn *conn, const char *sql, char **why)
{
	PGresult *res = PQexec(conn, sql);
	bool ok = PQresultStatus(res) == PGRES_COMMAND_OK;

	if (!ok) {
		*why = xstrdup(PQerrorMessage(conn));
		(*why)[strcspn(*why, "\n")] = '\0';
	}
	PQclear(res);
	return ok;
}

bool
look_begin(PGconn *conn, char **why)
{
	return command(conn, begin_sql, why);
}

static int64_t
number(const PGresult *res, int row, int col)
{
	return strtoll(PQgetvalue(res, row, col), NULL, 10);
}

static void
set(char **target, const char *value)
{
	free(*target);
	*target = xstrdup(value);
}

static void
free_queues(struct look *l)
{
	for (int i = 0; i < l->queues_n; i++)
		free(l->queues[i].name);
	free(l->queues);
}

static int64_t
without(int64_t unsettled, int64_t running)
{
	return unsettled > LOOK_MAX ? unsettled : unsettled > running ? unsettled - running : 0;
}

static void
take_queues(struct look *l, const PGresult *res)
{
	free_queues(l);
	l->queues_n = PQntuples(res);
	l->queues = xcalloc((size_t)l->queues_n + 1, sizeof(*l->queues));
	for (int i = 0; i < l->queues_n; i++) {
		struct look_queue *q = &l->queues[i];

		q->name = xstrdup(PQgetvalue(res, i, 0));
		/* Those that run are ready, too, as long as they have not ended. */
		q->ready = without(number(res, i, 1), number(res, i, 2));
		q->running = number(res, i, 2) + number(res, i, 9);
		q->paused = without(number(res, i, 8), number(res, i, 9)) + number(res, i, 10);
		q->delayed = number(res, i, 3);
		q->suspended = number(res, i, 4) + number(res, i, 6);
		q->unserved = number(res, i, 5);
		q->timed_more = q->delayed + number(res, i, 4) > LOOK_MAX;
		q->parked_more = q->unserved + number(res, i, 6) + number(res, i, 10) > LOOK_MAX;
		q->oldest = PQgetisnull(res, i, 7) ? -1 : strtod(PQgetvalue(res, i, 7), NULL);
	}
}

static void
take_ended(struct look *l, const PGresult *res)
{
	for (int i = 0; i < PQntuples(res); i++) {
		double seconds = strtod(PQgetvalue(res, i, 3), NULL);

		for (int n = 0; n < l->queues_n; n++) {
			struct look_queue *q = &l->queues[n];

			if (strcmp(q->name, PQgetvalue(res, i, 0)) != 0 || seconds <= 0)
				continue;
			q->done = (double)number(res, i, 1) / seconds;
			q->failed = (double)number(res, i, 2) / seconds;
		}
	}
}

/* The time of the look before; for the first one, so long ago. */
static char *
since(const struct look *l, PGconn *conn, const char *now, int64_t window_ms, char **why)
{
	char *interval = xasprintf("%lld milliseconds", (long long)window_ms), *out = NULL;
	const char *const params[] = { now, interval };
	PGresult *res;

	if (l->since != NULL) {
		out = xstrdup(l->since);
	} else if ((res = ask(conn, "select $1::timestamptz - $2::interval", 2, params, why)) != NULL) {
		out = xstrdup(PQgetvalue(res, 0, 0));
		PQclear(res);
	}
	free(interval);
	return out;
}

bool
look_take(struct look *l, PGconn *conn, int64_t window_ms, int runs, char **why)
{
	PGresult *now = NULL, *queues = NULL, *ended = NULL, *running = NULL;
	char limit[16], *from = NULL;
	const char *params[3] = { limit };
	bool ok;

	snprintf(limit, sizeof(limit), "%d", runs);
	if ((now = ask(conn, now_sql, 0, NULL, why)) != NULL && command(conn, whole_sql, why) &&
	    (queues = ask(conn, queues_sql, 0, NULL, why)) != NULL && (running = ask(conn, running_sql, 1, params, why)) != NULL &&
	    command(conn, bitmap_sql, why) && (from = since(l, conn, PQgetvalue(now, 0, 0), window_ms, why)) != NULL) {
		params[0] = from;
		params[1] = l->block != NULL ? l->block : "(0,0)";
		params[2] = PQgetvalue(now, 0, 0);
		ended = ask(conn, ended_sql, 3, params, why);
	}
	ok = ended != NULL;
	if (ok) {
		take_queues(l, queues);
		take_ended(l, ended);
		set(&l->since, PQgetvalue(now, 0, 0));
		set(&l->database, PQgetvalue(now, 0, 1));
		set(&l->block, PQgetvalue(now, 0, 3));
		l->nodes = (int)number(now, 0, 2);
		PQclear(l->running);
		l->running = running;
		running = NULL;
	}
	PQclear(now);
	PQclear(queues);
	PQclear(ended);
	PQclear(running);
	free(from);
	return ok;
}

void
look_again(struct look *l)
{
	free(l->since);
	free(l->block);
	l->since = l->block = NULL;
}

void
look_free(struct look *l)
{
	free_queues(l);
	PQclear(l->running);
	look_again(l);
	free(l->database);
	memset(l, 0, sizeof(*l));
}
