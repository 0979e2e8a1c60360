/*
 * Limits of time, by the clock of the database, which a test may have moved (fake_now). Master.
 *
 * Every poll says by how much it is moved. A run remembers what that was when its limit was read, and again when it was
 * sent: what the clock has been put forward since then is time that has passed.
 */
#include "config.h"

#include <inttypes.h>

#include <event2/event.h>

#include "common/log.h"
#include "master/master.h"

#define JITTER_MS	1000

void
clock_timer(struct event *timer, int64_t *set_ms, int64_t at_ms)
{
	int64_t wait = at_ms - clock_ms();
	struct timeval tv = clock_timeval(wait > 0 ? wait : 1);

	if (*set_ms != 0 && *set_ms <= at_ms)
		return;
	*set_ms = at_ms;
	event_add(timer, &tv);
}

int64_t
clock_left_ms(const struct master *m, const struct run *r)
{
	int64_t left = r->expires_ms - clock_ms() - (m->clock_shift_ms - r->shift_ms);

	return left > 0 ? left : 0;
}

void
clock_sent(struct master *m, struct run *r)
{
	r->sent_ms = clock_ms();
	r->expires_ms -= r->expires_ms != 0 ? m->clock_shift_ms - r->shift_ms : 0;
	r->shift_ms = m->clock_shift_ms;
}

/* Its worker counts the time that a handler has by a clock of its own. */
static void
stop_if_over(struct master *m, struct run *r, void *arg)
{
	int64_t taken = clock_ms() - r->sent_ms + m->clock_shift_ms - r->shift_ms;

	(void)arg;
	if (r->state != RUN_SENT || r->dropped)
		return;
	if ((r->expires_ms != 0 && clock_left_ms(m, r) == 0) ||
	    (r->task->timeout_ms != 0 && taken >= (int64_t)r->task->timeout_ms))
		worker_cancel(m, r, "timeout");
}

void
clock_polled(struct master *m, int64_t shift_ms)
{
	int64_t forward = shift_ms - m->clock_shift_ms, passed = clock_ms() - m->clock_polled_ms;

	m->clock_shift_ms = shift_ms;
	m->clock_polled_ms += passed;
	/* One that stands still, by a setting of the whole database, falls back by what has passed between two polls. */
	if (forward == 0 || (forward < 0 && -forward <= passed + JITTER_MS))
		return;
	log_info("the database's clock is %" PRId64 " ms %s", shift_ms < 0 ? -shift_ms : shift_ms,
	    shift_ms < 0 ? "behind, by fake_now" : shift_ms > 0 ? "ahead, by fake_now" : "off: the real one again");
	run_each(m, stop_if_over, NULL);
	/* What is due may be due before what was promoted last. */
	wake_taken(m, 0);
}
