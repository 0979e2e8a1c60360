"""Where functions run: sync ones in threads, async ones on an event loop."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Sequence
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from ._batch import BatchContext
from ._context import BaseContext, current_context
from ._durable import Context
from ._durable_async import AsyncContext
from ._failure import done, failure
from ._messages import FAIL
from ._wire import Fields
from .errors import Suspended

if TYPE_CHECKING:
    from ._session import Session
    from ._task import Task


def _failed(ctx: BaseContext, error: BaseException, max_payload: int) -> tuple[int, Fields]:
    """Its function has raised that. Of a run that is over nobody hears it, and it takes its time to be told."""
    if ctx._journal is not None and ctx._journal.over is not None:
        return FAIL, {}
    return failure(error, ctx._reason, max_payload)


def _answer(session: Session, ctx: BaseContext, number: int, fields: Fields, gather: bool = False) -> None:
    """The function of a run has ended with that."""
    journal = ctx._journal
    if journal is not None:
        number, fields = journal.verdict(number, fields)
    session.finish(ctx, number, fields, gather)
    if journal is not None:
        ctx._close()


def _end(session: Session, ctx: BaseContext, result: Any, error: BaseException | None, gather: bool = False) -> None:
    """Its function has returned that, or raised."""
    if isinstance(ctx, BatchContext):
        for event, number, fields in ctx._outcomes(result, error):
            session.finish(event, number, fields, gather)
    else:
        number, fields = _failed(ctx, error, session.max_payload) if error is not None else done(result, session.max_payload)
        _answer(session, ctx, number, fields, gather)


class Threads:
    """Runs sync functions one after the other in each thread that calls work(): the main one, or several."""

    def __init__(self, session: Session, threads: int) -> None:
        self._session = session
        self._threads = threads
        self._queue: SimpleQueue[Context | None] = SimpleQueue()

    def start(self) -> None:
        """Several threads."""
        for number in range(1, self._threads + 1):
            threading.Thread(target=self.work, name=f"task-{number}", daemon=True).start()

    def work(self) -> None:
        """Runs what comes, until the session ends."""
        session, queue = self._session, self._queue
        while (ctx := queue.get()) is not None:
            if session.claim(ctx):
                current_context.set(ctx)
                result, error = None, None
                try:
                    result = ctx._function.fn(*ctx._arguments())
                except KeyboardInterrupt:
                    raise
                except BaseException as raised:
                    error = raised
                _end(session, ctx, result, error)
                result = error = None
            if queue.empty():
                session.flush()

    # ---- called by the reading thread

    def submit(self, arrived: Sequence[Context]) -> None:
        for ctx in arrived:
            self._queue.put(ctx)

    def cancel(self, ctx: Context) -> None:
        """A function in a thread has to ask for itself."""

    def stop(self) -> None:
        for _ in range(max(1, self._threads)):
            self._queue.put(None)


class Loop:
    """Runs async functions on an asyncio loop, up to so many at once."""

    def __init__(self, session: Session, limit: int) -> None:
        self._session = session
        self._limit = limit
        self._arrived: deque[AsyncContext] = deque()
        self._tasks: dict[asyncio.Task[Any], AsyncContext] = {}
        self._flush_due = False
        self._had_turn = True
        self._ready = threading.Event()
        self.loop: asyncio.AbstractEventLoop
        self._end: asyncio.Event

    def start(self) -> None:
        """In a thread of its own."""
        threading.Thread(target=self.work, name="asyncio", daemon=True).start()

    def work(self) -> None:
        asyncio.run(self._main())

    async def _main(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.loop.set_exception_handler(_complain)
        self._end = asyncio.Event()
        self._ready.set()
        await self._end.wait()

    # ---- called by the reading thread

    def submit(self, arrived: Sequence[AsyncContext]) -> None:
        self._arrived.extend(arrived)
        self._call(self._begin)

    def cancel(self, ctx: AsyncContext) -> None:
        self._call(self._cancel, ctx)

    def wake(self, answers: list[tuple[Any, Fields]]) -> None:
        self._call(self._wake, answers)

    def alive(self) -> bool:
        if not self._had_turn:
            return False
        self._had_turn = False
        self._call(self._take_turn)
        return True

    def stop(self) -> None:
        self._call(lambda: self._end.set())

    def _call(self, function: Any, *args: Any) -> None:
        self._ready.wait()
        try:
            self.loop.call_soon_threadsafe(function, *args)
        except RuntimeError:
            pass  # the loop has ended, and the program is about to

    # ---- called on the loop

    def _begin(self) -> None:
        while self._arrived and len(self._tasks) < self._limit:
            ctx = self._arrived.popleft()
            if not self._session.claim(ctx):
                continue
            try:
                arguments = ctx._arguments()
            except Exception as error:
                self._finish(ctx, None, error)
                continue
            current_context.set(ctx)  # the task takes a copy of it
            ctx._runner = self
            ctx._main = task = self.loop.create_task(_guarded(ctx._function, arguments), name=ctx._label)
            self._tasks[task] = ctx
            task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[Any]) -> None:
        ctx = self._tasks.pop(task)
        # Not in the coroutine: one that is cancelled before its first step never runs.
        error = asyncio.CancelledError("cancelled") if task.cancelled() else task.exception()
        self._finish(ctx, task.result() if error is None else None, error)
        if self._arrived:
            self._begin()

    def _cancel(self, ctx: AsyncContext) -> None:
        # One whose payload could not be read has none.
        if hasattr(ctx, "_main"):
            ctx._main.cancel()

    def _finish(self, ctx: AsyncContext, result: Any, error: BaseException | None) -> None:
        _end(self._session, ctx, result, error, gather=True)
        self.flush_soon()

    def flush_soon(self) -> None:
        """What is said in one turn of the loop is written together."""
        if not self._flush_due:
            self._flush_due = True
            self.loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_due = False
        self._session.flush()

    def _wake(self, answers: list[tuple[asyncio.Future[Fields], Fields]]) -> None:
        for future, fields in answers:
            if not future.done():
                future.set_result(fields)

    def _take_turn(self) -> None:
        self._had_turn = True


def _complain(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """That a branch which nobody waited for ended with its run is nothing to be told."""
    if not isinstance(context.get("exception"), Suspended):
        loop.default_exception_handler(context)


async def _guarded(function: Task[Any, Any], arguments: tuple[Any, ...]) -> Any:
    try:
        return await function.fn(*arguments)
    except SystemExit as error:
        # asyncio would end the whole program.
        raise RuntimeError(f"SystemExit: {error.code}") from error
