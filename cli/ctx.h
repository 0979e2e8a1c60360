/*
 * pgconductor ctx: what its files share. The cli process only.
 */
#ifndef CLI_CTX_H
#define CLI_CTX_H

#include "proto/c/join.h"

/* What `ctx invoke` exits with when a child has failed, and when it took too long. Uncaught, both fail for good. */
#define CTX_CHILD_FAILED	EX_DATAERR
#define CTX_CHILD_TIMEOUT	124

/*
 * Joins the run of the command that this process is part of, and calls the function with it; that returns 0, or PGC_OVER.
 * Returns what it left in ctx_status, 0 at first; exits when there is no such run, and when it is over. The keys are those
 * that the function will name, in their order, "" for one that is named by its turn.
 */
int	ctx_do(pgc_task_fn *, void *arg, const char *const *keys, size_t n);
extern int ctx_status;

/* Checks and returns a key given on the command line. */
const char *ctx_key(const char *);
/* Checks and returns a payload: JSON, - for stdin, @FILE; NULL is null. Never freed. */
const char *ctx_payload(const char *arg);
/* The result of a step or child: text without its quotes, null as nothing; with json as it is. */
void	ctx_print(const char *result, bool json);

extern const struct cli_command ctx_step, ctx_sleep, ctx_invoke, ctx_start, ctx_cancel, ctx_fail, ctx_log, ctx_progress,
    ctx_checkpoint, ctx_schedule, ctx_unschedule, ctx_emit, ctx_wait;

#endif
