/*
 * Choosing executions by what they have in common: for list, cancel, retry, edit, move and discard. Private to cli/.
 */
#ifndef CLI_FILTER_H
#define CLI_FILTER_H

#include <stdbool.h>
#include <stddef.h>

#include "cli/cli.h"

struct filter {
	const char	*task;
	const char	*queue;
	const char	*state;		/* one or several, "failed,cancelled"; NULL: any */
	const char	*after;		/* a time, or a duration */
	const char	*before;	/* likewise */
	const char	*error;		/* part of its text */
	const char	*key;		/* of a task that has keys */
	struct cli_values metadata;	/* k=v each */
	bool		 discarded;	/* those too */
	const char	*part;		/* "finished", "unfinished" or NULL: both */
	char		*states;	/* as an array of PostgreSQL */
	char		*keys, *values;	/* likewise, of metadata */
	char		 after_ago[48], before_ago[48];
};

/* The options that fill in a filter; --state takes what the command calls its states. */
#define FILTER_OPTIONS(f) \
	{ "task", 0, CLI_TEXT, &(f).task, "TASK", "of this task" }, \
	{ "queue", 0, CLI_TEXT, &(f).queue, "Q", "in this queue" }, \
	{ "state", 0, CLI_LIST, &(f).state, "STATE", "in this state, or in one of several: a,b" }, \
	{ "after", 0, CLI_TEXT, &(f).after, "T", "created at this time or later, or not longer ago than a duration" }, \
	{ "before", 0, CLI_TEXT, &(f).before, "T", "created before this time, or longer ago than a duration" }, \
	{ "error", 0, CLI_TEXT, &(f).error, "TEXT", "with this text in the error, in capitals or not" }, \
	{ "key", 0, CLI_TEXT, &(f).key, "KEY", "of this key, where a task's executions have keys" }, \
	{ "metadata", 0, CLI_EACH, &(f).metadata, "K=V", "with this in its metadata; of several, all of it" }
#define FILTER_ARGUMENTS "[--task TASK] [--queue Q] [--state STATE] [--after T] [--before T] [--error TEXT] [--key KEY] [--metadata K=V]"

/*
 * A condition on executions_all with parameters $1 to $13. Asking whether finished_at is null lets PostgreSQL leave out
 * the whole history, or all unfinished ones.
 */
#define FILTER_SQL \
	"($1::text is null or task = $1) and ($2::text is null or queue = $2) and ($3::text[] is null or state = any ($3))" \
	" and ($4::timestamptz is null or created_at >= $4) and ($5::interval is null or created_at >= now() - $5::interval)" \
	" and ($6::timestamptz is null or created_at < $6) and ($7::interval is null or created_at < now() - $7::interval)" \
	" and ($8::text is null or position(lower($8) in lower(error::text)) > 0)" \
	" and ($10::text[] is null or pgconductor.has_metadata(metadata, $10, $11::text[]))" \
	" and ($12::boolean or discarded_at is null) and ($13::text is null or key = $13)" \
	" and case $9::text when 'finished' then finished_at is not null when 'unfinished' then finished_at is null else true end"
#define FILTER_PARAMS 13

bool	filter_given(const struct filter *);
/* Exits if one of the states is none of the command's. */
void	filter_check(const struct filter *);
/*
 * Once that was checked, fills in the first FILTER_PARAMS of params, which point into the
 * filter. Exits when something makes no sense.
 */
void	filter_params(struct filter *, const char **params);

#endif
