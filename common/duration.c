/*
 * Durations: reading and writing "10s". Any process; no state.
 */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/duration.h"

static const struct {
	const char	*name;
	int64_t		 ms;
} units[] = {
	{ "d", INT64_C(24) * 3600 * 1000 },
	{ "h", INT64_C(3600) * 1000 },
	{ "m", INT64_C(60) * 1000 },
	{ "s", INT64_C(1000) },
	{ "ms", 1 },
};

#define UNITS_N (sizeof(units) / sizeof(units[0]))

int
duration_parse(const char *s, int64_t *ms)
{
	int64_t n = 0;
	size_t i;

	if (*s < '0' || *s > '9')
		return -1;
	for (; *s >= '0' && *s <= '9'; s++) {
		n = n * 10 + (*s - '0');
		if (n > DURATION_MAX_MS)
			return -1;
	}
	if (*s == '\0' && n == 0) {
		*ms = 0;
		return 0;
	}
	for (i = 0; i < UNITS_N; i++) {
		if (strcmp(s, units[i].name) != 0)
			continue;
		if (n > DURATION_MAX_MS / units[i].ms)
			return -1;
		*ms = n * units[i].ms;
		return 0;
	}
	return -1;
}

char *
duration_format(int64_t ms, char *buf, size_t size)
{
	size_t i = 0;

	if (ms == 0) {
		snprintf(buf, size, "0");
		return buf;
	}
	while (ms % units[i].ms != 0)
		i++;
	snprintf(buf, size, "%" PRId64 "%s", ms / units[i].ms, units[i].name);
	return buf;
}
