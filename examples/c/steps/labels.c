/*
 * A task of two steps and a pause, in C: labels takes ["apple", "banana"] and returns "2 labels: APPLE, BANANA". It is run from its
 * top each time; a step that was done is not done again. Kill any process of this meanwhile, or all of them and start them again,
 * and it goes on.
 */
#include <ctype.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <pgconductor.h>

/* A list of texts, in capitals. */
static json_t *
print(const json_t *fruits)
{
	json_t *labels = json_array();
	char *label;

	for (size_t i = 0; i < json_array_size(fruits); i++) {
		label = strdup(json_string_value(json_array_get(fruits, i)));
		for (char *p = label; *p != '\0'; p++)
			*p = (char)toupper((unsigned char)*p);
		json_array_append_new(labels, json_string(label));
		free(label);
	}
	return labels;
}

/* How many, and which. */
static json_t *
store(const json_t *labels)
{
	json_t *all = json_sprintf("%zu labels: ", json_array_size(labels)), *longer;

	for (size_t i = 0; i < json_array_size(labels); i++) {
		longer = json_sprintf("%s%s%s", json_string_value(all), i > 0 ? ", " : "",
		    json_string_value(json_array_get(labels, i)));
		json_decref(all);
		all = longer;
	}
	return all;
}

/* What is saved under the key; else does it, and saves that. NULL: this run is over. */
static json_t *
step(struct pgc_run *run, const char *key, json_t *(*make)(const json_t *), const json_t *input)
{
	const char *saved = pgc_saved(run, key);
	json_t *made;
	char *text;
	int over;

	if (saved != NULL)
		return json_loads(saved, JSON_DECODE_ANY, NULL);
	made = make(input);
	text = json_dumps(made, JSON_ENCODE_ANY);
	over = pgc_save_now(run, key, text);
	free(text);
	if (over == 0)
		return made;
	json_decref(made);
	return NULL;
}

static bool
are_texts(const json_t *list)
{
	for (size_t i = 0; i < json_array_size(list); i++)
		if (!json_is_string(json_array_get(list, i)))
			return false;
	return json_is_array(list);
}

static int
finish(struct pgc_run *run, const json_t *result)
{
	char *text = json_dumps(result, JSON_ENCODE_ANY);
	int over = pgc_done(run, text);

	free(text);
	return over;
}

static int
labels(struct pgc_run *run, void *arg)
{
	struct pgc_failure no_texts = PGC_FAILURE;
	json_t *fruits = json_loadb(pgc_payload(run), pgc_payload_len(run), 0, NULL), *texts, *all = NULL;
	int over = PGC_OVER;

	(void)arg;
	if (!are_texts(fruits)) {
		json_decref(fruits);
		no_texts.code = "bad_payload";
		no_texts.message = "the payload must be a list of texts";
		no_texts.for_good = true;
		return pgc_fail_with(run, &no_texts);
	}
	texts = step(run, "print", print, fruits);
	/* A row in the database meanwhile, and nothing else. */
	if (texts != NULL && pgc_sleep(run, "dry", 1000) == 0 && (all = step(run, "store", store, texts)) != NULL)
		over = finish(run, all);
	json_decref(all);
	json_decref(texts);
	json_decref(fruits);
	return over;
}

int
main(int argc, char **argv)
{
	struct pgc *c = pgc_new();
	int status;

	pgc_task(c, "labels", labels, NULL);
	status = pgc_serve(c, argc, argv);
	pgc_free(c);
	return status;
}
