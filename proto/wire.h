/*
 * Typed put and get of msgpack values, for proto/codec.c and the generated proto/messages.c only.
 *
 * Getters run on bytes that msg_open has walked, so every value is whole; they check types and ranges. They return
 * the position after the value, or NULL when it is of another type. Putters write the shortest form into room that
 * the wire_size_* functions have counted.
 */
#ifndef PROTO_WIRE_H
#define PROTO_WIRE_H

#include <string.h>

#include "proto/codec.h"

#define WIRE_NIL	0xc0
#define WIRE_INT	9		/* most bytes a number or a header takes */
#define WIRE_FRAME	(MSG_HEAD + 1 + 2 * WIRE_INT)

/* What decoding needs to know about one field of a struct or message. */
struct wire_field {
	const char	*name;
	bool		 required;
};

const uint8_t *wire_walk(const uint8_t *p, const uint8_t *end, const char **why);
const uint8_t *wire_skip(const struct msg *, const uint8_t *p);
const uint8_t *wire_get_uint(const uint8_t *p, uint64_t *);
const uint8_t *wire_get_int(const uint8_t *p, int64_t *);
const uint8_t *wire_get_bool(const uint8_t *p, bool *);
const uint8_t *wire_get_raw_str(const uint8_t *p, struct pstr *);
const uint8_t *wire_get_map(const uint8_t *p, uint32_t *n);
/* Also refuses more elements than the bytes up to the end of their values can hold, and more than MSG_MAX_LIST. */
const uint8_t *wire_get_list(const uint8_t *p, uint32_t *n);
/* A string that is UTF-8 without NUL. */
const uint8_t *wire_get_str(const uint8_t *p, struct pstr *);

void	*wire_alloc(struct msg *, size_t n, size_t size);
/* Always NULL; the path grows outwards: "name: missing", then "tasks[3].name: missing". */
const uint8_t *wire_bad(struct msg *, const char *field, const char *what);
const uint8_t *wire_bad_in(struct msg *, const char *field, long index);
const uint8_t *wire_missing(struct msg *, const struct wire_field *, size_t n, uint32_t seen);

uint8_t	*wire_begin(struct buf *, size_t room, unsigned type, uint64_t exec);
void	 wire_end(struct buf *, uint8_t *end);
uint8_t	*wire_put_wide_uint(uint8_t *p, uint64_t v);
uint8_t	*wire_put_int(uint8_t *p, int64_t v);
uint8_t	*wire_put_map(uint8_t *p, uint32_t n);
uint8_t	*wire_put_list(uint8_t *p, size_t n);
uint8_t	*wire_put_str_head(uint8_t *p, size_t len);

static inline uint8_t *
wire_put_uint(uint8_t *p, uint64_t v)
{
	if (v < 0x80) {
		*p = (uint8_t)v;
		return p + 1;
	}
	return wire_put_wide_uint(p, v);
}

static inline uint8_t *
wire_put_bool(uint8_t *p, bool v)
{
	*p = v ? 0xc3 : 0xc2;
	return p + 1;
}

/* An absent string in a place that must have one is written as the empty string. */
static inline uint8_t *
wire_put_str(uint8_t *p, const struct pstr *s)
{
	if (s->p == NULL) {
		*p = 0xa0;
		return p + 1;
	}
	if (s->len < 32)
		*p++ = (uint8_t)(0xa0 | s->len);
	else
		p = wire_put_str_head(p, s->len);
	memcpy(p, s->p, s->len);
	return p + s->len;
}

static inline size_t
wire_size_str(const struct pstr *s)
{
	return s->p != NULL ? 5 + s->len : 1;
}

#endif
