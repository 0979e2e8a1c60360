/*
 * Durations: what is one, what is none, and that writing and reading agree.
 */
#include "config.h"

#include "common/duration.h"
#include "tests/unit/unit.h"

START_TEST(reads)
{
	static const struct {
		const char	*text;
		int64_t		 ms;
	} cases[] = {
		{ "0", 0 }, { "00", 0 }, { "0s", 0 }, { "0d", 0 }, { "250ms", 250 }, { "10s", 10000 }, { "5m", 300000 },
		{ "2h", 7200000 }, { "7d", 604800000 }, { "007s", 7000 }, { "36525d", DURATION_MAX_MS },
		{ "3155760000000ms", DURATION_MAX_MS },
	};
	int64_t ms;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		ms = -1;
		ck_assert_msg(duration_parse(cases[i].text, &ms) == 0, "%s", cases[i].text);
		ck_assert_int_eq(ms, cases[i].ms);
	}
}
END_TEST

START_TEST(refuses)
{
	static const char *const cases[] = {
		"", "s", "ms", "5", "10", "-1s", "+1s", " 1s", "1s ", "1 s", "1.5s", "1S", "1sec", "1m30s", "0x10s", "1e3s", "1us",
		"36526d", "3155760000001ms", "99999999999999999999s", "18446744073709551616ms", "9223372036854775807d", "1\xc2\xb5s",
	};
	int64_t ms = 42;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		ck_assert_msg(duration_parse(cases[i], &ms) == -1, "\"%s\"", cases[i]);
		ck_assert_int_eq(ms, 42);
	}
}
END_TEST

START_TEST(writes_what_it_reads)
{
	static const int64_t cases[] = {
		0, 1, 999, 1000, 1001, 59000, 60000, 61000, 90000, 3600000, 5400000, 86400000, 604800000, 604800001, DURATION_MAX_MS,
	};
	char text[DURATION_STRLEN];
	int64_t ms;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		ck_assert_int_eq(duration_parse(duration_format(cases[i], text, sizeof(text)), &ms), 0);
		ck_assert_int_eq(ms, cases[i]);
	}
	ck_assert_str_eq(duration_format(90000, text, sizeof(text)), "90s");
	ck_assert_str_eq(duration_format(120000, text, sizeof(text)), "2m");
	ck_assert_str_eq(duration_format(1500, text, sizeof(text)), "1500ms");
}
END_TEST

static Suite *
suite(void)
{
	Suite *s = suite_create("duration");
	TCase *t = tcase_create("duration");

	tcase_add_test(t, reads);
	tcase_add_test(t, refuses);
	tcase_add_test(t, writes_what_it_reads);
	suite_add_tcase(s, t);
	return s;
}

UNIT_MAIN(suite)
