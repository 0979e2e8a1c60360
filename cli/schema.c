/*
 * Payloads are held against their schemas before they are stored, so that a mistake is told at once and to whoever made it. The
 * cli process only.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "common/json.h"
#include "common/schema/schema.h"

/* What cannot be compiled was not declared by a program: those are asked for schemas that can. */
static struct schema *
compile(const PGresult *res, int row, int col, const char *name)
{
	char why[SCHEMA_WHY];
	struct schema *s;

	s = schema_compile(PQgetvalue(res, row, col), (size_t)PQgetlength(res, row, col), NULL, why);
	if (s == NULL)
		cli_fail(EX_DATAERR, "%s: the schema of its payload cannot be used: %s", name, why);
	return s;
}

struct schema *
cli_task_schema(PGconn *conn, const char *task)
{
	PGresult *res = cli_query(conn, "select s from pgconductor.payload_schema($1) s where s is not null", 1, &task);
	struct schema *s = PQntuples(res) > 0 ? compile(res, 0, 0, task) : NULL;

	PQclear(res);
	return s;
}

/* Of what is not JSON the database tells. */
bool
cli_complies(struct schema *s, const char *payload, size_t len, char *why)
{
	return s == NULL || json_check(payload, len, NULL, NULL) == -1 || schema_check(s, payload, len, why);
}

void
cli_check_task(PGconn *conn, const char *task, const char *payload)
{
	struct schema *s = cli_task_schema(conn, task);
	char why[SCHEMA_WHY];

	if (!cli_complies(s, payload, strlen(payload), why))
		cli_fail(EX_DATAERR, "%s: payload: %s", task, why);
	schema_free(s);
}

void
cli_check_event(PGconn *conn, const char *event, const char *payload)
{
	PGresult *res = cli_query(conn, "select program, schema from pgconductor.event_schemas($1)", 1, &event);
	char why[SCHEMA_WHY];

	for (int i = 0; i < PQntuples(res); i++) {
		struct schema *s = compile(res, i, 1, event);

		if (!cli_complies(s, payload, strlen(payload), why))
			cli_fail(EX_DATAERR, "%s: payload: %s (the schema is %s's)", event, why, PQgetvalue(res, i, 0));
		schema_free(s);
	}
	PQclear(res);
}
