/*
 * libpgconductor: handlers for pgconductor in C.
 *
 * A handler is a program that announces tasks and runs their executions. The smallest one:
 *
 *	static int
 *	greet(struct pgc_run *run, void *arg)
 *	{
 *		return pgc_done(run, "{\"greeting\": \"Hello, World!\"}");
 *	}
 *
 *	int
 *	main(int argc, char **argv)
 *	{
 *		struct pgc *c = pgc_new();
 *
 *		pgc_task(c, "greet", greet, NULL);
 *		return pgc_serve(c, argc, argv);
 *	}
 *
 * Started by pgconductor, it serves; started by hand, pgc_serve runs `pgconductor run` around it.
 *
 * Several executions at once, without threads: raise pgc_set_concurrency, return PGC_LATER from the function, and
 * finish the execution with pgc_done or pgc_fail when its time has come. For that the program usually has a loop of its
 * own: pgc_open, then pgc_fd, pgc_events and pgc_step instead of pgc_serve.
 *
 * The library makes no threads, installs no signal handlers and is not thread-safe: one connection belongs to one
 * thread. It ends the process only when memory is exhausted, and in pgc_serve as described there.
 */
#ifndef PGCONDUCTOR_H
#define PGCONDUCTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The connection to the worker, and one execution that this program was given. */
struct pgc;
struct pgc_run;

/* Result of a task's function: the execution is finished later. */
#define PGC_LATER	1
/* Likewise: this run of it is over already. What returned this has ended it; see "Executions that last". */
#define PGC_OVER	2

/*
 * A task's function. Returns what pgc_done or pgc_fail returned; or PGC_LATER or PGC_OVER; or 0 without having finished
 * it, which completes it with null; any other value fails it.
 */
typedef int	pgc_task_fn(struct pgc_run *, void *arg);

/* ---- Setting up: before pgc_serve or pgc_open. Strings are copied. */

struct pgc *pgc_new(void);
void	pgc_free(struct pgc *);

/* A task that this program serves; its queue is "default". */
void	pgc_task(struct pgc *, const char *name, pgc_task_fn *, void *arg);
/*
 * The same with its home queue and its options, an object as declare_task takes it, for example
 * {"max_attempts": 5, "timeout": "2m"}. Either may be NULL.
 */
void	pgc_task_with(struct pgc *, const char *name, const char *queue, const char *options, pgc_task_fn *, void *arg);

/*
 * A task whose function is given several executions at once, size (1 to 1,000) at most: as soon as so many are there, or when the
 * first of them has waited for timeout_ms (-1: a second). Each of runs is finished by itself, with pgc_done or pgc_fail; a call is
 * one, for concurrency and credit. Returns 0, which completes with null those that it has not finished; PGC_LATER, they are
 * finished later; any other value fails them. They have no steps and cannot wait: see "Executions that last".
 */
typedef int	pgc_batch_fn(struct pgc_run **runs, size_t n, void *arg);
void	pgc_batch(struct pgc *, const char *name, unsigned size, int64_t timeout_ms, pgc_batch_fn *, void *arg);
void	pgc_batch_with(struct pgc *, const char *name, const char *queue, const char *options, unsigned size, int64_t timeout_ms,
	    pgc_batch_fn *, void *arg);

/*
 * What starts a task that was named above, besides invoke: a list of JSON objects such as
 * [{"invocable": true}, {"cron": "30 9 * * mon-fri", "name": "morning", "timezone": "Europe/Berlin", "payload": {}},
 * {"event": "order.paid", "when": "(payload->>'total')::numeric > 100", "fields": "id,customer.name"}]. With a schedule,
 * pgc_event is its name and pgc_event_at when it was due; with an event they are its name and when it was emitted. pgc_event_kind
 * tells one from the other.
 */
void	pgc_triggers(struct pgc *, const char *task, const char *json);

/*
 * JSON Schemas (draft 2020-12) of the payload and the result of a task that was named above; either may be NULL. The worker holds
 * against them what it hands over and what comes back: such a payload fails for good, such a result fails the attempt. A program
 * whose schemas cannot be used is refused.
 */
void	pgc_schemas(struct pgc *, const char *task, const char *payload, const char *returns);
/*
 * The payload of an event that this program emits or listens to, likewise: pgc_emit of another one is an error
 * (bad_payload), and so is being started by one. NULL: anything.
 */
void	pgc_event_type(struct pgc *, const char *event, const char *schema);

/*
 * How many executions run at once; 1 unless set. With 1 each outcome is written before the next function is called,
 * so functions may take their time. Above 1 they should return quickly (with PGC_LATER for what takes long): outcomes
 * are gathered and written together.
 */
void	pgc_set_concurrency(struct pgc *, unsigned);
/*
 * How many executions the worker may hand over, those that wait here for their turn included; as many as concurrency
 * unless set. More keep a busy handler from waiting for the next one. May be changed while serving.
 */
void	pgc_set_credit(struct pgc *, unsigned);
/* Most bytes of executions handed over at once; no limit unless set. */
void	pgc_set_window(struct pgc *, uint64_t bytes);

/*
 * This program is ended and started anew when it has been silent for so long while it runs something: it gets SIGTERM, and
 * later SIGKILL. Whatever it sends is a sign; pgc_step, called, is enough of one.
 */
void	pgc_set_beat(struct pgc *, unsigned ms);

/* Called when an execution is to stop (see pgc_cancelled); only for those that were started. */
typedef void	pgc_cancel_fn(struct pgc_run *, void *arg);
void	pgc_on_cancel(struct pgc *, pgc_cancel_fn *, void *arg);

/* Called when no further executions will come: what runs has deadline_ms from now to finish. */
typedef void	pgc_drain_fn(struct pgc *, uint64_t deadline_ms, void *arg);
void	pgc_on_drain(struct pgc *, pgc_drain_fn *, void *arg);

/* ---- Serving */

/*
 * Serves until the worker has had enough. Returns the program's exit status: 0 after a drain, 1 if the worker refused
 * it or went away. Started by hand, that is without a worker, it becomes `pgconductor run -- <this program>`, and
 * exits 69 with instructions if pgconductor is not installed. argc and argv as main got them.
 */
int	pgc_serve(struct pgc *, int argc, char **argv);

/*
 * For a program with an event loop. pgc_open connects to the worker: 0, or -1 (pgc_error says why; there is no worker
 * when PGCONDUCTOR_FD is not set). Then: wait until the descriptor is ready for pgc_events (POLLIN, POLLOUT), call
 * pgc_step, which reads, runs functions and writes without ever waiting, and again. Call it too after finishing
 * executions elsewhere, so that the outcomes are written and the next ones started; not from a callback. It returns 1
 * to go on; 0 when all is done: exit 0; -1 when the connection is lost.
 */
int	pgc_open(struct pgc *);
int	pgc_fd(const struct pgc *);
short	pgc_events(const struct pgc *);
int	pgc_step(struct pgc *);

/*
 * Asks for no more executions; what was handed over is finished, then serving ends as after a drain. Safe in a task's
 * function, not in a signal handler.
 */
void	pgc_stop(struct pgc *);

/* The last error, for a person; "" when there was none. */
const char *pgc_error(const struct pgc *);
/* The queue served; "" before the worker has answered, and when it only asks which tasks there are. */
const char *pgc_queue(const struct pgc *);

/* ---- An execution. Strings are NUL-terminated and live until it is finished. */

const char *pgc_id(const struct pgc_run *);		/* a decimal number */
const char *pgc_task_name(const struct pgc_run *);
unsigned pgc_attempt(const struct pgc_run *);		/* 1 for the first */
const char *pgc_token(const struct pgc_run *);		/* names this run of the execution */
const char *pgc_event(const struct pgc_run *);		/* what it was started by; "pgconductor.invoke" for an invoke */
const char *pgc_event_at(const struct pgc_run *);	/* the time it is for, 2030-01-31T12:00:00.000Z; NULL for an invoke */
const char *pgc_event_kind(const struct pgc_run *);	/* what that is: "invoke", "schedule", "event" or "change" */
const char *pgc_payload(const struct pgc_run *);	/* JSON, exactly as stored */
size_t	pgc_payload_len(const struct pgc_run *);
const char *pgc_metadata(const struct pgc_run *);	/* JSON, or NULL */
const char *pgc_trace(const struct pgc_run *);		/* W3C traceparent, or NULL */
/* Milliseconds left, at least 0, of the time allowed since it was started; -1 when there is no limit. */
int64_t	pgc_time_left(const struct pgc_run *);
/*
 * Why it is to stop: "cancelled", "timeout", "lost" or what the caller gave; NULL while it may go on. Looks for news
 * from the worker now and then, so that a function that takes long may ask in a loop. Finish it soon, in any way.
 */
const char *pgc_cancelled(struct pgc_run *);
struct pgc *pgc_of(const struct pgc_run *);
/* A pointer of the program's own, NULL at first. */
void	pgc_set_data(struct pgc_run *, void *);
void	*pgc_data(const struct pgc_run *);

/* ---- Finishing it: exactly once; the execution is gone afterwards. All return 0 (-1: it had been finished). */

/* It succeeded. The result is JSON text; NULL is null. What is no JSON fails with bad_result. */
int	pgc_done(struct pgc_run *, const char *json);
int	pgc_done_len(struct pgc_run *, const char *json, size_t len);
/* It succeeded with this text as a JSON string. */
int	pgc_done_text(struct pgc_run *, const char *text);

/* It failed, and is tried again while attempts remain. */
int	pgc_fail(struct pgc_run *, const char *message);
int	pgc_failf(struct pgc_run *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* All there is to say about a failure. Begin with PGC_FAILURE. Strings may be NULL but for the message. */
struct pgc_failure {
	const char	*message;
	const char	*code;		/* "app" */
	const char	*type;		/* class of error */
	const char	*stack;		/* traceback */
	const char	*data;		/* JSON */
	bool		 for_good;	/* no further attempt */
	int64_t		 after_ms;	/* wait so long before the next one; -1: the task's own backoff */
};
#define PGC_FAILURE	{ NULL, NULL, NULL, NULL, NULL, false, -1 }
int	pgc_fail_with(struct pgc_run *, const struct pgc_failure *);

/*
 * ---- Executions that last
 *
 * A function runs from its beginning each time: after a failure, after the end of its process, and whenever what it
 * waited for is over. What is saved under a key is there again, in every later run, so that what was done is not done
 * twice:
 *
 *	static int
 *	order(struct pgc_run *run, void *arg)
 *	{
 *		const char *charge = pgc_saved(run, "charge");
 *
 *		if (charge == NULL && pgc_save_now(run, "charge", charge = charge_card(pgc_payload(run))) != 0)
 *			return PGC_OVER;
 *		if (pgc_sleep(run, "a while", 3600 * 1000) != 0)
 *			return PGC_OVER;
 *		return pgc_done(run, charge);
 *	}
 *
 * A key names one step, sleep or child of an execution; the same ones must be used in the same situation each time. One
 * that is used twice in a run fails the execution for good, with code nondeterminism.
 *
 * Functions that return int here return 0, and then go on; or PGC_OVER: this run is over, because it now waits, because it
 * was to stop, or because it has failed. Then pgc_run is gone: return PGC_OVER at once. They may be called from a
 * task's function, or later, not from a callback. Those that have to wait for the database say so; meanwhile they read
 * and write, but start nothing else: a program that runs several executions at once is better off with pgc_save and
 * pgc_on_saved.
 */

/* What was saved under that key, as JSON text that lives until the run is over; NULL: nothing yet. Ask once in a run. */
const char *pgc_saved(struct pgc_run *, const char *key);
/*
 * Saves what a step has left: JSON text, NULL is null. It is sent, and counts once it is committed: whatever follows, of
 * this execution, is written after it.
 */
int	pgc_save(struct pgc_run *, const char *key, const char *json);
/* Waits until all that was saved is committed. */
int	pgc_flush_steps(struct pgc_run *);
/* Both: after it the step is not run again, whatever happens. */
int	pgc_save_now(struct pgc_run *, const char *key, const char *json);
/* Called when all that an execution has saved so far is committed. */
typedef void	pgc_saved_fn(struct pgc_run *, void *arg);
void	pgc_on_saved(struct pgc *, pgc_saved_fn *, void *arg);

/* Goes on after so many milliseconds, from the first time on; meanwhile nothing is held. key NULL: named by its turn. */
int	pgc_sleep(struct pgc_run *, const char *key, int64_t ms);

/* None of its own: no priority that there is. */
#define PGC_PRIORITY_OF_TASK	(-2147483647 - 1)

/* An execution that this one waits for. Begin with PGC_CHILD. */
struct pgc_child {
	const char	*key;		/* NULL: named by its turn */
	const char	*task;
	const char	*payload;	/* JSON; NULL is null */
	const char	*queue;		/* NULL: the task's own */
	int		 priority;	/* higher first; PGC_PRIORITY_OF_TASK: the task's own */
	int64_t		 timeout_ms;	/* then it is cancelled, and the error's code is timeout; -1: none */
	const char	*metadata;	/* JSON, besides what it inherits: an object's keys count before those; NULL: none */
	/* What came of it, once the function returns 0. */
	const char	*result;	/* JSON; NULL: it has failed */
	const char	*error;		/* JSON, an object with code and message; NULL: it has not */
};
#define PGC_CHILD	{ NULL, NULL, NULL, NULL, PGC_PRIORITY_OF_TASK, -1, NULL, NULL, NULL }
int	pgc_invoke(struct pgc_run *, struct pgc_child *);
/* Many at once: goes on when all are finished. */
int	pgc_invoke_all(struct pgc_run *, struct pgc_child *, size_t n);
/* Fails for good because a child has: "Child execution failed: " and its message. Returns as pgc_fail does. */
int	pgc_fail_child(struct pgc_run *, const struct pgc_child *);

/*
 * For a loop that takes long: where the execution may stop. It does when it was cancelled, and when no further executions
 * will come: then it is run again elsewhere, without having lost an attempt, with what it has saved.
 */
int	pgc_checkpoint(struct pgc_run *);
/* How far it is, for people: percent from 0 to 100, or -1; a line, or NULL. May be called often. */
void	pgc_progress(struct pgc_run *, int percent, const char *note);
/* Cancels another execution; waits for the answer. *cancelled: it was unfinished; may be NULL. */
int	pgc_cancel_execution(struct pgc_run *, const char *id, const char *reason, bool *cancelled);
/*
 * Invokes a task without waiting for what comes of it; waits for its id only, which lives until the next call of the same
 * run. Do it in a step, or it is done in each run. NULL in *id: it is refused, pgc_error says why.
 */
int	pgc_start(struct pgc_run *, const char *task, const char *payload, const char **id);

/* What is asked for with the options of invoke, see docs/flow.md. Begin with PGC_START. Times in milliseconds, -1: none. */
struct pgc_start {
	const char	*task;
	const char	*payload;	/* JSON; NULL is null */
	const char	*queue;		/* NULL: the task's own */
	int		 priority;	/* higher first; PGC_PRIORITY_OF_TASK: the task's own */
	int64_t		 delay_ms;	/* not before so long has passed */
	const char	*dedupe_key;	/* NULL: none; the one of throttle and debounce is then the task's name */
	int64_t		 dedupe_for_ms;	/* from when it was made, 0: while it is unfinished; -1: as long as its history is kept */
	int64_t		 throttle_ms;	/* one in so long at most */
	int64_t		 debounce_ms;	/* when so long no other was asked for */
	int64_t		 max_wait_ms;	/* with debounce: so long after the first at the latest */
	const char	*metadata;	/* as of a child */
};
#define PGC_START	{ NULL, NULL, NULL, PGC_PRIORITY_OF_TASK, -1, NULL, -1, -1, -1, -1, NULL }
/* As pgc_start. NULL in *id, and pgc_error has nothing to say, "": throttled, nothing was made. */
int	pgc_start_with(struct pgc_run *, const struct pgc_start *, const char **id);

/*
 * Says that something has happened, which starts the tasks that are subscribed to it and resumes what waits for it. payload:
 * JSON; NULL is null. Waits for the event's id, and is done in each run, as pgc_start. NULL in *id: it is refused, pgc_error
 * says why. id may be NULL.
 */
int	pgc_emit(struct pgc_run *, const char *event, const char *payload, const char **id);

/* An event that this execution waits for, or a change of a table's rows. Begin with PGC_EVENT. */
struct pgc_event_wait {
	const char	*key;		/* NULL: named by its turn */
	const char	*event;		/* its name; NULL for a change */
	const char	*filter;	/* an SQL expression over event and payload (jsonb), or over new and old; NULL: any */
	bool		 since_start;	/* also one since the execution was invoked, or behind the last one of that name that it got */
	int64_t		 timeout_ms;	/* then the error's code is timeout; -1: none */
	/* What came of it, once the function returns 0. */
	const char	*payload;	/* JSON; NULL: it has not come, or not yet */
	const char	*error;		/* JSON, an object with code and message; NULL: there is none */
	/* Of a change; its payload is {"old": …, "new": …, "tg_table": …, "tg_op": …}. */
	const char	*table;		/* as it stands in the catalog: no quotes, and case matters */
	const char	*schema;	/* NULL: public */
	const char	*operation;	/* insert, update or delete */
	const char	*columns;	/* that the payload is to have, with commas between them; NULL: all */
};
#define PGC_EVENT	{ NULL, NULL, NULL, false, -1, NULL, NULL, NULL, NULL, NULL, NULL }
int	pgc_wait_event(struct pgc_run *, struct pgc_event_wait *);
/* Several: goes on when all have come; with any, when at least one has, and in a later run maybe more. */
int	pgc_wait_events(struct pgc_run *, struct pgc_event_wait *, size_t n, bool any);

/*
 * A task that is executed again and again. Begin with PGC_SCHEDULE. One of the same task and name is replaced, so that it may
 * be made in each run.
 */
struct pgc_schedule {
	const char	*task;
	const char	*name;		/* of the schedule: pgc_event of its executions; NULL: the expression */
	const char	*cron;		/* "30 9 * * mon-fri", six fields with seconds, or "@daily" and the like */
	const char	*payload;	/* JSON; NULL is null */
	const char	*timezone;	/* its name, as Europe/Berlin; NULL: UTC */
	const char	*overlap;	/* "allow", or "skip": none while the former one is unfinished; NULL: allow */
	const char	*catchup;	/* when nothing ran: "skip", "last", "all", or how many are made up for; NULL: skip */
};
#define PGC_SCHEDULE	{ NULL, NULL, NULL, NULL, NULL, NULL, NULL }
/*
 * Waits for the answer. *next: when it is due, 2030-01-31T12:00:00.000Z, which lives until the next call of the same run;
 * NULL: it is refused, pgc_error says why. next may be NULL.
 */
int	pgc_schedule(struct pgc_run *, const struct pgc_schedule *, const char **next);
/* Removes one. *removed: there was one; may be NULL. Refused, which pgc_error says, for one that a program declares. */
int	pgc_unschedule(struct pgc_run *, const char *task, const char *name, bool *removed);

/* ---- Saying something */

/* A line for the log. level: debug, info, warn, error. fields: a JSON object or NULL. */
void	pgc_log(struct pgc_run *, const char *level, const char *message, const char *fields);
void	pgc_log_process(struct pgc *, const char *level, const char *message, const char *fields);

#ifdef __cplusplus
}
#endif

#endif
