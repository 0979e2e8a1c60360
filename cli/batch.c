/*
 * pgconductor invoke --batch: a file of payloads, or of items, one for each line, in one transaction. The cli process only.
 *
 * Memory does not grow with the file: a thousand lines are sent at a time, and what comes back, the ids, goes to a
 * temporary file, to be printed when all is committed.
 */
#include "config.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/batch.h"
#include "cli/cli.h"
#include "cli/progress.h"
#include "common/buf.h"
#include "common/json.h"
#include "common/schema/schema.h"
#include "common/xmalloc.h"

#define ITEMS_MAX	1000
#define ITEMS_BYTES	(16 << 20)
/* Ids that stay in memory. */
#define IDS_BYTES	(64 << 10)

#define NOTHING		"nothing was created"

struct batch {
	PGconn		*conn;
	const char	*task, *path, *same;
	struct schema	*schema;	/* NULL: none */
	FILE		*in;
	struct buf	 items;		/* a JSON array, but for its end */
	size_t		 items_n;
	struct buf	 ids;
	FILE		*spool;		/* the ids before those; NULL: none */
	int64_t		 lines, bytes, made, throttled;
	int64_t		 first;		/* the line of the first of the items */
};

/* ---- being interrupted ---- */

static const int signals[] = { SIGINT, SIGTERM, SIGHUP };

#define SIGNALS_N (sizeof(signals) / sizeof(signals[0]))

static volatile sig_atomic_t interrupted;
static PGcancel *cancel;

/* PQcancel may be called here; it ends the statement under way, if there is one. A second signal ends the process. */
static void
on_signal(int sig)
{
	int saved = errno;
	char why[256];

	interrupted = sig;
	PQcancel(cancel, why, sizeof(why));
	errno = saved;
}

static void
catch_signals(PGconn *conn)
{
	/* No SA_RESTART: a read of the file ends, too. */
	struct sigaction action = { .sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND };

	if ((cancel = PQgetCancel(conn)) == NULL)
		cli_fail(EX_UNAVAILABLE, "database: %s", PQerrorMessage(conn));
	for (size_t i = 0; i < SIGNALS_N; i++)
		sigaction(signals[i], &action, NULL);
}

static void
block_signals(int how)
{
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < SIGNALS_N; i++)
		sigaddset(&set, signals[i]);
	sigprocmask(how, &set, NULL);
}

static void
stop_if_interrupted(struct batch *b)
{
	int sig = interrupted;

	if (sig == 0)
		return;
	PQfinish(b->conn);
	cli_warn("interrupted; " NOTHING);
	signal(sig, SIG_DFL);
	raise(sig);
	exit(128 + sig);
}

/* ---- the ids ---- */

static void
spool_failed(void)
{
	cli_fail(EX_CANTCREAT, "a temporary file for the ids: %s; " NOTHING, strerror(errno));
}

static void
spool_ids(struct batch *b)
{
	if (b->spool == NULL && (b->spool = tmpfile()) == NULL)
		spool_failed();
	if (fwrite(buf_ptr(&b->ids), 1, b->ids.len, b->spool) != b->ids.len || fflush(b->spool) != 0)
		spool_failed();
	buf_reset(&b->ids, IDS_BYTES);
}

static void
print_ids(struct batch *b)
{
	char part[BUFSIZ];
	size_t n;

	if (b->spool != NULL) {
		rewind(b->spool);
		while ((n = fread(part, 1, sizeof(part), b->spool)) > 0)
			fwrite(part, 1, n, stdout);
		if (ferror(b->spool))
			cli_fail(EX_IOERR, "the ids cannot be read back; the executions were created: %s", strerror(errno));
		fclose(b->spool);
	}
	cli_put_buf(stdout, &b->ids);
}

/* ---- sending ---- */

static PGresult *
ask(struct batch *b, const char *sql, int n, const char *const *params)
{
	PGresult *res = PQexecParams(b->conn, sql, n, NULL, params, NULL, NULL, 0);
	ExecStatusType status = PQresultStatus(res);
	int rc;

	if (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK)
		return res;
	stop_if_interrupted(b);
	rc = cli_db_error(b->conn, res);
	if (b->same == NULL && b->items_n > 0)
		cli_fail(rc, "items[0] is line %lld of %s; " NOTHING, (long long)b->first, b->path);
	cli_fail(rc, NOTHING);
}

/* The lines gathered so far; ids come in their order. */
static void
send_items(struct batch *b)
{
	const char *params[2] = { b->task, NULL };
	PGresult *res;
	char *text;

	if (b->items_n == 0)
		return;
	buf_addstr(&b->items, "]");
	params[1] = text = buf_steal_str(&b->items);
	res = ask(b, "select unnest(pgconductor.invoke_batch($1, $2::json))", 2, params);
	if ((size_t)PQntuples(res) != b->items_n)
		cli_fail(EX_SOFTWARE, "the database returned %d ids for %zu executions; " NOTHING, PQntuples(res), b->items_n);
	for (int i = 0; i < PQntuples(res); i++) {
		buf_addf(&b->ids, "%s\n", PQgetvalue(res, i, 0));
		b->throttled += PQgetisnull(res, i, 0);
	}
	PQclear(res);
	free(text);
	b->made += (int64_t)b->items_n;
	b->items_n = 0;
	if (b->ids.len > IDS_BYTES)
		spool_ids(b);
}

static void
take_payload(const char *name, const char *value, void *arg)
{
	char **payload = arg;

	if (strcmp(name, "payload") == 0) {
		free(*payload);
		*payload = xstrdup(value);
	}
}

/* The payload is held against the task's schema. */
static bool
complies(struct batch *b, const char *line, size_t len, char *fault)
{
	char *payload = NULL;
	bool ok;

	if (b->same != NULL)
		return cli_complies(b->schema, line, len, fault);
	if (!cli_json_members(line, take_payload, &payload))
		cli_fail(EX_DATAERR, "%s:%lld: not an object with payload and options; " NOTHING, b->path, (long long)b->lines);
	if (payload == NULL)
		payload = xstrdup("null");
	ok = cli_complies(b->schema, payload, strlen(payload), fault);
	free(payload);
	return ok;
}

static void
add_line(struct batch *b, const char *line, size_t len)
{
	char fault[SCHEMA_WHY];
	const char *why;
	size_t at;

	while (len > 0 && strchr(" \t\r\n", line[len - 1]) != NULL)
		len--;
	if (len == 0)
		return;
	if (json_check(line, len, &at, &why) == -1)
		cli_fail(EX_DATAERR, "%s:%lld: not JSON: %s at byte %zu; " NOTHING, b->path, (long long)b->lines, why, at + 1);
	if (!complies(b, line, len, fault))
		cli_fail(EX_DATAERR, "%s:%lld: payload of task %s: %s; " NOTHING, b->path, (long long)b->lines, b->task, fault);
	if (b->items_n == 0)
		b->first = b->lines;
	buf_addstr(&b->items, b->items_n++ == 0 ? "[" : ",");
	if (b->same != NULL)
		buf_addstr(&b->items, "{\"payload\":");
	buf_add(&b->items, line, len);
	if (b->same != NULL)
		buf_addf(&b->items, "%s}", b->same);
	if (b->items_n == ITEMS_MAX || b->items.len > ITEMS_BYTES)
		send_items(b);
}

static void
read_lines(struct batch *b)
{
	char *line = NULL;
	size_t size = 0;
	ssize_t len;

	while ((len = getline(&line, &size, b->in)) != -1) {
		b->lines++;
		b->bytes += len;
		add_line(b, line, (size_t)len);
		stop_if_interrupted(b);
		progress_at(b->made, b->bytes);
	}
	stop_if_interrupted(b);
	if (ferror(b->in))
		cli_fail(EX_NOINPUT, "%s: %s; " NOTHING, b->path, strerror(errno));
	free(line);
	send_items(b);
}

/* From here on there is no way back, so that nobody is told otherwise. */
static void
commit(struct batch *b)
{
	PGresult *res;

	block_signals(SIG_BLOCK);
	stop_if_interrupted(b);
	res = PQexec(b->conn, "commit");
	if (PQresultStatus(res) != PGRES_COMMAND_OK && PQresultErrorField(res, PG_DIAG_SQLSTATE) == NULL)
		cli_fail(EX_UNAVAILABLE, "the connection was lost at the end: whether the executions were created is not known");
	if (PQresultStatus(res) != PGRES_COMMAND_OK)
		cli_fail(cli_db_error(b->conn, res), NOTHING);
	PQclear(res);
}

static int64_t
file_size(FILE *f)
{
	struct stat st;

	return fstat(fileno(f), &st) == 0 && S_ISREG(st.st_mode) ? st.st_size : 0;
}

void
batch_invoke(PGconn *conn, const char *task, const char *path, const char *same)
{
	struct batch b = { .conn = conn, .task = task, .path = path, .same = same, .in = cli_open_input(path) };
	int64_t began = cli_now_ms();

	buf_init(&b.items);
	buf_init(&b.ids);
	b.schema = cli_task_schema(conn, task);
	catch_signals(conn);
	PQclear(ask(&b, "begin", 0, NULL));
	progress_start(file_size(b.in), "executions");
	read_lines(&b);
	commit(&b);
	progress_clear();
	if (isatty(STDERR_FILENO))
		cli_warn("%lld executions in %.1f s", (long long)b.made, (double)(cli_now_ms() - began) / 1000);
	if (b.throttled > 0)
		cli_warn("throttled: nothing was created for %lld of %lld, their lines are empty", (long long)b.throttled,
		    (long long)b.made);
	for (size_t i = 0; i < SIGNALS_N; i++)
		signal(signals[i], SIG_DFL);
	block_signals(SIG_UNBLOCK);
	print_ids(&b);
	PQfreeCancel(cancel);
	schema_free(b.schema);
	buf_free(&b.items);
	if (b.in != stdin)
		fclose(b.in);
}
