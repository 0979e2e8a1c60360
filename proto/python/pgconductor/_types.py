"""What annotations say of payloads and results: their JSON Schema, and how the type is made of what JSON has.

A dataclass, a TypedDict, a NamedTuple, a model of pydantic, an Enum, Literal, datetime, date, UUID, Decimal, and what is made of
these and of JSON's own types. The other way, from a value to JSON, goes without annotations: _json does that.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any, Literal, NamedTuple, Union
from uuid import UUID

from ._json import RawJSON, dumps

Load = Callable[[Any], Any]
# Whether it is what a task takes, or what it returns: of a model of pydantic these may differ.
Mode = Literal["validation", "serialization"]

_ARRAYS = (list, collections.abc.Sequence, collections.abc.MutableSequence, collections.abc.Collection, collections.abc.Iterable)
_OBJECTS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)
_UNIONS = (Union, types.UnionType)
_FREE = (Any, object, RawJSON, typing.NoReturn, typing.Never, inspect.Parameter.empty)


class Mismatch(ValueError):
    """A value is not of the type: where, as a JSON pointer, and why."""

    def __init__(self, reason: str, path: Iterable[str | int] = ()) -> None:
        super().__init__(reason)
        self.reason = reason
        self.path = list(path)

    def __str__(self) -> str:
        where = "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in self.path)
        return f"{where or '(all of it)'}: {self.reason}"

    def under(self, step: str | int) -> Mismatch:
        self.path.insert(0, step)
        return self


class Shape(NamedTuple):
    """A type: its JSON Schema, and what makes one of it of what was read as JSON; Mismatch."""

    schema: dict[str, Any]
    load: Load


def shape_of(annotation: Any, mode: Mode, is_open: bool = False) -> Shape | None:
    """None: it may be anything. TypeError for what is not made of JSON. is_open: what is no more than a name is anything, too."""
    if annotation in _FREE:
        return None
    maker = _Maker(mode, is_open)
    schema, load = maker.make(annotation)
    return Shape(maker.whole(schema), load)


# ---- the annotations of functions


def payload_annotation(fn: Callable[..., Any]) -> Any:
    """That of its first parameter; None, which is no type here, if it has none. NameError."""
    for parameter in inspect.signature(fn).parameters.values():
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            return _evaluated(fn, parameter.annotation)
    return None


def returns_annotation(fn: Callable[..., Any]) -> Any:
    """Without one, what may be anything. NameError."""
    return _evaluated(fn, inspect.signature(fn).return_annotation)


def payload_of_events(annotation: Any) -> Any:
    """Of a function that takes several at once, list[BatchEvent[P]]: P."""
    (event,) = typing.get_args(annotation)[:1] or (Any,)
    return (typing.get_args(event) or (Any,))[0]


def result_of_results(annotation: Any) -> Any:
    """What it returns, list[R | Exception]: R."""
    (kind,) = typing.get_args(annotation)[:1] or (Any,)
    if typing.get_origin(kind) not in _UNIONS:
        return kind
    kinds = [one for one in typing.get_args(kind) if not (isinstance(one, type) and issubclass(one, BaseException))]
    return Union[tuple(kinds)] if kinds else Any


def _evaluated(fn: Callable[..., Any], annotation: Any) -> Any:
    if not isinstance(annotation, str):
        return annotation
    whole = inspect.unwrap(fn)
    return eval(annotation, getattr(whole, "__globals__", None) or getattr(type(whole).__call__, "__globals__", {}))


def resolved(annotation: Any, names: dict[str, Any]) -> Any:
    """With what its names stand for, those within it included; an alias that refers to itself stays a name there. NameError."""
    def given() -> None: ...
    given.__annotations__ = {"it": annotation}
    return typing.get_type_hints(given, names, include_extras=True)["it"]


_PLAIN = frozenset((str, int, bool, float, None, Any, "str", "int", "bool", "float", "None", "Any"))


def returned_by(fn: Any) -> Shape | None:
    """What the function of a step says that it returns, if it says so and that is made of JSON."""
    annotation = getattr(fn, "__annotations__", {}).get("return", Any)
    try:
        if annotation in _PLAIN:
            return None
        return _kept(_evaluated(fn, annotation))
    except (TypeError, NameError, SyntaxError, AttributeError):
        return None


@lru_cache(maxsize=1000)
def _kept(annotation: Any) -> Shape | None:
    return shape_of(annotation, "serialization")


# ---- making them


class _Maker:
    """Makes one schema. Classes with members stand in its $defs, each once, so that they may refer to themselves."""

    def __init__(self, mode: Mode, is_open: bool = False) -> None:
        self._mode = mode
        self._is_open = is_open
        self._defs: dict[str, Any] = {}
        self._classes: dict[Any, tuple[str, Load]] = {}

    def whole(self, schema: dict[str, Any]) -> dict[str, Any]:
        """With the definitions it refers to. What is nothing but a reference to one is that one, unless it refers to itself."""
        name = schema.get("$ref", "").removeprefix("#/$defs/")
        if name in self._defs and dumps(self._defs).count(dumps(schema["$ref"])) == 0:
            schema = {"title": name, **self._defs.pop(name)}
        return {**schema, "$defs": self._defs} if self._defs else schema

    def make(self, kind: Any) -> tuple[dict[str, Any], Load]:
        kind = _bare(kind)
        if kind in _FREE or (self._is_open and isinstance(kind, typing.ForwardRef)):
            return {}, _as_it_is
        if _is_of_pydantic(kind):
            return self._pydantic(kind)
        if kind in _LEAVES:
            schema, load = _LEAVES[kind]
            return dict(schema), load
        origin, args = typing.get_origin(kind), typing.get_args(kind)
        if origin in _UNIONS:
            return self._union(args)
        if origin is Literal:
            return _one_of(args, {value: value for value in args})
        if kind in _ARRAYS or origin in _ARRAYS:
            return self._array(*args)
        if kind is tuple or origin is tuple:
            return self._array(*args[:1]) if len(args) < 1 or args[1:] == (...,) else self._tuple(args, tuple)
        if kind in _OBJECTS or origin in _OBJECTS:
            return self._object(kind, *args)
        if isinstance(kind, type):
            return self._class(kind)
        raise _none(kind)

    def _class(self, kind: type) -> tuple[dict[str, Any], Load]:
        if issubclass(kind, enum.Enum):
            return _one_of([member.value for member in kind], {member.value: member for member in kind})
        if issubclass(kind, tuple) and hasattr(kind, "_fields"):
            hints = typing.get_type_hints(kind)
            return self._tuple([hints.get(name, Any) for name in kind._fields], lambda values: kind(*values))
        if dataclasses.is_dataclass(kind):
            return self._named(kind, self._dataclass)
        if issubclass(kind, dict) and hasattr(kind, "__required_keys__"):
            return self._named(kind, self._typed_dict)
        raise _none(kind)

    def _array(self, element: Any = Any) -> tuple[dict[str, Any], Load]:
        schema, load = self.make(element)

        def load_all(value: Any) -> list[Any]:
            return _each(load, _an_array(value))
        return {"type": "array", **({"items": schema} if schema else {})}, load_all

    def _tuple(self, kinds: Sequence[Any], make: Load) -> tuple[dict[str, Any], Load]:
        made = [self.make(kind) for kind in kinds]

        def load(value: Any) -> Any:
            if len(_an_array(value)) != len(made):
                raise Mismatch(f"it has {len(value)} elements, not {len(made)}")
            found = []
            for at, (one, (_, load_one)) in enumerate(zip(value, made)):
                try:
                    found.append(load_one(one))
                except Mismatch as error:
                    raise error.under(at)
            return make(found)
        return {"type": "array", "prefixItems": [schema for schema, _ in made], "items": False, "minItems": len(made)}, load

    def _object(self, kind: Any, key: Any = str, value: Any = Any) -> tuple[dict[str, Any], Load]:
        if _bare(key) is not str and key is not Any:
            raise TypeError(f"{kind}: the keys of an object are text in JSON")
        schema, load_one = self.make(value)

        def load(value: Any) -> dict[str, Any]:
            made = {}
            for name, member in _an_object(value).items():
                try:
                    made[name] = load_one(member)
                except Mismatch as error:
                    raise error.under(name)
            return made
        return {"type": "object", **({"additionalProperties": schema} if schema else {})}, load

    def _union(self, kinds: Iterable[Any]) -> tuple[dict[str, Any], Load]:
        made = [self.make(kind) for kind in kinds]

        def load(value: Any) -> Any:
            """The first that fits."""
            errors = []
            for _, load_one in made:
                try:
                    return load_one(value)
                except Mismatch as error:
                    errors.append(error)
            # The one that came furthest says what was meant.
            raise max(errors, key=lambda error: len(error.path))
        return {"anyOf": [schema for schema, _ in made]}, load

    def _named(self, kind: Any, members: Callable[[Any], tuple[dict[str, Any], Load]]) -> tuple[dict[str, Any], Load]:
        if kind not in self._classes:
            name = self._free_name(kind.__name__)
            self._defs[name] = {}
            late: list[Load] = []
            # What refers to itself needs the one that is being made.
            self._classes[kind] = (name, lambda value: late[0](value))
            self._defs[name], load = members(kind)
            late.append(load)
            self._classes[kind] = (name, load)
        name, load = self._classes[kind]
        return {"$ref": f"#/$defs/{name}"}, load

    def _free_name(self, name: str) -> str:
        names = (name, *(f"{name}_{n}" for n in range(2, 1000)))
        return next(one for one in names if one not in self._defs)

    def _members(self, kinds: Mapping[str, Any], required: Iterable[str]) -> tuple[dict[str, Any], Callable[[Any], dict[str, Any]]]:
        made = {name: self.make(kind) for name, kind in kinds.items()}
        needed = [name for name in made if name in required]

        def load(value: Any) -> dict[str, Any]:
            _an_object(value)
            for name in needed:
                if name not in value:
                    raise Mismatch(f'it has no member "{name}"')
            found = {}
            for name, (_, load_one) in made.items():
                if name in value:
                    try:
                        found[name] = load_one(value[name])
                    except Mismatch as error:
                        raise error.under(name)
            return found
        schema: dict[str, Any] = {"type": "object", "properties": {name: schema for name, (schema, _) in made.items()}}
        return {**schema, "required": needed} if needed else schema, load

    def _dataclass(self, kind: Any) -> tuple[dict[str, Any], Load]:
        hints = typing.get_type_hints(kind, include_extras=True)
        fields = [field for field in dataclasses.fields(kind) if field.init]
        schema, members = self._members({field.name: hints[field.name] for field in fields}, [
            field.name for field in fields
            if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING])

        def load(value: Any) -> Any:
            found = members(value)
            try:
                return kind(**found)
            except (TypeError, ValueError) as error:  # of its __post_init__
                raise Mismatch(str(error)) from error
        return schema, load

    def _typed_dict(self, kind: Any) -> tuple[dict[str, Any], Load]:
        hints = typing.get_type_hints(kind, include_extras=True)
        required = set(kind.__required_keys__)
        # Which are, __required_keys__ does not know when the annotations are text.
        for name, hint in hints.items():
            if typing.get_origin(hint) is typing.NotRequired:
                required.discard(name)
            elif typing.get_origin(hint) is typing.Required:
                required.add(name)
        schema, members = self._members(hints, required)

        def load(value: Any) -> dict[str, Any]:
            found = members(value)
            return {**value, **found}
        return schema, load

    def _pydantic(self, kind: Any) -> tuple[dict[str, Any], Load]:
        adapter, error_kind = _adapter(kind)
        # Another class may have the name of one that this refers to.
        for prefix in ("", *(f"{n}." for n in range(2, 1000))):
            schema = adapter.json_schema(ref_template=f"#/$defs/{prefix}{{model}}", mode=self._mode)
            defs = {prefix + name: one for name, one in schema.pop("$defs", {}).items()}
            if all(self._defs.get(name, one) == one for name, one in defs.items()):
                break
        self._defs.update(defs)

        def load(value: Any) -> Any:
            try:
                return adapter.validate_json(dumps(value))
            except error_kind as error:
                first = error.errors()[0]
                raise Mismatch(first["msg"], first["loc"]) from error
        return schema, load


def _bare(kind: Any) -> Any:
    """Without what says nothing of the value: NewType, aliases, Annotated unless it is for pydantic."""
    while True:
        if hasattr(kind, "__supertype__"):
            kind = kind.__supertype__
        elif type(kind).__name__ == "TypeAliasType":
            kind = kind.__value__
        elif typing.get_origin(kind) in (typing.Required, typing.NotRequired, typing.Final):
            kind = typing.get_args(kind)[0]
        elif typing.get_origin(kind) is typing.Annotated and not _is_of_pydantic(kind):
            kind = typing.get_args(kind)[0]
        else:
            return kind


def _none(kind: Any) -> TypeError:
    if hasattr(kind, "__get_validators__"):
        return TypeError(f"{kind.__name__}: a model of pydantic 1; it takes pydantic 2")
    return TypeError(f"{getattr(kind, '__qualname__', kind)}: nothing that is made of JSON: it takes a dataclass, a TypedDict,"
                     " a model of pydantic, or what is made of JSON's own types")


def _one_of(values: Sequence[Any], made: Mapping[Any, Any]) -> tuple[dict[str, Any], Load]:
    values = [value.value if isinstance(value, enum.Enum) else value for value in values]
    if not all(value is None or type(value) in (str, int, bool, float) or isinstance(value, (str, int)) for value in values):
        raise TypeError(f"{values}: not all of these are JSON")
    # True is 1 to Python.
    known = {(isinstance(value, bool), value): one for value, one in zip(values, made.values())}

    def load(value: Any) -> Any:
        try:
            return known[isinstance(value, bool), value]
        except (KeyError, TypeError):
            raise Mismatch(f"{_told(value)} is none of {', '.join(map(dumps, values))}") from None
    return {"enum": values}, load


# ---- what has no members


def _told(value: Any) -> str:
    text = dumps(value)
    return text if len(text) <= 60 else text[:57] + "…"


def _as_it_is(value: Any) -> Any:
    return value


def _an_array(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise Mismatch(f"{_told(value)} is not an array")
    return value


def _an_object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Mismatch(f"{_told(value)} is not an object")
    return value


def _each(load: Load, values: list[Any]) -> list[Any]:
    made = []
    for at, value in enumerate(values):
        try:
            made.append(load(value))
        except Mismatch as error:
            raise error.under(at)
    return made


def _of(kinds: type | tuple[type, ...], what: str) -> Load:
    def load(value: Any) -> Any:
        if not isinstance(value, kinds) or (isinstance(value, bool) and kinds is not bool):
            raise Mismatch(f"{_told(value)} is not {what}")
        return value
    return load


def _integer(value: Any) -> int:
    # 3.0 is an integer to JSON Schema.
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value // 1:
        raise Mismatch(f"{_told(value)} is not an integer")
    return int(value)


def _read(read: Callable[[str], Any], what: str) -> Load:
    def load(value: Any) -> Any:
        try:
            if isinstance(value, str):
                return read(value)
        except (ValueError, InvalidOperation):
            pass
        raise Mismatch(f"{_told(value)} is not {what}")
    return load


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(text)
    return moment


def _decimal(text: str) -> Decimal:
    number = Decimal(text)
    if not number.is_finite():
        raise ValueError(text)
    return number


_LEAVES: dict[Any, tuple[dict[str, Any], Load]] = {
    str: ({"type": "string"}, _of(str, "a string")),
    bool: ({"type": "boolean"}, _of(bool, "true or false")),
    int: ({"type": "integer"}, _integer),
    float: ({"type": "number"}, _of((int, float), "a number")),
    None: ({"type": "null"}, _of(type(None), "null")),
    type(None): ({"type": "null"}, _of(type(None), "null")),
    datetime: ({"type": "string", "format": "date-time"}, _read(_moment, "a time with its zone, as in 2030-01-31T12:00:00Z")),
    date: ({"type": "string", "format": "date"}, _read(date.fromisoformat, "a date, as in 2030-01-31")),
    UUID: ({"type": "string", "format": "uuid"}, _read(UUID, "a UUID")),
    Decimal: ({"type": "string", "pattern": r"^[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?$"},
              _read(_decimal, "a decimal number, as text")),
}


# ---- pydantic


def _is_of_pydantic(kind: Any) -> bool:
    if typing.get_origin(kind) is typing.Annotated:
        return any(type(one).__module__.split(".")[0] in ("pydantic", "annotated_types")
                   for one in typing.get_args(kind)[1:])
    return hasattr(kind, "__pydantic_validator__") or hasattr(kind, "__get_pydantic_core_schema__")


def _adapter(kind: Any) -> tuple[Any, type[Any]]:
    """What reads values of that type, and the error it raises."""
    import pydantic
    return pydantic.TypeAdapter(kind), pydantic.ValidationError
