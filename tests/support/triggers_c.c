/*
 * What starts and resumes executions, on libpgconductor, for test_triggers.py; triggers_python.py, triggers_node.mjs and
 * triggers_shell/ have the same tasks. LEDGER, in the environment, names the ledger; all tasks have the options
 * {"backoff": "1ms"}, and the program takes at least 4 executions at once, in one process or several.
 *
 * These enter, under their own names, "EVENT|AT|PAYLOAD": the name of what they were started by, the time of that as
 * 2030-01-31T12:00:00.000Z (nothing for an invoke), the payload as JSON. They return the event's name.
 *
 *	seen    triggers: event order.paid, when (payload->>'total')::numeric > 100, fields id,customer.name; event order.sent
 *	copy    triggers: invocable; event order.sent
 *	tick    triggers: invocable; cron * * * * * *, name every-second, payload {"by": "cron"}; cron 0 9 * * mon-fri, name
 *	        morning, timezone Europe/Berlin, overlap skip, catchup last; cron @yearly, without a name
 *	report  no triggers are given: it is invocable
 *	changed triggers: table users, operation insert, columns id,email; schema app, table accounts, operation update, columns
 *	        id,balance, when new.balance < old.balance; table users, operation delete
 *
 * And these go on with what they waited for:
 *
 *	wait    {"mode", "waits": [{"key", "event", "when", "since", "timeout_ms"} or, instead of event and since, "schema", "table",
 *	        "operation", "columns"], "turns"}  waits for one event, the first of the list (mode one), for all or for any of
 *	        them, so many times, one if it does not say; what is not there is left out of the call too. Behind a key, if there is
 *	        one, stands - and the number of the turn, from 0. Returns what it got in each turn, as a list: the payload; the
 *	        list of the payloads; [index, payload] of the first that came, which must be the same in each later run, whatever
 *	        has come by then; or, whatever the mode, "timeout" when it took too long. A condition that is none fails it for
 *	        good, with code bad_filter
 *	say     {"event", "payload"}  emits it, in a step "said"; without a payload if there is none. Returns the event's id, as a
 *	        string; fails with what it was told if that is refused
 *	ask     null    emits asked {"of": its own id}, in a step; waits, since the start, for answered with that id as "to". Returns
 *	        the n of the answer
 *	answer  trigger: event asked  emits answered {"to": the id that asked, "n": 42}, in a step; returns null
 *	plan    {"task", "name", "cron", "payload", "timezone", "overlap", "catchup"}  schedules it, with what is there of these.
 *	        Returns when it is due, as above; fails with what it was told if that is refused
 *	unplan  {"task", "name"}  removes that schedule; returns whether there was one
 */
#include "program.h"

#define WAITS_MAX	8

static const char *
text(const json_t *object, const char *name)
{
	return json_string_value(json_object_get(object, name));
}

static int
entered(struct pgc_run *run, void *arg)
{
	(void)arg;
	enter_cause(run, pgc_task_name(run));
	return pgc_done_text(run, pgc_event(run));
}

/* ---- wait ---- */

/* keys: room for one of each. */
static size_t
prepare(const json_t *list, int turn, struct pgc_event_wait *waits, char (*keys)[64])
{
	size_t i;
	json_t *w;

	json_array_foreach(list, i, w) {
		json_t *timeout = json_object_get(w, "timeout_ms");

		waits[i] = (struct pgc_event_wait)PGC_EVENT;
		if (text(w, "key") != NULL) {
			snprintf(keys[i], sizeof(keys[i]), "%s-%d", text(w, "key"), turn);
			waits[i].key = keys[i];
		}
		waits[i].event = text(w, "event");
		waits[i].table = text(w, "table");
		waits[i].schema = text(w, "schema");
		waits[i].operation = text(w, "operation");
		waits[i].columns = text(w, "columns");
		waits[i].filter = text(w, "when");
		waits[i].since_start = json_object_get(w, "since") != NULL;
		if (timeout != NULL)
			waits[i].timeout_ms = json_integer_value(timeout);
	}
	return i;
}

static json_t *
loaded(const char *json)
{
	return json_loads(json, JSON_DECODE_ANY, NULL);
}

/* Which was first, as it was in the first run that saw any. Returns -1 when the run is over. */
static int
first_of(struct pgc_run *run, const struct pgc_event_wait *waits, int turn)
{
	char key[32], index[32];
	const char *saved;
	int i = 0;

	snprintf(key, sizeof(key), "first-%d", turn);
	if ((saved = pgc_saved(run, key)) != NULL)
		return atoi(saved);
	while (waits[i].payload == NULL && waits[i].error == NULL)
		i++;
	snprintf(index, sizeof(index), "%d", i);
	return pgc_save(run, key, index) == 0 ? i : -1;
}

/* The outcome of one that is over; NULL and the run's verdict when it has failed. */
static json_t *
outcome(struct pgc_run *run, const struct pgc_event_wait *w, int *verdict)
{
	struct pgc_failure failure = PGC_FAILURE;
	json_t *error;

	if (w->error == NULL)
		return loaded(w->payload);
	error = loaded(w->error);
	failure.code = text(error, "code");
	failure.message = text(error, "message");
	failure.for_good = true;
	if (strcmp(failure.code, "timeout") != 0)
		*verdict = pgc_fail_with(run, &failure);
	json_decref(error);
	return *verdict == PGC_LATER ? json_string("timeout") : NULL;
}

/* What came in a turn; NULL when there is a verdict, which is PGC_LATER until then. */
static json_t *
wait_once(struct pgc_run *run, const json_t *payload, int turn, int *verdict)
{
	struct pgc_event_wait waits[WAITS_MAX];
	char keys[WAITS_MAX][64];
	const char *mode = text(payload, "mode");
	bool any = strcmp(mode, "any") == 0, one = strcmp(mode, "one") == 0;
	size_t n = prepare(json_object_get(payload, "waits"), turn, waits, keys);
	json_t *list, *got;
	int first;

	if ((one ? pgc_wait_event(run, waits) : pgc_wait_events(run, waits, n, any)) != 0 ||
	    (first = any ? first_of(run, waits, turn) : 0) == -1) {
		*verdict = PGC_OVER;
		return NULL;
	}
	if (any || one) {
		got = outcome(run, &waits[first], verdict);
		return got == NULL || one || waits[first].error != NULL ? got : json_pack("[i, o]", first, got);
	}
	list = json_array();
	for (size_t i = 0; i < n; i++) {
		if ((got = outcome(run, &waits[i], verdict)) != NULL && waits[i].error == NULL) {
			json_array_append_new(list, got);
			continue;
		}
		json_decref(list);
		return got;
	}
	return list;
}

static int
wait_for(struct pgc_run *run, void *arg)
{
	json_t *payload = payload_of(run), *turns = json_object_get(payload, "turns"), *list = json_array(), *got;
	int n = turns != NULL ? (int)json_integer_value(turns) : 1, verdict = PGC_LATER;

	(void)arg;
	for (int i = 0; i < n && verdict == PGC_LATER; i++)
		if ((got = wait_once(run, payload, i, &verdict)) != NULL)
			json_array_append_new(list, got);
	json_decref(payload);
	if (verdict == PGC_LATER)
		return done_json(run, list);
	json_decref(list);
	return verdict;
}

/* ---- emit ---- */

/* Emits it in a step; payload is freed, and may be NULL. *id: of the event, as JSON; NULL when it is refused. */
static int
emit_once(struct pgc_run *run, const char *event, json_t *payload, const char **id)
{
	static char quoted[64];
	char *json = payload != NULL ? json_dumps(payload, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
	const char *made;
	int over = 0;

	if ((*id = pgc_saved(run, "said")) == NULL && (over = pgc_emit(run, event, json, &made)) == 0 && made != NULL) {
		snprintf(quoted, sizeof(quoted), "\"%s\"", made);
		over = pgc_save(run, "said", *id = quoted);
	}
	free(json);
	json_decref(payload);
	return over;
}

static int
say(struct pgc_run *run, void *arg)
{
	json_t *payload = payload_of(run);
	const char *id;
	int over = emit_once(run, text(payload, "event"), json_incref(json_object_get(payload, "payload")), &id);

	(void)arg;
	json_decref(payload);
	if (over != 0)
		return PGC_OVER;
	return id != NULL ? pgc_done(run, id) : refused(run);
}

static int
ask(struct pgc_run *run, void *arg)
{
	struct pgc_event_wait answer = PGC_EVENT;
	const char *id;
	char filter[64];
	json_t *payload, *n;

	(void)arg;
	if (emit_once(run, "asked", json_pack("{s:s}", "of", pgc_id(run)), &id) != 0)
		return PGC_OVER;
	snprintf(filter, sizeof(filter), "payload->>'to' = '%s'", pgc_id(run));
	answer.event = "answered";
	answer.filter = filter;
	answer.since_start = true;
	if (pgc_wait_event(run, &answer) != 0)
		return PGC_OVER;
	payload = loaded(answer.payload);
	n = json_incref(json_object_get(payload, "n"));
	json_decref(payload);
	return done_json(run, n);
}

static int
answer(struct pgc_run *run, void *arg)
{
	json_t *payload = payload_of(run);
	const char *id;
	int over = emit_once(run, "answered", json_pack("{s:s, s:i}", "to", text(payload, "of"), "n", 42), &id);

	(void)arg;
	json_decref(payload);
	if (over != 0)
		return PGC_OVER;
	return id != NULL ? pgc_done(run, NULL) : refused(run);
}

/* ---- schedules ---- */

static int
plan(struct pgc_run *run, void *arg)
{
	struct pgc_schedule s = PGC_SCHEDULE;
	json_t *given = payload_of(run), *payload = json_object_get(given, "payload");
	char *json = payload != NULL ? json_dumps(payload, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
	const char *next;
	int over;

	(void)arg;
	s.task = text(given, "task");
	s.name = text(given, "name");
	s.cron = text(given, "cron");
	s.timezone = text(given, "timezone");
	s.overlap = text(given, "overlap");
	s.catchup = text(given, "catchup");
	s.payload = json;
	over = pgc_schedule(run, &s, &next);
	free(json);
	json_decref(given);
	if (over != 0)
		return PGC_OVER;
	return done_answer(run, next);
}

static int
unplan(struct pgc_run *run, void *arg)
{
	json_t *given = payload_of(run);
	bool removed;
	int over = pgc_unschedule(run, text(given, "task"), text(given, "name"), &removed);

	(void)arg;
	json_decref(given);
	if (over != 0)
		return PGC_OVER;
	return *pgc_error(pgc_of(run)) != '\0' ? refused(run) : pgc_done(run, removed ? "true" : "false");
}

static const struct {
	const char	*name;
	pgc_task_fn	*fn;
	const char	*triggers;
} tasks[] = {
	{ "seen", entered, "[{\"event\": \"order.paid\", \"when\": \"(payload->>'total')::numeric > 100\","
	    " \"fields\": \"id,customer.name\"}, {\"event\": \"order.sent\"}]" },
	{ "copy", entered, "[{\"invocable\": true}, {\"event\": \"order.sent\"}]" },
	{ "tick", entered, "[{\"invocable\": true},"
	    " {\"cron\": \"* * * * * *\", \"name\": \"every-second\", \"payload\": {\"by\": \"cron\"}},"
	    " {\"cron\": \"0 9 * * mon-fri\", \"name\": \"morning\", \"timezone\": \"Europe/Berlin\", \"overlap\": \"skip\","
	    " \"catchup\": \"last\"}, {\"cron\": \"@yearly\"}]" },
	{ "report", entered, NULL },
	{ "changed", entered, "[{\"table\": \"users\", \"operation\": \"insert\", \"columns\": \"id,email\"},"
	    " {\"schema\": \"app\", \"table\": \"accounts\", \"operation\": \"update\", \"columns\": \"id,balance\","
	    " \"when\": \"new.balance < old.balance\"}, {\"table\": \"users\", \"operation\": \"delete\"}]" },
	{ "wait", wait_for, NULL },
	{ "say", say, NULL },
	{ "ask", ask, NULL },
	{ "answer", answer, "[{\"event\": \"asked\"}]" },
	{ "plan", plan, NULL },
	{ "unplan", unplan, NULL },
};

int
main(int argc, char **argv)
{
	struct pgc *c = pgc_new();
	int status;

	for (size_t i = 0; i < sizeof(tasks) / sizeof(*tasks); i++) {
		pgc_task_with(c, tasks[i].name, NULL, "{\"backoff\": \"1ms\"}", tasks[i].fn, NULL);
		if (tasks[i].triggers != NULL)
			pgc_triggers(c, tasks[i].name, tasks[i].triggers);
	}
	status = pgc_serve(c, argc, argv);
	pgc_free(c);
	return status;
}
