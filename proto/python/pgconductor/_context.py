"""What any function is told about its execution, and what it may say without waiting for anything: BaseContext, Logger.

What it may wait for, and how, say _durable and _durable_async.
"""

from __future__ import annotations

from contextvars import ContextVar
from datetime import datetime
from time import monotonic
from typing import TYPE_CHECKING, Any

from ._failure import clean
from ._journal import Journal
from ._json import loads
from ._types import Mismatch
from .errors import Cancelled, NonRetryableError, Suspended

if TYPE_CHECKING:
    from ._session import Session
    from ._task import Task
    from ._wire import Fields

NOTE_BYTES = 1000

current_context: ContextVar[BaseContext] = ContextVar("pgconductor")


class BaseContext:
    """One run of an execution, as its function sees it."""

    __slots__ = ("_session", "_exec", "_fields", "_function", "_deadline", "_reason", "_journal")

    def __init__(self, session: Session, exec_: int, fields: Fields, function: Task[Any, Any]) -> None:
        self._session = session
        self._exec = exec_
        self._fields = fields
        self._function = function
        self._deadline: float | None = None
        self._reason: str | None = None
        self._journal: Journal | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.task} {self.id}>"

    @property
    def id(self) -> str:
        """The execution's id, a decimal number."""
        return self._text("id")

    @property
    def task(self) -> str:
        return self._text("task")

    @property
    def attempt(self) -> int:
        """1 for the first."""
        number: int = self._fields["attempt"]
        return number

    @property
    def queue(self) -> str:
        """The queue it came through."""
        return self._session.queue

    @property
    def event(self) -> str:
        """What it was started by: ``pgconductor.invoke``, the name of a schedule, or of an event."""
        name: str = self._fields["event"]["name"]
        return name

    @property
    def event_kind(self) -> str:
        """What that is: ``invoke``, ``schedule``, ``event``, or ``change`` of a table."""
        kind: str = self._fields["event"].get("kind", "invoke")
        return kind

    @property
    def event_at(self) -> datetime | None:
        """The time that it is for, of a schedule, or at which the event was emitted; None if it was invoked."""
        text = self._fields["event"].get("at")
        return datetime.fromisoformat(text) if text is not None else None

    @property
    def metadata(self) -> Any:
        """What the caller attached; None if nothing."""
        text = self._fields.get("metadata")
        return loads(text) if text is not None else None

    @property
    def trace(self) -> str | None:
        """A W3C traceparent."""
        return self._fields.get("trace")

    @property
    def token(self) -> str:
        """Names this run of the execution."""
        return self._text("token")

    @property
    def payload_text(self) -> str:
        """The payload's JSON exactly as it is stored: ``12.50`` is not ``12.5`` here."""
        text: str = self._fields["event"]["payload"]
        return text

    @property
    def logger(self) -> Logger:
        """Lines for the log, which belong to this execution."""
        return Logger(self._session, self._exec)

    # ---- time

    @property
    def time_left(self) -> float | None:
        """Seconds that are left of the task's timeout, 0 at least; None when there is none."""
        return None if self._deadline is None else max(0.0, self._deadline - monotonic())

    # ---- cancelling

    @property
    def cancelled(self) -> bool:
        """Whether to stop: it was cancelled, takes too long, or this program is no longer wanted. Finish soon, in any way."""
        return self._reason is not None

    @property
    def cancel_reason(self) -> str | None:
        """``cancelled``, ``timeout``, ``lost``, or what the caller of cancel said; None while it may go on."""
        return self._reason

    def check_cancelled(self) -> None:
        """Raise Cancelled if it is to stop. For functions that are not async, in their loops: see checkpoint()."""
        if self._reason is not None:
            raise Cancelled(self._reason)

    # ---- saying how far it is

    def progress(self, percent: float | None = None, note: str | None = None) -> None:
        """Say how far it is, for people: percent from 0 to 100, a line, or both. May be called often."""
        fields: Fields = {}
        if percent is not None:
            if percent != percent:
                raise ValueError("progress: not a number")
            fields["percent"] = int(max(0, min(100, percent)))
        if note is not None:
            fields["note"] = clean(note).encode()[:NOTE_BYTES].decode(errors="ignore")
        self._session.progress(self, fields)

    # ---- for the library

    def _text(self, key: str) -> str:
        text: str = self._fields[key]
        return text

    @property
    def _label(self) -> str:
        return f"{self.task} {self.id}"

    def _start_time(self) -> None:
        """From now on its time counts."""
        if "deadline_ms" in self._fields:
            self._deadline = monotonic() + (self._fields["deadline_ms"] or 0) / 1000

    def _payload(self) -> Any:
        try:
            payload = loads(self._fields["event"]["payload"])
        except (ValueError, RecursionError) as error:
            raise NonRetryableError(f"Python cannot hold this payload: {error}", code="bad_payload") from error
        return self._typed(payload)

    def _arguments(self) -> tuple[Any, ...]:
        """What its function is called with. Also the moment in which its time begins."""
        self._start_time()
        wanted = self._function.parameters
        if wanted == 0:
            return ()
        payload = self._payload()
        return (payload,) if wanted == 1 else (payload, self)

    def _typed(self, payload: Any) -> Any:
        """The payload as its function takes it. A schedule may be without one."""
        shape = self._function.payload_type
        if shape is None or (payload is None and self.event_kind == "schedule"):
            return payload
        try:
            return shape.load(payload)
        except Mismatch as error:
            raise NonRetryableError(f"payload of task {self.task}: {error}", code="bad_payload") from error

    def _stop(self, reason: str) -> None:
        """It is to stop. The session's lock is held."""
        if self._reason is None:
            self._reason = reason

    def _close(self) -> None:
        """It has been answered."""
        if self._journal is not None:
            self._journal.close()

    def _record(self) -> Journal:
        journal = self._journal
        if journal is None:
            with self._session.lock:
                journal = self._journal = self._journal or Journal(self.task)
        return journal

    def _enter(self) -> Journal:
        """Before anything that lasts: raises if it may do no more of that."""
        journal = self._journal or self._record()
        if self._reason is not None or journal.over is not None or journal.fault is not None:
            raise self._ended()
        return journal

    def _ended(self) -> BaseException:
        """Why it may not go on."""
        journal = self._record()
        if journal.fault is not None:
            return NonRetryableError(journal.fault, code="nondeterminism")
        if self._reason is not None and journal.over is None:
            return Cancelled(self._reason)
        return Suspended(journal.over)


class Logger:
    """Lines for the log: ``ctx.logger.info("resized", width=100)``. The keywords are fields, as JSON."""

    __slots__ = ("_session", "_exec")

    def __init__(self, session: Session, exec_: int) -> None:
        self._session = session
        self._exec = exec_

    def debug(self, message: object, /, **fields: Any) -> None:
        self._session.log("debug", str(message), fields, self._exec)

    def info(self, message: object, /, **fields: Any) -> None:
        self._session.log("info", str(message), fields, self._exec)

    def warning(self, message: object, /, **fields: Any) -> None:
        self._session.log("warn", str(message), fields, self._exec)

    def error(self, message: object, /, **fields: Any) -> None:
        self._session.log("error", str(message), fields, self._exec)

    warn = warning
