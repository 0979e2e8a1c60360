/*
 * pgconductor migrate. The cli process only.
 */
#include "config.h"

#include <stdlib.h>

#include "cli/cli.h"
#include "cli/migrate.h"
#include "common/buf.h"

static bool want_status, want_print;

static const struct cli_option options[] = {
	{ "status", 0, CLI_FLAG, &want_status, NULL, "only say what is installed: exit 0 when there is nothing to do, else 1" },
	{ "print", 0, CLI_FLAG, &want_print, NULL, "print the SQL instead of running it; needs no database" },
	{ .name = NULL }
};

static int
print_script(void)
{
	struct buf script;

	buf_init(&script);
	migrate_script(&script);
	cli_put_buf(stdout, &script);
	return cli_done(EX_OK);
}

static int
print_status(PGconn *conn)
{
	struct migrate_status status;
	int rc = migrate_look(conn, &status);

	if (rc != 0)
		return rc;
	if (status.installed == 0)
		printf("not installed; this program has version %d\n", status.known);
	else
		printf("version %d is installed; this program has version %d%s\n", status.installed, status.known,
		    status.installed == status.known && !status.current ? ", with other functions" : "");
	if (status.installed > status.known)
		return cli_done(EX_CONFIG);
	return cli_done(status.current ? EX_OK : 1);
}

static int
run(int argc, char **argv)
{
	struct migrate_status before;
	PGconn *conn;
	int rc;

	if (argc > 1)
		cli_usage("%s: unexpected argument", argv[1]);
	if (want_print)
		return print_script();
	conn = cli_connect(cli_conninfo(NULL));
	if (want_status) {
		rc = print_status(conn);
	} else if ((rc = migrate_apply(conn, &before)) == 0) {
		if (before.current)
			printf("nothing to do: version %d is installed\n", before.known);
		else if (before.installed == 0)
			printf("installed version %d\n", before.known);
		else if (before.installed < before.known)
			printf("upgraded from version %d to %d\n", before.installed, before.known);
		else
			printf("replaced the functions of version %d\n", before.known);
	}
	PQfinish(conn);
	return cli_done(rc);
}

const struct cli_command cmd_migrate = {
	.name = "migrate",
	.arguments = "[--status | --print] [--db URL]",
	.summary = "install or upgrade the schema in the database",
	.details = "Safe to run again, and from several places at once. `run` and `dev` do it too.\n"
	    "With --print a DBA can do it by psql where this role may not.\n",
	.options = options,
	.run = run,
};
