/*
 * A rate, and the bucket of tokens that holds to it: of a task, or of one of its keys. Master.
 */
#ifndef MASTER_BUCKET_H
#define MASTER_BUCKET_H

#include <stdint.h>

struct rate {
	int		 limit, burst;	/* so many in ms milliseconds, and at once; limit 0: any number */
	int64_t		 ms;
};

struct bucket {
	double		 tokens;	/* so many may begin now */
	int64_t		 filled_ms;	/* when that was reckoned */
};

static inline void
bucket_fill(struct bucket *b, const struct rate *r, int64_t now)
{
	b->tokens += (double)(now - b->filled_ms) * r->limit / (double)r->ms;
	if (b->tokens > r->burst)
		b->tokens = r->burst;
	b->filled_ms = now;
}

/* When it has so many tokens, if none is taken. */
static inline int64_t
bucket_has_at(const struct bucket *b, const struct rate *r, double tokens)
{
	return b->filled_ms + (int64_t)((tokens - b->tokens) * (double)r->ms / r->limit) + 1;
}

#endif
