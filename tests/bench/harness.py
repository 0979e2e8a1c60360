"""What the rows of the benchmark share: the cluster, fresh databases, jobs, a server with the no-op handler, counting."""

import json
import mmap
import os
import struct
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))

from support import paths, processes  # noqa: E402
from support.cluster import Cluster  # noqa: E402
from support.server import Server, clean_environment, run_cli  # noqa: E402
from support.wait import wait_for  # noqa: E402

JOBS = int(os.environ.get("PGC_BENCH_JOBS", "200000"))
ROUNDS = int(os.environ.get("PGC_BENCH_ROUNDS", "3"))
CONCURRENCY = 500
QUEUE_OPTIONS = f"concurrency = {CONCURRENCY}  credit = {CONCURRENCY}"
# 200 bytes as stored.
PAYLOAD = json.dumps({"pad": "x" * 189})
assert len(PAYLOAD) == 200


def median(values):
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def percentile(values, p):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * p / 100))]


def taken_by_others(seconds=2):
    """Percent of the processors' time that is in use while the benchmark itself does nothing."""
    def sample():
        with open("/proc/stat", encoding="ascii") as file:
            fields = [int(f) for f in file.readline().split()[1:9]]
        return sum(fields), fields[3] + fields[4]
    total, idle = sample()
    time.sleep(seconds)
    total2, idle2 = sample()
    return 100 * (1 - (idle2 - idle) / (total2 - total))


def quantity(n):
    return f"{n:,.0f}"


class Counter:
    """A page shared with the handlers: jobs run, time of the first in ns since 1970, number of samples, samples in ns."""

    SIZE = 1 << 20

    def __init__(self, directory, name="counter"):
        self.path = os.path.join(directory, name)
        with open(self.path, "wb") as file:
            file.truncate(self.SIZE)
        os.chmod(self.path, 0o666)
        with open(self.path, "r+b") as file:
            self.map = mmap.mmap(file.fileno(), self.SIZE)

    def _word(self, index):
        return struct.unpack_from("<Q", self.map, 8 * index)[0]

    @property
    def jobs(self):
        return self._word(0)

    @property
    def first(self):
        return self._word(1) / 1e9

    def samples(self):
        return [self._word(3 + i) for i in range(self._word(2))]

    def clear(self):
        self.map[:] = bytes(self.SIZE)


class Bench:
    """The cluster with PostgreSQL's default settings, fsync on, and a template database with the schema."""

    def __init__(self):
        self.results = []
        self.number = 0
        self.databases = []
        self.servers = 0

    def __enter__(self):
        parent = os.environ.get("PGC_BENCH_DIR") or None
        self.cluster = Cluster(settings={"timezone": "UTC", "log_timezone": "UTC"}, parent=parent).start()
        self.tmp = tempfile.mkdtemp(prefix="bench-", dir=self.cluster.dir)
        os.chmod(self.cluster.dir, 0o755)
        self.cluster.create_database("bench_template")
        self.install(self.cluster.dsn("bench_template"))
        return self

    def __exit__(self, *exc):
        self.cluster.remove()

    @staticmethod
    def install(dsn):
        if os.path.exists(paths.PGCONDUCTOR):
            run_cli("migrate", dsn=dsn, check=True)
            return
        text = subprocess.run([f"{paths.SRC}/scripts/print-sql"], stdout=subprocess.PIPE, check=True).stdout
        subprocess.run(["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", dsn], input=text, check=True,
                       stdout=subprocess.DEVNULL, env=clean_environment())

    def database(self, template="bench_template", keep=()):
        """A fresh copy of the template; returns its name. Those made before are dropped, but for those to keep."""
        for old in [name for name in self.databases if name not in keep]:
            self.cluster.drop_database(old)
            self.databases.remove(old)
        self.number += 1
        name = f"b{self.number}"
        self.cluster.create_database(name, template)
        self.databases.append(name)
        return name

    def connect(self, name):
        return self.cluster.connect(name)

    def declare(self, conn, task="noop", history=True, queue=None):
        options = {} if history else {"remove_on_complete": 0}
        conn.execute("select pgconductor.declare_task(%s, %s, %s)", (task, queue, json.dumps(options)))

    def fill(self, conn, jobs, batch=1000, task="noop", **options):
        """Invoke so many jobs through invoke_batch, the way a client would."""
        def items(n):
            return json.dumps([{"payload": json.loads(PAYLOAD)} | options] * n)
        full = items(batch)
        while jobs > 0:
            n = min(batch, jobs)
            conn.execute("select pgconductor.invoke_batch(%s, %s)", (task, full if n == batch else items(n)))
            jobs -= n

    def server(self, dbname, config, **options):
        self.servers += 1
        log = os.path.join(self.tmp, f"server{self.servers}.log")
        return Server(self.cluster.dsn(dbname), log, config=config, cwd=self.tmp, **options)

    def noop_config(self, counter, together=0):
        """Default settings but for the queue's concurrency and credit. together: so many in one call."""
        handler = paths.built("tests/bench/noop_handler")
        return self.handler_config([handler, "-c", CONCURRENCY, *(["-b", together] if together else []), counter.path])

    @staticmethod
    def handler_config(command, env=()):
        words = ", ".join(f'"{word}"' for word in command)
        settings = ", ".join(f'"{setting}"' for setting in env)
        return (f'queue "default" {{ {QUEUE_OPTIONS}  handler = "noop" }}\n'
                f'handler "noop" {{ command = {{{words}}}{f"  env = {{{settings}}}" if env else ""} }}\n')

    def ceiling(self, dbname, jobs, history):
        """Run the SQL-only ceiling over what is ready in a database; jobs per second."""
        argv = [paths.built("tests/bench/ceiling"), *(["-k"] if history else []), self.cluster.dsn(dbname), str(jobs)]
        done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True, env=clean_environment())
        result = json.loads(done.stdout)
        assert result["jobs"] == jobs, result
        return result["rate"]

    def report(self, row, what, ratio, target, at_least=True, detail="", unit=""):
        """One figure: a ratio (or a value with its unit) against its target."""
        ok = ratio >= target if at_least else ratio <= target
        sign = "≥" if at_least else "≤"
        print(f"{'ok  ' if ok else 'MISS'} {row:<9} {what:<58} {ratio:8.2f}{unit:<4} {sign} {target:g}{unit:<4}   {detail}",
              flush=True)
        self.results.append((row, what, ratio, target, ok))

    def note(self, text):
        print(f"     {text}", flush=True)


def wait_all_run(counter, jobs, server, timeout=300):
    """Wait until the handlers have run so many jobs; the server must stay up."""
    def done():
        if not server.running():
            raise RuntimeError(f"the server ended with {server.process.returncode}:\n{server.log[-4000:]}")
        return counter.jobs >= jobs
    wait_for(done, timeout, f"{jobs} jobs were run", poll=0.002)


def wait_true(conn, query, timeout=60):
    """Wait until a query says true; returns the time it did."""
    wait_for(lambda: conn.execute(query).fetchone()[0], timeout, query, poll=0.001)
    return time.time()


def wait_empty(conn):
    """Wait until nothing is unfinished. By the primary key: a scan of the table would meet every dead row each time."""
    conn.execute("set enable_seqscan = off")
    return wait_true(conn, "select not exists (select from pgconductor.executions order by id limit 1)")


def wait_serving(conn, server, timeout=30):
    """Wait until the server's node says what it serves."""
    def ready():
        if not server.running():
            raise RuntimeError(f"the server ended with {server.process.returncode}:\n{server.log[-4000:]}")
        row = conn.execute("select serves <> '{}' from pgconductor.nodes where pid = %s", (server.pid,)).fetchone()
        return row and row[0]
    wait_for(ready, timeout, "the node serves its tasks")
