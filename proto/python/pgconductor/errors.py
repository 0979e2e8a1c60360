"""What a task may raise, and what the client raises."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._duration import seconds

if TYPE_CHECKING:
    from ._calls import Result
    from ._duration import Duration


class Error(Exception):
    """Everything below but Cancelled."""


# ---- raised by tasks


class NonRetryableError(Error):
    """The execution fails for good: no further attempt will help. ``data`` is stored with it, as JSON."""

    def __init__(self, message: str = "", *, data: Any = None, code: str = "app") -> None:
        super().__init__(message)
        self.data = data
        self.code = code


class RetryAfter(Error):
    """The attempt failed, and the next one is to wait so long, whatever the task's backoff says."""

    def __init__(self, delay: Duration, message: str = "", *, data: Any = None) -> None:
        super().__init__(message or f"to be tried again after {delay}")
        self.seconds = seconds(delay)
        self.data = data


class Cancelled(BaseException):
    """Raised by ``ctx.check_cancelled()``. As asyncio's own, it passes through ``except Exception``."""


# ---- raised by the client


class ClientError(Error):
    """PostgreSQL refused a call; its own exception is the ``__cause__``."""

    sqlstate: str | None = None


class UndeclaredTask(ClientError):
    """No program and no configuration has ever declared this task: a slip of the pen, or nothing was deployed yet."""

    sqlstate = "PC001"


class BadPayload(ClientError):
    """The payload is not JSON that PostgreSQL takes."""

    sqlstate = "PC002"


class PayloadTooLarge(ClientError):
    """The payload is longer than max_payload of the server's configuration."""

    sqlstate = "PC003"


class BadQueue(ClientError):
    """Not the name of a queue."""

    sqlstate = "PC004"


class BadTime(ClientError):
    """``run_at`` or ``delay`` is no time at which something can run, or both were given."""

    sqlstate = "PC005"


class NotAvailable(ClientError):
    """An option that this version of the server does not have yet."""

    sqlstate = "PC006"


class BadTask(ClientError):
    """The name or an option of a task is not as it should be."""

    sqlstate = "PC008"


class BadArgument(ClientError):
    """Another argument is not as it should be."""

    sqlstate = "PC009"


class NotInstalled(ClientError):
    """The database has no schema pgconductor: run ``pgconductor migrate``, or start the server once."""


class UnknownExecution(Error, LookupError):
    """There is no execution with this id; or it has finished, and its history is gone."""


class ExecutionFailed(Error):
    """What was waited for has failed, or was cancelled. ``result`` says how."""

    def __init__(self, result: Result) -> None:
        error = result.error or {}
        kind = error.get("type")
        what = ": ".join(part for part in (kind, error.get("message")) if part)
        super().__init__(f"execution {result.id} {result.state}" + (f": {what}" if what else ""))
        self.result = result
