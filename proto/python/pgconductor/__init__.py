"""Durable tasks on PostgreSQL.

    from pgconductor import serve, task

    @task
    def greet(payload):
        return {"greeting": f"Hello, {payload['name']}!"}

    serve()
"""

from ._calls import Item, Result
from ._client import AsyncClient, Client
from ._context import Logger
from ._durable import AsyncContext, Child, Context, current
from ._duration import Duration
from ._json import RawJSON
from ._logging import LogHandler
from ._serve import serve, stop
from ._task import Backoff, Exponential, Task, task
from ._version import __version__
from .errors import (BadArgument, BadPayload, BadQueue, BadTask, BadTime, Cancelled, ChildFailed, ChildTimeout, ClientError,
                     Error, ExecutionFailed, NonRetryableError, NotAvailable, NotInstalled, PayloadTooLarge, RetryAfter,
                     Suspended, UndeclaredTask, UnknownExecution)

__all__ = [
    "AsyncClient", "AsyncContext", "Backoff", "BadArgument", "BadPayload", "BadQueue", "BadTask", "BadTime", "Cancelled",
    "Child", "ChildFailed", "ChildTimeout", "Client", "ClientError", "Context", "Duration", "Error", "ExecutionFailed",
    "Exponential", "Item", "LogHandler", "Logger", "NonRetryableError", "NotAvailable", "NotInstalled", "PayloadTooLarge",
    "RawJSON", "Result", "RetryAfter", "Suspended", "Task", "UndeclaredTask", "UnknownExecution", "__version__", "current",
    "serve", "stop", "task",
]
