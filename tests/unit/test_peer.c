/*
 * peer: framing, gathering, limits, backpressure and all the ways a connection ends, over a real socket pair.
 */
#include "config.h"

#include <sys/socket.h>

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/peer.h"
#include "tests/unit/unit.h"

#define MAX_FRAME	100000

static struct event_base *base;
static struct peer *peer;
static int far;			/* the other end */
static struct buf seen;		/* bodies, each followed by "|" */
static int frames_seen, drains, closes, flushes;
static char reason[200];
static enum { KEEP, CLOSE_IN_FRAME, FREE_IN_FRAME, STOP_IN_FRAME, FREE_IN_DRAINED } doing;

static void
on_frame(struct peer *p, const uint8_t *body, size_t len, void *arg)
{
	ck_assert_ptr_eq(arg, &base);
	ck_assert_int_eq(closes, 0);
	buf_add(&seen, body, len);
	buf_add(&seen, "|", 1);
	frames_seen++;
	if (doing == CLOSE_IN_FRAME)
		peer_close(p, "enough");
	if (doing == STOP_IN_FRAME)
		peer_read_stop(p);
	if (doing == FREE_IN_FRAME) {
		peer_free(p);
		peer = NULL;
	}
}

static void
on_drained(struct peer *p, void *arg)
{
	(void)arg;
	drains++;
	if (doing == FREE_IN_DRAINED) {
		peer_free(p);
		peer = NULL;
	}
}

static void
on_closed(struct peer *p, const char *why, void *arg)
{
	(void)arg;
	closes++;
	snprintf(reason, sizeof(reason), "%s", why);
	peer_free(p);
	peer = NULL;
}

static void
on_flushed(struct peer *p, void *arg)
{
	(void)arg;
	ck_assert_uint_eq(peer_pending(p), 0);
	flushes++;
}

static const struct peer_ops ops = { .frame = on_frame, .drained = on_drained, .closed = on_closed, .flushed = on_flushed };

static void
setup(void)
{
	int fds[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	base = event_base_new();
	far = fds[1];
	fcntl(far, F_SETFL, O_NONBLOCK);
	peer = peer_new(base, fds[0], MAX_FRAME, &ops, &base);
	buf_init(&seen);
}

static void
teardown(void)
{
	peer_free(peer);
	buf_free(&seen);
	event_base_free(base);
	if (far != -1)
		close(far);
}

/* One pass of the loop. */
static void
pass(void)
{
	event_base_loop(base, EVLOOP_NONBLOCK);
}

static void
far_write(const void *data, size_t len)
{
	ck_assert_int_eq(write(far, data, len), (ssize_t)len);
}

static void
add_frame(struct buf *b, const void *body, size_t len)
{
	uint8_t head[4] = { (uint8_t)(len >> 24), (uint8_t)(len >> 16), (uint8_t)(len >> 8), (uint8_t)len };

	buf_add(b, head, 4);
	buf_add(b, body, len);
}

static void
seen_is(const char *expected)
{
	ck_assert_uint_eq(seen.len, strlen(expected));
	ck_assert_int_eq(memcmp(buf_ptr(&seen), expected, seen.len), 0);
}

START_TEST(one_read_many_frames)
{
	far_write("\0\0\0\1a\0\0\0\0\0\0\0\2bc\0\0\0", 18);
	pass();
	seen_is("a||bc|");
	ck_assert_int_eq(drains, 1);
	far_write("\3def", 4);
	pass();
	seen_is("a||bc|def|");
	ck_assert_int_eq(drains, 2);
}
END_TEST

START_TEST(byte_by_byte)
{
	static const char wire[] = "\0\0\0\3abc\0\0\0\0\0\0\0\1z";

	for (size_t i = 0; i < sizeof(wire) - 1; i++) {
		far_write(wire + i, 1);
		pass();
	}
	seen_is("abc||z|");
}
END_TEST

/* Frames of many sizes, cut in pieces of many sizes. */
START_TEST(all_cuts)
{
	struct buf wire, expected;
	char body[600];

	buf_init(&wire);
	buf_init(&expected);
	for (size_t n = 0; n < sizeof(body); n += 7) {
		memset(body, 'a' + (int)(n % 26), n);
		add_frame(&wire, body, n);
		buf_add(&expected, body, n);
		buf_add(&expected, "|", 1);
	}
	for (size_t piece = 1; piece < 1500; piece += piece < 20 ? 1 : 97) {
		buf_reset(&seen, 0);
		for (size_t at = 0; at < wire.len; at += piece) {
			far_write(buf_ptr(&wire) + at, wire.len - at < piece ? wire.len - at : piece);
			pass();
		}
		ck_assert_uint_eq(seen.len, expected.len);
		ck_assert_int_eq(memcmp(buf_ptr(&seen), buf_ptr(&expected), seen.len), 0);
	}
	buf_free(&wire);
	buf_free(&expected);
}
END_TEST

START_TEST(largest_frame)
{
	static char body[MAX_FRAME];
	struct buf wire;

	buf_init(&wire);
	memset(body, 'x', sizeof(body));
	add_frame(&wire, body, sizeof(body));
	add_frame(&wire, "y", 1);
	while (wire.len != 0) {
		ssize_t n = write(far, buf_ptr(&wire), wire.len < 30000 ? wire.len : 30000);

		ck_assert_int_gt(n, 0);
		buf_drain(&wire, (size_t)n);
		pass();
	}
	ck_assert_int_eq(frames_seen, 2);
	ck_assert_uint_eq(seen.len, MAX_FRAME + 3);
	buf_free(&wire);
}
END_TEST

START_TEST(frame_over_the_limit)
{
	uint32_t len = MAX_FRAME + 1;
	uint8_t head[4] = { 0, (uint8_t)(len >> 16), (uint8_t)(len >> 8), (uint8_t)len };

	far_write("\0\0\0\1a", 5);
	far_write(head, 4);
	pass();
	pass();
	seen_is("a|");
	ck_assert_int_eq(closes, 1);
	ck_assert_str_eq(reason, "a frame of 100001 bytes; the limit is 100000");
}
END_TEST

/* The length comes in pieces too. */
START_TEST(limit_of_a_split_length)
{
	far_write("\xff\xff", 2);
	pass();
	ck_assert_int_eq(closes, 0);
	far_write("\xff\xff", 2);
	pass();
	pass();
	ck_assert_int_eq(closes, 1);
	ck_assert_int_eq(frames_seen, 0);
}
END_TEST

START_TEST(limit_may_change)
{
	peer_set_max_frame(peer, 2);
	far_write("\0\0\0\3abc", 7);
	pass();
	pass();
	ck_assert_str_eq(reason, "a frame of 3 bytes; the limit is 2");
}
END_TEST

static size_t
far_read(void *buf, size_t room)
{
	ssize_t n = read(far, buf, room);

	return n > 0 ? (size_t)n : 0;
}

START_TEST(one_write_per_pass)
{
	char buf[100];

	peer_send_raw(peer, (const uint8_t *)"ab", 2);
	add_frame(peer_out(peer), "c", 1);
	peer_flush(peer);
	ck_assert_uint_eq(peer_pending(peer), 11);
	/* Nothing before the loop has run. */
	ck_assert_uint_eq(far_read(buf, sizeof(buf)), 0);
	pass();
	ck_assert_uint_eq(peer_pending(peer), 0);
	ck_assert_uint_eq(far_read(buf, sizeof(buf)), 11);
	ck_assert_int_eq(memcmp(buf, "\0\0\0\2ab\0\0\0\1c", 11), 0);
}
END_TEST

START_TEST(backpressure)
{
	static char body[MAX_FRAME], buf[65536];
	size_t sent = 0, got = 0, n;

	for (int i = 0; i < 40; i++, sent += sizeof(body) + 4)
		peer_send_raw(peer, (uint8_t *)body, sizeof(body));
	pass();
	ck_assert_uint_gt(peer_pending(peer), 0);
	ck_assert_uint_lt(peer_pending(peer), sent);
	ck_assert_int_eq(flushes, 0);
	/* More may be queued meanwhile, in order. */
	peer_send_raw(peer, (const uint8_t *)"end", 3);
	sent += 7;
	while (got < sent) {
		n = far_read(buf, sizeof(buf));
		got += n;
		pass();
		if (n > 0)
			memmove(body, buf + (n > 3 ? n - 3 : 0), 3);
	}
	ck_assert_uint_eq(got, sent);
	ck_assert_int_eq(memcmp(body, "end", 3), 0);
	ck_assert_int_eq(flushes, 1);
}
END_TEST

START_TEST(reading_stops)
{
	peer_read_stop(peer);
	far_write("\0\0\0\1a", 5);
	pass();
	pass();
	ck_assert_int_eq(frames_seen, 0);
	peer_read_start(peer);
	pass();
	seen_is("a|");
	/* Stopped in a callback: what was read already is delivered, nothing more is read. */
	doing = STOP_IN_FRAME;
	far_write("\0\0\0\1b\0\0\0\1c", 10);
	pass();
	far_write("\0\0\0\1d", 5);
	pass();
	seen_is("a|b|c|");
	peer_read_start(peer);
	pass();
	seen_is("a|b|c|d|");
}
END_TEST

START_TEST(other_side_closes)
{
	far_write("\0\0\0\1a", 5);
	close(far);
	far = -1;
	pass();
	pass();
	seen_is("a|");
	ck_assert_int_eq(closes, 1);
	ck_assert_str_eq(reason, "closed by the other side");
}
END_TEST

START_TEST(other_side_closes_in_a_frame)
{
	far_write("\0\0\0\5ab", 6);
	close(far);
	far = -1;
	pass();
	pass();
	ck_assert_str_eq(reason, "closed by the other side in the middle of a frame");
}
END_TEST

/* What a dead process sent last counts, even if we meet its end by writing. */
START_TEST(last_words_are_read)
{
	for (int i = 0; i < 200000; i++)
		if (write(far, "\0\0\0\1a", 5) != 5)
			break;
		else
			drains++;
	peer_read_stop(peer);
	close(far);
	far = -1;
	peer_send_raw(peer, (const uint8_t *)"x", 1);
	for (int i = 0; i < 100 && closes == 0; i++)
		pass();
	ck_assert_int_eq(closes, 1);
	ck_assert_int_gt(frames_seen, 10);
	ck_assert_int_ge(drains, frames_seen);
}
END_TEST

START_TEST(writing_fails)
{
	shutdown(far, SHUT_RD);
	peer_send_raw(peer, (const uint8_t *)"x", 1);
	for (int i = 0; i < 10 && closes == 0; i++)
		pass();
	ck_assert_int_eq(closes, 1);
	ck_assert_str_eq(reason, "write: Broken pipe");
}
END_TEST

START_TEST(closing)
{
	char buf[10];

	far_write("\0\0\0\1a\0\0\0\1b", 10);
	doing = CLOSE_IN_FRAME;
	/* What says why it ends still goes out. */
	peer_send_raw(peer, (const uint8_t *)"bye", 3);
	pass();
	pass();
	seen_is("a|");
	ck_assert_int_eq(drains, 0);
	ck_assert_int_eq(closes, 1);
	ck_assert_str_eq(reason, "enough");
	ck_assert_uint_eq(far_read(buf, sizeof(buf)), 7);
}
END_TEST

START_TEST(closing_outside_a_callback)
{
	peer_close(peer, "first");
	peer_close(peer, "second");
	ck_assert_int_eq(closes, 0);
	pass();
	ck_assert_int_eq(closes, 1);
	ck_assert_str_eq(reason, "first");
}
END_TEST

START_TEST(freeing_in_callbacks)
{
	far_write("\0\0\0\1a\0\0\0\1b", 10);
	doing = _i == 0 ? FREE_IN_FRAME : FREE_IN_DRAINED;
	pass();
	pass();
	ck_assert_ptr_null(peer);
	ck_assert_int_eq(frames_seen, _i == 0 ? 1 : 2);
	ck_assert_int_eq(closes, 0);
	ck_assert_uint_eq(far_read(&reason, 1), 0);
}
END_TEST

START_TEST(freeing_with_work_left)
{
	peer_send_raw(peer, (const uint8_t *)"x", 1);
	far_write("\0\0\0\1a", 5);
	peer_free(peer);
	peer = NULL;
	pass();
	ck_assert_int_eq(frames_seen, 0);
	peer_free(NULL);
}
END_TEST

static Suite *
suite(void)
{
	Suite *s = suite_create("peer");
	TCase *t = tcase_create("peer");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, one_read_many_frames);
	tcase_add_test(t, byte_by_byte);
	tcase_add_test(t, all_cuts);
	tcase_add_test(t, largest_frame);
	tcase_add_test(t, frame_over_the_limit);
	tcase_add_test(t, limit_of_a_split_length);
	tcase_add_test(t, limit_may_change);
	tcase_add_test(t, one_write_per_pass);
	tcase_add_test(t, backpressure);
	tcase_add_test(t, reading_stops);
	tcase_add_test(t, other_side_closes);
	tcase_add_test(t, other_side_closes_in_a_frame);
	tcase_add_test(t, last_words_are_read);
	tcase_add_test(t, writing_fails);
	tcase_add_test(t, closing);
	tcase_add_test(t, closing_outside_a_callback);
	tcase_add_loop_test(t, freeing_in_callbacks, 0, 2);
	tcase_add_test(t, freeing_with_work_left);
	suite_add_tcase(s, t);
	return s;
}

UNIT_MAIN(suite)
