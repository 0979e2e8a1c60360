/*
 * Ownership of shards. Master.
 *
 * The lock of a shard is held by the writer's session, so the right to write ends with the connection that writes.
 * Taking is three questions, each sent after the answer to the one before: the lock, then the epoch, then the first
 * poll. Whatever was known of a shard from before, but what is running, is forgotten when it is taken.
 */
#include "config.h"

#include <inttypes.h>
#include <stdlib.h>

#include "common/log.h"
#include "common/xmalloc.h"
#include "master/master.h"

/* How long a lock that was ours is tried again before its shard counts as lost: the former session may linger. */
#define RELOCK_MS	5000
/* A producer that read the former owner does not know whom to wake. */
#define STAY_AWAKE_MS	1000
/* What runs in a shard that is given up may end for so long; then it is taken along. Nobody reads the shard meanwhile. */
#define GIVE_GRACE_MS	2000
/* A shard that could not be given up is kept for so long before it is tried again. */
#define KEEP_MS		30000

/* How many unpark() makes ready at a time. */
#define UNPARK_MAX	10000

static const char *const state_names[] = { "wanted", "locking", "taking", "owned", "giving", "releasing" };

static const struct db_stmt stmt_lock = { "lock_shards", "select shard, locked from pgconductor.lock_shards($1::int[])" };
static const struct db_stmt stmt_take = { "take",
	"select shard, epoch, floor, unclean, xmax, task, pgconductor.now() from pgconductor.take($1::int, $2::int[], $3::bigint[])" };
static const struct db_stmt stmt_release = { "release",
	"select pgconductor.release($1::int, $2::int[], $3::xid8[])" };
static const struct db_stmt stmt_unlock = { "unlock_shards", "select pgconductor.unlock_shards($1::int[])" };
static const struct db_stmt stmt_floors = { "store_floors",
	"select pgconductor.store_floors($1::int, $2::int[], $3::xid8[])" };
static const struct db_stmt stmt_balance = { "balance",
	"select shard, queue, action from pgconductor.balance($1::int, $2::int, $3::boolean)" };
static const struct db_stmt stmt_unpark = { "unpark", "select pgconductor.unpark($1::int[])" };
static const struct db_stmt stmt_rehome_to = { "rehome_to",
	"select id, old_xid, new_xid from pgconductor.rehome_to($1::bigint[], $2::xid8[], $3::int)" };

static void
set_state(struct shard *s, enum shard_state state)
{
	log_debug("shard %d of %s: %s -> %s", s->id, s->queue->name, state_names[s->state], state_names[state]);
	s->state = state;
}

struct shard *
shard_find(struct master *m, int32_t id)
{
	struct shard *s;

	TAILQ_FOREACH(s, &m->shards, link)
		if (s->id == id)
			return s;
	return NULL;
}

bool
shard_readable(const struct master *m, const struct shard *s)
{
	return s->state == SHARD_OWNED && s->queue->ready && !s->queue->retiring && !m->stopping;
}

bool
shard_open(const struct master *m, const struct shard *s)
{
	return s->looked && shard_readable(m, s);
}

/* ---- forgetting ---- */

/* Nothing is buffered any more, and questions under way are void; what is running stays. */
static void
shard_forget_buffered(struct master *m, struct shard *s)
{
	struct lane *l;

	resume_forget(m, s);
	s->generation++;
	TAILQ_FOREACH(l, &s->queue->lanes, link)
		if (l->shard == s)
			lane_empty(m, l);
}

static void
drop_run(struct master *m, struct run *r, void *arg)
{
	struct shard *s = arg;

	if (r->shard != s)
		return;
	r->dropped = true;
	r->noted = false;
	r->shard = NULL;
	r->lane = NULL;
	if (r->state != RUN_LINGERING)
		s->active--;
	if (r->state == RUN_SENT)
		worker_cancel(m, r, "lost");
}

static void
shard_free(struct master *m, struct shard *s)
{
	struct lane *l, *next;

	for (l = TAILQ_FIRST(&s->queue->lanes); l != NULL; l = next) {
		next = TAILQ_NEXT(l, link);
		if (l->shard == s)
			lane_free(m, l);
	}
	run_each(m, drop_run, s);
	if (s->gate != NULL && s->gate->shard == s)
		s->gate->shard = NULL;
	TAILQ_REMOVE(&m->shards, s, link);
	free(s->wakes.late);
	free(s);
}

void
shard_free_all(struct master *m)
{
	struct shard *s;

	while ((s = TAILQ_FIRST(&m->shards)) != NULL)
		shard_free(m, s);
}

bool
shard_queue_empty(const struct master *m, const struct queue *q)
{
	const struct shard *s;

	TAILQ_FOREACH(s, &m->shards, link)
		if (s->queue == q)
			return false;
	return true;
}

bool
shard_settled(const struct master *m)
{
	const struct shard *s;

	TAILQ_FOREACH(s, &m->shards, link)
		if (s->state != SHARD_OWNED)
			return false;
	return m->balanced && !TAILQ_EMPTY(&m->shards);
}

static void
shard_lose(struct master *m, struct shard *s)
{
	log_warnx("queue %s: shard %d has another owner now; what it was running here is stopped", s->queue->name, s->id);
	shard_free(m, s);
}

void
shard_cut_off(struct master *m)
{
	struct shard *s, *next;

	for (s = TAILQ_FIRST(&m->shards); s != NULL; s = next) {
		next = TAILQ_NEXT(s, link);
		if (s->gate == NULL || s->state != SHARD_WANTED || s->epoch == 0)
			continue;
		log_warnx("queue %s: no word from the database; what runs here of task %s, which is limited, is stopped",
		    s->queue->name, s->gate->task->name);
		shard_free(m, s);
	}
}

/* ---- taking ---- */

/* It is that of a limited task; fresh: somebody else may have had it. */
static void
own_task(struct master *m, struct shard *s, const char *name, bool fresh)
{
	s->gate = limit_gate(s->queue, task_get(m, name, strlen(name)));
	s->gate->shard = s;
	if (!fresh)
		return;
	s->open = false;
	limit_taken(m, s->gate);
}

static void
taken(const struct db_answer *a, void *arg)
{
	struct master *m = arg;
	struct shard *s;

	if (a->outcome == DB_LOST)
		return;
	if (a->outcome == DB_ERROR) {
		log_warnx("taking shards: %s", a->message);
		db_drop(m->writer, "shards could not be taken");
		return;
	}
	for (int i = 0; i < a->rows; i++) {
		uint64_t epoch = (uint64_t)db_int8(a, i, 1);
		bool unclean = db_bool(a, i, 3);
		struct lane *l;

		s = shard_find(m, db_int4(a, i, 0));
		if (s == NULL || s->state != SHARD_TAKING)
			continue;
		if (s->epoch != 0 && s->epoch != epoch) {
			log_warnx("queue %s: shard %d was somebody else's meanwhile; what it was running here is stopped",
			    s->queue->name, s->id);
			run_each(m, drop_run, s);
		}
		/* What the former owner left may still wait after a mere reconnect: then the mark stays. */
		if (unclean || s->epoch != epoch) {
			s->note_below = unclean ? db_xid8(a, i, 4) : 0;
			s->note_until = db_int8(a, i, 6);
		}
		if (!db_null(a, i, 5))
			own_task(m, s, db_text(a, i, 5, NULL), s->epoch != epoch);
		s->epoch = epoch;
		s->floor = db_xid8(a, i, 2);
		shard_lane(m, s, 0);
		TAILQ_FOREACH(l, &s->queue->lanes, link) {
			if (l->shard != s)
				continue;
			l->xid = s->floor;
			l->id = 0;
			l->late_n = 0;
			l->more = true;
			due_rewind_all(l);
		}
		s->wakes.xid = s->floor;
		s->wakes.id = 0;
		s->wakes.late_n = 0;
		s->wakes.more = true;
		s->looked = false;
		set_state(s, SHARD_OWNED);
		log_info("queue %s: shard %d taken%s", s->queue->name, s->id, unclean ? " over" : "");
	}
	if (m->stopping)
		shard_give_all(m);
	else
		shard_unpark(m);
	steps_flush(m);
	calls_flush(m);
	resume_expect(m);
	wake_taken(m, STAY_AWAKE_MS);
}

static void
locked(const struct db_answer *a, void *arg)
{
	struct master *m = arg;
	struct params p;
	struct shard *s, *next;
	int shards, epochs, n = 0;

	if (a->outcome == DB_LOST)
		return;
	params_init(&p);
	param_int4(&p, m->node);
	shards = param_array(&p, PARAM_INT4);
	epochs = param_array(&p, PARAM_INT8);
	for (int i = 0; a->outcome == DB_OK && i < a->rows; i++) {
		s = shard_find(m, db_int4(a, i, 0));
		if (s == NULL || s->state != SHARD_LOCKING || !db_bool(a, i, 1))
			continue;
		set_state(s, SHARD_TAKING);
		param_array_int4(&p, shards, s->id);
		param_array_int8(&p, epochs, (int64_t)s->epoch);
		n++;
	}
	if (n != 0)
		db_call(m->writer, &stmt_take, &p, taken, m);
	params_free(&p);
	for (s = TAILQ_FIRST(&m->shards); s != NULL; s = next) {
		next = TAILQ_NEXT(s, link);
		if (s->state != SHARD_LOCKING)
			continue;
		/* Never ours: the next balancing decides anew. Ours before: the former session may still be dying. */
		set_state(s, SHARD_WANTED);
		if (s->epoch == 0)
			shard_free(m, s);
	}
}

void
shard_lock_wanted(struct master *m)
{
	struct params p;
	struct shard *s;
	int shards, n = 0;

	if (!node_may_write(m))
		return;
	/* One question at a time: its answer is about all that are being locked. */
	TAILQ_FOREACH(s, &m->shards, link)
		if (s->state == SHARD_LOCKING)
			return;
	params_init(&p);
	shards = param_array(&p, PARAM_INT4);
	TAILQ_FOREACH(s, &m->shards, link) {
		if (s->state != SHARD_WANTED)
			continue;
		set_state(s, SHARD_LOCKING);
		param_array_int4(&p, shards, s->id);
		n++;
	}
	if (n != 0)
		db_call(m->writer, &stmt_lock, &p, locked, m);
	params_free(&p);
}

static struct shard *
shard_want(struct master *m, struct queue *q, int32_t id)
{
	struct shard *s = xcalloc(1, sizeof(*s));

	s->id = id;
	s->queue = q;
	s->state = SHARD_WANTED;
	s->wakes.shard = s;
	TAILQ_INSERT_TAIL(&m->shards, s, link);
	return s;
}

/* The new session of the writer: what was owned through the former one is taken again before anything else. */
void
shard_writer_up(struct master *m, int64_t down_ms)
{
	struct shard *s;

	/* Of what is limited nothing may run any more when another node takes it, see watch_writer. */
	TAILQ_FOREACH(s, &m->shards, link)
		s->deadline_ms = s->gate != NULL ? down_ms + m->takeover_ms / 2 : clock_ms() + RELOCK_MS;
	shard_lock_wanted(m);
}

void
shard_writer_down(struct master *m)
{
	struct shard *s;

	TAILQ_FOREACH(s, &m->shards, link) {
		shard_forget_buffered(m, s);
		set_state(s, SHARD_WANTED);
	}
}

/* ---- giving up ---- */

struct floors {
	struct params	 p;
	int		 shards, xids;
	int		 n;
};

struct floor_scan {
	struct shard	*shard;
	uint64_t	 floor;
};

static void
floor_of_run(struct master *m, struct run *r, void *arg)
{
	struct floor_scan *scan = arg;

	(void)m;
	/* What was delayed is not read from the floor on. */
	if (r->shard == scan->shard && r->state != RUN_LINGERING && r->due == NOT_DUE && r->xid < scan->floor)
		scan->floor = r->xid;
}

/* No unfinished ready row of the shard has a lower xid, committed or not. */
static uint64_t
shard_floor(struct master *m, struct shard *s)
{
	struct floor_scan scan = { s, resume_floor(m, s) };
	struct lane *l;

	TAILQ_FOREACH(l, &s->queue->lanes, link) {
		if (l->shard != s)
			continue;
		if (l->xid < scan.floor)
			scan.floor = l->xid;
		if (l->late_n != 0 && l->late[0].xid < scan.floor)
			scan.floor = l->late[0].xid;
	}
	run_each(m, floor_of_run, &scan);
	return scan.floor != UINT64_MAX ? scan.floor : s->floor;
}

static void
floors_begin(struct master *m, struct floors *f)
{
	params_init(&f->p);
	param_int4(&f->p, m->node);
	f->shards = param_array(&f->p, PARAM_INT4);
	f->xids = param_array(&f->p, PARAM_XID8);
	f->n = 0;
}

static void
floors_add(struct master *m, struct floors *f, struct shard *s)
{
	param_array_int4(&f->p, f->shards, s->id);
	param_array_xid8(&f->p, f->xids, shard_floor(m, s));
	f->n++;
}

void
shard_store_floors(struct master *m)
{
	struct floors f;
	struct shard *s;

	if (!node_may_write(m))
		return;
	floors_begin(m, &f);
	TAILQ_FOREACH(s, &m->shards, link)
		if (s->state == SHARD_OWNED || s->state == SHARD_GIVING)
			floors_add(m, &f, s);
	db_call(m->writer, &stmt_floors, &f.p, NULL, NULL);
	params_free(&f.p);
}

static void
unlocked(const struct db_answer *a, void *arg)
{
	struct master *m = arg;
	struct shard *s, *next;

	if (a->outcome == DB_LOST)
		return;
	for (s = TAILQ_FIRST(&m->shards); s != NULL; s = next) {
		next = TAILQ_NEXT(s, link);
		if (s->state == SHARD_RELEASING) {
			log_info("queue %s: shard %d given up", s->queue->name, s->id);
			shard_free(m, s);
		}
	}
	server_progress(m);
}

/*
 * Shards that run nothing any more and are to be given up: the row first, then, after its commit, the lock. One with
 * runs that were waiting when it was taken over is let go of as a node that dies does it: the next owner too is to note
 * them before it dispatches them.
 */
static void
release_idle(struct master *m)
{
	struct floors f;
	struct params ids;
	struct shard *s;
	int shards, n = 0;

	if (!node_may_write(m))
		return;
	/* One release at a time: its answer frees all that are being released. */
	TAILQ_FOREACH(s, &m->shards, link)
		if (s->state == SHARD_RELEASING)
			return;
	floors_begin(m, &f);
	params_init(&ids);
	shards = param_array(&ids, PARAM_INT4);
	TAILQ_FOREACH(s, &m->shards, link) {
		if (s->state != SHARD_GIVING || s->active != 0)
			continue;
		set_state(s, SHARD_RELEASING);
		/* What has keys is not read in the order of these numbers: how much of it is older is not known. */
		if (s->note_below == 0 || ((s->gate == NULL || !s->gate->task->keyed) && due_none_left(s) &&
		    shard_floor(m, s) >= s->note_below))
			floors_add(m, &f, s);
		param_array_int4(&ids, shards, s->id);
		n++;
	}
	if (f.n != 0)
		db_call(m->writer, &stmt_release, &f.p, NULL, NULL);
	if (n != 0)
		db_call(m->writer, &stmt_unlock, &ids, unlocked, m);
	params_free(&f.p);
	params_free(&ids);
}

static int64_t
give_grace(const struct master *m)
{
	return m->conf->shutdown_timeout < GIVE_GRACE_MS ? m->conf->shutdown_timeout : GIVE_GRACE_MS;
}

static void
shard_give(struct master *m, struct shard *s)
{
	if (s->state == SHARD_WANTED && s->epoch == 0) {
		shard_free(m, s);
		return;
	}
	if (s->state != SHARD_OWNED || (clock_ms() < s->keep_until_ms && !m->stopping && !s->queue->retiring))
		return;
	set_state(s, SHARD_GIVING);
	s->deadline_ms = clock_ms() + give_grace(m);
	s->moved = false;
	shard_forget_buffered(m, s);
}

/* Something of it can be neither waited for nor moved; what is ready in it must not wait for that. */
static void
shard_keep(struct master *m, struct shard *s)
{
	log_debug("shard %d of %s is kept for now", s->id, s->queue->name);
	set_state(s, SHARD_OWNED);
	s->keep_until_ms = clock_ms() + KEEP_MS;
	wake_up(m);
}

void
shard_give_all(struct master *m)
{
	struct shard *s, *next;

	for (s = TAILQ_FIRST(&m->shards); s != NULL; s = next) {
		next = TAILQ_NEXT(s, link);
		shard_give(m, s);
	}
	release_idle(m);
}

void
shard_run_gone(struct master *m, struct shard *s)
{
	(void)m;
	s->active--;
}

/* ---- taking what still runs along to a shard that is kept ---- */

struct move {
	struct master	*master;
	struct params	 p;
	int		 ids, xids;
	int32_t		 from, to;
	int		 n;
};

static void
move_run(struct master *m, struct run *r, void *arg)
{
	struct move *mv = arg;

	(void)m;
	/* What it may have saved as it is now could not be told from what somebody else saved. */
	if (r->shard == NULL || r->shard->id != mv->from || r->state != RUN_SENT || r->unsure)
		return;
	param_array_int8(&mv->p, mv->ids, (int64_t)r->id);
	param_array_xid8(&mv->p, mv->xids, r->xid);
	mv->n++;
}

static void
moved(const struct db_answer *a, void *arg)
{
	struct move *mv = arg;
	struct master *m = mv->master;
	struct shard *to = shard_find(m, mv->to);

	m->moving--;
	/* Not found: that shard went too, and its runs with it. */
	for (int i = 0; a->outcome == DB_OK && to != NULL && i < a->rows; i++) {
		struct run *r = run_find(m, (uint64_t)db_int8(a, i, 0), db_xid8(a, i, 1));

		if (r == NULL || r->shard == NULL || r->shard->id != mv->from || db_null(a, i, 2))
			continue;
		run_rekey(m, r, db_xid8(a, i, 2));
		r->shard->active--;
		r->shard = to;
		r->lane = shard_lane(m, to, r->lane->number);
		to->active++;
	}
	params_free(&mv->p);
	free(mv);
	steps_flush(m);
	calls_flush(m);
	settle_flush(m);
	reader_poll(m);
	release_idle(m);
}

/* Returns false when there is nothing that could be moved, or nowhere to move it. */
static bool
rehome_running(struct master *m, struct shard *s)
{
	struct shard *keep;
	struct move *mv;

	TAILQ_FOREACH(keep, &m->shards, link)
		if (keep->queue == s->queue && keep->state == SHARD_OWNED && keep->gate == NULL)
			break;
	if (keep == NULL || !node_may_write(m))
		return false;
	mv = xcalloc(1, sizeof(*mv));
	mv->master = m;
	mv->from = s->id;
	mv->to = keep->id;
	mv->ids = param_array(&mv->p, PARAM_INT8);
	mv->xids = param_array(&mv->p, PARAM_XID8);
	run_each(m, move_run, mv);
	param_int4(&mv->p, keep->id);
	if (mv->n != 0) {
		/* What ends meanwhile is settled under its new ready_xid. */
		m->moving++;
		db_call(m->writer, &stmt_rehome_to, &mv->p, moved, mv);
		return true;
	}
	params_free(&mv->p);
	free(mv);
	return false;
}

/* ---- the shares of the nodes ---- */

static void
balanced(const struct db_answer *a, void *arg)
{
	struct master *m = arg;
	bool opened = false;

	if (a->outcome == DB_ERROR)
		log_warnx("sharing of shards: %s", a->message);
	for (int i = 0; a->outcome == DB_OK && i < a->rows && !m->stopping; i++) {
		int32_t id = db_int4(a, i, 0);
		struct queue *q = queue_find(m, db_text(a, i, 1, NULL));
		const char *action = db_text(a, i, 2, NULL);
		struct shard *s = shard_find(m, id);

		if (strcmp(action, "give") == 0 && s != NULL)
			shard_give(m, s);
		else if (strcmp(action, "take") == 0 && s == NULL && q != NULL && q->served && !q->retiring)
			shard_want(m, q, id);
		else if (strcmp(action, "open") == 0 && s != NULL && s->gate != NULL && !s->open) {
			s->open = true;
			opened = true;
		}
	}
	if (opened)
		queue_dispatch_all(m);
	if (a->outcome == DB_OK)
		m->balanced = true;
	shard_lock_wanted(m);
	release_idle(m);
}

void
shard_balance(struct master *m)
{
	struct params p;

	if (!node_may_write(m) || !db_ready(m->control))
		return;
	params_init(&p);
	param_int4(&p, m->node);
	param_int4(&p, m->takeover_ms);
	param_bool(&p, node_settled(m));
	db_call(m->control, &stmt_balance, &p, balanced, m);
	params_free(&p);
}

static void
unparked(const struct db_answer *a, void *arg)
{
	if (a->outcome == DB_ERROR)
		log_warnx("making parked executions ready: %s", a->message);
	if (a->outcome == DB_OK && a->rows == 1 && db_int4(a, 0, 0) >= UNPARK_MAX)
		shard_unpark(arg);
}

/* Somebody serves more than before, or owns a shard: rows parked for want of that are looked at again. */
void
shard_unpark(struct master *m)
{
	struct params p;
	struct shard *s;
	int shards, n = 0;

	if (!node_may_write(m))
		return;
	params_init(&p);
	shards = param_array(&p, PARAM_INT4);
	TAILQ_FOREACH(s, &m->shards, link) {
		if (s->state != SHARD_OWNED)
			continue;
		param_array_int4(&p, shards, s->id);
		n++;
	}
	if (n != 0)
		db_call(m->writer, &stmt_unpark, &p, unparked, m);
	params_free(&p);
	wake_up(m);
}

/* Every now and then: what waits for time to pass. */
void
shard_tick(struct master *m)
{
	struct shard *s, *next;
	int64_t now = clock_ms();

	for (s = TAILQ_FIRST(&m->shards); s != NULL; s = next) {
		next = TAILQ_NEXT(s, link);
		if (s->state == SHARD_WANTED && s->epoch != 0 && node_may_write(m) && now > s->deadline_ms) {
			shard_lose(m, s);
		} else if (s->state == SHARD_GIVING && s->active != 0 && now > s->deadline_ms && !m->stopping) {
			s->deadline_ms = now + give_grace(m);
			/* What is limited is counted where it is. */
			if (s->gate == NULL && !s->moved && rehome_running(m, s))
				s->moved = true;
			else if (!s->queue->retiring)
				shard_keep(m, s);
		}
	}
	shard_lock_wanted(m);
	release_idle(m);
}
