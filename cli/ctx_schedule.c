/*
 * pgconductor ctx schedule and unschedule. The cli process only.
 */
#include "config.h"

#include "cli/cli.h"
#include "cli/ctx.h"

static struct pgc_schedule schedule = PGC_SCHEDULE;

static const struct cli_option options[] = {
	{ "timezone", 0, CLI_TEXT, &schedule.timezone, "TZ", "of the expression, such as Europe/Berlin; UTC if left out" },
	{ "overlap", 0, CLI_TEXT, &schedule.overlap, "O", "allow, or skip: no execution while the former one is unfinished" },
	{ "catchup", 0, CLI_TEXT, &schedule.catchup, "C",
	    "what is made up for when nothing ran: skip (nothing), last, all, or how many" },
	{ .name = NULL }
};

/* The command decides what follows from it. */
static int
refused(struct pgc_run *run)
{
	cli_warn("%s", pgc_error(pgc_of(run)));
	ctx_status = EX_DATAERR;
	return 0;
}

static int
do_schedule(struct pgc_run *run, void *arg)
{
	const char *next = NULL;

	(void)arg;
	if (pgc_schedule(run, &schedule, &next) != 0)
		return PGC_OVER;
	if (next == NULL)
		return refused(run);
	puts(next);
	return 0;
}

static int
run_schedule(int argc, char **argv)
{
	if (argc < 4)
		cli_usage("%s is missing", argc < 2 ? "TASK" : argc < 3 ? "NAME" : "CRON, an expression in quotes,");
	if (argc > 5)
		cli_usage("%s: unexpected argument; an expression of several fields is one argument, in quotes", argv[5]);
	schedule.task = argv[1];
	schedule.name = argv[2];
	schedule.cron = argv[3];
	schedule.payload = ctx_payload(argc > 4 ? argv[4] : NULL);
	return ctx_do(do_schedule, NULL, NULL, 0);
}

static int
do_unschedule(struct pgc_run *run, void *arg)
{
	char **names = arg;
	bool removed = false;

	if (pgc_unschedule(run, names[0], names[1], &removed) != 0)
		return PGC_OVER;
	if (*pgc_error(pgc_of(run)) != '\0')
		return refused(run);
	puts(removed ? "true" : "false");
	return 0;
}

static int
run_unschedule(int argc, char **argv)
{
	if (argc < 3)
		cli_usage("%s is missing", argc < 2 ? "TASK" : "NAME");
	if (argc > 3)
		cli_usage("%s: unexpected argument", argv[3]);
	return ctx_do(do_unschedule, argv + 1, NULL, 0);
}

const struct cli_command ctx_schedule = {
	.name = "ctx schedule",
	.arguments = "TASK NAME CRON [JSON | - | @FILE] [OPTION…]",
	.operand = "TASK",
	.summary = "have a task executed again and again; print when for the first time",
	.details = "As pgconductor schedule. One of the same name is replaced, so that doing it in each run does no harm.\n",
	.options = options,
	.no_database = true,
	.run = run_schedule,
};

const struct cli_command ctx_unschedule = {
	.name = "ctx unschedule",
	.arguments = "TASK NAME",
	.operand = "TASK",
	.summary = "remove a schedule; print whether there was one, true or false",
	.no_database = true,
	.run = run_unschedule,
};
