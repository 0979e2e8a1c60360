/*
 * Events on libpgconductor, for test_events.py and test_changes.py. In the environment: LEDGER, TRIGGERS of the task seen (JSON; none: none).
 *
 *	seen    anything    enters "seen" with its event, the time of that, and the payload; returns the payload
 *	wait    {"waits": [{"event", "filter", "since", "timeout_ms", "key"} or {"table", "schema", "operation",
 *	        "columns", …}…], "any", "repeat"}  waits for them, so often (with
 *	        the number of the turn behind the key); returns a list of the last turn: {"payload"} or {"error"} or null each
 *	say     {"event", "payload", "die"}  emits it, in a step "said"; die: its process ends before that is saved, in
 *	        attempt 1; returns the event's id, or what it was refused for
 */
#include <signal.h>

#include "program.h"

#define WAITS_MAX	8

static int
seen(struct pgc_run *run, void *arg)
{
	(void)arg;
	enter_cause(run, "seen");
	return pgc_done(run, pgc_payload(run));
}

static json_t *
outcome(const struct pgc_event_wait *w)
{
	if (w->payload == NULL && w->error == NULL)
		return json_null();
	return json_pack("{s:o}", w->error != NULL ? "error" : "payload",
	    json_loads(w->error != NULL ? w->error : w->payload, JSON_DECODE_ANY, NULL));
}

static int
wait_once(struct pgc_run *run, json_t *payload, struct pgc_event_wait *waits, size_t n, int turn)
{
	char keys[WAITS_MAX][64];

	for (size_t i = 0; i < n; i++) {
		json_t *w = json_array_get(json_object_get(payload, "waits"), i), *timeout = json_object_get(w, "timeout_ms");
		const char *key = json_string_value(json_object_get(w, "key"));

		waits[i] = (struct pgc_event_wait)PGC_EVENT;
		snprintf(keys[i], sizeof(keys[i]), "%s-%d", key != NULL ? key : "", turn);
		waits[i].key = key != NULL ? keys[i] : NULL;
		waits[i].event = json_string_value(json_object_get(w, "event"));
		waits[i].filter = json_string_value(json_object_get(w, "filter"));
		waits[i].table = json_string_value(json_object_get(w, "table"));
		waits[i].schema = json_string_value(json_object_get(w, "schema"));
		waits[i].operation = json_string_value(json_object_get(w, "operation"));
		waits[i].columns = json_string_value(json_object_get(w, "columns"));
		waits[i].since_start = json_object_get(w, "since") != NULL;
		waits[i].timeout_ms = timeout != NULL ? json_integer_value(timeout) : -1;
	}
	return pgc_wait_events(run, waits, n, json_is_true(json_object_get(payload, "any")));
}

static int
wait_for(struct pgc_run *run, void *arg)
{
	json_t *payload = payload_of(run), *list = json_array();
	size_t n = json_array_size(json_object_get(payload, "waits"));
	struct pgc_event_wait waits[WAITS_MAX];
	int repeat = (int)json_integer_value(json_object_get(payload, "repeat")), over = 0;

	(void)arg;
	for (int i = 0; i < (repeat > 1 ? repeat : 1) && over == 0; i++)
		over = wait_once(run, payload, waits, n, i);
	for (size_t i = 0; i < n && over == 0; i++)
		json_array_append_new(list, outcome(&waits[i]));
	json_decref(payload);
	if (over == 0)
		return done_json(run, list);
	json_decref(list);
	return PGC_OVER;
}

static int
say(struct pgc_run *run, void *arg)
{
	json_t *payload = payload_of(run);
	const char *saved = pgc_saved(run, "said"), *id = NULL;
	char *text = json_dumps(json_object_get(payload, "payload"), JSON_ENCODE_ANY);
	char quoted[64];
	int over = 0;

	(void)arg;
	if (saved == NULL)
		over = pgc_emit(run, json_string_value(json_object_get(payload, "event")), text, &id);
	if (over == 0 && json_is_true(json_object_get(payload, "die")) && pgc_attempt(run) == 1)
		kill(getpid(), SIGKILL);
	if (over == 0 && id != NULL) {
		snprintf(quoted, sizeof(quoted), "\"%s\"", id);
		over = pgc_save(run, "said", saved = quoted);
	}
	free(text);
	json_decref(payload);
	if (over != 0)
		return PGC_OVER;
	return saved != NULL ? pgc_done(run, saved) : done_json(run, json_pack("{s:s}", "refused", pgc_error(pgc_of(run))));
}

int
main(int argc, char **argv)
{
	struct pgc *c = pgc_new();
	int status;

	pgc_task_with(c, "seen", NULL, "{\"backoff\": \"1ms\", \"max_attempts\": 1000}", seen, NULL);
	if (getenv("TRIGGERS") != NULL)
		pgc_triggers(c, "seen", getenv("TRIGGERS"));
	pgc_task_with(c, "wait", NULL, "{\"backoff\": \"1ms\", \"max_attempts\": 1000}", wait_for, NULL);
	pgc_task_with(c, "say", NULL, "{\"backoff\": \"1ms\", \"max_attempts\": 1000}", say, NULL);
	pgc_set_concurrency(c, 1);
	status = pgc_serve(c, argc, argv);
	pgc_free(c);
	return status;
}
