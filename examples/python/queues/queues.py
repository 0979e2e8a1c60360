"""A task for each of four queues; how many run at once in each, it says to the server."""

import asyncio
import time
from typing import NamedTuple

from pgconductor import serve, task


class Span(NamedTuple):
    """From when to when it ran."""

    begin: float
    end: float


async def work(seconds: float) -> Span:
    begin = time.time()
    await asyncio.sleep(seconds)
    return Span(begin, time.time())


@task
async def plain(number: int) -> Span:
    return await work(0.1)


@task(queue="fast")
async def fast(number: int) -> Span:
    return await work(0.05)


@task(queue="normal")
async def normal(number: int) -> Span:
    return await work(0.15)


@task(queue="slow")
async def slow(number: int) -> Span:
    return await work(0.25)


if __name__ == "__main__":
    serve(queues={"default": {"concurrency": 2}, "fast": {"concurrency": 5}, "normal": {"concurrency": 3}, "slow": {"concurrency": 1}})
