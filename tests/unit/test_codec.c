/*
 * The codec where the vectors do not reach: sizes at which an encoding changes, lists, memory, and msgpack-c as a
 * second opinion on what we write and as the writer of what we read.
 */
#include "config.h"

#include <msgpack.h>
#include <string.h>

#include "proto/messages.h"
#include "tests/unit/unit.h"

static struct msg m;
static struct buf out;
static const char *why;

static void
setup(void)
{
	msg_init(&m);
	buf_init(&out);
	why = "";
}

static void
teardown(void)
{
	msg_free(&m);
	buf_free(&out);
}

/* Opens the only frame in the buffer. */
static void
open_out(void)
{
	uint8_t *p = buf_ptr(&out);

	ck_assert_uint_eq(out.len, MSG_HEAD + msg_length(p));
	ck_assert_msg(msg_open(&m, p + MSG_HEAD, out.len - MSG_HEAD, &why) == 0, "%s", why);
}

/* What msgpack-c makes of the frame's body must be whole and nothing more. */
static void
second_opinion(void)
{
	msgpack_unpacked u;
	size_t off = 0;

	msgpack_unpacked_init(&u);
	ck_assert_int_eq(msgpack_unpack_next(&u, (char *)buf_ptr(&out) + MSG_HEAD, out.len - MSG_HEAD, &off), MSGPACK_UNPACK_SUCCESS);
	ck_assert_uint_eq(off, out.len - MSG_HEAD);
	ck_assert_int_eq(u.data.type, MSGPACK_OBJECT_ARRAY);
	ck_assert_uint_eq(u.data.via.array.size, 3);
	msgpack_unpacked_destroy(&u);
}

START_TEST(strings_of_all_sizes)
{
	static const size_t sizes[] = { 0, 1, 31, 32, 33, 254, 255, 256, 257, 65534, 65535, 65536, 65537, 200000 };
	struct msg_done in, back;
	char *text = malloc(200000);

	memset(text, 'x', 200000);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		in.result = (struct pstr){ text, sizes[i] };
		buf_reset(&out, 0);
		msg_done_encode(&out, 1, &in);
		open_out();
		ck_assert_msg(msg_done_decode(&m, &back, &why) == 0, "%s", why);
		ck_assert_uint_eq(back.result.len, sizes[i]);
		ck_assert_int_eq(memcmp(back.result.p, text, sizes[i]), 0);
		second_opinion();
	}
	free(text);
}
END_TEST

START_TEST(numbers_of_all_sizes)
{
	struct msg_slots in, back;

	for (int bit = 0; bit < 64; bit++)
		for (int off = -1; off <= 1; off++)
			for (int sign = -1; sign <= 1; sign += 2) {
				uint64_t u = ((uint64_t)1 << bit) + (uint64_t)(int64_t)off;

				in.pool = u;
				in.slots = (int64_t)(sign < 0 ? -u : u);
				buf_reset(&out, 4096);
				msg_slots_encode(&out, u, &in);
				open_out();
				ck_assert_msg(msg_slots_decode(&m, &back, &why) == 0, "%s", why);
				ck_assert(m.exec == u && back.pool == u && back.slots == in.slots);
				second_opinion();
			}
}
END_TEST

START_TEST(lists_of_all_sizes)
{
	static const size_t sizes[] = { 0, 1, 15, 16, 17, 65535, 65536, MSG_MAX_LIST };
	struct msg_returned in = { .reason = pstr("r") }, back;

	in.execs = calloc(MSG_MAX_LIST + 1, sizeof(uint64_t));
	for (size_t i = 0; i <= MSG_MAX_LIST; i++)
		in.execs[i] = i * 977;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		in.execs_n = sizes[i];
		buf_reset(&out, 0);
		msg_returned_encode(&out, 0, &in);
		open_out();
		ck_assert_msg(msg_returned_decode(&m, &back, &why) == 0, "%s", why);
		ck_assert_uint_eq(back.execs_n, sizes[i]);
		ck_assert_int_eq(memcmp(back.execs, in.execs, sizes[i] * sizeof(uint64_t)), 0);
	}
	in.execs_n = MSG_MAX_LIST + 1;
	buf_reset(&out, 0);
	msg_returned_encode(&out, 0, &in);
	open_out();
	ck_assert_int_eq(msg_returned_decode(&m, &back, &why), -1);
	ck_assert_str_eq(why, "RETURNED.execs: not a list, or too long");
	free(in.execs);
}
END_TEST

START_TEST(absent_is_not_empty)
{
	struct msg_log in = { .level = pstr("info"), .message = pstr(""), .fields = pstr(NULL) }, back;

	msg_log_encode(&out, 0, &in);
	open_out();
	ck_assert_int_eq(msg_log_decode(&m, &back, &why), 0);
	ck_assert_ptr_nonnull(back.message.p);
	ck_assert_uint_eq(back.message.len, 0);
	ck_assert_ptr_null(back.fields.p);
	/* A required string that the program left out is written as the empty one. */
	in.message = pstr(NULL);
	buf_reset(&out, 0);
	msg_log_encode(&out, 0, &in);
	open_out();
	ck_assert_int_eq(msg_log_decode(&m, &back, &why), 0);
	ck_assert_uint_eq(back.message.len, 0);
}
END_TEST

START_TEST(frames_follow_each_other)
{
	struct msg_done done = { .result = pstr("1") };
	struct msg_credit credit = { .credit = 300 };
	size_t first;

	msg_done_encode(&out, 70000, &done);
	first = out.len;
	msg_credit_encode(&out, 0, &credit);
	ck_assert_uint_eq(msg_length(buf_ptr(&out)) + MSG_HEAD, first);
	buf_drain(&out, first);
	open_out();
	ck_assert_uint_eq(m.type, MSG_CREDIT);
	/* Also into a buffer whose front was taken. */
	msg_done_encode(&out, 2, &done);
	buf_drain(&out, MSG_HEAD + msg_length(buf_ptr(&out)));
	open_out();
	ck_assert_uint_eq(m.type, MSG_DONE);
	ck_assert_uint_eq(m.exec, 2);
}
END_TEST

/* Lists live until the next frame, and their memory is used again. */
START_TEST(memory_is_used_again)
{
	uint64_t execs[300] = { 0 };
	struct msg_returned in = { .execs = execs, .execs_n = 300, .reason = pstr("r") }, back;
	void *first;

	msg_returned_encode(&out, 0, &in);
	open_out();
	ck_assert_int_eq(msg_returned_decode(&m, &back, &why), 0);
	first = back.execs;
	for (int i = 0; i < 100; i++) {
		open_out();
		ck_assert_int_eq(msg_returned_decode(&m, &back, &why), 0);
		ck_assert_ptr_eq(back.execs, first);
	}
	/* Several in one message are several. */
	open_out();
	ck_assert_int_eq(msg_returned_decode(&m, &back, &why), 0);
	memset(back.execs, 0xff, 300 * sizeof(uint64_t));
	in.execs_n = 3;
	ck_assert_int_eq(msg_returned_decode(&m, &back, &why), 0);
	ck_assert_ptr_ne(back.execs, first);
}
END_TEST

/* RUN as another library writes it, in its own order and with keys of the future. */
START_TEST(written_by_msgpack_c)
{
	msgpack_sbuffer s;
	msgpack_packer p;
	struct msg_run run;

	msgpack_sbuffer_init(&s);
	msgpack_packer_init(&p, &s, msgpack_sbuffer_write);
#define STR(text) do { msgpack_pack_str(&p, strlen(text)); msgpack_pack_str_body(&p, text, strlen(text)); } while (0)
	msgpack_pack_array(&p, 3);
	msgpack_pack_int64(&p, MSG_RUN);
	msgpack_pack_uint64(&p, 99);
	msgpack_pack_map(&p, 7);
	STR("journal");
	msgpack_pack_array(&p, 2);
	msgpack_pack_double(&p, 0.5);
	msgpack_pack_nil(&p);
	STR("event");
	msgpack_pack_map(&p, 2);
	STR("payload");
	STR("[1]");
	STR("name");
	STR("pgconductor.invoke");
	STR("token");
	STR("t");
	STR("id");
	STR("7");
	STR("deadline_ms");
	msgpack_pack_fix_uint64(&p, 1500);
	STR("attempt");
	msgpack_pack_fix_int16(&p, 2);
	STR("task");
	STR("greet");
	ck_assert_msg(msg_open(&m, (uint8_t *)s.data, s.size, &why) == 0, "%s", why);
	ck_assert_msg(msg_run_decode(&m, &run, &why) == 0, "%s", why);
	ck_assert_uint_eq(m.exec, 99);
	ck_assert_uint_eq(run.attempt, 2);
	ck_assert(run.has_deadline_ms && run.deadline_ms == 1500);
	ck_assert(run.event.payload.len == 3 && memcmp(run.event.payload.p, "[1]", 3) == 0);
	msgpack_sbuffer_destroy(&s);
}
END_TEST

START_TEST(directions)
{
	ck_assert(msg_allowed(MSG_RUN, MSG_WORKER_TO_HANDLER));
	ck_assert(msg_allowed(MSG_RUN, MSG_MASTER_TO_WORKER));
	ck_assert(!msg_allowed(MSG_RUN, MSG_HANDLER_TO_WORKER));
	ck_assert(!msg_allowed(MSG_SETUP, MSG_WORKER_TO_HANDLER));
	ck_assert(msg_allowed(MSG_LOG, MSG_HANDLER_TO_WORKER));
	ck_assert(msg_allowed(MSG_LOG, MSG_WORKER_TO_MASTER));
	ck_assert(!msg_allowed(MSG_LOG, MSG_MASTER_TO_WORKER));
	ck_assert(!msg_allowed(0, MSG_WORKER_TO_HANDLER));
	ck_assert(!msg_allowed(100000, MSG_WORKER_TO_HANDLER));
	ck_assert_str_eq(msg_name(MSG_HELLO), "HELLO");
	ck_assert_str_eq(msg_name(0), "unknown");
	ck_assert(!msg_ignorable(127) && msg_ignorable(128));
}
END_TEST

static Suite *
suite(void)
{
	Suite *s = suite_create("codec");
	TCase *t = tcase_create("codec");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, strings_of_all_sizes);
	tcase_add_test(t, numbers_of_all_sizes);
	tcase_add_test(t, lists_of_all_sizes);
	tcase_add_test(t, absent_is_not_empty);
	tcase_add_test(t, frames_follow_each_other);
	tcase_add_test(t, memory_is_used_again);
	tcase_add_test(t, written_by_msgpack_c);
	tcase_add_test(t, directions);
	suite_add_tcase(s, t);
	return s;
}

UNIT_MAIN(suite)
