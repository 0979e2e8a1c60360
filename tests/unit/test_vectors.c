/*
 * The golden vectors of proto/vectors against the codec: each frame says what its manifest says, is what our encoder
 * writes, and each bad one is refused for the reason given.
 */
#include "config.h"

#include <jansson.h>
#include <string.h>

#include "proto/messages.h"
#include "tests/unit/unit.h"

#define FRAME_MAX	4096

/* A msgpack reader of its own, as plain as can be: the codec is what is tested. */
static json_t *
to_json(const uint8_t **p)
{
	uint8_t c = *(*p)++;
	uint64_t n = 0;
	json_t *j;

	if (c < 0x80 || c >= 0xe0)
		return json_integer((int8_t)c);
	if (c == 0xc0)
		return json_null();
	if (c == 0xc2 || c == 0xc3)
		return json_boolean(c == 0xc3);
	if (c < 0xc0)
		n = c < 0xa0 ? c & 0x0f : c & 0x1f;
	else
		for (int bytes = c >= 0xd9 && c <= 0xdb ? 1 << (c - 0xd9) : c >= 0xdc ? 2 << (c & 1) : 1 << (c & 3); bytes > 0; bytes--)
			n = n << 8 | *(*p)++;
	if (c >= 0xcc && c <= 0xcf)
		return json_integer((json_int_t)n);
	if (c >= 0xd0 && c <= 0xd3) {
		int shift = 64 - (8 << (c & 3));

		return json_integer((json_int_t)((int64_t)(n << shift) >> shift));
	}
	if ((c & 0xe0) == 0xa0 || (c >= 0xd9 && c <= 0xdb)) {
		*p += n;
		return json_stringn((const char *)*p - n, n);
	}
	if ((c & 0xf0) == 0x90 || c == 0xdc || c == 0xdd) {
		for (j = json_array(); n > 0; n--)
			json_array_append_new(j, to_json(p));
		return j;
	}
	ck_assert((c & 0xf0) == 0x80 || c == 0xde || c == 0xdf);
	for (j = json_object(); n > 0; n--) {
		json_t *key = to_json(p);

		json_object_set_new(j, json_string_value(key), to_json(p));
		json_decref(key);
	}
	return j;
}

#define RECODE(NAME, id, number)						\
static int									\
recode_##id(struct msg *m, struct buf *out, const char **why)			\
{										\
	struct msg_##id v;							\
										\
	if (msg_##id##_decode(m, &v, why) == -1)				\
		return -1;							\
	msg_##id##_encode(out, m->exec, &v);					\
	return 0;								\
}
MSG_LIST(RECODE)

/* Decodes an opened message and encodes it again. */
static int
recode(struct msg *m, struct buf *out, const char **why)
{
	switch (m->type) {
#define CASE(NAME, id, number)	case number: return recode_##id(m, out, why);
	MSG_LIST(CASE)
	}
	ck_abort_msg("type %u", m->type);
}

static const char *
text(json_t *line, const char *key)
{
	return json_string_value(json_object_get(line, key));
}

static json_t *
load_lines(const char *name)
{
	json_t *all = json_array(), *line;
	json_error_t error;
	FILE *f = unit_open(name);
	int c;

	while ((c = getc(f)) != EOF) {
		ungetc(c, f);
		line = json_loadf(f, JSON_DISABLE_EOF_CHECK, &error);
		ck_assert_msg(line != NULL, "%s:%zu: %s", name, json_array_size(all) + 1, error.text);
		json_array_append_new(all, line);
		while ((c = getc(f)) == '\n')
			;
		if (c != EOF)
			ungetc(c, f);
	}
	fclose(f);
	return all;
}

/* The frame's body; its prefix must say how long it is. */
static size_t
load_frame(json_t *line, uint8_t *frame)
{
	size_t n = unit_unhex(text(line, "hex"), frame, FRAME_MAX);

	ck_assert_uint_ge(n, MSG_HEAD);
	ck_assert_uint_eq(msg_length(frame), n - MSG_HEAD);
	return n - MSG_HEAD;
}

static json_t *
find(json_t *lines, const char *name)
{
	size_t i;
	json_t *line;

	json_array_foreach(lines, i, line)
		if (strcmp(text(line, "name"), name) == 0)
			return line;
	ck_abort_msg("no vector %s", name);
}

static unsigned
link_dir(const char *link)
{
	if (strcmp(link, "handler>worker") == 0)
		return MSG_HANDLER_TO_WORKER;
	if (strcmp(link, "worker>handler") == 0)
		return MSG_WORKER_TO_HANDLER;
	return strcmp(link, "master>worker") == 0 ? MSG_MASTER_TO_WORKER : MSG_WORKER_TO_MASTER;
}

static void
check_frame(json_t *lines, json_t *line)
{
	const char *name = text(line, "name"), *why = "", *same_as = text(line, "same_as");
	uint8_t frame[FRAME_MAX], expected[FRAME_MAX];
	size_t len = load_frame(line, frame), expected_len;
	struct msg m;
	struct buf out;
	json_t *said;
	const uint8_t *p;

	msg_init(&m);
	buf_init(&out);
	ck_assert_msg(msg_open(&m, frame + MSG_HEAD, len, &why) == 0, "%s: %s", name, why);
	ck_assert_int_eq(m.type, json_integer_value(json_object_get(line, "type")));
	ck_assert_int_eq((json_int_t)m.exec, json_integer_value(json_object_get(line, "exec")));
	ck_assert_str_eq(msg_name(m.type), text(line, "message"));
	ck_assert(msg_allowed(m.type, link_dir(text(line, "link"))));
	if (same_as == NULL) {
		p = m.map;
		said = to_json(&p);
		ck_assert_msg(json_equal(said, json_object_get(line, "decoded")), "%s: the manifest is not what the bytes say", name);
		json_decref(said);
	}
	ck_assert_msg(recode(&m, &out, &why) == 0, "%s: %s", name, why);
	expected_len = load_frame(same_as != NULL ? find(lines, same_as) : line, expected);
	ck_assert_msg(out.len == MSG_HEAD + expected_len && memcmp(buf_ptr(&out), expected, out.len) == 0,
	    "%s: our encoder writes something else", name);
	buf_free(&out);
	msg_free(&m);
}

START_TEST(frames_are_read_and_written)
{
	json_t *lines = load_lines("proto/vectors/frames.jsonl"), *line;
	size_t i;

	json_array_foreach(lines, i, line)
		check_frame(lines, line);
	json_decref(lines);
}
END_TEST

START_TEST(every_message_has_a_vector)
{
	json_t *lines = load_lines("proto/vectors/frames.jsonl"), *line;
	bool seen[MSG_TYPE_LAST + 1] = { false };
	size_t i;

	json_array_foreach(lines, i, line)
		seen[json_integer_value(json_object_get(line, "type"))] = true;
#define SEEN(NAME, id, number)	ck_assert_msg(seen[number], "no vector of " #NAME);
	MSG_LIST(SEEN)
	json_decref(lines);
}
END_TEST

START_TEST(bad_frames_are_refused)
{
	json_t *lines = load_lines("proto/vectors/bad.jsonl"), *line;
	uint8_t frame[FRAME_MAX];
	struct msg m;
	struct buf out;
	size_t i;

	msg_init(&m);
	buf_init(&out);
	json_array_foreach(lines, i, line) {
		const char *name = text(line, "name"), *at = text(line, "at"), *why = "";
		size_t len = load_frame(line, frame);
		/* Exactly as long as it is, so that a sanitizer sees any byte too many. */
		uint8_t *body = malloc(len != 0 ? len : 1);
		int opened;

		memcpy(body, frame + MSG_HEAD, len);
		opened = msg_open(&m, body, len, &why);
		ck_assert_msg((opened == -1) == (strcmp(at, "open") == 0), "%s: opened %d: %s", name, opened, why);
		if (strcmp(at, "type") == 0)
			ck_assert_msg(!msg_known(m.type) && !msg_ignorable(m.type), "%s is known", name);
		if (strcmp(at, "decode") == 0)
			ck_assert_msg(recode(&m, &out, &why) == -1, "%s is accepted", name);
		ck_assert_msg(strcmp(why, text(line, "why")) == 0, "%s: \"%s\"", name, why);
		free(body);
	}
	msg_free(&m);
	buf_free(&out);
	json_decref(lines);
}
END_TEST

/* No prefix of a frame is accepted, and none is read beyond its end. */
START_TEST(prefixes_are_refused)
{
	json_t *lines = load_lines("proto/vectors/frames.jsonl"), *line;
	uint8_t frame[FRAME_MAX];
	struct msg m;
	size_t i;

	msg_init(&m);
	json_array_foreach(lines, i, line) {
		size_t len = load_frame(line, frame);

		for (size_t n = 0; n < len; n++) {
			uint8_t *body = malloc(n != 0 ? n : 1);
			const char *why = NULL;

			memcpy(body, frame + MSG_HEAD, n);
			ck_assert_int_eq(msg_open(&m, body, n, &why), -1);
			ck_assert_ptr_nonnull(why);
			free(body);
		}
	}
	msg_free(&m);
	json_decref(lines);
}
END_TEST

static Suite *
suite(void)
{
	Suite *s = suite_create("vectors");
	TCase *t = tcase_create("vectors");

	tcase_add_test(t, frames_are_read_and_written);
	tcase_add_test(t, every_message_has_a_vector);
	tcase_add_test(t, bad_frames_are_refused);
	tcase_add_test(t, prefixes_are_refused);
	suite_add_tcase(s, t);
	return s;
}

UNIT_MAIN(suite)
