/*
 * Cells in columns: measured as a terminal shows them, whatever the width of their characters. The cli process only.
 */
#include "config.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#include "cli/grid.h"
#include "common/buf.h"
#include "common/plain.h"
#include "common/xmalloc.h"

#define GAP 2
#define LAST_MIN 20

struct column {
	int	width;
	int	max;
	bool	right;
	bool	last;
};

static int
width_of(uint32_t c)
{
	int n = wcwidth((wchar_t)c);

	return n < 0 ? 1 : n;
}

int
grid_text(struct buf *out, const char *s, size_t len, int max)
{
	const char *end = s + len;
	int width = 0, w;
	size_t fits = out->len;
	char text[PLAIN_ESCAPE];
	struct plain_char p;

	while (s < end) {
		p = plain_next(s, end);
		if (p.safe) {
			w = width_of(p.c);
			buf_add(out, s, p.len);
		} else {
			w = (int)strlen(plain_escape(&p, s, text));
			buf_addstr(out, text);
		}
		s += p.len;
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

static int
text_width(const char *s)
{
	struct buf out;
	int width;

	buf_init(&out);
	width = grid_text(&out, s, strlen(s), INT32_MAX);
	buf_free(&out);
	return width;
}

static void
put_cell(struct buf *out, const char *s, const struct column *c)
{
	struct buf text;
	int w;

	buf_init(&text);
	w = grid_text(&text, s, strlen(s), c->max);
	if (c->right && w < c->width)
		buf_addf(out, "%*s", c->width - w, "");
	if (text.len > 0)
		buf_add(out, buf_ptr(&text), text.len);
	if (!c->last)
		buf_addf(out, "%*s", GAP + (c->right || c->width < w ? 0 : c->width - w), "");
	buf_free(&text);
}

static void
measure(const struct grid *g, struct column *columns, int left)
{
	int w;

	for (int c = 0; c < g->columns; c++) {
		columns[c].width = text_width(g->names[c]);
		for (int r = 0; r < g->rows; r++) {
			w = text_width(g->cells[r * g->columns + c]);
			columns[c].width = w > columns[c].width ? w : columns[c].width;
		}
		columns[c].right = g->right[c];
		columns[c].last = c == g->columns - 1;
		columns[c].max = INT32_MAX;
		if (!columns[c].last && left != GRID_ANY_WIDTH)
			left -= columns[c].width + GAP;
	}
	columns[g->columns - 1].max = left < LAST_MIN ? LAST_MIN : left;
}

void
grid_write(struct buf *out, const struct grid *g, int width)
{
	struct column *columns = xcalloc((size_t)g->columns, sizeof(*columns));

	measure(g, columns, width);
	for (int c = 0; c < g->columns; c++)
		put_cell(out, g->names[c], &columns[c]);
	for (int i = 0; i < g->rows * g->columns; i++) {
		if (i % g->columns == 0)
			buf_addstr(out, "\n");
		put_cell(out, g->cells[i], &columns[i % g->columns]);
	}
	buf_addstr(out, "\n");
	free(columns);
}
