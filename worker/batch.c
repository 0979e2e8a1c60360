/*
 * Batches: several executions in one frame. Worker.
 *
 * A batch takes one slot and one credit, until the last of its executions has ended; apart from that each of them is one like
 * others. What is not to run is left out of the frame before a handler gets it.
 */
#include "config.h"

#include <stdlib.h>

#include "common/log.h"
#include "common/xmalloc.h"
#include "worker/internal.h"

/* An item as the RUN that it would be alone. */
static struct msg_run
alone(const struct msg_run *batch, const struct msg_item *item)
{
	return (struct msg_run){
		.id = item->id, .task = batch->task, .attempt = item->attempt, .token = item->token, .event = item->event,
		.has_deadline_ms = item->has_deadline_ms, .deadline_ms = item->deadline_ms, .metadata = item->metadata,
		.trace = item->trace,
	};
}

bool
batch_check(const struct worker *w, const struct msg_run *run)
{
	for (size_t i = 0; i < run->items_n; i++)
		if (run->items[i].exec == 0 || exec_find((struct worker *)w, run->items[i].exec) != NULL) {
			log_error("from the master: RUN with a number that is in use");
			return false;
		}
	return true;
}

void
batch_return(struct worker *w, const struct msg_run *run, const char *reason)
{
	uint64_t *execs = xcalloc(run->items_n, sizeof(*execs));

	for (size_t i = 0; i < run->items_n; i++)
		execs[i] = run->items[i].exec;
	link_returned(w, execs, run->items_n, reason);
	free(execs);
}

void
batch_admit(struct pool *p, struct msg_run *run)
{
	char why[SCHEMAS_WHY];
	size_t n = 0;

	for (size_t i = 0; i < run->items_n; i++) {
		struct msg_run one = alone(run, &run->items[i]);

		if (schemas_take_run(p, &one, why))
			run->items[n++] = run->items[i];
		else
			link_fail(p->w, run->items[i].exec, "bad_payload", false, "%s", why);
	}
	run->items_n = n;
}

void
batch_make(struct pool *p, const struct msg_run *run, size_t len, struct exec_list *list)
{
	struct batch *b = xcalloc(1, sizeof(*b));

	for (size_t i = 0; i < run->items_n; i++) {
		struct msg_run one = alone(run, &run->items[i]);
		struct execution *x = exec_new(p->w, run->items[i].exec, &one, len);

		x->pool = p;
		x->batch = b;
		TAILQ_INSERT_TAIL(list, x, entry);
	}
	b->made = b->left = run->items_n;
}

void
batch_encode(struct buf *out, const struct msg_run *run)
{
	msg_run_encode(out, 0, run);
	buf_drain(out, MSG_HEAD);
}

void
batch_without_gone(struct worker *w, struct buf *out, const uint8_t *body, size_t len)
{
	struct msg_run run;
	struct msg frame;
	const char *why;
	size_t n = 0;

	msg_init(&frame);
	if (msg_open(&frame, body, len, &why) == -1 || msg_run_decode(&frame, &run, &why) == -1)
		fatalx("batch: %s", why);
	for (size_t i = 0; i < run.items_n; i++)
		if (exec_find(w, run.items[i].exec) != NULL)
			run.items[n++] = run.items[i];
	run.items_n = n;
	batch_encode(out, &run);
	msg_free(&frame);
}

bool
batch_is_last(const struct execution *x)
{
	return x->batch == NULL || x->batch->left == 1;
}

void
batch_leave(struct execution *x)
{
	struct batch *b = x->batch;

	x->batch = NULL;
	if (b == NULL || --b->left > 0)
		return;
	free(b->frame);
	free(b);
}
