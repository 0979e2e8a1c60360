/*
 * JSON text: checked, never parsed into anything; quoted. Any process. On the hot path of every result, so it takes
 * eight bytes at once where it can. No recursion: depth costs a bit, not stack.
 */
#include "config.h"

#include <stdbool.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/json.h"
#include "common/utf8.h"

struct check {
	const uint8_t	*p, *end;
	const char	*why;
	unsigned	 depth;
	uint64_t	 object[(JSON_MAX_DEPTH + 63) / 64];	/* a bit per level: object or array */
};

static bool
bad(struct check *c, const char *why)
{
	c->why = why;
	return false;
}

static void
skip_blanks(struct check *c)
{
	while (c->p < c->end && (*c->p == ' ' || *c->p == '\n' || *c->p == '\t' || *c->p == '\r'))
		c->p++;
}

/* Of eight bytes: may one of them end the plain part of a string (control, quote, backslash, not ASCII)? */
static uint64_t
special8(uint64_t w)
{
	uint64_t quote = w ^ UTF8_ONES * '"', slash = w ^ UTF8_ONES * '\\';

	return (w | (w - UTF8_ONES * 0x20) | (quote - UTF8_ONES) | (slash - UTF8_ONES)) & UTF8_HIGHS;
}

static bool
is_hex(uint8_t c)
{
	return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f');
}

static bool
escape(struct check *c)
{
	if (c->end - c->p < 2)
		return bad(c, "unterminated string");
	switch (c->p[1]) {
	case '"':
	case '\\':
	case '/':
	case 'b':
	case 'f':
	case 'n':
	case 'r':
	case 't':
		c->p += 2;
		return true;
	case 'u':
		if (c->end - c->p < 6 || !is_hex(c->p[2]) || !is_hex(c->p[3]) || !is_hex(c->p[4]) || !is_hex(c->p[5]))
			return bad(c, "\\u must be followed by four hexadecimal digits");
		c->p += 6;
		return true;
	}
	return bad(c, "invalid escape");
}

static bool
string(struct check *c)
{
	size_t n;

	for (c->p++;;) {
		while (c->end - c->p >= 8 && special8(utf8_load8(c->p)) == 0)
			c->p += 8;
		if (c->p == c->end)
			return bad(c, "unterminated string");
		if (*c->p == '"') {
			c->p++;
			return true;
		}
		if (*c->p == '\\') {
			if (!escape(c))
				return false;
		} else if (*c->p < 0x20) {
			return bad(c, "a control character in a string must be escaped");
		} else {
			if ((n = utf8_char(c->p, c->end)) == 0)
				return bad(c, "not valid UTF-8");
			c->p += n;
		}
	}
}

static bool
digits(struct check *c)
{
	const uint8_t *start = c->p;

	while (c->p < c->end && *c->p >= '0' && *c->p <= '9')
		c->p++;
	return c->p > start;
}

static bool
number(struct check *c)
{
	if (*c->p == '-')
		c->p++;
	if (c->p < c->end && *c->p == '0')
		c->p++;
	else if (!digits(c))
		return bad(c, "invalid number");
	if (c->p < c->end && *c->p == '.') {
		c->p++;
		if (!digits(c))
			return bad(c, "invalid number");
	}
	if (c->p < c->end && (*c->p == 'e' || *c->p == 'E')) {
		c->p++;
		if (c->p < c->end && (*c->p == '+' || *c->p == '-'))
			c->p++;
		if (!digits(c))
			return bad(c, "invalid number");
	}
	return true;
}

static bool
word(struct check *c, const char *w, size_t len)
{
	if ((size_t)(c->end - c->p) < len || memcmp(c->p, w, len) != 0)
		return bad(c, "a JSON value is expected");
	c->p += len;
	return true;
}

static bool
scalar(struct check *c)
{
	switch (*c->p) {
	case '"':
		return string(c);
	case 't':
		return word(c, "true", 4);
	case 'f':
		return word(c, "false", 5);
	case 'n':
		return word(c, "null", 4);
	}
	if (*c->p == '-' || (*c->p >= '0' && *c->p <= '9'))
		return number(c);
	return bad(c, "a JSON value is expected");
}

static bool
in_object(const struct check *c)
{
	return c->depth > 0 && (c->object[(c->depth - 1) / 64] >> ((c->depth - 1) % 64) & 1) != 0;
}

static bool
enter(struct check *c, bool object)
{
	uint64_t bit = (uint64_t)1 << (c->depth % 64);

	if (c->depth == JSON_MAX_DEPTH)
		return bad(c, "nested too deeply");
	if (object)
		c->object[c->depth / 64] |= bit;
	else
		c->object[c->depth / 64] &= ~bit;
	c->depth++;
	c->p++;
	return true;
}

static bool
key(struct check *c)
{
	skip_blanks(c);
	if (c->p == c->end || *c->p != '"')
		return bad(c, "a string as key is expected");
	if (!string(c))
		return false;
	skip_blanks(c);
	if (c->p == c->end || *c->p != ':')
		return bad(c, "':' is expected");
	c->p++;
	return true;
}

/* The start of a value. *done: it is whole already (a scalar, or something empty). */
static bool
value(struct check *c, bool *done)
{
	uint8_t open;

	*done = true;
	skip_blanks(c);
	if (c->p == c->end)
		return bad(c, "ends too early");
	open = *c->p;
	if (open != '{' && open != '[')
		return scalar(c);
	if (!enter(c, open == '{'))
		return false;
	skip_blanks(c);
	if (c->p < c->end && *c->p == (open == '{' ? '}' : ']')) {
		c->p++;
		c->depth--;
		return true;
	}
	*done = false;
	return open == '[' || key(c);
}

/* After a value inside something: a comma and what must follow it, or the end of one level or more. */
static bool
after_value(struct check *c)
{
	while (c->depth > 0) {
		bool object = in_object(c);

		skip_blanks(c);
		if (c->p == c->end)
			return bad(c, "ends too early");
		if (*c->p == ',') {
			c->p++;
			return !object || key(c);
		}
		if (*c->p != (object ? '}' : ']'))
			return bad(c, object ? "',' or '}' is expected" : "',' or ']' is expected");
		c->p++;
		c->depth--;
	}
	return true;
}

static bool
check_all(struct check *c)
{
	bool done;

	do {
		if (!value(c, &done) || (done && !after_value(c)))
			return false;
	} while (c->depth > 0);
	skip_blanks(c);
	return c->p == c->end || bad(c, "more after the value");
}

int
json_check(const char *s, size_t len, size_t *err_at, const char **why)
{
	struct check c;

	c.p = (const uint8_t *)s;
	c.end = c.p + len;
	c.depth = 0;
	c.why = NULL;
	if (check_all(&c))
		return 0;
	if (err_at != NULL)
		*err_at = (size_t)(c.p - (const uint8_t *)s);
	if (why != NULL)
		*why = c.why;
	return -1;
}

static void
quote_special(struct buf *out, uint8_t c)
{
	static const char shorts[] = "\bb\ff\nn\rr\tt\"\"\\\\";

	for (const char *p = shorts; *p != '\0'; p += 2)
		if ((uint8_t)*p == c) {
			buf_add(out, (char[]){ '\\', p[1] }, 2);
			return;
		}
	buf_addf(out, "\\u%04x", c);
}

void
json_quote(struct buf *out, const char *s, size_t len)
{
	const uint8_t *p = (const uint8_t *)s, *end = p + len, *plain;
	size_t n;

	buf_add(out, "\"", 1);
	while (p < end) {
		for (plain = p; p < end && *p >= 0x20 && *p != '"' && *p != '\\' && (n = utf8_char(p, end)) != 0;)
			p += n;
		buf_add(out, plain, (size_t)(p - plain));
		if (p == end)
			break;
		if (*p < 0x80)
			quote_special(out, *p);
		else
			buf_addstr(out, "\xef\xbf\xbd");
		p++;
	}
	buf_add(out, "\"", 1);
}
