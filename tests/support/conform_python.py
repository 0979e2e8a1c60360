"""The conformance tasks of docs/conform.md, with the Python library.

As a program: conform_python.py [sync | threads | async]. The same tasks as plain functions, one at a time or in threads,
or as coroutines.
"""

import asyncio
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from pgconductor import AsyncContext, Context, NonRetryableError, RetryAfter, serve, task

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


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "echo": lambda payload: payload,
    "null": lambda: None,
    "fail": fail,
    "sleep": sleep,
    "print": lambda payload: print(payload["text"]),
    "log": log,
    "repeat": lambda payload: payload["text"] * payload["times"],
}


def asynchronous(function: Callable[..., Any]) -> Callable[..., Any]:
    if function is sleep:
        return sleep_async

    async def call(payload: Any, ctx: AsyncContext) -> Any:
        wanted = function.__code__.co_argcount
        return function(*(payload, ctx)[:wanted])
    return call


for name, plain in FUNCTIONS.items():
    if KIND == "async":
        plain = asynchronous(plain)
    task(f"conform.{name}")(plain)


@task("conform.elsewhere", queue="other")
def elsewhere() -> str:
    return "elsewhere"


serve(threads=4 if KIND == "threads" else 0)
