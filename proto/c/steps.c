/*
 * libpgconductor: steps, sleeping, children, and what else an execution asks for on its way.
 */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "common/utf8.h"
#include "common/xmalloc.h"
#include "proto/c/private.h"

#define KEY_BYTES	1024
#define NOTE_BYTES	1000

/* Waiting for the worker */

typedef bool	done_fn(const struct pgc_run *);

/* 0 when it is so; PGC_OVER when the run is over first. */
static int
wait_until(struct pgc_run *r, done_fn *done)
{
	struct pgc *c = r->c;
	uint64_t serial = r->serial;
	struct pollfd p = { .fd = c->fd };

	/* In a callback nothing can be read. */
	if (c->reading)
		return run_stopped(r) ? PGC_OVER : 0;
	while (!done(r)) {
		pgc_beat(c, pgc_now());
		pgc_flush(c);
		if (run_stopped(r))
			return PGC_OVER;
		p.events = pgc_events(c);
		if (poll(&p, 1, pgc_beat(c, pgc_now())) == -1 && errno != EINTR)
			pgc_lose(c, "poll: %s", strerror(errno));
		pgc_read(c);
		/* A callback may have finished it. */
		if (r->serial != serial || r->state != RUN_RUNNING)
			return PGC_OVER;
	}
	return 0;
}

/* Whether it is there, and one that saves and waits; of a batch none does. */
static bool
may_last(struct pgc_run *r)
{
	struct pgc_failure f = PGC_FAILURE;

	if (r->state == RUN_FREE || !r->together)
		return r->state != RUN_FREE;
	f.message = "an execution of a batch has no steps, and cannot wait: make a task of its own of what lasts";
	f.for_good = true;
	pgc_fail_with(r, &f);
	return false;
}

/* Keys */

/* The run may go on, though what it is about to do is bound to fail. */
static void
at_fault(struct pgc_run *r, const char *key)
{
	if (r->fault == NULL)
		r->fault = xasprintf("the key \"%s\" is used twice in one run: each stands for one step, sleep or child", key);
}

static int
fail_for_good(struct pgc_run *r, const char *code, const char *message)
{
	struct pgc_failure f = PGC_FAILURE;

	f.code = code;
	f.message = message;
	f.for_good = true;
	pgc_fail_with(r, &f);
	return PGC_OVER;
}

static int
check_key(struct pgc_run *r, const char *key)
{
	if (key == NULL || *key == '\0' || strlen(key) > KEY_BYTES || !utf8_valid(key, strlen(key)))
		return fail_for_good(r, "app", "the key of a step is empty, longer than 1024 bytes or not UTF-8");
	return 0;
}

/* One without a key is named by its turn, which is the same in each run. */
static const char *
key_or_turn(struct pgc_run *r, const char *key, char *buf, size_t size)
{
	if (key != NULL)
		return key;
	snprintf(buf, size, "%s#%u", pgc_task_name(r), ++journal_of(r)->unnamed);
	return buf;
}

/* What is saved under a key that is named now, for the first time in this run. */
static struct saved *
use(struct pgc_run *r, const char *key)
{
	struct saved *s = r->journal != NULL ? journal_find(r->journal, key) : NULL;

	if (s == NULL)
		return NULL;
	if (s->used)
		at_fault(r, key);
	s->used = true;
	return s;
}

/* Steps */

PUBLIC const char *
pgc_saved(struct pgc_run *r, const char *key)
{
	struct saved *s = use(r, key);

	if (s == NULL)
		return NULL;
	return s->result != NULL ? s->result : s->error != NULL ? s->error : "null";
}

static int
check_result(struct pgc_run *r, const char *json)
{
	size_t len = json != NULL ? strlen(json) : 0;

	if (len > r->c->max_payload)
		return fail_for_good(r, "oversize", "the result of a step is too long");
	if (json != NULL && (!utf8_valid(json, len) || json_check(json, len, NULL, NULL) == -1))
		return fail_for_good(r, "bad_result", "the result of a step is not JSON");
	return 0;
}

PUBLIC int
pgc_save(struct pgc_run *r, const char *key, const char *json)
{
	struct msg_step m = { .key = pstr(key), .result = pstr(json) };

	if (!may_last(r) || check_key(r, key) != 0 || check_result(r, json) != 0)
		return PGC_OVER;
	if (r->journal != NULL && journal_find(r->journal, key) != NULL)
		at_fault(r, key);
	if (run_stopped(r))
		return PGC_OVER;
	journal_add(r, key, json);
	r->journal->pending++;
	msg_step_encode(&r->c->out, r->exec, &m);
	return 0;
}

void
steps_ok(struct pgc_run *r, const struct pstr *key)
{
	struct pgc *c = r->c;
	char *text = xstrndup(key->p, key->len);
	struct saved *s = r->journal != NULL ? journal_find(r->journal, text) : NULL;

	free(text);
	if (s == NULL || s->committed)
		return;
	s->committed = true;
	if (--r->journal->pending == 0 && c->on_saved != NULL && r->state == RUN_RUNNING)
		c->on_saved(r, c->on_saved_arg);
}

static bool
all_committed(const struct pgc_run *r)
{
	return r->journal == NULL || r->journal->pending == 0;
}

PUBLIC int
pgc_flush_steps(struct pgc_run *r)
{
	return r->state == RUN_FREE ? PGC_OVER : wait_until(r, all_committed);
}

PUBLIC int
pgc_save_now(struct pgc_run *r, const char *key, const char *json)
{
	return pgc_save(r, key, json) != 0 ? PGC_OVER : pgc_flush_steps(r);
}

/* Waiting */

static int
suspend(struct pgc_run *r, struct msg_wait *waits, size_t n, bool any)
{
	struct msg_suspend m = { .waits = waits, .waits_n = n, .has_any = any, .any = any };
	struct pgc *c = r->c;
	size_t before = c->out.len;

	if (run_stopped(r))
		return PGC_OVER;
	msg_suspend_encode(&c->out, r->exec, &m);
	if (c->out.len - before > c->max_frame + MSG_HEAD) {
		c->out.len = before;
		return fail_for_good(r, "oversize", "what it waits for does not fit in a message: wait for less at a time");
	}
	run_retire(r);
	return PGC_OVER;
}

PUBLIC int
pgc_sleep(struct pgc_run *r, const char *key, int64_t ms)
{
	struct msg_wait w = { .has_timer_ms = true, .timer_ms = ms > 0 ? (uint64_t)ms : 0 };
	char turn[256];

	if (!may_last(r))
		return PGC_OVER;
	key = key_or_turn(r, key, turn, sizeof(turn));
	if (check_key(r, key) != 0)
		return PGC_OVER;
	if (use(r, key) != NULL)
		return run_stopped(r) ? PGC_OVER : 0;
	w.key = pstr(key);
	return suspend(r, &w, 1, false);
}

/* 1: it is still to be waited for; 0: its outcome is there; PGC_OVER. */
static int
look_at_child(struct pgc_run *r, struct pgc_child *child, const char *key, struct msg_wait *w)
{
	struct saved *s;

	if (check_key(r, key) != 0)
		return PGC_OVER;
	if (child->payload != NULL && json_check(child->payload, strlen(child->payload), NULL, NULL) == -1)
		return fail_for_good(r, "app", "the payload of a child is not JSON");
	if (child->metadata != NULL && json_check(child->metadata, strlen(child->metadata), NULL, NULL) == -1)
		return fail_for_good(r, "app", "the metadata of a child is not JSON");
	if ((s = use(r, key)) != NULL) {
		child->error = s->error;
		child->result = s->error != NULL ? NULL : s->result != NULL ? s->result : "null";
		return 0;
	}
	/* So that a second one under this key is noticed; it is not sent. */
	journal_add(r, key, NULL);
	*w = (struct msg_wait){ .key = pstr(journal_find(r->journal, key)->key), .task = pstr(child->task),
	    .queue = pstr(child->queue), .payload = pstr(child->payload), .has_priority = child->priority != PGC_PRIORITY_OF_TASK,
	    .priority = child->priority, .has_timeout_ms = child->timeout_ms >= 0,
	    .timeout_ms = (uint64_t)child->timeout_ms, .metadata = pstr(child->metadata) };
	return 1;
}

PUBLIC int
pgc_invoke_all(struct pgc_run *r, struct pgc_child *children, size_t n)
{
	struct msg_wait *waits;
	size_t waits_n = 0;
	char turn[256];
	int found = 0;

	if (!may_last(r))
		return PGC_OVER;
	waits = xcalloc(n + 1, sizeof(*waits));
	for (size_t i = 0; i < n && found != PGC_OVER; i++) {
		found = look_at_child(r, &children[i], key_or_turn(r, children[i].key, turn, sizeof(turn)), &waits[waits_n]);
		if (found == 1)
			waits_n++;
	}
	if (found != PGC_OVER)
		found = waits_n != 0 ? suspend(r, waits, waits_n, false) : run_stopped(r) ? PGC_OVER : 0;
	free(waits);
	return found;
}

PUBLIC int
pgc_invoke(struct pgc_run *r, struct pgc_child *child)
{
	return pgc_invoke_all(r, child, 1);
}

static void
add_member(struct buf *b, const char *name, const char *text)
{
	buf_addf(b, "%s\"%s\":", b->len > 1 ? "," : "", name);
	json_quote(b, text, strlen(text));
}

/* A member that may be left out. */
static void
add_option(struct buf *b, const char *name, const char *text)
{
	if (text != NULL)
		add_member(b, name, text);
}

static char *
change_of(const struct pgc_event_wait *e)
{
	struct buf b;

	buf_init(&b);
	buf_addstr(&b, "{");
	add_option(&b, "schema", e->schema);
	add_member(&b, "table", e->table);
	add_option(&b, "operation", e->operation);
	add_option(&b, "columns", e->columns);
	add_option(&b, "when", e->filter);
	buf_addstr(&b, "}");
	return buf_steal_str(&b);
}

/*
 * As look_at_child; but one that is not there may be named again in this run, when another one of several was enough. The
 * wait's change is the caller's to free.
 */
static int
look_at_event(struct pgc_run *r, struct pgc_event_wait *e, const char *key, struct msg_wait *w)
{
	struct saved *s;

	if (check_key(r, key) != 0)
		return PGC_OVER;
	e->payload = e->error = NULL;
	if ((s = use(r, key)) != NULL) {
		e->error = s->error;
		e->payload = s->error != NULL ? NULL : s->result != NULL ? s->result : "null";
		return 0;
	}
	*w = (struct msg_wait){ .key = pstr(key), .since = pstr(e->since_start ? "start" : NULL),
	    .has_timeout_ms = e->timeout_ms >= 0, .timeout_ms = (uint64_t)e->timeout_ms };
	if (e->table != NULL) {
		w->change = pstr(change_of(e));
	} else {
		w->event = pstr(e->event);
		w->filter = pstr(e->filter);
	}
	return 1;
}

PUBLIC int
pgc_wait_events(struct pgc_run *r, struct pgc_event_wait *events, size_t n, bool any)
{
	struct msg_wait *waits;
	size_t waits_n = 0;
	char (*turns)[256];
	int found = 0;

	if (!may_last(r))
		return PGC_OVER;
	waits = xcalloc(n + 1, sizeof(*waits));
	turns = xcalloc(n + 1, sizeof(*turns));
	for (size_t i = 0; i < n && found != PGC_OVER; i++) {
		found = look_at_event(r, &events[i], key_or_turn(r, events[i].key, turns[i], sizeof(turns[i])), &waits[waits_n]);
		if (found == 1)
			waits_n++;
	}
	if (found != PGC_OVER)
		found = waits_n != 0 && (!any || waits_n == n) ? suspend(r, waits, waits_n, any) : run_stopped(r) ? PGC_OVER : 0;
	for (size_t i = 0; i < n; i++)
		free((char *)waits[i].change.p);
	free(turns);
	free(waits);
	return found;
}

PUBLIC int
pgc_wait_event(struct pgc_run *r, struct pgc_event_wait *event)
{
	return pgc_wait_events(r, event, 1, false);
}

PUBLIC int
pgc_fail_child(struct pgc_run *r, const struct pgc_child *child)
{
	char *message = child->error != NULL ? error_member(child->error, "message") : NULL;
	char *text = xasprintf("Child execution failed: %s", message != NULL ? message : "(no message)");
	struct pgc_failure f = PGC_FAILURE;
	int verdict;

	f.message = text;
	f.type = "ChildFailed";
	f.data = child->error;
	f.for_good = true;
	verdict = pgc_fail_with(r, &f);
	free(text);
	free(message);
	return verdict;
}

PUBLIC int
pgc_checkpoint(struct pgc_run *r)
{
	if (r->state == RUN_FREE)
		return PGC_OVER;
	if (r->cancel == NULL && !r->c->reading)
		pgc_look(r->c, pgc_now());
	if (run_stopped(r))
		return PGC_OVER;
	return r->c->ending && !r->together ? suspend(r, NULL, 0, false) : 0;
}

PUBLIC void
pgc_progress(struct pgc_run *r, int percent, const char *note)
{
	struct msg_progress m = { .has_percent = percent >= 0, .percent = (uint64_t)percent, .note = pstr(note) };

	if (r->state == RUN_FREE || r->c->lost)
		return;
	if (m.note.len > NOTE_BYTES)
		m.note.len = NOTE_BYTES;
	if (m.note.p != NULL)
		m.note.len = utf8_span(m.note.p, m.note.len);
	msg_progress_encode(&r->c->out, r->exec, &m);
}

/* Calls */

void
steps_return(struct pgc_run *r, const struct msg_return *m)
{
	struct journal *j = r->journal;

	if (j == NULL || m->call != j->calls || j->answered)
		return;
	j->answered = true;
	if (m->error.p != NULL) {
		char *error = xstrndup(m->error.p, m->error.len);

		j->refusal = error_member(error, "message");
		if (j->refusal == NULL)
			j->refusal = xstrdup("refused");
		free(error);
	} else {
		j->answer = m->result.p != NULL ? xstrndup(m->result.p, m->result.len) : xstrdup("null");
	}
}

static bool
answered(const struct pgc_run *r)
{
	return r->journal->answered;
}

/* 0 with the answer, or a refusal, in the journal. */
static int
call(struct pgc_run *r, const char *name, struct buf *args)
{
	struct journal *j = journal_of(r);
	struct msg_call m = { .call = ++j->calls, .name = pstr(name), .args = { (const char *)buf_ptr(args), args->len } };

	free(j->answer);
	free(j->refusal);
	j->answer = j->refusal = NULL;
	j->answered = false;
	if (!r->c->lost)
		msg_call_encode(&r->c->out, r->exec, &m);
	buf_free(args);
	if (wait_until(r, answered) != 0)
		return PGC_OVER;
	snprintf(r->c->error, sizeof(r->c->error), "%s", j->refusal != NULL ? j->refusal : "");
	return 0;
}

PUBLIC int
pgc_cancel_execution(struct pgc_run *r, const char *id, const char *reason, bool *cancelled)
{
	struct buf args;

	if (r->state == RUN_FREE)
		return PGC_OVER;
	buf_init(&args);
	buf_addstr(&args, "{");
	add_member(&args, "id", id);
	if (reason != NULL)
		add_member(&args, "reason", reason);
	buf_addstr(&args, "}");
	if (call(r, "cancel", &args) != 0)
		return PGC_OVER;
	if (cancelled != NULL)
		*cancelled = r->journal->answer != NULL && strcmp(r->journal->answer, "true") == 0;
	return 0;
}

/* The text of a JSON string without escapes, within the answer; NULL if it is none. */
static const char *
answer_text(struct journal *j)
{
	char *answer = j->answer;

	if (answer == NULL || answer[0] != '"' || strlen(answer) < 3)
		return NULL;
	answer[strlen(answer) - 1] = '\0';
	return answer + 1;
}

PUBLIC int
pgc_schedule(struct pgc_run *r, const struct pgc_schedule *s, const char **next)
{
	struct buf args;

	if (r->state == RUN_FREE)
		return PGC_OVER;
	if (s->payload != NULL && json_check(s->payload, strlen(s->payload), NULL, NULL) == -1)
		return fail_for_good(r, "app", "the payload of a schedule is not JSON");
	buf_init(&args);
	buf_addstr(&args, "{");
	add_member(&args, "task", s->task);
	add_member(&args, "cron", s->cron);
	add_option(&args, "name", s->name);
	add_option(&args, "timezone", s->timezone);
	add_option(&args, "overlap", s->overlap);
	add_option(&args, "catchup", s->catchup);
	buf_addf(&args, ",\"payload\":%s}", s->payload != NULL ? s->payload : "null");
	if (call(r, "schedule", &args) != 0)
		return PGC_OVER;
	if (next != NULL)
		*next = answer_text(r->journal);
	return 0;
}

PUBLIC int
pgc_unschedule(struct pgc_run *r, const char *task, const char *name, bool *removed)
{
	struct buf args;

	if (r->state == RUN_FREE)
		return PGC_OVER;
	buf_init(&args);
	buf_addstr(&args, "{");
	add_member(&args, "task", task);
	add_member(&args, "name", name);
	buf_addstr(&args, "}");
	if (call(r, "unschedule", &args) != 0)
		return PGC_OVER;
	if (removed != NULL)
		*removed = r->journal->answer != NULL && strcmp(r->journal->answer, "true") == 0;
	return 0;
}

PUBLIC int
pgc_emit(struct pgc_run *r, const char *event, const char *payload, const char **id)
{
	struct buf args;

	if (r->state == RUN_FREE)
		return PGC_OVER;
	if (payload != NULL && json_check(payload, strlen(payload), NULL, NULL) == -1)
		return fail_for_good(r, "app", "the payload of an event is not JSON");
	buf_init(&args);
	buf_addstr(&args, "{");
	add_member(&args, "event", event);
	buf_addf(&args, ",\"payload\":%s}", payload != NULL ? payload : "null");
	if (call(r, "emit", &args) != 0)
		return PGC_OVER;
	if (id != NULL)
		*id = answer_text(r->journal);
	return 0;
}

static void
add_time(struct buf *b, const char *name, int64_t ms)
{
	if (ms >= 0)
		buf_addf(b, ",\"%s\":\"%lld milliseconds\"", name, (long long)ms);
}

PUBLIC int
pgc_start(struct pgc_run *r, const char *task, const char *payload, const char **id)
{
	struct pgc_start s = PGC_START;

	s.task = task;
	s.payload = payload;
	return pgc_start_with(r, &s, id);
}

PUBLIC int
pgc_start_with(struct pgc_run *r, const struct pgc_start *s, const char **id)
{
	struct buf args;

	if (r->state == RUN_FREE)
		return PGC_OVER;
	buf_init(&args);
	buf_addstr(&args, "{");
	add_member(&args, "task", s->task);
	add_option(&args, "queue", s->queue);
	add_option(&args, "dedupe_key", s->dedupe_key);
	if (s->priority != PGC_PRIORITY_OF_TASK)
		buf_addf(&args, ",\"priority\":%d", s->priority);
	add_time(&args, "delay", s->delay_ms);
	add_time(&args, "dedupe_for", s->dedupe_for_ms);
	add_time(&args, "throttle", s->throttle_ms);
	add_time(&args, "debounce", s->debounce_ms);
	add_time(&args, "max_wait", s->max_wait_ms);
	if (s->metadata != NULL)
		buf_addf(&args, ",\"metadata\":%s", s->metadata);
	buf_addf(&args, ",\"payload\":%s}", s->payload != NULL ? s->payload : "null");
	if (call(r, "invoke", &args) != 0)
		return PGC_OVER;
	*id = answer_text(r->journal);
	return 0;
}
