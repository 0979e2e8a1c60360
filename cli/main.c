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
	&cmd_dev, &cmd_run, &cmd_check, &cmd_migrate, &cmd_register, &cmd_invoke, &cmd_cancel, &cmd_retry, &cmd_show, &cmd_logs,
	&cmd_list, &cmd_ps, &cmd_top, &cmd_queues, &cmd_tasks, &cmd_nodes, &cmd_ready, &cmd_conform, &cmd_completion,
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
	cli_help(c, stdout);
	return cli_done(EX_OK);
}

int
main(int argc, char **argv)
{
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
	if ((cli_current = find(name)) == NULL)
		cli_fail(EX_USAGE, "%s: no such command; `pgconductor --help` lists them", name);
	argc--;
	argv++;
	cli_options(cli_current, &argc, argv);
	return cli_current->run(argc, argv);
}
