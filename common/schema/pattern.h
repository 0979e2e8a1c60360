/*
 * Regular expressions as JSON Schema has them, ECMA-262's, on PCRE2. Any process.
 */
#ifndef COMMON_SCHEMA_PATTERN_H
#define COMMON_SCHEMA_PATTERN_H

#include <stdbool.h>
#include <stddef.h>

#define PATTERN_BYTES	4096

struct pattern;

enum pattern_match { PATTERN_NO, PATTERN_YES, PATTERN_TOO_COSTLY };

/* NULL with the reason. */
struct pattern *pattern_new(const char *text, size_t len, char *why, size_t size);
void	pattern_free(struct pattern *);
/* Whether it is found anywhere in it. Bounded in time and memory. */
enum pattern_match pattern_find(const struct pattern *, const char *text, size_t len);

#endif
