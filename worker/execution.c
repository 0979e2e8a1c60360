/*
 * Executions: from RUN to the final frame. Worker.
 *
 * waiting -> sent -> running -> (stopping ->) gone. Which list one is on follows from its state: waiting is the pool's,
 * the others are of their process. Their memory is used again; a timer is set only where there is a deadline.
 */
#include "config.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/xmalloc.h"
#include "worker/internal.h"

#define EXEC_CHUNK 64

static void on_timer(evutil_socket_t, short, void *);

static void
make_more(struct worker *w)
{
	struct execution *x = xcalloc(EXEC_CHUNK, sizeof(*x));
	struct exec_chunk *chunk = xmalloc(sizeof(*chunk));

	chunk->executions = x;
	SLIST_INSERT_HEAD(&w->exec_chunks, chunk, entry);
	for (int i = 0; i < EXEC_CHUNK; i++)
		TAILQ_INSERT_TAIL(&w->free_execs, &x[i], entry);
}

static void
copy(char *to, size_t room, struct pstr from)
{
	size_t len = from.len < room ? from.len : room - 1;

	memcpy(to, from.p, len);
	to[len] = '\0';
}

struct execution *
exec_new(struct worker *w, uint64_t exec, const struct msg_run *run, size_t bytes)
{
	struct execution *x;

	if (TAILQ_EMPTY(&w->free_execs))
		make_more(w);
	x = TAILQ_FIRST(&w->free_execs);
	TAILQ_REMOVE(&w->free_execs, x, entry);
	x->w = w;
	x->exec = exec;
	x->pool = NULL;
	x->handler = NULL;
	x->oneshot = NULL;
	x->state = EXEC_WAITING;
	x->stop = STOP_NONE;
	x->deadline_ms = run->has_deadline_ms ? run->deadline_ms : 0;
	x->grace_ms = w->kill_grace_ms;
	x->frame = NULL;
	x->batch = NULL;
	x->refusal = NULL;
	x->refusal_text = NULL;
	x->bytes = bytes;
	x->timed = false;
	x->attempt = run->attempt;
	copy(x->id, sizeof(x->id), run->id);
	copy(x->task, sizeof(x->task), run->task);
	table_put(&w->execs, exec, x);
	return x;
}

void
exec_free_all(struct worker *w)
{
	struct exec_chunk *chunk;

	while ((chunk = SLIST_FIRST(&w->exec_chunks)) != NULL) {
		SLIST_REMOVE_HEAD(&w->exec_chunks, entry);
		for (int i = 0; i < EXEC_CHUNK; i++) {
			exec_timer_stop(&chunk->executions[i]);
			free(chunk->executions[i].frame);
			free(chunk->executions[i].refusal_text);
			batch_leave(&chunk->executions[i]);
		}
		free(chunk->executions);
		free(chunk);
	}
}

struct execution *
exec_find(struct worker *w, uint64_t exec)
{
	return exec != 0 ? table_get(&w->execs, exec) : NULL;
}

void
exec_free(struct worker *w, struct execution *x)
{
	exec_timer_stop(x);
	table_del(&w->execs, x->exec);
	free(x->frame);
	free(x->refusal_text);
	x->frame = NULL;
	x->refusal_text = NULL;
	batch_leave(x);
	TAILQ_INSERT_HEAD(&w->free_execs, x, entry);
}

void
exec_timer_stop(struct execution *x)
{
	if (x->timed)
		event_del(&x->timer);
	x->timed = false;
}

static void
exec_timer(struct execution *x, uint64_t ms)
{
	struct timeval tv = worker_tv(ms);

	exec_timer_stop(x);
	evtimer_assign(&x->timer, x->w->base, on_timer, x);
	event_add(&x->timer, &tv);
	x->timed = true;
}

static void
begin_grace(struct execution *x)
{
	x->state = EXEC_STOPPING;
	exec_timer(x, x->grace_ms);
}

void
exec_begin(struct execution *x)
{
	x->state = EXEC_RUNNING;
	/* It was cancelled while it was still behind others. */
	if (x->stop != STOP_NONE)
		begin_grace(x);
	else if (x->deadline_ms != 0)
		exec_timer(x, x->deadline_ms);
}

/* Asks a running one to end. The first reason stays. */
static void
exec_stop(struct execution *x, enum exec_stop stop, uint64_t grace_ms, struct pstr reason)
{
	if (x->stop != STOP_NONE)
		return;
	x->stop = stop;
	x->grace_ms = grace_ms;
	if (x->handler != NULL)
		handler_stop_execution(x->handler, x, reason);
	else if (x->oneshot != NULL)
		oneshot_stop(x->oneshot, reason);
	if (x->state == EXEC_RUNNING)
		begin_grace(x);
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct execution *x = arg;

	(void)fd;
	(void)what;
	x->timed = false;
	if (x->state == EXEC_RUNNING) {
		log_info("execution %s: timed out after %" PRIu64 " ms", x->id, x->deadline_ms);
		exec_stop(x, STOP_TIMEOUT, x->w->kill_grace_ms, pstr("timeout"));
		return;
	}
	log_warnx("execution %s: did not stop within %" PRIu64 " ms; ending its process", x->id, x->grace_ms);
	if (x->handler != NULL)
		handler_terminate(x->handler, BLAME_STOP);
	else if (x->oneshot != NULL)
		oneshot_kill(x->oneshot);
}

void
exec_cancel(struct worker *w, struct execution *x, const struct msg_cancel *cancel)
{
	/* Its time may be over by a clock that is not ours. */
	enum exec_stop stop = pstr_is(cancel->reason, "timeout") ? STOP_TIMEOUT : STOP_CANCELLED;
	struct pool *p = x->pool;

	if (x->state == EXEC_WAITING) {
		x->stop = stop;
		pool_unwait(x);
		exec_fail_stopped(w, x);
		exec_free(w, x);
		pool_place_waiting(p);
		return;
	}
	exec_stop(x, stop, cancel->grace_ms, cancel->reason);
}

/* A handler stops at a checkpoint when its process is to end: so that is replaced. */
void
exec_leave(struct execution *x)
{
	if (x->handler != NULL)
		pool_retire(x->handler, "the window of a task that it runs has closed");
	else if (x->oneshot != NULL)
		oneshot_leave(x->oneshot);
}

void
exec_fail_stopped(struct worker *w, struct execution *x)
{
	if (x->stop == STOP_TIMEOUT)
		link_fail(w, x->exec, "timeout", true, "timed out after %" PRIu64 " ms", x->deadline_ms);
	else if (x->stop == STOP_REFUSED)
		link_fail(w, x->exec, x->refusal, false, "%s", x->refusal_text);
	else
		link_fail(w, x->exec, "cancelled", false, "cancelled");
}

void
exec_suspend(struct execution *x)
{
	exec_stop(x, STOP_SUSPENDED, x->w->kill_grace_ms, (struct pstr){ NULL, 0 });
}

void
exec_refuse(struct execution *x, const char *code, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	if (x->stop != STOP_NONE)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	x->refusal = code;
	x->refusal_text = xstrdup(text);
	log_info("execution %s: %s: %s", x->id, code, text);
	exec_stop(x, STOP_REFUSED, x->w->kill_grace_ms, pstr(code));
}
