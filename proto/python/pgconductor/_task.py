"""Tasks: functions with a name, a queue and options, and the list of those that a program has."""

from __future__ import annotations

import functools
import inspect
import re
import sys
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, Literal, NoReturn, TypedDict, TypeVar, Union, overload

from ._batch import SIZE_MAX, Batch, BatchContext, BatchEvent
from ._duration import Duration, milliseconds
from ._json import dumps
from ._triggers import Schema, Trigger, announcement, checked, json_of
from ._types import Shape, payload_annotation, payload_of_events, resolved, result_of_results, returns_annotation, shape_of

if TYPE_CHECKING:
    from ._durable import Context
    from ._durable_async import AsyncContext

P = TypeVar("P")
R = TypeVar("R")
# A payload of type P, to be inferred from the task alone: the second half, which nobody uses, makes type checkers look at
# this argument last, when they know that {"name": "Ann"} is to be the TypedDict which the task takes.
Payload = Union[P, Callable[[P], NoReturn]]

_TASK_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,127}")
_QUEUE_NAME = re.compile(r"[a-z0-9_][a-z0-9_.-]{0,62}")
DEFAULT_QUEUE = "default"


class _Exponential(TypedDict):
    initial: Duration


class Exponential(_Exponential, total=False):
    """A backoff that grows: the first wait, what it is multiplied by each time (2), and the longest wait."""

    factor: float
    max: Duration


class _Rate(TypedDict):
    limit: int


class Rate(_Rate, total=False):
    """How many may begin in a period (1s), and how many at once (the limit); of each key, or of all."""

    period: Duration
    burst: int
    key: str


class _KeyLimit(TypedDict):
    key: str


class KeyLimit(_KeyLimit, total=False):
    """Where in the payload a key stands, and how many of each may run at once."""

    limit: int


Backoff = Union[Duration, Sequence[Duration], Exponential]
Keep = Union[Duration, Literal[False]]


class Task(Generic[P, R]):
    """What ``@task`` makes of a function that takes a payload P and returns R. It can still be called as a function."""

    def __init__(self, fn: Callable[..., Any], name: str | None, queue: str | None, options: dict[str, Any],
                 triggers: Trigger | Iterable[Trigger] | None = None, payload_schema: Schema | None = None,
                 returns_schema: Schema | None = None, batch: Batch | None = None) -> None:
        functools.update_wrapper(self, fn)
        self.fn = fn
        self.name: str = name if name is not None else getattr(fn, "__name__", "")
        if not _TASK_NAME.fullmatch(self.name):
            raise ValueError(f"not a task's name: {self.name!r} (letters, digits and _ . : - , 128 at most)")
        self.queue = queue_name(self.name, queue)
        self.options = options
        self.triggers = checked(self.name, triggers)
        self.given_payload_schema = payload_schema
        self.given_returns_schema = returns_schema
        self.parameters = _count_parameters(self.name, fn)
        self.batch = _batch(batch) if batch is not None else None
        if self.batch is not None and self.parameters == 0:
            raise TypeError(f"{self.name}: a task that takes several at once is given (events) or (events, ctx)")
        self.is_async = inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(getattr(fn, "__call__", None))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.fn(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<Task {self.name}>"

    @property
    def home(self) -> str:
        """The queue whose workers run it."""
        return self.queue if self.queue is not None else DEFAULT_QUEUE

    # What the annotations say is found out when it is first asked for: the classes they name may stand further down.

    @functools.cached_property
    def payload_type(self) -> Shape | None:
        """What the function takes, as it is annotated; None: anything. TypeError when that is nothing made of JSON."""
        if self.parameters == 0:
            return None
        return self._shape("payload", payload_annotation, self.given_payload_schema)

    @functools.cached_property
    def returns_type(self) -> Shape | None:
        """What it returns; the same."""
        return self._shape("result", returns_annotation, self.given_returns_schema)

    @property
    def payload_schema(self) -> Schema | None:
        """The JSON Schema of what it is invoked with: the one that it was given, else what its annotation says."""
        if self.given_payload_schema is not None:
            return self.given_payload_schema
        return self.payload_type.schema if self.payload_type is not None else None

    @property
    def returns_schema(self) -> Schema | None:
        """The same of what it returns."""
        if self.given_returns_schema is not None:
            return self.given_returns_schema
        return self.returns_type.schema if self.returns_type is not None else None

    def _shape(self, what: str, annotation_of: Callable[[Callable[..., Any]], Any], given: Schema | None) -> Shape | None:
        try:
            annotation: Any = annotation_of(self.fn)
            if self.batch is not None:
                annotation = payload_of_events(annotation) if what == "payload" else result_of_results(annotation)
            # It takes nothing, so it does not matter what it is given.
            if what == "payload" and annotation in (None, type(None)):
                return None
            return shape_of(annotation, "validation" if what == "payload" else "serialization")
        except (TypeError, NameError) as error:
            # Who has said by a schema what it is need not have types for it.
            if given is not None:
                return None
            option = "payload_schema" if what == "payload" else "returns_schema"
            raise TypeError(f"task {self.name}: its {what}: {error} (or say what it is with {option}=…, True for anything)") from error

    def announcement(self) -> dict[str, Any]:
        """As it stands in HELLO."""
        said: dict[str, Any] = {"name": self.name}
        if self.batch is not None:
            said["batch"] = self.batch
        if self.queue is not None:
            said["queue"] = self.queue
        if self.options:
            said["options"] = dumps(self.options)
        if self.triggers is not None:
            said["triggers"] = announcement(self.triggers)
        for key, schema in (("payload_schema", self.payload_schema), ("returns_schema", self.returns_schema)):
            if schema is not None:
                said[key] = json_of(f"{self.name}: {key}", schema)
        return said


def queue_name(what: str, queue: str | None) -> str | None:
    """The queue; ValueError if it cannot be one."""
    if queue is not None and not _QUEUE_NAME.fullmatch(queue):
        raise ValueError(f"{what}: not a queue's name: {queue!r} (small letters, digits and _ . - , 63 at most)")
    return queue


def _count_parameters(name: str, fn: Callable[..., Any]) -> int:
    """How many of payload and context the function takes: 0, 1 or 2."""
    n = 0
    for parameter in inspect.signature(fn).parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL:
            return 2
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            n += 1
        elif parameter.kind is parameter.KEYWORD_ONLY and parameter.default is parameter.empty:
            raise TypeError(f"{name}: nobody would give it its parameter {parameter.name!r}")
        if n > 2 and parameter.default is parameter.empty:
            raise TypeError(f"{name}: a task takes (), (payload) or (payload, ctx)")
    return min(n, 2)


# ---- options


def _options(max_attempts: int | None, backoff: Backoff | None, timeout: Duration | None, total_timeout: Duration | None,
             remove_on_complete: Keep | None, remove_on_fail: Keep | None, concurrency: int | None,
             rate_limit: Rate | Sequence[Rate] | None, concurrency_key: str | KeyLimit | None, fifo_key: str | None,
             window: Sequence[str] | None, timezone: str | None, days: Iterable[str] | None, priority: int | None) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for key, n in (("max_attempts", max_attempts), ("concurrency", concurrency)):
        if n is not None:
            options[key] = _whole(key, n)
    if priority is not None:
        options["priority"] = priority_level("priority", priority)
    if rate_limit is not None:
        options["rate_limit"] = ([_rate(one) for one in rate_limit] if isinstance(rate_limit, Sequence)
                                 else _rate(rate_limit))
    if concurrency_key is not None:
        options["concurrency_key"] = _key_limit(concurrency_key)
    if fifo_key is not None:
        options["fifo_key"] = _path("fifo_key", fifo_key)
    if window is not None:
        if isinstance(window, str) or len(window) != 2:
            raise ValueError('window: one is ("09:00", "17:00")')
        options["window"] = list(window)
    if timezone is not None:
        options["timezone"] = timezone
    if days is not None:
        options["days"] = [days] if isinstance(days, str) else list(days)
    if backoff is not None:
        options["backoff"] = _backoff(backoff)
    for key, limit in (("timeout", timeout), ("total_timeout", total_timeout)):
        if limit is not None:
            options[key] = _span(key, limit)
            if milliseconds(limit) == 0:
                raise ValueError(f"{key}: 0 is no time at all")
    for key, keep in (("remove_on_complete", remove_on_complete), ("remove_on_fail", remove_on_fail)):
        if keep is not None:
            options[key] = False if keep is False else _span(key, keep)
    return options


def _whole(key: str, n: Any) -> int:
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise ValueError(f"{key}: not a whole number from 1 on: {n!r}")
    return n


def priority_level(what: str, n: Any) -> int:
    """The priority; ValueError if it cannot be one."""
    if type(n) is not int or not -32768 <= n <= 32767:
        raise ValueError(f"{what}: not a whole number between -32768 and 32767: {n!r}")
    return n


def _batch(batch: Batch) -> dict[str, int]:
    """As it stands in HELLO."""
    if not isinstance(batch, Mapping) or "size" not in batch or batch.keys() - {"size", "timeout"}:
        raise ValueError('batch: one is {"size": 100, "timeout": "1s"}')
    if _whole("batch: size", batch["size"]) > SIZE_MAX:
        raise ValueError(f"batch: size: {SIZE_MAX} at most: {batch['size']!r}")
    said = {"size": batch["size"]}
    if "timeout" in batch:
        try:
            said["timeout_ms"] = milliseconds(batch["timeout"])
        except ValueError as error:
            raise ValueError(f"batch: timeout: {error}") from None
    return said


def _rate(rate: Rate) -> dict[str, Any]:
    if not isinstance(rate, Mapping) or "limit" not in rate or rate.keys() - {"limit", "period", "burst", "key"}:
        raise ValueError('rate_limit: one is {"limit": 100, "period": "1s", "burst": 100}, and of each key with "key": "customer.id"')
    return {key: _span("rate_limit", value) if key == "period" else _path("rate_limit: key", value) if key == "key"
            else _whole("rate_limit", value) for key, value in rate.items()}


def _key_limit(given: Any) -> Any:
    if not isinstance(given, Mapping):
        return _path("concurrency_key", given)
    if "key" not in given or given.keys() - {"key", "limit"}:
        raise ValueError('concurrency_key: one is {"key": "customer.id", "limit": 2}')
    return {key: _path("concurrency_key: key", value) if key == "key" else _whole("concurrency_key: limit", value)
            for key, value in given.items()}


def _path(what: str, path: Any) -> str:
    if not isinstance(path, str) or "" in path.split("."):
        raise ValueError(f'{what}: not where the key stands in the payload, such as "customer.id": {path!r}')
    return path


def _backoff(backoff: Backoff) -> Any:
    if isinstance(backoff, Mapping):
        unknown = backoff.keys() - {"initial", "factor", "max"}
        if unknown or "initial" not in backoff:
            raise ValueError('backoff: an exponential one is {"initial": "1s", "factor": 2, "max": "1h"}')
        return {key: value if key == "factor" else _span("backoff", value) for key, value in backoff.items()}
    if isinstance(backoff, Sequence) and not isinstance(backoff, str):
        if not backoff:
            raise ValueError("backoff: an empty list")
        return [_span("backoff", wait) for wait in backoff]
    return _span("backoff", backoff)


def _span(key: str, value: Any) -> str | int:
    """A duration as the server takes it: text as it stands, everything else in milliseconds."""
    try:
        ms = milliseconds(value)
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from None
    return value if isinstance(value, str) else ms


# ---- the decorator


class _Decorator:
    """``@task(...)`` before it is given its function."""

    def __init__(self, name: str | None, queue: str | None, options: dict[str, Any],
                 triggers: Trigger | Iterable[Trigger] | None, payload_schema: Schema | None,
                 returns_schema: Schema | None) -> None:
        self._given = (name, queue, options, triggers, payload_schema, returns_schema)

    @overload
    def __call__(self, fn: Callable[[], Coroutine[Any, Any, R]], /) -> Task[None, R]: ...
    @overload
    def __call__(self, fn: Callable[[P], Coroutine[Any, Any, R]], /) -> Task[P, R]: ...
    @overload
    def __call__(self, fn: Callable[[P, AsyncContext], Coroutine[Any, Any, R]], /) -> Task[P, R]: ...
    @overload
    def __call__(self, fn: Callable[[], R], /) -> Task[None, R]: ...
    @overload
    def __call__(self, fn: Callable[[P], R], /) -> Task[P, R]: ...
    @overload
    def __call__(self, fn: Callable[[P, Context], R], /) -> Task[P, R]: ...
    def __call__(self, fn: Callable[..., Any], /) -> Task[Any, Any]:
        return _define(Task(fn, *self._given))


class _BatchDecorator:
    """``@task(batch=…)`` before it is given its function."""

    def __init__(self, make: Callable[[Callable[..., Any]], Task[Any, Any]]) -> None:
        self._make = make

    @overload
    def __call__(self, fn: Callable[[list[BatchEvent[P]]], Coroutine[Any, Any, Sequence[R | Exception]]], /) -> Task[P, R]: ...
    @overload
    def __call__(self, fn: Callable[[list[BatchEvent[P]], BatchContext], Coroutine[Any, Any, Sequence[R | Exception]]],
                 /) -> Task[P, R]: ...
    @overload
    def __call__(self, fn: Callable[[list[BatchEvent[P]]], Sequence[R | Exception]], /) -> Task[P, R]: ...
    @overload
    def __call__(self, fn: Callable[[list[BatchEvent[P]], BatchContext], Sequence[R | Exception]], /) -> Task[P, R]: ...
    def __call__(self, fn: Callable[..., Any], /) -> Task[Any, Any]:
        return _define(self._make(fn))


@overload
def task(fn: Callable[[], Coroutine[Any, Any, R]], /) -> Task[None, R]: ...
@overload
def task(fn: Callable[[P], Coroutine[Any, Any, R]], /) -> Task[P, R]: ...
@overload
def task(fn: Callable[[P, AsyncContext], Coroutine[Any, Any, R]], /) -> Task[P, R]: ...
@overload
def task(fn: Callable[[], R], /) -> Task[None, R]: ...
@overload
def task(fn: Callable[[P], R], /) -> Task[P, R]: ...
@overload
def task(fn: Callable[[P, Context], R], /) -> Task[P, R]: ...
@overload
def task(name: str | None = None, *, queue: str | None = None, max_attempts: int | None = None,
         backoff: Backoff | None = None, timeout: Duration | None = None, total_timeout: Duration | None = None,
         remove_on_complete: Keep | None = None, remove_on_fail: Keep | None = None,
         concurrency: int | None = None, rate_limit: Rate | Sequence[Rate] | None = None,
         concurrency_key: str | KeyLimit | None = None, fifo_key: str | None = None, window: Sequence[str] | None = None,
         timezone: str | None = None, days: Iterable[str] | None = None, priority: int | None = None,
         triggers: Trigger | Iterable[Trigger] | None = None, payload_schema: Schema | None = None,
         returns_schema: Schema | None = None) -> _Decorator: ...
@overload
def task(name: str | None = None, *, batch: Batch, queue: str | None = None, max_attempts: int | None = None,
         backoff: Backoff | None = None, timeout: Duration | None = None, total_timeout: Duration | None = None,
         remove_on_complete: Keep | None = None, remove_on_fail: Keep | None = None,
         concurrency: int | None = None, rate_limit: Rate | Sequence[Rate] | None = None, window: Sequence[str] | None = None,
         timezone: str | None = None, days: Iterable[str] | None = None, priority: int | None = None,
         triggers: Trigger | Iterable[Trigger] | None = None, payload_schema: Schema | None = None,
         returns_schema: Schema | None = None) -> _BatchDecorator: ...
def task(name: Any = None, *, queue: str | None = None, max_attempts: int | None = None,
         backoff: Backoff | None = None, timeout: Duration | None = None, total_timeout: Duration | None = None,
         remove_on_complete: Keep | None = None, remove_on_fail: Keep | None = None,
         concurrency: int | None = None, rate_limit: Rate | Sequence[Rate] | None = None,
         concurrency_key: str | KeyLimit | None = None, fifo_key: str | None = None, window: Sequence[str] | None = None,
         timezone: str | None = None, days: Iterable[str] | None = None, priority: int | None = None,
         triggers: Trigger | Iterable[Trigger] | None = None, payload_schema: Schema | None = None,
         returns_schema: Schema | None = None, batch: Batch | None = None) -> Any:
    """Make a task of a function: ``@task``, or ``@task("name", queue="media", max_attempts=5)``.

    The function takes nothing, the payload, or the payload and a Context. It may be async, and is given an AsyncContext
    then. What it returns is the result, as JSON. ``name`` is the function's own unless given. Options that are left out
    have the server's defaults.

    queue               the queue whose workers run it ("default")
    max_attempts        how often it is tried in all
    backoff             the wait between attempts: a duration, a list of them, or {"initial": "1s", "factor": 2, "max": "1h"}
    timeout             how long an attempt may take
    total_timeout       how long all of it may take: attempts, the waits between them, and what it waits for
    remove_on_complete  how long completed executions are kept; 0: not at all, False: for ever
    remove_on_fail      the same for failed and cancelled ones
    priority            of executions that are made without one: higher first (0)
    concurrency         how many of it may run at once, on all nodes together
    window              when it may run, ("22:00", "06:00"), by the clock of timezone (UTC), on days ("mon", …: all)
    rate_limit          how many may begin: {"limit": 100, "period": "1m", "burst": 20}; with "key" as many of each key; or a list
                        of one with and one without
    concurrency_key     where in the payload its key stands, "customer.id": keys take turns; with {"key": …, "limit": 2} so many
                        of each run at once
    fifo_key            likewise: of each key one runs at a time, in their order
    batch               the function takes several executions at once, a list of BatchEvents and maybe a BatchContext, and returns
                        a list of as many results; one that is an Exception fails that execution: {"size": 100, "timeout": "1s"},
                        so many at most, and so long the first waits for others
    triggers            what starts it besides: cron(…), event(…), change(…), invocable(), or a list of them; without any it
                        is invocable, and with some only if that is one of them
    payload_schema      a JSON Schema (2020-12) of what it is invoked with: what is not so fails with bad_payload
    returns_schema      the same of what it returns: bad_result

    A duration is a number of seconds, a timedelta, or text such as "250ms", "10s", "5m", "2h", "7d".
    """
    if callable(name):
        return _define(Task(name, None, None, {}))
    if name is not None and not isinstance(name, str):
        raise TypeError(f"task: a function or a name is expected, not {name!r}")
    options = _options(max_attempts, backoff, timeout, total_timeout, remove_on_complete, remove_on_fail, concurrency, rate_limit,
                       concurrency_key, fifo_key, window, timezone, days, priority)
    if batch is not None:
        return _BatchDecorator(lambda fn: Task(fn, name, queue, options, triggers, payload_schema, returns_schema, batch))
    return _Decorator(name, queue, options, triggers, payload_schema, returns_schema)


class _Remote(Task[P, R]):
    """One whose payload is of a type that may name what stands further down in a module."""

    def __init__(self, fn: Callable[..., Any], name: str, payload: Any, module: dict[str, Any]) -> None:
        super().__init__(fn, name, None, {})
        self._payload, self._module = payload, module

    @functools.cached_property
    def payload_type(self) -> Shape | None:
        try:
            return shape_of(resolved(self._payload, self._module), "validation", is_open=True)
        except (TypeError, NameError) as error:
            raise TypeError(f"task {self.name}: its payload: {error}") from error


def remote(name: str, payload: Any = Any) -> Task[Any, Any]:
    """A task whose function another program has, to be invoked by this one; annotate it with its types.

        send_email: Task[Mail, Receipt] = remote("send-email", Mail)

    payload  its type, if it is to be looked at before it is sent
    """
    def elsewhere(payload: Any) -> Any:
        raise TypeError(f"task {name}: another program has its function")

    return _Remote(elsewhere, name, payload, sys._getframe(1).f_globals)


# ---- all tasks of this program

_defined: dict[str, Task[Any, Any]] = {}


def _define(new: Task[Any, Any]) -> Task[Any, Any]:
    old = _defined.get(new.name)
    # A module that is run and imported as well is executed twice, and defines the same once more.
    if old is not None and _place(old) != _place(new):
        raise ValueError(f"task {new.name} is defined twice: in {_place(old)} and in {_place(new)}")
    _defined[new.name] = new
    return new


def _place(task: Task[Any, Any]) -> str:
    fn = inspect.unwrap(task.fn)
    code = getattr(fn, "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code is not None else repr(fn)


def defined() -> Iterable[Task[Any, Any]]:
    """Every task that was defined so far."""
    return _defined.values()
