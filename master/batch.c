/*
 * Batches: executions of a task that are handed out together, by one RUN. Master.
 *
 * Which tasks take several at once their program says; how many, and how long the first waits for others, their options say. Runs
 * of such a task have a list of their own in each lane, so that those which wait for company are in nobody's way. A batch that was
 * put together takes one place, and one slot, until the last of its runs has ended.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "common/peer.h"
#include "common/xmalloc.h"
#include "master/master.h"
#include "proto/messages.h"

/* What a frame has besides the payloads that a single one could have. */
#define HEAD_BYTES	((size_t)512 << 10)
#define ITEM_BYTES	512	/* of one besides its payload and metadata */

struct batches {
	struct event	*timer;		/* the first run of some group has waited long enough */
	int64_t		 at_ms;		/* when; 0: it is not set */
};

/* Some runs of a task: those of a queue that wait to be handed out. */
struct group {
	struct task	*task;
	bool		 active;	/* its program takes several at once */
	size_t		 count, bytes;
	int64_t		 since_ms;	/* when the first of them was read */
};

/* Runs that were handed out together. */
struct pack {
	struct queue	*queue;
	struct runlist	 runs;		/* not with the worker yet */
	unsigned	 left;		/* not ended */
	unsigned	 pending;	/* not ready to be sent */
	bool		 gathered;	/* it is being sent, or was */
};

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct master *m = arg;

	(void)fd;
	(void)what;
	m->batches->at_ms = 0;
	queue_dispatch_all(m);
}

void
batches_init(struct master *m)
{
	m->batches = xcalloc(1, sizeof(*m->batches));
	m->batches->timer = evtimer_new(m->base, on_timer, m);
}

void
batches_free(struct master *m)
{
	event_free(m->batches->timer);
	free(m->batches);
}

/* ---- groups */

void
batch_free_groups(struct queue *q)
{
	for (int i = 0; i < q->groups_n; i++)
		free(q->groups[i]);
	free(q->groups);
}

static int
find(const struct queue *q, const struct task *t)
{
	for (int i = 0; i < q->groups_n; i++)
		if (q->groups[i]->task == t)
			return i;
	return -1;
}

void
batch_announced(struct master *m, struct queue *q, struct task *t, bool takes)
{
	int i = find(q, t);
	struct lane *l;

	if (i < 0 && !takes)
		return;
	if (i < 0) {
		q->groups = xreallocarray(q->groups, (size_t)q->groups_n + 1, sizeof(struct group *));
		i = q->groups_n++;
		q->groups[i] = xcalloc(1, sizeof(struct group));
		q->groups[i]->task = t;
	}
	if (q->groups[i]->active == takes)
		return;
	/* What is buffered is in other lists from now on. */
	TAILQ_FOREACH(l, &q->lanes, link)
		lane_empty(m, l);
	q->groups[i]->active = takes;
}

int
batch_list(const struct queue *q, const struct task *t)
{
	int i = find(q, t);

	return i >= 0 && q->groups[i]->active ? q->pools_n + i : -1;
}

int
batch_size(const struct queue *q, const struct task *t)
{
	return batch_list(q, t) >= 0 && t->batch_size > 1 ? t->batch_size : 1;
}

/* Of its item, about. */
static size_t
item_bytes(const struct run *r)
{
	return (r->large ? r->payload_len + (r->metadata != NULL ? strlen(r->metadata) : 0) : r->frame_len) + ITEM_BYTES;
}

void
batch_insert(struct queue *q, struct run *r)
{
	struct group *g = q->groups[r->list - q->pools_n];

	/* One that comes back has waited already. */
	if (r->read_ms == 0)
		r->read_ms = clock_ms();
	if (g->count == 0 || r->read_ms < g->since_ms)
		g->since_ms = r->read_ms;
	g->count++;
	g->bytes += item_bytes(r);
	q->grouped++;
}

void
batch_remove(struct queue *q, const struct run *r)
{
	struct group *g = q->groups[r->list - q->pools_n];

	g->count--;
	g->bytes -= item_bytes(r);
	q->grouped--;
}

static size_t
bytes_max(const struct master *m)
{
	return (size_t)m->max_payload + HEAD_BYTES;
}

/* What waits for company is most of what is buffered, and keeps the rest from being read. */
static bool
stuck(const struct queue *q)
{
	struct room ahead = { 0, 0 };
	const struct lane *l;

	if (q->grouped * 2 < q->count + q->limited)
		return false;
	TAILQ_FOREACH(l, &q->lanes, link)
		if (queue_lane_room(q, l, &ahead) == 0 && lane_more(l))
			return true;
	return false;
}

bool
batch_ripe(struct master *m, struct queue *q, int list)
{
	const struct group *g = q->groups[list - q->pools_n];
	const struct task *t = g->task;
	int64_t due = g->since_ms + t->batch_ms;

	if (g->count >= (size_t)batch_size(q, t) || g->bytes >= bytes_max(m) || t->paused || clock_ms() >= due || stuck(q))
		return true;
	clock_timer(m->batches->timer, &m->batches->at_ms, due);
	return false;
}

/* ---- putting one together */

/* The next one that may go with the first: of the highest priority, then the oldest. */
static struct run *
next_of(const struct queue *q, int list, const struct run *first)
{
	struct run *found = NULL;
	struct lane *l;

	TAILQ_FOREACH(l, &q->lanes, link) {
		struct run *r = list < l->buf_n ? TAILQ_FIRST(&l->buf[list]) : NULL;

		if (found != NULL && l->number != found->lane->number)
			break;
		if (r == NULL || r->pool != first->pool || l->shard->gate != first->shard->gate ||
		    (l->shard->gate != NULL && !l->shard->open))
			continue;
		if (found == NULL || queue_older(r, found))
			found = r;
	}
	return found;
}

static void
note_since(struct queue *q, int list)
{
	struct group *g = q->groups[list - q->pools_n];
	struct lane *l;
	int64_t since = INT64_MAX;

	TAILQ_FOREACH(l, &q->lanes, link)
		if (list < l->buf_n && !TAILQ_EMPTY(&l->buf[list]) && TAILQ_FIRST(&l->buf[list])->read_ms < since)
			since = TAILQ_FIRST(&l->buf[list])->read_ms;
	g->since_ms = since;
}

static void
add(struct master *m, struct pack *p, struct run *r)
{
	struct run *first = TAILQ_FIRST(&p->runs);

	/* It is one that begins, as far as limits go. */
	if (first == NULL)
		limit_begin(m, r);
	else
		limit_join(r, first);
	r->pack = p;
	/* It has no use for steps. */
	r->complete = true;
	TAILQ_INSERT_TAIL(&p->runs, r, link);
	p->left++;
}

static void	send_pack(struct master *, struct pack *);

static void
send_if_ready(struct master *m, struct pack *p)
{
	if (p->pending == 0 && !p->gathered)
		send_pack(m, p);
}

/* What each of them needs first. If the database is gone that ends them at once, and the batch with the last of them. */
static void
prepare(struct master *m, struct pack *p)
{
	struct run *r, *next;

	p->pending = p->left;
	for (r = TAILQ_FIRST(&p->runs); r != NULL; r = next) {
		next = TAILQ_NEXT(r, link);
		if (queue_notes(r)) {
			run_set_state(r, RUN_NOTING);
			note_run(m, r);
		} else if (fetch_needed(r)) {
			fetch_run(m, r);
		} else {
			run_set_state(r, RUN_GATHERED);
			p->pending--;
			send_if_ready(m, p);
		}
	}
}

/* Takes it from the buffer. False: not to be handed out. */
static bool
take(struct master *m, struct run *r)
{
	queue_unbuffer(m, r);
	if (queue_expired(m, r))
		return false;
	if (r->task->paused) {
		reader_park(m, r, PARK_PAUSED);
		return false;
	}
	return true;
}

void
batch_dispatch(struct master *m, struct queue *q, struct run *first)
{
	struct pack *p = xcalloc(1, sizeof(*p));
	const struct run head = *first;
	unsigned size = (unsigned)batch_size(q, first->task);
	size_t bytes = 0;
	struct run *r;

	p->queue = q;
	TAILQ_INIT(&p->runs);
	for (r = first; r != NULL && p->left < size; r = next_of(q, head.list, &head)) {
		bytes += item_bytes(r);
		if (p->left != 0 && bytes > bytes_max(m))
			break;
		if (take(m, r))
			add(m, p, r);
	}
	note_since(q, head.list);
	if (p->left == 0) {
		free(p);
		return;
	}
	q->outstanding++;
	q->pools[head.pool].slots--;
	prepare(m, p);
}

/* ---- sending */

void
batch_ready(struct master *m, struct run *r)
{
	struct pack *p = r->pack;

	if (!r->dropped && r->shard != NULL && fetch_needed(r)) {
		fetch_run(m, r);
		return;
	}
	run_set_state(r, RUN_GATHERED);
	p->pending--;
	send_if_ready(m, p);
}

static bool
may_be_sent(const struct run *r)
{
	return !r->dropped && r->shard != NULL && r->shard->state == SHARD_OWNED && r->queue->worker.state == WORKER_UP;
}

static unsigned
put_back(struct master *m, struct pack *p)
{
	struct run *r, *next;
	unsigned back = 0, n = p->left;

	for (r = TAILQ_FIRST(&p->runs); r != NULL; r = next) {
		next = TAILQ_NEXT(r, link);
		if (may_be_sent(r))
			continue;
		back++;
		queue_ended(m, r);
		run_put_back(m, r);
	}
	return n - back;
}

static void
fill_item(struct master *m, struct run *r, struct msg_item *item)
{
	static struct msg frame;
	struct msg_run run;

	run_open(m, r, &frame, &run);
	*item = (struct msg_item){
		.exec = r->exec, .id = run.id, .attempt = run.attempt, .token = run.token, .event = run.event,
		.has_deadline_ms = run.has_deadline_ms, .deadline_ms = run.deadline_ms, .metadata = run.metadata, .trace = run.trace,
	};
}

/* Those that were cancelled meanwhile, or lost, are left out. */
static void
send_pack(struct master *m, struct pack *p)
{
	struct queue *q = p->queue;
	struct msg_run msg = { .items_n = 0 };
	struct run *r;
	unsigned n;

	p->gathered = true;
	if ((n = put_back(m, p)) == 0)
		return;
	msg.items = xcalloc(n, sizeof(*msg.items));
	msg.task = pstr(TAILQ_FIRST(&p->runs)->task->name);
	TAILQ_FOREACH(r, &p->runs, link) {
		clock_sent(m, r);
		fill_item(m, r, &msg.items[msg.items_n++]);
	}
	msg_run_encode(peer_out(q->worker.peer), 0, &msg);
	free(msg.items);
	while ((r = TAILQ_FIRST(&p->runs)) != NULL) {
		TAILQ_REMOVE(&p->runs, r, link);
		run_set_state(r, RUN_SENT);
		TAILQ_INSERT_TAIL(&q->sent, r, link);
		run_forget_payload(r);
	}
	peer_flush(q->worker.peer);
}

bool
batch_ended(struct master *m, struct run *r)
{
	struct pack *p = r->pack;

	r->pack = NULL;
	if (r->state != RUN_SENT) {
		TAILQ_REMOVE(&p->runs, r, link);
		p->pending -= r->state != RUN_GATHERED;
	}
	if (--p->left == 0) {
		free(p);
		return true;
	}
	/* It still runs, as far as limits go. */
	r->gate = NULL;
	send_if_ready(m, p);
	return false;
}
