/*
 * The handler of the benchmark: the task "noop" ends at once with null, "die" ends its process.
 *
 * It counts in a file that it shares with the harness, see Counter in harness.py: jobs run, the time of the first, and
 * for payloads of the form {"t":NANOSECONDS… the time since then.
 *
 * usage: noop_handler [-c CONCURRENCY] [-b SIZE] COUNTER	-b: "noop" takes so many at once
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "counter.h"
#include "proto/c/pgconductor.h"

static int
noop(struct pgc_run *run, void *arg)
{
	struct counter *counter = arg;
	const char *payload = pgc_payload(run);

	if (strncmp(payload, "{\"t\":", 5) == 0)
		counter_sample(counter, strtoull(payload + 5, NULL, 10));
	counter_add(counter);
	return (pgc_done(run, NULL));
}

static int
several(struct pgc_run **runs, size_t n, void *arg)
{
	for (size_t i = 0; i < n; i++)
		noop(runs[i], arg);
	return (0);
}

static int
die(struct pgc_run *run, void *arg)
{
	(void)run;
	(void)arg;
	return (raise(SIGKILL));
}

int
main(int argc, char *argv[])
{
	struct counter *counter;
	struct pgc *c;
	unsigned concurrency = 1, size = 0;
	int ch, status;

	while ((ch = getopt(argc, argv, "b:c:")) != -1) {
		if (ch != 'b' && ch != 'c')
			errx(64, "usage: noop_handler [-c CONCURRENCY] [-b SIZE] COUNTER");
		*(ch == 'b' ? &size : &concurrency) = (unsigned)atoi(optarg);
	}
	if (optind != argc - 1)
		errx(64, "usage: noop_handler [-c CONCURRENCY] [-b SIZE] COUNTER");
	counter = counter_open(argv[optind]);

	c = pgc_new();
	pgc_set_concurrency(c, concurrency);
	if (size != 0)
		pgc_batch(c, "noop", size, 1000, several, counter);
	else
		pgc_task(c, "noop", noop, counter);
	pgc_task(c, "die", die, NULL);
	status = pgc_serve(c, argc, argv);
	pgc_free(c);
	return (status);
}
