/*
 * One connection to PostgreSQL: non-blocking, in pipeline mode, reconnecting by itself.
 *
 * A call is one prepared statement in a transaction of its own. Its answer comes to the callback given, in the order
 * of the calls: rows, or an error with its SQLSTATE, or the loss of the connection; these are three different outcomes.
 */
#ifndef MASTER_DB_H
#define MASTER_DB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "master/param.h"

struct event_base;
struct evdns_base;
struct db;
struct pg_result;

/* One statement; static, its address is its identity. Every parameter is cast in the text, so that types are inferred. */
struct db_stmt {
	const char	*name;
	const char	*text;
};

enum db_outcome { DB_OK, DB_ERROR, DB_LOST };

/* An answer; everything it points to is gone when the callback returns. */
struct db_answer {
	enum db_outcome	 outcome;
	const char	*sqlstate;	/* DB_ERROR: five characters */
	const char	*message;	/* DB_ERROR, DB_LOST: one line */
	const char	*primary;	/* DB_ERROR: without what belongs to it */
	int		 rows;		/* DB_OK */
	const struct pg_result *res;
};

typedef void (*db_answer_cb)(const struct db_answer *, void *arg);

struct db_owner {
	/* The session is set up and calls are taken from now on. */
	void	(*up)(struct db *, void *arg);
	/* The connection is gone; the calls under way have been answered with DB_LOST. A new one is being made. */
	void	(*down)(struct db *, const char *why, void *arg);
	/* NOTIFY arrived; may be NULL. */
	void	(*notify)(struct db *, const char *channel, const char *payload, void *arg);
	/* The server can never be used like this (a pooler in between, a wrong schema): the text says what to do. */
	void	(*refuse)(struct db *, const char *why, void *arg);
};

struct db_options {
	struct event_base	*base;
	struct evdns_base	*dns;
	const char		*role;		/* as setup_session knows it; static */
	const char		*conninfo;	/* borrowed for the life of the connection */
	int			 timeout_ms;	/* takeover_timeout */
	const char		*listen;	/* a statement run before up(), e.g. LISTEN; NULL for none; copied */
	const struct db_owner	*owner;
	void			*arg;
};

struct db *db_new(const struct db_options *);
/* Ends the connection; calls under way are dropped without an answer. */
void	db_free(struct db *);
bool	db_ready(const struct db *);
/* Calls sent and not yet answered, and for how long the first of them has waited. */
size_t	db_pending(const struct db *);
int64_t	db_waiting_ms(const struct db *);
/* Since when it is not known that the server was there: how long ago what it has answered last was sent. */
int64_t	db_heard_ms(const struct db *);
int	db_backend_pid(const struct db *);
/* Breaks the connection, as if it had been lost. */
void	db_drop(struct db *, const char *why);

/* params may be NULL; it is read before the call returns. Without a connection the answer is DB_LOST, at once. */
void	db_call(struct db *, const struct db_stmt *, const struct params *, db_answer_cb, void *arg);

/* The same for a statement made at run time: one statement, without parameters, not prepared. */
void	db_exec(struct db *, const char *text, db_answer_cb, void *arg);

/* Binary values of an answer; the column's type is the caller's knowledge. */
bool	 db_null(const struct db_answer *, int row, int col);
int32_t	 db_int4(const struct db_answer *, int row, int col);
int64_t	 db_int8(const struct db_answer *, int row, int col);
uint64_t db_xid8(const struct db_answer *, int row, int col);
bool	 db_bool(const struct db_answer *, int row, int col);
/* NUL-terminated; length may be NULL. */
const char *db_text(const struct db_answer *, int row, int col, size_t *length);

#endif
