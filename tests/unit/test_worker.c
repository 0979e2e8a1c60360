/*
 * The worker's parts that need no processes: its table, its texts, what becomes of a program of SETUP.
 */
#include "config.h"

#include <string.h>

#include "tests/unit/unit.h"
#include "worker/internal.h"

#define KEYS 400

/* Against a plain array, with keys that fall together: runs of neighbours, and few values of the lower bits. */
START_TEST(table_is_a_map)
{
	static void *model[KEYS];
	struct table t;
	unsigned seed = 1;
	size_t n = 0;

	table_init(&t);
	for (int i = 0; i < 200000; i++) {
		uint64_t k, key;

		seed = seed * 1103515245 + 12345;
		k = (seed >> 8) % KEYS;
		key = _i == 0 ? k + 1 : (k + 1) << 32;
		ck_assert_ptr_eq(table_get(&t, key), model[k]);
		if (seed >> 30 == 0 || (i / 10000) % 2 != 0) {
			n -= model[k] != NULL;
			model[k] = NULL;
			table_del(&t, key);
		} else {
			n += model[k] == NULL;
			model[k] = &model[(seed >> 4) % KEYS];
			table_put(&t, key, model[k]);
		}
		ck_assert_uint_eq(t.n, n);
	}
	for (uint64_t k = 0; k < KEYS; k++)
		ck_assert_ptr_eq(table_get(&t, _i == 0 ? k + 1 : (k + 1) << 32), model[k]);
	memset(model, 0, sizeof(model));
	table_free(&t);
}
END_TEST

static const struct {
	const char	*in;
	size_t		 len, max;
	const char	*out;
} texts[] = {
	{ "", 0, 10, "" },
	{ "plain", 5, 10, "plain" },
	{ "plain", 5, 3, "pla" },
	{ "plain", 5, 0, "" },
	{ "a\0b", 3, 10, "a\xef\xbf\xbd" "b" },
	{ "\xff\xfe", 2, 10, "\xef\xbf\xbd\xef\xbf\xbd" },
	{ "\xff\xfe", 2, 5, "\xef\xbf\xbd" },
	{ "a\xff", 2, 3, "a" },
	{ "\xc3\xa9\xc3\xa9", 4, 3, "\xc3\xa9" },
	{ "\xc3\xa9\xc3", 3, 10, "\xc3\xa9\xef\xbf\xbd" },
	{ "\xed\xa0\x80", 3, 20, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },
};

START_TEST(text_becomes_utf8)
{
	struct buf b;

	buf_init(&b);
	text_clean(&b, texts[_i].in, texts[_i].len, texts[_i].max);
	ck_assert_uint_eq(b.len, strlen(texts[_i].out));
	ck_assert(b.len == 0 || memcmp(buf_ptr(&b), texts[_i].out, b.len) == 0);
	buf_free(&b);
}
END_TEST

static bool
has(char *const *list, const char *text)
{
	for (; *list != NULL; list++)
		if (strcmp(*list, text) == 0)
			return true;
	return false;
}

START_TEST(program_is_made_ready)
{
	struct pstr argv[] = { pstr("run me"), pstr("x y") };
	struct msg_pair env[] = { { pstr("PATH"), pstr("/a::/b") }, { pstr("PGCONDUCTOR_FD"), pstr("9") },
		{ pstr("PGCONDUCTOR_MINE"), pstr("1") } };
	struct msg_pair limits[] = { { pstr("nofile"), pstr("10:20") }, { pstr("CORE"), pstr("unlimited") } };
	struct msg_program m = { .name = pstr("p"), .argv = argv, .argv_n = 2, .env = env, .env_n = 3,
		.rlimits = limits, .rlimits_n = 2 };
	struct program *p = program_new(&m, "media");

	ck_assert_ptr_null(p->error);
	ck_assert_uint_eq(p->processes, 1);
	ck_assert_str_eq(p->argv[1], "x y");
	ck_assert_ptr_null(p->argv[2]);
	ck_assert_str_eq(p->paths[0], "/a/run me");
	ck_assert_str_eq(p->paths[1], "./run me");
	ck_assert_str_eq(p->paths[2], "/b/run me");
	ck_assert_ptr_null(p->paths[3]);
	ck_assert(has(p->env, "PGCONDUCTOR_FD=3") && !has(p->env, "PGCONDUCTOR_FD=9"));
	ck_assert(has(p->env, "PGCONDUCTOR_QUEUE=media") && has(p->env, "PGCONDUCTOR_MINE=1"));
	ck_assert_uint_eq(p->limits_n, 2);
	ck_assert(p->limits[0].value.rlim_cur == 10 && p->limits[0].value.rlim_max == 20);
	ck_assert(p->limits[1].value.rlim_max == RLIM_INFINITY);
	program_unref(p);
}
END_TEST

static const char *const bad_limits[][2] = {
	{ "files", "1" }, { "nofile", "" }, { "nofile", "x" }, { "nofile", "1:" }, { "nofile", "1:2:3" }, { "nofile", "1k" },
	{ "nofile", "-1" },
};

START_TEST(bad_limit_is_an_error)
{
	struct pstr argv[] = { pstr("/bin/true") };
	struct msg_pair limit = { pstr(bad_limits[_i][0]), pstr(bad_limits[_i][1]) };
	struct msg_program m = { .name = pstr("p"), .argv = argv, .argv_n = 1, .rlimits = &limit, .rlimits_n = 1 };
	struct program *p = program_new(&m, "q");

	ck_assert_ptr_nonnull(p->error);
	program_unref(p);
}
END_TEST

START_TEST(no_command_is_an_error)
{
	struct msg_program m = { .name = pstr("p") };
	struct program *p = program_new(&m, "q");

	ck_assert_ptr_nonnull(p->error);
	program_unref(p);
}
END_TEST

static Suite *
suite(void)
{
	Suite *s = suite_create("worker");
	TCase *t = tcase_create("worker");

	tcase_add_loop_test(t, table_is_a_map, 0, 2);
	tcase_add_loop_test(t, text_becomes_utf8, 0, sizeof(texts) / sizeof(texts[0]));
	tcase_add_test(t, program_is_made_ready);
	tcase_add_loop_test(t, bad_limit_is_an_error, 0, sizeof(bad_limits) / sizeof(bad_limits[0]));
	tcase_add_test(t, no_command_is_an_error);
	suite_add_tcase(s, t);
	return s;
}

UNIT_MAIN(suite)
