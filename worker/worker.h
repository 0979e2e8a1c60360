/*
 * The worker: one process for each queue, started by the master as `pgconductor _worker QUEUE …` with its socket at
 * descriptor 3. It runs the queue's handlers and one-shot commands. It never talks to PostgreSQL.
 */
#ifndef WORKER_WORKER_H
#define WORKER_WORKER_H

/* argv: _worker QUEUE [LOG-LEVEL [LOG-FORMAT]]; the queue is empty for discovery. Returns the exit status. */
int	worker_main(int argc, char **argv);

#endif
