"""JSON as it stands in PostgreSQL: text in, text out."""

from __future__ import annotations

import dataclasses
import json
import json.encoder
from collections.abc import Callable, Mapping
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID


def _typed(value: Any) -> Any:
    """What json does not know, as what it knows."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type) and not hasattr(value, "__pydantic_serializer__"):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, datetime) and value.tzinfo is None:
        raise TypeError(f"{value!r} has no zone, so nobody else would know when it is")
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, Decimal) and value.is_finite():
        return str(value)
    if isinstance(value, Enum):
        return value.value
    if hasattr(value, "__pydantic_serializer__") and not isinstance(value, type):
        return value.__pydantic_serializer__.to_python(value, mode="json", by_alias=True)
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


def _encoder(default: Callable[[Any], Any] | None) -> Callable[[Any], str]:
    """encode of json's own encoder, which makes the one in C anew for each value: that takes longer than a small result."""
    encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, default=default)
    make, quote = getattr(json.encoder, "c_make_encoder", None), getattr(json.encoder, "c_encode_basestring", None)
    if make is None or quote is None:
        return encoder.encode
    chunks = make(None, encoder.default, quote, None, ": ", ", ", False, False, False)

    def encode(value: Any) -> str:
        try:
            return "".join(chunks(value, 0))
        except RecursionError:
            # Deep, or a circle: the whole encoder says which.
            return encoder.encode(value)
    return encode


# What is beyond ASCII stays readable in the database. NaN and infinity are no JSON, and are refused.
_encode = _encoder(_typed)
_encode_plain = _encoder(None)
_encode_ascii = json.JSONEncoder(ensure_ascii=True, allow_nan=False, default=_typed).encode
_encode_loosely = json.JSONEncoder(ensure_ascii=True, allow_nan=True, skipkeys=True, default=repr).encode

_decode = json.JSONDecoder().raw_decode


class RawJSON(str):
    """Text that is JSON already. A task may return it, and the client takes it as a payload; it stays as it is."""


def loads(text: str) -> Any:
    """ValueError or RecursionError for what Python cannot hold."""
    try:
        value, end = _decode(text)
        if end == len(text):
            return value
    except ValueError:
        pass
    # White space around it, or an error to be told in full.
    return json.loads(text)


def dumps(value: Any) -> str:
    """Text that can be written as UTF-8. TypeError, ValueError or RecursionError when it cannot be JSON.

    Dataclasses, models of pydantic, times and the like become what _types reads again.
    """
    if type(value) is RawJSON:
        return _checked(value)
    return _writable(value, _encode(value))


def dumps_plain(value: Any) -> str:
    """The same for what is read without knowing its type: nothing but JSON's own types."""
    return _checked(value) if type(value) is RawJSON else _writable(value, _encode_plain(value))


def _writable(value: Any, text: str) -> str:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            # Half a surrogate pair, which only an escape can say.
            return _encode_ascii(value)
    return text


def dumps_object(members: Mapping[str, Any]) -> str:
    """An object, of which a member may be RawJSON."""
    return "{" + ", ".join(f"{dumps(str(key))}: {dumps(value)}" for key, value in members.items()) + "}"


def dumps_loosely(value: Any) -> str | None:
    """For logs and errors, which must not fail: what is not JSON appears as its repr. None if even that is impossible."""
    try:
        text = _encode_loosely(value)
        json.loads(text, parse_constant=_refuse)
        return text
    except Exception:  # a repr that raises, a circle, not a number
        return None


def _checked(text: str) -> str:
    # Whether it is JSON the other side will say; these two would not even arrive.
    if "\0" in text:
        raise ValueError("a NUL character")
    text.encode()
    return text


def _refuse(constant: str) -> None:
    raise ValueError(constant)
