"""serve(): the program as a handler. Started by pgconductor it serves; by hand, it becomes pgconductor around itself."""

from __future__ import annotations

import io
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from . import _queues, _session
from ._duration import Duration, milliseconds
from ._queues import QueueSettings
from ._runners import Loop, Threads
from ._session import Session
from ._task import Task, defined

EX_UNAVAILABLE = 69
EX_USAGE = 64

NOT_FOUND = """\
pgconductor: this program serves tasks and is run by pgconductor, but {binary} was not found.
Install it from its source (./configure && make && make install), add the directory it is in to PATH, or name it in the
environment variable PGCONDUCTOR; then start this program again.
"""


def serve(*tasks: Task[Any, Any], concurrency: int = 100, threads: int = 0, credit: int | None = None,
          heartbeat: Duration | None = None, queues: Mapping[str, QueueSettings] | None = None) -> None:
    """Serve these tasks, or all that this program has defined. Returns when the worker has had enough of it.

    Sync functions run in the main thread, one at a time; with ``threads`` so many of them at once, each in a thread.
    Async functions run on an asyncio loop, up to ``concurrency`` of them at once. ``credit`` is how many executions the
    worker may hand over, those that wait here for their turn included; as many as run at once unless given. More
    keep a busy program from waiting for the next one. ``heartbeat``: the program is ended, and started anew, when it has
    given no sign of life for so long: when it is stopped, or something holds the interpreter or the loop. ``queues`` says how
    the server is to run them, ``{"mail": {"concurrency": 50}}``, where its configuration has no section for them.

    Started by hand, the program is replaced by ``pgconductor run -- <this program>``.
    """
    if concurrency < 1 or threads < 0 or (credit is not None and credit < 1):
        raise ValueError("serve: concurrency and credit are at least 1, threads at least 0")
    beat_ms = milliseconds(heartbeat) if heartbeat is not None else 0
    if heartbeat is not None and beat_ms < 1:
        raise ValueError("serve: heartbeat: 0 is no time at all")
    served = list(tasks) or list(defined())
    if not served:
        raise ValueError("serve: no tasks; define one with @task, in a module that is imported here")
    settings = _queues.announcement(queues or {}, (task.home for task in served))
    if _session.serving() is not None:
        raise RuntimeError("serve: called already")
    # A child of multiprocessing runs the program's file once more, under another name, and must not become a server.
    if getattr(sys.modules.get("__mp_main__"), "__name__", None) == "__mp_main__":
        raise RuntimeError('serve: called in a child process; write it below: if __name__ == "__main__"')
    if "PGCONDUCTOR_FD" not in os.environ:
        _launch()
    _print_by_line()
    _run(_inherited(), _of_this_queue(served), concurrency, threads, credit, beat_ms, settings)


def stop() -> None:
    """Ask for no more executions; what was handed over is finished, then serve() returns. From any thread or task."""
    session = _session.serving()
    if session is not None:
        session.stop()


def _of_this_queue(tasks: Sequence[Task[Any, Any]]) -> list[Task[Any, Any]]:
    """Those to announce: of the queue served, or all if the program is only asked which it has."""
    queue = os.environ.get("PGCONDUCTOR_QUEUE")
    return [task for task in tasks if queue is None or task.home == queue]


def _inherited() -> socket.socket:
    """The socket to the worker. Programs that this one starts must not take it, or the variable, for theirs."""
    given = os.environ.pop("PGCONDUCTOR_FD")
    try:
        return socket.socket(fileno=int(given))
    except (ValueError, OSError) as error:
        sys.exit(f"pgconductor: descriptor {given} (PGCONDUCTOR_FD) is not pgconductor's: {error}; the command starts this program through"
                 " another one that does not hand it on: have it start this one itself")


def _print_by_line() -> None:
    """stdout is a pipe to the log: lines are to come as they are printed, and none may raise for a character in it."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True, errors="backslashreplace")


def _run(sock: socket.socket, tasks: Sequence[Task[Any, Any]], concurrency: int, threads: int, credit: int | None,
         beat_ms: int, settings: list[dict[str, Any]]) -> None:
    session = begin(sock, tasks, concurrency, threads, credit, beat_ms, settings=settings)
    session.join()
    if session.error is not None:
        sys.exit(f"pgconductor: {session.error}")


def begin(sock: socket.socket, tasks: Sequence[Task[Any, Any]], concurrency: int, threads: int, credit: int | None = None,
          beat_ms: int = 0, main_thread: bool = True, settings: Sequence[dict[str, Any]] = ()) -> Session:
    """A session that serves these tasks. With main_thread, in which this is called then, it is over when this returns."""
    any_async = any(task.is_async for task in tasks)
    any_sync = not all(task.is_async for task in tasks)
    at_once = (concurrency if any_async else 0) + (max(1, threads) if any_sync else 0)
    session = Session(sock, tasks, concurrency=max(1, at_once), credit=credit or max(1, at_once), beat_ms=beat_ms, queues=settings)
    sync = Threads(session, threads) if any_sync else None
    loop = Loop(session, concurrency) if any_async else None
    session.start(sync, loop)
    # The main thread is for whom it matters most: sync functions, else the loop.
    work_sync = main_thread and not threads
    if sync is not None and not work_sync:
        sync.start()
    if loop is not None and (not main_thread or (sync is not None and work_sync)):
        loop.start()
    elif loop is not None:
        loop.work()
    if sync is not None and work_sync:
        sync.work()
    return session


# ---- started by hand


def _launch() -> NoReturn:
    """Become ``pgconductor run`` around this very program."""
    words = sys.orig_argv[1:]
    if not words or sys.argv[:1] in ([], [""], ["-"]):
        raise RuntimeError("serve: this program was not started from a file, so it cannot be started again")
    binary = os.environ.get("PGCONDUCTOR") or "pgconductor"
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    # Python ignores these, and what it ignores would stay ignored.
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvp(binary, [binary, "run", "--", sys.executable, *words])
    except FileNotFoundError:
        sys.stderr.write(NOT_FOUND.format(binary=binary))
    except OSError as error:
        sys.stderr.write(f"pgconductor: {binary}: {error.strerror}\n")
    sys.exit(EX_UNAVAILABLE)
