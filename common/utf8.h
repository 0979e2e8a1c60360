/*
 * UTF-8 as PostgreSQL takes it: no NUL, no overlong form, no surrogate, nothing above U+10FFFF.
 */
#ifndef COMMON_UTF8_H
#define COMMON_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Length in bytes of the character that begins at p (end is beyond the last byte); 0 when there is none. */
size_t	utf8_char(const uint8_t *p, const uint8_t *end);
/* How many bytes from the start are whole characters; len when all is well. A NUL ends it. */
size_t	utf8_span(const void *s, size_t len);

static inline bool
utf8_valid(const void *s, size_t len)
{
	return utf8_span(s, len) == len;
}

/*
 * Eight bytes at once. The words may name a byte too many (a borrow from a lower one), never one too few,
 * so what they answer is only "nothing here needs a closer look".
 */
#define UTF8_ONES	0x0101010101010101ull
#define UTF8_HIGHS	0x8080808080808080ull

static inline uint64_t
utf8_load8(const uint8_t *p)
{
	uint64_t w;

	memcpy(&w, p, sizeof(w));
	return w;
}

/* Non-zero if a byte of w may be zero or is not ASCII. */
static inline uint64_t
utf8_odd8(uint64_t w)
{
	return ((w - UTF8_ONES) | w) & UTF8_HIGHS;
}

#endif
