/*
 * This node: its connections and its place among the nodes. Master.
 *
 *	writer		settles; holds the node's and its shards' locks
 *	reader		polls
 *	listener	LISTEN, and nothing else: a backend that is busy delivers nothing
 *	sleeper		waits for the sleep lock
 *	control		everything else; and upkeep, while there is something to keep up
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include <event2/event.h>

#include "common/log.h"
#include "common/xmalloc.h"
#include "master/master.h"

#define TICK_MS		250
#define BALANCE_MS	2500
#define FLOORS_MS	10000
#define PROBE_MS	10000
#define PROBE_LIMIT_MS	25000
#define TASKS_MS	30000
#define CHECK_MS	10000
#define UPKEEP_MS	3600000
/* After a reconnect other nodes may be about to come back too; their shards are left alone for so long. */
#define SETTLED_MS	2000

struct node {
	struct event	*tick;
	bool		 attached, attaching;
	int64_t		 down_ms;	/* since when it has not been attached */
	bool		 ever;
	int64_t		 attached_ms;
	int64_t		 balance_ms, floors_ms, beat_ms, probe_ms, heard_ms, tasks_ms, check_ms, upkeep_ms;
	int64_t		 probe;
	int64_t		 asked_ms;	/* when the first probe was sent that has not arrived; 0: none is on its way */
	char		 host[256];
};

static const struct db_stmt stmt_attach = { "attach_node",
	"select node_id, backend_pid, backend_start, max_payload, poll_interval_ms"
	" from pgconductor.attach_node($1::int, $2::text, $3::int, $4::text)" };
static const struct db_stmt stmt_check = { "check_writer", "select pgconductor.check_writer($1::int, $2::text)" };
static const struct db_stmt stmt_probe = { "probe", "select pgconductor.probe($1::int, $2::bigint)" };
static const struct db_stmt stmt_setting = { "set_setting", "select pgconductor.set_setting($1::text, $2::text)" };

bool
node_may_write(const struct master *m)
{
	return m->nodes->attached && db_ready(m->writer);
}

bool
node_settled(const struct master *m)
{
	return node_may_write(m) && clock_ms() - m->nodes->attached_ms >= SETTLED_MS;
}

bool
node_listening(const struct master *m)
{
	return db_ready(m->listener) && clock_ms() - m->nodes->heard_ms < PROBE_LIMIT_MS;
}

bool
node_may_dispatch(const struct master *m)
{
	/*
	 * Somebody else may be taking over by the time that a later answer comes; or have done so already, if this process stood
	 * still meanwhile and asked nothing. It asks every two fifths of the timeout.
	 */
	return node_may_write(m) && m->reader.checked && db_waiting_ms(m->writer) < m->takeover_ms / 2 &&
	    db_heard_ms(m->writer) < (int64_t)m->takeover_ms * 5 / 8;
}

static void	listen_as(struct master *);

/* ---- writer and reader ---- */

static void
checked(const struct db_answer *a, void *arg)
{
	struct master *m = arg;

	if (a->outcome == DB_LOST)
		return;
	if (a->outcome == DB_ERROR) {
		db_drop(m->reader_db, a->message);
		return;
	}
	if (!db_bool(a, 0, 0)) {
		/* The server has restarted between the two, though one of them has not noticed yet. */
		db_drop(m->writer, "the server was restarted");
		db_drop(m->reader_db, "the server was restarted");
		return;
	}
	m->reader.checked = true;
	wake_up(m);
}

/* xids that were assigned but not flushed are assigned again after a crash: both must be of one server life. */
static void
check_reader(struct master *m)
{
	struct params p;

	m->reader.checked = false;
	if (!node_may_write(m) || !db_ready(m->reader_db))
		return;
	params_init(&p);
	param_int4(&p, m->backend_pid);
	param_str(&p, m->backend_start);
	db_call(m->reader_db, &stmt_check, &p, checked, m);
	params_free(&p);
}

static void
attached(const struct db_answer *a, void *arg)
{
	struct master *m = arg;
	struct node *n = m->nodes;
	bool first;

	n->attaching = false;
	if (a->outcome == DB_LOST)
		return;
	if (a->outcome == DB_ERROR || a->rows != 1) {
		db_drop(m->writer, a->outcome == DB_ERROR ? a->message : "the node could not be registered");
		return;
	}
	first = m->node == 0;
	m->node = db_int4(a, 0, 0);
	m->backend_pid = db_int4(a, 0, 1);
	free(m->backend_start);
	m->backend_start = xstrdup(db_text(a, 0, 2, NULL));
	m->max_payload = db_int8(a, 0, 3);
	m->poll_interval_ms = db_int4(a, 0, 4);
	n->attached = true;
	n->attached_ms = clock_ms();
	if (!n->ever)
		n->attached_ms -= SETTLED_MS;
	n->ever = true;
	if (m->listener == NULL) {
		log_info("node %d", m->node);
		listen_as(m);
	}
	check_reader(m);
	shard_writer_up(m, n->down_ms);
	n->down_ms = 0;
	dispatch_want(m);
	/* Else what is declared here is told when the control connection is there, or is there again. */
	if (first) {
		register_all(m);
		event_types_load(m);
		watch_look(m);
	}
	task_serve(m);
	n->balance_ms = 0;
	limit_attached(m);
	steps_flush(m);
	calls_flush(m);
	settle_flush(m);
}

/* What the configuration says of SQL's own settings; the defaults of a server without one leave them alone. */
static void
store_settings(struct master *m)
{
	const struct { const char *name; int64_t value; } settings[] = {
		{ "max_payload", m->conf->max_payload },
		{ "poll_interval_ms", m->conf->poll_interval },
		{ "keep_logs_ms", m->conf->keep_logs },
		{ "keep_events_ms", m->conf->keep_events },
		{ "keep_triggers_ms", m->conf->keep_triggers },
	};
	struct params p;

	for (int i = 0; m->conf->path != NULL && i < (int)(sizeof(settings) / sizeof(settings[0])); i++) {
		char text[24];

		snprintf(text, sizeof(text), "%lld", (long long)settings[i].value);
		params_init(&p);
		param_str(&p, settings[i].name);
		param_str(&p, text);
		db_call(m->writer, &stmt_setting, &p, NULL, NULL);
		params_free(&p);
	}
}

void
node_reloaded(struct master *m)
{
	m->poll_interval_ms = (int)m->conf->poll_interval;
	if (node_may_write(m))
		store_settings(m);
	/* Asleep, it waits for the former one. */
	wake_up(m);
}

static void
attach(struct master *m)
{
	struct node *n = m->nodes;
	struct params p;

	params_init(&p);
	if (m->node != 0)
		param_int4(&p, m->node);
	else
		param_null(&p);
	param_str(&p, n->host);
	param_int4(&p, (int32_t)getpid());
	param_str(&p, PACKAGE_VERSION);
	n->attaching = true;
	store_settings(m);
	db_call(m->writer, &stmt_attach, &p, attached, m);
	params_free(&p);
}

static void
writer_up(struct db *db, void *arg)
{
	(void)db;
	attach(arg);
}

static void
writer_down(struct db *db, const char *why, void *arg)
{
	struct master *m = arg;

	(void)db;
	(void)why;
	m->nodes->attached = m->nodes->attaching = false;
	if (m->nodes->down_ms == 0)
		m->nodes->down_ms = clock_ms();
	m->reader.checked = false;
	dispatch_writer_down(m);
	shard_writer_down(m);
}

static void
reader_up(struct db *db, void *arg)
{
	(void)db;
	check_reader(arg);
}

static void
reader_down(struct db *db, const char *why, void *arg)
{
	struct master *m = arg;

	(void)db;
	(void)why;
	m->reader.checked = false;
}

/* ---- the others ---- */

static void
control_up(struct db *db, void *arg)
{
	struct master *m = arg;

	(void)db;
	m->nodes->upkeep_ms = 0;
	register_all(m);
	/* Nobody hears of a change before LISTEN stands. */
	task_load(m);
	event_types_load(m);
	task_serve(m);
	cron_look(m);
	watch_look(m);
}

/* "17 4711 no longer needed" */
static void
cancelled(struct master *m, const char *text)
{
	uint64_t id, xid;
	char *end;
	struct run *r;

	id = strtoull(text, &end, 10);
	xid = strtoull(end, &end, 10);
	r = run_find(m, id, xid);
	if (r == NULL)
		reader_cancelled(m, id, xid);
	else if (r->shard != NULL)
		run_cancelled(m, r, *end == ' ' ? end + 1 : NULL);
}

static void
notified(struct db *db, const char *channel, const char *payload, void *arg)
{
	struct master *m = arg;

	(void)db;
	(void)channel;
	log_debug("notified: %s", payload);
	if (payload[0] == '\0') {
		wake_notified(m);
	} else if (strncmp(payload, "cancel ", 7) == 0) {
		cancelled(m, payload + 7);
	} else if (strncmp(payload, "probe ", 6) == 0) {
		if (strtoll(payload + 6, NULL, 10) == m->nodes->probe) {
			m->nodes->heard_ms = clock_ms();
			m->nodes->asked_ms = 0;
		}
	} else if (strcmp(payload, "clock") == 0) {
		/* The poll that follows finds it moved. */
		wake_notified(m);
		cron_look(m);
		watch_look(m);
		task_load(m);
	} else if (strcmp(payload, "dispatcher") == 0) {
		dispatch_want(m);
	} else if (strcmp(payload, "schedules") == 0) {
		cron_look(m);
	} else if (strcmp(payload, "tasks") == 0) {
		task_load(m);
		event_types_load(m);
	} else if (strcmp(payload, "events") == 0) {
		event_types_load(m);
	} else if (strcmp(payload, "nodes") == 0) {
		m->nodes->balance_ms = 0;
		shard_unpark(m);
	}
}

static void
listener_up(struct db *db, void *arg)
{
	struct master *m = arg;

	(void)db;
	m->nodes->probe_ms = 0;
	m->nodes->heard_ms = clock_ms() - PROBE_LIMIT_MS;
	m->nodes->asked_ms = 0;
	/* What was sent meanwhile went to nobody. */
	m->nodes->check_ms = 0;
	task_load(m);
	event_types_load(m);
	shard_unpark(m);
	wake_up(m);
}

static void
listener_down(struct db *db, const char *why, void *arg)
{
	(void)db;
	(void)why;
	/* Without ears there is no sleeping. */
	wake_up(arg);
}

static void
sleeper_up(struct db *db, void *arg)
{
	(void)db;
	wake_sleeper_up(arg);
}

static void
sleeper_down(struct db *db, const char *why, void *arg)
{
	(void)db;
	(void)why;
	wake_sleeper_down(arg);
}

static void
refused(struct db *db, const char *why, void *arg)
{
	struct master *m = arg;

	(void)db;
	/* Later on it may be a fail-over in progress; the connection is tried again. */
	if (m->nodes->ever)
		log_error("database: %s", why);
	else
		server_fail(m, EX_UNAVAILABLE, why);
}

/* ---- the tick ---- */

static void
probed(const struct db_answer *a, void *arg)
{
	struct master *m = arg;

	/* It was not sent. */
	if (a->outcome != DB_OK)
		m->nodes->asked_ms = 0;
}

static void
probe(struct master *m)
{
	struct params p;

	if (!db_ready(m->listener) || !db_ready(m->control) || m->node == 0)
		return;
	if (m->nodes->asked_ms == 0)
		m->nodes->asked_ms = clock_ms();
	params_init(&p);
	param_int4(&p, m->node);
	param_int8(&p, ++m->nodes->probe);
	db_call(m->control, &stmt_probe, &p, probed, m);
	params_free(&p);
}

/* A connection that looks well and delivers nothing: nobody could wake this node. */
static void
watch_listener(struct master *m)
{
	int64_t asked = m->nodes->asked_ms;

	if (asked == 0 || !db_ready(m->listener) || clock_ms() - asked < PROBE_LIMIT_MS - PROBE_MS)
		return;
	m->nodes->asked_ms = 0;
	db_drop(m->listener, "notifications do not arrive");
}

/*
 * Of what is limited nothing may run here any more when another node takes it: half a second more than the timeout and an
 * eighth of it after it was told last that this node is there (balance). It is told that every two fifths; after half of the
 * timeout without an answer, or a writer, what runs is stopped, with an eighth as its grace: that leaves a tenth, and the
 * half second is for the ticks.
 */
static void
watch_writer(struct master *m)
{
	struct node *n = m->nodes;

	if (db_waiting_ms(m->writer) > m->takeover_ms)
		db_drop(m->writer, "no answer for longer than takeover_timeout");
	if (limit_running(m) && db_waiting_ms(m->writer) > m->takeover_ms / 2) {
		n->down_ms = clock_ms() - m->takeover_ms;
		db_drop(m->writer, "no answer for half of takeover_timeout, and something that is limited runs");
	}
	if (!node_may_write(m) && n->down_ms != 0 && clock_ms() - n->down_ms > m->takeover_ms / 2)
		shard_cut_off(m);
	if (db_waiting_ms(m->reader_db) > m->takeover_ms)
		db_drop(m->reader_db, "no answer for longer than takeover_timeout");
}

static bool
due(int64_t *last, int64_t now, int every)
{
	if (*last != 0 && now - *last < every)
		return false;
	*last = now;
	return true;
}

static void
on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct master *m = arg;
	struct node *n = m->nodes;
	int64_t now = clock_ms();

	(void)fd;
	(void)what;
	watch_writer(m);
	watch_listener(m);
	worker_sweep(m);
	limit_tick(m);
	if (node_may_write(m)) {
		shard_tick(m);
		dispatch_tick(m);
		note_old(m);
		note_progress_flush(m);
		steps_flush(m);
		calls_flush(m);
		/* One look ends a writer that is stuck, the next one takes its shards: both within the timeout. */
		if (!m->stopping && due(&n->balance_ms, now, m->takeover_ms / 4 < BALANCE_MS ? m->takeover_ms / 4 : BALANCE_MS))
			shard_balance(m);
		/* Also what keeps the session from being ended as idle. */
		if (due(&n->floors_ms, now, m->takeover_ms * 2 / 5 < FLOORS_MS ? m->takeover_ms * 2 / 5 : FLOORS_MS))
			shard_store_floors(m);
		if (due(&n->probe_ms, now, PROBE_MS))
			probe(m);
		if (due(&n->tasks_ms, now, TASKS_MS)) {
			task_load(m);
			register_tick(m);
		}
		if (due(&n->check_ms, now, CHECK_MS))
			note_check(m);
		if (due(&n->upkeep_ms, now, UPKEEP_MS))
			upkeep_run(m);
	}
	queue_dispatch_all(m);
	queue_expire_all(m);
	health_tick(m);
	server_progress(m);
}

struct db *
node_connection(struct master *m, const char *role, const char *listen, const struct db_owner *owner)
{
	struct db_options opt = {
		.base = m->base,
		.dns = m->dns,
		.role = role,
		.conninfo = m->opt->conninfo,
		.timeout_ms = m->takeover_ms,
		.listen = listen,
		.owner = owner,
		.arg = m,
	};

	return db_new(&opt);
}

/* One channel for what concerns all nodes, one for this one, whose number must be known first. */
static void
listen_as(struct master *m)
{
	static const struct db_owner listener = { listener_up, listener_down, notified, refused };
	char text[128];

	snprintf(text, sizeof(text), "do $$ begin listen pgconductor; listen pgconductor_%d; end $$", m->node);
	m->listener = node_connection(m, "listener", text, &listener);
}

void
node_start(struct master *m)
{
	static const struct db_owner writer = { writer_up, writer_down, NULL, refused };
	static const struct db_owner reader = { reader_up, reader_down, NULL, refused };
	static const struct db_owner sleeper = { sleeper_up, sleeper_down, NULL, refused };
	static const struct db_owner control = { control_up, NULL, NULL, refused };
	struct timeval tv = { 0, TICK_MS * 1000 };
	struct node *n = xcalloc(1, sizeof(*n));

	m->nodes = n;
	if (gethostname(n->host, sizeof(n->host) - 1) == -1)
		snprintf(n->host, sizeof(n->host), "unknown");
	n->tick = event_new(m->base, -1, EV_PERSIST, on_tick, m);
	event_add(n->tick, &tv);
	m->writer = node_connection(m, "writer", NULL, &writer);
	m->reader_db = node_connection(m, "reader", NULL, &reader);
	m->sleeper = node_connection(m, "sleeper", NULL, &sleeper);
	m->control = node_connection(m, "control", NULL, &control);
}

void
node_free(struct master *m)
{
	upkeep_free(m);
	db_free(m->control);
	db_free(m->sleeper);
	db_free(m->listener);
	db_free(m->reader_db);
	db_free(m->writer);
	event_free(m->nodes->tick);
	free(m->nodes);
	free(m->backend_start);
}
