/*
 * Allocation that cannot fail: a process that may not have a few bytes more is ended by fatal().
 * Sizes that a peer controls are checked against a limit before they come here.
 */
#ifndef COMMON_XMALLOC_H
#define COMMON_XMALLOC_H

#include <stddef.h>

void	*xmalloc(size_t size) __attribute__((malloc));
void	*xcalloc(size_t n, size_t size) __attribute__((malloc));
void	*xrealloc(void *, size_t size);
void	*xreallocarray(void *, size_t n, size_t size);
char	*xstrdup(const char *) __attribute__((malloc));
char	*xstrndup(const char *, size_t len) __attribute__((malloc));
void	*xmemdup(const void *, size_t len) __attribute__((malloc));
/* Returns the string itself, which the caller frees. */
char	*xasprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
