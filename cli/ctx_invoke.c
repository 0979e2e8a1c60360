/*
 * pgconductor ctx invoke: a child, or many at once, and what comes of them. The cli process only.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/ctx.h"
#include "common/buf.h"
#include "common/duration.h"
#include "common/json.h"
#include "common/xmalloc.h"

static const char *key, *queue, *priority, *timeout, *all;
static struct cli_values metadata;
static bool want_json, return_errors;

static const struct cli_option options[] = {
	{ "key", 0, CLI_TEXT, &key, "KEY", "what its outcome is saved under; named by its turn if left out" },
	{ "queue", 0, CLI_TEXT, &queue, "Q", "instead of the task's own queue" },
	{ "priority", 0, CLI_TEXT, &priority, "N", "-32768 to 32767, higher first; the task's if left out" },
	{ "metadata", 0, CLI_EACH, &metadata, "K=V", "besides what it inherits; or a JSON object" },
	{ "timeout", 0, CLI_TEXT, &timeout, "D", "then it is cancelled: exit 124" },
	{ "all", 0, CLI_TEXT, &all, "FILE", "a child for each line of FILE (- is stdin), all at once" },
	{ "return-errors", 0, CLI_FLAG, &return_errors, NULL, "print {\"result\": …} or {\"error\": …}, and exit 0" },
	{ "json", 'j', CLI_FLAG, &want_json, NULL, "print the result as JSON: strings in quotes, null as null" },
	{ .name = NULL }
};

/* Those that are to be made. */
static struct children {
	struct pgc_child	*v;
	const char		**keys;
	size_t			 n, cap;
} children;

static struct pgc_child *
add(void)
{
	struct children *c = &children;

	if (c->n == c->cap) {
		c->cap = c->cap != 0 ? c->cap * 2 : 16;
		c->v = xreallocarray(c->v, c->cap, sizeof(*c->v));
		c->keys = xreallocarray(c->keys, c->cap, sizeof(*c->keys));
	}
	c->keys[c->n] = "";
	c->v[c->n] = (struct pgc_child)PGC_CHILD;
	return &c->v[c->n++];
}

/* ---- a line of --all ---- */

struct line {
	struct pgc_child *child;
	size_t		 number;
};

/* The text of a member, or an exit: it is of another type. */
static char *
text_of(const struct line *l, const char *name, const char *value)
{
	char *text = cli_json_text(value);

	if (text == NULL)
		cli_fail(EX_DATAERR, "%s: line %zu: %s is not a string", all, l->number, name);
	return text;
}

static int64_t
duration_of(const struct line *l, const char *name, const char *value)
{
	char *text = text_of(l, name, value);
	int64_t ms = cli_duration(name, text);

	free(text);
	return ms;
}

static void
take_member(const char *name, const char *value, void *arg)
{
	struct line *l = arg;

	if (strcmp(name, "task") == 0)
		l->child->task = text_of(l, name, value);
	else if (strcmp(name, "payload") == 0)
		l->child->payload = xstrdup(value);
	else if (strcmp(name, "queue") == 0)
		l->child->queue = text_of(l, name, value);
	else if (strcmp(name, "key") == 0)
		l->child->key = children.keys[children.n - 1] = ctx_key(text_of(l, name, value));
	else if (strcmp(name, "priority") == 0)
		l->child->priority = cli_priority("priority", value);
	else if (strcmp(name, "metadata") == 0)
		l->child->metadata = xstrdup(value);
	else if (strcmp(name, "timeout") == 0)
		l->child->timeout_ms = duration_of(l, name, value);
	else
		cli_fail(EX_DATAERR, "%s: line %zu: %s: there are task, payload, queue, key, priority, metadata and timeout", all,
		    l->number, name);
}

static void
take_line(const char *text, size_t number)
{
	struct line l = { .number = number };
	const char *why;
	size_t at;

	if (json_check(text, strlen(text), &at, &why) == -1)
		cli_fail(EX_DATAERR, "%s: line %zu: not JSON: %s at byte %zu", all, number, why, at);
	l.child = add();
	if (!cli_json_members(text, take_member, &l) || l.child->task == NULL)
		cli_fail(EX_DATAERR, "%s: line %zu: not an object with a task", all, number);
}

static void
take_file(void)
{
	FILE *f = cli_open_input(all);
	size_t size = 0, number = 0;
	char *line = NULL;
	ssize_t len;

	while ((len = getline(&line, &size, f)) > 0) {
		number++;
		if (strlen(line) != (size_t)len)
			cli_fail(EX_DATAERR, "%s: line %zu: it has a NUL byte in it", all, number);
		if (line[strspn(line, " \t\r\n")] != '\0')
			take_line(line, number);
	}
	if (ferror(f))
		cli_fail(EX_NOINPUT, "%s: %s", all, strerror(errno));
	free(line);
}

/* ---- what came of them ---- */

/* The command may go on; if it does not, that is what the execution has failed with. */
static int
fail(struct pgc_run *run, const struct pgc_child *child)
{
	char *message = cli_json_get(child->error, "message"), *code = cli_json_get(child->error, "code");

	cli_warn("Child execution failed: %s", message != NULL ? message : "(no message)");
	ctx_status = code != NULL && strcmp(code, "timeout") == 0 ? CTX_CHILD_TIMEOUT : CTX_CHILD_FAILED;
	pgc_fail_child(run, child);
	free(message);
	free(code);
	return 0;
}

static int
do_invoke(struct pgc_run *run, void *arg)
{
	const struct children *c = &children;

	(void)arg;
	if (pgc_invoke_all(run, c->v, c->n) != 0)
		return PGC_OVER;
	for (size_t i = 0; i < c->n && !return_errors; i++)
		if (c->v[i].error != NULL)
			return fail(run, &c->v[i]);
	for (size_t i = 0; i < c->n; i++) {
		const struct pgc_child *child = &c->v[i];

		if (return_errors)
			printf("{\"%s\": %s}\n", child->error != NULL ? "error" : "result",
			    child->error != NULL ? child->error : child->result);
		else
			ctx_print(child->result, want_json || all != NULL);
	}
	return 0;
}

static void
take_arguments(int argc, char **argv)
{
	struct pgc_child *child = add();

	child->task = argv[1];
	child->payload = ctx_payload(argc > 2 ? argv[2] : NULL);
	child->queue = queue;
	if (key != NULL)
		child->key = children.keys[0] = ctx_key(key);
	if (priority != NULL)
		child->priority = cli_priority("--priority", priority);
	child->metadata = cli_metadata(&metadata);
	if (timeout != NULL)
		child->timeout_ms = cli_duration("--timeout", timeout);
}

static int
run(int argc, char **argv)
{
	if (all == NULL && argc < 2)
		cli_usage("TASK is missing");
	if (argc > 3)
		cli_usage("%s: unexpected argument", argv[3]);
	if (all != NULL && (argc > 1 || key != NULL || queue != NULL || priority != NULL || timeout != NULL || metadata.n != 0))
		cli_usage("--all: each line of the file says what its child is");
	if (all != NULL)
		take_file();
	else
		take_arguments(argc, argv);
	return ctx_do(do_invoke, NULL, children.keys, children.n);
}

const struct cli_command ctx_invoke = {
	.name = "ctx invoke",
	.arguments = "TASK [JSON | - | @FILE] [OPTION…] | --all FILE [OPTION…]",
	.operand = "TASK",
	.summary = "run a task as a child and print its result; meanwhile the execution takes neither a process nor a slot",
	.details = "The payload is JSON text, - to read it from stdin, or @FILE; null if left out. The command is ended (TERM, then\n"
	    "KILL) and run again from its beginning when the child has finished. If that has failed, this exits with 65, or\n"
	    "124 if it took too long; a command that exits with either of them then has failed for good, for that reason.\n"
	    "A line of --all is an object of task, payload, queue, key, priority, metadata and timeout, all but the task optional;\n"
	    "the results are printed as JSON, a line each, in the same order.\n",
	.options = options,
	.no_database = true,
	.run = run,
};
