/*
 * Choosing executions by what they have in common: for cancel, retry and list. Private to cli/.
 */
#ifndef CLI_FILTER_H
#define CLI_FILTER_H

#include <stdbool.h>
#include <stddef.h>

struct filter {
	const char	*task;
	const char	*queue;
	const char	*state;		/* NULL: any */
	const char	*before;	/* a time, or a duration */
	const char	*part;		/* "finished", "unfinished" or NULL: both */
	char		 ago[48];
};

/*
 * A condition on executions_all with parameters $1 to $6. Asking whether finished_at is null lets PostgreSQL leave out
 * the whole history, or all unfinished ones.
 */
#define FILTER_SQL \
	"($1::text is null or task = $1) and ($2::text is null or queue = $2) and ($3::text is null or state = $3)" \
	" and ($4::timestamptz is null or created_at < $4) and ($5::interval is null or created_at < now() - $5::interval)" \
	" and case $6::text when 'finished' then finished_at is not null when 'unfinished' then finished_at is null else true end"
#define FILTER_PARAMS 6

bool	filter_given(const struct filter *);
/* Fills in the first FILTER_PARAMS of params, which point into the filter; exits when something makes no sense. */
void	filter_params(struct filter *, const char **params);
/* The state must be one of these, NULL at the end. */
void	filter_check_state(const struct filter *, const char *const *states);

#endif
