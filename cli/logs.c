/*
 * pgconductor logs: what an execution has logged and printed, and going on printing it while it runs. The cli process
 * only.
 */
#include "config.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "common/xmalloc.h"

#define PAGE		"1000"
#define POLL_FIRST_MS	20
#define POLL_LAST_MS	500

static bool follow, json;

static const struct cli_option options[] = {
	{ "follow", 'f', CLI_FLAG, &follow, NULL, "go on until the execution has finished" },
	{ "json", 0, CLI_FLAG, &json, NULL, "as lines of JSON" },
	{ .name = NULL }
};

static const char page_sql[] =
    "select row_to_json(l), seq, to_char(at, 'YYYY-MM-DD HH24:MI:SS.MS'), attempt, level, message, fields"
    " from (select seq::text as seq, at, attempt, level, message, fields"
    " from pgconductor.execution_logs($1, $2, " PAGE ")) l";

enum { JSON, SEQ, TIME, ATTEMPT, LEVEL, MESSAGE, FIELDS };

/* What has been printed so far. */
struct place {
	char	*seq;
	char	*attempt;
	bool	 any;
};

/* A message of several lines goes on below its beginning. */
static void
put_message(const char *s)
{
	size_t len = strcspn(s, "\n");

	cli_put_clean(stdout, s, len);
	while (s[len] != '\0' && s[len + 1] != '\0') {
		s += len + 1;
		len = strcspn(s, "\n");
		printf("\n%24s", "");
		cli_put_clean(stdout, s, len);
	}
}

static void
put_line(const PGresult *res, int row, struct place *place)
{
	const char *attempt = PQgetvalue(res, row, ATTEMPT), *level = PQgetvalue(res, row, LEVEL);

	if (strcmp(attempt, place->attempt) != 0) {
		printf("attempt %s\n", attempt);
		free(place->attempt);
		place->attempt = xstrdup(attempt);
	}
	printf("%s ", PQgetvalue(res, row, TIME));
	if (strcmp(level, "info") != 0) {
		cli_put_clean(stdout, level, strlen(level));
		printf(": ");
	}
	put_message(PQgetvalue(res, row, MESSAGE));
	if (!PQgetisnull(res, row, FIELDS)) {
		putchar(' ');
		cli_put_clean(stdout, PQgetvalue(res, row, FIELDS), strlen(PQgetvalue(res, row, FIELDS)));
	}
	putchar('\n');
}

static int
put_page(PGconn *conn, const char *id, struct place *place)
{
	const char *params[] = { id, place->seq };
	PGresult *res = cli_query(conn, page_sql, 2, params);
	int rows = PQntuples(res);

	if (json)
		cli_json_lines(res);
	for (int i = 0; i < rows && !json; i++)
		put_line(res, i, place);
	if (rows > 0) {
		free(place->seq);
		place->seq = xstrdup(PQgetvalue(res, rows - 1, SEQ));
		place->any = true;
	}
	PQclear(res);
	return rows;
}

/* All there is now; how many lines. Stops where nobody reads them any more. */
static int
put_pages(PGconn *conn, const char *id, struct place *place)
{
	int rows, n = 0;

	do {
		rows = put_page(conn, id, place);
		n += rows;
	} while (rows > 0 && fflush(stdout) == 0);
	return n;
}

enum state { UNKNOWN, UNFINISHED, FINISHED };

static enum state
state_of(PGconn *conn, const char *id)
{
	PGresult *res = cli_query(conn, "select state in ('completed', 'failed', 'cancelled') from pgconductor.result($1)", 1, &id);
	enum state state = PQntuples(res) == 0 ? UNKNOWN : cli_is_true(res, 0, 0) ? FINISHED : UNFINISHED;

	PQclear(res);
	return state;
}

/* False when whoever reads what is printed has gone. */
static bool
pause_ms(int ms)
{
	struct pollfd out = { .fd = STDOUT_FILENO };

	return poll(&out, 1, ms) <= 0;
}

/*
 * The state is asked for before the lines: when it says that the execution has finished, all of them are there. One
 * whose history is gone has finished too.
 */
static bool
print(PGconn *conn, const char *id)
{
	struct place place = { xstrdup("0"), xstrdup("1"), false };
	bool seen = false, going = true;
	int pause = POLL_FIRST_MS;
	enum state state;

	while (going) {
		state = state_of(conn, id);
		seen = seen || state != UNKNOWN;
		if (put_pages(conn, id, &place) > 0)
			pause = POLL_FIRST_MS;
		going = follow && state == UNFINISHED && !ferror(stdout) && pause_ms(pause);
		pause += pause / 4 + 1;
		if (pause > POLL_LAST_MS)
			pause = POLL_LAST_MS;
	}
	free(place.seq);
	free(place.attempt);
	return seen || place.any;
}

static int
run(int argc, char **argv)
{
	PGconn *conn;
	bool known;

	if (argc != 2)
		cli_usage(argc < 2 ? "ID is missing" : "one ID is enough");
	cli_id(argv[1]);
	conn = cli_connect(cli_conninfo(NULL));
	known = print(conn, argv[1]);
	PQfinish(conn);
	if (!known)
		cli_warn("%s: there is no execution with this id, or its history is gone", argv[1]);
	return cli_done(known ? EX_OK : 1);
}

const struct cli_command cmd_logs = {
	.name = "logs",
	.arguments = "[-f] [--json] ID",
	.summary = "show what an execution has logged and printed",
	.details = "Lines are kept for keep_logs, a week if the configuration does not say otherwise.\n",
	.options = options,
	.run = run,
};
