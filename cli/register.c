/*
 * pgconductor register: declaring tasks without serving them. The cli process only.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/discover.h"
#include "common/buf.h"
#include "common/conf.h"
#include "common/xmalloc.h"

static const char *conf_path;

static const struct cli_option options[] = {
	{ "config", 'c', CLI_TEXT, &conf_path, "FILE", "the configuration (else " CONF_DEFAULT_PATH " if it is there)" },
	{ .name = NULL }
};

struct target {
	PGconn	*conn;
	char	*source;
	size_t	 n;
};

static void
declare(const char *name, const char *queue, const char *task_options, void *arg)
{
	struct target *t = arg;
	const char *params[] = { name, queue, task_options != NULL ? task_options : "{}", t->source };

	PQclear(cli_query(t->conn, "select pgconductor.declare_task($1, $2, $3::json, $4)", 4, params));
	t->n++;
}

static void
declare_program(struct target *t, const struct conf *conf, const struct conf_handler *h)
{
	t->source = xasprintf("code:%s", h->name);
	discover_tasks(conf, h, declare, t);
	free(t->source);
}

size_t
register_configured(PGconn *conn, const struct conf *conf)
{
	char source[] = "config";
	struct target t = { conn, source, 0 };
	struct buf text;
	char *json;

	for (size_t i = 0; i < conf->tasks_n; i++) {
		buf_init(&text);
		conf_task_options(conf->tasks[i], &text);
		json = buf_steal_str(&text);
		declare(conf->tasks[i]->name, conf->tasks[i]->queue, json, &t);
		free(json);
	}
	return t.n;
}

static int
run(int argc, char **argv)
{
	struct target t = { NULL, NULL, 0 };
	struct conf *conf;

	if (argc > 1)
		cli_usage("%s: unexpected argument; a command stands behind --", argv[1]);
	conf = cli_load_conf(conf_path, cli_words_n == 0);
	if (conf->path == NULL && cli_words_n == 0)
		cli_usage("nothing to register: give a configuration with -c, or a command behind --");
	if (cli_words_n > 0)
		conf_set_command(conf, cli_words);
	t.conn = cli_connect(cli_conninfo(conf));
	PQclear(cli_query(t.conn, "begin", 0, NULL));
	t.n = register_configured(t.conn, conf);
	for (size_t i = 0; i < conf->handlers_n; i++)
		declare_program(&t, conf, conf->handlers[i]);
	PQclear(cli_query(t.conn, "commit", 0, NULL));
	printf("%zu tasks declared\n", t.n);
	PQfinish(t.conn);
	conf_free(conf);
	return cli_done(EX_OK);
}

const struct cli_command cmd_register = {
	.name = "register",
	.arguments = "[-c FILE] [--db URL] [-- CMD…]",
	.summary = "declare tasks without serving them",
	.details = "Those of the configuration, and those that its handlers or CMD announce: each program is started\n"
	    "and asked. Afterwards they can be invoked; what is invoked waits until somebody serves them.\n",
	.options = options,
	.takes_command = true,
	.run = run,
};
