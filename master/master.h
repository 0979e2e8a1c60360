/*
 * The master: the one process that talks to PostgreSQL. Private to master/.
 *
 *	server.c	start, signals, reload, shutdown
 *	node.c		the connections, this node's place among the nodes, the watchdog
 *	shard.c		ownership: locking, taking, giving up
 *	lane.c		the ordered parts of a shard: cursor, late list
 *	reader.c	reading ready runs: cursors, late lists
 *	snapshot.c	what a poll saw
 *	run.c		the runs in memory, found by exec and by (id, ready_xid)
 *	queue.c		buffers and dispatch
 *	limit.c		what may be handed out of a limited task;  keyed.c, keylook.c  of each of its keys
 *	batch.c		handing out several of a task at once
 *	fetch.c		what a run needs before it is sent: a large payload, saved steps
 *	settle.c	writing outcomes;  note.c  the table `running`;  lines.c  what executions print
 *	suspend.c	what runs wait for;  watch.c  changes of tables
 *	steps.c		saving steps;  calls.c  what handlers ask for on the way
 *	resume.c	wakes: telling executions what they waited for;  dispatch.c  events
 *	change.c	wakes that change executions
 *	wake.c		when to poll, and going to sleep
 *	task.c		what the tasks table says; serving;  register.c  what is declared here
 *	event_types.c	which schemas events have, for the workers
 *	clock.c		limits of time, and a clock that was moved;  cron.c  schedules
 *	worker.c	worker processes;  link.c  their messages
 *	upkeep.c	partitions, retention
 *	report.c	lines for a person at a terminal;  health.c  for the service manager
 *	db.c param.c resolve.c		PostgreSQL underneath
 */
#ifndef MASTER_MASTER_H
#define MASTER_MASTER_H

#include <sys/queue.h>
#include <sys/types.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/conf.h"
#include "master/bucket.h"
#include "master/clock.h"
#include "master/db.h"
#include "master/server.h"

struct event;
struct event_base;
struct evdns_base;
struct peer;
struct master;
struct queue;
struct shard;
struct lane;
struct key;
struct keys;

/* ---- runs ---- */

enum run_state {
	RUN_BUFFERED,	/* in its lane's buffer */
	RUN_PARKING,	/* nobody here serves its task, or it belongs to another shard; being moved or parked */
	RUN_FETCHING,	/* dispatched, its payload is on the way */
	RUN_NOTING,	/* dispatched, being written to `running` first */
	RUN_GATHERED,	/* dispatched, waits for the others of its batch */
	RUN_SENT,	/* with the worker */
	RUN_SETTLING,	/* its outcome is here, not yet acknowledged by the database */
	RUN_LINGERING	/* settled; a poll under way may still show it */
};

/* The text is a result; an error; nothing; the body of SUSPEND, or nothing if it is just to be run again. */
enum outcome_kind { OUTCOME_COMPLETED, OUTCOME_FAILED, OUTCOME_DEFERRED, OUTCOME_SUSPENDED };

struct task;

struct run {
	uint64_t	 id, xid;
	int64_t		 due;		/* read as one that was delayed until then, as PostgreSQL counts; NOT_DUE: from the log */
	uint64_t	 age;		/* its place among the others: its xid, or what was the next one when it was found due */
	uint64_t	 exec;		/* its handle on the worker's link */
	enum run_state	 state;
	bool		 started;	/* the worker wrote it to a handler */
	bool		 noted;		/* stands in `running` */
	bool		 dropped;	/* its row is not ours any more: the outcome is ignored */
	bool		 large;		/* its payload is fetched when it is dispatched */
	bool		 gap;		/* the last line it gave was dropped */
	bool		 child;		/* another execution may wait for it */
	bool		 journal;	/* may have saved steps, which are read before it is sent */
	bool		 complete;	/* that was done for this dispatch */
	bool		 wrote;		/* has saved steps, or made calls, in this run */
	bool		 unsure;	/* whether one of them was committed is not known: the connection went */
	bool		 asking;	/* more of its steps are being read */
	bool		 halted;	/* it was stopped behind a step: it goes on when its task's window opens */
	bool		 holds;		/* its key counts it */
	bool		 begun;		/* of those with a key in their order: it has begun before */
	uint32_t	 attempt;	/* of this run: 1 for the first */
	uint32_t	 lines;		/* taken of it */
	uint64_t	 lot;		/* of lines, that the last one is in */
	int		 pool;
	int		 list;		/* of its lane, that it is buffered in */
	int64_t		 read_ms;	/* of one that goes with others: when it was read */
	int64_t		 sent_ms;
	pid_t		 pid;		/* of its handler, once started */
	struct task	*task;
	struct queue	*queue;
	struct shard	*shard;		/* NULL once it was lost */
	struct gate	*gate;		/* where it is counted, while it is out; NULL: nowhere */
	uint64_t	 gate_xid;	/* since when its task was limited when it went out */
	struct key	*key;		/* NULL: none, or it does not matter any more */
	struct pack	*pack;		/* that it is out with; NULL: alone */
	struct lane	*lane;		/* of that shard */
	size_t		 payload_len;	/* of a large one */
	int64_t		 expires_ms;	/* when it must have ended; 0: no limit */
	int64_t		 shift_ms;	/* by how much the database's clock was moved when that was known, and it was sent */
	int64_t		 journal_pos;	/* up to which steps were sent */
	uint32_t	 writing;	/* steps and calls on their way to the database: its outcome waits for them */
	uint32_t	 steps_sent;	/* steps that the database has not answered yet: later ones wait */
	uint64_t	 steps_held;	/* the last look at what may be sent in which one of its steps could not be */
	uint32_t	 progress;	/* its place, from 1, among what is to be noted; 0: none */
	struct held	*held;		/* that outcome */
	char		*doom;		/* an error, as JSON: whatever comes of it, it has failed with this for good */
	uint8_t		*frame;		/* RUN, length prefix and all */
	size_t		 frame_len;
	char		*event, *event_at, *metadata;	/* of a large one, until its frame is made */
	char		 event_kind;	/* likewise */
	TAILQ_ENTRY(run) link;		/* in the list that its state names */
	struct run	*hash_next;
};

TAILQ_HEAD(runlist, run);

/* run.c */
struct run *run_new(struct master *, uint64_t id, uint64_t xid);
void	run_free(struct master *, struct run *);
struct run *run_find(struct master *, uint64_t id, uint64_t xid);
/* The former owner of its shard may have handed it out. */
bool	run_doubtful(const struct run *);
struct run *run_by_exec(struct master *, uint64_t exec);
/* The runs of one id, whatever their xid: pass NULL first. */
struct run *run_next_of(struct master *, uint64_t id, struct run *);
/* A re-homed run goes on under another ready_xid. */
void	run_rekey(struct master *, struct run *, uint64_t xid);
void	run_set_state(struct run *, enum run_state);
void	run_free_all(struct master *);
typedef void (*run_each_cb)(struct master *, struct run *, void *);
/* The callback may free the run it is given, no other. */
void	run_each(struct master *, run_each_cb, void *);
/* Its row is gone; reason: what whoever cancelled it said, NULL if that is not known. */
void	run_cancelled(struct master *, struct run *, const char *reason);
/* It did not run and costs nothing: back into its lane's buffer, or gone if its shard is. */
void	run_put_back(struct master *, struct run *);
/* What a run was started by. */
struct cause {
	const char	*name, *at;	/* NULL: it was invoked */
	char		 kind;		/* event_kind of the table executions; 0: none */
};

void	run_frame(struct master *, struct run *, const char *payload, size_t payload_len, const struct cause *,
	    const char *metadata, size_t metadata_len);
struct msg;
struct msg_run;
struct msg_saved;
/* What its frame says, with the time that is left now; borrowed from the frame. */
void	run_open(struct master *, const struct run *, struct msg *, struct msg_run *);
/* What was fetched to be sent is fetched again should it be sent again. */
void	run_forget_payload(struct run *);
/* The frame anew, with these steps, and the time that is left now. */
void	run_refit(struct master *, struct run *, struct msg_saved *steps, size_t n, bool more);
/*
 * Something that it asked for is being written: its outcome waits until run_written() was called as often. Until then
 * nothing but its exec is to be remembered: it may be gone.
 */
void	run_writing(struct run *);
void	run_written(struct master *, struct run *);
/* For settle.c: what comes of it, once all is written. */
void	run_hold(struct run *, enum outcome_kind, const char *text, size_t len, bool retry, int64_t after_ms);
/* It is to stop, and has failed with this code for good. */
void	run_doom(struct master *, struct run *, const char *code, const char *message);

struct run_table {
	struct run	**slots;	/* by exec & RUN_SLOT_MASK */
	uint32_t	*free_slots;
	uint32_t	 slots_n, free_n;
	uint64_t	 generation;
	struct run	**buckets;
	size_t		 buckets_n;	/* a power of two */
	size_t		 n;
	struct run	*spare;
};

/* ---- shards and lanes ---- */

struct late {
	uint64_t	 xid;
	uint64_t	 last_id;
	bool		 probed;	/* looked at once since it was listed */
};

TAILQ_HEAD(keyring, key);

struct lane {
	TAILQ_ENTRY(lane) link;		/* in its queue, lowest number (highest priority) first */
	struct shard	*shard;
	int32_t		 number;
	uint64_t	 xid, id;	/* the cursor */
	struct late	*late;		/* ascending */
	size_t		 late_n, late_cap;
	bool		 more;		/* the last read was cut off by its limit */
	int64_t		 due_at;	/* the cursor among what is delayed: a time, as PostgreSQL counts, and an id */
	uint64_t	 due_id;
	bool		 due_more;	/* some of it is due, as far as is known */
	bool		 due_look;	/* whether it is, is to be asked */
	int64_t		 due_ms;	/* when the next one will be, of what is known; INT64_MAX: none */
	size_t		 row_bytes;	/* what a row took, lately */
	struct runlist	*buf;		/* a list for each pool of the queue, then for each group, the oldest first */
	int		 buf_n;
	struct keyring	 ring;		/* keys whose next run is of this lane, and may begin; in turn */
	size_t		 count, bytes;	/* buffered */
};

TAILQ_HEAD(lanelist, lane);

enum shard_state { SHARD_WANTED, SHARD_LOCKING, SHARD_TAKING, SHARD_OWNED, SHARD_GIVING, SHARD_RELEASING };

struct shard {
	TAILQ_ENTRY(shard) link;
	int32_t		 id;
	struct queue	*queue;
	enum shard_state state;
	uint64_t	 epoch;		/* 0: never owned */
	uint32_t	 generation;	/* answers to questions of an older one are void */
	uint64_t	 floor;		/* where the last taking began */
	uint64_t	 note_below;	/* runs made ready before it may have been cut off: they are noted before they are
					 * dispatched, as repetitions are, and may have saved steps */
	int64_t		 note_until;	/* but not what was delayed until after that, as PostgreSQL counts */
	size_t		 active;	/* runs in memory but for lingering ones */
	int64_t		 deadline_ms;	/* of giving up, or of trying to lock again what was ours */
	int64_t		 keep_until_ms;	/* it is not given up before */
	bool		 moved;		/* what runs of it was taken along, as far as that was possible */
	struct gate	*gate;		/* of the limited task whose shard it is; NULL: a common one */
	bool		 open;		/* nobody runs that task from another shard */
	struct lane	 wakes;		/* read as a lane is; in no list */
	bool		 looked;	/* they were, since it was taken: what is to be changed before it is read, is known */
};

TAILQ_HEAD(shardlist, shard);

/* shard.c */
struct shard *shard_find(struct master *, int32_t id);
void	shard_balance(struct master *);
/* down_ms: since when the one before was gone. */
void	shard_writer_up(struct master *, int64_t down_ms);
void	shard_writer_down(struct master *);
void	shard_run_gone(struct master *, struct shard *);
void	shard_give_all(struct master *);
void	shard_tick(struct master *);
void	shard_unpark(struct master *);
/* Locks what is wanted. */
void	shard_lock_wanted(struct master *);
void	shard_store_floors(struct master *);
/* Every shard this node is to have is owned; none is being taken or given. */
bool	shard_settled(const struct master *);
bool	shard_queue_empty(const struct master *, const struct queue *);
void	shard_free_all(struct master *);
/* There has been no word from the database for so long that another node may be about to take what is limited. */
void	shard_cut_off(struct master *);
bool	shard_readable(const struct master *, const struct shard *);
/* Also its lanes, and not just its wakes. */
bool	shard_open(const struct master *, const struct shard *);

/* lane.c */
/* Made if there is none. */
struct lane *shard_lane(struct master *, struct shard *, int32_t number);
void	lane_free(struct master *, struct lane *);
/* Nothing of it is buffered any more; what was will be read again. */
void	lane_empty(struct master *, struct lane *);
/* What stands there, and all behind it, will be read again. */
void	lane_rewind(struct lane *, uint64_t xid, uint64_t id);
/* Likewise this run, unless its lane is gone. */
void	lane_unread(const struct run *);
/* There is more to be read of it, as far as is known. */
bool	lane_more(const struct lane *);
struct snapshot;
struct late *late_find(struct lane *, uint64_t xid);
void	late_remove(struct lane *, struct late *);
/* Lists the transactions below the cursor that the snapshot shows in progress. */
void	late_add(struct lane *, const struct snapshot *);

/* ---- queues and workers ---- */

/* A task as its program announced it. */
struct pool_task {
	char		*name, *queue, *options, *triggers;	/* all but the first may be NULL */
	bool		 batch;		/* it takes several executions at once */
};

/* A program of a queue: a handler's processes, or one task's one-shot command. */
struct pool {
	char		*name;
	int64_t		 slots;
	bool		 command;
	bool		 announced, broken;
	struct pool_task *tasks;
	int		 tasks_n;
	char		*events;	/* a JSON list; NULL: not announced */
};

/*
 * none -> up -> draining -> none, or up -> lost -> none, or up -> none. It has ended when its socket is closed and it
 * was reaped, in either order; lost: closed, and not yet reaped.
 */
enum worker_state { WORKER_NONE, WORKER_UP, WORKER_DRAINING, WORKER_LOST };

struct worker {
	enum worker_state state;
	pid_t		 pid;		/* 0 once it was reaped */
	struct peer	*peer;		/* NULL once it was closed */
	int		 status;
	int		 backoff_ms;
	int64_t		 started_ms;
	struct event	*restart;
};

struct queue {
	TAILQ_ENTRY(queue) link;
	struct master	*master;
	char		*name;
	int		 index;		/* stable; into task.pool */
	bool		 discovery;	/* only asks a program what it serves */
	bool		 command;	/* the program of -- CMD serves it too */
	bool		 retiring;	/* gone from the configuration */
	struct conf_queue *conf;	/* borrowed from the configuration */
	struct conf_handler *asked;	/* the program a discovery asks; borrowed likewise */
	int		 concurrency, fetch_batch, kill_grace_ms;
	int		 poll_interval_ms;	/* 0: the server's */
	struct worker	 worker;
	struct pool	*pools;
	int		 pools_n;
	struct lanelist	 lanes;
	size_t		 count, bytes;	/* buffered, of common shards */
	size_t		 limited;	/* of the others */
	struct gate	*gates;
	struct group	**groups;	/* of tasks that take several at once, or did */
	int		 groups_n;
	size_t		 grouped;	/* buffered of these */
	struct runlist	 sent;		/* with the worker, oldest first */
	int		 outstanding;	/* dispatched and not ended */
	size_t		 fetching;	/* bytes of payloads on the way from the database */
	bool		 ready;		/* every pool has said what it serves: rows may be read */
	bool		 served;	/* that was so once: shards may be taken */
	bool		 paused;	/* nothing is read, or handed out */
};

TAILQ_HEAD(queuelist, queue);

/* queue.c */
struct queue *queue_find(struct master *, const char *name);
struct queue *queue_new(struct master *, const char *name);
void	queue_free(struct master *, struct queue *);
void	queue_set_pools(struct master *, struct queue *, int n, const char *const *names, const bool *commands);
void	queue_set_paused(struct master *, struct queue *, bool paused);
void	queue_insert(struct master *, struct run *);
void	queue_unbuffer(struct master *, struct run *);
/* Of two of the same priority: that comes first. */
bool	queue_older(const struct run *, const struct run *);
/* It may have ended a process before: it is written down first, to be counted should it end this one. */
bool	queue_notes(const struct run *);
/* It may not be started any more, and is being settled; after the last of several, settle_flush. */
bool	queue_expired(struct master *, struct run *);
void	queue_dispatch(struct master *, struct queue *);
void	queue_dispatch_all(struct master *);
/* Ends what may not be started any more. */
void	queue_expire_all(struct master *);
/* What is buffered, or asked for, of lanes that matter as much or more. */
struct room {
	size_t	count, bytes;
};
/* How many more rows a lane may read now; to be asked of the queue's lanes in turn, beginning with nothing ahead. */
int	queue_lane_room(const struct queue *, const struct lane *, struct room *ahead);
/* Its lanes have room, and rows are known to wait. */
bool	queue_hungry(const struct queue *);
/* It is no longer with the worker: its place is free. */
void	queue_ended(struct master *, struct run *);
/* A dispatched run whose payload or note has arrived goes to the worker. */
void	queue_send_later(struct master *, struct run *);

/* worker.c */
void	worker_start(struct master *, struct queue *);
/* Tells it what its queue's configuration says. */
void	worker_setup(struct master *, struct queue *);
void	worker_drain(struct master *, struct queue *, int64_t deadline_ms);
void	worker_kill(struct queue *);
/* Ends what a worker left behind; to be called again for a while, as processes end. */
void	worker_sweep(struct master *);
void	worker_sweep_init(struct master *);
void	worker_reaped(struct master *, pid_t, int status);
void	worker_closed(struct master *, struct queue *, const char *why);
void	worker_cancel(struct master *, struct run *, const char *reason);
/* It is to stop at its next checkpoint. */
void	worker_leave(struct run *);

/* link.c */
extern const struct peer_ops link_ops;

/* ---- tasks ---- */

struct task {
	char		*name;
	uint64_t	 timeout_ms;	/* 0: none */
	bool		 keep;		/* history of its completed runs */
	bool		 keep_fail;	/* and of others */
	bool		 paused;	/* its runs are put aside */
	uint32_t	 max_attempts;	/* 0: not known yet */
	char		*waits;		/* between them; known only where there is a terminal */
	uint64_t	 limited_xid;	/* since when it is limited; 0: it is not */
	int		 concurrency;	/* 0: any number */
	struct rate	 rate;
	bool		 closed;	/* its window is */
	bool		 keyed;		/* its executions have keys */
	char		*key_path;	/* where, with dots between */
	bool		 key_fifo;	/* those of one begin in their order, one when the other has ended */
	int		 key_limit;	/* 0: any number */
	struct rate	 key_rate;
	int		 batch_size;	/* of one that takes several at once; 0: not known yet */
	int64_t		 batch_ms;	/* so long the first waits for others */
	int16_t		*pool;		/* by queue index; -1: not served there */
	int		 pool_n;
	struct task	*next;
};

#define TASK_BUCKETS	256

/* task.c */
struct task *task_get(struct master *, const char *name, size_t len);
int	task_pool(const struct task *, const struct queue *);
void	task_set_pool(struct task *, const struct queue *, int pool);
void	task_load(struct master *);
struct msg_announce;
void	task_announced(struct master *, struct queue *, const struct msg_announce *);
/* A pool announced, or turned out not to start. */
void	task_pools_changed(struct master *, struct queue *);
bool	task_pools_known(const struct queue *);
void	task_serve(struct master *);
void	task_forget_pool(struct pool *);
void	task_free_all(struct master *);

/* register.c */
/* Tells all that is declared here, as soon as that is possible; every now and then; at the end. */
void	register_all(struct master *);
void	register_tick(struct master *);
void	register_leave(struct master *);

/* ---- limits ---- */

/* What is counted of a limited task in a queue, for as long as there is that queue. */
struct gate {
	struct gate	*next;
	struct task	*task;
	int		 running;	/* with the worker, or on the way there */
	struct bucket	 bucket;
	struct shard	*shard;		/* that this node has of it; NULL: none */
	struct keys	*keys;		/* NULL: it never had one */
};

/* limit.c */
void	limit_init(struct master *);
void	limit_free(struct master *);
/* Made if there is none. */
struct gate *limit_gate(struct queue *, struct task *);
void	limit_free_gates(struct queue *);
/* Another node had its shard before. */
void	limit_taken(struct master *, struct gate *);
/* One more of this shard may be handed out; it will be asked again when time alone allows it. */
bool	limit_allows(struct master *, const struct shard *);
void	limit_begin(struct master *, struct run *);
/* It goes with one that has begun. */
void	limit_join(struct run *, const struct run *first);
void	limit_end(struct master *, struct run *);
/* How many are to be buffered of a limited task's lane, most at most. */
size_t	limit_ahead(const struct shard *, size_t most);
/* Something that is limited runs here. */
bool	limit_running(const struct master *);
/* Executions of this task, with keys or without, belong to another shard, or should be the other way. */
bool	limit_strays(const struct task *, const struct shard *, bool keyed);
/* Time alone will allow more: it will be asked again then. */
void	limit_ask_at(struct master *, int64_t at_ms);
/* It is known which tasks are limited. */
bool	limit_loaded(const struct master *);
/* Since when a task is limited, 0: it is not. True if that is new. */
bool	limit_set(struct master *, struct task *, uint64_t limited_xid);
/* It is to stop behind a step, as its task's window has closed. */
bool	limit_halts(const struct run *);
/* Its window is open or closed, for so long. */
void	limit_window(struct master *, struct task *, bool closed, int64_t turns_ms);
/* All of them have been set, by what this snapshot shows. */
void	limit_known(struct master *, bool changed, const char *seen);
void	limit_attached(struct master *);
void	limit_tick(struct master *);

/* ---- keys of tasks ---- */

/* keyed.c, keylook.c */
/* Its shard is here, new. */
void	keyed_taken(struct master *, struct gate *);
void	keyed_free(struct keys *);
/* The next one that may begin of this lane; NULL: none. */
struct run *keyed_first(const struct lane *);
/* Of a run with a key: it is buffered; it is not any more. */
void	keyed_insert(struct master *, struct run *);
void	keyed_remove(struct master *, struct run *);
/* It is handed out; is out no more; its outcome is committed (over: that was its end); has not run after all. */
void	keyed_begin(struct master *, struct run *);
void	keyed_end(struct master *, struct run *);
void	keyed_settled(struct master *, struct run *, bool over);
void	keyed_put_back(struct master *, struct run *);
/* It leaves memory. */
void	keyed_gone(struct master *, struct run *);
/* It is being changed, and may come again. */
void	keyed_hold(struct master *, struct run *);
/* Another one waits for its outcome. */
bool	keyed_followed(const struct run *);
/* Nothing is buffered any more; what was will be read again. */
void	keyed_empty(struct master *, struct gate *);
/* Other numbers count for the task. */
void	keyed_changed(struct master *, const struct task *);
/* Ends what may not be started any more; true: there was some. */
bool	keyed_expire(struct master *, struct queue *);
/* Something may begin by now. */
void	keyed_due(struct master *, struct queue *);
/* Asks what comes next; returns the number of questions, two at most. */
int	keyed_ask(struct master *, struct shard *);
/* There may be something new; thorough: all must be seen before this node may sleep. */
void	keyed_look(struct master *, bool thorough);
/* There is room, and something is known to wait. */
bool	keyed_hungry(const struct master *, const struct queue *);
/* More is there than can be handed out. */
bool	keyed_backlog(const struct queue *);
/* ---- batches ---- */

/* batch.c */
void	batches_init(struct master *);
void	batches_free(struct master *);
void	batch_free_groups(struct queue *);
/* Its program takes several of this task at once, or not. */
void	batch_announced(struct master *, struct queue *, struct task *, bool takes);
/* Where runs of that task are buffered in this queue's lanes; -1: as others. */
int	batch_list(const struct queue *, const struct task *);
/* How many are handed out at once. */
int	batch_size(const struct queue *, const struct task *);
/* One is buffered, or not any more. */
void	batch_insert(struct queue *, struct run *);
void	batch_remove(struct queue *, const struct run *);
/* A batch of those may be handed out now; it will be asked again when time alone allows it. */
bool	batch_ripe(struct master *, struct queue *, int list);
/* Hands out a batch that begins with this one; after the last of several, settle_flush, reader_park_flush, note_flush, fetch_flush. */
void	batch_dispatch(struct master *, struct queue *, struct run *first);
/* What one of a batch needed first has come. */
void	batch_ready(struct master *, struct run *);
/* One of a batch is out no more. True: none is. */
bool	batch_ended(struct master *, struct run *);

/* ---- reading ---- */

struct snapshot {
	uint64_t	 xmin, xmax;
	uint64_t	*xip;
	size_t		 xip_n, xip_cap;
};

/* snapshot.c */
bool	snapshot_parse(struct snapshot *, const char *text);
/* It shows this transaction in progress, or to come. */
bool	snapshot_shows(const struct snapshot *, uint64_t xid);

struct poll_entry {
	int32_t		 shard;
	uint32_t	 generation;
	int32_t		 lane;
	bool		 late;
	uint64_t	 xid, id;	/* read after these */
	int		 limit, rows;
	uint64_t	 last_xid, last_id;
};

/* Runs that one question is about. */
struct run_list {
	struct master	*master;
	uint64_t	*execs;
	size_t		 n;
};

/* Why runs are put aside. */
enum parking { PARK_UNSERVED, PARK_PAUSED, PARKINGS };

struct reader {
	bool		 busy, again;
	uint64_t	 look;		/* the number of the last one */
	int		 unanswered;	/* questions of it */
	bool		 failed;	/* one of these has */
	bool		 checked;	/* this connection and the writer's are of one server life */
	struct poll_entry *entries;
	size_t		 n, cap;
	struct params	 params;
	struct {
		struct params	 params;
		struct run_list	*list;
	} parking[PARKINGS];
	struct params	 strays;
	struct run_list	*straying;	/* they belong to other shards */
	struct snapshot	 snapshot;
	struct runlist	 lingering;
	size_t		 found;		/* new rows of the poll being read */
	struct buf	 scratch;
};

/* reader.c */
void	reader_init(struct master *);
void	reader_free(struct master *);
/* Polls now, or as soon as the poll under way is answered. */
void	reader_poll(struct master *);
void	reader_linger(struct master *, struct run *);
void	reader_cancelled(struct master *, uint64_t id, uint64_t xid);
/* Puts a run aside that is in no list; after the last of several, reader_park_flush. */
void	reader_park(struct master *, struct run *, enum parking);
void	reader_park_flush(struct master *);
/* One question of a look was answered, or not. */
void	reader_answered(struct master *, bool well);
/* A lane of that number, made if there is none. */
struct lane *reader_lane(struct master *, struct shard *, int32_t number);
/* The run of a row that was read, to be buffered; NULL: it does not belong there. */
struct run *reader_row(struct master *, const struct db_answer *, int row, struct lane *, int64_t due, bool keyed, bool astray);
/* That a question was about; NULL: it was taken anew, or given up, since then, and the answer is void. */
struct lane *reader_entry_lane(struct master *, int32_t shard, uint32_t generation, int32_t lane);
/* What the rows of a lane take. */
void	reader_note_bytes(struct lane *, const struct db_answer *, int row);
/* The reader, and the writer it belongs to, are as they should be. */
bool	reader_may_poll(const struct master *);
/* A question about runs: the list is made with its first two parameters. */
void	run_list_add(struct master *, struct run_list **, struct params *, const struct run *);
void	run_list_free(struct run_list *);

/* How often all that waits for a time is looked at, also what is before the last that was due: rows may commit late. */
#define FULL_LOOK_MS	10000

/* due.c */
#define DUE_BEGINNING	INT64_MIN	/* PostgreSQL's -infinity */
#define NOT_DUE		INT64_MAX
void	due_init(struct master *);
void	due_free(struct master *);
/* Something may be due that is not known; all: also before the cursors. */
void	due_look(struct master *, bool all);
/* The time of some may have come. */
void	due_tick(struct master *);
/* When it will next; INT64_MAX: nothing is known of. */
int64_t	due_next_ms(const struct master *);
/* What is delayed until that time, with that id, and all behind it, will be read again. */
void	due_rewind(struct lane *, int64_t at, uint64_t id);
void	due_rewind_all(struct lane *);
/* All that was due in the shard has been read. */
bool	due_none_left(const struct shard *);
/* The question of a look: begun, then lanes added, then asked. Returns how many questions that is, one or none. */
void	due_begin(struct master *);
/* How many of a lane to ask for, that has such room. */
int	due_rows(const struct master *, const struct lane *, int room);
void	due_add(struct master *, const struct lane *, int limit);
int	due_ask(struct master *);

/* fetch.c */
void	fetch_init(struct master *);
void	fetch_free(struct master *);
/* A dispatched run cannot be sent as it is. */
bool	fetch_needed(const struct run *);
/* It is sent when what it needs has come; after the last of several, fetch_flush. */
void	fetch_run(struct master *, struct run *);
void	fetch_flush(struct master *);
/* Its handler asks for more of its steps. */
void	fetch_more(struct master *, struct run *);

/* ---- settling ---- */

struct outcome {
	struct run	*run;
	enum outcome_kind kind;
	bool		 retry;
	bool		 careful;	/* through settle_full */
	bool		 replaced;	/* the database could not take what was here first */
	int64_t		 after_ms;	/* -1: the task's backoff */
	int32_t		 took_ms;
	size_t		 text, text_len;	/* in the batch's arena: the result, or the error; len 0: null */
};

/* settle.c */
void	settle_init(struct master *);
void	settle_free(struct master *);
void	settle_add(struct master *, struct run *, enum outcome_kind, const char *text, size_t len, bool retry,
	    int64_t after_ms);
/* One that was held. */
void	settle_release(struct master *, struct run *, enum outcome_kind, const char *text, size_t len, bool retry,
	    int64_t after_ms);
void	settle_flush(struct master *);
bool	settle_idle(const struct master *);
/* Too much waits to be written: no more may be started. */
bool	settle_full(const struct master *);

/* suspend.c */
extern const struct db_stmt suspend_stmt;
void	suspend_begin(struct params *);
/* body: of the frame SUSPEND; len 0: it waits for nothing. */
void	suspend_add(struct params *, const struct run *, const char *body, size_t len);

/* ---- what runs write on their way ---- */

/* steps.c */
void	steps_init(struct master *);
void	steps_free(struct master *);
struct msg_step;
void	steps_add(struct master *, struct run *, const struct msg_step *);
void	steps_flush(struct master *);
bool	steps_idle(const struct master *);

/* calls.c */
void	calls_init(struct master *);
void	calls_free(struct master *);
struct msg_call;
void	calls_add(struct master *, struct run *, const struct msg_call *);
void	calls_flush(struct master *);
bool	calls_idle(const struct master *);

/* ---- what executions wait for ---- */

/* resume.c */
void	resume_init(struct master *);
void	resume_free(struct master *);
/* Looks for wakes now, or as soon as the look under way is answered. */
void	resume_poll(struct master *);
/* The same, but not every time; told: this node is told of most. */
void	resume_tick(struct master *, bool told);
/* Wakes are likely to come soon. */
void	resume_expect(struct master *);
bool	resume_busy(const struct master *);
/* None is found and not yet taken. */
bool	resume_idle(const struct master *);
/* The lowest transaction of a wake of this shard that was not taken, or may still come. */
uint64_t resume_floor(const struct master *, const struct shard *);
/* What was found and not taken of it is to be read again. */
void	resume_forget(struct master *, struct shard *);

/* change.c: a wake that changes an execution. */
struct found_change {
	int32_t		 shard, lane;
	uint32_t	 generation;	/* found under */
	uint64_t	 xid, id;
	uint64_t	 execution;
	uint64_t	 run;		/* its ready_xid; 0: it is not ready */
};
void	change_init(struct master *);
void	change_free(struct master *);
/* The next ones to take; after the last of several, change_flush. */
void	change_found(struct master *, const struct found_change *);
void	change_flush(struct master *);
bool	change_idle(const struct master *);
/* As with resume_floor and resume_forget, which ask these. */
uint64_t change_floor(const struct master *, const struct shard *);
void	change_forget(struct master *, struct shard *);

/* ---- events ---- */

/* dispatch.c */
void	dispatch_init(struct master *);
void	dispatch_free(struct master *);
/* Tries to get the role of the node that dispatches; the same, but not every time. */
void	dispatch_want(struct master *);
void	dispatch_tick(struct master *);
/* Gives it up, so that another node takes it. */
void	dispatch_leave(struct master *);
void	dispatch_writer_down(struct master *);
/* Looks for events now, or as soon as possible; wake_dispatched() follows. False: it is not this node's to do. */
bool	dispatch_look(struct master *);
/* The same, but not every time; told: this node is told of most. */
void	dispatch_now_and_then(struct master *, bool told);
/* There is nothing to dispatch, or another node does it. */
bool	dispatch_idle(const struct master *);

/* ---- changes of tables ---- */

/* event_types.c */

void	event_types_init(struct master *);
void	event_types_free(struct master *);
/* Asks which schemas there are, and tells the workers if these are others than before. */
void	event_types_load(struct master *);
/* Tells a worker that has been set up. */
void	event_types_send(struct master *, struct queue *);

/* watch.c */
void	watch_init(struct master *);
void	watch_free(struct master *);
struct msg_suspend;
/* What this run waits for is noted from now on: its outcome, which follows, is held until then. */
void	watch_add(struct master *, struct run *, const struct msg_suspend *);
/* Other triggers may be needed than before. */
void	watch_look(struct master *);
bool	watch_idle(const struct master *);

/* ---- the table of what runs ---- */

/* note.c */
void	note_init(struct master *);
void	note_free(struct master *);
/* Gathers a run to be written to `running`; one in RUN_NOTING is sent once that is done. */
void	note_run(struct master *, struct run *);
void	note_flush(struct master *);
/* Notes what was started a while ago. */
void	note_old(struct master *);
void	note_forget(struct master *, struct run *);
/* Stops what was cancelled without this node having heard of it. */
void	note_check(struct master *);
struct msg_progress;
/* How far a run is; written now and then. */
void	note_progress(struct master *, struct run *, const struct msg_progress *);
void	note_progress_flush(struct master *);

/* ---- what executions print ---- */

/* lines.c */
void	lines_init(struct master *);
void	lines_free(struct master *);
struct msg_log;
void	lines_add(struct master *, struct run *, const struct msg_log *);
/* Something waits to be written; of this run. */
bool	lines_waiting(const struct master *);
bool	lines_wait_of(const struct master *, const struct run *);
/* Sends what waits, on the writer. */
void	lines_flush(struct master *);
bool	lines_idle(const struct master *);

/* ---- time ---- */

/* clock.c */
/* What is left of the time that a run with such a limit may take in all. */
int64_t	clock_left_ms(const struct master *, const struct run *);
/* It is being sent now. */
void	clock_sent(struct master *, struct run *);
/* Sets a timer to go off then, unless it is to go off before that anyway; set_ms: when it is, 0: it is not set. */
void	clock_timer(struct event *, int64_t *set_ms, int64_t at_ms);
/* A poll has said by how much the database's clock was moved. */
void	clock_polled(struct master *, int64_t shift_ms);

/* ---- schedules ---- */

/* cron.c */
void	cron_init(struct master *);
void	cron_free(struct master *);
/* Something may be due, or will be sooner than was known. */
void	cron_look(struct master *);

/* ---- waking ---- */

/* wake.c */
void	wake_init(struct master *);
void	wake_free(struct master *);
/* Something may be ready: be awake and look. */
void	wake_up(struct master *);
/* A producer told: something is ready, or will be soon. */
void	wake_notified(struct master *);
/*
 * Shards were taken: a producer may still have read their former owner, so there is no sleep for a while; and what is
 * due in them may lie before what was made ready last.
 */
void	wake_taken(struct master *, int ms);
void	wake_polled(struct master *, size_t found);
/* A look for events was answered. */
void	wake_dispatched(struct master *, bool found);
/* A look for wakes was answered. */
void	wake_resumed(struct master *, size_t found);
void	wake_sleeper_up(struct master *);
void	wake_sleeper_down(struct master *);
bool	wake_quiet(const struct master *);
/* How long until the next delayed execution is due; -1: none is known. */
int64_t	wake_next_ms(const struct master *);

/* ---- node ---- */

/* node.c */
void	node_start(struct master *);
void	node_free(struct master *);
/* The configuration is another one. */
void	node_reloaded(struct master *);
/* One more connection as this node; listen may be NULL. */
struct db *node_connection(struct master *, const char *role, const char *listen, const struct db_owner *);
/* The writer is attached as this node. */
bool	node_may_write(const struct master *);
/* It has been so for a while: time enough for other nodes to come back as well. */
bool	node_settled(const struct master *);
/* Notifications arrive: it has been proved lately. */
bool	node_listening(const struct master *);
/* The database answers, so what is started can be settled. */
bool	node_may_dispatch(const struct master *);

/* upkeep.c */
void	upkeep_run(struct master *);
void	upkeep_partition_missing(struct master *);
void	upkeep_free(struct master *);

/* report.c */
void	report_init(struct master *);
void	report_free(struct master *);
/* Reads what tasks say of attempts. */
void	report_load(struct master *);
struct msg_fail;
void	report_completed(struct master *, const struct run *);
void	report_deferred(struct master *, const struct run *);
void	report_failed(struct master *, const struct run *, const struct msg_fail *);

/* health.c */
void	health_init(struct master *);
void	health_free(struct master *);
/* Tells what is new. */
void	health_tick(struct master *);
void	health_reloaded(struct master *);
/* It may take so long. */
void	health_stopping(struct master *, int64_t grace_ms);

/* server.c */
void	server_fail(struct master *, int status, const char *why);
void	server_progress(struct master *);
/* A program has told which tasks and queues it has; error: it does not start. */
void	server_discovered(struct master *, struct queue *, const struct msg_announce *, const char *error);
/* The worker has ended and is not wanted any more. */
void	server_worker_ended(struct master *, struct queue *);

#define RELATIVES_MAX	16

struct batches;
struct calls;
struct changes;
struct cron;
struct dispatch;
struct fetch;
struct held;
struct limits;
struct resume;
struct settle;
struct steps;
struct notes;
struct lines;
struct due;
struct wake;
struct watch;
struct node;
struct upkeep;
struct report;
struct health;

struct master {
	struct event_base	*base;
	struct evdns_base	*dns;
	const struct server_options *opt;
	struct conf		*conf;
	struct db		*writer, *reader_db, *listener, *sleeper, *control;
	int32_t			 node;		/* this node's id; 0 before the first attach */
	int64_t			 max_payload;
	int64_t			 clock_shift_ms;	/* by which the last poll found the database's clock moved */
	int64_t			 clock_polled_ms;
	int			 poll_interval_ms;
	int			 takeover_ms;
	int			 backend_pid;
	char			*backend_start;
	struct queuelist	 queues;
	int			 queues_n;	/* indexes given so far */
	struct shardlist	 shards;
	struct task		*tasks[TASK_BUCKETS];
	struct run_table	 runs;
	struct reader		 reader;
	struct fetch		*fetch;
	struct limits		*limits;
	struct batches		*batches;
	struct settle		*settle;
	struct steps		*steps;
	struct calls		*calls;
	struct changes		*changes;
	struct cron		*cron;
	struct dispatch		*dispatch;
	struct resume		*resume;
	struct notes		*notes;
	struct lines		*lines;
	struct wake		*wakes;
	struct due		*due;
	struct watch		*watch;
	struct event_types	*event_types;
	struct node		*nodes;
	struct upkeep		*upkeep;	/* while it runs */
	struct report		*report;	/* NULL where there is no terminal */
	struct health		*health;
	int			 exe;		/* this program's file */
	pid_t			 relatives[RELATIVES_MAX];	/* children of this process that are none of the server's */
	size_t			 relatives_n;
	int64_t			 sweep_until_ms;
	int			 moving;	/* re-homings of running rows on their way: no settling, no polls meanwhile */
	bool			 stopping;
	int64_t			 stop_deadline_ms;
	struct event		*stop_timer, *signals[5];
	bool			 discovered;	/* the program of -- CMD has told all of its tasks */
	bool			 registered;	/* what is declared here is known to the database */
	uint64_t		 completed;	/* by this node */
	uint64_t		 failed;	/* for good, of tasks that keep no history of it; once drained, of all */
	bool			 judging;	/* nothing is left to do here; what others do, and what has failed, is being asked */
	bool			 drained;	/* that was the end */
	bool			 balanced;	/* the shares of the nodes have been asked for once */
	int			 status;
};

#endif
