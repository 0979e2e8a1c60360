/*
 * What the compiler of schemas and the check share. Private to this folder.
 *
 * Each schema of a schema, the booleans included, is one rule. Rules and all they point to lie in the memory of the schema's
 * trees, but for patterns.
 */
#ifndef COMMON_SCHEMA_INTERNAL_H
#define COMMON_SCHEMA_INTERNAL_H

#include "common/schema/format.h"
#include "common/schema/pattern.h"
#include "common/schema/schema.h"
#include "common/schema/value.h"

#define DRAFT "https://json-schema.org/draft/2020-12/"

enum {
	TYPE_NULL = 1 << 0,
	TYPE_BOOLEAN = 1 << 1,
	TYPE_INTEGER = 1 << 2,
	TYPE_NUMBER = 1 << 3,
	TYPE_STRING = 1 << 4,
	TYPE_ARRAY = 1 << 5,
	TYPE_OBJECT = 1 << 6
};

struct rule;

struct anchor {
	struct anchor		*next;
	const struct value	*name;
	struct rule		*rule;
	bool			 dynamic;
};

/* A schema with a URI of its own, and what is in it up to the next one. */
struct resource {
	struct resource	*next;
	char		*uri;		/* "": it has none */
	char		*also;		/* where it was found, when $id says otherwise; or NULL */
	struct value	*at;
	struct anchor	*anchors;
	bool		 validation;	/* what its $schema says: keywords as type count */
	bool		 formats;	/* format is checked */
};

struct rules {
	struct rule	**v;
	uint32_t	  n;
};

struct property {			/* sorted by key */
	const struct value	*key;
	struct rule		*rule;
};

struct properties {
	struct property	*v;
	uint32_t	 n;
};

struct patterned {
	struct pattern	*pattern;
	struct rule	*rule;
};

struct rule {
	struct resource		*resource;
	bool			 never;		/* false */
	bool			 unique;
	unsigned		 types;		/* 0: any */
	const struct value	*constant;
	const struct value	*choices;	/* of enum */
	uint64_t		*choice_hashes;
	const struct value	*minimum, *maximum, *exclusive_minimum, *exclusive_maximum, *multiple_of;
	uint32_t		 min_length, max_length, min_items, max_items, min_properties, max_properties;
	uint32_t		 min_contains, max_contains;
	struct pattern		*pattern;
	const struct format	*format;
	const struct value	*required;		/* an array */
	const struct value	*dependent_required;	/* an object of arrays */
	struct rules		 all_of, any_of, one_of, prefix_items;
	struct rule		*not_rule, *if_rule, *then_rule, *else_rule;
	struct rule		*items, *contains, *unevaluated_items;
	struct rule		*additional_properties, *property_names, *unevaluated_properties;
	struct properties	 properties, dependent_schemas;
	struct patterned	*patterns;
	uint32_t		 patterns_n;
	struct rule		*ref, *dynamic_ref;
	const struct value	*dynamic_name;	/* the anchor to look for among those who have led here; NULL: dynamic_ref it is */
};

struct held {				/* a pattern, to be freed */
	struct held	*next;
	struct pattern	*pattern;
};

struct schema {
	struct values	 *trees;	/* its documents, and all that is made of them */
	struct values	 *scratch;	/* what is being checked */
	struct resource	 *resources;
	unsigned	  resources_n;
	struct rule	**rules;	/* by the mark of their value, less 1 */
	size_t		  rules_n, rules_cap;
	struct rule	 *root;
	struct held	 *held;
};

/* The rule of a key; NULL: there is none. */
struct rule *properties_find(const struct properties *, const struct value *key);

/* ---- keywords.c, compile.c ---- */

struct pending;

struct compiler {
	struct schema			*schema;
	const struct schema_options	*options;
	struct pending			*pending, **pending_end;
	char				*path;		/* of what is being compiled, for messages */
	size_t				 path_len;
	char				*why;		/* SCHEMA_WHY bytes; empty: nothing is wrong */
};

#define COMPILE_PATH	400

/* The first reason stays. */
void	compile_fail(struct compiler *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Deeper by a key or an index; compile_leave goes back to what was returned. */
size_t	compile_enter(struct compiler *, const char *key, size_t len);
void	compile_leave(struct compiler *, size_t);
/* NULL when it fails. */
struct rule *compile_rule(struct compiler *, struct value *, struct resource *);
/* $ref and $dynamicRef, to be looked up when all is compiled. */
void	compile_later(struct compiler *, struct rule *, const struct value *, bool dynamic);
void	*compile_alloc(struct compiler *, size_t n, size_t size);
struct pattern *compile_pattern(struct compiler *, const struct value *);
/* All keywords of an object but those that say who it is. */
void	keywords_read(struct compiler *, struct rule *, struct value *);

/* ---- draft.c: the draft's schema of schemas ---- */

extern const char schema_of_schemas[];

#endif
