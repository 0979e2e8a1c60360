/*
 * JSON text as a tree. Any process.
 *
 * json_check has said that the text is JSON, so nothing is checked here. No recursion; a string that has no escapes is not
 * copied. What is inside of something is gathered on a stack, and moved to its place when that ends.
 */
#include "config.h"

#include <sys/queue.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "common/schema/value.h"
#include "common/xmalloc.h"

#define CHUNK	(64u << 10)
#define KEEP	(1u << 20)	/* bytes of memory kept for the next tree */

struct chunk {
	SLIST_ENTRY(chunk)	entry;
	size_t			size;
	max_align_t		data[];
};

struct values {
	SLIST_HEAD(, chunk)	 chunks;
	char			*free, *end;	/* what is left of the first */
	size_t			 bytes;
	struct member		*stack;
	size_t			 stack_n, stack_cap;
	size_t			 n;		/* values of the text being read */
};

struct values *
values_new(void)
{
	struct values *vs = xcalloc(1, sizeof(*vs));

	SLIST_INIT(&vs->chunks);
	return vs;
}

void
values_reset(struct values *vs)
{
	struct chunk *c, *last = SLIST_FIRST(&vs->chunks);

	if (last != NULL && last->size <= KEEP)
		SLIST_REMOVE_HEAD(&vs->chunks, entry);
	else
		last = NULL;
	while ((c = SLIST_FIRST(&vs->chunks)) != NULL) {
		SLIST_REMOVE_HEAD(&vs->chunks, entry);
		free(c);
	}
	vs->free = vs->end = NULL;
	if (last != NULL) {
		SLIST_INSERT_HEAD(&vs->chunks, last, entry);
		vs->free = (char *)last->data;
		vs->end = vs->free + last->size;
	}
	vs->bytes = last != NULL ? last->size : 0;
	if (vs->stack_cap * sizeof(*vs->stack) > KEEP) {
		free(vs->stack);
		vs->stack = NULL;
		vs->stack_cap = 0;
	}
}

void
values_free(struct values *vs)
{
	struct chunk *c;

	if (vs == NULL)
		return;
	while ((c = SLIST_FIRST(&vs->chunks)) != NULL) {
		SLIST_REMOVE_HEAD(&vs->chunks, entry);
		free(c);
	}
	free(vs->stack);
	free(vs);
}

/* Each is twice as large as what there is, so that there are few. */
static void
add_chunk(struct values *vs, size_t least)
{
	size_t size = vs->bytes < CHUNK ? CHUNK : vs->bytes;
	struct chunk *c;

	if (size > 64u << 20)
		size = 64u << 20;
	if (size < least)
		size = least;
	c = xmalloc(sizeof(*c) + size);
	c->size = size;
	SLIST_INSERT_HEAD(&vs->chunks, c, entry);
	vs->free = (char *)c->data;
	vs->end = vs->free + size;
	vs->bytes += size;
}

void *
values_alloc(struct values *vs, size_t size)
{
	void *p;

	size = (size + 7) & ~(size_t)7;
	if (size > (size_t)(vs->end - vs->free))
		add_chunk(vs, size);
	p = vs->free;
	vs->free += size;
	return p;
}

/* Strings */

static unsigned
hex4(const char *p)
{
	unsigned n = 0;

	for (int i = 0; i < 4; i++)
		n = n * 16 + (unsigned)(p[i] <= '9' ? p[i] - '0' : (p[i] | 0x20) - 'a' + 10);
	return n;
}

static char *
put_char(char *out, unsigned c)
{
	if (c < 0x80) {
		*out++ = (char)c;
		return out;
	}
	if (c < 0x800) {
		*out++ = (char)(0xc0 | c >> 6);
	} else {
		if (c < 0x10000) {
			*out++ = (char)(0xe0 | c >> 12);
		} else {
			*out++ = (char)(0xf0 | c >> 18);
			*out++ = (char)(0x80 | (c >> 12 & 0x3f));
		}
		*out++ = (char)(0x80 | (c >> 6 & 0x3f));
	}
	*out++ = (char)(0x80 | (c & 0x3f));
	return out;
}

/* A pair of surrogates is one character; one that is alone stays, in the three bytes that UTF-8 would have for it. */
static char *
put_escape(char *out, const char **p, const char *end)
{
	static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";
	const char *at;
	unsigned c, low;

	(*p)++;
	if (**p != 'u') {
		at = strchr(from, **p);
		*out++ = at != NULL ? to[at - from] : **p;
		(*p)++;
		return out;
	}
	c = hex4(*p + 1);
	*p += 5;
	if (c >= 0xd800 && c < 0xdc00 && end - *p >= 6 && (*p)[0] == '\\' && (*p)[1] == 'u') {
		low = hex4(*p + 2);
		if (low >= 0xdc00 && low < 0xe000) {
			*p += 6;
			c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
		}
	}
	return put_char(out, c);
}

/* Behind the quote; p goes behind the other one. */
static void
read_string(struct values *vs, struct value *v, const char **p)
{
	const char *start = *p, *q = start;
	bool escapes = false;
	char *out;

	for (; *q != '"'; q++)
		if (*q == '\\') {
			escapes = true;
			q++;
		}
	*p = q + 1;
	v->type = VALUE_STRING;
	v->text = start;
	v->n = (uint32_t)(q - start);
	if (!escapes)
		return;
	v->text = out = values_alloc(vs, v->n);
	while (start < q) {
		if (*start == '\\')
			out = put_escape(out, &start, q);
		else
			*out++ = *start++;
	}
	v->n = (uint32_t)(out - v->text);
}

/* Objects */

int
value_compare_text(const struct value *a, const struct value *b)
{
	int order = memcmp(a->text, b->text, a->n < b->n ? a->n : b->n);

	return order != 0 ? order : a->n < b->n ? -1 : a->n > b->n;
}

/* Where they are is where they were in the text: of two with one key the later one is the greater. */
static int
by_key(const void *a, const void *b)
{
	const struct member *m = a, *n = b;
	int order = value_compare_text(&m->key, &n->key);

	return order != 0 ? order : m->key.mark < n->key.mark ? -1 : m->key.mark > n->key.mark;
}

static uint32_t
sort_members(struct member *m, size_t n)
{
	size_t kept = 0;

	for (size_t i = 0; i < n; i++)
		m[i].key.mark = i & 0xfffffff;
	if (n > 1)
		qsort(m, n, sizeof(*m), by_key);
	for (size_t i = 0; i < n; i++) {
		m[i].key.mark = 0;
		if (i + 1 == n || value_compare_text(&m[i].key, &m[i + 1].key) != 0)
			m[kept++] = m[i];
	}
	return (uint32_t)kept;
}

/* The tree */

static struct member *
push(struct values *vs)
{
	if (vs->stack_n == vs->stack_cap) {
		vs->stack_cap = vs->stack_cap == 0 ? 64 : vs->stack_cap * 2;
		vs->stack = xreallocarray(vs->stack, vs->stack_cap, sizeof(*vs->stack));
	}
	memset(&vs->stack[vs->stack_n], 0, sizeof(*vs->stack));
	vs->n++;
	return &vs->stack[vs->stack_n++];
}

/* What is above first belongs into this array or object, which has ended. */
static void
gather(struct values *vs, struct value *v, size_t first)
{
	size_t n = vs->stack_n - first;
	struct member *from = vs->stack + first;

	if (v->type == VALUE_OBJECT) {
		v->n = sort_members(from, n);
		v->members = values_alloc(vs, v->n * sizeof(*v->members));
		if (v->n > 0)
			memcpy(v->members, from, v->n * sizeof(*v->members));
	} else {
		v->n = (uint32_t)n;
		v->items = values_alloc(vs, n * sizeof(*v->items));
		for (size_t i = 0; i < n; i++)
			v->items[i] = from[i].value;
	}
	vs->stack_n = first;
}

static const char *
read_scalar(struct values *vs, struct value *v, const char *p, const char *end)
{
	switch (*p) {
	case '"':
		p++;
		read_string(vs, v, &p);
		return p;
	case 'n':
		v->type = VALUE_NULL;
		return p + 4;
	case 't':
		v->type = VALUE_TRUE;
		return p + 4;
	case 'f':
		v->type = VALUE_FALSE;
		return p + 5;
	}
	v->type = VALUE_NUMBER;
	v->text = p;
	while (p < end && strchr("+-.eE0123456789", *p) != NULL && *p != '\0')
		p++;
	v->n = (uint32_t)(p - v->text);
	return p;
}

static const char *
skip(const char *p, const char *end)
{
	while (p < end && (*p == ' ' || *p == '\n' || *p == '\t' || *p == '\r' || *p == ',' || *p == ':'))
		p++;
	return p;
}

/* open[i]: where on the stack the i-th array or object that is open stands. */
static const char *
read_tree(struct values *vs, const char *p, const char *end)
{
	size_t open[VALUE_DEPTH + 1], depth = 0;
	struct member *m;

	while ((p = skip(p, end)) < end) {
		if (*p == ']' || *p == '}') {
			depth--;
			gather(vs, &vs->stack[open[depth]].value, open[depth] + 1);
			p++;
			continue;
		}
		if (vs->n >= VALUE_MOST)
			return "it has too many values to be held against a schema";
		m = push(vs);
		if (depth > 0 && vs->stack[open[depth - 1]].value.type == VALUE_OBJECT) {
			p++;
			read_string(vs, &m->key, &p);
			p = skip(p, end);
		}
		if (*p != '[' && *p != '{') {
			p = read_scalar(vs, &m->value, p, end);
			continue;
		}
		if (depth == VALUE_DEPTH)
			return "it is nested too deeply to be held against a schema";
		m->value.type = *p++ == '[' ? VALUE_ARRAY : VALUE_OBJECT;
		open[depth++] = vs->stack_n - 1;
	}
	return NULL;
}

struct value *
values_parse(struct values *vs, const char *text, size_t len, char *why, size_t size)
{
	const char *fault;
	struct value *v;
	size_t at;

	if (len > UINT32_MAX / 2) {
		snprintf(why, size, "it is too long");
		return NULL;
	}
	if (json_check(text, len, &at, &fault) == -1) {
		snprintf(why, size, "it is not JSON: %s at byte %zu", fault, at);
		return NULL;
	}
	vs->stack_n = vs->n = 0;
	if ((fault = read_tree(vs, text, text + len)) != NULL) {
		snprintf(why, size, "%s", fault);
		return NULL;
	}
	v = values_alloc(vs, sizeof(*v));
	*v = vs->stack[0].value;
	return v;
}

/* Looking at it */

struct value *
value_get(const struct value *object, const char *key, size_t len)
{
	struct value k = { .type = VALUE_STRING, .n = (uint32_t)len, .text = key };
	size_t low = 0, high = object->type == VALUE_OBJECT ? object->n : 0, mid;
	int order;

	while (low < high) {
		mid = (low + high) / 2;
		order = value_compare_text(&k, &object->members[mid].key);
		if (order == 0)
			return &object->members[mid].value;
		if (order < 0)
			high = mid;
		else
			low = mid + 1;
	}
	return NULL;
}

struct value *
value_member(const struct value *object, const char *key)
{
	return value_get(object, key, strlen(key));
}

bool
value_is(const struct value *v, const char *text)
{
	return v->type == VALUE_STRING && v->n == strlen(text) && memcmp(v->text, text, v->n) == 0;
}

bool
value_equal(const struct value *a, const struct value *b, uint64_t *cost)
{
	(*cost)++;
	if (a->type != b->type)
		return false;
	switch (a->type) {
	case VALUE_NUMBER:
		*cost += (a->n + b->n) / 8;
		return number_compare(a, b) == 0;
	case VALUE_STRING:
		*cost += a->n / 16;
		return value_compare_text(a, b) == 0;
	case VALUE_ARRAY:
		for (uint32_t i = 0; a->n == b->n && i < a->n; i++)
			if (!value_equal(&a->items[i], &b->items[i], cost))
				return false;
		return a->n == b->n;
	case VALUE_OBJECT:
		for (uint32_t i = 0; a->n == b->n && i < a->n; i++)
			if (value_compare_text(&a->members[i].key, &b->members[i].key) != 0 ||
			    !value_equal(&a->members[i].value, &b->members[i].value, cost))
				return false;
		return a->n == b->n;
	}
	return true;
}

static uint64_t
mix(uint64_t h, uint64_t with)
{
	h = (h ^ with) * 0x9e3779b97f4a7c15ull;
	return h ^ h >> 29;
}

uint64_t
value_hash(const struct value *v, uint64_t *cost)
{
	uint64_t h = mix(0, v->type + 1u);

	(*cost)++;
	switch (v->type) {
	case VALUE_NUMBER:
		*cost += v->n / 8;
		return mix(h, number_hash(v));
	case VALUE_STRING:
		*cost += v->n / 16;
		for (uint32_t i = 0; i < v->n; i++)
			h = (h ^ (uint8_t)v->text[i]) * 0x100000001b3ull;
		break;
	case VALUE_ARRAY:
		for (uint32_t i = 0; i < v->n; i++)
			h = mix(h, value_hash(&v->items[i], cost));
		break;
	case VALUE_OBJECT:
		for (uint32_t i = 0; i < v->n; i++)
			h = mix(mix(h, value_hash(&v->members[i].key, cost)), value_hash(&v->members[i].value, cost));
		break;
	}
	return mix(h, v->n);
}
