"""What a program says of its queues: how they are to be run, where the server's configuration says nothing of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypedDict

from ._duration import Duration, milliseconds

# Of the server's configuration.
_MOST = {"concurrency": 100_000, "fetch_batch": 10_000}
_POLL_MS = (100, 3_600_000)


class QueueSettings(TypedDict, total=False):
    """As a section of the configuration has them. concurrency: executions at once on a node, in all processes."""

    concurrency: int
    fetch_batch: int
    poll_interval: Duration


def announcement(queues: Mapping[str, QueueSettings], served: Iterable[str]) -> list[dict[str, Any]]:
    """As it stands in HELLO. ValueError for what the server would not take, and for a queue that is not served."""
    known = set(served)
    for name in queues:
        if name not in known:
            raise ValueError(f"serve: queues: {name}: none of its tasks is in this queue (they are in {', '.join(sorted(known))})")
    return [{"name": name, **_settings(f"serve: queues: {name}", settings)} for name, settings in queues.items()]


def _settings(what: str, settings: Mapping[str, Any]) -> dict[str, int]:
    said = {}
    for key, value in settings.items():
        if key == "poll_interval":
            try:
                said["poll_ms"] = milliseconds(value)
            except ValueError as error:
                raise ValueError(f"{what}: poll_interval: {error}") from None
            if not _POLL_MS[0] <= said["poll_ms"] <= _POLL_MS[1]:
                raise ValueError(f"{what}: poll_interval: not between 100ms and 1h: {value!r}")
        elif key not in _MOST:
            raise ValueError(f"{what}: {key}: no such setting (there are concurrency, fetch_batch, poll_interval)")
        elif type(value) is not int or not 1 <= value <= _MOST[key]:
            raise ValueError(f"{what}: {key}: not a whole number between 1 and {_MOST[key]}: {value!r}")
        else:
            said[key] = value
    return said
