/*
 * The worker's main: the event loop, signals, what applies to all pools. Worker.
 *
 * All signals are blocked and read from a descriptor: there are no signal handlers, which process.c counts on.
 */
#include "config.h"

#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "common/children.h"
#include "common/log.h"
#include "common/xmalloc.h"
#include "worker/internal.h"
#include "worker/worker.h"

#define POLL_MS	5	/* while the last bytes for the master are on their way */

uint64_t
worker_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

struct timeval
worker_tv(uint64_t ms)
{
	/* Longer than anything runs. */
	if (ms > UINT64_C(1000) * 3600 * 24 * 365)
		ms = UINT64_C(1000) * 3600 * 24 * 365;
	return (struct timeval){ .tv_sec = (time_t)(ms / 1000), .tv_usec = (suseconds_t)(ms % 1000 * 1000) };
}

/* The end of a pass */

static void
on_pass(evutil_socket_t fd, short what, void *arg)
{
	struct worker *w = arg;
	struct handler *h;
	struct pool *p;

	(void)fd;
	(void)what;
	w->pass_set = false;
	while ((h = TAILQ_FIRST(&w->to_tell)) != NULL)
		handler_tell_started(h);
	TAILQ_FOREACH(p, &w->pools, entry) {
		if (p->fill)
			pool_fill(p);
		p->fill = false;
		pool_flush_slots(p);
	}
}

void
worker_touch(struct worker *w)
{
	if (w->pass_set)
		return;
	w->pass_set = true;
	event_active(&w->pass, EV_TIMEOUT, 0);
}

void
worker_fill_later(struct pool *p)
{
	p->fill = true;
	worker_touch(p->w);
}

/* Processes */

void
worker_watch(struct worker *w, struct process *proc)
{
	table_put(&w->pids, (uint64_t)proc->pid, proc);
}

static void
reap(struct worker *w)
{
	struct process *proc;
	pid_t pid;
	int status;
	bool any = false;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		any = true;
		proc = table_get(&w->pids, (uint64_t)pid);
		if (proc == NULL)
			continue;
		table_del(&w->pids, (uint64_t)pid);
		proc->exited(proc, status);
	}
	if (any)
		sweep_orphans(w);
}

static void
on_signal(evutil_socket_t fd, short what, void *arg)
{
	struct worker *w = arg;
	struct signalfd_siginfo info[8];
	ssize_t n = read(fd, info, sizeof(info));
	bool children = false, stop = false;

	(void)what;
	for (ssize_t i = 0; i < n / (ssize_t)sizeof(info[0]); i++) {
		children |= info[i].ssi_signo == SIGCHLD;
		stop |= info[i].ssi_signo == SIGTERM;
	}
	if (children)
		reap(w);
	if (stop)
		worker_stop(w, "SIGTERM", 0);
}

/* What is ignored here would be in all that is started from here. */
static void
heed_all(void)
{
	struct sigaction action;

	for (int sig = 1; sig < NSIG; sig++)
		if (sigaction(sig, NULL, &action) == 0 && action.sa_handler == SIG_IGN)
			signal(sig, SIG_DFL);
}

static void
open_signals(struct worker *w)
{
	sigset_t set;

	/* A terminal's signals are the master's affair. */
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGQUIT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGPIPE);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGUSR2);
	heed_all();
	if (sigprocmask(SIG_SETMASK, &set, NULL) == -1)
		fatal("sigprocmask");
	w->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (w->signal_fd == -1)
		fatal("signalfd");
	event_assign(&w->signals, w->base, w->signal_fd, EV_READ | EV_PERSIST, on_signal, w);
	event_add(&w->signals, NULL);
}

/* Setting up */

static void
on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct worker *w = arg;
	struct pool *p;
	uint64_t now = worker_now();

	(void)fd;
	(void)what;
	TAILQ_FOREACH(p, &w->pools, entry)
		pool_tick(p, now);
}

static void
set_tick(struct worker *w)
{
	struct pool *p;
	struct timeval tv;
	uint64_t ms, least = 0;

	TAILQ_FOREACH(p, &w->pools, entry) {
		ms = pool_tick_ms(p);
		if (ms != 0 && (least == 0 || ms < least))
			least = ms;
	}
	event_del(&w->tick);
	tv = worker_tv(least);
	if (least != 0)
		event_add(&w->tick, &tv);
}

static struct pool *
same_pool(struct pool_list *pools, const struct program *program)
{
	struct pool *p;

	TAILQ_FOREACH(p, pools, entry)
		if (strcmp(p->program->name, program->name) == 0 &&
		    (p->program->command_task != NULL) == (program->command_task != NULL) &&
		    p->program->discover == program->discover)
			return p;
	return NULL;
}

static void
leave(struct worker *w, struct pool *p)
{
	p->leaving = true;
	pool_drain(p, 0);
	TAILQ_INSERT_TAIL(&w->leaving, p, entry);
}

/* A pool that stays keeps its processes until the new ones are up; both sides count slots from 0 again. */
static void
set_pools(struct worker *w, const struct msg_setup *m)
{
	struct pool_list old = TAILQ_HEAD_INITIALIZER(old);
	struct pool *p;

	TAILQ_FOREACH(p, &w->pools, entry)
		pool_forget_tasks(p);
	TAILQ_CONCAT(&old, &w->pools, entry);
	routes_make(w);
	for (size_t i = 0; i < m->programs_n; i++) {
		struct program *program = program_new(&m->programs[i], w->queue);

		if (program->command_task != NULL)
			listen_open(w);
		p = same_pool(&old, program);
		if (p != NULL) {
			TAILQ_REMOVE(&old, p, entry);
			TAILQ_INSERT_TAIL(&w->pools, p, entry);
			pool_replace(p, (unsigned)i, program);
			continue;
		}
		p = pool_new(w, (unsigned)i, program);
		TAILQ_INSERT_TAIL(&w->pools, p, entry);
		pool_start(p);
	}
	while ((p = TAILQ_FIRST(&old)) != NULL) {
		TAILQ_REMOVE(&old, p, entry);
		leave(w, p);
	}
}

void
worker_set_up(struct worker *w, const struct msg_setup *m)
{
	struct handler *h;

	if (w->draining)
		return;
	/* What was started before is told with the numbers of before. */
	while ((h = TAILQ_FIRST(&w->to_tell)) != NULL)
		handler_tell_started(h);
	w->concurrency = m->concurrency;
	w->max_payload = m->max_payload;
	w->max_frame = m->max_payload + FRAME_SLACK;
	w->kill_grace_ms = m->kill_grace_ms;
	w->terminal = m->terminal;
	w->set_up = true;
	configured_set(w, m->tasks, m->tasks_n);
	set_pools(w, m);
	set_tick(w);
	worker_check_done(w);
}

void
worker_run(struct worker *w, uint64_t exec, struct msg_run *run, const uint8_t *body, size_t len)
{
	struct pool *p = routes_find(w, run->task);
	const char *why = p == NULL ? "no program here has the task" : "the worker is draining";

	if (run->items_n != 0 ? !batch_check(w, run) : exec == 0 || exec_find(w, exec) != NULL) {
		log_error("from the master: RUN with a number that is in use");
		return;
	}
	if (p != NULL && !w->draining) {
		if (run->items_n != 0)
			pool_run_batch(p, run, body, len);
		else
			pool_run(p, exec, run, body, len);
		return;
	}
	if (run->items_n != 0)
		batch_return(w, run, why);
	else
		link_returned(w, &exec, 1, why);
	TAILQ_FOREACH(p, &w->pools, entry)
		if (pool_owned(p, run->task))
			break;
}

/* Ending */

static void
on_deadline(evutil_socket_t fd, short what, void *arg)
{
	struct worker *w = arg;
	struct pool *p;
	struct timeval tv = worker_tv(POLL_MS);

	(void)fd;
	(void)what;
	if (!w->said_bye) {
		TAILQ_FOREACH(p, &w->pools, entry)
			pool_kill(p);
		TAILQ_FOREACH(p, &w->leaving, entry)
			pool_kill(p);
		return;
	}
	/* BYE was written: the end. */
	if (w->master == NULL || peer_pending(w->master) == 0)
		event_base_loopbreak(w->base);
	else
		event_add(&w->deadline, &tv);
}

void
worker_begin_drain(struct worker *w, uint64_t deadline_ms)
{
	struct timeval tv = worker_tv(deadline_ms);
	struct pool *p;

	if (w->said_bye)
		return;
	event_add(&w->deadline, &tv);
	w->draining = true;
	TAILQ_FOREACH(p, &w->pools, entry)
		pool_drain(p, deadline_ms);
	TAILQ_FOREACH(p, &w->leaving, entry)
		pool_drain(p, deadline_ms);
	worker_check_done(w);
}

static bool
all_empty(struct worker *w)
{
	struct pool *p;

	TAILQ_FOREACH(p, &w->pools, entry)
		if (!pool_empty(p))
			return false;
	return TAILQ_EMPTY(&w->leaving);
}

void
worker_check_done(struct worker *w)
{
	struct timeval tv = worker_tv(POLL_MS);
	struct pool *p, *next;

	TAILQ_FOREACH_SAFE(p, &w->leaving, entry, next)
		if (pool_empty(p)) {
			TAILQ_REMOVE(&w->leaving, p, entry);
			pool_free(p);
		}
	if (!w->draining || w->said_bye || !all_empty(w))
		return;
	link_bye(w);
	w->said_bye = true;
	event_add(&w->deadline, &tv);
}

void
worker_stop(struct worker *w, const char *why, int status)
{
	if (!w->said_bye)
		log_info("stopping at once: %s", why);
	w->exit_status = status;
	event_base_loopbreak(w->base);
}

/* The master does not read: neither do we, until it does. */

static void
read_handlers(struct pool_list *pools, bool stop)
{
	struct pool *p;
	struct handler *h;

	TAILQ_FOREACH(p, pools, entry) {
		TAILQ_FOREACH(h, &p->handlers, entry) {
			if (h->peer == NULL)
				continue;
			if (stop)
				peer_read_stop(h->peer);
			else
				peer_read_start(h->peer);
		}
		oneshots_choke(p, stop);
	}
}

static void
on_choked(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	link_check_choked(arg);
}

void
worker_choke(struct worker *w, bool choked)
{
	struct timeval tv = worker_tv(POLL_MS);

	if (choked != w->choked) {
		w->choked = choked;
		read_handlers(&w->pools, choked);
		read_handlers(&w->leaving, choked);
	}
	if (choked)
		event_add(&w->choke, &tv);
}

/* The process */

static void
open_log(const char *queue, const char *level, const char *format)
{
	int l = level != NULL ? log_level_parse(level) : -1, f = format != NULL ? log_format_parse(format) : -1;
	char ident[96];

	snprintf(ident, sizeof(ident), "worker[%s]", queue);
	log_init(ident, l >= 0 ? (enum log_level)l : LOG_LEVEL_INFO, f >= 0 ? (enum log_format)f : LOG_FORMAT_TEXT);
}

static void
init(struct worker *w, const char *queue)
{
	memset(w, 0, sizeof(*w));
	w->queue = queue;
	w->listener.fd = -1;
	TAILQ_INIT(&w->pools);
	TAILQ_INIT(&w->leaving);
	TAILQ_INIT(&w->free_execs);
	TAILQ_INIT(&w->to_tell);
	TAILQ_INIT(&w->spare_oneshots);
	SLIST_INIT(&w->exec_chunks);
	table_init(&w->pids);
	table_init(&w->execs);
	msg_init(&w->frame);
	buf_init(&w->text);
	if ((w->base = event_base_new()) == NULL)
		fatalx("event_base_new");
	/* The first is for streams, see there; all else has the second. */
	event_base_priority_init(w->base, 2);
	event_assign(&w->pass, w->base, -1, 0, on_pass, w);
	event_assign(&w->tick, w->base, -1, EV_PERSIST, on_tick, w);
	evtimer_assign(&w->deadline, w->base, on_deadline, w);
	evtimer_assign(&w->choke, w->base, on_choked, w);
	w->null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (w->null_fd == -1)
		fatal("/dev/null");
}

static void
free_pools(struct pool_list *pools)
{
	struct pool *p;
	struct handler *h;

	while ((p = TAILQ_FIRST(pools)) != NULL) {
		TAILQ_REMOVE(pools, p, entry);
		while ((h = TAILQ_FIRST(&p->handlers)) != NULL) {
			TAILQ_REMOVE(&p->handlers, h, entry);
			peer_free(h->peer);
			handler_free(h);
		}
		oneshots_free(p);
		pool_free(p);
	}
}

/* What the kernel would take back anyway: so that a leak checker sees what is left over. */
static void
clean_up(struct worker *w)
{
	peer_free(w->master);
	w->master = NULL;
	free_pools(&w->pools);
	free_pools(&w->leaving);
	configured_free(w);
	events_free(w);
	listen_close(w);
	oneshot_free_spare(w);
	exec_free_all(w);
	table_free(&w->pids);
	table_free(&w->execs);
	free(w->routes.v);
	msg_free(&w->frame);
	buf_free(&w->text);
	event_base_free(w->base);
}

int
worker_main(int argc, char **argv)
{
	static struct worker w;

	if (argc < 2 || fcntl(MASTER_FD, F_GETFD) == -1) {
		fprintf(stderr, "pgconductor: _worker: started by the server only\n");
		return EX_USAGE;
	}
	open_log(argv[1], argc > 2 ? argv[2] : NULL, argc > 3 ? argv[3] : NULL);
	init(&w, argv[1]);
	/* The end of the link says the same, unless the worker is too busy to see it. */
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	open_signals(&w);
	process_init();
	children_init();
	link_open(&w, MASTER_FD);
	event_base_dispatch(w.base);
	sweep_everything(&w);
	clean_up(&w);
	return w.exit_status;
}
