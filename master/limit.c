/*
 * Limits of tasks: how many executions of one may run at once, and how many may begin in some time, on all nodes
 * together. Master.
 *
 * A limited task has a shard of its own in each queue, so that one node has all of it, and counts in memory. What is counted
 * is what the worker has been given, whichever shard that was read from, until it is known to have ended: a shard may be
 * lost while its runs still go on here. Before the first of such a shard is handed out, all nodes must have said that they
 * run none of that task from anywhere else.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "common/log.h"
#include "common/xmalloc.h"
#include "master/master.h"

/* So many more than may run are read ahead, so that the next one is there when one ends. */
#define READ_AHEAD	16
/* A window that opens later is looked at before: clocks may differ by then. */
#define TURN_MAX_MS	3600000

struct limits {
	struct event	*timer;		/* the next execution may begin somewhere */
	int64_t		 at_ms;		/* when; 0: it is not set */
	struct event	*turn;		/* the next window opens or closes */
	int64_t		 turn_ms;	/* when; 0: it is not set */
	bool		 loaded;	/* what the tasks say has been read once */
	bool		 said;		/* that was told, on this attachment */
	char		*seen;		/* what it was read with, to be told; NULL: it was */
	bool		 sent;		/* that was sent */
	int		 unanswered;	/* what was before it, too */
};

static const struct db_stmt stmt_obey = { "obey", "select pgconductor.obey($1::int, $2::text)" };

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct master *m = arg;
	struct queue *q;

	(void)fd;
	(void)what;
	m->limits->at_ms = 0;
	TAILQ_FOREACH(q, &m->queues, link)
		keyed_due(m, q);
	queue_dispatch_all(m);
}

static void
on_turn(evutil_socket_t fd, short what, void *arg)
{
	struct master *m = arg;

	(void)fd;
	(void)what;
	m->limits->turn_ms = 0;
	task_load(m);
}

void
limit_init(struct master *m)
{
	m->limits = xcalloc(1, sizeof(*m->limits));
	m->limits->turn = evtimer_new(m->base, on_turn, m);
	m->limits->timer = evtimer_new(m->base, on_timer, m);
}

void
limit_free(struct master *m)
{
	event_free(m->limits->timer);
	event_free(m->limits->turn);
	free(m->limits->seen);
	free(m->limits);
}

/* ---- counting ---- */

struct gate *
limit_gate(struct queue *q, struct task *t)
{
	struct gate *g;

	for (g = q->gates; g != NULL; g = g->next)
		if (g->task == t)
			return g;
	g = xcalloc(1, sizeof(*g));
	g->task = t;
	g->next = q->gates;
	q->gates = g;
	return g;
}

void
limit_free_gates(struct queue *q)
{
	struct gate *g;

	while ((g = q->gates) != NULL) {
		q->gates = g->next;
		keyed_free(g->keys);
		free(g);
	}
}

/* What the former owner has let begin lately is not known: as if it was all that may. */
void
limit_taken(struct master *m, struct gate *g)
{
	keyed_taken(m, g);
	g->bucket = (struct bucket){ .filled_ms = clock_ms() };
}

void
limit_ask_at(struct master *m, int64_t at_ms)
{
	clock_timer(m->limits->timer, &m->limits->at_ms, at_ms);
}

bool
limit_allows(struct master *m, const struct shard *s)
{
	struct gate *g = s->gate;
	const struct task *t;

	if (g == NULL)
		return true;
	t = g->task;
	if (!s->open || t->closed || (t->keyed && t->paused) || (t->concurrency != 0 && g->running >= t->concurrency))
		return false;
	if (t->rate.limit == 0)
		return true;
	bucket_fill(&g->bucket, &t->rate, clock_ms());
	if (g->bucket.tokens >= 1)
		return true;
	limit_ask_at(m, bucket_has_at(&g->bucket, &t->rate, 1));
	return false;
}

void
limit_begin(struct master *m, struct run *r)
{
	struct gate *g = r->shard->gate;

	r->gate_xid = g != NULL ? g->task->limited_xid : 0;
	if (g == NULL)
		return;
	r->gate = g;
	g->running++;
	if (g->task->rate.limit != 0)
		g->bucket.tokens -= 1;
	keyed_begin(m, r);
}

void
limit_join(struct run *r, const struct run *first)
{
	r->gate = first->gate;
	r->gate_xid = first->gate_xid;
}

void
limit_end(struct master *m, struct run *r)
{
	if (r->gate == NULL)
		return;
	r->gate->running--;
	r->gate = NULL;
	keyed_end(m, r);
}

size_t
limit_ahead(const struct shard *s, size_t most)
{
	const struct task *t = s->gate->task;
	double n = (double)most, each = batch_size(s->queue, t);

	if (t->closed)
		return 0;
	if (t->concurrency != 0 && t->concurrency * each * 2 + READ_AHEAD < n)
		n = t->concurrency * each * 2 + READ_AHEAD;
	if (t->rate.limit != 0 && (t->rate.burst + t->rate.limit * 1000.0 / (double)t->rate.ms) * each + READ_AHEAD < n)
		n = (t->rate.burst + t->rate.limit * 1000.0 / (double)t->rate.ms) * each + READ_AHEAD;
	return (size_t)n;
}

bool
limit_running(const struct master *m)
{
	const struct queue *q;
	const struct gate *g;

	TAILQ_FOREACH(q, &m->queues, link)
		for (g = q->gates; g != NULL; g = g->next)
			if (g->running != 0)
				return true;
	return false;
}

/* ---- who is where ---- */

bool
limit_strays(const struct task *t, const struct shard *s, bool keyed)
{
	if (t->limited_xid == 0)
		return s->gate != NULL;
	return s->gate == NULL || s->gate->task != t || keyed != t->keyed;
}

bool
limit_loaded(const struct master *m)
{
	return m->limits->loaded;
}

bool
limit_set(struct master *m, struct task *t, uint64_t limited_xid)
{
	struct shard *s;

	if (t->limited_xid == limited_xid)
		return false;
	t->limited_xid = limited_xid;
	/* Whether it runs elsewhere is to be asked anew. */
	TAILQ_FOREACH(s, &m->shards, link)
		if (s->gate != NULL && s->gate->task == t)
			s->open = false;
	return true;
}

bool
limit_halts(const struct run *r)
{
	return r->gate != NULL && r->gate->task->closed;
}

static void
close_window(struct master *m, const struct task *t)
{
	struct queue *q;
	struct lane *l;
	struct run *r;

	TAILQ_FOREACH(q, &m->queues, link) {
		TAILQ_FOREACH(l, &q->lanes, link)
			if (l->shard->gate != NULL && l->shard->gate->task == t)
				lane_empty(m, l);
		TAILQ_FOREACH(r, &q->sent, link)
			if (r->gate != NULL && r->gate->task == t)
				worker_leave(r);
	}
}

void
limit_window(struct master *m, struct task *t, bool closed, int64_t turns_ms)
{
	struct limits *st = m->limits;

	if (closed != t->closed) {
		log_info("task %s: its window %s", t->name, closed ? "has closed" : "is open");
		t->closed = closed;
		if (closed)
			close_window(m, t);
		wake_up(m);
	}
	clock_timer(st->turn, &st->turn_ms, clock_ms() + (turns_ms < TURN_MAX_MS ? turns_ms : TURN_MAX_MS) + 1);
}

void
limit_known(struct master *m, bool changed, const char *seen)
{
	struct limits *st = m->limits;
	struct queue *q;
	struct lane *l;

	if (changed || !st->said) {
		free(st->seen);
		st->seen = xstrdup(seen);
		st->sent = false;
	}
	/* What is buffered may belong elsewhere by now: that is found when it is read. */
	if (changed && st->loaded) {
		TAILQ_FOREACH(q, &m->queues, link)
			TAILQ_FOREACH(l, &q->lanes, link)
				lane_empty(m, l);
	}
	if (changed || !st->loaded) {
		st->loaded = true;
		shard_balance(m);
		wake_up(m);
	}
	limit_tick(m);
}

void
limit_attached(struct master *m)
{
	m->limits->said = false;
	if (m->limits->loaded)
		task_load(m);
}

static void
said(const struct db_answer *a, void *arg)
{
	struct limits *st = ((struct master *)arg)->limits;

	/* Something else is to be said by now. */
	if (--st->unanswered != 0 || !st->sent)
		return;
	st->sent = false;
	if (a->outcome == DB_ERROR)
		log_warnx("telling which limits are known here: %s", a->message);
	if (a->outcome != DB_OK)
		return;
	st->said = true;
	free(st->seen);
	st->seen = NULL;
}

static void
find_stray(struct master *m, struct run *r, void *arg)
{
	(void)m;
	if ((r->state == RUN_FETCHING || r->state == RUN_NOTING || r->state == RUN_GATHERED || r->state == RUN_SENT ||
	    r->state == RUN_SETTLING) && r->task->limited_xid != 0 && r->gate_xid != r->task->limited_xid)
		*(bool *)arg = true;
}

/* Once nothing that was handed out before a task was limited still runs, that is told. */
void
limit_tick(struct master *m)
{
	struct limits *st = m->limits;
	struct params p;
	bool some = false;

	if (st->seen == NULL || st->sent || m->node == 0 || !db_ready(m->control))
		return;
	run_each(m, find_stray, &some);
	if (some)
		return;
	st->sent = true;
	st->unanswered++;
	params_init(&p);
	param_int4(&p, m->node);
	param_str(&p, st->seen);
	db_call(m->control, &stmt_obey, &p, said, m);
	params_free(&p);
}
