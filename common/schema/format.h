/*
 * The formats that are checked: date-time, email, uuid, uri, ipv4 and ipv6. Any process.
 */
#ifndef COMMON_SCHEMA_FORMAT_H
#define COMMON_SCHEMA_FORMAT_H

#include <stdbool.h>
#include <stddef.h>

struct format {
	const char	*name;
	bool		(*fits)(const char *text, size_t len);
};

/* NULL: it is none of those, and so a remark. */
const struct format *format_find(const char *name, size_t len);

#endif
