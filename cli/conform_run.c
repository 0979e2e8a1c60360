/*
 * conform: the cases about executions, what they are given and what becomes of them. The cli process only.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/conform.h"
#include "common/xmalloc.h"

#define SEQUENCE	300
#define LARGE		(1u << 20)
#define LIMIT		300000u		/* max_payload of the cases about it */

/* The session */

static void
echo(struct session *s)
{
	session_open(s);
	session_echo(s, "{\"name\": \"World\", \"list\": [1, 2, 3]}");
}

static void
hello_once(struct session *s)
{
	session_open(s);
	session_echo(s, "1");
	if (s->hellos > 1)
		conform_fail(s, "one HELLO", "another one, after WELCOME");
}

static void
welcome_keys(struct session *s)
{
	struct msg_welcome m;
	struct pstr shared[CONFORM_CAPABILITIES];
	struct buf frame;

	session_begin(s, CONFORM_QUEUE);
	session_fill_welcome(s, CONFORM_QUEUE, &m, shared);
	buf_init(&frame);
	raw_welcome(&frame, &m);
	session_send(s, &frame);
	session_flush(s);
	session_echo(s, "\"after a WELCOME with unknown keys\"");
}

static void
welcome_minimal(struct session *s)
{
	struct msg_welcome m;
	struct pstr shared[CONFORM_CAPABILITIES];

	session_begin(s, CONFORM_QUEUE);
	session_fill_welcome(s, CONFORM_QUEUE, &m, shared);
	m.capabilities_n = 0;
	msg_welcome_encode(&s->out, 0, &m);
	session_flush(s);
	session_echo(s, "\"after a WELCOME without capabilities\"");
}

static void
welcome_and_run(struct session *s)
{
	uint64_t first, n;
	char text[32];

	session_begin(s, CONFORM_QUEUE);
	session_welcome(s, CONFORM_QUEUE);
	n = session_room(s, 4, 100);
	first = s->next_exec;
	for (uint64_t i = 0; i < n; i++) {
		snprintf(text, sizeof(text), "\"together %d\"", (int)i);
		session_run(s, "conform.echo", text);
	}
	for (uint64_t i = 0; i < n; i++) {
		const struct frame *f = session_final(s, "DONE for each RUN that came in one piece with WELCOME");

		if (f->type != MSG_DONE || f->exec < first || f->exec >= first + n)
			conform_fail(s, "DONE for each RUN that came in one piece with WELCOME", session_text(f));
	}
}

static void
unknown_types(struct session *s)
{
	static const unsigned types[] = { 128, 200, 255, 65535 };
	struct buf frame;
	char text[64];

	session_open(s);
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		buf_init(&frame);
		raw_unknown(&frame, types[i], i);
		session_send(s, &frame);
		snprintf(text, sizeof(text), "\"after a frame of type %u\"", types[i]);
		session_echo(s, text);
	}
}

static void
split_frames(struct session *s)
{
	struct raw_form plain = { .reversed = false };
	struct buf frame, piece;
	uint64_t exec;

	session_open(s);
	buf_init(&frame);
	raw_run(&frame, &plain, exec = session_give(s, 20), "\"byte by byte\"");
	while (frame.len > 0) {
		buf_init(&piece);
		buf_add(&piece, buf_ptr(&frame), 1);
		buf_drain(&frame, 1);
		session_send(s, &piece);
		session_flush(s);
	}
	session_expect(s, exec, "\"byte by byte\"");
}

/* RUN in other forms */

static void
run_in_form(struct session *s, const struct raw_form *form, uint64_t exec, const char *payload)
{
	struct buf frame;

	session_open(s);
	buf_init(&frame);
	session_give_as(s, exec, strlen(payload));
	raw_run(&frame, form, exec, payload);
	session_send(s, &frame);
	session_expect(s, exec, payload);
}

static void
run_keys(struct session *s)
{
	run_in_form(s, &(struct raw_form){ .unknown = true }, s->next_exec++, "\"unknown keys\"");
}

static void
run_nil(struct session *s)
{
	run_in_form(s, &(struct raw_form){ .nils = true }, s->next_exec++, "\"nil fields\"");
}

static void
run_order(struct session *s)
{
	run_in_form(s, &(struct raw_form){ .reversed = true }, s->next_exec++, "\"reversed fields\"");
}

static void
run_numbers(struct session *s)
{
	run_in_form(s, &(struct raw_form){ .wide_uints = true }, s->next_exec++, "\"unsigned numbers of 64 bits\"");
	run_in_form(s, &(struct raw_form){ .wide_ints = true }, s->next_exec++, "\"signed numbers of 64 bits\"");
}

static void
run_heads(struct session *s)
{
	run_in_form(s, &(struct raw_form){ .wide_heads = true }, s->next_exec++, "\"lengths of 32 bits\"");
}

static void
exec_order(struct session *s)
{
	static const uint64_t numbers[] = { 70007, 300, 99999, 41 };
	struct raw_form plain = { .reversed = false };

	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		run_in_form(s, &plain, s->next_exec + numbers[i], "\"numbers in no order\"");
	s->next_exec += 100000;
}

static void
exec_wide(struct session *s)
{
	static const uint64_t numbers[] = { UINT64_C(1) << 31, (UINT64_C(1) << 32) + 7, (UINT64_C(1) << 53) - 1 };
	struct raw_form plain = { .reversed = false };

	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		run_in_form(s, &plain, numbers[i], "\"large numbers\"");
}

static void
run_with(struct session *s, struct msg_run *m, const char *payload)
{
	session_open(s);
	session_expect(s, session_run_as(s, "conform.echo", payload, m), payload);
}

static void
run_full(struct session *s)
{
	struct msg_run m = {
		.attempt = 3, .has_deadline_ms = true, .deadline_ms = 3600000, .metadata = pstr("{\"tenant\": 7}"),
		.trace = pstr("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
	};

	run_with(s, &m, "\"every field\"");
}

static void
run_event(struct session *s)
{
	struct msg_run m = { .event.name = pstr("nightly"), .event.at = pstr("2030-01-31T09:00:00.000Z"), .event.kind = pstr("schedule") };

	run_with(s, &m, "\"started by a schedule\"");
}

static void
run_id(struct session *s)
{
	struct msg_run m = { .id = pstr("9223372036854775807") };

	run_with(s, &m, "\"an id of 63 bits\"");
}

static void
deadline(struct session *s)
{
	struct msg_run m = { .has_deadline_ms = true, .deadline_ms = 60000 };

	session_open(s);
	session_expect(s, session_run_as(s, "conform.sleep", "{\"ms\": 20}", &m), "20");
}

/* Values */

static void
echo_each(struct session *s, const char *const *texts)
{
	session_open(s);
	for (; *texts != NULL; texts++)
		session_echo(s, *texts);
}

static void
json_empty(struct session *s)
{
	static const char *const texts[] = { "0", "false", "\"\"", "null", NULL };

	echo_each(s, texts);
}

static void
json_containers(struct session *s)
{
	static const char *const texts[] = { "[]", "{}", "[[], {}]", "{\"list\": [], \"map\": {}}", "{\"\": null}", NULL };

	echo_each(s, texts);
}

static void
json_integers(struct session *s)
{
	static const char *const texts[] = {
		"[-1, 127, 128, 255, 256, 65535, 65536]", "[2147483647, 2147483648, -2147483648, 4294967295, 4294967296]",
		"9007199254740991", "-9007199254740991", NULL
	};

	echo_each(s, texts);
}

static void
json_fractions(struct session *s)
{
	static const char *const texts[] = { "[0.1, 12.50, -2.5, 1e3, 1.5E-7, 123456.789]", NULL };

	echo_each(s, texts);
}

static void
json_blanks(struct session *s)
{
	static const char *const texts[] = { " \t\r\n{ \"a\" :\t1 ,\n\"b\" : [ 1 , 2 ] }\n ", NULL };

	echo_each(s, texts);
}

static void
json_unicode(struct session *s)
{
	static const char *const texts[] = {
		"\"naïve — žluťoučký, Ελληνικά, 漢字, العربية\"", "\"😀👩‍🚀\"", "{\"ключ\": \"значение\"}", NULL
	};

	echo_each(s, texts);
}

static void
json_escapes(struct session *s)
{
	static const char *const texts[] = {
		"\"\\\" \\\\ \\/ \\b \\f \\n \\r \\t\"", "\"\\u00e9 \\u6f22 \\ud83d\\ude00\"", "\"\\u0001\\u001f\\u007f\"", NULL
	};

	echo_each(s, texts);
}

static void
json_nul(struct session *s)
{
	static const char *const texts[] = { "\"before\\u0000after\"", "{\"\\u0000\": \"\\u0000\"}", NULL };

	echo_each(s, texts);
}

static char *
repeated(const char *before, char c, size_t n, const char *after)
{
	size_t head = strlen(before), tail = strlen(after);
	char *text = xmalloc(head + n + tail + 1);

	memcpy(text, before, head);
	memset(text + head, c, n);
	memcpy(text + head + n, after, tail + 1);
	return text;
}

static void
json_deep(struct session *s)
{
	enum { DEPTH = 100 };
	char *closing = repeated("", ']', DEPTH, ""), *text = repeated("", '[', DEPTH, closing);

	session_open(s);
	session_echo(s, text);
	free(text);
	free(closing);
}

static void
echo_string(struct session *s, char c, size_t bytes)
{
	char *text = repeated("\"", c, bytes - 2, "\"");

	session_echo(s, text);
	free(text);
}

/* The lengths where msgpack's forms of a string end. */
static void
string_lengths(struct session *s)
{
	static const size_t lengths[] = { 31, 32, 255, 256, 65535, 65536 };

	session_open(s);
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++)
		echo_string(s, 's', lengths[i]);
}

static void
large(struct session *s)
{
	session_open(s);
	echo_string(s, 'l', LARGE);
}

static void
open_with_limit(struct session *s)
{
	s->max_payload = LIMIT;
	s->max_frame = LIMIT + CONFORM_FRAME_ROOM;
	session_open(s);
}

static void
max_payload(struct session *s)
{
	open_with_limit(s);
	echo_string(s, 'm', LIMIT);
}

static void
oversize(struct session *s)
{
	const struct msg_fail *m;
	uint64_t exec;

	open_with_limit(s);
	if (!session_announced(s, "conform.repeat")) {
		conform_skip(s, "it does not announce conform.repeat");
		return;
	}
	exec = session_run(s, "conform.repeat", "{\"text\": \"o\", \"times\": 2000000}");
	m = session_expect_fail(s, exec);
	if (m->code.len != strlen("oversize") || memcmp(m->code.p, "oversize", m->code.len) != 0)
		conform_fail(s, "FAIL with code oversize, for a result that no frame can hold", session_text(&s->frame));
	session_echo(s, "\"after a result that was too long\"");
}

static void
null_result(struct session *s)
{
	session_open(s);
	session_expect(s, session_run(s, "conform.null", "{}"), "null");
}

/* Failures */

static const struct msg_fail *
fail(struct session *s, const char *payload)
{
	session_open(s);
	return session_expect_fail(s, session_run(s, "conform.fail", payload));
}

static void
expect_message(struct session *s, const struct msg_fail *m, const char *message)
{
	char *expected;

	if (m->message.len == strlen(message) && memcmp(m->message.p, message, m->message.len) == 0)
		return;
	expected = xasprintf("FAIL with the message %s", message);
	conform_fail(s, expected, session_text(&s->frame));
}

static void
fail_message(struct session *s)
{
	expect_message(s, fail(s, "{\"message\": \"the disk is full\"}"), "the disk is full");
}

static void
fail_unicode(struct session *s)
{
	expect_message(s, fail(s, "{\"message\": \"Fehler: žluťoučký — 漢字 😀\"}"), "Fehler: žluťoučký — 漢字 😀");
}

static void
fail_code(struct session *s)
{
	static const char *const reserved[] = { "", "crash", "nondeterminism" };
	const struct msg_fail *m = fail(s, "{\"message\": \"which code?\"}");

	for (size_t i = 0; i < sizeof(reserved) / sizeof(reserved[0]); i++)
		if (m->code.len == strlen(reserved[i]) && memcmp(m->code.p, reserved[i], m->code.len) == 0)
			conform_fail(s, "FAIL with a code that a handler may use, such as app", session_text(&s->frame));
}

static void
fail_retry(struct session *s)
{
	const struct msg_fail *m = fail(s, "{\"message\": \"for now\"}");

	if (m->has_retry && !m->retry)
		conform_fail(s, "FAIL that may be retried", "FAIL with retry false");
}

static void
fail_for_good(struct session *s)
{
	const struct msg_fail *m = fail(s, "{\"message\": \"for good\", \"retry\": false}");

	if (!m->has_retry || m->retry)
		conform_fail(s, "FAIL with retry false", m->has_retry ? "FAIL with retry true" : "FAIL without retry");
}

static void
fail_after(struct session *s)
{
	const struct msg_fail *m = fail(s, "{\"message\": \"later\", \"after_ms\": 1234}");

	if (!m->has_after_ms || m->after_ms != 1234)
		conform_differs(s, "FAIL with after_ms 1234",
		    m->has_after_ms ? "FAIL with after_ms %llu" : "FAIL without after_ms", (unsigned long long)m->after_ms);
	if (m->has_retry && !m->retry)
		conform_fail(s, "FAIL that is retried after 1234 ms", "FAIL with retry false");
}

static void
fail_then_run(struct session *s)
{
	for (int i = 0; i < 3; i++) {
		fail(s, "{\"message\": \"again and again\"}");
		session_echo(s, "\"after a failure\"");
	}
}

static void
unknown_task(struct session *s)
{
	session_open(s);
	session_expect_fail(s, session_run(s, "conform.nowhere", "{}"));
	session_echo(s, "\"after an unknown task\"");
}

static void
bad_payload(struct session *s)
{
	static const char *const payloads[] = { "[]", "null", "\"text\"", "12" };

	session_open(s);
	for (size_t i = 0; i < sizeof(payloads) / sizeof(payloads[0]); i++) {
		session_run(s, "conform.fail", payloads[i]);
		session_final(s, "DONE or FAIL of conform.fail with a payload that is no object");
	}
	session_echo(s, "\"after bad payloads\"");
}

static void
many(struct session *s)
{
	char text[64];

	session_open(s);
	for (int i = 1; i <= SEQUENCE; i++) {
		snprintf(text, sizeof(text), "{\"nth\": %d}", i);
		session_echo(s, text);
	}
}

/* What it prints, and logs */

static void
print(struct session *s)
{
	static const char text[] = "a line that conform.print was given";
	int64_t until;

	session_open(s);
	session_expect(s, session_run(s, "conform.print", "{\"text\": \"a line that conform.print was given\"}"), "null");
	until = session_due();
	while (s->log.len == 0 || memmem(buf_ptr(&s->log), s->log.len, text, strlen(text)) == NULL)
		if (!session_pump(s, until))
			conform_fail(s, "the text of conform.print on stdout, as it is printed", "it is not there");
	session_echo(s, "\"after printing\"");
}

static void
log_line(struct session *s)
{
	uint64_t exec;

	if (!session_offers(s, "log", "conform.log"))
		return;
	exec = session_run(s, "conform.log", "{\"level\": \"warn\", \"message\": \"a line for the log\"}");
	session_expect(s, exec, "null");
	if (s->last_log.message == NULL)
		conform_fail(s, "LOG before the answer", "none");
	if (s->last_log.exec != exec || strcmp(s->last_log.level, "warn") != 0 ||
	    strcmp(s->last_log.message, "a line for the log") != 0)
		conform_differs(s, "LOG of the execution with the level and the message given", "exec %llu, %s: %s",
		    (unsigned long long)s->last_log.exec, s->last_log.level, s->last_log.message);
}

const struct conform_case conform_run_cases[] = {
	{ "echo", "an execution is answered with its result", echo, "run", true },
	{ "hello-once", "nothing but the first frame is a HELLO", hello_once, "run", false },
	{ "unknown-types", "frames of types from 128 up are ignored", unknown_types, "run", false },
	{ "split-frames", "a frame may come byte by byte", split_frames, "run", false },
	{ "run-keys", "keys of RUN and event that are not known are ignored", run_keys, "run", false },
	{ "run-nil", "a field that is nil is absent", run_nil, "run", false },
	{ "run-order", "the fields of a map come in any order", run_order, "run", false },
	{ "run-numbers", "a number may be written in any width", run_numbers, "run", false },
	{ "run-heads", "an array, a map, a string may be written with a longer length than it needs", run_heads, "run", false },
	{ "run-full", "every optional field of RUN is taken", run_full, "run", false },
	{ "run-event", "what an execution was started by may have any name", run_event, "run", false },
	{ "run-id", "an id may need 63 bits", run_id, "run", false },
	{ "exec-order", "the numbers of executions are in no order", exec_order, "run", false },
	{ "exec-wide", "the numbers of executions may need 53 bits", exec_wide, "run", false },
	{ "deadline", "an execution that has time is not failed for want of it", deadline, "run", false },
	{ "json-empty", "0, false, the empty string and null survive", json_empty, "run", false },
	{ "json-containers", "empty arrays and objects survive", json_containers, "run", false },
	{ "json-integers", "integers up to 53 bits survive", json_integers, "run", false },
	{ "json-fractions", "other numbers survive, as doubles", json_fractions, "run", false },
	{ "json-blanks", "blanks around what is JSON do not matter", json_blanks, "run", false },
	{ "json-unicode", "characters of all planes survive", json_unicode, "run", false },
	{ "json-escapes", "escaped characters survive", json_escapes, "run", false },
	{ "json-nul", "the character NUL, which is always escaped, survives", json_nul, "run", false },
	{ "json-deep", "a hundred levels of arrays survive", json_deep, "run", false },
	{ "string-lengths", "strings of the lengths where their forms change survive", string_lengths, "run", false },
	{ "large", "a payload and a result of 1 MiB", large, "run", false },
	{ "null-result", "a task that returns nothing returns null", null_result, "run", false },
	{ "fail-message", "an error is answered with FAIL and its message", fail_message, "run", false },
	{ "fail-unicode", "an error's message survives in any language", fail_unicode, "run", false },
	{ "fail-code", "FAIL has a code that is a handler's to use", fail_code, "run", false },
	{ "fail-retry", "an ordinary error may be retried", fail_retry, "run", false },
	{ "fail-for-good", "an error for good says retry false", fail_for_good, "run", false },
	{ "fail-after", "an error can say when to try again", fail_after, "run", false },
	{ "fail-then-run", "after an error the next execution runs", fail_then_run, "run", false },
	{ "unknown-task", "an execution of a task it does not have is failed", unknown_task, "run", false },
	{ "bad-payload", "a payload that a task cannot use is answered, and ends nothing", bad_payload, "run", false },
	{ "many", "300 executions one after the other", many, "run", false },
	{ "print", "what a task prints is on stdout at once, and breaks nothing", print, "run", false },
	{ "log", "LOG bears the execution, the level and the message (capability log, conform.log)", log_line, "run", false },
	{ "welcome-keys", "keys of WELCOME that are not known are ignored", welcome_keys, NULL, false },
	{ "welcome-minimal", "WELCOME may name no capabilities", welcome_minimal, NULL, false },
	{ "welcome-and-run", "WELCOME and RUN may come in one piece", welcome_and_run, NULL, false },
	{ "max-payload", "a payload and a result as long as max_payload", max_payload, "limit", false },
	{ "oversize", "a result that no frame can hold is failed with oversize (conform.repeat)", oversize, "limit", false },
	{ .name = NULL }
};
