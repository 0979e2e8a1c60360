/*
 * Wakes: what tells an execution that something it waited for is over. Master.
 *
 * Whoever ends a child writes a wake for the shard of its parent, whose owner alone changes the parent. Here the wakes of
 * the shards that are owned are read, by cursor and late list as runs are, and taken on the writer. Hardly any execution
 * has children: wakes are looked for seldom, unless one is likely to come.
 */
#include "config.h"

#include <stdlib.h>

#include <event2/event.h>

#include "common/crash.h"
#include "common/log.h"
#include "common/xmalloc.h"
#include "master/master.h"

#define READ_MAX	1000		/* of a shard at a time */
#define TAKE_MAX	2000
#define FOUND_MAX	20000		/* found and not taken: no more are read */
/* Without a reason: while nobody would tell, and otherwise. */
#define EVERY_MS	50
#define TOLD_MS		5000
/* Who began before it was to be told is soon done. */
#define UNTOLD_MS	500
#define EXPECT_MS	2000
#define RETRY_MS	150

static const struct db_stmt stmt_poll = { "poll_wakes",
	"select entry, shard, xid, id, snapshot, execution, ready_xid, lane"
	" from pgconductor.poll_wakes($1::int[], $2::xid8[], $3::bigint[], $4::xid8[], $5::int[])" };
static const struct db_stmt stmt_take = { "take_wakes",
	"select unnest(pgconductor.take_wakes($1::int[], $2::xid8[], $3::bigint[]))" };

enum { COL_ENTRY, COL_SHARD, COL_XID, COL_ID, COL_SNAPSHOT, COL_EXECUTION, COL_READY_XID, COL_LANE };

enum { P_SHARDS, P_XIDS, P_IDS, P_UNTILS, P_LIMITS };

struct found {
	int32_t		 shard;
	uint32_t	 generation;	/* found under; after another taking it is found again */
	uint64_t	 xid, id;
};

/* Wakes that are taken together. */
struct taking {
	TAILQ_ENTRY(taking) link;
	struct master	*master;
	struct found	 v[TAKE_MAX];
	size_t		 n;
	bool		 sent;
	int64_t		 not_before_ms;
};

TAILQ_HEAD(takinglist, taking);

struct resume {
	bool		 busy, again;
	bool		 opened;	/* a shard may be read now that could not before */
	struct poll_entry *entries;
	size_t		 n, cap;
	struct params	 params, take;
	struct snapshot	 snapshot;
	struct takinglist takings;
	size_t		 found_n;	/* in all of them */
	int64_t		 polled_ms, expect_until_ms;
	int64_t		 untold_ms;	/* when last nobody would have told */
	struct event	*retry;
};

static void	take(struct master *);

static void
on_retry(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	take(arg);
}

void
resume_init(struct master *m)
{
	struct resume *st = m->resume = xcalloc(1, sizeof(*st));

	TAILQ_INIT(&st->takings);
	st->retry = evtimer_new(m->base, on_retry, m);
}

static void
taking_free(struct resume *st, struct taking *t)
{
	TAILQ_REMOVE(&st->takings, t, link);
	st->found_n -= t->n;
	free(t);
}

void
resume_free(struct master *m)
{
	struct resume *st = m->resume;

	while (!TAILQ_EMPTY(&st->takings))
		taking_free(st, TAILQ_FIRST(&st->takings));
	params_free(&st->params);
	params_free(&st->take);
	event_free(st->retry);
	free(st->entries);
	free(st->snapshot.xip);
	free(st);
}

bool
resume_busy(const struct master *m)
{
	return m->resume->busy;
}

bool
resume_idle(const struct master *m)
{
	return m->resume->found_n == 0 && change_idle(m);
}

/* ---- what is left for a successor ---- */

uint64_t
resume_floor(const struct master *m, const struct shard *s)
{
	const struct taking *t;
	uint64_t floor = change_floor(m, s);

	if (s->wakes.xid < floor)
		floor = s->wakes.xid;
	if (s->wakes.late_n != 0 && s->wakes.late[0].xid < floor)
		floor = s->wakes.late[0].xid;
	TAILQ_FOREACH(t, &m->resume->takings, link)
		for (size_t i = 0; i < t->n; i++)
			if (t->v[i].shard == s->id && t->v[i].generation == s->generation && t->v[i].xid < floor)
				floor = t->v[i].xid;
	return floor;
}

/* Should they be read again before they are taken, nothing comes of it. */
void
resume_forget(struct master *m, struct shard *s)
{
	const struct taking *t;

	change_forget(m, s);
	TAILQ_FOREACH(t, &m->resume->takings, link)
		for (size_t i = 0; i < t->n; i++)
			if (t->v[i].shard == s->id && t->v[i].generation == s->generation)
				lane_rewind(&s->wakes, t->v[i].xid, t->v[i].id);
}

/* ---- asking ---- */

static void
add_entry(struct resume *st, const struct lane *l, uint64_t xid, uint64_t id, uint64_t until, bool late)
{
	struct params *p = &st->params;

	if (st->n == st->cap) {
		st->cap = st->cap != 0 ? st->cap * 2 : 16;
		st->entries = xreallocarray(st->entries, st->cap, sizeof(*st->entries));
	}
	st->entries[st->n++] = (struct poll_entry){ .shard = l->shard->id, .generation = l->shard->generation, .late = late,
	    .xid = xid, .id = id, .limit = READ_MAX };
	param_array_int4(p, P_SHARDS, l->shard->id);
	param_array_xid8(p, P_XIDS, xid);
	param_array_int8(p, P_IDS, (int64_t)id);
	param_array_xid8(p, P_UNTILS, until);
	param_array_int4(p, P_LIMITS, READ_MAX);
}

static void
add_shard(struct resume *st, struct lane *l)
{
	add_entry(st, l, l->xid, l->id, UINT64_MAX, false);
	for (size_t i = 0; i < l->late_n; i++) {
		struct late *late = &l->late[i];

		/* One look before it is known to have ended. */
		if (late->probed && snapshot_shows(&st->snapshot, late->xid))
			continue;
		late->probed = true;
		add_entry(st, l, late->xid, late->last_id, late->xid, true);
	}
}

static void	polled(const struct db_answer *, void *);

void
resume_poll(struct master *m)
{
	struct resume *st = m->resume;
	struct shard *s;

	if (!reader_may_poll(m) || st->found_n >= FOUND_MAX)
		return;
	if (st->busy) {
		st->again = true;
		return;
	}
	params_reset(&st->params);
	st->n = 0;
	param_array(&st->params, PARAM_INT4);
	param_array(&st->params, PARAM_XID8);
	param_array(&st->params, PARAM_INT8);
	param_array(&st->params, PARAM_XID8);
	param_array(&st->params, PARAM_INT4);
	TAILQ_FOREACH(s, &m->shards, link)
		if (shard_readable(m, s))
			add_shard(st, &s->wakes);
	if (st->n == 0)
		return;
	st->busy = true;
	st->again = false;
	st->polled_ms = clock_ms();
	db_call(m->reader_db, &stmt_poll, &st->params, polled, m);
}

void
resume_tick(struct master *m, bool told)
{
	struct resume *st = m->resume;
	int64_t now = clock_ms();

	if (!told)
		st->untold_ms = now;
	if (now < st->expect_until_ms || now - st->polled_ms >= (now - st->untold_ms < UNTOLD_MS ? EVERY_MS : TOLD_MS))
		resume_poll(m);
}

void
resume_expect(struct master *m)
{
	m->resume->expect_until_ms = clock_ms() + EXPECT_MS;
	resume_poll(m);
}

/* ---- what came ---- */

static struct shard *
entry_shard(struct master *m, const struct poll_entry *e)
{
	struct shard *s = shard_find(m, e->shard);

	/* Taken anew, or given up, since the question was sent: the answer is void. */
	return s != NULL && s->generation == e->generation && shard_readable(m, s) ? s : NULL;
}

static void
keep(struct master *m, const struct found *f)
{
	struct resume *st = m->resume;
	struct taking *t = TAILQ_LAST(&st->takings, takinglist);

	if (t == NULL || t->sent || t->not_before_ms != 0 || t->n == TAKE_MAX) {
		t = xcalloc(1, sizeof(*t));
		t->master = m;
		TAILQ_INSERT_TAIL(&st->takings, t, link);
	}
	t->v[t->n++] = *f;
	st->found_n++;
}

static void
read_row(struct master *m, const struct db_answer *a, int row)
{
	struct resume *st = m->resume;
	int number = db_int4(a, row, COL_ENTRY);
	struct poll_entry *e;
	struct found f;

	if (number < 1 || (size_t)number > st->n)
		return;
	e = &st->entries[number - 1];
	f = (struct found){ e->shard, e->generation, db_xid8(a, row, COL_XID), (uint64_t)db_int8(a, row, COL_ID) };
	e->rows++;
	e->last_xid = f.xid;
	e->last_id = f.id;
	if (entry_shard(m, e) == NULL)
		return;
	if (db_null(a, row, COL_EXECUTION))
		keep(m, &f);
	else
		change_found(m, &(struct found_change){ .shard = f.shard, .generation = f.generation, .xid = f.xid, .id = f.id,
		    .execution = (uint64_t)db_int8(a, row, COL_EXECUTION),
		    .run = db_null(a, row, COL_READY_XID) ? 0 : db_xid8(a, row, COL_READY_XID),
		    .lane = db_null(a, row, COL_LANE) ? 0 : db_int4(a, row, COL_LANE) });
}

/* As reader.c does with a lane. */
static void
advance(struct master *m, const struct poll_entry *e)
{
	struct resume *st = m->resume;
	struct shard *s = entry_shard(m, e);
	struct lane *l;
	struct late *late;

	if (s == NULL)
		return;
	l = &s->wakes;
	if (e->late) {
		if ((late = late_find(l, e->xid)) == NULL)
			return;
		if (e->rows < e->limit && !snapshot_shows(&st->snapshot, e->xid))
			late_remove(l, late);
		else if (e->rows != 0)
			late->last_id = e->last_id;
	} else if (l->xid == e->xid && l->id == e->id) {
		l->xid = e->rows == e->limit ? e->last_xid : st->snapshot.xmax;
		l->id = e->rows == e->limit ? e->last_id : 0;
		late_add(l, &st->snapshot);
	}
	st->again |= e->rows == e->limit;
	if (!e->late && e->rows < e->limit && !s->looked) {
		s->looked = true;
		st->opened = true;
	}
}

/* On a late list is a transaction that has ended, and that was not asked for: nobody may sleep before that was done. */
static bool
late_has_ended(const struct master *m)
{
	const struct shard *s;

	TAILQ_FOREACH(s, &m->shards, link)
		for (size_t i = 0; shard_readable(m, s) && i < s->wakes.late_n; i++)
			if (!snapshot_shows(&m->resume->snapshot, s->wakes.late[i].xid))
				return true;
	return false;
}

static void
polled(const struct db_answer *a, void *arg)
{
	struct master *m = arg;
	struct resume *st = m->resume;
	size_t before = st->found_n;

	st->busy = false;
	if (a->outcome == DB_ERROR) {
		log_warnx("looking for wakes: %s", a->message);
		db_drop(m->reader_db, "looking for wakes failed");
	}
	if (a->outcome != DB_OK)
		return;
	for (int row = 0; row < a->rows; row++)
		if (db_int4(a, row, COL_ENTRY) == 0 && !snapshot_parse(&st->snapshot, db_text(a, row, COL_SNAPSHOT, NULL)))
			fatalx("poll_wakes: a snapshot of an unknown form: %s", db_text(a, row, COL_SNAPSHOT, NULL));
	for (int row = 0; row < a->rows; row++)
		read_row(m, a, row);
	for (size_t i = 0; i < st->n; i++)
		advance(m, &st->entries[i]);
	take(m);
	change_flush(m);
	if (st->found_n != before)
		st->expect_until_ms = clock_ms() + EXPECT_MS;
	if (st->again || late_has_ended(m))
		resume_poll(m);
	if (st->opened) {
		st->opened = false;
		reader_poll(m);
	}
	wake_resumed(m, st->found_n + !change_idle(m));
}

/* ---- taking them ---- */

static void	taken(const struct db_answer *, void *);

/* Only what is still this node's to take. */
static void
drop_old(struct master *m, struct taking *t)
{
	size_t kept = 0;

	for (size_t i = 0; i < t->n; i++) {
		struct shard *s = shard_find(m, t->v[i].shard);

		if (s != NULL && s->generation == t->v[i].generation && s->state == SHARD_OWNED)
			t->v[kept++] = t->v[i];
		else
			m->resume->found_n--;
	}
	t->n = kept;
}

static void
take_send(struct master *m, struct taking *t)
{
	struct params *p = &m->resume->take;

	params_reset(p);
	param_array(p, PARAM_INT4);
	param_array(p, PARAM_XID8);
	param_array(p, PARAM_INT8);
	for (size_t i = 0; i < t->n; i++) {
		param_array_int4(p, 0, t->v[i].shard);
		param_array_xid8(p, 1, t->v[i].xid);
		param_array_int8(p, 2, (int64_t)t->v[i].id);
	}
	t->sent = true;
	db_call(m->writer, &stmt_take, p, taken, t);
	crash_point("wake_taken");
}

static void
take(struct master *m)
{
	struct resume *st = m->resume;
	struct timeval tv = { 0, RETRY_MS / 2 * 1000 };
	struct taking *t, *next;
	bool later = false;

	for (t = TAILQ_FIRST(&st->takings); t != NULL; t = next) {
		next = TAILQ_NEXT(t, link);
		if (t->sent)
			continue;
		drop_old(m, t);
		if (t->n == 0) {
			taking_free(st, t);
		} else if (t->not_before_ms > clock_ms() || !node_may_write(m)) {
			later = true;
		} else {
			take_send(m, t);
			/* Without a connection it was answered at once, and the list is another. */
			if (!node_may_write(m))
				return;
		}
	}
	if (later && !evtimer_pending(st->retry, NULL))
		event_add(st->retry, &tv);
}

static void
take_later(struct master *m, struct taking *t, size_t from, size_t to, int wait_ms)
{
	struct taking *part = xcalloc(1, sizeof(*part));

	part->master = m;
	part->n = to - from;
	for (size_t i = from; i < to; i++)
		part->v[i - from] = t->v[i];
	/* Never 0: nothing is added to it. */
	part->not_before_ms = clock_ms() + wait_ms;
	m->resume->found_n += part->n;
	TAILQ_INSERT_TAIL(&m->resume->takings, part, link);
}

/* Those that others hold locked are moved to the front; returns how many. */
static size_t
left_over(struct taking *t, const struct db_answer *a)
{
	size_t n = 0;

	for (int i = 0; i < a->rows; i++) {
		size_t at = (size_t)db_int4(a, i, 0) - 1;

		if (at < t->n && at >= n)
			t->v[n++] = t->v[at];
	}
	return n;
}

static void
taken(const struct db_answer *a, void *arg)
{
	struct taking *t = arg;
	struct master *m = t->master;
	size_t n;

	if (a->outcome == DB_OK) {
		crash_point("resume_written");
		if ((n = left_over(t, a)) != 0)
			take_later(m, t, 0, n, RETRY_MS);
	} else if (a->outcome == DB_ERROR) {
		bool divisible = t->n > 1 && strcmp(a->sqlstate, "57014") == 0;

		if (strcmp(a->sqlstate, "55P03") != 0 && strcmp(a->sqlstate, "40P01") != 0)
			log_warnx("taking wakes: %s", a->message);
		take_later(m, t, 0, divisible ? t->n / 2 : t->n, RETRY_MS);
		if (divisible)
			take_later(m, t, t->n / 2, t->n, RETRY_MS);
	}
	/* When the connection went the shards are taken again, and what is left of these is found once more. */
	taking_free(m->resume, t);
	take(m);
	if (a->outcome == DB_OK)
		wake_up(m);
	server_progress(m);
}
