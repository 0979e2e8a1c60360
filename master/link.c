/*
 * Messages from workers. Master. One function for each; a worker that sends nonsense is ended, not the master.
 */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/crash.h"
#include "common/json.h"
#include "common/log.h"
#include "common/peer.h"
#include "master/master.h"
#include "proto/messages.h"

static struct msg msg;

static void
protocol_error(struct queue *q, const char *why)
{
	log_error("queue %s: worker: %s", q->name, why);
	peer_close(q->worker.peer, why);
}

/* A run that the worker may speak of; NULL if it ended meanwhile for another reason. */
static struct run *
sent_run(struct master *m, struct queue *q, uint64_t exec)
{
	struct run *r = run_by_exec(m, exec);

	return r != NULL && r->state == RUN_SENT && r->queue == q ? r : NULL;
}

static void
outcome(struct master *m, struct run *r, enum outcome_kind kind, const char *text, size_t len, bool retry,
    int64_t after_ms)
{
	queue_ended(m, r);
	if (r->shard == NULL)
		run_free(m, r);
	else
		settle_add(m, r, kind, text, len, retry, after_ms);
}

static void
on_done(struct master *m, struct queue *q)
{
	struct run *r = sent_run(m, q, msg.exec);
	struct msg_done done;
	const char *why;

	if (msg_done_decode(&msg, &done, &why) == -1) {
		protocol_error(q, why);
		return;
	}
	if (r == NULL)
		return;
	report_completed(m, r);
	outcome(m, r, OUTCOME_COMPLETED, done.result.p, done.result.len, false, -1);
}

static void
add_member(struct buf *b, const char *key, struct pstr value)
{
	if (value.p == NULL)
		return;
	buf_addf(b, "%s\"%s\":", b->len > 1 ? "," : "", key);
	json_quote(b, value.p, value.len);
}

/* It was not an attempt's time that ended, but that of all of them. */
static bool
over(const struct master *m, const struct run *r, const struct msg_fail *fail)
{
	return r->expires_ms != 0 && clock_left_ms(m, r) == 0 && pstr_is(fail->code, "timeout");
}

static void
on_fail(struct master *m, struct queue *q)
{
	struct run *r = sent_run(m, q, msg.exec);
	struct msg_fail fail;
	struct buf error;
	const char *why;
	bool retry;

	if (msg_fail_decode(&msg, &fail, &why) == -1) {
		protocol_error(q, why);
		return;
	}
	if (r == NULL)
		return;
	/* However it has stopped. */
	if (r->halted) {
		outcome(m, r, OUTCOME_SUSPENDED, NULL, 0, true, -1);
		return;
	}
	report_failed(m, r, &fail);
	buf_init(&error);
	buf_addstr(&error, "{");
	add_member(&error, "code", fail.code);
	add_member(&error, "message", fail.message);
	add_member(&error, "type", fail.type);
	add_member(&error, "stack", fail.stack);
	if (fail.data.p != NULL) {
		buf_addstr(&error, ",\"data\":");
		buf_add(&error, fail.data.p, fail.data.len);
	}
	buf_addstr(&error, "}");
	retry = (!fail.has_retry || fail.retry) && !over(m, r, &fail);
	outcome(m, r, OUTCOME_FAILED, (const char *)buf_ptr(&error), error.len, retry,
	    fail.has_after_ms && fail.after_ms < INT64_MAX ? (int64_t)fail.after_ms : -1);
	buf_free(&error);
}

static void
on_suspend(struct master *m, struct queue *q, const uint8_t *body, size_t len)
{
	struct run *r = sent_run(m, q, msg.exec);
	struct msg_suspend suspend;
	const char *why;

	if (msg_suspend_decode(&msg, &suspend, &why) == -1) {
		protocol_error(q, why);
		return;
	}
	crash_point("suspend_received");
	if (r != NULL && r->shard != NULL)
		watch_add(m, r, &suspend);
	if (r != NULL)
		outcome(m, r, OUTCOME_SUSPENDED, (const char *)body, len, true, -1);
}

static void
on_step(struct master *m, struct queue *q)
{
	struct run *r = sent_run(m, q, msg.exec);
	struct msg_step step;
	const char *why;

	if (msg_step_decode(&msg, &step, &why) == -1) {
		protocol_error(q, why);
		return;
	}
	crash_point("step_received");
	/* It is told to stop already if it is not this node's any more. */
	if (r != NULL && r->shard != NULL && !r->dropped && r->doom == NULL)
		steps_add(m, r, &step);
}

static void
on_call(struct master *m, struct queue *q)
{
	struct run *r = sent_run(m, q, msg.exec);
	struct msg_call call;
	const char *why;

	if (msg_call_decode(&msg, &call, &why) == -1)
		protocol_error(q, why);
	else if (r != NULL && r->shard != NULL && !r->dropped)
		calls_add(m, r, &call);
}

static void
on_progress(struct master *m, struct queue *q)
{
	struct run *r = sent_run(m, q, msg.exec);
	struct msg_progress progress;
	const char *why;

	if (msg_progress_decode(&msg, &progress, &why) == -1)
		protocol_error(q, why);
	else if (r != NULL && r->shard != NULL && !r->dropped)
		note_progress(m, r, &progress);
}

static void
on_journal(struct master *m, struct queue *q)
{
	struct run *r = sent_run(m, q, msg.exec);
	struct msg_journal journal;
	const char *why;

	if (msg_journal_decode(&msg, &journal, &why) == -1)
		protocol_error(q, why);
	else if (r != NULL && r->shard != NULL && !r->dropped)
		fetch_more(m, r);
}

static void
on_deferred(struct master *m, struct queue *q)
{
	struct run *r = sent_run(m, q, msg.exec);
	struct msg_deferred deferred;
	const char *why;

	if (msg_deferred_decode(&msg, &deferred, &why) == -1) {
		protocol_error(q, why);
		return;
	}
	if (r == NULL)
		return;
	report_deferred(m, r);
	outcome(m, r, OUTCOME_DEFERRED, NULL, 0, true, -1);
}

static void
on_started(struct master *m, struct queue *q)
{
	struct msg_started started;
	const char *why;

	if (msg_started_decode(&msg, &started, &why) == -1) {
		protocol_error(q, why);
		return;
	}
	for (size_t i = 0; i < started.execs_n; i++) {
		struct run *r = sent_run(m, q, started.execs[i]);

		if (r == NULL)
			continue;
		r->started = true;
		r->pid = (pid_t)started.pid;
	}
}

static void
on_returned(struct master *m, struct queue *q)
{
	struct msg_returned returned;
	const char *why;

	if (msg_returned_decode(&msg, &returned, &why) == -1) {
		protocol_error(q, why);
		return;
	}
	log_debug("queue %s: %zu runs returned: %.*s", q->name, returned.execs_n, (int)returned.reason.len, returned.reason.p);
	for (size_t i = 0; i < returned.execs_n; i++) {
		struct run *r = sent_run(m, q, returned.execs[i]);

		if (r == NULL)
			continue;
		queue_ended(m, r);
		run_put_back(m, r);
	}
}

static void
on_log(struct master *m, struct queue *q)
{
	struct run *r = sent_run(m, q, msg.exec);
	struct msg_log line;
	const char *why;

	if (msg_log_decode(&msg, &line, &why) == -1)
		protocol_error(q, why);
	else if (r != NULL)
		lines_add(m, r, &line);
}

static void
on_slots(struct master *m, struct queue *q)
{
	struct msg_slots slots;
	const char *why;

	(void)m;
	if (msg_slots_decode(&msg, &slots, &why) == -1) {
		protocol_error(q, why);
		return;
	}
	if (slots.pool < (uint64_t)q->pools_n)
		q->pools[slots.pool].slots += slots.slots;
}

static void
on_announce(struct master *m, struct queue *q)
{
	struct msg_announce announce;
	const char *why;

	if (msg_announce_decode(&msg, &announce, &why) == -1) {
		protocol_error(q, why);
		return;
	}
	task_announced(m, q, &announce);
	if (q->discovery)
		server_discovered(m, q, &announce, NULL);
}

static void
on_broken(struct master *m, struct queue *q)
{
	struct msg_broken broken;
	const char *why;
	char reason[512];

	if (msg_broken_decode(&msg, &broken, &why) == -1) {
		protocol_error(q, why);
		return;
	}
	if (broken.pool >= (uint64_t)q->pools_n)
		return;
	snprintf(reason, sizeof(reason), "%.*s", (int)broken.reason.len, broken.reason.p);
	if (!q->pools[broken.pool].broken)
		log_error("queue %s: %s does not start: %s", q->discovery ? "(discovery)" : q->name,
		    q->pools[broken.pool].name, reason);
	q->pools[broken.pool].broken = true;
	if (q->discovery)
		server_discovered(m, q, NULL, reason);
	else
		task_pools_changed(m, q);
}

static void
on_frame(struct peer *peer, const uint8_t *body, size_t len, void *arg)
{
	struct queue *q = arg;
	struct master *m = q->master;
	const char *why;

	(void)peer;
	if (msg_open(&msg, body, len, &why) == -1) {
		protocol_error(q, why);
		return;
	}
	if (!msg_allowed(msg.type, MSG_WORKER_TO_MASTER)) {
		if (!msg_ignorable(msg.type))
			protocol_error(q, "a message that a worker may not send");
		return;
	}
	switch (msg.type) {
	case MSG_DONE:
		on_done(m, q);
		break;
	case MSG_FAIL:
		on_fail(m, q);
		break;
	case MSG_SUSPEND:
		on_suspend(m, q, body, len);
		break;
	case MSG_STEP:
		on_step(m, q);
		break;
	case MSG_CALL:
		on_call(m, q);
		break;
	case MSG_PROGRESS:
		on_progress(m, q);
		break;
	case MSG_JOURNAL:
		on_journal(m, q);
		break;
	case MSG_LOG:
		on_log(m, q);
		break;
	case MSG_SLOTS:
		on_slots(m, q);
		break;
	case MSG_STARTED:
		on_started(m, q);
		break;
	case MSG_RETURNED:
		on_returned(m, q);
		break;
	case MSG_DEFERRED:
		on_deferred(m, q);
		break;
	case MSG_ANNOUNCE:
		on_announce(m, q);
		break;
	case MSG_BROKEN:
		on_broken(m, q);
		break;
	case MSG_BYE:
		break;
	}
}

static void
on_drained(struct peer *peer, void *arg)
{
	struct queue *q = arg;

	(void)peer;
	steps_flush(q->master);
	calls_flush(q->master);
	settle_flush(q->master);
	queue_dispatch(q->master, q);
}

static void
on_closed(struct peer *peer, const char *why, void *arg)
{
	struct queue *q = arg;

	(void)peer;
	worker_closed(q->master, q, why);
}

static void
on_flushed(struct peer *peer, void *arg)
{
	struct queue *q = arg;

	(void)peer;
	queue_dispatch(q->master, q);
}

const struct peer_ops link_ops = { on_frame, on_drained, on_closed, on_flushed };
