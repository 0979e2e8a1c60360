/*
 * The tasks of docs/conform.md on libpgconductor, with an event loop: several sleep at once, and stop when cancelled.
 */
#include <jansson.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <pgconductor.h>

#define CONCURRENCY	4
#define CREDIT		8

/* An execution of conform.sleep; a free place has run NULL. */
static struct sleeper {
	struct pgc_run	*run;
	int64_t		 until, ms;
} sleepers[CONCURRENCY];

static int64_t
now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static json_t *
payload_of(struct pgc_run *run)
{
	return json_loadb(pgc_payload(run), pgc_payload_len(run), JSON_DECODE_ANY, NULL);
}

static int
echo(struct pgc_run *run, void *arg)
{
	(void)arg;
	return pgc_done_len(run, pgc_payload(run), pgc_payload_len(run));
}

static int
nothing(struct pgc_run *run, void *arg)
{
	(void)run;
	(void)arg;
	return 0;
}

static int
fail(struct pgc_run *run, void *arg)
{
	struct pgc_failure failure = PGC_FAILURE;
	json_t *payload = payload_of(run), *after = json_object_get(payload, "after_ms");
	int rc;

	(void)arg;
	failure.message = json_string_value(json_object_get(payload, "message"));
	if (failure.message == NULL)
		failure.message = "no message";
	failure.for_good = json_is_false(json_object_get(payload, "retry"));
	failure.after_ms = after != NULL ? json_integer_value(after) : -1;
	rc = pgc_fail_with(run, &failure);
	json_decref(payload);
	return rc;
}

static int
print(struct pgc_run *run, void *arg)
{
	json_t *payload = payload_of(run);

	(void)arg;
	printf("%s\n", json_string_value(json_object_get(payload, "text")));
	json_decref(payload);
	return 0;
}

static int
log_line(struct pgc_run *run, void *arg)
{
	json_t *payload = payload_of(run);

	(void)arg;
	pgc_log(run, json_string_value(json_object_get(payload, "level")),
	    json_string_value(json_object_get(payload, "message")), NULL);
	json_decref(payload);
	return 0;
}

static int
repeat(struct pgc_run *run, void *arg)
{
	json_t *payload = payload_of(run);
	const char *text = json_string_value(json_object_get(payload, "text"));
	size_t times = (size_t)json_integer_value(json_object_get(payload, "times")), len = strlen(text);
	char *all = malloc(times * len + 1);
	int rc;

	(void)arg;
	for (size_t i = 0; i < times; i++)
		memcpy(all + i * len, text, len);
	all[times * len] = '\0';
	rc = pgc_done_text(run, all);
	free(all);
	json_decref(payload);
	return rc;
}

static int
sleep_ms(struct pgc_run *run, void *arg)
{
	json_t *payload = payload_of(run);
	int64_t ms = json_integer_value(json_object_get(payload, "ms"));

	(void)arg;
	json_decref(payload);
	for (size_t i = 0; i < CONCURRENCY; i++)
		if (sleepers[i].run == NULL) {
			sleepers[i] = (struct sleeper){ .run = run, .until = now_ms() + ms, .ms = ms };
			return PGC_LATER;
		}
	return pgc_fail(run, "more than it said it would take");
}

static void
cancelled(struct pgc_run *run, void *arg)
{
	struct pgc_failure failure = PGC_FAILURE;

	(void)arg;
	for (size_t i = 0; i < CONCURRENCY; i++) {
		if (sleepers[i].run != run)
			continue;
		sleepers[i].run = NULL;
		failure.code = "cancelled";
		failure.message = pgc_cancelled(run);
		pgc_fail_with(run, &failure);
		return;
	}
}

/* Ends the sleeps that are over; how long until the next one is, -1: there is none. */
static int
wake(void)
{
	int64_t now = now_ms(), next = -1;
	char text[32];

	for (size_t i = 0; i < CONCURRENCY; i++) {
		struct sleeper *s = &sleepers[i];

		if (s->run != NULL && s->until <= now) {
			struct pgc_run *run = s->run;

			s->run = NULL;
			snprintf(text, sizeof(text), "%lld", (long long)s->ms);
			pgc_done(run, text);
		} else if (s->run != NULL && (next == -1 || s->until - now < next)) {
			next = s->until - now;
		}
	}
	return (int)next;
}

static int
serve(struct pgc *c)
{
	struct pollfd p;
	int timeout, more;

	while ((more = pgc_step(c)) == 1) {
		timeout = wake();
		/* What that has finished is written by the next step: the descriptor is ready for it. */
		p = (struct pollfd){ .fd = pgc_fd(c), .events = pgc_events(c) };
		poll(&p, 1, timeout);
	}
	return more == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

int
main(void)
{
	struct pgc *c = pgc_new();
	int status;

	setvbuf(stdout, NULL, _IOLBF, 0);
	pgc_task(c, "conform.echo", echo, NULL);
	pgc_task(c, "conform.null", nothing, NULL);
	pgc_task(c, "conform.fail", fail, NULL);
	pgc_task(c, "conform.sleep", sleep_ms, NULL);
	pgc_task(c, "conform.print", print, NULL);
	pgc_task(c, "conform.log", log_line, NULL);
	pgc_task(c, "conform.repeat", repeat, NULL);
	pgc_task_with(c, "conform.elsewhere", "other", NULL, nothing, NULL);
	pgc_set_concurrency(c, CONCURRENCY);
	pgc_set_credit(c, CREDIT);
	pgc_on_cancel(c, cancelled, NULL);
	if (pgc_open(c) == -1) {
		fprintf(stderr, "%s\n", pgc_error(c));
		return EXIT_FAILURE;
	}
	status = serve(c);
	if (status != EXIT_SUCCESS)
		fprintf(stderr, "%s\n", pgc_error(c));
	pgc_free(c);
	return status;
}
