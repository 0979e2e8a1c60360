/*
 * A framed, non-blocking stream to another process. Master and worker, from their event loop only: the read buffer is
 * shared by all peers of the process. May not look into a frame, and may not wait.
 */
#include "config.h"

#include <sys/socket.h>

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <event2/util.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/log.h"
#include "common/peer.h"
#include "common/xmalloc.h"

#define HEAD		4
#define READ_BYTES	(256 * 1024)	/* more than a Unix socket holds by default: one read takes it all */
#define KEEP_IN		(16 * 1024)
#define KEEP_OUT	(256 * 1024)

struct peer {
	int		 fd;
	size_t		 max_frame;
	const struct peer_ops *ops;
	void		*arg;
	struct event	 readable;
	struct event	 writable;
	struct event	 pass;		/* runs at the end of a pass of the loop, when activated */
	struct buf	 in;		/* the beginning of a frame whose rest is still to come */
	struct buf	 out;
	unsigned	 busy;		/* callbacks that are running: memory may not go away under them */
	bool		 freed;
	bool		 closing;
	bool		 waiting;	/* for the socket to take more */
	bool		 stopped;	/* by peer_read_stop */
	int		 write_errno;	/* writing failed: read what the other side still sent, then close */
	char		 why[160];
};

static uint8_t *scratch;

static void on_readable(evutil_socket_t, short, void *);
static void on_writable(evutil_socket_t, short, void *);
static void on_pass(evutil_socket_t, short, void *);

struct peer *
peer_new(struct event_base *base, int fd, size_t max_frame, const struct peer_ops *ops, void *arg)
{
	struct peer *p = xcalloc(1, sizeof(*p));

	if (scratch == NULL)
		scratch = xmalloc(READ_BYTES);
	p->fd = fd;
	p->max_frame = max_frame;
	p->ops = ops;
	p->arg = arg;
	buf_init(&p->in);
	buf_init(&p->out);
	evutil_make_socket_nonblocking(fd);
	evutil_make_socket_closeonexec(fd);
	event_assign(&p->readable, base, fd, EV_READ | EV_PERSIST, on_readable, p);
	event_assign(&p->writable, base, fd, EV_WRITE, on_writable, p);
	event_assign(&p->pass, base, -1, 0, on_pass, p);
	if (event_add(&p->readable, NULL) == -1)
		fatalx("event_add");
	return p;
}

static void
peer_destroy(struct peer *p)
{
	buf_free(&p->in);
	buf_free(&p->out);
	free(p);
}

static void
peer_forget_events(struct peer *p)
{
	event_del(&p->readable);
	event_del(&p->writable);
	event_del(&p->pass);
}

void
peer_free(struct peer *p)
{
	if (p == NULL || p->freed)
		return;
	p->freed = true;
	peer_forget_events(p);
	close(p->fd);
	p->fd = -1;
	if (p->busy == 0)
		peer_destroy(p);
}

static void
enter(struct peer *p)
{
	p->busy++;
}

/* False when the peer was freed meanwhile and is gone now. */
static bool
leave(struct peer *p)
{
	if (--p->busy != 0 || !p->freed)
		return true;
	peer_destroy(p);
	return false;
}

static bool
ended(const struct peer *p)
{
	return p->freed || p->closing;
}

/* Writing */

/* A failed write ends the connection, but not before what the other side sent last was read. */
static void
write_failed(struct peer *p)
{
	p->write_errno = errno;
	buf_reset(&p->out, 0);
	event_del(&p->writable);
	p->waiting = false;
	event_active(&p->readable, EV_READ, 0);
}

static void
write_out(struct peer *p)
{
	ssize_t n;

	if (p->out.len == 0 || p->write_errno != 0)
		return;
	do {
		n = send(p->fd, buf_ptr(&p->out), p->out.len, MSG_NOSIGNAL);
	} while (n == -1 && errno == EINTR);
	if (n == -1 && errno != EAGAIN && errno != EWOULDBLOCK) {
		write_failed(p);
		return;
	}
	if (n > 0)
		buf_drain(&p->out, (size_t)n);
	p->waiting = p->out.len > 0;
	if (p->waiting)
		event_add(&p->writable, NULL);
	else
		buf_reset(&p->out, KEEP_OUT);
}

static void
on_writable(evutil_socket_t fd, short what, void *arg)
{
	struct peer *p = arg;

	(void)fd;
	(void)what;
	write_out(p);
	if (p->out.len != 0 || p->write_errno != 0 || p->ops->flushed == NULL)
		return;
	enter(p);
	p->ops->flushed(p, p->arg);
	leave(p);
}

static void
on_pass(evutil_socket_t fd, short what, void *arg)
{
	struct peer *p = arg;

	(void)fd;
	(void)what;
	if (!p->waiting)
		write_out(p);
	if (!p->closing)
		return;
	peer_forget_events(p);
	enter(p);
	p->ops->closed(p, p->why, p->arg);
	leave(p);
}

struct buf *
peer_out(struct peer *p)
{
	return &p->out;
}

void
peer_flush(struct peer *p)
{
	if (p->write_errno != 0) {
		buf_reset(&p->out, 0);
		return;
	}
	/* Active events that become active again are run in the same pass, after those already in line. */
	if (!ended(p) && !p->waiting)
		event_active(&p->pass, EV_TIMEOUT, 0);
}

void
peer_send_raw(struct peer *p, const uint8_t *body, size_t len)
{
	uint8_t *at = buf_reserve(&p->out, HEAD + len);

	for (int i = 0; i < HEAD; i++)
		at[i] = (uint8_t)(len >> (24 - 8 * i));
	memcpy(at + HEAD, body, len);
	buf_grew(&p->out, HEAD + len);
	peer_flush(p);
}

size_t
peer_pending(const struct peer *p)
{
	return p->out.len;
}

void
peer_close(struct peer *p, const char *why)
{
	if (ended(p))
		return;
	p->closing = true;
	p->waiting = false;
	snprintf(p->why, sizeof(p->why), "%s", why);
	event_del(&p->readable);
	event_del(&p->writable);
	event_active(&p->pass, EV_TIMEOUT, 0);
}

/* Reading */

static size_t
frame_length(const uint8_t *p)
{
	return (size_t)p[0] << 24 | (size_t)p[1] << 16 | (size_t)p[2] << 8 | p[3];
}

static bool
too_large(struct peer *p, size_t len)
{
	char why[96];

	if (len <= p->max_frame)
		return false;
	snprintf(why, sizeof(why), "a frame of %zu bytes; the limit is %zu", len, p->max_frame);
	peer_close(p, why);
	return true;
}

/* Takes n bytes more into the buffer, which grows with what has come and never to more than the frame. */
static void
keep(struct peer *p, const uint8_t *data, size_t n, size_t frame)
{
	size_t room = p->in.cap - p->in.len, more = p->in.len;

	if (room < n) {
		if (more > frame - p->in.len)
			more = frame - p->in.len;
		buf_reserve(&p->in, more > n ? more : n);
	}
	buf_add(&p->in, data, n);
}

/* Bytes that the kept frame has in all, as far as is known: first those of its length. */
static size_t
kept_needs(const struct peer *p)
{
	return p->in.len < HEAD ? HEAD : HEAD + frame_length(p->in.data);
}

/* Goes on with the frame whose beginning is kept. How much of the data that took; 0 when the peer has ended. */
static size_t
feed_kept(struct peer *p, const uint8_t *data, size_t len)
{
	size_t took = 0, need, n;

	while ((need = kept_needs(p)) > p->in.len) {
		if (p->in.len >= HEAD && too_large(p, need - HEAD))
			return 0;
		n = need - p->in.len;
		if (n > len - took)
			n = len - took;
		if (n == 0)
			return took;
		keep(p, data + took, n, need);
		took += n;
	}
	p->ops->frame(p, p->in.data + HEAD, p->in.len - HEAD, p->arg);
	if (ended(p))
		return 0;
	buf_reset(&p->in, KEEP_IN);
	return took;
}

/* Delivers the frames that these bytes complete and keeps the rest. */
static void
feed(struct peer *p, const uint8_t *data, size_t len)
{
	const uint8_t *end = data + len;
	size_t n;

	while (data < end && !ended(p)) {
		if (p->in.len != 0 || end - data < HEAD) {
			data += feed_kept(p, data, (size_t)(end - data));
			continue;
		}
		n = frame_length(data);
		if (too_large(p, n))
			return;
		if (n > (size_t)(end - data) - HEAD) {
			keep(p, data, (size_t)(end - data), HEAD + n);
			return;
		}
		p->ops->frame(p, data + HEAD, n, p->arg);
		data += HEAD + n;
	}
}

static void
read_ended(struct peer *p, ssize_t n)
{
	char why[96];

	if (n == -1)
		snprintf(why, sizeof(why), "read: %s", strerror(errno));
	else
		snprintf(why, sizeof(why), "closed by the other side%s", p->in.len != 0 ? " in the middle of a frame" : "");
	peer_close(p, why);
}

/* Nothing (more) to read. The socket cannot be written either once that has failed. */
static void
read_empty(struct peer *p)
{
	char why[96];

	if (p->write_errno == 0)
		return;
	snprintf(why, sizeof(why), "write: %s", strerror(p->write_errno));
	peer_close(p, why);
}

static ssize_t
read_some(struct peer *p)
{
	ssize_t n;

	do {
		n = read(p->fd, scratch, READ_BYTES);
	} while (n == -1 && errno == EINTR);
	return n;
}

static void
on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct peer *p = arg;
	ssize_t n;

	(void)fd;
	(void)what;
	if (p->closing || (p->stopped && p->write_errno == 0))
		return;
	n = read_some(p);
	if (n == -1 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
		read_empty(p);
		return;
	}
	if (n <= 0) {
		read_ended(p, n);
		return;
	}
	enter(p);
	feed(p, scratch, (size_t)n);
	if (!ended(p) && p->ops->drained != NULL)
		p->ops->drained(p, p->arg);
	if (leave(p) && p->write_errno != 0 && !ended(p))
		event_active(&p->readable, EV_READ, 0);
}

void
peer_read_stop(struct peer *p)
{
	p->stopped = true;
	if (!ended(p))
		event_del(&p->readable);
}

void
peer_read_start(struct peer *p)
{
	p->stopped = false;
	if (!ended(p))
		event_add(&p->readable, NULL);
}

void
peer_set_max_frame(struct peer *p, size_t max_frame)
{
	p->max_frame = max_frame;
}

int
peer_fd(const struct peer *p)
{
	return p->fd;
}
