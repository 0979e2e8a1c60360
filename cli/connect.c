/*
 * The command line: which database is meant, connecting to it and asking it. The cli process only; blocking.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/devdb.h"
#include "common/conf.h"
#include "common/xmalloc.h"

extern char **environ;

/* Variables by which libpq is told where to connect to; others, like PGAPPNAME, say nothing about that. */
static const char *const pg_variables[] = {
	"PGHOST", "PGHOSTADDR", "PGPORT", "PGDATABASE", "PGUSER", "PGSERVICE", "PGSERVICEFILE",
};

static bool
pg_variables_set(void)
{
	for (size_t i = 0; i < sizeof(pg_variables) / sizeof(pg_variables[0]); i++)
		if (getenv(pg_variables[i]) != NULL)
			return true;
	return false;
}

/* Takes the bare name of a database too, as psql does. */
static const char *
as_conninfo(const char *s)
{
	char *out, *p;

	if (strncmp(s, "postgres://", 11) == 0 || strncmp(s, "postgresql://", 13) == 0 || strchr(s, '=') != NULL || *s == '\0')
		return s;
	p = out = xmalloc(2 * strlen(s) + 16);
	p = stpcpy(p, "dbname='");
	for (; *s != '\0'; s++) {
		if (*s == '\'' || *s == '\\')
			*p++ = '\\';
		*p++ = *s;
	}
	strcpy(p, "'");
	return out;
}

/* As --db, for a program that starts this one: everybody can read arguments. Handlers do not inherit it. */
static const char *
named_by_starter(void)
{
	static char *url;
	const char *s = getenv("PGCONDUCTOR_DB");

	if (url == NULL && s != NULL && *s != '\0')
		url = xstrdup(s);
	unsetenv("PGCONDUCTOR_DB");
	return url;
}

const char *
cli_find_conninfo(const struct conf *conf, const char **why)
{
	const char *url = getenv("DATABASE_URL"), *named = named_by_starter();
	char *found;
	bool running;

	if (cli_db != NULL || named != NULL)
		return as_conninfo(cli_db != NULL ? cli_db : named);
	if (conf != NULL && conf->database != NULL)
		return as_conninfo(conf->database);
	if (url != NULL && *url != '\0')
		return as_conninfo(url);
	if (pg_variables_set())
		return "";
	if ((found = devdb_find(&running)) == NULL)
		return "";
	*why = "the dev server of this directory is not running; start it with `pgconductor dev`, or name a database with --db";
	return running ? found : NULL;
}

const char *
cli_conninfo(const struct conf *conf)
{
	const char *why, *found = cli_find_conninfo(conf, &why);

	if (found == NULL)
		cli_fail(EX_UNAVAILABLE, "%s", why);
	return found;
}

static char *
one_line(const char *s)
{
	char *out = xstrdup(s);
	size_t n = strlen(out);

	while (n > 0 && out[n - 1] == '\n')
		out[--n] = '\0';
	for (char *p = out; *p != '\0'; p++)
		if (*p == '\n' || *p == '\t')
			*p = ' ';
	return out;
}

PGconn *
cli_try_connect(const char *conninfo, char **why)
{
	char *name = xasprintf("pgconductor %s", cli_current->name);
	const char *const keys[] = { "dbname", "fallback_application_name", "client_encoding", NULL };
	const char *const values[] = { conninfo, name, "UTF8", NULL };
	PGconn *conn = PQconnectdbParams(keys, values, 1);

	free(name);
	*why = NULL;
	if (PQstatus(conn) == CONNECTION_OK)
		return conn;
	*why = one_line(PQerrorMessage(conn));
	PQfinish(conn);
	return NULL;
}

/* Notices are for psql's users: "relation already exists, skipping" helps nobody here. */
static void
ignore_notice(void *arg, const char *message)
{
	(void)arg;
	(void)message;
}

PGconn *
cli_connect(const char *conninfo)
{
	char *why;
	PGconn *conn = cli_try_connect(conninfo, &why);

	if (conn == NULL)
		cli_fail(EX_UNAVAILABLE, "database: %s", why);
	PQsetNoticeProcessor(conn, ignore_notice, NULL);
	return conn;
}

static int
status_of(const char *state)
{
	static const struct {
		const char	*prefix;
		int		 status;
	} classes[] = {
		{ "PC007", EX_CONFIG }, { "PC", EX_DATAERR }, { "22", EX_DATAERR }, { "42501", EX_NOPERM }, { "28", EX_NOPERM },
		{ "3F000", EX_CONFIG }, { "42P01", EX_CONFIG }, { "42883", EX_CONFIG }, { "08", EX_UNAVAILABLE },
		{ "53", EX_UNAVAILABLE }, { "57", EX_UNAVAILABLE }, { "40", EX_TEMPFAIL }, { "55P03", EX_TEMPFAIL },
		{ "25006", EX_UNAVAILABLE },
	};

	for (size_t i = 0; i < sizeof(classes) / sizeof(classes[0]); i++)
		if (strncmp(state, classes[i].prefix, strlen(classes[i].prefix)) == 0)
			return classes[i].status;
	return EX_SOFTWARE;
}

int
cli_db_error(PGconn *conn, const PGresult *res)
{
	const char *state = res != NULL ? PQresultErrorField(res, PG_DIAG_SQLSTATE) : NULL;
	const char *message = res != NULL ? PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY) : NULL;
	const char *detail = res != NULL ? PQresultErrorField(res, PG_DIAG_MESSAGE_DETAIL) : NULL;
	const char *hint = res != NULL ? PQresultErrorField(res, PG_DIAG_MESSAGE_HINT) : NULL;
	char *own;
	int status;

	if (state == NULL || message == NULL) {
		own = one_line(PQerrorMessage(conn));
		cli_warn("database: %s", own);
		free(own);
		return EX_UNAVAILABLE;
	}
	status = status_of(state);
	own = xasprintf("pgconductor.%s: ", cli_current->name);
	if (strncmp(message, own, strlen(own)) == 0)
		message += strlen(own);
	free(own);
	if (status == EX_CONFIG && strncmp(state, "PC", 2) != 0) {
		cli_warn("database: %s", message);
		fprintf(stderr, "hint: install or upgrade the schema with `pgconductor migrate`\n");
		return status;
	}
	cli_warn("%s", message);
	if (detail != NULL)
		fprintf(stderr, "detail: %s\n", detail);
	if (hint != NULL)
		fprintf(stderr, "hint: %s\n", hint);
	return status;
}

PGresult *
cli_query(PGconn *conn, const char *sql, int n, const char *const *params)
{
	PGresult *res = PQexecParams(conn, sql, n, NULL, params, NULL, NULL, 0);
	ExecStatusType status = PQresultStatus(res);

	if (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK)
		return res;
	fflush(stdout);
	exit(cli_db_error(conn, res));
}

bool
cli_is_true(const PGresult *res, int row, int col)
{
	return !PQgetisnull(res, row, col) && strcmp(PQgetvalue(res, row, col), "t") == 0;
}

const char *
cli_id(const char *s)
{
	size_t digits = strspn(s, "0123456789");

	if (digits == 0 || digits > 19 || s[digits] != '\0')
		cli_usage("%s: not an execution's id (a number)", s);
	return s;
}
