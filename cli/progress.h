/*
 * How far something has got: one line on stderr that is written over and over, when stderr is a terminal. Private to
 * cli/.
 */
#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H

#include <stdint.h>

/* bytes: how many there are to go through; 0 when that is not known. what: of what it is counted; static. */
void	progress_start(int64_t bytes, const char *what);
/* So many are done by now, with so many bytes. Draws ten times a second, however often it is called. */
void	progress_at(int64_t n, int64_t bytes);
/* Nothing of it is left to be seen; something else may be written. */
void	progress_clear(void);

#endif
