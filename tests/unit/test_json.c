/*
 * json_check against what a PostgreSQL server said of the same texts (json.cases), json_quote, and UTF-8.
 */
#include "config.h"

#include <string.h>

#include "common/buf.h"
#include "common/json.h"
#include "common/utf8.h"
#include "tests/unit/unit.h"

static int
check(const char *s)
{
	return json_check(s, strlen(s), NULL, NULL);
}

START_TEST(as_postgresql)
{
	FILE *f = unit_open("tests/unit/json.cases");
	unsigned char bytes[256];
	char line[600];
	int cases = 0;

	while (fgets(line, sizeof(line), f) != NULL) {
		size_t n = unit_unhex(line + 2, bytes, sizeof(bytes));
		/* Exactly as long as it is, so that a sanitizer sees any byte too many. */
		char *copy = malloc(n != 0 ? n : 1);

		memcpy(copy, bytes, n);
		ck_assert_msg((json_check(copy, n, NULL, NULL) == 0) == (line[0] == '1'), "PostgreSQL says otherwise: %s", line);
		free(copy);
		cases++;
	}
	fclose(f);
	ck_assert_int_gt(cases, 2000);
}
END_TEST

static char *
nested(size_t depth, char open, char close)
{
	char *s = malloc(2 * depth + 1);

	memset(s, open, depth);
	memset(s + depth, close, depth);
	s[2 * depth] = '\0';
	return s;
}

START_TEST(depth_has_a_limit)
{
	char *s = nested(JSON_MAX_DEPTH, '[', ']');
	const char *why;
	size_t at;

	ck_assert_int_eq(check(s), 0);
	free(s);
	s = nested(JSON_MAX_DEPTH + 1, '[', ']');
	ck_assert_int_eq(json_check(s, strlen(s), &at, &why), -1);
	ck_assert_str_eq(why, "nested too deeply");
	ck_assert_uint_eq(at, JSON_MAX_DEPTH);
	free(s);
	s = nested(1000000, '[', ']');
	ck_assert_int_eq(check(s), -1);
	free(s);
}
END_TEST

/* Arrays and objects in turns, so that a level is never taken for its neighbour. */
START_TEST(levels_are_kept_apart)
{
	struct buf b;

	buf_init(&b);
	for (int i = 0; i < 300; i++)
		buf_addstr(&b, i % 3 == 0 ? "{\"k\":" : "[");
	buf_addstr(&b, "1");
	for (int i = 299; i >= 0; i--)
		buf_addstr(&b, i % 3 == 0 ? "}" : "]");
	ck_assert_int_eq(json_check((char *)buf_ptr(&b), b.len, NULL, NULL), 0);
	/* Each closing bracket must be of its own kind. */
	for (size_t i = b.len - 300; i < b.len; i++) {
		buf_ptr(&b)[i] ^= ']' ^ '}';
		ck_assert_int_eq(json_check((char *)buf_ptr(&b), b.len, NULL, NULL), -1);
		buf_ptr(&b)[i] ^= ']' ^ '}';
	}
	buf_free(&b);
}
END_TEST

START_TEST(faults_are_located)
{
	const char *why;
	size_t at;

	ck_assert_int_eq(json_check("{\"a\": tru}", 10, &at, &why), -1);
	ck_assert_uint_eq(at, 6);
	ck_assert_str_eq(why, "a JSON value is expected");
	ck_assert_int_eq(json_check("[1, 2", 5, &at, &why), -1);
	ck_assert_uint_eq(at, 5);
	ck_assert_int_eq(json_check("\"abcdefghijk\x01lm\"", 16, &at, &why), -1);
	ck_assert_uint_eq(at, 12);
	ck_assert_int_eq(json_check("1 2", 3, &at, &why), -1);
	ck_assert_uint_eq(at, 2);
}
END_TEST

/* Every byte at every place of a string longer than a word: the fast path must see what the slow one sees. */
START_TEST(words_hide_nothing)
{
	char s[32];

	for (int at = 1; at <= 20; at++)
		for (int c = 0; c < 256; c++) {
			memset(s, 'a', sizeof(s));
			s[0] = s[21] = '"';
			s[at] = (char)c;
			ck_assert_msg((json_check(s, 22, NULL, NULL) == 0) == (c >= 0x20 && c < 0x80 && c != '"' && c != '\\'),
			    "byte %d at %d", c, at);
		}
}
END_TEST

static void
quoted_is(const char *s, size_t len, const char *expected)
{
	struct buf b;

	buf_init(&b);
	json_quote(&b, s, len);
	buf_add(&b, "", 1);
	ck_assert_str_eq((char *)buf_ptr(&b), expected);
	ck_assert_int_eq(json_check((char *)buf_ptr(&b), b.len - 1, NULL, NULL), 0);
	buf_free(&b);
}

START_TEST(quoting)
{
	char all[256];
	struct buf b;

	quoted_is("", 0, "\"\"");
	quoted_is("plain", 5, "\"plain\"");
	quoted_is("a\"b\\c\nd\te\rf\bg\fh\x01i\x1f", 18, "\"a\\\"b\\\\c\\nd\\te\\rf\\bg\\fh\\u0001i\\u001f\"");
	quoted_is("a\0b", 3, "\"a\\u0000b\"");
	quoted_is("\xe2\x82\xac", 3, "\"\xe2\x82\xac\"");
	quoted_is("\xe2\x82", 2, "\"\xef\xbf\xbd\xef\xbf\xbd\"");
	quoted_is("\x7f", 1, "\"\x7f\"");
	for (int i = 0; i < 256; i++)
		all[i] = (char)i;
	buf_init(&b);
	json_quote(&b, all, sizeof(all));
	ck_assert_int_eq(json_check((char *)buf_ptr(&b), b.len, NULL, NULL), 0);
	buf_free(&b);
}
END_TEST

/* One comparison among millions: Check's own assertions each write to a pipe. */
static void
utf8_is(const uint8_t *p, size_t len, bool expected, uint32_t c)
{
	if (utf8_valid(p, len) != expected)
		ck_abort_msg("U+%04x in %zu bytes", c, len);
}

/* Against the definition: every code point, and what lies beyond, in every length of encoding. */
START_TEST(utf8_of_every_code_point)
{
	for (uint32_t c = 0; c < 0x200000; c++) {
		uint8_t b[4] = { (uint8_t)(0xf0 | c >> 18), (uint8_t)(0x80 | (c >> 12 & 63)), (uint8_t)(0x80 | (c >> 6 & 63)),
		    (uint8_t)(0x80 | (c & 63)) };
		bool good = c <= 0x10ffff && (c < 0xd800 || c > 0xdfff) && c != 0;

		utf8_is(b, 4, good && c >= 0x10000, c);
		if (c < 0x10000) {
			b[1] = (uint8_t)(0xe0 | c >> 12);
			utf8_is(b + 1, 3, good && c >= 0x800, c);
		}
		if (c < 0x800) {
			b[2] = (uint8_t)(0xc0 | c >> 6);
			utf8_is(b + 2, 2, good && c >= 0x80, c);
		}
		if (c < 0x80) {
			b[3] = (uint8_t)c;
			utf8_is(b + 3, 1, good, c);
		}
	}
}
END_TEST

START_TEST(utf8_span_stops_at_the_fault)
{
	char s[40];

	for (size_t at = 0; at < sizeof(s); at++) {
		memset(s, 'x', sizeof(s));
		s[at] = '\xff';
		ck_assert_uint_eq(utf8_span(s, sizeof(s)), at);
		s[at] = '\0';
		ck_assert_uint_eq(utf8_span(s, sizeof(s)), at);
		s[at] = '\xc3';
		ck_assert_uint_eq(utf8_span(s, at + 1), at);
	}
}
END_TEST

static Suite *
suite(void)
{
	Suite *s = suite_create("json");
	TCase *t = tcase_create("json");

	tcase_add_test(t, as_postgresql);
	tcase_add_test(t, depth_has_a_limit);
	tcase_add_test(t, levels_are_kept_apart);
	tcase_add_test(t, faults_are_located);
	tcase_add_test(t, words_hide_nothing);
	tcase_add_test(t, quoting);
	tcase_add_test(t, utf8_of_every_code_point);
	tcase_add_test(t, utf8_span_stops_at_the_fault);
	suite_add_tcase(s, t);
	return s;
}

UNIT_MAIN(suite)
