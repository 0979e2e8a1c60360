/*
 * Tasks: what the tasks table says of them, who serves them here, and telling the database that. Master.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/log.h"
#include "common/xmalloc.h"
#include "master/master.h"
#include "proto/declared.h"
#include "proto/messages.h"

static const struct db_stmt stmt_load = { "load_tasks",
	"select name, timeout_ms, keep_complete, keep_fail, max_attempts, limited_xid, concurrency, rate_limit, rate_ms, rate_burst,"
	" closed, turns_ms, seen, paused, key_path, key_limit, key_fifo, key_rate_limit, key_rate_ms, key_rate_burst,"
	" batch_size, batch_ms from pgconductor.load_tasks()" };
static const struct db_stmt stmt_queues = { "load_queues", "select name, paused from pgconductor.load_queues()" };
/* How long the first of a batch waits if nobody says; as in set_sources. */
#define BATCH_MS	1000

enum { COL_NAME, COL_TIMEOUT, COL_KEEP, COL_KEEP_FAIL, COL_ATTEMPTS, COL_LIMITED, COL_CONCURRENCY, COL_RATE, COL_RATE_MS,
	COL_BURST, COL_CLOSED, COL_TURNS, COL_SEEN, COL_PAUSED, COL_KEY_PATH, COL_KEY_LIMIT, COL_KEY_FIFO, COL_KEY_RATE, COL_KEY_RATE_MS,
	COL_KEY_BURST, COL_BATCH, COL_BATCH_MS };

static const struct db_stmt stmt_serve = { "serve", "select pgconductor.serve($1::int, $2::text[], $3::text[])" };

static size_t
bucket_of(const char *name, size_t len)
{
	uint32_t h = 2166136261u;

	for (size_t i = 0; i < len; i++)
		h = (h ^ (uint8_t)name[i]) * 16777619u;
	return h % TASK_BUCKETS;
}

struct task *
task_get(struct master *m, const char *name, size_t len)
{
	struct task **bucket = &m->tasks[bucket_of(name, len)];
	struct task *t;

	for (t = *bucket; t != NULL; t = t->next)
		if (strncmp(t->name, name, len) == 0 && t->name[len] == '\0')
			return t;
	t = xcalloc(1, sizeof(*t));
	t->name = xstrndup(name, len);
	t->keep = t->keep_fail = true;
	t->next = *bucket;
	*bucket = t;
	return t;
}

int
task_pool(const struct task *t, const struct queue *q)
{
	return q->index < t->pool_n ? t->pool[q->index] : -1;
}

void
task_set_pool(struct task *t, const struct queue *q, int pool)
{
	if (q->index >= t->pool_n) {
		if (pool < 0)
			return;
		t->pool = xreallocarray(t->pool, (size_t)q->index + 1, sizeof(*t->pool));
		while (t->pool_n <= q->index)
			t->pool[t->pool_n++] = -1;
	}
	t->pool[q->index] = (int16_t)pool;
}

void
task_free_all(struct master *m)
{
	for (int i = 0; i < TASK_BUCKETS; i++) {
		struct task *t, *next;

		for (t = m->tasks[i]; t != NULL; t = next) {
			next = t->next;
			free(t->name);
			free(t->waits);
			free(t->key_path);
			free(t->pool);
			free(t);
		}
		m->tasks[i] = NULL;
	}
}

static int
number_or_0(const struct db_answer *a, int i, int col)
{
	return db_null(a, i, col) ? 0 : db_int4(a, i, col);
}

static void
load_key(struct master *m, struct task *t, const struct db_answer *a, int i)
{
	free(t->key_path);
	t->keyed = !db_null(a, i, COL_KEY_PATH);
	t->key_path = t->keyed ? xstrdup(db_text(a, i, COL_KEY_PATH, NULL)) : NULL;
	t->key_fifo = db_bool(a, i, COL_KEY_FIFO);
	t->key_limit = number_or_0(a, i, COL_KEY_LIMIT);
	t->key_rate.limit = number_or_0(a, i, COL_KEY_RATE);
	t->key_rate.ms = db_null(a, i, COL_KEY_RATE_MS) ? 1000 : db_int8(a, i, COL_KEY_RATE_MS);
	t->key_rate.burst = number_or_0(a, i, COL_KEY_BURST);
	keyed_changed(m, t);
}

/* True if it is limited now and was not, or the other way about. */
static bool
load_one(struct master *m, const struct db_answer *a, int i, bool *resumed)
{
	size_t len;
	const char *name = db_text(a, i, COL_NAME, &len);
	struct task *t = task_get(m, name, len);

	t->timeout_ms = db_null(a, i, COL_TIMEOUT) ? 0 : (uint64_t)db_int8(a, i, COL_TIMEOUT);
	t->keep = db_bool(a, i, COL_KEEP);
	t->keep_fail = db_bool(a, i, COL_KEEP_FAIL);
	t->max_attempts = (uint32_t)db_int4(a, i, COL_ATTEMPTS);
	if (t->paused != db_bool(a, i, COL_PAUSED)) {
		log_info("task %s: %s", t->name, t->paused ? "resumed" : "paused");
		*resumed |= t->paused;
		t->paused = !t->paused;
	}
	t->concurrency = number_or_0(a, i, COL_CONCURRENCY);
	t->rate.limit = number_or_0(a, i, COL_RATE);
	t->rate.ms = db_null(a, i, COL_RATE_MS) ? 1000 : db_int8(a, i, COL_RATE_MS);
	t->rate.burst = number_or_0(a, i, COL_BURST);
	load_key(m, t, a, i);
	if (!db_null(a, i, COL_BATCH)) {
		t->batch_size = db_int4(a, i, COL_BATCH);
		t->batch_ms = db_int8(a, i, COL_BATCH_MS);
	}
	if (!db_null(a, i, COL_TURNS))
		limit_window(m, t, db_bool(a, i, COL_CLOSED), db_int8(a, i, COL_TURNS));
	else
		t->closed = false;
	return limit_set(m, t, db_null(a, i, COL_LIMITED) ? 0 : db_xid8(a, i, COL_LIMITED));
}

static void
loaded(const struct db_answer *a, void *arg)
{
	struct master *m = arg;
	const char *seen = NULL;
	bool changed = false;
	bool resumed = false;

	if (a->outcome == DB_ERROR)
		log_warnx("reading the tasks: %s", a->message);
	for (int i = 0; a->outcome == DB_OK && i < a->rows; i++) {
		if (db_null(a, i, COL_NAME))
			seen = db_text(a, i, COL_SEEN, NULL);
		else
			changed |= load_one(m, a, i, &resumed);
	}
	/* Behind what was put aside here: the same connection does both. */
	if (resumed)
		shard_unpark(m);
	if (seen != NULL)
		limit_known(m, changed, seen);
}

static void
queues_loaded(const struct db_answer *a, void *arg)
{
	struct master *m = arg;

	if (a->outcome == DB_ERROR)
		log_warnx("reading the queues: %s", a->message);
	for (int i = 0; a->outcome == DB_OK && i < a->rows; i++) {
		struct queue *q = queue_find(m, db_text(a, i, 0, NULL));

		if (q != NULL)
			queue_set_paused(m, q, db_bool(a, i, 1));
	}
}

void
task_load(struct master *m)
{
	db_call(m->control, &stmt_load, NULL, loaded, m);
	db_call(m->control, &stmt_queues, NULL, queues_loaded, m);
	report_load(m);
}

/* ---- serving ---- */

bool
task_pools_known(const struct queue *q)
{
	for (int i = 0; i < q->pools_n; i++)
		if (!q->pools[i].announced && !q->pools[i].broken)
			return false;
	return q->pools_n != 0;
}

/* Until the database has said what counts. */
static void
task_set_batch(struct task *t, const struct msg_batch *b)
{
	t->batch_size = (int)b->size;
	t->batch_ms = b->has_timeout_ms ? (int64_t)b->timeout_ms : BATCH_MS;
}

static void
pool_set_tasks(struct master *m, struct queue *q, int pool, const struct msg_announce *msg)
{
	struct pool *p = &q->pools[pool];

	for (int i = 0; i < p->tasks_n; i++) {
		struct task *t = task_get(m, p->tasks[i].name, strlen(p->tasks[i].name));

		if (task_pool(t, q) == pool)
			task_set_pool(t, q, -1);
	}
	task_forget_pool(p);
	p->tasks = xcalloc(msg->tasks_n + 1, sizeof(*p->tasks));
	for (size_t i = 0; i < msg->tasks_n; i++) {
		const struct msg_task *said = &msg->tasks[i];
		struct task *t = task_get(m, said->name.p, said->name.len);
		struct pool_task *own;

		if (task_pool(t, q) >= 0 && task_pool(t, q) != pool) {
			log_warnx("queue %s: task %s is served by %s and by %s; the former gets it", q->name, t->name,
			    q->pools[task_pool(t, q)].name, p->name);
		} else {
			task_set_pool(t, q, pool);
			batch_announced(m, q, t, said->has_batch);
			if (said->has_batch && t->batch_size == 0)
				task_set_batch(t, &said->batch);
		}
		own = &p->tasks[p->tasks_n++];
		own->name = xstrdup(t->name);
		own->queue = said->queue.p != NULL ? xstrndup(said->queue.p, said->queue.len) : NULL;
		own->options = declared_options(said);
		own->batch = said->has_batch;
		own->triggers = said->triggers.p != NULL ? xstrndup(said->triggers.p, said->triggers.len) : NULL;
	}
	p->events = declared_events(msg->events, msg->events_n);
}

void
task_forget_pool(struct pool *p)
{
	for (int i = 0; i < p->tasks_n; i++) {
		free(p->tasks[i].name);
		free(p->tasks[i].queue);
		free(p->tasks[i].options);
		free(p->tasks[i].triggers);
	}
	free(p->tasks);
	free(p->events);
	p->tasks = NULL;
	p->tasks_n = 0;
	p->events = NULL;
}

void
task_announced(struct master *m, struct queue *q, const struct msg_announce *msg)
{
	if (msg->pool >= (uint64_t)q->pools_n)
		return;
	q->pools[msg->pool].announced = true;
	q->pools[msg->pool].broken = false;
	pool_set_tasks(m, q, (int)msg->pool, msg);
	register_all(m);
	task_load(m);
	event_types_load(m);
	/* Behind what it declares, on the same connection. */
	watch_look(m);
	task_pools_changed(m, q);
}

void
task_pools_changed(struct master *m, struct queue *q)
{
	q->ready = task_pools_known(q);
	q->served |= q->ready;
	if (q->served && !q->discovery)
		task_serve(m);
	server_progress(m);
}

static void
served(const struct db_answer *a, void *arg)
{
	struct master *m = arg;

	if (a->outcome == DB_ERROR)
		log_warnx("telling what is served here: %s", a->message);
	if (a->outcome == DB_OK)
		shard_balance(m);
}

void
task_serve(struct master *m)
{
	struct params p;
	struct queue *q;
	int queues, serves;

	if (m->node == 0 || !db_ready(m->control))
		return;
	params_init(&p);
	param_int4(&p, m->node);
	queues = param_array(&p, PARAM_TEXT);
	serves = param_array(&p, PARAM_TEXT);
	TAILQ_FOREACH(q, &m->queues, link) {
		if (!q->served || q->retiring || q->discovery)
			continue;
		param_array_text(&p, queues, q->name, strlen(q->name));
		for (int i = 0; i < q->pools_n; i++)
			for (int t = 0; t < q->pools[i].tasks_n; t++) {
				char *both = xasprintf("%s/%s", q->name, q->pools[i].tasks[t].name);

				param_array_text(&p, serves, both, strlen(both));
				free(both);
			}
	}
	db_call(m->control, &stmt_serve, &p, served, m);
	params_free(&p);
}
