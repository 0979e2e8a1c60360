/*
 * pgconductor gen: source text of what a database has: types of its tables, and of its tasks and events. The cli process only.
 *
 * The text is made in SQL (generate_types, generate_tasks), as the package for Node has no program to ask.
 */
#include "config.h"

#include <string.h>

#include "cli/cli.h"

#define LANGUAGES	"typescript|python"

static const char *schemas;

static const struct cli_option types_options[] = {
	{ "schemas", 0, CLI_LIST, &schemas, "S", "the schemas, with commas between them; public unless given" },
	{ .name = NULL }
};

static const char *
language(int argc, char **argv)
{
	if (argc < 2)
		cli_usage("the language is missing: typescript or python");
	if (argc > 2)
		cli_usage("%s: unexpected argument", argv[2]);
	if (strcmp(argv[1], "typescript") != 0 && strcmp(argv[1], "python") != 0)
		cli_usage("%s: neither typescript nor python", argv[1]);
	return argv[1];
}

static int
print(const char *sql, int n, const char *const *params)
{
	PGconn *conn = cli_connect(cli_conninfo(NULL));
	PGresult *res = cli_query(conn, sql, n, params);

	fputs(PQgetvalue(res, 0, 0), stdout);
	PQclear(res);
	PQfinish(conn);
	return cli_done(EX_OK);
}

static int
run_types(int argc, char **argv)
{
	const char *params[] = { language(argc, argv), schemas != NULL ? schemas : "public" };

	return print("select pgconductor.generate_types($1, array(select trim(s) from unnest(string_to_array($2, ',')) s))", 2, params);
}

static int
run_tasks(int argc, char **argv)
{
	const char *params[] = { language(argc, argv) };

	return print("select pgconductor.generate_tasks($1)", 1, params);
}

static const struct cli_command gen_types = {
	.name = "gen types",
	.arguments = "typescript | python [--schemas S]",
	.operand = LANGUAGES,
	.summary = "print types for the rows of tables and views, for enums and composite types",
	.details = "For TypeScript a type Database, for DatabaseSchema.fromGeneratedTypes; for Python TypedDicts. Values are what JSON\n"
	    "makes of them, as in the payloads of changes.\n",
	.options = types_options,
	.run = run_types,
};

static const struct cli_command gen_tasks = {
	.name = "gen tasks",
	.arguments = "typescript | python",
	.operand = LANGUAGES,
	.summary = "print types for the payloads and results of tasks, and for events",
	.details = "Of all tasks that can be invoked and all events that programs know, with what their schemas say: for a client that\n"
	    "does not have the code of these.\n",
	.run = run_tasks,
};

static int
run(int argc, char **argv)
{
	if (argc < 2)
		cli_usage("what is missing: types or tasks");
	cli_fail(EX_USAGE, "%s: neither types nor tasks", argv[1]);
}

static const struct cli_command *const calls[] = { &gen_types, &gen_tasks };

const struct cli_command cmd_gen = {
	.name = "gen",
	.arguments = "types | tasks …",
	.summary = "print types of the database's tables, or of its tasks and events",
	.details = "Into a file of the program that uses them.\n",
	.calls = calls,
	.calls_n = sizeof(calls) / sizeof(calls[0]),
	.run = run,
};
