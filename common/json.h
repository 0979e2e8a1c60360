/*
 * JSON text: a syntax check that takes exactly what PostgreSQL's json type takes, and quoting. Any process.
 */
#ifndef COMMON_JSON_H
#define COMMON_JSON_H

#include <stddef.h>

struct buf;

#define JSON_MAX_DEPTH	10000

/*
 * Checks that this is one JSON value, as the type json accepts it in a database of encoding UTF8: raw control
 * characters refused, \u0000, lone surrogates, numbers of any size and duplicate keys accepted. Deeper nesting than
 * JSON_MAX_DEPTH is refused too: PostgreSQL's own limit depends on its stack. 0, or -1 with the offset of the fault
 * in *err_at and the reason in *why (a constant); either may be NULL.
 */
int	json_check(const char *s, size_t len, size_t *err_at, const char **why);

/* Appends text as a JSON string. What is not UTF-8 becomes U+FFFD, so the result is always valid. */
void	json_quote(struct buf *, const char *, size_t len);

#endif
