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
	return f->task != NULL || f->queue != NULL || f->state != NULL || f->before != NULL;
}

static bool
is_finished(const char *state)
{
	return strcmp(state, "completed") == 0 || strcmp(state, "failed") == 0 || strcmp(state, "cancelled") == 0;
}

void
filter_check_state(const struct filter *f, const char *const *states)
{
	struct buf list;

	if (f->state == NULL)
		return;
	buf_init(&list);
	for (size_t i = 0; states[i] != NULL; i++) {
		if (strcmp(states[i], f->state) == 0) {
			buf_free(&list);
			return;
		}
		buf_addf(&list, "%s%s", i > 0 ? ", " : "", states[i]);
	}
	cli_usage("--state: \"%s\" is none of %s", f->state, buf_steal_str(&list));
}

void
filter_params(struct filter *f, const char **params)
{
	int64_t ms;

	if (f->state != NULL)
		f->part = is_finished(f->state) ? "finished" : "unfinished";
	params[0] = f->task;
	params[1] = f->queue;
	params[2] = f->state;
	params[3] = params[4] = NULL;
	if (f->before != NULL && duration_parse(f->before, &ms) == 0) {
		snprintf(f->ago, sizeof(f->ago), "%" PRId64 " milliseconds", ms);
		params[4] = f->ago;
	} else {
		params[3] = f->before;
	}
	params[5] = f->part;
}
