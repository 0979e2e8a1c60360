/*
 * Frames and msgpack: what the generated code in proto/messages.c is made of, and all that is known about a message
 * before its type. Both ends of both links, and libpgconductor.
 *
 * A frame is a u32 length (big-endian) and that many bytes of body: one msgpack array [type, exec, map].
 * Bodies come from peers that are not trusted: msg_open walks all of it once, within bounds, before anything is taken
 * out of it. Nothing here allocates in proportion to a number that a peer wrote, only to bytes that it sent.
 */
#ifndef PROTO_CODEC_H
#define PROTO_CODEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"

#define MSG_HEAD	4		/* bytes of the length prefix */
#define MSG_MAX_DEPTH	16		/* levels of arrays and maps, the frame's own two included */
#define MSG_MAX_LIST	(1u << 18)	/* elements of a list field */

enum msg_dir {
	MSG_HANDLER_TO_WORKER = 1,
	MSG_WORKER_TO_HANDLER = 2,
	MSG_MASTER_TO_WORKER = 4,
	MSG_WORKER_TO_MASTER = 8
};

/* A string of a message. Not NUL-terminated; p is NULL when the field is absent. */
struct pstr {
	const char	*p;
	size_t		 len;
};

struct msg_chunk;

/* A frame being read. Reusable: what was decoded borrows from the body and from here until the next msg_open. */
struct msg {
	unsigned	 type;		/* enum msg_type, or a number this program does not know */
	uint64_t	 exec;		/* the execution on this link; 0 is the session */
	const uint8_t	*map;		/* the fields, already walked */
	const uint8_t	*end;		/* of the body */
	struct msg_chunk *chunks;	/* memory of decoded lists, newest first */
	char		 why[160];
};

void	msg_init(struct msg *);
void	msg_free(struct msg *);
/*
 * Looks at the body of a frame. 0, or -1 with the reason in *why, which lives as long as the message.
 * The type may be unknown: see msg_known and msg_ignorable.
 */
int	msg_open(struct msg *, const uint8_t *body, size_t len, const char **why);

/* A string of the program's own as a field; NULL is absent. */
struct pstr pstr(const char *);
/* Is it this text? NULL is absent. */
bool	pstr_is(struct pstr, const char *);

/* Types from 128 up may be ignored by whoever does not know them. */
static inline bool
msg_ignorable(unsigned type)
{
	return type >= 128;
}

static inline uint32_t
msg_length(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

#endif
