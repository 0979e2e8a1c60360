/*
 * What HELLO says of tasks and events, as SQL takes it. Master and command line. Texts are put together as they came: they were
 * JSON, and what else they have to be SQL says.
 */
#include "config.h"

#include <inttypes.h>
#include <stdbool.h>

#include "common/buf.h"
#include "common/json.h"
#include "common/xmalloc.h"
#include "proto/declared.h"
#include "proto/messages.h"

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* The object but for its closing brace; false if it is none. */
static bool
open_object(struct buf *out, struct pstr s)
{
	while (s.len > 0 && is_blank(s.p[s.len - 1]))
		s.len--;
	while (s.len > 0 && is_blank(s.p[0])) {
		s.p++;
		s.len--;
	}
	if (s.len < 2 || s.p[0] != '{')
		return false;
	for (s.len--; is_blank(s.p[s.len - 1]);)
		s.len--;
	buf_add(out, s.p, s.len);
	return true;
}

static const char *
comma(const struct buf *out)
{
	return out->data[out->off + out->len - 1] == '{' ? "" : ",";
}

static void
add_member(struct buf *out, const char *key, struct pstr value)
{
	if (value.p == NULL)
		return;
	buf_addf(out, "%s\"%s\":", comma(out), key);
	buf_add(out, value.p, value.len);
}

static void
add_batch(struct buf *out, const struct msg_batch *b)
{
	buf_addf(out, "%s\"batch\":{\"size\":%" PRIu64, comma(out), b->size);
	if (b->has_timeout_ms)
		buf_addf(out, ",\"timeout\":%" PRIu64, b->timeout_ms);
	buf_addstr(out, "}");
}

char *
declared_options(const struct msg_task *t)
{
	struct buf out;

	if (t->payload_schema.p == NULL && t->returns_schema.p == NULL && !t->has_batch)
		return t->options.p != NULL ? xstrndup(t->options.p, t->options.len) : NULL;
	buf_init(&out);
	if (!open_object(&out, t->options.p != NULL ? t->options : pstr("{}"))) {
		buf_free(&out);
		return xstrndup(t->options.p, t->options.len);
	}
	add_member(&out, "payload_schema", t->payload_schema);
	add_member(&out, "returns_schema", t->returns_schema);
	if (t->has_batch)
		add_batch(&out, &t->batch);
	buf_addstr(&out, "}");
	return buf_steal_str(&out);
}

char *
declared_events(const struct msg_event_type *events, size_t n)
{
	struct buf out;

	buf_init(&out);
	for (size_t i = 0; i < n; i++) {
		buf_addstr(&out, i == 0 ? "[{\"name\":" : ",{\"name\":");
		json_quote(&out, events[i].name.p, events[i].name.len);
		add_member(&out, "schema", events[i].schema);
		buf_addstr(&out, "}");
	}
	buf_addstr(&out, n == 0 ? "[]" : "]");
	return buf_steal_str(&out);
}
