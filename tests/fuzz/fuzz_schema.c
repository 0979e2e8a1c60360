/*
 * Fuzz target: the first line is a schema, the rest what is held against it. Both come from outside. What is refused has a
 * reason, what complies has none, and the same is said again.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "common/schema/schema.h"
#include "tests/fuzz/fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data, *end = size > 0 ? memchr(text, '\n', size) : NULL;
	size_t len = end != NULL ? (size_t)(end - text) : size, rest = end != NULL ? size - len - 1 : 0;
	char why[SCHEMA_WHY], again[SCHEMA_WHY];
	struct schema *s = schema_compile(text, len, NULL, why);
	bool fits;

	FUZZ_ASSERT((s == NULL) == (*why != '\0'));
	if (s == NULL)
		return 0;
	fits = schema_check(s, text + size - rest, rest, why);
	FUZZ_ASSERT(fits == (*why == '\0'));
	FUZZ_ASSERT(schema_check(s, text + size - rest, rest, again) == fits);
	FUZZ_ASSERT(strcmp(why, again) == 0);
	schema_free(s);
	return 0;
}
