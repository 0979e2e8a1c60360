/*
 * The log. Any process. May not allocate: fatal() comes here when memory is short.
 */
#include "config.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "common/log.h"

#define LINE_MAX_BYTES	8192

static char		 ident[64] = "pgconductor";
static enum log_level	 min_level = LOG_LEVEL_INFO;
static enum log_format	 format = LOG_FORMAT_TEXT;
static bool		 journal;

static const char *const level_names[] = { "debug", "info", "warn", "error" };
static const char *const format_names[] = { "text", "logfmt", "json" };
static const char level_priority[] = { '7', '6', '4', '3' };

/* Whether stderr is the journal: the variable may have come from an ancestor whose stderr it was. */
static bool
is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long device, inode;
	struct stat st;

	return stream != NULL && sscanf(stream, "%llu:%llu", &device, &inode) == 2 && fstat(STDERR_FILENO, &st) == 0 &&
	    st.st_dev == device && st.st_ino == inode;
}

void
log_init(const char *name, enum log_level level, enum log_format fmt)
{
	snprintf(ident, sizeof(ident), "%s", name);
	min_level = level;
	format = fmt;
	journal = is_journal();
}

bool
log_enabled(enum log_level level)
{
	return level >= min_level;
}

int
log_level_parse(const char *s)
{
	for (int i = 0; i < 4; i++)
		if (strcmp(s, level_names[i]) == 0)
			return i;
	return -1;
}

int
log_format_parse(const char *s)
{
	for (int i = 0; i < 3; i++)
		if (strcmp(s, format_names[i]) == 0)
			return i;
	return -1;
}

const char *
log_level_name(enum log_level level)
{
	return level_names[level];
}

const char *
log_format_name(enum log_format fmt)
{
	return format_names[fmt];
}

/* Copies text so that it stays on one line; quoted also escapes what logfmt and JSON strings need escaped. */
static size_t
put_clean(char *out, size_t room, const char *text, bool quoted)
{
	size_t n = 0;

	for (const unsigned char *p = (const unsigned char *)text; *p != '\0' && n + 7 < room; p++) {
		if (*p == '\n' || *p == '\r' || *p == '\t') {
			out[n++] = quoted ? '\\' : ' ';
			if (quoted)
				out[n++] = *p == '\n' ? 'n' : *p == '\r' ? 'r' : 't';
		} else if (*p < 0x20 || *p == 0x7f) {
			n += (size_t)snprintf(out + n, room - n, quoted ? "\\u%04x" : "\\x%02x", *p);
		} else {
			if (quoted && (*p == '"' || *p == '\\'))
				out[n++] = '\\';
			out[n++] = (char)*p;
		}
	}
	out[n] = '\0';
	return n;
}

static size_t
put_head(char *line, size_t room, enum log_level level)
{
	char when[32];
	struct timespec now;
	struct tm tm;
	size_t n = 0;

	if (journal)
		n = (size_t)snprintf(line, room, "<%c>", level_priority[level]);
	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%S", &tm);
	switch (format) {
	case LOG_FORMAT_JSON:
		return n + (size_t)snprintf(line + n, room - n, "{\"time\":\"%s.%03ldZ\",\"level\":\"%s\",\"process\":\"%s\","
		    "\"pid\":%ld,\"message\":\"", when, now.tv_nsec / 1000000, level_names[level], ident, (long)getpid());
	case LOG_FORMAT_LOGFMT:
		return n + (size_t)snprintf(line + n, room - n, "time=%s.%03ldZ level=%s process=%s pid=%ld message=\"", when,
		    now.tv_nsec / 1000000, level_names[level], ident, (long)getpid());
	case LOG_FORMAT_TEXT:
		break;
	}
	if (journal)
		return n + (size_t)snprintf(line + n, room - n, "%s: ", ident);
	return (size_t)snprintf(line, room, "%s.%03ldZ %-5s %s[%ld]: ", when, now.tv_nsec / 1000000, level_names[level],
	    ident, (long)getpid());
}

static void
emit(enum log_level level, const char *text)
{
	char line[LINE_MAX_BYTES];
	size_t n;
	ssize_t written;

	n = put_head(line, sizeof(line), level);
	n += put_clean(line + n, sizeof(line) - n - 4, text, format != LOG_FORMAT_TEXT);
	if (format != LOG_FORMAT_TEXT)
		line[n++] = '"';
	if (format == LOG_FORMAT_JSON)
		line[n++] = '}';
	line[n++] = '\n';
	/* A log that cannot be written has nowhere to be reported. */
	written = write(STDERR_FILENO, line, n);
	(void)written;
}

static void
vlog(enum log_level level, int err, const char *fmt, va_list ap)
{
	char text[LINE_MAX_BYTES - 512];
	int saved = errno;
	int n;

	if (level < min_level)
		return;
	n = vsnprintf(text, sizeof(text), fmt, ap);
	if (err != 0 && n >= 0 && (size_t)n < sizeof(text))
		snprintf(text + n, sizeof(text) - (size_t)n, ": %s", strerror(err));
	emit(level, text);
	errno = saved;
}

#define LOG_FUNCTION(name, level, err)			\
void							\
name(const char *fmt, ...)				\
{							\
	va_list ap;					\
							\
	va_start(ap, fmt);				\
	vlog(level, err, fmt, ap);			\
	va_end(ap);					\
}

LOG_FUNCTION(log_debug, LOG_LEVEL_DEBUG, 0)
LOG_FUNCTION(log_info, LOG_LEVEL_INFO, 0)
LOG_FUNCTION(log_warn, LOG_LEVEL_WARN, errno)
LOG_FUNCTION(log_warnx, LOG_LEVEL_WARN, 0)
LOG_FUNCTION(log_error, LOG_LEVEL_ERROR, 0)

void
log_warn_lines(const char *lines)
{
	for (size_t len; *lines != '\0'; lines += len + (lines[len] == '\n')) {
		len = strcspn(lines, "\n");
		log_warnx("%.*s", (int)len, lines);
	}
}

void
fatal(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vlog(LOG_LEVEL_ERROR, errno, fmt, ap);
	va_end(ap);
	exit(EX_OSERR);
}

void
fatalx(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vlog(LOG_LEVEL_ERROR, 0, fmt, ap);
	va_end(ap);
	exit(EX_SOFTWARE);
}
