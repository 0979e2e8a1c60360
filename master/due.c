/*
 * Reading delayed runs whose time has come. Master.
 *
 * They have been runs since they were invoked, so nothing is written to make them ready: they are read in the order of
 * their time, by a cursor in each lane. What commits behind a cursor, which is rare, is found when all of them are looked
 * at again, now and then. A question of each look of the reader, while there may be something due.
 */
#include "config.h"

#include <stdlib.h>

#include "common/log.h"
#include "common/xmalloc.h"
#include "master/master.h"

static const struct db_stmt stmt_poll_due = { "poll_due",
	"select entry, id, ready_xid, attempt, task, payload, payload_len, metadata, event, shard, lane, parent, journal,"
	" expires_ms, event_at, event_kind, run_at, touched, next_due_ms"
	" from pgconductor.poll_due($1::int[], $2::int[], $3::timestamptz[], $4::bigint[], $5::int[])" };

static const struct db_stmt stmt_make_ready = { "make_ready", "select pgconductor.make_ready($1::bigint[], $2::xid8[])" };

/* As those of poll, and three more. */
enum { COL_ENTRY, COL_ID, COL_XID, COL_RUN_AT = 16, COL_TOUCHED, COL_NEXT };

/* So few may be read beyond a lane's room: mostly there are none. */
#define LOOK_ROWS	16

enum { P_SHARDS, P_LANES, P_TIMES, P_IDS, P_LIMITS };

struct due_entry {
	int32_t		 shard, lane;
	uint32_t	 generation;
	int64_t		 at;		/* read after these */
	uint64_t	 id;
	int		 limit, rows;
	int64_t		 last_at;
	uint64_t	 last_id;
	int64_t		 next_ms;
};

struct due {
	struct params	 params;
	struct due_entry *entries;
	size_t		 n, cap;
	int64_t		 full_look_ms;
};

void
due_init(struct master *m)
{
	m->due = xcalloc(1, sizeof(*m->due));
	params_init(&m->due->params);
}

void
due_free(struct master *m)
{
	params_free(&m->due->params);
	free(m->due->entries);
	free(m->due);
}

/* ---- cursors ---- */

void
due_rewind_all(struct lane *l)
{
	l->due_at = DUE_BEGINNING;
	l->due_id = 0;
	l->due_more = true;
}

void
due_rewind(struct lane *l, int64_t at, uint64_t id)
{
	if (at < l->due_at || (at == l->due_at && id <= l->due_id)) {
		l->due_at = at;
		l->due_id = id - 1;
	}
	l->due_more = true;
}

void
due_look(struct master *m, bool all)
{
	struct queue *q;
	struct lane *l;
	int64_t now = clock_ms();

	/* Rows may commit late. */
	all |= now - m->due->full_look_ms >= FULL_LOOK_MS;
	if (all)
		m->due->full_look_ms = now;
	TAILQ_FOREACH(q, &m->queues, link)
		TAILQ_FOREACH(l, &q->lanes, link) {
			if (all)
				due_rewind_all(l);
			l->due_look = true;
		}
}

void
due_tick(struct master *m)
{
	struct queue *q;
	struct lane *l;
	int64_t now = clock_ms();

	TAILQ_FOREACH(q, &m->queues, link)
		TAILQ_FOREACH(l, &q->lanes, link) {
			if (l->due_ms > now)
				continue;
			l->due_ms = INT64_MAX;
			l->due_more = true;
		}
}

int64_t
due_next_ms(const struct master *m)
{
	const struct queue *q;
	const struct lane *l;
	int64_t next = INT64_MAX;

	TAILQ_FOREACH(q, &m->queues, link)
		TAILQ_FOREACH(l, &q->lanes, link)
			if (shard_open(m, l->shard) && l->due_ms < next)
				next = l->due_ms;
	return next;
}

bool
due_none_left(const struct shard *s)
{
	const struct lane *l;

	TAILQ_FOREACH(l, &s->queue->lanes, link)
		if (l->shard == s && l->due_more)
			return false;
	return true;
}

/* ---- asking ---- */

void
due_begin(struct master *m)
{
	struct params *p = &m->due->params;

	m->due->n = 0;
	params_reset(p);
	param_array(p, PARAM_INT4);
	param_array(p, PARAM_INT4);
	param_array(p, PARAM_TIMESTAMPTZ);
	param_array(p, PARAM_INT8);
	param_array(p, PARAM_INT4);
}

int
due_rows(const struct master *m, const struct lane *l, int room)
{
	/* Of a single one, each in turn. */
	if (l->due_more)
		return l->more ? (room + (int)(m->reader.look % 2)) / 2 : room;
	return !l->due_look ? 0 : room < LOOK_ROWS ? room : LOOK_ROWS;
}

void
due_add(struct master *m, const struct lane *l, int limit)
{
	struct due *d = m->due;
	struct params *p = &d->params;

	if (d->n == d->cap) {
		d->cap = d->cap != 0 ? d->cap * 2 : 16;
		d->entries = xreallocarray(d->entries, d->cap, sizeof(*d->entries));
	}
	d->entries[d->n++] = (struct due_entry){ .shard = l->shard->id, .lane = l->number, .generation = l->shard->generation,
	    .at = l->due_at, .id = l->due_id, .limit = limit, .next_ms = INT64_MAX };
	param_array_int4(p, P_SHARDS, l->shard->id);
	param_array_int4(p, P_LANES, l->number);
	param_array_int8(p, P_TIMES, l->due_at);
	param_array_int8(p, P_IDS, (int64_t)l->due_id);
	param_array_int4(p, P_LIMITS, limit);
}

static void	polled(const struct db_answer *, void *);

int
due_ask(struct master *m)
{
	if (m->due->n == 0)
		return 0;
	db_call(m->reader_db, &stmt_poll_due, &m->due->params, polled, m);
	return 1;
}

/* ---- what came ---- */

/* All rows of one entry, which stand together. Returns the row behind them. */
static int
read_entry(struct master *m, const struct db_answer *a, int row)
{
	int number = db_int4(a, row, COL_ENTRY);
	struct due_entry *e = &m->due->entries[number - 1];
	struct lane *l = reader_entry_lane(m, e->shard, e->generation, e->lane);

	for (; row < a->rows && db_int4(a, row, COL_ENTRY) == number; row++) {
		e->rows++;
		e->last_at = db_int8(a, row, COL_RUN_AT);
		e->last_id = (uint64_t)db_int8(a, row, COL_ID);
		if (l != NULL)
			reader_note_bytes(l, a, row);
	}
	return row;
}

static void
advance(struct master *m, const struct due_entry *e)
{
	struct lane *l = reader_entry_lane(m, e->shard, e->generation, e->lane);

	if (l == NULL)
		return;
	l->due_ms = e->next_ms;
	/* Turned back since the question was sent: what lies between would be missed. */
	if (l->due_at != e->at || l->due_id != e->id)
		return;
	l->due_more = e->rows == e->limit;
	l->due_look = false;
	if (e->rows != 0) {
		l->due_at = e->last_at;
		l->due_id = e->last_id;
	}
}

static void
made_ready(const struct db_answer *a, void *arg)
{
	if (a->outcome == DB_ERROR)
		log_warnx("making what is due ready: %s", a->message);
	if (a->outcome == DB_OK && db_int4(a, 0, 0) != 0)
		reader_poll(arg);
}

/* Somebody may be changing it. What is still locked is found again when all are looked at. */
static void
touched(struct master *m, struct params *p, const struct db_answer *a, int row)
{
	uint64_t id = (uint64_t)db_int8(a, row, COL_ID), xid = db_xid8(a, row, COL_XID);

	if (run_find(m, id, xid) != NULL)
		return;
	if (p->n == 0) {
		param_array(p, PARAM_INT8);
		param_array(p, PARAM_XID8);
	}
	param_array_int8(p, 0, (int64_t)id);
	param_array_xid8(p, 1, xid);
}

/* As with poll: the cursors first. */
static void
read_answer(struct master *m, const struct db_answer *a)
{
	struct due *d = m->due;
	struct params p;
	struct run *r;
	int rows = 0;

	for (; rows < a->rows && db_int4(a, rows, COL_ENTRY) > 0;)
		rows = read_entry(m, a, rows);
	for (int row = rows; row < a->rows; row++)
		d->entries[-db_int4(a, row, COL_ENTRY) - 1].next_ms = clock_ms() + db_int8(a, row, COL_NEXT);
	for (size_t i = 0; i < d->n; i++)
		advance(m, &d->entries[i]);
	params_init(&p);
	for (int row = 0; row < rows; row++) {
		const struct due_entry *e = &d->entries[db_int4(a, row, COL_ENTRY) - 1];
		struct lane *l = reader_entry_lane(m, e->shard, e->generation, e->lane);

		if (l == NULL)
			continue;
		if (db_bool(a, row, COL_TOUCHED))
			touched(m, &p, a, row);
		else if ((r = reader_row(m, a, row, l, db_int8(a, row, COL_RUN_AT), false, false)) != NULL)
			queue_insert(m, r);
	}
	if (p.n != 0 && node_may_write(m))
		db_call(m->writer, &stmt_make_ready, &p, made_ready, m);
	params_free(&p);
}

static void
polled(const struct db_answer *a, void *arg)
{
	struct master *m = arg;

	if (a->outcome == DB_ERROR) {
		log_warnx("reading what is due: %s", a->message);
		db_drop(m->reader_db, "reading what is due failed");
	}
	/* See reader.c. */
	if (a->outcome == DB_OK && m->moving == 0)
		read_answer(m, a);
	reader_answered(m, a->outcome == DB_OK);
}
