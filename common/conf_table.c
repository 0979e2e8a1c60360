/*
 * The table of configuration options. An option is declared here and nowhere else: name, type, where it is kept,
 * default, whether it can change while the server runs, and its limits. Any process; no state.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "common/conf_table.h"
#include "common/duration.h"

#define MILLION		INT64_C(1000000)
#define HOUR		(INT64_C(3600) * 1000)
#define YEAR		(INT64_C(366) * 24 * HOUR)
#define GIGABYTE	(INT64_C(1) << 30)
#define ANY		INT64_MAX

#define APPLIED		true
#define LEFT		false	/* to the program or the database */
#define RELOAD		true
#define RESTART		false

#define TOP(field)	#field, offsetof(struct conf, field)
#define QUEUE(field)	#field, offsetof(struct conf_queue, field)
#define HANDLER(field)	#field, offsetof(struct conf_handler, field)
#define TASK(field)	#field, offsetof(struct conf_task, field)
#define TRIGGER(field)	#field, offsetof(struct conf_trigger, field)

#define OPTION(where, type, def, applied, reload, min, max) OPTION_(where, type, def, applied, reload, min, max)
#define OPTION_(name, offset, type, def, applied, reload, min, max) \
	{ name, CONF_##type, offset, def, applied, reload, min, max }

static const struct conf_option top_options[] = {
	OPTION(TOP(database), STRING, NULL, LEFT, RESTART, 0, 0),
	OPTION(TOP(log_level), LEVEL, "info", APPLIED, RELOAD, 0, 0),
	OPTION(TOP(log_format), FORMAT, "text", APPLIED, RELOAD, 0, 0),
	OPTION(TOP(shutdown_timeout), DURATION, "30s", APPLIED, RELOAD, 0, 24 * HOUR),
	OPTION(TOP(takeover_timeout), DURATION, "10s", APPLIED, RESTART, 1000, HOUR),
	OPTION(TOP(poll_interval), DURATION, "5s", APPLIED, RELOAD, CONF_MIN_POLL_INTERVAL, CONF_MAX_POLL_INTERVAL),
	OPTION(TOP(keep_events), DURATION, "7d", APPLIED, RELOAD, 0, 10 * YEAR),
	OPTION(TOP(keep_triggers), DURATION, "10m", APPLIED, RELOAD, 0, 10 * YEAR),
	OPTION(TOP(keep_logs), DURATION, "7d", APPLIED, RELOAD, 0, 10 * YEAR),
	OPTION(TOP(max_payload), SIZE, "16M", APPLIED, RESTART, 1024, 256 << 20),
	OPTION(TOP(user), STRING, NULL, LEFT, RESTART, 0, 0),
	OPTION(TOP(group), STRING, NULL, LEFT, RESTART, 0, 0),
	{ .name = NULL }
};

static const struct conf_option queue_options[] = {
	OPTION(QUEUE(concurrency), NUMBER, "10", APPLIED, RELOAD, 1, CONF_MAX_CONCURRENCY),
	OPTION(QUEUE(handler), STRINGS, NULL, LEFT, RELOAD, 0, 0),
	OPTION(QUEUE(processes), NUMBER, "1", APPLIED, RELOAD, 1, 1000),
	OPTION(QUEUE(credit), NUMBER, "0", APPLIED, RELOAD, 0, 100000),
	OPTION(QUEUE(fetch_batch), NUMBER, "1000", APPLIED, RELOAD, 1, CONF_MAX_FETCH_BATCH),
	OPTION(QUEUE(poll_interval), DURATION, NULL, LEFT, RELOAD, CONF_MIN_POLL_INTERVAL, CONF_MAX_POLL_INTERVAL),
	OPTION(QUEUE(shards), NUMBER, "4", APPLIED, RELOAD, 1, 1024),
	OPTION(QUEUE(max_runs), NUMBER, "0", APPLIED, RELOAD, 0, 1000 * MILLION),
	OPTION(QUEUE(memory), SIZE, "0", APPLIED, RELOAD, 0, ANY),
	OPTION(QUEUE(idle_timeout), DURATION, "0", APPLIED, RELOAD, 0, YEAR),
	OPTION(QUEUE(kill_grace), DURATION, "5s", APPLIED, RELOAD, 0, HOUR),
	OPTION(QUEUE(user), STRING, NULL, LEFT, RELOAD, 0, 0),
	OPTION(QUEUE(group), STRING, NULL, LEFT, RELOAD, 0, 0),
	OPTION(QUEUE(env), ENV, NULL, LEFT, RELOAD, 0, 0),
	OPTION(QUEUE(directory), STRING, NULL, LEFT, RELOAD, 0, 0),
	OPTION(QUEUE(rlimits), RLIMITS, NULL, LEFT, RELOAD, 0, 0),
	{ .name = NULL }
};

static const struct conf_option handler_options[] = {
	OPTION(HANDLER(command), COMMAND, NULL, LEFT, RELOAD, 0, 0),
	OPTION(HANDLER(directory), STRING, NULL, LEFT, RELOAD, 0, 0),
	OPTION(HANDLER(env), ENV, NULL, LEFT, RELOAD, 0, 0),
	{ .name = NULL }
};

static const struct conf_option task_options[] = {
	OPTION(TASK(queue), QUEUE_NAME, CONF_DEFAULT_QUEUE, LEFT, RELOAD, 0, 0),
	OPTION(TASK(exec), COMMAND, NULL, LEFT, RELOAD, 0, 0),
	OPTION(TASK(handler), STRING, NULL, LEFT, RELOAD, 0, 0),
	OPTION(TASK(max_attempts), NUMBER, "3", LEFT, RELOAD, 1, 10000),
	OPTION(TASK(backoff), BACKOFF, "15s 30s 60s", LEFT, RELOAD, 0, 0),
	OPTION(TASK(timeout), DURATION, NULL, LEFT, RELOAD, 1, YEAR),
	OPTION(TASK(total_timeout), DURATION, NULL, LEFT, RELOAD, 1, 10 * YEAR),
	OPTION(TASK(priority), NUMBER, "0", LEFT, RELOAD, -32768, 32767),
	OPTION(TASK(batch_size), NUMBER, NULL, LEFT, RELOAD, 1, 1000),
	OPTION(TASK(batch_timeout), DURATION, "1s", LEFT, RELOAD, 0, 24 * HOUR),
	OPTION(TASK(concurrency), NUMBER, NULL, LEFT, RELOAD, 1, 999999999),
	OPTION(TASK(rate_limit), NUMBER, NULL, LEFT, RELOAD, 1, 9999999),
	OPTION(TASK(rate_period), DURATION, "1s", LEFT, RELOAD, 1, YEAR),
	OPTION(TASK(rate_burst), NUMBER, NULL, LEFT, RELOAD, 1, 9999999),
	OPTION(TASK(concurrency_key), STRING, NULL, LEFT, RELOAD, 0, 0),
	OPTION(TASK(concurrency_per_key), NUMBER, NULL, LEFT, RELOAD, 1, 999999999),
	OPTION(TASK(fifo_key), STRING, NULL, LEFT, RELOAD, 0, 0),
	OPTION(TASK(key_rate_limit), NUMBER, NULL, LEFT, RELOAD, 1, 9999999),
	OPTION(TASK(key_rate_period), DURATION, "1s", LEFT, RELOAD, 1, YEAR),
	OPTION(TASK(key_rate_burst), NUMBER, NULL, LEFT, RELOAD, 1, 9999999),
	OPTION(TASK(window), STRINGS, NULL, LEFT, RELOAD, 0, 0),
	OPTION(TASK(timezone), STRING, "UTC", LEFT, RELOAD, 0, 0),
	OPTION(TASK(days), STRINGS, NULL, LEFT, RELOAD, 0, 0),
	OPTION(TASK(remove_on_complete), KEEP, "7d", LEFT, RELOAD, 0, 0),
	OPTION(TASK(remove_on_fail), KEEP, "30d", LEFT, RELOAD, 0, 0),
	OPTION(TASK(payload_schema), STRING, NULL, LEFT, RELOAD, 0, 0),
	OPTION(TASK(returns_schema), STRING, NULL, LEFT, RELOAD, 0, 0),
	{ .name = NULL }
};

static const struct conf_option trigger_options[] = {
	OPTION(TRIGGER(cron), STRING, NULL, LEFT, RELOAD, 0, 0),
	OPTION(TRIGGER(name), STRING, NULL, LEFT, RELOAD, 0, 0),
	OPTION(TRIGGER(timezone), STRING, "UTC", LEFT, RELOAD, 0, 0),
	OPTION(TRIGGER(payload), JSON, "null", LEFT, RELOAD, 0, 0),
	OPTION(TRIGGER(overlap), STRING, "allow", LEFT, RELOAD, 0, 0),
	OPTION(TRIGGER(catchup), STRING, "skip", LEFT, RELOAD, 0, 0),
	OPTION(TRIGGER(event), STRING, NULL, LEFT, RELOAD, 0, 0),
	OPTION(TRIGGER(fields), STRINGS, NULL, LEFT, RELOAD, 0, 0),
	OPTION(TRIGGER(table), STRING, NULL, LEFT, RELOAD, 0, 0),
	OPTION(TRIGGER(schema), STRING, "public", LEFT, RELOAD, 0, 0),
	OPTION(TRIGGER(operation), STRING, NULL, LEFT, RELOAD, 0, 0),
	OPTION(TRIGGER(columns), STRINGS, NULL, LEFT, RELOAD, 0, 0),
	OPTION(TRIGGER(when), STRING, NULL, LEFT, RELOAD, 0, 0),
	OPTION(TRIGGER(invocable), BOOL, NULL, LEFT, RELOAD, 0, 0),
	{ .name = NULL }
};

const struct conf_section conf_sections[] = {
	[CONF_SECTION_TOP] = { "", NULL, top_options },
	[CONF_SECTION_QUEUE] = { "queue", NULL, queue_options },
	[CONF_SECTION_HANDLER] = { "handler", NULL, handler_options },
	[CONF_SECTION_TASK] = { "task", NULL, task_options },
	[CONF_SECTION_TRIGGER] = { "trigger", "task", trigger_options },
	{ .name = NULL }
};

static const struct {
	enum conf_type	 type;
	const char	*name;
	bool		 list;		/* may be written with braces */
} types[] = {
	{ CONF_STRING, "text", false },
	{ CONF_STRINGS, "text or list", true },
	{ CONF_NUMBER, "number", false },
	{ CONF_SIZE, "size", false },
	{ CONF_DURATION, "duration", false },
	{ CONF_KEEP, "duration or false", false },
	{ CONF_LEVEL, "debug, info, warn, error", false },
	{ CONF_FORMAT, "text, logfmt, json", false },
	{ CONF_QUEUE_NAME, "queue", false },
	{ CONF_COMMAND, "command", true },
	{ CONF_ENV, "list of NAME=value", true },
	{ CONF_RLIMITS, "list of name=limit", true },
	{ CONF_BACKOFF, "backoff", true },
	{ CONF_BOOL, "true or false", false },
	{ CONF_JSON, "JSON", false },
};

static size_t
type_index(enum conf_type type)
{
	size_t i = 0;

	while (types[i].type != type)
		i++;
	return i;
}

const char *
conf_type_name(enum conf_type type)
{
	return types[type_index(type)].name;
}

bool
conf_type_is_list(enum conf_type type)
{
	return types[type_index(type)].list;
}

void
conf_section_defaults(const struct conf_section *section, void *target)
{
	const struct conf_option *o;
	char *value[2] = { NULL, NULL };
	struct conf_value given = { value, 1, false };

	for (o = section->options; o->name != NULL; o++) {
		if (!o->applied)
			continue;
		value[0] = (char *)(uintptr_t)o->def;
		free(conf_option_set(o, target, &given));
	}
}
