/*
 * A line for each execution that ends, for a person at a terminal; what went wrong stands below it. Master.
 *
 * Where there is no terminal it costs nothing. A person reads no more than so many lines in a second: what is beyond
 * that is counted.
 */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <event2/event.h>

#include "common/log.h"
#include "common/plain.h"
#include "common/xmalloc.h"
#include "master/master.h"
#include "proto/messages.h"

/* In a second; of those that went well fewer, so that there is room for what did not. */
#define LINES_MAX	100
#define GOOD_MAX	80
#define TEXT_MAX	((size_t)16 << 10)	/* of a message or a stack */

/* The wait after each attempt, as backoff() has it, but for what chance adds. */
static const struct db_stmt stmt_tasks = { "report_tasks",
	"select t.name, array_to_string(array(select (case when t.backoff_factor is null"
	" then t.backoff_ms[least(i, cardinality(t.backoff_ms))]"
	" else least(t.backoff_ms[1] * power(t.backoff_factor, i - 1), t.backoff_max_ms) end)::bigint"
	" from generate_series(1, least(t.max_attempts, 20)) i), ' ') from pgconductor.tasks t" };

static const char DIM[] = "\033[2m", RED[] = "\033[31m", GREEN[] = "\033[32m", YELLOW[] = "\033[33m";

struct report {
	bool		 colours;
	int64_t		 second;
	int		 lines;
	uint64_t	 more, failed;	/* not shown in this second */
	struct event	*rest;
	struct buf	 out;
};

static bool
wanted(const struct master *m)
{
	return m->report != NULL && log_enabled(LOG_LEVEL_INFO);
}

/* ---- what tasks allow ---- */

static void
loaded(const struct db_answer *a, void *arg)
{
	struct master *m = arg;

	for (int i = 0; a->outcome == DB_OK && i < a->rows; i++) {
		size_t len;
		const char *name = db_text(a, i, 0, &len);
		struct task *t = task_get(m, name, len);

		free(t->waits);
		t->waits = xstrdup(db_text(a, i, 1, NULL));
	}
}

void
report_load(struct master *m)
{
	if (m->report != NULL)
		db_call(m->control, &stmt_tasks, NULL, loaded, m);
}

/* Milliseconds until the next attempt; -1: not known. */
static int64_t
wait_after(const struct run *r)
{
	const char *s = r->task->waits;
	int64_t ms = -1;
	char *end;

	for (uint32_t i = 0; s != NULL && i < r->attempt && *s != '\0'; i++) {
		ms = strtoll(s, &end, 10);
		s = end;
	}
	return ms;
}

/* ---- writing ---- */

static void
put_coloured(struct report *p, const char *colour, const char *text)
{
	buf_addf(&p->out, "%s%s%s", p->colours ? colour : "", text, p->colours ? "\033[0m" : "");
}

static void
write_out(struct report *p)
{
	ssize_t written;

	/* A terminal that cannot be written to has nowhere to be reported. */
	written = write(STDERR_FILENO, buf_ptr(&p->out), p->out.len);
	(void)written;
	buf_reset(&p->out, 4096);
}

static void
put_time(struct report *p)
{
	time_t now = time(NULL);
	struct tm tm;
	char text[16];

	localtime_r(&now, &tm);
	strftime(text, sizeof(text), "%H:%M:%S", &tm);
	put_coloured(p, DIM, text);
}

static void
add_duration(struct buf *out, int64_t ms)
{
	if (ms < 1000)
		buf_addf(out, "%" PRId64 " ms", ms);
	else if (ms < 60000)
		buf_addf(out, ms % 1000 < 50 ? "%" PRId64 " s" : "%" PRId64 ".%" PRId64 " s", ms / 1000, ms % 1000 / 100);
	else if (ms < 3600000)
		buf_addf(out, "%" PRId64 " min %" PRId64 " s", ms / 60000, ms / 1000 % 60);
	else
		buf_addf(out, "%" PRId64 " h %" PRId64 " min", ms / 3600000, ms / 60000 % 60);
}

/* Text of several lines, indented. */
static void
put_text(struct report *p, const char *s, size_t len)
{
	const char *end;

	len = len < TEXT_MAX ? len : TEXT_MAX;
	for (; len > 0; len -= (size_t)(end - s) + (end < s + len), s = end + 1) {
		if ((end = memchr(s, '\n', len)) == NULL)
			end = s + len;
		buf_addstr(&p->out, "    ");
		plain_add(&p->out, s, (size_t)(end - s));
		buf_addstr(&p->out, "\n");
		if (end == s + len)
			return;
	}
}

static void
on_rest(evutil_socket_t fd, short what, void *arg)
{
	struct report *p = arg;

	(void)fd;
	(void)what;
	buf_addf(&p->out, "… and %" PRIu64 " more", p->more);
	if (p->failed != 0)
		buf_addf(&p->out, ", %" PRIu64 " of them not completed", p->failed);
	buf_addstr(&p->out, "\n");
	write_out(p);
	p->more = p->failed = 0;
}

/* Whether there is room for one more line; if not, it counts as one of the rest. */
static bool
admit(struct report *p, bool good)
{
	int64_t now = clock_ms();
	struct timeval tv = { 0, (1000 - now % 1000) * 1000 };

	if (now / 1000 != p->second) {
		p->second = now / 1000;
		p->lines = 0;
	}
	if (p->lines < (good ? GOOD_MAX : LINES_MAX)) {
		p->lines++;
		return true;
	}
	if (p->more++ == 0) {
		tv.tv_sec = tv.tv_usec / 1000000;
		tv.tv_usec %= 1000000;
		event_add(p->rest, &tv);
	}
	p->failed += !good;
	return false;
}

/* "12:34:56 greet 17 ": what it is; then how it ended, and how long it took. */
static bool
begin(struct master *m, const struct run *r, bool good)
{
	if (!wanted(m) || !admit(m->report, good))
		return false;
	put_time(m->report);
	buf_addf(&m->report->out, " %s %" PRIu64 " ", r->task->name, r->id);
	return true;
}

static void
finish(struct master *m, const struct run *r)
{
	struct report *p = m->report;

	buf_addstr(&p->out, p->colours ? "  \033[2m" : "  ");
	add_duration(&p->out, clock_ms() - r->sent_ms);
	buf_addstr(&p->out, p->colours ? "\033[0m\n" : "\n");
}

/* It is not this node's any more: what its handler made of it is no outcome. */
static bool
dropped(struct master *m, const struct run *r)
{
	if (!r->dropped && r->shard != NULL)
		return false;
	if (begin(m, r, true)) {
		put_coloured(m->report, YELLOW, r->shard == NULL ? "given up" : "cancelled");
		finish(m, r);
		write_out(m->report);
	}
	return true;
}

void
report_completed(struct master *m, const struct run *r)
{
	if (!wanted(m) || dropped(m, r) || !begin(m, r, true))
		return;
	put_coloured(m->report, GREEN, "ok");
	finish(m, r);
	write_out(m->report);
}

void
report_deferred(struct master *m, const struct run *r)
{
	if (!wanted(m) || dropped(m, r) || !begin(m, r, true))
		return;
	put_coloured(m->report, YELLOW, "deferred");
	finish(m, r);
	write_out(m->report);
}

/* " (attempt 1 of 3, again in 15 s)" */
static void
put_attempt(struct report *p, const struct run *r, bool retry, int64_t after_ms)
{
	uint32_t max = r->task->max_attempts;

	buf_addf(&p->out, " (attempt %" PRIu32, r->attempt);
	if (max != 0)
		buf_addf(&p->out, " of %" PRIu32, max);
	if (!retry) {
		buf_addstr(&p->out, ", not to be tried again");
	} else if (r->attempt < max) {
		if (after_ms < 0)
			after_ms = wait_after(r);
		buf_addstr(&p->out, after_ms >= 0 ? ", again in " : ", again later");
		if (after_ms >= 0)
			add_duration(&p->out, after_ms);
	}
	buf_addstr(&p->out, ")");
}

/* "Type: message", or "code: message", unless the stack says so itself. */
static void
put_error(struct report *p, const struct msg_fail *fail, bool stack_shown)
{
	struct pstr kind = fail->type.p != NULL && fail->type.len > 0 ? fail->type : fail->code;
	struct buf text;

	if (fail->stack.p == NULL || stack_shown || memmem(fail->stack.p, fail->stack.len, fail->message.p, fail->message.len) == NULL) {
		buf_init(&text);
		if (!pstr_is(kind, "app"))
			buf_addf(&text, "%.*s: ", (int)kind.len, kind.p);
		buf_add(&text, fail->message.p, fail->message.len);
		put_text(p, (const char *)buf_ptr(&text), text.len);
		buf_free(&text);
	}
	if (fail->stack.p != NULL && !stack_shown)
		put_text(p, fail->stack.p, fail->stack.len);
}

/* The stack of a command is what it wrote to stderr, and that was to be seen as it came. */
static bool
is_command(const struct run *r)
{
	return r->pool >= 0 && r->pool < r->queue->pools_n && r->queue->pools[r->pool].command;
}

void
report_failed(struct master *m, const struct run *r, const struct msg_fail *fail)
{
	bool retry = !fail->has_retry || fail->retry;
	int64_t after_ms = fail->has_after_ms && fail->after_ms < INT64_MAX ? (int64_t)fail->after_ms : -1;

	if (!wanted(m) || dropped(m, r) || !begin(m, r, false))
		return;
	put_coloured(m->report, RED, "failed");
	put_attempt(m->report, r, retry, after_ms);
	finish(m, r);
	put_error(m->report, fail, is_command(r));
	write_out(m->report);
}

void
report_init(struct master *m)
{
	const char *none = getenv("NO_COLOR"), *term = getenv("TERM");
	struct report *p;

	if (!m->opt->terminal)
		return;
	p = m->report = xcalloc(1, sizeof(*p));
	p->colours = (none == NULL || *none == '\0') && term != NULL && strcmp(term, "dumb") != 0;
	p->rest = evtimer_new(m->base, on_rest, p);
}

void
report_free(struct master *m)
{
	struct report *p = m->report;

	if (p == NULL)
		return;
	if (p->more != 0)
		on_rest(-1, 0, p);
	event_free(p->rest);
	buf_free(&p->out);
	free(p);
	m->report = NULL;
}
