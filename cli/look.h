/*
 * A look at all nodes and queues, for top: what waits, what runs, and how much has ended since the look before. Private
 * to cli/.
 */
#ifndef CLI_LOOK_H
#define CLI_LOOK_H

#include <stdbool.h>
#include <stdint.h>

#include <libpq-fe.h>

/* Nothing is counted beyond this; a count of one more stands for "more than". */
#define LOOK_MAX	10000

struct look_queue {
	char	*name;
	int64_t	 ready, running, delayed, suspended, unserved, paused;
	bool	 timed_more;		/* delayed, and suspended, are only of those that were looked at */
	bool	 parked_more;		/* likewise unserved, suspended and paused */
	double	 done, failed;		/* each second */
	double	 oldest;		/* seconds that the oldest ready one has waited; -1: there is none */
};

/* Where the next look goes on. Begins as zeroes. */
struct look {
	char			*database;
	int			 nodes;		/* that are alive */
	struct look_queue	*queues;
	int			 queues_n;
	PGresult		*running;	/* id, task, queue, attempt, node, host, program, pid, seconds, percent, note; longest first */
	char			*since;		/* when it was taken, by the database's clock */
	char			*block;		/* where history has ended then, as a tid */
	double			 seconds;	/* since the look before */
};

/*
 * Takes the next look. window_ms: over how much time the first one counts what has ended; runs: how many of the longest
 * runs. False with the reason in *why (freed by the caller) if the database does not answer; the look is as before.
 */
bool	look_take(struct look *, PGconn *, int64_t window_ms, int runs, char **why);
/* The session's settings, and what it needs; false as above. */
bool	look_begin(PGconn *, char **why);
/* The connection is another one: the next look begins anew. */
void	look_again(struct look *);
void	look_free(struct look *);

#endif
