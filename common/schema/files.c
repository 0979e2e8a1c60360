/*
 * Schemas in files that refer to each other. Master and command line.
 *
 * Within a tree of directories each file is known as conf:/PATH, by which relative references find it; an $id of its own at the
 * top of a file gives way to that. What comes of it is one document that needs no files: so it can be kept in the database, and
 * used by workers, which may not be able to read them.
 */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/json.h"
#include "common/schema/files.h"
#include "common/schema/internal.h"
#include "common/schema/uri.h"
#include "common/xmalloc.h"

#define SCHEME "conf:/"

struct file {
	char	*uri;
	char	*text;		/* with that as its $id */
	size_t	 len;
};

struct tree {
	const char	*root;
	struct file	*files;
	size_t		 n;
	bool		 named;		/* the first one had an $id */
};

/* Characters that mean something in a URI. */
static char *
uri_of(const char *path)
{
	struct buf out;

	while (strncmp(path, "./", 2) == 0)
		path += 2;
	buf_init(&out);
	buf_addstr(&out, SCHEME);
	for (; *path != '\0'; path++) {
		if ((unsigned char)*path <= ' ' || strchr("%#?", *path) != NULL)
			buf_addf(&out, "%%%02X", (unsigned char)*path);
		else
			buf_add(&out, path, 1);
	}
	return buf_steal_str(&out);
}

/* NULL: it is not in the tree. */
static char *
path_of(const struct tree *t, const char *uri)
{
	char *path, *full = NULL;

	if (strncmp(uri, SCHEME, strlen(SCHEME)) != 0)
		return NULL;
	path = xstrdup(uri + strlen(SCHEME));
	if (uri_decode(path) && strncmp(path, "../", 3) != 0 && strstr(path, "/../") == NULL)
		full = xasprintf("%s/%s", t->root, path);
	free(path);
	return full;
}

/* NULL with errno. */
static char *
read_file(const char *path, size_t *len)
{
	FILE *f = fopen(path, "re");
	struct buf text;
	size_t n;

	if (f == NULL)
		return NULL;
	buf_init(&text);
	do {
		n = fread(buf_reserve(&text, 65536), 1, 65536, f);
		buf_grew(&text, n);
	} while (n > 0 && text.len <= SCHEMA_BYTES);
	if (ferror(f)) {
		buf_free(&text);
		fclose(f);
		return NULL;
	}
	fclose(f);
	*len = text.len;
	return buf_steal_str(&text);
}

/* What is no object cannot have an $id; what is no JSON the compiler tells. */
static void
put_named(struct buf *out, const char *text, size_t len, const char *uri, bool *named)
{
	struct values *vs = values_new();
	char why[SCHEMA_WHY];
	const struct value *v = values_parse(vs, text, len, why, sizeof(why)), *id;
	const char *brace;

	id = v != NULL ? value_member(v, "$id") : NULL;
	*named = id != NULL;
	if (id != NULL && id->type == VALUE_STRING && id->text > text && id->text < text + len) {
		buf_add(out, text, (size_t)(id->text - 1 - text));
		json_quote(out, uri, strlen(uri));
		buf_add(out, id->text + id->n + 1, len - (size_t)(id->text + id->n + 1 - text));
	} else if (v != NULL && v->type == VALUE_OBJECT && id == NULL) {
		brace = memchr(text, '{', len);
		buf_add(out, text, (size_t)(brace + 1 - text));
		buf_addstr(out, "\"$id\":");
		json_quote(out, uri, strlen(uri));
		buf_addstr(out, v->n > 0 ? "," : "");
		buf_add(out, brace + 1, len - (size_t)(brace + 1 - text));
	} else {
		buf_add(out, text, len);
	}
	values_free(vs);
}

static const struct file *
add_file(struct tree *t, const char *uri, const char *text, size_t len)
{
	struct file *f;
	struct buf out;
	bool named;

	t->files = xreallocarray(t->files, t->n + 1, sizeof(*t->files));
	f = &t->files[t->n++];
	buf_init(&out);
	put_named(&out, text, len, uri, &named);
	if (t->n == 1)
		t->named = named;
	f->uri = xstrdup(uri);
	f->len = out.len;
	f->text = buf_steal_str(&out);
	return f;
}

static const char *
find(void *arg, const char *uri, size_t *len)
{
	struct tree *t = arg;
	char *path = path_of(t, uri), *text = path != NULL ? read_file(path, len) : NULL;
	const struct file *f = text != NULL ? add_file(t, uri, text, *len) : NULL;

	free(path);
	free(text);
	if (f == NULL)
		return NULL;
	*len = f->len;
	return f->text;
}

static bool
is_word(const struct file *f, const char *word)
{
	const char *p = f->text + strspn(f->text, " \t\r\n");

	return strncmp(p, word, strlen(word)) == 0;
}

static char *
bundle(const struct tree *t)
{
	struct buf out;

	buf_init(&out);
	buf_addstr(&out, "{\"$schema\":\"" DRAFT "schema\",\"$ref\":");
	json_quote(&out, t->files[0].uri, strlen(t->files[0].uri));
	for (size_t i = 0; i < t->n; i++) {
		const struct file *f = &t->files[i];

		buf_addf(&out, "%s\"%zu\":", i == 0 ? ",\"$defs\":{" : ",", i);
		if (is_word(f, "true") || is_word(f, "false")) {
			buf_addstr(&out, "{\"$id\":");
			json_quote(&out, f->uri, strlen(f->uri));
			buf_addstr(&out, is_word(f, "false") ? ",\"not\":{}}" : "}");
		} else {
			buf_add(&out, f->text, f->len);
		}
	}
	buf_addstr(&out, "}}");
	return buf_steal_str(&out);
}

/* What a worker will make of it. */
static bool
can_be_used(const char *text, char *why)
{
	struct schema *s = schema_compile(text, strlen(text), NULL, why);

	schema_free(s);
	return s != NULL;
}

static char *
read_tree(struct tree *t, const char *path, const char *text, size_t len, char *why)
{
	char *uri = uri_of(path), *whole = NULL;
	struct schema_options options = { .base = uri, .find = find, .arg = t };
	const struct file *f = add_file(t, uri, text, len);
	struct schema *s = schema_compile(f->text, f->len, &options, why);

	if (s != NULL)
		whole = t->n > 1 || t->named ? bundle(t) : xstrndup(text, len);
	schema_free(s);
	free(uri);
	if (whole != NULL && !can_be_used(whole, why)) {
		free(whole);
		whole = NULL;
	}
	return whole;
}

char *
schema_read_files(const char *root, const char *path, char why[SCHEMA_WHY])
{
	const char *slash = *path == '/' ? strrchr(path, '/') : NULL;
	/* One that is elsewhere is in a tree of its own. */
	char *own = slash != NULL ? xstrndup(path, (size_t)(slash - path)) : xstrdup(root), *full, *text, *whole = NULL;
	struct tree t = { .root = own };
	size_t len;

	path = slash != NULL ? slash + 1 : path;
	full = xasprintf("%s/%s", own, path);
	text = read_file(full, &len);
	if (text == NULL)
		snprintf(why, SCHEMA_WHY, "%s", strerror(errno));
	else
		whole = read_tree(&t, path, text, len, why);
	for (size_t i = 0; i < t.n; i++) {
		free(t.files[i].uri);
		free(t.files[i].text);
	}
	free(t.files);
	free(text);
	free(full);
	free(own);
	return whole;
}
