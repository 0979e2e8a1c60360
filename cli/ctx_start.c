/*
 * pgconductor ctx start: an execution that is not waited for. The cli process only.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>

#include "cli/cli.h"
#include "cli/ctx.h"

static const char *queue, *priority, *delay, *dedupe_key, *dedupe_for, *throttle, *debounce, *max_wait;
static struct cli_values metadata;

static const struct cli_option options[] = {
	{ "queue", 0, CLI_TEXT, &queue, "Q", "instead of the task's own queue" },
	{ "priority", 0, CLI_TEXT, &priority, "N", "-32768 to 32767, higher first; the task's if left out" },
	{ "metadata", 0, CLI_EACH, &metadata, "K=V", "besides what it inherits; or a JSON object" },
	{ "delay", 0, CLI_TEXT, &delay, "D", "not before this long has passed: 250ms, 10s, 5m, 2h, 7d" },
	{ "dedupe-key", 0, CLI_TEXT, &dedupe_key, "KEY", "made once with this key; after that the id is that of the first" },
	{ "dedupe-for", 0, CLI_TEXT, &dedupe_for, "D", "for so long, 0 while it is unfinished; else while its history is kept" },
	{ "throttle", 0, CLI_TEXT, &throttle, "D", "one in so long; more are not made, and no id is printed" },
	{ "debounce", 0, CLI_TEXT, &debounce, "D", "one, when so long no other was asked for, with the last payload" },
	{ "max-wait", 0, CLI_TEXT, &max_wait, "D", "with --debounce: so long after the first at the latest" },
	{ .name = NULL }
};

static int
do_start(struct pgc_run *run, void *arg)
{
	const char *id, *why;

	if (pgc_start_with(run, arg, &id) != 0)
		return PGC_OVER;
	why = pgc_error(pgc_of(run));
	if (id != NULL) {
		puts(id);
	} else if (*why == '\0') {
		cli_warn("throttled: nothing was created");
	} else {
		cli_warn("%s", why);
		ctx_status = 1;
	}
	return 0;
}

static int64_t
time_of(const char *option, const char *value)
{
	return value != NULL ? cli_duration(option, value) : -1;
}

static int
run(int argc, char **argv)
{
	struct pgc_start s = PGC_START;

	if (argc < 2)
		cli_usage("TASK is missing");
	if (argc > 3)
		cli_usage("%s: unexpected argument", argv[3]);
	s.task = argv[1];
	s.payload = ctx_payload(argc > 2 ? argv[2] : NULL);
	s.queue = queue;
	s.priority = priority != NULL ? cli_priority("--priority", priority) : PGC_PRIORITY_OF_TASK;
	s.delay_ms = time_of("--delay", delay);
	s.dedupe_key = dedupe_key;
	s.dedupe_for_ms = time_of("--dedupe-for", dedupe_for);
	s.throttle_ms = time_of("--throttle", throttle);
	s.debounce_ms = time_of("--debounce", debounce);
	s.metadata = cli_metadata(&metadata);
	s.max_wait_ms = time_of("--max-wait", max_wait);
	return ctx_do(do_start, &s, NULL, 0);
}

const struct cli_command ctx_start = {
	.name = "ctx start",
	.arguments = "TASK [JSON | - | @FILE] [OPTION…]",
	.operand = "TASK",
	.summary = "create an execution of a task without waiting for what comes of it; print its id",
	.details = "It is done in each run of the command. To have it done once: pgconductor ctx step KEY -- pgconductor ctx start …\n",
	.options = options,
	.no_database = true,
	.run = run,
};
