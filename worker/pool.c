/*
 * A pool: the processes of one program of SETUP, and the slots the master has there. Worker.
 *
 * The master was told of `granted` slots, less one for each RUN that came. At the end of a pass the difference to what
 * is free now is sent, so that nothing else ever gives a slot back.
 */
#include "config.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/xmalloc.h"
#include "worker/internal.h"

struct pool *
pool_new(struct worker *w, unsigned number, struct program *program)
{
	struct pool *p = xcalloc(1, sizeof(*p));

	p->w = w;
	p->number = number;
	p->program = program;
	buf_init(&p->announced);
	TAILQ_INIT(&p->handlers);
	TAILQ_INIT(&p->waiting);
	TAILQ_INIT(&p->oneshots);
	restart_init(p);
	return p;
}

static bool
was_owned(const struct pool *p, const char *task, size_t len)
{
	for (size_t i = 0; i < p->former_n; i++)
		if (strlen(p->former[i]) == len && memcmp(p->former[i], task, len) == 0)
			return true;
	return false;
}

void
pool_forget_tasks(struct pool *p)
{
	if (p->tasks_n > 0)
		p->former = xreallocarray(p->former, p->former_n + p->tasks_n, sizeof(*p->former));
	for (size_t i = 0; i < p->tasks_n; i++) {
		if (was_owned(p, p->tasks[i], strlen(p->tasks[i])))
			free(p->tasks[i]);
		else
			p->former[p->former_n++] = p->tasks[i];
	}
	free(p->tasks);
	p->tasks = NULL;
	p->tasks_n = 0;
}

/* After a reload the master counts from 0. */
static void
forget_former(struct pool *p)
{
	pool_forget_tasks(p);
	for (size_t i = 0; i < p->former_n; i++)
		free(p->former[i]);
	free(p->former);
	p->former = NULL;
	p->former_n = 0;
}

void
pool_free(struct pool *p)
{
	restart_clear(p);
	forget_former(p);
	buf_free(&p->announced);
	schemas_free(p->schemas);
	program_unref(p->program);
	free(p);
}

/* Slots */

static uint64_t
room_of_commands(const struct pool *p)
{
	return p->restart_set || p->oneshots_n >= p->w->concurrency ? 0 : p->w->concurrency - p->oneshots_n;
}

static uint64_t
room(const struct pool *p)
{
	const struct handler *h;
	uint64_t n = p->cold * p->last_credit;

	if (p->draining || p->program->discover)
		return 0;
	if (p->program->command_task != NULL)
		return room_of_commands(p);
	TAILQ_FOREACH(h, &p->handlers, entry)
		n += handler_room(h);
	return n > p->waiting_n ? n - p->waiting_n : 0;
}

void
pool_touch(struct pool *p)
{
	p->dirty = true;
	worker_touch(p->w);
}

void
pool_flush_slots(struct pool *p)
{
	int64_t n;

	if (!p->dirty || p->leaving)
		return;
	p->dirty = false;
	n = (int64_t)room(p);
	if (n != p->granted)
		link_slots(p->w, p->number, n - p->granted);
	if (n < p->granted)
		p->revoked += p->granted - n;
	p->granted = n;
}

/*
 * A RUN spends a slot. One that the master did not have was either taken back while the RUN was on its way, then it
 * is owed again; or the master counts too many, then it is not, and the counts agree from here on.
 */
static void
spend(struct pool *p)
{
	if (p->granted > 0 || p->revoked > 0)
		p->granted--;
	if (p->granted < 0 && p->revoked > 0)
		p->revoked--;
	pool_touch(p);
}

bool
pool_owned(struct pool *p, struct pstr task)
{
	if (!was_owned(p, task.p, task.len))
		return false;
	spend(p);
	return true;
}

/* Announcing */

static void
take_tasks(struct pool *p, const struct msg_task *tasks, size_t n)
{
	pool_forget_tasks(p);
	routes_make(p->w);
	p->tasks = xcalloc(n + 1, sizeof(*p->tasks));
	for (size_t i = 0; i < n; i++)
		if (routes_find(p->w, tasks[i].name) == NULL)
			p->tasks[p->tasks_n++] = xstrndup(tasks[i].name.p, tasks[i].name.len);
	routes_make(p->w);
}

static void
take_schemas(struct pool *p, struct schemas *schemas)
{
	schemas_free(p->schemas);
	p->schemas = schemas;
}

/* Again, after a reload. The configuration may say something else of them now. */
static void
send_announced(struct pool *p)
{
	char fault[SCHEMAS_WHY];
	struct schemas *schemas;
	struct msg_announce m;
	struct msg frame;
	const char *why;

	/* It is kept encoded; only the pool's number may have changed. */
	msg_init(&frame);
	if (msg_open(&frame, buf_ptr(&p->announced) + MSG_HEAD, p->announced.len - MSG_HEAD, &why) == -1 ||
	    msg_announce_decode(&frame, &m, &why) == -1)
		fatalx("pool %u: %s", p->number, why);
	m.pool = p->number;
	if (schemas_make(&schemas, p->w, m.tasks, m.tasks_n, m.events, m.events_n, fault))
		take_schemas(p, schemas);
	else
		log_error("program %s: %s", p->program->name, fault);
	take_tasks(p, m.tasks, m.tasks_n);
	link_announce(p->w, &m);
	msg_free(&frame);
}

bool
pool_announce(struct pool *p, const struct msg_hello *hello, struct schemas *schemas)
{
	struct msg_announce m = {
		.pool = p->number, .program = pstr(p->program->name), .sdk = hello->sdk, .tasks = hello->tasks,
		.tasks_n = hello->tasks_n, .events = hello->events, .events_n = hello->events_n,
		.queues = hello->queues, .queues_n = hello->queues_n,
	};
	struct buf encoded;

	take_schemas(p, schemas);
	if (p->leaving)
		return false;
	buf_init(&encoded);
	msg_announce_encode(&encoded, 0, &m);
	/* Again after BROKEN: the master is to know that it runs. */
	if (!p->broken && encoded.len == p->announced.len &&
	    memcmp(buf_ptr(&encoded), buf_ptr(&p->announced), encoded.len) == 0) {
		buf_free(&encoded);
		return false;
	}
	buf_free(&p->announced);
	p->announced = encoded;
	take_tasks(p, m.tasks, m.tasks_n);
	link_announce(p->w, &m);
	return true;
}

/* Placing */

static struct handler *
best_handler(const struct pool *p, size_t len)
{
	struct handler *h, *best = NULL;
	int64_t score, most = INT64_MIN;

	TAILQ_FOREACH(h, &p->handlers, entry) {
		score = (int64_t)h->concurrency - (int64_t)h->outstanding_n;
		if (score > most && handler_takes(h, len)) {
			best = h;
			most = score;
		}
	}
	return best;
}

/* Whether one that cannot be placed now will be, without waiting for an execution's slot. */
static bool
may_wait(const struct pool *p, size_t len)
{
	const struct handler *h;

	if (p->waiting_n > 0 && p->waiting_bytes + len > WAITING_MAX)
		return false;
	if (p->cold > 0)
		return true;
	TAILQ_FOREACH(h, &p->handlers, entry)
		if ((h->state == HANDLER_STARTING && p->waking) ||
		    (h->state == HANDLER_READY && h->outstanding_n + p->waiting_n < h->credit))
			return true;
	return false;
}

/* One execution, or those of a batch. */
static void
wait_for_room(struct pool *p, struct exec_list *list, const uint8_t *body, size_t len)
{
	struct execution *x = TAILQ_FIRST(list);

	if (x->batch != NULL)
		x->batch->frame = xmemdup(body, len);
	else
		x->frame = xmemdup(body, len);
	TAILQ_CONCAT(&p->waiting, list, entry);
	p->waiting_n++;
	p->waiting_bytes += len;
	if (p->cold > 0) {
		p->cold--;
		p->waking = true;
		pool_fill(p);
	}
}

void
pool_unwait(struct execution *x)
{
	struct pool *p = x->pool;

	TAILQ_REMOVE(&p->waiting, x, entry);
	if (!batch_is_last(x))
		return;
	p->waiting_n--;
	p->waiting_bytes -= x->bytes;
	pool_touch(p);
}

/* The first, and those that came with it. */
static void
take_waiting(struct pool *p, struct exec_list *list)
{
	struct execution *x = TAILQ_FIRST(&p->waiting);
	const struct batch *b = x->batch;

	p->waiting_n--;
	p->waiting_bytes -= x->bytes;
	pool_touch(p);
	TAILQ_INIT(list);
	do {
		TAILQ_REMOVE(&p->waiting, x, entry);
		TAILQ_INSERT_TAIL(list, x, entry);
		x = TAILQ_FIRST(&p->waiting);
	} while (b != NULL && x != NULL && x->batch == b);
}

static void
run_waiting_batch(struct handler *h, struct exec_list *list)
{
	struct execution *x = TAILQ_FIRST(list);
	struct batch *b = x->batch;
	struct buf cut;

	if (b->left == b->made) {
		handler_run(h, list, b->frame, x->bytes);
	} else {
		buf_init(&cut);
		batch_without_gone(h->w, &cut, b->frame, x->bytes);
		handler_run(h, list, buf_ptr(&cut), cut.len);
		buf_free(&cut);
	}
	free(b->frame);
	b->frame = NULL;
}

void
pool_place_waiting(struct pool *p)
{
	struct exec_list list;
	struct execution *x;
	struct handler *h;

	while ((x = TAILQ_FIRST(&p->waiting)) != NULL && (h = best_handler(p, x->bytes)) != NULL) {
		take_waiting(p, &list);
		if (x->batch != NULL) {
			run_waiting_batch(h, &list);
			continue;
		}
		handler_run(h, &list, x->frame, x->bytes);
		free(x->frame);
		x->frame = NULL;
	}
}

void
pool_return_waiting(struct pool *p, const char *reason)
{
	struct execution *x;

	while ((x = TAILQ_FIRST(&p->waiting)) != NULL) {
		pool_unwait(x);
		if (x->stop != STOP_NONE)
			exec_fail_stopped(p->w, x);
		else
			link_returned(p->w, &x->exec, 1, reason);
		exec_free(p->w, x);
	}
}

static void
run_command(struct pool *p, uint64_t exec, const struct msg_run *run, size_t len)
{
	struct execution *x;

	if (p->draining || room_of_commands(p) == 0) {
		link_returned(p->w, &exec, 1, "no slot is free");
		return;
	}
	x = exec_new(p->w, exec, run, len);
	x->pool = p;
	oneshot_run(p, x, run);
}

void
pool_run(struct pool *p, uint64_t exec, const struct msg_run *run, const uint8_t *body, size_t len)
{
	struct exec_list list = TAILQ_HEAD_INITIALIZER(list);
	struct execution *x;
	struct handler *h = NULL;
	char why[SCHEMAS_WHY];

	spend(p);
	if (!schemas_take_run(p, run, why)) {
		link_fail(p->w, exec, "bad_payload", false, "%s", why);
		return;
	}
	if (p->program->command_task != NULL) {
		run_command(p, exec, run, len);
		return;
	}
	/* Nothing overtakes what waits. */
	if (p->waiting_n == 0)
		h = best_handler(p, len);
	if (p->draining || (h == NULL && !may_wait(p, len))) {
		link_returned(p->w, &exec, 1, "no slot is free");
		return;
	}
	x = exec_new(p->w, exec, run, len);
	x->pool = p;
	TAILQ_INSERT_TAIL(&list, x, entry);
	if (h != NULL)
		handler_run(h, &list, body, len);
	else
		wait_for_room(p, &list, body, len);
}

static void
place_batch(struct pool *p, const struct msg_run *run, const uint8_t *body, size_t len)
{
	struct exec_list list = TAILQ_HEAD_INITIALIZER(list);
	struct handler *h = p->waiting_n == 0 ? best_handler(p, len) : NULL;

	if (p->program->command_task != NULL || p->draining || (h == NULL && !may_wait(p, len))) {
		batch_return(p->w, run, "no slot is free");
		return;
	}
	batch_make(p, run, len, &list);
	if (h != NULL)
		handler_run(h, &list, body, len);
	else
		wait_for_room(p, &list, body, len);
}

void
pool_run_batch(struct pool *p, struct msg_run *run, const uint8_t *body, size_t len)
{
	size_t n = run->items_n;
	struct buf cut;

	spend(p);
	batch_admit(p, run);
	if (run->items_n == n) {
		place_batch(p, run, body, len);
	} else if (run->items_n != 0) {
		buf_init(&cut);
		batch_encode(&cut, run);
		place_batch(p, run, buf_ptr(&cut), cut.len);
		buf_free(&cut);
	}
}

/* Beginning and end */

static void
announce_command(struct pool *p)
{
	struct msg_task task = { .name = pstr(p->program->command_task) };
	struct msg_hello hello = { .tasks = &task, .tasks_n = 1 };
	struct schemas *schemas;
	char why[SCHEMAS_WHY];

	if (!schemas_make(&schemas, p->w, &task, 1, NULL, 0, why)) {
		link_broken(p->w, p, why);
		return;
	}
	pool_announce(p, &hello, schemas);
	pool_touch(p);
}

void
pool_start(struct pool *p)
{
	if (p->program->command_task != NULL)
		announce_command(p);
	else
		pool_fill(p);
}

void
pool_replace(struct pool *p, unsigned number, struct program *program)
{
	struct handler *h, *next;

	program_unref(p->program);
	p->program = program;
	p->number = number;
	p->granted = p->revoked = 0;
	forget_former(p);
	p->cold = 0;
	p->waking = false;
	restart_reset(p);
	/* Of a command all that is known is in the program; of handlers the old ones go on until the new ones are up. */
	if (program->command_task != NULL)
		buf_reset(&p->announced, 0);
	else if (p->announced.len > 0)
		send_announced(p);
	TAILQ_FOREACH_SAFE(h, &p->handlers, entry, next) {
		if (h->state == HANDLER_STARTING)
			handler_terminate(h, BLAME_END);
		else if (h->state == HANDLER_READY)
			h->retiring = true;
	}
	pool_touch(p);
	pool_start(p);
}

void
pool_drain(struct pool *p, uint64_t deadline_ms)
{
	struct handler *h, *next;

	p->draining = true;
	restart_clear(p);
	pool_return_waiting(p, "the worker is draining");
	TAILQ_FOREACH_SAFE(h, &p->handlers, entry, next)
		handler_drain(h, deadline_ms);
	oneshots_drain(p, deadline_ms);
	pool_touch(p);
}

void
pool_kill(struct pool *p)
{
	struct handler *h, *next;

	TAILQ_FOREACH_SAFE(h, &p->handlers, entry, next)
		handler_kill(h, BLAME_END);
	oneshots_give_back(p);
}

bool
pool_empty(const struct pool *p)
{
	return TAILQ_EMPTY(&p->handlers) && TAILQ_EMPTY(&p->oneshots);
}

void
pool_oneshot_ended(struct pool *p, uint64_t pause_ms)
{
	if (pause_ms != 0)
		restart_pause(p, pause_ms);
	pool_touch(p);
	worker_check_done(p->w);
}
