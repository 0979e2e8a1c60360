/*
 * The task @TASK@.
 *
 *	cc -o @BASE@ @FILE@ $(pkg-config --cflags --libs pgconductor jansson)
 *	pgconductor dev --watch -- ./@BASE@
 *	pgconductor invoke @TASK@ '{"name": "Ann"}' --wait
 */
#include <jansson.h>
#include <stdlib.h>

#include <pgconductor.h>

static int
run(struct pgc_run *run, void *arg)
{
	json_t *payload, *result;
	const char *name;
	char *text;

	(void)arg;
	payload = json_loadb(pgc_payload(run), pgc_payload_len(run), 0, NULL);
	name = json_string_value(json_object_get(payload, "name"));
	if (name == NULL) {
		json_decref(payload);
		return pgc_fail(run, "the payload has no name");
	}
	result = json_sprintf("Hello, %s!", name);
	text = json_dumps(result, JSON_ENCODE_ANY);
	pgc_log(run, "info", "greeted", NULL);
	pgc_done(run, text);
	free(text);
	json_decref(result);
	json_decref(payload);
	return 0;
}

int
main(int argc, char **argv)
{
	struct pgc *c = pgc_new();
	int status;

	pgc_task(c, "@TASK@", run, NULL);
	status = pgc_serve(c, argc, argv);
	pgc_free(c);
	return status;
}
