/*
 * The triggers of a task section: what may stand together in one, and what the database is told of them. Any process; no
 * state.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "common/conf_table.h"
#include "common/cron.h"
#include "common/json.h"
#include "common/xmalloc.h"

enum kind { CRON, EVENT, TABLE, INVOCABLE, KINDS };

static const struct {
	const char	*option;	/* that makes it one */
	const char	*what;
	const char	*others[6];	/* that may stand beside it */
} kinds[KINDS] = {
	[CRON] = { "cron", "a schedule", { "name", "timezone", "payload", "overlap", "catchup" } },
	[EVENT] = { "event", "an event", { "when", "fields" } },
	[TABLE] = { "table", "a change of a table", { "schema", "operation", "columns", "when" } },
	[INVOCABLE] = { "invocable", "invoke", { NULL } },
};

struct conf_trigger *
conf_trigger_new(const struct conf_place *place)
{
	struct conf_trigger *t = xcalloc(1, sizeof(*t));

	t->place = *place;
	t->invocable = -1;
	return t;
}

void
conf_trigger_free(struct conf_trigger *t)
{
	conf_section_free(&conf_sections[CONF_SECTION_TRIGGER], t);
	free(t);
}

/* ---- checking ---- */

static const void *
field_of(const struct conf_trigger *t, const struct conf_option *o)
{
	return (const char *)t + o->offset;
}

static bool
is_set(const struct conf_trigger *t, const struct conf_option *o)
{
	if (o->type == CONF_BOOL)
		return *(const int64_t *)field_of(t, o) != -1;
	if (o->type == CONF_STRINGS)
		return ((const struct conf_strs *)field_of(t, o))->v != NULL;
	return *(char *const *)field_of(t, o) != NULL;
}

static bool
belongs(enum kind kind, const char *option)
{
	if (strcmp(kinds[kind].option, option) == 0)
		return true;
	for (size_t i = 0; i < sizeof(kinds[kind].others) / sizeof(kinds[kind].others[0]); i++)
		if (kinds[kind].others[i] != NULL && strcmp(kinds[kind].others[i], option) == 0)
			return true;
	return false;
}

static enum kind
kind_of(const struct conf_trigger *t)
{
	return t->cron != NULL ? CRON : t->event != NULL ? EVENT : t->table != NULL ? TABLE : t->invocable != -1 ? INVOCABLE : KINDS;
}

static bool
is_one_of(const char *s, const char *const *words)
{
	for (; *words != NULL; words++)
		if (strcmp(s, *words) == 0)
			return true;
	return false;
}

#define ERROR(...) conf_error(errors, t->place.file, t->place.line, __VA_ARGS__)

static void
check_cron(const struct conf_trigger *t, const char *task, struct conf_errors *errors)
{
	static const char *const overlaps[] = { "allow", "skip", NULL }, *const catchups[] = { "skip", "last", "all", NULL };
	char *why = cron_check(t->cron);
	long n;

	if (why != NULL)
		ERROR("task \"%s\": trigger: cron: %s", task, why);
	free(why);
	if (t->overlap != NULL && !is_one_of(t->overlap, overlaps))
		ERROR("task \"%s\": trigger: overlap: \"%s\" is neither allow nor skip", task, t->overlap);
	if (t->catchup == NULL || is_one_of(t->catchup, catchups))
		return;
	n = strspn(t->catchup, "0123456789") == strlen(t->catchup) ? strtol(t->catchup, NULL, 10) : 0;
	if (n < 1 || n > 1000)
		ERROR("task \"%s\": trigger: catchup: \"%s\" is neither skip, last, all nor a number from 1 to 1000", task, t->catchup);
}

static void
check_table(const struct conf_trigger *t, const char *task, struct conf_errors *errors)
{
	static const char *const operations[] = { "insert", "update", "delete", NULL };

	if (t->operation == NULL)
		ERROR("task \"%s\": trigger: the operation on table %s is missing: insert, update or delete", task, t->table);
	else if (!is_one_of(t->operation, operations))
		ERROR("task \"%s\": trigger: operation: \"%s\" is none of insert, update and delete", task, t->operation);
}

static void
check_one(const struct conf_trigger *t, const char *task, struct conf_errors *errors)
{
	enum kind kind = kind_of(t);

	if (kind == KINDS) {
		ERROR("task \"%s\": trigger: one of cron, event, table and invocable is needed", task);
		return;
	}
	for (const struct conf_option *o = conf_sections[CONF_SECTION_TRIGGER].options; o->name != NULL; o++)
		if (is_set(t, o) && !belongs(kind, o->name))
			ERROR("task \"%s\": trigger: %s does not go with %s, which makes it %s", task, o->name, kinds[kind].option,
			    kinds[kind].what);
	if (kind == CRON)
		check_cron(t, task, errors);
	else if (kind == TABLE)
		check_table(t, task, errors);
}

static const char *
schedule_name(const struct conf_trigger *t)
{
	return t->name != NULL ? t->name : t->cron;
}

void
conf_triggers_check(const struct conf_task *task, struct conf_errors *errors)
{
	for (size_t i = 0; i < task->triggers_n; i++) {
		const struct conf_trigger *t = task->triggers[i];

		check_one(t, task->name, errors);
		for (size_t j = 0; t->cron != NULL && j < i; j++) {
			const struct conf_trigger *u = task->triggers[j];

			if (u->cron != NULL && strcmp(schedule_name(t), schedule_name(u)) == 0)
				ERROR("task \"%s\": trigger: the schedule \"%s\" is there twice, first at %s:%d", task->name,
				    schedule_name(t), u->place.file, u->place.line);
		}
	}
}

/* ---- for the database ---- */

static void
add_text(struct buf *out, const char *text)
{
	json_quote(out, text, strlen(text));
}

/* One word may be several names with commas between them, which the database takes apart. */
static void
add_strings(struct buf *out, const struct conf_strs *strs)
{
	if (strs->n == 1) {
		add_text(out, strs->v[0]);
		return;
	}
	for (size_t i = 0; i < strs->n; i++) {
		buf_addstr(out, i == 0 ? "[" : ",");
		add_text(out, strs->v[i]);
	}
	buf_addstr(out, "]");
}

static void
add_option(struct buf *out, const struct conf_trigger *t, const struct conf_option *o)
{
	const void *field = field_of(t, o);

	if (o->type == CONF_BOOL)
		buf_addstr(out, *(const int64_t *)field != 0 ? "true" : "false");
	else if (o->type == CONF_STRINGS)
		add_strings(out, field);
	else if (o->type == CONF_JSON)
		buf_addstr(out, *(char *const *)field);
	else
		add_text(out, *(char *const *)field);
}

static void
add_trigger(struct buf *out, const struct conf_trigger *t)
{
	bool first = true;

	for (const struct conf_option *o = conf_sections[CONF_SECTION_TRIGGER].options; o->name != NULL; o++) {
		if (!is_set(t, o))
			continue;
		buf_addf(out, "%s\"%s\":", first ? "{" : ",", o->name);
		add_option(out, t, o);
		first = false;
	}
	buf_addstr(out, "}");
}

char *
conf_task_triggers(const struct conf_task *task)
{
	struct buf out;

	if (task->triggers_n == 0)
		return task->exec.v != NULL ? xstrdup("[{\"invocable\":true}]") : NULL;
	buf_init(&out);
	for (size_t i = 0; i < task->triggers_n; i++) {
		buf_addstr(&out, i == 0 ? "[" : ",");
		add_trigger(&out, task->triggers[i]);
	}
	buf_addstr(&out, "]");
	return buf_steal_str(&out);
}

struct conf_place
conf_trigger_place(const struct conf_task *task, size_t n)
{
	return n < task->triggers_n ? task->triggers[n]->place : task->place;
}
