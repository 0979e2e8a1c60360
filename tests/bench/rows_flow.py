"""Limits: what they cost while they are not reached, and what they cost others when they are."""

import time

from harness import JOBS, ROUNDS, Counter, median, quantity, wait_all_run
from rows_drain import drain, ready_database

# Far more than there are slots.
NEVER_REACHED = '{"concurrency": 1000000}'


def drain_beside(b):
    """Jobs/s run of a task without a limit, beside a backlog of one that has reached its own."""
    name, conn = ready_database(b, True, JOBS)
    conn.execute("select pgconductor.declare_task('slow', options => '{\"rate_limit\": {\"limit\": 5}}')")
    b.fill(conn, JOBS // 10, task="slow")
    conn.execute("checkpoint")
    counter = Counter(b.tmp)
    server = b.server(name, b.noop_config(counter) + 'task "slow" { exec = "true" rate_limit = 5 }\n')
    wait_all_run(counter, JOBS, server)
    rate = JOBS / (time.time() - counter.first)
    server.kill9()
    conn.close()
    return rate


def limits(b, rows):
    """Rows limit and beside, each next to a plain drain."""
    ratios, figures = {}, {}
    for _ in range(ROUNDS):
        plain = drain(b, True)
        if "limit" in rows:
            limited = drain(b, True, limits=NEVER_REACHED)[0]
            ratios.setdefault("limit", []).append(limited / plain[0])
            figures.setdefault("limit", []).append(limited)
        if "beside" in rows:
            beside = drain_beside(b)
            ratios.setdefault("beside", []).append(beside / plain[1])
            figures.setdefault("beside", []).append(beside)
    for row, what, target in (("limit", "a limit that is not reached, to a plain drain", 0.7),
                              ("beside", "a task without a limit beside one that has reached it", 0.95)):
        if row in rows:
            b.report(row, what, median(ratios[row]), target, detail=f"{quantity(median(figures[row]))}/s")
