/*
 * The embedded SQL: what `migrate` runs and `migrate --print` prints, in this order:
 *
 *   sql_migrations   each one once; settings.schema_version is the number of the last one that was run
 *   sql_functions    functions and views, `create or replace`, whenever settings.functions_digest differs
 *   sql_finish       rights and partitions, after the functions
 *
 * Everything in one transaction, under the advisory lock SQL_LOCK_MIGRATE. Texts may hold several statements.
 */
#ifndef SQL_SQL_H
#define SQL_SQL_H

#include <stddef.h>

struct sql_file {
	const char *name;	/* file name without folder and ending, e.g. 0001_tables */
	const char *text;
	int number;		/* of a migration; 0 for the others */
};

extern const struct sql_file sql_migrations[];
extern const size_t sql_migrations_n;
extern const struct sql_file sql_functions[];
extern const size_t sql_functions_n;
extern const struct sql_file sql_finish[];
extern const size_t sql_finish_n;

extern const char sql_digest[];	/* of sql_functions and sql_finish, with their names */
extern const int sql_version;	/* number of the last migration */

/* Advisory locks have two integers: one of these classes, and what is locked. */
#define SQL_LOCK_MIGRATE	1346847488	/* 0 */
#define SQL_LOCK_NODE		1346847489	/* node id; held by its writer while the node is alive */
#define SQL_LOCK_SHARD		1346847490	/* shard id; held by the owner's writer */
#define SQL_LOCK_SLEEP		1346847491	/* node id; held by its sleeper while it sleeps */
#define SQL_LOCK_UPKEEP		1346847492	/* 0 */

#endif
