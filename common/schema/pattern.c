/*
 * Regular expressions as JSON Schema has them, ECMA-262's, on PCRE2. Any process.
 *
 * What the two write differently is translated; what only PCRE2 has (recursion, verbs, options, possessive quantifiers) is
 * refused, both because it would mean something else elsewhere and because of what it can be made to do. There is no JIT: it
 * would not heed the limits below as closely.
 */
#include "config.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/schema/pattern.h"
#include "common/utf8.h"
#include "common/xmalloc.h"

#define MATCH_LIMIT	200000		/* steps of one search: a few milliseconds */
#define HEAP_LIMIT	4096		/* KiB */
#define NESTING		100

/* What \s is there; the rest is what Unicode calls a space. */
#define SPACES		"\\t\\n\\x0b\\f\\r\\ufeff\\p{Z}"
#define NOT_LINE_END	"[^\\n\\r\\u2028\\u2029]"

struct pattern {
	pcre2_code		*code;
	pcre2_match_context	*limits;
	pcre2_match_data	*data;
};

/* Translating */

struct reader {
	const char	*p, *end;
	struct buf	 out;
	const char	*why;		/* a constant; NULL: all is well */
	bool		 in_class;
	bool		 atom;		/* something that a quantifier may follow */
};

/* Unicode's long names, of which PCRE2 knows the short ones. */
static const char *const categories[][2] = {
	{ "Cased_Letter", "L&" }, { "Close_Punctuation", "Pe" }, { "Connector_Punctuation", "Pc" }, { "Control", "Cc" },
	{ "Currency_Symbol", "Sc" }, { "Dash_Punctuation", "Pd" }, { "Decimal_Number", "Nd" }, { "Enclosing_Mark", "Me" },
	{ "Final_Punctuation", "Pf" }, { "Format", "Cf" }, { "Initial_Punctuation", "Pi" }, { "LC", "L&" }, { "Letter", "L" },
	{ "Letter_Number", "Nl" }, { "Line_Separator", "Zl" }, { "Lowercase_Letter", "Ll" }, { "Mark", "M" },
	{ "Math_Symbol", "Sm" }, { "Modifier_Letter", "Lm" }, { "Modifier_Symbol", "Sk" }, { "Nonspacing_Mark", "Mn" },
	{ "Number", "N" }, { "Open_Punctuation", "Ps" }, { "Other", "C" }, { "Other_Letter", "Lo" }, { "Other_Number", "No" },
	{ "Other_Punctuation", "Po" }, { "Other_Symbol", "So" }, { "Paragraph_Separator", "Zp" }, { "Private_Use", "Co" },
	{ "Punctuation", "P" }, { "Separator", "Z" }, { "Space_Separator", "Zs" }, { "Spacing_Mark", "Mc" }, { "Surrogate", "Cs" },
	{ "Symbol", "S" }, { "Titlecase_Letter", "Lt" }, { "Unassigned", "Cn" }, { "Uppercase_Letter", "Lu" }, { "digit", "Nd" },
	{ "punct", "P" },
};

static void
refuse(struct reader *r, const char *why)
{
	if (r->why == NULL)
		r->why = why;
	r->p = r->end;
}

static bool
next_is(const struct reader *r, const char *text)
{
	size_t n = strlen(text);

	return (size_t)(r->end - r->p) >= n && memcmp(r->p, text, n) == 0;
}

/* \p{Letter}, \p{Script=Greek}, \p{General_Category=Lu}; r->p stands behind the p or P. */
static void
property(struct reader *r, char which)
{
	const char *close = r->p < r->end ? memchr(r->p, '}', (size_t)(r->end - r->p)) : NULL, *name, *is;
	size_t len;

	if (close == NULL || *r->p != '{') {
		refuse(r, "\\p must be followed by the name of a property in braces");
		return;
	}
	name = r->p + 1;
	is = memchr(name, '=', (size_t)(close - name));
	if (is != NULL)
		name = is + 1;
	len = (size_t)(close - name);
	for (size_t i = 0; i < sizeof(categories) / sizeof(categories[0]); i++)
		if (strlen(categories[i][0]) == len && memcmp(categories[i][0], name, len) == 0) {
			name = categories[i][1];
			len = strlen(name);
			break;
		}
	buf_addf(&r->out, "\\%c{%.*s}", which, (int)len, name);
	r->p = close + 1;
}

/* \u{1f600}; r->p stands at the brace. */
static void
code_point(struct reader *r)
{
	const char *close = memchr(r->p, '}', (size_t)(r->end - r->p));

	if (close == NULL) {
		refuse(r, "\\u{ does not end");
		return;
	}
	buf_addf(&r->out, "\\u%.*s}", (int)(close - r->p), r->p);
	r->p = close + 1;
}

static void
escape(struct reader *r)
{
	char c;

	if (r->end - r->p < 2) {
		refuse(r, "it ends with a backslash");
		return;
	}
	c = r->p[1];
	r->p += 2;
	r->atom = true;
	if (c == 's') {
		buf_addstr(&r->out, r->in_class ? SPACES : "[" SPACES "]");
	} else if (c == 'S' && !r->in_class) {
		buf_addstr(&r->out, "[^" SPACES "]");
	} else if (c == 'p' || c == 'P') {
		property(r, c);
	} else if (c == 'B' || c == 'b') {
		r->atom = r->in_class;
		buf_addf(&r->out, "\\%c", c);
	} else if (c == 'v') {
		buf_addstr(&r->out, "\\x0b");
	} else if (c == '0' && (r->p == r->end || *r->p < '0' || *r->p > '9')) {
		buf_addstr(&r->out, "\\x00");
	} else if (c == 'u' && r->p < r->end && *r->p == '{') {
		code_point(r);
	} else if (strchr("dDwWScnrtfuxk123456789", c) != NULL && c != '\0') {
		buf_addf(&r->out, "\\%c", c);
	} else if ((unsigned char)c < 0x80 && ((c | 0x20) < 'a' || (c | 0x20) > 'z') && c != '0') {
		/* A character that means something, or might: itself. */
		buf_addf(&r->out, "\\%c", c);
	} else {
		refuse(r, "it escapes what there is no escape for");
	}
}

static void
group(struct reader *r)
{
	static const char *const known[] = { "(?:", "(?=", "(?!", "(?<=", "(?<!" };

	r->atom = false;
	if (next_is(r, "(*")) {
		refuse(r, "there is nothing that * could repeat");
		return;
	}
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (next_is(r, known[i])) {
			buf_addstr(&r->out, known[i]);
			r->p += strlen(known[i]);
			return;
		}
	if (next_is(r, "(?") && !(next_is(r, "(?<") && r->end - r->p > 3)) {
		refuse(r, "a group that begins with (? is one of (?: (?= (?! (?<= (?<! (?<name>");
		return;
	}
	buf_add(&r->out, r->p, 1);
	r->p++;
	if (next_is(r, "?<")) {
		buf_addstr(&r->out, "?<");
		r->p += 2;
	}
}

/* A second quantifier would make the first one possessive, which is not known there. */
static void
quantifier(struct reader *r)
{
	const char *start = r->p, *q;

	if (!r->atom) {
		refuse(r, "there is nothing that a quantifier could repeat");
		return;
	}
	if (*r->p == '{')
		for (q = r->p; q < r->end && *q != '}';)
			r->p = ++q;
	if (r->p == r->end) {
		refuse(r, "a quantifier does not end");
		return;
	}
	r->p++;
	if (r->p < r->end && *r->p == '?')
		r->p++;
	buf_add(&r->out, start, (size_t)(r->p - start));
	r->atom = false;
}

/* Otherwise { is a character. */
static bool
is_quantifier(const struct reader *r)
{
	const char *p = r->p;

	if (*p != '{')
		return strchr("*+?", *p) != NULL;
	for (p++; p < r->end && ((*p >= '0' && *p <= '9') || *p == ',');)
		p++;
	return p < r->end && *p == '}' && p > r->p + 1 && r->p[1] != ',';
}

static void
in_class(struct reader *r)
{
	if (*r->p == '[')
		buf_addstr(&r->out, "\\");
	if (*r->p == ']') {
		r->in_class = false;
		r->atom = true;
	}
	buf_add(&r->out, r->p++, 1);
}

static void
plain(struct reader *r)
{
	char c = *r->p;

	r->atom = strchr("^$|", c) == NULL;
	r->in_class = c == '[';
	if (c == '.')
		buf_addstr(&r->out, NOT_LINE_END);
	else if (c == '{')
		buf_addstr(&r->out, "\\{");
	else
		buf_add(&r->out, &c, 1);
	r->p++;
	if (r->in_class && r->p < r->end && *r->p == '^') {
		buf_addstr(&r->out, "^");
		r->p++;
	}
}

static void
translate(struct reader *r)
{
	while (r->p < r->end) {
		if (*r->p == '\\')
			escape(r);
		else if (*r->p == '\0')
			refuse(r, "it has a NUL in it");
		else if (r->in_class)
			in_class(r);
		else if (*r->p == '(')
			group(r);
		else if (is_quantifier(r))
			quantifier(r);
		else
			plain(r);
	}
}

/* Compiling */

static pcre2_code *
compile(const struct buf *text, char *why, size_t size)
{
	pcre2_compile_context *c = pcre2_compile_context_create(NULL);
	PCRE2_UCHAR message[128];
	PCRE2_SIZE at;
	pcre2_code *code;
	int err;

	pcre2_set_parens_nest_limit(c, NESTING);
	pcre2_set_compile_extra_options(c, PCRE2_EXTRA_ALT_BSUX);
	pcre2_set_newline(c, PCRE2_NEWLINE_LF);
	code = pcre2_compile(text->data + text->off, text->len, PCRE2_UTF | PCRE2_ALT_BSUX | PCRE2_ALLOW_EMPTY_CLASS |
	    PCRE2_DOLLAR_ENDONLY | PCRE2_MATCH_UNSET_BACKREF | PCRE2_NEVER_BACKSLASH_C | PCRE2_MATCH_INVALID_UTF, &err, &at, c);
	if (code == NULL) {
		pcre2_get_error_message(err, message, sizeof(message));
		snprintf(why, size, "%s", (const char *)message);
	}
	pcre2_compile_context_free(c);
	return code;
}

struct pattern *
pattern_new(const char *text, size_t len, char *why, size_t size)
{
	struct reader r = { .p = text, .end = text + len };
	pcre2_code *code = NULL;
	struct pattern *p;

	if (len > PATTERN_BYTES) {
		snprintf(why, size, "it is longer than %d bytes", PATTERN_BYTES);
		return NULL;
	}
	buf_init(&r.out);
	buf_reserve(&r.out, 1);
	translate(&r);
	if (r.why != NULL)
		snprintf(why, size, "%s", r.why);
	else
		code = compile(&r.out, why, size);
	buf_free(&r.out);
	if (code == NULL)
		return NULL;
	p = xcalloc(1, sizeof(*p));
	p->code = code;
	p->limits = pcre2_match_context_create(NULL);
	p->data = pcre2_match_data_create(1, NULL);
	pcre2_set_match_limit(p->limits, MATCH_LIMIT);
	pcre2_set_heap_limit(p->limits, HEAP_LIMIT);
	return p;
}

void
pattern_free(struct pattern *p)
{
	if (p == NULL)
		return;
	pcre2_code_free(p->code);
	pcre2_match_context_free(p->limits);
	pcre2_match_data_free(p->data);
	free(p);
}

enum pattern_match
pattern_find(const struct pattern *p, const char *text, size_t len)
{
	int rc = pcre2_match(p->code, (PCRE2_SPTR)text, len, 0, 0, p->data, p->limits);

	if (rc >= 0)
		return PATTERN_YES;
	return rc == PCRE2_ERROR_NOMATCH ? PATTERN_NO : PATTERN_TOO_COSTLY;
}
