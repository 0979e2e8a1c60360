/*
 * What each keyword of a schema becomes. Any process. A keyword is declared here and nowhere else: its name, what reads it, and
 * where in a rule it is kept. Those that are not here say something to people, and change nothing.
 */
#include "config.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/schema/internal.h"

struct keyword {
	const char	*name;
	bool		 validation;	/* of the vocabulary that a $schema may leave out */
	void		(*read)(struct compiler *, struct rule *, struct value *, void *field);
	size_t		 field;
};

static const char *const type_names[] = { "null", "boolean", "integer", "number", "string", "array", "object" };

#define TYPES_N (sizeof(type_names) / sizeof(type_names[0]))

static bool
expect(struct compiler *c, const struct value *v, enum value_type type, const char *what)
{
	if (v->type == type)
		return true;
	compile_fail(c, "is not %s", what);
	return false;
}

/* ---- assertions ---- */

static void
add_type(struct compiler *c, struct rule *r, const struct value *name)
{
	for (size_t i = 0; i < TYPES_N; i++)
		if (value_is(name, type_names[i])) {
			r->types |= 1u << i;
			return;
		}
	compile_fail(c, "is none of null, boolean, integer, number, string, array and object");
}

static void
read_type(struct compiler *c, struct rule *r, struct value *v, void *field)
{
	(void)field;
	if (v->type != VALUE_ARRAY)
		add_type(c, r, v);
	else if (v->n == 0)
		compile_fail(c, "is empty");
	for (uint32_t i = 0; v->type == VALUE_ARRAY && i < v->n; i++)
		add_type(c, r, &v->items[i]);
}

static void
read_enum(struct compiler *c, struct rule *r, struct value *v, void *field)
{
	uint64_t cost = 0;

	(void)field;
	if (!expect(c, v, VALUE_ARRAY, "an array"))
		return;
	r->choices = v;
	r->choice_hashes = compile_alloc(c, v->n, sizeof(*r->choice_hashes));
	for (uint32_t i = 0; i < v->n; i++)
		r->choice_hashes[i] = value_hash(&v->items[i], &cost);
}

static void
read_value(struct compiler *c, struct rule *r, struct value *v, void *field)
{
	(void)c;
	(void)r;
	*(const struct value **)field = v;
}

static void
read_number(struct compiler *c, struct rule *r, struct value *v, void *field)
{
	(void)r;
	if (expect(c, v, VALUE_NUMBER, "a number"))
		*(const struct value **)field = v;
}

static void
read_divisor(struct compiler *c, struct rule *r, struct value *v, void *field)
{
	read_number(c, r, v, field);
	if (v->type == VALUE_NUMBER && !number_divides(v))
		compile_fail(c, "is not a number above 0 of at most 18 digits");
}

static void
read_count(struct compiler *c, struct rule *r, struct value *v, void *field)
{
	(void)r;
	if (v->type != VALUE_NUMBER || !number_count(v, field))
		compile_fail(c, "is not a whole number from 0 on");
}

static void
read_flag(struct compiler *c, struct rule *r, struct value *v, void *field)
{
	(void)r;
	if (v->type != VALUE_TRUE && v->type != VALUE_FALSE)
		compile_fail(c, "is neither true nor false");
	*(bool *)field = v->type == VALUE_TRUE;
}

static void
read_pattern(struct compiler *c, struct rule *r, struct value *v, void *field)
{
	(void)r;
	if (expect(c, v, VALUE_STRING, "a string"))
		*(struct pattern **)field = compile_pattern(c, v);
}

static void
read_format(struct compiler *c, struct rule *r, struct value *v, void *field)
{
	if (expect(c, v, VALUE_STRING, "a string") && r->resource->formats)
		*(const struct format **)field = format_find(v->text, v->n);
}

static bool
is_names(struct compiler *c, const struct value *v)
{
	if (!expect(c, v, VALUE_ARRAY, "an array"))
		return false;
	for (uint32_t i = 0; i < v->n; i++)
		if (!expect(c, &v->items[i], VALUE_STRING, "an array of strings"))
			return false;
	return true;
}

static void
read_names(struct compiler *c, struct rule *r, struct value *v, void *field)
{
	(void)r;
	if (is_names(c, v))
		*(const struct value **)field = v;
}

static void
read_dependent_names(struct compiler *c, struct rule *r, struct value *v, void *field)
{
	(void)r;
	if (!expect(c, v, VALUE_OBJECT, "an object"))
		return;
	for (uint32_t i = 0; i < v->n; i++)
		if (!is_names(c, &v->members[i].value))
			return;
	*(const struct value **)field = v;
}

/* ---- schemas in schemas ---- */

static void
read_rule(struct compiler *c, struct rule *r, struct value *v, void *field)
{
	*(struct rule **)field = compile_rule(c, v, r->resource);
}

static void
read_items(struct compiler *c, struct rule *r, struct value *v, void *field)
{
	if (v->type == VALUE_ARRAY)
		compile_fail(c, "is an array, as in older drafts: it is prefixItems now, and what follows those is items");
	else
		read_rule(c, r, v, field);
}

static void
read_rules(struct compiler *c, struct rule *r, struct value *v, void *field)
{
	struct rules *list = field;
	char index[16];
	size_t back;

	if (!expect(c, v, VALUE_ARRAY, "an array"))
		return;
	if (v->n == 0)
		compile_fail(c, "is empty");
	list->n = v->n;
	list->v = compile_alloc(c, v->n, sizeof(*list->v));
	for (uint32_t i = 0; i < v->n && *c->why == '\0'; i++) {
		back = compile_enter(c, index, (size_t)snprintf(index, sizeof(index), "%u", i));
		list->v[i] = compile_rule(c, &v->items[i], r->resource);
		compile_leave(c, back);
	}
}

static void
read_properties(struct compiler *c, struct rule *r, struct value *v, void *field)
{
	struct properties *p = field;
	size_t back;

	if (!expect(c, v, VALUE_OBJECT, "an object"))
		return;
	p->n = v->n;
	p->v = compile_alloc(c, v->n, sizeof(*p->v));
	for (uint32_t i = 0; i < v->n && *c->why == '\0'; i++) {
		struct member *m = &v->members[i];

		back = compile_enter(c, m->key.text, m->key.n);
		p->v[i].key = &m->key;
		p->v[i].rule = compile_rule(c, &m->value, r->resource);
		compile_leave(c, back);
	}
}

/* $defs: only to be referred to. */
static void
read_definitions(struct compiler *c, struct rule *r, struct value *v, void *field)
{
	struct properties unused;

	(void)field;
	read_properties(c, r, v, &unused);
}

static void
read_patterns(struct compiler *c, struct rule *r, struct value *v, void *field)
{
	size_t back;

	(void)field;
	if (!expect(c, v, VALUE_OBJECT, "an object"))
		return;
	r->patterns_n = v->n;
	r->patterns = compile_alloc(c, v->n, sizeof(*r->patterns));
	for (uint32_t i = 0; i < v->n && *c->why == '\0'; i++) {
		struct member *m = &v->members[i];

		back = compile_enter(c, m->key.text, m->key.n);
		r->patterns[i].pattern = compile_pattern(c, &m->key);
		r->patterns[i].rule = compile_rule(c, &m->value, r->resource);
		compile_leave(c, back);
	}
}

static void
read_ref(struct compiler *c, struct rule *r, struct value *v, void *field)
{
	if (expect(c, v, VALUE_STRING, "a string"))
		compile_later(c, r, v, field == &r->dynamic_ref);
}

/* They meant something in older drafts, and would be taken for a remark in this one. */
static void
read_former(struct compiler *c, struct rule *r, struct value *v, void *field)
{
	(void)r;
	(void)v;
	(void)field;
	compile_fail(c, "is a keyword of an older draft; this is draft 2020-12");
}

#define RULE(field) offsetof(struct rule, field)

/* By name. */
static const struct keyword keywords[] = {
	{ "$defs", false, read_definitions, 0 },
	{ "$dynamicRef", false, read_ref, RULE(dynamic_ref) },
	{ "$recursiveAnchor", false, read_former, 0 },
	{ "$recursiveRef", false, read_former, 0 },
	{ "$ref", false, read_ref, RULE(ref) },
	{ "additionalItems", false, read_former, 0 },
	{ "additionalProperties", false, read_rule, RULE(additional_properties) },
	{ "allOf", false, read_rules, RULE(all_of) },
	{ "anyOf", false, read_rules, RULE(any_of) },
	{ "const", true, read_value, RULE(constant) },
	{ "contains", false, read_rule, RULE(contains) },
	{ "definitions", false, read_definitions, 0 },
	{ "dependencies", false, read_former, 0 },
	{ "dependentRequired", true, read_dependent_names, RULE(dependent_required) },
	{ "dependentSchemas", false, read_properties, RULE(dependent_schemas) },
	{ "else", false, read_rule, RULE(else_rule) },
	{ "enum", true, read_enum, 0 },
	{ "exclusiveMaximum", true, read_number, RULE(exclusive_maximum) },
	{ "exclusiveMinimum", true, read_number, RULE(exclusive_minimum) },
	{ "format", false, read_format, RULE(format) },
	{ "if", false, read_rule, RULE(if_rule) },
	{ "items", false, read_items, RULE(items) },
	{ "maxContains", true, read_count, RULE(max_contains) },
	{ "maxItems", true, read_count, RULE(max_items) },
	{ "maxLength", true, read_count, RULE(max_length) },
	{ "maxProperties", true, read_count, RULE(max_properties) },
	{ "maximum", true, read_number, RULE(maximum) },
	{ "minContains", true, read_count, RULE(min_contains) },
	{ "minItems", true, read_count, RULE(min_items) },
	{ "minLength", true, read_count, RULE(min_length) },
	{ "minProperties", true, read_count, RULE(min_properties) },
	{ "minimum", true, read_number, RULE(minimum) },
	{ "multipleOf", true, read_divisor, RULE(multiple_of) },
	{ "not", false, read_rule, RULE(not_rule) },
	{ "oneOf", false, read_rules, RULE(one_of) },
	{ "pattern", true, read_pattern, RULE(pattern) },
	{ "patternProperties", false, read_patterns, 0 },
	{ "prefixItems", false, read_rules, RULE(prefix_items) },
	{ "properties", false, read_properties, RULE(properties) },
	{ "propertyNames", false, read_rule, RULE(property_names) },
	{ "required", true, read_names, RULE(required) },
	{ "then", false, read_rule, RULE(then_rule) },
	{ "type", true, read_type, 0 },
	{ "unevaluatedItems", false, read_rule, RULE(unevaluated_items) },
	{ "unevaluatedProperties", false, read_rule, RULE(unevaluated_properties) },
	{ "uniqueItems", true, read_flag, RULE(unique) },
};

static int
by_name(const void *key, const void *element)
{
	const struct value *k = key;
	const struct keyword *w = element;
	struct value name = { .type = VALUE_STRING, .n = (uint32_t)strlen(w->name), .text = w->name };

	return value_compare_text(k, &name);
}

void
keywords_read(struct compiler *c, struct rule *r, struct value *v)
{
	const struct keyword *w;
	size_t back;

	for (uint32_t i = 0; i < v->n && *c->why == '\0'; i++) {
		struct member *m = &v->members[i];

		w = bsearch(&m->key, keywords, sizeof(keywords) / sizeof(keywords[0]), sizeof(keywords[0]), by_name);
		if (w == NULL || (w->validation && !r->resource->validation))
			continue;
		back = compile_enter(c, m->key.text, m->key.n);
		w->read(c, r, &m->value, (char *)r + w->field);
		compile_leave(c, back);
	}
}
