/*
 * The command line: what its files share. Private to cli/.
 *
 *	main.c		the table of commands
 *	ctx*.c		what a one-shot command may call
 *	gen.c		source text made of what the database has;  new.c  a task to begin with
 *	options.c	options, --help and messages
 *	connect.c	which database, and asking it
 *	table.c grid.c	tables for people, JSON lines for programs
 *	filter.c	choosing executions;  select.c  doing something to them
 *	error.c		errors of executions
 *	progress.c	how far something has got;  screen.c  a whole terminal
 *	migrate.c	installing the schema
 *	devdb.c devpg.c	the private PostgreSQL;  watch.c  files that change
 */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sysexits.h>

#include <libpq-fe.h>

struct buf;
struct conf;

/* ---- options.c ---- */

/* Given several times, the values of CLI_LIST are joined by commas, those of CLI_EACH kept apart. */
enum cli_option_kind { CLI_FLAG, CLI_TEXT, CLI_LIST, CLI_EACH };

struct cli_values {
	const char	**v;
	size_t		  n;
};

struct cli_option {
	const char		*name;		/* without the dashes */
	char			 letter;	/* or 0 */
	enum cli_option_kind	 kind;
	void			*target;	/* bool *, const char **, or struct cli_values * */
	/* What --help calls its value; FILE, TASK, Q and STATE are known to completion too. */
	const char		*argument;
	const char		*help;
};

struct cli_command {
	const char		*name;
	const char		*arguments;	/* after the name, for the usage line */
	const char		*summary;	/* one line */
	const char		*details;	/* more, for --help; or NULL */
	const struct cli_option	*options;	/* ends with name NULL; or NULL */
	const char		*operand;	/* what its arguments are, as for options, or words to choose from: "a|b"; or NULL */
	const char		*states;	/* those that STATE may be, with blanks between them */
	bool			 takes_command;	/* "-- CMD" */
	bool			 no_database;	/* --db means nothing to it */
	/* Commands of its own: the names of those begin with its, and a blank. */
	const struct cli_command *const *calls;
	size_t			 calls_n;
	int			(*run)(int argc, char **argv);	/* what is left after the options */
};

extern const struct cli_command *const cli_commands[];	/* main.c; cli_commands_n of them */
extern const size_t cli_commands_n;
extern const char *cli_db;			/* --db */
extern const struct cli_command *cli_current;
/* The words after "--" of a command that takes some; cli_words_n is 0 without. */
extern char **cli_words;
extern int cli_words_n;

/* Takes the options out of argv (argv[0] is the command's name); exits after --help, --version or a mistake. */
void	cli_options(const struct cli_command *, int *argc, char **argv);
void	cli_help(const struct cli_command *, FILE *);
/* The n-th option of a command, those that all commands have included; NULL: there are no more. */
const struct cli_option *cli_option_at(const struct cli_command *, size_t n);
/* A duration given to this option; exits when it is none. */
int64_t	cli_duration(const char *option, const char *value);
/* A priority, likewise. */
int	cli_priority(const char *option, const char *value);
/* What --metadata says, as JSON; NULL: nothing. Never freed. */
const char *cli_metadata(const struct cli_values *);
/* One line on stderr: "pgconductor: command: text". */
void	cli_warn(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void	cli_fail(int status, const char *fmt, ...) __attribute__((format(printf, 2, 3), noreturn));
/* Also says how to get help. */
void	cli_usage(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));
/* A file to read, - being stdin; exits when it cannot be opened. */
FILE	*cli_open_input(const char *path);
/* The monotonic clock. */
int64_t	cli_now_ms(void);
void	cli_pause_ms(int64_t);
/* Flushes stdout; a full disk or a closed pipe must not look like success. */
int	cli_done(int status);

/* ---- connect.c ---- */

/* The connection string to use; conf may be NULL. Never freed. Exits when the dev server found here does not run. */
const char *cli_conninfo(const struct conf *);
/* The same, but NULL and *why (a constant) instead of an exit. */
const char *cli_find_conninfo(const struct conf *, const char **why);
/* Connected, or exits with 69. */
PGconn	*cli_connect(const char *conninfo);
/* NULL and *why (freed by the caller) when it cannot be reached. */
PGconn	*cli_try_connect(const char *conninfo, char **why);
/* Rows, or exits with the status that the error's SQLSTATE stands for. Parameters are text; NULL is null. */
PGresult *cli_query(PGconn *, const char *sql, int n, const char *const *params);
/* Prints what went wrong and returns the exit status. */
int	cli_db_error(PGconn *, const PGresult *);
bool	cli_is_true(const PGresult *, int row, int col);
/* Checks and returns an id given on the command line. */
const char *cli_id(const char *);

/* ---- table.c ---- */

/*
 * Prints rows as a table: one column for each of the result's, numbers to the right. Control characters are escaped.
 * On a terminal a last column that does not fit is cut. Of a column "error" its code, type and message are shown.
 */
void	cli_table(const PGresult *, const char *nothing);

/* One line for each row of a result with a single column of JSON. */
void	cli_json_lines(const PGresult *);
/* Name and value below each other, of the first row; of a column "error" the stack too. */
void	cli_record(const PGresult *);
/* One line of JSON. For a terminal, what could do something to it is written as \u escapes: the same JSON. */
void	cli_put_json(const char *);
/* Writes what a buffer holds, and frees it. */
void	cli_put_buf(FILE *, struct buf *);
/* Writes text so that it can do nothing to a terminal; newlines too are escaped. */
void	cli_put_clean(FILE *, const char *, size_t len);
/*
 * Runs a query that is written once for both: cli_table of it, or with json row_to_json of it. Returns the number of
 * rows.
 */
int	cli_report(PGconn *, bool json, const char *sql, int n, const char *const *params, const char *nothing);

/* ---- invoke.c ---- */

/* The payload as given: JSON, - for stdin, or @FILE. The caller frees it. */
char	*cli_read_payload(const char *arg);

/* ---- schema.c: before something is stored ---- */

struct schema;

/* Exits when the payload does not comply with the schema of the task, or those of the event. */
void	cli_check_task(PGconn *, const char *task, const char *payload);
void	cli_check_event(PGconn *, const char *event, const char *payload);
/* For several payloads: NULL if there is none; schema_free. If one does not comply, the reason of SCHEMA_WHY bytes. */
struct schema *cli_task_schema(PGconn *, const char *task);
bool	cli_complies(struct schema *, const char *payload, size_t len, char *why);

/* ---- error.c ---- */

/* The string under a key of a JSON object, or NULL; and "code: type: message" of an error. The caller frees them. */
char	*cli_json_get(const char *json, const char *key);
char	*cli_error_text(const char *json);
/* The text that a JSON string stands for, NULL if it is none; \u0000 and lone surrogates stay escapes. The caller frees it. */
char	*cli_json_text(const char *json);
/* Calls the function with each name and value of a JSON object; false if it is none. */
bool	cli_json_members(const char *json, void (*)(const char *name, const char *value, void *arg), void *arg);

/* ---- config.c ---- */

/* Loads the file of -c, else the default one if it is there, else none; exits 78 with its errors. */
struct conf *cli_load_conf(const char *path, bool defaults);

/* ---- register.c ---- */

/* Declares the tasks of the configuration; what is wrong with them is told. */
void	register_configured(PGconn *, const struct conf *);

/* ---- the commands ---- */

extern const struct cli_command cmd_dev, cmd_run, cmd_check, cmd_migrate, cmd_register, cmd_retire, cmd_invoke, cmd_emit, cmd_cancel,
    cmd_retry, cmd_edit, cmd_move, cmd_discard,
    cmd_schedule, cmd_unschedule, cmd_schedules, cmd_pause, cmd_resume, cmd_set, cmd_show, cmd_logs, cmd_list, cmd_ps, cmd_top, cmd_queues, cmd_tasks, cmd_nodes, cmd_ready, cmd_conform,
    cmd_gen, cmd_new, cmd_ctx, cmd_completion;

#endif
