/*
 * The tasks of docs/conform.md on libpgconductor, with an event loop: several sleep at once, and stop when cancelled.
 */
#include <poll.h>

#include "program.h"

#define CONCURRENCY	4
#define CREDIT		8
#define BEAT_MS		1500

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

/* Executions that last */

static int
lasting_steps(struct pgc_run *run, void *arg)
{
	json_t *payload = payload_of(run), *steps = json_object_get(payload, "steps"), *results = json_array(), *step;
	bool piped = json_is_true(json_object_get(payload, "piped"));
	int over = 0;
	size_t i;

	(void)arg;
	json_array_foreach(steps, i, step) {
		const char *key = json_string_value(json_array_get(step, 0)), *saved = pgc_saved(run, key);
		char *text = saved == NULL ? json_dumps(json_array_get(step, 1), JSON_ENCODE_ANY) : NULL;

		if (saved == NULL)
			over = piped ? pgc_save(run, key, text) : pgc_save_now(run, key, text);
		if (over == 0)
			json_array_append_new(results, json_loads(saved != NULL ? saved : text, JSON_DECODE_ANY, NULL));
		free(text);
		if (over != 0)
			break;
	}
	if (over == 0)
		over = done_json(run, json_incref(results));
	json_decref(results);
	json_decref(payload);
	return over;
}

static int
lasting_wait(struct pgc_run *run, void *arg)
{
	json_t *payload = payload_of(run);
	int over = pgc_sleep(run, json_string_value(json_object_get(payload, "key")),
	    json_integer_value(json_object_get(payload, "ms")));

	(void)arg;
	json_decref(payload);
	return over != 0 ? over : pgc_done_text(run, "waited");
}

static int
lasting_child(struct pgc_run *run, void *arg)
{
	json_t *payload = payload_of(run), *timeout = json_object_get(payload, "timeout_ms");
	char *text = json_dumps(json_object_get(payload, "payload"), JSON_ENCODE_ANY);
	struct pgc_child child = PGC_CHILD;
	int over;

	(void)arg;
	child.key = json_string_value(json_object_get(payload, "key"));
	child.task = json_string_value(json_object_get(payload, "task"));
	child.payload = text;
	child.timeout_ms = timeout != NULL ? json_integer_value(timeout) : -1;
	over = pgc_invoke(run, &child);
	if (over == 0)
		over = child.error != NULL ? pgc_fail_child(run, &child) : pgc_done(run, child.result);
	free(text);
	json_decref(payload);
	return over;
}

static int
lasting_start(struct pgc_run *run, void *arg)
{
	json_t *payload = payload_of(run);
	char *text = json_dumps(json_object_get(payload, "payload"), JSON_ENCODE_ANY);
	const char *id = NULL;
	int over = pgc_start(run, json_string_value(json_object_get(payload, "task")), text, &id);

	(void)arg;
	if (over == 0)
		over = done_answer(run, id);
	free(text);
	json_decref(payload);
	return over;
}

static int
lasting_event(struct pgc_run *run, void *arg)
{
	json_t *payload = payload_of(run), *timeout = json_object_get(payload, "timeout_ms");
	struct pgc_event_wait wait = PGC_EVENT;
	struct pgc_failure failure = PGC_FAILURE;
	int over;

	(void)arg;
	wait.key = json_string_value(json_object_get(payload, "key"));
	wait.event = json_string_value(json_object_get(payload, "event"));
	wait.filter = json_string_value(json_object_get(payload, "when"));
	wait.since_start = json_object_get(payload, "since") != NULL;
	wait.timeout_ms = timeout != NULL ? json_integer_value(timeout) : -1;
	over = pgc_wait_event(run, &wait);
	if (over == 0 && wait.error != NULL) {
		failure.message = "waited for orders.paid in vain";
		failure.data = wait.error;
		failure.for_good = true;
		pgc_fail_with(run, &failure);
	} else if (over == 0) {
		over = pgc_done(run, wait.payload);
	}
	json_decref(payload);
	return over;
}

static int
lasting_change(struct pgc_run *run, void *arg)
{
	json_t *payload = payload_of(run), *change = json_object_get(payload, "change");
	struct pgc_event_wait wait = PGC_EVENT;
	int over;

	(void)arg;
	wait.key = json_string_value(json_object_get(payload, "key"));
	wait.schema = json_string_value(json_object_get(change, "schema"));
	wait.table = json_string_value(json_object_get(change, "table"));
	wait.operation = json_string_value(json_object_get(change, "operation"));
	wait.filter = json_string_value(json_object_get(change, "when"));
	over = pgc_wait_event(run, &wait);
	if (over == 0)
		over = wait.payload != NULL ? pgc_done(run, wait.payload) : pgc_fail(run, "it cannot be waited for");
	json_decref(payload);
	return over;
}

static int
lasting_emit(struct pgc_run *run, void *arg)
{
	json_t *payload = payload_of(run);
	char *text = json_dumps(json_object_get(payload, "payload"), JSON_ENCODE_ANY);
	const char *id = NULL;
	int over = pgc_emit(run, json_string_value(json_object_get(payload, "event")), text, &id);

	(void)arg;
	if (over == 0)
		over = done_answer(run, id);
	free(text);
	json_decref(payload);
	return over;
}

static int
lasting_schedule(struct pgc_run *run, void *arg)
{
	json_t *payload = payload_of(run);
	char *text = json_dumps(json_object_get(payload, "payload"), JSON_ENCODE_ANY);
	struct pgc_schedule schedule = PGC_SCHEDULE;
	const char *next = NULL;
	int over;

	(void)arg;
	schedule.task = json_string_value(json_object_get(payload, "task"));
	schedule.name = json_string_value(json_object_get(payload, "name"));
	schedule.cron = json_string_value(json_object_get(payload, "cron"));
	schedule.timezone = json_string_value(json_object_get(payload, "timezone"));
	schedule.payload = text;
	over = pgc_schedule(run, &schedule, &next);
	if (over == 0)
		over = done_answer(run, next);
	free(text);
	json_decref(payload);
	return over;
}

static int
lasting_unschedule(struct pgc_run *run, void *arg)
{
	json_t *payload = payload_of(run);
	bool removed = false;
	int over = pgc_unschedule(run, json_string_value(json_object_get(payload, "task")),
	    json_string_value(json_object_get(payload, "name")), &removed);

	(void)arg;
	json_decref(payload);
	return over != 0 ? over : pgc_done(run, removed ? "true" : "false");
}

static int
progress(struct pgc_run *run, void *arg)
{
	json_t *payload = payload_of(run), *percent = json_object_get(payload, "percent");

	(void)arg;
	pgc_progress(run, percent != NULL ? (int)json_integer_value(percent) : -1,
	    json_string_value(json_object_get(payload, "note")));
	json_decref(payload);
	return 0;
}

static int
checkpoint(struct pgc_run *run, void *arg)
{
	struct timespec pause = { 0, 5000000 };

	(void)arg;
	while (pgc_checkpoint(run) == 0)
		nanosleep(&pause, NULL);
	return PGC_OVER;
}

/* Ends the sleeps that are over; how long until the next one is, or until it is time to give a sign of life. */
static int
wake(void)
{
	int64_t now = now_ms(), next = BEAT_MS / 4;
	char text[32];

	for (size_t i = 0; i < CONCURRENCY; i++) {
		struct sleeper *s = &sleepers[i];

		if (s->run != NULL && s->until <= now) {
			struct pgc_run *run = s->run;

			s->run = NULL;
			snprintf(text, sizeof(text), "%lld", (long long)s->ms);
			pgc_done(run, text);
		} else if (s->run != NULL && s->until - now < next) {
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

/* Of each its value; "fail" fails it, "short" is one that is forgotten, and then all of them are; "ms" is waited for. */
static int
batch(struct pgc_run **runs, size_t n, void *arg)
{
	int64_t until = 0;
	bool forgotten = false;

	(void)arg;
	for (size_t i = 0; i < n; i++) {
		json_t *payload = payload_of(runs[i]), *ms = json_object_get(payload, "ms");

		forgotten |= json_object_get(payload, "short") != NULL;
		until = ms != NULL ? now_ms() + json_integer_value(ms) : until;
		json_decref(payload);
	}
	while (now_ms() < until && pgc_cancelled(runs[n - 1]) == NULL)
		usleep(2000);
	for (size_t i = 0; i < n && !forgotten; i++) {
		json_t *payload = payload_of(runs[i]), *error = json_object_get(payload, "fail");

		if (error != NULL)
			pgc_fail(runs[i], json_string_value(error));
		else
			done_json(runs[i], json_incref(json_object_get(payload, "value")));
		json_decref(payload);
	}
	return forgotten ? -1 : 0;
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
	pgc_task(c, "conform.steps", lasting_steps, NULL);
	pgc_task(c, "conform.wait", lasting_wait, NULL);
	pgc_task(c, "conform.child", lasting_child, NULL);
	pgc_task(c, "conform.start", lasting_start, NULL);
	pgc_task(c, "conform.event", lasting_event, NULL);
	pgc_task(c, "conform.change", lasting_change, NULL);
	pgc_task(c, "conform.emit", lasting_emit, NULL);
	pgc_task(c, "conform.schedule", lasting_schedule, NULL);
	pgc_task(c, "conform.unschedule", lasting_unschedule, NULL);
	pgc_task(c, "conform.progress", progress, NULL);
	pgc_task(c, "conform.checkpoint", checkpoint, NULL);
	pgc_batch(c, "conform.batch", 8, 100, batch, NULL);
	pgc_task_with(c, "conform.elsewhere", "other", NULL, nothing, NULL);
	pgc_set_concurrency(c, CONCURRENCY);
	pgc_set_credit(c, CREDIT);
	pgc_set_beat(c, BEAT_MS);
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
