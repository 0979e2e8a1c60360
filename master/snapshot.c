/*
 * PostgreSQL's snapshots, as pg_current_snapshot() writes them. Master.
 */
#include "config.h"

#include <stdlib.h>

#include "common/xmalloc.h"
#include "master/master.h"

/* "xmin:xmax:xip,xip,…", ascending. */
bool
snapshot_parse(struct snapshot *s, const char *text)
{
	char *end;

	s->xmin = strtoull(text, &end, 10);
	if (*end != ':')
		return false;
	s->xmax = strtoull(end + 1, &end, 10);
	if (*end != ':')
		return false;
	s->xip_n = 0;
	for (const char *p = end + 1; *p != '\0'; p = *end == ',' ? end + 1 : end) {
		if (s->xip_n == s->xip_cap) {
			s->xip_cap = s->xip_cap != 0 ? s->xip_cap * 2 : 64;
			s->xip = xreallocarray(s->xip, s->xip_cap, sizeof(*s->xip));
		}
		s->xip[s->xip_n++] = strtoull(p, &end, 10);
		if (end == p)
			return false;
	}
	return true;
}

bool
snapshot_shows(const struct snapshot *s, uint64_t xid)
{
	size_t low = 0, high = s->xip_n;

	if (xid < s->xmin)
		return false;
	if (xid >= s->xmax)
		return true;
	while (low < high) {
		size_t mid = (low + high) / 2;

		if (s->xip[mid] == xid)
			return true;
		if (s->xip[mid] < xid)
			low = mid + 1;
		else
			high = mid;
	}
	return false;
}
