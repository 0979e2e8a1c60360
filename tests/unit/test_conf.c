/*
 * The configuration: every kind of value, and every kind of mistake with the line it stands on.
 */
#include "config.h"

#include <ftw.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/conf.h"
#include "common/xmalloc.h"
#include "tests/unit/unit.h"

static struct conf_errors errors;

static struct conf *
parse(const char *text)
{
	conf_errors_free(&errors);
	return conf_parse("a.conf", text, strlen(text), &errors);
}

static struct conf *
good(const char *text)
{
	struct conf *conf = parse(text);

	ck_assert_msg(conf != NULL, "%s: %s", text, errors.n > 0 ? errors.v[0] : "no error");
	return conf;
}

/* Exactly these errors, each given as a part of it, in their order; NULL ends them. */
static void
bad(const char *text, ...)
{
	struct conf *conf = parse(text);
	const char *wanted;
	size_t n = 0;
	va_list ap;

	ck_assert_msg(conf == NULL, "accepted: %s", text);
	va_start(ap, text);
	while ((wanted = va_arg(ap, const char *)) != NULL) {
		ck_assert_msg(n < errors.n, "%s: no error \"%s\"", text, wanted);
		ck_assert_msg(strstr(errors.v[n], wanted) != NULL, "%s: \"%s\" is not in \"%s\"", text, wanted, errors.v[n]);
		n++;
	}
	va_end(ap);
	ck_assert_msg(n == errors.n, "%s: and \"%s\"", text, errors.n > n ? errors.v[n] : "");
}

START_TEST(defaults)
{
	struct conf *c = conf_load(NULL, &errors);
	struct conf_queue *q;

	ck_assert_ptr_nonnull(c);
	ck_assert_ptr_null(c->database);
	ck_assert_int_eq(c->log_level, LOG_LEVEL_INFO);
	ck_assert_int_eq(c->log_format, LOG_FORMAT_TEXT);
	ck_assert_int_eq(c->shutdown_timeout, 30000);
	ck_assert_int_eq(c->takeover_timeout, 10000);
	ck_assert_int_eq(c->poll_interval, 5000);
	ck_assert_int_eq(c->keep_logs, 7 * 24 * 3600 * 1000);
	ck_assert_int_eq(c->keep_events, 7 * 24 * 3600 * 1000);
	ck_assert_int_eq(c->keep_triggers, 600 * 1000);
	ck_assert_int_eq(c->max_payload, 16 << 20);
	ck_assert_uint_eq(c->queues_n + c->handlers_n + c->tasks_n, 0);
	q = conf_queue_get(c, "default");
	ck_assert_ptr_eq(conf_queue_get(c, "default"), q);
	ck_assert_int_eq(q->concurrency, 10);
	ck_assert_int_eq(q->processes, 1);
	ck_assert_int_eq(q->credit, 0);
	ck_assert_int_eq(q->fetch_batch, 1000);
	ck_assert_int_eq(q->poll_interval, 0);
	ck_assert_int_eq(q->shards, 4);
	ck_assert_int_eq(q->max_runs, 0);
	ck_assert_int_eq(q->memory, 0);
	ck_assert_int_eq(q->idle_timeout, 0);
	ck_assert_int_eq(q->kill_grace, 5000);
	ck_assert_ptr_null(q->place.file);
	conf_free(c);
}
END_TEST

START_TEST(the_example)
{
	struct conf *c = good("database = \"postgres://localhost/app\"\n"
	    "queue \"default\" { concurrency = 10 }\n"
	    "queue \"media\"   { concurrency = 2  handler = \"app\"  processes = 2  user = \"media\"  memory = \"512M\""
	    "  max_runs = 10000 }\n"
	    "handler \"app\"   { command = \"node worker.js\"  directory = \"/srv/app\" }\n"
	    "task \"resize\"   { queue = \"media\"  exec = \"./resize.sh\"  max_attempts = 5  timeout = \"2m\" }\n");
	struct conf_queue *q = conf_queue_find(c, "media");
	struct conf_handler *h = conf_handler_find(c, "app");
	struct conf_task *t = conf_task_find(c, "resize");

	ck_assert_str_eq(c->database, "postgres://localhost/app");
	ck_assert_int_eq(q->concurrency, 2);
	ck_assert_int_eq(q->processes, 2);
	ck_assert_str_eq(q->user, "media");
	ck_assert_int_eq(q->memory, 512 << 20);
	ck_assert_int_eq(q->max_runs, 10000);
	ck_assert_uint_eq(q->handlers_n, 1);
	ck_assert_ptr_eq(q->handlers[0], h);
	ck_assert_int_eq(q->place.line, 3);
	ck_assert_str_eq(h->command.v[0], "node");
	ck_assert_str_eq(h->command.v[1], "worker.js");
	ck_assert_ptr_null(h->command.v[2]);
	ck_assert_str_eq(conf_program_directory(q, h), "/srv/app");
	ck_assert_str_eq(t->queue, "media");
	ck_assert_str_eq(t->exec.v[0], "./resize.sh");
	ck_assert_int_eq(t->max_attempts, 5);
	ck_assert_int_eq(t->timeout, 120000);
	ck_assert_uint_eq(errors.warnings_n, 0);
	conf_free(c);
}
END_TEST

/* The words of a task's command, joined by "|". */
static const char *
command_of(const char *value)
{
	static char joined[256];
	char *text = xasprintf("task t { exec = %s }", value);
	struct conf *c = good(text);

	joined[0] = '\0';
	for (size_t i = 0; i < c->tasks[0]->exec.n; i++) {
		strcat(joined, i > 0 ? "|" : "");
		strcat(joined, c->tasks[0]->exec.v[i]);
	}
	conf_free(c);
	free(text);
	return joined;
}

START_TEST(commands)
{
	ck_assert_str_eq(command_of("\"./a.sh\""), "./a.sh");
	ck_assert_str_eq(command_of("./a.sh"), "./a.sh");
	ck_assert_str_eq(command_of("\" node \t worker.js  --x=1 -v,2 a:b %c @d ^e\""), "node|worker.js|--x=1|-v,2|a:b|%c|@d|^e");
	ck_assert_str_eq(command_of("{ \"./a b.sh\" }"), "./a b.sh");
	ck_assert_str_eq(command_of("{ \"./a b.sh\", }"), "./a b.sh");
	ck_assert_str_eq(command_of("{ \"echo\", \"a | b\", \"\", '$x' }"), "echo|a | b||$x");
	ck_assert_str_eq(command_of("\"a | b\""), "/bin/sh|-c|a | b");
	ck_assert_str_eq(command_of("'echo \"$HOME\"'"), "/bin/sh|-c|echo \"$HOME\"");
	ck_assert_str_eq(command_of("\"ls *.c\""), "/bin/sh|-c|ls *.c");
	ck_assert_str_eq(command_of("\"a\nb\""), "/bin/sh|-c|a\nb");
	ck_assert_str_eq(command_of("\"X=1 env\""), "/bin/sh|-c|X=1 env");
	ck_assert_str_eq(command_of("\"exit 3\""), "/bin/sh|-c|exit 3");
	ck_assert_str_eq(command_of("\"exitus 3\""), "exitus|3");
	bad("task t { exec = \"\" }", "a.conf:1: task.exec: is empty", NULL);
	bad("task t { exec = \" \" }", "is empty", NULL);
	bad("task t { exec = { \"\", \"a\" } }", "is empty", NULL);
	bad("task t { exec = {} }", "a.conf:1: this list is empty", NULL);
}
END_TEST

/* The JSON that declare_task gets for the options of a task section. */
static void
options_are(const char *options, const char *json)
{
	char *text = xasprintf("task t { %s }", options), *got;
	struct conf *c = good(text);
	struct buf out;

	buf_init(&out);
	conf_task_options(c->tasks[0], &out);
	got = buf_steal_str(&out);
	ck_assert_str_eq(got, json);
	free(got);
	conf_free(c);
	free(text);
}

START_TEST(task_options)
{
	options_are("", "{}");
	options_are("max_attempts = 5", "{\"max_attempts\":5}");
	options_are("timeout = 2m max_attempts = 1", "{\"max_attempts\":1,\"timeout\":\"2m\"}");
	options_are("priority = -5", "{\"priority\":-5}");
	options_are("priority = 0", "{\"priority\":0}");
	options_are("concurrency = 3 rate_limit = 10 rate_period = 1m rate_burst = 2",
	    "{\"concurrency\":3,\"rate_limit\":{\"limit\":10,\"period\":\"1m\",\"burst\":2}}");
	options_are("window = { \"22:00\", \"06:00\" } timezone = UTC days = { mon, fri }",
	    "{\"window\":[\"22:00\",\"06:00\"],\"timezone\":\"UTC\",\"days\":[\"mon\",\"fri\"]}");
	options_are("batch_size = 5", "{\"batch\":{\"size\":5}}");
	options_are("batch_size = 5 batch_timeout = 0", "{\"batch\":{\"size\":5,\"timeout\":\"0\"}}");
	options_are("rate_limit = 10", "{\"rate_limit\":{\"limit\":10}}");
	options_are("fifo_key = a.b", "{\"fifo_key\":\"a.b\"}");
	options_are("concurrency_key = \"a b\"", "{\"concurrency_key\":\"a b\"}");
	options_are("concurrency_key = a concurrency_per_key = 2 fifo_key = a key_rate_limit = 5 key_rate_period = 1m key_rate_burst = 1",
	    "{\"fifo_key\":\"a\",\"concurrency_key\":{\"limit\":2,\"key\":\"a\"},"
	    "\"rate_limit\":{\"limit\":5,\"period\":\"1m\",\"burst\":1,\"key\":\"a\"}}");
	options_are("fifo_key = a rate_limit = 9 key_rate_limit = 5",
	    "{\"fifo_key\":\"a\",\"rate_limit\":[{\"limit\":9},{\"limit\":5,\"key\":\"a\"}]}");
	options_are("total_timeout = 7d timeout = 1h", "{\"timeout\":\"1h\",\"total_timeout\":\"7d\"}");
	options_are("backoff = 15s", "{\"backoff\":[\"15s\"]}");
	options_are("backoff = { 1s, \"5s\", 1m }", "{\"backoff\":[\"1s\",\"5s\",\"1m\"]}");
	options_are("backoff = \"exponential(1s, 10m)\"", "{\"backoff\":{\"initial\":\"1s\",\"max\":\"10m\",\"factor\":2}}");
	options_are("backoff = \"exponential( 1s ,10m, 3 )\"", "{\"backoff\":{\"initial\":\"1s\",\"max\":\"10m\",\"factor\":3}}");
	options_are("remove_on_complete = 0 remove_on_fail = false",
	    "{\"remove_on_complete\":\"0\",\"remove_on_fail\":false}");
	options_are("remove_on_complete = 7d remove_on_fail = never",
	    "{\"remove_on_complete\":\"7d\",\"remove_on_fail\":false}");
}
END_TEST

START_TEST(bad_values)
{
	bad("queue a { concurrency = x }", "a.conf:1: queue.concurrency: \"x\" is not a whole number", NULL);
	bad("queue a { concurrency = 0 }", "\"0\" is out of range (1 to 100000)", NULL);
	bad("queue a { concurrency = -1 }", "\"-1\" is not a whole number", NULL);
	bad("queue a { concurrency = 1.5 }", "not a whole number", NULL);
	bad("queue a { concurrency = \"\" }", "not a whole number", NULL);
	bad("queue a { concurrency = 99999999999999999999 }", "not a whole number", NULL);
	bad("queue a { memory = 12Q }", "is not a size", NULL);
	bad("queue a { memory = 9999999999G }", "is not a size", NULL);
	bad("queue a { memory = M }", "is not a size", NULL);
	bad("max_payload = 1", "a.conf:1: max_payload: \"1\" is out of range (1024 to 268435456)", NULL);
	bad("poll_interval = 5", "is not a duration", NULL);
	bad("poll_interval = 2d", "out of range (100ms to 1h)", NULL);
	bad("queue \"q\" { poll_interval = 99ms }", "out of range (100ms to 1h)", NULL);
	bad("log_level = loud", "\"loud\" is none of debug, info, warn, error", NULL);
	bad("log_format = xml", "\"xml\" is none of text, logfmt, json", NULL);
	bad("database = \"\"", "database: is empty", NULL);
	bad("task t { queue = Media }", "\"Media\" is not a queue's name", NULL);
	bad("task t { backoff = soon }", "\"soon\" is not a duration", NULL);
	bad("task t { backoff = { 1s, x } }", "\"x\" is not a duration", NULL);
	bad("task t { backoff = \"exponential(1s)\" }", "is not exponential(first, longest)", NULL);
	bad("task t { backoff = \"exponential(1s, 2s\" }", "closing parenthesis", NULL);
	bad("task t { backoff = \"exponential(2s, 1s)\" }", "longer than the longest", NULL);
	bad("task t { backoff = \"exponential(1s, 2s, 1)\" }", "factor", NULL);
	bad("task t { backoff = \"exponential(1s, 2s, 2, 2)\" }", "factor", NULL);
	bad("task t { timeout = 0 }", "out of range", NULL);
	bad("task t { total_timeout = 0 }", "out of range", NULL);
	bad("task t { concurrency = 0 }", "out of range", NULL);
	bad("task t { window = { \"09:00\" } }", "two times are needed", NULL);
	bad("task t { days = { mon } }", "days without window", NULL);
	bad("task t { batch_size = 1001 }", "out of range", NULL);
	bad("task t { batch_timeout = 2s }", "batch_timeout without batch_size", NULL);
	bad("task t { batch_size = 2 exec = \"true\" }", "a command runs one execution at a time", NULL);
	bad("task t { batch_size = 2 fifo_key = a }", "both batch_size and a key", NULL);
	bad("task t { rate_burst = 2 }", "rate_burst without rate_limit", NULL);
	bad("task t { key_rate_burst = 2 }", "key_rate_burst without key_rate_limit", NULL);
	bad("task t { key_rate_limit = 2 }", "key_rate_limit without concurrency_key or fifo_key", NULL);
	bad("task t { concurrency_per_key = 2 }", "concurrency_per_key without concurrency_key", NULL);
	bad("task t { concurrency_key = a fifo_key = b }", "concurrency_key and fifo_key differ", NULL);
	bad("task t { fifo_key = a..b }", "does not say where the key stands", NULL);
	bad("task t { concurrency_key = \".\" }", "does not say where the key stands", NULL);
	bad("task t { remove_on_fail = true }", "neither a duration", NULL);
	bad("queue a { env = { A } }", "not of the form \"name=value\"", NULL);
	bad("queue a { env = { \"A B=1\" } }", "\"A B\" is not the name of an environment variable", NULL);
	bad("queue a { env = { \"1A=1\" } }", "not the name", NULL);
	bad("queue a { env = { \"A=1\", \"A=2\" } }", "sets A twice", NULL);
	bad("queue a { env = { \"PGCONDUCTOR_FD=4\" } }", "set by the server", NULL);
	bad("queue a { rlimits = { \"files=4\" } }", "\"files\" is not a resource limit", NULL);
	bad("queue a { rlimits = { \"nofile=x\" } }", "is not a limit", NULL);
	bad("queue a { rlimits = { \"nofile=1:\" } }", "is not a limit", NULL);
	bad("queue \"A\" { }", "a.conf:1: \"A\" is not a queue's name", NULL);
	bad("queue \"\" { }", "is not a queue's name", NULL);
	bad("task \"a/b\" { }", "is not a task's name", NULL);
	bad("handler \"-\" { }", "is not a handler's name", NULL);
}
END_TEST

/* One pass tells all that is wrong with values, each with its own line. */
START_TEST(all_errors_at_once)
{
	bad("log_level = loud\n"
	    "queue a {\n"
	    "	concurrency = x\n"
	    "	memory = y\n"
	    "}\n"
	    "task \"t!\" {}\n"
	    "poll_interval = z\n",
	    "a.conf:3: queue.concurrency", "a.conf:4: queue.memory", "a.conf:6: \"t!\"", "a.conf:1: log_level",
	    "a.conf:7: poll_interval", NULL);
}
END_TEST

START_TEST(unknown_names)
{
	bad("\ncolour = blue", "a.conf:2: unknown option \"colour\"", NULL);
	bad("queue a {\n\n colour = blue }", "a.conf:3: unknown option \"colour\" in a section queue", NULL);
	bad("concurrency = 5", "unknown option \"concurrency\"", NULL);
	bad("track \"x\" { }", "unknown option \"track\"", NULL);
	bad("listen = \"127.0.0.1:80\"", "unknown option \"listen\"", NULL);
	bad("\ntask t { exec = a payload_schema = \"no/x.json\" }", "a.conf:2: task \"t\": payload_schema: no/x.json: No such file", NULL);
	bad("task t { fifo = 1 }", "unknown option \"fifo\" in a section task", NULL);
	bad("handler h { command = a tasks = b }", "unknown option \"tasks\"", NULL);
	bad("queue a { queue b { } }", "unknown option \"queue\"", NULL);
	bad("queue a { include(\"x\") }", "unknown option \"include\"", NULL);
}
END_TEST

START_TEST(duplicates)
{
	bad("log_level = info\nlog_level = info", "a.conf:2: log_level is set twice, first in line 1", NULL);
	bad("queue a {\n concurrency = 1\n concurrency = 1\n concurrency = 2 }", "a.conf:3: concurrency is set twice", NULL);
	bad("queue a { }\nqueue a { }", "a.conf:2: queue \"a\" is there twice, first at a.conf:1", NULL);
	bad("handler a { command = x }\nhandler a { command = x }", "a.conf:2: handler \"a\" is there twice", NULL);
	bad("task a { }\n\ntask a { }", "a.conf:3: task \"a\" is there twice", NULL);
	bad("queue a { handler = { x, x } } handler x { command = x }", "names \"x\" twice", NULL);
	bad("queue a { handler = x\nhandler = { x, y } } handler x { command = x }", "a.conf:2: handler is set twice", NULL);
	conf_free(good("queue a { handler = { x }\n handler += { y } } handler x { command = x } handler y { command = y }"));
}
END_TEST

START_TEST(syntax)
{
	bad("\nqueue a {\n concurrency = 1\n", "a.conf:2: this brace is never closed", NULL);
	bad("queue a { } }", "a.conf:1: this closing brace has no opening one", NULL);
	bad("\n\ndatabase = \"abc\n\n", "a.conf:3: this string is never closed", NULL);
	bad("database = 'abc", "this string is never closed", NULL);
	bad("log_level = info\n/* a\n", "a.conf:2: this comment is never closed", NULL);
	bad("database = postgres://localhost/app", "a.conf:1: put a value with \"//\" in quotes", NULL);
	bad("database = a*", "put a value with \"*\" in quotes", NULL);
	bad("database = \"a\\0b\"", "cannot hold a NUL", NULL);
	bad("database = \"a\\x0\"", "cannot hold a NUL", NULL);
	bad("database \"a\"", "a.conf:1: missing equal sign", NULL);
	bad("queue { }", "a.conf:1:", NULL);
	bad("queue a b { }", "a.conf:1:", NULL);
	bad("log_level = { info }", "a.conf:1:", NULL);
	bad("log_level = \nlog_format = text", "a.conf:2:", "a.conf:2:", NULL);
	bad("log_level = info\ninclude(\"x\"\n", "a.conf:2: this parenthesis is never closed", NULL);
	bad("include(\"x\" \"y\")", "a.conf:1: between parentheses", NULL);
	bad("include(,)", "between parentheses", NULL);
	bad("include(\"x\",, \"y\")", "between parentheses", NULL);
	bad("include(\"x\" {)", "between parentheses", NULL);
	bad("include()", "include takes one file name or pattern", NULL);
	bad("include(\"x\", \"y\")", "include takes one file name or pattern", NULL);
	bad(")", "a.conf:1:", NULL);
	bad("a = {{{{{{{{{ ", "nested too deeply", NULL);
	conf_free(good("# comment\n// another /*\n/* # */ log_level = info # \"\nlog_format=text"));
	conf_free(good(""));
	conf_free(good("#"));
	conf_free(good("#\n"));
	conf_free(good("\r\nlog_level = info\r\n"));
}
END_TEST

START_TEST(a_file_with_nul)
{
	static const char text[] = "log_level = info\0 x";

	conf_errors_free(&errors);
	ck_assert_ptr_null(conf_parse("a.conf", text, sizeof(text) - 1, &errors));
	ck_assert_uint_eq(errors.n, 1);
}
END_TEST

START_TEST(variables)
{
	struct conf *c;

	setenv("CONF_TEST", "the value", 1);
	unsetenv("CONF_NONE");
	c = good("database = \"a ${CONF_TEST} b\" user = ${CONF_TEST} group = \"${CONF_NONE:-x y}\"");
	ck_assert_str_eq(c->database, "a the value b");
	ck_assert_str_eq(c->user, "the value");
	ck_assert_str_eq(c->group, "x y");
	conf_free(c);
	c = good("database = '${CONF_NONE}' user = \"\\${CONF_NONE}\" # ${CONF_NONE}");
	ck_assert_str_eq(c->database, "${CONF_NONE}");
	ck_assert_str_eq(c->user, "${CONF_NONE}");
	conf_free(c);
	bad("\ndatabase = \"${CONF_NONE}\"", "a.conf:2: environment variable CONF_NONE is not set", NULL);
	bad("database = ${CONF_NONE}", "CONF_NONE is not set", NULL);
	bad("database = \"${}\"", "is not a variable", NULL);
	bad("database = \"${A-b}\"", "is not a variable", NULL);
	bad("database = \"${A\n}\"", "without \"}\"", NULL);
	bad("database = a${CONF_TEST}", "in quotes", NULL);
	bad("database = ${CONF_TEST}a", "in quotes", NULL);
}
END_TEST

START_TEST(references)
{
	struct conf *c;

	bad("queue a { handler = x }", "a.conf:1: queue \"a\": there is no handler \"x\"", NULL);
	bad("\ntask a { handler = x }", "a.conf:2: task \"a\": there is no handler \"x\"", NULL);
	bad("task a { handler = x exec = y } handler x { command = x }", "task \"a\" has both exec and handler", NULL);
	bad("queue a { handler = x } handler x { }", "handler \"x\" has no command", NULL);
	c = good("\nhandler x { command = x }");
	ck_assert_uint_eq(errors.warnings_n, 1);
	ck_assert_ptr_nonnull(strstr(errors.warnings[0], "a.conf:2: handler \"x\" is not run"));
	conf_free(c);
	c = good("task a { handler = x queue = q } task b { exec = y } handler x { command = x } queue q { handler = x }");
	ck_assert_uint_eq(conf_queue_find(c, "q")->handlers_n, 1);
	ck_assert_str_eq(conf_task_find(c, "b")->queue, "default");
	ck_assert_ptr_nonnull(conf_queue_find(c, "default"));
	ck_assert_uint_eq(errors.warnings_n, 0);
	conf_free(c);
	c = good("task a { max_attempts = 2 }");
	ck_assert_ptr_null(c->tasks[0]->queue);
	ck_assert_uint_eq(c->queues_n, 0);
	conf_free(c);
}
END_TEST

static const char *
env_of(const struct conf_pairs *env, const char *name)
{
	for (size_t i = 0; i < env->n; i++)
		if (strcmp(env->v[i].name, name) == 0)
			return env->v[i].value;
	return NULL;
}

START_TEST(environments)
{
	char program[] = "/opt/bin/prog", argument[] = "x y", *argv[] = { program, argument, NULL };
	struct conf *c = good("queue q { handler = h env = { \"A=queue\", \"Q==1=\" } directory = /q }\n"
	    "handler h { command = x env = { \"A=handler\", \"H=\" } directory = /h }");
	struct conf_queue *q = conf_queue_find(c, "q");
	struct conf_handler *h = conf_handler_find(c, "h");
	struct conf_pairs env;

	setenv("CONF_SECRET", "1", 1);
	setenv("PGCONDUCTOR_FD", "3", 1);
	setenv("PATH", "/bin", 1);
	conf_program_env(c, q, h, &env);
	ck_assert_str_eq(env_of(&env, "A"), "queue");
	ck_assert_str_eq(env_of(&env, "Q"), "=1=");
	ck_assert_str_eq(env_of(&env, "H"), "");
	ck_assert_str_eq(env_of(&env, "PATH"), "/bin");
	ck_assert_ptr_null(env_of(&env, "CONF_SECRET"));
	conf_pairs_free(&env);
	ck_assert_str_eq(conf_program_directory(q, h), "/q");
	ck_assert_str_eq(conf_program_directory(NULL, h), "/h");
	ck_assert_ptr_null(conf_program_directory(NULL, NULL));

	conf_set_command(c, argv);
	ck_assert_str_eq(c->command->name, "prog");
	ck_assert_str_eq(c->command->command.v[1], "x y");
	conf_program_env(c, NULL, c->command, &env);
	ck_assert_str_eq(env_of(&env, "CONF_SECRET"), "1");
	ck_assert_ptr_null(env_of(&env, "PGCONDUCTOR_FD"));
	conf_pairs_free(&env);
	conf_free(c);
}
END_TEST

START_TEST(name_of_a_program)
{
	static const struct {
		const char *argv[7], *name;
	} of[] = {
		{ { "/opt/app/worker", "config.yml" }, "worker" },
		{ { "/usr/bin/python3", "/srv/app/tasks.py", "--fast" }, "tasks.py" },
		{ { "python3.11", "-u", "-m", "app.tasks" }, "app.tasks" },
		{ { "python3", "-W", "error", "tasks.py" }, "tasks.py" },
		{ { "node", "worker.js" }, "worker.js" },
		{ { "node", "--require", "./hook.cjs", "--import", "tsx", "worker.ts" }, "worker.ts" },
		{ { "node", "--import=tsx", "worker.ts", "-r", "x" }, "worker.ts" },
		{ { "node", "--import" }, "node" },
		{ { "bun", "run", "demo/worker.ts" }, "worker.ts" },
		{ { "bash", "-c", "exec worker" }, "bash" },
		{ { "python3" }, "python3" },
		{ { "pythonic", "tasks.py" }, "pythonic" },
		{ { "7z", "x" }, "7z" },
	};

	for (size_t i = 0; i < sizeof(of) / sizeof(of[0]); i++) {
		struct conf *c = good("");

		conf_set_command(c, (char *const *)of[i].argv);
		ck_assert_str_eq(c->command->name, of[i].name);
		conf_free(c);
	}
}
END_TEST

static char dir[] = "/tmp/pgc-conf-XXXXXX";

static void
enter_directory(void)
{
	ck_assert_ptr_nonnull(mkdtemp(dir));
	ck_assert_int_eq(chdir(dir), 0);
}

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static void
remove_directory(void)
{
	nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static void
write_file(const char *name, const char *text)
{
	FILE *f = fopen(name, "w");

	ck_assert_ptr_nonnull(f);
	fputs(text, f);
	fclose(f);
}

START_TEST(includes)
{
	struct conf *c;

	ck_assert_int_eq(mkdir("d", 0700), 0);
	write_file("main.conf", "include(\"d/*.conf\")\nlog_level = warn\ninclude('none/*.conf')");
	write_file("d/1.conf", "queue a { concurrency = 1 }\ninclude(\"sub\")");
	write_file("d/2.conf", "queue b { concurrency = 2 }");
	write_file("d/sub", "task t { exec = x }");
	c = conf_load("main.conf", &errors);
	ck_assert_msg(c != NULL, "%s", errors.n > 0 ? errors.v[0] : "");
	ck_assert_int_eq(c->log_level, LOG_LEVEL_WARN);
	ck_assert_uint_eq(c->files_n, 4);
	ck_assert_uint_eq(c->queues_n, 3);
	ck_assert_str_eq(conf_queue_find(c, "b")->place.file, "d/2.conf");
	conf_free(c);

	/* Mistakes in included files stand with theirs; later files are still read. */
	write_file("d/1.conf", "\nqueue a { colour = 1 }");
	write_file("d/2.conf", "queue b { concurrency = x }\nlog_level = warn");
	write_file("main.conf", "include(\"d/*.conf\") include(\"gone\") include(\"main.conf\")\nqueue b { }");
	ck_assert_ptr_null(conf_load("main.conf", &errors));
	ck_assert_uint_eq(errors.n, 4);
	ck_assert_ptr_nonnull(strstr(errors.v[0], "d/1.conf:2: unknown option \"colour\""));
	ck_assert_ptr_nonnull(strstr(errors.v[1], "d/2.conf:1: queue \"b\" is there twice, first at main.conf:2"));
	ck_assert_ptr_nonnull(strstr(errors.v[2], "main.conf:1: include: gone: no such file"));
	ck_assert_ptr_nonnull(strstr(errors.v[3], "main.conf:1: include: main.conf has been read already"));
	conf_errors_free(&errors);

	/* The same option in two files is set twice, too. */
	write_file("main.conf", "log_level = info\ninclude(\"d/2.conf\")");
	write_file("d/2.conf", "\nlog_level = warn");
	ck_assert_ptr_null(conf_load("main.conf", &errors));
	ck_assert_uint_eq(errors.n, 1);
	ck_assert_ptr_nonnull(strstr(errors.v[0], "d/2.conf:2: log_level is set twice, first at main.conf:1"));
	conf_errors_free(&errors);

	write_file("main.conf", "include(\"d/*.conf\", \"x\")");
	ck_assert_ptr_null(conf_load("main.conf", &errors));
	ck_assert_ptr_null(conf_load("d", &errors));
	ck_assert_ptr_null(conf_load("gone.conf", &errors));
}
END_TEST

/* After a file with any kind of mistake the next one is read as if nothing had been: a reload depends on it. */
START_TEST(mistakes_leave_nothing_behind)
{
	static const char *const texts[] = {
		"database = \"abc", "queue a {", "queue a { x = 1 }", "/*", "include(\"x\"", "include(", "log_level =", "queue a { env = {",
		"database = \"\\9\"", "log_level = { ", "a",
	};

	for (int round = 0; round < 20; round++) {
		for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
			conf_errors_free(&errors);
			write_file("inner.conf", texts[i]);
			write_file("main.conf", "include(\"inner.conf\")");
			ck_assert_ptr_null(conf_load("main.conf", &errors));
			ck_assert_ptr_null(parse(texts[i]));
			write_file("inner.conf", "log_level = warn");
			conf_errors_free(&errors);
			conf_free(conf_load("main.conf", &errors));
			ck_assert_uint_eq(errors.n, 0);
		}
	}
}
END_TEST

START_TEST(compare)
{
	struct conf *old = good("database = \"a\" log_level = info"), *new;

	new = conf_parse("a.conf", "log_level = warn poll_interval = 1s", 35, &errors);
	conf_errors_free(&errors);
	conf_compare(old, new, &errors);
	ck_assert_uint_eq(errors.warnings_n, 1);
	ck_assert_ptr_nonnull(strstr(errors.warnings[0], "database has changed"));
	conf_free(old);
	conf_free(new);
}
END_TEST

static Suite *
suite(void)
{
	Suite *s = suite_create("conf");
	TCase *t = tcase_create("conf"), *files = tcase_create("files");

	conf_errors_init(&errors);
	tcase_add_test(t, defaults);
	tcase_add_test(t, the_example);
	tcase_add_test(t, commands);
	tcase_add_test(t, task_options);
	tcase_add_test(t, bad_values);
	tcase_add_test(t, all_errors_at_once);
	tcase_add_test(t, unknown_names);
	tcase_add_test(t, duplicates);
	tcase_add_test(t, syntax);
	tcase_add_test(t, a_file_with_nul);
	tcase_add_test(t, variables);
	tcase_add_test(t, references);
	tcase_add_test(t, environments);
	tcase_add_test(t, name_of_a_program);
	tcase_add_test(t, compare);
	suite_add_tcase(s, t);
	tcase_add_unchecked_fixture(files, enter_directory, remove_directory);
	tcase_add_test(files, includes);
	tcase_add_test(files, mistakes_leave_nothing_behind);
	suite_add_tcase(s, files);
	return s;
}

UNIT_MAIN(suite)
