/*
 * Connection strings made ready for a process that may not block: host names become addresses before libpq sees them.
 */
#ifndef MASTER_RESOLVE_H
#define MASTER_RESOLVE_H

struct evdns_base;

/*
 * keywords and values are NULL-terminated and belong to the resolver until the callback returns; error is NULL, or
 * says what is wrong and the others are NULL.
 */
typedef void (*resolve_cb)(const char *const *keywords, const char *const *values, const char *error, void *arg);

/* The callback comes once, perhaps before this returns. */
void	resolve_start(struct evdns_base *, const char *conninfo, resolve_cb, void *arg);

#endif
