/*
 * JSON Schema, draft 2020-12: a schema is compiled once, then JSON texts are held against it. Worker and command line.
 *
 * All keywords of the draft are heeded, and nothing is ever fetched: what a reference names must be in the schema itself, or
 * be handed over by its user. Schemas are not trusted, nor is what is held against them: depth, size, time and regular
 * expressions have limits, and what is beyond them is refused with a reason. docs/schemas.md says what is special.
 */
#ifndef COMMON_SCHEMA_SCHEMA_H
#define COMMON_SCHEMA_SCHEMA_H

#include <stdbool.h>
#include <stddef.h>

#define SCHEMA_BYTES	(1u << 20)	/* of a schema's text, each document of it */
#define SCHEMA_WHY	512		/* bytes for a reason */

struct schema;
struct value;

struct schema_options {
	const char	*base;		/* the URI of the schema's own document; NULL: it has none */
	bool		 plain_formats;	/* "format" is a remark, as the draft has it by default, and is not checked */
	/*
	 * The document of a URI (without fragment) that a reference names and that is not there yet: text that the
	 * callee keeps until the schema is freed; NULL: there is none. May be NULL.
	 */
	const char	*(*find)(void *arg, const char *uri, size_t *len);
	void		*arg;
};

/* NULL when it cannot be used, with the reason: "/properties/age/type: …". options may be NULL. */
struct schema *schema_compile(const char *text, size_t len, const struct schema_options *, char why[SCHEMA_WHY]);
void	schema_free(struct schema *);

/*
 * Whether a text complies. If not, the reason is in why: "/items/3/price: is a string, not a number", or without a pointer when
 * it is the whole.
 */
bool	schema_check(struct schema *, const char *text, size_t len, char why[SCHEMA_WHY]);
/* The same of a value, see value.h. */
bool	schema_check_value(struct schema *, const struct value *, char why[SCHEMA_WHY]);

#endif
