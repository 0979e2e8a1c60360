/*
 * Telling the database what is declared here, by the configuration and by the programs. It is told all of it at once,
 * so that what is not declared any more is known by its absence. Master.
 *
 * What a program, or the configuration, declares for one queue is a unit: nodes that serve different queues do not take
 * each other's words for newer ones.
 */
#include "config.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/log.h"
#include "common/xmalloc.h"
#include "master/master.h"

static const struct db_stmt stmt_register = { "register",
	"select source, task, message from pgconductor.register($1::int, $2::text, $3::text[], $4::text[], $5::text[],"
	" $6::boolean[], $7::int[], $8::text[], $9::text[], $10::json[], $11::json[])" };
static const struct db_stmt stmt_tend = { "tend",
	"select source, task, message from pgconductor.tend($1::int, $2::boolean)" };
static const struct db_stmt stmt_events = { "declare_events",
	"select pgconductor.declare_events($1::text, $2::text, $3::json)" };
static const struct db_stmt stmt_queue = { "ensure_queue", "select pgconductor.ensure_queue($1::text, $2::int)" };

/* The parameters, by what they hold. */
struct saying {
	struct params	p;
	int		wholes;
	int		sources, queues, known;				/* of each unit */
	int		units, tasks, homes, options, triggers;		/* of each task */
	int		n;						/* units so far */
};

static void
begin(struct saying *s, const struct master *m, const char *place)
{
	params_init(&s->p);
	param_int4(&s->p, m->node);
	param_str(&s->p, place);
	s->wholes = param_array(&s->p, PARAM_TEXT);
	s->sources = param_array(&s->p, PARAM_TEXT);
	s->queues = param_array(&s->p, PARAM_TEXT);
	s->known = param_array(&s->p, PARAM_BOOL);
	s->units = param_array(&s->p, PARAM_INT4);
	s->tasks = param_array(&s->p, PARAM_TEXT);
	s->homes = param_array(&s->p, PARAM_TEXT);
	s->options = param_array(&s->p, PARAM_JSON);
	s->triggers = param_array(&s->p, PARAM_JSON);
	s->n = 0;
}

static void
add_text(struct saying *s, int array, const char *text)
{
	param_array_text_or_null(&s->p, array, text, text != NULL ? strlen(text) : 0);
}

/* known: what it declares follows; else it is as it was before. */
static void
add_unit(struct saying *s, const char *source, const char *queue, bool known)
{
	add_text(s, s->sources, source);
	add_text(s, s->queues, queue);
	param_array_bool(&s->p, s->known, known);
	s->n++;
}

static void
add_task(struct saying *s, const char *name, const char *home, const char *options, const char *triggers)
{
	param_array_int4(&s->p, s->units, s->n);
	add_text(s, s->tasks, name);
	add_text(s, s->homes, home);
	add_text(s, s->options, options != NULL ? options : "{}");
	add_text(s, s->triggers, triggers);
}

static void
add_pool(struct saying *s, const struct queue *q, const struct pool *pool)
{
	char *source = xasprintf("code:%s", pool->name);

	add_unit(s, source, q->name, pool->announced);
	for (int i = 0; pool->announced && i < pool->tasks_n; i++) {
		const struct pool_task *t = &pool->tasks[i];

		add_task(s, t->name, t->queue, t->options, t->triggers);
	}
	free(source);
}

static void
add_programs(struct saying *s, const struct master *m)
{
	const struct conf_handler *command = m->conf->command;
	char *whole = command != NULL ? xasprintf("code:%s", command->name) : NULL;
	struct queue *q;

	TAILQ_FOREACH(q, &m->queues, link) {
		bool expected = q->command && whole != NULL;

		if (q->discovery || q->retiring)
			continue;
		for (int i = 0; i < q->pools_n; i++) {
			/* The program of a one-shot command is the configuration. */
			if (q->pools[i].command)
				continue;
			add_pool(s, q, &q->pools[i]);
			expected = expected && strcmp(q->pools[i].name, command->name) != 0;
		}
		if (expected)
			add_unit(s, whole, q->name, false);
	}
	/* A program that was asked for all of its queues has nothing to say in others. */
	if (whole != NULL && m->discovered)
		add_text(s, s->wholes, whole);
	free(whole);
}

static const char *
queue_of(const struct conf_task *t)
{
	return t->queue != NULL ? t->queue : "";
}

static bool
is_first_of_queue(const struct conf *conf, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(queue_of(conf->tasks[i]), queue_of(conf->tasks[n])) == 0)
			return false;
	return true;
}

static void
add_configured(struct saying *s, const struct conf_task *t)
{
	char *options, *triggers;
	struct buf text;

	buf_init(&text);
	conf_task_options(t, &text);
	options = buf_steal_str(&text);
	triggers = conf_task_triggers(t);
	add_task(s, t->name, t->queue, options, triggers);
	free(options);
	free(triggers);
}

static void
add_configuration(struct saying *s, const struct conf *conf)
{
	for (size_t i = 0; i < conf->tasks_n; i++) {
		if (!is_first_of_queue(conf, i))
			continue;
		add_unit(s, "config", queue_of(conf->tasks[i]), true);
		for (size_t j = i; j < conf->tasks_n; j++)
			if (strcmp(queue_of(conf->tasks[i]), queue_of(conf->tasks[j])) == 0)
				add_configured(s, conf->tasks[j]);
	}
}

/* ---- what comes of it ---- */

/* What is wrong with a task of the configuration is told with the line it stands in. */
static void
complain(const struct master *m, const char *source, const char *task, const char *message)
{
	const struct conf_task *t = strcmp(source, "config") == 0 ? conf_task_find(m->conf, task) : NULL;
	const char *pos = strncmp(message, "triggers[", strlen("triggers[")) == 0 ? message + strlen("triggers[") : NULL;
	struct conf_place place;

	if (t == NULL) {
		log_error("%s: task %s: %s", source, task, message);
		return;
	}
	place = t->place;
	if (pos != NULL)
		place = conf_trigger_place(t, strtoul(pos, NULL, 10));
	log_error("%s:%d: task \"%s\": %s", place.file, place.line, task, message);
}

static void
complain_all(const struct master *m, const struct db_answer *a)
{
	for (int i = 0; i < a->rows; i++)
		complain(m, db_text(a, i, 0, NULL), db_text(a, i, 1, NULL), db_text(a, i, 2, NULL));
}

static void
registered(const struct db_answer *a, void *arg)
{
	struct master *m = arg;

	m->registered = a->outcome == DB_OK;
	if (a->outcome == DB_ERROR)
		log_warnx("declaring tasks, which will be tried again: %s", a->message);
	if (a->outcome == DB_OK)
		complain_all(m, a);
}

static void
tended(const struct db_answer *a, void *arg)
{
	struct master *m = arg;

	if (a->outcome == DB_ERROR)
		log_warnx("looking after what is declared: %s", a->message);
	if (a->outcome == DB_OK)
		complain_all(m, a);
}

static void
events_declared(const struct db_answer *a, void *arg)
{
	(void)arg;
	if (a->outcome == DB_ERROR)
		log_error("events cannot be declared: %s", a->message);
}

/* With their schemas, for those who emit. */
static void
declare_events(struct master *m, const struct queue *q, const struct pool *pool)
{
	struct params p;
	char *source;

	if (pool->command || !pool->announced || pool->events == NULL)
		return;
	source = xasprintf("code:%s", pool->name);
	params_init(&p);
	param_str(&p, source);
	param_str(&p, q->name);
	param_str(&p, pool->events);
	db_call(m->control, &stmt_events, &p, events_declared, NULL);
	params_free(&p);
	free(source);
}

static void
ensure_queues(struct master *m)
{
	for (size_t i = 0; i < m->conf->queues_n; i++) {
		struct params p;

		params_init(&p);
		param_str(&p, m->conf->queues[i]->name);
		param_int4(&p, (int32_t)m->conf->queues[i]->shards);
		db_call(m->control, &stmt_queue, &p, NULL, NULL);
		params_free(&p);
	}
}

/* Where the configuration stands: the next one there takes its place. NULL: there is none. */
static char *
place_of(const struct conf *conf)
{
	char host[256] = "", path[PATH_MAX];

	if (conf->path == NULL)
		return NULL;
	gethostname(host, sizeof(host) - 1);
	return xasprintf("%s:%s", host, realpath(conf->path, path) != NULL ? path : conf->path);
}

void
register_all(struct master *m)
{
	struct saying s;
	struct queue *q;
	char *place;

	if (m->node == 0 || m->stopping || !db_ready(m->control))
		return;
	ensure_queues(m);
	place = place_of(m->conf);
	begin(&s, m, place);
	add_configuration(&s, m->conf);
	add_programs(&s, m);
	m->registered = false;
	db_call(m->control, &stmt_register, &s.p, registered, m);
	params_free(&s.p);
	free(place);
	TAILQ_FOREACH(q, &m->queues, link)
		for (int i = 0; i < q->pools_n && !q->discovery; i++)
			declare_events(m, q, &q->pools[i]);
}

static void
tend(struct master *m, bool leaving)
{
	struct params p;

	if (m->node == 0 || !db_ready(m->control))
		return;
	params_init(&p);
	param_int4(&p, m->node);
	param_bool(&p, leaving);
	db_call(m->control, &stmt_tend, &p, tended, m);
	params_free(&p);
}

void
register_tick(struct master *m)
{
	if (m->stopping)
		return;
	if (!m->registered)
		register_all(m);
	else
		tend(m, false);
}

void
register_leave(struct master *m)
{
	tend(m, true);
}
