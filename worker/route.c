/*
 * Which pool runs a task. Worker. Made anew at each announcement, looked up at each RUN.
 *
 * RUN does not say which pool's slot it spends: both sides go by the same rule. A task belongs to the pool that was
 * the first to announce it, until that announces again.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "common/xmalloc.h"
#include "worker/internal.h"

static size_t
hash(const char *name, size_t len)
{
	uint64_t h = 0xcbf29ce484222325ull;

	for (size_t i = 0; i < len; i++)
		h = (h ^ (uint8_t)name[i]) * 0x100000001b3ull;
	return (size_t)(h ^ h >> 32);
}

static struct route *
place_of(const struct routes *r, const char *name, size_t len)
{
	size_t i = hash(name, len) & (r->cap - 1);

	while (r->v[i].name != NULL && (r->v[i].len != len || memcmp(r->v[i].name, name, len) != 0))
		i = (i + 1) & (r->cap - 1);
	return &r->v[i];
}

static void
add_pool(struct routes *r, struct pool *pool)
{
	for (size_t i = 0; i < pool->tasks_n; i++) {
		struct route *at = place_of(r, pool->tasks[i], strlen(pool->tasks[i]));

		at->name = pool->tasks[i];
		at->len = strlen(pool->tasks[i]);
		at->pool = pool;
	}
}

void
routes_make(struct worker *w)
{
	struct routes *r = &w->routes;
	struct pool *pool;
	size_t n = 0;

	TAILQ_FOREACH(pool, &w->pools, entry)
		n += pool->tasks_n;
	free(r->v);
	r->cap = 16;
	while (r->cap < n * 2)
		r->cap *= 2;
	r->v = xcalloc(r->cap, sizeof(*r->v));
	TAILQ_FOREACH(pool, &w->pools, entry)
		add_pool(r, pool);
}

struct pool *
routes_find(const struct worker *w, struct pstr task)
{
	return w->routes.cap != 0 ? place_of(&w->routes, task.p, task.len)->pool : NULL;
}
