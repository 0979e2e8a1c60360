/*
 * Installing and upgrading the schema, from the embedded SQL. Private to cli/; blocking.
 */
#ifndef CLI_MIGRATE_H
#define CLI_MIGRATE_H

#include <stdbool.h>

#include <libpq-fe.h>

struct buf;

struct migrate_status {
	int	installed;	/* the schema's version; 0: there is none */
	int	known;		/* the newest one this program knows */
	bool	current;	/* nothing to do: version and functions are those of this program */
};

/* The whole script: it installs, upgrades, or finds nothing to do. Any client can run it. */
void	migrate_script(struct buf *);
/* 0, or an exit status after saying what is wrong. */
int	migrate_look(PGconn *, struct migrate_status *);
/* Does what is to be done; safe when several run it at once. 0 or an exit status, likewise. */
int	migrate_apply(PGconn *, struct migrate_status *before);

#endif
