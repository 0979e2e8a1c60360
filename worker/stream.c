/*
 * What programs print, line by line into the log, and to the master if it is known which execution printed it. Worker.
 *
 * Lines are bounded in length, and a process in lines and bytes per second: what is beyond that is dropped and
 * counted. One that writes faster still is not read for the rest of the second, so that it waits and not we.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/json.h"
#include "common/log.h"
#include "common/utf8.h"
#include "worker/internal.h"

#define LINE_BYTES	4096			/* longest line */
#define FIELDS_BYTES	(16u << 10)		/* longest fields of a LOG message */
#define METER_LINES	1000			/* logged per second */
#define METER_BYTES	(512u << 10)		/* logged per second */
#define METER_TAKEN	(16u << 20)		/* read per second */
#define READ_BYTES	(16u << 10)
#define PIPE_BYTES	(64u << 10)		/* what a pipe holds */
#define FINISH_BYTES	(1u << 20)		/* read of a process that has ended */
#define FIRST		0			/* priorities: ahead of all else in a pass, or in its turn */
#define IN_TURN		1

static const char *
text_of(const struct buf *b)
{
	return b->len > 0 ? (const char *)b->data + b->off : "";
}

static void
write_terminal(const struct meter *m, const struct buf *text)
{
	char line[LINE_BYTES + 256];
	int n;
	ssize_t written;

	n = snprintf(line, sizeof(line), "%.128s[%d]: %.*s\n", m->program, (int)m->pid, (int)text->len, text_of(text));
	/* A log that cannot be written has nowhere to be reported. */
	written = write(STDERR_FILENO, line, (size_t)n);
	(void)written;
}

/* The one that prints, as far as that is known. */
static const struct execution *
execution_of(const struct meter *m)
{
	return m->handler != NULL ? handler_only_execution(m->handler) : m->execution;
}

/* To the master, which stores it. */
static void
pass_on(struct meter *m, const struct execution *x, enum log_level level, struct pstr message, struct pstr fields)
{
	struct msg_log line = { .level = pstr(log_level_name(level)), .message = message, .fields = fields };

	if (x != NULL && !link_log(m->w, x->exec, &line))
		m->unstored++;
}

/* Where a line of the log comes from. Until the next call. */
static const char *
source_of(const struct meter *m, const struct execution *x)
{
	static char text[512];
	int n = snprintf(text, sizeof(text), "queue=%s program=%.128s pid=%d", m->w->queue, m->program, (int)m->pid);

	if (x != NULL)
		snprintf(text + n, sizeof(text) - (size_t)n, " task=%s attempt=%" PRIu64 " execution=%s", x->task, x->attempt,
		    x->id);
	return text;
}

static void
write_line(struct meter *m, const char *line, size_t len)
{
	const struct execution *x = execution_of(m);
	struct worker *w = m->w;
	struct buf *text = &w->text;

	buf_reset(text, LINE_BYTES * 2);
	text_clean(text, line, len, LINE_BYTES);
	if (w->terminal)
		write_terminal(m, text);
	else
		log_info("%s: %.*s", source_of(m, x), (int)text->len, text_of(text));
	pass_on(m, x, LOG_LEVEL_INFO, (struct pstr){ text_of(text), text->len }, (struct pstr){ NULL, 0 });
}

static void
report(struct meter *m, const char *text)
{
	log_warnx("%s: %s", source_of(m, NULL), text);
	pass_on(m, execution_of(m), LOG_LEVEL_WARN, pstr(text), (struct pstr){ NULL, 0 });
}

static void
report_dropped(struct meter *m)
{
	char text[128];

	if (m->dropped > 0) {
		snprintf(text, sizeof(text), "%llu lines dropped: more than %d lines or %u KiB in a second",
		    (unsigned long long)m->dropped, METER_LINES, METER_BYTES >> 10);
		report(m, text);
	}
	if (m->unstored > 0) {
		snprintf(text, sizeof(text), "%llu lines not stored: the server could not take more",
		    (unsigned long long)m->unstored);
		report(m, text);
	}
	m->dropped = m->unstored = 0;
}

static void
next_second(struct meter *m, uint64_t second)
{
	m->second = second;
	m->lines = m->bytes = m->taken = 0;
	report_dropped(m);
}

static void
on_next(evutil_socket_t fd, short what, void *arg)
{
	struct meter *m = arg;
	struct stream *s = m->stream;

	(void)fd;
	(void)what;
	m->next_set = false;
	next_second(m, worker_now() / 1000);
	if (s != NULL && s->fd != -1 && s->paused) {
		s->paused = false;
		event_add(&s->ev, NULL);
	}
}

static void
wait_next(struct meter *m)
{
	struct timeval tv = worker_tv(1000 - worker_now() % 1000 + 1);

	if (m->next_set)
		return;
	m->next_set = true;
	event_add(&m->next, &tv);
}

void
meter_open(struct meter *m, struct worker *w, const char *program, pid_t pid)
{
	memset(m, 0, sizeof(*m));
	m->w = w;
	m->program = program;
	m->pid = pid;
	evtimer_assign(&m->next, w->base, on_next, m);
}

/* Whether another line may be logged now. */
static bool
admit(struct meter *m, size_t len)
{
	uint64_t second = worker_now() / 1000;

	if (second != m->second)
		next_second(m, second);
	if (m->lines >= METER_LINES || m->bytes >= METER_BYTES) {
		m->dropped++;
		wait_next(m);
		return false;
	}
	m->lines++;
	m->bytes += len;
	return true;
}

static void
meter_line(struct meter *m, const char *line, size_t len)
{
	if (admit(m, len))
		write_line(m, line, len);
}

static enum log_level
level_of(struct pstr s)
{
	for (int i = LOG_LEVEL_DEBUG; i < LOG_LEVEL_ERROR; i++) {
		const char *name = log_level_name((enum log_level)i);

		if (pstr_is(s, name))
			return (enum log_level)i;
	}
	return LOG_LEVEL_ERROR;
}

static struct pstr
cut(struct pstr s)
{
	return (struct pstr){ s.p, s.len > LINE_BYTES ? utf8_span(s.p, LINE_BYTES) : s.len };
}

/* What is not JSON, or too long, cannot be stored with the line. */
static struct pstr
storable(struct pstr fields)
{
	const char *why;
	size_t at;

	if (fields.len > FIELDS_BYTES || json_check(fields.p, fields.len, &at, &why) == -1)
		return (struct pstr){ NULL, 0 };
	return fields;
}

static void
write_log(const struct meter *m, enum log_level level, struct pstr message, struct pstr fields, const struct execution *x)
{
	void (*const put[])(const char *, ...) = { log_debug, log_info, log_warnx, log_error };

	put[level]("%s: %.*s%s%.*s", source_of(m, x), (int)message.len, message.p, fields.len > 0 ? " " : "",
	    (int)fields.len, fields.len > 0 ? fields.p : "");
}

void
meter_log(struct meter *m, const struct msg_log *msg, const struct execution *x)
{
	enum log_level level = level_of(msg->level);
	bool logged = log_enabled(level), stored = x != NULL && (logged || level >= LOG_LEVEL_INFO);

	if ((!logged && !stored) || !admit(m, msg->message.len + msg->fields.len))
		return;
	if (logged)
		write_log(m, level, cut(msg->message), cut(msg->fields), x);
	if (stored)
		pass_on(m, x, level, cut(msg->message), msg->fields.p != NULL ? storable(msg->fields) : msg->fields);
}

void
meter_close(struct meter *m)
{
	report_dropped(m);
	if (m->next_set)
		event_del(&m->next);
	m->next_set = false;
	m->stream = NULL;
}

static void
end_line(struct stream *s, const char *rest, size_t len)
{
	if (s->cutting) {
		s->cutting = false;
		return;
	}
	if (s->line.len == 0) {
		meter_line(s->meter, rest, len < LINE_BYTES ? len : LINE_BYTES);
		return;
	}
	if (len > LINE_BYTES - s->line.len)
		len = LINE_BYTES - s->line.len;
	buf_add(&s->line, rest, len);
	meter_line(s->meter, (const char *)buf_ptr(&s->line), s->line.len);
	buf_reset(&s->line, LINE_BYTES);
}

/* The beginning of a line; once that is too long it is logged as it is, and the rest of it dropped. */
static void
begin_line(struct stream *s, const char *p, size_t len)
{
	if (s->cutting)
		return;
	if (s->line.len + len < LINE_BYTES) {
		buf_add(&s->line, p, len);
		return;
	}
	end_line(s, p, len);
	s->cutting = true;
}

static void
keep_tail(struct buf *tail, const char *p, size_t len)
{
	if (len > STREAM_TAIL) {
		p += len - STREAM_TAIL;
		len = STREAM_TAIL;
	}
	buf_add(tail, p, len);
	if (tail->len > STREAM_TAIL)
		buf_drain(tail, tail->len - STREAM_TAIL);
}

static void
take(struct stream *s, const char *p, size_t len)
{
	const char *newline;

	if (s->tail != NULL)
		keep_tail(s->tail, p, len);
	while (len > 0 && (newline = memchr(p, '\n', len)) != NULL) {
		end_line(s, p, (size_t)(newline - p));
		len -= (size_t)(newline - p) + 1;
		p = newline + 1;
	}
	if (len > 0)
		begin_line(s, p, len);
}

static void
stream_close(struct stream *s)
{
	if (s->fd == -1)
		return;
	if (s->line.len > 0)
		end_line(s, "", 0);
	event_del(&s->ev);
	close(s->fd);
	s->fd = -1;
	buf_free(&s->line);
}

/* An event that waits to be run keeps its priority, and comes here itself. */
void
stream_listen(struct stream *s)
{
	if (!s->talks && event_priority_set(&s->ev, IN_TURN) == 0)
		s->talks = true;
}

/* How many bytes came; 0 when there are no more now, -1 at the end. */
static ssize_t
read_some(struct stream *s)
{
	char chunk[READ_BYTES];
	ssize_t n = read(s->fd, chunk, sizeof(chunk));

	if (n == -1)
		return errno == EAGAIN || errno == EINTR ? 0 : -1;
	if (n == 0)
		return -1;
	stream_listen(s);
	take(s, chunk, (size_t)n);
	return n;
}

static ssize_t
read_metered(struct stream *s)
{
	ssize_t n = read_some(s);

	if (n == -1) {
		stream_close(s);
		return -1;
	}
	s->meter->taken += (size_t)n;
	if (s->meter->taken < METER_TAKEN)
		return n;
	/* meter_line resets this at a new second; a stream without lines is reset by the timer. */
	s->paused = true;
	event_del(&s->ev);
	wait_next(s->meter);
	return n;
}

static void
on_readable(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	read_metered(arg);
}

/*
 * What a program printed before it sent a frame stands in its pipe when the frame is read. Looking costs a system call,
 * so only those that have printed or logged something before are looked at; and lest their first lines be missed, these
 * are read ahead of everything that came in the same pass.
 */
void
stream_catch_up(struct stream *s)
{
	size_t total = 0;
	ssize_t n;

	while (s->talks && s->fd != -1 && !s->paused && total < PIPE_BYTES && (n = read_metered(s)) > 0)
		total += (size_t)n;
}

void
stream_open(struct stream *s, struct meter *m, int fd, struct buf *tail)
{
	s->meter = m;
	s->fd = fd;
	s->paused = s->talks = s->cutting = false;
	s->tail = tail;
	buf_init(&s->line);
	m->stream = s;
	fcntl(fd, F_SETFL, O_NONBLOCK);
	event_assign(&s->ev, m->w->base, fd, EV_READ | EV_PERSIST, on_readable, s);
	if (m->handler != NULL)
		event_priority_set(&s->ev, FIRST);
	event_add(&s->ev, NULL);
}

void
stream_finish(struct stream *s)
{
	size_t total = 0;
	ssize_t n;

	while (s->fd != -1 && total < FINISH_BYTES && (n = read_some(s)) > 0)
		total += (size_t)n;
	stream_close(s);
}
