"""What lasts, of both contexts: what may be waited for, what their methods are given, and what comes of it.

How a function waits, in its thread or on a loop, say _durable and _durable_async.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, Literal, NamedTuple, TypeVar, Union, overload

from . import _calls
from ._calls import Id
from ._context import BaseContext
from ._duration import Duration, milliseconds
from ._journal import Journal, event_outcome, failed_child, failed_wait, of_type, outcome
from ._json import dumps, dumps_object, loads
from ._task import P, Payload, Task, priority_level, queue_name
from ._triggers import ChangeTrigger, EventTrigger, EventType, Operation, checked, event_name
from ._wire import Fields
from .errors import Cancelled, NonRetryableError, Suspended

R = TypeVar("R")

DRAINED = "it goes on where executions are still taken"
SAVED_BEFORE = "this step has been saved already: the next run has it"
# Whether this is the function of a step. It cannot wait: what it did before would be done again.
in_step: ContextVar[bool] = ContextVar("pgconductor_step", default=False)


class Child(Generic[R]):
    """An execution to wait for, one of ``invoke_all``; see ``invoke``."""

    __slots__ = ("task", "payload", "key", "queue", "priority", "timeout", "metadata", "_of")

    @overload
    def __init__(self, task: Task[P, R], payload: Payload[P], *, key: str | None = None, queue: str | None = None,
                 priority: int | None = None, timeout: Duration | None = None, metadata: Any = None) -> None: ...
    @overload
    def __init__(self, task: Task[None, R], payload: None = None, *, key: str | None = None, queue: str | None = None,
                 priority: int | None = None, timeout: Duration | None = None, metadata: Any = None) -> None: ...
    @overload
    def __init__(self: Child[Any], task: str, payload: Any = None, *, key: str | None = None, queue: str | None = None,
                 priority: int | None = None, timeout: Duration | None = None, metadata: Any = None) -> None: ...
    def __init__(self, task: Task[Any, R] | str, payload: Any = None, *, key: str | None = None, queue: str | None = None,
                 priority: int | None = None, timeout: Duration | None = None, metadata: Any = None) -> None:
        self.task = _calls.name_of(task)
        self._of = task if isinstance(task, Task) else None
        self.payload = payload
        self.key = key
        self.queue = queue_name(self.task, queue)
        self.priority = priority
        self.timeout = milliseconds(timeout) if timeout is not None else None
        self.metadata = metadata
        if priority is not None:
            priority_level(f"{self.task}: priority", priority)

    def _wait(self, key: str) -> Fields:
        """As SUSPEND names it."""
        fields = {"key": key, "task": self.task, "queue": self.queue, "priority": self.priority,
                  "timeout_ms": self.timeout}
        for name, value in (("payload", self.payload), ("metadata", self.metadata)):
            if value is not None:
                try:
                    fields[name] = dumps(value)
                except (TypeError, ValueError, RecursionError) as error:
                    raise NonRetryableError(f'the {name} of child "{key}" is not JSON: {error}', code="app") from error
        return {name: value for name, value in fields.items() if value is not None}

    def _outcome(self, saved: Fields) -> Any:
        """What it has returned, as the type that its task says."""
        return of_type(f"the result of {self.task}", outcome(saved), self._of.returns_type if self._of is not None else None)


# ---- steps, timers and children


def named_function(what: Any, args: tuple[Any, ...]) -> tuple[str | None, Callable[..., Any], tuple[Any, ...]]:
    """The arguments of step(): a key or none, a function, and what that is called with."""
    if callable(what):
        return None, what, args
    if args and callable(args[0]):
        return what, args[0], args[1:]
    raise TypeError("step: a key and a function are expected, or a function")


def timer(args: tuple[Any, ...]) -> tuple[str | None, int]:
    """The arguments of sleep(): a key or none, and a duration; in milliseconds."""
    if len(args) not in (1, 2):
        raise TypeError("sleep: a key and a duration are expected, or a duration")
    return (args[0] if len(args) == 2 else None), milliseconds(args[-1])


# An execution to wait for; a pair is a task and its payload.
Wanted = Union[Child[R], tuple[Task[Any, R], Any], tuple[str, Any]]


def name_children(ctx: BaseContext, children: Iterable[Wanted[Any]]) -> list[tuple[str, Child[Any]]]:
    journal = ctx._record()
    made = [child if isinstance(child, Child) else Child(*child) for child in children]
    return [(journal.name(child.key), child) for child in made]


def open_waits(ctx: BaseContext, keys: Iterable[str]) -> list[Fields | None]:
    """What is saved under keys that are to be waited for."""
    journal = ctx._enter()
    if in_step.get():
        raise RuntimeError("the function of a step cannot sleep, or wait for a child or an event: that is done between steps")
    return [journal.use(key) for key in keys]


def missing_children(children: Iterable[tuple[str, Child[Any]]], found: Iterable[Fields | None]) -> list[Fields]:
    """As SUSPEND names them."""
    return [child._wait(key) for (key, child), saved in zip(children, found) if saved is None]


def child_outcomes(children: Iterable[tuple[str, Child[Any]]], found: Iterable[Fields | None],
                   return_errors: bool) -> list[Any]:
    """Of children that have all finished, in order."""
    return [failed_child(saved) if return_errors and saved.get("error") is not None else child._outcome(saved)
            for (_, child), saved in zip(children, found) if saved is not None]


# ---- events

Since = Literal["start"]
# A change, or its table and operation.
Changed = Union[ChangeTrigger, tuple[str, Operation]]


class EventWait:
    """An event to wait for, one of ``wait_for_all`` or ``wait_for_any``; see ``wait_for_event``."""

    __slots__ = ("key", "name", "_fields", "_of")

    def __init__(self, event: str | EventType[Any] | None = None, *, change: Changed | None = None, when: str | None = None,
                 since: Since | None = None, timeout: Duration | None = None, key: str | None = None) -> None:
        if (event is None) == (change is None):
            raise TypeError("an event to wait for: either event or change is expected")
        if since not in (None, "start"):
            raise ValueError(f'since: there is only "start", not {since!r}')
        self.key = key
        self._fields: Fields = {}
        self._of = event if isinstance(event, EventType) else None
        if event is not None:
            self._fields["event"] = self.name = event_name(event)
            if when is not None:
                self._fields["filter"] = when
        elif change is not None:
            made = _change(change, when)
            self._fields["change"] = dumps_object(made)
            self.name = f"{made.get('schema', 'public')}.{made['table']}.{made.get('operation')}"
        if since is not None:
            self._fields["since"] = since
        if timeout is not None:
            self._fields["timeout_ms"] = milliseconds(timeout)

    def _outcome(self, saved: Fields) -> Any:
        """Its payload, as the type that it was defined with."""
        return event_outcome(saved, self.name, self._of.type if self._of is not None else None)

    def _wait(self, key: str, timeout_ms: int | None) -> Fields:
        """As SUSPEND names it; the timeout is for one that has none of its own."""
        fields: Fields = {"key": key, **self._fields}
        if timeout_ms is not None:
            fields.setdefault("timeout_ms", timeout_ms)
        return fields


# A text is the name of an event.
Awaited = Union[EventWait, EventType[Any], str, EventTrigger, ChangeTrigger]


class NamedEvents(NamedTuple):
    """What is waited for, each under its key."""

    waits: list[tuple[str, EventWait]]
    timeout_ms: int | None

    def open(self, ctx: BaseContext) -> list[Fields | None]:
        return open_waits(ctx, (key for key, _ in self.waits))

    def missing(self, found: Iterable[Fields | None]) -> list[Fields]:
        """As SUSPEND names them."""
        return [wait._wait(key, self.timeout_ms) for (key, wait), saved in zip(self.waits, found) if saved is None]

    def outcomes(self, found: Iterable[Fields | None], return_errors: bool) -> list[Any]:
        """Of events that have all come or are not to be expected any more, in order."""
        return [failed_wait(saved, wait.name) if return_errors and saved.get("error") is not None else
                wait._outcome(saved) for (_, wait), saved in zip(self.waits, found) if saved is not None]

    def outcome_at(self, found: Sequence[Fields | None], index: int) -> tuple[int, Any]:
        """What wait_for_any returns when that one was first."""
        saved = found[index] if 0 <= index < len(found) else None
        if saved is None:
            raise NonRetryableError("what is waited for is not what it was in an earlier run", code="nondeterminism")
        return index, self.waits[index][1]._outcome(saved)


def name_events(ctx: BaseContext, given: Iterable[Awaited], timeout: Duration | None) -> NamedEvents:
    journal = ctx._record()
    waits = [_event_wait(one) for one in given]
    return NamedEvents([(journal.name(wait.key), wait) for wait in waits],
                       milliseconds(timeout) if timeout is not None else None)


def first_over(found: Iterable[Fields | None]) -> int | None:
    """The index of the first that is over."""
    return next((at for at, saved in enumerate(found) if saved is not None), None)


def name_race(ctx: BaseContext, given: Iterable[Awaited], timeout: Duration | None,
              key: str | None) -> tuple[NamedEvents, str]:
    """And the key under which it is saved which of them was first."""
    named = name_events(ctx, given, timeout)
    if not named.waits:
        raise ValueError("wait_for_any: nothing to wait for")
    return named, ctx._record().name(key)


def _event_wait(given: Any) -> EventWait:
    if isinstance(given, EventWait):
        return given
    if isinstance(given, (str, EventType)):
        return EventWait(given)
    if isinstance(given, Mapping) and "event" in given:
        if given.keys() - {"event", "when"}:
            raise ValueError(f"an event to wait for: there are event and when, not {dict(given)!r}; see EventWait")
        return EventWait(given["event"], when=given.get("when"))
    changed: Any = given
    return EventWait(change=changed)


def _change(given: Any, when: str | None) -> dict[str, Any]:
    """As SUSPEND has it."""
    if isinstance(given, tuple) and len(given) == 2:
        given = {"table": given[0], "operation": given[1]}
    made = dict(given) if isinstance(given, Mapping) else {}
    if when is not None:
        made["when"] = when
    if "table" not in made:
        raise TypeError(f"change: change(…), or a table and an operation are expected, not {given!r}")
    checked("change", [made])  # type: ignore[list-item]
    return made


# ---- calls


def start_args(task: Task[Any, Any] | str, payload: Any, options: dict[str, Any]) -> str:
    """The arguments of the call `invoke`."""
    given = {key: value for key, value in options.items() if value is not None}
    _calls.fit("start", task, dumps(payload))
    return _calls.item({"task": _calls.name_of(task), "payload": payload, **given})


def cancel_args(id: Id, reason: str | None) -> str:
    return dumps({"id": str(id)} if reason is None else {"id": str(id), "reason": reason})


def answer_of(fields: Fields) -> Any:
    """What a call has returned."""
    if fields.get("error") is not None:
        error = loads(fields["error"])
        raise _calls.refusal(error.get("code"), error.get("message") or "refused")
    return loads(fields["result"]) if fields.get("result") is not None else None


def emit_args(event: str | EventType[Any], payload: Any) -> str:
    """The arguments of the call `emit`."""
    _calls.fit("emit", event, dumps(payload))
    return dumps_object({"event": event_name(event), "payload": payload})


def schedule_args(task: Task[Any, Any] | str, name: str, cron: str, payload: Any, options: Mapping[str, Any]) -> str:
    """The arguments of the call `schedule`."""
    given = {key: value for key, value in options.items() if value is not None}
    if "catchup" in given:
        given["catchup"] = str(given["catchup"])
    return dumps_object({"task": _calls.name_of(task), "name": name, "cron": cron, "payload": payload, **given})


def unschedule_args(task: Task[Any, Any] | str, name: str) -> str:
    return dumps({"task": _calls.name_of(task), "name": name})


def time_of(answer: Any) -> datetime | None:
    """The time that is due, from the answer of a call."""
    return datetime.fromisoformat(answer) if answer is not None else None


# ---- transactions


def check_idle(connection: Any) -> None:
    # 0: idle. 4: closed, which psycopg itself will say.
    if connection.info.transaction_status not in (0, 4):
        raise RuntimeError("transaction: this connection is in a transaction; the step begins and commits one of its own")


def refusal_of(ctx: BaseContext, error: Exception) -> BaseException | None:
    """What save_step says, as what it means; None: it means nothing in particular."""
    state = getattr(error, "sqlstate", None)
    if state == "PC010":
        with ctx._session.lock:
            ctx._stop("lost")
        return Cancelled("lost")
    if state == "PC011":
        ctx._record().end(SAVED_BEFORE)
        return Suspended(SAVED_BEFORE)
    return _calls.translated(error) if state is not None else None


def rolled_back(key: str) -> RuntimeError:
    return RuntimeError(f'transaction: the function of "{key}" has rolled back what it did: nothing is saved')
