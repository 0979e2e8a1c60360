/*
 * What the programs of the tests that are written in C have in common: the ledger (see ledger.py), and JSON by jansson.
 */
#ifndef TESTS_SUPPORT_PROGRAM_H
#define TESTS_SUPPORT_PROGRAM_H

#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <pgconductor.h>

/* Enters this run in the file that LEDGER names; rest: of the line. */
static inline void
enter(struct pgc_run *run, const char *kind, const char *rest)
{
	char line[2048];
	struct timespec t;
	int fd = open(getenv("LEDGER"), O_WRONLY | O_APPEND | O_CLOEXEC), n;

	clock_gettime(CLOCK_REALTIME, &t);
	n = snprintf(line, sizeof(line), "%lld%09ld %d %s %s %u %s\n", (long long)t.tv_sec, t.tv_nsec, (int)getpid(), kind,
	    pgc_id(run), pgc_attempt(run), rest);
	if (fd == -1 || write(fd, line, (size_t)n) != n)
		abort();
	close(fd);
}

/* With what it was started by: EVENT|TIME|PAYLOAD. */
static inline void
enter_cause(struct pgc_run *run, const char *kind)
{
	const char *at = pgc_event_at(run);
	char rest[1024];

	snprintf(rest, sizeof(rest), "%s|%s|%s", pgc_event(run), at != NULL ? at : "", pgc_payload(run));
	enter(run, kind, rest);
}

static inline json_t *
payload_of(struct pgc_run *run)
{
	return json_loadb(pgc_payload(run), pgc_payload_len(run), JSON_DECODE_ANY, NULL);
}

/* Frees the result. */
static inline int
done_json(struct pgc_run *run, json_t *result)
{
	char *text = json_dumps(result, JSON_ENCODE_ANY | JSON_COMPACT);
	int verdict = pgc_done(run, text);

	free(text);
	json_decref(result);
	return verdict;
}

/* The end of a function whose call was refused. */
static inline int
refused(struct pgc_run *run)
{
	return pgc_fail(run, pgc_error(pgc_of(run)));
}

/* The end of one whose call has this answer; NULL: it was refused. */
static inline int
done_answer(struct pgc_run *run, const char *answer)
{
	return answer != NULL ? pgc_done_text(run, answer) : refused(run);
}

#endif
