/*
 * libpgconductor: what is saved of an execution, found by its key. What came with RUN stays in its frame; what comes
 * later, or is saved here, is copied. An execution that saves nothing has none of this.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "common/xmalloc.h"
#include "proto/c/private.h"

#define INDEX_MIN	64
#define INDEX_KEEP	4096	/* a larger one is given back */

struct journal *
journal_of(struct pgc_run *r)
{
	if (r->journal == NULL)
		r->journal = xcalloc(1, sizeof(*r->journal));
	return r->journal;
}

void
journal_reset(struct journal *j)
{
	for (size_t i = 0; i < j->blobs_n; i++)
		free(j->blobs[i]);
	free(j->answer);
	free(j->refusal);
	j->answer = j->refusal = NULL;
	if (j->index_n > INDEX_KEEP) {
		free(j->index);
		free(j->v);
		free(j->blobs);
		memset(j, 0, sizeof(*j));
		return;
	}
	if (j->n != 0)
		memset(j->index, 0, j->index_n * sizeof(*j->index));
	j->n = j->blobs_n = 0;
	j->unnamed = j->pending = 0;
	j->incomplete = j->answered = false;
}

void
journal_free(struct journal *j)
{
	if (j == NULL)
		return;
	journal_reset(j);
	free(j->index);
	free(j->v);
	free(j->blobs);
	free(j);
}

static size_t
hash(const char *key)
{
	uint64_t h = 0xcbf29ce484222325ull;

	for (; *key != '\0'; key++)
		h = (h ^ (uint8_t)*key) * 0x100000001b3ull;
	return (size_t)(h ^ h >> 32);
}

/* Where the key is, or would be. */
static uint32_t *
place_of(struct journal *j, const char *key)
{
	size_t i = hash(key) & (j->index_n - 1);

	while (j->index[i] != 0 && strcmp(j->v[j->index[i] - 1].key, key) != 0)
		i = (i + 1) & (j->index_n - 1);
	return &j->index[i];
}

struct saved *
journal_find(struct journal *j, const char *key)
{
	uint32_t at = j->n != 0 ? *place_of(j, key) : 0;

	return at != 0 ? &j->v[at - 1] : NULL;
}

static void
grow_index(struct journal *j)
{
	free(j->index);
	j->index_n = j->index_n != 0 ? j->index_n * 2 : INDEX_MIN;
	j->index = xcalloc(j->index_n, sizeof(*j->index));
	for (size_t i = 0; i < j->n; i++)
		*place_of(j, j->v[i].key) = (uint32_t)i + 1;
}

/* One under a key that is there already is the same: it was asked for, and saved meanwhile. */
static struct saved *
put(struct journal *j, const char *key, const char *result, const char *error)
{
	struct saved *s = journal_find(j, key);

	if (s != NULL)
		return s;
	if ((j->n + 1) * 2 > j->index_n)
		grow_index(j);
	if (j->n == j->cap) {
		j->cap = j->cap != 0 ? j->cap * 2 : INDEX_MIN / 2;
		j->v = xreallocarray(j->v, j->cap, sizeof(*j->v));
	}
	s = &j->v[j->n++];
	*s = (struct saved){ .key = key, .result = result, .error = error, .committed = true };
	*place_of(j, key) = (uint32_t)j->n;
	return s;
}

static char *
blob(struct journal *j, const char *s, size_t len)
{
	if (s == NULL)
		return NULL;
	if (j->blobs_n == j->blobs_cap) {
		j->blobs_cap = j->blobs_cap != 0 ? j->blobs_cap * 2 : 64;
		j->blobs = xreallocarray(j->blobs, j->blobs_cap, sizeof(*j->blobs));
	}
	return j->blobs[j->blobs_n++] = xstrndup(s, len);
}

struct saved *
journal_add(struct pgc_run *r, const char *key, const char *result)
{
	struct journal *j = journal_of(r);
	struct saved *s = put(j, blob(j, key, strlen(key)), blob(j, result, result != NULL ? strlen(result) : 0), NULL);

	s->mine = s->used = true;
	s->committed = false;
	return s;
}

static void
ask_for_more(struct pgc_run *r)
{
	struct msg_journal m = { .after = r->journal->n };

	r->journal->incomplete = true;
	if (!r->c->lost)
		msg_journal_encode(&r->c->out, r->exec, &m);
}

void
journal_begin(struct pgc_run *r, const uint8_t *body, char *copy)
{
	struct journal *j = journal_of(r);

	for (size_t i = 0; i < r->m.steps_n; i++) {
		struct msg_saved s = r->m.steps[i];

		settle_string(&s.key, body, copy);
		settle_string(&s.result, body, copy);
		settle_string(&s.error, body, copy);
		put(j, s.key.p, s.result.p, s.error.p);
	}
	/* The list itself goes with the message. */
	r->m.steps = NULL;
	if (r->m.more_steps)
		ask_for_more(r);
}

void
journal_more(struct pgc_run *r, const struct msg_steps *m)
{
	struct journal *j = journal_of(r);

	for (size_t i = 0; i < m->steps_n; i++) {
		const struct msg_saved *s = &m->steps[i];

		put(j, blob(j, s->key.p, s->key.len), blob(j, s->result.p, s->result.len),
		    blob(j, s->error.p, s->error.len));
	}
	j->incomplete = false;
	if (m->more_steps)
		ask_for_more(r);
}
