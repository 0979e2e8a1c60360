/*
 * JSON text as a tree, of which nothing is lost: numbers stay as they are written, so that 2^63, 1e400 and 12.50 are what
 * they are; strings may hold NUL and lone surrogates. Takes what json_check takes. Any process.
 */
#ifndef COMMON_SCHEMA_VALUE_H
#define COMMON_SCHEMA_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VALUE_DEPTH	512		/* arrays and objects in each other */
#define VALUE_MOST	4000000		/* values in one text, at some hundred bytes of memory */

enum value_type { VALUE_NULL, VALUE_FALSE, VALUE_TRUE, VALUE_NUMBER, VALUE_STRING, VALUE_ARRAY, VALUE_OBJECT };

struct member;

struct value {
	uint32_t	type : 4;
	uint32_t	mark : 28;	/* whatever its owner wants; 0 */
	uint32_t	n;		/* bytes of a string or number, items, members */
	union {
		const char	*text;		/* a number as written, a string without its escapes; no NUL follows */
		struct value	*items;
		struct member	*members;	/* by key, each key once: of several the last one counts */
	};
};

struct member {
	struct value	key;
	struct value	value;
};

/* Trees and what belongs to them; their memory is used again after values_reset. */
struct values;

struct values *values_new(void);
void	values_free(struct values *);
void	values_reset(struct values *);
/* Memory that lives as long. */
void	*values_alloc(struct values *, size_t);

/*
 * The tree of a text, which must stay as it is for as long. NULL, with the reason in why (of size bytes), when it is not JSON
 * or beyond the limits above.
 */
struct value *values_parse(struct values *, const char *text, size_t len, char *why, size_t size);

/* NULL: it has no such member, or is not an object. */
struct value *value_get(const struct value *object, const char *key, size_t len);
struct value *value_member(const struct value *object, const char *key);
/* As JSON Schema sees it: 1 and 1.0 are equal, as are objects whose members are. */
bool	value_equal(const struct value *, const struct value *, uint64_t *cost);
/* Equal values have the same. Like the above it adds to cost what was looked at. */
uint64_t value_hash(const struct value *, uint64_t *cost);
int	value_compare_text(const struct value *, const struct value *);
bool	value_is(const struct value *, const char *text);

/* ---- number.c: decimal numbers of any size ---- */

/* -1, 0, 1 */
int	number_compare(const struct value *, const struct value *);
uint64_t number_hash(const struct value *);
bool	number_is_integer(const struct value *);
/* Of a divisor that number_divides says yes of. */
bool	number_is_multiple(const struct value *, const struct value *divisor);
/* Greater than 0, and of 18 digits at most. */
bool	number_divides(const struct value *);
/* As a whole number from 0 to UINT32_MAX, what is greater being that; false if it is none. */
bool	number_count(const struct value *, uint32_t *);

#endif
