/*
 * Connections to PostgreSQL. Master. The only file that owns a PGconn; it may not block.
 */
#include "config.h"

#include <arpa/inet.h>
#include <endian.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <time.h>

#include <event2/dns.h>
#include <event2/event.h>
#include <libpq-fe.h>

#include "common/log.h"
#include "common/xmalloc.h"
#include "master/clock.h"
#include "master/db.h"
#include "master/resolve.h"

#define BACKOFF_FIRST_MS	50
#define BACKOFF_CAP_MS		2000
#define CONNECT_TIMEOUT_MS	10000
#define STATEMENTS_MAX		64

enum db_state { DB_DOWN, DB_RESOLVING, DB_CONNECTING, DB_SETTING_UP, DB_UP };

static const char *const state_names[] = { "down", "resolving", "connecting", "setting-up", "up" };

enum call_kind { CALL_PREPARE, CALL_EXECUTE, CALL_SETUP, CALL_LISTEN };

struct call {
	STAILQ_ENTRY(call)	 link;
	enum call_kind		 kind;
	db_answer_cb		 cb;
	void			*arg;
	int64_t			 sent_ms;
	bool			 answered;
};

STAILQ_HEAD(call_list, call);

struct db {
	struct db_options	 opt;
	char			*listen;
	enum db_state		 state;
	bool			 dead;		/* freed while names are looked up */
	bool			 reported;	/* the loss is in the log; say no more until it is back */
	bool			 refused;	/* likewise what the owner was told of */
	char			*last_words;	/* what the server said as it ended the connection */
	PGconn			*conn;
	int			 fd;
	struct event		*ev_read, *ev_write, *ev_timer;
	bool			 writing;
	struct call_list	 calls, spare;
	size_t			 pending;
	int64_t			 heard_ms;	/* when the last of the calls that were answered was sent */
	int			 backoff_ms;
	int			 backend_pid;
	const struct db_stmt	*prepared[STATEMENTS_MAX];
	int			 prepared_n;
	int			 depth;		/* inside a callback: freeing waits */
};

static void	db_connect(struct db *);
static void	db_lost(struct db *, const char *);
static void	db_pump(struct db *);

static void
set_state(struct db *db, enum db_state state)
{
	if (db->state != state)
		log_debug("%s connection: %s -> %s", db->opt.role, state_names[db->state], state_names[state]);
	db->state = state;
}

static void
set_timer(struct db *db, int ms)
{
	struct timeval tv = { ms / 1000, (ms % 1000) * 1000 };

	event_add(db->ev_timer, &tv);
}

/* libpq's messages end in a newline and may have several lines; the log has one. */
static char *
one_line(const char *text)
{
	char *s = xstrdup(text);
	size_t len = strlen(s);

	while (len > 0 && s[len - 1] == '\n')
		s[--len] = '\0';
	for (char *p = s; *p != '\0'; p++)
		if (*p == '\n' || *p == '\t')
			*p = ' ';
	return s;
}

static void
forget_connection(struct db *db)
{
	if (db->ev_read != NULL)
		event_free(db->ev_read);
	if (db->ev_write != NULL)
		event_free(db->ev_write);
	db->ev_read = db->ev_write = NULL;
	db->writing = false;
	event_del(db->ev_timer);
	if (db->conn != NULL)
		PQfinish(db->conn);
	db->conn = NULL;
	free(db->last_words);
	db->last_words = NULL;
	db->fd = -1;
	db->prepared_n = 0;
	db->backend_pid = 0;
}

static void
call_done(struct db *db, struct call *c)
{
	STAILQ_INSERT_HEAD(&db->spare, c, link);
}

/* Answers all that was under way. A callback may call again: it gets DB_LOST at once. */
static void
fail_calls(struct db *db, const char *why)
{
	struct db_answer lost = { .outcome = DB_LOST, .message = why };
	struct call *c;

	while ((c = STAILQ_FIRST(&db->calls)) != NULL) {
		STAILQ_REMOVE_HEAD(&db->calls, link);
		if (!c->answered) {
			db->pending--;
			if (c->cb != NULL)
				c->cb(&lost, c->arg);
		}
		call_done(db, c);
	}
	db->pending = 0;
}

static void
reconnect_later(struct db *db)
{
	int ms = db->backoff_ms / 2 + (int)(random() % (db->backoff_ms / 2 + 1));

	db->backoff_ms = db->backoff_ms * 2 > BACKOFF_CAP_MS ? BACKOFF_CAP_MS : db->backoff_ms * 2;
	set_timer(db, ms);
}

/* May be called in any state, also from a callback. */
static void
db_lost(struct db *db, const char *text)
{
	bool was_up = db->state == DB_UP;
	char *why = one_line(db->last_words != NULL ? db->last_words : text);

	set_state(db, DB_DOWN);
	forget_connection(db);
	if (!db->reported)
		log_warnx("database: %s connection %s: %s", db->opt.role, was_up ? "lost" : "failed", why);
	db->reported = true;
	db->depth++;
	fail_calls(db, why);
	if (was_up && db->opt.owner->down != NULL)
		db->opt.owner->down(db, why, db->opt.arg);
	db->depth--;
	free(why);
	reconnect_later(db);
}

static void
want_write(struct db *db, bool on)
{
	if (db->writing == on)
		return;
	db->writing = on;
	if (on)
		event_add(db->ev_write, NULL);
	else
		event_del(db->ev_write);
}

static void
flush(struct db *db)
{
	int left = PQflush(db->conn);

	if (left < 0)
		return;		/* the read side finds out, and has the reason */
	want_write(db, left == 1);
}

static struct call *
push_call(struct db *db, enum call_kind kind, db_answer_cb cb, void *arg)
{
	struct call *c = STAILQ_FIRST(&db->spare);

	if (c != NULL)
		STAILQ_REMOVE_HEAD(&db->spare, link);
	else
		c = xmalloc(sizeof(*c));
	c->kind = kind;
	c->cb = cb;
	c->arg = arg;
	c->answered = false;
	c->sent_ms = clock_ms();
	STAILQ_INSERT_TAIL(&db->calls, c, link);
	db->pending++;
	return c;
}

/* An error that ends the session, whatever it was the answer to. */
static bool
is_fatal(const PGresult *res)
{
	const char *severity = PQresultErrorField(res, PG_DIAG_SEVERITY_NONLOCALIZED);

	return severity != NULL && (strcmp(severity, "FATAL") == 0 || strcmp(severity, "PANIC") == 0);
}

/* What the server says unasked; libpq would print it. */
static void
on_notice(void *arg, const PGresult *res)
{
	struct db *db = arg;
	const char *severity = PQresultErrorField(res, PG_DIAG_SEVERITY_NONLOCALIZED);
	const char *text = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);

	if (severity == NULL || text == NULL)
		return;
	if (is_fatal(res)) {
		free(db->last_words);
		db->last_words = xstrdup(text);
	} else if (strcmp(severity, "WARNING") == 0 && db->state == DB_UP) {
		log_warnx("database: %s: %s", db->opt.role, text);
	} else {
		log_debug("database: %s: %s", db->opt.role, text);
	}
}

static void
refuse(struct db *db, const char *why)
{
	if (!db->refused && db->opt.owner->refuse != NULL)
		db->opt.owner->refuse(db, why, db->opt.arg);
	db->refused = true;
}

/* The first words on a new connection; also what finds a pooler out. */
static void
set_up_session(struct db *db)
{
	static const char text[] = "select pg_catalog.pg_backend_pid(), pgconductor.setup_session($1::text, $2::int)";
	struct params p;
	const char *values[2];
	int lengths[2], formats[2] = { 1, 1 };

	params_init(&p);
	param_str(&p, db->opt.role);
	param_int4(&p, db->opt.timeout_ms);
	for (int i = 0; i < 2; i++) {
		values[i] = (const char *)buf_ptr(&p.value[i]);
		lengths[i] = (int)p.value[i].len;
	}
	if (PQsetnonblocking(db->conn, 1) == -1 || PQenterPipelineMode(db->conn) != 1 ||
	    PQsendQueryParams(db->conn, text, 2, NULL, values, lengths, formats, 1) != 1 ||
	    PQpipelineSync(db->conn) != 1) {
		params_free(&p);
		db_lost(db, PQerrorMessage(db->conn));
		return;
	}
	params_free(&p);
	push_call(db, CALL_SETUP, NULL, NULL);
	if (db->listen != NULL) {
		PQsendQueryParams(db->conn, db->listen, 0, NULL, NULL, NULL, NULL, 1);
		PQpipelineSync(db->conn);
		push_call(db, CALL_LISTEN, NULL, NULL);
	}
	set_state(db, DB_SETTING_UP);
	flush(db);
}

static void
now_up(struct db *db)
{
	set_state(db, DB_UP);
	event_del(db->ev_timer);
	db->backoff_ms = BACKOFF_FIRST_MS;
	if (db->reported)
		log_info("database: %s connection is back", db->opt.role);
	db->reported = db->refused = false;
	if (db->opt.owner->up != NULL)
		db->opt.owner->up(db, db->opt.arg);
}

/* Returns false when the connection is no more. */
static bool
setup_answered(struct db *db, const PGresult *res, enum call_kind kind)
{
	if (PQresultStatus(res) != PGRES_TUPLES_OK && PQresultStatus(res) != PGRES_COMMAND_OK) {
		const char *state = PQresultErrorField(res, PG_DIAG_SQLSTATE);
		char *why = one_line(PQresultErrorMessage(res));

		/* Schema or function missing: waiting does not help. */
		if (state != NULL && (strcmp(state, "3F000") == 0 || strcmp(state, "42883") == 0 || strcmp(state, "42501") == 0))
			refuse(db, why);
		db_lost(db, why);
		free(why);
		return false;
	}
	if (kind == CALL_SETUP) {
		uint32_t pid;

		memcpy(&pid, PQgetvalue(res, 0, 0), 4);
		db->backend_pid = (int)ntohl(pid);
		if (db->backend_pid != PQbackendPID(db->conn)) {
			static const char why[] = "a connection pooler stands between this server and PostgreSQL, which would "
			    "separate its locks from its writes; give `database` an address of PostgreSQL itself (programs that "
			    "invoke tasks may use the pooler)";

			refuse(db, why);
			db_lost(db, why);
			return false;
		}
	}
	return true;
}

static void
answer(struct db *db, struct call *c, const PGresult *res)
{
	struct db_answer a = { .outcome = DB_OK, .res = (const struct pg_result *)res };
	ExecStatusType status = PQresultStatus(res);
	char *message = NULL;

	c->answered = true;
	db->heard_ms = c->sent_ms;
	db->pending--;
	if (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK) {
		a.rows = PQntuples(res);
	} else {
		const char *state = PQresultErrorField(res, PG_DIAG_SQLSTATE);

		a.outcome = DB_ERROR;
		a.sqlstate = state != NULL ? state : "XX000";
		a.message = message = one_line(PQresultErrorMessage(res));
		a.primary = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);
		if (a.primary == NULL)
			a.primary = message;
	}
	if (c->cb != NULL) {
		db->depth++;
		c->cb(&a, c->arg);
		db->depth--;
	}
	free(message);
}

/* One result of the pipeline. Returns false when the connection is no more. */
static bool
take_result(struct db *db, PGresult *res)
{
	struct call *c = STAILQ_FIRST(&db->calls);
	ExecStatusType status = PQresultStatus(res);

	if (c == NULL)
		return true;
	if (is_fatal(res)) {
		db_lost(db, PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY));
		return false;
	}
	if (status == PGRES_PIPELINE_SYNC) {
		enum call_kind kind = c->kind;

		STAILQ_REMOVE_HEAD(&db->calls, link);
		call_done(db, c);
		if ((kind == CALL_SETUP && db->listen == NULL) || kind == CALL_LISTEN)
			now_up(db);
		return db->conn != NULL;
	}
	if (c->kind == CALL_PREPARE) {
		/* Its own result; the execution behind it shares the sync and reports what went wrong. */
		STAILQ_REMOVE_HEAD(&db->calls, link);
		db->pending--;
		if (status != PGRES_COMMAND_OK) {
			struct call *next = STAILQ_FIRST(&db->calls);

			if (next != NULL && !next->answered)
				answer(db, next, res);
			/* Not prepared after all; everything here is prepared anew on the next connection. */
			call_done(db, c);
			db_lost(db, PQresultErrorMessage(res));
			return false;
		}
		call_done(db, c);
		return true;
	}
	if (c->kind == CALL_SETUP || c->kind == CALL_LISTEN) {
		c->answered = true;
		db->heard_ms = c->sent_ms;
		db->pending--;
		return setup_answered(db, res, c->kind);
	}
	if (!c->answered && status != PGRES_PIPELINE_ABORTED)
		answer(db, c, res);
	return db->conn != NULL;
}

static void
read_notifies(struct db *db)
{
	PGnotify *n;

	while (db->conn != NULL && (n = PQnotifies(db->conn)) != NULL) {
		if (db->opt.owner->notify != NULL)
			db->opt.owner->notify(db, n->relname, n->extra, db->opt.arg);
		PQfreemem(n);
	}
}

static void
db_pump(struct db *db)
{
	PGresult *res;
	PGconn *conn = db->conn;
	bool last_null = false;

	while (db->conn == conn && !STAILQ_EMPTY(&db->calls) && !PQisBusy(conn)) {
		bool alive;

		res = PQgetResult(conn);
		if (res == NULL) {
			/* NULL ends one statement's results; two in a row: nothing more has come. */
			if (last_null)
				break;
			last_null = true;
			continue;
		}
		last_null = false;
		alive = take_result(db, res);
		PQclear(res);
		if (!alive)
			return;
	}
	if (db->conn == conn)
		read_notifies(db);
	if (db->conn == conn && PQstatus(conn) == CONNECTION_BAD)
		db_lost(db, PQerrorMessage(conn));
}

static void
on_read(evutil_socket_t fd, short what, void *arg)
{
	struct db *db = arg;

	(void)fd;
	(void)what;
	if (PQconsumeInput(db->conn) == 0) {
		db_lost(db, PQerrorMessage(db->conn));
		return;
	}
	db_pump(db);
	if (db->conn != NULL && db->state >= DB_SETTING_UP)
		flush(db);
}

static void
on_write(evutil_socket_t fd, short what, void *arg)
{
	struct db *db = arg;

	(void)fd;
	(void)what;
	/* While output waits libpq needs its input read too, or both sides could wait for each other. */
	flush(db);
}

static void	on_connecting(evutil_socket_t, short, void *);

static void
watch(struct db *db, event_callback_fn reader, event_callback_fn writer)
{
	int fd = PQsocket(db->conn);

	if (db->ev_read != NULL)
		event_free(db->ev_read);
	if (db->ev_write != NULL)
		event_free(db->ev_write);
	db->fd = fd;
	db->writing = false;
	db->ev_read = event_new(db->opt.base, fd, EV_READ | EV_PERSIST, reader, db);
	db->ev_write = event_new(db->opt.base, fd, EV_WRITE | EV_PERSIST, writer, db);
}

static void
on_connecting(evutil_socket_t fd, short what, void *arg)
{
	struct db *db = arg;
	PostgresPollingStatusType status = PQconnectPoll(db->conn);

	(void)fd;
	(void)what;
	/* libpq may have gone on to the next host, with another socket that may bear the same number. */
	switch (status) {
	case PGRES_POLLING_READING:
		watch(db, on_connecting, on_connecting);
		event_add(db->ev_read, NULL);
		break;
	case PGRES_POLLING_WRITING:
		watch(db, on_connecting, on_connecting);
		event_add(db->ev_write, NULL);
		break;
	case PGRES_POLLING_OK:
		watch(db, on_read, on_write);
		event_add(db->ev_read, NULL);
		set_up_session(db);
		break;
	default:
		db_lost(db, PQerrorMessage(db->conn));
	}
}

static void
resolved(const char *const *keywords, const char *const *values, const char *error, void *arg)
{
	struct db *db = arg;

	if (db->dead) {
		free(db);
		return;
	}
	if (error != NULL) {
		db_lost(db, error);
		return;
	}
	db->conn = PQconnectStartParams(keywords, values, 0);
	if (db->conn == NULL || PQstatus(db->conn) == CONNECTION_BAD) {
		db_lost(db, db->conn != NULL ? PQerrorMessage(db->conn) : "out of memory");
		return;
	}
	PQsetNoticeReceiver(db->conn, on_notice, db);
	set_state(db, DB_CONNECTING);
	set_timer(db, CONNECT_TIMEOUT_MS);
	watch(db, on_connecting, on_connecting);
	event_add(db->ev_write, NULL);
}

static void
db_connect(struct db *db)
{
	set_state(db, DB_RESOLVING);
	resolve_start(db->opt.dns, db->opt.conninfo, resolved, db);
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct db *db = arg;

	(void)fd;
	(void)what;
	if (db->state == DB_DOWN)
		db_connect(db);
	else
		db_lost(db, "no answer while connecting");
}

struct db *
db_new(const struct db_options *opt)
{
	struct db *db = xcalloc(1, sizeof(*db));

	db->opt = *opt;
	db->fd = -1;
	db->backoff_ms = BACKOFF_FIRST_MS;
	STAILQ_INIT(&db->calls);
	STAILQ_INIT(&db->spare);
	db->ev_timer = evtimer_new(opt->base, on_timer, db);
	if (opt->listen != NULL)
		db->listen = xstrdup(opt->listen);
	/* From the loop, so that the owner has the pointer before the first callback. */
	set_timer(db, 0);
	return db;
}

void
db_free(struct db *db)
{
	struct call *c;

	if (db == NULL)
		return;
	forget_connection(db);
	event_free(db->ev_timer);
	while ((c = STAILQ_FIRST(&db->calls)) != NULL) {
		STAILQ_REMOVE_HEAD(&db->calls, link);
		free(c);
	}
	while ((c = STAILQ_FIRST(&db->spare)) != NULL) {
		STAILQ_REMOVE_HEAD(&db->spare, link);
		free(c);
	}
	free(db->listen);
	if (db->state == DB_RESOLVING)
		db->dead = true;
	else
		free(db);
}

bool
db_ready(const struct db *db)
{
	return db != NULL && db->state == DB_UP;
}

size_t
db_pending(const struct db *db)
{
	return db->pending;
}

int64_t
db_waiting_ms(const struct db *db)
{
	const struct call *c;

	STAILQ_FOREACH(c, &db->calls, link)
		if (!c->answered)
			return clock_ms() - c->sent_ms;
	return 0;
}

int64_t
db_heard_ms(const struct db *db)
{
	return clock_ms() - db->heard_ms;
}

int
db_backend_pid(const struct db *db)
{
	return db->backend_pid;
}

void
db_drop(struct db *db, const char *why)
{
	if (db->state != DB_DOWN && db->state != DB_RESOLVING)
		db_lost(db, why);
}

static bool
is_prepared(struct db *db, const struct db_stmt *stmt)
{
	for (int i = 0; i < db->prepared_n; i++)
		if (db->prepared[i] == stmt)
			return true;
	return false;
}

static bool
prepare(struct db *db, const struct db_stmt *stmt)
{
	if (is_prepared(db, stmt))
		return true;
	if (db->prepared_n == STATEMENTS_MAX)
		fatalx("more than %d statements on the %s connection", STATEMENTS_MAX, db->opt.role);
	if (PQsendPrepare(db->conn, stmt->name, stmt->text, 0, NULL) != 1)
		return false;
	db->prepared[db->prepared_n++] = stmt;
	push_call(db, CALL_PREPARE, NULL, NULL);
	return true;
}

static bool
execute(struct db *db, const struct db_stmt *stmt, const struct params *p)
{
	const char *values[PARAMS_MAX];
	int lengths[PARAMS_MAX], formats[PARAMS_MAX];
	int n = p != NULL ? p->n : 0;

	for (int i = 0; i < n; i++) {
		struct buf *b = (struct buf *)(uintptr_t)&p->value[i];

		values[i] = p->null[i] ? NULL : (const char *)buf_ptr(b);
		lengths[i] = (int)b->len;
		formats[i] = 1;
	}
	return PQsendQueryPrepared(db->conn, stmt->name, n, values, lengths, formats, 1) == 1 &&
	    PQpipelineSync(db->conn) == 1;
}

static void
finish_call(struct db *db, bool sent, db_answer_cb cb, void *arg)
{
	char *why;

	push_call(db, CALL_EXECUTE, cb, arg);
	if (sent) {
		flush(db);
		return;
	}
	why = xstrdup(PQerrorMessage(db->conn));
	db_lost(db, why);
	free(why);
}

static bool
refuse_call(struct db *db, db_answer_cb cb, void *arg)
{
	static const struct db_answer lost = { .outcome = DB_LOST, .message = "not connected" };

	if (db_ready(db))
		return false;
	if (cb != NULL)
		cb(&lost, arg);
	return true;
}

void
db_call(struct db *db, const struct db_stmt *stmt, const struct params *p, db_answer_cb cb, void *arg)
{
	if (refuse_call(db, cb, arg))
		return;
	if (p != NULL)
		params_finish((struct params *)(uintptr_t)p);
	finish_call(db, prepare(db, stmt) && execute(db, stmt, p), cb, arg);
}

void
db_exec(struct db *db, const char *text, db_answer_cb cb, void *arg)
{
	if (refuse_call(db, cb, arg))
		return;
	finish_call(db, PQsendQueryParams(db->conn, text, 0, NULL, NULL, NULL, NULL, 1) == 1 &&
	    PQpipelineSync(db->conn) == 1, cb, arg);
}

static const PGresult *
result(const struct db_answer *a)
{
	return (const PGresult *)a->res;
}

bool
db_null(const struct db_answer *a, int row, int col)
{
	return PQgetisnull(result(a), row, col);
}

int32_t
db_int4(const struct db_answer *a, int row, int col)
{
	uint32_t v;

	memcpy(&v, PQgetvalue(result(a), row, col), 4);
	return (int32_t)ntohl(v);
}

uint64_t
db_xid8(const struct db_answer *a, int row, int col)
{
	uint64_t v;

	memcpy(&v, PQgetvalue(result(a), row, col), 8);
	return be64toh(v);
}

int64_t
db_int8(const struct db_answer *a, int row, int col)
{
	return (int64_t)db_xid8(a, row, col);
}

bool
db_bool(const struct db_answer *a, int row, int col)
{
	return *PQgetvalue(result(a), row, col) != 0;
}

const char *
db_text(const struct db_answer *a, int row, int col, size_t *length)
{
	if (length != NULL)
		*length = (size_t)PQgetlength(result(a), row, col);
	return PQgetvalue(result(a), row, col);
}
