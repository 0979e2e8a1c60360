/*
 * pgconductor top: what waits, runs and ends, live. The cli process only.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/cli.h"
#include "cli/grid.h"
#include "cli/look.h"
#include "cli/screen.h"
#include "common/buf.h"
#include "common/json.h"
#include "common/plain.h"
#include "common/xmalloc.h"

#define INTERVAL_MS	2000
#define INTERVAL_MIN_MS	100
/* Of the longest runs, where there is no screen that says how many there is room for. */
#define RUNS		20

static const char *interval;
static bool once, json;

static const struct cli_option options[] = {
	{ "interval", 0, CLI_TEXT, &interval, "D", "a look every so often; 2s if left out" },
	{ "once", 0, CLI_FLAG, &once, NULL, "one look, as text; so too when there is no terminal" },
	{ "json", 0, CLI_FLAG, &json, NULL, "one look, as one JSON document" },
	{ .name = NULL }
};

/* ---- cells ---- */

static const char *const queue_names[] = { "queue", "ready", "running", "delayed", "suspended", "unserved", "done/s",
	"failed/s", "oldest", "paused" };
static const bool queue_right[] = { false, true, true, true, true, true, true, true, true, true };
static const char *const run_names[] = { "id", "task", "queue", "attempt", "node", "host", "pid", "for", "progress" };
static const bool run_right[] = { true, false, false, true, true, false, true, true, false };

#define QUEUE_COLUMNS	((int)(sizeof(queue_names) / sizeof(queue_names[0])))
#define RUN_COLUMNS	((int)(sizeof(run_names) / sizeof(run_names[0])))

/* more: there may be more of them than were looked at. */
static char *
count_text(int64_t n, bool more)
{
	return n > LOOK_MAX ? xasprintf(">%d", LOOK_MAX) : xasprintf(more ? "%lld+" : "%lld", (long long)n);
}

static char *
rate_text(double rate)
{
	return xasprintf(rate > 0 && rate < 10 ? "%.1f" : "%.0f", rate);
}

static char *
age_text(double seconds)
{
	long s = (long)seconds;

	if (seconds < 0)
		return xstrdup("");
	if (s < 60)
		return xasprintf("%lds", s);
	if (s < 3600)
		return xasprintf("%ldm%02lds", s / 60, s % 60);
	if (s < 86400)
		return xasprintf("%ldh%02ldm", s / 3600, s / 60 % 60);
	return xasprintf("%ldd%02ldh", s / 86400, s / 3600 % 24);
}

static char *
progress_text(const char *percent, const char *note)
{
	return xasprintf("%s%s%s%s", percent, *percent != '\0' ? " %" : "", *percent != '\0' && *note != '\0' ? " " : "", note);
}

static char **
queue_cells(const struct look *l, int rows)
{
	char **cells = xcalloc((size_t)(rows * QUEUE_COLUMNS) + 1, sizeof(char *)), **c = cells;

	for (int i = 0; i < rows; i++) {
		const struct look_queue *q = &l->queues[i];

		*c++ = xstrdup(q->name);
		*c++ = count_text(q->ready, false);
		*c++ = count_text(q->running, false);
		*c++ = count_text(q->delayed, q->timed_more);
		*c++ = count_text(q->suspended, q->timed_more || q->parked_more);
		*c++ = count_text(q->unserved, q->parked_more);
		*c++ = rate_text(q->done);
		*c++ = rate_text(q->failed);
		*c++ = age_text(q->oldest);
		*c++ = count_text(q->paused, q->parked_more);
	}
	return cells;
}

/* The columns of the look that are shown; the program stands in ps. */
static char **
run_cells(const struct look *l, int rows)
{
	static const int columns[] = { 0, 1, 2, 3, 4, 5, 7 };
	char **cells = xcalloc((size_t)(rows * RUN_COLUMNS) + 1, sizeof(char *)), **c = cells;

	for (int i = 0; i < rows; i++) {
		for (size_t n = 0; n < sizeof(columns) / sizeof(columns[0]); n++)
			*c++ = xstrdup(PQgetvalue(l->running, i, columns[n]));
		*c++ = age_text(strtod(PQgetvalue(l->running, i, 8), NULL));
		*c++ = progress_text(PQgetvalue(l->running, i, 9), PQgetvalue(l->running, i, 10));
	}
	return cells;
}

static void
add_grid(struct buf *out, const char *const *names, const bool *right, int columns, int rows, char **cells, int width)
{
	struct grid grid = { columns, rows, names, right, cells };

	grid_write(out, &grid, width);
	for (int i = 0; i < rows * columns; i++)
		free(cells[i]);
	free(cells);
}

static void
add_queues(struct buf *out, const struct look *l, int rows, int width)
{
	add_grid(out, queue_names, queue_right, QUEUE_COLUMNS, rows, queue_cells(l, rows), width);
}

static void
add_runs(struct buf *out, const struct look *l, int rows, int width)
{
	add_grid(out, run_names, run_right, RUN_COLUMNS, rows, run_cells(l, rows), width);
}

/* ---- the totals ---- */

static struct look_queue
total(const struct look *l)
{
	struct look_queue sum = { .name = NULL };

	for (int i = 0; i < l->queues_n; i++) {
		sum.ready += l->queues[i].ready;
		sum.running += l->queues[i].running;
		sum.delayed += l->queues[i].delayed;
		sum.suspended += l->queues[i].suspended;
		sum.timed_more |= l->queues[i].timed_more;
		sum.parked_more |= l->queues[i].parked_more;
		sum.unserved += l->queues[i].unserved;
		sum.paused += l->queues[i].paused;
		sum.done += l->queues[i].done;
		sum.failed += l->queues[i].failed;
	}
	return sum;
}

static void
add_totals(struct buf *out, const struct look *l)
{
	struct look_queue sum = total(l);
	char *words[] = { count_text(sum.ready, false), count_text(sum.running, false), count_text(sum.delayed, sum.timed_more),
		count_text(sum.suspended, sum.timed_more || sum.parked_more), count_text(sum.unserved, sum.parked_more),
		rate_text(sum.done), rate_text(sum.failed), count_text(sum.paused, sum.parked_more) };

	buf_addf(out, "nodes %d  ready %s  running %s  delayed %s  suspended %s  unserved %s  done %s/s  failed %s/s  paused %s", l->nodes,
	    words[0], words[1], words[2], words[3], words[4], words[5], words[6], words[7]);
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		free(words[i]);
}

/* ---- on a screen ---- */

static void
draw_text(struct buf *out, enum screen_style style, const char *text, int width)
{
	struct buf line;

	buf_init(&line);
	grid_text(&line, text, strlen(text), width);
	screen_line(out, style, line.len > 0 ? (char *)buf_ptr(&line) : "", line.len);
	buf_free(&line);
}

/* The lines of a grid, the first one being the names; each cut to the terminal's width. */
static void
draw_grid(struct buf *out, struct buf *grid, int width)
{
	char *text = buf_steal_str(grid), *end;
	enum screen_style style = SCREEN_REVERSE;

	for (char *s = text; (end = strchr(s, '\n')) != NULL; s = end + 1) {
		*end = '\0';
		draw_text(out, style, s, width);
		style = SCREEN_PLAIN;
	}
	free(text);
}

static void
draw_title(struct buf *out, const struct look *l, const char *trouble, int64_t every_ms, int width)
{
	struct buf text;
	char clock[16];
	time_t now = time(NULL);
	char *s;

	strftime(clock, sizeof(clock), "%H:%M:%S", localtime(&now));
	buf_init(&text);
	buf_addf(&text, "pgconductor top  %s  %s  every %lld.%lld s", l->database != NULL ? l->database : "", clock,
	    (long long)every_ms / 1000, (long long)every_ms % 1000 / 100);
	if (trouble != NULL)
		buf_addf(&text, "  database: %s", trouble);
	s = buf_steal_str(&text);
	draw_text(out, SCREEN_BOLD, s, width);
	free(s);
	add_totals(&text, l);
	s = buf_steal_str(&text);
	draw_text(out, SCREEN_PLAIN, s, width);
	free(s);
}

static void
draw(const struct look *l, const char *trouble, int64_t every_ms)
{
	int rows, width, room, queues = l->queues_n, runs = PQntuples(l->running);
	struct buf out, grid;

	screen_size(&rows, &width);
	buf_init(&out);
	buf_init(&grid);
	draw_title(&out, l, trouble, every_ms, width);
	/* What is left beside the title, three blank lines, two lines of names and that of the keys. */
	room = rows - 8 > 0 ? rows - 8 : 0;
	if (queues + runs > room) {
		queues = queues < room / 2 ? queues : room - runs > room / 2 ? room - runs : room / 2;
		runs = room - queues < runs ? room - queues : runs;
	}
	draw_text(&out, SCREEN_PLAIN, "", width);
	add_queues(&grid, l, queues, width);
	draw_grid(&out, &grid, width);
	draw_text(&out, SCREEN_PLAIN, "", width);
	add_runs(&grid, l, runs, width);
	draw_grid(&out, &grid, width);
	draw_text(&out, SCREEN_PLAIN, "", width);
	draw_text(&out, SCREEN_PLAIN, "q quit  space look now", width);
	screen_draw(&out);
	buf_free(&out);
}

/* Connects again if need be. */
static bool
look(struct look *l, PGconn **conn, const char *conninfo, int64_t window_ms, char **why)
{
	int rows, width;

	*why = NULL;
	if (*conn == NULL && (*conn = cli_try_connect(conninfo, why)) == NULL)
		return false;
	screen_size(&rows, &width);
	if ((l->since != NULL || look_begin(*conn, why)) && look_take(l, *conn, window_ms, rows, why))
		return true;
	if (PQstatus(*conn) != CONNECTION_OK) {
		/* What was seen last stays on the screen. */
		PQfinish(*conn);
		*conn = NULL;
		look_again(l);
	}
	return false;
}

static void
live(const char *conninfo, int64_t every_ms)
{
	struct look l = { .nodes = 0 };
	PGconn *conn = cli_connect(conninfo);
	int64_t next = 0;
	char *why = NULL;
	int key = SCREEN_TIMEOUT;

	/* What is wrong from the beginning is said in the ordinary way. */
	PQclear(cli_query(conn, "select from pgconductor.running, pgconductor.nodes limit 0", 0, NULL));
	screen_open();
	while (key != 'q' && key != 'Q' && key != SCREEN_END) {
		if (key != SCREEN_RESIZED) {
			next = cli_now_ms() + every_ms;
			free(why);
			look(&l, &conn, conninfo, every_ms, &why);
		}
		draw(&l, why, every_ms);
		do
			key = screen_wait(next);
		while (key >= 0 && strchr("qQ r\f", key) == NULL);
	}
	screen_close();
	free(why);
	look_free(&l);
	PQfinish(conn);
}

/* ---- one look ---- */

static void
put_count(struct buf *out, const char *name, int64_t n)
{
	buf_addf(out, ",\"%s\":%lld", name, (long long)(n > LOOK_MAX ? LOOK_MAX : n));
}

static void
put_queue(struct buf *out, const struct look_queue *q)
{
	bool more = q->ready > LOOK_MAX || q->timed_more || q->parked_more;

	buf_addstr(out, "{\"queue\":");
	json_quote(out, q->name, strlen(q->name));
	put_count(out, "ready", q->ready);
	put_count(out, "running", q->running);
	put_count(out, "delayed", q->delayed);
	put_count(out, "suspended", q->suspended);
	put_count(out, "unserved", q->unserved);
	put_count(out, "paused", q->paused);
	buf_addf(out, ",\"more\":%s,\"completed_per_second\":%.2f,\"failed_per_second\":%.2f,\"oldest_seconds\":", more ? "true" : "false",
	    q->done, q->failed);
	buf_addf(out, q->oldest < 0 ? "null}" : "%.1f}", q->oldest);
}

/* A row of the longest runs: numbers as they are, text quoted; the id is a string, as in every library. */
static void
put_run(struct buf *out, const PGresult *res, int row)
{
	for (int c = 0; c < PQnfields(res); c++) {
		const char *value = PQgetvalue(res, row, c);
		bool bare = c == 3 || c == 4 || (c >= 7 && c <= 9);

		buf_addf(out, "%s\"%s\":", c == 0 ? "{" : ",", PQfname(res, c));
		if (PQgetisnull(res, row, c))
			buf_addstr(out, "null");
		else if (bare)
			buf_addstr(out, value);
		else
			json_quote(out, value, strlen(value));
	}
	buf_addstr(out, "}");
}

static void
print_json(const struct look *l)
{
	struct buf out;
	char *text;

	buf_init(&out);
	buf_addstr(&out, "{\"database\":");
	json_quote(&out, l->database, strlen(l->database));
	buf_addf(&out, ",\"nodes\":%d,\"queues\":[", l->nodes);
	for (int i = 0; i < l->queues_n; i++) {
		buf_addstr(&out, i > 0 ? "," : "");
		put_queue(&out, &l->queues[i]);
	}
	buf_addstr(&out, "],\"running\":[");
	for (int i = 0; i < PQntuples(l->running); i++) {
		buf_addstr(&out, i > 0 ? "," : "");
		put_run(&out, l->running, i);
	}
	buf_addstr(&out, "]}");
	text = buf_steal_str(&out);
	cli_put_json(text);
	free(text);
}

static void
print_text(const struct look *l)
{
	struct buf out;

	buf_init(&out);
	add_totals(&out, l);
	buf_addstr(&out, "\n\n");
	add_queues(&out, l, l->queues_n, GRID_ANY_WIDTH);
	if (PQntuples(l->running) > 0) {
		buf_addstr(&out, "\n");
		add_runs(&out, l, PQntuples(l->running), GRID_ANY_WIDTH);
	}
	cli_put_buf(stdout, &out);
}

static void
one_look(const char *conninfo, int64_t window_ms)
{
	struct look l = { .nodes = 0 };
	PGconn *conn = cli_connect(conninfo);
	char *why;

	PQclear(cli_query(conn, "select from pgconductor.running, pgconductor.nodes limit 0", 0, NULL));
	if (!look_begin(conn, &why) || !look_take(&l, conn, window_ms, RUNS, &why))
		cli_fail(EX_UNAVAILABLE, "database: %s", why);
	if (json)
		print_json(&l);
	else
		print_text(&l);
	look_free(&l);
	PQfinish(conn);
}

static int
run(int argc, char **argv)
{
	int64_t every_ms = interval != NULL ? cli_duration("--interval", interval) : INTERVAL_MS;

	if (argc > 1)
		cli_usage("%s: unexpected argument", argv[1]);
	if (every_ms < INTERVAL_MIN_MS)
		cli_usage("--interval: at least %dms", INTERVAL_MIN_MS);
	if (once || json || !screen_possible())
		one_look(cli_conninfo(NULL), every_ms);
	else
		live(cli_conninfo(NULL), every_ms);
	return cli_done(EX_OK);
}

const struct cli_command cmd_top = {
	.name = "top",
	.arguments = "[--interval D] [--once | --json]",
	.summary = "show what waits, runs and ends, live",
	.details = "In a terminal: q ends it, space or r looks at once. Nothing is counted beyond 10000. done and failed: each\n"
	    "second, since the look before; what no history is kept of is not seen. oldest: how long the first of those\n"
	    "that are ready has been waiting. With a +, so many of those looked at. Below: the runs of a second or longer, the longest first.\n",
	.options = options,
	.run = run,
};
