/*
 * A call within a command: one connection of `pgconductor ctx`. Worker.
 *
 * It says which run it belongs to and which keys it will name, and gets that run, with what is saved under those keys:
 * from there on it is a handler of the run, beside others; what it says then is in dialog.c. Callers are trusted no more
 * than handlers: what one of them does wrong ends its connection.
 */
#include "config.h"

#include <sys/socket.h>

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/xmalloc.h"
#include "worker/internal.h"

#define PROTOCOL	1
#define HELLO_BYTES	(1u << 20)	/* of a frame of one that has not said who it is */
#define STRANGERS_MAX	64		/* such ones at a time; the oldest gives way */
#define CALLERS_MAX	256		/* in one command at a time */
#define KEYS_MAX	(1u << 20)	/* that a run may name */
#define KEY_BYTES	1024

/* Beginning and end */

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	log_debug("a caller said nothing for %d s", HELLO_TIMEOUT_MS / 1000);
	caller_free(arg);
}

void
caller_new(struct worker *w, int fd)
{
	struct listener *l = &w->listener;
	struct timeval tv = worker_tv(HELLO_TIMEOUT_MS);
	struct caller *c = xcalloc(1, sizeof(*c));

	if (l->strangers_n >= STRANGERS_MAX)
		caller_free(TAILQ_FIRST(&l->strangers));
	c->w = w;
	c->number = ++l->callers;
	c->peer = peer_new(w->base, fd, HELLO_BYTES, &caller_ops, c);
	evtimer_assign(&c->timer, w->base, on_timer, c);
	event_add(&c->timer, &tv);
	TAILQ_INSERT_TAIL(&l->strangers, c, entry);
	l->strangers_n++;
}

/* A key without an outcome may be named again: what it stands for was not done. So may the last one that was a turn. */
static void
release_keys(struct caller *c)
{
	struct keys *j = c->keys_n > 0 ? c->o->keys : NULL;

	if (c->turns > 0 && !c->keys[0]->saved && j->unnamed == c->turn + c->turns)
		j->unnamed = c->turn;
	for (size_t i = 0; i < c->keys_n; i++) {
		struct kept *k = c->keys[i];

		k->caller = NULL;
		k->used = k->saved;
		if (!k->used)
			continue;
		free(k->result);
		free(k->error);
		k->result = k->error = NULL;
	}
	c->keys_n = c->saved_n = c->turns = 0;
}

void
caller_free(struct caller *c)
{
	if (c->o != NULL) {
		release_keys(c);
		TAILQ_REMOVE(&c->o->callers, c, entry);
		c->o->callers_n--;
	} else {
		TAILQ_REMOVE(&c->w->listener.strangers, c, entry);
		c->w->listener.strangers_n--;
	}
	event_del(&c->timer);
	peer_free(c->peer);
	for (size_t i = 0; i < c->names_n; i++)
		free(c->names[i]);
	free(c->names);
	free(c->keys);
	free(c->saved);
	free(c);
}

/* It gets the reason; what it may still have sent is not read. */
void
caller_refuse(struct caller *c, const char *fmt, ...)
{
	struct msg_reject m;
	char why[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	log_debug("a caller%s%s: %s", c->o != NULL ? " of execution " : "", c->o != NULL ? c->o->x->id : "", why);
	m.reason = pstr(why);
	msg_reject_encode(peer_out(c->peer), 0, &m);
	peer_close(c->peer, why);
}

/* Joining */

static void
send_welcome(struct caller *c)
{
	static const char *const names[] = { "beat", "call", "cancel", "drain", "log", "progress", "step", "suspend" };
	struct pstr capabilities[sizeof(names) / sizeof(names[0])];
	struct msg_welcome m = {
		.protocol = PROTOCOL,
		.queue = pstr(c->w->queue),
		.max_frame = c->w->max_frame,
		.max_payload = c->w->max_payload,
		.capabilities = capabilities,
		.capabilities_n = sizeof(names) / sizeof(names[0]),
	};

	for (size_t i = 0; i < m.capabilities_n; i++)
		capabilities[i] = pstr(names[i]);
	msg_welcome_encode(peer_out(c->peer), 0, &m);
}

static void
send_drain(struct caller *c, uint64_t deadline_ms)
{
	struct msg_drain m = { .deadline_ms = deadline_ms };

	msg_drain_encode(peer_out(c->peer), 0, &m);
	peer_flush(c->peer);
}

static void
send_cancel(struct caller *c, struct pstr reason)
{
	struct msg_cancel m = { .reason = reason, .grace_ms = c->o->x->grace_ms };

	msg_cancel_encode(peer_out(c->peer), c->o->x->exec, &m);
	peer_flush(c->peer);
}

/* The command has its payload itself. */
static void
send_run(struct caller *c)
{
	struct oneshot *o = c->o;
	struct msg_run m = {
		.id = pstr(o->x->id),
		.task = pstr(o->program->command_task),
		.attempt = o->attempt,
		.token = pstr(o->token),
		.event = { .name = pstr(""), .payload = pstr("null") },
		.has_more_steps = true, .more_steps = c->saved_n > 0,
		.has_unnamed = c->turns > 0, .unnamed = c->turn,
	};

	msg_run_encode(peer_out(c->peer), o->x->exec, &m);
	peer_flush(c->peer);
}

/* Its end was not noticed yet. */
static bool
has_gone(const struct caller *c)
{
	char byte;

	return recv(peer_fd(c->peer), &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

/* False: it stands for something else in this run. */
static bool
take_key(struct caller *c, struct pstr name)
{
	struct kept *k = keys_get(c->o->keys, name);

	if (k->caller != NULL && k->caller != c && has_gone(k->caller))
		release_keys(k->caller);
	if (k->used || k->caller != NULL) {
		exec_refuse(c->o->x, "nondeterminism", "the key \"%.200s\" is used twice in one run: each stands for one step, "
		    "sleep or child", k->key);
		return false;
	}
	k->caller = c;
	c->keys[c->keys_n++] = k;
	if (k->saved)
		c->saved[c->saved_n++] = k;
	return true;
}

static bool
take_turn(struct caller *c)
{
	char name[256];

	c->turns++;
	snprintf(name, sizeof(name), "%s#%" PRIu64, c->o->program->command_task, ++c->o->keys->unnamed);
	return take_key(c, pstr(name));
}

static void
take_keys(struct caller *c)
{
	if (c->names_n == 0)
		return;
	c->keys = xcalloc(c->names_n, sizeof(*c->keys));
	c->saved = xcalloc(c->names_n, sizeof(*c->saved));
	c->turn = c->o->keys->unnamed;
	for (size_t i = 0; i < c->names_n; i++)
		if (!(c->names[i][0] != '\0' ? take_key(c, pstr(c->names[i])) : take_turn(c)))
			return;
}

/* WELCOME comes first, and DRAIN before the run: so it is known when that begins. */
static void
join(struct caller *c)
{
	struct execution *x = c->o->x;

	send_welcome(c);
	if (c->o->pool->draining || c->o->leaving)
		send_drain(c, x->grace_ms);
	c->state = CALLER_JOINED;
	take_keys(c);
	send_run(c);
	if (x->stop != STOP_NONE)
		send_cancel(c, pstr(x->stop == STOP_REFUSED ? x->refusal : x->stop == STOP_TIMEOUT ? "timeout" : "cancelled"));
}

static void
wait_or_join(struct caller *c)
{
	struct oneshot *o = c->o;

	if (c->names_n > 0) {
		if (o->keys == NULL)
			o->keys = keys_new();
		/* It goes on: what a call before has failed with did not end it. */
		buf_reset(&o->failure, 0);
	}
	if (c->names_n == 0 || !o->keys->incomplete) {
		join(c);
		return;
	}
	c->state = CALLER_WAITING;
	if (!o->keys->asked)
		link_journal(o->w, o->x->exec, o->keys->n);
	o->keys->asked = true;
}

static bool
speaks(const struct msg_hello *m)
{
	for (size_t i = 0; i < m->protocols_n; i++)
		if (m->protocols[i] == PROTOCOL)
			return true;
	return false;
}

static bool
take_names(struct caller *c, const struct msg_hello *m)
{
	c->names = xcalloc(m->keys_n + 1, sizeof(*c->names));
	for (size_t i = 0; i < m->keys_n; i++) {
		if (m->keys[i].len > KEY_BYTES)
			return false;
		c->names[c->names_n++] = xstrndup(m->keys[i].len > 0 ? m->keys[i].p : "", m->keys[i].len);
	}
	return true;
}

static void
adopt(struct caller *c, struct oneshot *o)
{
	TAILQ_REMOVE(&c->w->listener.strangers, c, entry);
	c->w->listener.strangers_n--;
	TAILQ_INSERT_TAIL(&o->callers, c, entry);
	o->callers_n++;
	c->o = o;
	event_del(&c->timer);
	peer_set_max_frame(c->peer, c->w->max_frame);
	if (c->w->choked)
		peer_read_stop(c->peer);
}

void
caller_hello(struct caller *c, struct msg *frame)
{
	struct oneshot *o;
	struct msg_hello m;
	const char *why;

	if (c->state != CALLER_STRANGER) {
		caller_refuse(c, "protocol error: a second HELLO");
	} else if (msg_hello_decode(frame, &m, &why) == -1) {
		caller_refuse(c, "protocol error: %s", why);
	} else if (!speaks(&m)) {
		caller_refuse(c, "it does not speak version %d of the protocol", PROTOCOL);
	} else if ((o = oneshot_find(c->w, m.run, m.token)) == NULL) {
		caller_refuse(c, "this run is over: execution %.*s does not run here, or no longer by that token",
		    (int)(m.run.len < 24 ? m.run.len : 24), m.run.p != NULL ? m.run.p : "");
	} else if (o->x->stop == STOP_SUSPENDED) {
		caller_refuse(c, "this run is over: execution %s waits", o->x->id);
	} else if (o->callers_n >= CALLERS_MAX) {
		caller_refuse(c, "there are %d calls in this command already", CALLERS_MAX);
	} else if (o->keys != NULL && o->keys->keys.n + m.keys_n > KEYS_MAX) {
		caller_refuse(c, "a run may not name more than %u keys", KEYS_MAX);
	} else if (!take_names(c, &m)) {
		caller_refuse(c, "a key is longer than %d bytes", KEY_BYTES);
	} else {
		adopt(c, o);
		wait_or_join(c);
	}
}

/* All of a command */

void
callers_cancel(struct oneshot *o, struct pstr reason)
{
	struct caller *c;

	TAILQ_FOREACH(c, &o->callers, entry)
		if (c->state == CALLER_JOINED)
			send_cancel(c, reason);
}

void
callers_drain(struct oneshot *o, uint64_t deadline_ms)
{
	struct caller *c;

	TAILQ_FOREACH(c, &o->callers, entry)
		if (c->state == CALLER_JOINED)
			send_drain(c, deadline_ms);
}

void
callers_choke(struct oneshot *o, bool choked)
{
	struct caller *c;

	TAILQ_FOREACH(c, &o->callers, entry) {
		if (choked)
			peer_read_stop(c->peer);
		else
			peer_read_start(c->peer);
	}
}

void
callers_free(struct oneshot *o)
{
	while (!TAILQ_EMPTY(&o->callers))
		caller_free(TAILQ_FIRST(&o->callers));
}

static void
take_steps(struct oneshot *o, const struct msg_steps *m)
{
	struct keys *j = o->keys;
	struct caller *c, *next;

	if (j == NULL || !j->incomplete)
		return;
	keys_add(j, m->steps, m->steps_n);
	j->incomplete = m->more_steps;
	if (j->incomplete) {
		link_journal(o->w, o->x->exec, j->n);
		return;
	}
	TAILQ_FOREACH_SAFE(c, &o->callers, entry, next)
		if (c->state == CALLER_WAITING)
			join(c);
}

static void
pass_return(struct oneshot *o, struct msg_return *m)
{
	struct caller *c;

	TAILQ_FOREACH(c, &o->callers, entry)
		if (c->number == m->call >> CALL_BITS)
			break;
	if (c == NULL || c->state != CALLER_JOINED)
		return;
	m->call &= (UINT64_C(1) << CALL_BITS) - 1;
	msg_return_encode(peer_out(c->peer), o->x->exec, m);
	peer_flush(c->peer);
}

static void
pass_step_ok(struct oneshot *o, const struct msg_step_ok *m, const uint8_t *body, size_t len)
{
	struct kept *k = o->keys != NULL ? keys_get(o->keys, m->key) : NULL;

	if (k != NULL && k->caller != NULL)
		peer_send_raw(k->caller->peer, body, len);
}

void
callers_answer(struct oneshot *o, struct msg *m, const uint8_t *body, size_t len)
{
	struct msg_step_ok ok;
	struct msg_return ret;
	struct msg_steps steps;
	const char *why = NULL;

	if (m->type == MSG_STEP_OK && msg_step_ok_decode(m, &ok, &why) == 0)
		pass_step_ok(o, &ok, body, len);
	else if (m->type == MSG_RETURN && msg_return_decode(m, &ret, &why) == 0)
		pass_return(o, &ret);
	else if (m->type == MSG_STEPS && msg_steps_decode(m, &steps, &why) == 0)
		take_steps(o, &steps);
	if (why != NULL)
		log_error("from the master: %s: %s", msg_name(m->type), why);
}
