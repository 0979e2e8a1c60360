/*
 * UTF-8 validation. Any process; on the hot path of every string that crosses a link.
 */
#include "config.h"

#include "common/utf8.h"

static bool
tail(uint8_t c)
{
	return (c & 0xc0) == 0x80;
}

size_t
utf8_char(const uint8_t *p, const uint8_t *end)
{
	size_t room = (size_t)(end - p);

	if (room == 0 || p[0] == 0)
		return 0;
	if (p[0] < 0x80)
		return 1;
	if (p[0] < 0xc2)
		return 0;
	if (p[0] < 0xe0)
		return room >= 2 && tail(p[1]) ? 2 : 0;
	if (p[0] < 0xf0) {
		if (room < 3 || !tail(p[1]) || !tail(p[2]))
			return 0;
		if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f))
			return 0;
		return 3;
	}
	if (p[0] > 0xf4 || room < 4 || !tail(p[1]) || !tail(p[2]) || !tail(p[3]))
		return 0;
	if ((p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
		return 0;
	return 4;
}

size_t
utf8_span(const void *s, size_t len)
{
	const uint8_t *start = s, *p = start, *end = start + len;

	for (;;) {
		size_t n;

		while (end - p >= 8 && utf8_odd8(utf8_load8(p)) == 0)
			p += 8;
		/* Up to the next word, or a little beyond it. */
		for (int i = 0; i < 8; i++) {
			if (p == end || (n = utf8_char(p, end)) == 0)
				return (size_t)(p - start);
			p += n;
		}
	}
}
