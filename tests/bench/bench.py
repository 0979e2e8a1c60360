#!/usr/bin/python3
"""make bench: every figure as a ratio or a value beside its target, ok or MISS.

usage: bench.py [ROW…]   rows: drain nohistory graphile python node oneshot invoke batch latency loop backlog memory
                            rest steps children resumes replay trigger emit emitmany fanout wakeups limit beside
                            delayed deaths batches fifo hotkey

A cluster of its own, fsync on and default settings; jobs with 200 bytes of payload; medians of three, pairs
interleaved; counts checked. For a quick look: PGC_BENCH_ROUNDS=1, PGC_BENCH_JOBS, PGC_BENCH_SECONDS,
PGC_BENCH_LOOP_SECONDS. PGC_BENCH_DIR: where the cluster is made. Exit status 1 if a figure misses its target.
"""

import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True

import harness  # noqa: E402
import rows_changes  # noqa: E402
import rows_client  # noqa: E402
import rows_drain  # noqa: E402
import rows_durable  # noqa: E402
import rows_events  # noqa: E402
import rows_flow  # noqa: E402
import rows_keys  # noqa: E402
import rows_server  # noqa: E402

# In this order; a function is called once with those of its rows that were asked for.
GROUPS = [
    (("drain", "nohistory", "graphile", "python", "node"), rows_drain.engine),
    (("oneshot",), rows_server.one_shot),
    (("invoke",), rows_client.invoke),
    (("batch",), rows_client.batch),
    (("latency",), rows_client.latency),
    (("loop",), rows_server.loop),
    (("backlog", "memory"), rows_drain.backlog),
    (("rest",), rows_server.rest),
    (("steps", "children", "resumes", "replay"), rows_durable.durable),
    (("trigger",), rows_changes.trigger),
    (("emit",), rows_events.emit),
    (("emitmany",), rows_events.emit_many),
    (("fanout",), rows_events.fan_out),
    (("wakeups",), rows_events.wake_ups),
    (("limit", "beside"), rows_flow.limits),
    (("delayed", "deaths", "batches"), rows_flow.others),
    (("fifo", "hotkey"), rows_keys.keys),
]
ROWS = [row for rows, _ in GROUPS for row in rows]


def main(wanted):
    unknown = [row for row in wanted if row not in ROWS]
    if unknown:
        print(f"bench: {unknown[0]}: no such row; rows: {' '.join(ROWS)}", file=sys.stderr)
        return 64
    wanted = wanted or ROWS
    start = time.monotonic()
    with harness.Bench() as b:
        version = b.connect("postgres").execute("show server_version").fetchone()[0]
        print(f"PostgreSQL {version}, fsync on, default settings; {os.cpu_count()} processors;"
              f" queue {harness.QUEUE_OPTIONS}; {harness.ROUNDS} rounds", flush=True)
        busy = harness.taken_by_others()
        if busy > 5:
            print(f"     others take {busy:.0f} % of the processors' time: no figure is to be trusted", flush=True)
        for rows, measure in GROUPS:
            chosen = [row for row in rows if row in wanted]
            if chosen:
                measure(b, chosen)
    missed = [result for result in b.results if not result[-1]]
    print(f"{len(b.results) - len(missed)} ok, {len(missed)} missed, {time.monotonic() - start:.0f} s")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
