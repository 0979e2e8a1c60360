/*
 * Being part of a run that belongs to a one-shot command: what `pgconductor ctx` is made of. Not in the installed library.
 */
#ifndef PGCONDUCTOR_JOIN_H
#define PGCONDUCTOR_JOIN_H

#include "proto/c/pgconductor.h"

struct pgc_join {
	const char		*socket;	/* of the worker: PGCONDUCTOR_SOCKET */
	const char		*run, *token;	/* PGCONDUCTOR_ID, PGCONDUCTOR_TOKEN */
	const char *const	*keys;		/* all that it will name, in this order; "": one named by its turn */
	size_t			 keys_n;
};

/*
 * Connects, gets the run, and calls the function with it, once. That returns 0, having finished nothing: the command goes
 * on; or PGC_OVER as a task's function does. pgc_join returns the same, when the worker has taken in all that it did; if
 * the run is over, when that has ended the connection, and with it usually this process. -1: pgc_error says why.
 */
int	pgc_join(struct pgc *, const struct pgc_join *, pgc_task_fn *, void *arg);

/* The key of what is named by its turn, written to buf, which is returned; the next turn is another. */
const char *pgc_turn(struct pgc_run *, char *buf, size_t size);

/* Most bytes of a payload or result. */
size_t	pgc_max_payload(const struct pgc_run *);

#endif
