/*
 * pgconductor: the table of commands. One binary is the server, its workers and the command line; which of them this
 * process becomes is decided here.
 */
#include "config.h"

#include <locale.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "worker/worker.h"

const struct cli_command *const cli_commands[] = {
	&cmd_dev, &cmd_run, &cmd_check, &cmd_migrate, &cmd_register, &cmd_retire, &cmd_invoke, &cmd_emit, &cmd_cancel, &cmd_retry,
	&cmd_edit, &cmd_move, &cmd_discard,
	&cmd_schedule, &cmd_unschedule, &cmd_schedules, &cmd_pause, &cmd_resume, &cmd_set, &cmd_show, &cmd_logs,
	&cmd_list, &cmd_ps, &cmd_top, &cmd_queues, &cmd_tasks, &cmd_nodes, &cmd_ready, &cmd_conform,
	&cmd_gen, &cmd_new, &cmd_ctx, &cmd_completion,
};

const size_t cli_commands_n = sizeof(cli_commands) / sizeof(cli_commands[0]);

static void
usage(FILE *out)
{
	fprintf(out, "usage: pgconductor COMMAND [OPTION…] [ARGUMENT…]\n"
	    "Runs work that is queued in PostgreSQL.\n\ncommands:\n");
	for (size_t i = 0; i < cli_commands_n; i++)
		fprintf(out, "  %-10s %s\n", cli_commands[i]->name, cli_commands[i]->summary);
	fprintf(out, "\n`pgconductor COMMAND --help` says more about one; so does the manual, pgconductor(1).\n");
}

static const struct cli_command *
find(const char *name)
{
	for (size_t i = 0; i < cli_commands_n; i++)
		if (strcmp(cli_commands[i]->name, name) == 0)
			return cli_commands[i];
	return NULL;
}

/* One of its own commands, if that is what stands behind it; else itself. */
static const struct cli_command *
find_call(const struct cli_command *c, const char *name)
{
	for (size_t i = 0; name != NULL && i < c->calls_n; i++)
		if (strcmp(c->calls[i]->name + strlen(c->name) + 1, name) == 0)
			return c->calls[i];
	return c;
}

static int
help(int argc, char **argv)
{
	const struct cli_command *c;

	if (argc < 3) {
		usage(stdout);
		return cli_done(EX_OK);
	}
	if ((c = find(argv[2])) == NULL)
		cli_fail(EX_USAGE, "%s: no such command", argv[2]);
	cli_help(find_call(c, argc > 3 ? argv[3] : NULL), stdout);
	return cli_done(EX_OK);
}

int
main(int argc, char **argv)
{
	const struct cli_command *command;
	const char *name = argc > 1 ? argv[1] : NULL;

	if (name != NULL && strcmp(name, "_worker") == 0)
		return worker_main(argc - 1, argv + 1);
	/* Only characters: the width of what is printed depends on them, numbers and messages do not. */
	if (setlocale(LC_CTYPE, "C.UTF-8") == NULL)
		setlocale(LC_CTYPE, "");
	signal(SIGPIPE, SIG_IGN);
	if (name == NULL) {
		usage(stderr);
		return EX_USAGE;
	}
	if (strcmp(name, "help") == 0 || strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
		return help(argc, argv);
	if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0) {
		printf("pgconductor %s\n", PACKAGE_VERSION);
		return cli_done(EX_OK);
	}
	if ((command = find(name)) == NULL)
		cli_fail(EX_USAGE, "%s: no such command; `pgconductor --help` lists them", name);
	cli_current = find_call(command, argc > 2 ? argv[2] : NULL);
	argc -= cli_current == command ? 1 : 2;
	argv += cli_current == command ? 1 : 2;
	/* One that is not there has no options that could be known. */
	if (cli_current->calls_n == 0 || argc < 2 || argv[1][0] == '-')
		cli_options(cli_current, &argc, argv);
	return cli_current->run(argc, argv);
}
