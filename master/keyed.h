/*
 * Keys of a task as they are in memory: what keyed.c counts, and keylook.c reads. Private to these two.
 */
#ifndef MASTER_KEYED_H
#define MASTER_KEYED_H

#include "common/buf.h"
#include "master/master.h"

/* So many of a key are read ahead at most: somebody else's first is to begin soon, however much waits of this one. */
#define KEY_ROWS	8

struct key {
	struct key	*next;		/* in its bucket */
	TAILQ_ENTRY(key) turn;		/* in the ring */
	TAILQ_ENTRY(key) wish;		/* among those wanted, or asked for */
	struct keys	*keys;
	struct lane	*ring;		/* in whose ring it stands; NULL: in none */
	struct runlist	 buf;		/* in their order */
	int		 buffered;
	int		 running;	/* out; in their order also those whose outcome is not committed */
	int		 runs;		/* in memory, lingering ones apart */
	bool		 more;		/* further ones are ready, as far as is known */
	bool		 wanted, asked;	/* these are to be read; are being read */
	bool		 bounded;	/* those up to lane and id were seen */
	int32_t		 lane;
	uint64_t	 id;
	int64_t		 afresh_ms;	/* when it was last read from its beginning */
	int		 begun;		/* so many have begun, older ones by half */
	int		 limit;		/* so many were asked for */
	uint64_t	 void_look;	/* what this look brings of it may be out of date */
	struct bucket	 bucket;
	int64_t		 due_ms;	/* when something of it may begin, or its bucket is full */
	size_t		 place;		/* in the heap, from 1; 0: it does not stand there */
	size_t		 len;
	char		 text[];
};

TAILQ_HEAD(keylist, key);

struct keys {
	struct gate	*gate;
	struct key	**buckets;
	size_t		 buckets_n;	/* a power of two */
	size_t		 n;
	size_t		 ring_n;	/* that stand in a ring */
	size_t		 rows, bytes;	/* buffered */
	size_t		 row_bytes;	/* what a row took, lately */
	struct keylist	 wanted, asking;
	size_t		 wanted_n;
	struct key	**heap;		/* by due_ms, the lowest first */
	size_t		 heap_n, heap_cap;
	int64_t		 since_ms;	/* what began before is not known */
	struct buf	 cursor;	/* the next key to look at is not before that */
	bool		 looking;	/* all keys are being gone through */
	bool		 crowded;	/* there are more than fit: who has had its turn waits for the next time around */
	bool		 thorough;	/* and that is not to be put off */
	bool		 flat;		/* each has little: they are read as they come */
	int64_t		 next_ms;	/* when to go on, or through them again */
	int64_t		 took_ms;	/* the last look */
	uint64_t	 void_look;
};

/* keyed.c */
struct key *keyed_get(struct keys *, const char *text, size_t len);
/* Something of it may run now, as far as those count that do. */
bool	keyed_has_slot(const struct key *);
/* Puts it where it belongs; it may be gone then. Who stays in the ring keeps its place. */
void	keyed_refresh(struct master *, struct key *);
void	keyed_want_no_more(struct key *);
/* The last one buffered is read again when there is room. */
void	keyed_drop_last(struct master *, struct key *);

/* keylook.c */
/* It is not asked for any more. */
void	keyed_asked_no_more(struct key *);
/* All are to be gone through, thorough: from the first one on. */
void	keyed_look_anew(struct keys *, bool thorough);

#endif
