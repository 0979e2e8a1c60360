/*
 * pgconductor ctx: what a one-shot command may ask for on its way, so that a script is a durable workflow. The cli process
 * only. Each call is a handler of the command's run for as long as it takes, on libpgconductor: see proto/c/join.h.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/ctx.h"
#include "common/buf.h"
#include "common/json.h"
#include "common/utf8.h"

#define KEY_BYTES	1024
#define KEYS_BYTES	(1000u << 10)	/* of all in one call: HELLO is no longer than 1 MiB */
#define NOT_WITHIN	"this is for a command that pgconductor runs (a task with exec), and not within one: "

int ctx_status;

/* ---- for all of them ---- */

static const char *
environment(const char *name)
{
	const char *s = getenv(name);

	if (s == NULL || *s == '\0')
		cli_fail(EX_UNAVAILABLE, NOT_WITHIN "%s is not set", name);
	return s;
}

int
ctx_do(pgc_task_fn *fn, void *arg, const char *const *keys, size_t n)
{
	struct pgc_join how = {
		.socket = environment("PGCONDUCTOR_SOCKET"),
		.run = environment("PGCONDUCTOR_ID"),
		.token = environment("PGCONDUCTOR_TOKEN"),
		.keys = keys, .keys_n = n,
	};
	struct pgc *c = pgc_new();
	size_t bytes = 0;
	int verdict;

	for (size_t i = 0; i < n; i++)
		bytes += strlen(keys[i]) + 5;
	if (bytes > KEYS_BYTES)
		cli_fail(EX_USAGE, "the keys are too long for one call: do less at a time");
	verdict = pgc_join(c, &how, fn, arg);
	if (verdict == -1)
		cli_fail(EX_TEMPFAIL, "%s", pgc_error(c));
	if (verdict == PGC_OVER)
		cli_fail(EX_TEMPFAIL, "this run is over");
	pgc_free(c);
	return cli_done(ctx_status);
}

const char *
ctx_key(const char *key)
{
	if (*key == '\0' || strlen(key) > KEY_BYTES || !utf8_valid(key, strlen(key)))
		cli_usage("a key has 1 to %d bytes of UTF-8", KEY_BYTES);
	return key;
}

const char *
ctx_payload(const char *arg)
{
	static char *text;
	const char *why;
	size_t at;

	if (arg == NULL)
		return NULL;
	text = cli_read_payload(arg);
	if (json_check(text, strlen(text), &at, &why) == -1)
		cli_fail(EX_DATAERR, "the payload is not JSON: %s at byte %zu", why, at);
	return text;
}

void
ctx_print(const char *result, bool json)
{
	char *text;

	if (json) {
		puts(result);
	} else if ((text = cli_json_text(result)) != NULL) {
		puts(text);
		free(text);
	} else if (strcmp(result, "null") != 0) {
		puts(result);
	}
}

static void
expect(int argc, char **argv, int least, int most, const char *missing)
{
	if (argc - 1 < least)
		cli_usage("%s is missing", missing);
	if (argc - 1 > most)
		cli_usage("%s: unexpected argument", argv[most + 1]);
}

/* ---- sleep ---- */

struct nap {
	const char	*key;
	int64_t		 ms;
};

static int
do_sleep(struct pgc_run *run, void *arg)
{
	const struct nap *nap = arg;

	return pgc_sleep(run, nap->key, nap->ms);
}

static int
run_sleep(int argc, char **argv)
{
	struct nap nap = { NULL, 0 };
	const char *name = "";

	expect(argc, argv, 1, 2, "DURATION");
	if (argc == 3)
		name = nap.key = ctx_key(argv[1]);
	nap.ms = cli_duration("DURATION", argv[argc - 1]);
	return ctx_do(do_sleep, &nap, &name, 1);
}

const struct cli_command ctx_sleep = {
	.name = "ctx sleep",
	.arguments = "[KEY] DURATION",
	.summary = "go on after so long; meanwhile the execution takes neither a process nor a slot",
	.details = "The command is ended (TERM, then KILL) and run again from its beginning when the time has come. A DURATION is\n"
	    "250ms, 10s, 5m, 2h or 7d, from the first time that this key was slept on.\n",
	.no_database = true,
	.run = run_sleep,
};

/* ---- cancel ---- */

static int
refused(struct pgc_run *run)
{
	cli_warn("%s", pgc_error(pgc_of(run)));
	ctx_status = 1;
	return 0;
}

static const char *reason;

static const struct cli_option cancel_options[] = {
	{ "reason", 0, CLI_TEXT, &reason, "TEXT", "why, for those who look at it later" },
	{ .name = NULL }
};

static int
do_cancel(struct pgc_run *run, void *arg)
{
	bool cancelled = false;

	if (pgc_cancel_execution(run, arg, reason, &cancelled) != 0)
		return PGC_OVER;
	if (*pgc_error(pgc_of(run)) != '\0')
		return refused(run);
	puts(cancelled ? "true" : "false");
	return 0;
}

static int
run_cancel(int argc, char **argv)
{
	expect(argc, argv, 1, 1, "ID");
	return ctx_do(do_cancel, argv[1], NULL, 0);
}

const struct cli_command ctx_cancel = {
	.name = "ctx cancel",
	.arguments = "ID [--reason TEXT]",
	.summary = "cancel another execution; print whether it was unfinished, true or false",
	.options = cancel_options,
	.no_database = true,
	.run = run_cancel,
};

/* ---- fail ---- */

static const char *retry_after;
static bool want_retry;

static const struct cli_option fail_options[] = {
	{ "retry", 0, CLI_FLAG, &want_retry, NULL, "it may be tried again, by the task's backoff: exit 1" },
	{ "retry-after", 0, CLI_TEXT, &retry_after, "D", "it may be tried again after so long: exit 1" },
	{ .name = NULL }
};

static int
do_fail(struct pgc_run *run, void *arg)
{
	const struct pgc_failure *f = arg;

	pgc_fail_with(run, f);
	cli_warn("%s", f->message);
	ctx_status = f->for_good ? EX_DATAERR : EXIT_FAILURE;
	return 0;
}

static int
run_fail(int argc, char **argv)
{
	struct pgc_failure f = PGC_FAILURE;

	expect(argc, argv, 1, 1, "MESSAGE");
	f.message = argv[1];
	if (retry_after != NULL)
		f.after_ms = cli_duration("--retry-after", retry_after);
	f.for_good = !want_retry && retry_after == NULL;
	return ctx_do(do_fail, &f, NULL, 0);
}

const struct cli_command ctx_fail = {
	.name = "ctx fail",
	.arguments = "MESSAGE [OPTION…]",
	.summary = "fail with this message, as the last thing that the command does: for good, exit 65",
	.details = "The command has to exit with the same status; with set -e it does.\n",
	.options = fail_options,
	.no_database = true,
	.run = run_fail,
};

/* ---- log, progress, checkpoint ---- */

static const char *level = "info";
static struct cli_values fields;

static const struct cli_option log_options[] = {
	{ "level", 0, CLI_TEXT, &level, "debug|info|warn|error", "info if left out" },
	{ "field", 0, CLI_EACH, &fields, "NAME=VALUE", "more about it; may be given several times" },
	{ .name = NULL }
};

/* An object of them; NULL: there are none. */
static char *
fields_json(void)
{
	struct buf out;

	buf_init(&out);
	for (size_t i = 0; i < fields.n; i++) {
		const char *equals = strchr(fields.v[i], '=');

		if (equals == NULL || equals == fields.v[i])
			cli_usage("--field: \"%s\" is not NAME=VALUE", fields.v[i]);
		buf_addstr(&out, i == 0 ? "{" : ",");
		json_quote(&out, fields.v[i], (size_t)(equals - fields.v[i]));
		buf_addstr(&out, ":");
		json_quote(&out, equals + 1, strlen(equals + 1));
	}
	if (fields.n == 0)
		return NULL;
	buf_addstr(&out, "}");
	return buf_steal_str(&out);
}

static int
do_log(struct pgc_run *run, void *arg)
{
	char *json = fields_json();

	pgc_log(run, level, arg, json);
	free(json);
	return 0;
}

static bool
is_level(const char *s)
{
	return strcmp(s, "debug") == 0 || strcmp(s, "info") == 0 || strcmp(s, "warn") == 0 || strcmp(s, "error") == 0;
}

static int
run_log(int argc, char **argv)
{
	expect(argc, argv, 1, 1, "MESSAGE");
	if (!is_level(level))
		cli_usage("--level: \"%s\" is not debug, info, warn or error", level);
	free(fields_json());
	return ctx_do(do_log, argv[1], NULL, 0);
}

const struct cli_command ctx_log = {
	.name = "ctx log",
	.arguments = "MESSAGE [OPTION…]",
	.summary = "a line for the log of the execution",
	.options = log_options,
	.no_database = true,
	.run = run_log,
};

struct progress {
	int		 percent;	/* -1: not said */
	const char	*note;
};

static int
do_progress(struct pgc_run *run, void *arg)
{
	const struct progress *p = arg;

	pgc_progress(run, p->percent, p->note);
	return 0;
}

static int
run_progress(int argc, char **argv)
{
	struct progress p = { -1, NULL };
	char *end;

	expect(argc, argv, 1, 2, "PERCENT");
	if (strcmp(argv[1], "-") != 0) {
		p.percent = (int)strtol(argv[1], &end, 10);
		if (end == argv[1] || *end != '\0' || p.percent < 0 || p.percent > 100 || strlen(argv[1]) > 3)
			cli_usage("PERCENT: \"%s\" is neither a whole number from 0 to 100 nor -", argv[1]);
	}
	p.note = argc > 2 ? argv[2] : NULL;
	return ctx_do(do_progress, &p, NULL, 0);
}

const struct cli_command ctx_progress = {
	.name = "ctx progress",
	.arguments = "PERCENT [NOTE]",
	.summary = "say how far the execution is; - as PERCENT leaves that as it is",
	.no_database = true,
	.run = run_progress,
};

static int
do_checkpoint(struct pgc_run *run, void *arg)
{
	(void)arg;
	return pgc_checkpoint(run);
}

static int
run_checkpoint(int argc, char **argv)
{
	expect(argc, argv, 0, 0, "");
	return ctx_do(do_checkpoint, NULL, NULL, 0);
}

const struct cli_command ctx_checkpoint = {
	.name = "ctx checkpoint",
	.arguments = "",
	.summary = "where a long loop may stop: goes on, unless the server drains or the execution was cancelled",
	.details = "When the server drains, the command is ended here and run again elsewhere, with what it has saved, and without\n"
	    "having lost an attempt.\n",
	.no_database = true,
	.run = run_checkpoint,
};

/* ---- all of them ---- */

static int
run(int argc, char **argv)
{
	if (argc < 2)
		cli_usage("which call is missing");
	cli_fail(EX_USAGE, "%s: no such call; `pgconductor ctx --help` lists them", argv[1]);
}

static const struct cli_command *const calls[] = {
	&ctx_step, &ctx_sleep, &ctx_invoke, &ctx_start, &ctx_cancel, &ctx_fail, &ctx_log, &ctx_progress, &ctx_checkpoint,
	&ctx_emit, &ctx_wait, &ctx_schedule, &ctx_unschedule,
};

const struct cli_command cmd_ctx = {
	.name = "ctx",
	.arguments = "CALL …",
	.summary = "within a one-shot command: steps, sleep, children, events, progress",
	.details = "A command that a task has as exec is run from its beginning each time: after a failure, after its end, and when it\n"
	    "is resumed. What it has done by these calls is saved under their keys, and not done again. Exit status 75: the run\n"
	    "is over, or the server is gone; 69: not within a command that pgconductor runs.\n",
	.calls = calls,
	.calls_n = sizeof(calls) / sizeof(calls[0]),
	.no_database = true,
	.run = run,
};
