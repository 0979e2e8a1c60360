/*
 * The page that a handler of the benchmark shares with the harness, see Counter in harness.py: how much it has done, when it
 * began to, and samples of how long something took.
 */
#ifndef BENCH_COUNTER_H
#define BENCH_COUNTER_H

#include <sys/mman.h>
#include <err.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>

#define COUNTER_BYTES (1 << 20)
#define MAX_SAMPLES (COUNTER_BYTES / 8 - 3)

struct counter {
	_Atomic uint64_t jobs;
	_Atomic uint64_t first;
	_Atomic uint64_t samples;
	uint64_t	 sample[MAX_SAMPLES];
};

/* Nanoseconds since 1970. */
static inline uint64_t
now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return ((uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec);
}

static inline struct counter *
counter_open(const char *path)
{
	int fd = open(path, O_RDWR);
	struct counter *c;

	if (fd == -1)
		err(66, "%s", path);
	if ((c = mmap(NULL, COUNTER_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)) == MAP_FAILED)
		err(71, "mmap");
	close(fd);
	return (c);
}

static inline void
counter_sample(struct counter *c, uint64_t since)
{
	uint64_t n = atomic_load(&c->samples);

	if (n < MAX_SAMPLES) {
		c->sample[n] = now() - since;
		atomic_store(&c->samples, n + 1);
	}
}

static inline void
counter_begin(struct counter *c)
{
	if (atomic_load_explicit(&c->first, memory_order_relaxed) == 0)
		atomic_store(&c->first, now());
}

static inline void
counter_add(struct counter *c)
{
	counter_begin(c);
	atomic_fetch_add_explicit(&c->jobs, 1, memory_order_relaxed);
}

#endif
