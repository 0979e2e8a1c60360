/*
 * pgconductor invoke: one execution, and waiting for a result. The cli process only.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/batch.h"
#include "cli/cli.h"
#include "common/buf.h"
#include "common/duration.h"
#include "common/json.h"
#include "common/xmalloc.h"

#define POLL_FIRST_MS	5
#define POLL_LAST_MS	500

static const char *queue, *priority, *run_at, *delay, *batch, *timeout;
static const char *dedupe_key, *dedupe_for, *throttle, *debounce, *max_wait;
static struct cli_values metadata;
static bool want_wait, whole_items;

static const struct cli_option options[] = {
	{ "queue", 0, CLI_TEXT, &queue, "Q", "instead of the task's own queue" },
	{ "priority", 0, CLI_TEXT, &priority, "N", "-32768 to 32767, higher first; the task's if left out" },
	{ "run-at", 0, CLI_TEXT, &run_at, "T", "not before this time, such as \"2030-01-31 12:00+01\"" },
	{ "delay", 0, CLI_TEXT, &delay, "D", "not before this long has passed: 250ms, 10s, 5m, 2h, 7d" },
	{ "dedupe-key", 0, CLI_TEXT, &dedupe_key, "KEY", "made once with this key; after that the id is that of the first" },
	{ "dedupe-for", 0, CLI_TEXT, &dedupe_for, "D", "for so long, 0 while it is unfinished; else while its history is kept" },
	{ "throttle", 0, CLI_TEXT, &throttle, "D", "one in so long; more are not made, and no id is printed" },
	{ "debounce", 0, CLI_TEXT, &debounce, "D", "one, when so long no other was asked for, with the last payload" },
	{ "max-wait", 0, CLI_TEXT, &max_wait, "D", "with --debounce: so long after the first at the latest" },
	{ "metadata", 0, CLI_EACH, &metadata, "K=V", "what is attached to it; more than one, or a JSON object" },
	{ "batch", 0, CLI_TEXT, &batch, "FILE", "an execution for each line of FILE (- is stdin), all or none" },
	{ "items", 0, CLI_FLAG, &whole_items, NULL, "with --batch: lines are {\"payload\": …, \"priority\": …}, with their own options" },
	{ "wait", 0, CLI_FLAG, &want_wait, NULL, "wait for the end, print the result: exit 0 completed, 1 failed or cancelled" },
	{ "timeout", 0, CLI_TEXT, &timeout, "D", "with --wait: give up after so long, with exit 75" },
	{ .name = NULL }
};

static void
read_all(struct buf *out, FILE *f, const char *name)
{
	size_t n;

	do {
		n = fread(buf_reserve(out, 65536), 1, 65536, f);
		buf_grew(out, n);
	} while (n > 0);
	if (ferror(f))
		cli_fail(EX_NOINPUT, "%s: %s", name, strerror(errno));
}

/* The payload as given: JSON, - for stdin, or @FILE. Whether it is JSON the database says; a NUL it cannot be told. */
char *
cli_read_payload(const char *arg)
{
	struct buf text;
	const char *path = strcmp(arg, "-") == 0 ? "-" : arg + 1;
	FILE *f;

	if (strcmp(arg, "-") != 0 && arg[0] != '@')
		return xstrdup(arg);
	f = cli_open_input(path);
	buf_init(&text);
	read_all(&text, f, path);
	if (f != stdin)
		fclose(f);
	if (text.len > 0 && memchr(buf_ptr(&text), '\0', text.len) != NULL)
		cli_fail(EX_DATAERR, "%s: payload: not JSON: it has a NUL byte in it", path);
	return buf_steal_str(&text);
}

/* What is passed on as an interval, by the names that SQL has for it. */
static const struct {
	const char	*option, *name, **value;
} spans[] = {
	{ "--delay", "delay", &delay },
	{ "--dedupe-for", "dedupe_for", &dedupe_for },
	{ "--throttle", "throttle", &throttle },
	{ "--debounce", "debounce", &debounce },
	{ "--max-wait", "max_wait", &max_wait },
};

#define SPANS_N (sizeof(spans) / sizeof(spans[0]))

static bool
has_span(void)
{
	for (size_t i = 0; i < SPANS_N; i++)
		if (*spans[i].value != NULL)
			return true;
	return false;
}

/* NULL: not given. Never freed. */
static const char *
interval(size_t i)
{
	const char *value = *spans[i].value;

	return value != NULL ? xasprintf("%lld milliseconds", (long long)cli_duration(spans[i].option, value)) : NULL;
}

static void
put_lines(const char *s)
{
	size_t len;

	for (; s != NULL && *s != '\0'; s += len + (s[len] == '\n')) {
		len = strcspn(s, "\n");
		cli_put_clean(stderr, s, len);
		fputc('\n', stderr);
	}
}

/* The message and stack of a failed execution are for people, on stderr. */
static void
report_failure(const char *id, const char *state, const char *error)
{
	char *text = cli_error_text(error), *stack = cli_json_get(error, "stack");

	fprintf(stderr, "pgconductor: invoke: execution %s %s: ", id, state);
	put_lines(*text != '\0' ? text : "no error was stored");
	put_lines(stack);
	free(text);
	free(stack);
}

/*
 * -1: not finished. An execution that is unknown has been removed, its history with it; while this session waits that
 * does not happen by itself.
 */
static int
look(PGconn *conn, const char *id)
{
	PGresult *res = cli_query(conn, "select state, result, error from pgconductor.result($1)", 1, &id);
	const char *state = PQntuples(res) > 0 ? PQgetvalue(res, 0, 0) : NULL;
	int rc = -1;

	if (state == NULL) {
		cli_fail(1, "execution %s is gone, and its result with it", id);
	} else if (strcmp(state, "completed") == 0) {
		cli_put_json(PQgetvalue(res, 0, 1));
		rc = EX_OK;
	} else if (strcmp(state, "failed") == 0 || strcmp(state, "cancelled") == 0) {
		report_failure(id, state, PQgetvalue(res, 0, 2));
		rc = 1;
	}
	PQclear(res);
	return rc;
}

/* Asks again and again, less often as time goes by: the server does not tell clients. */
static int
wait_for(PGconn *conn, const char *id, int64_t until)
{
	int64_t pause = POLL_FIRST_MS, left;
	int rc;

	while ((rc = look(conn, id)) == -1) {
		left = until - cli_now_ms();
		if (left <= 0)
			cli_fail(EX_TEMPFAIL, "execution %s has not finished in time", id);
		cli_pause_ms(pause < left ? pause : left);
		pause += pause / 4 + 1;
		if (pause > POLL_LAST_MS)
			pause = POLL_LAST_MS;
	}
	return rc;
}

static int
invoke_one(PGconn *conn, const char *task, const char *payload)
{
	const char *params[] = { task, payload, queue, priority, run_at, dedupe_key, interval(0), interval(1), interval(2),
	    interval(3), interval(4), cli_metadata(&metadata) };
	int64_t until;
	PGresult *res;
	int rc = EX_OK;

	cli_check_task(conn, task, payload);
	until = cli_now_ms() + (timeout != NULL ? cli_duration("--timeout", timeout) : DURATION_MAX_MS);
	if (want_wait)
		PQclear(cli_query(conn, "set pgconductor.await = on", 0, NULL));
	res = cli_query(conn, "select pgconductor.invoke($1, $2::text, queue => $3, priority => $4, run_at => $5, dedupe_key => $6,"
	    " delay => $7, dedupe_for => $8, throttle => $9, debounce => $10, max_wait => $11, metadata => $12)", 12, params);
	if (PQgetisnull(res, 0, 0))
		cli_warn("throttled: nothing was created");
	else if (want_wait)
		rc = wait_for(conn, PQgetvalue(res, 0, 0), until);
	else
		printf("%s\n", PQgetvalue(res, 0, 0));
	PQclear(res);
	return rc;
}

static void
add_text(struct buf *out, const char *name, const char *value)
{
	if (value == NULL)
		return;
	buf_addf(out, ",\"%s\":", name);
	json_quote(out, value, strlen(value));
}

/* The options that are the same for every item, as they stand behind its payload. */
static char *
item_options(void)
{
	struct buf out;

	buf_init(&out);
	add_text(&out, "queue", queue);
	if (priority != NULL)
		buf_addf(&out, ",\"priority\":%d", cli_priority("--priority", priority));
	add_text(&out, "run_at", run_at);
	add_text(&out, "dedupe_key", dedupe_key);
	for (size_t i = 0; i < SPANS_N; i++)
		add_text(&out, spans[i].name, interval(i));
	if (metadata.n != 0)
		buf_addf(&out, ",\"metadata\":%s", cli_metadata(&metadata));
	return buf_steal_str(&out);
}

static int
invoke_batch(PGconn *conn, const char *task)
{
	char *same = whole_items ? NULL : item_options();

	batch_invoke(conn, task, batch, same);
	free(same);
	return EX_OK;
}

static int
run(int argc, char **argv)
{
	char *payload = NULL;
	PGconn *conn;
	int rc;

	if (argc < 2)
		cli_usage("TASK is missing");
	if (argc > 3)
		cli_usage("%s: unexpected argument", argv[3]);
	if (batch != NULL && (argc > 2 || want_wait))
		cli_usage("--batch goes with neither a payload nor --wait");
	if (whole_items && (batch == NULL || queue != NULL || priority != NULL || run_at != NULL || dedupe_key != NULL ||
	    metadata.n != 0 || has_span()))
		cli_usage("--items goes with --batch, and each line says what its options are");
	if (priority != NULL)
		cli_priority("--priority", priority);
	if (timeout != NULL && !want_wait)
		cli_usage("--timeout goes with --wait");
	if (batch == NULL)
		payload = argc > 2 ? cli_read_payload(argv[2]) : xstrdup("null");
	conn = cli_connect(cli_conninfo(NULL));
	if (batch != NULL)
		rc = invoke_batch(conn, argv[1]);
	else
		rc = invoke_one(conn, argv[1], payload);
	PQfinish(conn);
	free(payload);
	return cli_done(rc);
}

const struct cli_command cmd_invoke = {
	.name = "invoke",
	.arguments = "TASK [JSON | - | @FILE] [OPTION…]",
	.operand = "TASK",
	.summary = "create an execution of a task; print its id, or wait for its result",
	.details = "The payload is JSON text, - to read it from stdin, or @FILE; null if left out. With --batch the ids are\n"
	    "printed when all is stored; what is interrupted creates nothing. What --throttle refuses has no id: nothing is\n"
	    "printed, in a batch an empty line, with a word on stderr, and that is no failure.\n",
	.options = options,
	.run = run,
};
