/*
 * URIs and references to them, RFC 3986. Any process.
 */
#ifndef COMMON_SCHEMA_URI_H
#define COMMON_SCHEMA_URI_H

#include <stdbool.h>
#include <stddef.h>

/* What a reference stands for in a document of this URI; the caller frees it. */
char	*uri_resolve(const char *base, const char *reference, size_t len);
/* Takes the fragment off, and returns it, "" if there is none: into the same string. */
char	*uri_split(char *uri);
/* %2F becomes /, in place. False when it is no proper escape, or a NUL. */
bool	uri_decode(char *);
bool	uri_is_absolute(const char *, size_t len);

#endif
