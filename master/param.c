/*
 * Parameters in PostgreSQL's binary format. Master.
 */
#include "config.h"

#include <arpa/inet.h>
#include <endian.h>

#include "common/log.h"
#include "master/param.h"

/* An array's header: dimensions, has nulls, element type, length, lower bound. */
#define ARRAY_HEADER	20

void
params_init(struct params *p)
{
	memset(p, 0, sizeof(*p));
}

void
params_free(struct params *p)
{
	for (int i = 0; i < PARAMS_MAX; i++)
		buf_free(&p->value[i]);
	p->n = 0;
}

void
params_reset(struct params *p)
{
	for (int i = 0; i < p->n; i++)
		buf_reset(&p->value[i], 1 << 20);
	p->n = 0;
}

static int
next(struct params *p, bool null, bool array)
{
	if (p->n == PARAMS_MAX)
		fatalx("a statement with more than %d parameters", PARAMS_MAX);
	p->null[p->n] = null;
	p->array[p->n] = array;
	p->count[p->n] = 0;
	return p->n++;
}

static void
add32(struct buf *b, uint32_t v)
{
	v = htonl(v);
	memcpy(buf_reserve(b, 4), &v, 4);
	buf_grew(b, 4);
}

static void
add64(struct buf *b, uint64_t v)
{
	v = htobe64(v);
	memcpy(buf_reserve(b, 8), &v, 8);
	buf_grew(b, 8);
}

void
param_int4(struct params *p, int32_t v)
{
	add32(&p->value[next(p, false, false)], (uint32_t)v);
}

void
param_int8(struct params *p, int64_t v)
{
	add64(&p->value[next(p, false, false)], (uint64_t)v);
}

void
param_bool(struct params *p, bool v)
{
	uint8_t byte = v;

	buf_add(&p->value[next(p, false, false)], &byte, 1);
}

void
param_text(struct params *p, const char *s, size_t len)
{
	struct buf *b = &p->value[next(p, false, false)];

	buf_reserve(b, len + 1);
	buf_add(b, s, len);
}

void
param_str(struct params *p, const char *s)
{
	if (s == NULL)
		param_null(p);
	else
		param_text(p, s, strlen(s));
}

void
param_null(struct params *p)
{
	next(p, true, false);
}

int
param_array(struct params *p, enum param_type type)
{
	int i = next(p, false, true);
	struct buf *b = &p->value[i];

	add32(b, 1);
	add32(b, 0);
	add32(b, type);
	add32(b, 0);
	add32(b, 1);
	return i;
}

void
param_array_int4(struct params *p, int i, int32_t v)
{
	add32(&p->value[i], 4);
	add32(&p->value[i], (uint32_t)v);
	p->count[i]++;
}

void
param_array_int8(struct params *p, int i, int64_t v)
{
	add32(&p->value[i], 8);
	add64(&p->value[i], (uint64_t)v);
	p->count[i]++;
}

void
param_array_xid8(struct params *p, int i, uint64_t v)
{
	param_array_int8(p, i, (int64_t)v);
}

void
param_array_bool(struct params *p, int i, bool v)
{
	uint8_t byte = v;

	add32(&p->value[i], 1);
	buf_add(&p->value[i], &byte, 1);
	p->count[i]++;
}

void
param_array_text(struct params *p, int i, const char *s, size_t len)
{
	if (len > INT32_MAX)
		fatalx("array element of %zu bytes", len);
	add32(&p->value[i], (uint32_t)len);
	buf_add(&p->value[i], s, len);
	p->count[i]++;
}

void
param_array_null(struct params *p, int i)
{
	uint32_t has_nulls = htonl(1);

	memcpy(buf_ptr(&p->value[i]) + 4, &has_nulls, 4);
	add32(&p->value[i], UINT32_MAX);
	p->count[i]++;
}

void
param_array_text_or_null(struct params *p, int i, const char *s, size_t len)
{
	if (s != NULL)
		param_array_text(p, i, s, len);
	else
		param_array_null(p, i);
}

void
params_finish(struct params *p)
{
	for (int i = 0; i < p->n; i++) {
		uint32_t count = htonl(p->count[i]), dims = htonl(p->count[i] != 0);

		if (!p->array[i])
			continue;
		memcpy(buf_ptr(&p->value[i]), &dims, 4);
		memcpy(buf_ptr(&p->value[i]) + 12, &count, 4);
		/* No dimensions: the header ends after the element type. */
		if (p->count[i] == 0)
			p->value[i].len = ARRAY_HEADER - 8;
	}
}
