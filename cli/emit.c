/*
 * pgconductor emit. The cli process only.
 */
#include "config.h"

#include <stdlib.h>

#include "cli/cli.h"

static int
run(int argc, char **argv)
{
	const char *params[2] = { NULL, "null" };
	char *payload = NULL;
	PGconn *conn;
	PGresult *res;

	if (argc < 2)
		cli_usage("EVENT is missing");
	if (argc > 3)
		cli_usage("%s: unexpected argument", argv[3]);
	params[0] = argv[1];
	if (argc > 2)
		params[1] = payload = cli_read_payload(argv[2]);
	conn = cli_connect(cli_conninfo(NULL));
	cli_check_event(conn, params[0], params[1]);
	res = cli_query(conn, "select pgconductor.emit($1, $2::text)", 2, params);
	printf("%s\n", PQgetvalue(res, 0, 0));
	PQclear(res);
	PQfinish(conn);
	free(payload);
	return cli_done(EX_OK);
}

const struct cli_command cmd_emit = {
	.name = "emit",
	.arguments = "EVENT [JSON | - | @FILE]",
	.summary = "say that something has happened; print the event's id",
	.details = "Starts the tasks that are subscribed to this event, and resumes the executions that wait for it. The payload is\n"
	    "JSON text, - to read it from stdin, or @FILE; null if left out.\n",
	.run = run,
};
