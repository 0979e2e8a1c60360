/*
 * The configuration's text before libconfuse reads it. libconfuse takes an unset ${VARIABLE} for an empty string,
 * reports a missing brace without saying where, cuts strings at a NUL, takes "//" in a bare URL for a comment and
 * skips characters it does not know. This pass walks the text by the same lexical rules, refuses all of that with
 * the line it stands on, and hands on a copy without comments. It changes no line number.
 */
#include "config.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "common/conf_table.h"
#include "common/xmalloc.h"

#define BRACES_MAX 8

struct scan {
	const char	*in;
	size_t		 len;
	size_t		 at;
	char		*out;
	int		 line;
	int		 braces[BRACES_MAX];	/* lines of the open ones */
	size_t		 depth;
	int		 parenthesis;		/* line of the open one, or 0 */
	size_t		 last;			/* where the last significant character stands in out, plus one */
	char		 before[2];		/* the last two significant characters, the later one first */
	bool		 failed;
	conf_scan_error	 error;
	void		*arg;
};

#define FAIL(s, ...) ((s)->failed = true, (s)->error((s)->arg, (s)->line, __VA_ARGS__))

static int
peek(const struct scan *s, size_t ahead)
{
	return s->at + ahead < s->len ? (unsigned char)s->in[s->at + ahead] : -1;
}

/* Passes one character on. */
static void
keep(struct scan *s)
{
	if (s->in[s->at] == '\n')
		s->line++;
	s->out[s->at] = s->in[s->at];
	s->at++;
}

static void
blank(struct scan *s)
{
	if (s->in[s->at] == '\n')
		keep(s);
	else
		s->out[s->at++] = ' ';
}

/* Between parentheses stand words with commas between them; libconfuse leaks memory over anything else. */
static void
check_parenthesis(struct scan *s, char c)
{
	bool word = c == 'w' || c == '"' || c == '\'', after = s->before[0] == 'w' || s->before[0] == '"' || s->before[0] == '\'';

	if (s->failed)
		return;
	if (c == '(' && s->parenthesis == 0) {
		s->parenthesis = s->line;
	} else if (c == ')' && s->parenthesis != 0 && (after || s->before[0] == '(')) {
		s->parenthesis = 0;
	} else if (s->parenthesis == 0 ? c == ')' : word ? after : c != ',' || !after) {
		FAIL(s, "between parentheses stands one name or pattern in quotes");
	}
}

/* Something other than a blank was passed on, ending at s->at. */
static void
significant(struct scan *s, char c)
{
	check_parenthesis(s, c);
	s->before[1] = s->before[0];
	s->before[0] = c;
	s->last = s->at;
}

static void
scan_line_comment(struct scan *s)
{
	while (s->at < s->len && s->in[s->at] != '\n')
		blank(s);
}

static void
scan_block_comment(struct scan *s)
{
	int start = s->line;

	blank(s);
	blank(s);
	while (s->at < s->len && !(peek(s, 0) == '*' && peek(s, 1) == '/'))
		blank(s);
	if (s->at == s->len) {
		s->line = start;
		FAIL(s, "this comment is never closed");
		return;
	}
	blank(s);
	blank(s);
}

/* At "${": the variable must be set, or have a default as in ${NAME:-text}. */
static void
scan_variable(struct scan *s)
{
	const char *name = s->in + s->at + 2;
	size_t left = s->len - s->at - 2;
	const char *end = memchr(name, '}', left);
	size_t len, i;
	char *copy;

	if (end == NULL || memchr(name, '\n', (size_t)(end - name)) != NULL) {
		FAIL(s, "\"${\" without \"}\"");
		s->at += 2;
		return;
	}
	for (len = 0; name + len < end && (isalnum((unsigned char)name[len]) || name[len] == '_'); len++)
		continue;
	copy = xstrndup(name, len);
	if (len == 0 || isdigit((unsigned char)name[0]) ||
	    (name + len < end && !(name[len] == ':' && name[len + 1] == '-')))
		FAIL(s, "\"${%.*s}\" is not a variable; \\$ stands for a plain $ in double quotes", (int)(end - name), name);
	else if (name + len == end && getenv(copy) == NULL)
		FAIL(s, "environment variable %s is not set; ${%s:-text} gives it a default", copy, copy);
	free(copy);
	for (i = (size_t)(end - name) + 3; i > 0; i--)
		keep(s);
}

/* At the backslash of an escape in double quotes. Neither \0 nor \x0 may end the string early. */
static void
scan_escape(struct scan *s)
{
	int base = 8, digits_max = 3, digits = 0;
	bool zero = true;

	keep(s);
	if (peek(s, 0) == 'x') {
		keep(s);
		base = 16;
		digits_max = 2;
	} else if (peek(s, 0) < '0' || peek(s, 0) > '7') {
		if (s->at < s->len)
			keep(s);
		return;
	}
	for (; digits < digits_max && s->at < s->len; digits++) {
		if (base == 8 ? peek(s, 0) < '0' || peek(s, 0) > '7' : !isxdigit(peek(s, 0)))
			break;
		zero = zero && peek(s, 0) == '0';
		keep(s);
	}
	if (digits > 0 && zero)
		FAIL(s, "a string cannot hold a NUL character");
}

static void
scan_string(struct scan *s, char quote)
{
	int start = s->line;

	keep(s);
	while (s->at < s->len && s->in[s->at] != quote) {
		if (s->in[s->at] == '\\' && quote == '"')
			scan_escape(s);
		else if (s->in[s->at] == '\\') {
			keep(s);
			if (s->at < s->len)
				keep(s);
		} else if (quote == '"' && peek(s, 0) == '$' && peek(s, 1) == '{')
			scan_variable(s);
		else
			keep(s);
	}
	if (s->at == s->len) {
		s->line = start;
		FAIL(s, "this string is never closed");
		return;
	}
	keep(s);
	significant(s, quote);
}

static void
scan_brace(struct scan *s, char c)
{
	if (c == '{' && s->depth == BRACES_MAX) {
		FAIL(s, "braces are nested too deeply");
	} else if (c == '{') {
		s->braces[s->depth++] = s->line;
	} else if (s->depth == 0) {
		FAIL(s, "this closing brace has no opening one");
	} else {
		s->depth--;
		if (s->before[0] == '{' && s->before[1] == '=')
			FAIL(s, "this list is empty");
		/* libconfuse ends a list differently after a comma, and a parser's callback is left out. */
		if (s->before[0] == ',')
			s->out[s->last - 1] = ' ';
	}
	keep(s);
	significant(s, c);
}

static bool
is_bare(int c)
{
	return c > ' ' && c != 0x7f && strchr("#\"'={}()+,*", c) == NULL;
}

/* A word without quotes. */
static void
scan_bare(struct scan *s)
{
	while (s->at < s->len && is_bare(peek(s, 0))) {
		if (peek(s, 0) == '$' && peek(s, 1) == '{') {
			FAIL(s, "put a value with \"${\" in quotes");
			while (s->at < s->len && peek(s, 0) != '}' && peek(s, 0) != '\n')
				blank(s);
			s->at += s->at < s->len && peek(s, 0) == '}';
			break;
		}
		if (peek(s, 0) == '/' && peek(s, 1) == '/') {
			FAIL(s, "put a value with \"//\" in quotes");
			scan_line_comment(s);
			break;
		}
		if (peek(s, 0) == '/' && peek(s, 1) == '*')
			break;
		keep(s);
	}
	significant(s, 'w');
}

/* libconfuse takes ${X} without quotes for a word of its own. */
static void
scan_bare_variable(struct scan *s)
{
	scan_variable(s);
	if (s->at < s->len && is_bare(peek(s, 0)))
		FAIL(s, "put a value with \"${\" in quotes");
	significant(s, 'w');
}

static void
scan_one(struct scan *s)
{
	int c = peek(s, 0);

	if (c == ' ' || c == '\t' || c == '\n')
		keep(s);
	else if (c == '\r')
		blank(s);
	else if (c == '#' || (c == '/' && peek(s, 1) == '/'))
		scan_line_comment(s);
	else if (c == '/' && peek(s, 1) == '*')
		scan_block_comment(s);
	else if (c == '"' || c == '\'')
		scan_string(s, (char)c);
	else if (c == '{' || c == '}')
		scan_brace(s, (char)c);
	else if (c == '=' || c == '(' || c == ')' || c == ',' || (c == '+' && peek(s, 1) == '=')) {
		keep(s);
		if (c == '+')
			keep(s);
		significant(s, c == '+' ? '=' : (char)c);
	} else if (c == '$' && peek(s, 1) == '{')
		scan_bare_variable(s);
	else if (is_bare(c))
		scan_bare(s);
	else {
		FAIL(s, isprint(c) ? "put a value with \"%c\" in quotes" : "unexpected character \\x%02x", c);
		blank(s);
	}
}

/* The text for libconfuse, which the caller frees, or NULL after at least one call of error. */
char *
conf_scan(const char *text, size_t len, conf_scan_error error, void *arg)
{
	struct scan s = { .in = text, .len = len, .line = 1, .error = error, .arg = arg };

	if (memchr(text, '\0', len) != NULL) {
		error(arg, 1, "the file has NUL characters in it");
		return NULL;
	}
	s.out = xcalloc(len + 1, 1);
	while (s.at < s.len)
		scan_one(&s);
	if (s.parenthesis != 0 && !s.failed) {
		s.line = s.parenthesis;
		FAIL(&s, "this parenthesis is never closed");
	}
	while (s.depth > 0 && !s.failed) {
		s.line = s.braces[s.depth - 1];
		FAIL(&s, "this brace is never closed");
	}
	if (s.failed) {
		free(s.out);
		return NULL;
	}
	return s.out;
}
