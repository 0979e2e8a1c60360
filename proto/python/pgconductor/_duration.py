"""Durations: seconds as a number, a timedelta, or text such as "250ms", "10s", "5m", "2h", "7d"."""

from __future__ import annotations

import math
import re
from datetime import timedelta
from typing import Union

Duration = Union[float, str, timedelta]

_TEXT = re.compile(r"(\d{1,15}(?:\.\d{1,3})?)(ms|s|m|h|d)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_MAX = 100 * 366 * 86400


def seconds(value: Duration) -> float:
    """The duration in seconds; ValueError if it is none."""
    if isinstance(value, timedelta):
        number = value.total_seconds()
    elif isinstance(value, str):
        match = _TEXT.fullmatch(value)
        if match is None and value != "0":
            raise ValueError(f'not a duration: {value!r} (such as "250ms", "10s", "5m", "2h", "7d")')
        number = float(match[1]) * _UNITS[match[2]] if match else 0.0
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        number = float(value)
    else:
        raise ValueError(f"not a duration: {value!r} (seconds, a timedelta, or text such as \"10s\")")
    if not (math.isfinite(number) and 0 <= number <= _MAX):
        raise ValueError(f"not a duration between 0 and 100 years: {value!r}")
    return number


def milliseconds(value: Duration) -> int:
    return round(seconds(value) * 1000)
