/*
 * What executions log and print, on its way into the table `logs`. Master.
 *
 * Lines gather for a moment and are written by one statement. Memory for them is bounded, and so is what is written in a
 * second: what is beyond is dropped and counted, and a line in its place says so. They hold nobody up, with one
 * exception: what a run has said is written ahead of its outcome, so that whoever sees that it has ended finds all of it.
 */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "common/log.h"
#include "common/xmalloc.h"
#include "master/master.h"
#include "proto/messages.h"

#define GATHER_MS	200
#define LINES_MAX	10000			/* in memory */
#define BYTES_MAX	((size_t)8 << 20)
#define SECOND_LINES	10000			/* taken in a second, of all runs */
#define SECOND_BYTES	((size_t)8 << 20)
#define RUN_LINES	10000			/* of one attempt */
#define TRIES		50			/* GATHER_MS apart */

static const struct db_stmt stmt_write = { "write_logs",
	"select pgconductor.write_logs($1::bigint[], $2::int[], $3::bigint[], $4::text[], $5::text[], $6::json[], $7::bigint)" };

enum { IDS, ATTEMPTS, TIMES, LEVELS, MESSAGES, FIELDS, NOW };

/* Lines that are written together. */
struct lot {
	TAILQ_ENTRY(lot) link;
	struct master	*master;
	struct params	 params;
	size_t		 n, bytes;
	int		 tries;
	int64_t		 not_before_ms;
};

TAILQ_HEAD(lotlist, lot);

struct lines {
	struct lot	*gathering;
	uint64_t	 number;	/* of that one; runs remember it */
	struct lotlist	 waiting;	/* to be written again */
	struct lotlist	 sent;
	size_t		 n, bytes;	/* in memory, wherever */
	int64_t		 second;
	size_t		 second_n, second_bytes;
	uint64_t	 dropped;	/* since that was last said */
	struct event	*timer;
};

static struct lot *
lot_new(struct master *m)
{
	struct lot *lot = xcalloc(1, sizeof(*lot));

	lot->master = m;
	param_array(&lot->params, PARAM_INT8);
	param_array(&lot->params, PARAM_INT4);
	param_array(&lot->params, PARAM_INT8);
	param_array(&lot->params, PARAM_TEXT);
	param_array(&lot->params, PARAM_TEXT);
	param_array(&lot->params, PARAM_JSON);
	return lot;
}

static void
lot_free(struct lot *lot)
{
	params_free(&lot->params);
	free(lot);
}

static void
arm(struct lines *st)
{
	struct timeval tv = { 0, GATHER_MS * 1000 };

	if (!evtimer_pending(st->timer, NULL))
		event_add(st->timer, &tv);
}

static void
report_dropped(struct lines *st)
{
	if (st->dropped == 0)
		return;
	log_warnx("%" PRIu64 " lines of executions were dropped: more than this node stores (%d lines or %zu MiB a second)",
	    st->dropped, SECOND_LINES, SECOND_BYTES >> 20);
	st->dropped = 0;
}

static void
next_second(struct lines *st)
{
	int64_t second = clock_ms() / 1000;

	if (second == st->second)
		return;
	st->second = second;
	st->second_n = st->second_bytes = 0;
	report_dropped(st);
}

/* As often as lines come, and not while others are on their way. */
static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct master *m = arg;
	struct lines *st = m->lines;

	(void)fd;
	(void)what;
	next_second(st);
	if (TAILQ_EMPTY(&st->sent))
		lines_flush(m);
	if (st->gathering->n != 0 || !TAILQ_EMPTY(&st->waiting) || st->dropped != 0)
		arm(st);
}

void
lines_init(struct master *m)
{
	struct lines *st = xcalloc(1, sizeof(*st));

	TAILQ_INIT(&st->waiting);
	TAILQ_INIT(&st->sent);
	st->gathering = lot_new(m);
	st->number = 1;
	st->timer = evtimer_new(m->base, on_timer, m);
	m->lines = st;
}

static void
free_lots(struct lotlist *list)
{
	struct lot *lot;

	while ((lot = TAILQ_FIRST(list)) != NULL) {
		TAILQ_REMOVE(list, lot, link);
		lot_free(lot);
	}
}

void
lines_free(struct master *m)
{
	struct lines *st = m->lines;

	lot_free(st->gathering);
	free_lots(&st->waiting);
	free_lots(&st->sent);
	event_free(st->timer);
	free(st);
}

bool
lines_idle(const struct master *m)
{
	return m->lines->n == 0;
}

/* ---- gathering ---- */

static void
add(struct master *m, struct run *r, struct pstr level, struct pstr message, struct pstr fields)
{
	struct lines *st = m->lines;
	struct lot *lot = st->gathering;
	struct params *p = &lot->params;
	size_t bytes = message.len + fields.len;

	param_array_int8(p, IDS, (int64_t)r->id);
	param_array_int4(p, ATTEMPTS, (int32_t)r->attempt);
	param_array_int8(p, TIMES, clock_ms());
	param_array_text(p, LEVELS, level.p, level.len);
	param_array_text(p, MESSAGES, message.p, message.len);
	param_array_text_or_null(p, FIELDS, fields.p, fields.len);
	lot->n++;
	lot->bytes += bytes;
	st->n++;
	st->bytes += bytes;
	r->lot = st->number;
	arm(st);
}

static void
mark(struct master *m, struct run *r, const char *text)
{
	add(m, r, pstr("warn"), pstr(text), (struct pstr){ NULL, 0 });
}

static bool
admit(struct lines *st, size_t bytes)
{
	next_second(st);
	if (st->n >= LINES_MAX || st->bytes >= BYTES_MAX || st->second_n >= SECOND_LINES || st->second_bytes >= SECOND_BYTES)
		return false;
	st->second_n++;
	st->second_bytes += bytes;
	return true;
}

void
lines_add(struct master *m, struct run *r, const struct msg_log *line)
{
	char text[80];

	if (m->conf->keep_logs == 0 || r->lines > RUN_LINES)
		return;
	if (r->lines == RUN_LINES) {
		r->lines++;
		snprintf(text, sizeof(text), "no more than %d lines of an attempt are stored", RUN_LINES);
		mark(m, r, text);
		return;
	}
	if (!admit(m->lines, line->message.len + line->fields.len)) {
		m->lines->dropped++;
		/* One for each gap, whatever else is dropped: as many as there are runs. */
		if (!r->gap)
			mark(m, r, "lines were dropped here: the server was given more than it stores in a second");
		r->gap = true;
		return;
	}
	r->gap = false;
	r->lines++;
	add(m, r, line->level, line->message, line->fields);
}

bool
lines_waiting(const struct master *m)
{
	return m->lines->gathering->n != 0;
}

bool
lines_wait_of(const struct master *m, const struct run *r)
{
	return r->lot == m->lines->number;
}

/* ---- writing ---- */

static void
lot_done(struct lines *st, struct lot *lot)
{
	st->n -= lot->n;
	st->bytes -= lot->bytes;
	lot_free(lot);
}

/* Nothing but time, or a partition, is missing. */
static bool
passes(const char *state)
{
	static const char *const states[] = { "23514", "55P03", "40P01", "40001", "57014" };

	for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++)
		if (strcmp(states[i], state) == 0)
			return true;
	return false;
}

/* What was on its way when the connection went may have been written: rather twice than not at all. */
static void
written(const struct db_answer *a, void *arg)
{
	struct lot *lot = arg;
	struct master *m = lot->master;
	struct lines *st = m->lines;

	TAILQ_REMOVE(&st->sent, lot, link);
	if (a->outcome == DB_LOST || (a->outcome == DB_ERROR && passes(a->sqlstate) && ++lot->tries < TRIES)) {
		if (a->outcome == DB_ERROR && strcmp(a->sqlstate, "23514") == 0)
			upkeep_partition_missing(m);
		lot->not_before_ms = a->outcome == DB_ERROR ? clock_ms() + GATHER_MS / 2 : 0;
		TAILQ_INSERT_TAIL(&st->waiting, lot, link);
		arm(st);
		return;
	}
	if (a->outcome == DB_ERROR)
		log_warnx("%zu lines of executions are lost: %s", lot->n, a->message);
	lot_done(st, lot);
	if (m->stopping)
		server_progress(m);
}

static void
send_lot(struct master *m, struct lot *lot)
{
	struct params *p = &lot->params;

	TAILQ_INSERT_TAIL(&m->lines->sent, lot, link);
	p->n = NOW;
	buf_reset(&p->value[NOW], 0);
	param_int8(p, clock_ms());
	db_call(m->writer, &stmt_write, p, written, lot);
}

void
lines_flush(struct master *m)
{
	struct lines *st = m->lines;
	struct lot *lot;

	while (node_may_write(m) && (lot = TAILQ_FIRST(&st->waiting)) != NULL) {
		/* What came later does not go before it. */
		if (lot->not_before_ms > clock_ms())
			return;
		TAILQ_REMOVE(&st->waiting, lot, link);
		send_lot(m, lot);
	}
	if (st->gathering->n == 0 || !node_may_write(m))
		return;
	lot = st->gathering;
	st->gathering = lot_new(m);
	st->number++;
	send_lot(m, lot);
}
