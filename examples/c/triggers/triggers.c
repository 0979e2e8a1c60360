/*
 * What starts tasks besides invoke, and what they may wait for, in C: heartbeat runs every three seconds, and by hand; reports makes
 * and removes a schedule while all runs; listen waits for an event, as often as it is invoked, and announce wakes them all.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <pgconductor.h>

/* A member of an object, a string; otherwise what was given. Free it. */
static char *
member(const char *json, const char *name, const char *otherwise)
{
	json_t *value = json_loads(json, JSON_DECODE_ANY, NULL);
	const char *text = json_string_value(json_object_get(value, name));
	char *copy = strdup(text != NULL ? text : otherwise);

	json_decref(value);
	return copy;
}

static int
heartbeat(struct pgc_run *run, void *arg)
{
	const char *at = pgc_event_at(run);
	char *by = member(pgc_payload(run), "by", "nobody");
	char line[256];

	(void)arg;
	snprintf(line, sizeof(line), "beat%s%s by %s", at != NULL ? " of " : "", at != NULL ? at : "", by);
	free(by);
	pgc_log(run, "info", line, NULL);
	return pgc_done_text(run, line);
}

static int
report(struct pgc_run *run, void *arg)
{
	char *source = member(pgc_payload(run), "source", "nobody");
	char line[256];

	(void)arg;
	snprintf(line, sizeof(line), "%s for %s, due at %s", pgc_event(run), source,
	    pgc_event_at(run) != NULL ? pgc_event_at(run) : "no time");
	free(source);
	pgc_log(run, "info", line, NULL);
	return pgc_done_text(run, line);
}

/* Scheduling what is scheduled changes nothing, so that it may be done in each run. */
static int
reports(struct pgc_run *run, void *arg)
{
	struct pgc_schedule s = PGC_SCHEDULE;
	char *what = member(pgc_payload(run), "do", "schedule");
	bool remove = strcmp(what, "unschedule") == 0, removed = false;
	const char *next = NULL;

	(void)arg;
	free(what);
	s.task = "report";
	s.name = "reports";
	s.cron = "* * * * * *";
	s.payload = "{\"source\": \"admin\"}";
	s.overlap = "skip";
	if ((remove ? pgc_unschedule(run, s.task, s.name, &removed) : pgc_schedule(run, &s, &next)) != 0)
		return PGC_OVER;
	if (remove)
		return pgc_done(run, removed ? "true" : "false");
	return next != NULL ? pgc_done_text(run, next) : pgc_fail(run, pgc_error(pgc_of(run)));
}

/* Meanwhile it is a row in the database: any number may listen, for as long as they like. */
static int
listens(struct pgc_run *run, void *arg)
{
	struct pgc_event_wait heard = PGC_EVENT;
	char *text, line[256];

	(void)arg;
	heard.key = "announcement";
	heard.event = "announcement";
	heard.timeout_ms = 60000;
	if (pgc_wait_event(run, &heard) != 0)
		return PGC_OVER;
	if (heard.error != NULL)
		return pgc_done_text(run, "heard nothing");
	text = member(heard.payload, "text", "something");
	snprintf(line, sizeof(line), "heard: %s", text);
	free(text);
	return pgc_done_text(run, line);
}

/* In a step, so that it is not said again once that is saved. */
static int
announce(struct pgc_run *run, void *arg)
{
	const char *said = pgc_saved(run, "say"), *id;
	char quoted[64];

	(void)arg;
	if (said != NULL)
		return pgc_done(run, said);
	if (pgc_emit(run, "announcement", pgc_payload(run), &id) != 0)
		return PGC_OVER;
	if (id == NULL)
		return pgc_fail(run, pgc_error(pgc_of(run)));
	snprintf(quoted, sizeof(quoted), "\"%s\"", id);
	return pgc_save(run, "say", quoted) != 0 ? PGC_OVER : pgc_done(run, quoted);
}

int
main(int argc, char **argv)
{
	struct pgc *c = pgc_new();
	int status;

	pgc_task(c, "heartbeat", heartbeat, NULL);
	pgc_triggers(c, "heartbeat", "[{\"invocable\": true}, {\"cron\": \"*/3 * * * * *\", \"name\": \"every-3-seconds\","
	    " \"payload\": {\"by\": \"the clock\"}}]");
	pgc_task(c, "report", report, NULL);
	pgc_task(c, "reports", reports, NULL);
	pgc_task(c, "listen", listens, NULL);
	pgc_task(c, "announce", announce, NULL);
	status = pgc_serve(c, argc, argv);
	pgc_free(c);
	return status;
}
