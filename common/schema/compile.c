/*
 * From the text of a schema to its rules. Any process.
 *
 * A first pass makes a rule of each schema it finds and notes who is called what; references are looked up when that is done,
 * as they may name what comes later, or another document, which is then compiled in its turn. All errors are told with the
 * pointer of the place.
 */
#include "config.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/schema/internal.h"
#include "common/schema/uri.h"
#include "common/xmalloc.h"

#define RESOURCES_MAX	1000
#define RULES_MAX	100000

struct pending {
	struct pending		*next;
	struct rule		*rule;
	const struct value	*text;
	bool			 dynamic;
	char			*path;
};

/* ---- messages ---- */

void
compile_fail(struct compiler *c, const char *fmt, ...)
{
	va_list ap;
	size_t n;

	if (*c->why != '\0')
		return;
	n = (size_t)snprintf(c->why, SCHEMA_WHY, "%.*s%s", (int)c->path_len, c->path, c->path_len > 0 ? ": " : "");
	va_start(ap, fmt);
	vsnprintf(c->why + n, SCHEMA_WHY - n, fmt, ap);
	va_end(ap);
}

size_t
compile_enter(struct compiler *c, const char *key, size_t len)
{
	size_t back = c->path_len;

	if (len > 0 && memchr(key, '\0', len) != NULL)
		len = 0;
	if (len < COMPILE_PATH - 1 - c->path_len)
		c->path_len += (size_t)snprintf(c->path + c->path_len, COMPILE_PATH - c->path_len, "/%.*s", (int)len, key);
	return back;
}

void
compile_leave(struct compiler *c, size_t back)
{
	c->path_len = back;
	c->path[back] = '\0';
}

/* ---- memory ---- */

void *
compile_alloc(struct compiler *c, size_t n, size_t size)
{
	void *p = values_alloc(c->schema->trees, n * size);

	memset(p, 0, n * size);
	return p;
}

static char *
keep_text(struct compiler *c, const char *text, size_t len)
{
	char *copy = values_alloc(c->schema->trees, len + 1);

	memcpy(copy, text, len);
	copy[len] = '\0';
	return copy;
}

static char *
keep_resolved(struct compiler *c, const char *base, const struct value *reference)
{
	char *uri = uri_resolve(base, reference->text, reference->n), *kept = keep_text(c, uri, strlen(uri));

	free(uri);
	return kept;
}

struct pattern *
compile_pattern(struct compiler *c, const struct value *v)
{
	struct held *held = compile_alloc(c, 1, sizeof(*held));
	char why[200];

	held->pattern = pattern_new(v->text, v->n, why, sizeof(why));
	if (held->pattern == NULL) {
		compile_fail(c, "is not a regular expression: %s", why);
		return NULL;
	}
	held->next = c->schema->held;
	c->schema->held = held;
	return held->pattern;
}

/* ---- documents and resources ---- */

static struct resource *
find_resource(const struct schema *s, const char *uri)
{
	for (struct resource *r = s->resources; r != NULL; r = r->next)
		if (strcmp(r->uri, uri) == 0 || (r->also != NULL && strcmp(r->also, uri) == 0))
			return r;
	return NULL;
}

static struct resource *
new_resource(struct compiler *c, char *uri, struct value *at, const struct resource *outer)
{
	struct resource *r;

	if (++c->schema->resources_n > RESOURCES_MAX)
		compile_fail(c, "there are more than %d schemas with an $id", RESOURCES_MAX);
	if (find_resource(c->schema, uri) != NULL)
		compile_fail(c, "there are two schemas that are called %s", *uri != '\0' ? uri : "nothing");
	r = compile_alloc(c, 1, sizeof(*r));
	r->uri = uri;
	r->at = at;
	r->validation = outer == NULL || outer->validation;
	r->formats = outer != NULL ? outer->formats : c->options == NULL || !c->options->plain_formats;
	r->next = c->schema->resources;
	c->schema->resources = r;
	return r;
}

/* What a $schema that is not the draft's own takes away from it, or adds. */
static void
read_vocabulary(struct compiler *c, struct resource *r, const struct value *vocabulary)
{
	static const char *const known[] = { "core", "applicator", "unevaluated", "validation", "meta-data", "format-annotation",
		"format-assertion", "content" };
	const size_t prefix = strlen(DRAFT "vocab/");
	bool validation = false;

	if (vocabulary == NULL || vocabulary->type != VALUE_OBJECT)
		return;
	for (uint32_t i = 0; i < vocabulary->n; i++) {
		const struct member *m = &vocabulary->members[i];
		bool is_known = false;

		for (size_t k = 0; k < sizeof(known) / sizeof(known[0]); k++)
			is_known |= m->key.n == prefix + strlen(known[k]) && memcmp(m->key.text, DRAFT "vocab/", prefix) == 0 &&
			    memcmp(m->key.text + prefix, known[k], strlen(known[k])) == 0;
		if (!is_known && m->value.type == VALUE_TRUE)
			compile_fail(c, "needs the vocabulary %.*s, which is not known here", (int)(m->key.n < 200 ? m->key.n : 200),
			    m->key.text);
		validation |= value_is(&m->key, DRAFT "vocab/validation");
		r->formats |= value_is(&m->key, DRAFT "vocab/format-assertion");
	}
	r->validation = validation;
}

static struct value *
parse_document(struct compiler *c, const char *text, size_t len)
{
	char why[200];
	struct value *v;

	if (len > SCHEMA_BYTES) {
		compile_fail(c, "is %zu bytes long; the limit is %u", len, SCHEMA_BYTES);
		return NULL;
	}
	text = keep_text(c, text, len);
	v = values_parse(c->schema->trees, text, len, why, sizeof(why));
	if (v == NULL)
		compile_fail(c, "%s", why);
	return v;
}

/* NULL: nobody has it. */
static const char *
find_document(struct compiler *c, const char *uri, size_t *len)
{
	const char *text = NULL;

	if (strcmp(uri, DRAFT "schema") == 0) {
		*len = strlen(schema_of_schemas);
		return schema_of_schemas;
	}
	if (c->options != NULL && c->options->find != NULL)
		text = c->options->find(c->options->arg, uri, len);
	return text;
}

static void
read_dialect(struct compiler *c, struct resource *r, const struct value *schema)
{
	char *uri, *fragment;
	const char *text;
	struct value *v;
	size_t len;

	if (schema == NULL)
		return;
	if (schema->type != VALUE_STRING) {
		compile_fail(c, "$schema is not a string");
		return;
	}
	uri = keep_text(c, schema->text, schema->n);
	fragment = uri_split(uri);
	if (strcmp(uri, DRAFT "schema") == 0)
		return;
	text = *fragment == '\0' ? find_document(c, uri, &len) : NULL;
	if (text == NULL)
		compile_fail(c, "$schema is %s; only draft 2020-12 is known here, " DRAFT "schema", uri);
	else if ((v = parse_document(c, text, len)) != NULL)
		read_vocabulary(c, r, value_member(v, "$vocabulary"));
}

static void
add_anchor(struct compiler *c, struct rule *rule, const struct value *name, bool dynamic)
{
	struct anchor *a;

	if (name == NULL)
		return;
	if (name->type != VALUE_STRING || name->n == 0) {
		compile_fail(c, "%s is not a name", dynamic ? "$dynamicAnchor" : "$anchor");
		return;
	}
	a = compile_alloc(c, 1, sizeof(*a));
	a->name = name;
	a->rule = rule;
	a->dynamic = dynamic;
	a->next = rule->resource->anchors;
	rule->resource->anchors = a;
}

/* $id makes it a resource of its own. The first schema of a document is one in any case. */
static struct resource *
resource_of(struct compiler *c, struct value *v, struct resource *outer)
{
	const struct value *id = value_member(v, "$id");
	struct resource *r = outer;
	char *uri;

	if (id != NULL && id->type != VALUE_STRING) {
		compile_fail(c, "$id is not a string");
		return r;
	}
	if (id != NULL) {
		uri = keep_resolved(c, outer->uri, id);
		if (*uri_split(uri) != '\0')
			compile_fail(c, "$id has a fragment; a name within a schema is $anchor");
		if (outer->at != v)
			r = new_resource(c, uri, v, outer);
		else if (strcmp(r->uri, uri) != 0) {
			if (find_resource(c->schema, uri) != NULL)
				compile_fail(c, "there are two schemas that are called %s", uri);
			r->also = r->uri;
			r->uri = uri;
		}
	}
	if (r->at == v)
		read_dialect(c, r, value_member(v, "$schema"));
	return r;
}

/* ---- rules ---- */

static struct rule *
new_rule(struct compiler *c, struct value *v)
{
	struct schema *s = c->schema;
	struct rule *r;

	if (s->rules_n == RULES_MAX) {
		compile_fail(c, "it consists of more than %d schemas", RULES_MAX);
		return NULL;
	}
	if (s->rules_n == s->rules_cap) {
		s->rules_cap = s->rules_cap == 0 ? 16 : s->rules_cap * 2;
		s->rules = xreallocarray(s->rules, s->rules_cap, sizeof(*s->rules));
	}
	r = compile_alloc(c, 1, sizeof(*r));
	r->max_length = r->max_items = r->max_properties = r->max_contains = UINT32_MAX;
	r->min_contains = 1;
	s->rules[s->rules_n++] = r;
	v->mark = (uint32_t)s->rules_n;
	return r;
}

struct rule *
compile_rule(struct compiler *c, struct value *v, struct resource *outer)
{
	struct rule *r;

	if (v->mark != 0)
		return c->schema->rules[v->mark - 1];
	if (v->type != VALUE_OBJECT && v->type != VALUE_TRUE && v->type != VALUE_FALSE) {
		compile_fail(c, "is not a schema, that is an object, true or false");
		return NULL;
	}
	if ((r = new_rule(c, v)) == NULL)
		return NULL;
	r->resource = outer;
	r->never = v->type == VALUE_FALSE;
	if (v->type != VALUE_OBJECT)
		return r;
	r->resource = resource_of(c, v, outer);
	add_anchor(c, r, value_member(v, "$anchor"), false);
	add_anchor(c, r, value_member(v, "$dynamicAnchor"), true);
	keywords_read(c, r, v);
	return r;
}

/* ---- references ---- */

void
compile_later(struct compiler *c, struct rule *rule, const struct value *text, bool dynamic)
{
	struct pending *p = compile_alloc(c, 1, sizeof(*p));

	p->rule = rule;
	p->text = text;
	p->dynamic = dynamic;
	p->path = keep_text(c, c->path, c->path_len);
	*c->pending_end = p;
	c->pending_end = &p->next;
}

static struct rule *
load(struct compiler *c, char *uri, const char *text, size_t len)
{
	struct value *v = parse_document(c, text, len);

	if (v == NULL)
		return NULL;
	return compile_rule(c, v, new_resource(c, uri, v, NULL));
}

static struct resource *
get_resource(struct compiler *c, char *uri)
{
	struct resource *r = find_resource(c->schema, uri);
	const char *text;
	size_t len, back;
	char path[COMPILE_PATH];

	if (r != NULL)
		return r;
	if ((text = find_document(c, uri, &len)) == NULL) {
		compile_fail(c, "there is no schema %s here; nothing is ever fetched", uri);
		return NULL;
	}
	/* What is wrong in there is not here. */
	memcpy(path, c->path, sizeof(path));
	back = c->path_len;
	c->path_len = (size_t)snprintf(c->path, COMPILE_PATH / 2, "%s#", uri);
	if (c->path_len >= COMPILE_PATH / 2)
		c->path_len = COMPILE_PATH / 2 - 1;
	load(c, uri, text, len);
	memcpy(c->path, path, sizeof(path));
	c->path_len = back;
	return *c->why == '\0' ? find_resource(c->schema, uri) : NULL;
}

/* One step of a JSON pointer, whose text is changed; p goes behind it. */
static struct value *
step_into(const struct value *v, char **p)
{
	char *token = ++*p, *out = token, *end;
	unsigned long index;

	for (; **p != '\0' && **p != '/'; (*p)++) {
		if (**p == '~' && ((*p)[1] == '0' || (*p)[1] == '1'))
			*out++ = *++*p == '0' ? '~' : '/';
		else
			*out++ = **p;
	}
	if (v->type == VALUE_OBJECT)
		return value_get(v, token, (size_t)(out - token));
	if (v->type != VALUE_ARRAY || out == token || out - token > 8)
		return NULL;
	index = strtoul(token, &end, 10);
	return end >= out && *token >= '0' && *token <= '9' && index < v->n ? &v->items[index] : NULL;
}

/* What was not taken for a schema so far becomes one by being referred to. */
static struct rule *
rule_at(struct compiler *c, struct resource *r, char *pointer)
{
	struct value *v = r->at;

	for (char *p = pointer; *p == '/' && v != NULL;) {
		v = step_into(v, &p);
		if (v != NULL && v->mark != 0)
			r = c->schema->rules[v->mark - 1]->resource;
	}
	return v != NULL ? compile_rule(c, v, r) : NULL;
}

static const struct anchor *
find_anchor(const struct resource *r, const char *name)
{
	const struct anchor *found = NULL;

	for (const struct anchor *a = r->anchors; a != NULL; a = a->next)
		if (value_is(a->name, name) && (found == NULL || a->dynamic))
			found = a;
	return found;
}

static void
resolve(struct compiler *c, const struct pending *p)
{
	char *uri = keep_resolved(c, p->rule->resource->uri, p->text), *fragment = uri_split(uri);
	struct resource *r = get_resource(c, uri);
	const struct anchor *anchor = NULL;
	struct rule *found = NULL;

	if (r == NULL)
		return;
	if (!uri_decode(fragment))
		compile_fail(c, "has a %% that two hexadecimal digits do not follow");
	if (*fragment == '\0' || *fragment == '/')
		found = rule_at(c, r, fragment);
	else if ((anchor = find_anchor(r, fragment)) != NULL)
		found = anchor->rule;
	if (found == NULL)
		compile_fail(c, "refers to %.*s, which is not there", (int)(p->text->n < 200 ? p->text->n : 200), p->text->text);
	if (!p->dynamic)
		p->rule->ref = found;
	else
		p->rule->dynamic_ref = found;
	if (p->dynamic && anchor != NULL && anchor->dynamic)
		p->rule->dynamic_name = anchor->name;
}

static void
resolve_all(struct compiler *c)
{
	for (struct pending *p = c->pending; p != NULL && *c->why == '\0'; p = p->next) {
		c->path_len = (size_t)snprintf(c->path, COMPILE_PATH, "%s", p->path);
		resolve(c, p);
	}
}

/* ---- the whole ---- */

struct schema *
schema_compile(const char *text, size_t len, const struct schema_options *options, char why[SCHEMA_WHY])
{
	struct schema *s = xcalloc(1, sizeof(*s));
	char path[COMPILE_PATH] = "";
	struct compiler c = { .schema = s, .options = options, .path = path, .why = why };
	const char *base = options != NULL && options->base != NULL ? options->base : "";

	*why = '\0';
	c.pending_end = &c.pending;
	s->trees = values_new();
	s->root = load(&c, keep_text(&c, base, strlen(base)), text, len);
	resolve_all(&c);
	if (*why == '\0')
		return s;
	schema_free(s);
	return NULL;
}

void
schema_free(struct schema *s)
{
	if (s == NULL)
		return;
	for (struct held *h = s->held; h != NULL; h = h->next)
		pattern_free(h->pattern);
	values_free(s->trees);
	values_free(s->scratch);
	free(s->rules);
	free(s);
}
