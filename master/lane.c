/*
 * Lanes: the ordered parts of a shard, as they are in memory. Master.
 */
#include "config.h"

#include <stdlib.h>

#include "common/xmalloc.h"
#include "master/master.h"

/* Until a lane was read: a guess on the safe side of what a row takes. */
#define ROW_BYTES_GUESS	4096

struct lane *
shard_lane(struct master *m, struct shard *s, int32_t number)
{
	struct lane *l, *after = NULL;

	(void)m;
	TAILQ_FOREACH(l, &s->queue->lanes, link) {
		if (l->shard == s && l->number == number)
			return l;
		if (l->number <= number)
			after = l;
	}
	l = xcalloc(1, sizeof(*l));
	l->shard = s;
	l->number = number;
	l->more = true;
	due_rewind_all(l);
	l->due_ms = INT64_MAX;
	l->row_bytes = ROW_BYTES_GUESS;
	TAILQ_INIT(&l->ring);
	if (after != NULL)
		TAILQ_INSERT_AFTER(&s->queue->lanes, after, l, link);
	else
		TAILQ_INSERT_HEAD(&s->queue->lanes, l, link);
	return l;
}

void
lane_rewind(struct lane *l, uint64_t xid, uint64_t id)
{
	if (xid < l->xid || (xid == l->xid && id <= l->id)) {
		l->xid = xid;
		l->id = id - 1;
	}
	l->more = true;
}

void
lane_unread(const struct run *r)
{
	if (r->lane == NULL)
		return;
	if (r->due != NOT_DUE)
		due_rewind(r->lane, r->due, r->id);
	else
		lane_rewind(r->lane, r->xid, r->id);
}

bool
lane_more(const struct lane *l)
{
	return l->more || l->due_more;
}

/* The cursor goes back with what is forgotten: the floor, from which a successor reads, is made of it. */
void
lane_empty(struct master *m, struct lane *l)
{
	for (int i = 0; i < l->buf_n; i++) {
		struct run *r;

		while ((r = TAILQ_FIRST(&l->buf[i])) != NULL) {
			lane_unread(r);
			queue_unbuffer(m, r);
			run_free(m, r);
		}
	}
	if (l->shard->gate != NULL)
		keyed_empty(m, l->shard->gate);
}

void
lane_free(struct master *m, struct lane *l)
{
	lane_empty(m, l);
	TAILQ_REMOVE(&l->shard->queue->lanes, l, link);
	free(l->buf);
	free(l->late);
	free(l);
}

/* ---- the late list ---- */

struct late *
late_find(struct lane *l, uint64_t xid)
{
	for (size_t i = 0; i < l->late_n; i++)
		if (l->late[i].xid == xid)
			return &l->late[i];
	return NULL;
}

void
late_remove(struct lane *l, struct late *late)
{
	size_t i = (size_t)(late - l->late);

	memmove(late, late + 1, (l->late_n - i - 1) * sizeof(*late));
	l->late_n--;
}

/* Transactions below the cursor that the snapshot shows in progress; those listed already keep their place. */
void
late_add(struct lane *l, const struct snapshot *s)
{
	for (size_t i = 0; i < s->xip_n && s->xip[i] < l->xid; i++) {
		size_t at;

		if (late_find(l, s->xip[i]) != NULL)
			continue;
		if (l->late_n == l->late_cap) {
			l->late_cap = l->late_cap != 0 ? l->late_cap * 2 : 16;
			l->late = xreallocarray(l->late, l->late_cap, sizeof(*l->late));
		}
		for (at = l->late_n; at > 0 && l->late[at - 1].xid > s->xip[i]; at--)
			l->late[at] = l->late[at - 1];
		l->late[at] = (struct late){ .xid = s->xip[i] };
		l->late_n++;
	}
}
