/*
 * What the run of a command has saved, and which keys it has named so far. Worker.
 *
 * Each call within a command is a program of its own, which knows nothing of those before it. That a key stands for one
 * thing in a run, and what one without a key is called, can therefore be known only here.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "common/xmalloc.h"
#include "worker/internal.h"

struct keys *
keys_new(void)
{
	struct keys *all = xcalloc(1, sizeof(*all));

	table_init(&all->keys);
	return all;
}

static void
free_keys(struct kept *k)
{
	struct kept *next;

	for (; k != NULL; k = next) {
		next = k->same;
		free(k->key);
		free(k->result);
		free(k->error);
		free(k);
	}
}

void
keys_free(struct keys *all)
{
	if (all == NULL)
		return;
	for (size_t i = 0; i < all->keys.cap; i++)
		if (all->keys.slots[i].key != 0)
			free_keys(all->keys.slots[i].value);
	table_free(&all->keys);
	free(all);
}

static uint64_t
hash(struct pstr s)
{
	uint64_t h = 0xcbf29ce484222325ull;

	for (size_t i = 0; i < s.len; i++)
		h = (h ^ (uint8_t)s.p[i]) * 0x100000001b3ull;
	return h != 0 ? h : 1;
}

struct kept *
keys_get(struct keys *all, struct pstr key)
{
	uint64_t h = hash(key);
	struct kept *first = table_get(&all->keys, h), *k;

	for (k = first; k != NULL; k = k->same)
		if (pstr_is(key, k->key))
			return k;
	k = xcalloc(1, sizeof(*k));
	k->key = xstrndup(key.p, key.len);
	k->same = first;
	if (first != NULL)
		table_del(&all->keys, h);
	table_put(&all->keys, h, k);
	return k;
}

void
keys_add(struct keys *all, const struct msg_saved *steps, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct kept *k = keys_get(all, steps[i].key);

		if (k->saved)
			continue;
		k->saved = true;
		k->result = steps[i].result.p != NULL ? xstrndup(steps[i].result.p, steps[i].result.len) : NULL;
		k->error = steps[i].error.p != NULL ? xstrndup(steps[i].error.p, steps[i].error.len) : NULL;
	}
	all->n += n;
}
