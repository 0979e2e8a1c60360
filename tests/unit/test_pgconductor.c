/*
 * libpgconductor against a worker played by the test: the other end of a socket pair, in the same process for programs
 * with a loop of their own, in a child for pgc_serve.
 */
#include "config.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/buf.h"
#include "proto/c/pgconductor.h"
#include "proto/messages.h"
#include "tests/unit/unit.h"

#define MAX_PAYLOAD	1000
#define MAX_FRAME	300000

static int far;			/* the worker's end */
static struct buf in, out;	/* the worker's */
static struct msg m;
static struct pgc *c;
static struct pgc_run *kept[20];
static int kept_n, calls, cancels;
static char note[200];

static void
setup(void)
{
	char fd[12];
	int fds[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	far = fds[1];
	snprintf(fd, sizeof(fd), "%d", fds[0]);
	setenv("PGCONDUCTOR_FD", fd, 1);
	setenv("PGCONDUCTOR_PROTO", "1", 1);
	unsetenv("PGCONDUCTOR_QUEUE");
	buf_init(&in);
	buf_init(&out);
	msg_init(&m);
	c = pgc_new();
}

static void
teardown(void)
{
	pgc_free(c);
	buf_free(&in);
	buf_free(&out);
	msg_free(&m);
	close(far);
}

/* The worker's side */

static void
worker_sends(void)
{
	ck_assert_int_eq(write(far, buf_ptr(&out), out.len), (ssize_t)out.len);
	buf_reset(&out, 0);
}

static bool
worker_has_frame(void)
{
	struct pollfd p = { .fd = far, .events = POLLIN };
	ssize_t n;

	while (in.len < MSG_HEAD || in.len < MSG_HEAD + msg_length(buf_ptr(&in))) {
		if (poll(&p, 1, 0) != 1)
			return false;
		if ((n = read(far, buf_reserve(&in, 65536), 65536)) <= 0)
			return false;
		buf_grew(&in, (size_t)n);
	}
	return true;
}

/* The next frame must be of this type; it lives until the one after it. */
static void
worker_gets(unsigned type)
{
	static struct buf last;
	const char *why = "";
	size_t len;

	ck_assert_msg(worker_has_frame(), "no frame where %s should be", msg_name(type));
	len = msg_length(buf_ptr(&in));
	buf_reset(&last, 1 << 20);
	buf_add(&last, buf_ptr(&in) + MSG_HEAD, len);
	buf_drain(&in, MSG_HEAD + len);
	ck_assert_msg(msg_open(&m, buf_ptr(&last), len, &why) == 0, "%s", why);
	ck_assert_str_eq(msg_name(m.type), msg_name(type));
	ck_assert(msg_allowed(m.type, MSG_HANDLER_TO_WORKER));
}

static void
worker_gets_done(uint64_t exec, const char *result)
{
	struct msg_done d;
	const char *why;

	worker_gets(MSG_DONE);
	ck_assert_uint_eq(m.exec, exec);
	ck_assert_int_eq(msg_done_decode(&m, &d, &why), 0);
	if (result == NULL) {
		ck_assert_ptr_null(d.result.p);
		return;
	}
	ck_assert_uint_eq(d.result.len, strlen(result));
	ck_assert_int_eq(memcmp(d.result.p, result, d.result.len), 0);
}

static struct msg_fail
worker_gets_fail(uint64_t exec, const char *code, const char *message)
{
	struct msg_fail f;
	const char *why;

	worker_gets(MSG_FAIL);
	ck_assert_uint_eq(m.exec, exec);
	ck_assert_int_eq(msg_fail_decode(&m, &f, &why), 0);
	ck_assert_msg(f.code.len == strlen(code) && memcmp(f.code.p, code, f.code.len) == 0, "code %.*s", (int)f.code.len, f.code.p);
	ck_assert_msg(f.message.len == strlen(message) && memcmp(f.message.p, message, f.message.len) == 0,
	    "message %.*s", (int)f.message.len, f.message.p);
	return f;
}

static void
say_welcome(void)
{
	struct msg_welcome w = { .protocol = 1, .queue = pstr("default"), .max_frame = MAX_FRAME, .max_payload = MAX_PAYLOAD };

	msg_welcome_encode(&out, 0, &w);
	worker_sends();
}

static void
say_run_of(uint64_t exec, const char *task, const char *payload)
{
	struct msg_run r = { .id = pstr("42"), .task = pstr(task), .attempt = 2, .token = pstr("1.2.3"),
	    .event = { .name = pstr("pgconductor.invoke"), .payload = pstr(payload) } };

	msg_run_encode(&out, exec, &r);
}

static void
say_cancel(uint64_t exec, const char *reason)
{
	struct msg_cancel k = { .reason = pstr(reason), .grace_ms = 1000 };

	msg_cancel_encode(&out, exec, &k);
}

static void
say_drain(void)
{
	struct msg_drain d = { .deadline_ms = 5000 };

	msg_drain_encode(&out, 0, &d);
}

/* The handler's side */

static int
echo(struct pgc_run *r, void *arg)
{
	(void)arg;
	calls++;
	return pgc_done_len(r, pgc_payload(r), pgc_payload_len(r));
}

static int
keep(struct pgc_run *r, void *arg)
{
	(void)arg;
	kept[kept_n++] = r;
	return PGC_LATER;
}

static int
returns_7(struct pgc_run *r, void *arg)
{
	(void)r;
	(void)arg;
	return 7;
}

static int
says_nothing(struct pgc_run *r, void *arg)
{
	(void)r;
	(void)arg;
	return 0;
}

static void
on_cancel(struct pgc_run *r, void *arg)
{
	ck_assert_ptr_eq(arg, &cancels);
	cancels++;
	snprintf(note, sizeof(note), "%s", pgc_cancelled(r));
}

static void
open_with(unsigned concurrency, unsigned credit)
{
	pgc_task(c, "echo", echo, NULL);
	pgc_task(c, "keep", keep, NULL);
	pgc_task(c, "seven", returns_7, NULL);
	pgc_task(c, "nothing", says_nothing, NULL);
	pgc_on_cancel(c, on_cancel, &cancels);
	pgc_set_concurrency(c, concurrency);
	if (credit != 0)
		pgc_set_credit(c, credit);
	ck_assert_int_eq(pgc_open(c), 0);
	worker_gets(MSG_HELLO);
	say_welcome();
	ck_assert_int_eq(pgc_step(c), 1);
}

START_TEST(hello_says_what_it_serves)
{
	struct msg_hello h;
	const char *why;

	pgc_task(c, "a", echo, NULL);
	pgc_task_with(c, "b", "media", "{\"max_attempts\": 5}", echo, NULL);
	pgc_triggers(c, "b", "[]");
	pgc_triggers(c, "b", "[{\"cron\": \"@daily\"}]");
	pgc_schemas(c, "b", "true", "{}");
	pgc_schemas(c, "b", "{}", NULL);
	pgc_event_type(c, "paid", "true");
	pgc_event_type(c, "lost", NULL);
	pgc_set_concurrency(c, 4);
	pgc_set_credit(c, 9);
	pgc_set_window(c, 1000);
	ck_assert_int_eq(pgc_open(c), 0);
	ck_assert_ptr_null(getenv("PGCONDUCTOR_FD"));
	ck_assert_int_ne(fcntl(pgc_fd(c), F_GETFD) & FD_CLOEXEC, 0);
	worker_gets(MSG_HELLO);
	ck_assert_int_eq(msg_hello_decode(&m, &h, &why), 0);
	ck_assert(h.protocols_n == 1 && h.protocols[0] == 1);
	ck_assert(h.has_credit && h.credit == 9 && h.has_concurrency && h.concurrency == 4 && h.has_window && h.window == 1000);
	ck_assert_uint_eq(h.tasks_n, 2);
	ck_assert_ptr_null(h.tasks[0].queue.p);
	ck_assert_int_eq(memcmp(h.tasks[1].queue.p, "media", 5), 0);
	ck_assert_uint_eq(h.tasks[1].options.len, 19);
	ck_assert_ptr_null(h.tasks[0].triggers.p);
	ck_assert_int_eq(memcmp(h.tasks[1].triggers.p, "[{\"cron\": \"@daily\"}]", 20), 0);
	ck_assert_ptr_null(h.tasks[0].payload_schema.p);
	ck_assert_int_eq(memcmp(h.tasks[1].payload_schema.p, "{}", 2), 0);
	ck_assert_ptr_null(h.tasks[1].returns_schema.p);
	ck_assert_uint_eq(h.events_n, 2);
	ck_assert_int_eq(memcmp(h.events[0].name.p, "paid", 4), 0);
	ck_assert_int_eq(memcmp(h.events[0].schema.p, "true", 4), 0);
	ck_assert_ptr_null(h.events[1].schema.p);
	ck_assert_str_eq(pgc_queue(c), "");
	say_welcome();
	ck_assert_int_eq(pgc_step(c), 1);
	ck_assert_str_eq(pgc_queue(c), "default");
}
END_TEST

START_TEST(hello_of_one_queue)
{
	static const char *const queues[] = { "default", "media", "none" };
	struct msg_hello h;
	const char *why;

	setenv("PGCONDUCTOR_QUEUE", queues[_i], 1);
	pgc_task(c, "a", echo, NULL);
	pgc_task_with(c, "b", "media", NULL, echo, NULL);
	ck_assert_int_eq(pgc_open(c), 0);
	worker_gets(MSG_HELLO);
	ck_assert_int_eq(msg_hello_decode(&m, &h, &why), 0);
	ck_assert_uint_eq(h.credit, 1);
	ck_assert_uint_eq(h.tasks_n, _i < 2);
	if (_i < 2)
		ck_assert_int_eq(*h.tasks[0].name.p, "ab"[_i]);
	unsetenv("PGCONDUCTOR_QUEUE");
}
END_TEST

static int
asks_everything(struct pgc_run *r, void *arg)
{
	ck_assert_str_eq(arg, "arg");
	ck_assert_str_eq(pgc_id(r), "9007199254740993");
	ck_assert_str_eq(pgc_task_name(r), "all");
	ck_assert_uint_eq(pgc_attempt(r), 3);
	ck_assert_str_eq(pgc_token(r), "7.8.9");
	ck_assert_str_eq(pgc_event(r), "user.created");
	ck_assert_str_eq(pgc_event_at(r), "2030-01-31T12:00:00.000Z");
	ck_assert_str_eq(pgc_event_kind(r), "event");
	ck_assert_str_eq(pgc_payload(r), " {\"a\":12.50} ");
	ck_assert_uint_eq(pgc_payload_len(r), 13);
	ck_assert_str_eq(pgc_metadata(r), "{}");
	ck_assert_str_eq(pgc_trace(r), "00-1");
	ck_assert_int_gt(pgc_time_left(r), 50000);
	ck_assert_int_le(pgc_time_left(r), 60000);
	ck_assert_ptr_null(pgc_cancelled(r));
	ck_assert_ptr_eq(pgc_of(r), c);
	ck_assert_ptr_null(pgc_data(r));
	pgc_set_data(r, &calls);
	ck_assert_ptr_eq(pgc_data(r), &calls);
	calls++;
	return pgc_done(r, "true");
}

START_TEST(a_function_learns_everything)
{
	struct msg_run r = { .id = pstr("9007199254740993"), .task = pstr("all"), .attempt = 3, .token = pstr("7.8.9"),
	    .event = { .name = pstr("user.created"), .payload = pstr(" {\"a\":12.50} "),
	    .at = pstr("2030-01-31T12:00:00.000Z"), .kind = pstr("event") }, .has_deadline_ms = true,
	    .deadline_ms = 60000, .metadata = pstr("{}"), .trace = pstr("00-1") };

	pgc_task(c, "all", asks_everything, (void *)(uintptr_t)"arg");
	open_with(1, 0);
	msg_run_encode(&out, 77, &r);
	worker_sends();
	ck_assert_int_eq(pgc_step(c), 1);
	ck_assert_int_eq(calls, 1);
	worker_gets_done(77, "true");
	ck_assert(!worker_has_frame());
}
END_TEST

START_TEST(many_in_one_step)
{
	char text[20];

	open_with(100, 100);
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < 100; i++) {
			snprintf(text, sizeof(text), "%d", i);
			say_run_of((uint64_t)(1000 + i), "echo", text);
		}
		worker_sends();
		ck_assert_int_eq(pgc_step(c), 1);
		for (int i = 0; i < 100; i++) {
			snprintf(text, sizeof(text), "%d", i);
			worker_gets_done((uint64_t)(1000 + i), text);
		}
	}
	ck_assert_int_eq(calls, 300);
}
END_TEST

/* With concurrency 2 the third waits, and starts when one of them is finished, in whatever order. */
START_TEST(later_and_in_turn)
{
	open_with(2, 4);
	for (uint64_t i = 1; i <= 4; i++)
		say_run_of(i, "keep", "{\"n\": 1}");
	worker_sends();
	ck_assert_int_eq(pgc_step(c), 1);
	ck_assert_int_eq(kept_n, 2);
	ck_assert(!worker_has_frame());
	pgc_done(kept[1], "2");
	ck_assert(pgc_events(c) & POLLOUT);
	ck_assert_int_eq(pgc_step(c), 1);
	ck_assert_int_eq(kept_n, 3);
	worker_gets_done(2, "2");
	ck_assert_str_eq(pgc_payload(kept[0]), "{\"n\": 1}");
	pgc_done(kept[0], "1");
	pgc_done(kept[2], "3");
	ck_assert_int_eq(pgc_step(c), 1);
	worker_gets_done(1, "1");
	worker_gets_done(3, "3");
	ck_assert_int_eq(kept_n, 4);
	pgc_fail(kept[3], "no");
	ck_assert_int_eq(pgc_step(c), 1);
	worker_gets_fail(4, "app", "no");
}
END_TEST

/* With concurrency 1, an outcome is on its way before the next function is called. */
static int
looks_for_the_other(struct pgc_run *r, void *arg)
{
	(void)arg;
	if (calls++ > 0)
		worker_gets_done(1, "\"first\"");
	return pgc_done_text(r, "first");
}

START_TEST(outcomes_do_not_wait)
{
	pgc_task(c, "look", looks_for_the_other, NULL);
	open_with(1, 10);
	say_run_of(1, "look", "1");
	say_run_of(2, "look", "1");
	worker_sends();
	ck_assert_int_eq(pgc_step(c), 1);
	ck_assert_int_eq(calls, 2);
	worker_gets_done(2, "\"first\"");
}
END_TEST

START_TEST(what_functions_return)
{
	open_with(1, 10);
	say_run_of(1, "nothing", "1");
	say_run_of(2, "seven", "1");
	say_run_of(3, "unheard", "1");
	worker_sends();
	ck_assert_int_eq(pgc_step(c), 1);
	worker_gets_done(1, NULL);
	worker_gets_fail(2, "app", "the task's function returned 7");
	worker_gets_fail(3, "app", "this program has no task \"unheard\"");
}
END_TEST

START_TEST(failures)
{
	struct pgc_failure f = PGC_FAILURE;
	struct msg_fail got;

	open_with(4, 4);
	for (uint64_t i = 1; i <= 4; i++)
		say_run_of(i, "keep", "1");
	worker_sends();
	pgc_step(c);
	f.message = "m";
	f.code = "bad_payload";
	f.type = "T";
	f.stack = "a\nb";
	f.data = "[1]";
	f.for_good = true;
	f.after_ms = 90;
	pgc_fail_with(kept[0], &f);
	pgc_failf(kept[1], "%d of %s", 3, "four");
	pgc_fail(kept[2], "bad \xff utf-8");
	pgc_fail(kept[3], NULL);
	pgc_step(c);
	got = worker_gets_fail(1, "bad_payload", "m");
	ck_assert(got.has_retry && !got.retry && got.has_after_ms && got.after_ms == 90);
	ck_assert(got.type.len == 1 && got.stack.len == 3 && got.data.len == 3);
	got = worker_gets_fail(2, "app", "3 of four");
	ck_assert(!got.has_retry && !got.has_after_ms && got.type.p == NULL && got.stack.p == NULL && got.data.p == NULL);
	worker_gets_fail(3, "app", "bad ");
	worker_gets_fail(4, "app", "failed");
}
END_TEST

/* What the worker would have to end the program for never leaves it. */
START_TEST(bad_results_stay_here)
{
	static char big[MAX_PAYLOAD + 2], huge[200000];
	struct pgc_failure f = PGC_FAILURE;
	struct msg_fail got;

	memset(big, '1', MAX_PAYLOAD + 1);
	memset(huge, 'x', sizeof(huge) - 1);
	open_with(4, 4);
	for (uint64_t i = 1; i <= 4; i++)
		say_run_of(i, "keep", "1");
	worker_sends();
	pgc_step(c);
	pgc_done(kept[0], big);
	pgc_done_len(kept[1], big, MAX_PAYLOAD);
	pgc_done(kept[2], "\"\xff\"");
	f.message = f.stack = f.data = huge;
	pgc_fail_with(kept[3], &f);
	pgc_step(c);
	got = worker_gets_fail(1, "oversize", "a result of 1001 bytes; the limit is 1000");
	ck_assert(got.has_retry && !got.retry);
	worker_gets(MSG_DONE);
	got = worker_gets_fail(3, "bad_result", "the result is not valid UTF-8");
	ck_assert(got.retry);
	worker_gets(MSG_FAIL);
}
END_TEST

START_TEST(cancelling)
{
	open_with(2, 4);
	for (uint64_t i = 1; i <= 4; i++)
		say_run_of(i, "keep", "1");
	worker_sends();
	pgc_step(c);
	say_cancel(1, "timeout");
	say_cancel(3, "cancelled");
	say_cancel(4, "timeout");
	say_cancel(99, "cancelled");
	worker_sends();
	pgc_step(c);
	/* Those that had not been started are over, the one that runs is told, and the unknown one was just finished. */
	worker_gets_fail(3, "cancelled", "stopped before it was started");
	worker_gets_fail(4, "timeout", "stopped before it was started");
	ck_assert_int_eq(cancels, 1);
	ck_assert_str_eq(note, "timeout");
	ck_assert_str_eq(pgc_cancelled(kept[0]), "timeout");
	ck_assert_ptr_null(pgc_cancelled(kept[1]));
	pgc_done(kept[0], "1");
	pgc_step(c);
	worker_gets_done(1, "1");
}
END_TEST

/* A function that takes long learns of it while it runs; others may be handed over meanwhile. */
static int
works_until_cancelled(struct pgc_run *r, void *arg)
{
	(void)arg;
	say_run_of(6, "echo", "6");
	say_cancel(5, "timeout");
	worker_sends();
	for (int i = 0; i < 3000 && pgc_cancelled(r) == NULL; i++)
		poll(NULL, 0, 1);
	ck_assert_str_eq(pgc_cancelled(r), "timeout");
	ck_assert_int_eq(calls, 0);
	return pgc_fail(r, "stopped");
}

START_TEST(cancelling_a_busy_function)
{
	pgc_task(c, "work", works_until_cancelled, NULL);
	open_with(1, 2);
	say_run_of(5, "work", "1");
	worker_sends();
	pgc_step(c);
	worker_gets_fail(5, "app", "stopped");
	worker_gets_done(6, "6");
}
END_TEST

/* Finished, and the object used for another one, before the function returns. */
static int
finishes_then_looks(struct pgc_run *r, void *arg)
{
	(void)arg;
	pgc_done(r, "1");
	say_run_of(8, "keep", "1");
	worker_sends();
	poll(NULL, 0, 3);
	pgc_cancelled(kept[0]);
	return 0;
}

START_TEST(used_again_while_running)
{
	pgc_task(c, "finish", finishes_then_looks, NULL);
	open_with(2, 4);
	say_run_of(1, "keep", "1");
	say_run_of(7, "finish", "1");
	worker_sends();
	pgc_step(c);
	worker_gets_done(7, "1");
	ck_assert_int_eq(kept_n, 2);
	ck_assert(!worker_has_frame());
}
END_TEST

START_TEST(finished_twice)
{
	open_with(1, 1);
	say_run_of(1, "keep", "1");
	worker_sends();
	pgc_step(c);
	ck_assert_int_eq(pgc_done(kept[0], "1"), 0);
	ck_assert_int_eq(pgc_done(kept[0], "1"), -1);
	ck_assert_int_eq(pgc_fail(kept[0], "x"), -1);
	pgc_step(c);
	worker_gets_done(1, "1");
	ck_assert(!worker_has_frame());
}
END_TEST

static void
on_drain(struct pgc *of, uint64_t deadline_ms, void *arg)
{
	ck_assert_ptr_eq(of, c);
	ck_assert_uint_eq(deadline_ms, 5000);
	*(int *)arg += 1;
}

START_TEST(draining)
{
	pgc_on_drain(c, on_drain, &calls);
	open_with(2, 3);
	for (uint64_t i = 1; i <= 3; i++)
		say_run_of(i, "keep", "1");
	worker_sends();
	ck_assert_int_eq(pgc_step(c), 1);
	say_drain();
	worker_sends();
	ck_assert_int_eq(pgc_step(c), 1);
	ck_assert_int_eq(calls, 1);
	pgc_done(kept[0], "1");
	ck_assert_int_eq(pgc_step(c), 1);
	/* The third was not started, and goes back. */
	ck_assert_int_eq(kept_n, 2);
	pgc_done(kept[1], "2");
	ck_assert_int_eq(pgc_step(c), 0);
	worker_gets_done(1, "1");
	worker_gets_done(2, "2");
	worker_gets(MSG_BYE);
	ck_assert(!worker_has_frame());
}
END_TEST

START_TEST(stopping)
{
	struct msg_credit credit;
	const char *why;

	open_with(1, 3);
	say_run_of(1, "keep", "1");
	worker_sends();
	pgc_step(c);
	pgc_stop(c);
	ck_assert_int_eq(pgc_step(c), 1);
	worker_gets(MSG_CREDIT);
	ck_assert_int_eq(msg_credit_decode(&m, &credit, &why), 0);
	ck_assert_uint_eq(credit.credit, 0);
	pgc_done(kept[0], "1");
	ck_assert_int_eq(pgc_step(c), 0);
	worker_gets_done(1, "1");
	worker_gets(MSG_BYE);
}
END_TEST

START_TEST(credit_and_log)
{
	struct msg_credit credit;
	struct msg_log log;
	const char *why;

	open_with(1, 3);
	pgc_set_credit(c, 8);
	pgc_log_process(c, "info", "hello", NULL);
	say_run_of(1, "keep", "1");
	worker_sends();
	pgc_step(c);
	pgc_log(kept[0], "warn", "slow", "{\"ms\": 3}");
	pgc_step(c);
	worker_gets(MSG_CREDIT);
	ck_assert_int_eq(msg_credit_decode(&m, &credit, &why), 0);
	ck_assert_uint_eq(credit.credit, 8);
	worker_gets(MSG_LOG);
	ck_assert_uint_eq(m.exec, 0);
	worker_gets(MSG_LOG);
	ck_assert_uint_eq(m.exec, 1);
	ck_assert_int_eq(msg_log_decode(&m, &log, &why), 0);
	ck_assert(log.level.len == 4 && log.message.len == 4 && log.fields.len == 9);
}
END_TEST

/* What a worker must not send ends the session with a reason. */
/* ---- executions that last */

static struct msg_step
worker_gets_step(uint64_t exec, const char *key, const char *result)
{
	struct msg_step s;
	const char *why;

	worker_gets(MSG_STEP);
	ck_assert_uint_eq(m.exec, exec);
	ck_assert_int_eq(msg_step_decode(&m, &s, &why), 0);
	ck_assert_msg(s.key.len == strlen(key) && memcmp(s.key.p, key, s.key.len) == 0, "key %.*s", (int)s.key.len, s.key.p);
	if (result == NULL)
		ck_assert_ptr_null(s.result.p);
	else
		ck_assert_msg(s.result.len == strlen(result) && memcmp(s.result.p, result, s.result.len) == 0, "result");
	return s;
}

static struct msg_suspend
worker_gets_suspend(uint64_t exec)
{
	struct msg_suspend s;
	const char *why;

	worker_gets(MSG_SUSPEND);
	ck_assert_uint_eq(m.exec, exec);
	ck_assert_int_eq(msg_suspend_decode(&m, &s, &why), 0);
	return s;
}

static void
say_step_ok(uint64_t exec, const char *key)
{
	struct msg_step_ok ok = { .key = pstr(key) };

	msg_step_ok_encode(&out, exec, &ok);
}

/* A RUN of the task "keep" with what was saved before. */
static struct pgc_run *
run_with(struct msg_saved *steps, size_t n, bool more)
{
	struct msg_run r = { .id = pstr("42"), .task = pstr("keep"), .attempt = 1, .token = pstr("1.2.3"),
	    .event = { .name = pstr("pgconductor.invoke"), .payload = pstr("null") }, .steps = steps, .steps_n = n,
	    .has_more_steps = true, .more_steps = more };
	static uint64_t exec = 500;

	msg_run_encode(&out, ++exec, &r);
	worker_sends();
	ck_assert_int_eq(pgc_step(c), 1);
	return kept[kept_n - 1];
}

START_TEST(steps_are_sent_and_acknowledged)
{
	struct pgc_run *r;

	open_with(4, 4);
	r = run_with(NULL, 0, false);
	ck_assert_ptr_null(pgc_saved(r, "a"));
	ck_assert_int_eq(pgc_save(r, "a", "[1]"), 0);
	ck_assert_int_eq(pgc_save(r, "b", NULL), 0);
	ck_assert_int_eq(pgc_step(c), 1);
	worker_gets_step(501, "a", "[1]");
	worker_gets_step(501, "b", NULL);
	say_step_ok(501, "a");
	say_step_ok(501, "b");
	worker_sends();
	ck_assert_int_eq(pgc_flush_steps(r), 0);
	ck_assert_int_eq(pgc_flush_steps(r), 0);
	ck_assert_int_eq(pgc_done(r, "1"), 0);
	ck_assert_int_eq(pgc_step(c), 1);
	worker_gets_done(501, "1");
	/* Late. */
	say_step_ok(501, "a");
	worker_sends();
	ck_assert_int_eq(pgc_step(c), 1);
}
END_TEST

static void
on_saved(struct pgc_run *r, void *arg)
{
	(void)r;
	++*(int *)arg;
}

START_TEST(saved_is_told_once_for_all)
{
	struct pgc_run *r;
	int told = 0;

	pgc_on_saved(c, on_saved, &told);
	open_with(4, 4);
	r = run_with(NULL, 0, false);
	pgc_save(r, "a", "1");
	pgc_save(r, "b", "1");
	say_step_ok(501, "a");
	worker_sends();
	ck_assert_int_eq(pgc_step(c), 1);
	ck_assert_int_eq(told, 0);
	say_step_ok(501, "b");
	say_step_ok(501, "b");
	worker_sends();
	ck_assert_int_eq(pgc_step(c), 1);
	ck_assert_int_eq(told, 1);
	pgc_done(r, NULL);
}
END_TEST

START_TEST(what_was_saved_comes_with_run)
{
	struct msg_saved steps[] = { { .key = pstr("a"), .result = pstr("{\"x\": 1.50}") }, { .key = pstr("b") },
		{ .key = pstr("c"), .error = pstr("{\"code\":\"x\"}") } };
	struct pgc_run *r;

	open_with(4, 4);
	r = run_with(steps, 3, false);
	ck_assert_str_eq(pgc_payload(r), "null");
	ck_assert_str_eq(pgc_saved(r, "a"), "{\"x\": 1.50}");
	ck_assert_str_eq(pgc_saved(r, "b"), "null");
	ck_assert_ptr_null(pgc_saved(r, "d"));
	pgc_done(r, NULL);
	/* The object is another execution now. */
	r = run_with(NULL, 0, false);
	ck_assert_ptr_null(pgc_saved(r, "a"));
	pgc_done(r, NULL);
}
END_TEST

/* The function is called when all is there; another execution does not wait for that. */
START_TEST(the_rest_is_asked_for_first)
{
	struct msg_saved first = { .key = pstr("a"), .result = pstr("1") }, second = { .key = pstr("b"), .result = pstr("2") };
	struct msg_steps steps = { .steps = &second, .steps_n = 1, .has_more_steps = true, .more_steps = true };
	struct msg_journal j;
	const char *why;

	open_with(4, 4);
	kept_n = 1;
	run_with(&first, 1, true);
	ck_assert_int_eq(kept_n, 1);
	worker_gets(MSG_JOURNAL);
	ck_assert_int_eq(msg_journal_decode(&m, &j, &why), 0);
	ck_assert_uint_eq(j.after, 1);
	say_run_of(900, "echo", "7");
	msg_steps_encode(&out, 501, &steps);
	worker_sends();
	ck_assert_int_eq(pgc_step(c), 1);
	worker_gets(MSG_JOURNAL);
	ck_assert_int_eq(msg_journal_decode(&m, &j, &why), 0);
	ck_assert_uint_eq(j.after, 2);
	worker_gets_done(900, "7");
	ck_assert_int_eq(kept_n, 1);
	steps = (struct msg_steps){ .steps = NULL };
	msg_steps_encode(&out, 501, &steps);
	worker_sends();
	ck_assert_int_eq(pgc_step(c), 1);
	ck_assert_int_eq(kept_n, 2);
	ck_assert_str_eq(pgc_saved(kept[1], "a"), "1");
	ck_assert_str_eq(pgc_saved(kept[1], "b"), "2");
	pgc_done(kept[1], NULL);
}
END_TEST

/* Whatever it returns then; and what it saved before stands. */
START_TEST(a_key_twice_fails_it)
{
	static const char message[] = "the key \"a\" is used twice in one run: each stands for one step, sleep or child";
	struct msg_saved a = { .key = pstr("a"), .result = pstr("1") };
	struct pgc_run *r;

	open_with(4, 4);
	r = run_with(&a, 1, false);
	switch (_i) {
	case 0:
		ck_assert_str_eq(pgc_saved(r, "a"), "1");
		ck_assert_str_eq(pgc_saved(r, "a"), "1");
		ck_assert_int_eq(pgc_done(r, "1"), 0);
		break;
	case 1:
		ck_assert_int_eq(pgc_save(r, "a", "2"), PGC_OVER);
		break;
	case 2:
		ck_assert_int_eq(pgc_sleep(r, "a", 5), 0);
		ck_assert_int_eq(pgc_sleep(r, "a", 5), PGC_OVER);
		break;
	case 3:
		pgc_saved(r, "a");
		pgc_saved(r, "a");
		ck_assert_int_eq(pgc_sleep(r, "other", 5), PGC_OVER);
		break;
	case 4:
		pgc_saved(r, "a");
		pgc_saved(r, "a");
		pgc_fail(r, "something else");
		break;
	}
	ck_assert_int_eq(pgc_step(c), 1);
	worker_gets_fail(501, "nondeterminism", message);
	ck_assert(!worker_has_frame());
}
END_TEST

START_TEST(bad_steps_fail_it)
{
	static char large[MAX_PAYLOAD + 10];
	struct pgc_run *r;

	memset(large, '1', sizeof(large) - 1);
	open_with(4, 4);
	r = run_with(NULL, 0, false);
	ck_assert_int_eq(pgc_save(r, "a", "{x}"), PGC_OVER);
	r = run_with(NULL, 0, false);
	ck_assert_int_eq(pgc_save(r, "a", large), PGC_OVER);
	r = run_with(NULL, 0, false);
	ck_assert_int_eq(pgc_save(r, "", "1"), PGC_OVER);
	ck_assert_int_eq(pgc_step(c), 1);
	worker_gets_fail(501, "bad_result", "the result of a step is not JSON");
	worker_gets_fail(502, "oversize", "the result of a step is too long");
	worker_gets_fail(503, "app", "the key of a step is empty, longer than 1024 bytes or not UTF-8");
}
END_TEST

START_TEST(sleeping)
{
	struct msg_saved slept = { .key = pstr("keep#1") };
	struct msg_suspend s;
	struct pgc_run *r;

	open_with(1, 1);
	r = run_with(NULL, 0, false);
	ck_assert_int_eq(pgc_sleep(r, NULL, 86400000), PGC_OVER);
	ck_assert_int_eq(pgc_step(c), 1);
	s = worker_gets_suspend(501);
	ck_assert(s.waits_n == 1 && pstr_is(s.waits[0].key, "keep#1") && s.waits[0].has_timer_ms);
	ck_assert(s.waits[0].timer_ms == 86400000 && s.waits[0].task.p == NULL && !s.has_any);
	r = run_with(&slept, 1, false);
	ck_assert_int_eq(pgc_sleep(r, NULL, 86400000), 0);
	ck_assert_int_eq(pgc_sleep(r, NULL, -5), PGC_OVER);
	ck_assert_int_eq(pgc_step(c), 1);
	s = worker_gets_suspend(502);
	ck_assert(pstr_is(s.waits[0].key, "keep#2") && s.waits[0].timer_ms == 0);
}
END_TEST

/* Only what is still missing is waited for. */
START_TEST(children)
{
	struct msg_saved there[] = { { .key = pstr("keep#1"), .result = pstr("7") },
		{ .key = pstr("b"), .error = pstr("{\"a\": [\"}\", {}], \"message\" : \"no \\\"\\u00e4\\ud83d\\ude00\\\"\\n\"}") } };
	struct pgc_child v[3] = { PGC_CHILD, PGC_CHILD, PGC_CHILD };
	struct msg_fail f;
	struct msg_suspend s;
	struct pgc_run *r;

	v[0].task = v[1].task = v[2].task = "leaf";
	v[1].key = "b";
	v[2].payload = "[1]";
	v[2].queue = "media";
	v[2].priority = -7;
	v[2].timeout_ms = 50;
	open_with(1, 1);
	r = run_with(there, 2, false);
	ck_assert_int_eq(pgc_invoke_all(r, v, 3), PGC_OVER);
	ck_assert_int_eq(pgc_step(c), 1);
	s = worker_gets_suspend(501);
	ck_assert_uint_eq(s.waits_n, 1);
	ck_assert(pstr_is(s.waits[0].key, "keep#2") && pstr_is(s.waits[0].task, "leaf") && pstr_is(s.waits[0].payload, "[1]"));
	ck_assert(pstr_is(s.waits[0].queue, "media") && s.waits[0].has_priority && s.waits[0].priority == -7);
	ck_assert(s.waits[0].has_timeout_ms && s.waits[0].timeout_ms == 50 && !s.waits[0].has_timer_ms);
	r = run_with(there, 2, false);
	ck_assert_int_eq(pgc_invoke_all(r, v, 2), 0);
	ck_assert_str_eq(v[0].result, "7");
	ck_assert_ptr_null(v[0].error);
	ck_assert_ptr_null(v[1].result);
	ck_assert_int_eq(pgc_fail_child(r, &v[1]), 0);
	ck_assert_int_eq(pgc_step(c), 1);
	f = worker_gets_fail(502, "app", "Child execution failed: no \"\xc3\xa4\xf0\x9f\x98\x80\"\n");
	ck_assert(f.has_retry && !f.retry && pstr_is(f.type, "ChildFailed"));
	/* Two of one name. */
	v[0].key = v[1].key = "same";
	r = run_with(NULL, 0, false);
	ck_assert_int_eq(pgc_invoke_all(r, v, 2), PGC_OVER);
	ck_assert_int_eq(pgc_step(c), 1);
	worker_gets(MSG_FAIL);
}
END_TEST

START_TEST(stopped_at_the_next_step)
{
	struct pgc_run *r;

	open_with(4, 4);
	r = run_with(NULL, 0, false);
	ck_assert_int_eq(pgc_checkpoint(r), 0);
	say_cancel(501, "cancelled");
	worker_sends();
	ck_assert_int_eq(pgc_step(c), 1);
	switch (_i) {
	case 0:
		ck_assert_int_eq(pgc_save(r, "a", "1"), PGC_OVER);
		break;
	case 1:
		ck_assert_int_eq(pgc_sleep(r, "a", 1), PGC_OVER);
		break;
	case 2:
		ck_assert_int_eq(pgc_checkpoint(r), PGC_OVER);
		break;
	}
	ck_assert_int_eq(pgc_step(c), 1);
	worker_gets_fail(501, "cancelled", "stopped");
}
END_TEST

START_TEST(a_checkpoint_goes_back_in_a_drain)
{
	struct pgc_run *r;

	open_with(4, 4);
	r = run_with(NULL, 0, false);
	say_drain();
	worker_sends();
	ck_assert_int_eq(pgc_step(c), 1);
	ck_assert_int_eq(pgc_checkpoint(r), PGC_OVER);
	ck_assert_int_eq(pgc_step(c), 0);
	ck_assert_uint_eq(worker_gets_suspend(501).waits_n, 0);
	worker_gets(MSG_BYE);
}
END_TEST

/* The worker, in a process of its own: answers so many calls. */
static pid_t
answer_calls(const struct msg_return *answers, size_t n)
{
	pid_t pid = fork();
	struct pollfd p = { .fd = far, .events = POLLIN };

	if (pid != 0)
		return pid;
	for (size_t i = 0; i < n; i++) {
		ck_assert_int_eq(poll(&p, 1, 3000), 1);
		worker_gets(MSG_CALL);
		msg_return_encode(&out, m.exec, &answers[i]);
		worker_sends();
	}
	_exit(0);
}

START_TEST(calls_are_answered)
{
	struct msg_return answers[] = { { .call = 1, .result = pstr("true") }, { .call = 2, .result = pstr("false") },
		{ .call = 3, .error = pstr("{\"code\":\"PC001\",\"message\":\"no such task\"}") },
		{ .call = 4, .result = pstr("\"77\"") } };
	const char *id = "x";
	struct pgc_run *r;
	bool cancelled = false;
	pid_t pid;

	open_with(4, 4);
	r = run_with(NULL, 0, false);
	pid = answer_calls(answers, 4);
	ck_assert_int_eq(pgc_cancel_execution(r, "12", "no \"reason\"", &cancelled), 0);
	ck_assert(cancelled);
	ck_assert_int_eq(pgc_cancel_execution(r, "12", NULL, &cancelled), 0);
	ck_assert(!cancelled);
	ck_assert_int_eq(pgc_start(r, "nobody", NULL, &id), 0);
	ck_assert_ptr_null(id);
	ck_assert_str_eq(pgc_error(c), "no such task");
	ck_assert_int_eq(pgc_start(r, "echo", "[1]", &id), 0);
	ck_assert_str_eq(id, "77");
	pgc_done(r, NULL);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
}
END_TEST

static int64_t
now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* One comes each quarter of the time that it may be silent for, and not more often. */
START_TEST(beats)
{
	int64_t began = now_ms();
	struct msg_hello h;
	const char *why;

	pgc_set_beat(c, 200);
	pgc_task(c, "echo", echo, NULL);
	ck_assert_int_eq(pgc_open(c), 0);
	worker_gets(MSG_HELLO);
	ck_assert_int_eq(msg_hello_decode(&m, &h, &why), 0);
	ck_assert(h.has_beat_ms && h.beat_ms == 200);
	say_welcome();
	for (int n = 0; n < 5; ) {
		ck_assert_int_eq(pgc_step(c), 1);
		usleep(1000);
		for (; worker_has_frame(); n++)
			worker_gets(MSG_BEAT);
		ck_assert_int_le(n, (now_ms() - began) / 50 + 1);
	}
}
END_TEST

START_TEST(bad_frames_end_it)
{
	static const struct {
		const char *frame;
		size_t len;
		const char *error;
	} bad[] = {
		{ "\0\0\0\1\xc1", 5, "protocol error: frame: a byte that begins no msgpack value" },
		{ "\0\0\0\4\x93\x0a\0\x80", 8, "protocol error: message 10 (BYE)" },
		{ "\0\0\0\4\x93\x3f\0\x80", 8, "protocol error: message 63 (unknown)" },
		{ "\0\0\0\4\x93\x03\0\x80", 8, "protocol error: RUN: RUN.id: missing" },
		{ "\x7f\0\0\0", 4, "protocol error: a frame of 2130706432 bytes; the limit is 300000" },
		{ "\0\0\0\5\x93\xcc\x80\0\x80", 9, "" },
	};

	open_with(1, 1);
	ck_assert_int_eq(write(far, bad[_i].frame, bad[_i].len), (ssize_t)bad[_i].len);
	ck_assert_int_eq(pgc_step(c), *bad[_i].error != '\0' ? -1 : 1);
	ck_assert_str_eq(pgc_error(c), bad[_i].error);
	ck_assert_int_eq(pgc_step(c), *bad[_i].error != '\0' ? -1 : 1);
}
END_TEST

START_TEST(refused)
{
	struct msg_reject r = { .reason = pstr("no such queue") };

	ck_assert_int_eq(pgc_open(c), 0);
	worker_gets(MSG_HELLO);
	msg_reject_encode(&out, 0, &r);
	worker_sends();
	ck_assert_int_eq(pgc_step(c), -1);
	ck_assert_str_eq(pgc_error(c), "the worker refused this program: no such queue");
}
END_TEST

START_TEST(worker_goes_away)
{
	open_with(1, 1);
	say_run_of(1, "keep", "1");
	worker_sends();
	pgc_step(c);
	shutdown(far, SHUT_RDWR);
	ck_assert_int_eq(pgc_step(c), -1);
	ck_assert_str_eq(pgc_error(c), "the worker went away");
	ck_assert_str_eq(pgc_cancelled(kept[0]), "lost");
	ck_assert_int_eq(pgc_done(kept[0], "1"), 0);
	ck_assert_int_eq(pgc_step(c), -1);
}
END_TEST

START_TEST(large_frames_and_slow_readers)
{
	static char payload[250000];
	int rounds = 0;

	memset(payload, '1', sizeof(payload) - 1);
	open_with(8, 8);
	for (int i = 0; i < 4; i++)
		say_run_of((uint64_t)i, "keep", payload);
	fcntl(far, F_SETFL, O_NONBLOCK);
	while (out.len != 0 && rounds++ < 1000) {
		ssize_t n = write(far, buf_ptr(&out), out.len);

		if (n > 0)
			buf_drain(&out, (size_t)n);
		ck_assert_int_eq(pgc_step(c), 1);
	}
	while (kept_n < 4 && rounds++ < 1000)
		ck_assert_int_eq(pgc_step(c), 1);
	ck_assert_int_eq(kept_n, 4);
	for (int i = 0; i < 4; i++) {
		ck_assert_uint_eq(pgc_payload_len(kept[i]), sizeof(payload) - 1);
		ck_assert_str_eq(pgc_payload(kept[i]), payload);
	}
	/* More than the socket takes: it is written as the worker reads, and nothing waits. */
	for (int i = 0; i < 4000; i++)
		pgc_log(kept[0], "info", "a line of the log that is of some length so that it does not all fit", NULL);
	ck_assert_int_eq(pgc_step(c), 1);
	ck_assert(pgc_events(c) & POLLOUT);
	for (int i = 0; i < 4000; i++) {
		if (!worker_has_frame())
			ck_assert_int_eq(pgc_step(c), 1);
		worker_gets(MSG_LOG);
	}
}
END_TEST

START_TEST(not_started_by_a_worker)
{
	unsetenv("PGCONDUCTOR_FD");
	ck_assert_int_eq(pgc_open(c), -1);
	ck_assert_str_eq(pgc_error(c), "not started by pgconductor: PGCONDUCTOR_FD is not set");
	setenv("PGCONDUCTOR_FD", "x", 1);
	pgc_free(c);
	c = pgc_new();
	ck_assert_int_eq(pgc_open(c), -1);
	setenv("PGCONDUCTOR_FD", "9999", 1);
	pgc_free(c);
	c = pgc_new();
	ck_assert_int_eq(pgc_open(c), -1);
	ck_assert_str_eq(pgc_error(c), "PGCONDUCTOR_FD=9999: Bad file descriptor");
}
END_TEST

static pid_t
serve_in_child(void)
{
	pid_t pid = fork();

	ck_assert_int_ne(pid, -1);
	if (pid == 0) {
		char *argv[] = { (char *)"me", (char *)"--flag", NULL };

		close(far);
		pgc_task(c, "echo", echo, NULL);
		_exit(pgc_serve(c, 2, argv));
	}
	close(atoi(getenv("PGCONDUCTOR_FD") != NULL ? getenv("PGCONDUCTOR_FD") : "-1"));
	return pid;
}

static int
status_of(pid_t pid)
{
	int status;

	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void
wait_for_frame(void)
{
	struct pollfd p = { .fd = far, .events = POLLIN };

	ck_assert_int_eq(poll(&p, 1, 3000), 1);
}

START_TEST(serving)
{
	pid_t pid = serve_in_child();

	wait_for_frame();
	worker_gets(MSG_HELLO);
	say_welcome();
	say_run_of(1, "echo", "[]");
	worker_sends();
	wait_for_frame();
	worker_gets_done(1, "[]");
	say_drain();
	worker_sends();
	wait_for_frame();
	worker_gets(MSG_BYE);
	ck_assert_int_eq(status_of(pid), 0);
}
END_TEST

START_TEST(serving_ends_with_the_worker)
{
	pid_t pid = serve_in_child();

	wait_for_frame();
	worker_gets(MSG_HELLO);
	shutdown(far, SHUT_RDWR);
	ck_assert_int_eq(status_of(pid), 1);
}
END_TEST

START_TEST(started_by_hand_without_pgconductor)
{
	unsetenv("PGCONDUCTOR_FD");
	setenv("PATH", "/nonexistent", 1);
	ck_assert_int_eq(status_of(serve_in_child()), 69);
}
END_TEST

/* It becomes pgconductor run -- <this program> <its arguments>. */
START_TEST(started_by_hand)
{
	char dir[] = "/tmp/pgconductor-test-XXXXXX", path[64], program[600], line[600];
	FILE *f;

	unsetenv("PGCONDUCTOR_FD");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/pgconductor", dir);
	f = fopen(path, "w");
	fprintf(f, "#!/bin/sh\nIFS=,\necho \"$*\" >%s/args\nexit 5\n", dir);
	fclose(f);
	chmod(path, 0755);
	setenv("PATH", dir, 1);
	ck_assert_int_eq(status_of(serve_in_child()), 5);
	unlink(path);
	snprintf(path, sizeof(path), "%s/args", dir);
	f = fopen(path, "r");
	ck_assert_ptr_nonnull(fgets(line, sizeof(line), f));
	fclose(f);
	unlink(path);
	rmdir(dir);
	program[readlink("/proc/self/exe", program, sizeof(program) - 1)] = '\0';
	strcat(program, ",--flag\n");
	ck_assert_int_eq(strncmp(line, "run,--,", 7), 0);
	ck_assert_str_eq(line + 7, program);
}
END_TEST

static Suite *
suite(void)
{
	Suite *s = suite_create("libpgconductor");
	TCase *t = tcase_create("libpgconductor");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, hello_says_what_it_serves);
	tcase_add_loop_test(t, hello_of_one_queue, 0, 3);
	tcase_add_test(t, a_function_learns_everything);
	tcase_add_test(t, many_in_one_step);
	tcase_add_test(t, later_and_in_turn);
	tcase_add_test(t, outcomes_do_not_wait);
	tcase_add_test(t, what_functions_return);
	tcase_add_test(t, failures);
	tcase_add_test(t, bad_results_stay_here);
	tcase_add_test(t, cancelling);
	tcase_add_test(t, cancelling_a_busy_function);
	tcase_add_test(t, used_again_while_running);
	tcase_add_test(t, finished_twice);
	tcase_add_test(t, draining);
	tcase_add_test(t, stopping);
	tcase_add_test(t, credit_and_log);
	tcase_add_loop_test(t, bad_frames_end_it, 0, 6);
	tcase_add_test(t, refused);
	tcase_add_test(t, worker_goes_away);
	tcase_add_test(t, large_frames_and_slow_readers);
	tcase_add_test(t, not_started_by_a_worker);
	tcase_add_test(t, steps_are_sent_and_acknowledged);
	tcase_add_test(t, saved_is_told_once_for_all);
	tcase_add_test(t, what_was_saved_comes_with_run);
	tcase_add_test(t, the_rest_is_asked_for_first);
	tcase_add_loop_test(t, a_key_twice_fails_it, 0, 5);
	tcase_add_test(t, bad_steps_fail_it);
	tcase_add_test(t, sleeping);
	tcase_add_test(t, children);
	tcase_add_loop_test(t, stopped_at_the_next_step, 0, 3);
	tcase_add_test(t, a_checkpoint_goes_back_in_a_drain);
	tcase_add_test(t, calls_are_answered);
	tcase_add_test(t, beats);
	tcase_add_test(t, serving);
	tcase_add_test(t, serving_ends_with_the_worker);
	tcase_add_test(t, started_by_hand_without_pgconductor);
	tcase_add_test(t, started_by_hand);
	suite_add_tcase(s, t);
	return s;
}

UNIT_MAIN(suite)
