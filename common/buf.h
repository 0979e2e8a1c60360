/*
 * A growing byte buffer: appended at the end, drained at the front. Content is data[off .. off + len).
 */
#ifndef COMMON_BUF_H
#define COMMON_BUF_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct buf {
	uint8_t	*data;
	size_t	 len;		/* bytes of content */
	size_t	 cap;		/* bytes allocated */
	size_t	 off;		/* where content begins */
};

void	buf_init(struct buf *);
void	buf_free(struct buf *);
/* Makes room for n more bytes at the end; returns where they go. What is written there counts after buf_grew. */
uint8_t	*buf_reserve(struct buf *, size_t n);
void	buf_add(struct buf *, const void *, size_t n);
void	buf_addstr(struct buf *, const char *);
void	buf_addf(struct buf *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Drops n bytes at the front. */
void	buf_drain(struct buf *, size_t n);
/* Drops all content; gives memory beyond keep bytes back. */
void	buf_reset(struct buf *, size_t keep);
/* The content as a NUL-terminated string the caller frees; the buffer is empty afterwards. */
char	*buf_steal_str(struct buf *);

static inline uint8_t *
buf_ptr(struct buf *b)
{
	return b->data + b->off;
}

static inline void
buf_grew(struct buf *b, size_t n)
{
	b->len += n;
}

#endif
