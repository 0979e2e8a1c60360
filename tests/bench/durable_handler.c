/*
 * The handler of the benchmark's rows about executions that last. It counts in a file that it shares with the harness.
 *
 *	steps	STEPS steps, each acknowledged before the next; counts steps
 *	pair	a child of task "leaf"; counts pairs
 *	nap	sleeps until {"ms":N…, since 1970; counts the resumed
 *	listen	waits for the event "bell"; counts the resumed
 *	replay	saves the steps of {"n":N…, sleeps for no time at all, and finds them again; a sample is the time from then to then
 *
 * usage: durable_handler CONCURRENCY COUNTER
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "counter.h"
#include "proto/c/pgconductor.h"

#define STEPS 20
#define RESULT "{\"charged\":\"0123456789abcdef\",\"amount\":1250}"

/* What an execution of steps has done; and a list of those whose last step is acknowledged. */
struct job {
	struct pgc_run	*run;
	struct job	*next;
	unsigned	 done;
};

static struct counter *counter;
static struct job *ready;

static void
next_step(struct job *job)
{
	char key[32];

	if (job->done++ < STEPS) {
		snprintf(key, sizeof(key), "step-%u", job->done);
		pgc_save(job->run, key, RESULT);
		return;
	}
	pgc_done(job->run, NULL);
	free(job);
}

static int
steps(struct pgc_run *run, void *arg)
{
	struct job *job = calloc(1, sizeof(*job));

	(void)arg;
	counter_begin(counter);
	job->run = run;
	pgc_set_data(run, job);
	next_step(job);
	return (PGC_LATER);
}

static void
on_saved(struct pgc_run *run, void *arg)
{
	struct job *job = pgc_data(run);

	(void)arg;
	if (job == NULL)
		return;
	counter_add(counter);
	job->next = ready;
	ready = job;
}

static int
pair(struct pgc_run *run, void *arg)
{
	struct pgc_child child = PGC_CHILD;

	(void)arg;
	counter_begin(counter);
	child.task = "leaf";
	child.payload = pgc_payload(run);
	if (pgc_invoke(run, &child) != 0)
		return (PGC_OVER);
	counter_add(counter);
	return (pgc_done(run, child.result));
}

static int
leaf(struct pgc_run *run, void *arg)
{
	(void)arg;
	return (pgc_done(run, RESULT));
}

static long
number(const struct pgc_run *run)
{
	const char *colon = strchr(pgc_payload(run), ':');

	return (colon != NULL ? strtol(colon + 1, NULL, 10) : 0);
}

static int
nap(struct pgc_run *run, void *arg)
{
	(void)arg;
	if (pgc_sleep(run, NULL, number(run) - (long)(now() / 1000000)) != 0)
		return (PGC_OVER);
	counter_add(counter);
	return (pgc_done(run, NULL));
}

static int
listens(struct pgc_run *run, void *arg)
{
	struct pgc_event_wait bell = PGC_EVENT;

	(void)arg;
	bell.event = "bell";
	if (pgc_wait_event(run, &bell) != 0)
		return (PGC_OVER);
	counter_add(counter);
	return (pgc_done(run, NULL));
}

static int
replay(struct pgc_run *run, void *arg)
{
	long n = number(run);
	const char *since;
	char text[32];

	(void)arg;
	for (long i = 0; i < n; i++) {
		snprintf(text, sizeof(text), "step-%ld", i);
		if (pgc_saved(run, text) == NULL && pgc_save(run, text, RESULT) != 0)
			return (PGC_OVER);
	}
	if ((since = pgc_saved(run, "since")) == NULL) {
		if (pgc_flush_steps(run) != 0)
			return (PGC_OVER);
		snprintf(text, sizeof(text), "%llu", (unsigned long long)now());
		if (pgc_save_now(run, "since", text) != 0)
			return (PGC_OVER);
	}
	if (pgc_sleep(run, NULL, 0) != 0)
		return (PGC_OVER);
	counter_sample(counter, strtoull(since, NULL, 10));
	counter_add(counter);
	return (pgc_done(run, NULL));
}

/* Until the worker has had enough; what was acknowledged goes on once its message was read. */
static int
loop(struct pgc *c)
{
	int state;

	while ((state = pgc_step(c)) == 1) {
		struct pollfd p = { pgc_fd(c), pgc_events(c), 0 };
		struct job *list = ready, *job;

		if (list == NULL) {
			poll(&p, 1, -1);
			continue;
		}
		ready = NULL;
		while ((job = list) != NULL) {
			list = job->next;
			next_step(job);
		}
	}
	return (state == 0 ? 0 : 1);
}

int
main(int argc, char *argv[])
{
	struct pgc *c = pgc_new();
	int status;

	if (argc != 3)
		errx(64, "usage: durable_handler CONCURRENCY COUNTER");
	counter = counter_open(argv[2]);
	pgc_set_concurrency(c, (unsigned)atoi(argv[1]));
	pgc_on_saved(c, on_saved, NULL);
	pgc_task(c, "steps", steps, NULL);
	pgc_task(c, "pair", pair, NULL);
	pgc_task(c, "leaf", leaf, NULL);
	pgc_task(c, "nap", nap, NULL);
	pgc_task(c, "listen", listens, NULL);
	pgc_task(c, "replay", replay, NULL);
	if (pgc_open(c) == -1)
		errx(1, "%s", pgc_error(c));
	status = loop(c);
	pgc_free(c);
	return (status);
}
