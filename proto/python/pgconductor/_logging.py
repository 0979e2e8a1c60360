"""The bridge from Python's logging to the server's log."""

from __future__ import annotations

import logging
from typing import Any

from . import _session
from ._context import current_context


class LogHandler(logging.Handler):
    """Sends what goes through ``logging`` to the log of the execution it is said in, else to that of the process.

        logging.basicConfig(level=logging.INFO, handlers=[LogHandler()])

    In a program that is not serving, lines go where ``logging`` sends them by itself: to stderr.
    """

    def emit(self, record: logging.LogRecord) -> None:
        session = _session.serving()
        if session is None:
            if logging.lastResort is not None:
                logging.lastResort.handle(record)
            return
        try:
            ctx = current_context.get(None)
            fields: dict[str, Any] = {"logger": record.name}
            if record.exc_info:
                fields["stack"] = (self.formatter or _formatter).formatException(record.exc_info)
            session.log(_level(record.levelno), record.getMessage(), fields, ctx._exec if ctx is not None else 0)
        except Exception:
            self.handleError(record)


_formatter = logging.Formatter()


def _level(number: int) -> str:
    if number >= logging.ERROR:
        return "error"
    if number >= logging.WARNING:
        return "warn"
    return "info" if number >= logging.INFO else "debug"
