/*
 * Reading executions by their keys. Master.
 *
 * What has a key is not read by cursor as lanes are: however much waits of one key, the first of another one must be found.
 * A look (poll_keys) goes from key to key, on where the last one ended, and brings the first few of each; and those that follow
 * of the keys that are known here already. All keys are gone through again and again, as there is no telling where something new
 * is; a node sleeps only when it has done that and found nothing.
 */
#include "config.h"

#include <limits.h>
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
/* Of the others after so many times what a look takes, where there are many keys. */
#define TIMES		4
#define KEYS_MANY	50
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

/* So many met are enough to tell; with no more rows for each key they are read as they come, and with more not any longer. */
#define FLAT_KEYS	50
#define FLAT_BEGIN	2
#define FLAT_END	4

/* Where a row of an answer comes from: ENTRY_STATE says how far that went. */
enum entry { ENTRY_STATE, ENTRY_RANGE, ENTRY_WANTED, ENTRY_FLAT };

enum { COL_ENTRY, COL_ID, COL_XID, COL_COUNT, COL_LENGTH = 6, COL_LANE = 10, COL_KEY = 16, COL_BEGUN, COL_ASTRAY, COL_HELD };

enum { P_SHARD, P_PATH, P_STARTS, P_ENDS, P_FINAL, P_KEYS, P_ROWS, P_FIFO, P_WANTED, P_LANES, P_IDS, P_LIMITS };

static const struct db_stmt stmt_poll = { "poll_keys",
	"select entry, id, ready_xid, attempt, task, payload, payload_len, metadata, event, shard, lane, parent, journal,"
	" expires_ms, event_at, event_kind, key, begun, astray"
	" from pgconductor.poll_keys($1::int, $2::text[], $3::text[], $4::text[], $5::text, $6::int, $7::int, $8::boolean,"
	" $9::text[], $10::int[], $11::bigint[], $12::int[])" };
static const struct db_stmt stmt_scan = { "scan_keys",
	"select entry, id, ready_xid, attempt, task, payload, payload_len, metadata, event, shard, lane, parent, journal,"
	" expires_ms, event_at, event_kind, key, begun, astray, held"
	" from pgconductor.scan_keys($1::int, $2::text[], $3::text, $4::int, $5::boolean)" };

/* One question. */
struct asked {
	struct master	*master;
	int32_t		 shard;
	uint32_t	 generation;
	uint64_t	 look;
	int64_t		 sent_ms;
	int		 keys;		/* to be found at most, or rows if flat; 0: it was only for those known */
	int		 rows;		/* of each */
	bool		 flat;
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
static size_t
find_around(struct keys *ks, struct key **around)
{
	size_t n = 0;
	int64_t now = clock_ms(), often = ks->n > KEYS_MANY ? ks->took_ms * TIMES : 0;

	for (size_t i = 0; ks->n <= AROUND_MAX && i < ks->buckets_n; i++)
		for (struct key *k = ks->buckets[i]; k != NULL; k = k->next)
			if (now - k->afresh_ms < (k->begun >= MANY || often > AFRESH_MS ? AFRESH_MS : often) &&
			    (k->buffered != 0 || k->more || k->asked) && not_before(k, &ks->cursor))
				around[n++] = k;
	qsort(around, n, sizeof(*around), by_text);
	return n;
}

static void
add_ranges(struct keys *ks, struct params *p, struct key **around, size_t n)
{
	struct buf from;

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
}

/* As an array of its parts. */
static void
add_path(struct params *p, const struct task *t)
{
	int path;

	if (t->key_path == NULL) {
		param_null(p);
		return;
	}
	path = param_array(p, PARAM_TEXT);
	for (const char *s = t->key_path;; s++) {
		size_t len = strcspn(s, ".");

		param_array_text(p, path, s, len);
		s += len;
		if (*s == '\0')
			return;
	}
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

static void
ask(struct master *m, struct shard *s, const struct db_stmt *stmt, const struct params *p, struct asked about)
{
	struct asked *asked = xmalloc(sizeof(*asked));

	about.master = m;
	about.shard = s->id;
	about.generation = s->generation;
	about.look = m->reader.look;
	about.sent_ms = clock_ms();
	*asked = about;
	db_call(m->reader_db, stmt, p, answered, asked);
}

static void
ask_flat(struct master *m, struct shard *s, size_t rows)
{
	struct keys *ks = s->gate->keys;
	struct params p;

	params_init(&p);
	param_int4(&p, s->id);
	add_path(&p, s->gate->task);
	param_text(&p, (const char *)buf_ptr(&ks->cursor), ks->cursor.len);
	param_int4(&p, (int32_t)rows);
	param_bool(&p, s->gate->task->key_fifo);
	ask(m, s, &stmt_scan, &p, (struct asked){ .keys = (int)rows, .flat = true });
	params_free(&p);
}

/* keys: to be found; 0: only what is wanted. */
static void
ask_keys(struct master *m, struct shard *s, size_t keys, size_t most, struct key **around, size_t around_n)
{
	struct keys *ks = s->gate->keys;
	size_t rows = keys != 0 ? BYTES / ks->row_bytes / keys : KEY_ROWS;
	struct params p;

	rows = rows > KEY_ROWS ? KEY_ROWS : rows != 0 ? rows : 1;
	params_init(&p);
	param_int4(&p, s->id);
	add_path(&p, s->gate->task);
	param_array(&p, PARAM_TEXT);
	param_array(&p, PARAM_TEXT);
	if (keys != 0)
		add_ranges(ks, &p, around, around_n);
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
	ask(m, s, &stmt_poll, &p, (struct asked){ .keys = (int)keys, .rows = (int)rows });
	params_free(&p);
}

int
keyed_ask(struct master *m, struct shard *s)
{
	struct keys *ks = s->gate != NULL ? s->gate->keys : NULL;
	size_t most = ks != NULL ? room(s) : 0, keys, around_n;
	struct key **around;
	int asked = 0;

	if (ks == NULL)
		return 0;
	if (!ks->looking && is_time(ks)) {
		buf_reset(&ks->cursor, 256);
		ks->looking = true;
	}
	if (most == 0) {
		ks->crowded |= ks->looking;
		return 0;
	}
	keys = ks->looking && is_time(ks) ? most : 0;
	around = xcalloc(ks->n + 1, sizeof(*around));
	around_n = keys != 0 && !ks->flat ? find_around(ks, around) : 0;
	if (keys != 0 && ks->flat) {
		ask_flat(m, s, keys);
		asked++;
		keys = 0;
	}
	if (keys != 0 || ks->wanted_n != 0) {
		ask_keys(m, s, keys, most, around, around_n);
		asked++;
	}
	free(around);
	return asked;
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
	r = reader_row(m, a, row, reader_lane(m, s, db_int4(a, row, COL_LANE)), NOT_DUE, k, db_bool(a, row, COL_ASTRAY));
	if (r == NULL)
		return true;
	r->begun = db_bool(a, row, COL_BEGUN);
	r->key = k;
	k->runs++;
	queue_insert(m, r);
	return true;
}

/* The first of the rows of a key that stand before this one. */
static int
key_begins(const struct db_answer *a, int row)
{
	size_t len, other_len;
	const char *text = db_text(a, row, COL_KEY, &len), *other;

	for (; row > 0; row--) {
		other = db_text(a, row - 1, COL_KEY, &other_len);
		if (other_len != len || memcmp(other, text, len) != 0)
			break;
	}
	return row;
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
	n = entry == ENTRY_RANGE ? asked->rows : entry == ENTRY_WANTED ? k->limit : INT_MAX;
	/* So that it stays. */
	k->runs++;
	if (entry == ENTRY_WANTED)
		keyed_asked_no_more(k);
	if (k->void_look == asked->look || (asked->flat && db_bool(a, row, COL_HELD)))
		goto out;
	if (entry != ENTRY_WANTED || !k->bounded) {
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

/* Where to go on: behind that key, or with it. */
static void
set_cursor(struct keys *ks, const char *key, size_t len, bool behind)
{
	buf_reset(&ks->cursor, 256);
	buf_add(&ks->cursor, key, len);
	if (behind)
		buf_add(&ks->cursor, "\001", 1);
	ks->crowded = true;
	ks->next_ms = 0;
}

/* All have been gone through. */
static void
came_round(struct keys *ks)
{
	ks->looking = ks->crowded = ks->thorough = false;
	ks->next_ms = is_keyed(ks->gate->task) ? 0 : clock_ms() + ASTRAY_MS;
}

/* Enough, if little came of it. */
static void
slow_down(struct master *m, struct keys *ks, const struct asked *asked, size_t found)
{
	int64_t now = clock_ms(), took = now - asked->sent_ms;

	ks->took_ms = took;
	if ((took > SLOW_MS && m->reader.found < SLOW_MS) || (found >= SLOW_KEYS && m->reader.found < found / 10))
		ks->next_ms = now + (took * SLOW_WAIT < SLOW_WAIT_MS ? took * SLOW_WAIT : SLOW_WAIT_MS);
}

static void
read_flat(struct master *m, const struct db_answer *a, struct shard *s, const struct asked *asked)
{
	struct keys *ks = s->gate->keys;
	bool more = a->rows == asked->keys;
	int row = 0, keys = 0, last;
	size_t len;
	const char *text;

	/* Of the last one there may be more: it comes next, from its beginning. */
	last = more ? key_begins(a, a->rows - 1) : a->rows;
	for (; row < last; keys++)
		row = read_key(m, a, row, s, asked);
	if (!more) {
		came_round(ks);
	} else {
		text = db_text(a, a->rows - 1, COL_KEY, &len);
		set_cursor(ks, text, len, false);
	}
	ks->flat = !more || (keys >= FLAT_KEYS && a->rows <= FLAT_END * keys);
	slow_down(m, ks, asked, (size_t)keys);
}

static void
read_ranges(struct master *m, const struct db_answer *a, struct shard *s, const struct asked *asked)
{
	struct keys *ks = s->gate->keys;
	struct key *k;
	const char *last = NULL;
	size_t len = 0;
	int found = 0, rows = 0;

	for (int row = 0; row < a->rows;) {
		int entry = db_int4(a, row, COL_ENTRY), begin = row;

		if (entry != ENTRY_STATE) {
			row = read_key(m, a, row, s, asked);
			rows += entry == ENTRY_RANGE ? row - begin : 0;
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
	if (asked->keys == 0)
		return;
	if (found == asked->keys)
		set_cursor(ks, last, len, true);
	else
		came_round(ks);
	ks->flat = is_keyed(s->gate->task) && found >= FLAT_KEYS && rows <= FLAT_BEGIN * found;
	slow_down(m, ks, asked, (size_t)found);
}

static void
read_answer(struct master *m, const struct db_answer *a, struct shard *s, const struct asked *asked)
{
	struct keys *ks = s->gate->keys;

	if (asked->flat)
		read_flat(m, a, s, asked);
	else
		read_ranges(m, a, s, asked);
	m->reader.again |= ks->looking && is_time(ks) && room(s) != 0;
}

static void
answered(const struct db_answer *a, void *arg)
{
	struct asked *asked = arg;
	struct master *m = asked->master;
	struct shard *s = shard_find(m, asked->shard);

	if (a->outcome == DB_ERROR) {
		log_warnx("reading by keys: %s", a->message);
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
