/*
 * Keeping history in shape: partitions ahead, partitions and rows past their time. Master.
 *
 * The database says what is to be done, as statements that must each run outside a transaction; here they are run.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/xmalloc.h"
#include "master/master.h"

struct upkeep {
	struct master	*master;
	char		**statements;
	int		 n, next;
};

static const struct db_stmt stmt_upkeep = { "upkeep", "select statement from pgconductor.upkeep($1::boolean) statement" };

static void	next_statement(struct upkeep *);

static void
finish(struct upkeep *u)
{
	u->master->upkeep = NULL;
	for (int i = 0; i < u->n; i++)
		free(u->statements[i]);
	free(u->statements);
	free(u);
}

static void
statement_done(const struct db_answer *a, void *arg)
{
	struct upkeep *u = arg;

	if (a->outcome == DB_LOST) {
		finish(u);
		return;
	}
	/* A partition that a reader keeps open, say: the next upkeep tries again. */
	if (a->outcome == DB_ERROR)
		log_warnx("upkeep: %s: %s", u->statements[u->next], a->message);
	/* A batch of removals says how many there were; the next batch follows until there is nothing left. */
	if (a->outcome != DB_OK || a->rows != 1 || strstr(u->statements[u->next], "pgconductor.expire") == NULL ||
	    db_null(a, 0, 0) || db_int4(a, 0, 0) == 0)
		u->next++;
	next_statement(u);
}

static void
next_statement(struct upkeep *u)
{
	if (u->next == u->n) {
		finish(u);
		return;
	}
	db_exec(u->master->control, u->statements[u->next], statement_done, u);
}

static void
listed(const struct db_answer *a, void *arg)
{
	struct upkeep *u = arg;

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
start(struct master *m, bool force)
{
	struct upkeep *u;
	struct params p;

	if (m->upkeep != NULL || !db_ready(m->control))
		return;
	u = m->upkeep = xcalloc(1, sizeof(*u));
	u->master = m;
	params_init(&p);
	param_bool(&p, force);
	db_call(m->control, &stmt_upkeep, &p, listed, u);
	params_free(&p);
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
