"""Outcomes: what a function returned or raised, as the fields of DONE or FAIL."""

from __future__ import annotations

import asyncio
import os
import traceback
from typing import Any

from ._json import dumps, dumps_loosely
from ._messages import DONE, FAIL
from ._wire import Fields
from .errors import Cancelled, ChildFailed, NonRetryableError, RetryAfter, WaitFailed

TEXT_MAX = 64 * 1024  # characters of a message or a traceback
_HERE = os.path.dirname(os.path.abspath(__file__)) + os.sep


def done(result: Any, max_payload: int) -> tuple[int, Fields]:
    """DONE, or the FAIL of a result that is no JSON or too long."""
    if result is None:
        return DONE, {}
    try:
        text = dumps(result)
    except (TypeError, ValueError, RecursionError) as error:
        return FAIL, {"code": "bad_result", "message": f"the result is not JSON: {clean(str(error))}",
                      "type": type(error).__name__}
    size = len(text) if text.isascii() else len(text.encode())
    if size > max_payload:
        return FAIL, {"code": "oversize", "message": f"a result of {size} bytes; the limit is {max_payload}", "retry": False}
    return DONE, {"result": text}


def failure(error: BaseException, reason: str | None, max_payload: int) -> tuple[int, Fields]:
    """FAIL. reason: why the execution was to stop, if it was."""
    # What a TaskGroup raises for one of its tasks counts as what that task has raised.
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    fields: Fields = {"code": "app", "message": _message(error), "type": type(error).__name__, "stack": _stack(error)}
    if reason is not None and isinstance(error, (Cancelled, asyncio.CancelledError)):
        fields["code"] = "timeout" if reason == "timeout" else "cancelled"
        fields["message"] = clean(reason)
    elif isinstance(error, ChildFailed):
        fields["retry"] = False
    elif isinstance(error, (NonRetryableError, WaitFailed)):
        fields["code"] = clean(error.code)
        fields["retry"] = False
    elif isinstance(error, RetryAfter):
        fields["after_ms"] = round(error.seconds * 1000)
    if isinstance(error, (ChildFailed, NonRetryableError, RetryAfter)) and error.data is not None:
        data = dumps_loosely(error.data)
        if data is not None and len(data) <= max_payload // 2:
            fields["data"] = data
    return FAIL, fields


def clean(text: str) -> str:
    """Text for people that can be written, whatever it was."""
    if len(text) > TEXT_MAX:
        text = text[:TEXT_MAX]
    return text.replace("\0", "\\0").encode(errors="backslashreplace").decode()


def _message(error: BaseException) -> str:
    """The first line; all of it stands in the traceback."""
    try:
        lines = str(error).strip().splitlines()
    except Exception:
        return f"{type(error).__name__} (its __str__ raises)"
    return clean(lines[0]) if lines else type(error).__name__


def _stack(error: BaseException) -> str:
    """The traceback, from the first line that is not this library's."""
    first = error.__traceback__
    while first is not None and first.tb_frame.f_code.co_filename.startswith(_HERE):
        first = first.tb_next
    try:
        text = "".join(traceback.format_exception(type(error), error, first))
    except Exception:
        return ""
    # What matters stands at the end.
    return clean(text if len(text) <= TEXT_MAX else "…\n" + text[2 - TEXT_MAX:])
