/*
 * pgconductor conform: judges a handler by the protocol, case by case. The cli process only; no database.
 *
 * Cases run in children of this process, a few at once, because most of their time is somebody's start or sleep. The
 * cases of a group use one process of the handler as long as all is well: the first that is not satisfied ends its
 * child, and the rest goes on in a fresh one. What a child has to say comes through a pipe.
 */
#include "config.h"

#include <sys/prctl.h>
#include <sys/wait.h>

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/conform.h"
#include "common/duration.h"
#include "common/json.h"
#include "common/xmalloc.h"

#define CASES_MAX	160
#define JOBS_MAX	64
#define OUTPUT_LINES	10		/* of what the handler printed, with a case that is not satisfied */

enum verdict { UNDECIDED, OK, NOT_OK, SKIPPED, BROKEN };

/* What is known of a case. */
struct outcome {
	const struct conform_case *c;
	size_t		 group;		/* the number of its group's first case */
	enum verdict	 verdict;
	const struct outcome *gate;	/* the one for want of which it was skipped */
	char		*expected;	/* or why it was skipped */
	char		*came;
	char		*output;
};

/* A child that runs the cases of a group. */
struct runner {
	pid_t		 pid;
	int		 fd;
	size_t		 group;
	struct buf	 in;
};

/* What a child sends for each case: this and the three texts. */
struct report {
	uint32_t	 index;
	uint32_t	 verdict;
	uint32_t	 lengths[3];
};

int64_t conform_timeout_ms = 10000;

static const char *names, *timeout, *jobs_text;
static bool want_list, json;
static size_t jobs = 4;

static struct outcome outcomes[CASES_MAX];
static size_t outcomes_n, printed;
static struct runner runners[JOBS_MAX];
static size_t runners_n;
static int report_fd = -1;		/* in a child */
static size_t running;			/* in a child: the case that runs */

static const struct cli_option options[] = {
	{ "list", 0, CLI_FLAG, &want_list, NULL, "list the cases instead" },
	{ "case", 0, CLI_TEXT, &names, "NAMES", "only these, separated by commas; * stands for anything" },
	{ "json", 0, CLI_FLAG, &json, NULL, "as lines of JSON" },
	{ "timeout", 0, CLI_TEXT, &timeout, "D", "how long what is due may take; 10s if left out" },
	{ "jobs", 0, CLI_TEXT, &jobs_text, "N", "run so many cases at once; 4 if left out" },
	{ .name = NULL }
};

/* In a child: reporting */

static void
write_report(const void *p, size_t len)
{
	const char *at = p;
	ssize_t n;

	for (; len > 0; at += n, len -= (size_t)n)
		if ((n = write(report_fd, at, len)) <= 0)
			_exit(EX_IOERR);
}

static void
report(enum verdict verdict, const char *expected, const char *came, const char *output)
{
	const char *texts[] = { expected, came, output };
	struct report r = { .index = (uint32_t)running, .verdict = verdict };

	for (size_t i = 0; i < 3; i++)
		r.lengths[i] = texts[i] != NULL ? (uint32_t)strlen(texts[i]) : 0;
	write_report(&r, sizeof(r));
	for (size_t i = 0; i < 3; i++)
		write_report(texts[i], r.lengths[i]);
}

/* The last lines of what it printed, made fit for a terminal and for JSON. The caller frees it. */
static char *
last_lines(struct session *s)
{
	char *text, *at, *end;
	size_t lines = 0;

	session_pump(s, session_now());
	text = buf_steal_str(&s->log);
	end = text + strlen(text);
	while (end > text && end[-1] == '\n')
		*--end = '\0';
	for (at = end; at > text; at--)
		if (at[-1] == '\n' && ++lines == OUTPUT_LINES)
			break;
	memmove(text, at, strlen(at) + 1);
	return text;
}

void
conform_fail(struct session *s, const char *expected, const char *came)
{
	char *output = last_lines(s);

	report(NOT_OK, expected, came, output);
	process_end(s);
	_exit(EX_OK);
}

void
conform_differs(struct session *s, const char *expected, const char *fmt, ...)
{
	va_list ap;
	char *came;

	va_start(ap, fmt);
	if (vasprintf(&came, fmt, ap) == -1)
		_exit(EX_OSERR);
	va_end(ap);
	conform_fail(s, expected, came);
}

void
conform_skip(struct session *s, const char *why)
{
	s->skip = why;
}

void
conform_broken(const char *why)
{
	report(BROKEN, why, NULL, NULL);
	_exit(EX_OK);
}

/* In a child: the undecided cases of a group, one after the other. */
static void __attribute__((noreturn))
run_cases(size_t first)
{
	struct session s;

	session_init(&s);
	for (running = first; running < outcomes_n && outcomes[running].group == outcomes[first].group; running++) {
		s.skip = NULL;
		outcomes[running].c->run(&s);
		report(s.skip != NULL ? SKIPPED : OK, s.skip, NULL, NULL);
	}
	process_end(&s);
	_exit(EX_OK);
}

/* Runners */

static void
start_runner(size_t first)
{
	struct runner *r = &runners[runners_n++];
	pid_t parent = getpid();
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) == -1)
		cli_fail(EX_OSERR, "pipe: %s", strerror(errno));
	fflush(stdout);
	r->pid = fork();
	if (r->pid == -1)
		cli_fail(EX_OSERR, "fork: %s", strerror(errno));
	if (r->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(EX_OK);
		report_fd = fds[1];
		run_cases(first);
	}
	close(fds[1]);
	r->fd = fds[0];
	r->group = outcomes[first].group;
	buf_init(&r->in);
}

/* The first gate above a case that is shut, or not known to be open yet; NULL. */
static const struct outcome *
gate_above(size_t index)
{
	for (size_t i = 0; i < index; i++)
		if (outcomes[i].c->gate && outcomes[i].verdict != OK)
			return &outcomes[i];
	return NULL;
}

static bool
is_running(size_t group)
{
	for (size_t i = 0; i < runners_n; i++)
		if (runners[i].group == group)
			return true;
	return false;
}

static void
skip_behind(struct outcome *o, const struct outcome *gate)
{
	o->verdict = SKIPPED;
	o->gate = gate;
	o->expected = xasprintf("it needs what %s asks for", gate->c->name);
}

/* Starts what can be started; what stands behind a gate that is shut is decided. */
static void
start_runners(void)
{
	const struct outcome *gate;

	for (size_t i = 0; i < outcomes_n && runners_n < jobs; i++) {
		if (outcomes[i].verdict != UNDECIDED || is_running(outcomes[i].group))
			continue;
		gate = gate_above(i);
		if (gate != NULL && gate->verdict != UNDECIDED)
			skip_behind(&outcomes[i], gate);
		else if (gate == NULL)
			start_runner(i);
	}
}

static char *
take_text(struct buf *in, size_t len)
{
	char *text = len > 0 ? xstrndup((char *)buf_ptr(in), len) : NULL;

	buf_drain(in, len);
	return text;
}

static void
take_reports(struct runner *r)
{
	struct report report;
	struct outcome *o;

	for (;;) {
		if (r->in.len < sizeof(report))
			return;
		memcpy(&report, buf_ptr(&r->in), sizeof(report));
		if (r->in.len < sizeof(report) + report.lengths[0] + report.lengths[1] + report.lengths[2])
			return;
		buf_drain(&r->in, sizeof(report));
		o = &outcomes[report.index];
		o->verdict = (enum verdict)report.verdict;
		o->expected = take_text(&r->in, report.lengths[0]);
		o->came = take_text(&r->in, report.lengths[1]);
		o->output = take_text(&r->in, report.lengths[2]);
		if (o->verdict == BROKEN)
			cli_fail(EX_UNAVAILABLE, "%s", o->expected);
	}
}

/* A child that ended without a verdict has found a mistake of ours. */
static void
end_runner(struct runner *r)
{
	int status;

	close(r->fd);
	buf_free(&r->in);
	while (waitpid(r->pid, &status, 0) == -1 && errno == EINTR)
		continue;
	if (status != 0)
		cli_fail(EX_SOFTWARE, "a case could not be judged: its process ended with status %#x", (unsigned)status);
	*r = runners[--runners_n];
}

static void
await_runners(void)
{
	struct pollfd p[JOBS_MAX];
	ssize_t n;

	for (size_t i = 0; i < runners_n; i++)
		p[i] = (struct pollfd){ .fd = runners[i].fd, .events = POLLIN };
	if (poll(p, runners_n, -1) == -1)
		return;
	for (size_t i = runners_n; i-- > 0;) {
		struct runner *r = &runners[i];

		if (p[i].revents == 0)
			continue;
		n = read(r->fd, buf_reserve(&r->in, 65536), 65536);
		if (n > 0) {
			buf_grew(&r->in, (size_t)n);
			take_reports(r);
		} else if (n == 0 || errno != EINTR) {
			end_runner(r);
		}
	}
}

/* Printing */

static const char *
verdict_name(enum verdict v)
{
	return v == OK ? "ok" : v == SKIPPED ? "skip" : "not ok";
}

static void
put_field(struct buf *out, const char *name, const char *text)
{
	if (text == NULL)
		return;
	buf_addf(out, ", \"%s\": ", name);
	json_quote(out, text, strlen(text));
}

static void
print_json(const struct outcome *o)
{
	struct buf out;
	char *line;

	buf_init(&out);
	buf_addf(&out, "{\"case\": \"%s\", \"result\": \"%s\"", o->c->name, verdict_name(o->verdict));
	put_field(&out, o->verdict == SKIPPED ? "why" : "expected", o->expected);
	put_field(&out, "came", o->came);
	put_field(&out, "output", o->output);
	buf_addstr(&out, "}");
	line = buf_steal_str(&out);
	cli_put_json(line);
	free(line);
}

static void
print_indented(const char *label, const char *text)
{
	size_t len;

	for (const char *indent = label; text != NULL; text = text[len] == '\0' ? NULL : text + len + 1) {
		len = strcspn(text, "\n");
		printf("    %-10s", indent);
		cli_put_clean(stdout, text, len);
		putchar('\n');
		indent = "";
	}
}

static void
print_outcome(const struct outcome *o)
{
	if (json) {
		print_json(o);
		return;
	}
	/* Line after line of them would hide what matters. */
	if (o->gate != NULL)
		return;
	printf("%s %s%s%s\n", verdict_name(o->verdict), o->c->name, o->verdict == SKIPPED ? ": " : "",
	    o->verdict == SKIPPED ? o->expected : "");
	if (o->verdict != NOT_OK)
		return;
	print_indented("expected:", o->expected);
	print_indented("came:", o->came);
	print_indented("output:", o->output);
}

/* In the order of the table, as far as it is decided. */
static void
print_decided(void)
{
	for (; printed < outcomes_n && outcomes[printed].verdict != UNDECIDED; printed++)
		print_outcome(&outcomes[printed]);
	fflush(stdout);
}

static size_t
count(enum verdict v)
{
	size_t n = 0;

	for (size_t i = 0; i < outcomes_n; i++)
		n += outcomes[i].verdict == v;
	return n;
}

static void
print_summary(void)
{
	const struct outcome *gate = outcomes[outcomes_n - 1].gate;

	if (gate != NULL)
		printf("skip all that needs what %s asks for\n", gate->c->name);
	printf("%zu cases: %zu ok, %zu not ok, %zu skipped\n", outcomes_n, count(OK), count(NOT_OK), count(SKIPPED));
}

/* Which cases */

static bool
is_wanted(const char *name)
{
	char *list, *rest, *pattern;
	bool found = false;

	if (names == NULL)
		return true;
	list = rest = xstrdup(names);
	while (!found && (pattern = strsep(&rest, ",")) != NULL)
		found = fnmatch(pattern, name, 0) == 0;
	free(list);
	return found;
}

static void
add_cases(const struct conform_case *c)
{
	for (; c->name != NULL; c++) {
		struct outcome *o = &outcomes[outcomes_n], *last = outcomes_n > 0 ? o - 1 : NULL;

		if (!is_wanted(c->name))
			continue;
		if (outcomes_n == CASES_MAX)
			cli_fail(EX_SOFTWARE, "more than %d cases", CASES_MAX);
		o->c = c;
		o->group = outcomes_n++;
		if (last != NULL && c->group != NULL && last->c->group != NULL && strcmp(c->group, last->c->group) == 0)
			o->group = last->group;
	}
}

static void
choose_cases(void)
{
	add_cases(conform_start_cases);
	add_cases(conform_run_cases);
	add_cases(conform_flow_cases);
	add_cases(conform_steps_cases);
	add_cases(conform_waits_cases);
	add_cases(conform_triggers_cases);
	add_cases(conform_batch_cases);
	if (outcomes_n == 0)
		cli_usage("--case: no case is called \"%s\"; see pgconductor conform --list", names);
}

static int
list(void)
{
	for (size_t i = 0; i < outcomes_n; i++)
		printf("%-18s %s\n", outcomes[i].c->name, outcomes[i].c->what);
	return cli_done(EX_OK);
}

static void
take_options(int argc, char **argv)
{
	char *end;

	if (argc > 1)
		cli_usage("%s: unexpected argument; the handler's command stands behind --", argv[1]);
	if (timeout != NULL && (duration_parse(timeout, &conform_timeout_ms) == -1 || conform_timeout_ms == 0))
		cli_usage("--timeout: \"%s\" is not a duration such as 10s", timeout);
	if (jobs_text != NULL) {
		jobs = strtoul(jobs_text, &end, 10);
		if (*jobs_text < '0' || *jobs_text > '9' || *end != '\0' || jobs < 1 || jobs > JOBS_MAX)
			cli_usage("--jobs: \"%s\" is not a number from 1 to %d", jobs_text, JOBS_MAX);
	}
}

static int
run(int argc, char **argv)
{
	take_options(argc, argv);
	choose_cases();
	if (want_list)
		return list();
	if (cli_words_n == 0)
		cli_usage("which handler? give its command behind --");
	while (printed < outcomes_n) {
		start_runners();
		print_decided();
		if (runners_n > 0)
			await_runners();
	}
	if (!json)
		print_summary();
	return cli_done(count(NOT_OK) > 0 ? 1 : EX_OK);
}

const struct cli_command cmd_conform = {
	.name = "conform",
	.arguments = "[--case NAMES] [--timeout D] [--jobs N] [--json] [--list] -- CMD…",
	.summary = "check that a handler keeps the protocol",
	.details = "Plays the worker to CMD, a handler that offers the tasks of docs/conform.md, and prints for each case\n"
	    "\"ok\", \"not ok\" with what was expected and what came, or \"skip\" where a handler does not name the\n"
	    "capability. Exit status 0 if nothing is \"not ok\", else 1.\n",
	.options = options,
	.takes_command = true,
	.no_database = true,
	.run = run,
};
