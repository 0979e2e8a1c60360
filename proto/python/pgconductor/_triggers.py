"""What starts a task besides being invoked: schedules, events, changes in the database; and the events that a program defines.

A trigger is a dict, as it stands in HELLO; ``cron()``, ``event()``, ``change()`` and ``invocable()`` make one. What is in it the
server judges, and says in its log; here only what cannot be meant is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, Final, Generic, Literal, Required, TypedDict, TypeVar, Union, overload

from ._json import dumps, dumps_object
from ._types import Shape, shape_of

P = TypeVar("P")
Overlap = Literal["allow", "skip"]
CatchUp = Union[Literal["skip", "last", "all"], int]
Operation = Literal["insert", "update", "delete"]
Names = Union[str, Sequence[str]]
# A JSON Schema.
Schema = Union[Mapping[str, Any], bool]

_EVENT_NAME = re.compile(r"[^\s\x00-\x1f\x7f]{1,200}")


class CronTrigger(TypedDict, total=False):
    cron: Required[str]
    name: str
    timezone: str
    payload: Any
    overlap: Overlap
    catchup: CatchUp


class EventTrigger(TypedDict, total=False):
    event: Required[str]
    when: str
    fields: Names


class ChangeTrigger(TypedDict, total=False):
    schema: str
    table: Required[str]
    operation: Required[Operation]
    columns: Names
    when: str


class InvocableTrigger(TypedDict):
    invocable: bool


Trigger = Union[CronTrigger, EventTrigger, ChangeTrigger, InvocableTrigger]

# What each kind of trigger may have; the first of them makes it one of that kind.
_MEMBERS = [tuple(kind.__annotations__) for kind in (CronTrigger, EventTrigger, InvocableTrigger)]
_MEMBERS.append(("table", *(member for member in ChangeTrigger.__annotations__ if member != "table")))

INVOCABLE: Final[InvocableTrigger] = {"invocable": True}


def invocable() -> InvocableTrigger:
    """It can be invoked: to be named where there are other triggers. A task without any trigger can be invoked as it is."""
    return {"invocable": True}


def cron(expression: str, *, name: str | None = None, timezone: str | None = None, payload: Any = None,
         overlap: Overlap | None = None, catchup: CatchUp | None = None) -> CronTrigger:
    """Again and again: ``cron("30 9 * * mon-fri", name="morning", timezone="Europe/Berlin")``.

    expression  minute, hour, day of month, month, day of week; with six fields the first is seconds; or "@daily" and the like
    name        of the schedule, and ``ctx.event`` of what it starts; the expression unless given
    timezone    by its name; UTC unless given
    payload     what the function gets
    overlap     "skip": nothing is started while what was started before is unfinished; else "allow"
    catchup     what is made up for when nothing ran for a while: "skip" (nothing), "last", "all", or the last so many
    """
    made: CronTrigger = {"cron": expression}
    if name is not None:
        made["name"] = name
    if timezone is not None:
        made["timezone"] = timezone
    if payload is not None:
        made["payload"] = payload
    if overlap is not None:
        made["overlap"] = overlap
    if catchup is not None:
        made["catchup"] = catchup
    return made


def event(name: str | EventType[Any], *, when: str | None = None, fields: Names | None = None) -> EventTrigger:
    """When this is emitted: ``event("order.paid", when="(payload->>'total')::numeric > 100", fields="id,customer.name")``.

    when    an SQL expression over ``event``, its name, and ``payload``, a jsonb
    fields  the parts of the payload that are passed on; all unless given
    """
    made: EventTrigger = {"event": _good(event_name(name))}
    if when is not None:
        made["when"] = when
    if fields is not None:
        made["fields"] = fields
    return made


def change(table: str, operation: Operation, *, schema: str | None = None, columns: Names | None = None,
           when: str | None = None) -> ChangeTrigger:
    """When a row of a table is inserted, updated or deleted: ``change("users", "insert", columns="id,email")``. The payload is
    ``{"old": …, "new": …, "tg_table": …, "tg_op": …}``.

    schema   of the table; public unless given
    columns  those that are passed on; all unless given
    when     an SQL expression over ``new`` and ``old``, as in ``create trigger … when (…)``
    """
    made: ChangeTrigger = {"table": table, "operation": operation}
    if schema is not None:
        made["schema"] = schema
    if columns is not None:
        made["columns"] = columns
    if when is not None:
        made["when"] = when
    return made


def literal(value: str | int | float) -> str:
    """A value as it has to stand in an SQL expression, whatever is in it: ``when=f"payload->>'id' = {literal(id)}"``."""
    text = str(value)
    if "\0" in text:
        raise ValueError(f"a text of PostgreSQL holds no NUL: {text!r}")
    quoted = text.replace("'", "''")
    return f"'{quoted}'" if "\\" not in quoted else "E'" + quoted.replace("\\", "\\\\") + "'"


def checked(task: str, given: Trigger | Iterable[Trigger] | None) -> list[Trigger] | None:
    """As a list; ValueError or TypeError if something in it is no trigger."""
    if given is None:
        return None
    triggers: list[Any] = [given] if isinstance(given, Mapping) else list(given)
    for at, trigger in enumerate(triggers):
        if not isinstance(trigger, Mapping):
            raise TypeError(f"{task}: triggers[{at}]: not a trigger: {trigger!r}")
        kinds = [members for members in _MEMBERS if members[0] in trigger]
        if len(kinds) != 1:
            raise ValueError(f"{task}: triggers[{at}]: one of cron, event, table and invocable says what it is: {dict(trigger)!r}")
        for member in trigger.keys() - set(kinds[0]):
            raise ValueError(f"{task}: triggers[{at}]: {member}: there are {', '.join(kinds[0])}")
        json_of(f"{task}: triggers[{at}]", trigger)
    return triggers


def announcement(triggers: Iterable[Trigger]) -> str:
    """As they stand in HELLO."""
    return f"[{', '.join(map(dumps_object, triggers))}]"


def json_of(what: str, value: Any) -> str:
    """As JSON; ValueError that says what it is if it cannot be."""
    try:
        return dumps_object(value) if isinstance(value, Mapping) else dumps(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{what}: not JSON: {error}") from error


# ---- events that are defined


class EventType(Generic[P]):
    """What ``define_event`` makes: an event with a payload P."""

    def __init__(self, name: str, schema: Schema | None, kind: Any = Any) -> None:
        self.name = _good(event_name(name))
        self.given_schema = schema
        self._kind = kind
        if schema is not None:
            json_of(f"event {self.name}: schema", schema)

    def __repr__(self) -> str:
        return f"<EventType {self.name}>"

    def announcement(self) -> dict[str, str]:
        """As it stands in HELLO."""
        schema = self.schema
        return {"name": self.name} if schema is None else {"name": self.name, "schema": dumps(schema)}

    @cached_property
    def type(self) -> Shape | None:
        """Of its payload; None: anything. TypeError when that is nothing made of JSON."""
        try:
            return shape_of(self._kind, "validation")
        except (TypeError, NameError) as error:
            if self.given_schema is not None:
                return None
            raise TypeError(f"event {self.name}: its payload: {error} (or say what it is with schema=…, True for anything)") from error

    @property
    def schema(self) -> Schema | None:
        """The JSON Schema: the one that it was given, else what its type says."""
        if self.given_schema is not None:
            return self.given_schema
        return self.type.schema if self.type is not None else None


@overload
def define_event(name: str, payload: type[P], *, schema: Schema | None = None) -> EventType[P]: ...
@overload
def define_event(name: str, *, schema: Schema | None = None) -> EventType[Any]: ...
def define_event(name: str, payload: Any = None, *, schema: Schema | None = None) -> EventType[Any]:
    """An event that this program, or what it shares with others, emits or waits for.

        order_paid = define_event("order.paid", Order, schema={"type": "object", "required": ["total"]})

    payload  its type: what wait_for_event returns. Without a schema, its schema is made of that
    schema   a JSON Schema (2020-12): what is emitted is held against it, and what is delivered
    """
    made = EventType[Any](name, schema, Any if payload is None else payload)
    old = _defined.get(name)
    # A module that is run and imported as well is executed twice, and defines the same once more.
    if old is not None and old.given_schema != schema:
        raise ValueError(f"event {name} is defined twice, with different schemas")
    _defined[name] = made
    return made


_defined: dict[str, EventType[Any]] = {}


def defined_events() -> Iterable[EventType[Any]]:
    """Every event that was defined so far."""
    return _defined.values()


def event_name(event: str | EventType[Any]) -> str:
    """The name; whether it can be one the server says."""
    if isinstance(event, EventType):
        return event.name
    if not isinstance(event, str):
        raise TypeError(f"an event: its name, or what define_event has made is expected, not {event!r}")
    return event


def _good(name: str) -> str:
    """ValueError if no event can have that name."""
    if not _EVENT_NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not an event's name: any characters but blanks, 200 at most, such as order.paid")
    return name


def schema_of(event: str | EventType[Any]) -> Schema | None:
    """The schema of an event, if this program has given it one. Of one that has a type, fit() knows."""
    known = event if isinstance(event, EventType) else _defined.get(event)
    return None if known is None else known.given_schema
