/*
 * Schedules: asking the database to make the executions of those that are due. Master.
 *
 * What is due, and when the next one is, the database computes; here is only the moment to ask, on the control connection.
 * Every node asks, each schedule goes to one of them. Whatever is not known here (a schedule made by a transaction that
 * told nobody, a clock that was moved) is found within twice poll_interval.
 */
#include "config.h"

#include <stdlib.h>

#include <event2/event.h>

#include "common/crash.h"
#include "common/log.h"
#include "common/xmalloc.h"
#include "master/master.h"

/* Schedules in one transaction; fewer after one has failed, which may have taken too long. */
#define FIRE_MAX	1000
#define RETRY_MS	1000
/* What nobody tells of is looked for so many times more seldom than executions. */
#define UNTOLD_POLLS	2

struct cron {
	struct event	*timer;
	bool		 asking, again;
	int		 max;
};

static const struct db_stmt stmt_fire = { "fire_schedules",
	"select fired, next_due_ms from pgconductor.fire_schedules($1::int)" };

static void
wait_ms(struct cron *c, int64_t ms)
{
	struct timeval tv = clock_timeval(ms);

	event_add(c->timer, &tv);
}

static void
fired(const struct db_answer *a, void *arg)
{
	struct master *m = arg;
	struct cron *c = m->cron;
	int64_t wait = UNTOLD_POLLS * (int64_t)m->poll_interval_ms;

	c->asking = false;
	/* It is asked again when there is a connection. */
	if (a->outcome == DB_LOST)
		return;
	if (a->outcome == DB_ERROR) {
		log_warnx("schedules: %s", a->message);
		c->max = c->max > 8 ? c->max / 8 : 1;
		wait_ms(c, RETRY_MS);
		return;
	}
	crash_point("schedule_fired");
	c->max = FIRE_MAX;
	if (db_int4(a, 0, 0) != 0)
		log_debug("schedules: %d executions", db_int4(a, 0, 0));
	if (!db_null(a, 0, 1) && db_int8(a, 0, 1) < wait)
		wait = db_int8(a, 0, 1);
	wait_ms(c, c->again ? 0 : wait);
	c->again = false;
}

void
cron_look(struct master *m)
{
	struct cron *c = m->cron;
	struct params p;

	if (m->stopping || !db_ready(m->control))
		return;
	/* The answer under way may be older than the reason to ask. */
	if (c->asking) {
		c->again = true;
		return;
	}
	c->asking = true;
	params_init(&p);
	param_int4(&p, c->max);
	db_call(m->control, &stmt_fire, &p, fired, m);
	params_free(&p);
	crash_point("schedule_sent");
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	cron_look(arg);
}

void
cron_init(struct master *m)
{
	struct cron *c = m->cron = xcalloc(1, sizeof(*c));

	c->max = FIRE_MAX;
	c->timer = evtimer_new(m->base, on_timer, m);
}

void
cron_free(struct master *m)
{
	event_free(m->cron->timer);
	free(m->cron);
}
