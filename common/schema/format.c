/*
 * The formats that are checked: date-time (RFC 3339), email (RFC 5321), uuid (RFC 4122), uri (RFC 3986), ipv4 and ipv6. Any
 * process. Each goes through the text once.
 */
#include "config.h"

#include <stdint.h>
#include <string.h>

#include "common/schema/format.h"

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool
is_hex(char c)
{
	return is_digit(c) || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f');
}

static bool
is_alnum(char c)
{
	return is_digit(c) || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
}

static bool
is_one_of(const char *list, char c)
{
	return c != '\0' && strchr(list, c) != NULL;
}

/* ---- date-time ---- */

/* So many digits; -1: there are fewer. */
static int
number(const char **p, const char *end, int digits)
{
	int n = 0;

	for (int i = 0; i < digits; i++, (*p)++) {
		if (*p == end || !is_digit(**p))
			return -1;
		n = n * 10 + (**p - '0');
	}
	return n;
}

static bool
take(const char **p, const char *end, const char *one_of)
{
	if (*p == end || !is_one_of(one_of, **p))
		return false;
	(*p)++;
	return true;
}

static int
days_of(int year, int month)
{
	static const int days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

	return days[month - 1] + (month == 2 && leap);
}

static bool
full_date(const char **p, const char *end)
{
	int year = number(p, end, 4), month, day;

	if (year < 0 || !take(p, end, "-"))
		return false;
	month = number(p, end, 2);
	if (month < 1 || month > 12 || !take(p, end, "-"))
		return false;
	day = number(p, end, 2);
	return day >= 1 && day <= days_of(year, month);
}

/* Minutes that local time is ahead by. */
static bool
offset(const char **p, const char *end, int *minutes)
{
	int hour, minute, sign;

	*minutes = 0;
	if (take(p, end, "Zz"))
		return true;
	sign = *p < end && **p == '-' ? -1 : 1;
	if (!take(p, end, "+-"))
		return false;
	hour = number(p, end, 2);
	if (hour < 0 || hour > 23 || !take(p, end, ":"))
		return false;
	minute = number(p, end, 2);
	*minutes = sign * (hour * 60 + minute);
	return minute >= 0 && minute <= 59;
}

static bool
full_time(const char **p, const char *end)
{
	int hour = number(p, end, 2), minute, second, ahead;

	if (hour < 0 || hour > 23 || !take(p, end, ":"))
		return false;
	minute = number(p, end, 2);
	if (minute < 0 || minute > 59 || !take(p, end, ":"))
		return false;
	second = number(p, end, 2);
	if (second < 0 || second > 60)
		return false;
	if (take(p, end, ".")) {
		if (number(p, end, 1) < 0)
			return false;
		while (*p < end && is_digit(**p))
			(*p)++;
	}
	if (!offset(p, end, &ahead))
		return false;
	/* A leap second is the last one of a day, in UTC. */
	return second < 60 || (hour * 60 + minute - ahead + 2880) % 1440 == 1439;
}

static bool
date_time(const char *s, size_t len)
{
	const char *p = s, *end = s + len;

	return full_date(&p, end) && take(&p, end, "Tt") && full_time(&p, end) && p == end;
}

/* ---- addresses ---- */

static bool
ipv4(const char *s, size_t len)
{
	const char *p = s, *end = s + len;

	for (int i = 0; i < 4; i++) {
		int n = 0, digits = 0;

		if (i > 0 && !take(&p, end, "."))
			return false;
		for (; p < end && is_digit(*p) && digits < 4; p++, digits++)
			n = n * 10 + (*p - '0');
		if (digits == 0 || n > 255 || (digits > 1 && p[-digits] == '0'))
			return false;
	}
	return p == end;
}

/* Groups of 16 bits, at one place "::" for as many as are missing, at the end perhaps an IPv4 address for two. */
static bool
ipv6(const char *s, size_t len)
{
	const char *p = s, *end = s + len;
	int groups = 0;
	bool gap = false;

	if (len < 2 || (s[0] == ':' && s[1] != ':'))
		return false;
	while (p < end) {
		const char *start = p;

		if (end - p >= 2 && p[0] == ':' && p[1] == ':') {
			if (gap)
				return false;
			gap = true;
			p += 2;
			continue;
		}
		if (p > s && p[-1] != ':' && !take(&p, end, ":"))
			return false;
		for (start = p; p < end && is_hex(*p); p++)
			continue;
		if (p < end && *p == '.') {
			groups += 2;
			if (!ipv4(start, (size_t)(end - start)))
				return false;
			break;
		}
		if (p == start || p - start > 4)
			return false;
		groups++;
	}
	return gap ? groups <= 7 : groups == 8;
}

static bool
uuid(const char *s, size_t len)
{
	if (len != 36)
		return false;
	for (size_t i = 0; i < len; i++)
		if (i == 8 || i == 13 || i == 18 || i == 23 ? s[i] != '-' : !is_hex(s[i]))
			return false;
	return true;
}

/* ---- email ---- */

static bool
host_name(const char *p, const char *end)
{
	const char *label = p;

	if (p == end || end - p > 253)
		return false;
	for (; p <= end; p++) {
		if (p < end && *p != '.') {
			if (!is_alnum(*p) && *p != '-')
				return false;
			continue;
		}
		if (p == label || p - label > 63 || *label == '-' || p[-1] == '-')
			return false;
		label = p + 1;
	}
	return true;
}

static bool
domain(const char *p, const char *end)
{
	if (end - p < 2 || *p != '[')
		return host_name(p, end);
	if (end[-1] != ']')
		return false;
	if (end - p > 7 && strncmp(p, "[IPv6:", 6) == 0)
		return ipv6(p + 6, (size_t)(end - p) - 7);
	return ipv4(p + 1, (size_t)(end - p) - 2);
}

static bool
dot_atom(const char *p, const char *end)
{
	const char *start = p;

	for (; p < end; p++) {
		if (*p == '.' && (p == start || p[-1] == '.' || p + 1 == end))
			return false;
		if (!is_alnum(*p) && !is_one_of(".!#$%&'*+-/=?^_`{|}~", *p))
			return false;
	}
	return p > start;
}

static bool
quoted(const char *p, const char *end)
{
	for (p++, end--; p < end; p++) {
		if (*p == '\\')
			p++;
		else if (*p == '"')
			return false;
		if (p == end || *p < ' ' || *p > '~')
			return false;
	}
	return true;
}

static bool
email(const char *s, size_t len)
{
	const char *at = memrchr(s, '@', len), *end = s + len;

	if (at == NULL || at == s || at - s > 64)
		return false;
	if (*s == '"')
		return at - s >= 2 && at[-1] == '"' && quoted(s, at) && domain(at + 1, end);
	return dot_atom(s, at) && domain(at + 1, end);
}

/* ---- uri ---- */

/* Of these characters and %XX. */
static bool
consists_of(const char *p, const char *end, const char *more)
{
	for (; p < end; p++) {
		if (*p == '%') {
			if (end - p < 3 || !is_hex(p[1]) || !is_hex(p[2]))
				return false;
			p += 2;
		} else if (!is_alnum(*p) && !is_one_of("-._~!$&'()*+,;=", *p) && !is_one_of(more, *p)) {
			return false;
		}
	}
	return true;
}

static bool
authority(const char *p, const char *end)
{
	const char *at = memrchr(p, '@', (size_t)(end - p)), *close;

	if (at != NULL) {
		if (!consists_of(p, at, ":"))
			return false;
		p = at + 1;
	}
	close = p;
	if (p < end && *p == '[') {
		close = memchr(p, ']', (size_t)(end - p));
		if (close == NULL || !(p[1] == 'v' ? consists_of(p + 1, close, ":") : ipv6(p + 1, (size_t)(close - p) - 1)))
			return false;
		close++;
	} else {
		while (close < end && *close != ':')
			close++;
		if (!consists_of(p, close, ""))
			return false;
	}
	if (close < end && *close++ != ':')
		return false;
	while (close < end && is_digit(*close))
		close++;
	return close == end;
}

static const char *
until(const char *p, const char *end, const char *stop)
{
	while (p < end && !is_one_of(stop, *p))
		p++;
	return p;
}

static bool
uri(const char *s, size_t len)
{
	const char *p = s, *end = s + len, *part;

	if (len == 0 || is_digit(*s) || !is_alnum(*s))
		return false;
	while (p < end && (is_alnum(*p) || is_one_of("+-.", *p)))
		p++;
	if (!take(&p, end, ":"))
		return false;
	if (end - p >= 2 && p[0] == '/' && p[1] == '/') {
		part = p + 2;
		p = until(part, end, "/?#");
		if (!authority(part, p))
			return false;
	}
	part = p;
	p = until(p, end, "?#");
	if (!consists_of(part, p, ":@/"))
		return false;
	if (p < end && *p == '?') {
		part = ++p;
		p = until(p, end, "#");
		if (!consists_of(part, p, ":@/?"))
			return false;
	}
	return p == end || consists_of(p + 1, end, ":@/?");
}

const struct format *
format_find(const char *name, size_t len)
{
	static const struct format formats[] = {
		{ "date-time", date_time }, { "email", email }, { "ipv4", ipv4 }, { "ipv6", ipv6 }, { "uri", uri }, { "uuid", uuid },
	};

	for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++)
		if (strlen(formats[i].name) == len && memcmp(formats[i].name, name, len) == 0)
			return &formats[i];
	return NULL;
}
