/*
 * A growing byte buffer. Any process.
 */
#include "config.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/buf.h"
#include "common/log.h"
#include "common/xmalloc.h"

#define BUF_MIN 256

void
buf_init(struct buf *b)
{
	memset(b, 0, sizeof(*b));
}

void
buf_free(struct buf *b)
{
	free(b->data);
	buf_init(b);
}

uint8_t *
buf_reserve(struct buf *b, size_t n)
{
	size_t need, cap;

	if (b->cap - b->off - b->len >= n && b->data != NULL)
		return b->data + b->off + b->len;
	if (__builtin_add_overflow(b->len, n, &need))
		fatalx("buffer of %zu bytes cannot grow by %zu", b->len, n);
	/* Moving is cheap only while little is left of what was there. */
	if (need <= b->cap && b->len <= b->off) {
		memcpy(b->data, b->data + b->off, b->len);
		b->off = 0;
		return b->data + b->len;
	}
	cap = b->cap < BUF_MIN ? BUF_MIN : b->cap;
	while (cap < need)
		cap += cap / 2;
	if (b->off != 0) {
		uint8_t *fresh = xmalloc(cap);

		memcpy(fresh, b->data + b->off, b->len);
		free(b->data);
		b->data = fresh;
		b->off = 0;
	} else {
		b->data = xrealloc(b->data, cap);
	}
	b->cap = cap;
	return b->data + b->len;
}

void
buf_add(struct buf *b, const void *p, size_t n)
{
	if (n == 0)
		return;
	memcpy(buf_reserve(b, n), p, n);
	b->len += n;
}

void
buf_addstr(struct buf *b, const char *s)
{
	buf_add(b, s, strlen(s));
}

void
buf_addf(struct buf *b, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n < 0)
		fatalx("buf_addf: bad format");
	va_start(ap, fmt);
	vsnprintf((char *)buf_reserve(b, (size_t)n + 1), (size_t)n + 1, fmt, ap);
	va_end(ap);
	b->len += (size_t)n;
}

void
buf_drain(struct buf *b, size_t n)
{
	if (n > b->len)
		fatalx("drain of %zu bytes from a buffer of %zu", n, b->len);
	b->off += n;
	b->len -= n;
	if (b->len == 0)
		b->off = 0;
}

void
buf_reset(struct buf *b, size_t keep)
{
	b->len = b->off = 0;
	if (b->cap > keep) {
		free(b->data);
		b->data = NULL;
		b->cap = 0;
	}
}

char *
buf_steal_str(struct buf *b)
{
	char *s = xstrndup(b->data != NULL ? (char *)buf_ptr(b) : "", b->len);

	buf_free(b);
	return s;
}
