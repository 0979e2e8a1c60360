/*
 * Reading ready runs without missing or repeating one. Master.
 *
 * One statement reads all lanes, each from its cursor, and takes the snapshot it read with. A transaction below a
 * cursor that this snapshot shows in progress is listed as late, and its rows are fetched once it has ended; at the
 * end of a lane the cursor moves to the snapshot's xmax, beyond which nothing was assigned yet. One poll at a time.
 */
#include "config.h"

#include <inttypes.h>
#include <stdlib.h>

#include "common/log.h"
#include "common/xmalloc.h"
#include "master/master.h"

static const struct db_stmt stmt_poll = { "poll",
	"select entry, id, ready_xid, attempt, task, payload, payload_len, metadata, event, shard, lane, parent, journal,"
	" expires_ms, event_at, event_kind"
	" from pgconductor.poll($1::int[], $2::int[], $3::int[], $4::xid8[], $5::bigint[], $6::xid8[], $7::int[])" };
static const struct db_stmt stmt_rehome = { "rehome",
	"select count(*) from pgconductor.rehome($1::bigint[], $2::xid8[], $3::int)" };
static const struct db_stmt stmt_reroute = { "reroute",
	"select unnest(pgconductor.reroute($1::bigint[], $2::xid8[]))" };
static const struct db_stmt stmt_park = { "park", "select unnest(pgconductor.park($1::bigint[], $2::xid8[], $3::text))" };

enum { COL_ENTRY, COL_ID, COL_XID, COL_ATTEMPT, COL_TASK, COL_PAYLOAD, COL_LENGTH, COL_METADATA, COL_EVENT, COL_SHARD,
	COL_LANE, COL_PARENT, COL_JOURNAL, COL_EXPIRES, COL_EVENT_AT, COL_EVENT_KIND };

enum { P_OWNED, P_SHARDS, P_LANES, P_XIDS, P_IDS, P_UNTILS, P_LIMITS };

/* What an execution takes in memory beside its payload. */
#define ROW_OVERHEAD	128

void
reader_init(struct master *m)
{
	params_init(&m->reader.params);
	for (int i = 0; i < PARKINGS; i++)
		params_init(&m->reader.parking[i].params);
	params_init(&m->reader.strays);
	buf_init(&m->reader.scratch);
	TAILQ_INIT(&m->reader.lingering);
}

void
reader_free(struct master *m)
{
	params_free(&m->reader.params);
	for (int i = 0; i < PARKINGS; i++)
		params_free(&m->reader.parking[i].params);
	params_free(&m->reader.strays);
	buf_free(&m->reader.scratch);
	free(m->reader.entries);
	free(m->reader.snapshot.xip);
}

/* ---- asking ---- */

static void
add_entry(struct reader *rd, const struct lane *l, uint64_t xid, uint64_t id, uint64_t until, int limit, bool late)
{
	struct params *p = &rd->params;

	if (rd->n == rd->cap) {
		rd->cap = rd->cap != 0 ? rd->cap * 2 : 64;
		rd->entries = xreallocarray(rd->entries, rd->cap, sizeof(*rd->entries));
	}
	rd->entries[rd->n++] = (struct poll_entry){ .shard = l->shard->id, .generation = l->shard->generation,
	    .lane = l->number, .late = late, .xid = xid, .id = id, .limit = limit };
	param_array_int4(p, P_SHARDS, l->shard->id);
	param_array_int4(p, P_LANES, l->number);
	param_array_xid8(p, P_XIDS, xid);
	param_array_int8(p, P_IDS, (int64_t)id);
	param_array_xid8(p, P_UNTILS, until);
	param_array_int4(p, P_LIMITS, limit);
}

/* One look before it is known to have ended saves a short transaction a whole poll. */
static bool
wants_look(const struct reader *rd, const struct late *late)
{
	return !late->probed || !snapshot_shows(&rd->snapshot, late->xid);
}

static void
add_lane(struct reader *rd, struct lane *l, int room)
{
	int n = 0;

	/* A full lane is named too, or it would be reported as one that nobody reads. */
	add_entry(rd, l, l->xid, l->id, UINT64_MAX, room, false);
	if (room == 0)
		return;
	for (size_t i = 0; i < l->late_n; i++)
		n += wants_look(rd, &l->late[i]);
	/* They share the room, as each may have left more than fits. */
	room = n != 0 && room > n ? room / n : 1;
	for (size_t i = 0; i < l->late_n; i++) {
		struct late *late = &l->late[i];

		if (!wants_look(rd, late))
			continue;
		late->probed = true;
		add_entry(rd, l, late->xid, late->last_id, late->xid, room, true);
	}
}

/* What is ready and what is due share the room. */
static void
ask_lane(struct master *m, struct lane *l, int room)
{
	int due = due_rows(m, l, room);

	if (due != 0)
		due_add(m, l, due);
	add_lane(&m->reader, l, l->more && l->due_more ? room - due : room);
}

static void	polled(const struct db_answer *, void *);

bool
reader_may_poll(const struct master *m)
{
	return m->reader.checked && node_may_write(m) && limit_loaded(m) && !m->stopping && m->moving == 0 && db_ready(m->reader_db);
}

void
reader_poll(struct master *m)
{
	struct reader *rd = &m->reader;
	struct shard *s;
	struct queue *q;
	struct lane *l;
	int asked;

	if (!reader_may_poll(m))
		return;
	if (rd->busy) {
		rd->again = true;
		return;
	}
	params_reset(&rd->params);
	rd->n = 0;
	param_array(&rd->params, PARAM_INT4);
	param_array(&rd->params, PARAM_INT4);
	param_array(&rd->params, PARAM_INT4);
	param_array(&rd->params, PARAM_XID8);
	param_array(&rd->params, PARAM_INT8);
	param_array(&rd->params, PARAM_XID8);
	param_array(&rd->params, PARAM_INT4);
	due_begin(m);
	TAILQ_FOREACH(s, &m->shards, link)
		if (shard_open(m, s))
			param_array_int4(&rd->params, P_OWNED, s->id);
	TAILQ_FOREACH(q, &m->queues, link) {
		struct room ahead = { 0, 0 };

		TAILQ_FOREACH(l, &q->lanes, link)
			if (shard_open(m, l->shard))
				ask_lane(m, l, queue_lane_room(q, l, &ahead));
	}
	if (rd->n == 0)
		return;
	rd->busy = true;
	rd->again = rd->failed = false;
	rd->found = 0;
	rd->look++;
	/* Held until all is asked: without a connection the answers come at once. */
	rd->unanswered = 3;
	db_call(m->reader_db, &stmt_poll, &rd->params, polled, m);
	asked = due_ask(m);
	rd->unanswered -= 1 - asked;
	TAILQ_FOREACH(s, &m->shards, link)
		if (shard_open(m, s)) {
			/* Two questions at most. */
			rd->unanswered += 2;
			asked = keyed_ask(m, s);
			rd->unanswered -= 2 - asked;
		}
	reader_answered(m, true);
}

/* ---- what came ---- */

void
run_list_add(struct master *m, struct run_list **list, struct params *p, const struct run *r)
{
	struct run_list *l = *list;

	if (l == NULL) {
		l = *list = xcalloc(1, sizeof(*l));
		l->master = m;
		param_array(p, PARAM_INT8);
		param_array(p, PARAM_XID8);
	}
	param_array_int8(p, 0, (int64_t)r->id);
	param_array_xid8(p, 1, r->xid);
	l->execs = xreallocarray(l->execs, l->n + 1, sizeof(uint64_t));
	l->execs[l->n++] = r->exec;
}

void
run_list_free(struct run_list *l)
{
	free(l->execs);
	free(l);
}

static void
rehomed(const struct db_answer *a, void *arg)
{
	(void)arg;
	if (a->outcome == DB_ERROR)
		log_warnx("moving runs to a node that serves them: %s", a->message);
}

static void
parked(const struct db_answer *a, void *arg)
{
	struct run_list *list = arg;
	struct master *m = list->master;

	if (a->outcome == DB_ERROR)
		log_warnx("putting runs where they belong: %s", a->message);
	/* Those that others have locked stay where they are: they are read again, and the question is asked anew. */
	for (int i = 0; a->outcome == DB_OK && i < a->rows; i++) {
		size_t at = (size_t)db_int4(a, i, 0) - 1;
		struct run *r = at < list->n ? run_by_exec(m, list->execs[at]) : NULL;

		if (r != NULL && r->state == RUN_PARKING)
			lane_unread(r);
	}
	for (size_t i = 0; i < list->n; i++) {
		struct run *r = run_by_exec(m, list->execs[i]);

		if (r == NULL || r->state != RUN_PARKING)
			continue;
		if (a->outcome == DB_ERROR)
			lane_unread(r);
		run_free(m, r);
	}
	run_list_free(list);
}

/* What stays does not stray, by what the database says: that is news. */
static void
rerouted(const struct db_answer *a, void *arg)
{
	struct master *m = ((struct run_list *)arg)->master;

	if (a->outcome == DB_OK && a->rows != 0)
		task_load(m);
	parked(a, arg);
}

static void
strays_flush(struct master *m)
{
	struct params *p = &m->reader.strays;
	struct run_list *list = m->reader.straying;

	if (list == NULL)
		return;
	m->reader.straying = NULL;
	db_call(m->writer, &stmt_reroute, p, rerouted, list);
	params_reset(p);
}

void
reader_park(struct master *m, struct run *r, enum parking why)
{
	run_set_state(r, RUN_PARKING);
	run_list_add(m, &m->reader.parking[why].list, &m->reader.parking[why].params, r);
}

/* Another node that serves their task gets them; what is left waits, parked, until somebody does. */
static void
rehome(struct master *m, struct params *p)
{
	param_int4(p, m->node);
	db_call(m->writer, &stmt_rehome, p, rehomed, m);
	p->n = 2;
	buf_reset(&p->value[2], 64);
}

void
reader_park_flush(struct master *m)
{
	static const char *const reasons[PARKINGS] = { [PARK_UNSERVED] = "unserved", [PARK_PAUSED] = "paused" };

	for (int i = 0; i < PARKINGS; i++) {
		struct params *p = &m->reader.parking[i].params;
		struct run_list *list = m->reader.parking[i].list;

		if (list == NULL)
			continue;
		m->reader.parking[i].list = NULL;
		if (i == PARK_UNSERVED)
			rehome(m, p);
		param_str(p, reasons[i]);
		db_call(m->writer, &stmt_park, p, parked, list);
		params_reset(p);
	}
}

struct run *
reader_row(struct master *m, const struct db_answer *a, int row, struct lane *l, int64_t due, bool keyed, bool astray)
{
	uint64_t id = (uint64_t)db_int8(a, row, COL_ID), xid = db_xid8(a, row, COL_XID);
	struct run *r;
	size_t task_len, payload_len = 0, metadata_len = 0;
	const char *task = db_text(a, row, COL_TASK, &task_len);
	const struct cause cause = {
		db_null(a, row, COL_EVENT) ? NULL : db_text(a, row, COL_EVENT, NULL),
		db_null(a, row, COL_EVENT_AT) ? NULL : db_text(a, row, COL_EVENT_AT, NULL),
		db_null(a, row, COL_EVENT_KIND) ? '\0' : db_text(a, row, COL_EVENT_KIND, NULL)[0],
	};
	const char *metadata = db_null(a, row, COL_METADATA) ? NULL : db_text(a, row, COL_METADATA, &metadata_len);

	if (run_find(m, id, xid) != NULL)
		return NULL;
	m->reader.found++;
	r = run_new(m, id, xid);
	r->shard = l->shard;
	r->shard->active++;
	r->queue = l->shard->queue;
	r->lane = l;
	/* Among what is ready it is as old as it would be had it been made so just now. */
	if ((r->due = due) != NOT_DUE)
		r->age = m->reader.snapshot.xmax;
	r->task = task_get(m, task, task_len);
	r->attempt = (uint32_t)db_int4(a, row, COL_ATTEMPT) + 1;
	r->pool = task_pool(r->task, r->queue);
	if (astray || limit_strays(r->task, r->shard, keyed)) {
		r->state = RUN_PARKING;
		run_list_add(m, &m->reader.straying, &m->reader.strays, r);
		return NULL;
	}
	/* What has a key waits where it is, in its order. */
	if (keyed && (r->task->paused || r->pool < 0)) {
		m->reader.found--;
		run_free(m, r);
		return NULL;
	}
	if (r->task->paused || r->pool < 0) {
		reader_park(m, r, r->task->paused ? PARK_PAUSED : PARK_UNSERVED);
		return NULL;
	}
	r->child = !db_null(a, row, COL_PARENT);
	/* What a node saved that was cut off is known to nobody but the steps themselves. */
	r->journal = !db_null(a, row, COL_JOURNAL) || run_doubtful(r);
	r->shift_ms = m->clock_shift_ms;
	if (!db_null(a, row, COL_EXPIRES))
		r->expires_ms = clock_ms() + db_int8(a, row, COL_EXPIRES);
	r->large = db_null(a, row, COL_PAYLOAD);
	if (r->large) {
		r->payload_len = (size_t)db_int4(a, row, COL_LENGTH);
		r->event = cause.name != NULL ? xstrdup(cause.name) : NULL;
		r->event_at = cause.at != NULL ? xstrdup(cause.at) : NULL;
		r->event_kind = cause.kind;
		r->metadata = metadata != NULL ? xstrndup(metadata, metadata_len) : NULL;
	} else {
		const char *payload = db_text(a, row, COL_PAYLOAD, &payload_len);

		run_frame(m, r, payload, payload_len, &cause, metadata, metadata_len);
	}
	return r;
}

struct lane *
reader_entry_lane(struct master *m, int32_t shard, uint32_t generation, int32_t lane)
{
	struct shard *s = shard_find(m, shard);

	if (s == NULL || s->generation != generation || !shard_readable(m, s))
		return NULL;
	return shard_lane(m, s, lane);
}

static struct lane *
entry_lane(struct master *m, const struct poll_entry *e)
{
	return reader_entry_lane(m, e->shard, e->generation, e->lane);
}

void
reader_note_bytes(struct lane *l, const struct db_answer *a, int row)
{
	size_t bytes = ROW_OVERHEAD + (db_null(a, row, COL_PAYLOAD) ? 0 : (size_t)db_int4(a, row, COL_LENGTH));

	l->row_bytes = (l->row_bytes * 7 + bytes) / 8;
}

/* All rows of one entry, which stand together. Returns the row behind them. */
static int
read_entry(struct master *m, const struct db_answer *a, int row)
{
	int number = db_int4(a, row, COL_ENTRY);
	struct poll_entry *e = &m->reader.entries[number - 1];
	struct lane *l = entry_lane(m, e);

	for (; row < a->rows && db_int4(a, row, COL_ENTRY) == number; row++) {
		e->rows++;
		e->last_id = (uint64_t)db_int8(a, row, COL_ID);
		e->last_xid = db_xid8(a, row, COL_XID);
		if (l != NULL)
			reader_note_bytes(l, a, row);
	}
	return row;
}

/* The cursor and the late list first, then the rows: buffering them may evict some, which turns the cursor back. */
static void
advance(struct master *m, const struct poll_entry *e)
{
	struct lane *l = entry_lane(m, e);
	const struct snapshot *s = &m->reader.snapshot;
	struct late *late;

	if (l == NULL)
		return;
	/* It was full: what stands behind is not known. */
	if (e->limit == 0) {
		l->more = true;
		return;
	}
	if (e->late) {
		late = late_find(l, e->xid);
		if (late == NULL)
			return;
		if (e->rows < e->limit && !snapshot_shows(s, e->xid))
			late_remove(l, late);
		else if (e->rows != 0)
			late->last_id = e->last_id;
		l->more |= e->rows == e->limit;
		return;
	}
	/* Turned back since the question was sent: what lies between would be missed. */
	if (l->xid != e->xid || l->id != e->id) {
		l->more = true;
		return;
	}
	l->more = e->rows == e->limit;
	l->xid = l->more ? e->last_xid : s->xmax;
	l->id = l->more ? e->last_id : 0;
	late_add(l, s);
}

struct lane *
reader_lane(struct master *m, struct shard *s, int32_t number)
{
	struct lane *l;

	TAILQ_FOREACH(l, &s->queue->lanes, link)
		if (l->shard == s && l->number == number)
			return l;
	/* A row may be older than the other lanes' cursors, though not than the floor. Nothing of it was read yet. */
	l = shard_lane(m, s, number);
	l->xid = s->floor;
	l->id = 0;
	m->reader.again = true;
	return l;
}

static void
new_lane(struct master *m, const struct db_answer *a, int row)
{
	struct shard *s = shard_find(m, db_int4(a, row, COL_SHARD));

	if (s != NULL && shard_readable(m, s))
		reader_lane(m, s, db_int4(a, row, COL_LANE));
}

static void
read_answer(struct master *m, const struct db_answer *a)
{
	struct reader *rd = &m->reader;
	struct lane *l = NULL;
	struct run *r;
	int row, last = 0;

	for (row = 0; row < a->rows; row++) {
		if (db_int4(a, row, COL_ENTRY) != 0)
			continue;
		if (!snapshot_parse(&rd->snapshot, db_text(a, row, COL_TASK, NULL)))
			fatalx("poll: a snapshot of an unknown form: %s", db_text(a, row, COL_TASK, NULL));
		clock_polled(m, db_int8(a, row, COL_EXPIRES));
	}
	for (row = 0; row < a->rows;) {
		int entry = db_int4(a, row, COL_ENTRY);

		if (entry == -1)
			new_lane(m, a, row);
		if (entry < 1 || (size_t)entry > rd->n)
			row++;
		else
			row = read_entry(m, a, row);
	}
	for (size_t i = 0; i < rd->n; i++)
		advance(m, &rd->entries[i]);
	for (row = 0; row < a->rows; row++) {
		int entry = db_int4(a, row, COL_ENTRY);

		if (entry < 1 || (size_t)entry > rd->n)
			continue;
		if (entry != last)
			l = entry_lane(m, &rd->entries[entry - 1]);
		last = entry;
		if (l == NULL)
			continue;
		if ((r = reader_row(m, a, row, l, NOT_DUE, false, false)) != NULL)
			queue_insert(m, r);
	}
}

/*
 * Is a transaction on a late list that has ended, and that the poll did not ask for, as the snapshot before showed it
 * in progress? Whoever sleeps now would not be told: it may have been what the sleep lock waited for.
 */
static bool
late_has_ended(struct master *m)
{
	struct queue *q;
	struct lane *l;

	TAILQ_FOREACH(q, &m->queues, link) {
		struct room ahead = { 0, 0 };

		TAILQ_FOREACH(l, &q->lanes, link) {
			if (!shard_readable(m, l->shard) || queue_lane_room(q, l, &ahead) == 0)
				continue;
			for (size_t i = 0; i < l->late_n; i++)
				if (!snapshot_shows(&m->reader.snapshot, l->late[i].xid))
					return true;
		}
	}
	return false;
}

static void
free_lingering(struct master *m)
{
	struct run *r;

	while ((r = TAILQ_FIRST(&m->reader.lingering)) != NULL) {
		TAILQ_REMOVE(&m->reader.lingering, r, link);
		run_free(m, r);
	}
}

static void
polled(const struct db_answer *a, void *arg)
{
	struct master *m = arg;

	if (a->outcome == DB_ERROR) {
		log_warnx("poll: %s", a->message);
		db_drop(m->reader_db, "a poll failed");
	}
	/* While runs are moved it may show them under the ready_xid that they are being given, which is not known here yet. */
	if (a->outcome == DB_OK && m->moving == 0)
		read_answer(m, a);
	reader_answered(m, a->outcome == DB_OK);
}

/* All of a look is here. */
static void
looked(struct master *m)
{
	struct reader *rd = &m->reader;
	size_t found = rd->found;

	rd->busy = false;
	free_lingering(m);
	if (rd->failed || m->moving != 0)
		return;
	strays_flush(m);
	reader_park_flush(m);
	queue_dispatch_all(m);
	if (rd->again || late_has_ended(m))
		reader_poll(m);
	wake_polled(m, found);
}

void
reader_answered(struct master *m, bool well)
{
	m->reader.failed |= !well;
	if (--m->reader.unanswered == 0)
		looked(m);
}

/*
 * A settled run leaves memory, but not while a poll is under way: that poll's snapshot may be older than the settling
 * and show the row once more.
 */
void
reader_linger(struct master *m, struct run *r)
{
	if (!m->reader.busy) {
		run_free(m, r);
		return;
	}
	keyed_gone(m, r);
	if (r->shard != NULL)
		shard_run_gone(m, r->shard);
	run_set_state(r, RUN_LINGERING);
	TAILQ_INSERT_TAIL(&m->reader.lingering, r, link);
}

/* Cancelled before it was read; a poll under way may still show it. */
void
reader_cancelled(struct master *m, uint64_t id, uint64_t xid)
{
	struct run *r;

	if (!m->reader.busy)
		return;
	r = run_new(m, id, xid);
	run_set_state(r, RUN_LINGERING);
	TAILQ_INSERT_TAIL(&m->reader.lingering, r, link);
}
