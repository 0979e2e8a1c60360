"""Batches: what a function that takes several executions at once is given, and what becomes of what it returns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypedDict, TypeVar

from ._context import BaseContext
from ._duration import Duration
from ._failure import done, failure
from .errors import Cancelled

if TYPE_CHECKING:
    from ._session import Session
    from ._task import Task
    from ._wire import Fields

P = TypeVar("P")
SIZE_MAX = 1000
LASTING = frozenset(("step", "sleep", "invoke", "invoke_all", "start", "cancel", "emit", "wait_for_event", "schedule", "unschedule",
                     "checkpoint", "transaction"))


class _Batch(TypedDict):
    size: int


class Batch(_Batch, total=False):
    """How many executions one call is given at most, and how long the first of them waits for others (1s)."""

    timeout: Duration


class BatchEvent(BaseContext, Generic[P]):
    """One execution of a batch: its payload, and all that a context says of one."""

    __slots__ = ("payload", "_batch")

    payload: P
    _batch: BatchContext


def _each(name: str) -> property:
    def refuse(ctx: object) -> NoReturn:
        raise AttributeError(f"ctx.{name}: each execution of a batch has its own: events[0].{name}")
    return property(refuse)


class BatchContext(BaseContext):
    """Of all executions of a batch together. It has no steps, and cannot wait."""

    __slots__ = ("events", "_runner", "_main")

    if not TYPE_CHECKING:
        id, attempt, token, metadata, trace, payload_text = map(_each, ("id", "attempt", "token", "metadata", "trace",
                                                                        "payload_text"))
        event, event_kind, event_at = map(_each, ("event", "event_kind", "event_at"))

        def __getattr__(self, name):
            if name in LASTING:
                raise TypeError(f"ctx.{name}: a batch has no steps, and cannot wait: make a task of its own of what lasts")
            raise AttributeError(f"{type(self).__name__} has no {name}")

    def __init__(self, session: Session, function: Task[Any, Any], runs: Sequence[tuple[int, Fields]]) -> None:
        super().__init__(session, 0, {"task": function.name}, function)
        self.events: list[BatchEvent[Any]] = [BatchEvent(session, exec_, fields, function) for exec_, fields in runs]
        for event in self.events:
            event._batch = self

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.task}>"

    @property
    def _label(self) -> str:
        return f"{self.task} of {len(self.events)}"

    @property
    def time_left(self) -> float | None:
        """Seconds that are left of the task's timeout, 0 at least; None when there is none."""
        return min((left for event in self.events if (left := event.time_left) is not None), default=None)

    @property
    def cancelled(self) -> bool:
        """Whether all of them are to stop; events[0].cancelled tells of one."""
        return all(event.cancelled for event in self.events)

    @property
    def cancel_reason(self) -> str | None:
        """Of the first of them, when all are to stop."""
        return self.events[0].cancel_reason if self.events and self.cancelled else None

    def check_cancelled(self) -> None:
        """Raise Cancelled if all of them are to stop."""
        if (reason := self.cancel_reason) is not None:
            raise Cancelled(reason)

    def progress(self, percent: float | None = None, note: str | None = None) -> None:
        """Say how far it is, for people, of each of them."""
        for event in self.events:
            event.progress(percent, note)

    # ---- for the library

    def _load(self) -> bool:
        """Read the payloads. One that cannot be read has failed, and is left out. False: none is left."""
        whole, self.events = self.events, []
        for event in whole:
            event._start_time()
            try:
                event.payload = event._payload()
            except Exception as error:
                self._session.finish(event, *failure(error, None, self._session.max_payload))
            else:
                self.events.append(event)
        return bool(self.events)

    def _arguments(self) -> tuple[Any, ...]:
        events = list(self.events)
        return (events,) if self._function.parameters == 1 else (events, self)

    def _outcomes(self, result: Any, error: BaseException | None) -> Iterator[tuple[BatchEvent[Any], int, Fields]]:
        """What its function has returned, or raised, for each."""
        if error is None:
            error = self._mismatch(result)
        for at, event in enumerate(self.events):
            one = result[at] if error is None else error
            if isinstance(one, BaseException):
                yield event, *failure(one, event._reason, self._session.max_payload)
            else:
                yield event, *done(one, self._session.max_payload)

    def _mismatch(self, result: Any) -> Exception | None:
        n = len(self.events)
        if isinstance(result, (str, bytes)) or not isinstance(result, Sequence):
            return TypeError(f"the task {self.task} returned {type(result).__name__} for a batch of {n}, and not a list of its results")
        if len(result) != n:
            return ValueError(f"the task {self.task} returned {len(result)} results for a batch of {n}")
        return None
