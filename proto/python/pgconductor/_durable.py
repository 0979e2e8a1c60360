"""Context: what functions that are not async do that lasts. They wait for an answer in their thread.

What both contexts have in common is in _lasting.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeVar, overload

from . import _calls
from ._calls import Id, Span
from ._context import BaseContext, current_context
from ._duration import Duration
from ._journal import WAITS, Waiter, outcome, step_outcome, step_result
from ._lasting import (DRAINED, Awaited, Changed, Child, EventWait, Since, Wanted, answer_of, cancel_args, check_idle,
                       child_outcomes, emit_args, first_over, in_step, missing_children, name_children,
                       name_events, name_race, named_function, open_waits, refusal_of, rolled_back, schedule_args,
                       start_args, time_of, timer, unschedule_args)
from ._messages import CALL, STEP
from ._task import P, Payload, Task
from ._types import returned_by
from ._triggers import CatchUp, EventType, Overlap
from ._wire import Fields
from .errors import ChildFailed, Suspended, WaitFailed

if TYPE_CHECKING:
    import psycopg

C = TypeVar("C", bound=BaseContext)
R = TypeVar("R")
Row = TypeVar("Row")


@overload
def current() -> Context: ...
@overload
def current(kind: type[C], /) -> C: ...
def current(kind: type[BaseContext] | None = None, /) -> Any:
    """The context of the execution that this code runs in. LookupError outside of any.

    For type checkers it is a Context; ``current(AsyncContext)`` is that of an async function.
    """
    ctx = current_context.get()
    if kind is not None and not isinstance(ctx, kind):
        raise LookupError(f"current: it is {ctx!r}, not of {kind.__name__}")
    return ctx


class Context(BaseContext):
    """One run of an execution, as its function sees it. In functions that are not async."""

    __slots__ = ("_event",)

    _event: threading.Event

    # ---- steps

    @overload
    def step(self, key: str, fn: Callable[..., R], /, *args: Any, **kwargs: Any) -> R: ...
    @overload
    def step(self, fn: Callable[..., R], /, *args: Any, **kwargs: Any) -> R: ...
    def step(self, what: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Call a function once: what it returned is saved under the key before this returns, and later runs of this
        execution get it without calling it.

            charge = ctx.step("charge", charge_card, payload["card"])
            again = ctx.step("again", lambda: …)

        The result is any JSON value, and is what JSON makes of it (a tuple is a list afterwards) in the first run too. An
        error is not saved: it is raised, and the next attempt calls the function again. Without a key it is named by
        its turn, ``task#1``. NonRetryableError: a key was used twice in one run, or the result is not JSON.
        """
        given, fn, rest = named_function(what, args)
        journal = self._enter()
        key = journal.name(given)
        found = journal.use(key)
        if found is not None:
            return step_outcome(key, found, fn)
        try:
            text, value = self._call(key, fn, rest, kwargs)
            self._ask(STEP, key, {"key": key, "result": text})
        except BaseException:
            # Nothing stands under it: it may be tried once more in the same run.
            journal.used.discard(key)
            raise
        return value

    def transaction(self, key: str, connection: psycopg.Connection[Row],
                    fn: Callable[[psycopg.Connection[Row]], R]) -> R:
        """A step that writes to the database: what ``fn(connection)`` writes and the step are committed together, or
        neither is. So it has happened once, whatever is killed and whenever.

        The connection is one of psycopg 3, to the database that has the schema pgconductor, and not in a transaction.
        """
        journal = self._enter()
        found = journal.use(key)
        if found is not None:
            value: R = step_outcome(key, found, fn)
            return value
        saved = False
        try:
            check_idle(connection)
            with connection.transaction():
                text, value = self._call(key, fn, (connection,), {})
                try:
                    connection.execute(_calls.SAVE_STEP, (self.id, self.token, key, text), prepare=False)
                except Exception as error:
                    if (refused := refusal_of(self, error)) is None:
                        raise
                    raise refused from error
                saved = True
            if not saved:
                raise rolled_back(key)
        except BaseException:
            journal.used.discard(key)
            raise
        return value

    def _call(self, key: str, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[str, Any]:
        """What a step has left: as text, and as a value."""
        before = in_step.get()
        in_step.set(True)
        try:
            value = fn(*args, **kwargs)
        finally:
            in_step.set(before)
        if inspect.isawaitable(value):
            raise TypeError(f'the function of step "{key}" is async: its task has to be, too')
        return step_result(key, value, self._session.max_payload, returned_by(fn))

    # ---- waiting

    @overload
    def sleep(self, duration: Duration, /) -> None: ...
    @overload
    def sleep(self, key: str, duration: Duration, /) -> None: ...
    def sleep(self, *args: Any) -> None:
        """Go on after so long, from the first time on. Meanwhile nothing is held: the execution is run again then."""
        given, ms = timer(args)
        key = self._record().name(given)
        found = open_waits(self, (key,))[0]
        if found is None:
            self._suspend([{"key": key, "timer_ms": ms}])
        else:
            outcome(found)

    @overload
    def invoke(self, task: Task[P, R], payload: Payload[P], *, key: str | None = None, queue: str | None = None,
               priority: int | None = None, timeout: Duration | None = None, metadata: Any = None) -> R: ...
    @overload
    def invoke(self, task: Task[None, R], payload: None = None, *, key: str | None = None, queue: str | None = None,
               priority: int | None = None, timeout: Duration | None = None, metadata: Any = None) -> R: ...
    @overload
    def invoke(self, task: str, payload: Any = None, *, key: str | None = None, queue: str | None = None,
               priority: int | None = None, timeout: Duration | None = None, metadata: Any = None) -> Any: ...
    def invoke(self, task: Any, payload: Any = None, *, key: str | None = None, queue: str | None = None,
               priority: int | None = None, timeout: Duration | None = None, metadata: Any = None) -> Any:
        """Have an execution of a task done, and wait for what it returns.

        key       names it in this execution; by its turn when left out
        queue     instead of the task's own
        priority  higher first
        timeout   how long it may take: then it is cancelled, and ChildTimeout raised
        metadata  besides what it inherits: an object's keys count before those

        ChildFailed when it has failed for good; uncaught, this execution fails for good too.
        """
        return self.invoke_all([Child(task, payload, key=key, queue=queue, priority=priority, timeout=timeout,
                                      metadata=metadata)])[0]

    @overload
    def invoke_all(self, children: Iterable[Wanted[R]], *, return_errors: Literal[False] = False) -> list[R]: ...
    @overload
    def invoke_all(self, children: Iterable[Wanted[R]], *, return_errors: Literal[True]) -> list[R | ChildFailed]: ...
    def invoke_all(self, children: Iterable[Wanted[Any]], *, return_errors: bool = False) -> list[Any]:
        """Have many done beside each other, and wait for all of them: their results, in order.

            ctx.invoke_all([(resize, {"width": width}) for width in (100, 200)])
            ctx.invoke_all([Child(resize, {"width": width}, timeout="1m") for width in (100, 200)])

        The first that failed is raised, once all have finished; with return_errors each ChildFailed stands in its place.
        """
        named = name_children(self, children)
        found = open_waits(self, (key for key, _ in named))
        missing = missing_children(named, found)
        if missing:
            self._suspend(missing)
        return child_outcomes(named, found, return_errors)

    def checkpoint(self) -> None:
        """Where a function that takes long may stop: in its loops.

        Raises Cancelled if it was cancelled, or takes too long. When the server is about to stop, the run is over here,
        and the execution goes on elsewhere with what it has saved, without having lost an attempt.
        """
        journal = self._enter()
        if self._session.ending:
            journal.end(DRAINED)
            raise Suspended(DRAINED)

    def _suspend(self, waits: list[Fields], racing: bool = False) -> NoReturn:
        """racing: one of them is enough."""
        journal = self._enter()
        if racing:
            journal.racing.update(wait["key"] for wait in waits)
        journal.end(WAITS, waits)
        raise Suspended(WAITS)

    # ---- events

    @overload
    def wait_for_event(self, key: str | None = None, *, event: EventType[P], when: str | None = None,
                       since: Since | None = None, timeout: Duration | None = None) -> P: ...
    @overload
    def wait_for_event(self, key: str | None = None, *, event: str, when: str | None = None, since: Since | None = None,
                       timeout: Duration | None = None) -> Any: ...
    @overload
    def wait_for_event(self, key: str | None = None, *, change: Changed, when: str | None = None,
                       since: Since | None = None, timeout: Duration | None = None) -> Any: ...
    def wait_for_event(self, key: str | None = None, *, event: str | EventType[Any] | None = None,
                       change: Changed | None = None, when: str | None = None, since: Since | None = None,
                       timeout: Duration | None = None) -> Any:
        """Wait for something to happen: the payload of the first event of that name from now on, or of the first change of
        a table; meanwhile nothing is held.

            paid = ctx.wait_for_event("paid", event="order.paid", when=f"payload->>'id' = {literal(id)}", timeout="2d")
            user = ctx.wait_for_event("user", change=("users", "insert"), timeout="1h")["new"]

        key      names it in this execution; by its turn when left out
        event    its name, or what define_event has made of it
        change   change(…), or a table and an operation
        when     an SQL expression for which it has to hold: over event and payload, a jsonb; of a change over new and old.
                 What is to stand in it as a value goes through literal()
        since    "start": also one since this execution was invoked, or behind the last one of that name that it got. So
                 what was emitted before it waits is not missed
        timeout  how long to wait: then EventTimeout is raised

        WaitFailed if it cannot come. Uncaught, either fails this execution for good.
        """
        wait = EventWait(event, change=change, when=when, since=since, timeout=timeout, key=key)
        return self.wait_for_all([wait])[0]

    @overload
    def wait_for_all(self, waits: Iterable[Awaited], *, timeout: Duration | None = None,
                     return_errors: Literal[False] = False) -> list[Any]: ...
    @overload
    def wait_for_all(self, waits: Iterable[Awaited], *, timeout: Duration | None = None,
                     return_errors: Literal[True]) -> list[Any | WaitFailed]: ...
    def wait_for_all(self, waits: Iterable[Awaited], *, timeout: Duration | None = None,
                     return_errors: bool = False) -> list[Any]:
        """Wait for several events, until all have come: their payloads, in order.

            ctx.wait_for_all(["order.paid", EventWait("order.packed", key="packed", timeout="1h"), change("users", "insert")])

        timeout is for each that has none of its own. The first that failed is raised, once all are over; with return_errors
        each WaitFailed stands in its place.
        """
        named = name_events(self, waits, timeout)
        found = named.open(self)
        missing = named.missing(found)
        if missing:
            self._suspend(missing)
        return named.outcomes(found, return_errors)

    def wait_for_any(self, waits: Iterable[Awaited], *, key: str | None = None,
                     timeout: Duration | None = None) -> tuple[int, Any]:
        """Wait for several events, until the first has come: its index and its payload.

            which, payload = ctx.wait_for_any(["order.paid", "order.cancelled"], timeout="2d")

        Which it was is saved under the key, so that it stays the same, whatever comes later. What comes for the others is not
        told, and counts as got for a later wait since the start. EventTimeout or WaitFailed if the first that is over has not
        come.
        """
        named, key = name_race(self, waits, timeout, key)
        found = named.open(self)
        first = self._enter().use(key)
        if first is not None:
            return named.outcome_at(found, outcome(first))
        index = first_over(found)
        if index is None:
            self._suspend(named.missing(found), racing=True)
        self._ask(STEP, key, {"key": key, "result": str(index)})
        return named.outcome_at(found, index)

    # ---- calls

    @overload
    def start(self, task: Task[P, Any], payload: Payload[P], *, throttle: None = None,
              queue: str | None = None, priority: int | None = None, run_at: datetime | None = None,
              delay: Span | None = None, metadata: Any = None, dedupe_key: str | None = None,
              dedupe_for: Span | None = None, debounce: Span | None = None, max_wait: Span | None = None) -> str: ...
    @overload
    def start(self, task: Task[P, Any], payload: Payload[P], *, throttle: Span,
              queue: str | None = None, priority: int | None = None, run_at: datetime | None = None,
              delay: Span | None = None, metadata: Any = None, dedupe_key: str | None = None,
              dedupe_for: Span | None = None, debounce: Span | None = None, max_wait: Span | None = None) -> str | None: ...
    @overload
    def start(self, task: Task[None, Any] | str, payload: Any = None, *, throttle: None = None,
              queue: str | None = None, priority: int | None = None, run_at: datetime | None = None,
              delay: Span | None = None, metadata: Any = None, dedupe_key: str | None = None,
              dedupe_for: Span | None = None, debounce: Span | None = None, max_wait: Span | None = None) -> str: ...
    @overload
    def start(self, task: Task[None, Any] | str, payload: Any = None, *, throttle: Span,
              queue: str | None = None, priority: int | None = None, run_at: datetime | None = None,
              delay: Span | None = None, metadata: Any = None, dedupe_key: str | None = None,
              dedupe_for: Span | None = None, debounce: Span | None = None, max_wait: Span | None = None) -> str | None: ...
    def start(self, task: Any, payload: Any = None, **options: Any) -> str | None:
        """Invoke a task without waiting for what comes of it; its id. Each run does it anew, unless it is done in a step:
        ``ctx.step("start", ctx.start, report, 7)``. The options are those of ``Client.invoke``; None if throttled."""
        answer: str | None = self._make_call("invoke", start_args(task, payload, options))
        return answer

    def cancel(self, id: Id, reason: str | None = None) -> bool:
        """Cancel another execution. False if it had finished, or there is none."""
        return bool(self._make_call("cancel", cancel_args(id, reason)))

    @overload
    def emit(self, event: EventType[P], payload: Payload[P]) -> str: ...
    @overload
    def emit(self, event: EventType[None] | str, payload: Any = None) -> str: ...
    def emit(self, event: Any, payload: Any = None) -> str:
        """Say that something has happened: it starts the tasks that have it as a trigger, and resumes what waits for it. The
        event's id. Each run does it anew, unless it is done in a step: ``ctx.step("paid", ctx.emit, "order.paid", {"id": 7})``."""
        answer: str = self._make_call("emit", emit_args(event, payload))
        return answer

    @overload
    def schedule(self, task: Task[P, Any], name: str, cron: str, payload: Payload[P], *, timezone: str | None = None,
                 overlap: Overlap | None = None, catchup: CatchUp | None = None,
                 enabled: bool | None = None) -> datetime | None: ...
    @overload
    def schedule(self, task: Task[None, Any] | str, name: str, cron: str, payload: Any = None, *,
                 timezone: str | None = None, overlap: Overlap | None = None, catchup: CatchUp | None = None,
                 enabled: bool | None = None) -> datetime | None: ...
    def schedule(self, task: Any, name: str, cron: str, payload: Any = None, **options: Any) -> datetime | None:
        """Have a task executed again and again, from now on and whatever is deployed: when for the first time; None for never.
        One of the same task and name is replaced, so it may be done in each run. The options are those of ``cron()``, and
        enabled: False for one that is paused. BadSchedule: the expression, the time zone or an option is none."""
        return time_of(self._make_call("schedule", schedule_args(task, name, cron, payload, options)))

    def unschedule(self, task: Task[Any, Any] | str, name: str) -> bool:
        """Remove what schedule() has made. False if there was none; BadSchedule if it is declared in a program."""
        return bool(self._make_call("unschedule", unschedule_args(task, name)))

    def _make_call(self, name: str, args: str) -> Any:
        call = self._enter().next_call()
        return answer_of(self._ask(CALL, call, {"call": call, "name": name, "args": args}))

    def _ask(self, number: int, key: str | int, fields: Fields) -> Fields:
        """Send something, and wait until it is answered."""
        waiter = Waiter()
        answer = waiter.wait() if self._session.ask(self, number, fields, key, waiter) else None
        if answer is None:
            raise self._ended()
        return answer

    # ---- cancelling

    def wait_cancelled(self, timeout: float | None = None) -> bool:
        """Sleep for so many seconds, or until it is to stop, which it returns. The function goes on meanwhile: to free
        its place, see sleep()."""
        with self._session.lock:
            if not hasattr(self, "_event"):
                self._event = threading.Event()
            event = self._event
        return self._reason is not None or event.wait(timeout)

    def _stop(self, reason: str) -> None:
        super()._stop(reason)
        if hasattr(self, "_event"):
            self._event.set()
        if self._journal is not None:
            self._journal.forsake()
