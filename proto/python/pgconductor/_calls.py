"""The client's calls as SQL: what is sent, and what the answer means. Both clients are made of these."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Generic, NamedTuple, TypedDict, TypeVar, Union

from . import errors
from ._duration import Duration, seconds
from ._json import RawJSON, dumps, dumps_object, loads
from ._schema import hold
from ._task import P, Task
from ._triggers import EventType, event_name, schema_of
from ._types import Mismatch

T = TypeVar("T")
Id = Union[str, int]


Span = Union[Duration, Mapping[str, float]]
"""A duration, or as timedelta takes it: ``{"seconds": 5}``."""


class Options(TypedDict, Generic[P], total=False):
    payload: P
    queue: str | None
    priority: int | None
    run_at: datetime | None
    delay: Span | None
    metadata: Any
    dedupe_key: str | None
    dedupe_for: Span | None
    debounce: Span | None
    max_wait: Span | None


class Item(Options[P], Generic[P], total=False):
    """One of invoke_batch: its payload, and what invoke() takes besides."""

    throttle: None


class ThrottledItem(Options[P], Generic[P]):
    """One that it may be too soon for: then it is not made."""

    throttle: Span


@dataclass(frozen=True)
class Result:
    """What has become of an execution."""

    id: str
    state: str
    """ready, delayed, running, completed, failed or cancelled."""
    value: Any = None
    """What the function returned, once it is completed."""
    error: Mapping[str, Any] | None = None
    """code, message and, where there are, type, stack and data of the last attempt that failed."""

    @property
    def finished(self) -> bool:
        return self.state in ("completed", "failed", "cancelled")


class Call(NamedTuple, Generic[T]):
    """A statement, its parameters, and what makes the answer's first row, if there is one, what the caller gets."""

    sql: str
    parameters: tuple[Any, ...]
    answer: Callable[[tuple[Any, ...] | None], T]


# ---- the calls

SAVE_STEP = "select pgconductor.save_step(%s::bigint, %s::text, %s::text, %s::json)"

_CASTS = {"queue": "text", "priority": "int", "run_at": "timestamptz", "delay": "interval", "dedupe_key": "text",
          "dedupe_for": "interval", "throttle": "interval", "debounce": "interval", "max_wait": "interval", "metadata": "json"}


def invoke(task: Task[Any, Any] | str, payload: Any, options: Mapping[str, Any]) -> Call[str | None]:
    for key in options.keys() - _CASTS.keys():
        raise TypeError(f"invoke: no such option: {key}")
    given = {key: value for key, value in options.items() if value is not None}
    named = "".join(f", {key} => %s::{_CASTS[key]}" for key in given)
    return Call(f"select pgconductor.invoke(%s::text, %s::text{named})",
                (name_of(task), _payload("invoke", task, payload), *(_option(key, value) for key, value in given.items())),
                lambda row: _id(_only(row)))


def invoke_batch(task: Task[Any, Any] | str, items: Iterable[Mapping[str, Any]]) -> Call[list[str | None]]:
    given = list(items)
    if isinstance(task, Task):
        for one in given:
            _payload("invoke_batch", task, one.get("payload"))
    text = ", ".join(map(item, given))
    return Call("select pgconductor.invoke_batch(%s::text, %s::json)", (name_of(task), f"[{text}]"),
                lambda row: [_id(made) for made in _only(row)])


def cancel(id: Id, reason: str | None) -> Call[bool]:
    return Call("select pgconductor.cancel(%s::bigint, %s::text)", (str(id), reason), lambda row: bool(_only(row)))


def retry(id: Id) -> Call[bool]:
    return Call("select pgconductor.retry(%s::bigint)", (str(id),), lambda row: bool(_only(row)))


_EDITS = {"payload": "text", "priority": "int", "run_at": "timestamptz", "metadata": "json"}


def edit(id: Id, options: Mapping[str, Any]) -> Call[bool]:
    for key in options.keys() - _EDITS.keys():
        raise TypeError(f"edit: no such option: {key}")
    # A payload may be None, which is JSON too; of the others that means what it does everywhere.
    given = {key: dumps(value) if key in ("payload", "metadata") else value
             for key, value in options.items() if value is not None or key == "payload"}
    named = "".join(f", {key} => %s::{_EDITS[key]}" for key in given)
    return Call(f"select pgconductor.edit(%s::bigint{named})", (str(id), *given.values()), lambda row: bool(_only(row)))


def move(id: Id, queue: str) -> Call[bool]:
    return Call("select pgconductor.move(%s::bigint, %s::text)", (str(id), queue), lambda row: bool(_only(row)))


def discard(id: Id) -> Call[bool]:
    return Call("select pgconductor.discard(%s::bigint)", (str(id),), lambda row: bool(_only(row)))


def result(id: Id) -> Call[Result | None]:
    return Call("select state, result, error from pgconductor.result(%s::bigint)", (str(id),),
                lambda row: Result(str(id), *row) if row is not None else None)


def emit(event: EventType[Any] | str, payload: Any) -> Call[str]:
    name, text = event_name(event), dumps(payload)
    fit("emit", event, text)
    hold(f"emit: {name}", text, schema_of(event))
    return Call("select pgconductor.emit(%s::text, %s::text)", (name, text), lambda row: str(_only(row)))


_SCHEDULE = {"timezone": "text", "enabled": "boolean", "overlap": "text", "catchup": "text"}


def schedule(task: Task[Any, Any] | str, name: str, cron: str, payload: Any,
             options: Mapping[str, Any]) -> Call[datetime | None]:
    for key in options.keys() - _SCHEDULE.keys():
        raise TypeError(f"schedule: no such option: {key}")
    given = {key: value for key, value in options.items() if value is not None}
    named = "".join(f", {key} => %s::{_SCHEDULE[key]}" for key in given)
    # What never comes is infinity, which is no datetime.
    return Call(f"select nullif(pgconductor.schedule(%s::text, %s::text, %s::text, %s::text{named}), 'infinity')",
                (name_of(task), name, cron, _payload("schedule", task, payload) if payload is not None else "null", *given.values()), _only)


def unschedule(task: Task[Any, Any] | str, name: str) -> Call[bool]:
    return Call("select pgconductor.unschedule(%s::text, %s::text)", (name_of(task), name), lambda row: bool(_only(row)))


def declare(task: Task[Any, Any]) -> Call[None]:
    return Call("select pgconductor.declare_task(%s::text, %s::text, %s::json)",
                (task.name, task.queue, dumps(task.options)), lambda row: None)


def value_of(id: Id, found: Result | None, task: Task[Any, Any] | None) -> Any:
    """What wait() returns for a finished execution, or raises."""
    if found is None:
        raise errors.UnknownExecution(f"no execution {id}, or it has finished and its history is gone")
    if found.state != "completed":
        raise errors.ExecutionFailed(found)
    if task is None or task.returns_type is None:
        return found.value
    try:
        return task.returns_type.load(found.value)
    except Mismatch as error:
        raise errors.ClientError(f"the result of execution {id} is not what {task.name} returns: {error}") from error


def name_of(task: Task[Any, Any] | str) -> str:
    return task.name if isinstance(task, Task) else task


def _payload(what: str, task: Task[Any, Any] | str, payload: Any) -> str:
    """As JSON. BadPayload if the task says that it is not to be so."""
    text = dumps(payload)
    if isinstance(task, Task):
        fit(what, task, text)
        hold(f"{what}: {task.name}", text, task.given_payload_schema)
    return text


def fit(what: str, taker: Task[Any, Any] | EventType[Any] | str, text: str) -> None:
    """BadPayload if that JSON is not of the type that the task takes, or the event has."""
    shape = taker.payload_type if isinstance(taker, Task) else taker.type if isinstance(taker, EventType) else None
    if shape is not None:
        try:
            shape.load(loads(text))
        except Mismatch as error:
            name = taker if isinstance(taker, str) else taker.name
            raise errors.BadPayload(f"{what}: {name}: the payload is not of its type: {error}") from error


def _only(row: tuple[Any, ...] | None) -> Any:
    return row[0] if row is not None else None


def _id(made: Any) -> str | None:
    return str(made) if made is not None else None


def _seconds(value: Span) -> float:
    return seconds(timedelta(**value) if isinstance(value, Mapping) else value)


def _option(key: str, value: Any) -> Any:
    """As psycopg takes it."""
    if key == "metadata":
        return dumps(value)
    if _CASTS[key] == "interval":
        return timedelta(seconds=_seconds(value))
    return value


def item(given: Mapping[str, Any]) -> str:
    """As JSON; the server says what is wrong with keys it does not know."""
    made = dict(given)
    for key, value in given.items():
        if key == "run_at" and isinstance(value, datetime):
            made[key] = value.isoformat()
        elif _CASTS.get(key) == "interval" and value is not None:
            made[key] = f"{_seconds(value)!r} seconds"
    return dumps_object(made)


# ---- errors

_BY_SQLSTATE = {cls.sqlstate: cls for cls in (
    errors.UndeclaredTask, errors.BadPayload, errors.PayloadTooLarge, errors.BadQueue, errors.BadTime,
    errors.NotAvailable, errors.BadTask, errors.BadArgument, errors.BadSchedule, errors.BadEvent)}
# What the worker says of a call that it does not pass on.
_BY_CODE: dict[str, type[errors.ClientError]] = {"bad_args": errors.BadArgument, "bad_payload": errors.BadPayload}
_MISSING = {"3F000", "42883", "42P01"}  # schema, function, table


def translated(error: Any) -> errors.ClientError | None:
    """Our exception for one of psycopg's; None if it is none of ours."""
    state, diag = error.sqlstate, error.diag
    if state in _MISSING and re.search(r"pgconductor", diag.message_primary or ""):
        return errors.NotInstalled(f"{diag.message_primary}: run `pgconductor migrate` for this database")
    cls = _BY_SQLSTATE.get(state)
    if cls is None:
        return None
    return cls("; ".join(part for part in (diag.message_primary, diag.message_detail, diag.message_hint) if part))


def refusal(code: str | None, message: str) -> errors.ClientError:
    """Our exception for what came of a call that an execution has made."""
    return _BY_SQLSTATE.get(code, _BY_CODE.get(code or "", errors.ClientError))(message)


__all__ = ["Call", "Id", "Item", "RawJSON", "Result", "Span", "ThrottledItem"]
