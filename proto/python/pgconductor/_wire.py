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
    _check(name, _DECLARED[name], fields, 2)


def ordered(name: str, fields: Fields) -> Fields:
    """The fields that are declared, in the order of their declaration, without those that are absent."""
    found = {}
    for key, kind, _ in FIELDS[name]:
        value = fields.get(key)
        if value is None:
            continue
        kind, many = kind.removesuffix("[]"), kind.endswith("[]")
        if kind in _DECLARED:
            value = [ordered(kind, item) for item in value] if many else ordered(kind, value)
        found[key] = value
    return found


# ---- checking

_TYPES: dict[str, type] = {"str": str, "json": str, "uint": int, "int": int, "bool": bool}
_RANGES = {"uint": (0, 2**64), "int": (-(2**63), 2**63)}

# For each message and struct: key, Python type, declared type, required.
Declared = tuple[tuple[str, type, str, bool], ...]
_DECLARED: dict[str, Declared] = {
    name: tuple((key, list if kind.endswith("[]") else _TYPES.get(kind, dict), kind, required)
                for key, kind, required in fields)
    for name, fields in FIELDS.items()
}


def _check(where: str, declared: Declared, fields: Fields, depth: int) -> None:
    seen = 0
    for key, expected, kind, required in declared:
        value = fields.get(key)
        if value is None:
            if required:
                raise ProtocolError(f"{where}.{key}: missing")
            continue
        seen += 1
        if value.__class__ is not expected:
            raise ProtocolError(f"{where}.{key}: not {kind}")
        if expected is str:
            if "\0" in value:
                raise ProtocolError(f"{where}.{key}: NUL in a string")
        elif expected is not bool:
            _check_other(f"{where}.{key}", kind, value, depth)
    if seen != len(fields):
        for key, value in fields.items():
            if type(key) is not str:
                raise ProtocolError(f"{where}: a key is not a string")
            _check_depth(value, depth + 1)


def _check_other(where: str, kind: str, value: Any, depth: int) -> None:
    if kind in _RANGES:
        low, high = _RANGES[kind]
        if not low <= value < high:
            raise ProtocolError(f"{where}: not {kind}")
    elif kind in _DECLARED:
        _check(where, _DECLARED[kind], value, depth + 1)
    else:
        _check_list(where, kind.removesuffix("[]"), value, depth + 1)


def _check_list(where: str, kind: str, values: list[Any], depth: int) -> None:
    if len(values) > MAX_LIST:
        raise ProtocolError(f"{where}: too long")
    expected = _TYPES.get(kind, dict)
    for at, value in enumerate(values):
        if value.__class__ is not expected or (expected is str and "\0" in value):
            raise ProtocolError(f"{where}[{at}]: not {kind}")
        if expected is not str:
            _check_other(f"{where}[{at}]", kind, value, depth)


def _check_depth(value: Any, depth: int) -> None:
    if isinstance(value, (list, dict)):
        if depth > MAX_DEPTH:
            raise ProtocolError("not a frame: nested too deeply")
        for item in value.values() if isinstance(value, dict) else value:
            _check_depth(item, depth + 1)

