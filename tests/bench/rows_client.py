"""What a client sees: the cost of invoke and invoke_batch, and how long it takes until a handler starts."""

import json
import os
import re
import subprocess
import time

from harness import PAYLOAD, ROUNDS, Counter, median, paths, percentile, quantity, wait_for, wait_serving
from support.server import clean_environment

# One slice of a comparison; two sides take turns so many times in each round.
SECONDS = float(os.environ.get("PGC_BENCH_SECONDS", "3"))
SLICES = 4
BARE_COLUMNS = "created_at, run_at, shard, lane, priority, awaited, queue, task, payload"


def take_turns(b, row, what, target, measure):
    """Report ours to bare, each on a database of its own: measure(connection, kind) does one slice, returns a rate."""
    pairs, figures = [], {"ours": [], "bare": []}
    for _ in range(ROUNDS):
        names = {"ours": b.database()}
        names["bare"] = b.database(keep=(names["ours"],))
        connections = {kind: b.connect(name) for kind, name in names.items()}
        for conn in connections.values():
            b.declare(conn)
        connections["ours"].execute("checkpoint")
        rates = {"ours": [], "bare": []}
        for number in range(SLICES):
            for kind in ("ours", "bare") if number % 2 == 0 else ("bare", "ours"):
                rates[kind].append(measure(connections[kind], kind))
        for kind, conn in connections.items():
            figures[kind].append(sum(rates[kind]) / SLICES)
            conn.close()
        pairs.append(figures["ours"][-1] / figures["bare"][-1])
    b.report(row, what, median(pairs), target,
             detail=f"{quantity(median(figures['ours']))}/s, bare {quantity(median(figures['bare']))}/s")


def pgbench(b, name, script):
    """Transactions per second of 8 clients."""
    path = os.path.join(b.tmp, "script.sql")
    with open(path, "w", encoding="utf-8") as file:
        file.write(script)
    done = subprocess.run([f"{b.cluster.bindir}/pgbench", "-n", "-M", "prepared", "-c", "8", "-j", "2",
                           "-T", str(max(1, round(SECONDS))), "-f", path, "-h", b.cluster.dir, "-U", "postgres", name],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=clean_environment())
    found = re.search(r"^tps = ([\d.]+)", done.stdout, re.M)
    if done.returncode != 0 or not found or "number of failed transactions: 0 " not in done.stdout:
        raise RuntimeError(f"pgbench: {done.stdout}")
    return float(found[1])


def invoke(b, rows):
    """Row invoke: 8 clients, against the same clients inserting into the same table."""
    scripts = {
        "ours": f"select pgconductor.invoke('noop', '{PAYLOAD}'::text);\n",
        "bare": f"\\set shard random(1, 4)\ninsert into pgconductor.executions ({BARE_COLUMNS})"
                f" values (now(), now(), :shard, 0, 0, false, 'default', 'noop', '{PAYLOAD}') returning id;\n",
    }
    take_turns(b, "invoke", "invoke from 8 clients, against bare inserts", 0.75,
               lambda conn, kind: pgbench(b, conn.info.dbname, scripts[kind]))


def batches(conn, query, parameter):
    """Rows per second of one client sending 1,000 at a time."""
    sent = 0
    cursor = conn.cursor()
    start = time.monotonic()
    while time.monotonic() - start < SECONDS / 2:
        cursor.execute(query, (parameter,), prepare=True)
        sent += 1000
    return sent / (time.monotonic() - start)


def batch(b, rows):
    """Row batch: invoke_batch of 1,000, against inserts of 1,000 rows into the same table."""
    items = json.dumps([{"payload": json.loads(PAYLOAD)}] * 1000)
    array = "{" + ",".join(['"' + PAYLOAD.replace('"', '\\"') + '"'] * 1000) + "}"
    queries = {
        "ours": ("select pgconductor.invoke_batch('noop', %s::json)", items),
        "bare": (f"insert into pgconductor.executions ({BARE_COLUMNS}) select now(), now(), 1 + n %% 4, 0, 0, false,"
                 " 'default', 'noop', p from unnest(%s::json[]) with ordinality as t(p, n) returning id", array),
    }
    take_turns(b, "batch", "invoke_batch of 1,000, against bare inserts", 0.75,
               lambda conn, kind: batches(conn, *queries[kind]))


def measure_latency(b, interval_ms, samples):
    """p50 and p99 in ms from before invoke to the handler's start, less the median of a bare commit; that and its p99."""
    name = b.database()
    conn = b.connect(name)
    counter = Counter(b.tmp)
    server = b.server(name, b.noop_config(counter))
    wait_serving(conn, server)
    client = [paths.built("tests/bench/latency"), b.cluster.dsn(name), str(interval_ms)]
    # The first ones prepare statements and fill caches.
    subprocess.run([*client, "3"], stdout=subprocess.DEVNULL, check=True, env=clean_environment())
    wait_for(lambda: len(counter.samples()) == 3, 30, "the first jobs ran")
    done = subprocess.run([*client, str(samples)], stdout=subprocess.PIPE, text=True, check=True, env=clean_environment())
    wait_for(lambda: len(counter.samples()) >= samples + 3, 30, "every job ran")
    commits = [int(line) for line in done.stdout.split()]
    bare = median(commits)
    waits = [w - bare for w in counter.samples()[3:]]
    server.stop()
    conn.close()
    return [ns / 1e6 for ns in (percentile(waits, 50), percentile(waits, 99), bare, percentile(commits, 99))]


def latency(b, rows):
    """Row latency: awake (a job each 20 ms) and asleep in between (one each 3 s)."""
    awake = [measure_latency(b, 20, 500) for _ in range(ROUNDS)]
    p50, p99, commit, commit99 = (median(column) for column in zip(*awake))
    b.report("latency", "a job each 20 ms, to the handler's start, p50", p50, 1.5, False, f"bare commit {commit:.2f} ms", "ms")
    # A disk or a neighbour that makes one commit in a hundred slow does so for both.
    b.report("latency", "the same, p99", p99, 6, False, f"bare commit's p99 {commit99:.2f} ms", "ms")
    asleep = [measure_latency(b, 3000, 7) for _ in range(ROUNDS)]
    b.report("latency", "a job each 3 s, asleep in between, p50", median([row[0] for row in asleep]), 3, False,
             f"worst {max(row[1] for row in asleep):.2f} ms", "ms")
