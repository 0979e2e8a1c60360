/*
 * libpgconductor: executions that came together, and are given to one call of their task's function. Each has its own end; in
 * all other ways, too, it is an execution like others.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "common/xmalloc.h"
#include "proto/c/private.h"

PUBLIC void
pgc_batch(struct pgc *c, const char *name, unsigned size, int64_t timeout_ms, pgc_batch_fn *fn, void *arg)
{
	pgc_batch_with(c, name, NULL, NULL, size, timeout_ms, fn, arg);
}

PUBLIC void
pgc_batch_with(struct pgc *c, const char *name, const char *queue, const char *options, unsigned size, int64_t timeout_ms,
    pgc_batch_fn *fn, void *arg)
{
	struct task *t;

	pgc_task_with(c, name, queue, options, NULL, arg);
	t = &c->tasks[c->tasks_n - 1];
	t->batch_fn = fn;
	t->batch_size = size;
	t->batch_ms = timeout_ms;
}

static void
settle_item(struct msg_item *item, const uint8_t *body, char *copy)
{
	settle_string(&item->id, body, copy);
	settle_string(&item->token, body, copy);
	settle_string(&item->event.name, body, copy);
	settle_string(&item->event.payload, body, copy);
	settle_string(&item->event.at, body, copy);
	settle_string(&item->event.kind, body, copy);
	settle_string(&item->metadata, body, copy);
	settle_string(&item->trace, body, copy);
}

/* They share the frame. */
void
batch_queue(struct pgc *c, const struct msg_run *m, const uint8_t *body, size_t len)
{
	struct batch *b = xcalloc(1, sizeof(*b) + len + 1);
	struct pstr task = m->task;

	memcpy(b->frame, body, len);
	settle_string(&task, body, b->frame);
	b->left = m->items_n;
	for (size_t i = 0; i < m->items_n; i++) {
		struct msg_item *item = &m->items[i];

		settle_item(item, body, b->frame);
		run_queue_item(c, &task, item)->batch = b;
	}
}

/* One that was alone in its frame is a batch of one. */
void
batch_call(struct pgc *c, struct pgc_run *first)
{
	size_t n = first->batch != NULL ? first->batch->left : 1, at = 0;
	struct pgc_run **runs = xcalloc(n, sizeof(*runs));
	uint64_t *serials = xcalloc(n, sizeof(*serials));
	const struct task *t = first->task;
	struct pgc_run *r, *next;
	int verdict;

	for (r = first; r != NULL && at < n; r = next) {
		next = r->next;
		if (r != first && r->batch != first->batch)
			continue;
		run_begin(r);
		r->together = true;
		runs[at] = r;
		serials[at++] = r->serial;
	}
	if (first->batch != NULL)
		c->joined += at - 1;
	verdict = t->batch_fn(runs, at, t->arg);
	for (size_t i = 0; verdict != PGC_LATER && i < at; i++)
		if (runs[i]->serial == serials[i] && runs[i]->state == RUN_RUNNING)
			verdict == 0 ? pgc_done(runs[i], NULL) : pgc_failf(runs[i], "the task's function returned %d", verdict);
	free(runs);
	free(serials);
}

void
batch_release(struct pgc_run *r)
{
	struct batch *b = r->batch;

	r->batch = NULL;
	if (b == NULL)
		return;
	/* The others of it that run are one still. */
	if (--b->left > 0) {
		r->c->joined -= r->state == RUN_RUNNING && r->together;
		return;
	}
	free(b);
}
