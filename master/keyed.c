/*
 * Keys of a task: how many executions of one may run at once and may begin in some time, in their order or not, and that
 * keys take turns. Master.
 *
 * What has a key is not read by cursor as lanes are: however much waits of one key, the first of another one must be found.
 * A look (poll_keys) goes from key to key, on where the last one ended, and brings the first few of each; and those that follow
 * of the keys that are known here already. Keys of which something may be handed out stand in a ring, and take turns; of which
 * nothing may, as too many of it run or began lately, or as the one before has not ended yet, do not. Of the keys beyond
 * nothing is kept but what was counted.
 *
 * In their order (FIFO): the next one of a key begins when the outcome of the one before is committed. If that was not the
 * end of it, what is buffered of the key is void, and whatever a look under way brings of it too.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "common/log.h"
#include "common/xmalloc.h"
#include "master/master.h"

/* So many of a key are read ahead at most: somebody else's first is to begin soon, however much waits of this one. */
#define ROWS		8
/* Bytes of executions to be buffered, about. */
#define BYTES		((size_t)8 << 20)
#define ROW_BYTES_GUESS	4096
/* What may not be handed out now is buffered too, so far. */
#define ROWS_BLOCKED	4000
/* With more than that known, a look does not go around them. */
#define AROUND_MAX	2000
/* Of a key of which many have begun, what lies before those that are known, late or more urgent, is looked for so often. */
#define AFRESH_MS	1000
#define MANY		64
/* And of any that is known here, as all keys are gone through with each look: what is new comes next, however much there is
 * of others. */
#define EVERY_MS	10
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

struct key {
	struct key	*next;		/* in its bucket */
	TAILQ_ENTRY(key) turn;		/* in the ring */
	TAILQ_ENTRY(key) wish;		/* among those wanted, or asked for */
	struct keys	*keys;
	struct lane	*ring;		/* in whose ring it stands; NULL: in none */
	struct runlist	 buf;		/* in their order */
	int		 buffered;
	int		 running;	/* out; in their order also those whose outcome is not committed */
	int		 runs;		/* in memory, lingering ones apart */
	bool		 more;		/* further ones are ready, as far as is known */
	bool		 wanted, asked;	/* these are to be read; are being read */
	bool		 bounded;	/* those up to lane and id were seen */
	int32_t		 lane;
	uint64_t	 id;
	int64_t		 afresh_ms;	/* when it was last read from its beginning */
	int		 begun;		/* so many have begun, older ones by half */
	int		 limit;		/* so many were asked for */
	uint64_t	 void_look;	/* what this look brings of it may be out of date */
	double		 tokens;	/* so many may begin now */
	int64_t		 filled_ms;	/* when that was reckoned */
	int64_t		 due_ms;	/* when something of it may begin, or its bucket is full */
	size_t		 place;		/* in the heap, from 1; 0: it does not stand there */
	size_t		 len;
	char		 text[];
};

TAILQ_HEAD(keylist, key);

struct keys {
	struct gate	*gate;
	struct key	**buckets;
	size_t		 buckets_n;	/* a power of two */
	size_t		 n;
	size_t		 ring_n;	/* that stand in a ring */
	size_t		 rows, bytes;	/* buffered */
	size_t		 row_bytes;	/* what a row took, lately */
	struct keylist	 wanted, asking;
	size_t		 wanted_n;
	struct key	**heap;		/* by due_ms, the lowest first */
	size_t		 heap_n, heap_cap;
	int64_t		 since_ms;	/* what began before is not known */
	struct buf	 cursor;	/* the next key to look at is not before that */
	bool		 looking;	/* all keys are being gone through */
	bool		 crowded;	/* there are more than fit: who has had its turn waits for the next time around */
	bool		 thorough;	/* and that is not to be put off */
	int64_t		 next_ms;	/* when to go on, or through them again */
	uint64_t	 void_look;
};

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

static void	refresh(struct master *, struct key *);

/* All are to be gone through, those too that the present round has passed. */
static void
look_anew(struct keys *ks, bool thorough)
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
				look_anew(g->keys, thorough);
}

/* ---- finding them ---- */

static size_t
bucket_of(const struct keys *ks, const char *text, size_t len)
{
	uint64_t h = UINT64_C(14695981039346656037);

	for (size_t i = 0; i < len; i++)
		h = (h ^ (uint8_t)text[i]) * UINT64_C(1099511628211);
	return (size_t)(h ^ h >> 32) & (ks->buckets_n - 1);
}

static void
grow(struct keys *ks)
{
	struct key **old = ks->buckets;
	size_t old_n = ks->buckets_n;

	ks->buckets_n = old_n != 0 ? old_n * 2 : 256;
	ks->buckets = xcalloc(ks->buckets_n, sizeof(*ks->buckets));
	for (size_t i = 0; i < old_n; i++) {
		struct key *k = old[i], *next;

		for (; k != NULL; k = next) {
			size_t b = bucket_of(ks, k->text, k->len);

			next = k->next;
			k->next = ks->buckets[b];
			ks->buckets[b] = k;
		}
	}
	free(old);
}

static struct key *
find(const struct keys *ks, const char *text, size_t len)
{
	struct key *k;

	if (ks->buckets_n == 0)
		return NULL;
	for (k = ks->buckets[bucket_of(ks, text, len)]; k != NULL; k = k->next)
		if (k->len == len && memcmp(k->text, text, len) == 0)
			return k;
	return NULL;
}

static struct key *
find_or_make(struct keys *ks, const char *text, size_t len)
{
	struct key *k = find(ks, text, len);
	size_t b;

	if (k != NULL)
		return k;
	if (ks->n >= ks->buckets_n)
		grow(ks);
	k = xcalloc(1, sizeof(*k) + len + 1);
	k->keys = ks;
	k->len = len;
	memcpy(k->text, text, len);
	TAILQ_INIT(&k->buf);
	/* None of it began since, or it would be known. */
	k->filled_ms = ks->since_ms;
	b = bucket_of(ks, text, len);
	k->next = ks->buckets[b];
	ks->buckets[b] = k;
	ks->n++;
	return k;
}

static void
forget(struct key *k)
{
	struct keys *ks = k->keys;
	struct key **p = &ks->buckets[bucket_of(ks, k->text, k->len)];

	while (*p != k)
		p = &(*p)->next;
	*p = k->next;
	ks->n--;
	free(k);
}

/* ---- those that wait for time to pass ---- */

static void
heap_put(struct keys *ks, size_t at, struct key *k)
{
	ks->heap[at - 1] = k;
	k->place = at;
}

static void
heap_move(struct keys *ks, struct key *k, size_t at)
{
	while (at > 1 && ks->heap[at / 2 - 1]->due_ms > k->due_ms) {
		heap_put(ks, at, ks->heap[at / 2 - 1]);
		at /= 2;
	}
	for (;;) {
		size_t child = at * 2;

		if (child < ks->heap_n && ks->heap[child]->due_ms < ks->heap[child - 1]->due_ms)
			child++;
		if (child > ks->heap_n || ks->heap[child - 1]->due_ms >= k->due_ms)
			break;
		heap_put(ks, at, ks->heap[child - 1]);
		at = child;
	}
	heap_put(ks, at, k);
}

static void
heap_add(struct master *m, struct key *k, int64_t due_ms)
{
	struct keys *ks = k->keys;

	if (ks->heap_n == ks->heap_cap) {
		ks->heap_cap = ks->heap_cap != 0 ? ks->heap_cap * 2 : 64;
		ks->heap = xreallocarray(ks->heap, ks->heap_cap, sizeof(*ks->heap));
	}
	k->due_ms = due_ms;
	ks->heap_n++;
	heap_move(ks, k, ks->heap_n);
	if (k->place == 1)
		limit_ask_at(m, due_ms);
}

static void
heap_remove(struct key *k)
{
	struct keys *ks = k->keys;
	struct key *last;
	size_t at = k->place;

	if (at == 0)
		return;
	k->place = 0;
	last = ks->heap[--ks->heap_n];
	if (last != k)
		heap_move(ks, last, at);
}

void
keyed_due(struct master *m, struct queue *q)
{
	struct gate *g;
	int64_t now = clock_ms();

	for (g = q->gates; g != NULL; g = g->next) {
		struct keys *ks = g->keys;

		if (ks == NULL)
			continue;
		while (ks->heap_n != 0 && ks->heap[0]->due_ms <= now)
			refresh(m, ks->heap[0]);
		if (ks->heap_n != 0)
			limit_ask_at(m, ks->heap[0]->due_ms);
	}
}

/* ---- what may be handed out ---- */

static int
key_limit(const struct task *t)
{
	return t->key_fifo ? 1 : t->key_limit;
}

static void
fill(struct key *k, int64_t now)
{
	const struct task *t = k->keys->gate->task;

	k->tokens += (double)(now - k->filled_ms) * t->key_rate_limit / (double)t->key_rate_ms;
	if (k->tokens > t->key_rate_burst)
		k->tokens = t->key_rate_burst;
	k->filled_ms = now;
}

static bool
has_slot(const struct key *k)
{
	int limit = key_limit(k->keys->gate->task);

	return limit == 0 || k->running < limit;
}

static bool
has_token(struct key *k)
{
	if (k->keys->gate->task->key_rate_limit == 0)
		return true;
	fill(k, clock_ms());
	return k->tokens >= 1;
}

/* When it has so many tokens. */
static int64_t
filled_at(const struct key *k, double tokens)
{
	const struct task *t = k->keys->gate->task;

	return k->filled_ms + (int64_t)((tokens - k->tokens) * (double)t->key_rate_ms / t->key_rate_limit) + 1;
}

static void
ring_leave(struct key *k)
{
	if (k->ring == NULL)
		return;
	TAILQ_REMOVE(&k->ring->ring, k, turn);
	k->ring = NULL;
	k->keys->ring_n--;
}

static void
want(struct key *k)
{
	if (k->wanted || k->asked)
		return;
	k->wanted = true;
	TAILQ_INSERT_TAIL(&k->keys->wanted, k, wish);
	k->keys->wanted_n++;
}

static void
want_no_more(struct key *k)
{
	if (!k->wanted)
		return;
	k->wanted = false;
	TAILQ_REMOVE(&k->keys->wanted, k, wish);
	k->keys->wanted_n--;
}

/* Puts it where it belongs; it may be gone then. Who stays in the ring keeps its place. */
static void
refresh(struct master *m, struct key *k)
{
	struct run *first = TAILQ_FIRST(&k->buf);
	bool token = has_token(k), slot = has_slot(k);
	struct lane *ring = first != NULL && token && slot ? first->lane : NULL;

	if (k->ring != ring)
		ring_leave(k);
	heap_remove(k);
	if (ring != NULL && k->ring == NULL) {
		k->ring = ring;
		TAILQ_INSERT_TAIL(&ring->ring, k, turn);
		k->keys->ring_n++;
	}
	/* It is found again the next time around. */
	if (k->keys->crowded && first == NULL && k->void_look != m->reader.look)
		k->more = false;
	if (k->more && token && k->buffered <= ROWS / 2)
		want(k);
	else if (!k->more)
		want_no_more(k);
	if (!token && (first != NULL || k->more))
		heap_add(m, k, filled_at(k, 1));
	else if (k->runs == 0 && !k->more && !k->asked && !(m->reader.busy && k->void_look == m->reader.look)) {
		/* What has begun of it lately must be known until that does not matter any more. */
		if (k->keys->gate->task->key_rate_limit != 0 && k->tokens < k->keys->gate->task->key_rate_burst)
			heap_add(m, k, filled_at(k, k->keys->gate->task->key_rate_burst));
		else
			forget(k);
	}
}

struct run *
keyed_first(const struct lane *l)
{
	struct key *k = TAILQ_FIRST(&l->ring);

	return k != NULL ? TAILQ_FIRST(&k->buf) : NULL;
}

/* ---- runs of a key ---- */

/* The first comes before the second. */
static bool
before(const struct run *a, const struct run *b)
{
	if (a->begun != b->begun)
		return a->begun;
	return a->lane->number < b->lane->number || (a->lane->number == b->lane->number && a->id < b->id);
}

/* That is read again when there is room. */
static void
drop_last(struct master *m, struct key *k)
{
	struct run *r = TAILQ_LAST(&k->buf, runlist);

	k->more = true;
	k->bounded = false;
	queue_unbuffer(m, r);
	run_free(m, r);
}

void
keyed_insert(struct master *m, struct run *r)
{
	struct key *k = r->key;
	struct keys *ks = k->keys;
	struct run *other = TAILQ_LAST(&k->buf, runlist);

	while (other != NULL && before(r, other))
		other = TAILQ_PREV(other, runlist, link);
	if (other != NULL)
		TAILQ_INSERT_AFTER(&k->buf, other, r, link);
	else
		TAILQ_INSERT_HEAD(&k->buf, r, link);
	k->buffered++;
	ks->rows++;
	ks->bytes += r->frame_len;
	refresh(m, k);
}

/* Somebody else's turn comes next. */
void
keyed_remove(struct master *m, struct run *r)
{
	struct key *k = r->key;

	TAILQ_REMOVE(&k->buf, r, link);
	k->buffered--;
	k->keys->rows--;
	k->keys->bytes -= r->frame_len;
	ring_leave(k);
	refresh(m, k);
}

void
keyed_begin(struct master *m, struct run *r)
{
	struct key *k = r->key;

	if (k == NULL)
		return;
	r->holds = true;
	k->running++;
	k->begun++;
	k->tokens -= 1;
	refresh(m, k);
}

/* It does not count any more. */
static void
let_go(struct master *m, struct run *r)
{
	if (!r->holds)
		return;
	r->holds = false;
	r->key->running--;
	refresh(m, r->key);
}

/* What is known to be ready of it is to be read anew, from its beginning. */
static void
start_over(struct master *m, struct key *k)
{
	k->more = true;
	k->bounded = false;
	if (m->reader.busy)
		k->void_look = m->reader.look;
	/* So that it stays. */
	k->runs++;
	while (!TAILQ_EMPTY(&k->buf))
		drop_last(m, k);
	k->runs--;
	refresh(m, k);
}

void
keyed_end(struct master *m, struct run *r)
{
	if (r->key != NULL && !r->task->key_fifo)
		let_go(m, r);
}

void
keyed_settled(struct master *m, struct run *r, bool over)
{
	struct key *k = r->key;

	if (k == NULL || !r->holds)
		return;
	r->holds = false;
	k->running--;
	if (over)
		refresh(m, k);
	else
		start_over(m, k);
}

void
keyed_put_back(struct master *m, struct run *r)
{
	if (r->key != NULL)
		let_go(m, r);
}

/* In their order nothing follows one that has left memory in another way than by its end: it may come first again. */
void
keyed_gone(struct master *m, struct run *r)
{
	struct key *k = r->key;
	bool again = r->task != NULL && r->task->key_fifo && (r->holds || r->state == RUN_PARKING);

	if (k == NULL)
		return;
	if (r->holds)
		k->running--;
	r->holds = false;
	r->key = NULL;
	k->runs--;
	if (again)
		start_over(m, k);
	else
		refresh(m, k);
}

void
keyed_hold(struct master *m, struct run *r)
{
	if (r->key != NULL && r->task->key_fifo)
		start_over(m, r->key);
}

bool
keyed_followed(const struct run *r)
{
	return r->holds && r->task->key_fifo && (r->key->buffered != 0 || r->key->more);
}

/* ---- all of them ---- */

typedef void (*each_cb)(struct master *, struct key *, void *);

static void
each(struct master *m, struct keys *ks, each_cb cb, void *arg)
{
	for (size_t i = 0; i < ks->buckets_n; i++) {
		struct key *k = ks->buckets[i], *next;

		for (; k != NULL; k = next) {
			/* So that it stays. */
			k->runs++;
			cb(m, k, arg);
			next = k->next;
			k->runs--;
			refresh(m, k);
		}
	}
}

static void
asked_no_more(struct key *k)
{
	if (!k->asked)
		return;
	k->asked = false;
	TAILQ_REMOVE(&k->keys->asking, k, wish);
}

static void
empty(struct master *m, struct key *k, void *arg)
{
	(void)arg;
	while (!TAILQ_EMPTY(&k->buf))
		drop_last(m, k);
	asked_no_more(k);
	k->more = false;
}

void
keyed_empty(struct master *m, struct gate *g)
{
	struct keys *ks = g->keys;

	if (ks == NULL)
		return;
	/* One that is under way, too, is out of date. */
	ks->void_look = m->reader.look;
	each(m, ks, empty, NULL);
	look_anew(ks, false);
}

static void
again(struct master *m, struct key *k, void *arg)
{
	(void)m;
	(void)k;
	(void)arg;
}

void
keyed_changed(struct master *m, const struct task *t)
{
	struct queue *q;
	struct gate *g;

	TAILQ_FOREACH(q, &m->queues, link)
		for (g = q->gates; g != NULL; g = g->next)
			if (g->task == t && g->keys != NULL && t->paused)
				keyed_empty(m, g);
			else if (g->task == t && g->keys != NULL)
				each(m, g->keys, again, NULL);
}

static void
expire(struct master *m, struct key *k, void *arg)
{
	struct run *r, *next;

	for (r = TAILQ_FIRST(&k->buf); r != NULL; r = next) {
		next = TAILQ_NEXT(r, link);
		if (r->expires_ms == 0 || clock_left_ms(m, r) > 0)
			continue;
		queue_unbuffer(m, r);
		*(bool *)arg |= queue_expired(m, r);
	}
}

bool
keyed_expire(struct master *m, struct queue *q)
{
	struct gate *g;
	bool some = false;

	for (g = q->gates; g != NULL; g = g->next)
		if (g->keys != NULL && g->keys->rows != 0)
			each(m, g->keys, expire, &some);
	return some;
}

static void
drain_bucket(struct master *m, struct key *k, void *arg)
{
	(void)m;
	k->tokens = 0;
	k->filled_ms = *(int64_t *)arg;
}

void
keyed_taken(struct master *m, struct gate *g)
{
	int64_t now = clock_ms();

	if (g->keys == NULL) {
		g->keys = xcalloc(1, sizeof(*g->keys));
		g->keys->gate = g;
		g->keys->row_bytes = ROW_BYTES_GUESS;
		TAILQ_INIT(&g->keys->wanted);
		TAILQ_INIT(&g->keys->asking);
		buf_init(&g->keys->cursor);
	}
	g->keys->since_ms = now;
	each(m, g->keys, drain_bucket, &now);
}

void
keyed_free(struct keys *ks)
{
	if (ks == NULL)
		return;
	for (size_t i = 0; i < ks->buckets_n; i++)
		while (ks->buckets[i] != NULL)
			forget(ks->buckets[i]);
	free(ks->buckets);
	free(ks->heap);
	buf_free(&ks->cursor);
	free(ks);
}

/* ---- looking ---- */

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
	most = limit_ahead(s, (size_t)q->fetch_batch);
	if (ks->ring_n >= most)
		return 0;
	most -= ks->ring_n;
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
			if (now - k->afresh_ms < (k->begun >= MANY ? AFRESH_MS : EVERY_MS) && (k->buffered != 0 || k->more || k->asked) &&
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
		want_no_more(k);
		k->asked = true;
		TAILQ_INSERT_TAIL(&ks->asking, k, wish);
		if (now - k->afresh_ms >= AFRESH_MS)
			k->bounded = false;
		k->limit = k->bounded ? ROWS - k->buffered : ROWS;
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
	rows = keys != 0 ? BYTES / ks->row_bytes / keys : ROWS;
	rows = rows > ROWS ? ROWS : rows != 0 ? rows : 1;
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

	if (k->buffered == 0 && k->ring == NULL && has_slot(k))
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
	struct key *k = find_or_make(ks, text, len);
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
		asked_no_more(k);
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
	while (k->buffered > ROWS) {
		drop_last(m, k);
		m->reader.found--;
	}
out:
	k->runs--;
	refresh(m, k);
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
		asked_no_more(k);
		k->more = k->void_look == asked->look;
		refresh(m, k);
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
