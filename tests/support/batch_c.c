/*
 * Tasks that take several executions at once, on libpgconductor; batch_python.py and batch_node.mjs have the same, see
 * tests/integration/test_batch_languages.py.
 *
 * sum		of {"n": n}: {"n": n, "of": how many came together}; with "fail" it fails with that message, and "for_good"
 * short	answers all but the last, and returns what it may not
 * lasting	tries to save a step
 * wait		until all of them are told to stop
 */
#include "program.h"

static char *
ids_of(struct pgc_run **runs, size_t n)
{
	static char ids[1024];

	ids[0] = '\0';
	for (size_t i = 0; i < n; i++)
		snprintf(ids + strlen(ids), sizeof(ids) - strlen(ids), "%s%s", i > 0 ? " " : "", pgc_id(runs[i]));
	return ids;
}

static void
one(struct pgc_run *run, size_t of)
{
	json_t *payload = payload_of(run);
	struct pgc_failure failure = PGC_FAILURE;

	failure.message = json_string_value(json_object_get(payload, "fail"));
	failure.for_good = json_is_true(json_object_get(payload, "for_good"));
	if (failure.message != NULL)
		pgc_fail_with(run, &failure);
	else
		done_json(run, json_pack("{s:O, s:i}", "n", json_object_get(payload, "n"), "of", (int)of));
	json_decref(payload);
}

static int
sum(struct pgc_run **runs, size_t n, void *arg)
{
	const char *ids = ids_of(runs, n);

	(void)arg;
	for (size_t i = 0; i < n; i++)
		enter(runs[i], "start", ids);
	for (size_t i = 0; i < n; i++)
		one(runs[i], n);
	return 0;
}

static int
too_few(struct pgc_run **runs, size_t n, void *arg)
{
	(void)arg;
	for (size_t i = 0; i + 1 < n; i++)
		pgc_done(runs[i], "true");
	return 7;
}

static int
lasting(struct pgc_run **runs, size_t n, void *arg)
{
	(void)arg;
	for (size_t i = 0; i < n; i++)
		pgc_save_now(runs[i], "step", "1");
	return 0;
}

static int
wait_for_it(struct pgc_run **runs, size_t n, void *arg)
{
	(void)arg;
	for (size_t i = 0; i < n; i++)
		enter(runs[i], "start", ids_of(runs, n));
	for (size_t i = 0; i < n; i++)
		while (pgc_cancelled(runs[i]) == NULL)
			usleep(2000);
	for (size_t i = 0; i < n; i++)
		pgc_fail(runs[i], pgc_cancelled(runs[i]));
	return 0;
}

int
main(int argc, char **argv)
{
	static const char once[] = "{\"max_attempts\": 1}", again[] = "{\"backoff\": \"1ms\"}";
	struct pgc *c = pgc_new();
	int status;

	pgc_batch_with(c, "sum", NULL, again, 3, 1000, sum, NULL);
	pgc_batch_with(c, "short", NULL, once, 3, 60000, too_few, NULL);
	pgc_batch_with(c, "lasting", NULL, once, 2, 60000, lasting, NULL);
	pgc_batch_with(c, "wait", NULL, once, 2, 60000, wait_for_it, NULL);
	status = pgc_serve(c, argc, argv);
	pgc_free(c);
	return status;
}
