/*
 * pgconductor check, and loading the configuration for the other commands. The cli process only.
 */
#include "config.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "common/conf.h"
#include "common/conf_table.h"
#include "common/json.h"

static const char *conf_path;
static bool want_options, json;

static const struct cli_option options[] = {
	{ "config", 'c', CLI_TEXT, &conf_path, "FILE", "the configuration (else " CONF_DEFAULT_PATH ")" },
	{ "options", 0, CLI_FLAG, &want_options, NULL, "list every option with its type, default and when it takes effect" },
	{ "json", 0, CLI_FLAG, &json, NULL, "with --options: as lines of JSON" },
	{ .name = NULL }
};

static void
print_messages(char *const *v, size_t n, const char *kind)
{
	for (size_t i = 0; i < n; i++)
		fprintf(stderr, "pgconductor: %s%s\n", kind, v[i]);
}

struct conf *
cli_load_conf(const char *path, bool defaults)
{
	struct conf_errors errors;
	struct conf *conf;

	if (path == NULL && defaults && access(CONF_DEFAULT_PATH, F_OK) == 0)
		path = CONF_DEFAULT_PATH;
	conf_errors_init(&errors);
	conf = conf_load(path, &errors);
	print_messages(errors.warnings, errors.warnings_n, "warning: ");
	print_messages(errors.v, errors.n, "");
	conf_errors_free(&errors);
	if (conf == NULL)
		exit(EX_CONFIG);
	return conf;
}

static void
warn_at(const struct conf_place *place, const char *what, const char *name, const char *option, const char *value, const char *why)
{
	fprintf(stderr, "pgconductor: warning: %s:%d: %s \"%s\": %s \"%s\" %s\n", place->file, place->line, what, name, option,
	    value, why);
}

/* What the file names on this machine. Only warnings: the server may be meant to run on another one. */
static void
check_machine(const struct conf *conf)
{
	const struct conf_queue *q;
	const struct conf_handler *h;

	for (size_t i = 0; i < conf->queues_n; i++) {
		q = conf->queues[i];
		if (q->user != NULL && getpwnam(q->user) == NULL)
			warn_at(&q->place, "queue", q->name, "user", q->user, "does not exist here");
		if (q->group != NULL && getgrnam(q->group) == NULL)
			warn_at(&q->place, "queue", q->name, "group", q->group, "does not exist here");
		if (q->directory != NULL && access(q->directory, F_OK) == -1)
			warn_at(&q->place, "queue", q->name, "directory", q->directory, "does not exist here");
	}
	for (size_t i = 0; i < conf->handlers_n; i++) {
		h = conf->handlers[i];
		if (h->directory != NULL && access(h->directory, F_OK) == -1)
			warn_at(&h->place, "handler", h->name, "directory", h->directory, "does not exist here");
	}
}

static void
put_member(struct buf *out, const char *name, const char *value)
{
	buf_addf(out, "%s\"%s\":", out->len == 0 ? "{" : ",", name);
	if (value != NULL)
		json_quote(out, value, strlen(value));
	else
		buf_addstr(out, "null");
}

static void
list_options_json(void)
{
	const struct conf_section *s;
	const struct conf_option *o;
	struct buf out;

	buf_init(&out);
	for (s = conf_sections; s->name != NULL; s++)
		for (o = s->options; o->name != NULL; o++) {
			put_member(&out, "section", *s->name != '\0' ? s->name : "top");
			put_member(&out, "option", o->name);
			put_member(&out, "type", conf_type_name(o->type));
			put_member(&out, "default", o->def);
			put_member(&out, "effect", o->reloadable ? "reload" : "restart");
			buf_addstr(&out, "}\n");
			cli_put_buf(stdout, &out);
		}
}

static void
list_options(void)
{
	const struct conf_section *s;
	const struct conf_option *o;

	printf("%-9s%-20s%-26s%-14s%s\n", "section", "option", "type", "default", "takes effect");
	for (s = conf_sections; s->name != NULL; s++)
		for (o = s->options; o->name != NULL; o++)
			printf("%-9s%-20s%-26s%-14s%s\n", *s->name != '\0' ? s->name : "top", o->name, conf_type_name(o->type),
			    o->def != NULL ? o->def : "-", o->reloadable ? "reload" : "restart");
}

static int
run(int argc, char **argv)
{
	struct conf *conf;

	if (argc > 1)
		cli_usage("%s: unexpected argument; the file is given by -c", argv[1]);
	if (json && !want_options)
		cli_usage("--json goes with --options");
	if (want_options) {
		if (json)
			list_options_json();
		else
			list_options();
		return cli_done(EX_OK);
	}
	if (conf_path == NULL && access(CONF_DEFAULT_PATH, F_OK) == -1)
		cli_fail(EX_CONFIG, "%s: %s; name another file with -c", CONF_DEFAULT_PATH, strerror(errno));
	conf = cli_load_conf(conf_path, true);
	check_machine(conf);
	printf("%s: %zu queues, %zu handlers, %zu tasks, no errors\n", conf->path, conf->queues_n, conf->handlers_n, conf->tasks_n);
	conf_free(conf);
	return cli_done(EX_OK);
}

const struct cli_command cmd_check = {
	.name = "check",
	.arguments = "[-c FILE | --options [--json]]",
	.summary = "test a configuration",
	.details = "Prints each mistake as file:line and exits with 78 if there is any. Warnings do not count.\n",
	.options = options,
	.no_database = true,
	.run = run,
};
