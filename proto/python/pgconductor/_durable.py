"""Contexts: what functions do that lasts. Context for those that are not async, AsyncContext for coroutines.

Both keep their books in a Journal and differ in how they wait. A sync function waits for the answer in its thread. In an
async one several things may be under way: what it waits for is gathered until all of it has come to rest.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextvars import ContextVar
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, Literal, NoReturn, TypeVar, Union, overload

from . import _calls
from ._calls import Id
from ._context import BaseContext, current_context
from ._duration import Duration, milliseconds
from ._journal import WAITS, Journal, Waiter, failed_child, outcome, step_result
from ._json import dumps, loads
from ._messages import CALL, STEP
from ._task import P, Payload, Task, queue_name
from ._wire import Fields
from .errors import Cancelled, ChildFailed, NonRetryableError, Suspended

if TYPE_CHECKING:
    import psycopg

    from ._runners import Loop

C = TypeVar("C", bound=BaseContext)
R = TypeVar("R")
Row = TypeVar("Row")

# Turns of the loop without anything beginning or ending, after which nothing will: what one gather hands on to the next
# takes two or three.
TURNS = 8
# A coroutine that waits for something else than its context when its run is over is cancelled then.
UNWIND_SECONDS = 5.0
DRAINED = "it goes on where executions are still taken"
SAVED_BEFORE = "this step has been saved already: the next run has it"
# Whether this is the function of a step. It cannot wait: what it did before would be done again.
_in_step: ContextVar[bool] = ContextVar("pgconductor_step", default=False)


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


class Child(Generic[R]):
    """An execution to wait for, one of ``invoke_all``; see ``invoke``."""

    __slots__ = ("task", "payload", "key", "queue", "priority", "timeout")

    @overload
    def __init__(self, task: Task[P, R], payload: Payload[P], *, key: str | None = None, queue: str | None = None,
                 priority: int | None = None, timeout: Duration | None = None) -> None: ...
    @overload
    def __init__(self, task: Task[None, R], payload: None = None, *, key: str | None = None, queue: str | None = None,
                 priority: int | None = None, timeout: Duration | None = None) -> None: ...
    @overload
    def __init__(self: Child[Any], task: str, payload: Any = None, *, key: str | None = None, queue: str | None = None,
                 priority: int | None = None, timeout: Duration | None = None) -> None: ...
    def __init__(self, task: Task[Any, R] | str, payload: Any = None, *, key: str | None = None, queue: str | None = None,
                 priority: int | None = None, timeout: Duration | None = None) -> None:
        self.task = _calls.name_of(task)
        self.payload = payload
        self.key = key
        self.queue = queue_name(self.task, queue)
        self.priority = priority
        self.timeout = milliseconds(timeout) if timeout is not None else None
        if priority is not None and not (type(priority) is int and -32768 <= priority <= 32767):
            raise ValueError(f"{self.task}: priority: not a whole number between -32768 and 32767: {priority!r}")

    def _wait(self, key: str) -> Fields:
        """As SUSPEND names it."""
        fields = {"key": key, "task": self.task, "queue": self.queue, "priority": self.priority,
                  "timeout_ms": self.timeout}
        if self.payload is not None:
            try:
                fields["payload"] = dumps(self.payload)
            except (TypeError, ValueError, RecursionError) as error:
                raise NonRetryableError(f'the payload of child "{key}" is not JSON: {error}', code="app") from error
        return {name: value for name, value in fields.items() if value is not None}


# ---- what both have in common


def _named_function(what: Any, args: tuple[Any, ...]) -> tuple[str | None, Callable[..., Any], tuple[Any, ...]]:
    """The arguments of step(): a key or none, a function, and what that is called with."""
    if callable(what):
        return None, what, args
    if args and callable(args[0]):
        return what, args[0], args[1:]
    raise TypeError("step: a key and a function are expected, or a function")


def _timer(args: tuple[Any, ...]) -> tuple[str | None, int]:
    """The arguments of sleep(): a key or none, and a duration; in milliseconds."""
    if len(args) not in (1, 2):
        raise TypeError("sleep: a key and a duration are expected, or a duration")
    return (args[0] if len(args) == 2 else None), milliseconds(args[-1])


# An execution to wait for; a pair is a task and its payload.
Wanted = Union[Child[R], tuple[Task[Any, R], Any], tuple[str, Any]]


def _names(ctx: BaseContext, children: Iterable[Wanted[Any]]) -> list[tuple[str, Child[Any]]]:
    journal = ctx._record()
    made = [child if isinstance(child, Child) else Child(*child) for child in children]
    return [(journal.name(child.key), child) for child in made]


def _open(ctx: BaseContext, keys: Iterable[str]) -> list[Fields | None]:
    """What is saved under keys that are to be waited for."""
    journal = ctx._enter()
    if _in_step.get():
        raise RuntimeError("the function of a step cannot sleep or wait for a child: that is done between steps")
    return [journal.use(key) for key in keys]


def _missing(children: Iterable[tuple[str, Child[Any]]], found: Iterable[Fields | None]) -> list[Fields]:
    """As SUSPEND names them."""
    return [child._wait(key) for (key, child), saved in zip(children, found) if saved is None]


def _outcomes(found: Iterable[Fields | None], return_errors: bool) -> list[Any]:
    """Of children that have all finished, in order."""
    return [failed_child(saved) if return_errors and saved.get("error") is not None else outcome(saved)
            for saved in found if saved is not None]


def _start(task: Task[Any, Any] | str, payload: Any, options: dict[str, Any]) -> str:
    """The arguments of the call `invoke`."""
    given = {key: value for key, value in options.items() if value is not None}
    return _calls.item({"task": _calls.name_of(task), "payload": payload, **given})


def _cancel(id: Id, reason: str | None) -> str:
    return dumps({"id": str(id)} if reason is None else {"id": str(id), "reason": reason})


def _answer(fields: Fields) -> Any:
    """What a call has returned."""
    if fields.get("error") is not None:
        error = loads(fields["error"])
        raise _calls.refusal(error.get("code"), error.get("message") or "refused")
    return loads(fields["result"]) if fields.get("result") is not None else None


def _check_idle(connection: Any) -> None:
    # 0: idle. 4: closed, which psycopg itself will say.
    if connection.info.transaction_status not in (0, 4):
        raise RuntimeError("transaction: this connection is in a transaction; the step begins and commits one of its own")


def _refused(ctx: BaseContext, error: Exception) -> BaseException | None:
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


def _rolled_back(key: str) -> RuntimeError:
    return RuntimeError(f'transaction: the function of "{key}" has rolled back what it did: nothing is saved')


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
        given, fn, rest = _named_function(what, args)
        journal = self._enter()
        key = journal.name(given)
        found = journal.use(key)
        if found is not None:
            return outcome(found)
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
            value: R = outcome(found)
            return value
        saved = False
        try:
            _check_idle(connection)
            with connection.transaction():
                text, value = self._call(key, fn, (connection,), {})
                try:
                    connection.execute(_calls.SAVE_STEP, (self.id, self.token, key, text), prepare=False)
                except Exception as error:
                    if (refused := _refused(self, error)) is None:
                        raise
                    raise refused from error
                saved = True
            if not saved:
                raise _rolled_back(key)
        except BaseException:
            journal.used.discard(key)
            raise
        return value

    def _call(self, key: str, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[str, Any]:
        """What a step has left: as text, and as a value."""
        before = _in_step.get()
        _in_step.set(True)
        try:
            value = fn(*args, **kwargs)
        finally:
            _in_step.set(before)
        if inspect.isawaitable(value):
            raise TypeError(f'the function of step "{key}" is async: its task has to be, too')
        return step_result(key, value, self._session.max_payload)

    # ---- waiting

    @overload
    def sleep(self, duration: Duration, /) -> None: ...
    @overload
    def sleep(self, key: str, duration: Duration, /) -> None: ...
    def sleep(self, *args: Any) -> None:
        """Go on after so long, from the first time on. Meanwhile nothing is held: the execution is run again then."""
        given, ms = _timer(args)
        key = self._record().name(given)
        found = _open(self, (key,))[0]
        if found is None:
            self._suspend([{"key": key, "timer_ms": ms}])
        else:
            outcome(found)

    @overload
    def invoke(self, task: Task[P, R], payload: Payload[P], *, key: str | None = None, queue: str | None = None,
               priority: int | None = None, timeout: Duration | None = None) -> R: ...
    @overload
    def invoke(self, task: Task[None, R], payload: None = None, *, key: str | None = None, queue: str | None = None,
               priority: int | None = None, timeout: Duration | None = None) -> R: ...
    @overload
    def invoke(self, task: str, payload: Any = None, *, key: str | None = None, queue: str | None = None,
               priority: int | None = None, timeout: Duration | None = None) -> Any: ...
    def invoke(self, task: Any, payload: Any = None, *, key: str | None = None, queue: str | None = None,
               priority: int | None = None, timeout: Duration | None = None) -> Any:
        """Have an execution of a task done, and wait for what it returns.

        key       names it in this execution; by its turn when left out
        queue     instead of the task's own
        priority  higher first
        timeout   how long it may take: then it is cancelled, and ChildTimeout raised

        ChildFailed when it has failed for good; uncaught, this execution fails for good too.
        """
        return self.invoke_all([Child(task, payload, key=key, queue=queue, priority=priority, timeout=timeout)])[0]

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
        named = _names(self, children)
        found = _open(self, (key for key, _ in named))
        missing = _missing(named, found)
        if missing:
            self._suspend(missing)
        return _outcomes(found, return_errors)

    def checkpoint(self) -> None:
        """Where a function that takes long may stop: in its loops.

        Raises Cancelled if it was cancelled, or takes too long. When the server is about to stop, the run is over here,
        and the execution goes on elsewhere with what it has saved, without having lost an attempt.
        """
        journal = self._enter()
        if self._session.ending:
            journal.end(DRAINED)
            raise Suspended(DRAINED)

    def _suspend(self, waits: list[Fields]) -> NoReturn:
        self._enter().end(WAITS, waits)
        raise Suspended(WAITS)

    # ---- calls

    @overload
    def start(self, task: Task[P, Any], payload: Payload[P], *, queue: str | None = None, priority: int | None = None,
              run_at: datetime | None = None, delay: Duration | None = None, metadata: Any = None) -> str: ...
    @overload
    def start(self, task: Task[None, Any] | str, payload: Any = None, *, queue: str | None = None,
              priority: int | None = None, run_at: datetime | None = None, delay: Duration | None = None,
              metadata: Any = None) -> str: ...
    def start(self, task: Any, payload: Any = None, **options: Any) -> str:
        """Invoke a task without waiting for what comes of it; its id. Each run does it anew, unless it is done in a step:
        ``ctx.step("start", ctx.start, report, 7)``. The options are those of ``Client.invoke``."""
        answer: str = self._make_call("invoke", _start(task, payload, options))
        return answer

    def cancel(self, id: Id, reason: str | None = None) -> bool:
        """Cancel another execution. False if it had finished, or there is none."""
        return bool(self._make_call("cancel", _cancel(id, reason)))

    def _make_call(self, name: str, args: str) -> Any:
        call = self._enter().next_call()
        return _answer(self._ask(CALL, call, {"call": call, "name": name, "args": args}))

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
        given, fn, rest = _named_function(what, args)
        return self._step(self._record().name(given), fn, rest, kwargs)

    async def _step(self, key: str, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        journal = self._enter()
        found = journal.use(key)
        if found is not None:
            return outcome(found)
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
            return outcome(found)
        saved = False
        self._begin(journal)
        try:
            _check_idle(connection)
            async with connection.transaction():
                text, value = await self._call(key, fn, (connection,), {})
                try:
                    await connection.execute(_calls.SAVE_STEP, (self.id, self.token, key, text), prepare=False)
                except Exception as error:
                    if (refused := _refused(self, error)) is None:
                        raise
                    raise refused from error
                saved = True
            if not saved:
                raise _rolled_back(key)
            return value
        except BaseException:
            journal.used.discard(key)
            raise
        finally:
            self._end(journal)

    async def _call(self, key: str, fn: Callable[..., Any], args: tuple[Any, ...],
                    kwargs: dict[str, Any]) -> tuple[str, Any]:
        before = _in_step.get()
        _in_step.set(True)
        try:
            value = fn(*args, **kwargs)
            if inspect.isawaitable(value):
                value = await value
        finally:
            _in_step.set(before)
        return step_result(key, value, self._session.max_payload)

    # ---- waiting

    @overload
    def sleep(self, duration: Duration, /) -> Coroutine[Any, Any, None]: ...
    @overload
    def sleep(self, key: str, duration: Duration, /) -> Coroutine[Any, Any, None]: ...
    def sleep(self, *args: Any) -> Coroutine[Any, Any, None]:
        """As Context.sleep."""
        given, ms = _timer(args)
        return self._sleep(self._record().name(given), ms)

    async def _sleep(self, key: str, ms: int) -> None:
        found = _open(self, (key,))[0]
        if found is None:
            await self._park([{"key": key, "timer_ms": ms}])
        else:
            outcome(found)

    @overload
    def invoke(self, task: Task[P, R], payload: Payload[P], *, key: str | None = None, queue: str | None = None,
               priority: int | None = None, timeout: Duration | None = None) -> Coroutine[Any, Any, R]: ...
    @overload
    def invoke(self, task: Task[None, R], payload: None = None, *, key: str | None = None, queue: str | None = None,
               priority: int | None = None, timeout: Duration | None = None) -> Coroutine[Any, Any, R]: ...
    @overload
    def invoke(self, task: str, payload: Any = None, *, key: str | None = None, queue: str | None = None,
               priority: int | None = None, timeout: Duration | None = None) -> Coroutine[Any, Any, Any]: ...
    def invoke(self, task: Any, payload: Any = None, *, key: str | None = None, queue: str | None = None,
               priority: int | None = None, timeout: Duration | None = None) -> Coroutine[Any, Any, Any]:
        """As Context.invoke. What several branches of an asyncio.gather wait for is waited for together, once none
        of them has a step under way."""
        return self._invoke(self.invoke_all([Child(task, payload, key=key, queue=queue, priority=priority,
                                                   timeout=timeout)]))

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
        return self._invoke_all(_names(self, children), return_errors)

    async def _invoke_all(self, named: list[tuple[str, Child[Any]]], return_errors: bool) -> list[Any]:
        found = _open(self, (key for key, _ in named))
        missing = _missing(named, found)
        if missing:
            await self._park(missing)
        return _outcomes(found, return_errors)

    async def checkpoint(self) -> None:
        """As Context.checkpoint. Other coroutines have their turn meanwhile."""
        await asyncio.sleep(0)
        journal = self._enter()
        if self._session.ending:
            journal.end(DRAINED)
            raise Suspended(DRAINED)

    # What a branch of the function waits for is kept until nothing else of it is under way, for a few turns of the
    # loop: then the run is over, with all that its branches wait for, and each of them is told where it stands.

    async def _park(self, waits: list[Fields]) -> NoReturn:
        journal = self._enter()
        journal.waits.update((wait["key"], wait) for wait in waits)
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
    def start(self, task: Task[P, Any], payload: Payload[P], *, queue: str | None = None, priority: int | None = None,
              run_at: datetime | None = None, delay: Duration | None = None,
              metadata: Any = None) -> Coroutine[Any, Any, str]: ...
    @overload
    def start(self, task: Task[None, Any] | str, payload: Any = None, *, queue: str | None = None,
              priority: int | None = None, run_at: datetime | None = None, delay: Duration | None = None,
              metadata: Any = None) -> Coroutine[Any, Any, str]: ...
    def start(self, task: Any, payload: Any = None, **options: Any) -> Coroutine[Any, Any, str]:
        """As Context.start."""
        return self._make_call("invoke", _start(task, payload, options))

    async def cancel(self, id: Id, reason: str | None = None) -> bool:
        """As Context.cancel."""
        return bool(await self._make_call("cancel", _cancel(id, reason)))

    async def _make_call(self, name: str, args: str) -> Any:
        journal = self._enter()
        call = journal.next_call()
        self._begin(journal)
        try:
            return _answer(await self._ask(CALL, call, {"call": call, "name": name, "args": args}))
        finally:
            self._end(journal)

    async def _ask(self, number: int, key: str | int, fields: Fields) -> Fields:
        """What is asked for in one turn of the loop is written together."""
        answer: asyncio.Future[Fields] = self._runner.loop.create_future()
        if not self._session.ask(self, number, fields, key, answer, gather=True):
            raise self._ended()
        self._runner.flush_soon()
        return await answer
