/*
 * What every unit test program needs: UNIT_MAIN, and finding files of the source tree.
 */
#ifndef TESTS_UNIT_H
#define TESTS_UNIT_H

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#define UNIT_MAIN(make_suite)						\
int									\
main(void)								\
{									\
	SRunner *runner = srunner_create(make_suite());			\
	int failed;							\
									\
	srunner_run_all(runner, CK_ENV);				\
	failed = srunner_ntests_failed(runner);				\
	srunner_free(runner);						\
	return failed != 0;						\
}

/* A file named from the top of the source tree; make check says where that is. */
static inline FILE *
unit_open(const char *name)
{
	const char *top = getenv("srcdir");
	char path[4096];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", top != NULL ? top : ".", name);
	f = fopen(path, "r");
	ck_assert_msg(f != NULL, "%s cannot be opened", path);
	return f;
}

/* Bytes from hex; returns how many. */
static inline size_t
unit_unhex(const char *hex, unsigned char *out, size_t room)
{
	size_t n = 0;
	unsigned byte;

	for (; hex[0] != '\0' && hex[0] != '\n'; hex += 2) {
		ck_assert(n < room);
		ck_assert_int_eq(sscanf(hex, "%2x", &byte), 1);
		out[n++] = (unsigned char)byte;
	}
	return n;
}

#endif
