"""Tasks that take several executions at once, with the Python library: those of batch_c.c.

As a program: batch_python.py python | python-async
"""

import asyncio
import os
import sys
import time
from typing import Any

from pgconductor import Batch, BatchContext, BatchEvent, NonRetryableError, serve, task

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))
from support.ledger import append  # noqa: E402

ASYNC = sys.argv[1] == "python-async"
WHOLE: Batch = {"size": 2, "timeout": 60}


def enter(events: list[BatchEvent[Any]]) -> None:
    for event in events:
        append(os.environ["LEDGER"], "start", event.id, event.attempt, " ".join(one.id for one in events))  # type: ignore[no-untyped-call]


def one(event: BatchEvent[Any], of: int) -> Any:
    if "fail" in event.payload:
        return (NonRetryableError if event.payload.get("for_good") else ValueError)(event.payload["fail"])
    return {"n": event.payload["n"], "of": of}


def total(events: list[BatchEvent[Any]], ctx: BatchContext) -> list[Any]:
    enter(events)
    ctx.logger.info(f"{len(events)} at once")
    return [one(event, len(events)) for event in events]


def short(events: list[BatchEvent[Any]]) -> list[bool]:
    return [True] * (len(events) - 1)


def lasting(events: list[BatchEvent[Any]], ctx: BatchContext) -> Any:
    return ctx.step("step", lambda: [1, 2])  # type: ignore[attr-defined]


def wait(events: list[BatchEvent[Any]], ctx: BatchContext) -> list[None]:
    enter(events)
    while True:
        ctx.check_cancelled()
        time.sleep(0.005)


async def wait_async(events: list[BatchEvent[Any]], ctx: BatchContext) -> list[None]:
    enter(events)
    await asyncio.sleep(3600)
    return []


def asynchronous(function: Any) -> Any:
    async def call(events: list[BatchEvent[Any]], ctx: BatchContext) -> Any:
        return function(*(events, ctx)[:function.__code__.co_argcount])
    return wait_async if function is wait else call if ASYNC else function


def kind(function: Any) -> Any:
    return asynchronous(function) if ASYNC else function


task("sum", batch={"size": 3, "timeout": "1s"}, backoff="1ms")(kind(total))
task("short", batch={"size": 3, "timeout": "1m"}, max_attempts=1)(kind(short))
task("lasting", batch=WHOLE, max_attempts=1)(kind(lasting))
task("wait", batch=WHOLE, max_attempts=1)(kind(wait))
serve()
