/*
 * The configuration: what pgconductor.conf says, checked, with every default applied.
 *
 * conf_load reads a file and what it includes. It returns a struct conf that owns everything in it, or NULL with
 * the reasons, each as "file:line: text". What may stand in the file is declared once, in conf_table.c.
 */
#ifndef COMMON_CONF_H
#define COMMON_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/log.h"

#define CONF_DEFAULT_PATH "/etc/pgconductor/pgconductor.conf"
#define CONF_DEFAULT_QUEUE "default"
#define CONF_NO_PRIORITY INT64_MIN

/* A list of strings; v[n] is NULL, so that v is an argv. v itself is NULL when the list was never set. */
struct conf_strs {
	char	**v;
	size_t	  n;
};

struct conf_pair {
	char	*name;
	char	*value;
};

struct conf_pairs {
	struct conf_pair	*v;
	size_t			 n;
};

/* Where something stands. file lives as long as the struct conf. */
struct conf_place {
	const char	*file;
	int		 line;
};

enum conf_backoff_kind {
	CONF_BACKOFF_UNSET,
	CONF_BACKOFF_LIST,		/* steps[i] after failure i + 1, the last one from then on */
	CONF_BACKOFF_EXPONENTIAL	/* steps[0], each next one `factor` times as long, at most steps[1] */
};

struct conf_backoff {
	enum conf_backoff_kind	 kind;
	int64_t			*steps;		/* milliseconds */
	size_t			 steps_n;
	unsigned		 factor;
};

/* How long finished executions are kept. */
struct conf_keep {
	bool	set;
	bool	never_removed;
	int64_t	ms;			/* 0: no history is written */
};

struct conf_handler {
	char			*name;
	struct conf_place	 place;
	struct conf_strs	 command;	/* an argv, ready for exec */
	char			*directory;	/* or NULL */
	struct conf_pairs	 env;
};

/* What these options of a queue may be, which programs also say. */
#define CONF_MAX_CONCURRENCY 100000
#define CONF_MAX_FETCH_BATCH 10000
#define CONF_MIN_POLL_INTERVAL 100	/* ms */
#define CONF_MAX_POLL_INTERVAL 3600000

struct conf_queue {
	char			 *name;
	struct conf_place	  place;	/* file NULL: no section, named by a task only */
	struct conf_strs	  handler;	/* as written */
	struct conf_handler	**handlers;	/* the programs to run: those of `handler`, then those of its tasks */
	size_t			  handlers_n;
	int64_t			  concurrency;
	int64_t			  processes;
	int64_t			  credit;	/* 0: what HELLO says */
	int64_t			  fetch_batch;
	int64_t			  poll_interval; /* ms; 0: the server's */
	int64_t			  shards;
	int64_t			  max_runs;	/* 0: no limit */
	int64_t			  memory;	/* bytes; 0: no limit */
	int64_t			  idle_timeout;	/* ms; 0: never */
	int64_t			  kill_grace;	/* ms */
	char			 *user;		/* or NULL */
	char			 *group;	/* or NULL */
	struct conf_pairs	  env;
	char			 *directory;	/* or NULL */
	struct conf_pairs	  rlimits;	/* "nofile" -> "1024" or "1024:4096", numbers or "unlimited" */
};

/* What starts a task besides invoke: one of cron, event, table and invocable. */
struct conf_trigger {
	struct conf_place	 place;
	char			*cron;
	char			*name;
	char			*timezone;
	char			*payload;
	char			*overlap;
	char			*catchup;
	char			*event;
	char			*table;
	char			*schema;
	char			*operation;
	char			*when;
	struct conf_strs	 fields;	/* of an event's payload */
	struct conf_strs	 columns;
	int64_t			 invocable;	/* -1: not set */
};

/* What a task section leaves out stays with the task's program, or the database's default. */
struct conf_task {
	char			*name;
	struct conf_place	 place;
	char			*queue;		/* or NULL; never NULL when exec is set */
	struct conf_strs	 exec;		/* an argv; v NULL: not a one-shot command */
	char			*handler;	/* or NULL */
	int64_t			 max_attempts;	/* -1: not set */
	int64_t			 timeout;	/* ms; -1: not set */
	int64_t			 total_timeout;	/* likewise */
	int64_t			 priority;	/* CONF_NO_PRIORITY: not set */
	int64_t			 batch_size;	/* -1: not set */
	int64_t			 batch_timeout;	/* ms; likewise */
	int64_t			 concurrency, rate_limit, rate_burst;	/* -1: not set */
	int64_t			 rate_period;	/* ms; likewise */
	char			*concurrency_key;	/* where the key stands in a payload, or NULL */
	char			*fifo_key;	/* likewise */
	int64_t			 concurrency_per_key, key_rate_limit, key_rate_burst;	/* -1: not set */
	int64_t			 key_rate_period;	/* ms; likewise */
	struct conf_strs	 window;	/* when it opens, and when it closes */
	char			*timezone;	/* or NULL */
	struct conf_strs	 days;
	struct conf_backoff	 backoff;
	struct conf_keep	 remove_on_complete;
	struct conf_keep	 remove_on_fail;
	char			*payload_schema;	/* a file, or NULL */
	char			*returns_schema;	/* likewise */
	char			*payload_text;		/* what was read there: one JSON Schema, whole in itself */
	char			*returns_text;
	struct conf_trigger	**triggers;
	size_t			 triggers_n;
};

struct conf {
	char			 *path;		/* NULL: no file */
	char			**files;	/* every file read */
	size_t			  files_n;

	char			 *database;	/* or NULL */
	int64_t			  log_level;	/* enum log_level */
	int64_t			  log_format;	/* enum log_format */
	int64_t			  shutdown_timeout;	/* ms */
	int64_t			  takeover_timeout;	/* ms */
	int64_t			  poll_interval;	/* ms */
	int64_t			  keep_events;	/* ms */
	int64_t			  keep_triggers;	/* ms */
	int64_t			  keep_logs;	/* ms; 0: none are stored */
	int64_t			  max_payload;	/* bytes */
	char			 *user;		/* or NULL */
	char			 *group;	/* or NULL */

	struct conf_queue	**queues;
	size_t			  queues_n;
	struct conf_handler	**handlers;
	size_t			  handlers_n;
	struct conf_task	**tasks;
	size_t			  tasks_n;

	struct conf_handler	 *command;	/* the program given by -- CMD, also among handlers; or NULL */
	bool			  inherit_env;	/* handlers get the caller's environment */
};

struct conf_errors {
	char	**v;		/* each "file:line: text" */
	size_t	  n;
	char	**warnings;	/* the same form; they refuse nothing */
	size_t	  warnings_n;
};

void	conf_errors_init(struct conf_errors *);
void	conf_errors_free(struct conf_errors *);

/* NULL when there are errors. path NULL: the defaults alone. */
struct conf *conf_load(const char *path, struct conf_errors *);
/* The same from memory; name stands for the file in messages, includes are relative to the current directory. */
struct conf *conf_parse(const char *name, const char *text, size_t len, struct conf_errors *);
void	conf_free(struct conf *);

/*
 * Adds the program of -- CMD, known by its base name, or that of the script if it is an interpreter; handlers inherit the
 * caller's environment from here on.
 */
void	conf_set_command(struct conf *, char *const *argv);

struct conf_queue *conf_queue_find(const struct conf *, const char *name);
struct conf_handler *conf_handler_find(const struct conf *, const char *name);
struct conf_task *conf_task_find(const struct conf *, const char *name);
/* The queue of that name; made with the defaults when the file has none. */
struct conf_queue *conf_queue_get(struct conf *, const char *name);
/* Handlers, or commands of tasks; the program of -- CMD does not count. Of a queue, or of any. */
bool	conf_queue_has_programs(const struct conf *, const struct conf_queue *);
bool	conf_has_programs(const struct conf *);

/*
 * The whole environment of one of a queue's programs; handler NULL: of its one-shot commands. What env says, the
 * queue's before the handler's, over the caller's environment or a bare one of PATH, LANG and TZ. Caller frees.
 */
void	conf_program_env(const struct conf *, const struct conf_queue *, const struct conf_handler *, struct conf_pairs *);
void	conf_pairs_free(struct conf_pairs *);
/* Its working directory, the queue's before the handler's; NULL: the server's. Borrowed. */
const char *conf_program_directory(const struct conf_queue *, const struct conf_handler *);

/* Appends the task's options as the JSON object that pgconductor.declare_task takes. */
void	conf_task_options(const struct conf_task *, struct buf *);
/*
 * Its triggers as the list that pgconductor.declare_triggers takes, NULL if this file leaves it to the program; freed by the
 * caller. And where one of them stands, the task itself if there is none.
 */
char	*conf_task_triggers(const struct conf_task *);
struct conf_place conf_trigger_place(const struct conf_task *, size_t n);
/* Adds a warning to errors for each option that differs and takes effect only when the server is started anew. */
void	conf_compare(const struct conf *old, const struct conf *new, struct conf_errors *);

bool	conf_queue_name_valid(const char *);
bool	conf_task_name_valid(const char *);

#endif
