/*
 * Whether two JSON texts mean the same, for conform. The cli process only.
 *
 * A language may write what it has read in its own way: 1e3 as 1000.0, é as \u00e9, keys in another order. Both texts
 * are known to be JSON, so they are walked without looking for mistakes. Nothing is allocated.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "cli/conform.h"

#define END_OF_STRING	UINT32_MAX

static const char *
skip_blanks(const char *s)
{
	return s + strspn(s, " \t\r\n");
}

static uint32_t
hex4(const char *s)
{
	uint32_t c = 0;

	for (size_t i = 0; i < 4; i++)
		c = c << 4 | (uint32_t)(s[i] <= '9' ? s[i] - '0' : (s[i] | 0x20) - 'a' + 10);
	return c;
}

/* At the u of an escape; leaves *s on its last character. Half a pair is what it is. */
static uint32_t
escaped(const char **s)
{
	uint32_t c = hex4(*s + 1), low;

	*s += 4;
	if (c < 0xd800 || c >= 0xdc00 || (*s)[1] != '\\' || (*s)[2] != 'u')
		return c;
	low = hex4(*s + 3);
	if (low < 0xdc00 || low >= 0xe000)
		return c;
	*s += 6;
	return 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
}

/* The next character of a string, and past it. */
static uint32_t
next_char(const char **s)
{
	static const char names[] = "bfnrt", values[] = "\b\f\n\r\t";
	uint32_t c = (uint8_t)*(*s)++;
	const char *at;

	if (c == '"')
		return END_OF_STRING;
	if (c == '\\') {
		c = (uint8_t)**s;
		if (c == 'u')
			c = escaped(s);
		else if ((at = strchr(names, (int)c)) != NULL)
			c = (uint8_t)values[at - names];
		(*s)++;
		return c;
	}
	if (c < 0x80)
		return c;
	c &= c >= 0xf0 ? 0x07 : c >= 0xe0 ? 0x0f : 0x1f;
	while (((uint8_t)**s & 0xc0) == 0x80)
		c = c << 6 | ((uint8_t)*(*s)++ & 0x3f);
	return c;
}

/* Both stand behind the opening quote, and end up behind the closing one when they are the same. */
static bool
same_string(const char **a, const char **b)
{
	uint32_t c;

	do {
		c = next_char(a);
		if (c != next_char(b))
			return false;
	} while (c != END_OF_STRING);
	return true;
}

static const char *
skip_string(const char *s)
{
	for (s++; *s != '"'; s++)
		if (*s == '\\')
			s++;
	return s + 1;
}

static const char *
skip_value(const char *s)
{
	size_t depth = 0;

	do {
		s = skip_blanks(s);
		if (*s == '"') {
			s = skip_string(s);
		} else if (strchr("{[", *s) != NULL) {
			depth++;
			s++;
		} else if (strchr("}]", *s) != NULL) {
			depth--;
			s++;
		} else {
			s += strchr(",:", *s) != NULL ? 1 : strcspn(s, ",:{}[]\" \t\r\n");
		}
	} while (depth > 0);
	return s;
}

/* The next element: behind the comma, the opening bracket or brace; NULL when that was all. */
static const char *
next_element(const char *s)
{
	s = skip_blanks(s);
	if (*s == ',')
		s = skip_blanks(s + 1);
	return *s == ']' || *s == '}' ? NULL : s;
}

static const char *
behind_key(const char *key)
{
	return skip_blanks(skip_blanks(skip_string(key)) + 1);
}

/* The value that the object has under a key; the last one counts. */
static const char *
find_key(const char *object, const char *key)
{
	const char *found = NULL, *a, *b;

	for (const char *s = next_element(object + 1); s != NULL; s = next_element(skip_value(behind_key(s)))) {
		a = key + 1;
		b = s + 1;
		if (same_string(&a, &b))
			found = behind_key(s);
	}
	return found;
}

static bool
has_all(const char *a, const char *b, bool compare)
{
	const char *value;

	for (const char *s = next_element(a + 1); s != NULL; s = next_element(skip_value(behind_key(s)))) {
		value = find_key(b, s);
		if (value == NULL || (compare && !conform_same_json(behind_key(s), value)))
			return false;
	}
	return true;
}

bool
conform_has_json(const char *a, const char *part)
{
	return has_all(skip_blanks(part), skip_blanks(a), true);
}

static bool
same_array(const char *a, const char *b)
{
	a = next_element(a + 1);
	b = next_element(b + 1);
	while (a != NULL && b != NULL) {
		if (!conform_same_json(a, b))
			return false;
		a = next_element(skip_value(a));
		b = next_element(skip_value(b));
	}
	return a == b;
}

static bool
is_number(char c)
{
	return c == '-' || (c >= '0' && c <= '9');
}

bool
conform_same_json(const char *a, const char *b)
{
	a = skip_blanks(a);
	b = skip_blanks(b);
	if (is_number(*a) && is_number(*b))
		return strtod(a, NULL) == strtod(b, NULL);
	if (*a != *b)
		return false;
	switch (*a) {
	case '"':
		a++;
		b++;
		return same_string(&a, &b);
	case '[':
		return same_array(a, b);
	case '{':
		return has_all(a, b, true) && has_all(b, a, false);
	default:
		return true;	/* null, true and false differ in their first letter */
	}
}
