/*
 * Choosing executions by what they have in common. The cli process only.
 */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/filter.h"
#include "common/buf.h"
#include "common/duration.h"

bool
filter_given(const struct filter *f)
{
	return f->task != NULL || f->queue != NULL || f->state != NULL || f->after != NULL || f->before != NULL ||
	    f->error != NULL || f->key != NULL || f->metadata.n != 0;
}

static bool
is_word(const char *list, const char *s, size_t len)
{
	size_t n;

	for (; *list != '\0'; list += n + strspn(list + n, " ")) {
		n = strcspn(list, " ");
		if (n == len && strncmp(list, s, n) == 0)
			return true;
	}
	return false;
}

static void
wrong_state(const char *s, size_t len)
{
	struct buf list;

	buf_init(&list);
	for (const char *p = cli_current->states; *p != '\0'; p++)
		buf_addf(&list, *p == ' ' ? ", " : "%c", *p);
	cli_usage("--state: \"%.*s\" is none of %s", (int)len, s, buf_steal_str(&list));
}

void
filter_check(const struct filter *f)
{
	size_t n;

	for (const char *s = f->state; s != NULL; s = s[n] == ',' ? s + n + 1 : NULL) {
		n = strcspn(s, ",");
		if (!is_word(cli_current->states, s, n))
			wrong_state(s, n);
	}
}

/* Makes the array; says in which part of executions_all its states are. */
static void
add_states(struct filter *f)
{
	struct buf array;
	size_t n, finished = 0, all = 0;
	const char *s = f->state;

	buf_init(&array);
	for (; s != NULL; s = s[n] == ',' ? s + n + 1 : NULL) {
		n = strcspn(s, ",");
		buf_addf(&array, "%c%.*s", all++ == 0 ? '{' : ',', (int)n, s);
		finished += is_word("completed failed cancelled", s, n);
	}
	buf_addstr(&array, "}");
	f->states = buf_steal_str(&array);
	if (finished == 0 || finished == all)
		f->part = finished == all ? "finished" : "unfinished";
}

/* A time as it is, or how long ago. */
static void
add_time(const char *value, char *ago, size_t size, const char **params)
{
	int64_t ms;

	params[0] = params[1] = NULL;
	if (value != NULL && duration_parse(value, &ms) == 0) {
		snprintf(ago, size, "%" PRId64 " milliseconds", ms);
		params[1] = ago;
	} else {
		params[0] = value;
	}
}

/* An element of an array, in quotes. */
static void
add_element(struct buf *array, const char *s, size_t len)
{
	buf_addstr(array, array->len == 1 ? "\"" : ",\"");
	for (size_t i = 0; i < len; i++)
		buf_addf(array, s[i] == '"' || s[i] == '\\' ? "\\%c" : "%c", s[i]);
	buf_addstr(array, "\"");
}

static void
add_metadata(struct filter *f)
{
	struct buf keys, values;

	buf_init(&keys);
	buf_init(&values);
	buf_addstr(&keys, "{");
	buf_addstr(&values, "{");
	for (size_t i = 0; i < f->metadata.n; i++) {
		const char *pair = f->metadata.v[i], *equals = strchr(pair, '=');

		if (equals == NULL || equals == pair)
			cli_usage("--metadata: \"%s\" is not of the form K=V", pair);
		add_element(&keys, pair, (size_t)(equals - pair));
		add_element(&values, equals + 1, strlen(equals + 1));
	}
	buf_addstr(&keys, "}");
	buf_addstr(&values, "}");
	f->keys = buf_steal_str(&keys);
	f->values = buf_steal_str(&values);
}

void
filter_params(struct filter *f, const char **params)
{
	if (f->state != NULL)
		add_states(f);
	params[0] = f->task;
	params[1] = f->queue;
	params[2] = f->states;
	add_time(f->after, f->after_ago, sizeof(f->after_ago), params + 3);
	add_time(f->before, f->before_ago, sizeof(f->before_ago), params + 5);
	params[7] = f->error;
	params[8] = f->part;
	if (f->metadata.n != 0)
		add_metadata(f);
	params[9] = f->keys;
	params[10] = f->values;
	params[11] = f->discarded ? "true" : "false";
	params[12] = f->key;
}
