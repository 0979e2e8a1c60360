/*
 * Keys of a task: how many executions of one may run at once and may begin in some time, in their order or not, and that
 * keys take turns. Master.
 *
 * Keys of which something may be handed out stand in a ring, and take turns; of which nothing may, as too many of it run or
 * began lately, or as the one before has not ended yet, do not. Of keys of which nothing is buffered no more is kept than what
 * counts.
 *
 * In their order (FIFO): the next one of a key begins when the outcome of the one before is committed. If that was not the
 * end of it, what is buffered of the key is void, and whatever a look under way brings of it too.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "common/xmalloc.h"
#include "master/keyed.h"

/* Until rows were read: a guess on the safe side of what one takes. */
#define ROW_BYTES_GUESS	4096

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

struct key *
keyed_get(struct keys *ks, const char *text, size_t len)
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
	k->bucket.filled_ms = ks->since_ms;
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
			keyed_refresh(m, ks->heap[0]);
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

bool
keyed_has_slot(const struct key *k)
{
	int limit = key_limit(k->keys->gate->task);

	return limit == 0 || k->running < limit;
}

static bool
has_token(struct key *k)
{
	const struct rate *rate = &k->keys->gate->task->key_rate;

	if (rate->limit == 0)
		return true;
	bucket_fill(&k->bucket, rate, clock_ms());
	return k->bucket.tokens >= 1;
}

/* When it has so many tokens. */
static int64_t
filled_at(const struct key *k, double tokens)
{
	return bucket_has_at(&k->bucket, &k->keys->gate->task->key_rate, tokens);
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

void
keyed_want_no_more(struct key *k)
{
	if (!k->wanted)
		return;
	k->wanted = false;
	TAILQ_REMOVE(&k->keys->wanted, k, wish);
	k->keys->wanted_n--;
}

void
keyed_refresh(struct master *m, struct key *k)
{
	struct run *first = TAILQ_FIRST(&k->buf);
	bool token = has_token(k), slot = keyed_has_slot(k);
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
	if (k->more && token && k->buffered <= KEY_ROWS / 2)
		want(k);
	else if (!k->more)
		keyed_want_no_more(k);
	if (!token && (first != NULL || k->more))
		heap_add(m, k, filled_at(k, 1));
	else if (k->runs == 0 && !k->more && !k->asked && !(m->reader.busy && k->void_look == m->reader.look)) {
		/* What has begun of it lately must be known until that does not matter any more. */
		if (k->keys->gate->task->key_rate.limit != 0 && k->bucket.tokens < k->keys->gate->task->key_rate.burst)
			heap_add(m, k, filled_at(k, k->keys->gate->task->key_rate.burst));
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

void
keyed_drop_last(struct master *m, struct key *k)
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
	keyed_refresh(m, k);
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
	keyed_refresh(m, k);
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
	if (r->task->key_rate.limit != 0)
		k->bucket.tokens -= 1;
	keyed_refresh(m, k);
}

/* It does not count any more. */
static void
let_go(struct master *m, struct run *r)
{
	if (!r->holds)
		return;
	r->holds = false;
	r->key->running--;
	keyed_refresh(m, r->key);
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
		keyed_drop_last(m, k);
	k->runs--;
	keyed_refresh(m, k);
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
		keyed_refresh(m, k);
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
		keyed_refresh(m, k);
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
			keyed_refresh(m, k);
		}
	}
}

static void
empty(struct master *m, struct key *k, void *arg)
{
	(void)arg;
	while (!TAILQ_EMPTY(&k->buf))
		keyed_drop_last(m, k);
	keyed_asked_no_more(k);
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
	keyed_look_anew(ks, false);
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
	k->bucket = (struct bucket){ .filled_ms = *(int64_t *)arg };
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
