/*
 * The command line: tables for people and JSON lines for programs. What comes from the database is never trusted to be
 * harmless to a terminal. The cli process only.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/grid.h"
#include "common/buf.h"
#include "common/plain.h"
#include "common/xmalloc.h"

/* The type oids of PostgreSQL that stand on the right of their column. */
static bool
is_number(Oid type)
{
	return type == 20 || type == 21 || type == 23 || type == 700 || type == 701 || type == 1700;
}

void
cli_put_buf(FILE *f, struct buf *b)
{
	if (b->len > 0)
		fwrite(buf_ptr(b), 1, b->len, f);
	buf_free(b);
}

void
cli_put_clean(FILE *f, const char *s, size_t len)
{
	struct buf out;

	buf_init(&out);
	plain_add(&out, s, len);
	cli_put_buf(f, &out);
}

/* What a cell shows; the caller frees it. */
static char *
cell_text(const PGresult *res, int row, int col)
{
	const char *s = PQgetvalue(res, row, col);

	return strcmp(PQfname(res, col), "error") == 0 && *s != '\0' ? cli_error_text(s) : xstrdup(s);
}

static int
terminal_width(void)
{
	struct winsize size;

	if (!isatty(STDOUT_FILENO) || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == -1 || size.ws_col == 0)
		return GRID_ANY_WIDTH;
	return size.ws_col;
}

void
cli_table(const PGresult *res, const char *nothing)
{
	int rows = PQntuples(res), n = PQnfields(res);
	const char **names = xcalloc((size_t)n, sizeof(char *));
	bool *right = xcalloc((size_t)n, sizeof(bool));
	char **cells = xcalloc((size_t)rows * (size_t)n + 1, sizeof(char *));
	struct grid grid = { n, rows, names, right, cells };
	struct buf out;

	for (int c = 0; c < n; c++) {
		names[c] = PQfname(res, c);
		right[c] = is_number(PQftype(res, c));
	}
	for (int i = 0; i < rows * n; i++)
		cells[i] = cell_text(res, i / n, i % n);
	buf_init(&out);
	if (rows > 0)
		grid_write(&out, &grid, terminal_width());
	else if (isatty(STDOUT_FILENO))
		fprintf(stderr, "%s\n", nothing);
	cli_put_buf(stdout, &out);
	for (int i = 0; i < rows * n; i++)
		free(cells[i]);
	free(cells);
	free(right);
	free(names);
}

/* Text of several lines, each below the first one. */
static void
put_lines(const char *name, int width, const char *s)
{
	size_t len;

	printf("%-*s  ", width, name);
	for (;;) {
		len = strcspn(s, "\n");
		cli_put_clean(stdout, s, len);
		putchar('\n');
		if (s[len] == '\0' || s[len + 1] == '\0')
			return;
		s += len + 1;
		printf("%*s", width + 2, "");
	}
}

void
cli_record(const PGresult *res)
{
	int n = PQnfields(res), width = 0, w;
	char *text;

	for (int c = 0; c < n; c++) {
		w = (int)strlen(PQfname(res, c));
		width = w > width ? w : width;
	}
	for (int c = 0; c < n; c++) {
		if (PQgetisnull(res, 0, c))
			continue;
		text = cell_text(res, 0, c);
		put_lines(PQfname(res, c), width, text);
		free(text);
		if (strcmp(PQfname(res, c), "error") != 0 || (text = cli_json_get(PQgetvalue(res, 0, c), "stack")) == NULL)
			continue;
		put_lines("stack", width, text);
		free(text);
	}
}

void
cli_put_json(const char *s)
{
	const char *end = s + strlen(s);
	struct plain_char p;

	if (!isatty(STDOUT_FILENO)) {
		puts(s);
		return;
	}
	for (; s < end; s += p.len) {
		p = plain_next(s, end);
		/* Line breaks and tabs stand between tokens; everything else that is unsafe stands within strings. */
		if (p.safe || p.c == '\t' || p.c == '\n' || p.c == '\r')
			fwrite(s, 1, p.len, stdout);
		else
			printf("\\u%04x", p.c);
	}
	putchar('\n');
}

void
cli_json_lines(const PGresult *res)
{
	char *line;

	for (int r = 0; r < PQntuples(res); r++) {
		line = xstrdup(PQgetvalue(res, r, 0));
		/* A line break in JSON text stands between its tokens, where a blank will do as well. */
		for (char *s = line; *s != '\0'; s++)
			if (*s == '\n' || *s == '\r')
				*s = ' ';
		cli_put_json(line);
		free(line);
	}
}

int
cli_report(PGconn *conn, bool json, const char *sql, int n, const char *const *params, const char *nothing)
{
	char *wrapped = json ? xasprintf("select row_to_json(t) from (%s) t", sql) : xstrdup(sql);
	PGresult *res = cli_query(conn, wrapped, n, params);
	int rows = PQntuples(res);

	if (json)
		cli_json_lines(res);
	else
		cli_table(res, nothing);
	PQclear(res);
	free(wrapped);
	return rows;
}
