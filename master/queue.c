/*
 * Ready runs waiting for a worker, and handing them out. Master.
 *
 * Each lane has a list for each pool of its queue's worker, so that a program that is full does not stand in the way
 * of another one. What is handed out next is the highest priority (lowest lane), then the oldest.
 */
#include "config.h"

#include <stdlib.h>

#include "common/log.h"
#include "common/peer.h"
#include "common/xmalloc.h"
#include "master/master.h"
#include "proto/messages.h"

/* A queue's buffer. The count keeps one lane's rows for each shard at the default number of shards. */
#define BUFFER_LANES	4
#define BUFFER_BYTES	((size_t)16 << 20)
/* Frames for a worker that does not read; a large payload may exceed it once. */
#define LINK_BYTES	((size_t)4 << 20)

struct queue *
queue_find(struct master *m, const char *name)
{
	struct queue *q;

	TAILQ_FOREACH(q, &m->queues, link)
		if (strcmp(q->name, name) == 0)
			return q;
	return NULL;
}

struct queue *
queue_new(struct master *m, const char *name)
{
	struct queue *q = xcalloc(1, sizeof(*q));

	q->master = m;
	q->name = xstrdup(name);
	q->index = m->queues_n++;
	TAILQ_INIT(&q->lanes);
	TAILQ_INIT(&q->sent);
	return q;
}

static void
free_pools(struct pool *pools, int n)
{
	for (int i = 0; i < n; i++) {
		task_forget_pool(&pools[i]);
		free(pools[i].name);
	}
	free(pools);
}

void
queue_free(struct master *m, struct queue *q)
{
	struct lane *l;

	while ((l = TAILQ_FIRST(&q->lanes)) != NULL)
		lane_free(m, l);
	free_pools(q->pools, q->pools_n);
	limit_free_gates(q);
	batch_free_groups(q);
	free(q->name);
	free(q);
}

/* What a program of the same name announced before holds until it announces again. */
static void
pool_inherit(struct pool *pool, struct pool *old, int old_n)
{
	for (int i = 0; i < old_n; i++) {
		if (strcmp(old[i].name, pool->name) != 0 || old[i].command != pool->command)
			continue;
		pool->announced = old[i].announced;
		pool->tasks = old[i].tasks;
		pool->tasks_n = old[i].tasks_n;
		old[i].tasks = NULL;
		old[i].tasks_n = 0;
	}
}

/*
 * The worker's pools are numbered anew. Buffered runs are read again: which pool takes them may have changed. Slots
 * of the former pools are void; the worker tells the new ones.
 */
void
queue_set_pools(struct master *m, struct queue *q, int n, const char *const *names,
    const bool *commands)
{
	struct pool *old = q->pools;
	int old_n = q->pools_n;
	struct lane *l;

	TAILQ_FOREACH(l, &q->lanes, link) {
		lane_empty(m, l);
		free(l->buf);
		l->buf = NULL;
		l->buf_n = 0;
	}
	for (int i = 0; i < TASK_BUCKETS; i++)
		for (struct task *t = m->tasks[i]; t != NULL; t = t->next)
			task_set_pool(t, q, -1);
	q->pools = xcalloc((size_t)n, sizeof(*q->pools));
	q->pools_n = n;
	for (int i = 0; i < n; i++) {
		q->pools[i].name = xstrdup(names[i]);
		q->pools[i].command = commands[i];
		pool_inherit(&q->pools[i], old, old_n);
		for (int t = 0; t < q->pools[i].tasks_n; t++) {
			struct task *task = task_get(m, q->pools[i].tasks[t].name, strlen(q->pools[i].tasks[t].name));

			/* What two programs have announced goes to the former. */
			if (task_pool(task, q) >= 0)
				continue;
			task_set_pool(task, q, i);
			batch_announced(m, q, task, q->pools[i].tasks[t].batch);
		}
	}
	free_pools(old, old_n);
	q->ready = task_pools_known(q);
}

/* Nothing is kept in memory of a paused one: it may be long. */
void
queue_set_paused(struct master *m, struct queue *q, bool paused)
{
	struct lane *l;

	if (q->paused == paused)
		return;
	log_info("queue %s: %s", q->name, paused ? "paused" : "resumed");
	q->paused = paused;
	if (paused)
		TAILQ_FOREACH(l, &q->lanes, link)
			lane_empty(m, l);
	else
		wake_up(m);
}

bool
queue_older(const struct run *a, const struct run *b)
{
	if (a->age != b->age)
		return a->age < b->age;
	return a->due < b->due || (a->due == b->due && a->id < b->id);
}

bool
queue_notes(const struct run *r)
{
	return !r->noted && (r->attempt > 1 || run_doubtful(r));
}

static void
lane_lists(struct lane *l, const struct queue *q)
{
	int n = q->pools_n + q->groups_n;
	struct runlist *buf;

	if (l->buf_n == n)
		return;
	/* Only an empty lane meets a new number of pools; groups come at the end. */
	buf = xcalloc((size_t)n, sizeof(*buf));
	for (int i = 0; i < n; i++)
		TAILQ_INIT(&buf[i]);
	for (int i = 0; i < l->buf_n; i++)
		TAILQ_CONCAT(&buf[i], &l->buf[i], link);
	free(l->buf);
	l->buf = buf;
	l->buf_n = n;
}

/* The tail of the lane that matters least gives way; what was evicted will be read again. */
static void
evict(struct master *m, struct queue *q)
{
	struct lane *l, *last = NULL;
	struct run *victim = NULL;

	TAILQ_FOREACH(l, &q->lanes, link)
		if (l->count != 0 && l->shard->gate == NULL)
			last = l;
	if (last == NULL)
		return;
	for (int i = 0; i < last->buf_n; i++) {
		struct run *r = TAILQ_LAST(&last->buf[i], runlist);

		if (r != NULL && (victim == NULL || queue_older(victim, r)))
			victim = r;
	}
	lane_unread(victim);
	queue_unbuffer(m, victim);
	run_free(m, victim);
}

/* The run's shard is known, its pool too; it goes where its age puts it, which is nearly always the end. */
void
queue_insert(struct master *m, struct run *r)
{
	struct queue *q = r->queue;
	struct lane *l = r->lane;
	struct run *before;

	if (r->key != NULL) {
		l->count++;
		l->bytes += r->frame_len;
		q->limited++;
		r->list = r->pool;
		keyed_insert(m, r);
		return;
	}
	lane_lists(l, q);
	r->list = batch_list(q, r->task);
	if (r->list >= 0)
		batch_insert(q, r);
	else
		r->list = r->pool;
	before = TAILQ_LAST(&l->buf[r->list], runlist);
	while (before != NULL && queue_older(r, before))
		before = TAILQ_PREV(before, runlist, link);
	if (before != NULL)
		TAILQ_INSERT_AFTER(&l->buf[r->list], before, r, link);
	else
		TAILQ_INSERT_HEAD(&l->buf[r->list], r, link);
	l->count++;
	l->bytes += r->frame_len;
	if (l->shard->gate != NULL) {
		q->limited++;
		return;
	}
	q->count++;
	q->bytes += r->frame_len;
	while (q->count > (size_t)q->fetch_batch * BUFFER_LANES || (q->bytes > BUFFER_BYTES && q->count > 1))
		evict(m, q);
}

void
queue_unbuffer(struct master *m, struct run *r)
{
	struct queue *q = r->queue;
	struct lane *l = r->lane;

	l->count--;
	l->bytes -= r->frame_len;
	if (r->key != NULL) {
		q->limited--;
		keyed_remove(m, r);
		return;
	}
	TAILQ_REMOVE(&l->buf[r->list], r, link);
	if (r->list >= q->pools_n)
		batch_remove(q, r);
	if (l->shard->gate != NULL) {
		q->limited--;
		return;
	}
	q->count--;
	q->bytes -= r->frame_len;
}

/* How much of a lane is to be buffered. */
static size_t
lane_batch(const struct queue *q, const struct lane *l)
{
	return l->shard->gate != NULL ? limit_ahead(l->shard, (size_t)q->fetch_batch) : (size_t)q->fetch_batch;
}

/* What a lane may read of what is left of the buffer behind that. */
static int
lane_room(const struct queue *q, const struct lane *l, const struct room *ahead)
{
	size_t room, bytes, all = (size_t)q->fetch_batch * BUFFER_LANES, batch = lane_batch(q, l);

	if (!q->ready || q->paused || l->count >= batch || l->bytes >= BUFFER_BYTES / BUFFER_LANES ||
	    ahead->count >= all || ahead->bytes >= BUFFER_BYTES)
		return 0;
	room = batch - l->count;
	if (room > all - ahead->count)
		room = all - ahead->count;
	bytes = BUFFER_BYTES / BUFFER_LANES - l->bytes;
	if (bytes > BUFFER_BYTES - ahead->bytes)
		bytes = BUFFER_BYTES - ahead->bytes;
	if (l->row_bytes != 0 && room * l->row_bytes > bytes)
		room = bytes / l->row_bytes + 1;
	return (int)room;
}

/*
 * Asked in the order of the lanes, so that what matters less is not read only to be evicted: a full queue still reads
 * lanes that matter more than what it holds.
 */
int
queue_lane_room(const struct queue *q, const struct lane *l, struct room *ahead)
{
	struct room none = { 0, 0 };
	int room;

	/* What is limited is read a little ahead, and takes no room from the others. */
	if (l->shard->gate != NULL)
		return lane_room(q, l, &none);
	ahead->count += l->count;
	ahead->bytes += l->bytes;
	room = lane_room(q, l, ahead);
	/* Nothing is known to wait in the other lanes. */
	if (lane_more(l)) {
		ahead->count += (size_t)room;
		ahead->bytes += (size_t)room * l->row_bytes;
	}
	return room;
}

bool
queue_hungry(const struct queue *q)
{
	struct room ahead = { 0, 0 };
	const struct lane *l;

	if (keyed_hungry(q->master, q))
		return true;
	TAILQ_FOREACH(l, &q->lanes, link) {
		size_t most = BUFFER_BYTES / BUFFER_LANES / (l->row_bytes + 1) + 1;
		size_t room = (size_t)queue_lane_room(q, l, &ahead);

		/* Not for a few: each poll has its price. */
		if (most > lane_batch(q, l))
			most = lane_batch(q, l);
		if (lane_more(l) && l->count <= lane_batch(q, l) / 2 && room != 0 && room >= most / 4)
			return true;
	}
	return false;
}

static struct run *
best(struct queue *q)
{
	struct run *found = NULL, *keyed;
	struct lane *l;

	TAILQ_FOREACH(l, &q->lanes, link) {
		/* Lanes are in the order of priority: once a run is found only the same priority can be better. */
		if (found != NULL && l->number != found->lane->number)
			break;
		if (l->count == 0 || !limit_allows(q->master, l->shard))
			continue;
		keyed = keyed_first(l);
		if (keyed != NULL && q->pools[keyed->pool].slots > 0 && (found == NULL || queue_older(keyed, found)))
			found = keyed;
		for (int i = 0; i < l->buf_n; i++) {
			struct run *r = TAILQ_FIRST(&l->buf[i]);

			if (r != NULL && q->pools[r->pool].slots > 0 && (found == NULL || queue_older(r, found)) &&
			    (i < q->pools_n || batch_ripe(q->master, q, i)))
				found = r;
		}
	}
	return found;
}

static void
send_run(struct master *m, struct queue *q, struct run *r)
{
	run_set_state(r, RUN_SENT);
	clock_sent(m, r);
	if (r->expires_ms != 0 && !r->journal)
		run_refit(m, r, NULL, 0, false);
	TAILQ_INSERT_TAIL(&q->sent, r, link);
	buf_add(peer_out(q->worker.peer), r->frame, r->frame_len);
	run_forget_payload(r);
}

/* The time for all of its attempts is over. */
bool
queue_expired(struct master *m, struct run *r)
{
	static const char error[] = "{\"code\":\"timeout\",\"message\":\"the time it may take in all is over\"}";

	if (r->expires_ms == 0 || clock_left_ms(m, r) > 0)
		return false;
	r->sent_ms = clock_ms();
	report_failed(m, r, &(struct msg_fail){ .code = pstr("timeout"), .message = pstr("the time it may take in all is over"),
	    .has_retry = true });
	settle_add(m, r, OUTCOME_FAILED, error, sizeof(error) - 1, false, -1);
	return true;
}

/* A dispatched run that had to wait for its payload, its steps or its note; after the last of several, fetch_flush. */
void
queue_send_later(struct master *m, struct run *r)
{
	struct queue *q = r->queue;

	if (r->pack != NULL) {
		batch_ready(m, r);
		return;
	}
	if (r->dropped || r->shard == NULL || r->shard->state != SHARD_OWNED || q->worker.state != WORKER_UP) {
		queue_ended(m, r);
		run_put_back(m, r);
		return;
	}
	if (fetch_needed(r)) {
		fetch_run(m, r);
		return;
	}
	send_run(m, q, r);
	peer_flush(q->worker.peer);
}

static bool
may_send(struct master *m, struct queue *q)
{
	return q->worker.state == WORKER_UP && q->outstanding < q->concurrency && !m->stopping && !q->retiring && !q->paused &&
	    peer_pending(q->worker.peer) + q->fetching < LINK_BYTES;
}

void
queue_dispatch(struct master *m, struct queue *q)
{
	struct run *r;
	bool sent = false, ended = false, parked = false;

	if (q->count + q->limited == 0 || !node_may_dispatch(m) || settle_full(m))
		goto out;
	while (may_send(m, q) && (r = best(q)) != NULL) {
		if (r->list >= q->pools_n) {
			batch_dispatch(m, q, r);
			ended = parked = true;
			continue;
		}
		queue_unbuffer(m, r);
		if (queue_expired(m, r)) {
			ended = true;
			continue;
		}
		if (r->task->paused) {
			reader_park(m, r, PARK_PAUSED);
			parked = true;
			continue;
		}
		q->outstanding++;
		limit_begin(m, r);
		q->pools[r->pool].slots--;
		if (queue_notes(r)) {
			run_set_state(r, RUN_NOTING);
			note_run(m, r);
		} else if (r->large || r->journal) {
			fetch_run(m, r);
		} else {
			send_run(m, q, r);
			sent = true;
		}
	}
	if (sent)
		peer_flush(q->worker.peer);
	if (ended)
		settle_flush(m);
	if (parked)
		reader_park_flush(m);
	note_flush(m);
	fetch_flush(m);
out:
	if (queue_hungry(q))
		reader_poll(m);
}

void
queue_dispatch_all(struct master *m)
{
	struct queue *q;

	TAILQ_FOREACH(q, &m->queues, link)
		queue_dispatch(m, q);
}

static bool
expire_list(struct master *m, struct runlist *list)
{
	struct run *r, *next;
	bool some = false;

	for (r = TAILQ_FIRST(list); r != NULL; r = next) {
		next = TAILQ_NEXT(r, link);
		if (r->expires_ms == 0 || clock_left_ms(m, r) > 0)
			continue;
		queue_unbuffer(m, r);
		some |= queue_expired(m, r);
	}
	return some;
}

/* However long what stands before it may take. */
void
queue_expire_all(struct master *m)
{
	struct queue *q;
	struct lane *l;
	bool some = false;

	if (!node_may_dispatch(m) || settle_full(m))
		return;
	TAILQ_FOREACH(q, &m->queues, link) {
		TAILQ_FOREACH(l, &q->lanes, link)
			for (int i = 0; l->count != 0 && i < l->buf_n; i++)
				some |= expire_list(m, &l->buf[i]);
		some |= keyed_expire(m, q);
	}
	if (some)
		settle_flush(m);
}

void
queue_ended(struct master *m, struct run *r)
{
	struct queue *q = r->queue;

	if (r->state == RUN_SENT)
		TAILQ_REMOVE(&q->sent, r, link);
	if (r->pack != NULL && !batch_ended(m, r))
		return;
	if (r->state != RUN_SENT && r->pool >= 0 && r->pool < q->pools_n)
		/* The worker never saw it: only we know that its slot is free again. */
		q->pools[r->pool].slots++;
	q->outstanding--;
	limit_end(m, r);
}
