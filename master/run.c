/*
 * The runs in memory. Master.
 *
 * A run is (id, ready_xid), never the id alone: a row that became ready again while its former run was under way is
 * another run. Found by that pair when read, and by its exec when a worker speaks of it.
 */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "common/log.h"
#include "common/xmalloc.h"
#include "master/master.h"
#include "master/trace.h"
#include "proto/messages.h"

#define SLOT_BITS	20
#define SLOT_MAX	(1u << SLOT_BITS)
/* Slot and generation are a number that every language holds exactly: see docs/protocol.md. */
#define EXEC_BITS	53
#define GENERATION_MAX	((UINT64_C(1) << (EXEC_BITS - SLOT_BITS)) - 1)

static const char *const state_names[] = {
	"buffered", "parking", "fetching", "noting", "gathered", "sent", "settling", "lingering"
};

static size_t
bucket_of(const struct run_table *t, uint64_t id)
{
	return (size_t)(id * UINT64_C(0x9e3779b97f4a7c15) >> 20) & (t->buckets_n - 1);
}

static void
grow_buckets(struct run_table *t)
{
	struct run **old = t->buckets;
	size_t old_n = t->buckets_n;

	t->buckets_n = old_n != 0 ? old_n * 2 : 1024;
	t->buckets = xcalloc(t->buckets_n, sizeof(struct run *));
	for (size_t i = 0; i < old_n; i++) {
		struct run *r = old[i], *next;

		for (; r != NULL; r = next) {
			size_t b = bucket_of(t, r->id);

			next = r->hash_next;
			r->hash_next = t->buckets[b];
			t->buckets[b] = r;
		}
	}
	free(old);
}

static void
grow_slots(struct run_table *t)
{
	uint32_t n = t->slots_n != 0 ? t->slots_n * 2 : 1024;

	if (n > SLOT_MAX)
		fatalx("more than %u runs in memory", SLOT_MAX);
	t->slots = xreallocarray(t->slots, n, sizeof(struct run *));
	t->free_slots = xreallocarray(t->free_slots, n, sizeof(uint32_t));
	for (uint32_t i = n; i-- > t->slots_n;) {
		t->slots[i] = NULL;
		t->free_slots[t->free_n++] = i;
	}
	t->slots_n = n;
}

struct run *
run_new(struct master *m, uint64_t id, uint64_t xid)
{
	struct run_table *t = &m->runs;
	struct run *r = t->spare;
	uint32_t slot;
	size_t b;

	if (t->n >= t->buckets_n)
		grow_buckets(t);
	if (t->free_n == 0)
		grow_slots(t);
	if (r != NULL)
		t->spare = r->hash_next;
	else
		r = xmalloc(sizeof(*r));
	memset(r, 0, sizeof(*r));
	slot = t->free_slots[--t->free_n];
	t->slots[slot] = r;
	/* The generation keeps a late frame about the slot's former run from meeting this one. 0 is the session. */
	t->generation = t->generation % GENERATION_MAX + 1;
	r->exec = t->generation << SLOT_BITS | slot;
	r->id = id;
	r->xid = r->age = xid;
	r->due = NOT_DUE;
	b = bucket_of(t, id);
	r->hash_next = t->buckets[b];
	t->buckets[b] = r;
	t->n++;
	return r;
}

void
run_free(struct master *m, struct run *r)
{
	struct run_table *t = &m->runs;
	struct run **p = &t->buckets[bucket_of(t, r->id)];
	uint32_t slot = r->exec & (SLOT_MAX - 1);

	while (*p != r)
		p = &(*p)->hash_next;
	*p = r->hash_next;
	keyed_gone(m, r);
	t->slots[slot] = NULL;
	t->free_slots[t->free_n++] = slot;
	t->n--;
	free(r->frame);
	free(r->event);
	free(r->event_at);
	free(r->metadata);
	free(r->held);
	free(r->doom);
	if (r->shard != NULL && r->state != RUN_LINGERING)
		shard_run_gone(m, r->shard);
	r->hash_next = t->spare;
	t->spare = r;
}

/* Its shard was lost. It may go on for a while, but nothing comes of it: if its row is read again, that is another run. */
static bool
is_lost(const struct run *r)
{
	return r->dropped && r->shard == NULL && r->state != RUN_LINGERING;
}

struct run *
run_find(struct master *m, uint64_t id, uint64_t xid)
{
	struct run_table *t = &m->runs;

	if (t->buckets_n == 0)
		return NULL;
	for (struct run *r = t->buckets[bucket_of(t, id)]; r != NULL; r = r->hash_next)
		if (r->id == id && r->xid == xid && !is_lost(r))
			return r;
	return NULL;
}

bool
run_doubtful(const struct run *r)
{
	return r->xid < r->shard->note_below && (r->due == NOT_DUE || r->due <= r->shard->note_until);
}

struct run *
run_by_exec(struct master *m, uint64_t exec)
{
	uint32_t slot = exec & (SLOT_MAX - 1);
	struct run *r;

	if (slot >= m->runs.slots_n)
		return NULL;
	r = m->runs.slots[slot];
	return r != NULL && r->exec == exec ? r : NULL;
}

struct run *
run_next_of(struct master *m, uint64_t id, struct run *from)
{
	struct run_table *t = &m->runs;
	struct run *r;

	if (t->buckets_n == 0)
		return NULL;
	r = from != NULL ? from->hash_next : t->buckets[bucket_of(t, id)];
	while (r != NULL && r->id != id)
		r = r->hash_next;
	return r;
}

void
run_rekey(struct master *m, struct run *r, uint64_t xid)
{
	/* The hash is of the id alone, which stays. */
	(void)m;
	r->xid = r->age = xid;
	/* Who moved it has made it ready. */
	r->due = NOT_DUE;
}

void
run_set_state(struct run *r, enum run_state state)
{
	if (log_enabled(LOG_LEVEL_DEBUG))
		log_debug("run %" PRIu64 "/%" PRIu64 ": %s -> %s", r->id, r->xid, state_names[r->state], state_names[state]);
	r->state = state;
}

void
run_each(struct master *m, run_each_cb cb, void *arg)
{
	for (uint32_t i = 0; i < m->runs.slots_n; i++)
		if (m->runs.slots[i] != NULL)
			cb(m, m->runs.slots[i], arg);
}

void
run_cancelled(struct master *m, struct run *r, const char *reason)
{
	/* Should it come back from where it is, it is not started. */
	r->dropped = true;
	switch (r->state) {
	case RUN_BUFFERED:
		queue_unbuffer(m, r);
		run_free(m, r);
		break;
	case RUN_SENT:
		worker_cancel(m, r, reason != NULL ? reason : "cancelled");
		break;
	default:
		/* Whatever comes of it finds no row. */
		break;
	}
}

void
run_put_back(struct master *m, struct run *r)
{
	/* It has saved something: its row must say so before somebody reads it again. */
	if (r->wrote && !r->dropped && r->shard != NULL) {
		settle_add(m, r, OUTCOME_SUSPENDED, NULL, 0, true, -1);
		return;
	}
	if (r->noted)
		note_forget(m, r);
	/* It may have saved a step in a transaction of its own; then its row says so. */
	r->journal |= r->started;
	r->started = r->complete = false;
	/* It comes before the others of its key, if it is still there. */
	if (!r->dropped)
		keyed_put_back(m, r);
	if (r->dropped) {
		run_free(m, r);
		return;
	}
	/* Its row is as it was: whoever reads the shard next finds it, if the floor stays below it. */
	if (r->shard == NULL || r->shard->state != SHARD_OWNED || m->stopping) {
		lane_unread(r);
		run_free(m, r);
		return;
	}
	/* The worker's programs may have changed meanwhile, and what is limited. */
	r->pool = task_pool(r->task, r->queue);
	if (r->pool < 0 || limit_strays(r->task, r->shard, r->key != NULL) ||
	    (r->key != NULL && r->gate_xid != r->task->limited_xid)) {
		lane_unread(r);
		run_free(m, r);
		return;
	}
	run_set_state(r, RUN_BUFFERED);
	queue_insert(m, r);
}

static char *
copy_digits(char *p, uint64_t v)
{
	char tmp[20];
	int n = 0;

	do
		tmp[n++] = (char)('0' + v % 10);
	while ((v /= 10) != 0);
	while (n > 0)
		*p++ = tmp[--n];
	return p;
}

static void
put_frame(struct master *m, struct run *r, const struct msg_run *msg)
{
	struct buf *b = &m->reader.scratch;

	buf_reset(b, 1 << 20);
	msg_run_encode(b, r->exec, msg);
	/* What msg holds may be in the former frame. */
	free(r->frame);
	r->frame_len = b->len;
	r->frame = xmemdup(buf_ptr(b), b->len);
}

/* As the table executions has it. */
static const char *
kind_word(char kind)
{
	switch (kind) {
	case 's':
		return "schedule";
	case 'e':
	case 'p':
		return "event";
	case 'c':
		return "change";
	default:
		return "invoke";
	}
}

void
run_frame(struct master *m, struct run *r, const char *payload, size_t payload_len, const struct cause *cause,
    const char *metadata, size_t metadata_len)
{
	char id[24], token[72], *p;
	struct msg_run msg = {
		.task = pstr(r->task->name),
		.attempt = r->attempt,
		.event.name = pstr(cause->name != NULL ? cause->name : "pgconductor.invoke"),
		.event.payload = { payload, payload_len },
		.event.at = pstr(cause->at),
		.event.kind = pstr(kind_word(cause->kind)),
		.event.has_parts = cause->kind == 'p',
		.event.parts = true,
		.has_deadline_ms = r->task->timeout_ms != 0,
		.deadline_ms = r->task->timeout_ms,
		.metadata = { metadata, metadata_len },
		.trace = trace_parent(metadata, metadata_len),
	};

	p = copy_digits(id, r->id);
	msg.id.p = id;
	msg.id.len = (size_t)(p - id);
	p = copy_digits(token, r->xid);
	*p++ = '.';
	p = copy_digits(p, r->shard->epoch);
	*p++ = '.';
	p = copy_digits(p, (uint64_t)m->node);
	msg.token.p = token;
	msg.token.len = (size_t)(p - token);
	put_frame(m, r, &msg);
}

void
run_open(struct master *m, const struct run *r, struct msg *frame, struct msg_run *msg)
{
	const char *why;
	int64_t left;

	if (msg_open(frame, r->frame + MSG_HEAD, r->frame_len - MSG_HEAD, &why) == -1 ||
	    msg_run_decode(frame, msg, &why) == -1)
		fatalx("run %" PRIu64 ": %s", r->id, why);
	msg->has_deadline_ms = r->task->timeout_ms != 0;
	msg->deadline_ms = r->task->timeout_ms;
	if (r->expires_ms != 0) {
		left = clock_left_ms(m, r);
		left = left > 0 ? left : 1;
		if (!msg->has_deadline_ms || (uint64_t)left < msg->deadline_ms)
			msg->deadline_ms = (uint64_t)left;
		msg->has_deadline_ms = true;
	}
}

/* Its payload and all else stay as they are. */
void
run_refit(struct master *m, struct run *r, struct msg_saved *steps, size_t n, bool more)
{
	static struct msg frame;
	struct msg_run msg;

	run_open(m, r, &frame, &msg);
	msg.steps = steps;
	msg.steps_n = n;
	msg.has_more_steps = msg.more_steps = more;
	put_frame(m, r, &msg);
}

void
run_forget_payload(struct run *r)
{
	if (!r->large)
		return;
	free(r->frame);
	r->frame = NULL;
	r->frame_len = 0;
}

/* ---- what it writes on its way ---- */

/* An outcome that waits. */
struct held {
	enum outcome_kind	 kind;
	bool			 retry;
	int64_t			 after_ms;
	size_t			 len;
	char			 text[];
};

void
run_hold(struct run *r, enum outcome_kind kind, const char *text, size_t len, bool retry, int64_t after_ms)
{
	struct held *h = xmalloc(sizeof(*h) + len);

	h->kind = kind;
	h->retry = retry;
	h->after_ms = after_ms;
	h->len = len;
	if (len != 0)
		memcpy(h->text, text, len);
	free(r->held);
	r->held = h;
}

void
run_writing(struct run *r)
{
	r->writing++;
	r->wrote = true;
}

void
run_written(struct master *m, struct run *r)
{
	struct held *h = r->held;

	if (--r->writing != 0)
		return;
	r->unsure = false;
	if (h == NULL)
		return;
	r->held = NULL;
	settle_release(m, r, h->kind, h->text, h->len, h->retry, h->after_ms);
	free(h);
}

void
run_doom(struct master *m, struct run *r, const char *code, const char *message)
{
	struct buf error;

	if (r->doom != NULL)
		return;
	log_info("execution %" PRIu64 ": %s: %s", r->id, code, message);
	buf_init(&error);
	buf_addf(&error, "{\"code\":\"%s\",\"message\":", code);
	json_quote(&error, message, strlen(message));
	buf_addstr(&error, "}");
	r->doom = buf_steal_str(&error);
	if (r->state == RUN_SENT)
		worker_cancel(m, r, code);
}

void
run_free_all(struct master *m)
{
	struct run_table *t = &m->runs;

	for (uint32_t i = 0; i < t->slots_n; i++)
		if (t->slots[i] != NULL)
			run_free(m, t->slots[i]);
	while (t->spare != NULL) {
		struct run *next = t->spare->hash_next;

		free(t->spare);
		t->spare = next;
	}
	free(t->slots);
	free(t->free_slots);
	free(t->buckets);
}
