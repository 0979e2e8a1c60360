/*
 * The W3C trace context of an execution, which is passed on with its metadata. Master.
 */
#include "config.h"

#include <stdbool.h>
#include <string.h>

#include "master/trace.h"

#define NAME		"traceparent"
#define PARENT_LEN	55		/* of version 00; of later ones at least */

static bool
is_hex(const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!(s[i] >= '0' && s[i] <= '9') && !(s[i] >= 'a' && s[i] <= 'f'))
			return false;
	return true;
}

static bool
is_zero(const char *s, size_t n)
{
	while (n > 0 && *s == '0') {
		s++;
		n--;
	}
	return n == 0;
}

/* version-trace-parent-flags, and of a version to come perhaps more. */
static bool
is_parent(const char *s, size_t len)
{
	if (len < PARENT_LEN || s[2] != '-' || s[35] != '-' || s[52] != '-')
		return false;
	if (!is_hex(s, 2) || !is_hex(s + 3, 32) || !is_hex(s + 36, 16) || !is_hex(s + 53, 2))
		return false;
	if (memcmp(s, "ff", 2) == 0 || is_zero(s + 3, 32) || is_zero(s + 36, 16))
		return false;
	return len == PARENT_LEN || (memcmp(s, "00", 2) != 0 && s[PARENT_LEN] == '-');
}

/* Behind the string that begins at s. */
static const char *
string_end(const char *s, const char *end)
{
	for (s++; s < end && *s != '"'; s++)
		s += *s == '\\';
	return s < end ? s + 1 : end;
}

static const char *
skip_space(const char *s, const char *end)
{
	while (s < end && (*s == ' ' || *s == '\t' || *s == '\n' || *s == '\r'))
		s++;
	return s;
}

struct pstr
trace_parent(const char *metadata, size_t len)
{
	const char *s = metadata, *end = s + len, *after, *value;
	struct pstr found = { NULL, 0 };
	int depth = 0;

	/* Hardly any has one, and then most of this is spared. */
	if (s == NULL || memmem(s, len, "\"" NAME "\"", strlen(NAME) + 2) == NULL)
		return found;
	for (; s < end; s = after) {
		after = s + 1;
		depth += *s == '{' || *s == '[';
		depth -= *s == '}' || *s == ']';
		if (*s != '"')
			continue;
		after = string_end(s, end);
		value = skip_space(after, end);
		/* Only behind the name of a member stands a colon. */
		if (depth != 1 || value == end || *value != ':' || (size_t)(after - s) != strlen(NAME) + 2 ||
		    memcmp(s + 1, NAME, strlen(NAME)) != 0)
			continue;
		value = skip_space(value + 1, end);
		after = value < end && *value == '"' ? string_end(value, end) : value;
		/* Of the same name the last one counts, as everywhere else. */
		found = (struct pstr){ NULL, 0 };
		if (after - value > 2 && is_parent(value + 1, (size_t)(after - value) - 2))
			found = (struct pstr){ value + 1, (size_t)(after - value) - 2 };
	}
	return found;
}
