/*
 * Writing outcomes. Master.
 *
 * While one batch is on its way the next one gathers. A batch whose statement fails is never given up as a whole: rows
 * that others hold locked are left for later, a missing partition is made, and what the data itself makes impossible
 * is found by halving the batch and settled as a failure of that one run.
 */
#include "config.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "common/crash.h"
#include "common/json.h"
#include "common/log.h"
#include "common/xmalloc.h"
#include "master/master.h"
#include "proto/messages.h"

#define BATCH_MAX	2000
#define BATCH_BYTES	((size_t)4 << 20)
/* Outcomes that wait for the database; beyond it nothing new is started. */
#define BACKLOG_MAX	20000
#define BACKLOG_BYTES	((size_t)24 << 20)
#define IN_FLIGHT_MAX	2
/* So many wait for more, for so long since the last were sent. */
#define FEW		64
#define FEW_MS		3
#define LOCKED_RETRY_MS	200
#define BROKEN_RETRY_MS	1000

static const struct db_stmt stmt_plain = { "settle_plain",
	"select pgconductor.settle_plain($1::bigint[], $2::xid8[], $3::json[], $4::boolean[], $5::int[], $6::int)" };
static const struct db_stmt stmt_full = { "settle_full",
	"select pgconductor.settle_full($1::bigint[], $2::xid8[], $3::text[], $4::json[], $5::json[], $6::boolean[],"
	" $7::bigint[], $8::int[], $9::int)" };
static const struct db_stmt stmt_locked = { "settle_locked",
	"select unnest(pgconductor.settle_locked($1::bigint[], $2::xid8[], $3::text[], $4::json[], $5::json[], $6::boolean[],"
	" $7::bigint[], $8::int[], $9::int))" };

enum batch_way { WAY_SPLIT, WAY_FULL, WAY_LOCKED, WAY_SUSPEND };

/* Outcomes written together. On its way it has one or two statements, the plain ones and the others. */
struct batch {
	TAILQ_ENTRY(batch) link;
	struct master	*master;
	struct outcome	*v;
	size_t		 n, cap;
	struct buf	 arena;
	enum batch_way	 way;
	int		 unanswered;
	bool		 failed;	/* a statement of it failed: what to do is decided when all have answered */
	char		 sqlstate[6];
	char		*message;
	bool		 plain_done, full_done;
	int64_t		 not_before_ms;
};

TAILQ_HEAD(batchlist, batch);

struct settle {
	struct batch	*gathering, *suspending;
	struct batchlist waiting;	/* to be sent, in this order; parts of failed ones */
	struct batchlist sent;
	size_t		 backlog, backlog_bytes;
	int		 in_flight;
	int64_t		 gathered_ms;	/* when outcomes that had gathered were last sent */
	bool		 hurry;		/* others wait for one that gathers */
	struct event	*few;		/* sends few outcomes */
	struct event	*retry;
	struct params	 params;
	struct batch	*spare;
};

static void	batch_done(struct master *, struct batch *);

static struct batch *
batch_new(struct master *m)
{
	struct settle *st = m->settle;
	struct batch *b = st->spare;

	if (b != NULL) {
		st->spare = NULL;
		return b;
	}
	b = xcalloc(1, sizeof(*b));
	b->master = m;
	return b;
}

static void
batch_free(struct settle *st, struct batch *b)
{
	free(b->message);
	b->message = NULL;
	if (st->spare == NULL) {
		b->n = 0;
		buf_reset(&b->arena, 1 << 20);
		b->way = WAY_SPLIT;
		b->failed = b->plain_done = b->full_done = false;
		b->not_before_ms = 0;
		st->spare = b;
		return;
	}
	buf_free(&b->arena);
	free(b->v);
	free(b);
}

static void
batch_add(struct batch *b, const struct outcome *o, const char *text, size_t len)
{
	if (b->n == b->cap) {
		b->cap = b->cap != 0 ? b->cap * 2 : 256;
		b->v = xreallocarray(b->v, b->cap, sizeof(*b->v));
	}
	b->v[b->n] = *o;
	b->v[b->n].text = b->arena.len;
	b->v[b->n++].text_len = len;
	buf_add(&b->arena, text, len);
}

static const char *
text_of(struct batch *b, const struct outcome *o)
{
	return o->text_len != 0 ? (const char *)buf_ptr(&b->arena) + o->text : NULL;
}

static void
on_time(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	settle_flush(arg);
}

void
settle_init(struct master *m)
{
	struct settle *st = xcalloc(1, sizeof(*st));

	TAILQ_INIT(&st->waiting);
	TAILQ_INIT(&st->sent);
	st->few = evtimer_new(m->base, on_time, m);
	st->retry = evtimer_new(m->base, on_time, m);
	m->settle = st;
	st->gathering = batch_new(m);
	st->suspending = batch_new(m);
	st->suspending->way = WAY_SUSPEND;
}

static void
batch_list_free(struct batchlist *list)
{
	struct batch *b;

	while ((b = TAILQ_FIRST(list)) != NULL) {
		TAILQ_REMOVE(list, b, link);
		buf_free(&b->arena);
		free(b->message);
		free(b->v);
		free(b);
	}
}

void
settle_free(struct master *m)
{
	struct settle *st = m->settle;

	TAILQ_INSERT_TAIL(&st->waiting, st->gathering, link);
	TAILQ_INSERT_TAIL(&st->waiting, st->suspending, link);
	if (st->spare != NULL)
		TAILQ_INSERT_TAIL(&st->waiting, st->spare, link);
	batch_list_free(&st->waiting);
	batch_list_free(&st->sent);
	params_free(&st->params);
	event_free(st->few);
	event_free(st->retry);
	free(st);
}

bool
settle_idle(const struct master *m)
{
	return m->settle->backlog == 0 && steps_idle(m) && calls_idle(m) && watch_idle(m);
}

bool
settle_full(const struct master *m)
{
	return m->settle->backlog >= BACKLOG_MAX || m->settle->backlog_bytes >= BACKLOG_BYTES;
}

/* ---- sending ---- */

static bool
is_plain(const struct outcome *o)
{
	const struct run *r = o->run;

	return o->kind == OUTCOME_COMPLETED && !o->careful && !r->noted && !r->wrote && !r->journal && !r->child;
}

static void
answered_part(const struct db_answer *a, struct batch *b, bool *done)
{
	b->unanswered--;
	if (a->outcome == DB_OK) {
		*done = true;
	} else if (!b->failed) {
		b->failed = true;
		snprintf(b->sqlstate, sizeof(b->sqlstate), "%s", a->outcome == DB_ERROR ? a->sqlstate : "");
		free(b->message);
		b->message = xstrdup(a->message);
	}
	if (b->unanswered == 0)
		batch_done(b->master, b);
}

static void
answered_plain(const struct db_answer *a, void *arg)
{
	struct batch *b = arg;

	answered_part(a, b, &b->plain_done);
}

static void
answered_full(const struct db_answer *a, void *arg)
{
	struct batch *b = arg;

	answered_part(a, b, &b->full_done);
}

/* The outcome that an answer names, if it is still in the batch; it leaves it. */
static bool
take_out(struct batch *b, const struct db_answer *a, int row, struct outcome *o)
{
	size_t at = (size_t)db_int4(a, row, 0) - 1;

	if (at >= b->n || b->v[at].run == NULL)
		return false;
	*o = b->v[at];
	b->v[at].run = NULL;
	return true;
}

/* The rows that others hold locked stay in the batch, which goes again a little later. */
static void
leave_locked(struct batch *b, const struct db_answer *a)
{
	struct batch *rest = NULL;
	struct outcome o;

	for (int i = 0; i < a->rows; i++) {
		if ((b->way == WAY_SUSPEND && !db_null(a, i, 1)) || !take_out(b, a, i, &o))
			continue;
		if (rest == NULL)
			rest = batch_new(b->master);
		batch_add(rest, &o, text_of(b, &o), o.text_len);
	}
	if (rest == NULL)
		return;
	rest->way = b->way;
	rest->not_before_ms = clock_ms() + LOCKED_RETRY_MS;
	TAILQ_INSERT_TAIL(&b->master->settle->waiting, rest, link);
}

static void
answered_locked(const struct db_answer *a, void *arg)
{
	struct batch *b = arg;

	if (a->outcome == DB_OK)
		leave_locked(b, a);
	answered_part(a, b, &b->full_done);
}

static void	replace(struct master *, struct outcome, const char *code, const char *message);

/* What waits for something that is over already, and was told so, would be resumed for ever. */
static void
refuse_used(struct batch *b, const struct db_answer *a)
{
	struct outcome o;

	for (int i = 0; i < a->rows; i++) {
		struct pstr key;
		char *text;

		if (db_null(a, i, 1) || !take_out(b, a, i, &o))
			continue;
		key.p = db_text(a, i, 1, &key.len);
		text = xasprintf("the key \"%.*s\" was used before: a key stands for one step, sleep or child of an execution, and "
		    "its outcome comes with each run", (int)key.len, key.p);
		log_info("execution %" PRIu64 ": nondeterminism: %s", o.run->id, text);
		report_failed(b->master, o.run, &(struct msg_fail){ .code = pstr("nondeterminism"), .message = pstr(text),
		    .has_retry = true });
		o.retry = false;
		replace(b->master, o, "nondeterminism", text);
		free(text);
	}
}

static void
answered_suspended(const struct db_answer *a, void *arg)
{
	struct batch *b = arg;

	if (a->outcome == DB_OK) {
		leave_locked(b, a);
		refuse_used(b, a);
	}
	answered_part(a, b, &b->full_done);
}

static int
send_plain(struct master *m, struct batch *b)
{
	struct params *p = &m->settle->params;
	int ids, xids, results, keep, took, n = 0;

	params_reset(p);
	ids = param_array(p, PARAM_INT8);
	xids = param_array(p, PARAM_XID8);
	results = param_array(p, PARAM_JSON);
	keep = param_array(p, PARAM_BOOL);
	took = param_array(p, PARAM_INT4);
	for (size_t i = 0; i < b->n; i++) {
		struct outcome *o = &b->v[i];

		if (o->careful)
			continue;
		param_array_int8(p, ids, (int64_t)o->run->id);
		param_array_xid8(p, xids, o->run->xid);
		if (o->text_len != 0)
			param_array_text(p, results, text_of(b, o), o->text_len);
		else
			param_array_null(p, results);
		param_array_bool(p, keep, o->run->task->keep);
		param_array_int4(p, took, o->took_ms);
		n++;
	}
	if (n == 0)
		return 0;
	param_int4(p, m->node);
	b->unanswered++;
	db_call(m->writer, &stmt_plain, p, answered_plain, b);
	return n;
}

static void
add_json(struct params *p, int array, const char *text, size_t len)
{
	if (len != 0)
		param_array_text(p, array, text, len);
	else
		param_array_null(p, array);
}

static void
send_full(struct master *m, struct batch *b)
{
	static const char *const names[] = { "completed", "failed", "deferred" };
	struct params *p = &m->settle->params;
	int ids, xids, outcomes, results, errors, retries, after, took, n = 0;

	params_reset(p);
	ids = param_array(p, PARAM_INT8);
	xids = param_array(p, PARAM_XID8);
	outcomes = param_array(p, PARAM_TEXT);
	results = param_array(p, PARAM_JSON);
	errors = param_array(p, PARAM_JSON);
	retries = param_array(p, PARAM_BOOL);
	after = param_array(p, PARAM_INT8);
	took = param_array(p, PARAM_INT4);
	for (size_t i = 0; i < b->n; i++) {
		struct outcome *o = &b->v[i];
		bool completed = o->kind == OUTCOME_COMPLETED;

		if (b->way == WAY_SPLIT && !o->careful)
			continue;
		param_array_int8(p, ids, (int64_t)o->run->id);
		param_array_xid8(p, xids, o->run->xid);
		param_array_text(p, outcomes, names[o->kind], strlen(names[o->kind]));
		add_json(p, results, text_of(b, o), completed ? o->text_len : 0);
		add_json(p, errors, text_of(b, o), completed ? 0 : o->text_len);
		param_array_bool(p, retries, o->retry);
		if (o->after_ms < 0)
			param_array_null(p, after);
		else
			param_array_int8(p, after, o->after_ms);
		param_array_int4(p, took, o->took_ms);
		n++;
	}
	if (n == 0)
		return;
	param_int4(p, m->node);
	b->unanswered++;
	if (b->way == WAY_LOCKED)
		db_call(m->writer, &stmt_locked, p, answered_locked, b);
	else
		db_call(m->writer, &stmt_full, p, answered_full, b);
}

static void
send_suspended(struct master *m, struct batch *b)
{
	struct params *p = &m->settle->params;

	suspend_begin(p);
	for (size_t i = 0; i < b->n; i++)
		suspend_add(p, b->v[i].run, text_of(b, &b->v[i]), b->v[i].text_len);
	b->unanswered++;
	db_call(m->writer, &suspend_stmt, p, answered_suspended, b);
}

/* A point for tests to end it at, if one of these has somebody who waits for it. */
static void
pass_children(const struct batch *b, const char *name)
{
	for (size_t i = 0; i < b->n; i++)
		if (b->v[i].run != NULL && b->v[i].run->child && b->way != WAY_SUSPEND) {
			crash_point(name);
			return;
		}
	(void)name;
}

static void
batch_send(struct master *m, struct batch *b)
{
	struct settle *st = m->settle;

	TAILQ_INSERT_TAIL(&st->sent, b, link);
	st->in_flight++;
	b->failed = b->plain_done = b->full_done = false;
	/* What a run has said goes ahead of its outcome. */
	for (size_t i = 0; lines_waiting(m) && i < b->n; i++)
		if (lines_wait_of(m, b->v[i].run))
			lines_flush(m);
	/* Which way each goes is fixed now: a note may be written or lost before the answer. */
	for (size_t i = 0; i < b->n; i++)
		b->v[i].careful = !is_plain(&b->v[i]);
	/* Held until both are sent: without a connection the answers come at once. */
	b->unanswered = 1;
	if (b->way == WAY_SPLIT)
		send_plain(m, b);
	if (b->way == WAY_SUSPEND)
		send_suspended(m, b);
	else
		send_full(m, b);
	pass_children(b, "child_settled");
	if (--b->unanswered == 0)
		batch_done(m, b);
}

/* Outcomes of runs whose shard was lost are nobody's: the new owner runs them. */
static void
drop_orphans(struct master *m, struct batch *b)
{
	struct settle *st = m->settle;
	size_t kept = 0;

	for (size_t i = 0; i < b->n; i++) {
		struct outcome *o = &b->v[i];

		if (o->run->shard != NULL) {
			b->v[kept++] = *o;
			continue;
		}
		st->backlog--;
		st->backlog_bytes -= o->text_len;
		run_free(m, o->run);
	}
	b->n = kept;
}

/* A shard that is being taken again: whether it is still ours is not known yet. */
static bool
all_owned(const struct batch *b)
{
	for (size_t i = 0; i < b->n; i++) {
		const struct shard *s = b->v[i].run->shard;

		if (s != NULL && s->state != SHARD_OWNED && s->state != SHARD_GIVING)
			return false;
	}
	return true;
}

static void
gathered(struct master *m, struct batch **b)
{
	enum batch_way way = (*b)->way;

	TAILQ_INSERT_TAIL(&m->settle->waiting, *b, link);
	*b = batch_new(m);
	(*b)->way = way;
}

/*
 * What has gathered joins those to be sent. A commit costs much more than a row: a few outcomes that follow others
 * closely wait for more of them, and the first after a pause does not. Returns how long to wait, or 0.
 */
static int64_t
stop_gathering(struct master *m, int64_t now)
{
	struct settle *st = m->settle;

	if ((st->gathering->n == 0 && st->suspending->n == 0) || st->in_flight >= IN_FLIGHT_MAX)
		return 0;
	if (st->gathering->n + st->suspending->n < FEW && now - st->gathered_ms < FEW_MS && !m->stopping && !st->hurry)
		return FEW_MS - (now - st->gathered_ms);
	if (st->gathering->n != 0)
		gathered(m, &st->gathering);
	if (st->suspending->n != 0)
		gathered(m, &st->suspending);
	st->gathered_ms = now;
	st->hurry = false;
	return 0;
}

void
settle_flush(struct master *m)
{
	struct settle *st = m->settle;
	struct batch *b, *next;
	int64_t now = clock_ms(), wait;
	bool later = false;

	if (!node_may_write(m) || m->moving != 0)
		return;
	if ((wait = stop_gathering(m, now)) != 0) {
		struct timeval tv = { 0, wait * 1000 };

		event_add(st->few, &tv);
	}
	for (b = TAILQ_FIRST(&st->waiting); b != NULL && st->in_flight < IN_FLIGHT_MAX; b = next) {
		next = TAILQ_NEXT(b, link);
		drop_orphans(m, b);
		if (b->not_before_ms > now || !all_owned(b)) {
			later = true;
			continue;
		}
		TAILQ_REMOVE(&st->waiting, b, link);
		if (b->n == 0)
			batch_free(st, b);
		else
			batch_send(m, b);
	}
	if (later && !evtimer_pending(st->retry, NULL)) {
		struct timeval tv = { 0, LOCKED_RETRY_MS / 2 * 1000 };

		event_add(st->retry, &tv);
	}
}

/* ---- when a batch does not go through ---- */

static void
count_outcome(struct master *m, const struct outcome *o)
{
	const struct run *r = o->run;

	if (r->dropped)
		return;
	m->completed += o->kind == OUTCOME_COMPLETED;
	/* As far as can be told here; history knows better. */
	m->failed += o->kind == OUTCOME_FAILED && !r->task->keep_fail && (!o->retry || r->attempt >= r->task->max_attempts);
}

static void
outcome_done(struct master *m, struct outcome *o)
{
	count_outcome(m, o);
	m->settle->backlog--;
	m->settle->backlog_bytes -= o->text_len;
	keyed_settled(m, o->run, o->kind == OUTCOME_COMPLETED);
	if (o->kind != OUTCOME_COMPLETED)
		wake_up(m);
	if (o->run->child || o->kind == OUTCOME_SUSPENDED)
		resume_expect(m);
	if (o->kind == OUTCOME_SUSPENDED)
		crash_point("suspend_committed");
	reader_linger(m, o->run);
}

static void
part(struct master *m, struct batch *b, size_t from, size_t to, enum batch_way way, int wait_ms)
{
	struct batch *half = batch_new(m);

	for (size_t i = from; i < to; i++)
		if (b->v[i].run != NULL)
			batch_add(half, &b->v[i], text_of(b, &b->v[i]), b->v[i].text_len);
	half->way = way;
	half->not_before_ms = wait_ms != 0 ? clock_ms() + wait_ms : 0;
	TAILQ_INSERT_TAIL(&m->settle->waiting, half, link);
}

/* Instead of this outcome it has failed. */
static void
replace(struct master *m, struct outcome o, const char *code, const char *message)
{
	struct batch *fresh = batch_new(m);
	struct buf error;

	buf_init(&error);
	buf_addf(&error, "{\"code\":\"%s\",\"message\":", code);
	json_quote(&error, message, strlen(message));
	buf_addstr(&error, "}");
	m->settle->backlog_bytes += error.len - o.text_len;
	/* A failure that cannot be stored either has nothing more to be replaced by. */
	o.replaced = true;
	o.kind = OUTCOME_FAILED;
	o.after_ms = -1;
	batch_add(fresh, &o, (const char *)buf_ptr(&error), error.len);
	fresh->way = WAY_FULL;
	TAILQ_INSERT_TAIL(&m->settle->waiting, fresh, link);
	buf_free(&error);
}

/* The one outcome that the database cannot take, because of what is in it. */
static void
settle_offender(struct master *m, struct batch *b)
{
	struct outcome o = b->v[0];

	log_warnx("execution %" PRIu64 ": its outcome cannot be stored: %s", o.run->id, b->message);
	o.retry = o.kind != OUTCOME_FAILED || o.retry;
	replace(m, o, "bad_result", b->message);
}

static bool
data_error(const char *sqlstate)
{
	return strncmp(sqlstate, "22", 2) == 0 || strncmp(sqlstate, "23", 2) == 0 || strncmp(sqlstate, "54", 2) == 0 ||
	    strcmp(sqlstate, "P0001") == 0;
}

/* What the statements that did go through have settled leaves the batch. */
static void
batch_keep_failed(struct master *m, struct batch *b)
{
	size_t kept = 0;

	for (size_t i = 0; i < b->n; i++) {
		struct outcome *o = &b->v[i];
		bool plain;

		if (o->run == NULL)
			continue;
		plain = b->way == WAY_SPLIT && !o->careful;
		if (plain ? b->plain_done : b->full_done)
			outcome_done(m, o);
		else
			b->v[kept++] = *o;
	}
	b->n = kept;
}

static void
batch_failed(struct master *m, struct batch *b)
{
	const char *state = b->sqlstate;

	if (state[0] == '\0') {			/* the connection went: the same again on the next one */
		part(m, b, 0, b->n, b->way, 0);
	} else if (strcmp(state, "23514") == 0) {
		upkeep_partition_missing(m);
		part(m, b, 0, b->n, b->way, LOCKED_RETRY_MS);
	} else if (strcmp(state, "55P03") == 0 || strcmp(state, "40P01") == 0 || strcmp(state, "40001") == 0) {
		part(m, b, 0, b->n, b->way == WAY_SUSPEND ? WAY_SUSPEND : WAY_LOCKED, b->way >= WAY_LOCKED ? LOCKED_RETRY_MS : 0);
	} else if (strcmp(state, "57014") == 0 && b->n > 1) {
		part(m, b, 0, b->n / 2, b->way, 0);
		part(m, b, b->n / 2, b->n, b->way, 0);
	} else if (data_error(state) && b->n > 1) {
		part(m, b, 0, b->n / 2, b->way, 0);
		part(m, b, b->n / 2, b->n, b->way, 0);
	} else if (data_error(state) && !b->v[0].replaced) {
		settle_offender(m, b);
	} else {
		log_warnx("%zu outcomes cannot be written yet (%s): %s", b->n, state, b->message);
		part(m, b, 0, b->n, b->way, BROKEN_RETRY_MS);
	}
}

static void
batch_done(struct master *m, struct batch *b)
{
	struct settle *st = m->settle;

	TAILQ_REMOVE(&st->sent, b, link);
	st->in_flight--;
	if (b->failed) {
		batch_keep_failed(m, b);
		if (b->n != 0)
			batch_failed(m, b);
	} else {
		pass_children(b, "wake_written");
		for (size_t i = 0; i < b->n; i++)
			if (b->v[i].run != NULL)
				outcome_done(m, &b->v[i]);
	}
	batch_free(st, b);
	settle_flush(m);
	queue_dispatch_all(m);
	if (m->stopping)
		shard_tick(m);
	server_progress(m);
}

void
settle_release(struct master *m, struct run *r, enum outcome_kind kind, const char *text, size_t len, bool retry,
    int64_t after_ms)
{
	struct settle *st = m->settle;
	struct batch **b = kind == OUTCOME_SUSPENDED ? &st->suspending : &st->gathering;
	int64_t took = clock_ms() - r->sent_ms;
	struct outcome o = { .run = r, .kind = kind, .retry = retry, .after_ms = after_ms,
	    .took_ms = took > INT32_MAX ? INT32_MAX : (int32_t)took };

	if (r->doom != NULL && text != r->doom) {
		settle_release(m, r, OUTCOME_FAILED, r->doom, strlen(r->doom), false, -1);
		return;
	}
	batch_add(*b, &o, text, len);
	st->hurry |= keyed_followed(r);
	st->backlog++;
	st->backlog_bytes += len;
	if ((*b)->n >= BATCH_MAX || (*b)->arena.len >= BATCH_BYTES) {
		gathered(m, b);
		settle_flush(m);
	}
}

void
settle_add(struct master *m, struct run *r, enum outcome_kind kind, const char *text, size_t len, bool retry,
    int64_t after_ms)
{
	run_set_state(r, RUN_SETTLING);
	free(r->frame);
	r->frame = NULL;
	/* What it saved before stands before it. */
	if (r->writing != 0)
		run_hold(r, kind, text, len, retry, after_ms);
	else
		settle_release(m, r, kind, text, len, retry, after_ms);
}
