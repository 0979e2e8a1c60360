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
	pgc_task_fn	*fn;
	void		*arg;
};

enum run_state { RUN_FREE, RUN_WAITING, RUN_RUNNING };

struct pgc_run {
	struct pgc	*c;
	struct pgc_run	*next, *prev;
	enum run_state	 state;
	uint64_t	 serial;	/* tells this use of the object from the next */
	uint64_t	 exec;
	const struct task *task;	/* NULL: not ours */
	struct msg_run	 m;		/* its strings are in frame, NUL-terminated */
	struct buf	 frame;
	int64_t		 started;	/* nanoseconds */
	char		*cancel;	/* reason, once it is to stop */
	void		*data;
};

struct run_list {
	struct pgc_run	*first, *last;
	unsigned	 n;
};

struct pgc {
	struct task	*tasks;
	size_t		 tasks_n;
	unsigned	 concurrency;
	unsigned	 credit;	/* 0: as concurrency */
	uint64_t	 window;
	pgc_cancel_fn	*on_cancel;
	void		*on_cancel_arg;
	pgc_drain_fn	*on_drain;
	void		*on_drain_arg;

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
	uint64_t	 serials;
};

/* session.c */
int64_t	pgc_now(void);
void	pgc_lose(struct pgc *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void	pgc_hello(struct pgc *);
void	pgc_read(struct pgc *);
void	pgc_flush(struct pgc *);
void	pgc_look(struct pgc *, int64_t now);

/* run.c */
void	run_queue(struct pgc *, uint64_t exec, const struct msg_run *, const uint8_t *body, size_t len);
void	run_cancel(struct pgc *, uint64_t exec, const struct pstr *reason);
void	run_start_waiting(struct pgc *);
void	run_drop_waiting(struct pgc *);
void	run_free_all(struct pgc *);

/* launch.c */
int	pgc_launch(int argc, char **argv);

#endif
