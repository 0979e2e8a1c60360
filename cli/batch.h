/*
 * Many executions at once. Private to cli/.
 */
#ifndef CLI_BATCH_H
#define CLI_BATCH_H

#include <libpq-fe.h>

/*
 * Creates an execution of a task for each line of a file (- is stdin), all or none, and prints their ids. same: what
 * stands in each item behind its payload, as ",\"name\":value…"; NULL: lines are whole items, with their own options. Exits
 * with a message when something is wrong, or is ended by the signal that interrupts it; then nothing was created.
 */
void	batch_invoke(PGconn *, const char *task, const char *path, const char *same);

#endif
