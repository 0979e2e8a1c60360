"""A program of the Python library's tests: its tasks say in files and results what has become of them.

python_tasks.py [sync=N] [async=N] [credit=N]: threads for sync functions, limit of async ones, credit.
"""

import asyncio
import logging
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from typing import Any, NoReturn, TypedDict

import pgconductor
from pgconductor import AsyncContext, Context, NonRetryableError, RetryAfter, serve, task


class Name(TypedDict):
    name: str


class Hold(TypedDict):
    """Lives until the file `until` is there; enters what happens in the file `log`."""

    log: str
    until: str


def enter(path: str, *words: object) -> None:
    with open(path, "a", encoding="utf-8") as file:
        file.write(" ".join(str(word) for word in words) + "\n")


# ---- results


@task
def greet(payload: Name) -> dict[str, str]:
    return {"greeting": f"Hello, {payload['name']}!"}


@task
def value(payload: Any) -> Any:
    return payload


@task
async def value_async(payload: Any) -> Any:
    return payload


@task
def nothing() -> None:
    pass


@task(queue="other")
def elsewhere() -> int:
    return os.getpid()


@task
def pid() -> int:
    return os.getpid()


@task
def context(payload: Any, ctx: Context) -> dict[str, Any]:
    return {"id": ctx.id, "task": ctx.task, "queue": ctx.queue, "attempt": ctx.attempt, "event": ctx.event,
            "metadata": ctx.metadata, "text": ctx.payload_text, "time_left": ctx.time_left, "token": ctx.token,
            "cancelled": ctx.cancelled, "current": pgconductor.current() is ctx,
            "main": threading.current_thread() is threading.main_thread()}


@task(timeout="1h")
async def context_async(payload: Any, ctx: AsyncContext) -> dict[str, Any]:
    await asyncio.sleep(0)
    return {"time_left": ctx.time_left, "current": pgconductor.current(AsyncContext) is ctx,
            "main": threading.current_thread() is threading.main_thread()}


# ---- failures


@task(max_attempts=2, backoff=0.05)
def broken(payload: Name) -> NoReturn:
    known: dict[str, str] = {}
    try:
        known[payload["name"]]
    except KeyError as error:
        raise ValueError("what a pity\nand what a long story") from error
    raise AssertionError


@task(max_attempts=1)
async def broken_async(payload: Name) -> NoReturn:
    await asyncio.sleep(0)
    raise LookupError(payload["name"])


@task
def for_good() -> NoReturn:
    raise NonRetryableError("no such user", data={"user": 7, "odd": {1, 2}})


@task(backoff="1h")
def again(payload: None, ctx: Context) -> int:
    if ctx.attempt == 1:
        raise RetryAfter("50ms", "busy")
    return ctx.attempt


@task(max_attempts=1)
def odd(payload: str) -> Any:
    """Results and exceptions that are none of the usual ones."""
    ring: list[Any] = []
    ring.append(ring)
    results: dict[str, Any] = {"set": {1}, "nan": float("nan"), "ring": ring, "bytes": b"x", "surrogate": "\ud800"}
    if payload in results:
        return results[payload]
    if payload == "exit":
        sys.exit("good bye")
    if payload == "unprintable":
        raise Unprintable
    raise ValueError("\ud800 and \0")


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError


# ---- printing


@task
def chatter(payload: Hold, ctx: Context) -> list[str]:
    print("printed", "grüße")
    ctx.logger.info("said", width=100, odd={1})
    logging.getLogger("app").warning("logged %d", 7)
    try:
        raise ValueError("caught")
    except ValueError:
        logging.getLogger("app").exception("oh")
    wait_for(payload["until"])
    return subprocess.run(["ls", "-l", "/proc/self/fd"], capture_output=True, text=True, check=True,
                          close_fds=False).stdout.splitlines()


@task
def fork() -> list[bool]:
    """Whether a child made by fork has the session's socket, and whether it ended well."""
    queue: Any = multiprocessing.get_context("fork").SimpleQueue()
    child = multiprocessing.get_context("fork").Process(target=look, args=(queue, os.readlink("/proc/self/fd/3")))
    child.start()
    child.join(20)
    return [queue.get(), child.exitcode == 0]


def look(queue: Any, socket: str) -> None:
    pgconductor.current().logger.info("from the child")
    open_files = [f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd")]
    queue.put(any(os.path.lexists(file) and os.readlink(file) == socket for file in open_files))


# ---- what takes its time


def wait_for(path: str) -> None:
    while not os.path.exists(path):
        time.sleep(0.01)


def enter_drain(path: str, ctx: Context | AsyncContext) -> None:
    """Once: it has been told that no more executions will come."""
    if ctx._session.ending and not drained:
        drained.append(True)
        enter(path, "drain", ctx.id)


drained: list[bool] = []


@task
def hold(payload: Hold, ctx: Context) -> str:
    enter(payload["log"], "start", ctx.id, os.getpid(), ctx.attempt)
    while not os.path.exists(payload["until"]):
        enter_drain(payload["log"], ctx)
        if ctx.wait_cancelled(0.01):
            enter(payload["log"], "cancelled", ctx.id, ctx.cancel_reason)
            ctx.check_cancelled()
    return "held"


@task
async def hold_async(payload: Hold, ctx: AsyncContext) -> str:
    enter(payload["log"], "start", ctx.id, os.getpid(), ctx.attempt)
    try:
        while not os.path.exists(payload["until"]):
            enter_drain(payload["log"], ctx)
            await asyncio.sleep(0.01)
    except asyncio.CancelledError:
        enter(payload["log"], "cancelled", ctx.id, ctx.cancel_reason)
        raise
    return "held"


@task(timeout=0.2, max_attempts=1)
async def slow() -> None:
    await asyncio.sleep(3600)


@task
def give_up() -> int:
    pgconductor.stop()
    return os.getpid()


@task
def deaf(payload: Hold, ctx: Context) -> None:
    """Does not listen, for as long as it takes."""
    enter(payload["log"], "start", ctx.id, os.getpid(), ctx.attempt)
    wait_for(payload["until"])


if __name__ == "__main__":
    logging.basicConfig(handlers=[pgconductor.LogHandler()], level=logging.INFO)
    given = {key: int(number) for key, number in (word.split("=") for word in sys.argv[1:])}
    serve(threads=given.get("sync", 0), concurrency=given.get("async", 100), credit=given.get("credit"))
