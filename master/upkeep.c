/*
 * Keeping history in shape: partitions ahead, partitions and rows past their time. Master.
 *
 * The database says what is to be done, as statements that must each run outside a transaction; here they are run, on a
 * connection that lives only for that: detaching a partition waits for whoever reads it, and nothing else may wait
 * for that.
 */
#include "config.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "common/log.h"
#include "common/xmalloc.h"
#include "master/master.h"

struct upkeep {
	struct master	*master;
	struct db	*db;
	struct event	*end;
	bool		 force;
	char		**statements;
	int		 n, next;
	int		 made, dropped;	/* partitions */
	int64_t		 removed;	/* rows */
	int64_t		 began_ms;
};

static const struct db_stmt stmt_upkeep = { "upkeep", "select statement from pgconductor.upkeep($1::boolean) statement" };

static void	next_statement(struct upkeep *);

void
upkeep_free(struct master *m)
{
	struct upkeep *u = m->upkeep;

	if (u == NULL)
		return;
	m->upkeep = NULL;
	db_free(u->db);
	event_free(u->end);
	for (int i = 0; i < u->n; i++)
		free(u->statements[i]);
	free(u->statements);
	free(u);
}

static void
on_end(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	upkeep_free(arg);
}

/* From the loop: this may be an answer on the connection that goes. */
static void
finish(struct upkeep *u)
{
	event_active(u->end, EV_TIMEOUT, 0);
}

static bool
removes(const char *statement)
{
	static const char *const calls[] = { "pgconductor.expire(", "pgconductor.sweep(", "pgconductor.forget_keys(" };

	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
		if (strstr(statement, calls[i]) != NULL)
			return true;
	return false;
}

/* What has come of a statement, for the log; true: there is more of the same to do. */
static bool
count(struct upkeep *u, const struct db_answer *a)
{
	const char *statement = u->statements[u->next];
	int n;

	if (a->outcome != DB_OK)
		return false;
	u->made += strstr(statement, " attach partition ") != NULL;
	u->dropped += strncmp(statement, "drop table ", strlen("drop table ")) == 0;
	if (a->rows != 1 || !removes(statement) || db_null(a, 0, 0))
		return false;
	n = db_int4(a, 0, 0);
	/* sweep says only that it is not done. */
	if (strstr(statement, ".sweep(") == NULL)
		u->removed += n;
	return n != 0;
}

static void
statement_done(const struct db_answer *a, void *arg)
{
	struct upkeep *u = arg;

	if (a->outcome == DB_LOST)
		return;
	/* A partition that a reader keeps open, say: the next upkeep tries again. */
	if (a->outcome == DB_ERROR)
		log_warnx("upkeep: %s: %s", u->statements[u->next], a->message);
	/* A batch of removals says how many there were; the next batch follows until there is nothing left. */
	if (!count(u, a))
		u->next++;
	next_statement(u);
}

static void
next_statement(struct upkeep *u)
{
	if (u->next == u->n) {
		if (u->made + u->dropped != 0 || u->removed != 0)
			log_info("upkeep: %d partitions made, %d dropped, %" PRId64 " rows removed in %" PRId64 " ms", u->made,
			    u->dropped, u->removed, clock_ms() - u->began_ms);
		finish(u);
	} else
		db_exec(u->db, u->statements[u->next], statement_done, u);
}

static void
listed(const struct db_answer *a, void *arg)
{
	struct upkeep *u = arg;

	if (a->outcome == DB_LOST)
		return;
	if (a->outcome == DB_ERROR)
		log_warnx("upkeep: %s", a->message);
	if (a->outcome == DB_OK && a->rows != 0) {
		u->statements = xcalloc((size_t)a->rows, sizeof(char *));
		for (int i = 0; i < a->rows; i++)
			u->statements[u->n++] = xstrdup(db_text(a, i, 0, NULL));
	}
	next_statement(u);
}

static void
up(struct db *db, void *arg)
{
	struct master *m = arg;
	struct params p;

	params_init(&p);
	param_bool(&p, m->upkeep->force);
	db_call(db, &stmt_upkeep, &p, listed, m->upkeep);
	params_free(&p);
}

static void
down(struct db *db, const char *why, void *arg)
{
	struct master *m = arg;

	(void)db;
	(void)why;
	finish(m->upkeep);
}

static void
start(struct master *m, bool force)
{
	static const struct db_owner owner = { up, down, NULL, NULL };
	struct upkeep *u;

	if (m->upkeep != NULL)
		return;
	u = m->upkeep = xcalloc(1, sizeof(*u));
	u->master = m;
	u->began_ms = clock_ms();
	u->force = force;
	u->end = event_new(m->base, -1, 0, on_end, m);
	u->db = node_connection(m, "upkeep", NULL, &owner);
}

void
upkeep_run(struct master *m)
{
	start(m, false);
}

/* An outcome found no partition for today: this cannot wait for whoever else may be at it. */
void
upkeep_partition_missing(struct master *m)
{
	start(m, true);
}
