/*
 * Cron expressions: whether one is right, before the database is asked. What it means, the database alone knows
 * (pgconductor.parse_cron). Any process; no state.
 */
#ifndef COMMON_CRON_H
#define COMMON_CRON_H

/* NULL, or what is wrong with it and in which field, which the caller frees. */
char	*cron_check(const char *expression);

#endif
