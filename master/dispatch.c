/*
 * Events: the node that dispatches them. Master.
 *
 * One node at a time has that role, by an advisory lock that its writer holds. What there is to do is looked for on the
 * reader; the database does it, on the writer, in one transaction with its own position. Here is when to ask, for how much
 * at once, and what to do when a condition of somebody's stands in the way.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "common/crash.h"
#include "common/log.h"
#include "common/xmalloc.h"
#include "master/master.h"

/* Events, and executions made of them for each, in one transaction. */
#define EVENTS_MAX	1000
#define MADE_EACH	5
/*
 * While nobody would tell; and otherwise: what is committed by then lets the sleep lock be granted, and the last look
 * follows.
 */
#define LOOK_EVERY_MS	5
#define TOLD_MS		5000
/* Who began before it was to tell is soon done. */
#define UNTOLD_MS	500
#define LOCK_EVERY_MS	2000
#define STAY_AWAKE_MS	1000
#define BUSY_MS		100
#define RETRY_MS	1000
/* How long each condition is evaluated by itself after one could not be evaluated: that takes longer. */
#define CAREFUL_MS	10000

enum role { ROLE_NONE, ROLE_LOCKING, ROLE_TAKING, ROLE_HELD };

struct dispatch {
	enum role	 role;
	bool		 asked;		/* once: somebody has the role */
	bool		 looking, again, running;
	bool		 rest;		/* the last look has found nothing */
	bool		 careful;	/* in the call under way */
	int		 max;		/* events in the next call */
	int64_t		 careful_until_ms, looked_ms, locked_ms, not_before_ms;
	int64_t		 untold_ms;	/* when last nobody would have told */
	struct event	*retry;
};

static const struct db_stmt stmt_lock = { "lock_dispatcher", "select pgconductor.lock_dispatcher()" };
static const struct db_stmt stmt_take = { "take_dispatcher", "select pgconductor.take_dispatcher($1::int)" };
static const struct db_stmt stmt_leave = { "leave_dispatcher", "select pgconductor.leave_dispatcher($1::int)" };
static const struct db_stmt stmt_due = { "events_due", "select pgconductor.events_due()" };
static const struct db_stmt stmt_limit = { "limit_statement",
	"select pg_catalog.set_config('statement_timeout', $1::int::text, false)" };
static const struct db_stmt stmt_dispatch = { "dispatch",
	"select events, made, woken, more, complaints from pgconductor.dispatch($1::int, $2::int, $3::boolean)" };

enum { COL_EVENTS, COL_MADE, COL_WOKEN, COL_MORE, COL_COMPLAINTS };

static void	run(struct master *);

static void
on_retry(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	dispatch_look(arg);
}

void
dispatch_init(struct master *m)
{
	struct dispatch *d = m->dispatch = xcalloc(1, sizeof(*d));

	d->max = EVENTS_MAX;
	d->retry = evtimer_new(m->base, on_retry, m);
}

void
dispatch_free(struct master *m)
{
	event_free(m->dispatch->retry);
	free(m->dispatch);
}

bool
dispatch_idle(const struct master *m)
{
	const struct dispatch *d = m->dispatch;

	return d->role == ROLE_HELD ? d->rest && !d->running && !d->looking : d->role == ROLE_NONE && d->asked;
}

/* ---- the role ---- */

static void
taken(const struct db_answer *a, void *arg)
{
	struct master *m = arg;
	struct dispatch *d = m->dispatch;

	if (a->outcome == DB_LOST)
		return;
	d->role = a->outcome == DB_OK && a->rows == 1 && db_bool(a, 0, 0) ? ROLE_HELD : ROLE_NONE;
	if (a->outcome == DB_ERROR)
		log_warnx("taking over the dispatching of events: %s", a->message);
	if (d->role != ROLE_HELD)
		return;
	log_info("events are dispatched here");
	d->rest = false;
	/* Who emits may still have read who did it before. */
	wake_taken(m, STAY_AWAKE_MS);
	dispatch_look(m);
}

static void
locked(const struct db_answer *a, void *arg)
{
	struct master *m = arg;
	struct dispatch *d = m->dispatch;
	struct params p;

	if (a->outcome == DB_LOST)
		return;
	d->role = ROLE_NONE;
	d->asked = true;
	if (a->outcome != DB_OK || a->rows != 1 || !db_bool(a, 0, 0) || m->stopping) {
		server_progress(m);
		return;
	}
	d->role = ROLE_TAKING;
	params_init(&p);
	param_int4(&p, m->node);
	db_call(m->writer, &stmt_take, &p, taken, m);
	params_free(&p);
}

void
dispatch_want(struct master *m)
{
	struct dispatch *d = m->dispatch;

	if (d->role != ROLE_NONE || !node_may_write(m) || m->stopping)
		return;
	d->role = ROLE_LOCKING;
	d->locked_ms = clock_ms();
	db_call(m->writer, &stmt_lock, NULL, locked, m);
}

void
dispatch_tick(struct master *m)
{
	if (clock_ms() - m->dispatch->locked_ms >= LOCK_EVERY_MS)
		dispatch_want(m);
}

void
dispatch_writer_down(struct master *m)
{
	struct dispatch *d = m->dispatch;

	d->role = ROLE_NONE;
	d->asked = d->rest = d->running = false;
}

void
dispatch_leave(struct master *m)
{
	struct dispatch *d = m->dispatch;
	struct params p;

	if (d->role != ROLE_HELD && d->role != ROLE_TAKING)
		return;
	d->role = ROLE_NONE;
	params_init(&p);
	param_int4(&p, m->node);
	db_call(m->writer, &stmt_leave, &p, NULL, NULL);
	params_free(&p);
}

/* ---- looking ---- */

static void
looked(const struct db_answer *a, void *arg)
{
	struct master *m = arg;
	struct dispatch *d = m->dispatch;
	bool found;

	d->looking = false;
	if (a->outcome == DB_ERROR) {
		log_warnx("looking for events: %s", a->message);
		db_drop(m->reader_db, "looking for events failed");
	}
	if (a->outcome != DB_OK)
		return;
	found = a->rows == 1 && db_bool(a, 0, 0);
	d->rest = !found && !d->again && !d->running;
	if (found)
		run(m);
	else if (d->again)
		dispatch_look(m);
	wake_dispatched(m, found);
}

bool
dispatch_look(struct master *m)
{
	struct dispatch *d = m->dispatch;

	if (d->role != ROLE_HELD || !reader_may_poll(m))
		return false;
	/* The answer under way may be older than the reason to ask. */
	d->again = d->looking;
	d->rest = false;
	if (d->looking || d->running || clock_ms() < d->not_before_ms)
		return true;
	d->looking = true;
	d->looked_ms = clock_ms();
	db_call(m->reader_db, &stmt_due, NULL, looked, m);
	return true;
}

void
dispatch_now_and_then(struct master *m, bool told)
{
	struct dispatch *d = m->dispatch;
	int64_t now = clock_ms(), every = m->poll_interval_ms < TOLD_MS ? m->poll_interval_ms : TOLD_MS;

	if (!told)
		d->untold_ms = now;
	if (now - d->untold_ms < UNTOLD_MS)
		every = LOOK_EVERY_MS;
	if (!d->looking && !d->running && now - d->looked_ms >= every)
		dispatch_look(m);
}

/* ---- dispatching ---- */

/* All that it has to say, a line each. */
static void
complain(struct dispatch *d, const char *lines)
{
	if (*lines == '\0')
		return;
	d->careful_until_ms = clock_ms() + CAREFUL_MS;
	log_warn_lines(lines);
}

static void
wait_ms(struct master *m, int ms)
{
	struct timeval tv = clock_timeval(ms);

	m->dispatch->not_before_ms = clock_ms() + ms;
	event_add(m->dispatch->retry, &tv);
}

static void
failed(struct master *m, const struct db_answer *a)
{
	struct dispatch *d = m->dispatch;
	bool slow = strcmp(a->sqlstate, "57014") == 0, one = d->max == 1;

	if (strcmp(a->sqlstate, "55P03") == 0 || strcmp(a->sqlstate, "40P01") == 0) {
		wait_ms(m, BUSY_MS);
		return;
	}
	/* What a condition raises, or that it takes too long, is found by asking each by itself; in time only if they are few. */
	if (d->careful || slow)
		d->max = d->max > 1 ? d->max / 2 : 1;
	d->careful_until_ms = clock_ms() + CAREFUL_MS;
	if (!d->careful || (slow && !one)) {
		run(m);
		return;
	}
	log_warnx("dispatching events: %s", a->message);
	wait_ms(m, RETRY_MS);
}

static void
dispatched(const struct db_answer *a, void *arg)
{
	struct master *m = arg;
	struct dispatch *d = m->dispatch;

	if (a->outcome == DB_LOST)
		return;
	d->running = false;
	if (a->outcome == DB_ERROR) {
		failed(m, a);
		return;
	}
	crash_point("dispatched");
	complain(d, db_null(a, 0, COL_COMPLAINTS) ? "" : db_text(a, 0, COL_COMPLAINTS, NULL));
	d->max = d->max * 2 < EVENTS_MAX ? d->max * 2 : EVENTS_MAX;
	/* What was made may be for this node, or for one that was told. */
	if (db_int4(a, 0, COL_WOKEN) != 0)
		resume_expect(m);
	if (db_int4(a, 0, COL_MADE) != 0)
		wake_up(m);
	if (db_bool(a, 0, COL_MORE))
		run(m);
	else
		dispatch_look(m);
}

/* The writer is needed for other things too: this may take a quarter of what would make it seem to be stuck. */
static void
limit(struct master *m, int ms)
{
	struct params p;

	params_init(&p);
	param_int4(&p, ms);
	db_call(m->writer, &stmt_limit, &p, NULL, NULL);
	params_free(&p);
}

static void
run(struct master *m)
{
	struct dispatch *d = m->dispatch;
	struct params p;

	if (d->role != ROLE_HELD || d->running || !node_may_write(m) || m->stopping)
		return;
	d->running = true;
	d->rest = false;
	d->careful = clock_ms() < d->careful_until_ms;
	limit(m, d->max == 1 ? m->takeover_ms / 2 : m->takeover_ms / 4);
	params_init(&p);
	param_int4(&p, d->max);
	param_int4(&p, d->max * MADE_EACH);
	param_bool(&p, d->careful);
	db_call(m->writer, &stmt_dispatch, &p, dispatched, m);
	params_free(&p);
	limit(m, m->takeover_ms);
	crash_point("dispatch_sent");
}
