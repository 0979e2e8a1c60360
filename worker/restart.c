/*
 * How many processes a pool of long-lived handlers has: starting, restarting ever more slowly, replacing those that
 * are due (the new one first), ending those that are idle. Worker.
 */
#include "config.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "worker/internal.h"

#define BACKOFF_MIN_MS	100
#define BACKOFF_MAX_MS	30000
#define BROKEN_AFTER	3		/* failed starts in a row */
#define SETTLED_MS	1000		/* an uptime that is no failed start, whatever came of it */

static void
on_restart(evutil_socket_t fd, short what, void *arg)
{
	struct pool *p = arg;

	(void)fd;
	(void)what;
	p->restart_set = false;
	pool_touch(p);
	if (p->program->command_task == NULL)
		pool_fill(p);
}

void
restart_init(struct pool *p)
{
	evtimer_assign(&p->restart, p->w->base, on_restart, p);
}

void
restart_clear(struct pool *p)
{
	if (p->restart_set)
		event_del(&p->restart);
	p->restart_set = false;
}

void
restart_reset(struct pool *p)
{
	restart_clear(p);
	p->failures = 0;
	p->broken = false;
}

void
restart_pause(struct pool *p, uint64_t ms)
{
	struct timeval tv = worker_tv(ms);

	restart_clear(p);
	event_add(&p->restart, &tv);
	p->restart_set = true;
}

/* A start that came to nothing. */
static void
failed(struct pool *p, const char *why, bool hopeless)
{
	uint64_t ms = BACKOFF_MIN_MS;

	for (unsigned i = 0; i < p->failures && ms < BACKOFF_MAX_MS; i++)
		ms *= 2;
	p->failures++;
	if (!p->broken && (hopeless || p->failures >= BROKEN_AFTER || p->program->discover)) {
		p->broken = true;
		link_broken(p->w, p, why);
	}
	if (p->program->discover) {
		worker_begin_drain(p->w, 0);
		return;
	}
	/* What waits for a process that was ended for being idle must not wait for one that does not start. */
	p->waking = false;
	if (p->cold == 0 && !pool_has_ready(p))
		pool_return_waiting(p, why);
	restart_pause(p, ms < BACKOFF_MAX_MS ? ms : BACKOFF_MAX_MS);
}

static bool
start_one(struct pool *p)
{
	struct spawn_error error = { 0, NULL };
	char why[512];

	if (p->program->error == NULL && handler_start(p, &error))
		return true;
	process_spawn_text(p->program, &error, why, sizeof(why));
	log_warnx("program %s: %s", p->program->name, why);
	failed(p, why, true);
	return false;
}

static uint64_t
count_active(const struct pool *p)
{
	const struct handler *h;
	uint64_t n = 0;

	TAILQ_FOREACH(h, &p->handlers, entry)
		n += (h->state == HANDLER_STARTING || h->state == HANDLER_READY) && !h->retiring;
	return n;
}

static uint64_t
wanted(const struct pool *p)
{
	/* One is enough to see whether it starts again. */
	if (p->program->discover || (p->failures >= BROKEN_AFTER && !pool_has_ready(p)))
		return 1;
	return p->program->processes - p->cold;
}

bool
pool_has_ready(const struct pool *p)
{
	const struct handler *h;

	TAILQ_FOREACH(h, &p->handlers, entry)
		if (h->state == HANDLER_READY)
			return true;
	return false;
}

void
pool_fill(struct pool *p)
{
	if (p->draining || p->restart_set || p->program->command_task != NULL)
		return;
	while (count_active(p) < wanted(p) && start_one(p))
		;
}

/* Drains those whose replacement is there: one for each that came, all of them once nothing is missing. */
static void
drain_retiring(struct pool *p, bool all)
{
	struct handler *h, *next;

	all = all || count_active(p) >= wanted(p);
	TAILQ_FOREACH_SAFE(h, &p->handlers, entry, next) {
		if (!h->retiring || h->state != HANDLER_READY)
			continue;
		handler_drain(h, 0);
		if (!all)
			return;
	}
}

void
pool_handler_ready(struct pool *p, struct handler *h, bool announced)
{
	handler_set_state(h, HANDLER_READY, "HELLO");
	p->last_credit = h->credit;
	p->waking = false;
	h->idle_since = worker_now();
	if (p->broken)
		log_info("program %s: runs again", p->program->name);
	restart_reset(p);
	if (p->program->discover) {
		worker_begin_drain(p->w, DISCOVERY_DRAIN_MS);
		return;
	}
	/* Older processes do not know what it announced anew. */
	drain_retiring(p, announced);
	pool_place_waiting(p);
	pool_fill(p);
}

/* Ended by itself before it said HELLO, or so soon after that it would do nothing but start. */
static bool
start_failed(const struct handler *h)
{
	if (h->blame == BLAME_END || h->blame == BLAME_STOP)
		return false;
	return !h->said_hello || (h->finals == 0 && worker_now() - h->started_at < SETTLED_MS && !h->said_bye);
}

void
pool_handler_gone(struct pool *p, struct handler *h, const char *status)
{
	struct worker *w = p->w;
	bool start = start_failed(h);
	char why[320];

	snprintf(why, sizeof(why), "%s[%d] %s", h->program->name, (int)h->proc.pid, h->why != NULL ? h->why : status);
	TAILQ_REMOVE(&p->handlers, h, entry);
	/* One that answered shows that the program works. */
	if (h->finals > 0)
		restart_reset(p);
	handler_free(h);
	pool_touch(p);
	if (!p->draining) {
		if (start)
			failed(p, why, false);
		pool_fill(p);
		if (!pool_has_ready(p) && !p->waking && p->cold == 0)
			pool_return_waiting(p, why);
	}
	worker_check_done(w);
}

void
pool_retire(struct handler *h, const char *why)
{
	struct pool *p = h->pool;

	if (h->retiring || p->draining)
		return;
	log_info("handler %s[%d]: being replaced: %s", h->program->name, (int)h->proc.pid, why);
	h->retiring = true;
	worker_fill_later(p);
}

/* Looked at from time to time */

static uint64_t
resident_bytes(pid_t pid)
{
	char path[48], text[128], *at;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/statm", (int)pid);
	if ((fd = open(path, O_RDONLY | O_CLOEXEC)) == -1)
		return 0;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n <= 0)
		return 0;
	text[n] = '\0';
	at = strchr(text, ' ');
	return at != NULL ? strtoull(at, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

static void
check_memory(struct pool *p, struct handler *h)
{
	uint64_t bytes = resident_bytes(h->proc.pid);
	char why[96];

	if (bytes <= p->program->memory)
		return;
	snprintf(why, sizeof(why), "%" PRIu64 " KiB resident; the limit is %" PRIu64, bytes >> 10,
	    p->program->memory >> 10);
	pool_retire(h, why);
}

static bool
is_idle(const struct pool *p, const struct handler *h, uint64_t now)
{
	return h->outstanding_n == 0 && p->waiting_n == 0 && now - h->idle_since >= p->program->idle_timeout_ms;
}

void
pool_tick(struct pool *p, uint64_t now)
{
	struct handler *h, *next;

	if (p->draining || p->program->command_task != NULL)
		return;
	TAILQ_FOREACH_SAFE(h, &p->handlers, entry, next) {
		if (h->state != HANDLER_READY || h->retiring)
			continue;
		if (p->program->memory != 0)
			check_memory(p, h);
		if (p->program->idle_timeout_ms != 0 && !h->retiring && is_idle(p, h, now)) {
			log_debug("handler %s[%d]: idle", h->program->name, (int)h->proc.pid);
			p->cold++;
			handler_drain(h, 0);
		}
	}
}

/* How often pool_tick has something to look at; 0: never. */
uint64_t
pool_tick_ms(const struct pool *p)
{
	uint64_t ms = p->program->memory != 0 ? 1000 : 0, half = p->program->idle_timeout_ms / 2;

	if (p->program->idle_timeout_ms == 0)
		return ms;
	if (half < 50)
		half = 50;
	if (half > 1000)
		half = 1000;
	return ms != 0 && ms < half ? ms : half;
}
