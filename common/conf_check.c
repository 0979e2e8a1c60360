/*
 * The configuration as a whole: what concerns more than one section, looking things up, and what a program is
 * started with. Any process; no state.
 */
#include "config.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/conf_table.h"
#include "common/json.h"
#include "common/duration.h"
#include "common/schema/files.h"
#include "common/xmalloc.h"

#define QUEUE_NAME_MAX	63
#define TASK_NAME_MAX	128
#define PATH_BYTES	200	/* as pgconductor.is_path() has it */

#define UPPER	"ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define LOWER	"abcdefghijklmnopqrstuvwxyz0123456789_"

static void
message_add(char ***list, size_t *n, const char *file, int line, const char *fmt, va_list ap)
{
	char text[1024], where[32] = "";

	vsnprintf(text, sizeof(text), fmt, ap);
	if (line > 0)
		snprintf(where, sizeof(where), ":%d", line);
	*list = xreallocarray(*list, *n + 1, sizeof(char *));
	(*list)[(*n)++] = xasprintf("%s%s: %s", file, where, text);
}

void
conf_error(struct conf_errors *errors, const char *file, int line, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	message_add(&errors->v, &errors->n, file, line, fmt, ap);
	va_end(ap);
}

void
conf_warning(struct conf_errors *errors, const char *file, int line, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	message_add(&errors->warnings, &errors->warnings_n, file, line, fmt, ap);
	va_end(ap);
}

void
conf_errors_init(struct conf_errors *errors)
{
	memset(errors, 0, sizeof(*errors));
}

void
conf_errors_free(struct conf_errors *errors)
{
	for (size_t i = 0; i < errors->n; i++)
		free(errors->v[i]);
	for (size_t i = 0; i < errors->warnings_n; i++)
		free(errors->warnings[i]);
	free(errors->v);
	free(errors->warnings);
	conf_errors_init(errors);
}

static bool
name_valid(const char *s, const char *first, const char *rest, size_t max)
{
	return *s != '\0' && strchr(first, *s) != NULL && strlen(s) <= max && s[strspn(s, rest)] == '\0';
}

bool
conf_queue_name_valid(const char *s)
{
	return name_valid(s, LOWER, LOWER ".-", QUEUE_NAME_MAX);
}

bool
conf_task_name_valid(const char *s)
{
	return name_valid(s, UPPER LOWER, UPPER LOWER ".:-", TASK_NAME_MAX);
}

struct conf_queue *
conf_queue_find(const struct conf *conf, const char *name)
{
	for (size_t i = 0; i < conf->queues_n; i++)
		if (strcmp(conf->queues[i]->name, name) == 0)
			return conf->queues[i];
	return NULL;
}

struct conf_handler *
conf_handler_find(const struct conf *conf, const char *name)
{
	for (size_t i = 0; i < conf->handlers_n; i++)
		if (strcmp(conf->handlers[i]->name, name) == 0)
			return conf->handlers[i];
	return NULL;
}

struct conf_task *
conf_task_find(const struct conf *conf, const char *name)
{
	for (size_t i = 0; i < conf->tasks_n; i++)
		if (strcmp(conf->tasks[i]->name, name) == 0)
			return conf->tasks[i];
	return NULL;
}

struct conf_queue *
conf_queue_get(struct conf *conf, const char *name)
{
	struct conf_queue *q = conf_queue_find(conf, name);

	if (q != NULL)
		return q;
	q = xcalloc(1, sizeof(*q));
	q->name = xstrdup(name);
	conf_section_defaults(&conf_sections[CONF_SECTION_QUEUE], q);
	conf->queues = xreallocarray(conf->queues, conf->queues_n + 1, sizeof(*conf->queues));
	conf->queues[conf->queues_n++] = q;
	return q;
}

static void
queue_add_handler(struct conf_queue *q, struct conf_handler *h)
{
	for (size_t i = 0; i < q->handlers_n; i++)
		if (q->handlers[i] == h)
			return;
	q->handlers = xreallocarray(q->handlers, q->handlers_n + 1, sizeof(*q->handlers));
	q->handlers[q->handlers_n++] = h;
}

static void
check_queue(struct conf *conf, struct conf_queue *q, struct conf_errors *errors)
{
	struct conf_handler *h;

	for (size_t i = 0; i < q->handler.n; i++) {
		h = conf_handler_find(conf, q->handler.v[i]);
		if (h == NULL)
			conf_error(errors, q->place.file, q->place.line, "queue \"%s\": there is no handler \"%s\"", q->name,
			    q->handler.v[i]);
		else
			queue_add_handler(q, h);
	}
}

/* Names, or positions in lists, with dots between them. */
static bool
is_path(const char *s)
{
	bool empty = true;

	if (strlen(s) > PATH_BYTES)
		return false;
	for (; *s != '\0'; s++) {
		if (iscntrl((unsigned char)*s) || (*s == '.' && empty))
			return false;
		empty = *s == '.';
	}
	return !empty;
}

static void
check_path(const struct conf_task *t, const char *option, const char *path, struct conf_errors *errors)
{
	if (path != NULL && !is_path(path))
		conf_error(errors, t->place.file, t->place.line,
		    "task \"%s\": %s: \"%s\" does not say where the key stands in the payload, such as customer.id", t->name, option, path);
}

static void
check_keys(const struct conf_task *t, struct conf_errors *errors)
{
	const char *path = t->concurrency_key != NULL ? t->concurrency_key : t->fifo_key;

	check_path(t, "concurrency_key", t->concurrency_key, errors);
	check_path(t, "fifo_key", t->fifo_key, errors);
	if (path != NULL && t->fifo_key != NULL && strcmp(path, t->fifo_key) != 0)
		conf_error(errors, t->place.file, t->place.line, "task \"%s\": concurrency_key and fifo_key differ: a task has one key", t->name);
	if (t->concurrency_per_key != -1 && t->concurrency_key == NULL)
		conf_error(errors, t->place.file, t->place.line, "task \"%s\" has concurrency_per_key without concurrency_key", t->name);
	if (t->key_rate_limit != -1 && path == NULL)
		conf_error(errors, t->place.file, t->place.line, "task \"%s\" has key_rate_limit without concurrency_key or fifo_key", t->name);
	if (t->key_rate_limit == -1 && (t->key_rate_period != -1 || t->key_rate_burst != -1))
		conf_error(errors, t->place.file, t->place.line, "task \"%s\" has %s without key_rate_limit", t->name,
		    t->key_rate_period != -1 ? "key_rate_period" : "key_rate_burst");
}

static void
check_batch(const struct conf_task *t, struct conf_errors *errors)
{
	if (t->batch_size == -1 && t->batch_timeout != -1)
		conf_error(errors, t->place.file, t->place.line, "task \"%s\" has batch_timeout without batch_size", t->name);
	if (t->batch_size != -1 && t->exec.v != NULL)
		conf_error(errors, t->place.file, t->place.line,
		    "task \"%s\" has both exec and batch_size: a command runs one execution at a time, batches need a handler", t->name);
	if (t->batch_size != -1 && (t->concurrency_key != NULL || t->fifo_key != NULL))
		conf_error(errors, t->place.file, t->place.line, "task \"%s\" has both batch_size and a key: they do not go together", t->name);
}

static void
check_task(struct conf *conf, struct conf_task *t, struct conf_errors *errors)
{
	struct conf_handler *h;

	conf_triggers_check(t, errors);
	if (t->exec.v != NULL && t->handler != NULL)
		conf_error(errors, t->place.file, t->place.line, "task \"%s\" has both exec and handler", t->name);
	if (t->rate_limit == -1 && (t->rate_period != -1 || t->rate_burst != -1))
		conf_error(errors, t->place.file, t->place.line, "task \"%s\" has %s without rate_limit", t->name,
		    t->rate_period != -1 ? "rate_period" : "rate_burst");
	check_keys(t, errors);
	check_batch(t, errors);
	if (t->window.v != NULL && t->window.n != 2)
		conf_error(errors, t->place.file, t->place.line, "task \"%s\": window: two times are needed, { \"09:00\", \"17:00\" }", t->name);
	if (t->window.v == NULL && (t->timezone != NULL || t->days.v != NULL))
		conf_error(errors, t->place.file, t->place.line, "task \"%s\" has %s without window", t->name,
		    t->timezone != NULL ? "timezone" : "days");
	if ((t->exec.v != NULL || t->handler != NULL) && t->queue == NULL)
		t->queue = xstrdup(CONF_DEFAULT_QUEUE);
	if (t->queue != NULL)
		conf_queue_get(conf, t->queue);
	if (t->handler == NULL)
		return;
	if ((h = conf_handler_find(conf, t->handler)) != NULL)
		queue_add_handler(conf_queue_get(conf, t->queue), h);
	else
		conf_error(errors, t->place.file, t->place.line, "task \"%s\": there is no handler \"%s\"", t->name, t->handler);
}

static void
check_handler(const struct conf *conf, const struct conf_handler *h, struct conf_errors *errors)
{
	if (h->command.v == NULL)
		conf_error(errors, h->place.file, h->place.line, "handler \"%s\" has no command", h->name);
	for (size_t i = 0; i < conf->queues_n; i++)
		for (size_t j = 0; j < conf->queues[i]->handlers_n; j++)
			if (conf->queues[i]->handlers[j] == h)
				return;
	conf_warning(errors, h->place.file, h->place.line, "handler \"%s\" is not run: no queue and no task names it", h->name);
}

/* Paths are those of the configuration's directory, and so are references between the files. */
static void
read_schema(const struct conf *conf, const struct conf_task *t, const char *option, const char *path, char **text,
    struct conf_errors *errors)
{
	const char *slash = conf->path != NULL ? strrchr(conf->path, '/') : NULL;
	char *tree, why[SCHEMA_WHY];

	if (path == NULL)
		return;
	tree = slash == NULL ? xstrdup(".") : slash == conf->path ? xstrdup("/") : xstrndup(conf->path, (size_t)(slash - conf->path));
	*text = schema_read_files(tree, path, why);
	if (*text == NULL)
		conf_error(errors, t->place.file, t->place.line, "task \"%s\": %s: %s: %s", t->name, option, path, why);
	free(tree);
}

void
conf_finish(struct conf *conf, struct conf_errors *errors)
{
	for (size_t i = 0; i < conf->queues_n; i++)
		check_queue(conf, conf->queues[i], errors);
	for (size_t i = 0; i < conf->tasks_n; i++) {
		struct conf_task *t = conf->tasks[i];

		check_task(conf, t, errors);
		read_schema(conf, t, "payload_schema", t->payload_schema, &t->payload_text, errors);
		read_schema(conf, t, "returns_schema", t->returns_schema, &t->returns_text, errors);
	}
	for (size_t i = 0; i < conf->handlers_n; i++)
		check_handler(conf, conf->handlers[i], errors);
}

static const char *
base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash != NULL ? slash + 1 : path;
}

/* Programs that run a script, and what may stand before that: options that have a value in the next word, and words. */
static const struct interpreter {
	const char	*name, *valued[8], *word;
} interpreters[] = {
	{ "python", { "-W", "-X" }, NULL },
	{ "pypy", { "-W", "-X" }, NULL },
	{ "node", { "-r", "--require", "--import", "--loader", "--experimental-loader", "-C", "--conditions" }, NULL },
	{ "bun", { "-r", "--preload", "--env-file" }, "run" },
	{ "ruby", { "-r", "-I", "-C" }, NULL },
	{ "perl", { "-I" }, NULL },
	{ "php", { "-d" }, NULL },
	{ "sh", { "-o" }, NULL },
	{ "bash", { "-o" }, NULL },
	{ "dash", { "-o" }, NULL },
	{ "zsh", { "-o" }, NULL },
};

static bool
has_value(const struct interpreter *is, const char *option)
{
	for (const char *const *v = is->valued; *v != NULL; v++)
		if (strcmp(*v, option) == 0)
			return true;
	return false;
}

/* The script, or the module, that an interpreter is to run; NULL: none. */
static const char *
script_of(const struct interpreter *is, char *const *argv)
{
	for (int k = 1; argv[k] != NULL; k++) {
		if (strcmp(argv[k], "-c") == 0 || strcmp(argv[k], "-e") == 0)
			return NULL;
		if (has_value(is, argv[k]) && argv[k + 1] != NULL)
			k++;
		else if (argv[k][0] != '-' && argv[k][0] != '\0' && (is->word == NULL || strcmp(argv[k], is->word) != 0))
			return argv[k];
	}
	return NULL;
}

/* What a program is known by: its base name; that of the script, or the module, where the command is an interpreter. */
static const char *
program_name(char *const *argv)
{
	const char *base = base_name(argv[0]), *script;
	size_t len = strcspn(base, "0123456789.");

	for (size_t i = 0; i < sizeof(interpreters) / sizeof(interpreters[0]); i++)
		if (strncmp(base, interpreters[i].name, len) == 0 && interpreters[i].name[len] == '\0' &&
		    (script = script_of(&interpreters[i], argv)) != NULL)
			return base_name(script);
	return base;
}

void
conf_set_command(struct conf *conf, char *const *argv)
{
	const char *base = program_name(argv);
	struct conf_handler *h = xcalloc(1, sizeof(*h));

	h->name = conf_handler_find(conf, base) == NULL ? xstrdup(base) : xasprintf("%s:command", base);
	for (; argv[h->command.n] != NULL; h->command.n++) {
		h->command.v = xreallocarray(h->command.v, h->command.n + 2, sizeof(char *));
		h->command.v[h->command.n] = xstrdup(argv[h->command.n]);
		h->command.v[h->command.n + 1] = NULL;
	}
	conf->handlers = xreallocarray(conf->handlers, conf->handlers_n + 1, sizeof(*conf->handlers));
	conf->handlers[conf->handlers_n++] = h;
	conf->command = h;
	conf->inherit_env = true;
}

bool
conf_queue_has_programs(const struct conf *conf, const struct conf_queue *cq)
{
	for (size_t i = 0; i < cq->handlers_n; i++)
		if (cq->handlers[i] != conf->command)
			return true;
	for (size_t i = 0; i < conf->tasks_n; i++)
		if (conf->tasks[i]->exec.v != NULL && strcmp(conf->tasks[i]->queue, cq->name) == 0)
			return true;
	return false;
}

bool
conf_has_programs(const struct conf *conf)
{
	for (size_t i = 0; i < conf->queues_n; i++)
		if (conf_queue_has_programs(conf, conf->queues[i]))
			return true;
	return false;
}

static void
env_put(struct conf_pairs *env, const char *name, size_t name_len, const char *value)
{
	struct conf_pair *p;

	for (size_t i = 0; i < env->n; i++) {
		p = &env->v[i];
		if (strncmp(p->name, name, name_len) == 0 && p->name[name_len] == '\0') {
			free(p->value);
			p->value = xstrdup(value);
			return;
		}
	}
	env->v = xreallocarray(env->v, env->n + 1, sizeof(*env->v));
	p = &env->v[env->n++];
	p->name = xstrndup(name, name_len);
	p->value = xstrdup(value);
}

static void
env_inherit(struct conf_pairs *env)
{
	const char *equals;

	for (char **e = environ; *e != NULL; e++)
		if ((equals = strchr(*e, '=')) != NULL && equals != *e && strncmp(*e, "PGCONDUCTOR_", 12) != 0)
			env_put(env, *e, (size_t)(equals - *e), equals + 1);
}

static void
env_bare(struct conf_pairs *env)
{
	static const char *const names[] = { "PATH", "LANG", "TZ" };
	const char *value;

	env_put(env, "PATH", 4, "/usr/local/bin:/usr/bin:/bin");
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if ((value = getenv(names[i])) != NULL)
			env_put(env, names[i], strlen(names[i]), value);
}

void
conf_program_env(const struct conf *conf, const struct conf_queue *q, const struct conf_handler *h, struct conf_pairs *env)
{
	const struct conf_pairs *from[2] = { h != NULL ? &h->env : NULL, q != NULL ? &q->env : NULL };

	memset(env, 0, sizeof(*env));
	if (conf->inherit_env)
		env_inherit(env);
	else
		env_bare(env);
	for (size_t i = 0; i < 2; i++)
		for (size_t j = 0; from[i] != NULL && j < from[i]->n; j++)
			env_put(env, from[i]->v[j].name, strlen(from[i]->v[j].name), from[i]->v[j].value);
}

const char *
conf_program_directory(const struct conf_queue *q, const struct conf_handler *h)
{
	if (q != NULL && q->directory != NULL)
		return q->directory;
	return h != NULL ? h->directory : NULL;
}

static void
add_duration(struct buf *out, int64_t ms)
{
	char text[DURATION_STRLEN];

	buf_addf(out, "\"%s\"", duration_format(ms, text, sizeof(text)));
}

static void
add_backoff(struct buf *out, const struct conf_backoff *backoff)
{
	if (backoff->kind == CONF_BACKOFF_EXPONENTIAL) {
		buf_addstr(out, "{\"initial\":");
		add_duration(out, backoff->steps[0]);
		buf_addstr(out, ",\"max\":");
		add_duration(out, backoff->steps[1]);
		buf_addf(out, ",\"factor\":%u}", backoff->factor);
		return;
	}
	for (size_t i = 0; i < backoff->steps_n; i++) {
		buf_addstr(out, i == 0 ? "[" : ",");
		add_duration(out, backoff->steps[i]);
	}
	buf_addstr(out, "]");
}

static void
add_keep(struct buf *out, const char *name, const struct conf_keep *keep)
{
	if (!keep->set)
		return;
	buf_addf(out, ",\"%s\":", name);
	if (keep->never_removed)
		buf_addstr(out, "false");
	else
		add_duration(out, keep->ms);
}

static void
add_texts(struct buf *out, const char *name, const struct conf_strs *strs)
{
	if (strs->v == NULL)
		return;
	buf_addf(out, ",\"%s\":", name);
	for (size_t i = 0; i < strs->n; i++) {
		buf_addstr(out, i == 0 ? "[" : ",");
		json_quote(out, strs->v[i], strlen(strs->v[i]));
	}
	buf_addstr(out, "]");
}

static void
add_text(struct buf *out, const char *name, const char *text)
{
	if (text == NULL)
		return;
	buf_addf(out, ",\"%s\":", name);
	json_quote(out, text, strlen(text));
}

/* A rate of all, or of each key at that path. */
static void
add_rate(struct buf *out, int64_t limit, int64_t period, int64_t burst, const char *path)
{
	buf_addf(out, "{\"limit\":%" PRId64, limit);
	if (period != -1) {
		buf_addstr(out, ",\"period\":");
		add_duration(out, period);
	}
	if (burst != -1)
		buf_addf(out, ",\"burst\":%" PRId64, burst);
	add_text(out, "key", path);
	buf_addstr(out, "}");
}

static void
add_rates(struct buf *out, const struct conf_task *t)
{
	bool both = t->rate_limit != -1 && t->key_rate_limit != -1;

	if (t->rate_limit == -1 && t->key_rate_limit == -1)
		return;
	buf_addf(out, ",\"rate_limit\":%s", both ? "[" : "");
	if (t->rate_limit != -1)
		add_rate(out, t->rate_limit, t->rate_period, t->rate_burst, NULL);
	if (both)
		buf_addstr(out, ",");
	if (t->key_rate_limit != -1)
		add_rate(out, t->key_rate_limit, t->key_rate_period, t->key_rate_burst,
		    t->fifo_key != NULL ? t->fifo_key : t->concurrency_key);
	if (both)
		buf_addstr(out, "]");
}

static void
add_batch(struct buf *out, const struct conf_task *task)
{
	if (task->batch_size == -1)
		return;
	buf_addf(out, ",\"batch\":{\"size\":%" PRId64, task->batch_size);
	if (task->batch_timeout != -1) {
		buf_addstr(out, ",\"timeout\":");
		add_duration(out, task->batch_timeout);
	}
	buf_addstr(out, "}");
}

static void
add_limits(struct buf *out, const struct conf_task *task)
{
	add_batch(out, task);
	if (task->concurrency != -1)
		buf_addf(out, ",\"concurrency\":%" PRId64, task->concurrency);
	add_texts(out, "window", &task->window);
	add_text(out, "timezone", task->timezone);
	add_texts(out, "days", &task->days);
	add_text(out, "fifo_key", task->fifo_key);
	if (task->concurrency_per_key == -1) {
		add_text(out, "concurrency_key", task->concurrency_key);
	} else {
		buf_addf(out, ",\"concurrency_key\":{\"limit\":%" PRId64, task->concurrency_per_key);
		add_text(out, "key", task->concurrency_key);
		buf_addstr(out, "}");
	}
	add_rates(out, task);
}

void
conf_task_options(const struct conf_task *task, struct buf *out)
{
	struct buf options;

	buf_init(&options);
	if (task->max_attempts != -1)
		buf_addf(&options, ",\"max_attempts\":%" PRId64, task->max_attempts);
	if (task->timeout != -1) {
		buf_addstr(&options, ",\"timeout\":");
		add_duration(&options, task->timeout);
	}
	if (task->total_timeout != -1) {
		buf_addstr(&options, ",\"total_timeout\":");
		add_duration(&options, task->total_timeout);
	}
	if (task->priority != CONF_NO_PRIORITY)
		buf_addf(&options, ",\"priority\":%" PRId64, task->priority);
	add_limits(&options, task);
	if (task->backoff.kind != CONF_BACKOFF_UNSET) {
		buf_addstr(&options, ",\"backoff\":");
		add_backoff(&options, &task->backoff);
	}
	add_keep(&options, "remove_on_complete", &task->remove_on_complete);
	add_keep(&options, "remove_on_fail", &task->remove_on_fail);
	if (task->payload_text != NULL)
		buf_addf(&options, ",\"payload_schema\":%s", task->payload_text);
	if (task->returns_text != NULL)
		buf_addf(&options, ",\"returns_schema\":%s", task->returns_text);
	/* Each began with a comma; the first one's place is the brace's. */
	buf_addstr(out, "{");
	if (options.len > 0)
		buf_add(out, buf_ptr(&options) + 1, options.len - 1);
	buf_addstr(out, "}");
	buf_free(&options);
}

void
conf_compare(const struct conf *old, const struct conf *new, struct conf_errors *errors)
{
	for (const struct conf_option *o = conf_sections[0].options; o->name != NULL; o++)
		if (!o->reloadable && !conf_option_equal(o, old, new))
			conf_warning(errors, new->path != NULL ? new->path : "configuration", 0,
			    "%s has changed; that takes effect when the server is started anew", o->name);
}

void
conf_free(struct conf *conf)
{
	if (conf == NULL)
		return;
	for (size_t i = 0; i < conf->queues_n; i++) {
		conf_section_free(&conf_sections[CONF_SECTION_QUEUE], conf->queues[i]);
		free(conf->queues[i]->handlers);
		free(conf->queues[i]->name);
		free(conf->queues[i]);
	}
	for (size_t i = 0; i < conf->handlers_n; i++) {
		conf_section_free(&conf_sections[CONF_SECTION_HANDLER], conf->handlers[i]);
		free(conf->handlers[i]->name);
		free(conf->handlers[i]);
	}
	for (size_t i = 0; i < conf->tasks_n; i++) {
		conf_section_free(&conf_sections[CONF_SECTION_TASK], conf->tasks[i]);
		for (size_t j = 0; j < conf->tasks[i]->triggers_n; j++)
			conf_trigger_free(conf->tasks[i]->triggers[j]);
		free(conf->tasks[i]->triggers);
		free(conf->tasks[i]->payload_text);
		free(conf->tasks[i]->returns_text);
		free(conf->tasks[i]->name);
		free(conf->tasks[i]);
	}
	conf_section_free(&conf_sections[CONF_SECTION_TOP], conf);
	for (size_t i = 0; i < conf->files_n; i++)
		free(conf->files[i]);
	free(conf->files);
	free(conf->queues);
	free(conf->handlers);
	free(conf->tasks);
	free(conf->path);
	free(conf);
}
