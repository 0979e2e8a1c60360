"""The Python handler of the benchmark's row about steps: the task "steps" saves 20, each before the next.

It counts them in a page that it shares with the harness, see Counter in harness.py.

usage: durable.py CONCURRENCY COUNTER
"""

import mmap
import struct
import sys
import time

from pgconductor import AsyncContext, serve, task

STEPS = 20

with open(sys.argv[2], "r+b") as file:
    page = mmap.mmap(file.fileno(), 4096)
put = struct.Struct("<Q").pack_into
saved = 0


def charge() -> dict[str, object]:
    return {"charged": "0123456789abcdef", "amount": 1250}


@task
async def steps(payload: dict[str, str], ctx: AsyncContext) -> None:
    global saved
    if saved == 0:
        put(page, 8, time.time_ns())
    for i in range(STEPS):
        await ctx.step(f"step-{i}", charge)
        saved += 1
        put(page, 0, saved)


serve(concurrency=int(sys.argv[1]))
