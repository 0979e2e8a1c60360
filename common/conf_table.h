/*
 * The table of configuration options, for the parser, for `pgconductor check --options` and for the tests that hold
 * the documents against it. Private to common/conf*.c and cli/check.c.
 */
#ifndef COMMON_CONF_TABLE_H
#define COMMON_CONF_TABLE_H

#include "common/conf.h"

enum conf_type {
	CONF_STRING,
	CONF_STRINGS,
	CONF_NUMBER,
	CONF_SIZE,		/* bytes: 512K, 64M, 2G */
	CONF_DURATION,
	CONF_KEEP,		/* a duration, or false */
	CONF_LEVEL,
	CONF_FORMAT,
	CONF_QUEUE_NAME,
	CONF_COMMAND,		/* a list, or a string by the rules for commands */
	CONF_ENV,		/* "NAME=value" */
	CONF_RLIMITS,		/* "nofile=1024:4096" */
	CONF_BACKOFF,
	CONF_BOOL,
	CONF_JSON
};

struct conf_option {
	const char	*name;
	enum conf_type	 type;
	size_t		 offset;	/* into the section's struct */
	const char	*def;		/* as it would be written; NULL: none */
	bool		 applied;	/* def is set at load; false: left to the database or the program */
	bool		 reloadable;	/* takes effect on SIGHUP */
	int64_t		 min, max;	/* of numbers, sizes and durations */
};

struct conf_section {
	const char			*name;		/* "" for the top */
	const char			*within;	/* the section it stands in, without a title; NULL: at the top */
	const struct conf_option	*options;	/* ends with name NULL */
};

/* Where each section stands in conf_sections. */
enum { CONF_SECTION_TOP, CONF_SECTION_QUEUE, CONF_SECTION_HANDLER, CONF_SECTION_TASK, CONF_SECTION_TRIGGER };

/* Ends with name NULL. */
extern const struct conf_section conf_sections[];

const char *conf_type_name(enum conf_type);
bool	conf_type_is_list(enum conf_type);

/* One assignment as it stands in the file. */
struct conf_value {
	char	**v;
	size_t	  n;
	bool	  list;		/* written with braces */
};

/* Stores a value; returns NULL, or what is wrong with it, which the caller frees. */
char	*conf_option_set(const struct conf_option *, void *target, const struct conf_value *);
void	conf_section_defaults(const struct conf_section *, void *target);
void	conf_section_free(const struct conf_section *, void *target);
bool	conf_option_equal(const struct conf_option *, const void *, const void *);

/* conf_command.c: what `exec` and `command` become. */
char	*conf_command_argv(const struct conf_value *, struct conf_strs *argv);

/* conf_scan.c: checks the text before libconfuse sees it; see there. */
typedef void (*conf_scan_error)(void *arg, int line, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
char	*conf_scan(const char *text, size_t len, conf_scan_error, void *arg);

/* conf_trigger.c: what is started by what. */
struct conf_trigger *conf_trigger_new(const struct conf_place *);
void	conf_trigger_free(struct conf_trigger *);
void	conf_triggers_check(const struct conf_task *, struct conf_errors *);

/* conf_check.c: what concerns more than one section; adds queues that only tasks name. */
void	conf_finish(struct conf *, struct conf_errors *);
void	conf_error(struct conf_errors *, const char *file, int line, const char *fmt, ...)
	    __attribute__((format(printf, 4, 5)));
void	conf_warning(struct conf_errors *, const char *file, int line, const char *fmt, ...)
	    __attribute__((format(printf, 4, 5)));

#endif
