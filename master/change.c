/*
 * Changes: what is to be different about executions that are ready (edit, move). Master.
 *
 * A client changes what is not ready by itself. Whether something that is ready runs is known to its shard's owner alone,
 * so such a change is a wake for that owner, who finds it with the others. If the run was handed out it stays as it is.
 * Otherwise it is taken out of the buffer, or, if it was not read yet, stands here in its place, so that a poll under way
 * does not bring it; then it is changed, and is another run.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "common/log.h"
#include "common/xmalloc.h"
#include "master/master.h"

/* In one statement. */
#define TAKE_MAX	200
#define RETRY_MS	150

static const struct db_stmt stmt_take = { "take_changes",
	"select pos, gone, again from pgconductor.take_changes($1::int[], $2::xid8[], $3::bigint[], $4::xid8[], $5::boolean[])" };

enum { COL_POS, COL_GONE, COL_AGAIN };

enum { P_SHARDS, P_XIDS, P_IDS, P_RUNS, P_BUSY };

struct change {
	TAILQ_ENTRY(change) link;
	struct found_change found;
	uint64_t	 exec;		/* of the run that is kept from being handed out; 0: none */
	int64_t		 not_before_ms;
};

TAILQ_HEAD(changelist, change);

struct changes {
	struct changelist waiting, sent;
	bool		 busy;		/* one statement at a time: they go in their order */
	struct params	 params;
	struct event	*retry;
};

static void
on_retry(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	change_flush(arg);
	resume_poll(arg);
}

void
change_init(struct master *m)
{
	struct changes *st = m->changes = xcalloc(1, sizeof(*st));

	TAILQ_INIT(&st->waiting);
	TAILQ_INIT(&st->sent);
	st->retry = evtimer_new(m->base, on_retry, m);
}

static void
free_list(struct changelist *list)
{
	struct change *c;

	while ((c = TAILQ_FIRST(list)) != NULL) {
		TAILQ_REMOVE(list, c, link);
		free(c);
	}
}

void
change_free(struct master *m)
{
	struct changes *st = m->changes;

	free_list(&st->waiting);
	free_list(&st->sent);
	params_free(&st->params);
	event_free(st->retry);
	free(st);
}

bool
change_idle(const struct master *m)
{
	return TAILQ_EMPTY(&m->changes->waiting) && TAILQ_EMPTY(&m->changes->sent);
}

/* ---- for the shard that they are of ---- */

static bool
is_of(const struct change *c, const struct shard *s)
{
	return c->found.shard == s->id && c->found.generation == s->generation;
}

uint64_t
change_floor(const struct master *m, const struct shard *s)
{
	const struct changes *st = m->changes;
	const struct change *c;
	uint64_t floor = UINT64_MAX;

	TAILQ_FOREACH(c, &st->waiting, link)
		if (is_of(c, s) && c->found.xid < floor)
			floor = c->found.xid;
	TAILQ_FOREACH(c, &st->sent, link)
		if (is_of(c, s) && c->found.xid < floor)
			floor = c->found.xid;
	return floor;
}

void
change_forget(struct master *m, struct shard *s)
{
	const struct changes *st = m->changes;
	const struct change *c;

	TAILQ_FOREACH(c, &st->waiting, link)
		if (is_of(c, s))
			lane_rewind(&s->wakes, c->found.xid, c->found.id);
	TAILQ_FOREACH(c, &st->sent, link)
		if (is_of(c, s))
			lane_rewind(&s->wakes, c->found.xid, c->found.id);
}

void
change_found(struct master *m, const struct found_change *f)
{
	struct change *c = xcalloc(1, sizeof(*c));

	c->found = *f;
	TAILQ_INSERT_TAIL(&m->changes->waiting, c, link);
}

/* ---- taking them ---- */

/* Stands for a run that was not read yet. */
static struct run *
stand_in(struct master *m, struct shard *s, const struct found_change *f)
{
	struct run *r = run_new(m, f->execution, f->run);

	r->shard = s;
	s->active++;
	r->queue = s->queue;
	r->lane = shard_lane(m, s, f->lane);
	r->state = RUN_PARKING;
	return r;
}

enum hold { HELD, BUSY, LATER };

/* Keeps its run from being handed out, unless it was. */
static enum hold
hold(struct master *m, struct change *c, struct shard *s)
{
	struct run *r = c->found.run != 0 ? run_find(m, c->found.execution, c->found.run) : NULL;

	c->exec = 0;
	if (c->found.run == 0)
		return HELD;
	if (r == NULL) {
		r = stand_in(m, s, &c->found);
	} else if (r->state == RUN_BUFFERED) {
		queue_unbuffer(m, r);
		run_set_state(r, RUN_PARKING);
		keyed_hold(m, r);
	} else {
		/* It is being put aside, or by another change: what comes of that is known soon. */
		return r->state == RUN_PARKING ? LATER : BUSY;
	}
	c->exec = r->exec;
	return HELD;
}

static void	taken(const struct db_answer *, void *);

/* Another change of the same run is on its way in this statement: they are done one after the other. */
static bool
held_before(const struct changes *st, const struct change *c)
{
	const struct change *o;

	TAILQ_FOREACH(o, &st->sent, link)
		if (o->exec != 0 && o->found.execution == c->found.execution && o->found.run == c->found.run)
			return true;
	return false;
}

static void
add(struct changes *st, struct change *c, bool busy)
{
	struct params *p = &st->params;

	TAILQ_REMOVE(&st->waiting, c, link);
	TAILQ_INSERT_TAIL(&st->sent, c, link);
	param_array_int4(p, P_SHARDS, c->found.shard);
	param_array_xid8(p, P_XIDS, c->found.xid);
	param_array_int8(p, P_IDS, (int64_t)c->found.id);
	if (c->found.run != 0)
		param_array_xid8(p, P_RUNS, c->found.run);
	else
		param_array_null(p, P_RUNS);
	param_array_bool(p, P_BUSY, busy);
}

static void
later(struct changes *st, struct change *c)
{
	struct timeval tv = { 0, RETRY_MS * 1000 };

	c->not_before_ms = clock_ms() + RETRY_MS;
	if (!evtimer_pending(st->retry, NULL))
		event_add(st->retry, &tv);
}

void
change_flush(struct master *m)
{
	struct changes *st = m->changes;
	struct change *c, *next;
	int n = 0;

	if (st->busy || TAILQ_EMPTY(&st->waiting) || !node_may_write(m) || m->moving != 0)
		return;
	params_reset(&st->params);
	param_array(&st->params, PARAM_INT4);
	param_array(&st->params, PARAM_XID8);
	param_array(&st->params, PARAM_INT8);
	param_array(&st->params, PARAM_XID8);
	param_array(&st->params, PARAM_BOOL);
	for (c = TAILQ_FIRST(&st->waiting); c != NULL && n < TAKE_MAX; c = next) {
		struct shard *s = shard_find(m, c->found.shard);
		enum hold how;

		next = TAILQ_NEXT(c, link);
		/* Only what is still this node's to do; the next owner finds it too. */
		if (s == NULL || s->generation != c->found.generation || s->state != SHARD_OWNED) {
			TAILQ_REMOVE(&st->waiting, c, link);
			free(c);
			continue;
		}
		if (c->not_before_ms > clock_ms())
			continue;
		how = held_before(st, c) ? HELD : hold(m, c, s);
		if (how == LATER) {
			later(st, c);
			continue;
		}
		add(st, c, how == BUSY);
		n++;
	}
	if (n == 0)
		return;
	st->busy = true;
	db_call(m->writer, &stmt_take, &st->params, taken, m);
}

/* gone: that run is no more; otherwise it is read again. */
static void
let_go(struct master *m, struct change *c, bool gone)
{
	struct run *r = c->exec != 0 ? run_by_exec(m, c->exec) : NULL;

	if (r == NULL || r->state != RUN_PARKING)
		return;
	if (gone) {
		/* A poll under way may be older than that. */
		reader_linger(m, r);
		return;
	}
	lane_unread(r);
	/* Of one that stands for a row it is not known whether that is delayed. */
	if (r->lane != NULL)
		due_rewind_all(r->lane);
	run_free(m, r);
}

/* It is to be found again, as it is by then. */
static void
look_again(struct master *m, const struct change *c)
{
	struct shard *s = shard_find(m, c->found.shard);

	if (s != NULL && s->generation == c->found.generation)
		lane_rewind(&s->wakes, c->found.xid, c->found.id);
}

static void
taken(const struct db_answer *a, void *arg)
{
	struct master *m = arg;
	struct changes *st = m->changes;
	struct change *c, *next;
	int row = 0, pos = 1;
	bool again = false;

	if (a->outcome == DB_ERROR && strcmp(a->sqlstate, "55P03") != 0 && strcmp(a->sqlstate, "40P01") != 0)
		log_warnx("changing executions: %s", a->message);
	st->busy = false;
	for (c = TAILQ_FIRST(&st->sent); c != NULL; c = next, pos++) {
		/* Of one that somebody has done already there is no row. */
		bool mine = a->outcome == DB_OK && row < a->rows && db_int4(a, row, COL_POS) == pos;
		bool undone = a->outcome == DB_ERROR || (mine && db_bool(a, row, COL_AGAIN));

		next = TAILQ_NEXT(c, link);
		let_go(m, c, mine && db_bool(a, row, COL_GONE));
		row += mine;
		TAILQ_REMOVE(&st->sent, c, link);
		if (undone) {
			look_again(m, c);
			again = true;
		}
		free(c);
	}
	if (again) {
		struct timeval tv = { 0, RETRY_MS * 1000 };

		event_add(st->retry, &tv);
	}
	change_flush(m);
	if (a->outcome == DB_OK)
		wake_up(m);
	server_progress(m);
}
