"""A plugin of pytest, there as soon as the package is installed: the fixture `pgconductor`, a server for a test alone.

    def test_an_order(pgconductor):
        pgconductor.serve(order, ship)                  # run in this very process: what is patched is patched
        id = pgconductor.invoke(order, Order("apple"))
        pgconductor.drain()                             # it sleeps now, and nothing else goes on
        pgconductor.advance("2d")
        assert pgconductor.wait(id, task=order) == "delivered"

It needs the program `pgconductor`, PostgreSQL's programs, and psycopg 3. One PostgreSQL is started for all tests of a run, in a
temporary directory; each test has a database of its own in it, and is done with it at its end.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, TypeVar, overload

import pytest

from ._client import Client
from ._duration import Duration, seconds
from ._serve import NOT_FOUND, begin
from ._task import P, Payload, R, Task, defined

T = TypeVar("T")
START, STOP = 30.0, 2.0
TEMPLATE = "pgconductor_template"
PR_SET_PDEATHSIG = 1

# What goes on by itself; what waits for the clock, and until when; what waits for something that nobody does.
LEFT = """
select count(*) filter (where (state in ('ready', 'running') and coalesce(waiting, '') not in ('unserved', 'paused', 'window'))
            or (state in ('delayed', 'suspended') and run_at <= pgconductor.now())) > 0
        or exists (select from pgconductor.wakes) or coalesce(pgconductor.events_due(), false)
        or exists (select from pgconductor.schedules where enabled and next_at <= pgconductor.now()),
    min(run_at) filter (where state in ('delayed', 'suspended') and run_at > pgconductor.now()),
    string_agg(distinct task, ', ') filter (where waiting = 'unserved')
from pgconductor.executions_all where finished_at is null
"""


class Conductor(Client):
    """A server, and a client of it. See Client for what it does besides."""

    def __init__(self, url: str, directory: str) -> None:
        super().__init__(url)
        self.url = url
        """Of the database, for connections of the test's own."""
        self.log_path = f"{directory}/server.log"
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self._listener: socket.socket | None = None
        self._served: list[threading.Thread] = []

    # ---- the server

    def serve(self, *tasks: Task[Any, Any], threads: int = 1, concurrency: int = 100, config: str = "") -> None:
        """Serve these tasks, or all that are defined, in threads of this process, until the test is over. Once: again, and
        others are served instead.

        Sync functions run in so many ``threads``, async ones up to ``concurrency`` at a time on a loop of their own. ``config`` is
        text for the server's configuration file.
        """
        wanted = list(tasks) or list(defined())
        if not wanted:
            raise ValueError("serve: no tasks are defined")
        self.stop()
        path = f"{self._directory}/socket"
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen(100)
        threading.Thread(target=self._accept, args=(self._listener, wanted, concurrency, threads), daemon=True).start()
        with open(f"{self._directory}/pgconductor.conf", "w", encoding="utf-8") as file:
            file.write(config)
        relay = os.path.join(os.path.dirname(os.path.abspath(__file__)), "_relay.py")
        self._process = _start(["run", "--db", self.url, "-c", file.name, "--", sys.executable, "-I", relay, path],
                               self._directory, self.log_path)
        _run("ready", "--db", self.url, "--timeout", f"{START:g}s", *(task.name for task in wanted), log=self.log_path)

    def _accept(self, listener: socket.socket, tasks: list[Task[Any, Any]], concurrency: int, threads: int) -> None:
        while True:
            try:
                relay, _ = listener.accept()
            except OSError:
                return
            one = threading.Thread(target=self._work, args=(relay, tasks, concurrency, threads), daemon=True)
            self._served.append(one)
            one.start()

    def _work(self, relay: socket.socket, tasks: list[Task[Any, Any]], concurrency: int, threads: int) -> None:
        """One session with a worker; or with who asks what there is to serve, of no queue."""
        with relay:
            queue, descriptors, _, _ = socket.recv_fds(relay, 100, 1)
            if descriptors:
                mine = [task for task in tasks if queue in (b"\0", task.home.encode())]
                begin(socket.socket(fileno=descriptors[0]), mine, concurrency, threads, main_thread=False).join()

    def stop(self) -> None:
        """Stop the server, once what is running has ended; what runs for longer than some seconds is left to itself."""
        if self._process is not None:
            _stop(self._process)
            self._process = None
        if self._listener is not None:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            os.unlink(f"{self._directory}/socket")
            self._listener = None
        for thread in self._served:
            thread.join(STOP)
        self._served.clear()

    @property
    def log(self) -> str:
        """What the server has said so far."""
        if not os.path.exists(self.log_path):
            return ""
        with open(self.log_path, encoding="utf-8", errors="replace") as file:
            return file.read()

    # ---- what it does

    @overload
    def run(self, task: Task[P, R], payload: Payload[P], *, timeout: Duration = 10) -> R: ...
    @overload
    def run(self, task: Task[None, R], payload: None = None, *, timeout: Duration = 10) -> R: ...
    @overload
    def run(self, task: str, payload: Any = None, *, timeout: Duration = 10) -> Any: ...
    def run(self, task: Any, payload: Any = None, *, timeout: Duration = 10) -> Any:
        """Invoke a task and wait for what it returns. ExecutionFailed if it failed; TimeoutError."""
        id = self.invoke(task, payload)
        return self.wait(id, timeout, task=task) if isinstance(task, Task) else self.wait(id, timeout)

    def drain(self, *, timeout: Duration = 10, skip_waits: bool = False) -> None:
        """Wait until nothing goes on by itself: all executions have finished, or wait for an event, or for a time that has
        not come. TimeoutError.

        With ``skip_waits`` the clock is put forward to each of those times, the nearest first, until nothing waits for one.
        """
        until = time.monotonic() + seconds(timeout)
        while True:
            goes_on, next_at, unserved = self._query(LEFT)
            if not goes_on and not unserved:
                if next_at is None or not skip_waits:
                    return
                self.set_now(next_at)
            elif time.monotonic() >= until:
                raise TimeoutError(f"drain: not within {seconds(timeout):g} s" +
                                   (f"; nobody serves {unserved}" if unserved else f": {self._unfinished()}"))
            else:
                time.sleep(0.01)

    def _unfinished(self) -> str:
        rows: str = self._query("select string_agg(format('%%s %%s %%s', task, id, state), ', ' order by id)"
                                " from pgconductor.executions_all where finished_at is null")[0]
        return rows

    # ---- the clock

    def now(self) -> datetime:
        """What time it is for the server."""
        moment: datetime = self._query("select pgconductor.now()")[0]
        return moment

    def advance(self, duration: Duration) -> None:
        """Put the server's clock forward: what sleeps or is delayed for no longer goes on. Python's own clock stays."""
        self._query("select pgconductor.fake_now(pgconductor.now() + %s * interval '1 s')", seconds(duration))

    def set_now(self, moment: datetime) -> None:
        """Set the server's clock; time goes on from there."""
        self._query("select pgconductor.fake_now(%s)", moment)

    def _query(self, sql: str, *parameters: Any) -> Any:
        return self._connection().execute(sql, parameters).fetchone()


# ---- fixtures


@pytest.fixture(scope="session")
def pgconductor_postgres() -> Iterator[str]:
    """The URL of a PostgreSQL in a temporary directory, that of `pgconductor dev`. Where a test run has one already, a fixture
    of this name in conftest.py may give its URL instead."""
    with tempfile.TemporaryDirectory(prefix="pgconductor-") as directory:
        # As root PostgreSQL is another user's.
        os.chmod(directory, 0o711 if os.geteuid() == 0 else 0o700)
        # It wants something to serve, which nobody invokes: what tests do they do in other databases.
        with open(f"{directory}/dev.conf", "w", encoding="ascii") as file:
            file.write('task "nothing" { exec = "true" }\n')
        process = _start(["dev", "-c", file.name], directory, f"{directory}/dev.log")
        try:
            url = _until(lambda: _dev_url(process, directory), "PostgreSQL is up")
            with _connect(url) as conn:
                for setting in ("fsync", "full_page_writes", "synchronous_commit"):
                    conn.execute(f"alter system set {setting} = off")
                conn.execute("select pg_reload_conf()")
            yield url
        finally:
            _stop(process)


@pytest.fixture(scope="session")
def pgconductor_prepare() -> Callable[[str], None]:
    """To be given in conftest.py: a function of a URL, called once, that makes the tables which every test's database is to have."""
    return lambda url: None


@pytest.fixture(scope="session")
def pgconductor_template(pgconductor_postgres: str, pgconductor_prepare: Callable[[str], None]) -> str:
    """The name of the database that those of the tests are copies of."""
    name = f"{TEMPLATE}_{os.getpid()}"
    with _connect(pgconductor_postgres) as conn:
        conn.execute(f"create database {name}")
    url = _url(pgconductor_postgres, name)
    _run("migrate", "--db", url)
    pgconductor_prepare(url)
    return name


_numbers = iter(range(1, 1 << 30))


@pytest.fixture
def pgconductor(request: pytest.FixtureRequest, pgconductor_postgres: str, pgconductor_template: str) -> Iterator[Conductor]:
    """A database that has the schema of pgconductor, and a server that is started by its serve()."""
    name = f"pgconductor_{os.getpid()}_{next(_numbers)}"
    with _connect(pgconductor_postgres) as conn:
        conn.execute(f"create database {name} template {pgconductor_template}")
    directory = tempfile.mkdtemp(prefix="pgconductor-")
    made = Conductor(_url(pgconductor_postgres, name), directory)
    request.node.stash[_made] = made
    try:
        yield made
    finally:
        made.stop()
        made.close()
        with _connect(pgconductor_postgres) as conn:
            conn.execute(f"drop database {name} with (force)")
        shutil.rmtree(directory)


_made = pytest.StashKey[Conductor]()


def pytest_exception_interact(node: pytest.Item | pytest.Collector, report: pytest.CollectReport | pytest.TestReport) -> None:
    """The server's log stands with a failure."""
    made = node.stash.get(_made, None)
    if made is not None and made.log:
        report.sections.append(("log of pgconductor", made.log[-20000:]))


# ---- processes and databases


def _binary() -> str:
    return os.environ.get("PGCONDUCTOR") or "pgconductor"


def _start(words: list[str], directory: str, log: str) -> subprocess.Popen[bytes]:
    """Start pgconductor; it ends with this process, however that ends."""
    libc = ctypes.CDLL(None)
    try:
        with open(log, "ab") as file:
            return subprocess.Popen([_binary(), *words], cwd=directory, stdin=subprocess.DEVNULL, stdout=file, stderr=file,
                                    start_new_session=True,
                                    preexec_fn=lambda: libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0))
    except FileNotFoundError:
        pytest.fail(NOT_FOUND.format(binary=_binary()), pytrace=False)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Let it end what it does; then not."""
    for how in (signal.SIGTERM, signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None:
            process.send_signal(how)
            try:
                process.wait(STOP)
            except subprocess.TimeoutExpired:
                continue


def _run(*words: str, log: str | None = None) -> None:
    done = subprocess.run([_binary(), *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        pytest.fail(f"pgconductor {words[0]}: exit status {done.returncode}: {done.stdout}" +
                    (open(log, encoding="utf-8").read() if log else ""), pytrace=False)


def _dev_url(process: subprocess.Popen[bytes], directory: str) -> str | None:
    with open(f"{directory}/dev.log", encoding="utf-8", errors="replace") as file:
        said = file.read()
    for line in said.splitlines():
        if line.startswith("database: "):
            return line.removeprefix("database: ")
    if process.poll() is not None:
        pytest.fail(f"pgconductor dev has ended with {process.returncode}: {said}", pytrace=False)
    return None


def _until(look: Callable[[], T | None], what: str) -> T:
    until = time.monotonic() + 2 * START
    while (found := look()) is None:
        if time.monotonic() > until:
            pytest.fail(f"not within {2 * START:g} s: {what}", pytrace=False)
        time.sleep(0.02)
    return found


def _connect(url: str) -> Any:
    import psycopg
    return psycopg.connect(url, autocommit=True)


def _url(url: str, database: str) -> str:
    from psycopg.conninfo import make_conninfo
    return make_conninfo(url, dbname=database)
