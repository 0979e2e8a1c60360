/*
 * Fuzz target: the input is text. What jansson takes, json_check must take too; what json_check takes and jansson
 * refuses must be one of the things in which they are meant to differ. Quoting makes a valid string of anything, and
 * one that means the same if the text was valid.
 */
#include "config.h"

#include <jansson.h>
#include <stdlib.h>

#include "common/buf.h"
#include "common/json.h"
#include "common/utf8.h"
#include "tests/fuzz/fuzz.h"

static bool
meant_to_differ(const json_error_t *e)
{
	switch (json_error_code(e)) {
	case json_error_stack_overflow:
	case json_error_numeric_overflow:
	case json_error_null_character:
	case json_error_null_byte_in_key:
		return true;
	case json_error_invalid_syntax:
		return strstr(e->text, "invalid Unicode") != NULL;	/* lone surrogates */
	default:
		return false;
	}
}

static void
check_quote(const char *text, size_t size)
{
	struct buf q;
	json_t *back;

	buf_init(&q);
	json_quote(&q, text, size);
	FUZZ_ASSERT(json_check((char *)buf_ptr(&q), q.len, NULL, NULL) == 0);
	back = json_loadb((char *)buf_ptr(&q), q.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
	FUZZ_ASSERT(back != NULL);
	if (utf8_valid(text, size)) {
		FUZZ_ASSERT(json_string_length(back) == size);
		FUZZ_ASSERT(memcmp(json_string_value(back), text, size) == 0);
	}
	json_decref(back);
	buf_free(&q);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data, *why = NULL;
	json_error_t error;
	json_t *theirs;
	size_t at = 0;
	int ours;

	theirs = json_loadb(text, size, JSON_DECODE_ANY, &error);
	ours = json_check(text, size, &at, &why);
	FUZZ_ASSERT(ours == 0 || (at <= size && why != NULL));
	/* jansson overlooks a NUL after a number. */
	FUZZ_ASSERT(theirs == NULL || ours == 0 || memchr(text, '\0', size) != NULL);
	FUZZ_ASSERT(ours == -1 || theirs != NULL || meant_to_differ(&error));
	json_decref(theirs);
	check_quote(text, size);
	return 0;
}
