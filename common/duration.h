/*
 * Durations as people write them: 250ms, 10s, 5m, 2h, 7d. Whole numbers with one unit; only 0 needs none.
 */
#ifndef COMMON_DURATION_H
#define COMMON_DURATION_H

#include <stddef.h>
#include <stdint.h>

/* The longest that is accepted: a hundred years. */
#define DURATION_MAX_MS (INT64_C(36525) * 24 * 3600 * 1000)

/* Room for any formatted duration. */
#define DURATION_STRLEN 32

/* 0, or -1 when s is not a duration or is longer than DURATION_MAX_MS; *ms is then untouched. */
int	duration_parse(const char *s, int64_t *ms);
/* The same notation, in the largest unit that loses nothing: 90000 is "90s", 120000 "2m". Returns buf. */
char	*duration_format(int64_t ms, char *buf, size_t size);

#endif
