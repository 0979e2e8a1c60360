/*
 * Errors of executions, for people: taken out of their JSON here, because PostgreSQL's own functions fail on \u0000 and
 * on half a surrogate pair, and one such error would hide a whole list. The cli process only.
 */
#include "config.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "common/buf.h"
#include "common/xmalloc.h"

static const char *
skip_blanks(const char *s)
{
	return s + strspn(s, " \t\r\n");
}

/* Behind the string that begins at s. */
static const char *
skip_string(const char *s)
{
	for (s++; *s != '"' && *s != '\0'; s++)
		if (*s == '\\' && s[1] != '\0')
			s++;
	return *s == '"' ? s + 1 : s;
}

/* Behind the value that begins at s. The text is JSON that PostgreSQL has accepted. */
static const char *
skip_value(const char *s)
{
	size_t depth = 0;

	do {
		s = skip_blanks(s);
		if (*s == '"') {
			s = skip_string(s);
		} else if (*s == '{' || *s == '[') {
			depth++;
			s++;
		} else if (*s == '}' || *s == ']') {
			depth--;
			s++;
		} else if (*s != '\0') {
			s += *s == ',' || *s == ':' ? 1 : strcspn(s, ",:{}[]\" \t\r\n");
		}
	} while (depth > 0 && *s != '\0');
	return s;
}

static void
put_utf8(struct buf *out, unsigned c)
{
	char text[5] = { 0 };

	if (c < 0x80) {
		text[0] = (char)c;
	} else if (c < 0x800) {
		text[0] = (char)(0xc0 | c >> 6);
		text[1] = (char)(0x80 | (c & 0x3f));
	} else if (c < 0x10000) {
		text[0] = (char)(0xe0 | c >> 12);
		text[1] = (char)(0x80 | (c >> 6 & 0x3f));
		text[2] = (char)(0x80 | (c & 0x3f));
	} else {
		text[0] = (char)(0xf0 | c >> 18);
		text[1] = (char)(0x80 | (c >> 12 & 0x3f));
		text[2] = (char)(0x80 | (c >> 6 & 0x3f));
		text[3] = (char)(0x80 | (c & 0x3f));
	}
	buf_addstr(out, text);
}

static unsigned
hex4(const char *s)
{
	char text[5] = { 0 };

	for (size_t i = 0; i < 4 && isxdigit((unsigned char)s[i]); i++)
		text[i] = s[i];
	return (unsigned)strtoul(text, NULL, 16);
}

/* At the u of an escape; returns its last character. NUL and lone surrogates stay escapes. */
static const char *
put_escape(struct buf *out, const char *s)
{
	unsigned c = hex4(s + 1), low;

	if (c >= 0xd800 && c < 0xdc00 && s[5] == '\\' && s[6] == 'u') {
		low = hex4(s + 7);
		if (low >= 0xdc00 && low < 0xe000) {
			put_utf8(out, 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00));
			return s + 10;
		}
	}
	if (c == 0 || (c >= 0xd800 && c < 0xe000))
		buf_addf(out, "\\u%04x", c);
	else
		put_utf8(out, c);
	return s + 4;
}

static char *
unquote(const char *s)
{
	static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";
	const char *at;
	struct buf out;

	buf_init(&out);
	for (s++; *s != '"' && *s != '\0'; s++) {
		if (*s != '\\' || s[1] == '\0') {
			buf_add(&out, s, 1);
			continue;
		}
		s++;
		if (*s == 'u' && strlen(s) > 4)
			s = put_escape(&out, s);
		else if ((at = strchr(from, *s)) != NULL)
			buf_add(&out, to + (at - from), 1);
		else
			buf_add(&out, s, 1);
	}
	return buf_steal_str(&out);
}

/* The string that an object has under a key, or NULL; the caller frees it. */
char *
cli_json_get(const char *json, const char *key)
{
	const char *s = skip_blanks(json), *name, *value;
	size_t len = strlen(key);

	if (*s != '{')
		return NULL;
	for (s = skip_blanks(s + 1); *s == '"'; s = skip_blanks(s)) {
		name = s + 1;
		s = skip_blanks(skip_string(s));
		value = skip_blanks(s + (*s == ':'));
		if (strncmp(name, key, len) == 0 && name[len] == '"')
			return *value == '"' ? unquote(value) : NULL;
		s = skip_blanks(skip_value(value));
		s += *s == ',';
	}
	return NULL;
}

char *
cli_json_text(const char *json)
{
	const char *s = skip_blanks(json);

	return *s == '"' ? unquote(s) : NULL;
}

bool
cli_json_members(const char *json, void (*each)(const char *name, const char *value, void *arg), void *arg)
{
	const char *s = skip_blanks(json), *from;
	char *name, *value;

	if (*s != '{')
		return false;
	for (s = skip_blanks(s + 1); *s == '"'; s = skip_blanks(s + (*s == ','))) {
		name = unquote(s);
		s = skip_blanks(skip_string(s));
		from = skip_blanks(s + (*s == ':'));
		s = skip_value(from);
		value = xstrndup(from, (size_t)(s - from));
		each(name, value, arg);
		free(name);
		free(value);
		s = skip_blanks(s);
	}
	return true;
}

/* The parts that there are, in this order. */
char *
cli_error_text(const char *json)
{
	static const char *const keys[] = { "code", "type", "message" };
	struct buf out;
	char *part;

	buf_init(&out);
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		if ((part = cli_json_get(json, keys[i])) != NULL)
			buf_addf(&out, "%s%s", out.len > 0 ? ": " : "", part);
		free(part);
	}
	if (out.len == 0)
		buf_addstr(&out, json);
	return buf_steal_str(&out);
}
