/*
 * Text made harmless to a terminal. Any process; no state.
 */
#include "config.h"

#include <stdio.h>

#include "common/buf.h"
#include "common/plain.h"
#include "common/utf8.h"

static uint32_t
decode(const char *s, size_t n)
{
	const unsigned char *p = (const unsigned char *)s;
	uint32_t c = n == 1 ? p[0] : p[0] & (0x7fu >> n);

	for (size_t i = 1; i < n; i++)
		c = c << 6 | (p[i] & 0x3fu);
	return c;
}

/* Characters that move the cursor, hide or reorder text. */
static bool
is_unsafe(uint32_t c)
{
	return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x200e || c == 0x200f || (c >= 0x2028 && c <= 0x202e) ||
	    (c >= 0x2066 && c <= 0x2069) || c == 0xfeff || c == 0x61c;
}

struct plain_char
plain_next(const char *s, const char *end)
{
	size_t n = utf8_char((const uint8_t *)s, (const uint8_t *)end);
	uint32_t c = n > 0 ? decode(s, n) : 0xfffd;

	return (struct plain_char){ c, n > 0 ? n : 1, n > 0 && !is_unsafe(c) };
}

char *
plain_escape(const struct plain_char *p, const char *s, char out[PLAIN_ESCAPE])
{
	if (p->c == '\n' || p->c == '\t')
		snprintf(out, PLAIN_ESCAPE, "\\%c", p->c == '\n' ? 'n' : 't');
	else if (p->len == 1)
		snprintf(out, PLAIN_ESCAPE, "\\x%02x", (unsigned char)*s);
	else
		snprintf(out, PLAIN_ESCAPE, p->c < 0x100 ? "\\x%02x" : "\\u%04x", p->c);
	return out;
}

void
plain_add(struct buf *out, const char *s, size_t len)
{
	const char *end = s + len;
	char text[PLAIN_ESCAPE];
	struct plain_char p;

	for (; s < end; s += p.len) {
		p = plain_next(s, end);
		if (p.safe)
			buf_add(out, s, p.len);
		else
			buf_addstr(out, plain_escape(&p, s, text));
	}
}
