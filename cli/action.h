/*
 * Doing something to executions, named by id or chosen by what they have in common: cancel, retry, edit, move, discard.
 * Private to cli/.
 */
#ifndef CLI_ACTION_H
#define CLI_ACTION_H

#include <stdbool.h>

#include <libpq-fe.h>

struct filter;

#define ACTION_EXTRA	4	/* further parameters at most */

struct action {
	const char	*call;		/* SQL that is true if it was done; %s is the id, and each %d the number of a further parameter */
	int		 extra;		/* how many of those */
	const char	*done;
	const char	*none;
	const char	*part;		/* of executions, when no state is given */
	const char	*state;		/* likewise; NULL: any */
};

/* Exits if the arguments after the options are no ids, or there are both ids and a filter or neither, or an unknown state. */
void	action_check(int argc, char **argv, const struct filter *);
/* Returns the exit status: 1 if it could not be done to one that was named. */
int	action_run(PGconn *, int argc, char **argv, struct filter *, const struct action *, const char *const *extra);

#endif
