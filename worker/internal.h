/*
 * What the files of worker/ share. Private to this folder.
 *
 * One struct worker; a pool for each program of SETUP; in a pool either long-lived processes (struct handler) or a
 * process for each execution (struct oneshot). An execution (struct execution) is found by the number that the master
 * gave it, from its RUN until its final frame.
 */
#ifndef WORKER_INTERNAL_H
#define WORKER_INTERNAL_H

#include <sys/queue.h>
#include <sys/resource.h>
#include <sys/types.h>

#include <event2/event.h>
#include <event2/event_struct.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/peer.h"
#include "proto/messages.h"

#ifndef TAILQ_FOREACH_SAFE
#define TAILQ_FOREACH_SAFE(var, head, field, next)					\
	for ((var) = TAILQ_FIRST(head);							\
	    (var) != NULL && ((next) = TAILQ_NEXT(var, field), 1); (var) = (next))
#endif

#define MASTER_FD		3
#define FRAME_SLACK		(1u << 20)	/* a frame's largest size is max_payload and this */
#define HELLO_TIMEOUT_MS	10000
#define DISCOVERY_DRAIN_MS	5000
#define CREDIT_MAX		65536
#define PENDING_MAX		(256u << 10)	/* bytes a handler left unread before it gets no more */
#define WAITING_MAX		(32u << 20)	/* bytes of RUN frames a pool keeps for want of room */
#define EXEC_ID_BYTES		24
#define EXEC_TASK_BYTES		129
#define PROCESS_MARK		"PGCONDUCTOR_PROCESS="	/* and a number, in the environment of each process */

struct batch;
struct caller;
struct execution;
struct handler;
struct keys;
struct oneshot;
struct pool;
struct schemas;
struct worker;

/* ---- table.c: from a number that is not 0 to a pointer ---- */

struct table_slot {
	uint64_t	 key;
	void		*value;
};

struct table {
	struct table_slot	*slots;
	size_t			 cap;		/* a power of two */
	size_t			 n;
};

void	table_init(struct table *);
void	table_free(struct table *);
void	*table_get(const struct table *, uint64_t key);
void	table_put(struct table *, uint64_t key, void *value);
void	table_del(struct table *, uint64_t key);

/* ---- program.c: what SETUP says of a program, ready to be executed ---- */

struct limit {
	int		 resource;
	struct rlimit	 value;
};

struct program {
	unsigned	  refs;
	char		 *name;
	char		**argv;
	char		**shell_argv;	/* /bin/sh and argv, for a script without #! */
	char		**paths;	/* where to look for argv[0] */
	char		 *directory;	/* or NULL */
	char		**env;		/* ends with NULL; PROGRAM_ENV_ROOM more places follow */
	size_t		  env_n;
	uint64_t	  processes;
	uint64_t	  credit;
	uint64_t	  max_runs;
	uint64_t	  memory;
	uint64_t	  idle_timeout_ms;
	struct limit	 *limits;
	size_t		  limits_n;
	bool		  switch_user;
	uid_t		  uid;
	gid_t		  gid;
	gid_t		 *groups;
	size_t		  groups_n;
	bool		  discover;
	char		 *command_task;	/* of a one-shot command, else NULL */
	char		 *error;	/* why it cannot be run at all, or NULL */
};

#define PROGRAM_ENV_ROOM 12

struct program *program_new(const struct msg_program *, const char *queue);
struct program *program_ref(struct program *);
void	program_unref(struct program *);

/* ---- process.c ---- */

/* One child of ours: the first member of a handler and of a one-shot. */
struct process {
	pid_t		 pid;		/* and its process group */
	uint64_t	 serial;	/* in PROCESS_MARK */
	void		(*exited)(struct process *, int status);
};

struct spawn_error {
	int		 err;		/* 0: none */
	const char	*what;		/* the step that failed; NULL: executing it */
};

/* Takes as many descriptors as it may, for the worker alone. */
void	process_init(void);
/* fds[i] becomes descriptor i. Returns the pid, or -1 with the reason. */
pid_t	process_spawn(const struct program *, char *const *envp, const int *fds, int fds_n, struct spawn_error *);
/* To the whole process group. */
void	process_kill(pid_t, int sig);
/* "was killed by signal 9 (Killed)", "exited with status 3" */
void	process_status(int status, char *text, size_t size);
void	process_spawn_text(const struct program *, const struct spawn_error *, char *text, size_t size);

/* ---- sweep.c: children of ours that we did not start ---- */

/* Ends those whose origin has ended. */
void	sweep_orphans(struct worker *);
/* Kills every child, started by us or not, and waits for them. */
void	sweep_everything(struct worker *);

/* ---- stream.c: what programs print, line by line into the log and to the master ---- */

struct meter {				/* the allowance of one process */
	struct worker		*w;
	const char		*program;
	pid_t			 pid;
	const struct execution	*execution;	/* of a one-shot, else NULL */
	const struct handler	*handler;	/* else NULL */
	uint64_t		 second;
	size_t			 lines, bytes;	/* logged in that second */
	size_t			 taken;		/* bytes read in that second */
	uint64_t		 dropped;	/* lines, since that was last reported */
	uint64_t		 unstored;	/* likewise: logged here, and not passed on */
	struct event		 next;		/* the next second, when something waits for it */
	bool			 next_set;
	struct stream		*stream;
};

struct stream {
	struct meter		*meter;
	struct event		 ev;
	int			 fd;		/* -1: closed */
	bool			 paused;
	bool			 talks;		/* something has come, or may */
	bool			 cutting;	/* the rest of a line that was too long is being dropped */
	struct buf		 line;		/* the beginning of one */
	struct buf		*tail;		/* keeps the end of all of it too, when not NULL */
};

#define STREAM_TAIL 4096

void	meter_open(struct meter *, struct worker *, const char *program, pid_t);
/* A LOG message, of that execution if it is not NULL. */
void	meter_log(struct meter *, const struct msg_log *, const struct execution *);
void	meter_close(struct meter *);
void	stream_open(struct stream *, struct meter *, int fd, struct buf *tail);
/* From now on it is looked at by stream_catch_up, which reads what is there now. */
void	stream_listen(struct stream *);
void	stream_catch_up(struct stream *);
/* Reads what is there without waiting for more, then closes. */
void	stream_finish(struct stream *);

/* ---- text.c ---- */

/* Appends text as UTF-8 without NUL: what is not becomes U+FFFD. At most max bytes. */
void	text_clean(struct buf *, const void *text, size_t len, size_t max);

/* ---- execution.c ---- */

enum exec_state {
	EXEC_WAITING,		/* held here until a process has room */
	EXEC_SENT,		/* in a handler's socket, behind what it runs */
	EXEC_RUNNING,
	EXEC_STOPPING		/* asked to end; its grace is running */
};

/*
 * Refused: what it sent on the way is at fault, and decides how it ends. Suspended: a command's run is over, its processes
 * are not yet.
 */
enum exec_stop { STOP_NONE, STOP_TIMEOUT, STOP_CANCELLED, STOP_REFUSED, STOP_SUSPENDED };

struct execution {
	uint64_t		 exec;
	TAILQ_ENTRY(execution)	 entry;		/* of its handler, of its pool's waiting, of the free ones */
	struct worker		*w;
	struct pool		*pool;
	struct handler		*handler;
	struct oneshot		*oneshot;
	enum exec_state		 state;
	enum exec_stop		 stop;
	uint64_t		 deadline_ms;	/* 0: none */
	uint64_t		 grace_ms;
	uint8_t			*frame;		/* while EXEC_WAITING, unless it is of a batch */
	struct batch		*batch;		/* that it came with; NULL: alone */
	const char		*refusal;	/* STOP_REFUSED: the code, and the message */
	char			*refusal_text;
	size_t			 bytes;		/* of the RUN frame that it came in */
	struct event		 timer;
	bool			 timed;
	uint64_t		 attempt;
	char			 id[EXEC_ID_BYTES];
	char			 task[EXEC_TASK_BYTES];
};

TAILQ_HEAD(exec_list, execution);

struct exec_chunk {
	SLIST_ENTRY(exec_chunk)	 entry;
	struct execution	*executions;
};

struct execution *exec_new(struct worker *, uint64_t exec, const struct msg_run *, size_t bytes);
struct execution *exec_find(struct worker *, uint64_t exec);
/* Forgets it; its final frame is on its way. */
void	exec_free(struct worker *, struct execution *);
void	exec_free_all(struct worker *);
/* Its function starts now, as far as we can know: its time begins to count. */
void	exec_begin(struct execution *);
void	exec_timer_stop(struct execution *);
/* CANCEL from the master. */
void	exec_cancel(struct worker *, struct execution *, const struct msg_cancel *);
/* Sends the final frame of one that was asked to end. */
void	exec_fail_stopped(struct worker *, struct execution *);
/* A command's: ends its processes; what is to become of it is known already. */
void	exec_suspend(struct execution *);
void	exec_leave(struct execution *);
/* Asks it to end; whatever it answers, it has failed with this code. */
void	exec_refuse(struct execution *, const char *code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* ---- batch.c: executions that came together ---- */

struct batch {
	size_t		 made, left;	/* of its executions: all, those that have not ended */
	uint8_t		*frame;		/* while they wait */
};

/* They can be what the master says they are. */
bool	batch_check(const struct worker *, const struct msg_run *);
void	batch_return(struct worker *, const struct msg_run *, const char *reason);
/* Leaves out those whose payload does not comply: they have failed. */
void	batch_admit(struct pool *, struct msg_run *);
/* Makes its executions, in that list. */
void	batch_make(struct pool *, const struct msg_run *, size_t len, struct exec_list *);
/* Its frame's body. */
void	batch_encode(struct buf *, const struct msg_run *);
/* The same of one that waited, without those that have ended meanwhile. */
void	batch_without_gone(struct worker *, struct buf *, const uint8_t *body, size_t len);
/* It came alone, or all others of its batch have ended. */
bool	batch_is_last(const struct execution *);
/* It has ended. */
void	batch_leave(struct execution *);

/* ---- link.c: to the master ---- */

void	link_open(struct worker *, int fd);
void	link_forward(struct worker *, const uint8_t *body, size_t len);
void	link_send_fail(struct worker *, uint64_t exec, const struct msg_fail *);
void	link_fail(struct worker *, uint64_t exec, const char *code, bool retry, const char *fmt, ...)
	    __attribute__((format(printf, 5, 6)));
/* Without what makes it too large or unfit. */
void	link_fail_cut(struct worker *, uint64_t exec, struct msg_fail *);
void	link_done(struct worker *, uint64_t exec, struct pstr result);
void	link_deferred(struct worker *, uint64_t exec, struct pstr message);
void	link_returned(struct worker *, uint64_t *execs, size_t n, const char *reason);
void	link_started(struct worker *, const struct pool *, pid_t, uint64_t *execs, size_t n);
void	link_slots(struct worker *, unsigned pool, int64_t slots);
void	link_announce(struct worker *, const struct msg_announce *);
void	link_broken(struct worker *, const struct pool *, const char *reason);
/* False when it was not sent: the master has enough to read. */
bool	link_log(struct worker *, uint64_t exec, const struct msg_log *);
void	link_call(struct worker *, uint64_t exec, const struct msg_call *);
void	link_journal(struct worker *, uint64_t exec, uint64_t after);
void	link_bye(struct worker *);
void	link_check_choked(struct worker *);

/* ---- handler.c: a long-lived process and its executions; session.c: its frames ---- */

enum handler_state {
	HANDLER_STARTING,	/* started; HELLO is to come */
	HANDLER_READY,
	HANDLER_DRAINING,	/* gets no more, finishes what it has */
	HANDLER_ENDING,		/* nothing more comes from it; it is to exit */
	HANDLER_TERMINATED,	/* was sent TERM */
	HANDLER_KILLED		/* was sent KILL */
};

enum handler_blame {
	BLAME_NONE,		/* it ended by itself */
	BLAME_STOP,		/* ended by us because of an execution that did not stop */
	BLAME_FAULT,		/* ended by us because it broke the protocol */
	BLAME_END		/* ended by us because its time had come */
};

struct handler {
	struct process		 proc;
	TAILQ_ENTRY(handler)	 entry;
	struct worker		*w;
	struct pool		*pool;
	struct program		*program;	/* as it was started */
	enum handler_state	 state;
	enum handler_blame	 blame;
	char			*why;		/* the fault, or NULL */
	struct peer		*peer;		/* NULL: closed */
	struct meter		 meter;
	struct stream		 log;		/* its stdout and stderr */
	struct event		 timer;		/* by state: HELLO, the end of a drain, TERM, KILL */
	bool			 said_hello;
	bool			 said_bye;
	bool			 can_cancel, can_drain;
	bool			 lost;		/* its socket closed before it was asked to end */
	bool			 retiring;	/* to be drained once its replacement is ready */
	bool			 reaped;
	int			 status;
	uint64_t		 credit, concurrency, window;
	uint64_t		 beat_ms;	/* so long it may be silent; 0: for ever */
	unsigned		 silent;	/* looks since it said something */
	struct event		 beat;
	struct exec_list	 outstanding;	/* in the order they were sent */
	struct execution	*first_sent;	/* the first that is not running yet */
	uint64_t		 outstanding_n;	/* a batch is one */
	uint64_t		 running_n;	/* likewise */
	uint64_t		 bytes;		/* of the RUN frames outstanding */
	uint64_t		 runs;		/* executions it was sent */
	uint64_t		 finals;	/* executions it answered */
	uint64_t		 strays;	/* CANCELs that may yet be answered after the final frame */
	uint64_t		 started_at;	/* ms */
	uint64_t		 idle_since;	/* ms */
	uint64_t		*started;	/* executions that the master is not yet told of */
	size_t			 started_n, started_cap;
	TAILQ_ENTRY(handler)	 started_entry;
};

TAILQ_HEAD(handler_list, handler);

bool	handler_start(struct pool *, struct spawn_error *);
void	handler_free(struct handler *);
void	handler_set_state(struct handler *, enum handler_state, const char *event);
/* How many more it takes now; whether one of that size. */
uint64_t handler_room(const struct handler *);
bool	handler_takes(const struct handler *, size_t len);
/* One execution, or those of a batch; the list is empty then. */
void	handler_run(struct handler *, struct exec_list *, const uint8_t *frame, size_t len);
void	handler_tell_started(struct handler *);
void	handler_answered(struct handler *, struct execution *);
void	handler_stop_execution(struct handler *, struct execution *, struct pstr reason);
/* What is running there if that is one execution, else NULL. */
const struct execution *handler_only_execution(const struct handler *);
/* deadline_ms 0: none. */
void	handler_drain(struct handler *, uint64_t deadline_ms);
void	handler_finish(struct handler *);
void	handler_terminate(struct handler *, enum handler_blame);
void	handler_kill(struct handler *, enum handler_blame);
void	handler_fault(struct handler *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void	handler_closed(struct handler *, const char *why);
void	handler_check_ended(struct handler *);

/* From now on it is ended when it is silent for too long. */
void	handler_watch_beat(struct handler *);

extern const struct peer_ops session_ops;
/* The execution that a frame is about, if it is this handler's to speak of; if not, the handler is at fault. */
struct execution *session_execution(struct handler *, const struct msg *);

/* ---- durable.c: steps, waiting and calls, between a handler and the master; what may be handed on ---- */

/* If not, the execution is told to end, and has failed. */
bool	durable_step_ok(struct execution *, const struct msg_step *);
/* Otherwise with a code and a text, of SUSPEND_TEXT bytes. */
bool	durable_suspend_ok(const struct worker *, const struct msg_suspend *, const char **code, char *text);
/* False: it is not to be done, and that has been answered. */
bool	durable_call_ok(struct peer *, struct execution *, const struct msg_call *);

#define SUSPEND_TEXT	512

void	durable_step(struct handler *, struct msg *, const uint8_t *body, size_t len);
void	durable_suspend(struct handler *, struct msg *, const uint8_t *body, size_t len);
void	durable_call(struct handler *, struct msg *, const uint8_t *body, size_t len);
void	durable_progress(struct handler *, struct msg *, const uint8_t *body, size_t len);
void	durable_journal(struct handler *, struct msg *, const uint8_t *body, size_t len);
/* STEP_OK, RETURN and STEPS from the master. */
void	durable_answer(struct worker *, struct msg *, const uint8_t *body, size_t len);

/* ---- schemas.c: what payloads, results and events have to be like ---- */

#define SCHEMAS_WHY	1024

/*
 * Of a pool's tasks and its program's events, NULL if there are none. False, with the reason, when one of them cannot be used.
 */
bool	schemas_make(struct schemas **, const struct worker *, const struct msg_task *, size_t tasks_n, const struct msg_event_type *,
	    size_t events_n, char why[SCHEMAS_WHY]);
void	schemas_free(struct schemas *);
/* Whether they comply; otherwise with the reason. What is saved is looked at where it is an event that was waited for. */
bool	schemas_take_run(const struct pool *, const struct msg_run *, char why[SCHEMAS_WHY]);
bool	schemas_take_saved(const struct pool *, const struct msg_saved *, size_t n, char why[SCHEMAS_WHY]);
bool	schemas_take_result(const struct pool *, const char *task, struct pstr result, char why[SCHEMAS_WHY]);
bool	schemas_take_emit(const struct pool *, const struct msg_call *, char why[SCHEMAS_WHY]);

/* What all programs say of events, in place of what was known of that before. */
void	events_set(struct worker *, const struct msg_event_schema *, size_t n);
void	events_free(struct worker *);

struct configured {			/* what the configuration says of a task; JSON texts, or NULL */
	char	*task;
	char	*payload_schema, *returns_schema;
};

void	configured_set(struct worker *, const struct msg_task *, size_t n);
void	configured_free(struct worker *);
const struct configured *configured_find(const struct worker *, struct pstr task);

/* ---- oneshot.c; result.c: what its streams and status mean ---- */

TAILQ_HEAD(oneshot_list, oneshot);
TAILQ_HEAD(caller_list, caller);

#define TOKEN_BYTES	80

struct oneshot {
	struct process		 proc;
	TAILQ_ENTRY(oneshot)	 entry;		/* of the pool, else of the spare ones */
	struct worker		*w;
	struct pool		*pool;
	struct program		*program;
	struct execution	*x;
	int			 out_fd;	/* its stdout; -1: closed */
	struct event		 out_ev;
	struct buf		 out;
	bool			 oversize;
	struct meter		 meter;
	struct stream		 err;
	struct buf		 tail;		/* of its stderr */
	bool			 back;		/* killed at the end of a drain: costs no attempt */
	bool			 leaving;	/* it is to stop at its next checkpoint */
	uint64_t		 attempt;
	char			 token[TOKEN_BYTES];
	struct caller_list	 callers;	/* calls within it */
	unsigned		 callers_n;
	struct keys		*keys;	/* NULL: nothing is saved, no key was named */
	struct buf		 suspend;	/* STOP_SUSPENDED: the frame to send when its processes have ended */
	struct buf		 failure;	/* the FAIL of a call: how it ends if it exits with that call's status */
	bool			 for_good;	/* that failure */
};

void	oneshot_run(struct pool *, struct execution *, const struct msg_run *);
/* The oneshot that runs this execution by this token; NULL: there is none. */
struct oneshot *oneshot_find(struct worker *, struct pstr id, struct pstr token);
/* The calls within it are told the reason, if there is one. */
void	oneshot_stop(struct oneshot *, struct pstr reason);
void	oneshot_kill(struct oneshot *);
/* No more will be started. */
void	oneshots_drain(struct pool *, uint64_t deadline_ms);
/* It is to stop at its next checkpoint. */
void	oneshot_leave(struct oneshot *);
/* The master does not read, or reads again. */
void	oneshots_choke(struct pool *, bool choked);
/* Kills them all, at no cost of an attempt. */
void	oneshots_give_back(struct pool *);
void	oneshots_free(struct pool *);
void	oneshot_free_spare(struct worker *);
/* out NULL: it was longer than max_payload. */
void	result_send(struct worker *, struct execution *, const char *name, int status, const struct buf *out,
	    const struct buf *tail);
/* Whether a command that ends so ends with the failure that a call within it has named. */
bool	result_is_failure(int status, bool for_good);

/* ---- keys.c: what the run of a command has saved, and the keys it has named ---- */

struct kept {
	struct kept		*same;		/* another key, whose hash is the same */
	char			*key;
	char			*result, *error;	/* of an earlier run; NULL: null, or of this one */
	bool			 saved;		/* there is an outcome, of whichever run */
	bool			 used;		/* named in this run, and done with */
	struct caller		*caller;	/* is about to use it */
};

struct keys {
	struct table		 keys;		/* struct kept, by their hash */
	size_t			 n;		/* saved before this run, as far as is known */
	bool			 incomplete;	/* the master has more */
	bool			 asked;		/* and was asked */
	uint64_t		 unnamed;	/* keys named by their turn */
};

struct keys *keys_new(void);
void	keys_free(struct keys *);
/* Saved before this run; the texts are copied. */
void	keys_add(struct keys *, const struct msg_saved *, size_t n);
/* Made when it is not there. */
struct kept *keys_get(struct keys *, struct pstr key);

/* ---- listen.c: the socket for calls within commands ---- */

struct listener {
	int			 fd;		/* -1: none */
	bool			 tried;
	char			*directory;
	char			*env;		/* PGCONDUCTOR_SOCKET=… */
	struct event		 ev, pause;
	struct caller_list	 strangers;	/* have not said HELLO */
	unsigned		 strangers_n;
	uint64_t		 callers;	/* that there ever were */
};

/* Once, when there is a command. Without it commands run, but for those calls. */
void	listen_open(struct worker *);
void	listen_close(struct worker *);

/* ---- caller.c: a call within a command (`pgconductor ctx`), connected to that socket; dialog.c: what it says ---- */

extern const struct peer_ops caller_ops;

enum caller_state {
	CALLER_STRANGER,	/* HELLO is to come */
	CALLER_WAITING,		/* for what is saved, which the master sends */
	CALLER_JOINED
};

struct caller {
	TAILQ_ENTRY(caller)	 entry;		/* of its command, else of the strangers */
	struct worker		*w;
	struct oneshot		*o;		/* NULL: a stranger */
	struct peer		*peer;
	enum caller_state	 state;
	uint64_t		 number;
	struct event		 timer;		/* HELLO is due */
	char			**names;	/* keys it will name; "" is one that is named by its turn */
	size_t			 names_n;
	struct kept		**keys;		/* the same, once they are its own */
	size_t			 keys_n;
	struct kept		**saved;	/* those under which something is saved */
	size_t			 saved_n;
	uint64_t		 turn, turns;	/* keys named by their turn: before it, and its own */
};

#define CALL_BITS	32	/* the calls of all callers of a run differ: number of the caller, number of the call */

void	caller_new(struct worker *, int fd);
void	caller_free(struct caller *);
void	caller_hello(struct caller *, struct msg *);
/* It gets the reason; what it may still have sent is not read. */
void	caller_refuse(struct caller *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* To all of one command. */
void	callers_cancel(struct oneshot *, struct pstr reason);
void	callers_drain(struct oneshot *, uint64_t deadline_ms);
void	callers_choke(struct oneshot *, bool choked);
void	callers_free(struct oneshot *);
/* STEP_OK, RETURN and STEPS from the master. */
void	callers_answer(struct oneshot *, struct msg *, const uint8_t *body, size_t len);

/* ---- pool.c; restart.c: how many processes it has ---- */

struct pool {
	TAILQ_ENTRY(pool)	 entry;
	struct worker		*w;
	unsigned		 number;	/* index in SETUP */
	struct program		*program;
	struct buf		 announced;	/* the last ANNOUNCE, encoded */
	struct schemas		*schemas;	/* of what it announced; NULL: none */
	char			**tasks;	/* those of it that are this pool's */
	size_t			 tasks_n;
	char			**former;	/* those that were: the master may not know yet */
	size_t			 former_n;
	int64_t			 granted;	/* slots the master has */
	int64_t			 revoked;	/* slots it had to give back, perhaps after it had spent them */
	bool			 dirty;		/* that may have changed */
	bool			 fill;		/* pool_fill at the end of the pass */
	bool			 draining;
	bool			 leaving;	/* a reload dropped it */
	struct handler_list	 handlers;
	struct exec_list	 waiting;
	uint64_t		 waiting_n;	/* a batch is one */
	size_t			 waiting_bytes;
	uint64_t		 cold;		/* processes ended for being idle, to be started when needed */
	bool			 waking;	/* one of them is being started */
	uint64_t		 last_credit;
	unsigned		 failures;	/* starts in a row that came to nothing */
	bool			 broken;	/* the master was told */
	struct event		 restart;	/* no process is started before that */
	bool			 restart_set;
	struct oneshot_list	 oneshots;
	uint64_t		 oneshots_n;
};

TAILQ_HEAD(pool_list, pool);

struct pool *pool_new(struct worker *, unsigned number, struct program *);
void	pool_free(struct pool *);
void	pool_start(struct pool *);
/* A reload: the same pool with another program; its processes are replaced, the new ones first. */
void	pool_replace(struct pool *, unsigned number, struct program *);
/* Whether that differs from what was announced before. The schemas are its own from here on. */
bool	pool_announce(struct pool *, const struct msg_hello *, struct schemas *);
void	pool_run(struct pool *, uint64_t exec, const struct msg_run *, const uint8_t *body, size_t len);
void	pool_run_batch(struct pool *, struct msg_run *, const uint8_t *body, size_t len);
void	pool_drain(struct pool *, uint64_t deadline_ms);
void	pool_kill(struct pool *);
bool	pool_empty(const struct pool *);
/* Its tasks are no longer its own. */
void	pool_forget_tasks(struct pool *);
/* A RUN of a task that is no pool's: its slot comes back if it was this one's. */
bool	pool_owned(struct pool *, struct pstr task);
void	pool_unwait(struct execution *);
void	pool_place_waiting(struct pool *);
void	pool_return_waiting(struct pool *, const char *reason);
void	pool_touch(struct pool *);
void	pool_flush_slots(struct pool *);
void	pool_oneshot_ended(struct pool *, uint64_t pause_ms);

void	restart_init(struct pool *);
void	restart_clear(struct pool *);
void	restart_reset(struct pool *);
void	restart_pause(struct pool *, uint64_t ms);
void	pool_fill(struct pool *);
bool	pool_has_ready(const struct pool *);
void	pool_handler_ready(struct pool *, struct handler *, bool announced);
void	pool_handler_gone(struct pool *, struct handler *, const char *status);
void	pool_retire(struct handler *, const char *why);
void	pool_tick(struct pool *, uint64_t now);
uint64_t pool_tick_ms(const struct pool *);

/* ---- route.c: from a task to its pool ---- */

struct route {
	const char	*name;		/* the pool's; NULL: a free place */
	size_t		 len;
	struct pool	*pool;
};

struct routes {
	struct route	*v;
	size_t		 cap;		/* a power of two, or 0 */
};

void	routes_make(struct worker *);
struct pool *routes_find(const struct worker *, struct pstr task);

/* ---- worker.c ---- */

struct worker {
	struct event_base	*base;
	const char		*queue;
	struct peer		*master;	/* NULL: gone */
	struct msg		 frame;		/* the one being handled */
	struct buf		 text;		/* scratch for a log line */
	bool			 set_up;
	bool			 draining;
	bool			 said_bye;
	bool			 choked;	/* the master does not read */
	bool			 terminal;
	uint64_t		 concurrency;
	uint64_t		 max_payload;
	uint64_t		 max_frame;
	uint64_t		 kill_grace_ms;
	struct configured	*configured;	/* by task */
	size_t			 configured_n;
	struct event_said	*events;	/* by name: what all programs say of them */
	size_t			 events_n;
	struct pool_list	 pools;
	struct pool_list	 leaving;	/* dropped by a reload, still at work */
	struct routes		 routes;
	struct table		 pids;		/* struct process */
	struct table		 execs;		/* struct execution */
	struct exec_list	 free_execs;
	SLIST_HEAD(, exec_chunk) exec_chunks;
	struct handler_list	 to_tell;	/* have executions the master is not yet told of */
	struct oneshot_list	 spare_oneshots;
	struct listener		 listener;
	bool			 suspended;	/* a command was ended because it waits, in this pass */
	uint64_t		 serial;
	int			 null_fd;
	int			 signal_fd;
	struct event		 signals;
	struct event		 pass;		/* runs once at the end of a pass of the loop */
	bool			 pass_set;
	struct event		 tick;
	struct event		 deadline;	/* of DRAIN; later: has BYE been written */
	struct event		 choke;
	int			 exit_status;
};

/* Milliseconds of a clock that only goes forward. */
uint64_t worker_now(void);
struct timeval worker_tv(uint64_t ms);
/* Has the end of this pass tell the master what changed. */
void	worker_touch(struct worker *);
void	worker_fill_later(struct pool *);
void	worker_watch(struct worker *, struct process *);
void	worker_set_up(struct worker *, const struct msg_setup *);
void	worker_run(struct worker *, uint64_t exec, struct msg_run *, const uint8_t *body, size_t len);
void	worker_begin_drain(struct worker *, uint64_t deadline_ms);
/* Says BYE when a drain has nothing left to wait for. */
void	worker_check_done(struct worker *);
/* Ends at once, with all that runs here. */
void	worker_stop(struct worker *, const char *why, int status);
void	worker_choke(struct worker *, bool choked);

#endif
