/*
 * conform: the cases about beginning a session and ending it. The cli process only.
 */
#include "config.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "cli/conform.h"
#include "common/json.h"
#include "common/xmalloc.h"

#define OTHER_QUEUE	"other"
#define ELSEWHERE	"conform.elsewhere"
#define NO_QUEUE	"conform-none"		/* the home queue of no task */

static const char *const tasks[] = {
	"conform.echo", "conform.fail", "conform.sleep", "conform.print", "conform.null"
};

#define TASKS_N	(sizeof(tasks) / sizeof(tasks[0]))

static const struct msg_task *
find_task(const struct session *s, const char *name)
{
	for (size_t i = 0; i < s->hello.tasks_n; i++)
		if (pstr_is(s->hello.tasks[i].name, name))
			return &s->hello.tasks[i];
	return NULL;
}

static bool
is_of_queue(const struct msg_task *t, const char *queue)
{
	return t->queue.p != NULL ? pstr_is(t->queue, queue) : strcmp(queue, CONFORM_QUEUE) == 0;
}

/* HELLO: these cases look at one and the same. */

static void
hear(struct session *s)
{
	if (s->pid == 0)
		session_listen(s, CONFORM_QUEUE);
}

static void
hello_in_time(struct session *s)
{
	char expected[64];

	hear(s);
	snprintf(expected, sizeof(expected), "HELLO %s", session_patience());
	if (s->hellos == 0 && s->hello_wrong == NULL)
		conform_fail(s, expected, session_fate(s));
}

static void
hello_first(struct session *s)
{
	hear(s);
	if (s->before_hello != NULL)
		conform_fail(s, "HELLO as the first frame", s->before_hello);
}

static void
hello_fields(struct session *s)
{
	hear(s);
	if (s->hello_wrong != NULL)
		conform_fail(s, "a HELLO as docs/protocol.md describes it", s->hello_wrong);
}

static void
hello_session(struct session *s)
{
	hear(s);
	if (s->hello_frame.exec != 0)
		conform_differs(s, "HELLO with exec 0, the session", "exec %llu", (unsigned long long)s->hello_frame.exec);
}

static void
hello_protocols(struct session *s)
{
	hear(s);
	for (size_t i = 0; i < s->hello.protocols_n; i++)
		if (s->hello.protocols[i] == 1)
			return;
	conform_fail(s, "1 among the protocols", "others alone");
}

static bool
is_name(struct pstr s)
{
	if (s.len == 0 || s.len > 128 || strchr(".:-", s.p[0]) != NULL)
		return false;
	for (size_t i = 0; i < s.len; i++)
		if (strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.:-", s.p[i]) == NULL)
			return false;
	return true;
}

static void
hello_tasks(struct session *s)
{
	hear(s);
	for (size_t i = 0; i < TASKS_N; i++)
		if (find_task(s, tasks[i]) == NULL)
			conform_differs(s, "all tasks of docs/conform.md in queue " CONFORM_QUEUE, "no %s", tasks[i]);
	for (size_t i = 0; i < s->hello.tasks_n; i++) {
		const struct msg_task *t = &s->hello.tasks[i];
		int len = (int)(t->name.len < 128 ? t->name.len : 128);

		if (!is_name(t->name))
			conform_differs(s, "names of letters, digits and _.:-", "\"%.*s\"", len, t->name.p);
		for (size_t j = 0; j < i; j++)
			if (t->name.len == s->hello.tasks[j].name.len &&
			    memcmp(t->name.p, s->hello.tasks[j].name.p, t->name.len) == 0)
				conform_differs(s, "each task once", "%.*s twice", len, t->name.p);
		if (t->options.p != NULL && json_check(t->options.p, t->options.len, NULL, NULL) == -1)
			conform_differs(s, "options that are JSON", "those of %.*s are not", len, t->name.p);
		if (t->triggers.p != NULL && json_check(t->triggers.p, t->triggers.len, NULL, NULL) == -1)
			conform_differs(s, "triggers that are JSON", "those of %.*s are not", len, t->name.p);
	}
}

static void
hello_queue(struct session *s)
{
	hear(s);
	for (size_t i = 0; i < s->hello.tasks_n; i++)
		if (!is_of_queue(&s->hello.tasks[i], CONFORM_QUEUE))
			conform_differs(s, "with PGCONDUCTOR_QUEUE=" CONFORM_QUEUE " only tasks of that queue", "%.*s of queue %.*s",
			    (int)s->hello.tasks[i].name.len, s->hello.tasks[i].name.p, (int)s->hello.tasks[i].queue.len,
			    s->hello.tasks[i].queue.p);
}

/* Queues */

static void
queue_other(struct session *s)
{
	const struct msg_task *t;

	session_begin(s, OTHER_QUEUE);
	t = find_task(s, ELSEWHERE);
	if (t == NULL || !is_of_queue(t, OTHER_QUEUE))
		conform_fail(s, "with PGCONDUCTOR_QUEUE=" OTHER_QUEUE " the task " ELSEWHERE " of queue " OTHER_QUEUE,
		    t == NULL ? "it is missing" : "it is of another queue");
	if (s->hello.tasks_n != 1)
		conform_differs(s, "with PGCONDUCTOR_QUEUE=" OTHER_QUEUE " only the task of that queue", "%zu tasks",
		    s->hello.tasks_n);
}

static void
queue_none(struct session *s)
{
	session_begin(s, NO_QUEUE);
	if (s->hello.tasks_n != 0)
		conform_differs(s, "with PGCONDUCTOR_QUEUE=" NO_QUEUE ", where no task is at home, a HELLO without tasks",
		    "%zu tasks", s->hello.tasks_n);
}

static void
discovery(struct session *s)
{
	const struct msg_task *t;

	session_begin(s, NULL);
	for (size_t i = 0; i < TASKS_N; i++)
		if (find_task(s, tasks[i]) == NULL)
			conform_differs(s, "without PGCONDUCTOR_QUEUE the tasks of all queues", "no %s", tasks[i]);
	t = find_task(s, ELSEWHERE);
	if (t == NULL || !is_of_queue(t, OTHER_QUEUE))
		conform_fail(s, "without PGCONDUCTOR_QUEUE also " ELSEWHERE " with its home queue, " OTHER_QUEUE,
		    t == NULL ? "it is missing" : "it is of another queue");
	session_welcome(s, "");
	session_close(s);
	session_expect_exit(s, "its end when the socket is closed after a discovery");
}

/* Ends */

static void
reject(struct session *s)
{
	struct msg_reject m = { .reason = pstr("this is a test of how it takes a refusal") };

	session_begin(s, CONFORM_QUEUE);
	msg_reject_encode(&s->out, 0, &m);
	session_close(s);
	session_expect_exit(s, "its end when it is refused");
}

static void
closed_early(struct session *s)
{
	session_begin(s, CONFORM_QUEUE);
	session_close(s);
	session_expect_exit(s, "its end when the socket is closed before WELCOME");
}

static void
closed_idle(struct session *s)
{
	session_open(s);
	session_settle(s);
	session_close(s);
	session_expect_exit(s, "its end when the socket is closed");
}

static void
closed_mid_frame(struct session *s)
{
	struct raw_form plain = { .reversed = false };
	struct buf frame;

	session_open(s);
	buf_init(&frame);
	raw_run(&frame, &plain, session_give(s, 10), "\"unfinished\"");
	frame.len -= 10;
	session_send(s, &frame);
	session_settle(s);
	session_close(s);
	session_expect_exit(s, "its end when the socket is closed within a frame");
}

/* How a worker ends a handler that does not know DRAIN. Two cases look at one end. */
static void
shut_down(struct session *s)
{
	if (s->pid != 0)
		return;
	session_open(s);
	session_settle(s);
	session_shut(s);
}

static void
shut(struct session *s)
{
	shut_down(s);
	session_expect_exit(s, "its end when the worker closes its side of the socket");
}

static void
leaves_nothing(struct session *s)
{
	int64_t until = session_due();

	shut_down(s);
	while ((!s->exited || !s->eof) && session_pump(s, until))
		continue;
	if (!s->exited) {
		conform_skip(s, "it does not end");
		return;
	}
	if (!s->eof)
		conform_fail(s, "the end of its socket with its process", "something it has started holds descriptor 3");
	while (process_left_some(s) && session_now() < until)
		session_pump(s, session_now() + 10);
	if (process_left_some(s))
		conform_fail(s, "nothing left in its process group", "processes it has started");
}

static void
term(struct session *s)
{
	session_open(s);
	session_settle(s);
	kill(s->pid, SIGTERM);
	session_expect_exit(s, "its end after SIGTERM");
}

const struct conform_case conform_start_cases[] = {
	{ "hello-in-time", "HELLO comes within 10 seconds", hello_in_time, "hello", true },
	{ "hello-first", "nothing comes before HELLO", hello_first, "hello", false },
	{ "hello-fields", "HELLO can be decoded: all it must have, with the right types", hello_fields, "hello", true },
	{ "hello-session", "HELLO has exec 0", hello_session, "hello", false },
	{ "hello-protocols", "protocol 1 is among its protocols", hello_protocols, "hello", false },
	{ "hello-tasks", "the conformance tasks are announced, each once, with names, options and triggers that hold", hello_tasks,
	    "hello", false },
	{ "hello-queue", "no task of another queue is announced", hello_queue, "hello", false },
	{ "queue-other", "for queue other, conform.elsewhere alone is announced", queue_other, NULL, false },
	{ "queue-none", "for a queue that is home to none of its tasks, none is announced", queue_none, NULL, false },
	{ "discovery", "without PGCONDUCTOR_QUEUE all tasks are announced, and the end of the socket ends it", discovery, NULL,
	    false },
	{ "reject", "it ends when it is refused", reject, NULL, false },
	{ "closed-early", "it ends when the socket is closed before WELCOME", closed_early, NULL, false },
	{ "closed-idle", "it ends when the socket is closed", closed_idle, NULL, false },
	{ "closed-mid-frame", "it ends when the socket is closed within a frame", closed_mid_frame, NULL, false },
	{ "shut", "it ends when only the worker's side is closed", shut, "shut", false },
	{ "leaves-nothing", "no process that it started outlives it, or holds its socket", leaves_nothing, "shut", false },
	{ "term", "it ends after SIGTERM", term, NULL, false },
	{ .name = NULL }
};
