/*
 * Reading executions by their keys. Master.
 *
 * What has a key is not read by cursor as lanes are: however much waits of one key, the first of another one must be found.
 * A look (poll_keys) goes from key to key, on where the last one ended, and brings the first few of each; and those that follow
 * of the keys that are known here already. All keys are gone through again and again, as there is no telling where something new
 * is; a node sleeps only when it has done that and found nothing.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/xmalloc.h"
#include "master/keyed.h"

/* Bytes of executions to be buffered, about. */
#define BYTES		((size_t)8 << 20)
/* What may not be handed out now is buffered too, so far. */
#define ROWS_BLOCKED	4000
/* With more than that known, a look does not go around them. */
#define AROUND_MAX	2000
/* All keys are gone through with each look: what is new comes next, however much there is of others. But of a key of which many
 * have begun, what lies before those that are known, late or more urgent, is looked for so often: the index may still have all
 * that has ended. */
#define AFRESH_MS	200
#define MANY		64
/* What does not belong here, as its task has no keys any more, is looked for so often. */
#define ASTRAY_MS	1000
/* What does not belong here is looked for among so many keys at a time. */
#define KEYS_ASTRAY	100
/* A look that took longer and brought less than that many rows, or that met this many keys and brought less than a tenth as many
 * rows, is not followed by another at once: what it went through waits, or has ended. */
#define SLOW_MS		50
#define SLOW_KEYS	100
#define SLOW_WAIT	4
#define SLOW_WAIT_MS	1000

enum { COL_ENTRY, COL_ID, COL_XID, COL_COUNT, COL_LENGTH = 6, COL_LANE = 10, COL_KEY = 16, COL_BEGUN, COL_ASTRAY };

enum { P_SHARD, P_STARTS, P_ENDS, P_FINAL, P_KEYS, P_ROWS, P_FIFO, P_WANTED, P_LANES, P_IDS, P_LIMITS };

static const struct db_stmt stmt_poll = { "poll_keys",
	"select entry, id, ready_xid, attempt, task, payload, payload_len, metadata, event, shard, lane, parent, journal,"
	" expires_ms, event_at, event_kind, key, begun, astray"
	" from pgconductor.poll_keys($1::int, $2::text[], $3::text[], $4::text, $5::int, $6::int, $7::boolean, $8::text[],"
	" $9::int[], $10::bigint[], $11::int[])" };

/* One question. */
struct asked {
	struct master	*master;
	int32_t		 shard;
	uint32_t	 generation;
	uint64_t	 look;
	int64_t		 sent_ms;
	int		 keys;		/* to be found at most; 0: it was only for those known */
	int		 rows;		/* of each */
};

/* ---- asking ---- */

void
keyed_look_anew(struct keys *ks, bool thorough)
{
	ks->thorough |= thorough;
	ks->next_ms = 0;
	if (thorough)
		ks->looking = false;
}

void
keyed_look(struct master *m, bool thorough)
{
	struct queue *q;
	struct gate *g;

	TAILQ_FOREACH(q, &m->queues, link)
		for (g = q->gates; g != NULL; g = g->next)
			if (g->keys != NULL && (thorough || g->task->keyed))
				keyed_look_anew(g->keys, thorough);
}

void
keyed_asked_no_more(struct key *k)
{
	if (!k->asked)
		return;
	k->asked = false;
	TAILQ_REMOVE(&k->keys->asking, k, wish);
}


static bool
is_keyed(const struct task *t)
{
	return t->keyed && t->limited_xid != 0;
}

/* How many more keys may be looked at now. */
static size_t
room(const struct shard *s)
{
	const struct task *t = s->gate->task;
	const struct queue *q = s->queue;
	const struct keys *ks = s->gate->keys;
	size_t most, bytes;

	if (!is_keyed(t))
		return KEYS_ASTRAY;
	if (!s->open || !q->ready || q->paused || t->paused || task_pool(t, q) < 0)
		return 0;
	most = limit_ahead(s, (size_t)q->fetch_batch * 2);
	if (ks->ring_n >= most)
		return 0;
	most -= ks->ring_n;
	if (most > (size_t)q->fetch_batch)
		most = (size_t)q->fetch_batch;
	bytes = ks->bytes < BYTES ? (BYTES - ks->bytes) / ks->row_bytes : 0;
	if (bytes < most)
		most = bytes != 0 || ks->ring_n != 0 ? bytes : 1;
	return most;
}

static bool
is_time(const struct keys *ks)
{
	return ks->thorough || clock_ms() >= ks->next_ms;
}

bool
keyed_hungry(const struct master *m, const struct queue *q)
{
	const struct gate *g;

	for (g = q->gates; g != NULL; g = g->next) {
		const struct keys *ks = g->keys;
		size_t n;

		if (ks == NULL || g->shard == NULL || !shard_open(m, g->shard) || !is_keyed(g->task))
			continue;
		n = room(g->shard);
		if (n != 0 && (ks->wanted_n != 0 || (ks->looking && is_time(ks) && (n > ks->ring_n || n > (size_t)q->fetch_batch / 4))))
			return true;
	}
	return false;
}

bool
keyed_backlog(const struct queue *q)
{
	const struct gate *g;

	for (g = q->gates; g != NULL; g = g->next)
		if (g->keys != NULL && g->shard != NULL && (g->keys->rows != 0 || g->keys->crowded))
			return true;
	return false;
}

static int
by_text(const void *a, const void *b)
{
	const struct key *x = *(struct key *const *)a, *y = *(struct key *const *)b;
	int order = memcmp(x->text, y->text, x->len < y->len ? x->len : y->len);

	return order != 0 ? order : (x->len > y->len) - (x->len < y->len);
}

static bool
not_before(const struct key *k, struct buf *cursor)
{
	size_t n = k->len < cursor->len ? k->len : cursor->len;
	int order = n != 0 ? memcmp(k->text, buf_ptr(cursor), n) : 0;

	return order > 0 || (order == 0 && k->len >= cursor->len);
}

/* Keys of which many have begun are gone around: what has ended may not have left the index yet. */
static void
add_ranges(struct keys *ks, struct params *p)
{
	struct key **around = xcalloc(ks->n + 1, sizeof(*around));
	struct buf from;
	size_t n = 0;
	int64_t now = clock_ms();

	for (size_t i = 0; ks->n <= AROUND_MAX && i < ks->buckets_n; i++)
		for (struct key *k = ks->buckets[i]; k != NULL; k = k->next)
			if (k->begun >= MANY && now - k->afresh_ms < AFRESH_MS && (k->buffered != 0 || k->more || k->asked) &&
			    not_before(k, &ks->cursor))
				around[n++] = k;
	qsort(around, n, sizeof(*around), by_text);
	buf_init(&from);
	buf_add(&from, buf_ptr(&ks->cursor), ks->cursor.len);
	for (size_t i = 0; i < n; i++) {
		param_array_text(p, P_STARTS, (const char *)buf_ptr(&from), from.len);
		param_array_text(p, P_ENDS, around[i]->text, around[i]->len);
		buf_reset(&from, 256);
		buf_add(&from, around[i]->text, around[i]->len);
		/* The least that comes after it. */
		buf_add(&from, "\001", 1);
	}
	param_text(p, (const char *)buf_ptr(&from), from.len);
	buf_free(&from);
	free(around);
}

static void
add_wanted(struct keys *ks, struct params *p, size_t most)
{
	struct key *k;
	int64_t now = clock_ms();

	for (size_t i = 0; i < most && (k = TAILQ_FIRST(&ks->wanted)) != NULL; i++) {
		keyed_want_no_more(k);
		k->asked = true;
		TAILQ_INSERT_TAIL(&ks->asking, k, wish);
		if (now - k->afresh_ms >= AFRESH_MS)
			k->bounded = false;
		k->limit = k->bounded ? KEY_ROWS - k->buffered : KEY_ROWS;
		param_array_text(p, P_WANTED, k->text, k->len);
		param_array_int4(p, P_LANES, k->bounded ? k->lane : INT32_MIN);
		param_array_int8(p, P_IDS, k->bounded ? (int64_t)k->id : 0);
		param_array_int4(p, P_LIMITS, k->limit);
	}
}

static void	answered(const struct db_answer *, void *);

bool
keyed_ask(struct master *m, struct shard *s)
{
	struct keys *ks = s->gate != NULL ? s->gate->keys : NULL;
	size_t most = ks != NULL ? room(s) : 0, keys, rows;
	struct asked *asked;
	struct params p;

	if (ks == NULL)
		return false;
	if (!ks->looking && is_time(ks)) {
		buf_reset(&ks->cursor, 256);
		ks->looking = true;
	}
	keys = ks->looking && is_time(ks) ? most : 0;
	if (most == 0) {
		ks->crowded |= ks->looking;
		return false;
	}
	if (keys == 0 && ks->wanted_n == 0)
		return false;
	rows = keys != 0 ? BYTES / ks->row_bytes / keys : KEY_ROWS;
	rows = rows > KEY_ROWS ? KEY_ROWS : rows != 0 ? rows : 1;
	params_init(&p);
	param_int4(&p, s->id);
	param_array(&p, PARAM_TEXT);
	param_array(&p, PARAM_TEXT);
	if (keys != 0)
		add_ranges(ks, &p);
	else
		param_null(&p);
	param_int4(&p, (int32_t)keys);
	param_int4(&p, (int32_t)rows);
	param_bool(&p, s->gate->task->key_fifo);
	param_array(&p, PARAM_TEXT);
	param_array(&p, PARAM_INT4);
	param_array(&p, PARAM_INT8);
	param_array(&p, PARAM_INT4);
	if (is_keyed(s->gate->task))
		add_wanted(ks, &p, most);
	asked = xmalloc(sizeof(*asked));
	*asked = (struct asked){ m, s->id, s->generation, m->reader.look, clock_ms(), (int)keys, (int)rows };
	db_call(m->reader_db, &stmt_poll, &p, answered, asked);
	params_free(&p);
	return true;
}

/* ---- what came ---- */

/* What does not fit, or may not begin for a while, is read again later. */
static bool
fits(const struct key *k)
{
	const struct keys *ks = k->keys;

	if (k->buffered == 0 && k->ring == NULL && keyed_has_slot(k))
		return true;
	return ks->bytes < BYTES && (k->ring != NULL || ks->rows < ROWS_BLOCKED);
}

static void
set_bound(struct key *k, int32_t lane, uint64_t id)
{
	const struct run *last = TAILQ_LAST(&k->buf, runlist);

	k->bounded = true;
	k->lane = lane;
	k->id = id;
	if (last != NULL && !last->begun &&
	    (last->lane->number > lane || (last->lane->number == lane && last->id > id))) {
		k->lane = last->lane->number;
		k->id = last->id;
	}
}

/* Returns false if what follows of the key has to wait for that one. */
static bool
read_row(struct master *m, const struct db_answer *a, int row, struct shard *s, struct key *k)
{
	struct run *r = run_find(m, (uint64_t)db_int8(a, row, COL_ID), db_xid8(a, row, COL_XID));

	if (r != NULL)
		return !s->gate->task->key_fifo || r->state != RUN_PARKING;
	r = reader_row(m, a, row, reader_lane(m, s, db_int4(a, row, COL_LANE)), k, db_bool(a, row, COL_ASTRAY));
	if (r == NULL)
		return true;
	r->begun = db_bool(a, row, COL_BEGUN);
	r->key = k;
	k->runs++;
	queue_insert(m, r);
	return true;
}

/* The rows of one key, which stand together. Returns the row behind them. */
static int
read_key(struct master *m, const struct db_answer *a, int row, struct shard *s, const struct asked *asked)
{
	struct keys *ks = s->gate->keys;
	int entry = db_int4(a, row, COL_ENTRY), end = row, n;
	size_t len;
	const char *text = db_text(a, row, COL_KEY, &len);
	struct key *k = keyed_get(ks, text, len);
	bool whole = true, follows = true;

	while (end < a->rows && db_int4(a, end, COL_ENTRY) == entry) {
		size_t other_len;
		const char *other = db_text(a, end, COL_KEY, &other_len);

		if (other_len != len || memcmp(other, text, len) != 0)
			break;
		end++;
	}
	n = entry == 1 ? asked->rows : k->limit;
	/* So that it stays. */
	k->runs++;
	if (entry == 2)
		keyed_asked_no_more(k);
	if (k->void_look == asked->look)
		goto out;
	if (entry == 1 || !k->bounded) {
		k->afresh_ms = asked->sent_ms;
		k->begun /= 2;
	}
	for (int i = row; i < end && follows; i++) {
		size_t bytes = db_null(a, i, COL_LENGTH) ? 0 : (size_t)db_int4(a, i, COL_LENGTH);

		ks->row_bytes = (ks->row_bytes * 7 + bytes + 256) / 8;
		if ((whole = fits(k)) == false)
			break;
		follows = read_row(m, a, i, s, k);
	}
	k->more = follows && (!whole || end - row >= n);
	if (whole && k->more)
		set_bound(k, db_int4(a, end - 1, COL_LANE), (uint64_t)db_int8(a, end - 1, COL_ID));
	else
		k->bounded = false;
	while (k->buffered > KEY_ROWS) {
		keyed_drop_last(m, k);
		m->reader.found--;
	}
out:
	k->runs--;
	keyed_refresh(m, k);
	return end;
}

/* How far they have been gone through by that. */
static void
advance(struct master *m, struct keys *ks, const struct asked *asked, int found, const char *last, size_t len)
{
	int64_t now = clock_ms(), took = now - asked->sent_ms;

	if (found == asked->keys) {
		ks->crowded = true;
		buf_reset(&ks->cursor, 256);
		buf_add(&ks->cursor, last, len);
		buf_add(&ks->cursor, "\001", 1);
		ks->next_ms = 0;
	} else {
		ks->looking = ks->crowded = ks->thorough = false;
		ks->next_ms = is_keyed(ks->gate->task) ? 0 : now + ASTRAY_MS;
	}
	if ((took > SLOW_MS && m->reader.found < SLOW_MS) || (found >= SLOW_KEYS && m->reader.found < (size_t)found / 10))
		ks->next_ms = now + (took * SLOW_WAIT < SLOW_WAIT_MS ? took * SLOW_WAIT : SLOW_WAIT_MS);
}

static void
read_answer(struct master *m, const struct db_answer *a, struct shard *s, const struct asked *asked)
{
	struct keys *ks = s->gate->keys;
	struct key *k;
	const char *last = NULL;
	size_t len = 0;
	int found = 0;

	for (int row = 0; row < a->rows;) {
		if (db_int4(a, row, COL_ENTRY) != 0) {
			row = read_key(m, a, row, s, asked);
			continue;
		}
		found = db_int4(a, row, COL_COUNT);
		last = found != 0 ? db_text(a, row, COL_KEY, &len) : NULL;
		row++;
	}
	/* Nothing is left of these, or something of them has begun and is not over. */
	while ((k = TAILQ_FIRST(&ks->asking)) != NULL) {
		keyed_asked_no_more(k);
		k->more = k->void_look == asked->look;
		keyed_refresh(m, k);
	}
	if (asked->keys != 0)
		advance(m, ks, asked, found, last, len);
	m->reader.again |= ks->looking && is_time(ks) && room(s) != 0;
}

static void
answered(const struct db_answer *a, void *arg)
{
	struct asked *asked = arg;
	struct master *m = asked->master;
	struct shard *s = shard_find(m, asked->shard);

	if (a->outcome == DB_ERROR) {
		log_warnx("poll_keys: %s", a->message);
		db_drop(m->reader_db, "a poll failed");
	}
	/* Otherwise the answer is void, and nothing is kept that was asked for. */
	if (s != NULL && s->generation == asked->generation && s->gate != NULL && s->gate->keys != NULL &&
	    s->gate->keys->void_look != asked->look) {
		if (a->outcome == DB_OK && shard_open(m, s))
			read_answer(m, a, s, asked);
		else
			keyed_empty(m, s->gate);
	}
	free(asked);
	reader_answered(m, a->outcome == DB_OK);
}
