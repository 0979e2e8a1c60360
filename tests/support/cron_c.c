/*
 * Schedules on libpgconductor, for test_cron.py. In the environment: LEDGER, TRIGGERS of the task tick (JSON; none: none),
 * TICK_MS that it takes.
 *
 *	tick    anything    enters "tick" with its event, the time that it is for, and the payload; returns the former two
 *	plan    {"task", "name", "cron", "payload", "timezone", "overlap", "catchup"}  schedules it; without cron unschedules it.
 *	        Returns when it is due, or whether there was one; or what it was refused for
 */
#include "program.h"

static int
tick(struct pgc_run *run, void *arg)
{
	const char *ms = getenv("TICK_MS");

	(void)arg;
	enter_cause(run, "tick");
	if (ms != NULL)
		usleep((useconds_t)atoi(ms) * 1000);
	return done_json(run, json_pack("[s, s?]", pgc_event(run), pgc_event_at(run)));
}

static int
plan(struct pgc_run *run, void *arg)
{
	struct pgc_schedule s = PGC_SCHEDULE;
	json_t *given = payload_of(run), *result;
	const char *next = NULL;
	char *payload;
	bool removed = false;
	int over;

	(void)arg;
	s.task = json_string_value(json_object_get(given, "task"));
	s.name = json_string_value(json_object_get(given, "name"));
	s.cron = json_string_value(json_object_get(given, "cron"));
	s.timezone = json_string_value(json_object_get(given, "timezone"));
	s.overlap = json_string_value(json_object_get(given, "overlap"));
	s.catchup = json_string_value(json_object_get(given, "catchup"));
	s.payload = payload = json_dumps(json_object_get(given, "payload"), JSON_ENCODE_ANY);
	over = s.cron != NULL ? pgc_schedule(run, &s, &next) : pgc_unschedule(run, s.task, s.name, &removed);
	if (over == 0) {
		if (*pgc_error(pgc_of(run)) != '\0')
			result = json_string(pgc_error(pgc_of(run)));
		else
			result = s.cron != NULL ? json_string(next) : json_boolean(removed);
		over = done_json(run, result);
	}
	free(payload);
	json_decref(given);
	return over;
}

int
main(int argc, char **argv)
{
	struct pgc *c = pgc_new();
	int status;

	pgc_task(c, "tick", tick, NULL);
	pgc_task(c, "plan", plan, NULL);
	if (getenv("TRIGGERS") != NULL)
		pgc_triggers(c, "tick", getenv("TRIGGERS"));
	pgc_set_credit(c, 50);
	status = pgc_serve(c, argc, argv);
	pgc_free(c);
	return status;
}
