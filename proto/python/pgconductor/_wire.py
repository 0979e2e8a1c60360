"""Frames of the handler protocol: bytes to (number, execution, fields) and back.

A frame is a length and a msgpack array of three. What the fields of each message are says _messages, which is generated;
what comes in is held against that, because a peer that has lost its way must be noticed at once.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import msgpack

from ._messages import FIELDS, NAMES

HEAD = 4
MAX_DEPTH = 16
MAX_LIST = 262_144
IGNORABLE = 128  # numbers from here on may be unknown

_LENGTH = struct.Struct(">I")
length_at: Callable[..., tuple[Any, ...]] = _LENGTH.unpack_from

_unpackb = msgpack.unpackb

Fields = dict[str, Any]


class ProtocolError(Exception):
    """The peer sent what it may not."""


class Packer:
    """Makes frames. Not for several threads at once."""

    def __init__(self) -> None:
        self._pack: Callable[[Any], bytes] = msgpack.Packer().pack

    def frame(self, number: int, execution: int, fields: Fields) -> bytes:
        body = self._pack((number, execution, fields))
        return _LENGTH.pack(len(body)) + body


def unpack(body: bytes | bytearray) -> tuple[int, int, Fields]:
    """Open a frame's body. ProtocolError if it is not an array of a number, a number, and a map."""
    try:
        number, execution, fields = _unpackb(body, strict_map_key=False)
    except (ValueError, TypeError, UnicodeDecodeError, msgpack.UnpackException) as error:
        raise ProtocolError(f"not a frame: {str(error) or type(error).__name__}") from error
    if number.__class__ is not int or not 0 <= number <= 65535 or execution.__class__ is not int or execution < 0:
        raise ProtocolError("not a frame: the type or the execution is not a number")
    if fields.__class__ is not dict:
        raise ProtocolError("not a frame: the fields are not a map")
    return number, execution, fields


def check(number: int, fields: Fields) -> None:
    """Hold a message's fields against its declaration. Keys that are not declared are ignored."""
    name = NAMES.get(number)
    if name is None:
        raise ProtocolError(f"there is no message {number}")
    try:
        _check(_KINDS[name], fields, 2)
    except ProtocolError as error:
        raise ProtocolError(f"{name}.{error}") from None


def ordered(name: str, fields: Fields) -> Fields:
    """The fields that are declared, in the order of their declaration, without those that are absent."""
    found = {}
    for key, kind, _ in FIELDS[name]:
        value = fields.get(key)
        if value is None:
            continue
        kind, many = kind.removesuffix("[]"), kind.endswith("[]")
        if kind in _KINDS:
            value = [ordered(kind, item) for item in value] if many else ordered(kind, value)
        found[key] = value
    return found


# ---- checking


class _Kind:
    """A message or struct as it is declared: the Python type of each key, its declared type, and which it must have."""

    def __init__(self, fields: tuple[tuple[str, str, bool | str], ...]) -> None:
        self.declared = {key: kind for key, kind, _ in fields}
        self.types: dict[str, Any] = {key: _type(kind) for key, kind in self.declared.items()}
        self.required = frozenset(key for key, _, required in fields if required is True)
        # Lists, and what is required where there is nothing in them.
        self.spared: list[tuple[str, frozenset[str]]] = [
            (other, frozenset(key for key, _, required in fields if required == other))
            for other in {required for _, _, required in fields if isinstance(required, str)}]


_SCALARS: dict[str, type] = {"str": str, "json": str, "uint": int, "int": int, "bool": bool}


def _type(kind: str) -> type:
    return list if kind.endswith("[]") else _SCALARS.get(kind, dict)


_KINDS = {name: _Kind(fields) for name, fields in FIELDS.items()}


def _check(kind: _Kind, fields: Fields, depth: int) -> None:
    """ProtocolError with the path of the key at fault. Each RUN comes through here: what is usual takes little."""
    types = kind.types
    if not kind.required <= fields.keys():
        raise ProtocolError(f"{min(kind.required - fields.keys())}: missing")
    for other, keys in kind.spared:
        if not fields.get(other):
            _check_present(keys, fields)
    for key, value in fields.items():
        expected = types.get(key)
        if value.__class__ is not expected:
            _check_odd(kind, key, value, depth)
        elif expected is str:
            if "\0" in value:
                raise ProtocolError(f"{key}: NUL in a string")
        elif expected is not bool:
            _check_other(kind.declared[key], key, value, depth)


def _check_present(keys: frozenset[str], fields: Fields) -> None:
    missing = sorted(key for key in keys if fields.get(key) is None)
    if missing:
        raise ProtocolError(f"{missing[0]}: missing")


def _check_odd(kind: _Kind, key: Any, value: Any, depth: int) -> None:
    """What is not of the type that its key has: it may be absent, or of a key that we do not know."""
    if key.__class__ is not str:
        raise ProtocolError("a key is not a string")
    if key not in kind.types:
        _check_depth(value, depth + 1)
    elif value is not None:
        raise ProtocolError(f"{key}: not {kind.declared[key]}")
    elif key in kind.required:
        raise ProtocolError(f"{key}: missing")


def _check_other(kind: str, where: str, value: Any, depth: int) -> None:
    """A number, a struct or a list, whose Python type is right."""
    if kind == "uint":
        if not 0 <= value < 2**64:
            raise ProtocolError(f"{where}: not {kind}")
    elif kind == "int":
        if not -(2**63) <= value < 2**63:
            raise ProtocolError(f"{where}: not {kind}")
    elif kind in _KINDS:
        try:
            _check(_KINDS[kind], value, depth + 1)
        except ProtocolError as error:
            raise ProtocolError(f"{where}.{error}") from None
    else:
        _check_list(kind.removesuffix("[]"), where, value, depth + 1)


def _check_list(kind: str, where: str, values: list[Any], depth: int) -> None:
    if len(values) > MAX_LIST:
        raise ProtocolError(f"{where}: too long")
    expected: Any = _type(kind)
    for at, value in enumerate(values):
        if value.__class__ is not expected or (expected is str and "\0" in value):
            raise ProtocolError(f"{where}[{at}]: not {kind}")
        if expected is not str:
            _check_other(kind, f"{where}[{at}]", value, depth)


def _check_depth(value: Any, depth: int) -> None:
    if isinstance(value, (list, dict)):
        if depth > MAX_DEPTH:
            raise ProtocolError("not a frame: nested too deeply")
        for item in value.values() if isinstance(value, dict) else value:
            _check_depth(item, depth + 1)
