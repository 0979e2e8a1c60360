"""What is saved of an execution, what this run of it has asked for, and what it waits for.

A Journal belongs to one run, and is there only for those that save something or wait. How a function waits, in its thread
or on a loop, say _durable and _durable_async.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from ._json import dumps, dumps_plain, loads
from ._messages import FAIL, SUSPEND
from ._types import Mismatch, Shape, returned_by
from ._wire import Fields
from .errors import ChildFailed, ChildTimeout, EventTimeout, NonRetryableError, Suspended, WaitFailed

KEY_BYTES = 1024
WAITS = "it waits, and goes on in another run"
ENDED = "this run of it has ended"
_SIMPLE = frozenset((str, int, bool, type(None)))  # the same as text and back


class Waiter:
    """Something that one thread waits for and another brings: the fields of an answer, None if there will be none."""

    __slots__ = ("_lock", "_answer")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()
        self._answer: Fields | None = None

    def wait(self) -> Fields | None:
        self._lock.acquire()
        return self._answer

    def wake(self, answer: Fields | None) -> None:
        """Once only."""
        self._answer = answer
        self._lock.release()


class Journal:
    __slots__ = ("saved", "used", "pending", "waits", "racing", "parked", "active", "moves", "fault", "over", "_task", "_unnamed",
                 "_calls")

    def __init__(self, task: str, steps: Sequence[Fields] = ()) -> None:
        self.saved: dict[str, Fields] = {}
        self.used: set[str] = set()
        self.pending: dict[str | int, Any] = {}
        """Who waits for an answer, by the key of the step or the number of the call: a Waiter or a future."""
        self.waits: dict[str, Fields] = {}
        """What it is to wait for once it is over."""
        self.racing: set[str] = set()
        """Keys of those of which one is enough."""
        self.fault: str | None = None
        """Why it fails, whatever its function makes of it."""
        self.over: str | None = None
        """Why it does nothing more that lasts. Its answer is SUSPEND then, whatever its function makes of it."""
        # Of async functions: see AsyncContext.
        self.parked: list[Any] = []
        self.active = 0
        self.moves = 0
        self._task = task
        self._unnamed = 0
        self._calls = 0
        self.add(steps)

    def add(self, steps: Sequence[Fields]) -> None:
        for step in steps:
            # What was asked for may have been saved meanwhile.
            self.saved.setdefault(step["key"], step)

    # ---- keys

    def name(self, key: str | None) -> str:
        """The key; one that was left out is named by its turn, which is the same in each run."""
        if key is not None:
            return key
        self._unnamed += 1
        return f"{self._task}#{self._unnamed}"

    def use(self, key: str) -> Fields | None:
        """What is saved under a key that is named now, for the first time in this run."""
        if key in self.used:
            self.fault = f'the key "{key}" is used twice in one run: each stands for one step, or one wait'
            raise NonRetryableError(self.fault, code="nondeterminism")
        found = self.saved.get(key)
        if found is None:
            _check_key(key)
        self.used.add(key)
        return found

    def next_call(self) -> int:
        self._calls += 1
        return self._calls

    # ---- the end

    def end(self, why: str, waits: Sequence[Fields] = ()) -> None:
        """It does nothing more that lasts. Without anything to wait for it goes on at once, in another run."""
        self.over = why
        self.waits = {wait["key"]: wait for wait in waits}
        for parked in self.parked:
            if not parked.done():
                parked.set_exception(Suspended(why))

    def verdict(self, number: int, fields: Fields) -> tuple[int, Fields]:
        """The answer of the run, when its function has ended with that one."""
        if self.fault is not None and fields.get("code") != "nondeterminism":
            return FAIL, {"code": "nondeterminism", "message": self.fault, "retry": False}
        if self.over is not None and self.fault is None:
            # As soon as one is over, if that may be enough for somebody: what the others still wait for goes on.
            racing = not self.racing.isdisjoint(self.waits)
            return SUSPEND, {"waits": list(self.waits.values()), **({"any": True} if racing else {})}
        return number, fields

    def close(self) -> None:
        """It has been answered."""
        self.over = self.over or ENDED
        self.forsake()

    def forsake(self) -> None:
        """Nobody who still waits gets an answer. Meanwhile one may come, and take its waiter."""
        while True:
            try:
                waiter = self.pending.popitem()[1]
            except KeyError:
                return
            if isinstance(waiter, Waiter):
                waiter.wake(None)
            else:
                waiter.cancel()


def _check_key(key: Any) -> None:
    """What cannot be sent. What is saved is good."""
    try:
        good = type(key) is str and 0 < len(key.encode()) <= KEY_BYTES and "\0" not in key
    except UnicodeEncodeError:
        good = False
    if not good:
        raise NonRetryableError(f"not the key of a step: {str(key)[:100]!r} (text of 1 to {KEY_BYTES} bytes)")


# ---- results


def outcome(saved: Fields) -> Any:
    """What is saved, as a value; raises what became of a child that has failed."""
    text = saved.get("result")
    if text is not None:
        return loads(text)
    if saved.get("error") is None:
        return None
    raise failed_child(saved)


def step_outcome(key: str, saved: Fields, fn: Any) -> Any:
    """What its function has returned in an earlier run, as the type it says it returns."""
    return of_type(f'what is saved of step "{key}"', outcome(saved), returned_by(fn))


def failed_child(saved: Fields) -> ChildFailed:
    error = loads(saved["error"])
    if not isinstance(error, dict):
        error = {"message": str(error)}
    kind = ChildTimeout if error.get("code") == "timeout" else ChildFailed
    return kind(error.get("message") or "(no message)", error.get("type"), error.get("code") or "app", saved["key"],
                error.get("data"))


def event_outcome(saved: Fields, event: str, shape: Shape | None) -> Any:
    """The payload of an event that was waited for; raises why it has not come."""
    if saved.get("error") is not None:
        raise failed_wait(saved, event)
    payload = loads(saved["result"]) if saved.get("result") is not None else None
    return of_type(f"the payload of {event}", payload, shape, "bad_payload")


def failed_wait(saved: Fields, event: str) -> WaitFailed:
    error = loads(saved["error"])
    if not isinstance(error, dict):
        error = {"message": str(error)}
    code = error.get("code") or "app"
    kind = EventTimeout if code == "timeout" else WaitFailed
    return kind(error.get("message") or "(no message)", code, event, saved["key"])


def of_type(what: str, value: Any, shape: Shape | None, code: str = "bad_result") -> Any:
    """What was saved as the type it is said to be of. For good: it will not be another one next time."""
    if shape is None:
        return value
    try:
        return shape.load(value)
    except Mismatch as error:
        raise NonRetryableError(f"{what} is not of its type: {error}", code=code) from error


def step_result(key: str, value: Any, max_payload: int, shape: Shape | None) -> tuple[str, Any]:
    """As JSON text, and as the value that later runs will make of it. shape: what the function says it returns."""
    try:
        text = dumps_plain(value) if shape is None else dumps(value)
        value = value if type(value) in _SIMPLE else loads(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise NonRetryableError(f'the result of step "{key}" is not JSON: {error}', code="bad_result") from error
    value = of_type(f'the result of step "{key}"', value, shape)
    size = len(text) if text.isascii() else len(text.encode())
    if size > max_payload:
        raise NonRetryableError(f'the result of step "{key}" is {size} bytes long; the limit is {max_payload}',
                                code="oversize")
    return text, value
