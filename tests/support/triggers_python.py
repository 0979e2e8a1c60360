"""What starts and resumes executions, with the Python library, for test_triggers.py: the tasks are those at the head of
triggers_c.c. Some of them are sync functions, and some are async.
"""

import json
import os
import time
from datetime import datetime
from typing import Any

from pgconductor import (INVOCABLE, AsyncContext, Context, EventTimeout, EventWait, Trigger, change, cron, define_event, event,
                         serve, task)

LEDGER = os.open(os.environ["LEDGER"], os.O_WRONLY | os.O_APPEND)
asked = define_event("asked")


def written(moment: datetime | None) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z") if moment is not None else ""


def enter(payload: Any, ctx: Context) -> str:
    line = f"{ctx.event}|{written(ctx.event_at)}|{json.dumps(payload)}"
    os.write(LEDGER, f"{time.time_ns()} {os.getpid()} {ctx.task} {ctx.id} {ctx.attempt} {line}\n".encode())
    return ctx.event


TRIGGERS: dict[str, Trigger | list[Trigger] | None] = {
    "seen": [event("order.paid", when="(payload->>'total')::numeric > 100", fields="id,customer.name"), event("order.sent")],
    "copy": [INVOCABLE, {"event": "order.sent"}],
    "tick": [INVOCABLE, cron("* * * * * *", name="every-second", payload={"by": "cron"}),
             cron("0 9 * * mon-fri", name="morning", timezone="Europe/Berlin", overlap="skip", catchup="last"), cron("@yearly")],
    "report": None,
    "changed": [change("users", "insert", columns="id,email"),
                change("accounts", "update", schema="app", columns=["id", "balance"], when="new.balance < old.balance"),
                change("users", "delete")],
}
for name, triggers in TRIGGERS.items():
    task(name, backoff="1ms", triggers=triggers)(enter)


# ---- waiting

CHANGE = ("schema", "table", "operation", "columns")


def wait_of(given: Any, turn: int) -> dict[str, Any]:
    """What there is of the arguments of wait_for_event and EventWait."""
    found: dict[str, Any] = {name: given[name] for name in ("event", "when", "since") if name in given}
    if "table" in given:
        found["change"] = {name: given[name] for name in CHANGE if name in given}
    if "timeout_ms" in given:
        found["timeout"] = given["timeout_ms"] / 1000
    if "key" in given:
        found["key"] = f"{given['key']}-{turn}"
    return found


@task(backoff="1ms")
async def wait(payload: Any, ctx: AsyncContext) -> list[Any]:
    return [await wait_once(payload, ctx, turn) for turn in range(payload.get("turns", 1))]


async def wait_once(payload: Any, ctx: AsyncContext, turn: int) -> Any:
    waits = [wait_of(given, turn) for given in payload["waits"]]
    try:
        if payload["mode"] == "one":
            return await ctx.wait_for_event(**waits[0])
        if payload["mode"] == "all":
            return await ctx.wait_for_all([EventWait(**given) for given in waits])
        return await ctx.wait_for_any([EventWait(**given) for given in waits], key=f"first-{turn}")
    except EventTimeout:
        return "timeout"


# ---- emitting


@task(backoff="1ms")
def say(payload: Any, ctx: Context) -> str:
    arguments = [payload["payload"]] if "payload" in payload else []
    return ctx.step("said", ctx.emit, payload["event"], *arguments)


@task(backoff="1ms")
def ask(payload: None, ctx: Context) -> int:
    ctx.step("said", ctx.emit, asked, {"of": ctx.id})
    answer = ctx.wait_for_event(event="answered", when=f"payload->>'to' = '{ctx.id}'", since="start")
    return int(answer["n"])


@task(backoff="1ms", triggers=event(asked))
async def answer(payload: Any, ctx: AsyncContext) -> None:
    await ctx.step("said", ctx.emit, "answered", {"to": payload["of"], "n": 42})


# ---- schedules


@task(backoff="1ms")
async def plan(given: Any, ctx: AsyncContext) -> str:
    return written(await ctx.schedule(**given))


@task(backoff="1ms")
def unplan(given: Any, ctx: Context) -> bool:
    return ctx.unschedule(given["task"], given["name"])


if __name__ == "__main__":
    serve()
