"""Durable tasks on PostgreSQL.

    from pgconductor import serve, task

    @task
    def greet(payload):
        return {"greeting": f"Hello, {payload['name']}!"}

    serve()
"""

from ._batch import Batch, BatchContext, BatchEvent
from ._calls import Item, Result, ThrottledItem
from ._client import AsyncClient, Client
from ._context import Logger
from ._durable import Context, current
from ._durable_async import AsyncContext
from ._duration import Duration
from ._json import RawJSON
from ._lasting import Awaited, Child, EventWait
from ._logging import LogHandler
from ._queues import QueueSettings
from ._serve import serve, stop
from ._task import Backoff, Exponential, KeyLimit, Rate, Task, remote, task
from ._triggers import INVOCABLE, EventType, Trigger, change, cron, define_event, event, invocable, literal
from ._version import __version__
from .errors import (BadArgument, BadEvent, BadPayload, BadQueue, BadSchedule, BadSchema, BadTask, BadTime, Cancelled,
                     ChildFailed, ChildTimeout, ClientError, Error, EventTimeout, ExecutionFailed, NonRetryableError,
                     NotAvailable, NotInstalled, PayloadTooLarge, RetryAfter, Suspended, UndeclaredTask, UnknownExecution,
                     WaitFailed)

__all__ = [
    "AsyncClient", "AsyncContext", "Awaited", "Backoff", "Batch", "BatchContext", "BatchEvent", "BadArgument", "BadEvent", "BadPayload", "BadQueue", "BadSchedule",
    "BadSchema", "BadTask", "BadTime", "Cancelled", "Child", "ChildFailed", "ChildTimeout", "Client", "ClientError",
    "Context", "Duration", "Error", "EventTimeout", "EventType", "EventWait", "ExecutionFailed", "Exponential", "INVOCABLE",
    "Item", "KeyLimit", "LogHandler", "Logger", "NonRetryableError", "NotAvailable", "NotInstalled", "PayloadTooLarge", "QueueSettings", "Rate", "RawJSON",
    "Result", "RetryAfter", "Suspended", "Task", "ThrottledItem", "Trigger", "UndeclaredTask", "UnknownExecution", "WaitFailed",
    "__version__", "change", "cron", "current", "define_event", "event", "invocable", "literal", "remote", "serve", "stop", "task",
]
