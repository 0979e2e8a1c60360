/*
 * What the streams and the exit status of a one-shot command mean. Worker.
 */
#include "config.h"

#include <sys/wait.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "common/json.h"
#include "common/utf8.h"
#include "worker/internal.h"

#define LINE_BYTES 1024
#define EXIT_TIMED_OUT 124	/* of `pgconductor ctx invoke`, as of timeout(1) */

static void
fail_oversize(struct worker *w, const struct execution *x)
{
	link_fail(w, x->exec, "oversize", false, "the result is longer than %" PRIu64 " bytes", w->max_payload);
}

static void
send_json(struct worker *w, const struct execution *x, struct pstr result)
{
	char why[SCHEMAS_WHY];

	if (schemas_take_result(x->pool, x->task, result, why))
		link_done(w, x->exec, result);
	else
		link_fail(w, x->exec, "bad_result", true, "%s", why);
}

/* JSON if it parses, else a JSON string. */
static void
send_text(struct worker *w, const struct execution *x, const char *text, size_t len)
{
	struct buf quoted;

	if (json_check(text, len, NULL, NULL) == 0) {
		send_json(w, x, (struct pstr){ text, len });
		return;
	}
	buf_init(&quoted);
	json_quote(&quoted, text, len);
	if (quoted.len > w->max_payload)
		fail_oversize(w, x);
	else
		send_json(w, x, (struct pstr){ (const char *)buf_ptr(&quoted), quoted.len });
	buf_free(&quoted);
}

static void
send_result(struct worker *w, const struct execution *x, const struct buf *out)
{
	const char *text;
	size_t len;

	if (out == NULL) {
		fail_oversize(w, x);
		return;
	}
	text = out->len > 0 ? (const char *)out->data + out->off : "";
	len = out->len;
	if (len > 0 && text[len - 1] == '\n')
		len--;
	if (len == 0)
		send_json(w, x, (struct pstr){ NULL, 0 });
	else if (len > w->max_payload)
		fail_oversize(w, x);
	else if (!utf8_valid(text, len))
		link_fail(w, x->exec, "bad_result", true, "what it wrote to stdout is not UTF-8 text (byte %zu)",
		    utf8_span(text, len));
	else
		send_text(w, x, text, len);
}

/* The last line of its stderr that is not empty, as UTF-8. */
static void
last_line(struct buf *line, const struct buf *tail)
{
	const char *text = tail->len > 0 ? (const char *)tail->data + tail->off : "", *start;
	size_t len = tail->len;

	while (len > 0 && strchr(" \t\r\n", text[len - 1]) != NULL)
		len--;
	start = len > 0 ? memrchr(text, '\n', len) : NULL;
	start = start != NULL ? start + 1 : text;
	text_clean(line, start, len - (size_t)(start - text), LINE_BYTES);
}

/* "resize[123] exited with status 3: no such image" */
static void
send_failure(struct worker *w, const struct execution *x, const char *name, int status, const struct buf *tail)
{
	bool exited = WIFEXITED(status);
	struct buf message, stack;
	char text[96];
	struct msg_fail fail = { .code = pstr(exited ? "app" : "crash") };

	process_status(status, text, sizeof(text));
	buf_init(&message);
	buf_init(&stack);
	buf_addf(&message, "%s %s", name, text);
	if (tail->len > 0) {
		buf_addstr(&message, ": ");
		last_line(&message, tail);
		text_clean(&stack, tail->data + tail->off, tail->len, STREAM_TAIL);
		fail.stack = (struct pstr){ (const char *)buf_ptr(&stack), stack.len };
	}
	fail.message = (struct pstr){ (const char *)buf_ptr(&message), message.len };
	if (exited && WEXITSTATUS(status) == EX_DATAERR) {
		fail.has_retry = true;
		fail.retry = false;
	}
	link_send_fail(w, x->exec, &fail);
	buf_free(&message);
	buf_free(&stack);
}

static void
send_deferred(struct worker *w, const struct execution *x, const char *name, const struct buf *tail)
{
	struct buf message;

	buf_init(&message);
	buf_addf(&message, "%s asks to be tried later", name);
	if (tail->len > 0) {
		buf_addstr(&message, ": ");
		last_line(&message, tail);
	}
	link_deferred(w, x->exec, (struct pstr){ (const char *)buf_ptr(&message), message.len });
	buf_free(&message);
}

void
result_send(struct worker *w, struct execution *x, const char *name, int status, const struct buf *out,
    const struct buf *tail)
{
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		send_result(w, x, out);
	else if (x->stop != STOP_NONE)
		exec_fail_stopped(w, x);
	else if (WIFEXITED(status) && WEXITSTATUS(status) == EX_TEMPFAIL)
		send_deferred(w, x, name, tail);
	else
		send_failure(w, x, name, status, tail);
}

bool
result_is_failure(int status, bool for_good)
{
	if (!WIFEXITED(status))
		return false;
	if (for_good)
		return WEXITSTATUS(status) == EX_DATAERR || WEXITSTATUS(status) == EXIT_TIMED_OUT;
	return WEXITSTATUS(status) == EXIT_FAILURE;
}
