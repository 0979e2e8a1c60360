/*
 * How this server is, for the service manager that started it: ready, reloading, stopping; and that its loop still
 * turns. Master.
 */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "common/notify.h"
#include "common/xmalloc.h"
#include "master/master.h"

struct health {
	struct event	*watchdog;	/* NULL: nobody watches */
	bool		 ready;		/* that was said */
	char		 status[128];	/* as it was told last */
};

static void
on_watchdog(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
	notify_send("WATCHDOG=1");
}

void
health_init(struct master *m)
{
	int64_t ms = notify_watchdog_ms() / 2;
	struct timeval tv = clock_timeval(ms);

	m->health = xcalloc(1, sizeof(*m->health));
	if (notify_watchdog_ms() == 0)
		return;
	m->health->watchdog = event_new(m->base, -1, EV_PERSIST, on_watchdog, m);
	event_add(m->health->watchdog, &tv);
}

void
health_free(struct master *m)
{
	if (m->health->watchdog != NULL)
		event_free(m->health->watchdog);
	free(m->health);
}

/* Every program has said what it serves, the database knows, and no shard that is due to this node is not yet its own. */
static bool
serving(const struct master *m)
{
	const struct queue *q;
	const struct shard *s;

	if (!node_may_dispatch(m) || !m->balanced || TAILQ_EMPTY(&m->queues))
		return false;
	TAILQ_FOREACH(q, &m->queues, link)
		if (q->discovery || (!q->served && !q->retiring))
			return false;
	TAILQ_FOREACH(s, &m->shards, link)
		if (s->state == SHARD_WANTED || s->state == SHARD_LOCKING || s->state == SHARD_TAKING)
			return false;
	return true;
}

static void
describe(const struct master *m, char *out, size_t size)
{
	const struct queue *q;
	const struct shard *s;
	int queues = 0, shards = 0;

	TAILQ_FOREACH(q, &m->queues, link)
		queues += !q->discovery;
	TAILQ_FOREACH(s, &m->shards, link)
		shards += s->state == SHARD_OWNED;
	if (m->stopping)
		snprintf(out, size, "stopping");
	else if (!node_may_write(m))
		snprintf(out, size, "connecting to the database");
	else if (!m->health->ready)
		snprintf(out, size, "starting");
	else
		snprintf(out, size, "node %" PRId32 " serves %d queue%s, owns %d shard%s", m->node, queues, queues == 1 ? "" : "s",
		    shards, shards == 1 ? "" : "s");
}

void
health_tick(struct master *m)
{
	struct health *h = m->health;
	char status[sizeof(h->status)];
	bool first = !h->ready && !m->stopping && serving(m);

	h->ready = h->ready || first;
	describe(m, status, sizeof(status));
	if (!first && strcmp(status, h->status) == 0)
		return;
	snprintf(h->status, sizeof(h->status), "%s", status);
	notify_send("%sSTATUS=%s", first ? "READY=1\n" : "", status);
}

void
health_reloaded(struct master *m)
{
	m->health->status[0] = '\0';
	if (m->health->ready)
		notify_send("READY=1");
	health_tick(m);
}

void
health_stopping(struct master *m, int64_t grace_ms)
{
	describe(m, m->health->status, sizeof(m->health->status));
	notify_send("STOPPING=1\nSTATUS=%s\nEXTEND_TIMEOUT_USEC=%" PRId64, m->health->status, (grace_ms + 1000) * 1000);
}
