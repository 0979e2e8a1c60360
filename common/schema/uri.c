/*
 * URIs and references to them, RFC 3986, section 5.2. Any process.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/schema/uri.h"
#include "common/xmalloc.h"

struct part {
	const char	*p;		/* NULL: it has none */
	size_t		 len;
};

struct uri {
	struct part	scheme, authority, path, query, fragment;
};

static bool
is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static size_t
scheme_length(const char *s, size_t len)
{
	size_t n = 0;

	if (len == 0 || !is_letter(s[0]))
		return 0;
	while (n < len && (is_letter(s[n]) || (s[n] >= '0' && s[n] <= '9') || (s[n] != '\0' && strchr("+-.", s[n]) != NULL)))
		n++;
	return n < len && s[n] == ':' ? n : 0;
}

static struct part
take_until(const char **p, const char *end, const char *stop)
{
	struct part part = { *p, 0 };

	while (*p < end && strchr(stop, **p) == NULL)
		(*p)++;
	part.len = (size_t)(*p - part.p);
	return part;
}

static void
parse(struct uri *u, const char *s, size_t len)
{
	const char *p = s, *end = s + len;
	size_t n = scheme_length(s, len);

	memset(u, 0, sizeof(*u));
	if (n > 0) {
		u->scheme = (struct part){ p, n };
		p += n + 1;
	}
	if (end - p >= 2 && p[0] == '/' && p[1] == '/') {
		p += 2;
		u->authority = take_until(&p, end, "/?#");
	}
	u->path = take_until(&p, end, "?#");
	if (p < end && *p == '?') {
		p++;
		u->query = take_until(&p, end, "#");
	}
	if (p < end) {
		p++;
		u->fragment = (struct part){ p, (size_t)(end - p) };
	}
}

bool
uri_is_absolute(const char *s, size_t len)
{
	return scheme_length(s, len) > 0;
}

/* Appends a path without its "." and ".."; start: where it begins in out. */
static void
add_path(struct buf *out, struct part path)
{
	size_t start = out->len, n;
	const char *p = path.p, *end = path.p + path.len;

	while (p < end) {
		n = *p == '/';
		while (p + n < end && p[n] != '/')
			n++;
		if ((n == 2 && memcmp(p, "/.", 2) == 0) || (n == 3 && memcmp(p, "/..", 3) == 0)) {
			if (n == 3)
				while (out->len > start && out->data[out->off + --out->len] != '/')
					continue;
			if (p + n == end)
				buf_addstr(out, "/");
		} else {
			buf_add(out, p, n);
		}
		p += n;
	}
}

/* The directory of the base's path, and the path of the reference. */
static void
merge_paths(struct buf *out, const struct uri *base, struct part path)
{
	size_t n = base->path.len;

	if (base->authority.p != NULL && n == 0)
		buf_addstr(out, "/");
	while (n > 0 && base->path.p[n - 1] != '/')
		n--;
	buf_add(out, base->path.p, n);
	buf_add(out, path.p, path.len);
}

static void
add_resolved_path(struct buf *out, const struct uri *base, const struct uri *r)
{
	struct buf merged;

	if (r->path.len == 0) {
		buf_add(out, base->path.p, base->path.len);
		return;
	}
	if (r->path.p[0] == '/') {
		add_path(out, r->path);
		return;
	}
	buf_init(&merged);
	merge_paths(&merged, base, r->path);
	add_path(out, (struct part){ (const char *)buf_ptr(&merged), merged.len });
	buf_free(&merged);
}

static void
add_part(struct buf *out, const char *before, struct part part, const char *after)
{
	if (part.p == NULL)
		return;
	buf_addstr(out, before);
	buf_add(out, part.p, part.len);
	buf_addstr(out, after);
}

char *
uri_resolve(const char *base_text, const char *reference, size_t len)
{
	struct uri base, r;
	struct buf out;

	parse(&base, base_text, strlen(base_text));
	parse(&r, reference, len);
	buf_init(&out);
	add_part(&out, "", r.scheme.p != NULL ? r.scheme : base.scheme, ":");
	if (r.scheme.p != NULL || r.authority.p != NULL) {
		add_part(&out, "//", r.authority, "");
		add_path(&out, r.path);
		add_part(&out, "?", r.query, "");
	} else {
		add_part(&out, "//", base.authority, "");
		add_resolved_path(&out, &base, &r);
		add_part(&out, "?", r.path.len == 0 && r.query.p == NULL ? base.query : r.query, "");
	}
	add_part(&out, "#", r.fragment, "");
	return buf_steal_str(&out);
}

char *
uri_split(char *uri)
{
	char *hash = strchr(uri, '#');

	if (hash == NULL)
		return uri + strlen(uri);
	*hash = '\0';
	return hash + 1;
}

static int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool
uri_decode(char *s)
{
	char *out = s;

	for (; *s != '\0'; s++) {
		if (*s != '%') {
			*out++ = *s;
			continue;
		}
		if (hex_digit(s[1]) < 0 || hex_digit(s[2]) < 0 || (s[1] == '0' && s[2] == '0'))
			return false;
		*out++ = (char)(hex_digit(s[1]) << 4 | hex_digit(s[2]));
		s += 2;
	}
	*out = '\0';
	return true;
}
