/*
 * The server: `pgconductor run` and the last step of `pgconductor dev`.
 */
#ifndef MASTER_SERVER_H
#define MASTER_SERVER_H

#include <stdbool.h>

struct conf;

struct server_options {
	struct conf	*conf;		/* loaded; never NULL; the server frees it */
	const char	*conf_path;	/* read again at HUP; NULL without a file */
	const char	*conninfo;	/* borrowed */
	char		**argv;		/* of `-- CMD`; argc 0 without */
	int		 argc;
	bool		 drain;		/* serve until nothing is ready or due, then end */
	bool		 terminal;	/* a line for each execution, for a person */
};

/* Runs until told to stop. Returns the exit status: 0, 1 after --drain when something failed for good, or sysexits. */
int	server_run(struct server_options *);

#endif
