/*
 * The schemas of a pool's tasks and of its program's events. Worker.
 *
 * They are compiled when the program says HELLO, which is refused if one cannot be used. A payload is looked at before a handler
 * sees it, a result before the master does, an event before it is emitted. Those that other programs have for an event the master
 * tells. What has no schema is not looked at.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/schema/schema.h"
#include "common/schema/value.h"
#include "common/xmalloc.h"
#include "worker/internal.h"

#define EVENTS_MAX	4096
#define EVENT_BYTES	800		/* of its name: 200 characters */

struct event_schema {
	char		*name;
	struct schema	*schema;	/* NULL: anything */
};

/* Of a program of any node. */
struct event_said {
	char		*name;
	char		*program;	/* as the database has it: code:name */
	struct schema	*schema;	/* NULL: it cannot be used here */
};

struct task_schemas {
	char		*name;
	struct schema	*payload, *returns;	/* NULL: anything */
};

struct schemas {
	struct task_schemas	*tasks;		/* by name */
	size_t			 tasks_n;
	struct event_schema	*events;	/* likewise */
	size_t			 events_n;
};

static int
by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* In a list whose elements begin with their name. */
static void *
find(const void *list, size_t n, size_t size, struct pstr name)
{
	char text[EVENT_BYTES + 1], *key = text;

	if (n == 0 || name.len > EVENT_BYTES)
		return NULL;
	memcpy(text, name.p, name.len);
	text[name.len] = '\0';
	return bsearch(&key, list, n, size, by_name);
}

static struct task_schemas *
find_task(const struct schemas *s, struct pstr name)
{
	return s != NULL ? find(s->tasks, s->tasks_n, sizeof(*s->tasks), name) : NULL;
}

static struct event_schema *
find_event(const struct schemas *s, struct pstr name)
{
	return s != NULL ? find(s->events, s->events_n, sizeof(*s->events), name) : NULL;
}

/* The first of this name. */
static const struct event_said *
said_of(const struct worker *w, struct pstr name)
{
	const struct event_said *e = find(w->events, w->events_n, sizeof(*w->events), name);

	while (e != NULL && e > w->events && strcmp(e[-1].name, e->name) == 0)
		e--;
	return e;
}

static bool
is_of(const struct event_said *e, const char *program)
{
	return strncmp(e->program, "code:", 5) == 0 && strcmp(e->program + 5, program) == 0;
}

/* ---- making them ---- */

static bool
compile(struct schema **out, struct pstr text, const char *what, struct pstr name, char *why)
{
	char fault[SCHEMA_WHY];

	if (text.p == NULL)
		return true;
	*out = schema_compile(text.p, text.len, NULL, fault);
	if (*out != NULL)
		return true;
	snprintf(why, SCHEMAS_WHY, "%s %.*s: %s", what, (int)(name.len < 200 ? name.len : 200), name.p, fault);
	return false;
}

/* What the configuration says of a task comes before what its program does. */
static bool
read_task(struct schemas *s, const struct configured *c, const struct msg_task *said, char *why)
{
	struct task_schemas *t = &s->tasks[s->tasks_n++];

	t->name = xstrndup(said->name.p, said->name.len);
	return compile(&t->payload, c != NULL && c->payload_schema != NULL ? pstr(c->payload_schema) : said->payload_schema,
	    "payload_schema of task", said->name, why) &&
	    compile(&t->returns, c != NULL && c->returns_schema != NULL ? pstr(c->returns_schema) : said->returns_schema,
	    "returns_schema of task", said->name, why);
}

static bool
read_event(struct schemas *s, const struct msg_event_type *said, char *why)
{
	struct event_schema *e = &s->events[s->events_n++];

	e->name = xstrndup(said->name.p, said->name.len);
	if (said->name.len > 0 && said->name.len <= EVENT_BYTES)
		return compile(&e->schema, said->schema, "schema of event", said->name, why);
	snprintf(why, SCHEMAS_WHY, "events: the name of one is empty or too long");
	return false;
}

static bool
is_twice(const struct schemas *s, char *why)
{
	for (size_t i = 1; i < s->events_n; i++)
		if (strcmp(s->events[i - 1].name, s->events[i].name) == 0) {
			snprintf(why, SCHEMAS_WHY, "event %.200s stands in it twice", s->events[i].name);
			return true;
		}
	return false;
}

static bool
read_all(struct schemas *s, const struct worker *w, const struct msg_task *tasks, size_t tasks_n, const struct msg_event_type *events,
    size_t events_n, char *why)
{
	s->tasks = xcalloc(tasks_n + 1, sizeof(*s->tasks));
	s->events = xcalloc(events_n + 1, sizeof(*s->events));
	for (size_t i = 0; i < tasks_n; i++)
		if (!read_task(s, configured_find(w, tasks[i].name), &tasks[i], why))
			return false;
	for (size_t i = 0; i < events_n; i++)
		if (!read_event(s, &events[i], why))
			return false;
	qsort(s->tasks, s->tasks_n, sizeof(*s->tasks), by_name);
	qsort(s->events, s->events_n, sizeof(*s->events), by_name);
	return !is_twice(s, why);
}

bool
schemas_make(struct schemas **out, const struct worker *w, const struct msg_task *tasks, size_t tasks_n,
    const struct msg_event_type *events, size_t events_n, char why[SCHEMAS_WHY])
{
	struct schemas *s = xcalloc(1, sizeof(*s));
	bool made;

	*out = NULL;
	if (events_n > EVENTS_MAX) {
		snprintf(why, SCHEMAS_WHY, "%zu events; at most %d", events_n, EVENTS_MAX);
		made = false;
	} else {
		made = read_all(s, w, tasks, tasks_n, events, events_n, why);
	}
	if (made)
		*out = s;
	else
		schemas_free(s);
	return made;
}

void
schemas_free(struct schemas *s)
{
	if (s == NULL)
		return;
	for (size_t i = 0; i < s->tasks_n; i++) {
		struct task_schemas *t = &s->tasks[i];

		free(t->name);
		schema_free(t->payload);
		schema_free(t->returns);
	}
	for (size_t i = 0; i < s->events_n; i++) {
		free(s->events[i].name);
		schema_free(s->events[i].schema);
	}
	free(s->tasks);
	free(s->events);
	free(s);
}

/* ---- holding against them ---- */

static bool
complies(struct schema *schema, struct pstr json, const char *what, struct pstr name, char *why)
{
	char fault[SCHEMA_WHY];

	if (schema == NULL)
		return true;
	if (json.p == NULL)
		json = pstr("null");
	if (schema_check(schema, json.p, json.len, fault))
		return true;
	snprintf(why, SCHEMAS_WHY, "%s %.*s: %s", what, (int)(name.len < 200 ? name.len : 200), name.p, fault);
	return false;
}

/* By those that this program has for it, then by those of others. */
static bool
event_complies(const struct pool *p, struct pstr name, const struct value *payload, char *why)
{
	const struct event_schema *own = find_event(p->schemas, name);
	const struct event_said *e, *end = p->w->events + p->w->events_n;
	char fault[SCHEMA_WHY];

	if (own != NULL && own->schema != NULL && !schema_check_value(own->schema, payload, fault)) {
		snprintf(why, SCHEMAS_WHY, "payload of event %.200s: %s", own->name, fault);
		return false;
	}
	for (e = said_of(p->w, name); e != NULL && e < end && pstr_is(name, e->name); e++) {
		/* It may run another version of itself than this one. */
		if (e->schema == NULL || (own != NULL && own->schema != NULL && is_of(e, p->program->name)))
			continue;
		if (!schema_check_value(e->schema, payload, fault)) {
			snprintf(why, SCHEMAS_WHY, "payload of event %.200s: %s (the schema is %.200s's)", e->name, fault, e->program);
			return false;
		}
	}
	return true;
}

static bool
has_schema(const struct pool *p, struct pstr event)
{
	return find_event(p->schemas, event) != NULL || said_of(p->w, event) != NULL;
}

static bool
delivered_complies(const struct pool *p, struct pstr event, struct pstr payload, char *why)
{
	const struct value *v;
	struct values *vs;
	char fault[SCHEMA_WHY];
	bool complies;

	if (!has_schema(p, event))
		return true;
	if (payload.p == NULL)
		payload = pstr("null");
	vs = values_new();
	v = values_parse(vs, payload.p, payload.len, fault, sizeof(fault));
	if (v == NULL)
		snprintf(why, SCHEMAS_WHY, "payload of event %.*s: %s", (int)event.len, event.p, fault);
	complies = v != NULL && event_complies(p, event, v, why);
	values_free(vs);
	return complies;
}

static bool
start_complies(const struct pool *p, const struct msg_run *run, char *why)
{
	struct task_schemas *t;

	/* Of parts of a payload its schema does not tell anything. */
	if (pstr_is(run->event.kind, "event"))
		return (run->event.has_parts && run->event.parts) ||
		    delivered_complies(p, run->event.name, run->event.payload, why);
	t = find_task(p->schemas, run->task);
	if (t == NULL || pstr_is(run->event.kind, "change") ||
	    (pstr_is(run->event.kind, "schedule") && pstr_is(run->event.payload, "null")))
		return true;
	return complies(t->payload, run->event.payload, "payload of task", run->task, why);
}

bool
schemas_take_run(const struct pool *p, const struct msg_run *run, char why[SCHEMAS_WHY])
{
	return start_complies(p, run, why) && schemas_take_saved(p, run->steps, run->steps_n, why);
}

bool
schemas_take_saved(const struct pool *p, const struct msg_saved *saved, size_t n, char why[SCHEMAS_WHY])
{
	for (size_t i = 0; i < n; i++)
		if (saved[i].event.p != NULL && !delivered_complies(p, saved[i].event, saved[i].result, why))
			return false;
	return true;
}

bool
schemas_take_result(const struct pool *p, const char *task, struct pstr result, char why[SCHEMAS_WHY])
{
	struct task_schemas *t = find_task(p->schemas, pstr(task));

	return t == NULL || complies(t->returns, result, "result of task", pstr(task), why);
}

bool
schemas_take_emit(const struct pool *p, const struct msg_call *call, char why[SCHEMAS_WHY])
{
	const struct value *args, *event, *payload;
	const struct value null = { .type = VALUE_NULL };
	struct values *vs;
	bool taken = true;

	if ((p->w->events_n == 0 && (p->schemas == NULL || p->schemas->events_n == 0)) || !pstr_is(call->name, "emit"))
		return true;
	vs = values_new();
	args = values_parse(vs, call->args.p, call->args.len, why, SCHEMAS_WHY);
	event = args != NULL ? value_member(args, "event") : NULL;
	payload = args != NULL ? value_member(args, "payload") : NULL;
	if (args == NULL)
		taken = false;
	else if (event != NULL && event->type == VALUE_STRING)
		taken = event_complies(p, (struct pstr){ event->text, event->n }, payload != NULL ? payload : &null, why);
	values_free(vs);
	return taken;
}

/* ---- what all programs say of events ---- */

static int
by_event(const void *a, const void *b)
{
	const struct event_said *x = a, *y = b;
	int order = strcmp(x->name, y->name);

	return order != 0 ? order : strcmp(x->program, y->program);
}

void
events_free(struct worker *w)
{
	for (size_t i = 0; i < w->events_n; i++) {
		free(w->events[i].name);
		free(w->events[i].program);
		schema_free(w->events[i].schema);
	}
	free(w->events);
	w->events = NULL;
	w->events_n = 0;
}

void
events_set(struct worker *w, const struct msg_event_schema *said, size_t n)
{
	char fault[SCHEMA_WHY];

	events_free(w);
	w->events = xcalloc(n + 1, sizeof(*w->events));
	for (size_t i = 0; i < n; i++) {
		struct event_said *e = &w->events[w->events_n++];

		e->name = xstrndup(said[i].event.p, said[i].event.len);
		e->program = xstrndup(said[i].program.p, said[i].program.len);
		e->schema = schema_compile(said[i].schema.p, said[i].schema.len, NULL, fault);
		/* Its program could use it: it runs another version of pgconductor. */
		if (e->schema == NULL)
			log_warnx("event %s: the schema that %s has for it is not heeded: %s", e->name, e->program, fault);
	}
	qsort(w->events, w->events_n, sizeof(*w->events), by_event);
}

/* ---- what the configuration says ---- */

static char *
copy(struct pstr s)
{
	return s.p != NULL ? xstrndup(s.p, s.len) : NULL;
}

void
configured_free(struct worker *w)
{
	for (size_t i = 0; i < w->configured_n; i++) {
		free(w->configured[i].task);
		free(w->configured[i].payload_schema);
		free(w->configured[i].returns_schema);
	}
	free(w->configured);
	w->configured = NULL;
	w->configured_n = 0;
}

void
configured_set(struct worker *w, const struct msg_task *tasks, size_t n)
{
	configured_free(w);
	w->configured = xcalloc(n + 1, sizeof(*w->configured));
	for (size_t i = 0; i < n; i++)
		w->configured[w->configured_n++] = (struct configured){
			copy(tasks[i].name), copy(tasks[i].payload_schema), copy(tasks[i].returns_schema)
		};
	qsort(w->configured, w->configured_n, sizeof(*w->configured), by_name);
}

const struct configured *
configured_find(const struct worker *w, struct pstr task)
{
	return find(w->configured, w->configured_n, sizeof(*w->configured), task);
}
