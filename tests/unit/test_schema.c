/*
 * JSON Schema: the official suite, where it is installed (Debian's libtest-json-schema-acceptance-perl; SCHEMA_SUITE names another
 * directory), and what it does not ask: limits, numbers of any size, messages.
 */
#include "config.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "common/buf.h"
#include "common/json.h"
#include "common/schema/schema.h"
#include "common/schema/uri.h"
#include "common/schema/value.h"
#include "tests/unit/unit.h"

#define SUITE	"/usr/share/perl5/auto/share/dist/Test-JSON-Schema-Acceptance"
#define REMOTE	"http://localhost:1234/"

/* ---- the official suite ---- */

static const char *
suite(void)
{
	const char *where = getenv("SCHEMA_SUITE");

	return where != NULL ? where : SUITE;
}

static void
put(struct buf *out, const struct value *v)
{
	static const char *const words[] = { "null", "false", "true" };

	switch (v->type) {
	case VALUE_NUMBER:
		buf_add(out, v->text, v->n);
		break;
	case VALUE_STRING:
		json_quote(out, v->text, v->n);
		break;
	case VALUE_ARRAY:
		for (uint32_t i = 0; i < v->n; i++) {
			buf_addstr(out, i == 0 ? "[" : ",");
			put(out, &v->items[i]);
		}
		buf_addstr(out, v->n == 0 ? "[]" : "]");
		break;
	case VALUE_OBJECT:
		for (uint32_t i = 0; i < v->n; i++) {
			buf_addstr(out, i == 0 ? "{" : ",");
			put(out, &v->members[i].key);
			buf_addstr(out, ":");
			put(out, &v->members[i].value);
		}
		buf_addstr(out, v->n == 0 ? "{}" : "}");
		break;
	default:
		buf_addstr(out, words[v->type]);
	}
}

static char *
slurp(const char *path, size_t *len)
{
	FILE *f = fopen(path, "r");
	struct buf text;
	size_t n;

	if (f == NULL)
		return NULL;
	buf_init(&text);
	while ((n = fread(buf_reserve(&text, 65536), 1, 65536, f)) > 0)
		buf_grew(&text, n);
	fclose(f);
	*len = text.len;
	return buf_steal_str(&text);
}

struct remotes {
	char	*kept[64];
	size_t	 n;
};

static const char *
find_remote(void *arg, const char *uri, size_t *len)
{
	struct remotes *r = arg;
	char path[PATH_MAX];

	if (strncmp(uri, REMOTE, strlen(REMOTE)) != 0)
		return NULL;
	snprintf(path, sizeof(path), "%s/remotes/%s", suite(), uri + strlen(REMOTE));
	ck_assert_uint_lt(r->n, 64);
	return r->kept[r->n++] = slurp(path, len);
}

static struct schema *
compile_value(const struct value *v, bool formats, struct remotes *remotes, char *why)
{
	struct schema_options options = { .plain_formats = !formats, .find = find_remote, .arg = remotes };
	struct schema *s;
	struct buf text;

	buf_init(&text);
	put(&text, v);
	s = schema_compile((char *)buf_ptr(&text), text.len, &options, why);
	buf_free(&text);
	return s;
}

static int
run_group(const char *file, const struct value *group, bool formats, int *failed)
{
	const struct value *tests = value_member(group, "tests"), *title = value_member(group, "description");
	struct remotes remotes = { .n = 0 };
	char why[SCHEMA_WHY];
	struct schema *s;

	/* It is about the format "regex", which is not one of those that are checked. */
	if (value_is(title, "\\a is not an ECMA 262 control escape"))
		return 0;
	s = compile_value(value_member(group, "schema"), formats, &remotes, why);
	if (s == NULL)
		printf("%s: %.*s: %s\n", file, (int)title->n, title->text, why);
	for (uint32_t i = 0; i < tests->n; i++) {
		const struct value *t = &tests->items[i], *name = value_member(t, "description");
		bool valid = value_member(t, "valid")->type == VALUE_TRUE, fits;

		fits = s != NULL && schema_check_value(s, value_member(t, "data"), why);
		if (s != NULL && fits == valid && fits == (*why == '\0'))
			continue;
		printf("%s: %.*s: %.*s: %s, %s\n", file, (int)title->n, title->text, (int)name->n, name->text, valid ? "valid" : "not valid",
		    why);
		(*failed)++;
	}
	schema_free(s);
	for (size_t i = 0; i < remotes.n; i++)
		free(remotes.kept[i]);
	return (int)tests->n;
}

static int
run_file(const char *path, bool formats, int *failed)
{
	size_t len;
	char *text = slurp(path, &len), why[SCHEMA_WHY];
	struct values *vs = values_new();
	struct value *groups;
	int n = 0;

	ck_assert_msg(text != NULL, "%s is missing", path);
	groups = values_parse(vs, text, len, why, sizeof(why));
	ck_assert_msg(groups != NULL, "%s: %s", path, why);
	for (uint32_t i = 0; i < groups->n; i++)
		n += run_group(strrchr(path, '/') + 1, &groups->items[i], formats, failed);
	values_free(vs);
	free(text);
	return n;
}

static bool
suite_is_there(void)
{
	struct stat st;

	if (stat(suite(), &st) == 0)
		return true;
	printf("the official suite is not installed: %s\n", suite());
	return false;
}

/* All that a validator is required to pass: none is left out. */
START_TEST(required)
{
	char path[PATH_MAX];
	struct dirent *e;
	int n = 0, failed = 0;
	DIR *d;

	if (!suite_is_there())
		return;
	snprintf(path, sizeof(path), "%s/tests/draft2020-12", suite());
	d = opendir(path);
	ck_assert(d != NULL);
	while ((e = readdir(d)) != NULL)
		if (strstr(e->d_name, ".json") != NULL) {
			snprintf(path, sizeof(path), "%s/tests/draft2020-12/%s", suite(), e->d_name);
			n += run_file(path, false, &failed);
		}
	closedir(d);
	printf("%d cases, %d failed\n", n, failed);
	ck_assert_int_eq(failed, 0);
	ck_assert_int_ge(n, 1100);
}
END_TEST

/* What it may pass, of that which is heeded here. */
START_TEST(optional)
{
	static const struct {
		const char	*name;
		bool		 formats;
	} files[] = {
		{ "bignum", false }, { "float-overflow", false }, { "format-assertion", false }, { "no-schema", false },
		{ "non-bmp-regex", false }, { "refOfUnknownKeyword", false }, { "ecmascript-regex", false }, { "unicode", false },
		{ "format/date-time", true }, { "format/email", true }, { "format/uuid", true }, { "format/uri", true },
		{ "format/ipv4", true }, { "format/ipv6", true }, { "format/unknown", true },
	};
	char path[PATH_MAX];
	int n = 0, failed = 0;

	if (!suite_is_there())
		return;
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		snprintf(path, sizeof(path), "%s/tests/draft2020-12/optional/%s.json", suite(), files[i].name);
		n += run_file(path, files[i].formats, &failed);
	}
	printf("%d cases, %d failed\n", n, failed);
	ck_assert_int_eq(failed, 0);
}
END_TEST

/* ---- what it does not ask ---- */

static struct schema *
compile(const char *text)
{
	char why[SCHEMA_WHY];
	struct schema *s = schema_compile(text, strlen(text), NULL, why);

	ck_assert_msg(s != NULL, "%s: %s", text, why);
	return s;
}

/* Why it is refused, "" if it is not. */
static const char *
check(const char *schema, const char *text)
{
	static char why[SCHEMA_WHY];
	struct schema *s = compile(schema);
	bool fits = schema_check(s, text, strlen(text), why);

	ck_assert(fits == (*why == '\0'));
	schema_free(s);
	return why;
}

static const char *
refused(const char *schema)
{
	static char why[SCHEMA_WHY];
	struct schema *s = schema_compile(schema, strlen(schema), NULL, why);

	ck_assert_msg(s == NULL, "%s was taken", schema);
	return why;
}

START_TEST(messages_say_where_and_what)
{
	ck_assert_str_eq(check("{\"type\": \"object\"}", "3"), "is a number; an object is expected");
	ck_assert_str_eq(check("{\"properties\": {\"a/b\": {\"items\": {\"type\": [\"integer\", \"null\"]}}}}", "{\"a/b\": [1, null, \"x\"]}"),
	    "/a~1b/2: is a string; null or an integer is expected");
	ck_assert_str_eq(check("{\"required\": [\"id\"]}", "{}"), "\"id\" is missing");
	ck_assert_str_eq(check("{\"properties\": {\"a\": {\"required\": [\"id\"]}}}", "{\"a\": {}}"), "/a: \"id\" is missing");
	ck_assert_str_eq(check("{\"additionalProperties\": false}", "{\"x\": 1}"), "/x: there may be no such member");
	ck_assert_str_eq(check("{\"maximum\": 10}", "10.5"), "10.5 is more than 10");
	ck_assert_str_eq(check("{\"format\": \"uuid\"}", "\"x\""), "\"x\" is not of the format uuid");
	ck_assert_str_eq(check("{\"anyOf\": [{\"type\": \"null\"}, {\"type\": \"string\"}]}", "1"),
	    "is none of the 2 kinds of values that are allowed");
	ck_assert_str_eq(check("{}", "{]"), "it is not JSON: a string as key is expected at byte 1");
}
END_TEST

START_TEST(schemas_are_refused_with_their_place)
{
	ck_assert_str_eq(refused("{\"properties\": {\"age\": {\"type\": \"int\"}}}"),
	    "/properties/age/type: is none of null, boolean, integer, number, string, array and object");
	ck_assert_str_eq(refused("{\"items\": [true]}"),
	    "/items: is an array, as in older drafts: it is prefixItems now, and what follows those is items");
	ck_assert_str_eq(refused("{\"$ref\": \"#/$defs/x\"}"), "/$ref: refers to #/$defs/x, which is not there");
	ck_assert_str_eq(refused("{\"$ref\": \"http://example.com/x.json\"}"),
	    "/$ref: there is no schema http://example.com/x.json here; nothing is ever fetched");
	ck_assert(strstr(refused("{\"$schema\": \"http://json-schema.org/draft-07/schema#\"}"), "only draft 2020-12") != NULL);
	ck_assert_str_eq(refused("{\"dependencies\": {}}"), "/dependencies: is a keyword of an older draft; this is draft 2020-12");
	ck_assert_str_eq(refused("{\"pattern\": \"(\"}"), "/pattern: is not a regular expression: missing closing parenthesis");
	ck_assert(strstr(refused("{\"pattern\": \"(?R)\"}"), "a group that begins with (?") != NULL);
	ck_assert(strstr(refused("{\"pattern\": \"(*LIMIT_MATCH=1)a\"}"), "nothing that * could repeat") != NULL);
	ck_assert_str_eq(refused("[]"), "is not a schema, that is an object, true or false");
	ck_assert_str_eq(refused("{"), "it is not JSON: a string as key is expected at byte 1");
	ck_assert(strstr(refused("{\"$defs\": {\"a\": {\"$id\": \"u:x\"}, \"b\": {\"$id\": \"u:x\"}}}"), "two schemas that are called u:x") != NULL);
}
END_TEST

/* What PostgreSQL's json takes, and others do not. */
START_TEST(numbers_are_exact)
{
	ck_assert_str_eq(check("{\"type\": \"integer\"}", "9223372036854775808"), "");
	ck_assert_str_eq(check("{\"type\": \"integer\"}", "1e400"), "");
	ck_assert_str_eq(check("{\"type\": \"integer\"}", "1.0"), "");
	ck_assert_str_ne(check("{\"type\": \"integer\"}", "1e-400"), "");
	ck_assert_str_eq(check("{\"maximum\": 9223372036854775807}", "9223372036854775808"),
	    "9223372036854775808 is more than 9223372036854775807");
	ck_assert_str_eq(check("{\"maximum\": 9007199254740992}", "9007199254740993"), "9007199254740993 is more than 9007199254740992");
	ck_assert_str_eq(check("{\"exclusiveMinimum\": 1e400}", "1e401"), "");
	ck_assert_str_ne(check("{\"exclusiveMinimum\": 1e400}", "1e400"), "");
	ck_assert_str_eq(check("{\"minimum\": 1e400}", "1e99999999999999999999999999999999"), "");
	ck_assert_str_eq(check("{\"minimum\": -1}", "-0"), "");
	ck_assert_str_eq(check("{\"multipleOf\": 0.01}", "19.99"), "");
	ck_assert_str_ne(check("{\"multipleOf\": 0.01}", "19.999"), "");
	ck_assert_str_eq(check("{\"multipleOf\": 3}", "1e300"), "1e300 is not a multiple of 3");
	ck_assert_str_eq(check("{\"multipleOf\": 3}", "3e300"), "");
	ck_assert_str_eq(check("{\"const\": 10000000000000000000000}", "1e22"), "");
	ck_assert_str_ne(check("{\"const\": 10000000000000000000000}", "10000000000000000000001"), "");
	ck_assert_str_ne(check("{\"uniqueItems\": true}", "[9223372036854775808, 9223372036854775808.0]"), "");
	ck_assert_str_eq(check("{\"uniqueItems\": true}", "[9223372036854775808, 9223372036854775809]"), "");
}
END_TEST

START_TEST(strings_may_hold_anything)
{
	ck_assert_str_eq(check("{\"maxLength\": 1}", "\"\\u0000\""), "");
	ck_assert_str_eq(check("{\"maxLength\": 1}", "\"\\ud800\""), "");
	ck_assert_str_eq(check("{\"const\": \"\\ud83d\\ude00\"}", "\"\xf0\x9f\x98\x80\""), "");
	ck_assert_str_ne(check("{\"const\": \"a\"}", "\"a\\u0000\""), "");
	ck_assert_str_eq(check("{\"pattern\": \"b$\"}", "\"\\ud800b\""), "");
	ck_assert_str_eq(check("{\"properties\": {\"a\\u0000\": {\"type\": \"null\"}}}", "{\"a\": 1}"), "");
	ck_assert_str_ne(check("{\"properties\": {\"a\": {\"type\": \"null\"}}}", "{\"a\": null, \"a\": 1}"), "");
	ck_assert_str_eq(check("{\"properties\": {\"a\": {\"type\": \"null\"}}}", "{\"a\": 1, \"a\": null}"), "");
}
END_TEST

START_TEST(patterns_are_those_of_ecma)
{
	ck_assert_str_eq(check("{\"pattern\": \"^\\\\p{Letter}+$\"}", "\"\xc3\xa4\""), "");
	ck_assert_str_ne(check("{\"pattern\": \"^\\\\d$\"}", "\"\xd9\xa3\""), "");
	ck_assert_str_ne(check("{\"pattern\": \"a$\"}", "\"a\\n\""), "");
	ck_assert_str_eq(check("{\"pattern\": \"^[[]$\"}", "\"[\""), "");
	ck_assert_str_eq(check("{\"pattern\": \"^\\\\u{1f600}$\"}", "\"\\ud83d\\ude00\""), "");
	ck_assert_str_eq(check("{\"pattern\": \"^(?<y>\\\\d{4})-\\\\k<y>$\"}", "\"2030-2030\""), "");
	ck_assert_str_eq(check("{\"pattern\": \"^a{2,}?b\\\\/\\\\-$\"}", "\"aab/-\""), "");
	ck_assert_str_eq(check("{\"pattern\": \"^.$\"}", "\"\\u2028\""), "\"\xe2\x80\xa8\" does not match the pattern");
}
END_TEST

static char *
repeated(const char *start, const char *what, int n, const char *end)
{
	struct buf out;

	buf_init(&out);
	buf_addstr(&out, start);
	for (int i = 0; i < n; i++)
		buf_addstr(&out, what);
	buf_addstr(&out, end);
	return buf_steal_str(&out);
}

static void
refused_in_time(const char *schema, const char *text, const char *reason)
{
	clock_t start = clock();
	const char *why = check(schema, text);

	ck_assert_msg(strstr(why, reason) != NULL, "%.60s: %s", schema, why);
	/* With a sanitizer, on a slow machine. */
	ck_assert_int_lt((clock() - start) / CLOCKS_PER_SEC, 20);
}

/* Each of forty schemas asks the next one twice. */
static const char *
doubling(char *text)
{
	char *p = text + sprintf(text, "{\"$ref\": \"#/$defs/0\", \"$defs\": {\"40\": {}");

	for (int i = 0; i < 40; i++)
		p += sprintf(p, ", \"%d\": {\"allOf\": [{\"$ref\": \"#/$defs/%d\"}, {\"$ref\": \"#/$defs/%d\"}]}", i, i + 1, i + 1);
	strcpy(p, "}}");
	return text;
}

START_TEST(bombs_are_refused)
{
	char bomb_text[8192];
	char *text = repeated("", "[", 1000, ""), *deep = repeated(text, "]", 1000, ""), *bomb;

	refused_in_time("{}", deep, "nested too deeply");
	free(deep);
	free(text);
	refused_in_time("{\"$ref\": \"#\"}", "1", "leads too deep into the schema");
	refused_in_time("{\"not\": {\"$ref\": \"#\"}}", "1", "leads too deep into the schema");
	refused_in_time(doubling(bomb_text), "1", "takes too long");
	refused_in_time("{\"pattern\": \"^(a+)+$\"}", "\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab\"", "regular expression");
	refused_in_time("{\"not\": {\"pattern\": \"^(a|a)*$\"}}", "\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab\"",
	    "regular expression");
	text = repeated("[1", ",\"aaaaaaaaaaaaaaab\"", 50000, "]");
	refused_in_time("{\"items\": {\"pattern\": \"^(a|aa)+$|b\"}}", text, "");
	free(text);
	/* Items that are not equal, quickly told apart. */
	text = repeated("[0", ",{\"a\":[1,2,{}]}", 100000, "]");
	refused_in_time("{\"uniqueItems\": true}", text, "two items that are equal, 1 and 2");
	free(text);
	bomb = repeated("{\"allOf\": [{}", ",{\"minLength\":1}", 20000, "]}");
	text = repeated("\"", "aaaaaaaaaaaaaaaa", 100000, "\"");
	refused_in_time(bomb, text, "takes too long");
	free(text);
	free(bomb);
	bomb = repeated("{\"allOf\": [{}", ",{}", 100000, "]}");
	ck_assert(strstr(refused(bomb), "more than 100000 schemas") != NULL);
	free(bomb);
	bomb = repeated("{\"description\": \"", "aaaaaaaaaaaaaaaa", 70000, "\"}");
	ck_assert(strstr(refused(bomb), "bytes long; the limit is") != NULL);
	free(bomb);
	bomb = repeated("{\"pattern\": \"", "a", 5000, "\"}");
	ck_assert(strstr(refused(bomb), "longer than 4096 bytes") != NULL);
	free(bomb);
	ck_assert(strstr(refused("{\"pattern\": \"((a{1,1000}){1,1000}){1,1000}\"}"), "too large") != NULL);
}
END_TEST

START_TEST(references)
{
	static const char *const cases[][3] = {
		{ "http://a/b/c/d?q", "g", "http://a/b/c/g" }, { "http://a/b/c/d?q", "../../../g", "http://a/g" },
		{ "http://a/b/c/d?q", "g;x=1/../y", "http://a/b/c/y" }, { "http://a/b/c/d?q", "", "http://a/b/c/d?q" },
		{ "http://a/b/c/d?q", "?y", "http://a/b/c/d?y" }, { "http://a/b/c/d?q", "#s", "http://a/b/c/d?q#s" },
		{ "http://a/b/c/d?q", "//g", "http://g" }, { "http://a/b/c/d?q", "..", "http://a/b/" },
		{ "http://a/b/c/d?q", "./", "http://a/b/c/" }, { "http://a", "g", "http://a/g" }, { "", "a/../b", "/b" },
		{ "urn:x:y", "#z", "urn:x:y#z" }, { "conf:/a/b.json", "../../../c.json", "conf:/c.json" },
		{ "http://a/b", "urn:q", "urn:q" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char *uri = uri_resolve(cases[i][0], cases[i][1], strlen(cases[i][1]));

		ck_assert_str_eq(uri, cases[i][2]);
		free(uri);
	}
}
END_TEST

static Suite *
schema_suite(void)
{
	Suite *s = suite_create("schema");
	TCase *t = tcase_create("schema");

	tcase_add_test(t, required);
	tcase_add_test(t, optional);
	tcase_add_test(t, messages_say_where_and_what);
	tcase_add_test(t, schemas_are_refused_with_their_place);
	tcase_add_test(t, numbers_are_exact);
	tcase_add_test(t, strings_may_hold_anything);
	tcase_add_test(t, patterns_are_those_of_ecma);
	tcase_add_test(t, bombs_are_refused);
	tcase_add_test(t, references);
	suite_add_tcase(s, t);
	return s;
}

UNIT_MAIN(schema_suite)
