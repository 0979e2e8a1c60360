/*
 * What the fuzz targets share. With --enable-fuzzing libFuzzer brings main; else replay.c does, and runs the corpus.
 */
#ifndef TESTS_FUZZ_H
#define TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Not assert: NDEBUG must not silence it. */
#define FUZZ_ASSERT(what)							\
	do {									\
		if (!(what)) {							\
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #what); \
			abort();						\
		}								\
	} while (0)

#endif
