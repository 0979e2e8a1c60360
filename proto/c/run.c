/*
 * libpgconductor: executions, from the frame that starts one to the one that ends it. In the steady state nothing is
 * allocated: objects and their buffers are used again.
 */
#include "config.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "common/utf8.h"
#include "common/xmalloc.h"
#include "proto/c/private.h"

#define KEEP_FRAME	(8 * 1024)
#define TEXT_MAX	(64 * 1024)	/* of a message or traceback: a frame has room for both beside its payload */
#define GATHER		1000000		/* nanoseconds that outcomes may wait for company */

/* Lists */

static void
list_append(struct run_list *l, struct pgc_run *r, enum run_state state)
{
	r->state = state;
	r->next = NULL;
	r->prev = l->last;
	if (l->last != NULL)
		l->last->next = r;
	else
		l->first = r;
	l->last = r;
	l->n++;
}

static void
list_remove(struct run_list *l, struct pgc_run *r)
{
	if (r->prev != NULL)
		r->prev->next = r->next;
	else
		l->first = r->next;
	if (r->next != NULL)
		r->next->prev = r->prev;
	else
		l->last = r->prev;
	l->n--;
}

static struct pgc_run *
run_new(struct pgc *c)
{
	struct pgc_run *r = c->spare.last;

	if (r != NULL)
		list_remove(&c->spare, r);
	else
		r = xcalloc(1, sizeof(*r));
	r->c = c;
	r->serial = ++c->serials;
	r->started = 0;
	r->cancel = NULL;
	r->fault = NULL;
	r->batch = NULL;
	r->together = false;
	r->data = NULL;
	return r;
}

void
run_retire(struct pgc_run *r)
{
	struct pgc *c = r->c;

	list_remove(r->state == RUN_WAITING ? &c->waiting : &c->running, r);
	batch_release(r);
	free(r->cancel);
	free(r->fault);
	r->cancel = r->fault = NULL;
	if (r->journal != NULL)
		journal_reset(r->journal);
	buf_reset(&r->frame, KEEP_FRAME);
	list_append(&c->spare, r, RUN_FREE);
}

static void
list_free(struct run_list *l)
{
	struct pgc_run *r;

	while ((r = l->first) != NULL) {
		list_remove(l, r);
		batch_release(r);
		free(r->cancel);
		free(r->fault);
		journal_free(r->journal);
		buf_free(&r->frame);
		free(r);
	}
}

void
runs_free(struct pgc *c)
{
	list_free(&c->waiting);
	list_free(&c->running);
	list_free(&c->spare);
}

/* Starting */

static const struct task *
find_task(const struct pgc *c, const struct pstr *name)
{
	for (size_t i = 0; i < c->tasks_n; i++)
		if (strlen(c->tasks[i].name) == name->len && memcmp(c->tasks[i].name, name->p, name->len) == 0)
			return &c->tasks[i];
	return NULL;
}

/* The string as it is in the copy of the frame; what follows it there was read already and gives way to a NUL. */
void
settle_string(struct pstr *s, const uint8_t *body, char *copy)
{
	if (s->p == NULL)
		return;
	s->p = copy + (s->p - (const char *)body);
	copy[(s->p - copy) + (ptrdiff_t)s->len] = '\0';
}

void
run_queue(struct pgc *c, uint64_t exec, const struct msg_run *m, const uint8_t *body, size_t len)
{
	struct pgc_run *r;
	char *copy;

	if (c->bye)
		return;
	r = run_new(c);
	r->exec = exec;
	r->task = c->join != NULL ? &c->tasks[0] : find_task(c, &m->task);
	copy = (char *)buf_reserve(&r->frame, len + 1);
	memcpy(copy, body, len);
	r->m = *m;
	settle_string(&r->m.id, body, copy);
	settle_string(&r->m.task, body, copy);
	settle_string(&r->m.token, body, copy);
	settle_string(&r->m.event.name, body, copy);
	settle_string(&r->m.event.payload, body, copy);
	settle_string(&r->m.event.at, body, copy);
	settle_string(&r->m.event.kind, body, copy);
	settle_string(&r->m.metadata, body, copy);
	settle_string(&r->m.trace, body, copy);
	if (m->steps_n != 0 || m->has_more_steps)
		journal_begin(r, body, copy);
	if (m->has_unnamed)
		journal_of(r)->unnamed = (unsigned)m->unnamed;
	list_append(&c->waiting, r, RUN_WAITING);
}

struct pgc_run *
run_queue_item(struct pgc *c, const struct pstr *task, const struct msg_item *item)
{
	struct pgc_run *r = run_new(c);

	r->exec = item->exec;
	r->task = find_task(c, task);
	r->m = (struct msg_run){
		.id = item->id, .task = *task, .attempt = item->attempt, .token = item->token, .event = item->event,
		.has_deadline_ms = item->has_deadline_ms, .deadline_ms = item->deadline_ms, .metadata = item->metadata,
		.trace = item->trace
	};
	list_append(&c->waiting, r, RUN_WAITING);
	return r;
}

void
run_begin(struct pgc_run *r)
{
	list_remove(&r->c->waiting, r);
	list_append(&r->c->running, r, RUN_RUNNING);
	r->started = pgc_now();
}

static void
call(struct pgc_run *r)
{
	uint64_t serial = r->serial;
	int verdict;

	if (r->task == NULL) {
		pgc_failf(r, "this program has no task \"%s\"", pgc_task_name(r));
		return;
	}
	verdict = r->task->fn(r, r->task->arg);
	/* It may be finished, and the object already be another execution. */
	if (verdict == PGC_LATER || r->serial != serial || r->state != RUN_RUNNING)
		return;
	if (verdict == 0)
		pgc_done(r, NULL);
	else
		pgc_failf(r, "the task's function returned %d", verdict);
}

/* One whose saved steps have not all come yet lets others go first. */
static struct pgc_run *
first_complete(const struct pgc *c)
{
	struct pgc_run *r;

	for (r = c->waiting.first; r != NULL && r->journal != NULL && r->journal->incomplete; r = r->next)
		;
	return r;
}

/* Calls the functions of those that wait, as far as concurrency allows. */
void
run_start_waiting(struct pgc *c)
{
	int64_t first = 0, now;
	struct pgc_run *r;

	while (!c->lost && c->waiting.n != 0 && c->running.n - c->joined < c->concurrency) {
		now = pgc_now();
		if (first == 0)
			first = now;
		/* Outcomes must not wait for a function that takes its time. */
		if (c->concurrency == 1 || now - first > GATHER) {
			pgc_flush(c);
			first = now;
		}
		pgc_look(c, now);
		if ((r = first_complete(c)) == NULL)
			break;
		if (r->task != NULL && r->task->batch_fn != NULL) {
			batch_call(c, r);
			continue;
		}
		run_begin(r);
		call(r);
	}
}

/* What was not started goes back to the worker with our BYE, and costs no attempt. */
void
run_drop_waiting(struct pgc *c)
{
	while (c->waiting.first != NULL)
		run_retire(c->waiting.first);
}

static struct pgc_run *
find_run(const struct run_list *l, uint64_t exec)
{
	struct pgc_run *r;

	for (r = l->first; r != NULL && r->exec != exec; r = r->next)
		;
	return r;
}

struct pgc_run *
run_of_exec(struct pgc *c, uint64_t exec)
{
	struct pgc_run *r = find_run(&c->running, exec);

	return r != NULL ? r : find_run(&c->waiting, exec);
}

/* One that waits is over; one that runs is told. One we do not know has just been finished. */
void
run_cancel(struct pgc *c, uint64_t exec, const struct pstr *reason)
{
	struct pgc_failure f = PGC_FAILURE;
	struct pgc_run *r;

	if ((r = find_run(&c->waiting, exec)) != NULL) {
		f.code = reason->len == 7 && memcmp(reason->p, "timeout", 7) == 0 ? "timeout" : "cancelled";
		f.message = "stopped before it was started";
		pgc_fail_with(r, &f);
		return;
	}
	if ((r = find_run(&c->running, exec)) == NULL || r->cancel != NULL)
		return;
	r->cancel = xstrndup(reason->p, reason->len);
	if (c->on_cancel != NULL)
		c->on_cancel(r, c->on_cancel_arg);
}

/* What a function may ask */

PUBLIC const char *
pgc_id(const struct pgc_run *r)
{
	return r->m.id.p;
}

PUBLIC const char *
pgc_task_name(const struct pgc_run *r)
{
	return r->m.task.p;
}

PUBLIC unsigned
pgc_attempt(const struct pgc_run *r)
{
	return (unsigned)r->m.attempt;
}

PUBLIC const char *
pgc_token(const struct pgc_run *r)
{
	return r->m.token.p;
}

PUBLIC const char *
pgc_event(const struct pgc_run *r)
{
	return r->m.event.name.p;
}

PUBLIC const char *
pgc_event_at(const struct pgc_run *r)
{
	return r->m.event.at.p;
}

PUBLIC const char *
pgc_event_kind(const struct pgc_run *r)
{
	return r->m.event.kind.p != NULL ? r->m.event.kind.p : "invoke";
}

PUBLIC const char *
pgc_payload(const struct pgc_run *r)
{
	return r->m.event.payload.p;
}

PUBLIC size_t
pgc_payload_len(const struct pgc_run *r)
{
	return r->m.event.payload.len;
}

PUBLIC const char *
pgc_metadata(const struct pgc_run *r)
{
	return r->m.metadata.p;
}

PUBLIC const char *
pgc_trace(const struct pgc_run *r)
{
	return r->m.trace.p;
}

PUBLIC int64_t
pgc_time_left(const struct pgc_run *r)
{
	int64_t spent = (pgc_now() - r->started) / 1000000;

	if (!r->m.has_deadline_ms || r->m.deadline_ms > INT64_MAX)
		return -1;
	return spent < (int64_t)r->m.deadline_ms ? (int64_t)r->m.deadline_ms - spent : 0;
}

PUBLIC const char *
pgc_cancelled(struct pgc_run *r)
{
	if (r->cancel == NULL && !r->c->lost)
		pgc_look(r->c, pgc_now());
	if (r->cancel == NULL && r->c->lost)
		return "lost";
	return r->cancel;
}

PUBLIC struct pgc *
pgc_of(const struct pgc_run *r)
{
	return r->c;
}

PUBLIC void
pgc_set_data(struct pgc_run *r, void *data)
{
	r->data = data;
}

PUBLIC void *
pgc_data(const struct pgc_run *r)
{
	return r->data;
}

/* Finishing */

static int
fail_encode(struct pgc_run *r, const struct msg_fail *m)
{
	struct msg_fail fault = { .code = pstr("nondeterminism"), .message = pstr(r->fault), .has_retry = true };

	if (r->fault != NULL)
		m = &fault;
	if (!r->c->lost)
		msg_fail_encode(&r->c->out, r->exec, m);
	run_retire(r);
	return 0;
}

static int
refuse_result(struct pgc_run *r, const char *code, const char *message, bool retry)
{
	struct msg_fail m = { .code = pstr(code), .message = pstr(message), .has_retry = true, .retry = retry };

	return fail_encode(r, &m);
}

PUBLIC int
pgc_done_len(struct pgc_run *r, const char *json, size_t len)
{
	struct msg_done m = { .result = { .p = json, .len = len } };
	char message[96];

	if (r->state == RUN_FREE)
		return -1;
	if (r->fault != NULL)
		return refuse_result(r, "nondeterminism", r->fault, false);
	if (json != NULL && len > r->c->max_payload) {
		snprintf(message, sizeof(message), "a result of %zu bytes; the limit is %zu", len, r->c->max_payload);
		return refuse_result(r, "oversize", message, false);
	}
	if (json != NULL && !utf8_valid(json, len))
		return refuse_result(r, "bad_result", "the result is not valid UTF-8", true);
	if (!r->c->lost)
		msg_done_encode(&r->c->out, r->exec, &m);
	run_retire(r);
	return 0;
}

PUBLIC int
pgc_done(struct pgc_run *r, const char *json)
{
	return pgc_done_len(r, json, json != NULL ? strlen(json) : 0);
}

PUBLIC int
pgc_done_text(struct pgc_run *r, const char *text)
{
	struct buf json;
	int verdict;

	buf_init(&json);
	json_quote(&json, text, strlen(text));
	verdict = pgc_done_len(r, (char *)buf_ptr(&json), json.len);
	buf_free(&json);
	return verdict;
}

/* Text for people, of any bytes: as much as is valid UTF-8, within bounds. */
static struct pstr
clean(const char *s)
{
	struct pstr t = pstr(s);

	if (t.p == NULL)
		return t;
	if (t.len > TEXT_MAX)
		t.len = TEXT_MAX;
	t.len = utf8_span(t.p, t.len);
	return t;
}

PUBLIC int
pgc_fail_with(struct pgc_run *r, const struct pgc_failure *f)
{
	struct msg_fail m = {
		.code = clean(f->code != NULL ? f->code : "app"),
		.message = clean(f->message != NULL ? f->message : "failed"),
		.type = clean(f->type),
		.stack = clean(f->stack),
		.has_retry = f->for_good, .retry = false,
		.has_after_ms = f->after_ms >= 0, .after_ms = (uint64_t)f->after_ms
	};

	if (r->state == RUN_FREE)
		return -1;
	if (f->data != NULL && strlen(f->data) <= r->c->max_payload && utf8_valid(f->data, strlen(f->data)))
		m.data = pstr(f->data);
	return fail_encode(r, &m);
}

bool
run_stopped(struct pgc_run *r)
{
	struct pgc_failure f = PGC_FAILURE;

	if (r->fault == NULL && r->cancel == NULL && !r->c->lost)
		return false;
	f.message = "stopped";
	f.code = r->cancel != NULL && strcmp(r->cancel, "timeout") == 0 ? "timeout" : "cancelled";
	pgc_fail_with(r, &f);
	return true;
}

PUBLIC int
pgc_fail(struct pgc_run *r, const char *message)
{
	struct pgc_failure f = PGC_FAILURE;

	f.message = message;
	return pgc_fail_with(r, &f);
}

PUBLIC int
pgc_failf(struct pgc_run *r, const char *fmt, ...)
{
	char message[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(message, sizeof(message), fmt, ap);
	va_end(ap);
	return pgc_fail(r, message);
}

/* Saying something */

static void
say(struct pgc *c, uint64_t exec, const char *level, const char *message, const char *fields)
{
	struct msg_log m = { .level = clean(level), .message = clean(message), .fields = clean(fields) };

	/* Part of an object is none. */
	if (m.fields.p != NULL && m.fields.p[m.fields.len] != '\0')
		m.fields = pstr(NULL);
	if (!c->lost && c->fd != -1)
		msg_log_encode(&c->out, exec, &m);
}

PUBLIC void
pgc_log(struct pgc_run *r, const char *level, const char *message, const char *fields)
{
	say(r->c, r->exec, level, message, fields);
}

PUBLIC void
pgc_log_process(struct pgc *c, const char *level, const char *message, const char *fields)
{
	say(c, 0, level, message, fields);
}
