/*
 * libpgconductor: a handler that was started by hand becomes `pgconductor run` around itself.
 */
#include "config.h"

#include <sysexits.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/xmalloc.h"
#include "proto/c/private.h"

static void
explain(int error)
{
	if (error != ENOENT) {
		fprintf(stderr, "pgconductor: %s\n", strerror(error));
		return;
	}
	fprintf(stderr, "pgconductor: this program serves tasks and is run by pgconductor, which was not found in PATH.\n"
	    "Install it from its source (./configure && make && make install), or add the directory it is in to PATH, and\n"
	    "start this program again.\n");
}

/* The program as it can be started again from anywhere; argv[0] need not say. */
static const char *
own_path(const char *fallback)
{
	static char path[4096];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);

	if (n <= 0)
		return fallback;
	path[n] = '\0';
	return path;
}

/* Does not return when all is well. */
int
pgc_launch(int argc, char **argv)
{
	char **args = xcalloc((size_t)(argc > 0 ? argc : 1) + 4, sizeof(*args));
	int n = 0;

	args[n++] = xstrdup("pgconductor");
	args[n++] = xstrdup("run");
	args[n++] = xstrdup("--");
	args[n++] = xstrdup(own_path(argc > 0 ? argv[0] : ""));
	for (int i = 1; i < argc; i++)
		args[n++] = argv[i];
	fflush(NULL);
	execvp(args[0], args);
	explain(errno);
	for (int i = 0; i < 4; i++)
		free(args[i]);
	free(args);
	return EX_UNAVAILABLE;
}
