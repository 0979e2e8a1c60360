/*
 * Holding JSON against the rules of a schema. Any process.
 *
 * The first fault found is the one that is told. What one of several alternatives says of itself is not told. Which members and
 * items were looked at is only kept where unevaluatedProperties or unevaluatedItems ask for it.
 *
 * All costs are bounded: by steps, of which each rule that is applied is one and long values are more; by time, as far as regular
 * expressions go; by depth; and by memory. What is over a limit does not comply, whatever stands around it.
 */
#include "config.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/buf.h"
#include "common/schema/internal.h"
#include "common/utf8.h"
#include "common/xmalloc.h"

#define DEPTH_MAX	2000		/* rules within rules */
#define STEPS_MAX	20000000	/* about a second */
#define TIME_MAX_MS	1000		/* of the processor, when there are regular expressions */
#define SEEN_MAX	(64u << 20)	/* bytes */
#define PATTERNS_ROUND	16		/* regular expressions between two looks at the clock */
#define QUOTED		60		/* bytes of a value in a message */
#define POINTER		300

struct place {				/* of a value in the whole */
	const struct place	*up;
	const struct value	*key;	/* NULL: an item */
	uint32_t		 index;
};

struct scope {				/* the resources that have led here, the innermost first */
	const struct scope	*outer;
	const struct resource	*resource;
};

struct seen {				/* members or items that a rule has looked at */
	uint64_t	 few;		/* of up to 64 */
	uint64_t	*bits;
	uint32_t	 n;
};

struct check {
	char		*why;
	unsigned	 quiet;		/* what fails is told by somebody else */
	unsigned	 depth;
	uint64_t	 steps;
	size_t		 seen_bytes;
	unsigned	 patterns;
	int64_t		 until_ms;
	bool		 over;		/* a limit was */
	bool		 told;
};

static bool	apply(struct check *, const struct rule *, const struct value *, const struct place *, const struct scope *,
    struct seen *);

/* ---- messages ---- */

static void
add_pointer(struct buf *out, const struct place *at)
{
	if (at == NULL)
		return;
	add_pointer(out, at->up);
	buf_addstr(out, "/");
	if (at->key == NULL)
		buf_addf(out, "%u", at->index);
	for (uint32_t i = 0; at->key != NULL && i < at->key->n; i++) {
		char ch = at->key->text[i];

		if (ch == '~' || ch == '/')
			buf_addstr(out, ch == '~' ? "~0" : "~1");
		else
			buf_add(out, (unsigned char)ch < ' ' ? "?" : &ch, 1);
	}
}

/* Whole characters of it, at most so many bytes. */
static int
cut(const void *text, size_t len, size_t max)
{
	return (int)utf8_span(text, len < max ? len : max);
}

static void
tell(struct check *c, const struct place *at, const char *fmt, va_list ap)
{
	struct buf pointer;
	size_t n = 0;

	buf_init(&pointer);
	add_pointer(&pointer, at);
	if (pointer.len > 0)
		n = (size_t)snprintf(c->why, SCHEMA_WHY, "%.*s: ", cut(buf_ptr(&pointer), pointer.len, POINTER), buf_ptr(&pointer));
	vsnprintf(c->why + n, SCHEMA_WHY - n, fmt, ap);
	buf_free(&pointer);
	c->told = true;
}

static bool __attribute__((format(printf, 3, 4)))
fail(struct check *c, const struct place *at, const char *fmt, ...)
{
	va_list ap;

	if (c->quiet > 0 || c->told)
		return false;
	va_start(ap, fmt);
	tell(c, at, fmt, ap);
	va_end(ap);
	return false;
}

static bool
over_limit(struct check *c, const struct place *at, const char *what)
{
	c->over = true;
	c->quiet = 0;
	return fail(c, at, "%s", what);
}

static bool
spend(struct check *c, const struct place *at, uint64_t steps)
{
	if (c->over)
		return false;
	if (steps >= c->steps)
		return over_limit(c, at, "takes too long to be held against the schema");
	c->steps -= steps;
	return true;
}

static const char *
describe(const struct value *v)
{
	static const char *const names[] = { "null", "false", "true", "a number", "a string", "an array", "an object" };

	return names[v->type];
}

static bool
fail_type(struct check *c, const struct rule *r, const struct value *v, const struct place *at)
{
	static const char *const names[] = { "null", "a boolean", "an integer", "a number", "a string", "an array", "an object" };
	char text[120] = "";

	if (c->quiet > 0)
		return false;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if ((r->types >> i & 1) != 0) {
			strcat(text, *text != '\0' ? " or " : "");
			strcat(text, names[i]);
		}
	return fail(c, at, "is %s; %s is expected", describe(v), text);
}

/* ---- what was looked at ---- */

static bool
seen_init(struct check *c, struct seen *s, const struct value *v)
{
	size_t bytes = ((size_t)v->n + 63) / 64 * 8;

	s->few = 0;
	s->n = v->type >= VALUE_ARRAY ? v->n : 0;
	s->bits = &s->few;
	if (s->n <= 64)
		return true;
	if (bytes > SEEN_MAX - c->seen_bytes)
		return over_limit(c, NULL, "takes too much memory to be held against the schema");
	c->seen_bytes += bytes;
	s->bits = xcalloc(1, bytes);
	return spend(c, NULL, bytes / 8);
}

static void
seen_free(struct check *c, struct seen *s)
{
	if (s->bits == &s->few)
		return;
	c->seen_bytes -= ((size_t)s->n + 63) / 64 * 8;
	free(s->bits);
}

static void
see(struct seen *s, uint32_t i)
{
	if (s != NULL)
		s->bits[i / 64] |= (uint64_t)1 << (i % 64);
}

static bool
was_seen(const struct seen *s, uint32_t i)
{
	return (s->bits[i / 64] >> (i % 64) & 1) != 0;
}

static void
seen_add(struct seen *to, const struct seen *from)
{
	for (uint32_t i = 0; i < (to->n + 63) / 64; i++)
		to->bits[i] |= from->bits[i];
}

/* Applies one that may fail: what it has looked at counts only if it does not. */
static bool
try(struct check *c, const struct rule *r, const struct value *v, const struct place *at, const struct scope *scope, struct seen *seen)
{
	struct seen own;
	bool fits;

	c->quiet++;
	if (seen == NULL) {
		fits = apply(c, r, v, at, scope, NULL);
	} else {
		fits = seen_init(c, &own, v) && apply(c, r, v, at, scope, &own);
		if (fits)
			seen_add(seen, &own);
		seen_free(c, &own);
	}
	if (!c->over)
		c->quiet--;
	return fits && !c->over;
}

/* ---- values that have nothing in them ---- */

static unsigned
type_of(const struct rule *r, const struct value *v)
{
	static const unsigned types[] = { TYPE_NULL, TYPE_BOOLEAN, TYPE_BOOLEAN, TYPE_NUMBER, TYPE_STRING, TYPE_ARRAY, TYPE_OBJECT };

	if (v->type == VALUE_NUMBER && (r->types & (TYPE_INTEGER | TYPE_NUMBER)) == TYPE_INTEGER)
		return number_is_integer(v) ? TYPE_INTEGER : TYPE_NUMBER;
	return types[v->type];
}

static bool
equals(struct check *c, const struct place *at, const struct value *a, const struct value *b, bool *equal)
{
	uint64_t cost = 0;

	*equal = value_equal(a, b, &cost);
	return spend(c, at, cost);
}

static bool
is_chosen(struct check *c, const struct rule *r, const struct value *v, const struct place *at)
{
	uint64_t cost = r->choices->n / 8, hash = value_hash(v, &cost);
	bool equal;

	if (!spend(c, at, cost))
		return false;
	for (uint32_t i = 0; i < r->choices->n; i++) {
		if (r->choice_hashes[i] != hash)
			continue;
		if (!equals(c, at, &r->choices->items[i], v, &equal))
			return false;
		if (equal)
			return true;
	}
	return fail(c, at, "is none of the values that are allowed");
}

static bool
check_any(struct check *c, const struct rule *r, const struct value *v, const struct place *at)
{
	bool equal;

	if (r->types != 0 && (type_of(r, v) & r->types) == 0)
		return fail_type(c, r, v, at);
	if (r->constant != NULL) {
		if (!equals(c, at, r->constant, v, &equal))
			return false;
		if (!equal)
			return fail(c, at, "is not the one value that is allowed");
	}
	return r->choices == NULL || is_chosen(c, r, v, at);
}

static bool
check_number(struct check *c, const struct rule *r, const struct value *v, const struct place *at)
{
	int n = (int)(v->n < QUOTED ? v->n : QUOTED);

	if (!spend(c, at, v->n))
		return false;
	if (r->minimum != NULL && number_compare(v, r->minimum) < 0)
		return fail(c, at, "%.*s is less than %.*s", n, v->text, cut(r->minimum->text, r->minimum->n, QUOTED), r->minimum->text);
	if (r->maximum != NULL && number_compare(v, r->maximum) > 0)
		return fail(c, at, "%.*s is more than %.*s", n, v->text, cut(r->maximum->text, r->maximum->n, QUOTED), r->maximum->text);
	if (r->exclusive_minimum != NULL && number_compare(v, r->exclusive_minimum) <= 0)
		return fail(c, at, "%.*s is not more than %.*s", n, v->text,
		    cut(r->exclusive_minimum->text, r->exclusive_minimum->n, QUOTED), r->exclusive_minimum->text);
	if (r->exclusive_maximum != NULL && number_compare(v, r->exclusive_maximum) >= 0)
		return fail(c, at, "%.*s is not less than %.*s", n, v->text,
		    cut(r->exclusive_maximum->text, r->exclusive_maximum->n, QUOTED), r->exclusive_maximum->text);
	if (r->multiple_of != NULL && !number_is_multiple(v, r->multiple_of))
		return fail(c, at, "%.*s is not a multiple of %.*s", n, v->text, cut(r->multiple_of->text, r->multiple_of->n, QUOTED),
		    r->multiple_of->text);
	return true;
}

static int64_t
cpu_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static bool
matches(struct check *c, const struct pattern *p, const struct value *v, const struct place *at, bool *found)
{
	enum pattern_match m = pattern_find(p, v->text, v->n);

	*found = m == PATTERN_YES;
	if (m == PATTERN_TOO_COSTLY)
		return over_limit(c, at, "takes too long to be held against a regular expression");
	if (++c->patterns % PATTERNS_ROUND == 0 || v->n > 65536) {
		if (c->until_ms == 0)
			c->until_ms = cpu_ms() + TIME_MAX_MS;
		else if (cpu_ms() > c->until_ms)
			return over_limit(c, at, "takes too long to be held against regular expressions");
	}
	return spend(c, at, 1 + v->n / 16);
}

static uint32_t
characters(const struct value *v)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < v->n; i++)
		n += (v->text[i] & 0xc0) != 0x80;
	return n;
}

static bool
check_string(struct check *c, const struct rule *r, const struct value *v, const struct place *at)
{
	bool found;

	if (!spend(c, at, v->n / 16))
		return false;
	if ((r->min_length > 0 || r->max_length < UINT32_MAX)) {
		uint32_t n = characters(v);

		if (n < r->min_length)
			return fail(c, at, "has %u characters; at least %u are expected", n, r->min_length);
		if (n > r->max_length)
			return fail(c, at, "has %u characters; at most %u are allowed", n, r->max_length);
	}
	if (r->format != NULL && !r->format->fits(v->text, v->n))
		return fail(c, at, "\"%.*s\" is not of the format %s", cut(v->text, v->n, QUOTED), v->text, r->format->name);
	if (r->pattern != NULL) {
		if (!matches(c, r->pattern, v, at, &found))
			return false;
		if (!found)
			return fail(c, at, "\"%.*s\" does not match the pattern", cut(v->text, v->n, QUOTED), v->text);
	}
	return true;
}

/* ---- arrays ---- */

struct hashed {
	uint64_t	hash;
	uint32_t	index;
};

static int
by_hash(const void *a, const void *b)
{
	const struct hashed *h = a, *k = b;

	return h->hash != k->hash ? (h->hash < k->hash ? -1 : 1) : h->index < k->index ? -1 : h->index > k->index;
}

/* Those that are equal have one hash, and stand together. */
static bool
compare_hashed(struct check *c, const struct value *v, const struct place *at, const struct hashed *h)
{
	bool equal;

	for (uint32_t i = 1; i < v->n; i++)
		for (uint32_t k = i; k-- > 0 && h[k].hash == h[i].hash;) {
			if (!equals(c, at, &v->items[h[k].index], &v->items[h[i].index], &equal))
				return false;
			if (equal)
				return fail(c, at, "has two items that are equal, %u and %u", h[k].index, h[i].index);
		}
	return true;
}

static bool
check_unique(struct check *c, const struct value *v, const struct place *at)
{
	struct hashed *h;
	uint64_t cost = 0;
	bool unique;

	if (v->n < 2)
		return true;
	h = xcalloc(v->n, sizeof(*h));
	for (uint32_t i = 0; i < v->n; i++)
		h[i] = (struct hashed){ value_hash(&v->items[i], &cost), i };
	unique = spend(c, at, cost * 2);
	if (unique) {
		qsort(h, v->n, sizeof(*h), by_hash);
		unique = compare_hashed(c, v, at, h);
	}
	free(h);
	return unique;
}

static bool
check_contains(struct check *c, const struct rule *r, const struct value *v, const struct place *at, const struct scope *scope,
    struct seen *seen)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < v->n && !c->over; i++)
		if (try(c, r->contains, &v->items[i], &(struct place){ at, NULL, i }, scope, NULL)) {
			see(seen, i);
			n++;
		}
	if (n < r->min_contains)
		return fail(c, at, "has %u items of the kind that there have to be %u of", n, r->min_contains);
	if (n > r->max_contains)
		return fail(c, at, "has %u items of the kind that there may be %u of", n, r->max_contains);
	return !c->over;
}

static bool
check_array(struct check *c, const struct rule *r, const struct value *v, const struct place *at, const struct scope *scope,
    struct seen *seen)
{
	if (v->n < r->min_items)
		return fail(c, at, "has %u items; at least %u are expected", v->n, r->min_items);
	if (v->n > r->max_items)
		return fail(c, at, "has %u items; at most %u are allowed", v->n, r->max_items);
	if (r->unique && !check_unique(c, v, at))
		return false;
	for (uint32_t i = 0; i < v->n; i++) {
		const struct rule *item = i < r->prefix_items.n ? r->prefix_items.v[i] : r->items;

		if (item == NULL)
			break;
		if (!apply(c, item, &v->items[i], &(struct place){ at, NULL, i }, scope, NULL))
			return false;
		see(seen, i);
	}
	return r->contains == NULL || check_contains(c, r, v, at, scope, seen);
}

static bool
check_unevaluated_items(struct check *c, const struct rule *r, const struct value *v, const struct place *at, const struct scope *scope,
    struct seen *seen)
{
	for (uint32_t i = 0; i < v->n; i++) {
		struct place here = { at, NULL, i };

		if (was_seen(seen, i))
			continue;
		if (r->unevaluated_items->never)
			return fail(c, &here, "there may be no such item");
		if (!apply(c, r->unevaluated_items, &v->items[i], &here, scope, NULL))
			return false;
		see(seen, i);
	}
	return true;
}

/* ---- objects ---- */

struct rule *
properties_find(const struct properties *p, const struct value *key)
{
	uint32_t low = 0, high = p->n, mid;
	int order;

	while (low < high) {
		mid = low + (high - low) / 2;
		order = value_compare_text(key, p->v[mid].key);
		if (order == 0)
			return p->v[mid].rule;
		if (order < 0)
			high = mid;
		else
			low = mid + 1;
	}
	return NULL;
}

static bool
check_names(struct check *c, const struct value *names, const struct value *v, const struct place *at, const struct value *because)
{
	if (!spend(c, at, names->n))
		return false;
	for (uint32_t i = 0; i < names->n; i++) {
		const struct value *name = &names->items[i];

		if (value_get(v, name->text, name->n) != NULL)
			continue;
		if (because == NULL)
			return fail(c, at, "\"%.*s\" is missing", cut(name->text, name->n, QUOTED), name->text);
		return fail(c, at, "\"%.*s\" is missing, as there is \"%.*s\"", cut(name->text, name->n, QUOTED), name->text,
		    cut(because->text, because->n, QUOTED), because->text);
	}
	return true;
}

static bool
check_member(struct check *c, const struct rule *r, const struct member *m, const struct place *here, const struct scope *scope,
    bool *looked_at)
{
	const struct rule *own = properties_find(&r->properties, &m->key);
	bool found;

	*looked_at = own != NULL;
	if (own != NULL && own->never)
		return fail(c, here, "there may be no such member");
	if (own != NULL && !apply(c, own, &m->value, here, scope, NULL))
		return false;
	for (uint32_t i = 0; i < r->patterns_n; i++) {
		if (!matches(c, r->patterns[i].pattern, &m->key, here, &found))
			return false;
		*looked_at |= found;
		if (found && !apply(c, r->patterns[i].rule, &m->value, here, scope, NULL))
			return false;
	}
	if (*looked_at || r->additional_properties == NULL)
		return true;
	*looked_at = true;
	if (r->additional_properties->never)
		return fail(c, here, "there may be no such member");
	return apply(c, r->additional_properties, &m->value, here, scope, NULL);
}

static bool
check_members(struct check *c, const struct rule *r, const struct value *v, const struct place *at, const struct scope *scope,
    struct seen *seen)
{
	bool looked_at;

	if (r->properties.n == 0 && r->patterns_n == 0 && r->additional_properties == NULL)
		return true;
	for (uint32_t i = 0; i < v->n; i++) {
		const struct member *m = &v->members[i];

		if (!spend(c, at, 1) || !check_member(c, r, m, &(struct place){ at, &m->key, 0 }, scope, &looked_at))
			return false;
		if (looked_at)
			see(seen, i);
	}
	return true;
}

static bool
check_dependent(struct check *c, const struct rule *r, const struct value *v, const struct place *at, const struct scope *scope,
    struct seen *seen)
{
	for (uint32_t i = 0; r->dependent_required != NULL && i < r->dependent_required->n; i++) {
		const struct member *m = &r->dependent_required->members[i];

		if (value_get(v, m->key.text, m->key.n) != NULL && !check_names(c, &m->value, v, at, &m->key))
			return false;
	}
	for (uint32_t i = 0; i < r->dependent_schemas.n; i++) {
		const struct property *p = &r->dependent_schemas.v[i];

		if (value_get(v, p->key->text, p->key->n) != NULL && !apply(c, p->rule, v, at, scope, seen))
			return false;
	}
	return true;
}

static bool
check_object(struct check *c, const struct rule *r, const struct value *v, const struct place *at, const struct scope *scope,
    struct seen *seen)
{
	if (v->n < r->min_properties)
		return fail(c, at, "has %u members; at least %u are expected", v->n, r->min_properties);
	if (v->n > r->max_properties)
		return fail(c, at, "has %u members; at most %u are allowed", v->n, r->max_properties);
	if (r->required != NULL && !check_names(c, r->required, v, at, NULL))
		return false;
	for (uint32_t i = 0; r->property_names != NULL && i < v->n; i++)
		if (!try(c, r->property_names, &v->members[i].key, at, scope, NULL))
			return fail(c, at, "\"%.*s\" may not be the name of a member",
			    cut(v->members[i].key.text, v->members[i].key.n, QUOTED), v->members[i].key.text);
	return check_members(c, r, v, at, scope, seen) && check_dependent(c, r, v, at, scope, seen);
}

static bool
check_unevaluated_members(struct check *c, const struct rule *r, const struct value *v, const struct place *at,
    const struct scope *scope, struct seen *seen)
{
	for (uint32_t i = 0; i < v->n; i++) {
		struct place here = { at, &v->members[i].key, 0 };

		if (was_seen(seen, i))
			continue;
		if (r->unevaluated_properties->never)
			return fail(c, &here, "there may be no such member");
		if (!apply(c, r->unevaluated_properties, &v->members[i].value, &here, scope, NULL))
			return false;
		see(seen, i);
	}
	return true;
}

/* ---- rules that apply others to the same value ---- */

/* $dynamicRef: of the resources that have led here the outermost with that anchor. */
static const struct rule *
dynamic_target(const struct rule *r, const struct scope *scope)
{
	const struct rule *found = r->dynamic_ref;

	if (r->dynamic_name == NULL)
		return found;
	for (; scope != NULL; scope = scope->outer)
		for (const struct anchor *a = scope->resource->anchors; a != NULL; a = a->next)
			if (a->dynamic && value_compare_text(a->name, r->dynamic_name) == 0) {
				found = a->rule;
				break;
			}
	return found;
}

static bool
check_any_of(struct check *c, const struct rule *r, const struct value *v, const struct place *at, const struct scope *scope,
    struct seen *seen)
{
	bool fits = false;

	for (uint32_t i = 0; i < r->any_of.n && (!fits || seen != NULL); i++)
		fits |= try(c, r->any_of.v[i], v, at, scope, seen);
	return fits || fail(c, at, "is none of the %u kinds of values that are allowed", r->any_of.n);
}

static bool
check_one_of(struct check *c, const struct rule *r, const struct value *v, const struct place *at, const struct scope *scope,
    struct seen *seen)
{
	uint32_t fits = 0, first = 0;

	for (uint32_t i = 0; i < r->one_of.n && fits < 2; i++)
		if (try(c, r->one_of.v[i], v, at, scope, seen) && fits++ == 0)
			first = i;
		else if (fits == 2)
			return fail(c, at, "is of two kinds, %u and %u of oneOf, and may be of one only", first, i);
	return fits == 1 || fail(c, at, "is none of the %u kinds of values that are allowed", r->one_of.n);
}

static bool
check_if(struct check *c, const struct rule *r, const struct value *v, const struct place *at, const struct scope *scope,
    struct seen *seen)
{
	const struct rule *next = try(c, r->if_rule, v, at, scope, seen) ? r->then_rule : r->else_rule;

	return !c->over && (next == NULL || apply(c, next, v, at, scope, seen));
}

static bool
apply_others(struct check *c, const struct rule *r, const struct value *v, const struct place *at, const struct scope *scope,
    struct seen *seen)
{
	if (r->ref != NULL && !apply(c, r->ref, v, at, scope, seen))
		return false;
	if (r->dynamic_ref != NULL && !apply(c, dynamic_target(r, scope), v, at, scope, seen))
		return false;
	for (uint32_t i = 0; i < r->all_of.n; i++)
		if (!apply(c, r->all_of.v[i], v, at, scope, seen))
			return false;
	if (r->any_of.n > 0 && !check_any_of(c, r, v, at, scope, seen))
		return false;
	if (r->one_of.n > 0 && !check_one_of(c, r, v, at, scope, seen))
		return false;
	if (r->not_rule != NULL && (try(c, r->not_rule, v, at, scope, NULL) || c->over))
		return fail(c, at, "is of a kind that is not allowed");
	return r->if_rule == NULL || check_if(c, r, v, at, scope, seen);
}

static bool
apply_all(struct check *c, const struct rule *r, const struct value *v, const struct place *at, const struct scope *scope,
    struct seen *seen)
{
	if (!check_any(c, r, v, at) || !apply_others(c, r, v, at, scope, seen))
		return false;
	switch (v->type) {
	case VALUE_NUMBER:
		return check_number(c, r, v, at);
	case VALUE_STRING:
		return check_string(c, r, v, at);
	case VALUE_ARRAY:
		return check_array(c, r, v, at, scope, seen) &&
		    (r->unevaluated_items == NULL || check_unevaluated_items(c, r, v, at, scope, seen));
	case VALUE_OBJECT:
		return check_object(c, r, v, at, scope, seen) &&
		    (r->unevaluated_properties == NULL || check_unevaluated_members(c, r, v, at, scope, seen));
	}
	return true;
}

/* It has to know what was looked at, by itself alone. */
static bool
apply_seeing(struct check *c, const struct rule *r, const struct value *v, const struct place *at, const struct scope *scope,
    struct seen *seen)
{
	struct seen own;
	bool fits = seen_init(c, &own, v) && apply_all(c, r, v, at, scope, &own);

	if (fits && seen != NULL)
		seen_add(seen, &own);
	seen_free(c, &own);
	return fits;
}

static bool
apply(struct check *c, const struct rule *r, const struct value *v, const struct place *at, const struct scope *outer, struct seen *seen)
{
	struct scope scope = { outer, r->resource };
	bool asks = (v->type == VALUE_ARRAY && r->unevaluated_items != NULL) ||
	    (v->type == VALUE_OBJECT && r->unevaluated_properties != NULL);
	bool fits;

	if (!spend(c, at, 1))
		return false;
	if (r->never)
		return fail(c, at, "there may be nothing");
	if (c->depth == DEPTH_MAX)
		return over_limit(c, at, "leads too deep into the schema, or around in it");
	c->depth++;
	if (outer != NULL && outer->resource == r->resource)
		scope = *outer;
	fits = asks ? apply_seeing(c, r, v, at, &scope, seen) : apply_all(c, r, v, at, &scope, seen);
	c->depth--;
	return fits && !c->over;
}

/* ---- the whole ---- */

bool
schema_check_value(struct schema *s, const struct value *v, char why[SCHEMA_WHY])
{
	struct check c = { .why = why, .steps = STEPS_MAX };

	*why = '\0';
	return apply(&c, s->root, v, NULL, NULL, NULL);
}

bool
schema_check(struct schema *s, const char *text, size_t len, char why[SCHEMA_WHY])
{
	struct value *v;
	bool fits;

	if (s->scratch == NULL)
		s->scratch = values_new();
	v = values_parse(s->scratch, text, len, why, SCHEMA_WHY);
	fits = v != NULL && schema_check_value(s, v, why);
	values_reset(s->scratch);
	return fits;
}
