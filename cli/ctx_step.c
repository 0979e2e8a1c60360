/*
 * pgconductor ctx step: runs a command unless its result is saved. The cli process only.
 */
#include "config.h"

#include <sys/wait.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/ctx.h"
#include "common/buf.h"
#include "common/json.h"
#include "common/utf8.h"
#include "common/xmalloc.h"

#define READ_BYTES	65536
#define NOT_FOUND	127	/* as a shell has it */
#define NOT_EXECUTED	126

static bool want_json;

static const struct cli_option options[] = {
	{ "json", 'j', CLI_FLAG, &want_json, NULL, "print the result as JSON: strings in quotes, null as null" },
	{ .name = NULL }
};

/* ---- the command ---- */

static void __attribute__((noreturn))
execute(int out)
{
	signal(SIGPIPE, SIG_DFL);
	if (dup2(out, STDOUT_FILENO) == -1)
		_exit(NOT_EXECUTED);
	execvp(cli_words[0], cli_words);
	cli_warn("%s: %s", cli_words[0], strerror(errno));
	_exit(errno == ENOENT ? NOT_FOUND : NOT_EXECUTED);
}

static pid_t
start(int *out)
{
	int ends[2];
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC) == -1)
		cli_fail(EX_OSERR, "pipe: %s", strerror(errno));
	fflush(NULL);
	if ((pid = fork()) == -1)
		cli_fail(EX_OSERR, "fork: %s", strerror(errno));
	if (pid == 0)
		execute(ends[1]);
	close(ends[1]);
	*out = ends[0];
	return pid;
}

/* False at its end. What is over the limit is read and dropped. */
static bool
read_some(int fd, struct buf *out, size_t most)
{
	ssize_t n = read(fd, buf_reserve(out, READ_BYTES), READ_BYTES);

	if (n == -1)
		return errno == EINTR;
	/* One newline more is none too many; beyond that it is enough to know that it is too long. */
	if (out->len <= most + 1)
		buf_grew(out, (size_t)n);
	return n > 0;
}

/*
 * Its output, until that ends. When the worker goes away meanwhile, so does the run: it is done elsewhere, and this ends.
 * That the run is to stop the worker says to the whole process group.
 */
static void
read_output(struct pgc_run *run, pid_t pid, int fd, struct buf *out)
{
	struct pollfd p[2] = { { .fd = fd, .events = POLLIN }, { .fd = pgc_fd(pgc_of(run)), .events = POLLIN } };
	const char *stop;

	for (;;) {
		if (poll(p, 2, -1) == -1 && errno != EINTR)
			cli_fail(EX_OSERR, "poll: %s", strerror(errno));
		if (p[1].revents != 0 && (stop = pgc_cancelled(run)) != NULL) {
			p[1].fd = -1;
			if (strcmp(stop, "lost") == 0)
				kill(pid, SIGTERM);
		}
		if (p[0].revents != 0 && !read_some(fd, out, pgc_max_payload(run)))
			break;
	}
	close(fd);
}

/* Its status, as a shell has it. */
static int
wait_for(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) == -1)
		if (errno != EINTR)
			cli_fail(EX_OSERR, "waitpid: %s", strerror(errno));
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* ---- its result ---- */

/* By the rules for what a one-shot command prints; NULL: it cannot be one. */
static char *
result_of(struct buf *out, size_t most)
{
	const char *text = out->len > 0 ? (const char *)buf_ptr(out) : "";
	size_t len = out->len;
	struct buf json;

	if (len > 0 && text[len - 1] == '\n')
		len--;
	if (len == 0)
		return xstrdup("null");
	if (!utf8_valid(text, len)) {
		cli_warn("what %s wrote is not UTF-8 text (byte %zu)", cli_words[0], utf8_span(text, len));
		return NULL;
	}
	buf_init(&json);
	if (len <= most && json_check(text, len, NULL, NULL) == 0)
		buf_add(&json, text, len);
	else if (len <= most)
		json_quote(&json, text, len);
	if (json.len > 0 && json.len <= most)
		return buf_steal_str(&json);
	buf_free(&json);
	cli_warn("what %s wrote is longer than %zu bytes", cli_words[0], most);
	return NULL;
}

static int
do_step(struct pgc_run *run, void *arg)
{
	const char *key = arg, *saved;
	char turn[256], *result;
	struct buf out;
	pid_t pid;
	int fd;

	if (key == NULL)
		key = pgc_turn(run, turn, sizeof(turn));
	if ((saved = pgc_saved(run, key)) != NULL) {
		ctx_print(saved, want_json);
		return 0;
	}
	buf_init(&out);
	pid = start(&fd);
	read_output(run, pid, fd, &out);
	if ((ctx_status = wait_for(pid)) != 0) {
		buf_free(&out);
		return 0;
	}
	result = result_of(&out, pgc_max_payload(run));
	buf_free(&out);
	if (result == NULL) {
		ctx_status = EX_DATAERR;
		return 0;
	}
	if (pgc_save_now(run, key, result) != 0)
		return PGC_OVER;
	ctx_print(result, want_json);
	free(result);
	return 0;
}

static int
run(int argc, char **argv)
{
	const char *name = argc > 1 ? ctx_key(argv[1]) : "";

	if (argc > 2)
		cli_usage("%s: unexpected argument; the command stands behind --", argv[2]);
	if (cli_words_n == 0)
		cli_usage("the command is missing: -- CMD");
	return ctx_do(do_step, argc > 1 ? argv[1] : NULL, &name, 1);
}

const struct cli_command ctx_step = {
	.name = "ctx step",
	.arguments = "[KEY] [--json] -- CMD…",
	.summary = "run a command and save what it prints; if that is saved, print it and run nothing",
	.details = "What CMD prints is its result: one newline at the end is dropped, what is JSON is taken as such, other text is a\n"
	    "string, nothing is null. It is printed once it is saved. If CMD fails nothing is saved, and this exits with its\n"
	    "status: 128 and the number of a signal, 127 if there is no such command; 65 if what it printed cannot be saved.\n"
	    "Without a KEY it is named by its turn: that must be the same in each run.\n",
	.options = options,
	.takes_command = true,
	.no_database = true,
	.run = run,
};
