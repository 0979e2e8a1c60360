/*
 * What programs print, line by line into the log. Worker.
 *
 * Lines are bounded in length, and a process in lines and bytes per second: what is beyond that is dropped and
 * counted. One that writes faster still is not read for the rest of the second, so that it waits and not we.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "worker/internal.h"

#define LINE_BYTES	4096			/* longest line */
#define METER_LINES	1000			/* logged per second */
#define METER_BYTES	(512u << 10)		/* logged per second */
#define METER_TAKEN	(16u << 20)		/* read per second */
#define READ_BYTES	(16u << 10)
#define FINISH_BYTES	(1u << 20)		/* read of a process that has ended */

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

static void
write_line(const struct meter *m, const char *line, size_t len)
{
	struct worker *w = m->w;
	struct buf *text = &w->text;
	const char *id;

	buf_reset(text, LINE_BYTES * 2);
	text_clean(text, line, len, LINE_BYTES);
	if (w->terminal) {
		write_terminal(m, text);
		return;
	}
	id = m->handler != NULL ? handler_only_execution(m->handler) : m->exec_id;
	log_info("queue=%s program=%s pid=%d%s%s: %.*s", w->queue, m->program, (int)m->pid,
	    id != NULL ? " execution=" : "", id != NULL ? id : "", (int)text->len, text_of(text));
}

static void
report_dropped(struct meter *m)
{
	if (m->dropped > 0)
		log_warnx("queue=%s program=%s pid=%d: %llu lines dropped: more than %d lines or %u KiB in a second",
		    m->w->queue, m->program, (int)m->pid, (unsigned long long)m->dropped, METER_LINES,
		    METER_BYTES >> 10);
	m->dropped = 0;
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

		if (strlen(name) == s.len && memcmp(name, s.p, s.len) == 0)
			return (enum log_level)i;
	}
	return LOG_LEVEL_ERROR;
}

void
meter_log(struct meter *m, const struct msg_log *msg, const char *id)
{
	enum log_level level = level_of(msg->level);
	void (*const put[])(const char *, ...) = { log_debug, log_info, log_warnx, log_error };

	if (!log_enabled(level) || !admit(m, msg->message.len + msg->fields.len))
		return;
	put[level]("queue=%s program=%s pid=%d%s%s: %.*s%s%.*s", m->w->queue, m->program, (int)m->pid,
	    id != NULL ? " execution=" : "", id != NULL ? id : "",
	    (int)(msg->message.len < LINE_BYTES ? msg->message.len : LINE_BYTES), msg->message.p,
	    msg->fields.len > 0 ? " " : "", (int)(msg->fields.len < LINE_BYTES ? msg->fields.len : LINE_BYTES),
	    msg->fields.len > 0 ? msg->fields.p : "");
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
	take(s, chunk, (size_t)n);
	return n;
}

static void
on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct stream *s = arg;
	ssize_t n = read_some(s);

	(void)fd;
	(void)what;
	if (n == -1) {
		stream_close(s);
		return;
	}
	s->meter->taken += (size_t)n;
	if (s->meter->taken < METER_TAKEN)
		return;
	/* meter_line resets this at a new second; a stream without lines is reset by the timer. */
	s->paused = true;
	event_del(&s->ev);
	wait_next(s->meter);
}

void
stream_open(struct stream *s, struct meter *m, int fd, struct buf *tail)
{
	s->meter = m;
	s->fd = fd;
	s->paused = s->cutting = false;
	s->tail = tail;
	buf_init(&s->line);
	m->stream = s;
	fcntl(fd, F_SETFL, O_NONBLOCK);
	event_assign(&s->ev, m->w->base, fd, EV_READ | EV_PERSIST, on_readable, s);
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
