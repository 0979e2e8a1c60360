/*
 * conform, which judges a handler by docs/protocol.md: what its files share. Private to cli/conform*.c.
 *
 *	conform.c		the command: which cases, several at once, what is printed
 *	conform_session.c	playing the worker to one process of the handler
 *	conform_frames.c	what it sends
 *	conform_process.c	that process: starting and ending it
 *	conform_raw.c		frames in forms that the codec does not write
 *	conform_json.c		whether two JSON texts mean the same
 *	conform_start.c		cases: beginning and ending a session
 *	conform_run.c		cases: executions and their outcomes
 *	conform_flow.c		cases: beats, credit, several at once, cancelling, draining
 *	conform_steps.c		cases: steps that are saved
 *	conform_waits.c		cases: waiting, children, calls, checkpoints
 *	conform_triggers.c	cases: events, schedules
 *	conform_batch.c		cases: several executions at once
 *
 * Cases run in children of the command. One that is not satisfied says so (conform_fail) and ends its child there and
 * then, so a case is written as the story of what should happen.
 */
#ifndef CLI_CONFORM_H
#define CLI_CONFORM_H

#include <sys/types.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"
#include "proto/messages.h"

#define CONFORM_QUEUE	"default"
#define CONFORM_MAX_PAYLOAD	(16u << 20)
#define CONFORM_TEXT	120		/* bytes of JSON or of a message that a text shows */
#define CONFORM_FRAME_ROOM	(1u << 20)	/* what max_frame allows beside a payload */
#define CONFORM_QUIET_MS	100		/* in which nothing comes that would come by itself */
#define CONFORM_CAPABILITIES	9		/* all that there are */
#define CONFORM_KEY_BYTES	1024

struct session;

struct conform_case {
	const char	*name;
	const char	*what;		/* one line, for --list and the table of docs/conform.md */
	void		(*run)(struct session *);
	const char	*group;		/* neighbours of one group share a process of the handler; NULL: its own */
	bool		 gate;		/* what stands below it cannot be judged without it */
};

/* Each ends with name NULL. */
extern const struct conform_case conform_start_cases[], conform_run_cases[], conform_flow_cases[], conform_steps_cases[],
    conform_waits_cases[], conform_triggers_cases[], conform_batch_cases[];

/* ---- conform.c ---- */

extern int64_t conform_timeout_ms;

/* The case is not satisfied. Ends this child. Both texts are one or more lines, without a newline at the end. */
void	conform_fail(struct session *, const char *expected, const char *came) __attribute__((noreturn));
void	conform_differs(struct session *, const char *expected, const char *fmt, ...)
	    __attribute__((format(printf, 3, 4), noreturn));
/* The case does not apply: to be called once, just before the case returns. */
void	conform_skip(struct session *, const char *why);
/* It cannot be started at all, which is no verdict about a handler: the command ends. Ends this child. */
void	conform_broken(const char *why) __attribute__((noreturn));

/* ---- conform_session.c ---- */

/* A frame of the handler that is no business of the session's. Borrowed until the next is taken. */
struct frame {
	unsigned	 type;		/* BYE, or that of one of these */
	uint64_t	 exec;
	struct msg_done	 done;
	struct msg_fail	 fail;
	struct msg_suspend suspend;
	struct msg_step	 step;
	struct msg_call	 call;
	struct msg_progress progress;
	struct msg_journal journal;
};

/* An execution it has been given and has not answered. */
struct given {
	uint64_t	 exec;
	size_t		 bytes;
};

struct session {
	/* its process; see conform_process.c */
	pid_t		 pid;		/* 0: not started */
	int		 pidfd;
	int		 fd;		/* our end of its socket; -1: closed */
	int		 output;	/* its stdout and stderr; -1: closed */
	bool		 exited;
	int		 status;
	struct buf	 log;		/* what it printed */

	/* the socket */
	struct buf	 in, out;
	size_t		 taken;		/* bytes of in that the last frame had */
	int64_t		 heard;		/* when something came last */
	bool		 eof;
	bool		 deaf;		/* the socket is not read */
	size_t		 sip;		/* most bytes read at once; 0: no limit */

	/* HELLO: as it came first, and what it says now */
	struct msg	 hello_frame;
	struct msg_hello hello;
	uint8_t		*hello_body;
	char		*hello_wrong;	/* why it cannot be decoded */
	char		*before_hello;	/* the frame that came first instead */
	unsigned	 hellos;
	uint64_t	 credit, concurrency, window, beat_ms;

	/* executions */
	bool		 open;		/* WELCOME was sent */
	uint64_t	 max_frame, max_payload;
	uint64_t	 next_exec;
	struct given	*given;
	size_t		 given_n, given_cap;
	size_t		 given_bytes;

	/* what came */
	struct msg	 msg;
	struct frame	 frame;
	struct { uint64_t exec; char *level, *message; } last_log;
	bool		 said_bye;
	char		 after_bye[64];	/* the first frame after BYE */

	const char	*skip;		/* set by conform_skip */
};

void	session_init(struct session *);
int64_t	session_now(void);
/* Until when something that is due now may take. */
int64_t	session_due(void);
/* "within 10s", for texts. */
const char *session_patience(void);

/* One round of waiting: reads and writes what can be. False when the time is over. */
bool	session_pump(struct session *, int64_t until);
/* Lets time pass, while the session goes on. */
void	session_pause(struct session *, int64_t ms);
/* Until it has read all that was sent to it; and for a moment longer, in which it begins with that. */
void	session_flush(struct session *);
void	session_settle(struct session *);

/* Starts it and waits for HELLO; NULL as the queue is a discovery. Returns false, without judging, when none came. */
bool	session_listen(struct session *, const char *queue);
/* Fails unless a HELLO came that can be read. */
void	session_begin(struct session *, const char *queue);
/* Fills in a WELCOME for that HELLO; there must be room for CONFORM_CAPABILITIES. */
void	session_fill_welcome(struct session *, const char *queue, struct msg_welcome *, struct pstr *capabilities);
void	session_welcome(struct session *, const char *queue);
/* Does both for the queue "default", unless it was done. */
void	session_open(struct session *);
bool	session_announced(const struct session *, const char *task);
bool	session_can(const struct session *, const char *capability);
/* Opens it. False: the case is skipped, as the handler does not name the capability, or announce the task. */
bool	session_offers(struct session *, const char *capability, const char *task);

/* Bytes for the handler; the buffer is emptied. */
void	session_send(struct session *, struct buf *);
/* How many executions of so many bytes it can be given at once, at least one. */
size_t	session_room(const struct session *, size_t most, size_t bytes);
/* An execution of a task; the caller keeps within session_room. Returns its number. */
uint64_t session_run(struct session *, const char *task, const char *payload);
/* The same for a RUN whose other fields were filled in; those left out get ordinary values. */
uint64_t session_run_as(struct session *, const char *task, const char *payload, struct msg_run *);
/* A number for an execution whose RUN of so many bytes the caller sends itself. */
uint64_t session_give(struct session *, size_t bytes);
void	session_give_as(struct session *, uint64_t exec, size_t bytes);
/* One that takes no credit of its own: of a batch, behind the first. */
uint64_t session_give_along(struct session *, size_t bytes);
void	session_cancel(struct session *, uint64_t exec);
/* Its node may no longer run it: CANCEL in place of an answer. */
void	session_lose(struct session *, uint64_t exec);
void	session_drain(struct session *);
void	session_shut(struct session *);		/* our side only */
void	session_close(struct session *);

/* What has become of it, when an answer is missing. */
const char *session_fate(struct session *);
/* Whether this is JSON that means the same; what was left out is null. */
bool	session_means(struct pstr, const char *json);
/* Fails unless the next answer is DONE for this execution and means the same JSON. */
void	session_expect(struct session *, uint64_t exec, const char *json);
/* Fails unless it is a FAIL for this execution; borrowed. */
const struct msg_fail *session_expect_fail(struct session *, uint64_t exec);
/* After CANCEL: fails unless a final frame of any kind comes for it. What was said before is ignored. */
void	session_expect_end(struct session *, uint64_t exec);
/* Runs conform.echo with this and expects it back. */
void	session_echo(struct session *, const char *json);
/* Fails unless the process ends by itself in time. */
void	session_expect_exit(struct session *, const char *expected);

/* ---- conform_frames.c ---- */

/* The next whole frame of what was read, borrowed until the next call; NULL. */
const uint8_t *session_body(struct session *, size_t *len);
/*
 * The next frame that is no business of the session's, or NULL when the time is over or the socket has ended. Breaches of
 * the protocol fail.
 */
const struct frame *session_try(struct session *, int64_t until);
/* The same; fails when there is none in time. */
const struct frame *session_next(struct session *, const char *expected);
/* The same; fails when it is neither DONE nor FAIL. */
const struct frame *session_final(struct session *, const char *expected);
/* What a frame says, cut to a length that can be read. Borrowed until the next call. */
const char *session_text(const struct frame *);
/* The same of JSON, with its length where it was cut. The caller frees it. */
char	*session_cut(const char *, size_t len);

/* ---- conform_process.c ---- */

/* Starts the command line's CMD as a worker would; does not return when it cannot be executed. */
void	process_start(struct session *, const char *queue);
/* Takes note of its end, if it has ended. */
void	process_look(struct session *);
/* Ends it with all it has started; what it printed is kept. */
void	process_end(struct session *);
/* Is something left of it, besides itself? */
bool	process_left_some(const struct session *);
const char *process_fate(const struct session *);

/* ---- conform_raw.c ---- */

/* Forms of a RUN that say the same. */
struct raw_form {
	bool	reversed;	/* the fields in reverse order */
	bool	unknown;	/* with keys that nobody knows */
	bool	nils;		/* optional fields that are nil */
	bool	wide_uints;	/* numbers as 64-bit unsigned */
	bool	wide_ints;	/* numbers as 64-bit signed */
	bool	wide_heads;	/* arrays, maps and strings with 32-bit lengths */
};

/* Appends a frame: a RUN of conform.echo with this payload. */
void	raw_run(struct buf *, const struct raw_form *, uint64_t exec, const char *payload);
/* Appends a WELCOME with unknown keys. */
void	raw_welcome(struct buf *, const struct msg_welcome *);
/* Appends a frame of a type that does not exist. */
void	raw_unknown(struct buf *, unsigned type, uint64_t exec);

/* ---- conform_json.c ---- */

/* Do two valid JSON texts mean the same? Keys in any order, numbers by value, strings by their characters. */
bool	conform_same_json(const char *, const char *);
/* Has an object all that another one has? */
bool	conform_has_json(const char *, const char *part);

#endif
