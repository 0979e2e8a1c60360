/*
 * When to poll, and how a node sleeps. Master.
 *
 * Awake, the node polls on a short tick that backs off while polls find nothing. Then it asks for its sleep lock,
 * exclusively, on a connection of its own. From the moment it queues, transactions that make work ready fail their
 * shared try and notify; once it is granted, none is left that chose not to. One last look, and it sleeps until it is
 * notified, a delayed row is due, or the slow poll.
 *
 *	awake -> nodding (lock asked for) -> last look (lock held) -> asleep -> awake
 */
#include "config.h"

#include <stdlib.h>

#include <event2/event.h>

#include "common/log.h"
#include "common/xmalloc.h"
#include "master/master.h"

#define TICK_MIN_MS	1
#define TICK_BACKLOG_MS	20
/* While it must not sleep, which is never for long. */
#define TICK_STAY_MS	2
/* Nodding: transactions that are still open may yet commit work without telling. */
#define TICK_NODDING_MS	300
/* Where sleeping is impossible. */
#define TICK_SLEEPLESS_MS	100
#define NOD_AFTER_MS	4
#define PROMOTE_EVERY_MS	100
/* What is delayed by transactions that were open before nodding is told by nobody either. */
#define PROMOTE_NODDING_MS	500
#define PROMOTE_MAX	10000

enum wake_state { AWAKE, NODDING, LAST_LOOK, ASLEEP };
enum lock_state { LOCK_NONE, LOCK_ASKED, LOCK_CANCELLED, LOCK_HELD, LOCK_RELEASING };

static const char *const state_names[] = { "awake", "nodding", "last-look", "asleep" };

struct wake {
	enum wake_state	 state;
	enum lock_state	 lock;
	struct event	*tick;
	int		 tick_ms;
	int64_t		 stay_until_ms;
	bool		 looking;	/* LAST_LOOK: a poll was asked for after the grant */
	bool		 looked;	/* and found nothing */
	bool		 looked_wakes;	/* likewise the look for wakes */
	bool		 looked_events;	/* and for events, if that is for this node to do */
	bool		 promoting, promote_again;
	int64_t		 promoted_ms;	/* when promote was last asked */
	int64_t		 full_look_ms;
	int64_t		 due_ms;	/* when the next delayed row is due; INT64_MAX: none known */
	int64_t		 after;		/* the run_at up to which rows were promoted, as PostgreSQL counts */
	bool		 after_known;
	bool		 after_void;	/* shards were taken since promote was asked: they may have what is due before it */
};

static const struct db_stmt stmt_lock = { "sleep_lock",
	"select pg_catalog.pg_advisory_lock(1346847491, $1::int)" };
static const struct db_stmt stmt_unlock = { "sleep_unlock",
	"select pg_catalog.pg_advisory_unlock_all()" };
static const struct db_stmt stmt_cancel = { "cancel_backend", "select pg_catalog.pg_cancel_backend($1::int)" };
static const struct db_stmt stmt_promote = { "promote",
	"select promoted, upto, next_due_ms from pgconductor.promote($1::int[], $2::timestamptz, $3::int)" };

static void	schedule(struct master *);
static void	promote(struct master *);

static void
set_state(struct wake *w, enum wake_state state)
{
	if (w->state != state)
		log_debug("%s -> %s", state_names[w->state], state_names[state]);
	w->state = state;
}

/* ---- the sleep lock ---- */

static void	unlock(struct master *);

static void
unlocked(const struct db_answer *a, void *arg)
{
	struct master *m = arg;
	struct wake *w = m->wakes;

	if (a->outcome == DB_LOST)
		return;
	if (a->outcome == DB_ERROR) {
		/* A cancel meant for the waiting came late. */
		unlock(m);
		return;
	}
	w->lock = LOCK_NONE;
	schedule(m);
}

static void
unlock(struct master *m)
{
	m->wakes->lock = LOCK_RELEASING;
	db_call(m->sleeper, &stmt_unlock, NULL, unlocked, m);
}

static void
lock_answered(const struct db_answer *a, void *arg)
{
	struct master *m = arg;
	struct wake *w = m->wakes;

	if (a->outcome == DB_LOST)
		return;
	if (a->outcome == DB_ERROR) {
		w->lock = LOCK_NONE;
		schedule(m);
		return;
	}
	if (w->lock == LOCK_CANCELLED || w->state != NODDING) {
		unlock(m);
		return;
	}
	w->lock = LOCK_HELD;
	set_state(w, LAST_LOOK);
	w->looking = w->looked = w->looked_wakes = w->looked_events = false;
	schedule(m);
}

static void
lock_ask(struct master *m)
{
	struct params p;

	params_init(&p);
	param_int4(&p, m->node);
	m->wakes->lock = LOCK_ASKED;
	db_call(m->sleeper, &stmt_lock, &p, lock_answered, m);
	params_free(&p);
}

static void
lock_let_go(struct master *m)
{
	struct wake *w = m->wakes;
	struct params p;

	if (w->lock == LOCK_HELD) {
		unlock(m);
	} else if (w->lock == LOCK_ASKED) {
		w->lock = LOCK_CANCELLED;
		params_init(&p);
		param_int4(&p, db_backend_pid(m->sleeper));
		db_call(m->control, &stmt_cancel, &p, NULL, NULL);
		params_free(&p);
	}
}

void
wake_sleeper_up(struct master *m)
{
	m->wakes->lock = LOCK_NONE;
	wake_up(m);
}

void
wake_sleeper_down(struct master *m)
{
	m->wakes->lock = LOCK_NONE;
	set_state(m->wakes, AWAKE);
	wake_up(m);
}

/* ---- delayed rows ---- */

/* All questions of the last look found nothing. */
static void
fall_asleep(struct master *m)
{
	struct wake *w = m->wakes;

	if (w->state != LAST_LOOK || !w->looked || !w->looked_wakes || !w->looked_events || w->promoting)
		return;
	set_state(w, ASLEEP);
	server_progress(m);
}

static void
promoted(const struct db_answer *a, void *arg)
{
	struct master *m = arg;
	struct wake *w = m->wakes;

	w->promoting = false;
	if (w->promote_again && a->outcome != DB_LOST) {
		w->promote_again = false;
		promote(m);
	}
	if (a->outcome != DB_OK) {
		if (a->outcome == DB_ERROR)
			log_warnx("making delayed executions ready: %s", a->message);
		w->after_known = false;
		return;
	}
	if (a->rows == 0)
		return;
	w->after_known = !db_null(a, 0, 1) && !w->after_void;
	if (w->after_known)
		w->after = db_int8(a, 0, 1);
	w->due_ms = db_null(a, 0, 2) ? INT64_MAX : clock_ms() + db_int8(a, 0, 2);
	if (db_int4(a, 0, 0) != 0) {
		/* They are the cause of the next poll, and there may be more than one update takes. */
		if (db_int4(a, 0, 0) >= PROMOTE_MAX)
			w->due_ms = 0;
		w->promoted_ms = 0;
		wake_up(m);
	} else {
		fall_asleep(m);
		schedule(m);
	}
}

static void
promote(struct master *m)
{
	struct wake *w = m->wakes;
	struct params p;
	struct shard *s;
	int shards, n = 0;
	int64_t now = clock_ms();

	if (!node_may_write(m) || m->stopping)
		return;
	/* The answer under way may be older than the reason to ask. */
	if (w->promoting) {
		w->promote_again = true;
		return;
	}
	params_init(&p);
	shards = param_array(&p, PARAM_INT4);
	TAILQ_FOREACH(s, &m->shards, link) {
		if (!shard_readable(m, s))
			continue;
		param_array_int4(&p, shards, s->id);
		n++;
	}
	/* Rows may commit late, or be put before what was promoted: now and then all of them are looked at. */
	if (now - w->full_look_ms >= FULL_LOOK_MS)
		w->after_known = false;
	if (!w->after_known)
		w->full_look_ms = now;
	if (w->after_known)
		param_int8(&p, w->after);
	else
		param_null(&p);
	param_int4(&p, PROMOTE_MAX);
	if (n != 0) {
		w->promoting = true;
		w->after_void = false;
		w->promoted_ms = now;
		db_call(m->writer, &stmt_promote, &p, promoted, m);
	}
	params_free(&p);
}

/* ---- the tick ---- */

static bool
may_sleep(struct master *m)
{
	struct queue *q;
	struct shard *s;

	if (!db_ready(m->sleeper) || !db_ready(m->control) || !node_listening(m) || m->stopping)
		return false;
	if (clock_ms() < m->wakes->stay_until_ms)
		return false;
	TAILQ_FOREACH(q, &m->queues, link)
		if (queue_hungry(q))
			return false;
	TAILQ_FOREACH(s, &m->shards, link)
		if (shard_readable(m, s) && !s->looked)
			return false;
	return true;
}

static void
set_tick(struct wake *w, int64_t ms)
{
	struct timeval tv = clock_timeval(ms);

	event_add(w->tick, &tv);
}

/* What was delayed and what is suspended. */
static int64_t
next_due_ms(const struct master *m)
{
	int64_t due = due_next_ms(m);

	return due < m->wakes->due_ms ? due : m->wakes->due_ms;
}

/* A poll is of all shards: what is asked for one queue is done for all. */
static int64_t
slow_poll_ms(const struct master *m)
{
	int64_t ms = m->poll_interval_ms;
	const struct queue *q;

	TAILQ_FOREACH(q, &m->queues, link)
		if (!q->discovery && q->poll_interval_ms > 0 && q->poll_interval_ms < ms)
			ms = q->poll_interval_ms;
	return ms;
}

/* What to wait for now. */
static void
schedule(struct master *m)
{
	struct wake *w = m->wakes;
	int64_t due = next_due_ms(m), now = clock_ms();
	int64_t wait;

	switch (w->state) {
	case AWAKE:
		if (w->tick_ms >= NOD_AFTER_MS && w->lock == LOCK_NONE && may_sleep(m)) {
			set_state(w, NODDING);
			lock_ask(m);
		}
		wait = w->tick_ms;
		break;
	case NODDING:
		wait = w->tick_ms;
		break;
	case LAST_LOOK:
		if (!w->looking) {
			w->looking = true;
			keyed_look(m, true);
			promote(m);
			due_look(m, false);
			reader_poll(m);
			resume_poll(m);
			w->looked_events = !dispatch_look(m);
		}
		wait = TICK_NODDING_MS;
		break;
	case ASLEEP:
	default:
		wait = slow_poll_ms(m);
		break;
	}
	if (due < now + wait)
		wait = due > now ? due - now : TICK_MIN_MS;
	set_tick(w, wait);
}

static void
on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct master *m = arg;
	struct wake *w = m->wakes;
	int64_t now = clock_ms();
	int64_t every = w->state == AWAKE ? PROMOTE_EVERY_MS : PROMOTE_NODDING_MS;

	(void)fd;
	(void)what;
	due_tick(m);
	if (w->due_ms <= now || w->state == ASLEEP || now - w->promoted_ms >= every) {
		promote(m);
		due_look(m, false);
	}
	reader_poll(m);
	/* From the moment the sleep lock is asked for, whoever writes a wake, or emits, tells. */
	resume_tick(m, w->state != AWAKE);
	dispatch_now_and_then(m, w->state != AWAKE);
	if (w->due_ms <= now)
		w->due_ms = INT64_MAX;
	/* Nothing is owned, or there is no connection: there is nothing to be quick about. */
	if (!m->reader.busy)
		w->tick_ms = TICK_SLEEPLESS_MS;
	schedule(m);
}

void
wake_up(struct master *m)
{
	struct wake *w = m->wakes;

	set_state(w, AWAKE);
	w->tick_ms = TICK_MIN_MS;
	keyed_look(m, false);
	/* First what somebody waits for. */
	reader_poll(m);
	lock_let_go(m);
	schedule(m);
}

void
wake_notified(struct master *m)
{
	struct wake *w = m->wakes;

	/* What it is about may be due a little later: if the poll finds nothing, the next tick asks for that. */
	w->promoted_ms = 0;
	wake_up(m);
	resume_poll(m);
	dispatch_look(m);
}

void
wake_taken(struct master *m, int ms)
{
	struct wake *w = m->wakes;
	int64_t until = clock_ms() + ms;

	if (until > w->stay_until_ms)
		w->stay_until_ms = until;
	w->after_known = false;
	w->after_void = true;
	due_look(m, true);
	wake_up(m);
}

static bool
backlog(const struct master *m)
{
	const struct queue *q;
	const struct lane *l;

	TAILQ_FOREACH(q, &m->queues, link) {
		if (keyed_backlog(q))
			return true;
		TAILQ_FOREACH(l, &q->lanes, link)
			if (lane_more(l) && !q->paused)
				return true;
	}
	return false;
}

static void
back_off(struct wake *w, int most)
{
	w->tick_ms = w->tick_ms * 2 < most ? w->tick_ms * 2 : most;
}

/* A poll was answered. */
void
wake_polled(struct master *m, size_t found)
{
	struct wake *w = m->wakes;

	if (found != 0) {
		/* With a backlog the buffers ask for more themselves; the tick is for what is more urgent than they. */
		w->tick_ms = backlog(m) ? TICK_BACKLOG_MS : TICK_MIN_MS;
		if (w->state != AWAKE)
			wake_up(m);
		else
			schedule(m);
		return;
	}
	switch (w->state) {
	case AWAKE:
		/* In the second after a taking nobody tells it of work, and it is not to sleep either. */
		back_off(w, clock_ms() < w->stay_until_ms ? TICK_STAY_MS : TICK_SLEEPLESS_MS);
		break;
	case NODDING:
		back_off(w, TICK_NODDING_MS);
		break;
	case LAST_LOOK:
		/* The poll that was under way when the lock was granted does not count. */
		w->looked = w->looking && !m->reader.busy;
		fall_asleep(m);
		break;
	case ASLEEP:
		break;
	}
	schedule(m);
}

void
wake_resumed(struct master *m, size_t found)
{
	struct wake *w = m->wakes;

	if (found != 0 && w->state != AWAKE) {
		wake_up(m);
	} else if (w->state == LAST_LOOK) {
		w->looked_wakes = w->looking && found == 0 && !resume_busy(m);
		fall_asleep(m);
		schedule(m);
	}
}

void
wake_dispatched(struct master *m, bool found)
{
	struct wake *w = m->wakes;

	if (found && w->state != AWAKE) {
		wake_up(m);
	} else if (w->state == LAST_LOOK) {
		w->looked_events = w->looking && dispatch_idle(m);
		fall_asleep(m);
		schedule(m);
	}
}

bool
wake_quiet(const struct master *m)
{
	return m->wakes->state == ASLEEP;
}

int64_t
wake_next_ms(const struct master *m)
{
	int64_t due = next_due_ms(m), ms = due - clock_ms();

	return due == INT64_MAX ? -1 : ms > 0 ? ms : 0;
}

void
wake_init(struct master *m)
{
	struct wake *w = xcalloc(1, sizeof(*w));

	w->tick = evtimer_new(m->base, on_tick, m);
	w->tick_ms = TICK_MIN_MS;
	w->due_ms = INT64_MAX;
	m->wakes = w;
}

void
wake_free(struct master *m)
{
	event_free(m->wakes->tick);
	free(m->wakes);
}
