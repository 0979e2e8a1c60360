"""The Python handler of the benchmark: the task "noop" takes its payload apart and returns a little JSON.

It counts in a page that it shares with the harness, see Counter in harness.py: jobs run, and the time of the first.

usage: noop.py COUNTER
"""

import mmap
import struct
import sys
import time

from pgconductor import serve, task

with open(sys.argv[1], "r+b") as file:
    page = mmap.mmap(file.fileno(), 4096)
put = struct.Struct("<Q").pack_into
jobs = 0


@task
def noop(payload: dict[str, str]) -> dict[str, int]:
    global jobs
    if jobs == 0:
        put(page, 8, time.time_ns())
    jobs += 1
    put(page, 0, jobs)
    return {"length": len(payload["pad"])}


serve()
