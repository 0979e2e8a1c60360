/*
 * The first task, in C: "greet" takes {"name": "World"} and returns {"text": "Hello, World!"}.
 */
#include <jansson.h>
#include <stdlib.h>

#include <pgconductor.h>

static int
greet(struct pgc_run *run, void *arg)
{
	struct pgc_failure no_name = PGC_FAILURE;
	const char *name;
	json_t *payload, *result;
	char *text;

	(void)arg;
	payload = json_loadb(pgc_payload(run), pgc_payload_len(run), 0, NULL);
	name = json_string_value(json_object_get(payload, "name"));
	if (name == NULL) {
		json_decref(payload);
		no_name.code = "bad_payload";
		no_name.message = "the payload must be an object with a string \"name\"";
		no_name.for_good = true;
		return pgc_fail_with(run, &no_name);
	}
	result = json_pack("{s: s++}", "text", "Hello, ", name, "!");
	text = json_dumps(result, 0);
	pgc_log(run, "info", "greeted somebody", NULL);
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

	pgc_task(c, "greet", greet, NULL);
	status = pgc_serve(c, argc, argv);
	pgc_free(c);
	return status;
}
