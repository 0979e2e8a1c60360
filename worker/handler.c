/*
 * One long-lived handler: its process, its states, the executions it has. Worker. What it says is in session.c.
 *
 * A handler has ended when its socket is closed and its process is reaped, in either order. Until then what it
 * wrote before it died still counts.
 */
#include "config.h"

#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "common/xmalloc.h"
#include "worker/internal.h"

#define CLOSED_GRACE_MS	1000		/* from the end of its socket to TERM */
#define BEAT_LOOKS	4		/* looks in the time that a handler may be silent */
#define UNHURRIED_MS	(24u * 3600 * 1000)	/* what DRAIN says when nobody is waiting */

static const char *const state_names[] = {
	"starting", "ready", "draining", "ending", "terminated", "killed"
};

static void on_timer(evutil_socket_t, short, void *);
static void on_beat(evutil_socket_t, short, void *);
static void handler_exited(struct process *, int);

void
handler_set_state(struct handler *h, enum handler_state state, const char *event)
{
	log_debug("handler %s[%d]: %s: %s -> %s", h->program->name, (int)h->proc.pid, event, state_names[h->state],
	    state_names[state]);
	h->state = state;
	pool_touch(h->pool);
}

/* 0: none. */
static void
set_timer(struct handler *h, uint64_t ms)
{
	struct timeval tv = worker_tv(ms);

	event_del(&h->timer);
	if (ms != 0)
		event_add(&h->timer, &tv);
}

/* Starting */

static bool
open_ends(int sock[2], int log[2], struct spawn_error *error)
{
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sock) == -1) {
		error->err = errno;
		error->what = "socketpair";
		return false;
	}
	if (pipe2(log, O_CLOEXEC) == -1) {
		error->err = errno;
		error->what = "pipe";
		close(sock[0]);
		close(sock[1]);
		return false;
	}
	return true;
}

static pid_t
spawn(struct handler *h, int sock, int log, struct spawn_error *error)
{
	struct program *p = h->program;
	int fds[] = { h->w->null_fd, log, log, sock };
	char serial[48];
	pid_t pid;

	snprintf(serial, sizeof(serial), "%s%" PRIu64, PROCESS_MARK, h->proc.serial);
	p->env[p->env_n] = serial;
	pid = process_spawn(p, p->env, fds, 4, error);
	p->env[p->env_n] = NULL;
	return pid;
}

static struct handler *
handler_new(struct pool *pool)
{
	struct handler *h = xcalloc(1, sizeof(*h));

	h->w = pool->w;
	h->pool = pool;
	h->program = program_ref(pool->program);
	h->proc.exited = handler_exited;
	h->proc.serial = ++pool->w->serial;
	h->started_at = worker_now();
	TAILQ_INIT(&h->outstanding);
	evtimer_assign(&h->timer, h->w->base, on_timer, h);
	evtimer_assign(&h->beat, h->w->base, on_beat, h);
	return h;
}

bool
handler_start(struct pool *pool, struct spawn_error *error)
{
	struct handler *h;
	int sock[2], log[2];

	if (!open_ends(sock, log, error))
		return false;
	h = handler_new(pool);
	h->proc.pid = spawn(h, sock[1], log[1], error);
	close(sock[1]);
	close(log[1]);
	if (h->proc.pid == -1) {
		close(sock[0]);
		close(log[0]);
		program_unref(h->program);
		free(h);
		return false;
	}
	TAILQ_INSERT_TAIL(&pool->handlers, h, entry);
	worker_watch(h->w, &h->proc);
	meter_open(&h->meter, h->w, h->program->name, h->proc.pid);
	h->meter.handler = h;
	stream_open(&h->log, &h->meter, log[0], NULL);
	h->peer = peer_new(h->w->base, sock[0], h->w->max_frame, &session_ops, h);
	set_timer(h, HELLO_TIMEOUT_MS);
	if (h->w->choked)
		peer_read_stop(h->peer);
	log_debug("handler %s[%d]: started", h->program->name, (int)h->proc.pid);
	return true;
}

/* Executions */

uint64_t
handler_room(const struct handler *h)
{
	if (h->state != HANDLER_READY || h->peer == NULL || h->outstanding_n >= h->credit)
		return 0;
	if ((h->window != 0 && h->bytes >= h->window) || peer_pending(h->peer) > PENDING_MAX)
		return 0;
	return h->credit - h->outstanding_n;
}

bool
handler_takes(const struct handler *h, size_t len)
{
	if (handler_room(h) == 0)
		return false;
	return h->window == 0 || h->outstanding_n == 0 || h->bytes + len <= h->window;
}

static void
note_started(struct handler *h, uint64_t exec)
{
	if (h->started_n == h->started_cap) {
		h->started_cap = h->started_cap != 0 ? h->started_cap * 2 : 16;
		h->started = xreallocarray(h->started, h->started_cap, sizeof(*h->started));
	}
	if (h->started_n == 0)
		TAILQ_INSERT_TAIL(&h->w->to_tell, h, started_entry);
	h->started[h->started_n++] = exec;
}

void
handler_tell_started(struct handler *h)
{
	if (h->started_n == 0)
		return;
	TAILQ_REMOVE(&h->w->to_tell, h, started_entry);
	link_started(h->w, h->pool, h->proc.pid, h->started, h->started_n);
	h->started_n = 0;
}

void
handler_run(struct handler *h, struct exec_list *list, const uint8_t *frame, size_t len)
{
	struct execution *x = TAILQ_FIRST(list);
	bool begins = h->running_n < h->concurrency;

	peer_send_raw(h->peer, frame, len);
	h->outstanding_n++;
	h->bytes += x->bytes;
	h->running_n += begins;
	if (!begins && h->first_sent == NULL)
		h->first_sent = x;
	while ((x = TAILQ_FIRST(list)) != NULL) {
		TAILQ_REMOVE(list, x, entry);
		TAILQ_INSERT_TAIL(&h->outstanding, x, entry);
		x->handler = h;
		x->state = EXEC_SENT;
		h->runs++;
		note_started(h, x->exec);
		if (begins)
			exec_begin(x);
	}
	pool_touch(h->pool);
	if (h->program->max_runs != 0 && h->runs >= h->program->max_runs && !h->retiring)
		pool_retire(h, "max_runs");
}

/* As far as we can know, it begins with the next one in the order they were sent. */
static void
begin_next(struct handler *h)
{
	struct execution *x = h->first_sent;
	const struct batch *b;

	if (x == NULL || h->running_n >= h->concurrency)
		return;
	h->running_n++;
	b = x->batch;
	do {
		exec_begin(x);
		x = TAILQ_NEXT(x, entry);
	} while (b != NULL && x != NULL && x->batch == b);
	h->first_sent = x;
}

static void
detach(struct handler *h, struct execution *x)
{
	if (h->first_sent == x)
		h->first_sent = TAILQ_NEXT(x, entry);
	TAILQ_REMOVE(&h->outstanding, x, entry);
	if (!batch_is_last(x))
		return;
	if (x->state != EXEC_SENT)
		h->running_n--;
	h->outstanding_n--;
	h->bytes -= x->bytes;
	begin_next(h);
}

void
handler_answered(struct handler *h, struct execution *x)
{
	struct pool *pool = h->pool;

	detach(h, x);
	h->finals++;
	exec_free(h->w, x);
	if (h->outstanding_n == 0) {
		h->idle_since = worker_now();
		if (h->state == HANDLER_DRAINING)
			handler_finish(h);
	}
	pool_touch(pool);
	if (pool->waiting_n > 0)
		pool_place_waiting(pool);
}

void
handler_stop_execution(struct handler *h, struct execution *x, struct pstr reason)
{
	struct msg_cancel cancel = { .reason = reason, .grace_ms = x->grace_ms };

	if (!h->can_cancel || h->peer == NULL)
		return;
	h->strays++;
	msg_cancel_encode(peer_out(h->peer), x->exec, &cancel);
	peer_flush(h->peer);
}

const struct execution *
handler_only_execution(const struct handler *h)
{
	const struct execution *x;

	if (h->running_n != 1)
		return NULL;
	TAILQ_FOREACH(x, &h->outstanding, entry)
		if (x->state != EXEC_SENT)
			return batch_is_last(x) ? x : NULL;
	return NULL;
}

/* Ending */

/* It has nothing left: whoever does not know DRAIN reads the end of its input. */
void
handler_finish(struct handler *h)
{
	handler_set_state(h, HANDLER_ENDING, "finished");
	if (h->peer != NULL && (!h->can_drain || h->said_bye))
		shutdown(peer_fd(h->peer), SHUT_WR);
	set_timer(h, h->w->kill_grace_ms);
}

void
handler_drain(struct handler *h, uint64_t deadline_ms)
{
	struct msg_drain drain = { .deadline_ms = deadline_ms != 0 ? deadline_ms : UNHURRIED_MS };

	if (h->state == HANDLER_STARTING)
		handler_terminate(h, BLAME_END);
	if (h->state == HANDLER_READY) {
		handler_set_state(h, HANDLER_DRAINING, "drain");
		if (h->can_drain && h->peer != NULL) {
			msg_drain_encode(peer_out(h->peer), 0, &drain);
			peer_flush(h->peer);
		}
	}
	if (h->state != HANDLER_DRAINING)
		return;
	if (h->outstanding_n == 0)
		handler_finish(h);
	else
		set_timer(h, deadline_ms);
}

void
handler_terminate(struct handler *h, enum handler_blame blame)
{
	if (h->state >= HANDLER_TERMINATED || h->reaped)
		return;
	h->blame = blame;
	handler_set_state(h, HANDLER_TERMINATED, "terminate");
	process_kill(h->proc.pid, SIGTERM);
	set_timer(h, h->w->kill_grace_ms != 0 ? h->w->kill_grace_ms : 1);
}

void
handler_kill(struct handler *h, enum handler_blame blame)
{
	if (h->state == HANDLER_KILLED || h->reaped)
		return;
	if (h->state != HANDLER_TERMINATED)
		h->blame = blame;
	handler_set_state(h, HANDLER_KILLED, "kill");
	set_timer(h, 0);
	process_kill(h->proc.pid, SIGKILL);
}

/* Only this handler suffers: what it was running has crashed, what waited behind goes back. */
void
handler_fault(struct handler *h, const char *fmt, ...)
{
	struct msg_reject reject;
	char why[256];
	va_list ap;

	if (h->why != NULL)
		return;
	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	h->why = xstrdup(why);
	log_warnx("handler %s[%d]: %s", h->program->name, (int)h->proc.pid, why);
	if (h->said_hello || h->peer == NULL) {
		handler_kill(h, BLAME_FAULT);
		return;
	}
	/* It may say why before it goes. */
	reject.reason = pstr(why);
	msg_reject_encode(peer_out(h->peer), 0, &reject);
	peer_close(h->peer, why);
	h->blame = BLAME_FAULT;
	handler_set_state(h, HANDLER_ENDING, "rejected");
	set_timer(h, CLOSED_GRACE_MS);
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct handler *h = arg;

	(void)fd;
	(void)what;
	switch (h->state) {
	case HANDLER_STARTING:
		handler_fault(h, "no HELLO within %d s", HELLO_TIMEOUT_MS / 1000);
		break;
	case HANDLER_READY:
	case HANDLER_KILLED:
		break;
	case HANDLER_DRAINING:
		handler_kill(h, BLAME_END);
		break;
	case HANDLER_ENDING:
		if (h->lost && h->why == NULL)
			h->why = xstrdup("closed its socket and did not exit");
		handler_terminate(h, h->why != NULL ? BLAME_FAULT : BLAME_END);
		break;
	case HANDLER_TERMINATED:
		handler_kill(h, h->blame);
		break;
	}
}

/* Beats */

void
handler_watch_beat(struct handler *h)
{
	struct timeval tv = worker_tv(h->beat_ms / BEAT_LOOKS + 1);

	if (h->beat_ms != 0)
		event_add(&h->beat, &tv);
}

/* As if its socket had failed: what it was running has crashed, and what it may still say does not count. */
static void
fall_silent(struct handler *h)
{
	if (h->why != NULL)
		return;
	h->why = xasprintf("silent for longer than %" PRIu64 " ms", h->beat_ms);
	log_warnx("handler %s[%d]: %s", h->program->name, (int)h->proc.pid, h->why);
	handler_terminate(h, BLAME_FAULT);
}

/*
 * Silence is counted in looks of ours, not by the clock: what stops this process, or keeps it from reading, does not
 * count against the handler. One that has nothing to run need not say anything.
 */
static void
on_beat(evutil_socket_t fd, short what, void *arg)
{
	struct handler *h = arg;
	int unread = 0;

	(void)fd;
	(void)what;
	if (h->peer == NULL || h->state >= HANDLER_ENDING)
		return;
	if (h->outstanding_n == 0 || h->w->choked || (ioctl(peer_fd(h->peer), FIONREAD, &unread) == 0 && unread > 0))
		h->silent = 0;
	if (h->silent++ < BEAT_LOOKS)
		handler_watch_beat(h);
	else
		fall_silent(h);
}

void
handler_closed(struct handler *h, const char *why)
{
	peer_free(h->peer);
	h->peer = NULL;
	log_debug("handler %s[%d]: socket: %s", h->program->name, (int)h->proc.pid, why);
	if (h->reaped) {
		handler_check_ended(h);
		return;
	}
	/* Not its end but ours: it announced a frame that is over the limit. */
	if (strncmp(why, "a frame ", 8) == 0) {
		handler_fault(h, "protocol error: %s", why);
		return;
	}
	/* Its status says more than that its socket has closed: it gets a moment to exit. */
	if (h->state < HANDLER_ENDING) {
		handler_set_state(h, HANDLER_ENDING, "closed");
		h->lost = true;
		set_timer(h, CLOSED_GRACE_MS);
	}
}

static void
handler_exited(struct process *proc, int status)
{
	struct handler *h = (struct handler *)proc;

	h->reaped = true;
	h->status = status;
	set_timer(h, 0);
	stream_finish(&h->log);
	handler_check_ended(h);
}

/* Its fate is known: what becomes of the executions it had. */
static void
settle_one(struct handler *h, struct execution *x, const char *text, uint64_t **back)
{
	bool ran = x->state != EXEC_SENT;

	if (x->stop != STOP_NONE)
		exec_fail_stopped(h->w, x);
	else if (ran && h->blame == BLAME_FAULT)
		link_fail(h->w, x->exec, "crash", true, "handler %s[%d]: %s", h->program->name, (int)h->proc.pid,
		    h->why != NULL ? h->why : "protocol error");
	else if (ran && h->blame == BLAME_NONE && !h->said_bye)
		link_fail(h->w, x->exec, "crash", true, "handler %s[%d] %s", h->program->name, (int)h->proc.pid, text);
	else
		*(*back)++ = x->exec;
	exec_free(h->w, x);
}

static void
settle_outstanding(struct handler *h, const char *text)
{
	struct execution *x;
	uint64_t *back, *next;
	size_t n = 0;

	if (h->outstanding_n == 0)
		return;
	handler_tell_started(h);
	TAILQ_FOREACH(x, &h->outstanding, entry)
		n++;
	back = next = xcalloc(n, sizeof(*back));
	while ((x = TAILQ_FIRST(&h->outstanding)) != NULL) {
		TAILQ_REMOVE(&h->outstanding, x, entry);
		exec_timer_stop(x);
		settle_one(h, x, text, &next);
	}
	h->first_sent = NULL;
	h->outstanding_n = h->running_n = h->bytes = 0;
	link_returned(h->w, back, (size_t)(next - back), "its handler has ended");
	free(back);
}

void
handler_check_ended(struct handler *h)
{
	struct pool *pool = h->pool;
	char text[96];
	int unread = 0;

	if (!h->reaped)
		return;
	/* What it wrote before it ended is read first. */
	if (h->peer != NULL && ioctl(peer_fd(h->peer), FIONREAD, &unread) == 0 && unread > 0 && h->blame != BLAME_FAULT)
		return;
	peer_free(h->peer);
	h->peer = NULL;
	process_status(h->status, text, sizeof(text));
	if (h->blame == BLAME_NONE && (h->status != 0 || (h->outstanding_n != 0 && !h->said_bye) || !h->said_hello))
		log_warnx("handler %s[%d] %s", h->program->name, (int)h->proc.pid, text);
	else
		log_debug("handler %s[%d] %s", h->program->name, (int)h->proc.pid, text);
	settle_outstanding(h, text);
	pool_handler_gone(pool, h, text);
}

void
handler_free(struct handler *h)
{
	handler_tell_started(h);
	event_del(&h->timer);
	event_del(&h->beat);
	stream_finish(&h->log);
	meter_close(&h->meter);
	program_unref(h->program);
	free(h->started);
	free(h->why);
	free(h);
}
