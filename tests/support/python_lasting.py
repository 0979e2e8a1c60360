"""A program of the Python library's tests: steps, waiting and transactions, and what a program may do wrong with them.

python_lasting.py [threads=N] [async=N] [heartbeat=MS]
"""

import asyncio
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg

import pgconductor._durable_async
from pgconductor import (AsyncContext, BadArgument, Child, ChildFailed, ChildTimeout, Context, NonRetryableError, RawJSON,
                         UndeclaredTask, serve, task)

DSN = os.environ.get("LASTING_DSN", "")


# ---- steps


@task
def results(payload: Any, ctx: Context) -> list[Any]:
    """Each what it is for later runs, in the first run too."""
    return [ctx.step("tuple", lambda: (1, (2, 3))), ctx.step("keys", lambda: {1: "one"}), ctx.step("none", lambda: None),
            ctx.step("raw", lambda: RawJSON(" 1e2 ")), ctx.step("called", divmod, 7, 2), ctx.step(sorted, "ba", reverse=True),
            ctx.step(str)]


@task
async def results_async(payload: Any, ctx: AsyncContext) -> list[Any]:
    async def later(value: int) -> int:
        await asyncio.sleep(0)
        return value
    return [await ctx.step("tuple", lambda: (1, (2, 3))), await ctx.step("later", later, 5), await ctx.step(later, value=6)]


@task
def bad_step(payload: Any, ctx: Context) -> Any:
    async def coroutine() -> None: ...
    bad = {"set": lambda: {1}, "nan": lambda: float("nan"), "raw": lambda: RawJSON("{"), "long": lambda: "ü" * 3000}
    if payload == "caught":
        try:
            ctx.step("set", bad["set"])
        except NonRetryableError as error:
            return [str(error), ctx.step("set", lambda: "better")]
    if payload == "async":
        waiting = coroutine()
        try:
            ctx.step("async", lambda: waiting)  # type: ignore[unused-coroutine]
        finally:
            waiting.close()
    if payload == "nothing":
        ctx.step("nothing")  # type: ignore[call-overload]
    if payload == "waits":
        ctx.step("waits", ctx.sleep, "nap", 1)
    if payload in bad:
        ctx.step(payload, bad[payload])
    ctx.step(RawJSON("\ud800") if payload == "surrogate" else payload, lambda: None)


@task
def again(payload: Any, ctx: Context) -> int:
    """A step that fails, and is tried once more in the same run."""
    for number in range(3):
        try:
            return ctx.step("again", lambda: 10 // number)
        except ZeroDivisionError:
            pass
    return -1


@task
def pooled(payload: Any, ctx: Context) -> list[int]:
    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(lambda number: ctx.step(f"step-{number}", lambda: int(number)), range(4)))


@task
async def twice(payload: Any, ctx: AsyncContext) -> str:
    """One key for two, and nothing is made of what that raises."""
    found = await asyncio.gather(ctx.step("same", lambda: 1), ctx.sleep("same", 1), return_exceptions=True)
    return repr(found)


# ---- waiting


@task
async def branches(payload: Any, ctx: AsyncContext) -> Any:
    some: list[Any] = [Child("b", 2, key="b"), ("c", None)]

    async def chain() -> Any:
        first = await ctx.step("first", lambda: "first")
        second = await ctx.step("second", lambda: first + " and second")
        return await ctx.invoke("other", second, key="after")
    try:
        return await asyncio.gather(ctx.invoke("a", 1), ctx.sleep("nap", "1h"), chain(),
                                    ctx.invoke_all(some, return_errors=True))
    finally:
        ctx.logger.info("unwound")


@task
async def group(payload: Any, ctx: AsyncContext) -> Any:
    async with asyncio.TaskGroup() as tasks:
        one, two = tasks.create_task(ctx.invoke("a", key="a")), tasks.create_task(ctx.invoke("b", key="b"))
    return [one.result(), two.result()]


@task
async def given_up(payload: Any, ctx: AsyncContext) -> None:
    """One branch is cancelled by the function itself: it is not waited for."""
    given = asyncio.Event()
    gate = asyncio.create_task(ctx.step("gate", given.wait))
    branch = asyncio.create_task(ctx.invoke("a", key="a"))
    await asyncio.sleep(0.01)
    branch.cancel()
    given.set()
    await gate
    await ctx.sleep("nap", 1)


@task
async def stuck(payload: Any, ctx: AsyncContext) -> None:
    """Its branch waits, and it waits for something that only the branch could bring about."""
    pgconductor._durable_async.UNWIND_SECONDS = 0.1
    done = asyncio.Event()

    async def branch() -> None:
        await ctx.invoke("a", key="a")
        done.set()
    task = asyncio.create_task(branch())
    try:
        await done.wait()
    finally:
        ctx.logger.info("unwound", branch=task.done())


@task
def swallow(payload: Any, ctx: Context) -> str:
    for number in range(3):
        try:
            ctx.sleep("nap", 1) if number < 2 else ctx.step("step", lambda: ctx.logger.info("done"))
        except BaseException as error:
            ctx.logger.info("caught", kind=type(error).__name__)
    if payload == "raise":
        raise ValueError("something else")
    return "not to be seen"


@task
async def swallow_async(payload: Any, ctx: AsyncContext) -> str:
    for number in range(3):
        try:
            await (ctx.sleep("nap", 1) if number < 2 else ctx.invoke("a"))
        except BaseException as error:
            ctx.logger.info("caught", kind=type(error).__name__)
    if payload == "raise":
        raise ValueError("something else")
    return "not to be seen"


@task
def naps(payload: Any, ctx: Context) -> list[int]:
    """Which threads it ran in is of no importance, as long as they are free."""
    ctx.sleep("nap", "1h")
    return [threading.active_count(), os.getpid()]


@task
def number(payload: int) -> list[int]:
    return [payload, os.getpid()]


@task
def family(payload: Any, ctx: Context) -> Any:
    try:
        return ctx.invoke_all([Child("a", key="a", priority=7, queue="other", timeout="1m"), ("b", {"x": 1}), (number, 3)])
    except ChildTimeout as error:
        return ["timeout", error.child, str(error)]
    except ChildFailed as error:
        if payload == "uncaught":
            raise
        return [error.message, error.type, error.code, error.child, error.data]


@task
def bad_wait(payload: Any, ctx: Context) -> None:
    if payload == "nan":
        ctx.sleep("nap", float("nan"))
    if payload == "soon":
        ctx.sleep("soon")
    if payload == "queue":
        ctx.invoke("a", queue="No such")
    if payload == "payload":
        ctx.invoke("a", {1, 2})
    if payload == "long":
        ctx.invoke_all([("a", "x" * 3000)] * 500)


@task
def long_loop(payload: Any, ctx: Context) -> None:
    ctx.logger.info("begun")
    try:
        while True:
            ctx.checkpoint()
            time.sleep(0.005)
    except BaseException as error:
        ctx.logger.info("stopped", kind=type(error).__name__, reason=ctx.cancel_reason)
        raise


@task
async def long_loop_async(payload: Any, ctx: AsyncContext) -> None:
    ctx.logger.info("begun")
    try:
        while True:
            await ctx.checkpoint()
    except BaseException as error:
        ctx.logger.info("stopped", kind=type(error).__name__, reason=ctx.cancel_reason)
        raise


@task
def unanswered(payload: Any, ctx: Context) -> None:
    try:
        ctx.step("never", lambda: 1)
    except BaseException as error:
        ctx.logger.info("raised", kind=type(error).__name__)
        raise


@task
async def unanswered_async(payload: Any, ctx: AsyncContext) -> None:
    try:
        await ctx.step("never", lambda: 1)
    except BaseException as error:
        ctx.logger.info("raised", kind=type(error).__name__)
        raise


# ---- calls, progress


@task
def calls(payload: Any, ctx: Context) -> list[Any]:
    found: list[Any] = [ctx.step("start", ctx.start, "report", {"n": 1}, queue="other", priority=3, delay="5s", metadata=[7])]
    more: list[Callable[[], Any]] = [lambda: ctx.start(number, 3), lambda: ctx.cancel("7", "no use")]
    for call in more:
        try:
            found.append(call())
        except (UndeclaredTask, BadArgument) as error:
            found.append([type(error).__name__, str(error)])
    return found


@task
async def calls_async(payload: Any, ctx: AsyncContext) -> list[Any]:
    if payload == "long":
        await ctx.start("report", "x" * 2_000_000)
    return list(await asyncio.gather(ctx.start("report"), ctx.cancel(7), ctx.step("one", lambda: 1)))


@task
def progress(payload: Any, ctx: Context) -> None:
    ctx.progress(12.9)
    ctx.progress(200, "ü" * 600)
    ctx.progress(note="\ud800\0")
    ctx.progress(float("nan"))


# ---- transactions


local = threading.local()
paid = 0


def die_soon(payload: Any, ctx: Context | AsyncContext) -> bool:
    """Whether this process ends at some moment of the next milliseconds, around the commit; not before it has done
    something, so that it was a good start."""
    dice = random.Random(f"{payload['seed']} {ctx.id} {ctx.attempt}")
    if not paid or ctx.attempt > payload["faults"]:
        return False

    def die() -> None:
        time.sleep(dice.random() * dice.choice((0.001, 0.01)))
        os.kill(os.getpid(), signal.SIGKILL)
    threading.Thread(target=die).start()
    return True


@task(max_attempts=100, backoff=0.001)
def pay(payload: Any, ctx: Context) -> Any:
    """Returns which attempt has paid."""
    global paid
    dies = False
    if not hasattr(local, "connection"):
        local.connection = psycopg.connect(DSN)

    def write(connection: psycopg.Connection[tuple[Any, ...]]) -> str:
        nonlocal dies
        connection.execute("insert into business values (%s, %s)", (ctx.id, str(ctx.attempt)))
        dies = die_soon(payload, ctx)
        return str(ctx.attempt)
    found = ctx.transaction("pay", local.connection, write)
    while dies:
        time.sleep(1)
    paid += 1
    return found


@task(max_attempts=100, backoff=0.001)
async def pay_async(payload: Any, ctx: AsyncContext) -> Any:
    global paid
    dies = False
    async with await psycopg.AsyncConnection.connect(DSN) as connection:
        async def write(connection: psycopg.AsyncConnection[tuple[Any, ...]]) -> str:
            nonlocal dies
            await connection.execute("insert into business values (%s, %s)", (ctx.id, str(ctx.attempt)))
            dies = die_soon(payload, ctx)
            return str(ctx.attempt)
        found = await ctx.transaction("pay", connection, write)
        while dies:
            await asyncio.sleep(1)
        paid += 1
        return found


@task(max_attempts=2, backoff=0.001)
def careless(payload: Any, ctx: Context) -> Any:
    """What a transaction refuses, or undoes."""
    with psycopg.connect(DSN) as connection:
        insert = "insert into business values (%s, %s)"

        def write(connection: psycopg.Connection[tuple[Any, ...]]) -> Any:
            connection.execute(insert, (ctx.id, payload))
            if payload == "fails" and ctx.attempt == 1:
                raise ValueError("not yet")
            if payload == "rollback" and ctx.attempt == 1:
                raise psycopg.Rollback
            if payload == "used" and not ctx.metadata:
                # Somebody else, or this run without having heard of it.
                with psycopg.connect(DSN, autocommit=True) as other:
                    other.execute("select pgconductor.save_step(%s, %s, 'write', '\"saved before\"')", (ctx.id, ctx.token))
            if payload == "cancelled":
                with psycopg.connect(DSN, autocommit=True) as other:
                    other.execute("select pgconductor.cancel(%s)", (ctx.id,))
            return {1} if payload == "result" and ctx.attempt == 1 else payload
        if payload == "open":
            connection.execute(insert, (ctx.id, payload))
        try:
            return ctx.transaction("write", connection, write)
        except BaseException as error:
            print(payload, "raised", type(error).__name__, error)
            raise


# ---- signs of life


@task
async def blocks_the_loop(payload: float) -> str:
    time.sleep(payload)
    return "still here"


@task
def takes_its_time(payload: float) -> str:
    time.sleep(payload)
    return "still here"


if __name__ == "__main__":
    given = {key: int(value) for key, value in (word.split("=") for word in sys.argv[1:])}
    serve(threads=given.get("threads", 0), concurrency=given.get("async", 100),
          heartbeat=given["heartbeat"] / 1000 if "heartbeat" in given else None)
