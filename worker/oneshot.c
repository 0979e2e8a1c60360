/*
 * One-shot commands: a process for each execution. Worker.
 *
 * The payload is written before the command starts, into a pipe if it fits and into memory otherwise: a command that
 * does not read it holds nobody up. Its output is read while it runs; when it has ended what is in the pipes is all
 * there is, even if something it left behind still holds them open. What it left behind is swept (sweep.c). What it asks
 * for on its way (steps, waiting) comes through a socket: caller.c.
 */
#include "config.h"

#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "common/xmalloc.h"
#include "worker/internal.h"

#define PIPE_BYTES	(64u << 10)	/* what a pipe takes at once */
#define FIRST_BYTES	(4u << 10)	/* most results are small */
#define READ_BYTES	(64u << 10)
#define KEEP_BYTES	(8u << 10)	/* memory kept for the next one */
#define PAUSE_MS	1000		/* when the system has no room for another process */

static void oneshot_exited(struct process *, int);

/* Its memory */

static struct oneshot *
oneshot_new(struct pool *pool, struct execution *x)
{
	struct worker *w = pool->w;
	struct oneshot *o = TAILQ_FIRST(&w->spare_oneshots);

	if (o != NULL)
		TAILQ_REMOVE(&w->spare_oneshots, o, entry);
	else
		o = xcalloc(1, sizeof(*o));
	o->w = w;
	o->pool = pool;
	o->program = program_ref(pool->program);
	o->x = x;
	o->out_fd = -1;
	o->err.fd = -1;
	o->oversize = o->back = o->leaving = false;
	o->keys = NULL;
	TAILQ_INIT(&o->callers);
	o->callers_n = 0;
	o->proc.exited = oneshot_exited;
	o->proc.serial = ++w->serial;
	TAILQ_INSERT_TAIL(&pool->oneshots, o, entry);
	pool->oneshots_n++;
	return o;
}

static void
oneshot_release(struct oneshot *o)
{
	TAILQ_REMOVE(&o->pool->oneshots, o, entry);
	o->pool->oneshots_n--;
	program_unref(o->program);
	callers_free(o);
	keys_free(o->keys);
	buf_reset(&o->out, KEEP_BYTES);
	buf_reset(&o->tail, KEEP_BYTES);
	buf_free(&o->suspend);
	buf_free(&o->failure);
	TAILQ_INSERT_HEAD(&o->w->spare_oneshots, o, entry);
}

void
oneshot_free_spare(struct worker *w)
{
	struct oneshot *o;

	while ((o = TAILQ_FIRST(&w->spare_oneshots)) != NULL) {
		TAILQ_REMOVE(&w->spare_oneshots, o, entry);
		buf_free(&o->out);
		buf_free(&o->tail);
		free(o);
	}
}

/* Its streams */

/* A descriptor to read the payload from; -1 with errno. */
static int
payload_memory(struct pstr payload)
{
	int fd = memfd_create("payload", MFD_CLOEXEC);
	size_t done = 0;
	ssize_t n;

	while (fd != -1 && done < payload.len) {
		n = write(fd, payload.p + done, payload.len - done);
		if (n == -1) {
			close(fd);
			return -1;
		}
		done += (size_t)n;
	}
	if (fd != -1)
		lseek(fd, 0, SEEK_SET);
	return fd;
}

static int
payload_pipe(struct pstr payload)
{
	int ends[2];
	ssize_t n;

	if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) == -1)
		return -1;
	n = payload.len > 0 ? write(ends[1], payload.p, payload.len) : 0;
	close(ends[1]);
	/* A pipe may be smaller than usual: the system's limit per user. */
	if (n != (ssize_t)payload.len) {
		close(ends[0]);
		return payload_memory(payload);
	}
	fcntl(ends[0], F_SETFL, 0);
	return ends[0];
}

struct ends {
	int in;			/* the child's */
	int out[2], err[2];
};

static bool
open_ends(struct ends *e, struct pstr payload)
{
	e->in = payload.len <= PIPE_BYTES ? payload_pipe(payload) : payload_memory(payload);
	if (e->in == -1)
		return false;
	if (pipe2(e->out, O_CLOEXEC) == -1) {
		close(e->in);
		return false;
	}
	if (pipe2(e->err, O_CLOEXEC) == -1) {
		close(e->in);
		close(e->out[0]);
		close(e->out[1]);
		return false;
	}
	return true;
}

static void
close_childs_ends(const struct ends *e)
{
	close(e->in);
	close(e->out[1]);
	close(e->err[1]);
}

static void
close_out(struct oneshot *o)
{
	if (o->out_fd == -1)
		return;
	event_del(&o->out_ev);
	close(o->out_fd);
	o->out_fd = -1;
}

/* How many bytes came; 0 when there are no more now, -1 at the end. What is over the limit is read and dropped. */
static ssize_t
read_out(struct oneshot *o)
{
	size_t most = o->out.len == 0 ? FIRST_BYTES : READ_BYTES;
	uint8_t *room = buf_reserve(&o->out, most);
	ssize_t n = read(o->out_fd, room, most);

	if (n == -1)
		return errno == EAGAIN || errno == EINTR ? 0 : -1;
	if (n == 0)
		return -1;
	if (!o->oversize)
		buf_grew(&o->out, (size_t)n);
	/* One newline more than the limit is none too many. */
	if (o->out.len > o->w->max_payload + 1) {
		o->oversize = true;
		buf_reset(&o->out, 0);
	}
	return n;
}

static void
on_out(evutil_socket_t fd, short what, void *arg)
{
	struct oneshot *o = arg;

	(void)fd;
	(void)what;
	if (read_out(o) == -1)
		close_out(o);
}

static void
open_streams(struct oneshot *o, const struct ends *e)
{
	o->out_fd = e->out[0];
	fcntl(o->out_fd, F_SETFL, O_NONBLOCK);
	event_assign(&o->out_ev, o->w->base, o->out_fd, EV_READ | EV_PERSIST, on_out, o);
	event_add(&o->out_ev, NULL);
	meter_open(&o->meter, o->w, o->program->name, o->proc.pid);
	o->meter.execution = o->x;
	stream_open(&o->err, &o->meter, e->err[0], &o->tail);
}

/* Starting */

struct environment {
	char id[64], task[192], attempt[64], deadline[64], event[320], kind[64], at[64], mark[64], token[32 + TOKEN_BYTES], trace[288];
};

static void
set_env(const struct oneshot *o, struct environment *e, const struct msg_run *run)
{
	struct program *p = o->program;
	size_t n = p->env_n;

	snprintf(e->id, sizeof(e->id), "PGCONDUCTOR_ID=%.*s", (int)run->id.len, run->id.p);
	snprintf(e->task, sizeof(e->task), "PGCONDUCTOR_TASK=%.*s", (int)run->task.len, run->task.p);
	snprintf(e->attempt, sizeof(e->attempt), "PGCONDUCTOR_ATTEMPT=%" PRIu64, run->attempt);
	snprintf(e->event, sizeof(e->event), "PGCONDUCTOR_EVENT=%.*s", (int)run->event.name.len, run->event.name.p);
	snprintf(e->kind, sizeof(e->kind), "PGCONDUCTOR_EVENT_KIND=%.*s", (int)(run->event.kind.p != NULL ? run->event.kind.len : 6),
	    run->event.kind.p != NULL ? run->event.kind.p : "invoke");
	snprintf(e->mark, sizeof(e->mark), "%s%" PRIu64, PROCESS_MARK, o->proc.serial);
	p->env[n++] = e->id;
	p->env[n++] = e->task;
	p->env[n++] = e->attempt;
	p->env[n++] = e->event;
	p->env[n++] = e->kind;
	if (run->event.at.p != NULL) {
		snprintf(e->at, sizeof(e->at), "PGCONDUCTOR_EVENT_AT=%.*s", (int)run->event.at.len, run->event.at.p);
		p->env[n++] = e->at;
	}
	p->env[n++] = e->mark;
	if (run->has_deadline_ms) {
		snprintf(e->deadline, sizeof(e->deadline), "PGCONDUCTOR_DEADLINE_MS=%" PRIu64, run->deadline_ms);
		p->env[n++] = e->deadline;
	}
	/* A longer one is of a version to come; it is left out rather than cut. */
	if (run->trace.p != NULL && run->trace.len < sizeof(e->trace) - strlen("PGCONDUCTOR_TRACEPARENT=")) {
		snprintf(e->trace, sizeof(e->trace), "PGCONDUCTOR_TRACEPARENT=%.*s", (int)run->trace.len, run->trace.p);
		p->env[n++] = e->trace;
	}
	if (o->w->listener.env != NULL) {
		snprintf(e->token, sizeof(e->token), "PGCONDUCTOR_TOKEN=%s", o->token);
		p->env[n++] = e->token;
		p->env[n++] = o->w->listener.env;
	}
	p->env[n] = NULL;
}

static pid_t
spawn(struct oneshot *o, const struct msg_run *run, const struct ends *e, struct spawn_error *error)
{
	struct program *p = o->program;
	int fds[] = { e->in, e->out[1], e->err[1] };
	struct environment env;
	pid_t pid;

	set_env(o, &env, run);
	pid = process_spawn(p, p->env, fds, 3, error);
	p->env[p->env_n] = NULL;
	return pid;
}

/* The command is at fault if it cannot be executed; otherwise the system is, for now. */
static void
not_started(struct oneshot *o, const struct spawn_error *error)
{
	struct pool *pool = o->pool;
	char text[512];
	bool pause = error->what != NULL && strcmp(error->what, "chdir") != 0;

	process_spawn_text(o->program, error, text, sizeof(text));
	log_warnx("program %s: %s", o->program->name, text);
	if (pause)
		link_returned(o->w, &o->x->exec, 1, text);
	else
		link_fail(o->w, o->x->exec, "crash", true, "%s", text);
	exec_free(o->w, o->x);
	oneshot_release(o);
	pool_oneshot_ended(pool, pause ? PAUSE_MS : 0);
}

/* What calls within it are told of its run. */
static void
remember_run(struct oneshot *o, const struct msg_run *run)
{
	o->attempt = run->attempt;
	snprintf(o->token, sizeof(o->token), "%.*s", (int)run->token.len, run->token.p);
	if (run->steps_n == 0 && !run->more_steps)
		return;
	o->keys = keys_new();
	o->keys->incomplete = run->more_steps;
	keys_add(o->keys, run->steps, run->steps_n);
}

void
oneshot_run(struct pool *pool, struct execution *x, const struct msg_run *run)
{
	struct oneshot *o = oneshot_new(pool, x);
	struct spawn_error error = { 0, NULL };
	struct ends ends;

	remember_run(o, run);
	if (pool->program->error != NULL) {
		not_started(o, &error);
		return;
	}
	if (!open_ends(&ends, run->event.payload)) {
		error.err = errno;
		error.what = "pipe";
		not_started(o, &error);
		return;
	}
	o->proc.pid = spawn(o, run, &ends, &error);
	close_childs_ends(&ends);
	if (o->proc.pid == -1) {
		close(ends.out[0]);
		close(ends.err[0]);
		not_started(o, &error);
		return;
	}
	worker_watch(o->w, &o->proc);
	open_streams(o, &ends);
	link_started(o->w, pool, o->proc.pid, &x->exec, 1);
	x->oneshot = o;
	exec_begin(x);
}

/* Ending */

void
oneshot_stop(struct oneshot *o, struct pstr reason)
{
	if (reason.p != NULL)
		callers_cancel(o, reason);
	process_kill(o->proc.pid, SIGTERM);
}

void
oneshot_kill(struct oneshot *o)
{
	process_kill(o->proc.pid, SIGKILL);
}

void
oneshots_give_back(struct pool *pool)
{
	struct oneshot *o;

	TAILQ_FOREACH(o, &pool->oneshots, entry) {
		o->back = true;
		oneshot_kill(o);
	}
}

void
oneshots_drain(struct pool *pool, uint64_t deadline_ms)
{
	struct oneshot *o;

	TAILQ_FOREACH(o, &pool->oneshots, entry)
		callers_drain(o, deadline_ms);
}

/* So are calls that come later. */
void
oneshot_leave(struct oneshot *o)
{
	o->leaving = true;
	callers_drain(o, o->x->grace_ms);
}

void
oneshots_choke(struct pool *pool, bool choked)
{
	struct oneshot *o;

	TAILQ_FOREACH(o, &pool->oneshots, entry)
		callers_choke(o, choked);
}

static struct oneshot *
find_in(struct pool_list *pools, struct pstr id, struct pstr token)
{
	struct oneshot *o;
	struct pool *p;

	TAILQ_FOREACH(p, pools, entry)
		TAILQ_FOREACH(o, &p->oneshots, entry)
			if (pstr_is(id, o->x->id) && pstr_is(token, o->token))
				return o;
	return NULL;
}

struct oneshot *
oneshot_find(struct worker *w, struct pstr id, struct pstr token)
{
	struct oneshot *o = find_in(&w->pools, id, token);

	return o != NULL ? o : find_in(&w->leaving, id, token);
}

/* What the worker's end leaves. */
void
oneshots_free(struct pool *pool)
{
	struct oneshot *o;

	while ((o = TAILQ_FIRST(&pool->oneshots)) != NULL) {
		close_out(o);
		stream_finish(&o->err);
		meter_close(&o->meter);
		oneshot_release(o);
	}
}

/* What is in the pipe now and no more, should something that it left behind go on writing. */
static void
read_rest(struct oneshot *o)
{
	int left = 0;
	ssize_t n;

	if (o->out_fd != -1 && ioctl(o->out_fd, FIONREAD, &left) == -1)
		left = 0;
	while (left > 0 && (n = read_out(o)) > 0)
		left -= (int)n;
	close_out(o);
}

/* Its processes have ended, and not before that is it said that it waits: it cannot be resumed beside them. */
static void
settle(struct oneshot *o, int status)
{
	struct execution *x = o->x;
	char name[128];

	snprintf(name, sizeof(name), "%s[%d]", o->program->name, (int)o->proc.pid);
	o->w->suspended |= x->stop == STOP_SUSPENDED;
	if (x->stop == STOP_SUSPENDED)
		link_forward(o->w, buf_ptr(&o->suspend), o->suspend.len);
	else if (x->stop == STOP_REFUSED)
		exec_fail_stopped(o->w, x);
	else if (o->back && x->stop == STOP_NONE && status != 0)
		link_returned(o->w, &x->exec, 1, "the worker had to end");
	else if (x->stop == STOP_NONE && o->failure.len > 0 && result_is_failure(status, o->for_good))
		link_forward(o->w, buf_ptr(&o->failure), o->failure.len);
	else
		result_send(o->w, x, name, status, o->oversize ? NULL : &o->out, &o->tail);
}

static void
oneshot_exited(struct process *proc, int status)
{
	struct oneshot *o = (struct oneshot *)proc;
	struct pool *pool = o->pool;

	read_rest(o);
	stream_finish(&o->err);
	meter_close(&o->meter);
	settle(o, status);
	exec_free(o->w, o->x);
	oneshot_release(o);
	pool_oneshot_ended(pool, 0);
}
