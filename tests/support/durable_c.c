/*
 * Executions that last, on libpgconductor, for test_durable.py; durable_python.py, durable_node.mjs and durable_shell/ have the
 * same tasks. What is done is entered in the ledger, outside the database: LEDGER names it, DURABLE_CONCURRENCY how many are
 * handed over at once, DURABLE_OPTIONS the options of its tasks, DURABLE_BEAT how long it may be silent.
 *
 *	steps   {"n", "piped", "bytes", "die"}  n steps step-0…, each entered as "did" when it is done and as "ok" once it is
 *	        saved, its result [i, "xxx…"]; returns the sum of the i; piped: saved without waiting, without "ok"; bytes: of each
 *	        result; die: its process ends before that step, in attempt 1
 *	sleep   {"ms"}                          enters "began", in a step of that key, and "woke" after it; returns "slept"
 *	parent  {"children": [{task, payload, queue, timeout_ms, key, priority, metadata}…], "caught"}  enters "parent" each time; returns
 *	        [{"result"} or {"error"}…], the errors as objects with code and message; without caught it fails as they do
 *	many    {"n", "task"}                   n children of that task, {"value": i}; returns the sum of their results
 *	leaf    {"value", "fail", "ms"}         returns value; fail: fails for good with that message; ms: takes so long
 *	tree    {"depth"}                       a child of its own kind, until depth is 0; returns how deep it went
 *	twice   null                            a step "once", then enters "first"; again, then "second"
 *	loop    null                            a step "kept", then until it is stopped at a checkpoint, telling its progress and the
 *	        note "looping"; enters "loop" each time
 *	cancel  {"id"}, start {"task", "payload"}   by a call; the one returns whether it was unfinished, the other the id
 *		(null: none was made); start has "dedupe_key", "throttle_s", "debounce_s" and "metadata" too, or some of them,
 *		or none
 *	flow    null                            20 steps, 3 sleeps between them and 5 children; returns the sum of all
 *	hang    null                            stops its process; enters "hang"
 *	keep    {"values"}                      each saved under value-0…, then sleeps 1 ms; returns what is saved, as a list
 *	flaky   {"fails"}                       a step "flaky", entered as "did", that fails in so many attempts, then has the number
 *	        of the attempt as its result; returns that
 *	keyless null                            sleeps 1 ms, has a child leaf {"value": 7}, sleeps 1 ms, all three without keys;
 *	        returns the child's result
 *	fruit   {"items", "ms", "fail"}         steps validate (how many), transform (in capitals) and save (["done", them]), each
 *	        entered as "did", and a sleep before the last; fail: that one fails in attempt 1; returns what it saved
 *	ten     {"value"}                       a child double {"value"}; returns 10 more than it
 *	double  {"value"}                       returns twice that
 *	far     as leaf, in queue other; once as steps, with one attempt; brief as loop and nap as sleep, 700 ms in total
 */
#include <ctype.h>
#include <signal.h>

#include "program.h"

static long
number(json_t *payload, const char *name, long otherwise)
{
	json_t *v = json_object_get(payload, name);

	return json_is_integer(v) ? (long)json_integer_value(v) : otherwise;
}

/* The end of a function with a payload to free. */
static int
ends(json_t *payload, int verdict)
{
	json_decref(payload);
	return verdict;
}

/* [i, "xxx…"] */
static char *
result_of_step(long i, size_t bytes)
{
	char *text = malloc(bytes + 32);
	int n = snprintf(text, 32, "[%ld,\"", i);

	memset(text + n, 'x', bytes);
	strcpy(text + (size_t)n + bytes, "\"]");
	return text;
}

/* Returns the step's number; -1 when the run is over. */
static long
one_step(struct pgc_run *run, long i, size_t bytes, int piped)
{
	char key[32], *result;
	const char *saved;
	int over;

	snprintf(key, sizeof(key), "step-%ld", i);
	if ((saved = pgc_saved(run, key)) != NULL)
		return strtol(saved + 1, NULL, 10);
	enter(run, "did", key);
	result = result_of_step(i, bytes);
	over = piped ? pgc_save(run, key, result) : pgc_save_now(run, key, result);
	free(result);
	if (over)
		return -1;
	if (!piped)
		enter(run, "ok", key);
	return i;
}

static int
steps(struct pgc_run *run, void *arg)
{
	json_t *payload = payload_of(run);
	long n = number(payload, "n", 1), die = number(payload, "die", -1), sum = 0;
	size_t bytes = (size_t)number(payload, "bytes", 0);
	int piped = json_is_true(json_object_get(payload, "piped"));

	(void)arg;
	json_decref(payload);
	for (long i = 0; i < n; i++) {
		long value;

		if (i == die && pgc_attempt(run) == 1)
			kill(getpid(), SIGKILL);
		if ((value = one_step(run, i, bytes, piped)) == -1)
			return PGC_OVER;
		sum += value;
	}
	return done_json(run, json_integer(sum));
}

static int
sleeps(struct pgc_run *run, void *arg)
{
	json_t *payload = payload_of(run);
	long ms = number(payload, "ms", 0);

	(void)arg;
	json_decref(payload);
	if (pgc_saved(run, "began") == NULL) {
		enter(run, "began", "");
		if (pgc_save(run, "began", "1") != 0)
			return PGC_OVER;
	}
	if (pgc_sleep(run, NULL, ms) != 0)
		return PGC_OVER;
	enter(run, "woke", "");
	return pgc_done(run, "\"slept\"");
}

static json_t *
outcome_of(const struct pgc_child *child)
{
	json_t *value = json_loads(child->error != NULL ? child->error : child->result, JSON_DECODE_ANY, NULL);

	return json_pack("{s:o}", child->error != NULL ? "error" : "result", value);
}

static int
parent(struct pgc_run *run, void *arg)
{
	json_t *payload = payload_of(run), *list = json_object_get(payload, "children"), *outcomes, *item;
	size_t n = json_array_size(list), i, failed = n;
	struct pgc_child *children = calloc(n + 1, sizeof(*children));
	int verdict;

	(void)arg;
	enter(run, "parent", "");
	json_array_foreach(list, i, item) {
		children[i] = (struct pgc_child)PGC_CHILD;
		children[i].key = json_string_value(json_object_get(item, "key"));
		children[i].task = json_string_value(json_object_get(item, "task"));
		children[i].queue = json_string_value(json_object_get(item, "queue"));
		children[i].payload = json_dumps(json_object_get(item, "payload"), JSON_ENCODE_ANY);
		children[i].timeout_ms = number(item, "timeout_ms", -1);
		children[i].priority = (int)number(item, "priority", PGC_PRIORITY_OF_TASK);
		children[i].metadata = json_dumps(json_object_get(item, "metadata"), JSON_ENCODE_ANY);
	}
	verdict = pgc_invoke_all(run, children, n);
	outcomes = json_array();
	for (i = 0; i < n; i++) {
		free((void *)(uintptr_t)children[i].payload);
		free((void *)(uintptr_t)children[i].metadata);
		if (verdict == 0)
			json_array_append_new(outcomes, outcome_of(&children[i]));
		if (verdict == 0 && children[i].error != NULL && failed == n)
			failed = i;
	}
	if (verdict == 0 && failed != n && !json_is_true(json_object_get(payload, "caught")))
		verdict = pgc_fail_child(run, &children[failed]);
	else if (verdict == 0)
		verdict = done_json(run, json_incref(outcomes));
	json_decref(outcomes);
	free(children);
	return ends(payload, verdict);
}

static int
many(struct pgc_run *run, void *arg)
{
	json_t *payload = payload_of(run);
	size_t n = (size_t)number(payload, "n", 1);
	const char *task = json_string_value(json_object_get(payload, "task"));
	struct pgc_child *children = calloc(n + 1, sizeof(*children));
	char (*numbers)[32] = calloc(n + 1, sizeof(*numbers));
	long long sum = 0;
	int verdict;

	(void)arg;
	for (size_t i = 0; i < n; i++) {
		snprintf(numbers[i], sizeof(numbers[i]), "{\"value\":%zu}", i);
		children[i] = (struct pgc_child)PGC_CHILD;
		children[i].task = task;
		children[i].payload = numbers[i];
	}
	verdict = pgc_invoke_all(run, children, n);
	for (size_t i = 0; verdict == 0 && i < n; i++)
		sum += children[i].result != NULL ? strtoll(children[i].result, NULL, 10) : -1;
	free(children);
	free(numbers);
	json_decref(payload);
	return verdict != 0 ? PGC_OVER : done_json(run, json_integer(sum));
}

static int
leaf(struct pgc_run *run, void *arg)
{
	json_t *payload = payload_of(run), *value = json_object_get(payload, "value");
	const char *fail = json_string_value(json_object_get(payload, "fail"));
	struct pgc_failure failure = PGC_FAILURE;
	struct timespec pause = { 0, number(payload, "ms", 0) % 1000 * 1000000 };

	(void)arg;
	pause.tv_sec = number(payload, "ms", 0) / 1000;
	enter(run, "leaf", "");
	nanosleep(&pause, NULL);
	if (fail == NULL)
		return ends(payload, done_json(run, value != NULL ? json_incref(value) : json_null()));
	failure.message = fail;
	failure.for_good = true;
	return ends(payload, pgc_fail_with(run, &failure));
}

static int
tree(struct pgc_run *run, void *arg)
{
	json_t *payload = payload_of(run);
	long depth = number(payload, "depth", 0);
	struct pgc_child child = PGC_CHILD;
	char text[64];

	(void)arg;
	json_decref(payload);
	if (depth == 0)
		return pgc_done(run, "0");
	snprintf(text, sizeof(text), "{\"depth\":%ld}", depth - 1);
	child.key = "below";
	child.task = "tree";
	child.payload = text;
	if (pgc_invoke(run, &child) != 0)
		return PGC_OVER;
	return child.error != NULL ? pgc_fail_child(run, &child) :
	    done_json(run, json_integer(strtol(child.result, NULL, 10) + 1));
}

static int
twice(struct pgc_run *run, void *arg)
{
	(void)arg;
	if (pgc_save_now(run, "once", "1") != 0)
		return PGC_OVER;
	enter(run, "first", "");
	if (pgc_save_now(run, "once", "2") != 0)
		return PGC_OVER;
	enter(run, "second", "");
	return pgc_done(run, NULL);
}

static int
loop(struct pgc_run *run, void *arg)
{
	struct timespec pause = { 0, 5000000 };

	(void)arg;
	enter(run, "loop", "");
	if (pgc_saved(run, "kept") == NULL && pgc_save(run, "kept", "true") != 0)
		return PGC_OVER;
	for (int i = 0; ; i++) {
		if (pgc_checkpoint(run) != 0)
			return PGC_OVER;
		pgc_progress(run, i < 100 ? i : 100, i == 0 ? "looping" : NULL);
		nanosleep(&pause, NULL);
	}
}

static int
cancel(struct pgc_run *run, void *arg)
{
	json_t *payload = payload_of(run);
	bool cancelled = false;

	(void)arg;
	if (pgc_cancel_execution(run, json_string_value(json_object_get(payload, "id")), "by a task", &cancelled) != 0)
		return ends(payload, PGC_OVER);
	return ends(payload, *pgc_error(pgc_of(run)) != '\0' ? pgc_fail(run, pgc_error(pgc_of(run))) :
	    pgc_done(run, cancelled ? "true" : "false"));
}

/* In milliseconds; -1: not there. */
static int64_t
seconds_of(const json_t *payload, const char *name)
{
	const json_t *value = json_object_get(payload, name);

	return value != NULL ? json_integer_value(value) * 1000 : -1;
}

static int
start(struct pgc_run *run, void *arg)
{
	json_t *payload = payload_of(run);
	char *text = json_dumps(json_object_get(payload, "payload"), JSON_ENCODE_ANY);
	char *metadata = json_dumps(json_object_get(payload, "metadata"), JSON_ENCODE_ANY);
	const char *id = NULL;
	struct pgc_start s = PGC_START;
	int verdict;

	(void)arg;
	s.task = json_string_value(json_object_get(payload, "task"));
	s.payload = text;
	s.dedupe_key = json_string_value(json_object_get(payload, "dedupe_key"));
	s.throttle_ms = seconds_of(payload, "throttle_s");
	s.debounce_ms = seconds_of(payload, "debounce_s");
	s.metadata = metadata;
	verdict = pgc_start_with(run, &s, &id);
	free(text);
	free(metadata);
	if (verdict == 0 && *pgc_error(pgc_of(run)) != '\0')
		verdict = pgc_fail(run, pgc_error(pgc_of(run)));
	else if (verdict == 0)
		verdict = id != NULL ? pgc_done_text(run, id) : pgc_done(run, NULL);
	return ends(payload, verdict);
}

static int
flow(struct pgc_run *run, void *arg)
{
	struct pgc_child children[5];
	char numbers[5][32];
	long sum = 0;

	(void)arg;
	for (long i = 0; i < 20; i++) {
		long value = one_step(run, i, 0, 0);

		if (value == -1 || (i % 5 == 4 && i < 19 && pgc_sleep(run, NULL, 5 + i) != 0))
			return PGC_OVER;
		sum += value;
	}
	for (int i = 0; i < 5; i++) {
		snprintf(numbers[i], sizeof(numbers[i]), "{\"value\":%d}", 1000 * (i + 1));
		children[i] = (struct pgc_child)PGC_CHILD;
		children[i].task = i < 3 ? "leaf" : "far";
		children[i].payload = numbers[i];
	}
	if (pgc_invoke_all(run, children, 5) != 0)
		return PGC_OVER;
	for (int i = 0; i < 5; i++)
		sum += children[i].result != NULL ? strtol(children[i].result, NULL, 10) : -1000000;
	return done_json(run, json_integer(sum));
}

static int
hang(struct pgc_run *run, void *arg)
{
	(void)arg;
	enter(run, "hang", "");
	raise(SIGSTOP);
	return pgc_done(run, NULL);
}

/* Frees json. */
static int
save_json(struct pgc_run *run, const char *key, json_t *json)
{
	char *text = json_dumps(json, JSON_ENCODE_ANY | JSON_COMPACT);
	int over = pgc_save(run, key, text);

	free(text);
	json_decref(json);
	return over;
}

static int
keep(struct pgc_run *run, void *arg)
{
	json_t *payload = payload_of(run), *values = json_object_get(payload, "values"), *kept = json_array(), *value;
	char key[32];
	size_t i;
	bool all = true;

	(void)arg;
	json_array_foreach(values, i, value) {
		const char *saved;

		snprintf(key, sizeof(key), "value-%zu", i);
		if ((saved = pgc_saved(run, key)) != NULL)
			json_array_append_new(kept, json_loads(saved, JSON_DECODE_ANY, NULL));
		else
			all = false;
		if (saved == NULL && save_json(run, key, json_incref(value)) != 0) {
			json_decref(kept);
			return ends(payload, PGC_OVER);
		}
	}
	if (pgc_sleep(run, NULL, 1) == 0)
		return ends(payload, all ? done_json(run, kept) : pgc_fail(run, "slept without having saved"));
	json_decref(kept);
	return ends(payload, PGC_OVER);
}

static int
flaky(struct pgc_run *run, void *arg)
{
	json_t *payload = payload_of(run);
	long fails = number(payload, "fails", 0);
	const char *saved = pgc_saved(run, "flaky");
	char text[32];

	(void)arg;
	json_decref(payload);
	if (saved != NULL)
		return pgc_done(run, saved);
	enter(run, "did", "flaky");
	if (pgc_attempt(run) <= fails)
		return pgc_fail(run, "not yet");
	snprintf(text, sizeof(text), "%u", pgc_attempt(run));
	return pgc_save(run, "flaky", text) != 0 ? PGC_OVER : pgc_done(run, text);
}

static int
keyless(struct pgc_run *run, void *arg)
{
	struct pgc_child child = PGC_CHILD;

	(void)arg;
	child.task = "leaf";
	child.payload = "{\"value\":7}";
	if (pgc_sleep(run, NULL, 1) != 0 || pgc_invoke(run, &child) != 0 || pgc_sleep(run, NULL, 1) != 0)
		return PGC_OVER;
	return child.error != NULL ? pgc_fail_child(run, &child) : pgc_done(run, child.result);
}

static json_t *
in_capitals(const json_t *items)
{
	json_t *list = json_array(), *item;
	size_t i;

	json_array_foreach(items, i, item) {
		char *text = strdup(json_string_value(item));

		for (char *p = text; *p != '\0'; p++)
			*p = (char)toupper((unsigned char)*p);
		json_array_append_new(list, json_string(text));
		free(text);
	}
	return list;
}

static int
fruit(struct pgc_run *run, void *arg)
{
	json_t *payload = payload_of(run), *items = json_object_get(payload, "items"), *list;
	const char *saved;
	int verdict = 0;

	(void)arg;
	if (pgc_saved(run, "validate") == NULL) {
		enter(run, "did", "validate");
		verdict = save_json(run, "validate", json_integer((json_int_t)json_array_size(items)));
	}
	if (verdict == 0 && (saved = pgc_saved(run, "transform")) != NULL)
		list = json_loads(saved, 0, NULL);
	else if (verdict == 0) {
		enter(run, "did", "transform");
		list = in_capitals(items);
		verdict = save_json(run, "transform", json_incref(list));
	} else
		return ends(payload, PGC_OVER);
	if (verdict == 0 && (verdict = pgc_sleep(run, NULL, number(payload, "ms", 0))) == 0) {
		enter(run, "did", "save");
		if (json_is_true(json_object_get(payload, "fail")) && pgc_attempt(run) == 1)
			verdict = pgc_fail(run, "no room");
		else if ((verdict = save_json(run, "save", json_pack("[sO]", "done", list))) == 0)
			verdict = done_json(run, json_pack("[sO]", "done", list));
	}
	json_decref(list);
	return ends(payload, verdict);
}

static int
doubles(struct pgc_run *run, void *arg)
{
	json_t *payload = payload_of(run);

	(void)arg;
	return ends(payload, done_json(run, json_integer(2 * number(payload, "value", 0))));
}

static int
ten(struct pgc_run *run, void *arg)
{
	struct pgc_child child = PGC_CHILD;

	(void)arg;
	child.task = "double";
	child.payload = pgc_payload(run);
	if (pgc_invoke(run, &child) != 0)
		return PGC_OVER;
	return child.error != NULL ? pgc_fail_child(run, &child) :
	    done_json(run, json_integer(strtol(child.result, NULL, 10) + 10));
}

int
main(int argc, char **argv)
{
	static const struct { const char *name; pgc_task_fn *fn; } tasks[] = {
		{ "steps", steps }, { "sleep", sleeps }, { "parent", parent }, { "many", many }, { "leaf", leaf }, { "tree", tree },
		{ "twice", twice }, { "loop", loop }, { "cancel", cancel }, { "start", start }, { "hang", hang },
		{ "flow", flow }, { "keep", keep }, { "flaky", flaky }, { "keyless", keyless }, { "fruit", fruit }, { "ten", ten },
		{ "double", doubles },
	};
	const char *options = getenv("DURABLE_OPTIONS"), *concurrency = getenv("DURABLE_CONCURRENCY");
	struct pgc *c = pgc_new();
	int status;

	for (size_t i = 0; i < sizeof(tasks) / sizeof(tasks[0]); i++)
		pgc_task_with(c, tasks[i].name, NULL, options, tasks[i].fn, NULL);
	pgc_task_with(c, "far", "other", options, leaf, NULL);
	pgc_task_with(c, "once", NULL, "{\"max_attempts\": 1}", steps, NULL);
	pgc_task_with(c, "brief", NULL, "{\"total_timeout\": \"700ms\"}", loop, NULL);
	pgc_task_with(c, "nap", NULL, "{\"total_timeout\": \"700ms\"}", sleeps, NULL);
	if (concurrency != NULL)
		pgc_set_credit(c, (unsigned)atoi(concurrency));
	if (getenv("DURABLE_BEAT") != NULL)
		pgc_set_beat(c, (unsigned)atoi(getenv("DURABLE_BEAT")));
	status = pgc_serve(c, argc, argv);
	pgc_free(c);
	return status;
}
