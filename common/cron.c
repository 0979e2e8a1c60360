/*
 * Cron expressions: see cron.h. The rules, and the words of complaints, are those of sql/functions/parse_cron.sql and
 * parse_cron_field.sql; tests/integration/test_programs.py holds the two against each other. Any process; no state.
 */
#include "config.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/cron.h"
#include "common/xmalloc.h"

#define BLANKS	" \t"

struct field {
	const char		*name;
	int			 low, high;
	const char *const	*words;		/* names of its values, from low on; or NULL */
	const char		*list;		/* the same for people */
};

static const char *const months[] = { "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec", NULL };
static const char *const days[] = { "sun", "mon", "tue", "wed", "thu", "fri", "sat", NULL };

/* Sunday is 0 and 7. */
static const struct field fields[] = {
	{ "second", 0, 59, NULL, NULL },
	{ "minute", 0, 59, NULL, NULL },
	{ "hour", 0, 23, NULL, NULL },
	{ "day of month", 1, 31, NULL, NULL },
	{ "month", 1, 12, months, "jan, feb, mar, apr, may, jun, jul, aug, sep, oct, nov, dec" },
	{ "day of week", 0, 7, days, "sun, mon, tue, wed, thu, fri, sat" },
};

enum { SECOND, MONTHDAY = 3, MONTH, FIELDS = 6 };

/* What a part of a field says. */
struct range {
	bool	all, has_last, has_step;
	int	first, last, step;
};

#define UNKNOWN	-1

/* Up to four digits, or the three letters of a name; false if there is neither. */
static bool
read_value(const char **s, const struct field *f, int *value)
{
	size_t n = 0;

	*value = UNKNOWN;
	if (isdigit((unsigned char)**s)) {
		for (*value = 0; n < 4 && isdigit((unsigned char)(*s)[n]); n++)
			*value = *value * 10 + ((*s)[n] - '0');
		*s += n;
		return true;
	}
	while (n < 3 && isalpha((unsigned char)(*s)[n]))
		n++;
	if (n != 3)
		return false;
	for (int i = 0; f->words != NULL && f->words[i] != NULL; i++)
		if (strncasecmp(*s, f->words[i], 3) == 0)
			*value = f->low + i;
	*s += 3;
	return true;
}

static bool
read_range(const char *s, const struct field *f, struct range *r)
{
	static const struct field number = { .words = NULL };

	memset(r, 0, sizeof(*r));
	if (*s == '*') {
		r->all = true;
		s++;
	} else if (!read_value(&s, f, &r->first)) {
		return false;
	} else if (*s == '-') {
		s++;
		r->has_last = true;
		if (!read_value(&s, f, &r->last))
			return false;
	}
	r->step = 1;
	if (*s == '/') {
		s++;
		r->has_step = true;
		if (!isdigit((unsigned char)*s) || !read_value(&s, &number, &r->step))
			return false;
	}
	return *s == '\0';
}

static void
fill_range(const struct field *f, struct range *r)
{
	if (r->all)
		r->first = f->low;
	if (!r->has_last)
		r->last = r->all || r->has_step ? f->high : r->first;
	/* Of weekdays 7 is Sunday too: a range that ends there has its last day at the end of the week. */
	if (f->high == 7 && r->has_last && r->last == 0 && r->first > 0)
		r->last = 7;
	else if (f->high == 7 && !r->has_last && (r->all || r->has_step))
		r->last = 6;
}

static char *
check_part(const char *part, const struct field *f, struct range *r)
{
	if (!read_range(part, f, r))
		return xasprintf("%s: '%s': neither *, a value, a range as in %d-%d, nor one with a step as in */2", f->name, part, f->low,
		    f->low + 1);
	fill_range(f, r);
	if ((r->first == UNKNOWN || r->last == UNKNOWN) && f->words != NULL)
		return xasprintf("%s: '%s': not one of %s", f->name, part, f->list);
	if (r->first == UNKNOWN || r->last == UNKNOWN)
		return xasprintf("%s: '%s': not one of the numbers %d to %d", f->name, part, f->low, f->high);
	if (r->first < f->low || r->first > f->high || r->last < f->low || r->last > f->high)
		return xasprintf("%s: '%s': not between %d and %d", f->name, part, f->low, f->high);
	if (r->first > r->last)
		return xasprintf("%s: '%s': the range ends before it begins", f->name, part);
	if (r->step < 1 || r->step > f->high - f->low)
		return xasprintf("%s: '%s': the step is not between 1 and %d", f->name, part, f->high - f->low);
	return NULL;
}

/* Adds the values that a field allows, a bit each. */
static char *
check_field(const char *text, const struct field *f, uint64_t *allowed)
{
	char *copy = xstrdup(text), *rest = copy, *part, *why = NULL;
	struct range r;

	*allowed = 0;
	while (why == NULL && (part = strsep(&rest, ",")) != NULL) {
		why = check_part(part, f, &r);
		for (int n = r.first; why == NULL && n <= r.last; n += r.step)
			*allowed |= UINT64_C(1) << n;
	}
	free(copy);
	return why;
}

/* A day of the month that none of the months has, and that no day of the week replaces. */
static bool
never(char *const *v, const uint64_t *allowed)
{
	static const int lengths[] = { 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };

	if (v[MONTHDAY][0] != '*' && v[FIELDS - 1][0] != '*')
		return false;
	for (int m = 1; m <= 12; m++)
		for (int d = 1; (allowed[MONTH] >> m & 1) != 0 && d <= lengths[m - 1]; d++)
			if ((allowed[MONTHDAY] >> d & 1) != 0)
				return false;
	return true;
}

static char *
check_fields(char *const *v)
{
	uint64_t allowed[FIELDS];
	char *why;

	for (int i = 0; i < FIELDS; i++)
		if ((why = check_field(v[i], &fields[i], &allowed[i])) != NULL)
			return why;
	return never(v, allowed) ? xstrdup("day of month: there is no such day") : NULL;
}

static char *
check_nickname(const char *s)
{
	static const char *const nicknames[] = { "@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly" };

	size_t len;

	s += strspn(s, BLANKS);
	for (len = strlen(s); strchr(BLANKS, s[len - 1]) != NULL; len--)
		continue;
	for (size_t i = 0; i < sizeof(nicknames) / sizeof(nicknames[0]); i++)
		if (strlen(nicknames[i]) == len && strncasecmp(s, nicknames[i], len) == 0)
			return NULL;
	return xasprintf("'%.*s': not one of @yearly, @annually, @monthly, @weekly, @daily, @midnight, @hourly", (int)len, s);
}

char *
cron_check(const char *expression)
{
	char *copy = xstrdup(expression), *rest = copy, *word, *v[FIELDS + 1], *why;
	char zero[] = "0";
	size_t n = 0;

	while ((word = strsep(&rest, BLANKS)) != NULL)
		if (*word != '\0' && n <= FIELDS)
			v[n++] = word;
	if (n == 5) {
		memmove(v + 1, v, 5 * sizeof(v[0]));
		v[SECOND] = zero;
		n++;
	}
	if (expression[strspn(expression, BLANKS)] == '@')
		why = check_nickname(expression);
	else if (n != FIELDS)
		why = xasprintf("'%s': 5 fields are needed, or 6 with seconds", expression);
	else
		why = check_fields(v);
	free(copy);
	return why;
}
