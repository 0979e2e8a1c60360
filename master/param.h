/*
 * Parameters of a statement in PostgreSQL's binary format, arrays built an element at a time.
 */
#ifndef MASTER_PARAM_H
#define MASTER_PARAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"

#define PARAMS_MAX	20

/* Element types of arrays, by the OIDs that PostgreSQL fixes in pg_type.dat. */
enum param_type {
	PARAM_BOOL = 16,
	PARAM_INT8 = 20,
	PARAM_INT4 = 23,
	PARAM_TEXT = 25,
	PARAM_JSON = 114,
	PARAM_TIMESTAMPTZ = 1184,	/* added as int8: microseconds since 2000 */
	PARAM_XID8 = 5069
};

struct params {
	int		 n;
	struct buf	 value[PARAMS_MAX];
	bool		 null[PARAMS_MAX];
	uint32_t	 count[PARAMS_MAX];	/* elements, of an array */
	bool		 array[PARAMS_MAX];
};

void	params_init(struct params *);
void	params_free(struct params *);
/* Forgets the values, keeps the memory. */
void	params_reset(struct params *);

void	param_int4(struct params *, int32_t);
void	param_int8(struct params *, int64_t);
void	param_bool(struct params *, bool);
void	param_text(struct params *, const char *, size_t);
void	param_str(struct params *, const char *);	/* NULL is null */
void	param_null(struct params *);

/* Adds an array and returns its index; elements follow by that index, several arrays may grow side by side. */
int	param_array(struct params *, enum param_type);
void	param_array_int4(struct params *, int, int32_t);
void	param_array_int8(struct params *, int, int64_t);
void	param_array_xid8(struct params *, int, uint64_t);
void	param_array_bool(struct params *, int, bool);
void	param_array_text(struct params *, int, const char *, size_t);
void	param_array_text_or_null(struct params *, int, const char *, size_t);	/* NULL is null */
void	param_array_null(struct params *, int);
/* Writes the headers; called by db_call. */
void	params_finish(struct params *);

#endif
