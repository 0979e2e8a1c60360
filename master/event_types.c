/*
 * Which schemas programs have for events: read from the database, handed to every worker. Master.
 *
 * A worker knows those of its own programs from their HELLO; what others say of an event counts as much. It is asked for when a
 * program has said HELLO, before this node serves what that serves, so that no run is sent ahead of it; and when a notification
 * says that something may be new. What came last is kept encoded, for workers that start later, with its digest: the answer is
 * empty as long as that is still right.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/peer.h"
#include "common/xmalloc.h"
#include "master/master.h"
#include "proto/messages.h"

static const struct db_stmt stmt_load = { "load_event_schemas",
	"select digest, event, program, schema from pgconductor.load_event_schemas($1::text)" };

enum { COL_DIGEST, COL_EVENT, COL_PROGRAM, COL_SCHEMA };

struct event_types {
	char		*digest;	/* "": there are none */
	struct buf	 frame;		/* EVENTS; empty as long as there never were any */
};

void
event_types_init(struct master *m)
{
	m->event_types = xcalloc(1, sizeof(*m->event_types));
	m->event_types->digest = xstrdup("");
	buf_init(&m->event_types->frame);
}

void
event_types_free(struct master *m)
{
	free(m->event_types->digest);
	buf_free(&m->event_types->frame);
	free(m->event_types);
}

void
event_types_send(struct master *m, struct queue *q)
{
	struct buf *frame = &m->event_types->frame;

	/* One that only tells its tasks emits nothing and gets nothing. */
	if (frame->len != 0 && q->worker.peer != NULL && !q->discovery)
		peer_send_raw(q->worker.peer, buf_ptr(frame) + MSG_HEAD, frame->len - MSG_HEAD);
}

static struct pstr
text(const struct db_answer *a, int row, int col)
{
	struct pstr s;

	s.p = db_text(a, row, col, &s.len);
	return s;
}

static void
keep(struct event_types *t, const struct db_answer *a)
{
	struct msg_event_schema *v = xcalloc((size_t)a->rows, sizeof(*v));
	struct msg_events msg = { .schemas = v };

	for (int i = 0; i < a->rows; i++)
		if (!db_null(a, i, COL_EVENT))
			v[msg.schemas_n++] = (struct msg_event_schema){ .event = text(a, i, COL_EVENT),
			    .program = text(a, i, COL_PROGRAM), .schema = text(a, i, COL_SCHEMA) };
	buf_free(&t->frame);
	buf_init(&t->frame);
	msg_events_encode(&t->frame, 0, &msg);
	free(v);
	free(t->digest);
	t->digest = xstrdup(db_text(a, 0, COL_DIGEST, NULL));
}

static void
loaded(const struct db_answer *a, void *arg)
{
	struct master *m = arg;
	struct queue *q;

	/* When the connection is lost it is asked again once that is back. */
	if (a->outcome == DB_ERROR)
		log_warnx("reading the schemas of events: %s", a->message);
	/* Asked for twice before the first answer came. */
	if (a->outcome != DB_OK || a->rows == 0 || strcmp(db_text(a, 0, COL_DIGEST, NULL), m->event_types->digest) == 0)
		return;
	keep(m->event_types, a);
	TAILQ_FOREACH(q, &m->queues, link)
		event_types_send(m, q);
}

void
event_types_load(struct master *m)
{
	struct params p;

	if (m->stopping || !db_ready(m->control))
		return;
	params_init(&p);
	param_str(&p, m->event_types->digest);
	db_call(m->control, &stmt_load, &p, loaded, m);
	params_free(&p);
}
