/*
 * The command line: options, help and messages. The cli process only.
 */
#include "config.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/cli.h"
#include "cli/progress.h"
#include "common/buf.h"
#include "common/duration.h"
#include "common/json.h"
#include "common/xmalloc.h"

const char *cli_db;
const struct cli_command *cli_current;
char **cli_words;
int cli_words_n;

static bool want_help, want_version;

static const struct cli_option db_options[] = {
	{ "db", 0, CLI_TEXT, &cli_db, "URL", "the database (else DATABASE_URL, PG*, or the dev server started here)" },
	{ "db-url", 0, CLI_TEXT, &cli_db, "URL", "the same as --db" },
	{ .name = NULL }
};

static const struct cli_option common_options[] = {
	{ "help", 'h', CLI_FLAG, &want_help, NULL, "show this help" },
	{ "version", 'V', CLI_FLAG, &want_version, NULL, "show the version" },
	{ .name = NULL }
};

static void
say(const char *fmt, va_list ap)
{
	progress_clear();
	fprintf(stderr, "pgconductor: ");
	if (cli_current != NULL)
		fprintf(stderr, "%s: ", cli_current->name);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
}

void
cli_warn(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(fmt, ap);
	va_end(ap);
}

void
cli_fail(int status, const char *fmt, ...)
{
	va_list ap;

	fflush(stdout);
	va_start(ap, fmt);
	say(fmt, ap);
	va_end(ap);
	exit(status);
}

void
cli_usage(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(fmt, ap);
	va_end(ap);
	fprintf(stderr, "usage: pgconductor %s %s\ntry: pgconductor %s --help\n", cli_current->name, cli_current->arguments,
	    cli_current->name);
	exit(EX_USAGE);
}

int64_t
cli_duration(const char *option, const char *value)
{
	int64_t ms;

	if (duration_parse(value, &ms) == -1)
		cli_usage("%s: \"%s\" is not a duration (such as 250ms, 10s, 5m, 2h or 7d)", option, value);
	return ms;
}

int
cli_priority(const char *option, const char *value)
{
	char *end;
	long n = strtol(value, &end, 10);

	if (end == value || *end != '\0' || n < INT16_MIN || n > INT16_MAX)
		cli_usage("%s: \"%s\" is not a whole number from -32768 to 32767", option, value);
	return (int)n;
}

const char *
cli_metadata(const struct cli_values *given)
{
	struct buf out;

	if (given->n == 0)
		return NULL;
	if (given->v[0][0] == '{') {
		if (given->n > 1 || json_check(given->v[0], strlen(given->v[0]), NULL, NULL) == -1)
			cli_usage("--metadata: %s", given->n > 1 ? "one JSON object, or K=V several times" : "not JSON");
		return given->v[0];
	}
	buf_init(&out);
	for (size_t i = 0; i < given->n; i++) {
		const char *pair = given->v[i], *equals = strchr(pair, '=');

		if (equals == NULL || equals == pair)
			cli_usage("--metadata: \"%s\" is neither of the form K=V nor a JSON object", pair);
		buf_addstr(&out, i == 0 ? "{" : ",");
		json_quote(&out, pair, (size_t)(equals - pair));
		buf_addstr(&out, ":");
		json_quote(&out, equals + 1, strlen(equals + 1));
	}
	buf_addstr(&out, "}");
	return buf_steal_str(&out);
}

FILE *
cli_open_input(const char *path)
{
	FILE *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");

	if (f == NULL)
		cli_fail(EX_NOINPUT, "%s: %s", path, strerror(errno));
	return f;
}

int64_t
cli_now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void
cli_pause_ms(int64_t ms)
{
	const struct timespec t = { ms / 1000, ms % 1000 * 1000 * 1000 };

	nanosleep(&t, NULL);
}

int
cli_done(int status)
{
	if (fflush(stdout) != 0 || ferror(stdout))
		cli_fail(EX_IOERR, "standard output: cannot be written");
	return status;
}

static void
help_options(const struct cli_option *o, FILE *out)
{
	char text[64];

	for (; o != NULL && o->name != NULL; o++) {
		snprintf(text, sizeof(text), "%c%c%c --%s%s%s", o->letter != 0 ? '-' : ' ', o->letter != 0 ? o->letter : ' ',
		    o->letter != 0 ? ',' : ' ', o->name, o->argument != NULL ? " " : "", o->argument != NULL ? o->argument : "");
		fprintf(out, "  %-26s %s\n", text, o->help);
	}
}

static void
help_states(const char *states, FILE *out)
{
	fprintf(out, "\nSTATE is ");
	for (const char *s = states; *s != '\0'; s++)
		fprintf(out, *s != ' ' ? "%c" : strchr(s + 1, ' ') != NULL ? ", " : " or ", *s);
	fprintf(out, ".\n");
}

void
cli_help(const struct cli_command *c, FILE *out)
{
	fprintf(out, "usage: pgconductor %s %s\n%s.\n", c->name, c->arguments, c->summary);
	if (c->details != NULL)
		fprintf(out, "\n%s", c->details);
	if (c->states != NULL)
		help_states(c->states, out);
	if (c->calls_n > 0)
		fprintf(out, "\ncalls:\n");
	for (size_t i = 0; i < c->calls_n; i++)
		fprintf(out, "  %-10s %s\n", c->calls[i]->name + strlen(c->name) + 1, c->calls[i]->summary);
	fprintf(out, "\noptions:\n");
	help_options(c->options, out);
	if (!c->no_database)
		help_options(db_options, out);
	help_options(common_options, out);
}

static size_t
count(const struct cli_option *o)
{
	size_t n = 0;

	while (o != NULL && o[n].name != NULL)
		n++;
	return n;
}

const struct cli_option *
cli_option_at(const struct cli_command *c, size_t n)
{
	const struct cli_option *const tables[] = { c->options, c->no_database ? NULL : db_options, common_options };

	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
		if (n < count(tables[i]))
			return &tables[i][n];
		n -= count(tables[i]);
	}
	return NULL;
}

static const struct cli_option *
find(const struct cli_command *c, const char *name, size_t len, char letter)
{
	const struct cli_option *o;

	for (size_t i = 0; (o = cli_option_at(c, i)) != NULL; i++)
		if (name != NULL ? strlen(o->name) == len && strncmp(o->name, name, len) == 0 : o->letter == letter)
			return o;
	return NULL;
}

static void
set(const struct cli_option *o, const char *value)
{
	const char **text = o->target;
	struct cli_values *values = o->target;

	if (o->kind == CLI_FLAG) {
		*(bool *)o->target = true;
	} else if (o->kind == CLI_EACH) {
		values->v = xreallocarray(values->v, values->n + 1, sizeof(*values->v));
		values->v[values->n++] = value;
	} else {
		*text = o->kind == CLI_LIST && *text != NULL ? xasprintf("%s,%s", *text, value) : value;
	}
}

/* One option at argv[i]; returns how many words it took. */
static int
take(const struct cli_command *c, int argc, char **argv, int i)
{
	const char *word = argv[i], *value = NULL;
	const struct cli_option *o;
	size_t len;

	if (word[1] == '-') {
		len = strcspn(word + 2, "=");
		o = find(c, word + 2, len, 0);
		if (o != NULL && word[2 + len] == '=')
			value = word + 2 + len + 1;
	} else {
		o = find(c, NULL, 0, word[1]);
		if (o != NULL && word[2] != '\0')
			value = word + 2;
	}
	if (o == NULL)
		cli_usage("%s: no such option", word);
	if (o->kind == CLI_FLAG && value != NULL)
		cli_usage("%s: --%s takes no value", word, o->name);
	if (o->kind != CLI_FLAG && value == NULL && i + 1 == argc)
		cli_usage("%s: %s is missing", word, o->argument);
	if (o->kind == CLI_FLAG || value != NULL) {
		set(o, value);
		return 1;
	}
	set(o, argv[i + 1]);
	return 2;
}

void
cli_options(const struct cli_command *c, int *argc, char **argv)
{
	int i = 1, kept = 1, end;

	for (end = 1; end < *argc && strcmp(argv[end], "--") != 0; end++)
		continue;
	if (c->takes_command && end < *argc) {
		cli_words = argv + end + 1;
		cli_words_n = *argc - end - 1;
		if (cli_words_n == 0)
			cli_usage("--: the command is missing");
	}
	while (i < end) {
		if (argv[i][0] == '-' && argv[i][1] != '\0')
			i += take(c, end, argv, i);
		else
			argv[kept++] = argv[i++];
	}
	for (i = end + 1; !c->takes_command && i < *argc; i++)
		argv[kept++] = argv[i];
	*argc = kept;
	if (!c->takes_command)
		argv[kept] = NULL;
	if (want_help) {
		cli_help(c, stdout);
		exit(cli_done(EX_OK));
	}
	if (want_version) {
		printf("pgconductor %s\n", PACKAGE_VERSION);
		exit(cli_done(EX_OK));
	}
}
