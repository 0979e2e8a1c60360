/*
 * The handler of the benchmark: the task "noop" ends at once with null.
 *
 * It counts in a file that it shares with the harness, see Counter in harness.py: jobs run, the time of the first, and
 * for payloads of the form {"t":NANOSECONDS… the time since then.
 *
 * usage: noop_handler [-c CONCURRENCY] COUNTER
 */
#include <sys/mman.h>
#include <err.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "proto/c/pgconductor.h"

#define COUNTER_BYTES (1 << 20)
#define MAX_SAMPLES (COUNTER_BYTES / 8 - 3)

struct counter {
	_Atomic uint64_t jobs;
	_Atomic uint64_t first;
	_Atomic uint64_t samples;
	uint64_t	 sample[MAX_SAMPLES];
};

static uint64_t
now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return ((uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec);
}

static int
noop(struct pgc_run *run, void *arg)
{
	struct counter *counter = arg;
	const char *payload = pgc_payload(run);
	uint64_t n;

	if (strncmp(payload, "{\"t\":", 5) == 0) {
		n = atomic_load(&counter->samples);
		if (n < MAX_SAMPLES) {
			counter->sample[n] = now() - strtoull(payload + 5, NULL, 10);
			atomic_store(&counter->samples, n + 1);
		}
	}
	if (atomic_load_explicit(&counter->first, memory_order_relaxed) == 0)
		atomic_store(&counter->first, now());
	atomic_fetch_add_explicit(&counter->jobs, 1, memory_order_relaxed);
	return (pgc_done(run, NULL));
}

int
main(int argc, char *argv[])
{
	struct counter *counter;
	struct pgc *c;
	unsigned concurrency = 1;
	int ch, fd, status;

	while ((ch = getopt(argc, argv, "c:")) != -1) {
		if (ch != 'c')
			errx(64, "usage: noop_handler [-c CONCURRENCY] COUNTER");
		concurrency = (unsigned)atoi(optarg);
	}
	if (optind != argc - 1)
		errx(64, "usage: noop_handler [-c CONCURRENCY] COUNTER");
	if ((fd = open(argv[optind], O_RDWR)) == -1)
		err(66, "%s", argv[optind]);
	counter = mmap(NULL, COUNTER_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (counter == MAP_FAILED)
		err(71, "mmap");
	close(fd);

	c = pgc_new();
	pgc_set_concurrency(c, concurrency);
	pgc_task(c, "noop", noop, counter);
	status = pgc_serve(c, argc, argv);
	pgc_free(c);
	return (status);
}
