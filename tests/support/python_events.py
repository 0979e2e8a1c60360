"""A program of the Python library's tests: triggers, waits for events, and calls, in sync and async functions alike."""

import asyncio
import os
import random
import signal
import threading
from collections.abc import Callable
from datetime import datetime
from typing import Any, TypedDict

from pgconductor import (INVOCABLE, AsyncContext, Awaited, BadEvent, BadPayload, BadSchedule, ChildFailed, Context, EventTimeout,
                         EventWait, RawJSON, Trigger, WaitFailed, change, cron, define_event, event, serve, task)


class Order(TypedDict):
    total: float


order_paid = define_event("order.paid", Order, schema={"type": "object", "required": ["total"]})
order_sent = define_event("order.sent")

NAMES = {"type": "array", "items": {"type": "string"}}
TRIGGERS: list[Trigger] = [
    INVOCABLE, cron("0 9 * * *", name="daily", timezone="Europe/Berlin", payload=RawJSON("12.50"), overlap="skip", catchup=3),
    event(order_paid, when="payload->>'total' = '1'", fields=["total", "id"]),
    change("users", "update", schema="app", columns="id,email", when="new.id > 3"), {"table": "Odd Name", "operation": "delete"},
]


@task(triggers=TRIGGERS, payload_schema=NAMES, returns_schema=True)
def started(payload: Any, ctx: Context) -> list[Any]:
    return [ctx.event, ctx.event_at.isoformat() if ctx.event_at is not None else None, payload]


@task(triggers=cron("@daily"))
async def daily(payload: Any, ctx: AsyncContext) -> list[Any]:
    assert isinstance(ctx.event_at, datetime)
    return [ctx.event, ctx.event_at.timestamp()]


# ---- one event

ONE: dict[str, dict[str, Any]] = {
    "name": {"event": "order.paid"},
    "all": {"key": "paid", "event": order_paid, "when": "payload->>'id' = '7'", "since": "start", "timeout": "2d"},
    "change": {"key": "user", "change": change("users", "insert", columns="id,email"), "timeout": 0.5},
    "pair": {"change": ("users", "delete"), "when": "old.id = 3"},
    "dict": {"change": {"table": "users", "operation": "update", "schema": "app", "when": "new.id = 3"}},
    "both": {"event": "a", "change": ("users", "delete")}, "neither": {}, "since": {"event": "a", "since": "ever"},
    "number": {"event": 7}, "duration": {"event": "a", "timeout": "soon"}, "no table": {"change": {"operation": "insert"}},
    "member": {"change": {"table": "users", "operation": "insert", "fields": "id"}},
}


def told(error: WaitFailed) -> list[Any]:
    return [type(error).__name__, error.code, error.event, error.key, str(error)]


@task
def one(payload: Any, ctx: Context) -> Any:
    try:
        return ctx.wait_for_event(**ONE[payload["wait"]])
    except WaitFailed as error:
        if not payload.get("caught"):
            raise
        return told(error)


@task
async def one_async(payload: Any, ctx: AsyncContext) -> Any:
    try:
        return await ctx.wait_for_event(**ONE[payload["wait"]])
    except WaitFailed as error:
        if not payload.get("caught"):
            raise
        return told(error)


# ---- several

SEVERAL: list[Awaited] = [order_sent, "plain", event("if", when="payload = '1'"), change("users", "insert"),
           EventWait("own", key="own", since="start", timeout="1m")]


def listed(found: list[Any]) -> list[Any]:
    return [told(one) if isinstance(one, WaitFailed) else one for one in found]


@task
def every(payload: Any, ctx: Context) -> list[Any]:
    if payload == "errors":
        return listed(ctx.wait_for_all(SEVERAL, return_errors=True))
    return ctx.wait_for_all(SEVERAL, timeout="1h") if payload != "none" else ctx.wait_for_all([])


@task
async def every_async(payload: Any, ctx: AsyncContext) -> list[Any]:
    if payload == "errors":
        return listed(await ctx.wait_for_all(SEVERAL, return_errors=True))
    return await ctx.wait_for_all(SEVERAL, timeout="1h") if payload != "none" else await ctx.wait_for_all([])


@task
def first(payload: Any, ctx: Context) -> Any:
    if payload == "none":
        ctx.wait_for_any([])
    try:
        found = ctx.wait_for_any(["a", EventWait("b", key="b")], timeout=payload)
    except EventTimeout as error:
        return told(error)
    ctx.sleep("nap", 1)
    return found


@task
async def first_async(payload: Any, ctx: AsyncContext) -> Any:
    if payload == "none":
        await ctx.wait_for_any([])
    try:
        found = await ctx.wait_for_any(["a", EventWait("b", key="b")], timeout=payload)
    except EventTimeout as error:
        return told(error)
    await ctx.sleep("nap", 1)
    return found


@task
async def branches(payload: Any, ctx: AsyncContext) -> Any:
    """One branch needs the first of two, the others all that they wait for."""
    async def race() -> Any:
        found = await ctx.wait_for_any(["a", "b"], key="race")
        await ctx.sleep("after", 1)
        return found
    return await asyncio.gather(race(), ctx.wait_for_event("c", event="c"), ctx.invoke("child", key="child"))


@task
async def given_up(payload: Any, ctx: AsyncContext) -> None:
    """A race that the function itself cancels does not count any more."""
    given = asyncio.Event()
    gate = asyncio.create_task(ctx.step("gate", given.wait))
    race = asyncio.create_task(ctx.wait_for_any(["a", "b"]))
    await asyncio.sleep(0.01)
    race.cancel()
    given.set()
    await gate
    await asyncio.gather(ctx.sleep("x", 1), ctx.sleep("y", 1))


@task
def family(payload: Any, ctx: Context) -> Any:
    """Whatever is waited for, between other waits: keys by their turn."""
    ctx.sleep(1)
    found = ctx.wait_for_event(event="a")
    try:
        ctx.invoke("child")
    except ChildFailed as error:
        return [found, error.code]


@task(max_attempts=1000, backoff=0.001)
async def hunted(payload: Any, ctx: AsyncContext) -> list[Any]:
    """Its process ends at some moment or other in its first attempts. What it was told in a former run it is told again."""
    dice = random.Random(f"{payload} {ctx.id} {ctx.attempt}")
    if ctx.attempt < 4 and dice.random() < 0.5:
        threading.Timer(dice.random() * 0.05, os.kill, (os.getpid(), signal.SIGKILL)).start()
    which, what = await ctx.wait_for_any(["left", "right"], key="race")
    noted = await ctx.step("noted", lambda: [which, what])
    later = await ctx.wait_for_event(event="later", since="start")
    return [[which, what], noted, later]


# ---- calls


@task
def calls(payload: Any, ctx: Context) -> list[Any]:
    found: list[Any] = [
        ctx.step("emit", ctx.emit, order_paid, {"total": 1}), ctx.emit("plain"), ctx.emit("raw", RawJSON("1.50")),
        ctx.schedule(started, "s", "@daily", ["a"], timezone="Europe/Berlin", overlap="skip", catchup=3, enabled=False),
        ctx.schedule("by.name", "t", "* * * * *"), ctx.unschedule(started, "s")]
    bad: list[Callable[[], Any]] = [lambda: ctx.emit("a b"), lambda: ctx.emit(order_paid, {"total": 2}),
                                    lambda: ctx.schedule("x", "x", "x")]
    for call in bad:
        try:
            call()
        except (BadEvent, BadPayload, BadSchedule) as error:
            found.append([type(error).__name__, str(error)])
    return [str(one) if isinstance(one, datetime) else one for one in found]


@task
async def calls_async(payload: Any, ctx: AsyncContext) -> list[Any]:
    found: list[Any] = [
        await ctx.step("emit", ctx.emit, order_paid, {"total": 1}), await ctx.emit("plain"), await ctx.emit("raw", RawJSON("1.50")),
        await ctx.schedule(started, "s", "@daily", ["a"], timezone="Europe/Berlin", overlap="skip", catchup=3, enabled=False),
        await ctx.schedule("by.name", "t", "* * * * *"), await ctx.unschedule(started, "s")]
    bad: list[Callable[[], Any]] = [lambda: ctx.emit("a b"), lambda: ctx.emit(order_paid, {"total": 2}),
                                    lambda: ctx.schedule("x", "x", "x")]
    for call in bad:
        try:
            await call()
        except (BadEvent, BadPayload, BadSchedule) as error:
            found.append([type(error).__name__, str(error)])
    return [str(one) if isinstance(one, datetime) else one for one in found]


if __name__ == "__main__":
    serve()
