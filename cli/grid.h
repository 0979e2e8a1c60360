/*
 * Cells in columns, for a terminal or a file. Private to cli/.
 */
#ifndef CLI_GRID_H
#define CLI_GRID_H

#include <stdbool.h>
#include <stddef.h>

struct buf;

struct grid {
	int		  columns, rows;
	const char *const *names;	/* of the columns */
	const bool	 *right;	/* the column stands on the right: numbers */
	char		**cells;	/* by rows; harmless or not */
};

/* As wide as it needs to be. */
#define GRID_ANY_WIDTH	INT32_MAX

/*
 * Appends a line of names and one for each row, each with a newline. Everything is made harmless to a terminal. What
 * does not fit into width is cut from the last column.
 */
void	grid_write(struct buf *, const struct grid *, int width);
/* Appends text made harmless, at most max columns of it (cut with an ellipsis); returns its width. */
int	grid_text(struct buf *, const char *, size_t len, int max);

#endif
