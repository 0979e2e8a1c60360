"""Executions that last, with the Python library, for test_durable.py: the tasks are those at the head of durable_c.c.

Some of them are sync functions, which run in threads, and some are async.
"""

import asyncio
import json
import os
import signal
import time
from collections.abc import Callable
from typing import Any

from pgconductor import AsyncContext, Child, ChildFailed, Context, NonRetryableError, serve, task
from pgconductor import Task as AnyTask

OPTIONS: dict[str, Any] = json.loads(os.environ.get("DURABLE_OPTIONS") or "{}")
CONCURRENCY = int(os.environ.get("DURABLE_CONCURRENCY") or 1)
LEDGER = os.open(os.environ["LEDGER"], os.O_WRONLY | os.O_APPEND) if "LEDGER" in os.environ else -1


def enter(ctx: Context | AsyncContext, kind: str, rest: str = "") -> None:
    os.write(LEDGER, f"{time.time_ns()} {os.getpid()} {kind} {ctx.id} {ctx.attempt} {rest}\n".encode())


def named(name: str, function: Callable[..., Any], queue: str | None = None, **options: Any) -> AnyTask[Any, Any]:
    made: AnyTask[Any, Any] = task(name, queue=queue, **(OPTIONS | options))(function)
    return made


# ---- steps


def work(ctx: Context | AsyncContext, number: int, size: int) -> list[Any]:
    enter(ctx, "did", f"step-{number}")
    return [number, "x" * size]


def steps(payload: Any, ctx: Context) -> int:
    total = 0
    for number in range(payload["n"]):
        if number == payload.get("die") and ctx.attempt == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        total += one_step(ctx, number, payload.get("bytes", 0))
    return total


def one_step(ctx: Context, number: int, size: int = 0) -> int:
    before = False

    def work_now() -> list[Any]:
        nonlocal before
        before = True
        return work(ctx, number, size)
    result: int = ctx.step(f"step-{number}", work_now)[0]
    if before:
        enter(ctx, "ok", f"step-{number}")
    return result


async def piped(payload: Any, ctx: AsyncContext) -> int:
    """The same without waiting: all of them are under way at once."""
    def one(number: int) -> list[Any]:
        if number == payload.get("die") and ctx.attempt == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return work(ctx, number, payload.get("bytes", 0))
    results = await asyncio.gather(*(ctx.step(f"step-{number}", one, number) for number in range(payload["n"])))
    return sum(result[0] for result in results)


async def steps_either(payload: Any, ctx: AsyncContext) -> int:
    if payload.get("piped"):
        return await piped(payload, ctx)
    total = 0
    for number in range(payload["n"]):
        if number == payload.get("die") and ctx.attempt == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        total += await one_step_async(ctx, number, payload.get("bytes", 0))
    return total


async def one_step_async(ctx: AsyncContext, number: int, size: int = 0) -> int:
    before = False

    async def work_now() -> list[Any]:
        nonlocal before
        before = True
        return work(ctx, number, size)
    result: int = (await ctx.step(f"step-{number}", work_now))[0]
    if before:
        enter(ctx, "ok", f"step-{number}")
    return result


def twice(payload: Any, ctx: Context) -> None:
    ctx.step("once", lambda: 1)
    enter(ctx, "first")
    ctx.step("once", lambda: 2)
    enter(ctx, "second")


async def keep(payload: Any, ctx: AsyncContext) -> list[Any]:
    keys = [f"value-{number}" for number in range(len(payload["values"]))]
    found = [await ctx.step(key, lambda: value) for key, value in zip(keys, payload["values"])]
    await ctx.sleep(0.001)
    return found


def flaky(payload: Any, ctx: Context) -> int:
    def attempt() -> int:
        enter(ctx, "did", "flaky")
        if ctx.attempt <= payload["fails"]:
            raise RuntimeError("not yet")
        return ctx.attempt
    return ctx.step("flaky", attempt)


def fruit(payload: Any, ctx: Context) -> Any:
    items = payload["items"]

    def save(capitals: list[str]) -> list[Any]:
        enter(ctx, "did", "save")
        if payload.get("fail") and ctx.attempt == 1:
            raise RuntimeError("no room")
        return ["done", capitals]

    def validate() -> int:
        enter(ctx, "did", "validate")
        return len(items)

    def transform() -> list[str]:
        enter(ctx, "did", "transform")
        return [item.upper() for item in items]
    ctx.step("validate", validate)
    capitals = ctx.step("transform", transform)
    ctx.sleep(payload["ms"] / 1000)
    return ctx.step("save", save, capitals)


# ---- sleep


def sleep(payload: Any, ctx: Context) -> str:
    ctx.step("began", enter, ctx, "began")
    ctx.sleep(payload["ms"] / 1000)
    enter(ctx, "woke")
    return "slept"


async def nap(payload: Any, ctx: AsyncContext) -> str:
    await ctx.step("began", enter, ctx, "began")
    await ctx.sleep(payload["ms"] / 1000)
    enter(ctx, "woke")
    return "slept"


def keyless(payload: Any, ctx: Context) -> Any:
    ctx.sleep("1ms")
    found = ctx.invoke("leaf", {"value": 7})
    ctx.sleep(0.001)
    return found


# ---- children


def child_of(given: Any) -> Child[Any]:
    timeout = given["timeout_ms"] / 1000 if "timeout_ms" in given else None
    return Child(given["task"], given.get("payload"), key=given.get("key"), queue=given.get("queue"), timeout=timeout,
                 priority=given.get("priority"), metadata=given.get("metadata"))


def parent(payload: Any, ctx: Context) -> list[Any]:
    enter(ctx, "parent")
    children = [child_of(given) for given in payload["children"]]
    if not payload.get("caught"):
        return [{"result": value} for value in ctx.invoke_all(children)]
    return [{"error": {"code": value.code, "message": value.message}} if isinstance(value, ChildFailed) else {"result": value}
            for value in ctx.invoke_all(children, return_errors=True)]


async def many(payload: Any, ctx: AsyncContext) -> int:
    results = await asyncio.gather(*(ctx.invoke(payload["task"], {"value": number}) for number in range(payload["n"])))
    return sum(results)


def leaf(payload: Any, ctx: Context) -> Any:
    enter(ctx, "leaf")
    time.sleep(payload.get("ms", 0) / 1000)
    if "fail" in payload:
        raise NonRetryableError(payload["fail"])
    return payload.get("value")


async def tree(payload: Any, ctx: AsyncContext) -> int:
    enter(ctx, "tree")
    if payload["depth"] == 0:
        return 0
    below: int = await ctx.invoke("tree", {"depth": payload["depth"] - 1}, key="below")
    return below + 1


def double(payload: Any) -> int:
    return 2 * int(payload["value"])


def ten(payload: Any, ctx: Context) -> int:
    doubled: int = ctx.invoke(DOUBLE, payload)
    return doubled + 10


def flow(payload: Any, ctx: Context) -> int:
    total = 0
    for number in range(20):
        total += one_step(ctx, number)
        if number % 5 == 4 and number < 19:
            ctx.sleep((5 + number) / 1000)
    children = [Child("leaf" if n < 3 else "far", {"value": 1000 * (n + 1)}) for n in range(5)]
    return total + int(sum(ctx.invoke_all(children)))


# ---- the rest


def loop(payload: Any, ctx: Context) -> None:
    enter(ctx, "loop")
    ctx.step("kept", lambda: True)
    for number in range(10**9):
        ctx.checkpoint()
        ctx.progress(number, "looping" if number == 0 else None)
        time.sleep(0.005)


async def brief(payload: Any, ctx: AsyncContext) -> None:
    enter(ctx, "loop")
    await ctx.step("kept", lambda: True)
    for number in range(10**9):
        await ctx.checkpoint()
        ctx.progress(number, "looping" if number == 0 else None)
        await asyncio.sleep(0.005)


def cancel(payload: Any, ctx: Context) -> bool:
    return ctx.cancel(payload["id"], "by a task")


async def start(payload: Any, ctx: AsyncContext) -> str | None:
    if "throttle_s" in payload:
        return await ctx.start(payload["task"], payload["payload"], throttle={"seconds": payload["throttle_s"]})
    return await ctx.start(payload["task"], payload["payload"], dedupe_key=payload.get("dedupe_key"),
                           debounce=payload.get("debounce_s"), metadata=payload.get("metadata"))


def hang(payload: Any, ctx: Context) -> None:
    enter(ctx, "hang")
    os.kill(os.getpid(), signal.SIGSTOP)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "steps": steps_either, "sleep": sleep, "parent": parent, "many": many, "leaf": leaf, "tree": tree, "twice": twice,
    "loop": loop, "cancel": cancel, "start": start, "flow": flow, "hang": hang, "keep": keep, "flaky": flaky,
    "keyless": keyless, "fruit": fruit, "ten": ten,
}
for name, function in FUNCTIONS.items():
    named(name, function)
DOUBLE = named("double", double)
named("far", leaf, queue="other")
named("once", steps, max_attempts=1)
named("brief", brief, total_timeout="700ms")
named("nap", nap, total_timeout="700ms")

if __name__ == "__main__":
    beat = os.environ.get("DURABLE_BEAT")
    serve(threads=CONCURRENCY, concurrency=CONCURRENCY, credit=CONCURRENCY, heartbeat=int(beat) / 1000 if beat else None)
