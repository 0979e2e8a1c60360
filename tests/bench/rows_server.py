"""The server over time: one-shot commands, a long closed loop beside an old transaction, and rest."""

import os
import re
import subprocess
import time

from harness import (PAYLOAD, ROUNDS, Counter, json, median, paths, processes, quantity, wait_empty, wait_for,
                     wait_serving)

ONE_SHOTS = int(os.environ.get("PGC_BENCH_ONESHOTS", "4000"))
LOOP_SECONDS = int(os.environ.get("PGC_BENCH_LOOP_SECONDS", "60"))
LOOP_OUTSTANDING = 10000
LOOP_BATCH = 1000
REST_SECONDS = int(os.environ.get("PGC_BENCH_REST_SECONDS", "30"))


def one_shot_rate(b):
    """Executions of /bin/true per second, from the first one finished to the last."""
    name = b.database()
    conn = b.connect(name)
    b.declare(conn, "true")
    b.fill(conn, ONE_SHOTS, task="true")
    conn.execute("checkpoint")
    server = b.server(name, 'queue "default" { concurrency = 2 }\ntask "true" { exec = {"/bin/true"} }\n')
    wait_for(lambda: conn.execute("select count(*) = %s from pgconductor.finished_executions", (ONE_SHOTS,)).fetchone()[0],
             300, "every command ran", poll=0.05)
    # Between the tenth and the ninetieth percentile: neither the start nor the last batch of outcomes blurs it.
    seconds, states = conn.execute("""select extract(epoch from percentile_disc(0.9) within group (order by finished_at)
            - percentile_disc(0.1) within group (order by finished_at)), array_agg(distinct state)
        from pgconductor.finished_executions""").fetchone()
    assert states == ["completed"], states
    server.stop()
    conn.close()
    return 0.8 * ONE_SHOTS / float(seconds)


def fork_rate():
    done = subprocess.run([paths.built("tests/bench/forkloop"), str(ONE_SHOTS), "2", "/bin/true"],
                          stdout=subprocess.PIPE, text=True, check=True)
    return float(done.stdout)


def one_shot(b, rows):
    """Row oneshot: against a bare fork, exec and wait."""
    pairs, ours, bare = [], [], []
    for _ in range(ROUNDS):
        # Before and after, so that a machine that changes its pace meanwhile does so for both.
        before = fork_rate()
        ours.append(one_shot_rate(b))
        bare.append((before + fork_rate()) / 2)
        pairs.append(ours[-1] / bare[-1])
    b.report("oneshot", "one-shot /bin/true, concurrency 2", median(pairs), 0.7,
             detail=f"{quantity(median(ours))}/s, fork+exec+wait {quantity(median(bare))}/s")


def closed_loop(b, old_transaction):
    """Jobs/s of the first and the last ten seconds, with so many jobs outstanding all the time."""
    name = b.database()
    conn = b.connect(name)
    counter = Counter(b.tmp)
    server = b.server(name, b.noop_config(counter))
    wait_serving(conn, server)
    if old_transaction:
        old = b.connect(name)
        old.execute("begin isolation level repeatable read")
        old.execute("select count(*) from pgconductor.executions")
    items = json.dumps([{"payload": json.loads(PAYLOAD)}] * LOOP_BATCH)
    invoked = 0
    marks = []
    start = time.monotonic()
    while (now := time.monotonic()) - start < LOOP_SECONDS:
        done = counter.jobs
        if not marks or now - marks[-1][0] >= 0.1:
            marks.append((now, done))
        if invoked - done < LOOP_OUTSTANDING:
            conn.execute("select pgconductor.invoke_batch('noop', %s)", (items,), prepare=True)
            invoked += LOOP_BATCH
        else:
            time.sleep(0.001)
    marks.append((time.monotonic(), counter.jobs))
    wait_for(lambda: counter.jobs >= invoked, 60, "every job ran")
    wait_empty(conn)
    assert counter.jobs == invoked, f"{counter.jobs} runs of {invoked} jobs"
    server.stop()
    if old_transaction:
        old.execute("rollback")
        old.close()
    conn.close()

    def rate(begin, end):
        inside = [m for m in marks if begin <= m[0] - start <= end]
        return (inside[-1][1] - inside[0][1]) / (inside[-1][0] - inside[0][0])
    # The first second fills the pipeline.
    return rate(1, 11), rate(LOOP_SECONDS - 10, LOOP_SECONDS + 1)


def loop(b, rows):
    """Row loop: beside an old repeatable-read transaction, and without."""
    within, beside, lasts, withouts, alone = [], [], [], [], []
    for _ in range(ROUNDS):
        begin, without = closed_loop(b, False)
        first, last = closed_loop(b, True)
        within.append(last / first)
        beside.append(last / without)
        lasts.append(last)
        withouts.append(without)
        alone.append(without / begin)
    # Checkpoints and a growing table slow a machine down within a minute, whoever holds a transaction open.
    b.report("loop", f"closed loop, old transaction: last 10 of {LOOP_SECONDS} s to its first", median(within), 0.9,
             detail=f"{quantity(median(lasts))}/s; without it {median(alone):.2f}")
    b.report("loop", "the same to the last 10 s without", median(beside), 0.9, detail=f"{quantity(median(withouts))}/s")


def count_queries(b, start):
    """Statements in PostgreSQL's log from this position on, and what they were."""
    with open(b.cluster.log, encoding="utf-8", errors="replace") as file:
        file.seek(start)
        lines = [line for line in file if re.search(r"LOG:  (statement|execute \S*|fastpath function call):", line)]
    kinds = {}
    for line in lines:
        what = re.sub(r"^.*?LOG:  (statement|execute (\S*)):\s*", "", line.strip())[:40]
        kinds[what] = kinds.get(what, 0) + 1
    return len(lines), kinds


def rest_of(b, conn, server, seconds):
    """Queries per second, and processor time in percent of master, workers, handlers and of their backends."""
    pids = [server.pid, *server.tree()]
    backends = [row[0] for row in conn.execute(
        "select pid from pg_stat_activity where application_name like 'pgconductor %' and datname = current_database()")]
    size = os.path.getsize(b.cluster.log)

    def used(group):
        return sum(processes.cpu_seconds(pid) for pid in group)
    before = used(pids), used(backends)
    time.sleep(seconds)
    after = used(pids), used(backends)
    queries, kinds = count_queries(b, size)
    return queries / seconds, 100 * (after[0] - before[0]) / seconds, 100 * (after[1] - before[1]) / seconds, kinds


def rest(b, rows):
    """Row rest: nothing to do, and beside a transaction that invoked and does not commit."""
    name = b.database()
    conn = b.connect(name)
    counter = Counter(b.tmp)
    server = b.server(name, b.noop_config(counter))
    wait_serving(conn, server)
    conn.execute("select pgconductor.invoke('noop', '1'::text)")
    wait_for(lambda: counter.jobs == 1, 10, "a first job ran")
    wait_empty(conn)
    conn.execute("alter system set log_statement = 'all'")
    conn.execute("select pg_reload_conf()")
    time.sleep(3)
    idle = rest_of(b, conn, server, REST_SECONDS)
    client = b.connect(name)
    client.execute("begin")
    client.execute("select pgconductor.invoke('noop', '2'::text)")
    time.sleep(1)
    beside = rest_of(b, conn, server, REST_SECONDS)
    client.execute("commit")
    client.close()
    wait_for(lambda: counter.jobs == 2, 10, "the job of the open transaction ran")
    conn.execute("alter system reset log_statement")
    conn.execute("select pg_reload_conf()")
    server.stop()
    conn.close()
    for what, target, (queries, cpu, backends, kinds) in (("at rest", 2, idle), ("beside an open invoke", 10, beside)):
        b.report("rest", f"{what}: queries/s of the node", queries, target, False,
                 ", ".join(f"{n}× {k}" for k, n in sorted(kinds.items(), key=lambda i: -i[1])[:2]))
        b.report("rest", f"{what}: processor time of the node", cpu, 0.5, False, f"its backends {backends:.2f} %", " %")
