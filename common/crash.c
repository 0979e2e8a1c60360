/*
 * Ending the process at a named point, for tests. Any process, in builds for tests only.
 */
#include "config.h"

#include "common/crash.h"

#ifdef CRASH_POINTS

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void
crash_point(const char *name)
{
	static const char *wanted;
	static long left = -1;
	size_t len = strlen(name);

	if (left == -1) {
		const char *number;

		wanted = getenv("PGCONDUCTOR_CRASH");
		number = wanted != NULL ? strchr(wanted, ':') : NULL;
		left = number != NULL ? strtol(number + 1, NULL, 10) : 0;
	}
	if (left <= 0 || strncmp(wanted, name, len) != 0 || wanted[len] != ':')
		return;
	if (--left == 0)
		kill(getpid(), SIGKILL);
}

#else

/* A file must hold something. */
extern const char crash_points_are_left_out;
const char crash_points_are_left_out = 1;

#endif
