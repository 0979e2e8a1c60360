"""The client: work from a program of its own, in the caller's own transaction. Needs psycopg 3."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, overload

from . import _calls
from ._calls import Call, Id, Item, Result, Span, ThrottledItem
from ._duration import Duration, seconds
from ._task import P, Payload, R, Task
from ._triggers import CatchUp, EventType, Overlap

if TYPE_CHECKING:
    import psycopg

T = TypeVar("T")
# Of connections of its own. Nothing is prepared: there may be a pooler in between.
_OPTIONS = {"autocommit": True, "prepare_threshold": None, "fallback_application_name": "pgconductor client"}
FIRST_LOOK, LONGEST_PAUSE = 0.01, 0.5


class Client:
    """Calls on a psycopg connection, or on one of its own to a URL.

        with psycopg.connect(url) as conn:
            user = conn.execute("insert into users …")
            Client(conn).invoke(send_mail, {"to": "ann"})      # commits, or not, with the insert

        with Client("postgres://localhost/app") as client:    # its own connection; each call is a transaction
            id = client.invoke(send_mail, {"to": "ann"})
            client.wait(id, timeout=10)

    On a connection that it was given it never commits or rolls back. Without either it connects to DATABASE_URL, else by
    the PG* variables.
    """

    def __init__(self, connection: psycopg.Connection[Any] | str | None = None) -> None:
        self._own = connection is None or isinstance(connection, str)
        self._url = _url(connection) if self._own else ""
        self._conn: Any = None if self._own else connection
        self._connecting = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close its own connection; one that it was given is left alone."""
        if self._own and self._conn is not None:
            self._conn.close()
            self._conn = None

    # ---- executions

    @overload
    def invoke(self, task: Task[P, Any], payload: Payload[P], *, throttle: None = None,
               queue: str | None = None, priority: int | None = None, run_at: datetime | None = None,
               delay: Span | None = None, metadata: Any = None, dedupe_key: str | None = None,
               dedupe_for: Span | None = None, debounce: Span | None = None, max_wait: Span | None = None) -> str: ...
    @overload
    def invoke(self, task: Task[P, Any], payload: Payload[P], *, throttle: Span,
               queue: str | None = None, priority: int | None = None, run_at: datetime | None = None,
               delay: Span | None = None, metadata: Any = None, dedupe_key: str | None = None,
               dedupe_for: Span | None = None, debounce: Span | None = None, max_wait: Span | None = None) -> str | None: ...
    @overload
    def invoke(self, task: Task[None, Any] | str, payload: Any = None, *, throttle: None = None,
               queue: str | None = None, priority: int | None = None, run_at: datetime | None = None,
               delay: Span | None = None, metadata: Any = None, dedupe_key: str | None = None,
               dedupe_for: Span | None = None, debounce: Span | None = None, max_wait: Span | None = None) -> str: ...
    @overload
    def invoke(self, task: Task[None, Any] | str, payload: Any = None, *, throttle: Span,
               queue: str | None = None, priority: int | None = None, run_at: datetime | None = None,
               delay: Span | None = None, metadata: Any = None, dedupe_key: str | None = None,
               dedupe_for: Span | None = None, debounce: Span | None = None, max_wait: Span | None = None) -> str | None: ...
    def invoke(self, task: Task[Any, Any] | str, payload: Any = None, **options: Any) -> str | None:
        """Create an execution of a task; its id. It runs once the transaction has committed.

        queue       instead of the task's own
        priority    higher first
        run_at      not before; or delay: a duration from now
        metadata    anything, as JSON; ctx.metadata in the function
        dedupe_key  made once with it, afterwards the id is that of the first; dedupe_for: for so long
        throttle    one in so long; more are not made, and None is returned
        debounce    one, when so long no other was asked for, with the last payload; max_wait: after the first at the latest

        throttle and debounce go by dedupe_key, or by the task.
        """
        return self._do(_calls.invoke(task, payload, options))

    @overload
    def invoke_batch(self, task: Task[P, Any], items: Iterable[Item[P]]) -> list[str]: ...
    @overload
    def invoke_batch(self, task: Task[P, Any], items: Iterable[ThrottledItem[P]]) -> list[str | None]: ...
    @overload
    def invoke_batch(self, task: str, items: Iterable[Item[Any]]) -> list[str]: ...
    @overload
    def invoke_batch(self, task: str, items: Iterable[ThrottledItem[Any]]) -> list[str | None]: ...
    def invoke_batch(self, task: Task[Any, Any] | str, items: Iterable[Any]) -> list[Any]:
        """Create many executions at once, all or none: {"payload": …} each, with the options of invoke if need be.
        Their ids, in the same order."""
        return self._do(_calls.invoke_batch(task, items))

    def cancel(self, id: Id, reason: str | None = None) -> bool:
        """Cancel an execution, and stop it if it is running. False if it has finished, or there is none."""
        return self._do(_calls.cancel(id, reason))

    def retry(self, id: Id) -> bool:
        """Run a finished execution again. False if it has not finished, or there is none."""
        return self._do(_calls.retry(id))

    def edit(self, id: Id, **options: Any) -> bool:
        """Change an execution that does not run: payload, priority, run_at, metadata; what is not given stays as it is.
        False if it has finished, is known to run, or there is none."""
        return self._do(_calls.edit(id, options))

    def move(self, id: Id, queue: str) -> bool:
        """Move an execution that does not run to another queue. False as with edit."""
        return self._do(_calls.move(id, queue))

    def discard(self, id: Id) -> bool:
        """Have lists leave out a failed execution. False if it has not failed, or was discarded before."""
        return self._do(_calls.discard(id))

    def result(self, id: Id) -> Result | None:
        """What has become of an execution so far; None if there is none."""
        return self._do(_calls.result(id))

    @overload
    def wait(self, id: Id, timeout: Duration | None = None, *, task: Task[Any, R]) -> R: ...
    @overload
    def wait(self, id: Id, timeout: Duration | None = None) -> Any: ...
    def wait(self, id: Id, timeout: Duration | None = None, *, task: Task[Any, Any] | None = None) -> Any:
        """Wait for an execution's end: its value; with its task, as what that returns. ExecutionFailed if it failed or was
        cancelled; TimeoutError."""
        if not self._own:
            _refuse_to_wait(self._conn)
        for pause in _pauses(id, timeout):
            # A transaction that stayed open from the first look on would hold up vacuum, and might see nothing new.
            with nullcontext() if self._connection().autocommit else self._conn.transaction():
                found = self.result(id)
            if found is None or found.finished:
                break
            time.sleep(pause)
        return _calls.value_of(id, found, task)

    # ---- events and schedules

    @overload
    def emit(self, event: EventType[P], payload: Payload[P]) -> str: ...
    @overload
    def emit(self, event: EventType[None] | str, payload: Any = None) -> str: ...
    def emit(self, event: Any, payload: Any = None) -> str:
        """Say that something has happened; the event's id. Once the transaction has committed it starts the tasks that have it
        as a trigger, and resumes what waits for it.

        BadPayload if the event was defined with a schema, and the payload is not what that says.
        """
        return self._do(_calls.emit(event, payload))

    @overload
    def schedule(self, task: Task[P, Any], name: str, cron: str, payload: Payload[P], *, timezone: str | None = None,
                 overlap: Overlap | None = None, catchup: CatchUp | None = None,
                 enabled: bool | None = None) -> datetime | None: ...
    @overload
    def schedule(self, task: Task[None, Any] | str, name: str, cron: str, payload: Any = None, *,
                 timezone: str | None = None, overlap: Overlap | None = None, catchup: CatchUp | None = None,
                 enabled: bool | None = None) -> datetime | None: ...
    def schedule(self, task: Any, name: str, cron: str, payload: Any = None, **options: Any) -> datetime | None:
        """Have a task executed again and again: when for the first time; None for never. One of the same task and name is
        replaced. The options are those of ``cron()``, and enabled: False for one that is paused."""
        return self._do(_calls.schedule(task, name, cron, payload, options))

    def unschedule(self, task: Task[Any, Any] | str, name: str) -> bool:
        """Remove what schedule() has made. False if there was none; BadSchedule if it is declared in a program."""
        return self._do(_calls.unschedule(task, name))

    # ---- tasks

    def declare(self, *tasks: Task[Any, Any]) -> None:
        """Make tasks known, so that they can be invoked before a program that serves them was ever started."""
        for task in tasks:
            self._do(_calls.declare(task))

    # ----

    def _connection(self) -> psycopg.Connection[Any]:
        with self._connecting:
            if self._own and (self._conn is None or self._conn.closed):
                self._conn = _psycopg().connect(self._url, **_OPTIONS)
            conn: psycopg.Connection[Any] = self._conn
        return conn

    def _do(self, call: Call[T]) -> T:
        conn = self._connection()
        with _errors(), conn.cursor(row_factory=_psycopg().rows.tuple_row) as cursor:
            return call.answer(cursor.execute(call.sql, call.parameters).fetchone())


class AsyncClient:
    """The same for asyncio, on a psycopg.AsyncConnection or a URL. See Client."""

    def __init__(self, connection: psycopg.AsyncConnection[Any] | str | None = None) -> None:
        self._own = connection is None or isinstance(connection, str)
        self._url = _url(connection) if self._own else ""
        self._conn: Any = None if self._own else connection
        self._connecting = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None,
                        trace: TracebackType | None) -> None:
        await self.close()

    async def close(self) -> None:
        if self._own and self._conn is not None:
            await self._conn.close()
            self._conn = None

    @overload
    async def invoke(self, task: Task[P, Any], payload: Payload[P], *, throttle: None = None,
                     queue: str | None = None, priority: int | None = None, run_at: datetime | None = None,
                     delay: Span | None = None, metadata: Any = None, dedupe_key: str | None = None,
                     dedupe_for: Span | None = None, debounce: Span | None = None, max_wait: Span | None = None) -> str: ...
    @overload
    async def invoke(self, task: Task[P, Any], payload: Payload[P], *, throttle: Span,
                     queue: str | None = None, priority: int | None = None, run_at: datetime | None = None,
                     delay: Span | None = None, metadata: Any = None, dedupe_key: str | None = None,
                     dedupe_for: Span | None = None, debounce: Span | None = None, max_wait: Span | None = None) -> str | None: ...
    @overload
    async def invoke(self, task: Task[None, Any] | str, payload: Any = None, *, throttle: None = None,
                     queue: str | None = None, priority: int | None = None, run_at: datetime | None = None,
                     delay: Span | None = None, metadata: Any = None, dedupe_key: str | None = None,
                     dedupe_for: Span | None = None, debounce: Span | None = None, max_wait: Span | None = None) -> str: ...
    @overload
    async def invoke(self, task: Task[None, Any] | str, payload: Any = None, *, throttle: Span,
                     queue: str | None = None, priority: int | None = None, run_at: datetime | None = None,
                     delay: Span | None = None, metadata: Any = None, dedupe_key: str | None = None,
                     dedupe_for: Span | None = None, debounce: Span | None = None, max_wait: Span | None = None) -> str | None: ...
    async def invoke(self, task: Task[Any, Any] | str, payload: Any = None, **options: Any) -> str | None:
        return await self._do(_calls.invoke(task, payload, options))

    @overload
    async def invoke_batch(self, task: Task[P, Any], items: Iterable[Item[P]]) -> list[str]: ...
    @overload
    async def invoke_batch(self, task: Task[P, Any], items: Iterable[ThrottledItem[P]]) -> list[str | None]: ...
    @overload
    async def invoke_batch(self, task: str, items: Iterable[Item[Any]]) -> list[str]: ...
    @overload
    async def invoke_batch(self, task: str, items: Iterable[ThrottledItem[Any]]) -> list[str | None]: ...
    async def invoke_batch(self, task: Task[Any, Any] | str, items: Iterable[Any]) -> list[Any]:
        return await self._do(_calls.invoke_batch(task, items))

    async def cancel(self, id: Id, reason: str | None = None) -> bool:
        return await self._do(_calls.cancel(id, reason))

    async def retry(self, id: Id) -> bool:
        return await self._do(_calls.retry(id))

    async def edit(self, id: Id, **options: Any) -> bool:
        return await self._do(_calls.edit(id, options))

    async def move(self, id: Id, queue: str) -> bool:
        return await self._do(_calls.move(id, queue))

    async def discard(self, id: Id) -> bool:
        return await self._do(_calls.discard(id))

    async def result(self, id: Id) -> Result | None:
        return await self._do(_calls.result(id))

    @overload
    async def wait(self, id: Id, timeout: Duration | None = None, *, task: Task[Any, R]) -> R: ...
    @overload
    async def wait(self, id: Id, timeout: Duration | None = None) -> Any: ...
    async def wait(self, id: Id, timeout: Duration | None = None, *, task: Task[Any, Any] | None = None) -> Any:
        if not self._own:
            _refuse_to_wait(self._conn)
        for pause in _pauses(id, timeout):
            async with nullcontext() if (await self._connection()).autocommit else self._conn.transaction():
                found = await self.result(id)
            if found is None or found.finished:
                break
            await asyncio.sleep(pause)
        return _calls.value_of(id, found, task)

    @overload
    async def emit(self, event: EventType[P], payload: Payload[P]) -> str: ...
    @overload
    async def emit(self, event: EventType[None] | str, payload: Any = None) -> str: ...
    async def emit(self, event: Any, payload: Any = None) -> str:
        return await self._do(_calls.emit(event, payload))

    @overload
    async def schedule(self, task: Task[P, Any], name: str, cron: str, payload: Payload[P], *, timezone: str | None = None,
                       overlap: Overlap | None = None, catchup: CatchUp | None = None,
                       enabled: bool | None = None) -> datetime | None: ...
    @overload
    async def schedule(self, task: Task[None, Any] | str, name: str, cron: str, payload: Any = None, *,
                       timezone: str | None = None, overlap: Overlap | None = None, catchup: CatchUp | None = None,
                       enabled: bool | None = None) -> datetime | None: ...
    async def schedule(self, task: Any, name: str, cron: str, payload: Any = None, **options: Any) -> datetime | None:
        return await self._do(_calls.schedule(task, name, cron, payload, options))

    async def unschedule(self, task: Task[Any, Any] | str, name: str) -> bool:
        return await self._do(_calls.unschedule(task, name))

    async def declare(self, *tasks: Task[Any, Any]) -> None:
        for task in tasks:
            await self._do(_calls.declare(task))

    async def _connection(self) -> psycopg.AsyncConnection[Any]:
        async with self._connecting:
            if self._own and (self._conn is None or self._conn.closed):
                self._conn = await _psycopg().AsyncConnection.connect(self._url, **_OPTIONS)
        conn: psycopg.AsyncConnection[Any] = self._conn
        return conn

    async def _do(self, call: Call[T]) -> T:
        conn = await self._connection()
        with _errors():
            async with conn.cursor(row_factory=_psycopg().rows.tuple_row) as cursor:
                await cursor.execute(call.sql, call.parameters)
                return call.answer(await cursor.fetchone())


# ---- for both


def _psycopg() -> Any:
    """A program that only serves tasks need not have it."""
    try:
        import psycopg
        import psycopg.rows
    except ImportError as error:
        raise ImportError("the client needs psycopg 3: pip install 'pgconductor[client]'") from error
    return psycopg


def _url(given: Any) -> str:
    return str(given) if given is not None else os.environ.get("DATABASE_URL", "")


@contextmanager
def _errors() -> Iterator[None]:
    """PostgreSQL's errors as ours."""
    try:
        yield
    except _psycopg().Error as error:
        ours = _calls.translated(error)
        if ours is None:
            raise
        raise ours from error


def _refuse_to_wait(conn: Any) -> None:
    if conn.info.transaction_status != _psycopg().pq.TransactionStatus.IDLE:
        raise RuntimeError("wait: the connection is in a transaction; commit first, what it invoked cannot run before")


def _pauses(id: Id, timeout: Duration | None) -> Iterator[float]:
    """How long to sleep after each look. TimeoutError when time is up."""
    limit = seconds(timeout) if timeout is not None else float("inf")
    until = time.monotonic() + limit
    pause = FIRST_LOOK
    while True:
        left = until - time.monotonic()
        yield max(0.0, min(pause, left))
        if left <= 0:
            raise TimeoutError(f"execution {id} has not finished within {limit:g} s")
        pause = min(pause * 1.5, LONGEST_PAUSE)

