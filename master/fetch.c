/*
 * What a run needs before it can be sent, and was not read with the others: a large payload, saved steps. Master.
 *
 * The payload is asked for first, so that when the steps come the frame is there for them to be put in. Steps go into
 * the frame up to a limit; the handler asks for the rest.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/peer.h"
#include "common/xmalloc.h"
#include "master/master.h"
#include "proto/messages.h"

/* Runs that one question is about, so that an answer stays small. */
#define PAYLOADS_MAX	4
#define JOURNALS_MAX	32
/* Bytes of steps in one frame. A single step may be larger; then it does not go with RUN, which has a payload too. */
#define STEPS_BYTES	(256 << 10)

static const struct db_stmt stmt_fetch = { "fetch",
	"select id, ready_xid, payload from pgconductor.fetch($1::bigint[], $2::xid8[])" };
static const struct db_stmt stmt_steps = { "steps_of",
	"select id, ready_xid, pos, key, result, error, event, more"
	" from pgconductor.steps_of($1::bigint[], $2::xid8[], $3::bigint[], $4::int)" };

enum { COL_ID, COL_XID, COL_POS, COL_KEY, COL_RESULT, COL_ERROR, COL_EVENT, COL_MORE };

/* A handler that asked for more of its steps. */
struct asked {
	struct master	*master;
	uint64_t	 exec, xid;
};

struct fetch {
	struct params	 payload_params, journal_params;
	struct run_list	*payloads, *journals;
	struct msg_saved *steps;
	size_t		 steps_n, steps_cap;
	uint64_t	*again;		/* execs whose handlers wait for steps, and nobody was asked */
	size_t		 again_n, again_cap;
};

void
fetch_init(struct master *m)
{
	m->fetch = xcalloc(1, sizeof(*m->fetch));
}

void
fetch_free(struct master *m)
{
	params_free(&m->fetch->payload_params);
	params_free(&m->fetch->journal_params);
	free(m->fetch->steps);
	free(m->fetch->again);
	free(m->fetch);
}

bool
fetch_needed(const struct run *r)
{
	return r->frame == NULL || (r->journal && !r->complete);
}

/* ---- payloads ---- */

/* Its row is gone (cancelled), or the question was not answered: it does not run now. */
static void
give_up(struct master *m, struct run *r)
{
	queue_ended(m, r);
	lane_unread(r);
	m->reader.again = true;
	run_free(m, r);
}

static void
payloads_came(const struct db_answer *a, void *arg)
{
	struct run_list *list = arg;
	struct master *m = list->master;

	for (int i = 0; a->outcome == DB_OK && i < a->rows; i++) {
		struct run *r = run_find(m, (uint64_t)db_int8(a, i, 0), db_xid8(a, i, 1));
		size_t len;
		const char *payload;

		if (r == NULL || r->state != RUN_FETCHING || r->shard == NULL)
			continue;
		payload = db_text(a, i, 2, &len);
		run_frame(m, r, payload, len, &(struct cause){ r->event, r->event_at, r->event_kind }, r->metadata,
		    r->metadata != NULL ? strlen(r->metadata) : 0);
	}
	for (size_t i = 0; i < list->n; i++) {
		struct run *r = run_by_exec(m, list->execs[i]);

		if (r == NULL || r->state != RUN_FETCHING)
			continue;
		r->queue->fetching -= r->payload_len;
		if (r->frame == NULL)
			give_up(m, r);
		else if (!fetch_needed(r))
			queue_send_later(m, r);
	}
	run_list_free(list);
}

static void
ask_payloads(struct master *m)
{
	struct fetch *f = m->fetch;
	struct run_list *list = f->payloads;

	if (list == NULL)
		return;
	f->payloads = NULL;
	db_call(m->reader_db, &stmt_fetch, &f->payload_params, payloads_came, list);
	params_reset(&f->payload_params);
}

/* ---- steps ---- */

static struct pstr
text_or_none(const struct db_answer *a, int row, int col)
{
	struct pstr s = { NULL, 0 };

	if (!db_null(a, row, col))
		s.p = db_text(a, row, col, &s.len);
	return s;
}

/* Those of one run, which stand together. Returns the row behind them. */
static int
gather_steps(struct fetch *f, const struct db_answer *a, int row, size_t *bytes)
{
	int64_t id = db_int8(a, row, COL_ID);

	f->steps_n = 0;
	*bytes = 0;
	for (; row < a->rows && db_int8(a, row, COL_ID) == id; row++) {
		struct msg_saved *s;

		if (f->steps_n == f->steps_cap) {
			f->steps_cap = f->steps_cap != 0 ? f->steps_cap * 2 : 64;
			f->steps = xreallocarray(f->steps, f->steps_cap, sizeof(*f->steps));
		}
		s = &f->steps[f->steps_n++];
		s->key = text_or_none(a, row, COL_KEY);
		s->result = text_or_none(a, row, COL_RESULT);
		s->error = text_or_none(a, row, COL_ERROR);
		s->event = text_or_none(a, row, COL_EVENT);
		*bytes += s->key.len + s->result.len + s->error.len;
	}
	return row;
}

static int
fit_steps(struct master *m, const struct db_answer *a, int first)
{
	struct fetch *f = m->fetch;
	struct run *r = run_find(m, (uint64_t)db_int8(a, first, COL_ID), db_xid8(a, first, COL_XID));
	size_t bytes;
	int end = gather_steps(f, a, first, &bytes);
	bool fits = bytes <= STEPS_BYTES;

	if (r == NULL || r->state != RUN_FETCHING || r->frame == NULL || r->shard == NULL)
		return end;
	r->journal_pos = fits ? db_int8(a, end - 1, COL_POS) : 0;
	run_refit(m, r, f->steps, fits ? f->steps_n : 0, !fits || db_bool(a, end - 1, COL_MORE));
	r->complete = true;
	return end;
}

static void
steps_came(const struct db_answer *a, void *arg)
{
	struct run_list *list = arg;
	struct master *m = list->master;

	if (a->outcome == DB_ERROR)
		log_warnx("reading saved steps: %s", a->message);
	for (int row = 0; a->outcome == DB_OK && row < a->rows;)
		row = fit_steps(m, a, row);
	for (size_t i = 0; i < list->n; i++) {
		struct run *r = run_by_exec(m, list->execs[i]);

		if (r == NULL || r->state != RUN_FETCHING)
			continue;
		if (a->outcome != DB_OK || r->frame == NULL) {
			give_up(m, r);
			continue;
		}
		/* One without any. */
		if (!r->complete)
			run_refit(m, r, NULL, 0, false);
		r->complete = true;
		queue_send_later(m, r);
	}
	run_list_free(list);
}

static void
ask_steps(struct master *m)
{
	struct fetch *f = m->fetch;
	struct run_list *list = f->journals;

	if (list == NULL)
		return;
	f->journals = NULL;
	param_int4(&f->journal_params, STEPS_BYTES);
	db_call(m->reader_db, &stmt_steps, &f->journal_params, steps_came, list);
	params_reset(&f->journal_params);
}

static void
add_journal(struct master *m, struct run *r)
{
	struct fetch *f = m->fetch;
	bool first = f->journals == NULL;

	run_list_add(m, &f->journals, &f->journal_params, r);
	if (first)
		param_array(&f->journal_params, PARAM_INT8);
	param_array_int8(&f->journal_params, 2, 0);
}

/* ---- both ---- */

void
fetch_run(struct master *m, struct run *r)
{
	struct fetch *f = m->fetch;

	run_set_state(r, RUN_FETCHING);
	if (r->frame == NULL) {
		r->queue->fetching += r->payload_len;
		run_list_add(m, &f->payloads, &f->payload_params, r);
	}
	if (r->journal && !r->complete)
		add_journal(m, r);
	/* What was asked for here is asked before the steps are. */
	if (f->payloads != NULL && f->payloads->n >= PAYLOADS_MAX)
		ask_payloads(m);
	if (f->journals != NULL && f->journals->n >= JOURNALS_MAX)
		fetch_flush(m);
}

/* ---- the rest of the steps ---- */

static void
ask_later(struct fetch *f, uint64_t exec)
{
	if (f->again_n == f->again_cap) {
		f->again_cap = f->again_cap != 0 ? f->again_cap * 2 : 16;
		f->again = xreallocarray(f->again, f->again_cap, sizeof(*f->again));
	}
	f->again[f->again_n++] = exec;
}

static void
send_more(struct master *m, struct run *r, const struct db_answer *a)
{
	struct fetch *f = m->fetch;
	struct msg_steps msg = { .steps = NULL };
	size_t bytes;

	if (a->rows != 0) {
		gather_steps(f, a, 0, &bytes);
		r->journal_pos = db_int8(a, a->rows - 1, COL_POS);
		msg = (struct msg_steps){ .steps = f->steps, .steps_n = f->steps_n, .has_more_steps = true,
		    .more_steps = db_bool(a, a->rows - 1, COL_MORE) };
	}
	msg_steps_encode(peer_out(r->queue->worker.peer), r->exec, &msg);
	peer_flush(r->queue->worker.peer);
}

static void
more_came(const struct db_answer *a, void *arg)
{
	struct asked *asked = arg;
	struct master *m = asked->master;
	struct run *r = run_by_exec(m, asked->exec);

	if (a->outcome == DB_ERROR)
		log_warnx("reading saved steps: %s", a->message);
	if (r != NULL && r->state == RUN_SENT && r->queue->worker.peer != NULL) {
		r->asking = false;
		/* Its row may have been moved meanwhile; then nothing was found. */
		if (a->outcome == DB_OK && r->xid == asked->xid)
			send_more(m, r, a);
		else
			ask_later(m->fetch, asked->exec);
	}
	free(asked);
}

void
fetch_more(struct master *m, struct run *r)
{
	struct asked *asked;
	struct params p;

	if (r->asking)
		return;
	r->asking = true;
	asked = xmalloc(sizeof(*asked));
	*asked = (struct asked){ m, r->exec, r->xid };
	params_init(&p);
	param_array(&p, PARAM_INT8);
	param_array(&p, PARAM_XID8);
	param_array(&p, PARAM_INT8);
	param_array_int8(&p, 0, (int64_t)r->id);
	param_array_xid8(&p, 1, r->xid);
	param_array_int8(&p, 2, r->journal_pos);
	param_int4(&p, STEPS_BYTES);
	db_call(m->reader_db, &stmt_steps, &p, more_came, asked);
	params_free(&p);
}

static void
ask_again(struct master *m)
{
	struct fetch *f = m->fetch;
	size_t n = f->again_n;

	if (n == 0 || m->moving != 0 || !reader_may_poll(m))
		return;
	f->again_n = 0;
	for (size_t i = 0; i < n; i++) {
		struct run *r = run_by_exec(m, f->again[i]);

		if (r != NULL && r->state == RUN_SENT)
			fetch_more(m, r);
	}
}

void
fetch_flush(struct master *m)
{
	ask_payloads(m);
	ask_steps(m);
	ask_again(m);
}

