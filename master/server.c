/*
 * The server: starting, signals, reload, ending. Master.
 */
#include "config.h"

#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <sys/wait.h>
#include <unistd.h>

#include <event2/dns.h>
#include <event2/event.h>

#include "common/duration.h"
#include "common/log.h"
#include "common/notify.h"
#include "common/peer.h"
#include "common/xmalloc.h"
#include "master/master.h"
#include "proto/messages.h"

/* After the deadline of a stop: time for workers to end handlers, and for the last outcomes to be written. */
#define STOP_SLACK_MS	5000

static const struct db_stmt stmt_drained = { "drained", "select held, failed from pgconductor.drained($1::int, $2::int[])" };

static void
loop_exit(struct master *m)
{
	event_base_loopexit(m->base, NULL);
}

void
server_fail(struct master *m, int status, const char *why)
{
	log_error("%s", why);
	m->status = status;
	loop_exit(m);
}

/* ---- queues ---- */

static void
discover(struct master *m, struct conf_handler *h)
{
	struct queue *q = queue_new(m, h->name);

	q->discovery = true;
	q->asked = h;
	q->conf = conf_queue_get(m->conf, CONF_DEFAULT_QUEUE);
	TAILQ_INSERT_TAIL(&m->queues, q, link);
	worker_start(m, q);
}

/* Starts a queue, or tells its worker what is new. */
static void
serve_queue(struct master *m, const char *name, bool command)
{
	struct queue *q = queue_find(m, name);

	if (q == NULL) {
		q = queue_new(m, name);
		TAILQ_INSERT_TAIL(&m->queues, q, link);
	}
	q->conf = conf_queue_get(m->conf, name);
	q->command = q->command || command;
	q->retiring = false;
	if (q->worker.state == WORKER_UP)
		worker_setup(m, q);
	else if (q->worker.state == WORKER_NONE)
		worker_start(m, q);
}

static void
serve_configured(struct master *m)
{
	size_t n = m->conf->queues_n;

	for (size_t i = 0; i < n; i++) {
		struct conf_queue *cq = m->conf->queues[i];
		struct queue *q = queue_find(m, cq->name);
		bool command = q != NULL && q->command;

		if (command || conf_queue_has_programs(m->conf, cq))
			serve_queue(m, cq->name, command);
	}
}

static void
take_setting(const char *queue, const char *name, uint64_t said, int64_t min, int64_t max, int64_t *value)
{
	if (said >= (uint64_t)min && said <= (uint64_t)max)
		*value = (int64_t)said;
	else
		log_error("queue \"%s\": %s: %" PRIu64 " is not between %" PRId64 " and %" PRId64, queue, name, said, min, max);
}

/* What the program says of its queues. A section of the configuration counts for more. */
static void
discovered_settings(struct master *m, const struct msg_announce *msg)
{
	for (size_t i = 0; i < msg->queues_n; i++) {
		const struct msg_queue_settings *said = &msg->queues[i];
		char *name = xstrndup(said->name.p, said->name.len);
		struct conf_queue *cq = conf_queue_name_valid(name) ? conf_queue_get(m->conf, name) : NULL;

		if (cq != NULL && cq->place.file == NULL) {
			if (said->has_concurrency)
				take_setting(name, "concurrency", said->concurrency, 1, CONF_MAX_CONCURRENCY, &cq->concurrency);
			if (said->has_fetch_batch)
				take_setting(name, "fetch_batch", said->fetch_batch, 1, CONF_MAX_FETCH_BATCH, &cq->fetch_batch);
			if (said->has_poll_ms)
				take_setting(name, "poll_ms", said->poll_ms, CONF_MIN_POLL_INTERVAL,
				    CONF_MAX_POLL_INTERVAL, &cq->poll_interval);
		}
		free(name);
	}
}

/* Of a queue without a section, in the former configuration as in the new one, it holds what the program has said. */
static void
keep_settings(const struct conf *old, struct conf *fresh)
{
	for (size_t i = 0; i < old->queues_n; i++) {
		const struct conf_queue *was = old->queues[i];
		struct conf_queue *is = was->place.file == NULL ? conf_queue_get(fresh, was->name) : NULL;

		if (is != NULL && is->place.file == NULL) {
			is->concurrency = was->concurrency;
			is->fetch_batch = was->fetch_batch;
			is->poll_interval = was->poll_interval;
		}
	}
}

static void
discovered_queues(struct master *m, const struct msg_announce *msg)
{
	for (size_t i = 0; i < msg->tasks_n; i++) {
		const struct pstr *said = &msg->tasks[i].queue;
		char *name = said->p != NULL ? xstrndup(said->p, said->len) : xstrdup(CONF_DEFAULT_QUEUE);
		struct queue *q = queue_find(m, name);

		if (!conf_queue_name_valid(name))
			log_error("task %.*s: \"%s\" is not a queue's name", (int)msg->tasks[i].name.len,
			    msg->tasks[i].name.p, name);
		else if (q == NULL || !q->command)
			serve_queue(m, name, true);
		free(name);
	}
}

void
server_discovered(struct master *m, struct queue *q, const struct msg_announce *msg, const char *error)
{
	if (error != NULL) {
		char *why = xasprintf("%s does not start: %s", q->asked->name, error);

		q->served = true;
		server_fail(m, EX_UNAVAILABLE, why);
		free(why);
		return;
	}
	if (msg->tasks_n == 0)
		log_warnx("%s announces no task", q->asked->name);
	discovered_settings(m, msg);
	discovered_queues(m, msg);
	m->discovered = true;
	worker_drain(m, q, m->conf->shutdown_timeout);
	server_progress(m);
}

/* ---- ending ---- */

static void
on_stop_timer(evutil_socket_t fd, short what, void *arg)
{
	struct master *m = arg;

	(void)fd;
	(void)what;
	log_warnx("stopping took too long; what is left is given up, and will run again");
	loop_exit(m);
}

static void
stop(struct master *m)
{
	struct queue *q;
	int64_t grace = 0;
	struct timeval tv;

	if (m->stopping)
		return;
	m->stopping = true;
	log_info("stopping");
	TAILQ_FOREACH(q, &m->queues, link) {
		if (q->conf->kill_grace > grace)
			grace = q->conf->kill_grace;
		worker_drain(m, q, m->conf->shutdown_timeout);
	}
	register_leave(m);
	dispatch_leave(m);
	shard_give_all(m);
	grace += m->conf->shutdown_timeout + STOP_SLACK_MS;
	tv.tv_sec = grace / 1000;
	tv.tv_usec = grace % 1000 * 1000;
	event_add(m->stop_timer, &tv);
	health_stopping(m, grace);
	server_progress(m);
}

static bool
workers_ended(const struct master *m)
{
	const struct queue *q;

	TAILQ_FOREACH(q, &m->queues, link)
		if (q->worker.state != WORKER_NONE)
			return false;
	return true;
}

/* Nothing is ready or due, nothing runs, and every shard that this node is to have has been looked at. */
static bool
drained(const struct master *m)
{
	const struct queue *q;
	int queues = 0;

	TAILQ_FOREACH(q, &m->queues, link) {
		if (q->discovery || !q->served || q->outstanding != 0 || q->count + q->limited != 0)
			return false;
		queues++;
	}
	return queues != 0 && shard_settled(m) && settle_idle(m) && resume_idle(m) && dispatch_idle(m) && wake_quiet(m);
}

/* The end of --drain, unless something that goes on elsewhere is waited for: that is asked again. */
static void
judged(const struct db_answer *a, void *arg)
{
	struct master *m = arg;

	m->judging = false;
	if (a->outcome == DB_ERROR)
		log_warnx("asking what is left to do: %s", a->message);
	if (a->outcome != DB_OK || m->stopping || !drained(m) || db_bool(a, 0, 0))
		return;
	m->failed += (uint64_t)db_int8(a, 0, 1);
	m->status = m->failed != 0 ? 1 : 0;
	m->drained = true;
	stop(m);
}

static void
judge(struct master *m)
{
	struct params p;
	struct shard *s;
	int shards;

	if (m->judging || !db_ready(m->control))
		return;
	m->judging = true;
	params_init(&p);
	param_int4(&p, m->node);
	shards = param_array(&p, PARAM_INT4);
	TAILQ_FOREACH(s, &m->shards, link)
		param_array_int4(&p, shards, s->id);
	db_call(m->control, &stmt_drained, &p, judged, m);
	params_free(&p);
}

/* The last line that the server writes. */
static void
say_stopped(struct master *m)
{
	int64_t next = wake_next_ms(m);
	char text[DURATION_STRLEN], later[64] = "";

	if (!m->drained) {
		log_info("stopped");
		return;
	}
	if (next >= 0)
		snprintf(later, sizeof(later), "; the next one is due in %s",
		    duration_format((next + 999) / 1000 * 1000, text, sizeof(text)));
	log_info("drained: nothing is ready or due; %" PRIu64 " completed, %" PRIu64 " failed for good%s", m->completed, m->failed,
	    later);
}

void
server_progress(struct master *m)
{
	if (m->stopping) {
		lines_flush(m);
		if (workers_ended(m) && settle_idle(m) && ((TAILQ_EMPTY(&m->shards) && lines_idle(m)) || !node_may_write(m)))
			loop_exit(m);
		return;
	}
	if (m->opt->drain && drained(m))
		judge(m);
}

void
server_worker_ended(struct master *m, struct queue *q)
{
	if (q->discovery || (q->retiring && !m->stopping && shard_queue_empty(m, q))) {
		TAILQ_REMOVE(&m->queues, q, link);
		if (q->worker.restart != NULL)
			event_free(q->worker.restart);
		queue_free(m, q);
	}
	server_progress(m);
}

/* ---- signals ---- */

static void
on_stop_signal(evutil_socket_t sig, short what, void *arg)
{
	struct master *m = arg;

	(void)what;
	if (m->stopping) {
		log_warnx("stopping at once");
		m->status = 128 + (int)sig;
		loop_exit(m);
		return;
	}
	stop(m);
}

static void
on_child(evutil_socket_t sig, short what, void *arg)
{
	struct master *m = arg;
	pid_t pid;
	int status;

	(void)sig;
	(void)what;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		worker_reaped(m, pid, status);
	worker_sweep(m);
}

static void
retire_missing(struct master *m)
{
	struct queue *q;

	TAILQ_FOREACH(q, &m->queues, link) {
		if (q->discovery || q->command || conf_queue_has_programs(m->conf, conf_queue_get(m->conf, q->name)))
			continue;
		log_info("queue %s is not served any more", q->name);
		q->retiring = true;
		worker_drain(m, q, m->conf->shutdown_timeout);
	}
}

static void
reload(struct master *m)
{
	struct conf_errors errors;
	struct conf *fresh, *old = m->conf;
	struct queue *q;

	if ((m->opt->conf_path == NULL && m->opt->argc == 0) || m->stopping) {
		log_info("there is no configuration file to read again");
		return;
	}
	conf_errors_init(&errors);
	fresh = conf_load(m->opt->conf_path, &errors);
	for (size_t i = 0; i < errors.n; i++)
		log_error("%s", errors.v[i]);
	if (fresh == NULL) {
		log_error("the configuration has errors; nothing was changed");
		conf_errors_free(&errors);
		return;
	}
	fresh->inherit_env = old->inherit_env;
	if (m->opt->argc != 0)
		conf_set_command(fresh, m->opt->argv);
	keep_settings(old, fresh);
	conf_compare(old, fresh, &errors);
	for (size_t i = 0; i < errors.warnings_n; i++)
		log_warnx("%s", errors.warnings[i]);
	conf_errors_free(&errors);
	m->conf = fresh;
	TAILQ_FOREACH(q, &m->queues, link) {
		q->conf = conf_queue_get(fresh, q->discovery ? CONF_DEFAULT_QUEUE : q->name);
		if (q->discovery)
			q->asked = fresh->command;
	}
	log_init("master", (enum log_level)fresh->log_level, (enum log_format)fresh->log_format);
	node_reloaded(m);
	retire_missing(m);
	serve_configured(m);
	register_all(m);
	task_load(m);
	task_serve(m);
	conf_free(old);
	log_info(m->opt->conf_path != NULL ? "the configuration was read again" : "handlers are started anew");
}

static void
on_reload(evutil_socket_t sig, short what, void *arg)
{
	(void)sig;
	(void)what;
	notify_reloading();
	reload(arg);
	health_reloaded(arg);
}

static void
catch_signals(struct master *m)
{
	const struct { int sig; event_callback_fn cb; } table[] = {
		{ SIGTERM, on_stop_signal }, { SIGINT, on_stop_signal }, { SIGHUP, on_reload }, { SIGCHLD, on_child },
	};

	signal(SIGPIPE, SIG_IGN);
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		m->signals[i] = evsignal_new(m->base, table[i].sig, table[i].cb, m);
		event_add(m->signals[i], NULL);
	}
}

/* Root is kept only for queues that have a user of their own. */
static bool
drop_privileges(const struct conf *conf)
{
	struct passwd *pw;
	struct group *gr = NULL;

	if (geteuid() != 0 || conf->user == NULL)
		return true;
	for (size_t i = 0; i < conf->queues_n; i++)
		if (conf->queues[i]->user != NULL)
			return true;
	pw = getpwnam(conf->user);
	if (pw == NULL || (conf->group != NULL && (gr = getgrnam(conf->group)) == NULL)) {
		log_error("user \"%s\" or its group is not known", conf->user);
		return false;
	}
	if (initgroups(conf->user, pw->pw_gid) == -1 || setgid(gr != NULL ? gr->gr_gid : pw->pw_gid) == -1 ||
	    setuid(pw->pw_uid) == -1) {
		log_warn("becoming user \"%s\"", conf->user);
		return false;
	}
	return true;
}

static void
free_queues(struct master *m)
{
	struct queue *q;

	while ((q = TAILQ_FIRST(&m->queues)) != NULL) {
		TAILQ_REMOVE(&m->queues, q, link);
		peer_free(q->worker.peer);
		worker_kill(q);
		if (q->worker.restart != NULL)
			event_free(q->worker.restart);
		queue_free(m, q);
	}
}

static void
start(struct master *m)
{
	node_start(m);
	serve_configured(m);
	if (m->opt->argc != 0)
		discover(m, m->conf->command);
	if (TAILQ_EMPTY(&m->queues))
		server_fail(m, EX_CONFIG, "there is nothing to serve: give a program (-- CMD), or tasks or handlers in a "
		    "configuration file");
}

/* Above the descriptors that a child gets; what stays the same program when the file is replaced. */
static int
open_self(void)
{
	int low = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	int fd = fcntl(low, F_DUPFD_CLOEXEC, 10);

	if (fd == -1)
		fatal("opening this program's own file");
	close(low);
	return fd;
}

/* libevent's usual clock counts in steps of 4 ms, more than the shortest ticks of wake.c. */
static struct event_base *
new_base(void)
{
	struct event_config *config = event_config_new();
	struct event_base *base;

	if (config == NULL || event_config_set_flag(config, EVENT_BASE_FLAG_PRECISE_TIMER) == -1 ||
	    (base = event_base_new_with_config(config)) == NULL)
		fatalx("libevent could not be set up");
	event_config_free(config);
	return base;
}

int
server_run(struct server_options *opt)
{
	struct master m = { .opt = opt, .conf = opt->conf };

	log_init("master", (enum log_level)m.conf->log_level, (enum log_format)m.conf->log_format);
	srandom((unsigned)(getpid() ^ time(NULL)));
	TAILQ_INIT(&m.queues);
	TAILQ_INIT(&m.shards);
	m.takeover_ms = (int)m.conf->takeover_timeout;
	m.poll_interval_ms = (int)m.conf->poll_interval;
	m.exe = open_self();
	if (!drop_privileges(m.conf))
		return EX_NOPERM;
	m.base = new_base();
	m.dns = evdns_base_new(m.base, EVDNS_BASE_INITIALIZE_NAMESERVERS | EVDNS_BASE_DISABLE_WHEN_INACTIVE);
	if (m.dns == NULL)
		fatalx("libevent could not be set up");
	m.stop_timer = evtimer_new(m.base, on_stop_timer, &m);
	catch_signals(&m);
	worker_sweep_init(&m);
	settle_init(&m);
	steps_init(&m);
	calls_init(&m);
	cron_init(&m);
	watch_init(&m);
	event_types_init(&m);
	dispatch_init(&m);
	resume_init(&m);
	change_init(&m);
	fetch_init(&m);
	limit_init(&m);
	batches_init(&m);
	note_init(&m);
	lines_init(&m);
	wake_init(&m);
	reader_init(&m);
	due_init(&m);
	report_init(&m);
	health_init(&m);
	start(&m);
	event_base_dispatch(m.base);

	say_stopped(&m);
	m.stopping = true;
	shard_free_all(&m);
	free_queues(&m);
	node_free(&m);
	reader_free(&m);
	due_free(&m);
	report_free(&m);
	health_free(&m);
	wake_free(&m);
	settle_free(&m);
	steps_free(&m);
	watch_free(&m);
	event_types_free(&m);
	cron_free(&m);
	dispatch_free(&m);
	calls_free(&m);
	change_free(&m);
	resume_free(&m);
	fetch_free(&m);
	limit_free(&m);
	batches_free(&m);
	note_free(&m);
	lines_free(&m);
	run_free_all(&m);
	task_free_all(&m);
	for (size_t i = 0; i < 4; i++)
		event_free(m.signals[i]);
	event_free(m.stop_timer);
	evdns_base_free(m.dns, 0);
	event_base_free(m.base);
	close(m.exe);
	conf_free(m.conf);
	return m.status;
}
