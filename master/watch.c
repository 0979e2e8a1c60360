/*
 * Changes of tables: having the database make the triggers that note them, and drop those that nobody needs. Master.
 *
 * What a run waits for is noted before the run is put aside, or what is changed right afterwards would be missed: its
 * outcome is held until then (run_writing). To make a trigger takes a lock on somebody's table, for which may have to be
 * tried again and again. So all of it is done on the control connection, one question at a time; the database knows what
 * there is to do (watch, keep_watches), here is only when to ask, and who waits for the answer.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "common/log.h"
#include "common/xmalloc.h"
#include "master/master.h"
#include "proto/messages.h"

/* Changes in one question. */
#define ASK_MAX		1000
#define LOCKED_RETRY_MS	300
#define BUSY_RETRY_MS	10
#define BROKEN_RETRY_MS	1000
/* Without a reason it is looked so many times more seldom than for other things. */
#define SELDOM		6

static const struct db_stmt stmt_watch = { "watch", "select pos, locked from pgconductor.watch($1::json[])" };
static const struct db_stmt stmt_keep = { "keep_watches", "select next_ms, complaints from pgconductor.keep_watches()" };

/* A run that is about to wait for changes. */
struct waiting {
	TAILQ_ENTRY(waiting) link;
	uint64_t	 exec;
	char		**changes;
	int		 n;
	int		 first;		/* its place in the question under way, from 1; 0: it is not in it */
	bool		 again;		/* what the answer says */
};

TAILQ_HEAD(waitinglist, waiting);

struct watch {
	struct waitinglist waiting;
	bool		 asking;
	struct event	*ask;
	bool		 keeping, again;
	struct event	*keep;
};

static void	ask(struct master *);
static void	keep(struct master *);

static void
on_ask(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	ask(arg);
}

static void
on_keep(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	keep(arg);
}

void
watch_init(struct master *m)
{
	struct watch *w = m->watch = xcalloc(1, sizeof(*w));

	TAILQ_INIT(&w->waiting);
	w->ask = evtimer_new(m->base, on_ask, m);
	w->keep = evtimer_new(m->base, on_keep, m);
}

static void
waiting_free(struct watch *w, struct waiting *x)
{
	TAILQ_REMOVE(&w->waiting, x, link);
	for (int i = 0; i < x->n; i++)
		free(x->changes[i]);
	free(x->changes);
	free(x);
}

void
watch_free(struct master *m)
{
	struct watch *w = m->watch;

	while (!TAILQ_EMPTY(&w->waiting))
		waiting_free(w, TAILQ_FIRST(&w->waiting));
	event_free(w->ask);
	event_free(w->keep);
	free(w);
}

static void
wait_ms(struct event *timer, int64_t ms)
{
	struct timeval tv = clock_timeval(ms);

	event_add(timer, &tv);
}

/* ---- what is about to be waited for ---- */

static void
release(struct master *m, struct waiting *x)
{
	struct run *r = run_by_exec(m, x->exec);

	waiting_free(m->watch, x);
	if (r != NULL)
		run_written(m, r);
}

/* By its place; the first come first. */
static struct waiting *
asked_at(struct watch *w, int pos)
{
	struct waiting *x;

	TAILQ_FOREACH(x, &w->waiting, link)
		if (x->first != 0 && pos >= x->first && pos < x->first + x->n)
			return x;
	return NULL;
}

static void
noted(struct master *m, const struct db_answer *a)
{
	struct watch *w = m->watch;
	struct waiting *x, *next;
	bool locked = false;

	for (int i = 0; i < a->rows; i++) {
		if ((x = asked_at(w, db_int4(a, i, 0))) != NULL)
			x->again = true;
		locked |= db_bool(a, i, 1);
	}
	for (x = TAILQ_FIRST(&w->waiting); x != NULL; x = next) {
		next = TAILQ_NEXT(x, link);
		if (x->first != 0 && !x->again)
			release(m, x);
	}
	if (a->rows != 0)
		wait_ms(w->ask, locked ? LOCKED_RETRY_MS : BUSY_RETRY_MS);
}

static void
asked(const struct db_answer *a, void *arg)
{
	struct master *m = arg;
	struct watch *w = m->watch;
	struct waiting *x;

	w->asking = false;
	if (a->outcome == DB_OK)
		noted(m, a);
	TAILQ_FOREACH(x, &w->waiting, link)
		x->first = 0;
	if (a->outcome == DB_ERROR) {
		log_warnx("noting changes of tables: %s", a->message);
		wait_ms(w->ask, BROKEN_RETRY_MS);
	}
	/* It is asked again when there is a connection. */
	if (a->outcome == DB_LOST)
		return;
	settle_flush(m);
	ask(m);
	if (m->stopping)
		server_progress(m);
}

static void
ask(struct master *m)
{
	struct watch *w = m->watch;
	struct waiting *x, *next;
	struct params p;
	int n = 0;

	if (w->asking || TAILQ_EMPTY(&w->waiting) || evtimer_pending(w->ask, NULL) || !db_ready(m->control))
		return;
	params_init(&p);
	param_array(&p, PARAM_JSON);
	for (x = TAILQ_FIRST(&w->waiting); x != NULL; x = next) {
		next = TAILQ_NEXT(x, link);
		if (run_by_exec(m, x->exec) == NULL) {
			waiting_free(w, x);
			continue;
		}
		if (n != 0 && n + x->n > ASK_MAX)
			break;
		x->first = n + 1;
		x->again = false;
		for (int i = 0; i < x->n; i++, n++)
			param_array_text(&p, 0, x->changes[i], strlen(x->changes[i]));
	}
	w->asking = n != 0;
	if (n != 0)
		db_call(m->control, &stmt_watch, &p, asked, m);
	params_free(&p);
}

void
watch_add(struct master *m, struct run *r, const struct msg_suspend *s)
{
	struct waiting *x = xcalloc(1, sizeof(*x));

	x->changes = xcalloc(s->waits_n + 1, sizeof(*x->changes));
	for (size_t i = 0; i < s->waits_n; i++)
		if (s->waits[i].change.p != NULL)
			x->changes[x->n++] = xstrndup(s->waits[i].change.p, s->waits[i].change.len);
	x->exec = r->exec;
	TAILQ_INSERT_TAIL(&m->watch->waiting, x, link);
	if (x->n == 0) {
		waiting_free(m->watch, x);
		return;
	}
	run_writing(r);
	ask(m);
}

bool
watch_idle(const struct master *m)
{
	return TAILQ_EMPTY(&m->watch->waiting);
}

/* ---- what there has to be ---- */

static void
kept(const struct db_answer *a, void *arg)
{
	struct master *m = arg;
	struct watch *w = m->watch;
	int64_t wait = (int64_t)m->poll_interval_ms * SELDOM;

	w->keeping = false;
	if (a->outcome == DB_LOST)
		return;
	if (a->outcome == DB_ERROR)
		log_warnx("triggers: %s", a->message);
	if (a->outcome == DB_OK) {
		log_warn_lines(db_text(a, 0, 1, NULL));
		if (!db_null(a, 0, 0) && db_int4(a, 0, 0) < wait)
			wait = db_int4(a, 0, 0);
	}
	wait_ms(w->keep, w->again ? 0 : wait);
	w->again = false;
}

static void
keep(struct master *m)
{
	struct watch *w = m->watch;

	if (m->stopping || !db_ready(m->control))
		return;
	/* The answer under way may be older than the reason to ask. */
	if (w->keeping) {
		w->again = true;
		return;
	}
	w->keeping = true;
	db_call(m->control, &stmt_keep, NULL, kept, m);
}

void
watch_look(struct master *m)
{
	keep(m);
	ask(m);
}
