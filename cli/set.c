/*
 * pgconductor set: options of a task, at run time. The cli process only.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "common/buf.h"
#include "common/json.h"

/* What is JSON is taken as it is, anything else as a text. */
static void
add_value(struct buf *out, const char *option, const char *value)
{
	const char *why;

	if (*value == '\0')
		buf_addstr(out, "null");
	else if (strcmp(value, "none") == 0)
		buf_addstr(out, "false");
	else if (json_check(value, strlen(value), NULL, &why) == 0)
		buf_addstr(out, value);
	else if (*value == '[' || *value == '{')
		cli_usage("%s: not JSON: %s", option, why);
	else
		json_quote(out, value, strlen(value));
}

/* Those after the name: OPTION=VALUE. */
static char *
options_json(int argc, char **argv)
{
	struct buf out;

	buf_init(&out);
	for (int i = 0; i < argc; i++) {
		const char *is = strchr(argv[i], '=');

		if (is == NULL || is == argv[i])
			cli_usage("%s: not OPTION=VALUE", argv[i]);
		buf_addstr(&out, i == 0 ? "{" : ", ");
		json_quote(&out, argv[i], (size_t)(is - argv[i]));
		buf_addstr(&out, ": ");
		add_value(&out, argv[i], is + 1);
	}
	buf_addstr(&out, "}");
	return buf_steal_str(&out);
}

static int
run_set(int argc, char **argv)
{
	const char *params[2];
	char *options;
	PGconn *conn;
	PGresult *res;
	int rc = EX_OK;

	if (argc < 2 || strcmp(argv[1], "task") != 0)
		cli_usage(argc < 2 ? "what is to be set is missing: task NAME OPTION=VALUE…" : "%s: not what can be set: task", argv[1]);
	if (argc < 4)
		cli_usage(argc < 3 ? "NAME is missing" : "OPTION=VALUE is missing");
	options = options_json(argc - 3, argv + 3);
	params[0] = argv[2];
	params[1] = options;
	conn = cli_connect(cli_conninfo(NULL));
	res = cli_query(conn, "select pgconductor.set_options($1, $2)", 2, params);
	if (cli_is_true(res, 0, 0)) {
		printf("task %s set\n", argv[2]);
	} else {
		cli_warn("%s: no program and no configuration has declared this task", argv[2]);
		rc = 1;
	}
	PQclear(res);
	PQfinish(conn);
	free(options);
	return cli_done(rc);
}

const struct cli_command cmd_set = {
	.name = "set",
	.arguments = "task NAME OPTION=VALUE…",
	.operand = "task",
	.summary = "change options of a task at run time: limits, retries, retention",
	.details = "Options are named as in a program's declaration in SQL: concurrency=5, timeout=30s, rate_limit='{\"limit\": 100}',\n"
	    "window='[\"09:00\", \"17:00\"]', queue=slow. They count before the configuration's and the program's, and stay whatever is\n"
	    "deployed. none: no such limit; nothing after the = sign: what the others say counts again. `tasks NAME` shows all.\n"
	    "Exits with 1 if there is no such task.\n",
	.run = run_set,
};
