/*
 * Worker processes: starting, telling them what to do, and what follows when one ends. Master.
 *
 * A worker is this program executed anew: clean memory, no database descriptors. It has ended when its socket is
 * closed and it was reaped, in either order; then what it was running goes back.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <event2/event.h>

#include "common/children.h"
#include "common/json.h"
#include "common/log.h"
#include "common/peer.h"
#include "common/xmalloc.h"
#include "master/master.h"
#include "proto/messages.h"

#define RESTART_FIRST_MS	100
#define RESTART_CAP_MS		5000
/* One that lived this long starts the count of restarts anew. */
#define RESTART_FORGET_MS	10000
#define WORKER_FD		3
#define CHILDREN_MAX		4096
/* For so long after the end of a worker its orphans are looked for. */
#define SWEEP_MS		5000
#define FRAME_SLACK		((size_t)1 << 20)

/* ---- what it is told ---- */

static struct msg_pair *
pairs_of(const struct conf_pairs *from)
{
	struct msg_pair *v = xcalloc(from->n + 1, sizeof(*v));

	for (size_t i = 0; i < from->n; i++) {
		v[i].key = pstr(from->v[i].name);
		v[i].value = pstr(from->v[i].value);
	}
	return v;
}

static void
program_of(struct master *m, const struct queue *q, const char *name, const struct conf_strs *argv,
    const struct conf_handler *handler, const char *command_task, struct msg_program *p, struct conf_pairs *env)
{
	const struct conf_queue *conf = q->conf;
	struct pstr *words = xcalloc(argv->n + 1, sizeof(*words));

	for (size_t i = 0; i < argv->n; i++)
		words[i] = pstr(argv->v[i]);
	conf_program_env(m->conf, conf, handler, env);
	*p = (struct msg_program){
		.name = pstr(name),
		.argv = words,
		.argv_n = argv->n,
		.directory = pstr(conf_program_directory(conf, handler)),
		.env = pairs_of(env),
		.env_n = env->n,
		.processes = q->discovery ? 1 : (uint64_t)conf->processes,
		.credit = (uint64_t)conf->credit,
		.max_runs = (uint64_t)conf->max_runs,
		.memory = (uint64_t)conf->memory,
		.idle_timeout_ms = (uint64_t)conf->idle_timeout,
		/* The worker itself has taken the queue's user already, where there is one. */
		.rlimits = pairs_of(&conf->rlimits),
		.rlimits_n = conf->rlimits.n,
		.discover = q->discovery,
		.command_task = pstr(command_task),
	};
}

static void
program_free(struct msg_program *p, struct conf_pairs *env)
{
	free(p->argv);
	free(p->env);
	free(p->rlimits);
	conf_pairs_free(env);
}

static bool
serves_command(const struct conf_task *t, const struct queue *q)
{
	return t->exec.v != NULL && !q->discovery && t->queue != NULL && strcmp(t->queue, q->name) == 0;
}

/* The programs of a queue, in the order in which its pools are numbered. */
static size_t
collect_programs(struct master *m, struct queue *q, struct msg_program *v, struct conf_pairs *envs)
{
	const struct conf_handler *command = m->conf->command;
	size_t n = 0;

	if (q->discovery) {
		program_of(m, q, q->asked->name, &q->asked->command, q->asked, NULL, &v[0], &envs[0]);
		return 1;
	}
	for (size_t i = 0; i < q->conf->handlers_n; i++) {
		const struct conf_handler *h = q->conf->handlers[i];

		if (h == command && !q->command)
			continue;
		program_of(m, q, h->name, &h->command, h, NULL, &v[n], &envs[n]);
		n++;
		if (h == command)
			command = NULL;
	}
	if (q->command && command != NULL) {
		program_of(m, q, command->name, &command->command, command, NULL, &v[n], &envs[n]);
		n++;
	}
	for (size_t i = 0; i < m->conf->tasks_n; i++) {
		const struct conf_task *t = m->conf->tasks[i];

		if (!serves_command(t, q))
			continue;
		program_of(m, q, t->name, &t->exec, NULL, t->name, &v[n], &envs[n]);
		n++;
	}
	return n;
}

/* What the worker has to know of them: their schemas. */
static size_t
collect_tasks(const struct conf *conf, struct msg_task *tasks)
{
	size_t n = 0;

	for (size_t i = 0; i < conf->tasks_n; i++) {
		const struct conf_task *t = conf->tasks[i];

		if (t->payload_text != NULL || t->returns_text != NULL)
			tasks[n++] = (struct msg_task){ .name = pstr(t->name), .payload_schema = pstr(t->payload_text),
				.returns_schema = pstr(t->returns_text) };
	}
	return n;
}

void
worker_setup(struct master *m, struct queue *q)
{
	size_t max = q->conf->handlers_n + m->conf->tasks_n + 2;
	struct msg_program *programs = xcalloc(max, sizeof(*programs));
	struct conf_pairs *envs = xcalloc(max, sizeof(*envs));
	const char **names = xcalloc(max, sizeof(*names));
	bool *commands = xcalloc(max, sizeof(*commands));
	struct msg_task *tasks = xcalloc(m->conf->tasks_n + 1, sizeof(*tasks));
	size_t n = collect_programs(m, q, programs, envs), tasks_n = collect_tasks(m->conf, tasks);
	struct msg_setup setup = {
		.queue = pstr(q->discovery ? "" : q->name),
		.concurrency = (uint64_t)q->conf->concurrency,
		.max_payload = (uint64_t)m->conf->max_payload,
		.kill_grace_ms = (uint64_t)q->conf->kill_grace,
		.terminal = m->opt->terminal,
		.programs = programs,
		.programs_n = n,
		.tasks = tasks,
		.tasks_n = tasks_n,
	};

	for (size_t i = 0; i < n; i++) {
		names[i] = xstrndup(programs[i].name.p, programs[i].name.len);
		commands[i] = programs[i].command_task.p != NULL;
	}
	q->concurrency = (int)q->conf->concurrency;
	q->fetch_batch = (int)q->conf->fetch_batch;
	q->poll_interval_ms = (int)q->conf->poll_interval;
	q->kill_grace_ms = (int)q->conf->kill_grace;
	queue_set_pools(m, q, (int)n, names, commands);
	msg_setup_encode(peer_out(q->worker.peer), 0, &setup);
	peer_flush(q->worker.peer);
	event_types_send(m, q);
	for (size_t i = 0; i < n; i++) {
		program_free(&programs[i], &envs[i]);
		free((void *)(uintptr_t)names[i]);
	}
	free(tasks);
	free(programs);
	free(envs);
	free(names);
	free(commands);
}

/* ---- starting ---- */

/* In the child: the queue's user, for the worker and all that it starts. */
static void
become(const struct conf *conf, const struct conf_queue *q)
{
	const char *user = q->user != NULL ? q->user : conf->user;
	const char *group = q->group != NULL ? q->group : conf->group;
	struct passwd *pw;
	struct group *gr;

	if (geteuid() != 0 || user == NULL)
		return;
	pw = getpwnam(user);
	if (pw == NULL) {
		log_error("queue %s: user \"%s\" is not known", q->name, user);
		_exit(1);
	}
	gr = group != NULL ? getgrnam(group) : NULL;
	if (group != NULL && gr == NULL) {
		log_error("queue %s: group \"%s\" is not known", q->name, group);
		_exit(1);
	}
	if (initgroups(user, pw->pw_gid) == -1 || setgid(gr != NULL ? gr->gr_gid : pw->pw_gid) == -1 ||
	    setuid(pw->pw_uid) == -1) {
		log_warn("queue %s: becoming user \"%s\"", q->name, user);
		_exit(1);
	}
}

/* What a worker needs of the master's environment; the rest, credentials among it, is none of its business. */
static void
clean_environment(void)
{
	static const char *const keep[] = { "PATH", "TZ", "LANG", "JOURNAL_STREAM", "ASAN_OPTIONS", "UBSAN_OPTIONS",
		"LSAN_OPTIONS", "LD_LIBRARY_PATH" };
	char *values[sizeof(keep) / sizeof(keep[0])];

	for (size_t i = 0; i < sizeof(keep) / sizeof(keep[0]); i++)
		values[i] = getenv(keep[i]) != NULL ? xstrdup(getenv(keep[i])) : NULL;
	clearenv();
	for (size_t i = 0; i < sizeof(keep) / sizeof(keep[0]); i++)
		if (values[i] != NULL)
			setenv(keep[i], values[i], 1);
}

static void
child(struct master *m, struct queue *q, int fd, const sigset_t *mask, pid_t master)
{
	char *argv[6];
	char name[] = "pgconductor", command[] = "_worker";

	for (int sig = 1; sig < NSIG; sig++)
		signal(sig, SIG_DFL);
	if (dup2(fd, WORKER_FD) == -1)
		_exit(EXIT_FAILURE);
	if (fd == WORKER_FD)
		fcntl(fd, F_SETFD, 0);
	become(m->conf, q->conf);
	/* After the change of user, which clears it. The master may have died before this took effect. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != master)
		_exit(EXIT_FAILURE);
	clean_environment();
	argv[0] = name;
	argv[1] = command;
	argv[2] = q->discovery ? xstrdup("") : q->name;
	argv[3] = xstrdup(log_level_name((enum log_level)m->conf->log_level));
	argv[4] = xstrdup(log_format_name((enum log_format)m->conf->log_format));
	argv[5] = NULL;
	sigprocmask(SIG_SETMASK, mask, NULL);
	close_range(WORKER_FD + 1, (unsigned)m->exe - 1, 0);
	close_range((unsigned)m->exe + 1, ~0U, 0);
	fexecve(m->exe, argv, environ);
	log_warn("starting a worker");
	_exit(EXIT_FAILURE);
}

static void
restart(evutil_socket_t fd, short what, void *arg)
{
	struct queue *q = arg;

	(void)fd;
	(void)what;
	if (!q->master->stopping && !q->retiring && q->worker.state == WORKER_NONE)
		worker_start(q->master, q);
}

static void
restart_later(struct queue *q)
{
	struct worker *w = &q->worker;
	struct timeval tv;

	if (clock_ms() - w->started_ms > RESTART_FORGET_MS || w->backoff_ms == 0)
		w->backoff_ms = RESTART_FIRST_MS;
	if (w->restart == NULL)
		w->restart = evtimer_new(q->master->base, restart, q);
	tv = clock_timeval(w->backoff_ms);
	w->backoff_ms = w->backoff_ms * 2 < RESTART_CAP_MS ? w->backoff_ms * 2 : RESTART_CAP_MS;
	event_add(w->restart, &tv);
}

void
worker_start(struct master *m, struct queue *q)
{
	struct worker *w = &q->worker;
	pid_t pid, self = getpid();
	sigset_t all, old;
	int fds[2];

	w->started_ms = clock_ms();
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == -1) {
		log_warn("queue %s: socketpair", q->name);
		restart_later(q);
		return;
	}
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, &old);
	pid = fork();
	if (pid == 0)
		child(m, q, fds[1], &old, self);
	sigprocmask(SIG_SETMASK, &old, NULL);
	close(fds[1]);
	if (pid == -1) {
		log_warn("queue %s: fork", q->name);
		close(fds[0]);
		restart_later(q);
		return;
	}
	w->state = WORKER_UP;
	w->pid = pid;
	w->status = 0;
	w->peer = peer_new(m->base, fds[0], (size_t)m->conf->max_payload + FRAME_SLACK, &link_ops, q);
	log_debug("queue %s: worker %ld", q->name, (long)pid);
	worker_setup(m, q);
}

/* ---- ending ---- */

static char *
how_it_ended(const struct worker *w)
{
	if (WIFSIGNALED(w->status))
		return xasprintf("was killed by signal %d (%s)", WTERMSIG(w->status), strsignal(WTERMSIG(w->status)));
	return xasprintf("exited with status %d", WEXITSTATUS(w->status));
}

/*
 * A worker ends its handlers, and what they detached from themselves, with itself; killed, it cannot. What it leaves
 * behind becomes a child of the master, which is a subreaper.
 */
static bool
is_ours(struct master *m, pid_t pid)
{
	struct queue *q;

	for (size_t i = 0; i < m->relatives_n; i++)
		if (m->relatives[i] == pid)
			return true;
	TAILQ_FOREACH(q, &m->queues, link)
		if (q->worker.pid == pid)
			return true;
	return false;
}

void
worker_sweep(struct master *m)
{
	pid_t pids[CHILDREN_MAX];
	size_t n;

	/* What is left dies in turns: a killed shell leaves its own children. */
	if (clock_ms() > m->sweep_until_ms)
		return;
	n = children_list(pids, CHILDREN_MAX);
	for (size_t i = 0; i < n; i++) {
		if (is_ours(m, pids[i]))
			continue;
		log_info("ending process %ld, which a worker left behind", (long)pids[i]);
		kill(pids[i], SIGKILL);
	}
}

void
worker_sweep_init(struct master *m)
{
	children_init();
	/* Whoever started the server may have children of its own in this process. */
	m->relatives_n = children_list(m->relatives, RELATIVES_MAX);
}

struct worker_end {
	struct queue	*queue;
	char		*how;
};

/* What had been handed to a handler may have done anything: an attempt. The rest did not run. */
static void
take_back(struct master *m, struct run *r, void *arg)
{
	struct worker_end *end = arg;
	struct buf error;
	char *text;

	if (r->queue != end->queue || r->state != RUN_SENT)
		return;
	queue_ended(m, r);
	if (r->shard == NULL || !r->started) {
		run_put_back(m, r);
		return;
	}
	text = xasprintf("the worker of queue %s %s", end->queue->name, end->how);
	report_failed(m, r, &(struct msg_fail){ .code = pstr("crash"), .message = pstr(text) });
	buf_init(&error);
	buf_addstr(&error, "{\"code\":\"crash\",\"message\":");
	json_quote(&error, text, strlen(text));
	buf_addstr(&error, "}");
	settle_add(m, r, OUTCOME_FAILED, (const char *)buf_ptr(&error), error.len, true, -1);
	buf_free(&error);
	free(text);
}

static void
ended(struct master *m, struct queue *q)
{
	struct worker *w = &q->worker;
	bool expected = w->state == WORKER_DRAINING || q->discovery;
	struct worker_end end = { q, how_it_ended(w) };

	w->state = WORKER_NONE;
	m->sweep_until_ms = clock_ms() + SWEEP_MS;
	worker_sweep(m);
	if (!expected || w->status != 0)
		log_warnx("queue %s: worker %s", q->discovery ? "(discovery)" : q->name, end.how);
	run_each(m, take_back, &end);
	for (int i = 0; i < q->pools_n; i++)
		q->pools[i].slots = 0;
	settle_flush(m);
	if (q->discovery && !q->served)
		server_discovered(m, q, NULL, end.how);
	free(end.how);
	if (m->stopping || q->retiring || q->discovery)
		server_worker_ended(m, q);
	else
		restart_later(q);
}

void
worker_reaped(struct master *m, pid_t pid, int status)
{
	struct queue *q;

	TAILQ_FOREACH(q, &m->queues, link) {
		if (q->worker.pid != pid)
			continue;
		q->worker.pid = 0;
		q->worker.status = status;
		if (q->worker.peer == NULL)
			ended(m, q);
		return;
	}
}

void
worker_closed(struct master *m, struct queue *q, const char *why)
{
	log_debug("queue %s: worker's socket: %s", q->name, why);
	peer_free(q->worker.peer);
	q->worker.peer = NULL;
	/* A worker that broke the protocol may still be running. */
	if (q->worker.pid != 0 && q->worker.state == WORKER_UP) {
		q->worker.state = WORKER_LOST;
		kill(q->worker.pid, SIGKILL);
	}
	if (q->worker.pid == 0)
		ended(m, q);
}

void
worker_drain(struct master *m, struct queue *q, int64_t deadline_ms)
{
	struct msg_drain msg = { .deadline_ms = (uint64_t)deadline_ms };

	(void)m;
	if (q->worker.restart != NULL)
		event_del(q->worker.restart);
	if (q->worker.state != WORKER_UP || q->worker.peer == NULL)
		return;
	q->worker.state = WORKER_DRAINING;
	msg_drain_encode(peer_out(q->worker.peer), 0, &msg);
	peer_flush(q->worker.peer);
}

void
worker_kill(struct queue *q)
{
	if (q->worker.pid != 0)
		kill(q->worker.pid, SIGKILL);
}

void
worker_leave(struct run *r)
{
	struct msg_drain msg = { .deadline_ms = 0 };

	if (r->queue->worker.peer == NULL)
		return;
	msg_drain_encode(peer_out(r->queue->worker.peer), r->exec, &msg);
	peer_flush(r->queue->worker.peer);
}

void
worker_cancel(struct master *m, struct run *r, const char *reason)
{
	struct queue *q = r->queue;
	struct msg_cancel msg = { .reason = pstr(reason), .grace_ms = (uint64_t)q->kill_grace_ms };

	/* See watch_writer. */
	if (r->gate != NULL && r->shard == NULL && q->kill_grace_ms > m->takeover_ms / 8)
		msg.grace_ms = (uint64_t)m->takeover_ms / 8;
	if (q->worker.peer == NULL)
		return;
	msg_cancel_encode(peer_out(q->worker.peer), r->exec, &msg);
	peer_flush(q->worker.peer);
}
