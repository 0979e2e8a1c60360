/*
 * The log: one line on stderr for each event, written by a single write(2) so that lines of several processes do
 * not mix. Text: "time level process: message". logfmt or JSON for machines; under systemd "<N>" priorities, no time.
 */
#ifndef COMMON_LOG_H
#define COMMON_LOG_H

#include <stdbool.h>

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR };
enum log_format { LOG_FORMAT_TEXT, LOG_FORMAT_LOGFMT, LOG_FORMAT_JSON };

/* ident: the process, e.g. "master" or "worker[default]"; copied. May be called again. */
void	log_init(const char *ident, enum log_level, enum log_format);
bool	log_enabled(enum log_level);
/* Names for the configuration; -1 when unknown. */
int	log_level_parse(const char *);
int	log_format_parse(const char *);
const char *log_level_name(enum log_level);
const char *log_format_name(enum log_format);

void	log_debug(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void	log_info(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Adds strerror(errno); keeps errno. */
void	log_warn(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void	log_warnx(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void	log_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* A warning for each of these lines. */
void	log_warn_lines(const char *lines);

/* For start-up and broken invariants only. fatal adds strerror(errno) and exits 71 (EX_OSERR), fatalx 70 (EX_SOFTWARE). */
void	fatal(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));
void	fatalx(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));

#endif
