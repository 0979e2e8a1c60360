/*
 * Installing and upgrading the schema. What is run and what --print shows is the same script, so that a DBA's run does
 * exactly what the program's would do: one transaction under an advisory lock, each migration once, the functions when
 * they differ. The cli process only; blocking.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/migrate.h"
#include "common/buf.h"
#include "common/xmalloc.h"
#include "sql/sql.h"

static const char look_sql[] =
    "select coalesce((select s.value::int from pgconductor.settings s where s.name = 'schema_version'), 0),"
    " (select s.value from pgconductor.settings s where s.name = 'functions_digest')";

/* A DO block that runs text when condition holds; EXECUTE, so that the text is not even parsed otherwise. */
static void
add_guarded(struct buf *out, const char *tag, const char *condition, const struct sql_file *files, size_t n)
{
	buf_addf(out, "do $pgconductor_do$\nbegin\n    if %s then\n        execute $pgconductor_%s$\n", condition, tag);
	for (size_t i = 0; i < n; i++) {
		buf_addf(out, "-- %s\n", files[i].name);
		buf_addstr(out, files[i].text);
		buf_addstr(out, "\n");
	}
	buf_addf(out, "$pgconductor_%s$;\n    end if;\nend\n$pgconductor_do$;\n\n", tag);
}

static void
add_version_check(struct buf *out)
{
	buf_addf(out,
	    "do $pgconductor_do$\n"
	    "begin\n"
	    "    if to_regclass('pgconductor.settings') is null then\n"
	    "        perform set_config('pgconductor.installed', '0', true);\n"
	    "        perform set_config('pgconductor.digest', '', true);\n"
	    "    else\n"
	    "        perform set_config('pgconductor.installed', coalesce((select value from pgconductor.settings\n"
	    "            where name = 'schema_version'), '0'), true);\n"
	    "        perform set_config('pgconductor.digest', coalesce((select value from pgconductor.settings\n"
	    "            where name = 'functions_digest'), ''), true);\n"
	    "    end if;\n"
	    "    if current_setting('pgconductor.installed')::int > %d then\n"
	    "        raise exception using errcode = 'PC007', message = format('pgconductor.migrate: the schema has version %%s,"
	    " this program knows %d', current_setting('pgconductor.installed')),\n"
	    "            hint = 'Use a newer pgconductor.';\n"
	    "    end if;\n"
	    "end\n"
	    "$pgconductor_do$;\n\n", sql_version, sql_version);
}

void
migrate_script(struct buf *out)
{
	char condition[256];

	buf_addf(out, "-- The schema of pgconductor %s, version %d. Does nothing where it is installed already.\n", PACKAGE_VERSION,
	    sql_version);
	buf_addf(out, "begin;\nset local client_min_messages = notice;\nset local check_function_bodies = off;\n"
	    "set local search_path = pg_catalog, pg_temp;\nselect pg_advisory_xact_lock(%d, 0);\n\n", SQL_LOCK_MIGRATE);
	add_version_check(out);
	for (size_t i = 0; i < sql_migrations_n; i++) {
		snprintf(condition, sizeof(condition), "current_setting('pgconductor.installed')::int < %d", sql_migrations[i].number);
		add_guarded(out, sql_migrations[i].name, condition, &sql_migrations[i], 1);
	}
	snprintf(condition, sizeof(condition), "current_setting('pgconductor.digest') <> '%s'", sql_digest);
	add_guarded(out, "functions", condition, sql_functions, sql_functions_n);
	add_guarded(out, "finish", condition, sql_finish, sql_finish_n);
	buf_addf(out, "insert into pgconductor.settings (name, value)\n"
	    "values ('schema_version', '%d'), ('functions_digest', '%s')\n"
	    "on conflict (name) do update set value = excluded.value where settings.value <> excluded.value;\n"
	    "commit;\n", sql_version, sql_digest);
}

static int
look_error(PGconn *conn, PGresult *res)
{
	const char *state = PQresultErrorField(res, PG_DIAG_SQLSTATE);
	int status = 0;

	/* Neither schema nor table: nothing is installed. */
	if (state == NULL || (strcmp(state, "42P01") != 0 && strcmp(state, "3F000") != 0))
		status = cli_db_error(conn, res);
	PQclear(res);
	return status;
}

int
migrate_look(PGconn *conn, struct migrate_status *status)
{
	PGresult *res;

	memset(status, 0, sizeof(*status));
	status->known = sql_version;
	res = PQexec(conn, look_sql);
	if (PQresultStatus(res) != PGRES_TUPLES_OK)
		return look_error(conn, res);
	status->installed = (int)strtol(PQgetvalue(res, 0, 0), NULL, 10);
	status->current = status->installed == sql_version && strcmp(PQgetvalue(res, 0, 1), sql_digest) == 0;
	PQclear(res);
	return 0;
}

/* What the script says to a person, and nothing of PostgreSQL's own chatter. */
static void
on_notice(void *arg, const PGresult *res)
{
	const char *message = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);
	const char *hint = PQresultErrorField(res, PG_DIAG_MESSAGE_HINT);

	(void)arg;
	if (message == NULL || strncmp(message, "pgconductor: ", 13) != 0)
		return;
	cli_warn("%s", message + 13);
	if (hint != NULL)
		fprintf(stderr, "hint: %s\n", hint);
}

int
migrate_apply(PGconn *conn, struct migrate_status *before)
{
	struct buf script;
	PQnoticeReceiver receiver;
	PGresult *res;
	char *text;
	int status = migrate_look(conn, before);

	if (status != 0 || before->current)
		return status;
	buf_init(&script);
	migrate_script(&script);
	text = buf_steal_str(&script);
	receiver = PQsetNoticeReceiver(conn, on_notice, NULL);
	res = PQexec(conn, text);
	if (PQresultStatus(res) != PGRES_COMMAND_OK) {
		status = cli_db_error(conn, res);
		PQclear(PQexec(conn, "rollback"));
	}
	PQclear(res);
	PQsetNoticeReceiver(conn, receiver, NULL);
	free(text);
	return status;
}
