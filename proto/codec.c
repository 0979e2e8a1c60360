/*
 * Frames and msgpack, the part that is not generated. Any process; may not trust a byte of what msg_open is given.
 *
 * Our own rather than a library's: the walk that makes a frame safe to unpack has by then read every header, and what
 * is left to do is less than to translate a library's tree; strings are borrowed, and a message costs no allocation.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/utf8.h"
#include "common/xmalloc.h"
#include "proto/codec.h"
#include "proto/wire.h"

#define CHUNK_MIN	4096
#define CHUNK_KEEP	65536

struct msg_chunk {
	struct msg_chunk *next;
	size_t		 size, used;
	max_align_t	 data[];
};

static uint64_t
load_be(const uint8_t *p, unsigned bytes)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < bytes; i++)
		v = v << 8 | p[i];
	return v;
}

static uint8_t *
store_be(uint8_t *p, uint64_t v, unsigned bytes)
{
	for (unsigned i = bytes; i-- > 0; v >>= 8)
		p[i] = (uint8_t)v;
	return p + bytes;
}

/* Walking: what one header says about the bytes and values that follow it. */

enum head_kind { HEAD_INVALID, HEAD_SCALAR, HEAD_SIZED, HEAD_ARRAY, HEAD_MAP };

/* Headers from 0xc0 to 0xdf. For HEAD_SCALAR n is the bytes that follow, for the others the bytes of the count. */
static const struct head {
	uint8_t	kind, n, extra;
} heads[32] = {
	[0x00] = { HEAD_SCALAR, 0, 0 }, [0x01] = { HEAD_INVALID, 0, 0 },
	[0x02] = { HEAD_SCALAR, 0, 0 }, [0x03] = { HEAD_SCALAR, 0, 0 },
	[0x04] = { HEAD_SIZED, 1, 0 }, [0x05] = { HEAD_SIZED, 2, 0 }, [0x06] = { HEAD_SIZED, 4, 0 },
	[0x07] = { HEAD_SIZED, 1, 1 }, [0x08] = { HEAD_SIZED, 2, 1 }, [0x09] = { HEAD_SIZED, 4, 1 },
	[0x0a] = { HEAD_SCALAR, 4, 0 }, [0x0b] = { HEAD_SCALAR, 8, 0 },
	[0x0c] = { HEAD_SCALAR, 1, 0 }, [0x0d] = { HEAD_SCALAR, 2, 0 },
	[0x0e] = { HEAD_SCALAR, 4, 0 }, [0x0f] = { HEAD_SCALAR, 8, 0 },
	[0x10] = { HEAD_SCALAR, 1, 0 }, [0x11] = { HEAD_SCALAR, 2, 0 },
	[0x12] = { HEAD_SCALAR, 4, 0 }, [0x13] = { HEAD_SCALAR, 8, 0 },
	[0x14] = { HEAD_SCALAR, 2, 0 }, [0x15] = { HEAD_SCALAR, 3, 0 }, [0x16] = { HEAD_SCALAR, 5, 0 },
	[0x17] = { HEAD_SCALAR, 9, 0 }, [0x18] = { HEAD_SCALAR, 17, 0 },
	[0x19] = { HEAD_SIZED, 1, 0 }, [0x1a] = { HEAD_SIZED, 2, 0 }, [0x1b] = { HEAD_SIZED, 4, 0 },
	[0x1c] = { HEAD_ARRAY, 2, 0 }, [0x1d] = { HEAD_ARRAY, 4, 0 },
	[0x1e] = { HEAD_MAP, 2, 0 }, [0x1f] = { HEAD_MAP, 4, 0 },
};

/* Reads the header at p: *skip bytes belong to the value itself, *inside values follow. NULL: it is not whole. */
static const uint8_t *
walk_head(const uint8_t *p, const uint8_t *end, uint64_t *skip, uint64_t *inside, const char **why)
{
	uint8_t c = *p++;
	const struct head *h;
	uint64_t count;

	*skip = *inside = 0;
	if (c < 0x80 || c >= 0xe0)
		return p;
	if (c < 0xa0) {
		*inside = c < 0x90 ? 2u * (c & 0x0f) : c & 0x0f;
		return p;
	}
	if (c < 0xc0) {
		*skip = c & 0x1f;
		return p;
	}
	h = &heads[c - 0xc0];
	if (h->kind == HEAD_INVALID) {
		*why = "a byte that begins no msgpack value";
		return NULL;
	}
	if (h->kind == HEAD_SCALAR) {
		*skip = h->n;
		return p;
	}
	if ((size_t)(end - p) < h->n) {
		*why = "cut short";
		return NULL;
	}
	count = load_be(p, h->n);
	if (h->kind == HEAD_SIZED)
		*skip = count + h->extra;
	else
		*inside = h->kind == HEAD_MAP ? 2 * count : count;
	return p + h->n;
}

/* Walks one value with all it contains; returns what follows it, NULL when it is not well-formed up to end. */
const uint8_t *
wire_walk(const uint8_t *p, const uint8_t *end, const char **why)
{
	uint64_t left[MSG_MAX_DEPTH], n = 1, skip, inside;
	unsigned depth = 0;

	for (;;) {
		while (n == 0) {
			if (depth == 0)
				return p;
			n = left[--depth];
		}
		n--;
		if (p == end) {
			*why = "cut short";
			return NULL;
		}
		if ((p = walk_head(p, end, &skip, &inside, why)) == NULL)
			return NULL;
		if (skip > (size_t)(end - p) || inside > (size_t)(end - p)) {
			*why = "a length or count beyond the end of the frame";
			return NULL;
		}
		p += skip;
		if (inside != 0) {
			if (depth == MSG_MAX_DEPTH) {
				*why = "nested too deeply";
				return NULL;
			}
			left[depth++] = n;
			n = inside;
		}
	}
}

/* For bytes that were walked, so it cannot fail. */
const uint8_t *
wire_skip(const struct msg *m, const uint8_t *p)
{
	const char *why;

	return wire_walk(p, m->end, &why);
}

/* Opening a frame */

void
msg_init(struct msg *m)
{
	memset(m, 0, sizeof(*m));
}

static void
chunks_free(struct msg_chunk *c)
{
	struct msg_chunk *next;

	for (; c != NULL; c = next) {
		next = c->next;
		free(c);
	}
}

void
msg_free(struct msg *m)
{
	chunks_free(m->chunks);
	msg_init(m);
}

/* Keeps one chunk of ordinary size, so that steady traffic allocates nothing. */
static void
chunks_reset(struct msg *m)
{
	struct msg_chunk *c = m->chunks;

	if (c == NULL)
		return;
	chunks_free(c->next);
	c->next = NULL;
	c->used = 0;
	if (c->size > CHUNK_KEEP) {
		free(c);
		m->chunks = NULL;
	}
}

static const char *
open_frame(struct msg *m, const uint8_t *body, size_t len)
{
	const uint8_t *p, *end = body + len;
	const char *why = NULL;
	uint64_t type;
	uint32_t n;

	if (len == 0)
		return "empty";
	if ((p = wire_walk(body, end, &why)) == NULL)
		return why;
	if (p != end)
		return "bytes after its end";
	if ((p = wire_get_list(body, &n)) == NULL || n != 3)
		return "not an array of three";
	if ((p = wire_get_uint(p, &type)) == NULL || type > UINT16_MAX)
		return "the type is not a small number";
	if ((p = wire_get_uint(p, &m->exec)) == NULL)
		return "the execution is not a number";
	if (wire_get_map(p, &n) == NULL)
		return "the fields are not a map";
	m->type = (unsigned)type;
	m->map = p;
	m->end = end;
	return NULL;
}

int
msg_open(struct msg *m, const uint8_t *body, size_t len, const char **why)
{
	const char *bad;

	chunks_reset(m);
	m->type = 0;
	m->exec = 0;
	m->map = m->end = NULL;
	if ((bad = open_frame(m, body, len)) == NULL)
		return 0;
	snprintf(m->why, sizeof(m->why), "frame: %s", bad);
	*why = m->why;
	return -1;
}

struct pstr
pstr(const char *s)
{
	return (struct pstr){ .p = s, .len = s != NULL ? strlen(s) : 0 };
}

bool
pstr_is(struct pstr s, const char *text)
{
	if (s.p == NULL || text == NULL)
		return s.p == text;
	return s.len == strlen(text) && memcmp(s.p, text, s.len) == 0;
}

/* Getters */

const uint8_t *
wire_get_uint(const uint8_t *p, uint64_t *v)
{
	uint8_t c = *p++;
	unsigned bytes;

	if (c < 0x80) {
		*v = c;
		return p;
	}
	if (c < 0xcc || c > 0xd3)
		return NULL;
	bytes = 1u << (c & 3);
	*v = load_be(p, bytes);
	/* The signed forms serve too, for whoever writes every number as one. */
	if (c >= 0xd0 && (*v >> (8 * bytes - 1)) != 0)
		return NULL;
	return p + bytes;
}

const uint8_t *
wire_get_int(const uint8_t *p, int64_t *v)
{
	uint8_t c = *p;
	unsigned bytes;
	uint64_t u;

	if (c >= 0xe0) {
		*v = (int8_t)c;
		return p + 1;
	}
	if (c < 0xd0 || c > 0xd3) {
		if ((p = wire_get_uint(p, &u)) == NULL || u > INT64_MAX)
			return NULL;
		*v = (int64_t)u;
		return p;
	}
	bytes = 1u << (c & 3);
	u = load_be(p + 1, bytes) << (64 - 8 * bytes);
	*v = (int64_t)u >> (64 - 8 * bytes);
	return p + 1 + bytes;
}

const uint8_t *
wire_get_bool(const uint8_t *p, bool *v)
{
	if (*p != 0xc2 && *p != 0xc3)
		return NULL;
	*v = *p == 0xc3;
	return p + 1;
}

const uint8_t *
wire_get_raw_str(const uint8_t *p, struct pstr *s)
{
	uint8_t c = *p++;

	if ((c & 0xe0) == 0xa0) {
		s->len = c & 0x1f;
	} else if (c >= 0xd9 && c <= 0xdb) {
		unsigned bytes = 1u << (c - 0xd9);

		s->len = load_be(p, bytes);
		p += bytes;
	} else {
		return NULL;
	}
	s->p = (const char *)p;
	return p + s->len;
}

const uint8_t *
wire_get_str(const uint8_t *p, struct pstr *s)
{
	p = wire_get_raw_str(p, s);
	return p != NULL && utf8_valid(s->p, s->len) ? p : NULL;
}

const uint8_t *
wire_get_map(const uint8_t *p, uint32_t *n)
{
	uint8_t c = *p++;

	if ((c & 0xf0) == 0x80) {
		*n = c & 0x0f;
		return p;
	}
	if (c != 0xde && c != 0xdf)
		return NULL;
	*n = (uint32_t)load_be(p, c == 0xde ? 2 : 4);
	return p + (c == 0xde ? 2 : 4);
}

const uint8_t *
wire_get_list(const uint8_t *p, uint32_t *n)
{
	uint8_t c = *p++;

	if ((c & 0xf0) == 0x90) {
		*n = c & 0x0f;
		return p;
	}
	if (c != 0xdc && c != 0xdd)
		return NULL;
	*n = (uint32_t)load_be(p, c == 0xdc ? 2 : 4);
	return *n <= MSG_MAX_LIST ? p + (c == 0xdc ? 2 : 4) : NULL;
}

/* What decoding keeps and says */

void *
wire_alloc(struct msg *m, size_t n, size_t size)
{
	const size_t align = sizeof(max_align_t);
	struct msg_chunk *c = m->chunks;
	size_t need = (n * size + align - 1) / align * align;
	uint8_t *p;

	if (c == NULL || c->size - c->used < need) {
		size_t room = need > CHUNK_MIN ? need : CHUNK_MIN;

		c = xmalloc(sizeof(*c) + room);
		c->next = m->chunks;
		c->size = room;
		c->used = 0;
		m->chunks = c;
	}
	p = (uint8_t *)c->data + c->used;
	c->used += need;
	return p;
}

const uint8_t *
wire_bad(struct msg *m, const char *field, const char *what)
{
	if (field != NULL)
		snprintf(m->why, sizeof(m->why), "%s: %s", field, what);
	else
		snprintf(m->why, sizeof(m->why), ": %s", what);
	return NULL;
}

const uint8_t *
wire_bad_in(struct msg *m, const char *field, long index)
{
	char inner[sizeof(m->why)];
	const char *dot;

	memcpy(inner, m->why, sizeof(inner));
	dot = inner[0] == ':' || inner[0] == '[' ? "" : ".";
	if (index < 0)
		snprintf(m->why, sizeof(m->why), "%s%s%.100s", field, dot, inner);
	else
		snprintf(m->why, sizeof(m->why), "%s[%ld]%s%.100s", field, index, dot, inner);
	return NULL;
}

const uint8_t *
wire_missing(struct msg *m, const struct wire_field *fields, size_t n, uint32_t seen)
{
	for (size_t i = 0; i < n; i++)
		if (fields[i].required && (seen & 1u << i) == 0)
			return wire_bad(m, fields[i].name, "missing");
	return wire_bad(m, NULL, "incomplete");
}

/* Putters */

uint8_t *
wire_begin(struct buf *out, size_t room, unsigned type, uint64_t exec)
{
	uint8_t *p = buf_reserve(out, WIRE_FRAME + room) + MSG_HEAD;

	*p++ = 0x93;
	p = wire_put_uint(p, type);
	return wire_put_uint(p, exec);
}

void
wire_end(struct buf *out, uint8_t *end)
{
	uint8_t *start = buf_ptr(out) + out->len;
	size_t len = (size_t)(end - start) - MSG_HEAD;

	if (len > UINT32_MAX)
		fatalx("a frame of %zu bytes", len);
	store_be(start, len, 4);
	buf_grew(out, MSG_HEAD + len);
}

uint8_t *
wire_put_wide_uint(uint8_t *p, uint64_t v)
{
	if (v <= UINT8_MAX) {
		*p++ = 0xcc;
		return store_be(p, v, 1);
	}
	if (v <= UINT16_MAX) {
		*p++ = 0xcd;
		return store_be(p, v, 2);
	}
	if (v <= UINT32_MAX) {
		*p++ = 0xce;
		return store_be(p, v, 4);
	}
	*p++ = 0xcf;
	return store_be(p, v, 8);
}

uint8_t *
wire_put_int(uint8_t *p, int64_t v)
{
	if (v >= 0)
		return wire_put_uint(p, (uint64_t)v);
	if (v >= -32) {
		*p++ = (uint8_t)v;
		return p;
	}
	if (v >= INT8_MIN) {
		*p++ = 0xd0;
		return store_be(p, (uint64_t)v, 1);
	}
	if (v >= INT16_MIN) {
		*p++ = 0xd1;
		return store_be(p, (uint64_t)v, 2);
	}
	if (v >= INT32_MIN) {
		*p++ = 0xd2;
		return store_be(p, (uint64_t)v, 4);
	}
	*p++ = 0xd3;
	return store_be(p, (uint64_t)v, 8);
}

static uint8_t *
put_count(uint8_t *p, size_t n, uint8_t fix, uint8_t wide)
{
	if (n < 16) {
		*p++ = (uint8_t)(fix | n);
		return p;
	}
	if (n <= UINT16_MAX) {
		*p++ = wide;
		return store_be(p, n, 2);
	}
	*p++ = wide + 1;
	return store_be(p, n, 4);
}

uint8_t *
wire_put_map(uint8_t *p, uint32_t n)
{
	return put_count(p, n, 0x80, 0xde);
}

uint8_t *
wire_put_list(uint8_t *p, size_t n)
{
	return put_count(p, n, 0x90, 0xdc);
}

uint8_t *
wire_put_str_head(uint8_t *p, size_t len)
{
	if (len <= UINT8_MAX) {
		*p++ = 0xd9;
		return store_be(p, len, 1);
	}
	if (len <= UINT16_MAX) {
		*p++ = 0xda;
		return store_be(p, len, 2);
	}
	*p++ = 0xdb;
	return store_be(p, len, 4);
}
