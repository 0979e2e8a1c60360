/*
 * Frames that the codec does not write: other forms of msgpack that say the same, keys and types that nobody knows.
 * The cli process only.
 */
#include "config.h"

#include <string.h>

#include "cli/conform.h"

static void
put_be(struct buf *out, uint64_t v, unsigned bytes)
{
	uint8_t text[8];

	for (unsigned i = bytes; i-- > 0; v >>= 8)
		text[i] = (uint8_t)v;
	buf_add(out, text, bytes);
}

static void
put_byte(struct buf *out, unsigned byte)
{
	put_be(out, byte, 1);
}

/* The length is written by end_frame; returns where. */
static size_t
begin_frame(struct buf *out)
{
	put_be(out, 0, MSG_HEAD);
	return out->len;
}

static void
end_frame(struct buf *out, size_t start)
{
	size_t len = out->len - start;
	uint8_t *head = buf_ptr(out) + start - MSG_HEAD;

	for (unsigned i = MSG_HEAD; i-- > 0; len >>= 8)
		head[i] = (uint8_t)len;
}

/* Arrays and maps of less than 16. */
static void
put_head(struct buf *out, bool wide, unsigned fix, unsigned wide_byte, unsigned n)
{
	put_byte(out, wide ? wide_byte : fix | n);
	if (wide)
		put_be(out, n, 4);
}

static void
put_array(struct buf *out, bool wide, unsigned n)
{
	put_head(out, wide, 0x90, 0xdd, n);
}

static void
put_map(struct buf *out, bool wide, unsigned n)
{
	put_head(out, wide, 0x80, 0xdf, n);
}

static void
put_str(struct buf *out, bool wide, const char *s)
{
	size_t len = strlen(s);

	if (wide || len > UINT8_MAX) {
		put_byte(out, 0xdb);
		put_be(out, len, 4);
	} else if (len >= 32) {
		put_byte(out, 0xd9);
		put_be(out, len, 1);
	} else {
		put_byte(out, (unsigned)(0xa0 | len));
	}
	buf_add(out, s, len);
}

static void
put_uint(struct buf *out, const struct raw_form *f, uint64_t v)
{
	if (f->wide_uints || f->wide_ints || v > UINT32_MAX) {
		put_byte(out, f->wide_ints ? 0xd3 : 0xcf);
		put_be(out, v, 8);
	} else if (v < 0x80) {
		put_byte(out, (unsigned)v);
	} else {
		put_byte(out, 0xce);
		put_be(out, v, 4);
	}
}

/* Values of many kinds under keys that are not in the protocol: three of them. */
#define UNKNOWN_KEYS	3

static void
put_unknown(struct buf *out)
{
	put_str(out, false, "x_list");
	put_array(out, false, 3);
	put_byte(out, 0xc0);
	put_byte(out, 0xc3);
	put_byte(out, 0xff);		/* -1 */
	put_str(out, false, "x_map");
	put_map(out, false, 1);
	put_str(out, false, "deeper");
	put_map(out, false, 0);
	put_str(out, false, "x_float");
	put_byte(out, 0xcb);
	put_be(out, UINT64_C(0x3ff8000000000000), 8);	/* 1.5 */
}

static void
put_event(struct buf *out, const struct raw_form *f, const char *payload)
{
	put_map(out, f->wide_heads, 2 + (f->unknown ? UNKNOWN_KEYS : 0));
	if (f->unknown)
		put_unknown(out);
	for (unsigned i = 0; i < 2; i++) {
		bool name = f->reversed ? i == 1 : i == 0;

		put_str(out, f->wide_heads, name ? "name" : "payload");
		put_str(out, f->wide_heads, name ? "pgconductor.invoke" : payload);
	}
}

#define REQUIRED	5
#define OPTIONAL	5

/* The nth field of a RUN: those that must be there, then those that may. */
static void
put_field(struct buf *out, const struct raw_form *f, unsigned n, const char *payload)
{
	static const char *const names[] = {
		"id", "task", "attempt", "token", "event", "deadline_ms", "metadata", "trace", "steps", "more_steps"
	};

	put_str(out, f->wide_heads, names[n]);
	switch (n) {
	case 0:
		put_str(out, f->wide_heads, "42");
		break;
	case 1:
		put_str(out, f->wide_heads, "conform.echo");
		break;
	case 2:
		put_uint(out, f, 1);
		break;
	case 3:
		put_str(out, f->wide_heads, "731.1763712345678.7212345678901234567");
		break;
	case 4:
		put_event(out, f, payload);
		break;
	default:
		put_byte(out, 0xc0);
		break;
	}
}

void
raw_run(struct buf *out, const struct raw_form *f, uint64_t exec, const char *payload)
{
	unsigned n = REQUIRED + (f->nils ? OPTIONAL : 0);
	size_t start = begin_frame(out);

	put_array(out, f->wide_heads, 3);
	put_uint(out, f, MSG_RUN);
	put_uint(out, f, exec);
	put_map(out, f->wide_heads, n + (f->unknown ? UNKNOWN_KEYS : 0));
	for (unsigned i = 0; i < n; i++)
		put_field(out, f, f->reversed ? n - 1 - i : i, payload);
	if (f->unknown)
		put_unknown(out);
	end_frame(out, start);
}

void
raw_welcome(struct buf *out, const struct msg_welcome *m)
{
	static const struct raw_form plain;
	size_t start = begin_frame(out);

	put_array(out, false, 3);
	put_uint(out, &plain, MSG_WELCOME);
	put_uint(out, &plain, 0);
	put_map(out, false, 5 + UNKNOWN_KEYS);
	put_unknown(out);
	put_str(out, false, "protocol");
	put_uint(out, &plain, m->protocol);
	put_str(out, false, "queue");
	put_str(out, false, m->queue.p);
	put_str(out, false, "max_frame");
	put_uint(out, &plain, m->max_frame);
	put_str(out, false, "max_payload");
	put_uint(out, &plain, m->max_payload);
	put_str(out, false, "capabilities");
	put_array(out, false, (unsigned)m->capabilities_n);
	for (size_t i = 0; i < m->capabilities_n; i++)
		put_str(out, false, m->capabilities[i].p);
	end_frame(out, start);
}

void
raw_unknown(struct buf *out, unsigned type, uint64_t exec)
{
	static const struct raw_form plain;
	size_t start = begin_frame(out);

	put_array(out, false, 3);
	put_uint(out, &plain, type);
	put_uint(out, &plain, exec);
	put_map(out, false, UNKNOWN_KEYS);
	put_unknown(out);
	end_frame(out, start);
}
