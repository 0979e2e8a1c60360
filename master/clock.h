/*
 * The monotonic clock, in milliseconds. For intervals inside the master only: what is stored or compared with rows
 * comes from the database.
 */
#ifndef MASTER_CLOCK_H
#define MASTER_CLOCK_H

#include <stdint.h>
#include <sys/time.h>
#include <time.h>

static inline int64_t
clock_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* As libevent takes it. */
static inline struct timeval
clock_timeval(int64_t ms)
{
	return (struct timeval){ .tv_sec = (time_t)(ms / 1000), .tv_usec = (suseconds_t)(ms % 1000 * 1000) };
}

#endif
