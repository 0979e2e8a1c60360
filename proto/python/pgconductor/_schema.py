"""Holding a payload against a JSON Schema (2020-12), in clients. Handlers' workers do that themselves."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from ._json import loads
from ._triggers import Schema
from .errors import BadPayload, BadSchema

# By their text: making a validator takes longer than using it.
_made: dict[str, Any] = {}


def hold(what: str, text: str, schema: Schema | None) -> None:
    """BadPayload if that JSON is not as the schema says, with the place and the reason. Nothing without a schema."""
    if schema is None:
        return
    key = json.dumps(schema, sort_keys=True)
    if key not in _made:
        _made[key] = _validator(what, json.loads(key))
    try:
        error = _jsonschema().exceptions.best_match(_made[key].iter_errors(loads(text)))
    except _unresolvable() as problem:
        raise BadSchema(f"{what}: its schema refers to what is not in it: {problem}") from problem
    if error is not None:
        where = "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in error.absolute_path)
        raise BadPayload(f"{what}: the payload is not as its schema says: {where or '(all of it)'}: {error.message}")


def _validator(what: str, schema: Any) -> Any:
    library = _jsonschema()
    kind = library.Draft202012Validator
    try:
        kind.check_schema(schema)
    except library.SchemaError as error:
        raise BadSchema(f"{what}: its schema is none: {error.message}") from error
    # Nothing is fetched from anywhere.
    try:
        from jsonschema_specifications import REGISTRY
    except ImportError:  # before jsonschema 4.18
        resolver = library.RefResolver.from_schema(schema, id_of=kind.ID_OF)
        resolver.resolve_remote = _refuse
        return kind(schema, resolver=resolver)
    return kind(schema, registry=REGISTRY)


def _refuse(uri: str) -> NoReturn:
    raise ValueError(uri)


def _unresolvable() -> Any:
    """What is raised for a reference that leads nowhere."""
    try:
        from referencing.exceptions import Unresolvable
    except ImportError:
        return _jsonschema().RefResolutionError
    return Unresolvable


def _jsonschema() -> Any:
    try:
        import jsonschema
        import jsonschema.exceptions
    except ImportError as error:
        raise ImportError("to hold a payload against a schema the client needs jsonschema: pip install 'pgconductor[schema]'") \
            from error
    return jsonschema
