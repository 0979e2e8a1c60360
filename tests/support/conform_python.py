"""The conformance tasks of docs/conform.md, with the Python library.

As a program: conform_python.py [sync | threads | async]. The same tasks as plain functions, one at a time or in threads,
or as coroutines.
"""

import asyncio
import sys
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any, NoReturn

from pgconductor import AsyncContext, BatchEvent, Context, NonRetryableError, RetryAfter, serve, task

KIND = sys.argv[1] if len(sys.argv) > 1 else "sync"


def fail(payload: Any) -> NoReturn:
    if payload.get("retry") is False:
        raise NonRetryableError(payload["message"])
    if "after_ms" in payload:
        raise RetryAfter(payload["after_ms"] / 1000, payload["message"])
    raise RuntimeError(payload["message"])


def log(payload: Any, ctx: Context) -> None:
    say = {"debug": ctx.logger.debug, "info": ctx.logger.info, "warn": ctx.logger.warning, "error": ctx.logger.error}
    say[payload["level"]](payload["message"])


def sleep(payload: Any, ctx: Context) -> Any:
    ctx.wait_cancelled(payload["ms"] / 1000)
    ctx.check_cancelled()
    return payload["ms"]


async def sleep_async(payload: Any, ctx: AsyncContext) -> Any:
    await asyncio.sleep(payload["ms"] / 1000)
    return payload["ms"]


# ---- executions that last


def steps(payload: Any, ctx: Context) -> list[Any]:
    return [ctx.step(key, lambda value: value, value) for key, value in payload["steps"]]


def wait(payload: Any, ctx: Context) -> str:
    ctx.sleep(payload["key"], payload["ms"] / 1000)
    return "waited"


def limit(payload: Any) -> float | None:
    return payload["timeout_ms"] / 1000 if "timeout_ms" in payload else None


def child(payload: Any, ctx: Context) -> Any:
    return ctx.invoke(payload["task"], payload["payload"], key=payload["key"], timeout=limit(payload))


def start(payload: Any, ctx: Context) -> str:
    return ctx.start(payload["task"], payload["payload"])


def told(payload: Any, *names: str) -> dict[str, Any]:
    """What there is of these."""
    return {name: payload[name] for name in names if name in payload}


def event(payload: Any, ctx: Context) -> Any:
    return ctx.wait_for_event(payload["key"], timeout=limit(payload), **told(payload, "event", "when", "since"))


def change(payload: Any, ctx: Context) -> Any:
    return ctx.wait_for_event(payload["key"], change=payload["change"])


def emit(payload: Any, ctx: Context) -> str:
    return ctx.emit(payload["event"], payload["payload"])


def as_told(due: datetime | None) -> str | None:
    return due.isoformat(timespec="milliseconds").replace("+00:00", "Z") if due is not None else None


def schedule(payload: Any, ctx: Context) -> str | None:
    return as_told(ctx.schedule(**told(payload, "task", "name", "cron", "payload", "timezone")))


def unschedule(payload: Any, ctx: Context) -> bool:
    return ctx.unschedule(payload["task"], payload["name"])


def progress(payload: Any, ctx: Context | AsyncContext) -> None:
    ctx.progress(payload.get("percent"), payload.get("note"))


def checkpoint(payload: Any, ctx: Context) -> None:
    while True:
        ctx.checkpoint()
        time.sleep(0.005)


async def steps_async(payload: Any, ctx: AsyncContext) -> list[Any]:
    saved = [ctx.step(key, lambda value: value, value) for key, value in payload["steps"]]
    found: list[Any] = await asyncio.gather(*saved) if payload["piped"] else [await step for step in saved]
    return found


async def wait_async(payload: Any, ctx: AsyncContext) -> str:
    await ctx.sleep(payload["key"], payload["ms"] / 1000)
    return "waited"


async def child_async(payload: Any, ctx: AsyncContext) -> Any:
    return await ctx.invoke(payload["task"], payload["payload"], key=payload["key"], timeout=limit(payload))


async def start_async(payload: Any, ctx: AsyncContext) -> str:
    return await ctx.start(payload["task"], payload["payload"])


async def event_async(payload: Any, ctx: AsyncContext) -> Any:
    return await ctx.wait_for_event(payload["key"], timeout=limit(payload), **told(payload, "event", "when", "since"))


async def change_async(payload: Any, ctx: AsyncContext) -> Any:
    return await ctx.wait_for_event(payload["key"], change=payload["change"])


async def emit_async(payload: Any, ctx: AsyncContext) -> str:
    return await ctx.emit(payload["event"], payload["payload"])


async def schedule_async(payload: Any, ctx: AsyncContext) -> str | None:
    return as_told(await ctx.schedule(**told(payload, "task", "name", "cron", "payload", "timezone")))


async def unschedule_async(payload: Any, ctx: AsyncContext) -> bool:
    return await ctx.unschedule(payload["task"], payload["name"])


async def checkpoint_async(payload: Any, ctx: AsyncContext) -> None:
    while True:
        await ctx.checkpoint()
        await asyncio.sleep(0.005)


ASYNC: dict[Callable[..., Any], Callable[..., Any]] = {
    sleep: sleep_async, steps: steps_async, wait: wait_async, child: child_async, start: start_async,
    event: event_async, change: change_async, emit: emit_async, schedule: schedule_async, unschedule: unschedule_async,
    checkpoint: checkpoint_async,
}
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "echo": lambda payload: payload,
    "null": lambda: None,
    "fail": fail,
    "sleep": sleep,
    "print": lambda payload: print(payload["text"]),
    "log": log,
    "repeat": lambda payload: payload["text"] * payload["times"],
    "steps": steps,
    "wait": wait,
    "child": child,
    "start": start,
    "event": event,
    "change": change,
    "emit": emit,
    "schedule": schedule,
    "unschedule": unschedule,
    "progress": progress,
    "checkpoint": checkpoint,
}


def asynchronous(function: Callable[..., Any]) -> Callable[..., Any]:
    if function in ASYNC:
        return ASYNC[function]

    async def call(payload: Any, ctx: AsyncContext) -> Any:
        wanted = function.__code__.co_argcount
        return function(*(payload, ctx)[:wanted])
    return call


for name, plain in FUNCTIONS.items():
    if KIND == "async":
        plain = asynchronous(plain)
    task(f"conform.{name}")(plain)


def values(events: list[BatchEvent[Any]]) -> list[Any]:
    return [RuntimeError(event.payload["fail"]) if "fail" in event.payload else event.payload.get("value")
            for event in events if "short" not in event.payload]


def longest(events: list[BatchEvent[Any]]) -> float:
    return float(max(event.payload.get("ms", 0) for event in events)) / 1000


def several(events: list[BatchEvent[Any]]) -> list[Any]:
    time.sleep(longest(events))
    return values(events)


async def several_async(events: list[BatchEvent[Any]]) -> list[Any]:
    await asyncio.sleep(longest(events))
    return values(events)


together = task("conform.batch", batch={"size": 8, "timeout": 0.1})
if KIND == "async":
    together(several_async)
else:
    together(several)


@task("conform.elsewhere", queue="other")
def elsewhere() -> str:
    return "elsewhere"


serve(threads=4 if KIND == "threads" else 0, heartbeat=1.5)
