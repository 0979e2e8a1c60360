/*
 * Private to libpgconductor.
 *
 * An execution waits (handed over, its function not called yet) or runs (called, not finished); the state equals the
 * list it is on. All three lists are written in run.c only.
 */
#ifndef PGCONDUCTOR_PRIVATE_H
#define PGCONDUCTOR_PRIVATE_H

#include "common/buf.h"
#include "proto/c/pgconductor.h"
#include "proto/messages.h"

/* What the linker may see of the library is what the public header declares. */
#define PUBLIC __attribute__((visibility("default")))

struct task {
	char		*name;
	char		*queue;		/* NULL: default */
	char		*options;	/* NULL: none */
	char		*triggers;	/* likewise */
	char		*payload_schema, *returns_schema;	/* likewise */
	pgc_task_fn	*fn;		/* NULL: it takes several at once */
	void		*arg;
	pgc_batch_fn	*batch_fn;
	unsigned	 batch_size;
	int64_t		 batch_ms;	/* -1: not said */
};

struct event_type {
	char		*name;
	char		*schema;	/* NULL: none */
};

enum run_state { RUN_FREE, RUN_WAITING, RUN_RUNNING };

/* Something saved under a key. */
struct saved {
	const char	*key, *result, *error;	/* both NULL: null */
	bool		 mine;		/* in this run */
	bool		 used;		/* in this run its key was named */
	bool		 committed;
};

/* What is saved of an execution, and on its way. Kept for the next one that the object stands for. */
struct journal {
	struct saved	*v;
	size_t		 n, cap;
	uint32_t	*index;		/* by key: place in v and 1; 0: free */
	size_t		 index_n;	/* a power of two */
	char		**blobs;	/* memory of keys and texts, but for those in the frame */
	size_t		 blobs_n, blobs_cap;
	bool		 incomplete;	/* more is to come before it may start */
	unsigned	 unnamed;	/* keys given by turn so far */
	unsigned	 pending;	/* steps sent and not committed */
	uint64_t	 calls;		/* the number of the last */
	bool		 answered;
	char		*answer, *refusal;	/* of that */
};

/* Executions that came in one frame. */
struct batch {
	size_t		 left;		/* not finished */
	char		 frame[];	/* which has their strings */
};

struct pgc_run {
	struct pgc	*c;
	struct pgc_run	*next, *prev;
	enum run_state	 state;
	uint64_t	 serial;	/* tells this use of the object from the next */
	uint64_t	 exec;
	const struct task *task;	/* NULL: not ours */
	struct msg_run	 m;		/* its strings are in frame, NUL-terminated */
	struct buf	 frame;
	struct batch	*batch;		/* that it came with; NULL: alone */
	bool		 together;	/* its function has it with others */
	int64_t		 started;	/* nanoseconds */
	char		*cancel;	/* reason, once it is to stop */
	char		*fault;		/* a key it used twice: whatever it returns, it has failed */
	struct journal	*journal;	/* NULL until there is something for it */
	void		*data;
};

struct run_list {
	struct pgc_run	*first, *last;
	unsigned	 n;
};

struct pgc {
	struct task	*tasks;
	size_t		 tasks_n;
	struct event_type *events;
	size_t		 events_n;
	unsigned	 concurrency;
	unsigned	 credit;	/* 0: as concurrency */
	uint64_t	 window;
	unsigned	 beat_ms;
	int64_t		 beaten;	/* when we last gave a sign, in nanoseconds */
	pgc_cancel_fn	*on_cancel;
	void		*on_cancel_arg;
	pgc_saved_fn	*on_saved;
	void		*on_saved_arg;
	pgc_drain_fn	*on_drain;
	void		*on_drain_arg;

	const struct pgc_join *join;	/* a call within a command, else NULL */

	int		 fd;		/* -1: not open */
	struct buf	 in, out;
	struct msg	 msg;
	size_t		 max_frame;
	size_t		 max_payload;
	char		*queue;
	bool		 welcome;
	bool		 ending;	/* DRAIN came, or pgc_stop was called */
	bool		 bye;		/* BYE is written or queued */
	bool		 reading;	/* frames are being handled */
	bool		 lost;		/* the connection is of no more use */
	int64_t		 looked;	/* when we last read, in nanoseconds */
	char		 error[256];

	struct run_list	 waiting, running, spare;
	size_t		 joined;	/* of those that run: how many share a call with one before */
	uint64_t	 serials;
};

/* session.c */
int64_t	pgc_now(void);
void	pgc_lose(struct pgc *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void	pgc_hello(struct pgc *);
void	pgc_read(struct pgc *);
void	pgc_flush(struct pgc *);
void	pgc_look(struct pgc *, int64_t now);
/* Gives a sign of life when it is time to. Milliseconds until the next, -1: none is asked for. */
int	pgc_beat(struct pgc *, int64_t now);

/* run.c */
void	run_queue(struct pgc *, uint64_t exec, const struct msg_run *, const uint8_t *body, size_t len);
struct pgc_run *run_queue_item(struct pgc *, const struct pstr *task, const struct msg_item *);
/* It waited, and is about to be given to its function. */
void	run_begin(struct pgc_run *);
void	run_cancel(struct pgc *, uint64_t exec, const struct pstr *reason);
void	run_start_waiting(struct pgc *);
void	run_drop_waiting(struct pgc *);
void	runs_free(struct pgc *);
struct pgc_run *run_of_exec(struct pgc *, uint64_t exec);
/* It is over: forgets it. */
void	run_retire(struct pgc_run *);
/* Fails it if it was to stop or is at fault already. */
bool	run_stopped(struct pgc_run *);

/* batch.c */
void	batch_queue(struct pgc *, const struct msg_run *, const uint8_t *body, size_t len);
/* Calls the function of a task that takes several, with the first of those that wait and its company. */
void	batch_call(struct pgc *, struct pgc_run *first);
/* It is over. */
void	batch_release(struct pgc_run *);

/* journal.c */
/* The steps of its RUN. */
void	journal_begin(struct pgc_run *, const uint8_t *body, char *copy);
/* STEPS. */
void	journal_more(struct pgc_run *, const struct msg_steps *);
/* Empty again, for another execution. */
void	journal_reset(struct journal *);
void	journal_free(struct journal *);
struct journal *journal_of(struct pgc_run *);
struct saved *journal_find(struct journal *, const char *key);
/* The key is copied, and the text. */
struct saved *journal_add(struct pgc_run *, const char *key, const char *result);
/* The string as it is in the copy of a frame, NUL-terminated. */
void	settle_string(struct pstr *, const uint8_t *body, char *copy);

/* steps.c */
void	steps_ok(struct pgc_run *, const struct pstr *key);
void	steps_return(struct pgc_run *, const struct msg_return *);

/* error.c */
/* The text of a string member of a JSON object, NUL-terminated; NULL: there is none. The caller frees it. */
char	*error_member(const char *json, const char *name);

/* launch.c */
int	pgc_launch(int argc, char **argv);

#endif
