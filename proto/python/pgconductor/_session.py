"""The session with the worker: one socket, one thread that reads it, and everybody who has an outcome to write.

The reading thread never calls a task's function, so CANCEL and DRAIN are heard while functions run, and what the worker
sends is taken while it does not read: neither side can wait for the other for ever. Functions run elsewhere (_runners).

An execution waits (handed over, its function not called yet) or runs; the dictionary that it is in says which. Both
change under the lock only. So does what is to be written. One whose saved steps have not all come yet waits without being
given to its runner.
"""

from __future__ import annotations

import os
import select
import socket
import threading
import traceback
from collections.abc import Sequence
from time import monotonic
from typing import Any, Protocol

from ._batch import BatchContext, BatchEvent
from ._context import BaseContext
from ._durable import Context
from ._durable_async import AsyncContext
from ._failure import clean
from ._journal import Journal, Waiter
from ._json import dumps_loosely
from ._messages import (BEAT, BYE, CANCEL, CREDIT, DRAIN, FAIL, HELLO, JOURNAL, LOG, NAMES, PROGRESS, REJECT, RETURN, RUN,
                        STEP_OK, STEPS, TO_HANDLER, WELCOME)
from ._task import Task
from ._triggers import defined_events
from ._version import __version__
from ._wire import HEAD, IGNORABLE, Fields, Packer, ProtocolError, check, length_at, ordered, unpack
from .errors import PayloadTooLarge

CAPABILITIES = ["call", "cancel", "credit", "drain", "log", "progress", "step", "suspend"]
LASTING = frozenset(("call", "step", "suspend"))
READ_BYTES = 256 * 1024
# When many executions come at once their outcomes are written together: so many of them, and none is kept for longer.
GATHER = 64
GATHER_MS = 5
# Signs of life within the time in which one is due.
BEATS = 4


class Runner(Protocol):
    """Where functions run. Called by the reading thread."""

    def submit(self, arrived: Sequence[Any]) -> None: ...
    def cancel(self, ctx: Any) -> None: ...
    def stop(self) -> None: ...


class LoopRunner(Runner, Protocol):
    def wake(self, answers: list[tuple[Any, Fields]]) -> None:
        """Give these futures their results."""

    def alive(self) -> bool:
        """Whether the loop has had a turn since this was last asked."""


class Session:
    def __init__(self, sock: socket.socket, tasks: Sequence[Task[Any, Any]], *, concurrency: int, credit: int,
                 beat_ms: int = 0, queues: Sequence[Fields] = ()) -> None:
        self.queue = ""
        self.max_payload = 0
        self.error: str | None = None
        self.lock = threading.Lock()
        self._sock = sock
        self._tasks = {task.name: task for task in tasks}
        self._hello: Fields = {"capabilities": CAPABILITIES, "concurrency": concurrency, "credit": credit}
        if queues:
            self._hello["queues"] = list(queues)
        if beat_ms:
            self._hello.update(capabilities=[*CAPABILITIES, "beat"], beat_ms=beat_ms)
        self._beat = beat_ms / 1000 / BEATS
        self._beat_at = 0.0
        self._sync: Runner | None = None
        self._async: LoopRunner | None = None
        self._waiting: dict[int, BaseContext] = {}
        self._running: dict[int, BaseContext] = {}
        self._woken: list[tuple[Any, Fields]] = []  # futures, and their results
        self._welcome = False
        self.ending = False  # no more will come: when nothing is left, BYE
        self._bye = False
        self._broken = False  # nothing can be written any more
        self._capabilities: frozenset[str] = frozenset()
        # Reading
        self._in = bytearray()
        self._max_frame = 1 << 20  # of a WELCOME
        self._thread = threading.Thread(target=self._attend, name="pgconductor", daemon=True)
        self._wake_r, self._wake_w = socket.socketpair()
        # Writing
        self._packer = Packer()
        self._out: list[bytes] = []
        self._rest = memoryview(b"")
        self._full = False  # the socket takes no more for now
        self._gathering = False
        for end in (sock, self._wake_r, self._wake_w):
            end.setblocking(False)
            end.set_inheritable(False)

    # ---- for serve()

    def start(self, sync: Runner | None, async_: LoopRunner | None) -> None:
        """Say HELLO, and serve from now on."""
        global _serving
        self._sync, self._async = sync, async_
        _serving = self
        os.register_at_fork(after_in_child=self._forked)
        hello: Fields = {"protocols": [1], "sdk": "python", "version": __version__, **self._hello,
                         "tasks": [task.announcement() for task in self._tasks.values()],
                         "events": [event.announcement() for event in defined_events()] or None}
        self._say(HELLO, ordered("HELLO", hello))
        self._thread.start()

    def join(self) -> None:
        """Wait for the end."""
        self._thread.join()

    def stop(self) -> None:
        """Ask for no more executions, finish those that were handed over, and end."""
        with self.lock:
            if self.ending:
                return
            self.ending = True
            self._put(CREDIT, 0, {"credit": 0})
            self._end_if_done()
            self._write()

    # ---- for the runners

    def claim(self, ctx: BaseContext) -> bool:
        """It waited, and runs from now on. False: it is not to run any more."""
        if isinstance(ctx, BatchContext):
            return self._claim_batch(ctx)
        with self.lock:
            if self._bye or self._waiting.pop(ctx._exec, None) is None:
                return False
            self._running[ctx._exec] = ctx
            return True

    def _claim_batch(self, batch: BatchContext) -> bool:
        """Those of it that were not cancelled meanwhile, and whose payload can be read."""
        with self.lock:
            batch.events = [event for event in batch.events if self._waiting.pop(event._exec, None) is not None and not self._bye]
            for event in batch.events:
                self._running[event._exec] = event
        return batch._load()

    def finish(self, ctx: BaseContext, number: int, fields: Fields, gather: bool = False) -> None:
        """Answer an execution with DONE, FAIL or SUSPEND. With gather it is written when flush() is called, at the latest."""
        with self.lock:
            if self._running.pop(ctx._exec, None) is None:
                return
            if not self._put(number, ctx._exec, fields):
                self._put(FAIL, ctx._exec, {"code": "oversize", "retry": False, "message":
                                            "what it waits for does not fit in a message: wait for less at a time"})
            if self.ending:
                self._end_if_done()
            elif gather or (self._gathering and len(self._out) < GATHER):
                return
            self._write()

    def flush(self) -> None:
        if self._out:
            with self.lock:
                self._write()

    def ask(self, ctx: BaseContext, number: int, fields: Fields, key: str | int, waiter: Any,
            gather: bool = False) -> bool:
        """Send what will be answered; waiter, a Waiter or a future, gets the answer. False: its run is over, or to stop."""
        with self.lock:
            if not LASTING <= self._capabilities:
                raise RuntimeError("this server cannot save steps, and has nothing that could be waited for: it is too old")
            if ctx._journal is None or ctx._reason is not None or self._running.get(ctx._exec) is not ctx:
                return False
            if not self._put(number, ctx._exec, fields):
                raise PayloadTooLarge(f"{NAMES[number]}: does not fit in a message of {self._max_frame} bytes")
            ctx._journal.pending[key] = waiter
            if not gather:
                self._write()
            return True

    def progress(self, ctx: BaseContext, fields: Fields) -> None:
        with self.lock:
            if "progress" in self._capabilities and self._running.get(ctx._exec) is ctx:
                self._put(PROGRESS, ctx._exec, fields)
                self._write()

    def log(self, level: str, message: str, fields: dict[str, Any], exec_: int) -> None:
        said = {"level": level, "message": clean(message)}
        text = dumps_loosely(fields) if fields else None
        if text is not None:
            said["fields"] = text
        with self.lock:
            if "log" in self._capabilities:
                self._put(LOG, exec_, said)
                self._write()

    # ---- reading: the thread

    def _attend(self) -> None:
        try:
            self._loop()
        except ProtocolError as error:
            self.error = f"protocol error: {error}"
        except OSError as error:
            self.error = f"the worker went away: {error.strerror or error}"
        except Exception:
            traceback.print_exc()
            self.error = "an error in the library"
        with self.lock:
            self._broken = True
            self._waiting.clear()
            for ctx in self._running.values():
                ctx._stop("lost")
        for runner in (self._sync, self._async):
            if runner is not None:
                runner.stop()

    def _loop(self) -> None:
        poll = select.poll()
        poll.register(self._wake_r, select.POLLIN)
        while True:
            poll.register(self._sock, select.POLLIN | (select.POLLOUT if self._full else 0))
            ready = poll.poll(self._pause())
            for fd, what in ready:
                if fd == self._wake_r.fileno():
                    self._wake_r.recv(4096)
                elif what & ~select.POLLOUT and not self._read():
                    return
            with self.lock:
                if not ready and not self._out:
                    self._gathering = False
                self._write()
                if self._bye and not (self._out or self._rest):
                    return

    def _pause(self) -> float | None:
        """Milliseconds until it is to write, though nothing comes. A sign of life is given when one is due."""
        pause = GATHER_MS if self._gathering else None
        if not self._beat:
            return pause
        now = monotonic()
        if now >= self._beat_at and (self._async is None or self._async.alive()):
            with self.lock:
                self._put(BEAT, 0, {})
                self._write()
        if now >= self._beat_at:
            self._beat_at = now + self._beat
        due = (self._beat_at - now) * 1000 + 1
        return due if pause is None else min(due, pause)

    def _read(self) -> bool:
        """False at the end of the session."""
        try:
            data = self._sock.recv(READ_BYTES)
        except BlockingIOError:
            return True
        if not data:
            # A program that was only asked for its tasks is not told that this was all.
            if not (self._welcome and self.queue == "") and not self._bye:
                self.error = self.error or "the worker went away"
            return False
        self._in += data
        arrived = self._frames()
        if self._woken and self._async is not None:
            self._async.wake(self._woken)
            self._woken = []
        if self.error is not None:
            return False
        if len(arrived) > 1:
            self._gathering = True
        if arrived:
            self._submit(arrived)
        return True

    def _submit(self, arrived: list[BaseContext]) -> None:
        if self._sync is not None and self._async is not None:
            self._async.submit([ctx for ctx in arrived if ctx._function.is_async])
            arrived = [ctx for ctx in arrived if not ctx._function.is_async]
        runner = self._sync or self._async
        if runner is not None:
            runner.submit(arrived)

    def _frames(self) -> list[BaseContext]:
        """Handle the frames that are whole; the executions that may start."""
        data, at = self._in, 0
        arrived: list[BaseContext] = []
        while len(data) - at >= HEAD:
            (length,) = length_at(data, at)
            if length > self._max_frame:
                raise ProtocolError(f"a frame of {length} bytes; the limit is {self._max_frame}")
            start = at + HEAD
            if len(data) - start < length:
                break
            at = start + length
            number, execution, fields = unpack(data[start:at])
            if self._welcome and number == RUN and fields.get("items"):
                check(number, fields)
                arrived += self._on_items(fields["task"], fields["items"])
            elif self._welcome and (number == RUN or number == STEPS):
                check(number, fields)
                ctx = self._on_run(execution, fields) if number == RUN else self._on_steps(execution, fields)
                if ctx is not None:
                    arrived.append(ctx)
            else:
                self._frame(number, execution, fields)
        del data[:at]
        return arrived

    def _frame(self, number: int, execution: int, fields: Fields) -> None:
        if number not in NAMES and number >= IGNORABLE:
            return
        if number not in TO_HANDLER:
            raise ProtocolError(f"message {number} ({NAMES.get(number, 'unknown')})")
        if self._welcome == (number == WELCOME):
            raise ProtocolError(f"{NAMES[number]}: " + ("a second one" if self._welcome else "before WELCOME"))
        check(number, fields)
        if number == WELCOME:
            self._on_welcome(fields)
        elif number == REJECT:
            self.error = f"the worker refused this program: {fields['reason']}"
        elif number == STEP_OK:
            self._on_answer(execution, fields["key"], fields)
        elif number == RETURN:
            self._on_answer(execution, fields["call"], fields)
        elif number == CANCEL:
            self._on_cancel(execution, fields["reason"])
        elif number == DRAIN:
            self._on_drain()

    def _on_welcome(self, fields: Fields) -> None:
        if fields["protocol"] != 1:
            raise ProtocolError(f"the worker chose version {fields['protocol']}")
        self._welcome = True
        self.queue = fields["queue"]
        self._max_frame = fields["max_frame"]
        self.max_payload = fields["max_payload"]
        self._capabilities = frozenset(fields.get("capabilities") or ())

    def _on_items(self, task: str, items: list[Fields]) -> list[BaseContext]:
        """Several at once; one by one where the function does not take several."""
        function = self._tasks.get(task)
        runs = [(item["exec"], {**item, "task": task}) for item in items]
        if function is not None and function.batch is not None:
            return [self._new_batch(function, runs)]
        return [ctx for execution, fields in runs if (ctx := self._on_run(execution, fields)) is not None]

    def _new_batch(self, function: Task[Any, Any], runs: list[tuple[int, Fields]]) -> BatchContext:
        batch = BatchContext(self, function, runs)
        for event in batch.events:
            self._waiting[event._exec] = event
        return batch

    def _on_run(self, execution: int, fields: Fields) -> BaseContext | None:
        function = self._tasks.get(fields["task"])
        if function is None:
            with self.lock:
                self._put(FAIL, execution, {"code": "app", "message": f"this program has no task {fields['task']}"})
            return None
        if function.batch is not None:
            return self._new_batch(function, [(execution, fields)])
        ctx = (AsyncContext if function.is_async else Context)(self, execution, fields, function)
        if "steps" in fields or "more_steps" in fields:
            ctx._journal = Journal(fields["task"])
        # Without the lock: nobody else adds to these, and what comes too late is not claimed.
        self._waiting[execution] = ctx
        return ctx if ctx._journal is None else self._add_steps(ctx, ctx._journal, fields)

    def _on_steps(self, execution: int, fields: Fields) -> BaseContext | None:
        """More of what is saved. It may have been cancelled meanwhile."""
        ctx = self._waiting.get(execution)
        return None if ctx is None or ctx._journal is None else self._add_steps(ctx, ctx._journal, fields)

    def _add_steps(self, ctx: BaseContext, journal: Journal, fields: Fields) -> BaseContext | None:
        """The execution, once all of its steps are there."""
        journal.add(fields.pop("steps", None) or ())
        if not fields.get("more_steps"):
            return ctx
        with self.lock:
            self._put(JOURNAL, ctx._exec, {"after": len(journal.saved)})
        return None

    def _on_answer(self, execution: int, key: str | int, fields: Fields) -> None:
        """Nobody may wait for it any more."""
        ctx = self._running.get(execution)
        waiter = ctx._journal.pending.pop(key, None) if ctx is not None and ctx._journal is not None else None
        if isinstance(waiter, Waiter):
            waiter.wake(fields)
        elif waiter is not None:
            self._woken.append((waiter, fields))

    def _on_cancel(self, execution: int, reason: str) -> None:
        """One that waits is over; one that runs is told. One we do not know has just been answered."""
        with self.lock:
            if self._waiting.pop(execution, None) is not None:
                code = "timeout" if reason == "timeout" else "cancelled"
                self._put(FAIL, execution, {"code": code, "message": "stopped before it was started"})
                self._end_if_done()
                return
            ctx = self._running.get(execution)
            if ctx is None:
                return
            ctx._stop(reason)
        if isinstance(ctx, BatchEvent):
            # The others of its batch go on.
            if not ctx._batch.cancelled:
                return
            ctx = ctx._batch
        runner = self._async if ctx._function.is_async else self._sync
        if runner is not None:
            runner.cancel(ctx)

    def _on_drain(self) -> None:
        """What was not started goes back with our BYE, and costs no attempt."""
        with self.lock:
            self.ending = True
            self._waiting.clear()
            self._end_if_done()

    # ---- writing: the lock is held

    def _say(self, number: int, fields: Fields) -> None:
        with self.lock:
            self._put(number, 0, fields)
            self._write()

    def _put(self, number: int, execution: int, fields: Fields) -> bool:
        """False if it is longer than a frame may be."""
        if not self._broken and not self._bye:
            frame = self._packer.frame(number, execution, fields)
            if self._welcome and len(frame) > self._max_frame + HEAD:
                return False
            self._out.append(frame)
        return True

    def _end_if_done(self) -> None:
        if self.ending and not self._bye and not self._waiting and not self._running:
            self._put(BYE, 0, {})
            self._bye = True
            self._wake()

    def _write(self) -> None:
        """Write as much as the socket takes. What it does not take the reading thread writes later."""
        while self._out or self._rest:
            if not self._rest:
                self._rest = memoryview(b"".join(self._out))
                self._out.clear()
            try:
                if not self._broken:
                    self._rest = self._rest[self._sock.send(self._rest):]
                    continue
            except BlockingIOError:
                if not self._full:
                    self._full = True
                    self._wake()
                return
            except OSError:
                # Why, the reading thread will find out.
                self._broken = True
            self._rest = memoryview(b"")
        self._full = False

    def _wake(self) -> None:
        try:
            self._wake_w.send(b"\0")
        except BlockingIOError:
            pass

    def _forked(self) -> None:
        """In a child made by fork: the session is its parent's."""
        global _serving
        _serving = None
        self.lock = threading.Lock()
        self._broken = True
        for end in (self._sock, self._wake_r, self._wake_w):
            end.close()


_serving: Session | None = None


def serving() -> Session | None:
    """The session of this process, while it serves."""
    return _serving
