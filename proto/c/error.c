/*
 * libpgconductor: taking a text out of an error, which is JSON that the database has let pass.
 */
#include "config.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "proto/c/private.h"

/* Behind a string; s is at its first quote. */
static const char *
skip_string(const char *s)
{
	for (s++; *s != '\0' && *s != '"'; s++)
		if (*s == '\\' && s[1] != '\0')
			s++;
	return *s == '"' ? s + 1 : s;
}

static const char *
skip_blanks(const char *s)
{
	return s + strspn(s, " \t\r\n");
}

/* Behind a value of any kind. */
static const char *
skip_value(const char *s)
{
	int depth = 0;

	do {
		if (*s == '"') {
			s = skip_string(s);
			continue;
		}
		depth += (*s == '{' || *s == '[') - (*s == '}' || *s == ']');
		if (*s != '\0')
			s++;
	} while (*s != '\0' && (depth > 0 || (*s != ',' && *s != '}')));
	return s;
}

static void
add_utf8(struct buf *b, unsigned c)
{
	uint8_t u[4] = { 0xf0 | c >> 18, 0x80 | (c >> 12 & 63), 0x80 | (c >> 6 & 63), 0x80 | (c & 63) };

	if (c == 0 || (c >= 0xd800 && c < 0xe000))
		c = 0xfffd;
	if (c < 0x80) {
		u[0] = (uint8_t)c;
		buf_add(b, u, 1);
	} else if (c < 0x800) {
		u[2] = 0xc0 | c >> 6;
		buf_add(b, u + 2, 2);
	} else if (c < 0x10000) {
		u[1] = 0xe0 | c >> 12;
		u[2] = 0x80 | (c >> 6 & 63);
		u[3] = 0x80 | (c & 63);
		buf_add(b, u + 1, 3);
	} else {
		buf_add(b, u, 4);
	}
}

/* Four hexadecimal digits behind \u; -1: they are not there. */
static long
hex4(const char *s)
{
	char digits[5] = { 0 };

	for (int i = 0; i < 4; i++) {
		if (!isxdigit((unsigned char)s[i]))
			return -1;
		digits[i] = s[i];
	}
	return strtol(digits, NULL, 16);
}

/* \uXXXX, perhaps one of a pair. Returns how many characters it took. */
static size_t
add_escape(struct buf *b, const char *s)
{
	long high = hex4(s + 2), low;

	if (high == -1)
		return 2;
	if (high >= 0xd800 && high < 0xdc00 && s[6] == '\\' && s[7] == 'u' && (low = hex4(s + 8)) >= 0xdc00 && low < 0xe000) {
		add_utf8(b, 0x10000 + ((unsigned)(high - 0xd800) << 10) + (unsigned)(low - 0xdc00));
		return 12;
	}
	add_utf8(b, (unsigned)high);
	return 6;
}

static char *
unquote(const char *s)
{
	static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";
	struct buf b;
	const char *p;

	buf_init(&b);
	for (s++; *s != '\0' && *s != '"';) {
		if (*s != '\\') {
			buf_add(&b, s++, 1);
		} else if (s[1] == 'u') {
			s += add_escape(&b, s);
		} else if (s[1] != '\0') {
			p = strchr(from, s[1]);
			buf_add(&b, p != NULL ? to + (p - from) : s + 1, 1);
			s += 2;
		} else {
			s++;
		}
	}
	return buf_steal_str(&b);
}

char *
error_member(const char *json, const char *name)
{
	const char *s = skip_blanks(json), *key;
	size_t len = strlen(name);

	if (*s != '{')
		return NULL;
	for (s = skip_blanks(s + 1); *s == '"'; s = skip_blanks(s + 1)) {
		key = s + 1;
		s = skip_blanks(skip_string(s));
		if (*s != ':')
			return NULL;
		s = skip_blanks(s + 1);
		if (*s == '"' && strncmp(key, name, len) == 0 && key[len] == '"')
			return unquote(s);
		s = skip_blanks(skip_value(s));
		if (*s != ',')
			return NULL;
	}
	return NULL;
}
