/*
 * A small open-addressing table from numbers to pointers. Worker. Looks up without allocating; holes left by removals
 * are closed at once, so that it never needs to be rebuilt.
 */
#include "config.h"

#include <stdlib.h>

#include "common/xmalloc.h"
#include "worker/internal.h"

#define TABLE_MIN 64

static size_t
home_of(const struct table *t, uint64_t key)
{
	return (size_t)((key * 0x9e3779b97f4a7c15ull) >> 20) & (t->cap - 1);
}

void
table_init(struct table *t)
{
	t->cap = TABLE_MIN;
	t->n = 0;
	t->slots = xcalloc(t->cap, sizeof(*t->slots));
}

void
table_free(struct table *t)
{
	free(t->slots);
	t->slots = NULL;
	t->cap = t->n = 0;
}

/* Where key is, or where it would go. */
static size_t
place_of(const struct table *t, uint64_t key)
{
	size_t i = home_of(t, key);

	while (t->slots[i].key != 0 && t->slots[i].key != key)
		i = (i + 1) & (t->cap - 1);
	return i;
}

void *
table_get(const struct table *t, uint64_t key)
{
	return t->slots[place_of(t, key)].value;
}

static void
table_grow(struct table *t)
{
	struct table_slot *old = t->slots;
	size_t old_cap = t->cap;

	t->cap *= 2;
	t->slots = xcalloc(t->cap, sizeof(*t->slots));
	for (size_t i = 0; i < old_cap; i++)
		if (old[i].key != 0)
			t->slots[place_of(t, old[i].key)] = old[i];
	free(old);
}

void
table_put(struct table *t, uint64_t key, void *value)
{
	size_t i;

	if ((t->n + 1) * 2 > t->cap)
		table_grow(t);
	i = place_of(t, key);
	if (t->slots[i].key == 0)
		t->n++;
	t->slots[i].key = key;
	t->slots[i].value = value;
}

void
table_del(struct table *t, uint64_t key)
{
	size_t hole = place_of(t, key), i = hole, home;

	if (t->slots[hole].key == 0)
		return;
	t->n--;
	for (;;) {
		i = (i + 1) & (t->cap - 1);
		if (t->slots[i].key == 0)
			break;
		home = home_of(t, t->slots[i].key);
		/* It may move into the hole unless its home lies between the hole and itself. */
		if (((i - home) & (t->cap - 1)) >= ((i - hole) & (t->cap - 1))) {
			t->slots[hole] = t->slots[i];
			hole = i;
		}
	}
	t->slots[hole].key = 0;
	t->slots[hole].value = NULL;
}
