/*
 * Text from elsewhere made harmless to a terminal: nothing that moves the cursor, hides or reorders text gets there.
 */
#ifndef COMMON_PLAIN_H
#define COMMON_PLAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf;

/* Room for the escaped form of any character. */
#define PLAIN_ESCAPE	16

/* One character of a text. */
struct plain_char {
	uint32_t c;	/* U+FFFD for a byte that belongs to none */
	size_t	 len;	/* bytes it took; at least 1 */
	bool	 safe;	/* a terminal may have it as it is */
};

/* The character that begins at s; s is before end. */
struct plain_char plain_next(const char *s, const char *end);
/* How one that is not safe is shown: \n, \x1b, \u202e. Returns out. */
char	*plain_escape(const struct plain_char *, const char *s, char out[PLAIN_ESCAPE]);
/* Appends text with all that is not safe escaped, newlines too. Backslashes stay as they are: this is for reading. */
void	plain_add(struct buf *, const char *, size_t len);

#endif
