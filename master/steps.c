/*
 * Saving steps. Master.
 *
 * While one batch is on its way the next one gathers, so that many executions share a commit. The handler is told once
 * that is done, and the outcome of a run waits for its steps (run_writing). What was on its way when the connection went
 * is sent again, marked as such, as it may have been committed.
 *
 * The steps of one run are committed in the order in which they came: while one of them is on its way, or has to be
 * tried again, those behind it stay here. Those of other runs go past.
 */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "common/crash.h"
#include "common/log.h"
#include "common/peer.h"
#include "common/xmalloc.h"
#include "master/master.h"
#include "proto/messages.h"

#define BATCH_MAX	1000
#define BATCH_BYTES	((size_t)4 << 20)
/* A second batch follows the first before that is answered only if it is as large as this. */
#define FEW		64
#define IN_FLIGHT_MAX	2
#define LOCKED_RETRY_MS	100
#define BROKEN_RETRY_MS	1000

static const struct db_stmt stmt_save = { "save_steps",
	"select unnest(pgconductor.save_steps($1::bigint[], $2::xid8[], $3::text[], $4::json[], $5::boolean))" };

struct step {
	uint64_t	 exec;
	size_t		 key, key_len, result, result_len;	/* in the batch's arena */
	bool		 null;
};

struct batch {
	TAILQ_ENTRY(batch) link;
	struct master	*master;
	struct step	*v;
	size_t		 n, cap;
	struct buf	 arena;
	bool		 again;		/* it may have been committed already */
	int64_t		 not_before_ms;
};

TAILQ_HEAD(batchlist, batch);

struct steps {
	struct batch	*gathering, *spare;
	struct batchlist waiting, sent;
	int		 in_flight;
	uint64_t	 look;		/* how often it was looked at what may be sent */
	struct params	 params;
	struct event	*retry;
};

static struct batch *
batch_new(struct master *m)
{
	struct batch *b = m->steps->spare;

	m->steps->spare = NULL;
	if (b == NULL) {
		b = xcalloc(1, sizeof(*b));
		b->master = m;
	}
	return b;
}

static void
batch_destroy(struct batch *b)
{
	buf_free(&b->arena);
	free(b->v);
	free(b);
}

static void
batch_free(struct batch *b)
{
	struct steps *st = b->master->steps;

	if (st->spare != NULL) {
		batch_destroy(b);
		return;
	}
	b->n = 0;
	buf_reset(&b->arena, 1 << 20);
	b->again = false;
	b->not_before_ms = 0;
	st->spare = b;
}

static void
batch_add(struct batch *b, uint64_t exec, struct pstr key, struct pstr result)
{
	if (b->n == b->cap) {
		b->cap = b->cap != 0 ? b->cap * 2 : 64;
		b->v = xreallocarray(b->v, b->cap, sizeof(*b->v));
	}
	b->v[b->n++] = (struct step){ .exec = exec, .key = b->arena.len, .key_len = key.len,
	    .result = b->arena.len + key.len, .result_len = result.len, .null = result.p == NULL };
	buf_add(&b->arena, key.p, key.len);
	buf_add(&b->arena, result.p, result.len);
}

static struct pstr
key_of(struct batch *b, const struct step *s)
{
	return (struct pstr){ (const char *)buf_ptr(&b->arena) + s->key, s->key_len };
}

static struct pstr
result_of(struct batch *b, const struct step *s)
{
	return (struct pstr){ s->null ? NULL : (const char *)buf_ptr(&b->arena) + s->result, s->result_len };
}

static void
on_retry(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	steps_flush(arg);
}

void
steps_init(struct master *m)
{
	struct steps *st = m->steps = xcalloc(1, sizeof(*st));

	TAILQ_INIT(&st->waiting);
	TAILQ_INIT(&st->sent);
	st->retry = evtimer_new(m->base, on_retry, m);
	st->gathering = batch_new(m);
}

void
steps_free(struct master *m)
{
	struct steps *st = m->steps;
	struct batch *b;

	TAILQ_CONCAT(&st->waiting, &st->sent, link);
	TAILQ_INSERT_TAIL(&st->waiting, st->gathering, link);
	if (st->spare != NULL)
		TAILQ_INSERT_TAIL(&st->waiting, st->spare, link);
	while ((b = TAILQ_FIRST(&st->waiting)) != NULL) {
		TAILQ_REMOVE(&st->waiting, b, link);
		batch_destroy(b);
	}
	params_free(&st->params);
	event_free(st->retry);
	free(st);
}

bool
steps_idle(const struct master *m)
{
	const struct steps *st = m->steps;

	return st->gathering->n == 0 && TAILQ_EMPTY(&st->waiting) && TAILQ_EMPTY(&st->sent);
}

/* ---- sending ---- */

/* Their runs are nobody's here any more: neither are they. */
static void
drop_orphans(struct master *m, struct batch *b)
{
	size_t kept = 0;

	for (size_t i = 0; i < b->n; i++) {
		struct run *r = run_by_exec(m, b->v[i].exec);

		if (r != NULL && r->shard != NULL && !r->dropped)
			b->v[kept++] = b->v[i];
		else if (r != NULL)
			run_written(m, r);
	}
	b->n = kept;
}

/* One that may not holds up all of its run that are looked at after it. */
static bool
may_go(struct master *m, const struct step *s, bool wait)
{
	struct run *r = run_by_exec(m, s->exec);

	if (!wait && r->steps_sent == 0 && r->steps_held != m->steps->look &&
	    (r->shard->state == SHARD_OWNED || r->shard->state == SHARD_GIVING))
		return true;
	r->steps_held = m->steps->look;
	return false;
}

/* Those of a waiting batch that may be sent; NULL if there are none. The others wait on, in their order. */
static struct batch *
take_free(struct master *m, struct batch *b, bool wait)
{
	struct batch *go = NULL;
	size_t n = 0, kept = 0;

	while (n < b->n && may_go(m, &b->v[n], wait))
		n++;
	if (n == b->n) {
		TAILQ_REMOVE(&m->steps->waiting, b, link);
		return b;
	}
	for (size_t i = 0; i < b->n; i++) {
		if (i >= n && !may_go(m, &b->v[i], wait)) {
			b->v[kept++] = b->v[i];
			continue;
		}
		if (go == NULL) {
			go = batch_new(m);
			go->again = b->again;
		}
		batch_add(go, b->v[i].exec, key_of(b, &b->v[i]), result_of(b, &b->v[i]));
	}
	b->n = kept;
	return go;
}

static void	saved(const struct db_answer *, void *);

static void
batch_send(struct master *m, struct batch *b)
{
	struct steps *st = m->steps;
	struct params *p = &st->params;

	params_reset(p);
	param_array(p, PARAM_INT8);
	param_array(p, PARAM_XID8);
	param_array(p, PARAM_TEXT);
	param_array(p, PARAM_JSON);
	param_bool(p, b->again);
	for (size_t i = 0; i < b->n; i++) {
		struct run *r = run_by_exec(m, b->v[i].exec);
		struct pstr key = key_of(b, &b->v[i]), result = result_of(b, &b->v[i]);

		r->steps_sent++;

		param_array_int8(p, 0, (int64_t)r->id);
		param_array_xid8(p, 1, r->xid);
		param_array_text(p, 2, key.p, key.len);
		param_array_text_or_null(p, 3, result.p, result.len);
	}
	TAILQ_INSERT_TAIL(&st->sent, b, link);
	st->in_flight++;
	db_call(m->writer, &stmt_save, p, saved, b);
	crash_point("step_sent");
}

static void
stop_gathering(struct master *m)
{
	struct steps *st = m->steps;

	if (st->gathering->n == 0)
		return;
	TAILQ_INSERT_TAIL(&st->waiting, st->gathering, link);
	st->gathering = batch_new(m);
}

void
steps_flush(struct master *m)
{
	struct steps *st = m->steps;
	struct timeval tv = { 0, LOCKED_RETRY_MS / 2 * 1000 };
	struct batch *b, *next, *go;
	int64_t now = clock_ms();
	bool later = false;

	if (!node_may_write(m) || m->moving != 0)
		return;
	if (st->in_flight == 0 || (st->in_flight < IN_FLIGHT_MAX && st->gathering->n >= FEW))
		stop_gathering(m);
	st->look++;
	for (b = TAILQ_FIRST(&st->waiting); b != NULL && st->in_flight < IN_FLIGHT_MAX; b = next) {
		next = TAILQ_NEXT(b, link);
		drop_orphans(m, b);
		go = take_free(m, b, b->not_before_ms > now);
		later |= go != b;
		if (go == NULL)
			continue;
		if (go->n == 0) {
			batch_free(go);
			continue;
		}
		batch_send(m, go);
		/* Without a connection it was answered at once, and the list is another. */
		if (!node_may_write(m))
			return;
	}
	if (later && !evtimer_pending(st->retry, NULL))
		event_add(st->retry, &tv);
}

void
steps_add(struct master *m, struct run *r, const struct msg_step *step)
{
	struct steps *st = m->steps;

	run_writing(r);
	batch_add(st->gathering, r->exec, step->key, step->result);
	if (st->gathering->n >= BATCH_MAX || st->gathering->arena.len >= BATCH_BYTES)
		stop_gathering(m);
}

/* ---- what came of it ---- */

static void
say_ok(struct run *r, struct pstr key)
{
	struct msg_step_ok ok = { .key = key };

	if (r->state != RUN_SENT || r->queue->worker.peer == NULL)
		return;
	msg_step_ok_encode(peer_out(r->queue->worker.peer), r->exec, &ok);
	peer_flush(r->queue->worker.peer);
}

static void
doom_used(struct master *m, struct run *r, struct pstr key)
{
	char *text = xasprintf("the step \"%.*s\" was saved before: a key stands for one step of an execution, and a step that "
	    "was saved is not run again", (int)key.len, key.p);

	run_doom(m, r, "nondeterminism", text);
	free(text);
}

/* It hears that the step is saved when it goes on: by then it is among what it has remembered. */
static void
halt(struct master *m, struct run *r)
{
	if (!r->halted)
		worker_cancel(m, r, "window");
	r->halted = true;
}

/* Answered for good. */
static void
step_done(struct master *m, struct batch *b, const struct step *s, const char *verdict)
{
	struct run *r = run_by_exec(m, s->exec);

	if (r == NULL)
		return;
	if (strcmp(verdict, "ok") == 0 && limit_halts(r) && r->state == RUN_SENT)
		halt(m, r);
	else if (strcmp(verdict, "ok") == 0)
		say_ok(r, key_of(b, s));
	else if (strcmp(verdict, "used") == 0)
		doom_used(m, r, key_of(b, s));
	else
		run_cancelled(m, r, NULL);
	run_written(m, r);
}

/* Before all that waits: what came later of the same runs is there. */
static struct batch *
batch_again(struct master *m, const struct batch *of, int64_t wait_ms)
{
	struct batch *b = batch_new(m);

	b->again = of->again;
	b->not_before_ms = wait_ms != 0 ? clock_ms() + wait_ms : 0;
	TAILQ_INSERT_HEAD(&m->steps->waiting, b, link);
	return b;
}

static void
part(struct master *m, struct batch *b, size_t from, size_t to, int64_t wait_ms)
{
	struct batch *half = batch_again(m, b, wait_ms);

	for (size_t i = from; i < to; i++)
		batch_add(half, b->v[i].exec, key_of(b, &b->v[i]), result_of(b, &b->v[i]));
}

/* The first half is to be before the second. */
static void
halve(struct master *m, struct batch *b)
{
	part(m, b, b->n / 2, b->n, 0);
	part(m, b, 0, b->n / 2, 0);
}

static void
answered(struct master *m, struct batch *b, const struct db_answer *a)
{
	struct batch *rest = NULL;

	for (size_t i = 0; i < b->n; i++) {
		const char *verdict = db_text(a, (int)i, 0, NULL);

		if (strcmp(verdict, "locked") != 0) {
			step_done(m, b, &b->v[i], verdict);
			continue;
		}
		if (rest == NULL)
			rest = batch_again(m, b, LOCKED_RETRY_MS);
		batch_add(rest, b->v[i].exec, key_of(b, &b->v[i]), result_of(b, &b->v[i]));
	}
}

static void
lost(struct master *m, struct batch *b)
{
	b->again = true;
	for (size_t i = 0; i < b->n; i++) {
		struct run *r = run_by_exec(m, b->v[i].exec);

		if (r != NULL)
			r->unsure = true;
	}
	part(m, b, 0, b->n, 0);
}

static bool
is_data_error(const char *state)
{
	return strncmp(state, "22", 2) == 0 || strncmp(state, "23", 2) == 0 || strncmp(state, "54", 2) == 0;
}

static void
failed(struct master *m, struct batch *b, const struct db_answer *a)
{
	const char *state = a->sqlstate;
	struct run *r;

	if ((is_data_error(state) || strcmp(state, "57014") == 0 || strcmp(state, "55P03") == 0) && b->n > 1) {
		halve(m, b);
	} else if (is_data_error(state)) {
		if ((r = run_by_exec(m, b->v[0].exec)) == NULL)
			return;
		run_doom(m, r, "bad_result", a->primary);
		run_written(m, r);
	} else if (strcmp(state, "40P01") == 0 || strcmp(state, "40001") == 0) {
		part(m, b, 0, b->n, LOCKED_RETRY_MS);
	} else if (strcmp(state, "55P03") == 0) {
		/* A transaction of its own handler is saving something under that key; each try holds up the writer. */
		part(m, b, 0, b->n, BROKEN_RETRY_MS);
	} else {
		log_warnx("%zu steps cannot be saved yet (%s): %s", b->n, state, a->message);
		part(m, b, 0, b->n, BROKEN_RETRY_MS);
	}
}

static void
saved(const struct db_answer *a, void *arg)
{
	struct batch *b = arg;
	struct master *m = b->master;
	struct steps *st = m->steps;

	TAILQ_REMOVE(&st->sent, b, link);
	st->in_flight--;
	for (size_t i = 0; i < b->n; i++) {
		struct run *r = run_by_exec(m, b->v[i].exec);

		if (r != NULL)
			r->steps_sent--;
	}
	if (a->outcome == DB_LOST) {
		lost(m, b);
	} else if (a->outcome == DB_ERROR) {
		failed(m, b, a);
	} else if ((size_t)a->rows != b->n) {
		fatalx("save_steps: %d answers for %zu steps", a->rows, b->n);
	} else {
		crash_point("step_committed");
		answered(m, b, a);
	}
	batch_free(b);
	steps_flush(m);
	settle_flush(m);
	if (m->stopping)
		server_progress(m);
}
