/*
 * Name look-up for libpq. Master.
 *
 * libpq calls getaddrinfo(), which blocks. So the effective options (connection string, service file, PG* variables)
 * are asked of libpq, the names are looked up with evdns, and libpq is given addresses beside the names.
 */
#include "config.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>
#include <event2/dns.h>
#include <event2/util.h>
#include <libpq-fe.h>

#include "common/buf.h"
#include "common/xmalloc.h"
#include "master/resolve.h"

#define OPTIONS_MAX	64
#define HOSTS_MAX	16
/* An address to which connect() fails at once. */
#define NOBODY		"255.255.255.255"

struct resolve {
	resolve_cb		 cb;
	void			*arg;
	struct evdns_base	*dns;
	const char		*keywords[OPTIONS_MAX];
	char			*values[OPTIONS_MAX];
	int			 n;
	char			*hosts[HOSTS_MAX];
	char			*addresses[HOSTS_MAX];
	int			 nhosts, done;
	char			*failed;
};

static void	resolve_next(struct resolve *);

static void
resolve_free(struct resolve *r)
{
	for (int i = 0; i < r->n; i++)
		free(r->values[i]);
	for (int i = 0; i < r->nhosts; i++) {
		free(r->hosts[i]);
		free(r->addresses[i]);
	}
	free(r->failed);
	free(r);
}

static void
add_option(struct resolve *r, const char *keyword, const char *value)
{
	if (r->n == OPTIONS_MAX - 1)
		return;
	r->keywords[r->n] = keyword;
	r->values[r->n++] = xstrdup(value);
}

static const char *
option(const struct resolve *r, const char *keyword)
{
	for (int i = 0; i < r->n; i++)
		if (strcmp(r->keywords[i], keyword) == 0)
			return r->values[i];
	return NULL;
}

static void
resolve_end(struct resolve *r, const char *error)
{
	resolve_cb cb = r->cb;
	void *arg = r->arg;

	if (error != NULL) {
		cb(NULL, NULL, error, arg);
	} else {
		r->keywords[r->n] = NULL;
		r->values[r->n] = NULL;
		cb(r->keywords, (const char *const *)r->values, NULL, arg);
	}
	resolve_free(r);
}

/*
 * The options libpq would use. A count of addresses that cannot match makes it give up before it touches the
 * network, and what it had gathered by then can be read.
 */
static bool
load_options(struct resolve *r, const char *conninfo, char **error)
{
	static const char *const keywords[] = { "dbname", "hostaddr", NULL };
	const char *values[] = { conninfo, ",,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,", NULL };
	PQconninfoOption *opts, *own;
	PGconn *probe;

	own = PQconninfoParse(conninfo, error);
	if (own == NULL)
		return false;
	probe = PQconnectStartParams(keywords, values, 1);
	opts = PQconninfo(probe);
	for (PQconninfoOption *o = opts; o != NULL && o->keyword != NULL; o++) {
		if (o->val == NULL || o->val[0] == '\0' || strcmp(o->keyword, "hostaddr") == 0)
			continue;
		add_option(r, o->keyword, o->val);
	}
	for (PQconninfoOption *o = own; o->keyword != NULL; o++)
		if (strcmp(o->keyword, "hostaddr") == 0 && o->val != NULL)
			add_option(r, "hostaddr", o->val);
	PQconninfoFree(own);
	PQconninfoFree(opts);
	PQfinish(probe);
	if (option(r, "hostaddr") == NULL && getenv("PGHOSTADDR") != NULL)
		add_option(r, "hostaddr", getenv("PGHOSTADDR"));
	return true;
}

static void
split_hosts(struct resolve *r, const char *list)
{
	const char *p = list;

	while (r->nhosts < HOSTS_MAX) {
		size_t len = strcspn(p, ",");

		r->hosts[r->nhosts++] = xstrndup(p, len);
		if (p[len] == '\0')
			return;
		p += len + 1;
	}
}

static void
looked_up(int result, struct evutil_addrinfo *res, void *arg)
{
	struct resolve *r = arg;
	char text[INET6_ADDRSTRLEN] = "";

	if (result == 0 && res != NULL) {
		const void *addr = res->ai_family == AF_INET6 ?
		    (const void *)&((struct sockaddr_in6 *)(void *)res->ai_addr)->sin6_addr :
		    (const void *)&((struct sockaddr_in *)(void *)res->ai_addr)->sin_addr;

		inet_ntop(res->ai_family, addr, text, sizeof(text));
	}
	if (res != NULL)
		evutil_freeaddrinfo(res);
	if (text[0] == '\0') {
		free(r->failed);
		r->failed = xasprintf("host \"%s\" is not known: %s", r->hosts[r->done], evutil_gai_strerror(result));
	} else {
		r->addresses[r->done] = xstrdup(text);
	}
	r->done++;
	resolve_next(r);
}

static bool
needs_lookup(const char *host)
{
	struct in6_addr any;

	return host[0] != '\0' && host[0] != '/' && host[0] != '@' && inet_pton(AF_INET, host, &any) != 1 &&
	    inet_pton(AF_INET6, host, &any) != 1;
}

/* Hands libpq the hosts that are known, with their addresses. */
static void
resolve_finish(struct resolve *r)
{
	struct buf list;
	bool named = false;

	buf_init(&list);
	for (int i = 0; i < r->nhosts; i++) {
		bool failed = needs_lookup(r->hosts[i]) && r->addresses[i] == NULL;

		named |= r->addresses[i] != NULL;
		/* A name that is not known keeps its place: an address nobody has, so that libpq goes on to the next. */
		buf_addf(&list, "%s%s", i != 0 ? "," : "", failed ? NOBODY : r->addresses[i] != NULL ? r->addresses[i] : "");
	}
	if (named) {
		char *addresses = buf_steal_str(&list);

		add_option(r, "hostaddr", addresses);
		free(addresses);
	} else {
		buf_free(&list);
	}
	resolve_end(r, named ? NULL : r->failed);
}

/* Looks names up one after the other. */
static void
resolve_next(struct resolve *r)
{
	struct evutil_addrinfo hints = { .ai_family = PF_UNSPEC, .ai_socktype = SOCK_STREAM };

	while (r->done < r->nhosts && !needs_lookup(r->hosts[r->done]))
		r->done++;
	if (r->done < r->nhosts) {
		evdns_getaddrinfo(r->dns, r->hosts[r->done], NULL, &hints, looked_up, r);
		return;
	}
	resolve_finish(r);
}
void
resolve_start(struct evdns_base *dns, const char *conninfo, resolve_cb cb, void *arg)
{
	struct resolve *r = xcalloc(1, sizeof(*r));
	char *error = NULL;
	bool needed = false;

	r->cb = cb;
	r->arg = arg;
	r->dns = dns;
	if (!load_options(r, conninfo, &error)) {
		resolve_end(r, error != NULL ? error : "invalid connection string");
		PQfreemem(error);
		return;
	}
	if (option(r, "host") != NULL && option(r, "hostaddr") == NULL) {
		split_hosts(r, option(r, "host"));
		for (int i = 0; i < r->nhosts; i++)
			needed |= needs_lookup(r->hosts[i]);
	}
	if (!needed) {
		resolve_end(r, NULL);
		return;
	}
	resolve_next(r);
}
