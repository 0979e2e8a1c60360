/*
 * A whole terminal, to be drawn on again and again, and given back as it was however the process ends. Private to cli/.
 */
#ifndef CLI_SCREEN_H
#define CLI_SCREEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf;

enum screen_style { SCREEN_PLAIN, SCREEN_BOLD, SCREEN_REVERSE };

/* What screen_wait() returns beside the bytes of keys. */
#define SCREEN_TIMEOUT	(-1)
#define SCREEN_RESIZED	(-2)
#define SCREEN_END	(-3)	/* there are no more keys to come */

/* Whether both input and output are a terminal. */
bool	screen_possible(void);
void	screen_open(void);
/* Gives the terminal back; does nothing if it was not taken. Signals and exit() do it too. */
void	screen_close(void);
void	screen_size(int *rows, int *columns);
/* Appends one line to what is to be drawn; the text is harmless, and no wider than the terminal. */
void	screen_line(struct buf *, enum screen_style, const char *, size_t len);
/* Draws it from the top left corner on; what was below it is cleared. */
void	screen_draw(struct buf *);
/* Waits for a key, or until this moment of cli_now_ms(). */
int	screen_wait(int64_t until_ms);

#endif
