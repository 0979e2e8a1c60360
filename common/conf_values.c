/*
 * The values of configuration options: reading each type, comparing and freeing it. Any process; no state.
 */
#include "config.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "common/conf_table.h"
#include "common/duration.h"
#include "common/json.h"
#include "common/xmalloc.h"

#define FIELD(type, target, option) ((type *)(void *)((char *)(target) + (option)->offset))
#define FIELD_CONST(type, target, option) ((const type *)(const void *)((const char *)(target) + (option)->offset))

static const char *const rlimit_names[] = {
	"as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss", "rtprio",
	"rttime", "sigpending", "stack",
};

/* Decimal digits only: no sign, no octal, no blanks. */
static int
parse_number(const char *s, int64_t *n)
{
	char *end;

	if (!isdigit((unsigned char)*s))
		return -1;
	errno = 0;
	*n = strtoll(s, &end, 10);
	return errno != 0 || *end != '\0' ? -1 : 0;
}

/* 1024, 64K, 512M, 2G; a B after the letter does not matter. */
static int
parse_size(const char *s, int64_t *n)
{
	static const char letters[] = "KMGT";
	size_t digits = strspn(s, "0123456789");
	const char *letter;
	char *number;
	int shift = 0;
	int ok;

	if (s[digits] != '\0') {
		letter = strchr(letters, toupper((unsigned char)s[digits]));
		if (letter == NULL || (s[digits + 1] != '\0' && strcmp(s + digits + 1, "B") != 0))
			return -1;
		shift = 10 * (int)(letter - letters + 1);
	}
	number = xstrndup(s, digits);
	ok = parse_number(number, n);
	free(number);
	if (ok == -1 || *n > INT64_MAX >> shift)
		return -1;
	*n <<= shift;
	return 0;
}

static char *
format_limit(enum conf_type type, int64_t n)
{
	char text[DURATION_STRLEN];

	if (type == CONF_DURATION)
		return xstrdup(duration_format(n, text, sizeof(text)));
	return xasprintf("%" PRId64, n);
}

static char *
set_number(const struct conf_option *o, int64_t *target, const char *s)
{
	const char *wanted = "is not a whole number";
	char *low, *high, *why;
	int64_t n = 0;
	int ok;

	if (o->type == CONF_SIZE) {
		ok = parse_size(s, &n);
		wanted = "is not a size (such as 65536, 64K, 512M or 2G)";
	} else if (o->type == CONF_DURATION) {
		ok = duration_parse(s, &n);
		wanted = "is not a duration (such as 250ms, 10s, 5m, 2h or 7d)";
	} else if (*s == '-' && o->min < 0) {
		ok = parse_number(s + 1, &n);
		n = -n;
	} else
		ok = parse_number(s, &n);
	if (ok == -1)
		return xasprintf("\"%s\" %s", s, wanted);
	if (n >= o->min && n <= o->max) {
		*target = n;
		return NULL;
	}
	low = format_limit(o->type, o->min);
	high = format_limit(o->type, o->max);
	why = xasprintf("\"%s\" is out of range (%s to %s)", s, low, high);
	free(low);
	free(high);
	return why;
}

static char *
set_word(int64_t *target, const char *s, int (*parse)(const char *), const char *words)
{
	int n = parse(s);

	if (n == -1)
		return xasprintf("\"%s\" is none of %s", s, words);
	*target = n;
	return NULL;
}

static char *
set_string(char **target, const char *s)
{
	if (*s == '\0')
		return xstrdup("is empty");
	free(*target);
	*target = xstrdup(s);
	return NULL;
}

static char *
set_keep(struct conf_keep *keep, const char *s)
{
	keep->set = true;
	keep->never_removed = false;
	if (strcmp(s, "false") == 0 || strcmp(s, "never") == 0)
		keep->never_removed = true;
	else if (duration_parse(s, &keep->ms) == -1)
		return xasprintf("\"%s\" is neither a duration (such as 10s or 7d; 0 at once) nor false (never)", s);
	return NULL;
}

static char *
set_strings(struct conf_strs *target, const struct conf_value *value)
{
	for (size_t i = 0; i < value->n; i++) {
		if (value->v[i][0] == '\0')
			return xstrdup("is empty");
		for (size_t j = 0; j < i; j++)
			if (strcmp(value->v[i], value->v[j]) == 0)
				return xasprintf("names \"%s\" twice", value->v[i]);
	}
	target->v = xcalloc(value->n + 1, sizeof(char *));
	for (; target->n < value->n; target->n++)
		target->v[target->n] = xstrdup(value->v[target->n]);
	return NULL;
}

static void
pairs_add(struct conf_pairs *pairs, char *name, char *value)
{
	pairs->v = xreallocarray(pairs->v, pairs->n + 1, sizeof(pairs->v[0]));
	pairs->v[pairs->n].name = name;
	pairs->v[pairs->n++].value = value;
}

static bool
pairs_have(const struct conf_pairs *pairs, const char *name)
{
	for (size_t i = 0; i < pairs->n; i++)
		if (strcmp(pairs->v[i].name, name) == 0)
			return true;
	return false;
}

static char *
env_one(struct conf_pairs *pairs, char *name, const char *value)
{
	size_t i;

	for (i = 0; isalnum((unsigned char)name[i]) || name[i] == '_'; i++)
		continue;
	if (i == 0 || name[i] != '\0' || isdigit((unsigned char)name[0]))
		return xasprintf("\"%s\" is not the name of an environment variable", name);
	if (strncmp(name, "PGCONDUCTOR_", 12) == 0)
		return xasprintf("%s: names that begin with PGCONDUCTOR_ are set by the server", name);
	if (pairs_have(pairs, name))
		return xasprintf("sets %s twice", name);
	pairs_add(pairs, xstrdup(name), xstrdup(value));
	return NULL;
}

static char *
rlimit_value(const char *s)
{
	int64_t n;

	if (strcmp(s, "unlimited") == 0)
		return xstrdup(s);
	return parse_size(s, &n) == -1 ? NULL : xasprintf("%" PRId64, n);
}

static char *
rlimit_one(struct conf_pairs *pairs, const char *name, const char *value)
{
	const char *colon = strchr(value, ':');
	char *soft, *hard = NULL, *text;
	size_t i;

	for (i = 0; i < sizeof(rlimit_names) / sizeof(rlimit_names[0]); i++)
		if (strcmp(rlimit_names[i], name) == 0)
			break;
	if (i == sizeof(rlimit_names) / sizeof(rlimit_names[0]))
		return xasprintf("\"%s\" is not a resource limit (such as nofile, as, cpu, core or nproc)", name);
	if (pairs_have(pairs, name))
		return xasprintf("sets %s twice", name);
	text = xstrndup(value, colon != NULL ? (size_t)(colon - value) : strlen(value));
	soft = rlimit_value(text);
	free(text);
	if (colon != NULL)
		hard = rlimit_value(colon + 1);
	if (soft == NULL || (colon != NULL && hard == NULL)) {
		free(soft);
		free(hard);
		return xasprintf("%s: \"%s\" is not a limit (a number, \"unlimited\", or \"soft:hard\")", name, value);
	}
	pairs_add(pairs, xstrdup(name), hard != NULL ? xasprintf("%s:%s", soft, hard) : xstrdup(soft));
	free(soft);
	free(hard);
	return NULL;
}

static char *
set_pairs(const struct conf_option *o, struct conf_pairs *pairs, const struct conf_value *value)
{
	char *name, *why, *equals;

	for (size_t i = 0; i < value->n; i++) {
		name = xstrdup(value->v[i]);
		equals = strchr(name, '=');
		if (equals == NULL) {
			why = xasprintf("\"%s\" is not of the form \"name=value\"", name);
		} else {
			*equals = '\0';
			why = o->type == CONF_ENV ? env_one(pairs, name, equals + 1) : rlimit_one(pairs, name, equals + 1);
		}
		free(name);
		if (why != NULL)
			return why;
	}
	return NULL;
}

static char *
backoff_step(struct conf_backoff *backoff, const char *s)
{
	int64_t ms;

	if (duration_parse(s, &ms) == -1)
		return xasprintf("\"%s\" is not a duration (such as 250ms, 10s, 5m, 2h or 7d)", s);
	backoff->steps = xreallocarray(backoff->steps, backoff->steps_n + 1, sizeof(int64_t));
	backoff->steps[backoff->steps_n++] = ms;
	return NULL;
}

/* exponential(first, longest) or exponential(first, longest, factor) */
static char *
backoff_exponential(struct conf_backoff *backoff, const char *s)
{
	char *copy = xstrdup(s + strlen("exponential(")), *rest = copy, *word, *why = NULL;
	char *end = strrchr(copy, ')');
	int64_t factor = 2;
	int n = 0;

	if (end == NULL || end[1] != '\0') {
		free(copy);
		return xasprintf("\"%s\" lacks a closing parenthesis", s);
	}
	*end = '\0';
	while (why == NULL && (word = strsep(&rest, ",")) != NULL) {
		word += strspn(word, " ");
		word[strcspn(word, " ")] = '\0';
		if (n++ < 2)
			why = backoff_step(backoff, word);
		else if (n > 3 || parse_number(word, &factor) == -1 || factor < 2 || factor > 100)
			why = xasprintf("\"%s\" is not exponential(first, longest, factor), factor being 2 to 100", s);
	}
	free(copy);
	if (why == NULL && n < 2)
		why = xasprintf("\"%s\" is not exponential(first, longest)", s);
	if (why == NULL && backoff->steps[0] > backoff->steps[1])
		why = xasprintf("\"%s\": the first delay is longer than the longest", s);
	backoff->kind = CONF_BACKOFF_EXPONENTIAL;
	backoff->factor = (unsigned)factor;
	return why;
}

static char *
set_backoff(struct conf_backoff *backoff, const struct conf_value *value)
{
	char *why = NULL;

	if (!value->list && strncmp(value->v[0], "exponential(", strlen("exponential(")) == 0)
		return backoff_exponential(backoff, value->v[0]);
	backoff->kind = CONF_BACKOFF_LIST;
	for (size_t i = 0; i < value->n && why == NULL; i++)
		why = backoff_step(backoff, value->v[i]);
	return why;
}

static char *
set_queue_name(char **target, const char *s)
{
	if (!conf_queue_name_valid(s))
		return xasprintf("\"%s\" is not a queue's name (a to z, 0 to 9, _ . -, at most 63, the first no . or -)", s);
	return set_string(target, s);
}

static char *
set_bool(int64_t *target, const char *s)
{
	if (strcmp(s, "true") != 0 && strcmp(s, "false") != 0)
		return xasprintf("\"%s\" is neither true nor false", s);
	*target = strcmp(s, "true") == 0;
	return NULL;
}

static char *
set_json(char **target, const char *s)
{
	const char *why;
	size_t at;

	if (json_check(s, strlen(s), &at, &why) == -1)
		return xasprintf("not JSON: %s, at character %zu", why, at + 1);
	return set_string(target, s);
}

char *
conf_option_set(const struct conf_option *o, void *target, const struct conf_value *value)
{
	const char *s = value->v[0];

	switch (o->type) {
	case CONF_STRING:
		return set_string(FIELD(char *, target, o), s);
	case CONF_QUEUE_NAME:
		return set_queue_name(FIELD(char *, target, o), s);
	case CONF_STRINGS:
		return set_strings(FIELD(struct conf_strs, target, o), value);
	case CONF_NUMBER:
	case CONF_SIZE:
	case CONF_DURATION:
		return set_number(o, FIELD(int64_t, target, o), s);
	case CONF_KEEP:
		return set_keep(FIELD(struct conf_keep, target, o), s);
	case CONF_LEVEL:
		return set_word(FIELD(int64_t, target, o), s, log_level_parse, conf_type_name(o->type));
	case CONF_FORMAT:
		return set_word(FIELD(int64_t, target, o), s, log_format_parse, conf_type_name(o->type));
	case CONF_COMMAND:
		return conf_command_argv(value, FIELD(struct conf_strs, target, o));
	case CONF_ENV:
	case CONF_RLIMITS:
		return set_pairs(o, FIELD(struct conf_pairs, target, o), value);
	case CONF_BACKOFF:
		return set_backoff(FIELD(struct conf_backoff, target, o), value);
	case CONF_BOOL:
		return set_bool(FIELD(int64_t, target, o), s);
	case CONF_JSON:
		return set_json(FIELD(char *, target, o), s);
	}
	return NULL;
}

void
conf_pairs_free(struct conf_pairs *pairs)
{
	for (size_t i = 0; i < pairs->n; i++) {
		free(pairs->v[i].name);
		free(pairs->v[i].value);
	}
	free(pairs->v);
	pairs->v = NULL;
	pairs->n = 0;
}

static void
strs_free(struct conf_strs *strs)
{
	for (size_t i = 0; i < strs->n; i++)
		free(strs->v[i]);
	free(strs->v);
}

static void
option_free(const struct conf_option *o, void *target)
{
	switch (o->type) {
	case CONF_STRING:
	case CONF_QUEUE_NAME:
	case CONF_JSON:
		free(*FIELD(char *, target, o));
		break;
	case CONF_STRINGS:
	case CONF_COMMAND:
		strs_free(FIELD(struct conf_strs, target, o));
		break;
	case CONF_ENV:
	case CONF_RLIMITS:
		conf_pairs_free(FIELD(struct conf_pairs, target, o));
		break;
	case CONF_BACKOFF:
		free(FIELD(struct conf_backoff, target, o)->steps);
		break;
	case CONF_NUMBER:
	case CONF_SIZE:
	case CONF_DURATION:
	case CONF_KEEP:
	case CONF_LEVEL:
	case CONF_FORMAT:
	case CONF_BOOL:
		break;
	}
}

void
conf_section_free(const struct conf_section *section, void *target)
{
	for (const struct conf_option *o = section->options; o->name != NULL; o++)
		option_free(o, target);
}

/* For the types that need a restart: texts and numbers. */
bool
conf_option_equal(const struct conf_option *o, const void *a, const void *b)
{
	const char *s, *t;

	if (o->type != CONF_STRING)
		return *FIELD_CONST(int64_t, a, o) == *FIELD_CONST(int64_t, b, o);
	s = *FIELD_CONST(char *, a, o);
	t = *FIELD_CONST(char *, b, o);
	return s == NULL || t == NULL ? s == t : strcmp(s, t) == 0;
}
