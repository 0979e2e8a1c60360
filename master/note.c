/*
 * The table `running`: runs that have lasted a while, and those that must be counted should they end their node. Master.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/utf8.h"
#include "common/xmalloc.h"
#include "master/master.h"
#include "proto/messages.h"

/* Runs that last this long stand in `running`. */
#define NOTE_AFTER_MS	1000
/* Of what a run says of its progress. */
#define NOTE_BYTES	1000

static const struct db_stmt stmt_note = { "note_running",
	"select pgconductor.note_running($1::bigint[], $2::xid8[], $3::int[], $4::int[], $5::text[], $6::int[], $7::int, $8::int[])" };
static const struct db_stmt stmt_forget = { "forget_running",
	"select pgconductor.forget_running($1::bigint[], $2::xid8[])" };

static const struct db_stmt stmt_progress = { "set_progress",
	"select pgconductor.set_progress($1::bigint[], $2::xid8[], $3::int[], $4::text[])" };

static const struct db_stmt stmt_gone = { "gone",
	"select pos from pgconductor.gone($1::bigint[], $2::xid8[]) pos" };

/* How far a run is. */
struct progress {
	uint64_t	 exec;
	int		 percent;	/* -1: was not said */
	char		*note;		/* NULL: likewise */
};

struct notes {
	struct params	 note, forget;
	struct progress	*progress;	/* what was said since that was written */
	size_t		 progress_n, progress_cap;
	uint64_t	*execs;		/* of the runs in note */
	size_t		 n, cap;
};

void
note_init(struct master *m)
{
	m->notes = xcalloc(1, sizeof(*m->notes));
}

void
note_free(struct master *m)
{
	params_free(&m->notes->note);
	params_free(&m->notes->forget);
	free(m->notes->execs);
	for (size_t i = 0; i < m->notes->progress_n; i++)
		free(m->notes->progress[i].note);
	free(m->notes->progress);
	free(m->notes);
}

void
note_run(struct master *m, struct run *r)
{
	struct notes *st = m->notes;
	struct params *p = &st->note;
	/* After a reload the pool it was sent through may be gone. */
	const char *program = r->pool < r->queue->pools_n ? r->queue->pools[r->pool].name : "";

	if (p->n == 0) {
		param_array(p, PARAM_INT8);
		param_array(p, PARAM_XID8);
		param_array(p, PARAM_INT4);
		param_array(p, PARAM_INT4);
		param_array(p, PARAM_TEXT);
		param_array(p, PARAM_INT4);
		param_int4(p, m->node);
		param_array(p, PARAM_INT4);
	}
	param_array_int8(p, 0, (int64_t)r->id);
	param_array_xid8(p, 1, r->xid);
	param_array_int4(p, 2, r->shard->id);
	param_array_int4(p, 3, (int32_t)r->attempt);
	param_array_text(p, 4, program, strlen(program));
	if (r->pid != 0)
		param_array_int4(p, 5, (int32_t)r->pid);
	else
		param_array_null(p, 5);
	param_array_int4(p, 7, r->state == RUN_SENT ? (int32_t)(clock_ms() - r->sent_ms) : 0);
	r->noted = true;
	if (st->n == st->cap) {
		st->cap = st->cap != 0 ? st->cap * 2 : 64;
		st->execs = xreallocarray(st->execs, st->cap, sizeof(uint64_t));
	}
	st->execs[st->n++] = r->exec;
}

static void
noted(const struct db_answer *a, void *arg)
{
	struct run_list *list = arg;
	struct master *m = list->master;

	if (a->outcome == DB_ERROR)
		log_warnx("noting what is running: %s", a->message);
	for (size_t i = 0; i < list->n; i++) {
		struct run *r = run_by_exec(m, list->execs[i]);

		if (r == NULL)
			continue;
		if (a->outcome != DB_OK)
			r->noted = false;
		if (r->state != RUN_NOTING)
			continue;
		if (a->outcome == DB_OK) {
			queue_send_later(m, r);
		} else {
			queue_ended(m, r);
			run_put_back(m, r);
		}
	}
	fetch_flush(m);
	free(list->execs);
	free(list);
}

void
note_flush(struct master *m)
{
	struct notes *st = m->notes;
	struct run_list *list;

	if (st->n == 0)
		return;
	list = xcalloc(1, sizeof(*list));
	list->master = m;
	list->execs = xmemdup(st->execs, st->n * sizeof(uint64_t));
	list->n = st->n;
	st->n = 0;
	db_call(m->writer, &stmt_note, &st->note, noted, list);
	params_reset(&st->note);
}

void
note_old(struct master *m)
{
	struct queue *q;
	struct run *r;
	int64_t before = clock_ms() - NOTE_AFTER_MS;

	if (!node_may_write(m))
		return;
	TAILQ_FOREACH(q, &m->queues, link)
		TAILQ_FOREACH(r, &q->sent, link) {
			if (r->sent_ms > before)
				break;
			if (r->started && !r->noted && r->shard != NULL &&
			    (r->shard->state == SHARD_OWNED || r->shard->state == SHARD_GIVING))
				note_run(m, r);
		}
	note_flush(m);
}

void
note_forget(struct master *m, struct run *r)
{
	struct params *p = &m->notes->forget;

	params_reset(p);
	param_array(p, PARAM_INT8);
	param_array(p, PARAM_XID8);
	param_array_int8(p, 0, (int64_t)r->id);
	param_array_xid8(p, 1, r->xid);
	db_call(m->writer, &stmt_forget, p, NULL, NULL);
	params_reset(p);
	r->noted = false;
}

/* ---- those that were cancelled unheard ---- */

struct asked {
	struct master	*master;
	size_t		 n;
	struct {
		uint64_t exec, xid;
	} run[];
};

static void
gone(const struct db_answer *a, void *arg)
{
	struct asked *asked = arg;
	struct master *m = asked->master;

	if (a->outcome == DB_ERROR)
		log_warnx("looking after what is running: %s", a->message);
	for (int i = 0; a->outcome == DB_OK && i < a->rows; i++) {
		size_t at = (size_t)db_int4(a, i, 0) - 1;
		struct run *r = at < asked->n ? run_by_exec(m, asked->run[at].exec) : NULL;

		/* It may have been moved since. */
		if (r != NULL && r->state == RUN_SENT && r->xid == asked->run[at].xid)
			run_cancelled(m, r, NULL);
	}
	free(asked);
}

/*
 * A notification is lost with the connection that listens, and a client may have chosen to send none: what has been
 * running for a while is looked up now and then.
 */
void
note_check(struct master *m)
{
	struct asked *asked;
	struct params p;
	struct queue *q;
	struct run *r;
	size_t n = 0;

	TAILQ_FOREACH(q, &m->queues, link)
		TAILQ_FOREACH(r, &q->sent, link)
			n += r->noted && !r->dropped;
	if (n == 0 || m->moving != 0)
		return;
	asked = xcalloc(1, sizeof(*asked) + n * sizeof(asked->run[0]));
	asked->master = m;
	params_init(&p);
	param_array(&p, PARAM_INT8);
	param_array(&p, PARAM_XID8);
	TAILQ_FOREACH(q, &m->queues, link)
		TAILQ_FOREACH(r, &q->sent, link) {
			if (!r->noted || r->dropped)
				continue;
			param_array_int8(&p, 0, (int64_t)r->id);
			param_array_xid8(&p, 1, r->xid);
			asked->run[asked->n].exec = r->exec;
			asked->run[asked->n++].xid = r->xid;
		}
	db_call(m->control, &stmt_gone, &p, gone, asked);
	params_free(&p);
}

/* ---- how far they are ---- */

/* What was said last counts: of a run that speaks often no more is kept, or written, than of another. */
void
note_progress(struct master *m, struct run *r, const struct msg_progress *msg)
{
	struct notes *st = m->notes;
	struct progress *p;

	if (r->progress == 0) {
		if (st->progress_n == st->progress_cap) {
			st->progress_cap = st->progress_cap != 0 ? st->progress_cap * 2 : 64;
			st->progress = xreallocarray(st->progress, st->progress_cap, sizeof(*st->progress));
		}
		st->progress[st->progress_n++] = (struct progress){ .exec = r->exec, .percent = -1 };
		r->progress = (uint32_t)st->progress_n;
	}
	p = &st->progress[r->progress - 1];
	if (msg->has_percent)
		p->percent = msg->percent < 100 ? (int)msg->percent : 100;
	if (msg->note.p != NULL) {
		free(p->note);
		p->note = xstrndup(msg->note.p, msg->note.len < NOTE_BYTES ? msg->note.len : utf8_span(msg->note.p, NOTE_BYTES));
	}
}

static void
add_progress(struct master *m, struct params *p, const struct progress *said, struct run *r)
{
	if (!r->noted)
		note_run(m, r);
	param_array_int8(p, 0, (int64_t)r->id);
	param_array_xid8(p, 1, r->xid);
	if (said->percent >= 0)
		param_array_int4(p, 2, said->percent);
	else
		param_array_null(p, 2);
	param_array_text_or_null(p, 3, said->note, said->note != NULL ? strlen(said->note) : 0);
}

void
note_progress_flush(struct master *m)
{
	struct notes *st = m->notes;
	struct params p;

	if (st->progress_n == 0 || !node_may_write(m) || m->moving != 0)
		return;
	params_init(&p);
	param_array(&p, PARAM_INT8);
	param_array(&p, PARAM_XID8);
	param_array(&p, PARAM_INT4);
	param_array(&p, PARAM_TEXT);
	for (size_t i = 0; i < st->progress_n; i++) {
		struct run *r = run_by_exec(m, st->progress[i].exec);

		if (r != NULL)
			r->progress = 0;
		if (r != NULL && r->state == RUN_SENT && r->shard != NULL && !r->dropped)
			add_progress(m, &p, &st->progress[i], r);
		free(st->progress[i].note);
	}
	st->progress_n = 0;
	note_flush(m);
	if (p.count[0] != 0)
		db_call(m->writer, &stmt_progress, &p, NULL, NULL);
	params_free(&p);
}
