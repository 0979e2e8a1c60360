/*
 * Fuzz target: the input is the body of a frame. Whatever is accepted must survive being written and read again,
 * byte for byte the second time.
 */
#include "config.h"

#include <stdlib.h>

#include "proto/messages.h"
#include "tests/fuzz/fuzz.h"

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

static int
recode(struct msg *m, struct buf *out)
{
	const char *why = NULL;

	switch (m->type) {
#define CASE(NAME, id, number)	case number: return recode_##id(m, out, &why);
	MSG_LIST(CASE)
	}
	return -1;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct msg m;
	struct buf once, twice;
	const char *why = NULL;

	if (msg_open(&m, data, size, &why) == -1) {
		FUZZ_ASSERT(why != NULL && *why != '\0');
		return 0;
	}
	buf_init(&once);
	buf_init(&twice);
	if (recode(&m, &once) == 0) {
		FUZZ_ASSERT(once.len == MSG_HEAD + msg_length(buf_ptr(&once)));
		/* Our own form is never longer than what said the same. */
		FUZZ_ASSERT(once.len - MSG_HEAD <= size);
		FUZZ_ASSERT(msg_open(&m, buf_ptr(&once) + MSG_HEAD, once.len - MSG_HEAD, &why) == 0);
		FUZZ_ASSERT(recode(&m, &twice) == 0);
		FUZZ_ASSERT(twice.len == once.len && memcmp(buf_ptr(&twice), buf_ptr(&once), once.len) == 0);
	}
	buf_free(&once);
	buf_free(&twice);
	return 0;
}
