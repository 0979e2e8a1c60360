/*
 * What suspended runs wait for, as parameters of the statement that puts them aside. Master.
 */
#include "config.h"

#include <inttypes.h>
#include <string.h>

#include "common/log.h"
#include "master/master.h"
#include "proto/messages.h"

const struct db_stmt suspend_stmt = { "suspend_runs",
	"select pos, used from pgconductor.suspend_runs($1::bigint[], $2::xid8[], $3::boolean[], $4::bigint[], $5::int[], $6::text[],"
	" $7::bigint[], $8::text[], $9::text[], $10::json[], $11::int[], $12::bigint[], $13::text[], $14::text[], $15::text[],"
	" $16::json[], $17::json[])" };

/* The first four by run, the others by wait. */
enum { IDS, XIDS, ANYS, LIMITS, RUNS, KEYS, TIMERS, TASKS, QUEUES, PAYLOADS, PRIORITIES, TIMEOUTS, EVENTS, FILTERS, SINCES, CHANGES,
    METADATAS, ALL };

static const enum param_type types[ALL] = {
	[IDS] = PARAM_INT8, [XIDS] = PARAM_XID8, [ANYS] = PARAM_BOOL, [LIMITS] = PARAM_INT8, [RUNS] = PARAM_INT4,
	[KEYS] = PARAM_TEXT, [TIMERS] = PARAM_INT8, [TASKS] = PARAM_TEXT, [QUEUES] = PARAM_TEXT, [PAYLOADS] = PARAM_JSON,
	[PRIORITIES] = PARAM_INT4, [TIMEOUTS] = PARAM_INT8, [EVENTS] = PARAM_TEXT, [FILTERS] = PARAM_TEXT,
	[SINCES] = PARAM_TEXT, [CHANGES] = PARAM_JSON, [METADATAS] = PARAM_JSON
};

void
suspend_begin(struct params *p)
{
	params_reset(p);
	for (int i = 0; i < ALL; i++)
		param_array(p, types[i]);
}

static void
add_ms(struct params *p, int array, bool given, uint64_t ms)
{
	if (!given)
		param_array_null(p, array);
	else
		param_array_int8(p, array, ms < INT64_MAX ? (int64_t)ms : INT64_MAX);
}

static void
add_text(struct params *p, int array, struct pstr s)
{
	param_array_text_or_null(p, array, s.p, s.len);
}

static void
add_wait(struct params *p, int32_t run, const struct msg_wait *w)
{
	int64_t priority = w->priority > INT16_MAX ? INT16_MAX : w->priority < INT16_MIN ? INT16_MIN : w->priority;

	param_array_int4(p, RUNS, run);
	add_text(p, KEYS, w->key);
	add_ms(p, TIMERS, w->has_timer_ms, w->timer_ms);
	add_text(p, TASKS, w->task);
	add_text(p, QUEUES, w->queue);
	add_text(p, PAYLOADS, w->payload);
	if (w->has_priority)
		param_array_int4(p, PRIORITIES, (int32_t)priority);
	else
		param_array_null(p, PRIORITIES);
	add_ms(p, TIMEOUTS, w->has_timeout_ms, w->timeout_ms);
	add_text(p, EVENTS, w->event);
	add_text(p, FILTERS, w->filter);
	add_text(p, SINCES, w->since);
	add_text(p, CHANGES, w->change);
	add_text(p, METADATAS, w->metadata);
}

void
suspend_add(struct params *p, const struct run *r, const char *body, size_t len)
{
	static struct msg frame;
	struct msg_suspend s;
	const char *why;

	memset(&s, 0, sizeof(s));
	/* It was decoded before, when it came. */
	if (len != 0 && (msg_open(&frame, (const uint8_t *)body, len, &why) == -1 ||
	    msg_suspend_decode(&frame, &s, &why) == -1))
		fatalx("execution %" PRIu64 ": %s", r->id, why);
	param_array_int8(p, IDS, (int64_t)r->id);
	param_array_xid8(p, XIDS, r->xid);
	param_array_bool(p, ANYS, s.has_any && s.any);
	add_ms(p, LIMITS, s.has_timeout_ms, s.timeout_ms);
	for (size_t i = 0; i < s.waits_n; i++)
		add_wait(p, (int32_t)p->count[IDS], &s.waits[i]);
}
