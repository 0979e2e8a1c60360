"""What a task's function is told about its execution, and what it may say: Context, Logger."""

from __future__ import annotations

import threading
from contextvars import ContextVar
from time import monotonic
from typing import TYPE_CHECKING, Any

from ._json import loads
from .errors import Cancelled, NonRetryableError

if TYPE_CHECKING:
    from ._session import Session
    from ._task import Task
    from ._wire import Fields

current_context: ContextVar[Context] = ContextVar("pgconductor")


def current() -> Context:
    """The context of the execution that this code runs in. LookupError outside of any."""
    return current_context.get()


class Context:
    """One run of an execution, as its function sees it."""

    __slots__ = ("_session", "_exec", "_fields", "_function", "_deadline", "_reason", "_event")

    def __init__(self, session: Session, exec_: int, fields: Fields, function: Task[Any, Any]) -> None:
        self._session = session
        self._exec = exec_
        self._fields = fields
        self._function = function
        self._deadline: float | None = None
        self._reason: str | None = None
        self._event: threading.Event | None = None

    def __repr__(self) -> str:
        return f"<Context {self.task} {self.id}>"

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
        """What it was started by: ``pgconductor.invoke``, unless something else did."""
        name: str = self._fields["event"]["name"]
        return name

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
        """Raise Cancelled if it is to stop. For functions that are not async, in their loops."""
        if self._reason is not None:
            raise Cancelled(self._reason)

    def wait_cancelled(self, timeout: float | None = None) -> bool:
        """Sleep for so many seconds, or until it is to stop, which it returns. Not in async functions."""
        with self._session.lock:
            if self._event is None:
                self._event = threading.Event()
            event = self._event
        return self._reason is not None or event.wait(timeout)

    # ---- for the library

    def _text(self, key: str) -> str:
        text: str = self._fields[key]
        return text

    def _arguments(self) -> tuple[Any, ...]:
        """What its function is called with. Also the moment in which its time begins."""
        if "deadline_ms" in self._fields:
            self._deadline = monotonic() + (self._fields["deadline_ms"] or 0) / 1000
        wanted = self._function.parameters
        if wanted == 0:
            return ()
        try:
            payload = loads(self._fields["event"]["payload"])
        except (ValueError, RecursionError) as error:
            raise NonRetryableError(f"Python cannot hold this payload: {error}", code="bad_payload") from error
        return (payload,) if wanted == 1 else (payload, self)

    def _stop(self, reason: str) -> None:
        """The session's lock is held."""
        if self._reason is None:
            self._reason = reason
        if self._event is not None:
            self._event.set()


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
