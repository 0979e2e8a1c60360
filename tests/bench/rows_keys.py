"""Keys: a million of them, each in its order; and one of which much waits, beside others."""

import time

from harness import JOBS, ROUNDS, Counter, median, quantity, wait_all_run, wait_empty
from rows_drain import check_finished, drain

OPTIONS = '{"fifo_key": "k", "remove_on_complete": 0}'
BATCH = 1000
# Beside the one of which much waits.
OTHERS = 500


def fill(conn, jobs, key):
    """So many, each with the key that an SQL expression makes of its number n."""
    for first in range(1, jobs + 1, BATCH):
        conn.execute(f"""select pgconductor.invoke_batch('noop', json_agg(json_build_object('payload',
            json_build_object('k', {key}, 'pad', repeat('x', 170)))))
            from generate_series(%s::int, %s::int) n""", (first, min(first + BATCH - 1, jobs)))


def keyed_database(b):
    name = b.database()
    conn = b.connect(name)
    conn.execute("select pgconductor.declare_task('noop', options => %s)", (OPTIONS,))
    return name, conn


def drain_keys(b, jobs):
    """Jobs/s of as many keys as jobs, until the last one is settled."""
    name, conn = keyed_database(b)
    fill(conn, jobs, "n")
    conn.execute("checkpoint")
    counter = Counter(b.tmp)
    server = b.server(name, b.noop_config(counter))
    wait_all_run(counter, jobs, server)
    settled = wait_empty(conn)
    assert counter.jobs == jobs, f"{counter.jobs} runs of {jobs} jobs"
    rate = jobs / (settled - counter.first)
    server.stop()
    check_finished(conn, False, jobs)
    conn.close()
    return rate


def drain_beside_hot(b):
    """Jobs/s that run in all, and of one key, while that has more than can run meanwhile."""
    name, conn = keyed_database(b)
    fill(conn, JOBS // 5, "'hot'")
    fill(conn, JOBS, f"md5((n %% {OTHERS})::text)")
    conn.execute("checkpoint")
    counter = Counter(b.tmp)
    server = b.server(name, b.noop_config(counter))
    wait_all_run(counter, JOBS, server)
    took = time.time() - counter.first
    left = conn.execute("select count(*) from pgconductor.executions where key = 'hot'").fetchone()[0]
    assert left > 0, "the hot key was over before the others"
    server.kill9()
    conn.close()
    return JOBS / took, (JOBS // 5 - left) / took


def keys(b, rows):
    """Rows fifo and hotkey, each next to a plain drain."""
    ratios, figures, hot = {}, {}, []
    for _ in range(ROUNDS):
        plain = drain(b, False)
        if "fifo" in rows:
            rate = drain_keys(b, 5 * JOBS)
            ratios.setdefault("fifo", []).append(rate / plain[0])
            figures.setdefault("fifo", []).append(rate)
        if "hotkey" in rows:
            rate, of_hot = drain_beside_hot(b)
            ratios.setdefault("hotkey", []).append(rate / plain[1])
            figures.setdefault("hotkey", []).append(rate)
            hot.append(of_hot)
    for row, what, target in (("fifo", f"{quantity(5 * JOBS)} keys in order, to a plain drain", 0.6),
                              ("hotkey", f"one key of which much waits, beside {OTHERS} others", 0.3)):
        if row in rows:
            more = f", {quantity(median(hot))}/s of that key" if row == "hotkey" else ""
            b.report(row, what, median(ratios[row]), target, detail=f"{quantity(median(figures[row]))}/s{more}")
