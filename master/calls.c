/*
 * What handlers ask for on the way: invoking without waiting, cancelling. Master.
 *
 * A statement each, on the writer, in the order they came. The id of what is to be made is drawn beforehand, so that
 * asking again after a lost connection makes nothing twice.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "common/json.h"
#include "common/log.h"
#include "common/peer.h"
#include "common/xmalloc.h"
#include "master/master.h"
#include "proto/messages.h"

#define IN_FLIGHT_MAX	16
#define DRAFTS		100
#define RETRY_MS	200

static const struct db_stmt stmt_call = { "make_call",
	"select pgconductor.make_call($1::bigint, $2::xid8, $3::text, $4::json, $5::bigint, $6::boolean)" };
static const struct db_stmt stmt_draw = { "draw_ids", "select id from pgconductor.draw_ids($1::int) id" };

struct call {
	TAILQ_ENTRY(call) link;
	struct master	*master;
	uint64_t	 exec;
	uint64_t	 number;	/* the handler's */
	char		*name, *args;
	size_t		 args_len;
	int64_t		 draft;		/* 0: none yet, or none needed */
	bool		 again;		/* it may have been committed already */
	int64_t		 not_before_ms;
};

TAILQ_HEAD(calllist, call);

struct calls {
	struct calllist	 waiting, sent;
	int		 in_flight;
	int64_t		 drafts[DRAFTS];
	int		 drafts_n;
	bool		 drawing;
	struct event	*retry;
};

static void
on_retry(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	calls_flush(arg);
}

void
calls_init(struct master *m)
{
	struct calls *st = m->calls = xcalloc(1, sizeof(*st));

	TAILQ_INIT(&st->waiting);
	TAILQ_INIT(&st->sent);
	st->retry = evtimer_new(m->base, on_retry, m);
}

static void
call_free(struct call *c)
{
	free(c->name);
	free(c->args);
	free(c);
}

void
calls_free(struct master *m)
{
	struct calls *st = m->calls;
	struct call *c;

	TAILQ_CONCAT(&st->waiting, &st->sent, link);
	while ((c = TAILQ_FIRST(&st->waiting)) != NULL) {
		TAILQ_REMOVE(&st->waiting, c, link);
		call_free(c);
	}
	event_free(st->retry);
	free(st);
}

bool
calls_idle(const struct master *m)
{
	return TAILQ_EMPTY(&m->calls->waiting) && TAILQ_EMPTY(&m->calls->sent);
}

/* ---- ids ---- */

static void
drawn(const struct db_answer *a, void *arg)
{
	struct master *m = arg;
	struct calls *st = m->calls;

	st->drawing = false;
	if (a->outcome == DB_ERROR)
		log_warnx("drawing ids: %s", a->message);
	for (int i = 0; a->outcome == DB_OK && i < a->rows && st->drafts_n < DRAFTS; i++)
		st->drafts[st->drafts_n++] = db_int8(a, i, 0);
	if (a->outcome == DB_OK)
		calls_flush(m);
}

static void
draw(struct master *m)
{
	struct params p;

	if (m->calls->drawing)
		return;
	m->calls->drawing = true;
	params_init(&p);
	param_int4(&p, DRAFTS);
	db_call(m->writer, &stmt_draw, &p, drawn, m);
	params_free(&p);
}

/* False: it has to wait for one. */
static bool
has_draft(struct master *m, struct call *c)
{
	struct calls *st = m->calls;

	if (c->draft != 0 || (strcmp(c->name, "invoke") != 0 && strcmp(c->name, "emit") != 0))
		return true;
	if (st->drafts_n == 0) {
		draw(m);
		return false;
	}
	c->draft = st->drafts[--st->drafts_n];
	return true;
}

/* ---- sending ---- */

static void	made(const struct db_answer *, void *);

static void
call_send(struct master *m, struct call *c, const struct run *r)
{
	struct params p;

	params_init(&p);
	param_int8(&p, (int64_t)r->id);
	param_int8(&p, (int64_t)r->xid);
	param_str(&p, c->name);
	param_text(&p, c->args, c->args_len);
	if (c->draft != 0)
		param_int8(&p, c->draft);
	else
		param_null(&p);
	param_bool(&p, c->again);
	TAILQ_INSERT_TAIL(&m->calls->sent, c, link);
	m->calls->in_flight++;
	db_call(m->writer, &stmt_call, &p, made, c);
	params_free(&p);
}

/* True: it was sent, or is nobody's. */
static bool
try(struct master *m, struct call *c)
{
	struct run *r = run_by_exec(m, c->exec);
	struct calls *st = m->calls;

	if (r == NULL || r->shard == NULL || r->dropped) {
		TAILQ_REMOVE(&st->waiting, c, link);
		if (r != NULL)
			run_written(m, r);
		call_free(c);
		return true;
	}
	if (c->not_before_ms > clock_ms() || (r->shard->state != SHARD_OWNED && r->shard->state != SHARD_GIVING) ||
	    !has_draft(m, c))
		return false;
	TAILQ_REMOVE(&st->waiting, c, link);
	call_send(m, c, r);
	return true;
}

void
calls_flush(struct master *m)
{
	struct calls *st = m->calls;
	struct timeval tv = { 0, RETRY_MS / 2 * 1000 };
	struct call *c;

	if (!node_may_write(m) || m->moving != 0)
		return;
	/* Nothing overtakes what waits. */
	while ((c = TAILQ_FIRST(&st->waiting)) != NULL && st->in_flight < IN_FLIGHT_MAX && try(m, c))
		;
	if (c != NULL && !evtimer_pending(st->retry, NULL))
		event_add(st->retry, &tv);
}

void
calls_add(struct master *m, struct run *r, const struct msg_call *msg)
{
	struct call *c = xcalloc(1, sizeof(*c));

	run_writing(r);
	c->master = m;
	c->exec = r->exec;
	c->number = msg->call;
	c->name = xstrndup(msg->name.p, msg->name.len);
	c->args = xstrndup(msg->args.p, msg->args.len);
	c->args_len = msg->args.len;
	TAILQ_INSERT_TAIL(&m->calls->waiting, c, link);
}

/* ---- answers ---- */

static void
answer(struct run *r, const struct msg_return *msg)
{
	if (r->state != RUN_SENT || r->queue->worker.peer == NULL)
		return;
	msg_return_encode(peer_out(r->queue->worker.peer), r->exec, msg);
	peer_flush(r->queue->worker.peer);
}

static void
answer_error(struct run *r, const struct call *c, const char *code, const char *message)
{
	struct msg_return msg = { .call = c->number };
	struct buf error;

	buf_init(&error);
	buf_addf(&error, "{\"code\":\"%s\",\"message\":", code);
	json_quote(&error, message, strlen(message));
	buf_addstr(&error, "}");
	msg.error = (struct pstr){ (const char *)buf_ptr(&error), error.len };
	answer(r, &msg);
	buf_free(&error);
}

static void
answer_ok(struct master *m, struct run *r, const struct call *c, const struct db_answer *a)
{
	struct msg_return msg = { .call = c->number };

	if (db_null(a, 0, 0)) {
		run_cancelled(m, r, NULL);
		return;
	}
	msg.result.p = db_text(a, 0, 0, &msg.result.len);
	answer(r, &msg);
}

/* What only time stands in the way of. */
static bool
passes(const char *state)
{
	static const char *const states[] = { "55P03", "40P01", "40001", "57014", "23514" };

	for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++)
		if (strcmp(states[i], state) == 0)
			return true;
	return false;
}

static void
made(const struct db_answer *a, void *arg)
{
	struct call *c = arg;
	struct master *m = c->master;
	struct calls *st = m->calls;
	struct run *r = run_by_exec(m, c->exec);

	TAILQ_REMOVE(&st->sent, c, link);
	st->in_flight--;
	if (a->outcome == DB_LOST || (a->outcome == DB_ERROR && passes(a->sqlstate))) {
		if (a->outcome == DB_LOST) {
			c->again = true;
			if (r != NULL)
				r->unsure = true;
		} else {
			c->not_before_ms = clock_ms() + RETRY_MS;
		}
		TAILQ_INSERT_TAIL(&st->waiting, c, link);
	} else {
		if (r != NULL && a->outcome == DB_ERROR)
			answer_error(r, c, a->sqlstate, a->primary);
		else if (r != NULL)
			answer_ok(m, r, c, a);
		if (r != NULL)
			run_written(m, r);
		call_free(c);
	}
	calls_flush(m);
	settle_flush(m);
	if (m->stopping)
		server_progress(m);
}
