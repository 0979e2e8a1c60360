"""What the control of the flow costs: limits that are not reached, others beside them, delays, and a handler that dies."""

import time

from harness import JOBS, ROUNDS, Counter, median, quantity, wait_all_run, wait_empty
from rows_drain import drain, ready_database

# Far more than there are slots.
NEVER_REACHED = '{"concurrency": 1000000}'


TOGETHER = 100


def drain_batches(b):
    """Jobs/s of a task that takes many at once."""
    return drain(b, True, handler=lambda b, counter: b.noop_config(counter, TOGETHER))[0]


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


def drain_delayed(b):
    """Jobs/s from the first job's start to the last one settled, of jobs that have all become due before the server came."""
    name = b.database()
    conn = b.connect(name)
    b.declare(conn, history=True)
    b.fill(conn, JOBS, delay="1 hour")
    conn.execute("select pgconductor.fake_now(pgconductor.now() + interval '2 hours')")
    conn.execute("checkpoint")
    counter = Counter(b.tmp)
    server = b.server(name, b.noop_config(counter))
    wait_all_run(counter, JOBS, server)
    settled = wait_empty(conn)
    rate = JOBS / (settled - counter.first)
    assert counter.jobs == JOBS, f"{counter.jobs} runs of {JOBS} jobs"
    server.stop()
    conn.close()
    return rate


DEATHS = 3


def drain_with_deaths(b):
    """The same, of jobs whose process is killed by another one that goes before them, several times, until that has failed."""
    name = b.database()
    conn = b.connect(name)
    b.declare(conn, history=True)
    conn.execute("select pgconductor.declare_task('noop', options => '{\"backoff\": \"1ms\", \"max_attempts\": 1000}', source => 'set')")
    conn.execute("select pgconductor.declare_task('die', options => %s)", (f'{{"backoff": "500ms", "max_attempts": {DEATHS}, "priority": 1}}',))
    b.fill(conn, JOBS)
    conn.execute("select pgconductor.invoke('die', delay => '100 ms')")
    conn.execute("checkpoint")
    counter = Counter(b.tmp)
    server = b.server(name, b.noop_config(counter))
    wait_all_run(counter, JOBS, server)
    rate = JOBS / (wait_empty(conn) - counter.first)
    server.stop()
    outcomes = conn.execute("select task, state, max(attempt), count(*) from pgconductor.finished_executions group by 1, 2 order by 1").fetchall()
    assert [(t, s, n) for t, s, _, n in outcomes] == [("die", "failed", 1), ("noop", "completed", JOBS)], outcomes
    assert outcomes[0][2] == DEATHS, outcomes
    conn.close()
    return rate


def others(b, rows):
    """Rows delayed, deaths and batches, each next to a plain drain."""
    figures = {}
    for _ in range(ROUNDS):
        plain = drain(b, True)[0]
        for row, one in (("delayed", drain_delayed), ("deaths", drain_with_deaths), ("batches", drain_batches)):
            if row in rows:
                rate = one(b)
                figures.setdefault(row, []).append((rate / plain, rate))
    for row, what, target in (("delayed", "jobs that were delayed, all due at once, to a plain drain", 0.8),
                              ("deaths", f"jobs beside one whose process dies {DEATHS} times", 0.9),
                              ("batches", f"a task that takes {TOGETHER} at once, to a plain drain", 1.0)):
        if row in rows:
            ratios, rates = zip(*figures[row])
            b.report(row, what, median(ratios), target, detail=f"{quantity(median(rates))}/s")


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
