"""What a task may raise, what its context raises, and what the client raises."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._duration import seconds

if TYPE_CHECKING:
    from ._calls import Result
    from ._duration import Duration


class Error(Exception):
    """Everything below but Cancelled and Suspended."""


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
    """The execution is to stop. Raised by ``ctx.check_cancelled()``, and by steps, waits and checkpoints. As asyncio's
    own, it passes through ``except Exception``."""


class Suspended(BaseException):
    """This run is over, because its execution now waits: it goes on in another run, from the beginning of its function.

    It passes through ``except Exception``, and is to be let through; ``finally`` and ``with`` do what they always do. Where
    it was caught all the same the run is over nevertheless: what lasts raises it again, and no result counts.
    """


# ---- raised by what a task has invoked


class ChildFailed(Error):
    """A child that was waited for has failed for good, or was cancelled. Uncaught, its parent fails for good too."""

    def __init__(self, message: str, type: str | None = None, code: str = "app", child: str = "", data: Any = None) -> None:
        super().__init__(message)
        self.message = message
        """What the child's own error says."""
        self.type = type
        """The class of that error, if it has one."""
        self.code = code
        """``app``, ``crash``, ``cancelled``, ``unknown_task`` for a task that nobody ever declared, …"""
        self.child = child
        """The key it was invoked under."""
        self.data = data
        """What was stored with the error."""

    def __str__(self) -> str:
        return f"Child execution failed: {self.message}"


class ChildTimeout(ChildFailed):
    """It took longer than it was given, and was cancelled if it was still running."""


# ---- raised by what a task has waited for


class WaitFailed(Error):
    """An event that was waited for cannot come: its condition is none, its table does not exist, … Uncaught, the execution
    fails for good, as each attempt would hear the same."""

    def __init__(self, message: str, code: str = "app", event: str = "", key: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        """``bad_filter``, ``timeout``, …"""
        self.event = event
        """What was waited for."""
        self.key = key
        """The key it was waited for under."""

    def __str__(self) -> str:
        return f"waiting for {self.event}: {self.message}"


class EventTimeout(WaitFailed):
    """It has not come within the time it was given."""


# ---- raised by the client


class ClientError(Error):
    """PostgreSQL refused a call. In clients its own exception is the ``__cause__``."""

    sqlstate: str | None = None


class UndeclaredTask(ClientError):
    """No program and no configuration has ever declared this task: a slip of the pen, or nothing was deployed yet."""

    sqlstate = "PC001"


class BadPayload(ClientError):
    """The payload is not JSON that PostgreSQL takes, or not what its schema says."""

    sqlstate = "PC002"


class PayloadTooLarge(ClientError):
    """The payload is longer than max_payload of the server's configuration."""

    sqlstate = "PC003"


class BadQueue(ClientError):
    """Not the name of a queue."""

    sqlstate = "PC004"


class BadTime(ClientError):
    """``run_at`` or ``delay`` is no time at which something can run, or both were given; or another time is out of range."""

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


class BadSchedule(ClientError):
    """A schedule's expression, time zone or option is not as it should be; or it is a program's, and is not to be removed."""

    sqlstate = "PC012"


class BadEvent(ClientError):
    """Not the name of an event."""

    sqlstate = "PC013"


class BadSchema(ClientError):
    """The schema of an event is no JSON Schema, or refers to something that is not in it."""


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
