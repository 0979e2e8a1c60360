/*
 * Fuzz target: the input is what a peer sends, the first byte of it how it is cut in two. What is delivered must be
 * what a plain reading of the stream finds, up to the first frame over the limit.
 */
#include "config.h"

#include <sys/socket.h>

#include <event2/event.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/peer.h"
#include "proto/messages.h"
#include "tests/fuzz/fuzz.h"

#define LIMIT	4096

static struct buf delivered;
static struct msg m;
static int closed;

static void
on_frame(struct peer *p, const uint8_t *body, size_t len, void *arg)
{
	const char *why;

	(void)p;
	(void)arg;
	FUZZ_ASSERT(len <= LIMIT && closed == 0);
	buf_add(&delivered, body, len);
	buf_add(&delivered, "|", 1);
	msg_open(&m, body, len, &why);
}

static void
on_closed(struct peer *p, const char *why, void *arg)
{
	FUZZ_ASSERT(why != NULL);
	closed++;
	peer_free(p);
	*(struct peer **)arg = NULL;
}

static const struct peer_ops ops = { .frame = on_frame, .closed = on_closed };

static void
expect(const uint8_t *data, size_t size, struct buf *want)
{
	while (size >= MSG_HEAD && msg_length(data) <= LIMIT && size - MSG_HEAD >= msg_length(data)) {
		size_t len = msg_length(data);

		buf_add(want, data + MSG_HEAD, len);
		buf_add(want, "|", 1);
		data += MSG_HEAD + len;
		size -= MSG_HEAD + len;
	}
}

static void
feed(struct event_base *base, int fd, const uint8_t *data, size_t size)
{
	if (size != 0 && closed == 0)
		FUZZ_ASSERT(send(fd, data, size, MSG_NOSIGNAL) == (ssize_t)size);
	event_base_loop(base, EVLOOP_NONBLOCK);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct event_base *base;
	struct peer *peer;
	struct buf want;
	size_t cut;
	int fds[2];

	if (size == 0 || size > 60000)
		return 0;
	if (base == NULL)
		base = event_base_new();
	FUZZ_ASSERT(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
	buf_reset(&delivered, 65536);
	closed = 0;
	peer = peer_new(base, fds[0], LIMIT, &ops, &peer);
	cut = data[0] % size;
	data++;
	size--;
	feed(base, fds[1], data, cut);
	feed(base, fds[1], data + cut, size - cut);
	close(fds[1]);
	for (int i = 0; i < 3 && peer != NULL; i++)
		event_base_loop(base, EVLOOP_NONBLOCK);
	FUZZ_ASSERT(closed == 1 && peer == NULL);
	buf_init(&want);
	expect(data, size, &want);
	FUZZ_ASSERT(want.len == delivered.len);
	FUZZ_ASSERT(want.len == 0 || memcmp(buf_ptr(&want), buf_ptr(&delivered), want.len) == 0);
	buf_free(&want);
	return 0;
}
