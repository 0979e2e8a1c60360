/*
 * A framed, non-blocking stream to another process: u32 length (big-endian), then the body. Master and worker.
 *
 * Reading takes what is there in large pieces and hands over frame by frame; writing gathers all that one pass of the
 * event loop produced into one write(2). What a peer announces is held against a limit before anything is kept for it.
 */
#ifndef COMMON_PEER_H
#define COMMON_PEER_H

#include <stddef.h>
#include <stdint.h>

struct buf;
struct event_base;
struct peer;

struct peer_ops {
	/* One whole frame; the body is borrowed until return. */
	void	(*frame)(struct peer *, const uint8_t *body, size_t len, void *arg);
	/* All frames of one read were delivered. May be NULL. */
	void	(*drained)(struct peer *, void *arg);
	/*
	 * The end, once, from the event loop: the other side closed, an error, a frame over the limit, or peer_close.
	 * No other callback follows. The callee frees the peer (peer_free).
	 */
	void	(*closed)(struct peer *, const char *why, void *arg);
	/* What had to wait for the socket is all written: whoever pushed back may go on. May be NULL. */
	void	(*flushed)(struct peer *, void *arg);
};

/* Takes over the descriptor, which becomes non-blocking and close-on-exec. max_frame: bytes of a body. */
struct peer *peer_new(struct event_base *, int fd, size_t max_frame, const struct peer_ops *, void *arg);
/* Closes at once and silently; what was queued is lost. NULL is ignored. */
void	peer_free(struct peer *);
/*
 * Ends the connection: what is queued is written as far as the socket takes it at once, then closed() is called from
 * the event loop with this reason (copied). No frames are delivered in between. A second call changes nothing.
 */
void	peer_close(struct peer *, const char *why);

/* Frames for the other side are encoded into this; then peer_flush. */
struct buf *peer_out(struct peer *);
/* Has all that is queued written in this pass of the event loop, and the rest as soon as the socket takes it. */
void	peer_flush(struct peer *);
/* Queues a body that was received, with a length prefix, and flushes. */
void	peer_send_raw(struct peer *, const uint8_t *body, size_t len);
/* Bytes queued and not yet written. */
size_t	peer_pending(const struct peer *);

/* No reads, and so no frames and no notice of its end, until peer_read_start. Frames already read are delivered. */
void	peer_read_stop(struct peer *);
void	peer_read_start(struct peer *);

void	peer_set_max_frame(struct peer *, size_t);
int	peer_fd(const struct peer *);

#endif
