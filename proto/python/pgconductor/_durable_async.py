"""AsyncContext: what async functions do that lasts. Several things may be under way in one: what its branches wait for is
gathered until all of it has come to rest.

What both contexts have in common is in _lasting.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeVar, overload

from . import _calls
from ._calls import Id, Span
from ._context import BaseContext
from ._duration import Duration
from ._journal import WAITS, Journal, outcome, step_outcome, step_result
from ._lasting import (DRAINED, Awaited, Changed, Child, EventWait, NamedEvents, Since, Wanted, answer_of, cancel_args,
                       check_idle, child_outcomes, emit_args, first_over, in_step, missing_children,
                       name_children, name_events, name_race, named_function, open_waits, refusal_of, rolled_back,
                       schedule_args, start_args, time_of, timer, unschedule_args)
from ._messages import CALL, STEP
from ._task import P, Payload, Task
from ._types import returned_by
from ._triggers import CatchUp, EventType, Overlap
from ._wire import Fields
from .errors import ChildFailed, Suspended, WaitFailed

if TYPE_CHECKING:
    import psycopg

    from ._runners import Loop

R = TypeVar("R")
Row = TypeVar("Row")

# Turns of the loop without anything beginning or ending, after which nothing will: what one gather hands on to the next
# takes two or three.
TURNS = 8
# A coroutine that waits for something else than its context when its run is over is cancelled then.
UNWIND_SECONDS = 5.0


class AsyncContext(BaseContext):
    """One run of an execution, as its function sees it. In async functions: what takes its time is awaited."""

    __slots__ = ("_runner", "_main", "_unwinding")

    _runner: Loop
    _main: asyncio.Task[Any]
    """Its function."""
    _unwinding: asyncio.TimerHandle

    # ---- steps

    @overload
    def step(self, key: str, fn: Callable[..., Awaitable[R]], /, *args: Any, **kwargs: Any) -> Coroutine[Any, Any, R]: ...
    @overload
    def step(self, key: str, fn: Callable[..., R], /, *args: Any, **kwargs: Any) -> Coroutine[Any, Any, R]: ...
    @overload
    def step(self, fn: Callable[..., Awaitable[R]], /, *args: Any, **kwargs: Any) -> Coroutine[Any, Any, R]: ...
    @overload
    def step(self, fn: Callable[..., R], /, *args: Any, **kwargs: Any) -> Coroutine[Any, Any, R]: ...
    def step(self, what: Any, /, *args: Any, **kwargs: Any) -> Any:
        """As Context.step. The function may be async. Several may be under way at once, by asyncio.gather."""
        given, fn, rest = named_function(what, args)
        return self._step(self._record().name(given), fn, rest, kwargs)

    async def _step(self, key: str, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        journal = self._enter()
        found = journal.use(key)
        if found is not None:
            return step_outcome(key, found, fn)
        self._begin(journal)
        try:
            text, value = await self._call(key, fn, args, kwargs)
            await self._ask(STEP, key, {"key": key, "result": text})
            return value
        except BaseException:
            journal.used.discard(key)
            raise
        finally:
            self._end(journal)

    def transaction(self, key: str, connection: psycopg.AsyncConnection[Row],
                    fn: Callable[[psycopg.AsyncConnection[Row]], Awaitable[R]]) -> Coroutine[Any, Any, R]:
        """As Context.transaction, with a psycopg.AsyncConnection."""
        return self._transaction(key, connection, fn)

    async def _transaction(self, key: str, connection: psycopg.AsyncConnection[Row], fn: Callable[..., Any]) -> Any:
        journal = self._enter()
        found = journal.use(key)
        if found is not None:
            return step_outcome(key, found, fn)
        saved = False
        self._begin(journal)
        try:
            check_idle(connection)
            async with connection.transaction():
                text, value = await self._call(key, fn, (connection,), {})
                try:
                    await connection.execute(_calls.SAVE_STEP, (self.id, self.token, key, text), prepare=False)
                except Exception as error:
                    if (refused := refusal_of(self, error)) is None:
                        raise
                    raise refused from error
                saved = True
            if not saved:
                raise rolled_back(key)
            return value
        except BaseException:
            journal.used.discard(key)
            raise
        finally:
            self._end(journal)

    async def _call(self, key: str, fn: Callable[..., Any], args: tuple[Any, ...],
                    kwargs: dict[str, Any]) -> tuple[str, Any]:
        before = in_step.get()
        in_step.set(True)
        try:
            value = fn(*args, **kwargs)
            if inspect.isawaitable(value):
                value = await value
        finally:
            in_step.set(before)
        return step_result(key, value, self._session.max_payload, returned_by(fn))

    # ---- waiting

    @overload
    def sleep(self, duration: Duration, /) -> Coroutine[Any, Any, None]: ...
    @overload
    def sleep(self, key: str, duration: Duration, /) -> Coroutine[Any, Any, None]: ...
    def sleep(self, *args: Any) -> Coroutine[Any, Any, None]:
        """As Context.sleep."""
        given, ms = timer(args)
        return self._sleep(self._record().name(given), ms)

    async def _sleep(self, key: str, ms: int) -> None:
        found = open_waits(self, (key,))[0]
        if found is None:
            await self._park([{"key": key, "timer_ms": ms}])
        else:
            outcome(found)

    @overload
    def invoke(self, task: Task[P, R], payload: Payload[P], *, key: str | None = None, queue: str | None = None,
               priority: int | None = None, timeout: Duration | None = None, metadata: Any = None) -> Coroutine[Any, Any, R]: ...
    @overload
    def invoke(self, task: Task[None, R], payload: None = None, *, key: str | None = None, queue: str | None = None,
               priority: int | None = None, timeout: Duration | None = None, metadata: Any = None) -> Coroutine[Any, Any, R]: ...
    @overload
    def invoke(self, task: str, payload: Any = None, *, key: str | None = None, queue: str | None = None,
               priority: int | None = None, timeout: Duration | None = None, metadata: Any = None) -> Coroutine[Any, Any, Any]: ...
    def invoke(self, task: Any, payload: Any = None, *, key: str | None = None, queue: str | None = None,
               priority: int | None = None, timeout: Duration | None = None, metadata: Any = None) -> Coroutine[Any, Any, Any]:
        """As Context.invoke. What several branches of an asyncio.gather wait for is waited for together, once none
        of them has a step under way."""
        return self._invoke(self.invoke_all([Child(task, payload, key=key, queue=queue, priority=priority,
                                                   timeout=timeout, metadata=metadata)]))

    async def _invoke(self, results: Coroutine[Any, Any, list[Any]]) -> Any:
        return (await results)[0]

    @overload
    def invoke_all(self, children: Iterable[Wanted[R]], *,
                   return_errors: Literal[False] = False) -> Coroutine[Any, Any, list[R]]: ...
    @overload
    def invoke_all(self, children: Iterable[Wanted[R]], *,
                   return_errors: Literal[True]) -> Coroutine[Any, Any, list[R | ChildFailed]]: ...
    def invoke_all(self, children: Iterable[Wanted[Any]], *,
                   return_errors: bool = False) -> Coroutine[Any, Any, list[Any]]:
        """As Context.invoke_all."""
        return self._invoke_all(name_children(self, children), return_errors)

    async def _invoke_all(self, named: list[tuple[str, Child[Any]]], return_errors: bool) -> list[Any]:
        found = open_waits(self, (key for key, _ in named))
        missing = missing_children(named, found)
        if missing:
            await self._park(missing)
        return child_outcomes(named, found, return_errors)

    # ---- events

    @overload
    def wait_for_event(self, key: str | None = None, *, event: EventType[P], when: str | None = None,
                       since: Since | None = None, timeout: Duration | None = None) -> Coroutine[Any, Any, P]: ...
    @overload
    def wait_for_event(self, key: str | None = None, *, event: str, when: str | None = None, since: Since | None = None,
                       timeout: Duration | None = None) -> Coroutine[Any, Any, Any]: ...
    @overload
    def wait_for_event(self, key: str | None = None, *, change: Changed, when: str | None = None,
                       since: Since | None = None, timeout: Duration | None = None) -> Coroutine[Any, Any, Any]: ...
    def wait_for_event(self, key: str | None = None, *, event: str | EventType[Any] | None = None,
                       change: Changed | None = None, when: str | None = None, since: Since | None = None,
                       timeout: Duration | None = None) -> Coroutine[Any, Any, Any]:
        """As Context.wait_for_event. What several branches of an asyncio.gather wait for is waited for together."""
        wait = EventWait(event, change=change, when=when, since=since, timeout=timeout, key=key)
        return self._wait_for_event(name_events(self, [wait], None))

    async def _wait_for_event(self, named: NamedEvents) -> Any:
        return (await self._wait_for_all(named, False))[0]

    @overload
    def wait_for_all(self, waits: Iterable[Awaited], *, timeout: Duration | None = None,
                     return_errors: Literal[False] = False) -> Coroutine[Any, Any, list[Any]]: ...
    @overload
    def wait_for_all(self, waits: Iterable[Awaited], *, timeout: Duration | None = None,
                     return_errors: Literal[True]) -> Coroutine[Any, Any, list[Any | WaitFailed]]: ...
    def wait_for_all(self, waits: Iterable[Awaited], *, timeout: Duration | None = None,
                     return_errors: bool = False) -> Coroutine[Any, Any, list[Any]]:
        """As Context.wait_for_all."""
        return self._wait_for_all(name_events(self, waits, timeout), return_errors)

    async def _wait_for_all(self, named: NamedEvents, return_errors: bool) -> list[Any]:
        found = named.open(self)
        missing = named.missing(found)
        if missing:
            await self._park(missing)
        return named.outcomes(found, return_errors)

    def wait_for_any(self, waits: Iterable[Awaited], *, key: str | None = None,
                     timeout: Duration | None = None) -> Coroutine[Any, Any, tuple[int, Any]]:
        """As Context.wait_for_any."""
        return self._wait_for_any(*name_race(self, waits, timeout, key))

    async def _wait_for_any(self, named: NamedEvents, key: str) -> tuple[int, Any]:
        found = named.open(self)
        journal = self._enter()
        first = journal.use(key)
        if first is not None:
            return named.outcome_at(found, outcome(first))
        index = first_over(found)
        if index is None:
            await self._park(named.missing(found), racing=True)
        self._begin(journal)
        try:
            await self._ask(STEP, key, {"key": key, "result": str(index)})
        finally:
            self._end(journal)
        return named.outcome_at(found, index)

    # ----

    async def checkpoint(self) -> None:
        """As Context.checkpoint. Other coroutines have their turn meanwhile."""
        await asyncio.sleep(0)
        journal = self._enter()
        if self._session.ending:
            journal.end(DRAINED)
            raise Suspended(DRAINED)

    # What a branch of the function waits for is kept until nothing else of it is under way, for a few turns of the
    # loop: then the run is over, with all that its branches wait for, and each of them is told where it stands.

    async def _park(self, waits: list[Fields], racing: bool = False) -> NoReturn:
        """racing: one of them is enough."""
        journal = self._enter()
        journal.waits.update((wait["key"], wait) for wait in waits)
        if racing:
            journal.racing.update(wait["key"] for wait in waits)
        parked = self._runner.loop.create_future()
        journal.parked.append(parked)
        self._rest(journal)
        try:
            await parked
        except asyncio.CancelledError:
            # This branch is given up by the function itself, or all is.
            if journal.over is None:
                for wait in waits:
                    del journal.waits[wait["key"]]
            raise
        raise AssertionError

    def _begin(self, journal: Journal) -> None:
        journal.moves += 1
        journal.active += 1

    def _end(self, journal: Journal) -> None:
        journal.active -= 1
        self._rest(journal)

    def _rest(self, journal: Journal) -> None:
        journal.moves += 1
        if journal.waits and journal.active == 0:
            self._runner.loop.call_soon(self._look, journal, journal.moves, TURNS)

    def _look(self, journal: Journal, moves: int, turns: int) -> None:
        if journal.moves != moves or journal.over is not None:
            return
        if turns > 0:
            self._runner.loop.call_soon(self._look, journal, moves, turns - 1)
        elif journal.waits:
            journal.end(WAITS, list(journal.waits.values()))
            self._unwinding = self._runner.loop.call_later(UNWIND_SECONDS, self._main.cancel)

    def _close(self) -> None:
        super()._close()
        if hasattr(self, "_unwinding"):
            self._unwinding.cancel()

    # ---- calls

    @overload
    def start(self, task: Task[P, Any], payload: Payload[P], *, throttle: None = None,
              queue: str | None = None, priority: int | None = None, run_at: datetime | None = None,
              delay: Span | None = None, metadata: Any = None, dedupe_key: str | None = None,
              dedupe_for: Span | None = None, debounce: Span | None = None, max_wait: Span | None = None) -> Coroutine[Any, Any, str]: ...
    @overload
    def start(self, task: Task[P, Any], payload: Payload[P], *, throttle: Span,
              queue: str | None = None, priority: int | None = None, run_at: datetime | None = None,
              delay: Span | None = None, metadata: Any = None, dedupe_key: str | None = None,
              dedupe_for: Span | None = None, debounce: Span | None = None, max_wait: Span | None = None) -> Coroutine[Any, Any, str | None]: ...
    @overload
    def start(self, task: Task[None, Any] | str, payload: Any = None, *, throttle: None = None,
              queue: str | None = None, priority: int | None = None, run_at: datetime | None = None,
              delay: Span | None = None, metadata: Any = None, dedupe_key: str | None = None,
              dedupe_for: Span | None = None, debounce: Span | None = None, max_wait: Span | None = None) -> Coroutine[Any, Any, str]: ...
    @overload
    def start(self, task: Task[None, Any] | str, payload: Any = None, *, throttle: Span,
              queue: str | None = None, priority: int | None = None, run_at: datetime | None = None,
              delay: Span | None = None, metadata: Any = None, dedupe_key: str | None = None,
              dedupe_for: Span | None = None, debounce: Span | None = None, max_wait: Span | None = None) -> Coroutine[Any, Any, str | None]: ...
    def start(self, task: Any, payload: Any = None, **options: Any) -> Coroutine[Any, Any, str | None]:
        """As Context.start."""
        return self._make_call("invoke", start_args(task, payload, options))

    async def cancel(self, id: Id, reason: str | None = None) -> bool:
        """As Context.cancel."""
        return bool(await self._make_call("cancel", cancel_args(id, reason)))

    @overload
    def emit(self, event: EventType[P], payload: Payload[P]) -> Coroutine[Any, Any, str]: ...
    @overload
    def emit(self, event: EventType[None] | str, payload: Any = None) -> Coroutine[Any, Any, str]: ...
    def emit(self, event: Any, payload: Any = None) -> Coroutine[Any, Any, str]:
        """As Context.emit."""
        return self._make_call("emit", emit_args(event, payload))

    @overload
    def schedule(self, task: Task[P, Any], name: str, cron: str, payload: Payload[P], *, timezone: str | None = None,
                 overlap: Overlap | None = None, catchup: CatchUp | None = None,
                 enabled: bool | None = None) -> Coroutine[Any, Any, datetime | None]: ...
    @overload
    def schedule(self, task: Task[None, Any] | str, name: str, cron: str, payload: Any = None, *,
                 timezone: str | None = None, overlap: Overlap | None = None, catchup: CatchUp | None = None,
                 enabled: bool | None = None) -> Coroutine[Any, Any, datetime | None]: ...
    def schedule(self, task: Any, name: str, cron: str, payload: Any = None, **options: Any) -> Coroutine[Any, Any, datetime | None]:
        """As Context.schedule."""
        return self._schedule(schedule_args(task, name, cron, payload, options))

    async def _schedule(self, args: str) -> datetime | None:
        return time_of(await self._make_call("schedule", args))

    async def unschedule(self, task: Task[Any, Any] | str, name: str) -> bool:
        """As Context.unschedule."""
        return bool(await self._make_call("unschedule", unschedule_args(task, name)))

    async def _make_call(self, name: str, args: str) -> Any:
        journal = self._enter()
        call = journal.next_call()
        self._begin(journal)
        try:
            return answer_of(await self._ask(CALL, call, {"call": call, "name": name, "args": args}))
        finally:
            self._end(journal)

    async def _ask(self, number: int, key: str | int, fields: Fields) -> Fields:
        """What is asked for in one turn of the loop is written together."""
        answer: asyncio.Future[Fields] = self._runner.loop.create_future()
        if not self._session.ask(self, number, fields, key, answer, gather=True):
            raise self._ended()
        self._runner.flush_soon()
        return await answer
