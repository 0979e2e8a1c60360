/*
 * The command line: tables for people and JSON lines for programs. What comes from the database is never trusted to be
 * harmless to a terminal. The cli process only.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <wchar.h>

#include "cli/cli.h"
#include "common/buf.h"
#include "common/utf8.h"
#include "common/xmalloc.h"

#define GAP 2
#define LAST_MIN 20

/* The type oids of PostgreSQL that stand on the right of their column. */
static bool
is_number(Oid type)
{
	return type == 20 || type == 21 || type == 23 || type == 700 || type == 701 || type == 1700;
}

/* Characters that move the cursor, hide or reorder text. */
static bool
is_unsafe(wchar_t c)
{
	return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x200e || c == 0x200f || (c >= 0x2028 && c <= 0x202e) ||
	    (c >= 0x2066 && c <= 0x2069) || c == 0xfeff || c == 0x61c;
}

static wchar_t
decode(const char *s, size_t n)
{
	const unsigned char *p = (const unsigned char *)s;
	wchar_t c = n == 1 ? p[0] : p[0] & (0x7f >> n);

	for (size_t i = 1; i < n; i++)
		c = c << 6 | (p[i] & 0x3f);
	return c;
}

static int
width_of(wchar_t c)
{
	int n = wcwidth(c);

	return n < 0 ? 1 : n;
}

/*
 * Appends text in a harmless form, at most max columns of it (cut with an ellipsis); returns its width. Backslashes
 * stay as they are: this is for reading, --json is for parsing.
 */
static int
clean(struct buf *out, const char *s, size_t len, int max)
{
	const char *end = s + len;
	int width = 0, w;
	size_t n, fits = out->len;
	char text[16];
	wchar_t c;

	while (s < end) {
		n = utf8_char((const uint8_t *)s, (const uint8_t *)end);
		c = n > 0 ? decode(s, n) : 0;
		if (n == 0 || is_unsafe(c)) {
			snprintf(text, sizeof(text), n == 0 ? "\\x%02x" : c == '\n' ? "\\n" : c == '\t' ? "\\t" : c < 0x100 ? "\\x%02x" :
			    "\\u%04x", n == 0 ? (unsigned char)*s : (unsigned)c);
			w = (int)strlen(text);
			buf_addstr(out, text);
			n = n == 0 ? 1 : n;
		} else {
			w = width_of(c);
			buf_add(out, s, n);
		}
		s += n;
		if (width + w <= max - 1 || (s == end && width + w <= max)) {
			width += w;
			fits = out->len;
			continue;
		}
		out->len = fits;
		buf_addstr(out, "…");
		return max;
	}
	return width;
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
	clean(&out, s, len, INT32_MAX);
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
		return INT32_MAX;
	return size.ws_col;
}

static int
text_width(const char *s)
{
	struct buf out;
	int width;

	buf_init(&out);
	width = clean(&out, s, strlen(s), INT32_MAX);
	buf_free(&out);
	return width;
}

struct column {
	int	width;
	int	max;
	bool	right;
	bool	last;
};

static void
put_cell(const char *s, const struct column *c)
{
	struct buf out;
	int w;

	buf_init(&out);
	w = clean(&out, s, strlen(s), c->max);
	if (c->right && w < c->width)
		printf("%*s", c->width - w, "");
	cli_put_buf(stdout, &out);
	if (!c->last)
		printf("%*s", GAP + (c->right || c->width < w ? 0 : c->width - w), "");
}

static void
measure(const PGresult *res, char **cells, struct column *columns, int rows, int n)
{
	int left = terminal_width(), w;

	for (int c = 0; c < n; c++) {
		columns[c].width = text_width(PQfname(res, c));
		for (int r = 0; r < rows; r++) {
			w = text_width(cells[r * n + c]);
			columns[c].width = w > columns[c].width ? w : columns[c].width;
		}
		columns[c].right = is_number(PQftype(res, c));
		columns[c].last = c == n - 1;
		columns[c].max = INT32_MAX;
		if (!columns[c].last && left != INT32_MAX)
			left -= columns[c].width + GAP;
	}
	columns[n - 1].max = left < LAST_MIN ? LAST_MIN : left;
}

void
cli_table(const PGresult *res, const char *nothing)
{
	int rows = PQntuples(res), n = PQnfields(res);
	struct column *columns = xcalloc((size_t)n, sizeof(*columns));
	char **cells = xcalloc((size_t)rows * (size_t)n + 1, sizeof(char *));

	for (int i = 0; i < rows * n; i++)
		cells[i] = cell_text(res, i / n, i % n);
	measure(res, cells, columns, rows, n);
	for (int c = 0; c < n && rows > 0; c++)
		put_cell(PQfname(res, c), &columns[c]);
	for (int i = 0; i < rows * n; i++) {
		if (i % n == 0)
			putchar('\n');
		put_cell(cells[i], &columns[i % n]);
		free(cells[i]);
	}
	if (rows > 0)
		putchar('\n');
	else if (isatty(STDOUT_FILENO))
		fprintf(stderr, "%s\n", nothing);
	free(cells);
	free(columns);
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
	size_t n;
	wchar_t c;

	if (!isatty(STDOUT_FILENO)) {
		puts(s);
		return;
	}
	for (; s < end; s += n) {
		n = utf8_char((const uint8_t *)s, (const uint8_t *)end);
		c = n > 0 ? decode(s, n) : 0xfffd;
		/* Line breaks and tabs stand between tokens; everything else that is unsafe stands within strings. */
		if (n == 0 || (is_unsafe(c) && c != '\t' && c != '\n' && c != '\r'))
			printf("\\u%04x", (unsigned)c);
		else
			fwrite(s, 1, n, stdout);
		n = n == 0 ? 1 : n;
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
