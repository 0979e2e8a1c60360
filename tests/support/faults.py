"""What the fault tests share: a load, the ledger as it grows, and the checker that compares it with the database."""

import collections
import json
import os
import random
import sys
import threading
import time

import psycopg

from . import processes
from .paths import SRC
from .wait import wait_for

# An outcome that is older than this when something is killed has been written. Generous: the machine may be busy.
SETTLED_WITHIN = 2_000_000_000
HANDLER = f"{SRC}/tests/support/fault_handler.py"


def configuration(ledger, node, concurrency=8, processes=1, shards=4, top="", queue=""):
    """One queue, one long-lived program; an attempt that was cut off goes again almost at once."""
    env = f'"FAULT_LEDGER={ledger.path}", "FAULT_NODE={node}", "FAULT_CONCURRENCY={concurrency}"'
    return f"""
{top}
queue "default" {{ handler = "fault" concurrency = {concurrency * processes + 4} processes = {processes} shards = {shards} {queue} }}
handler "fault" {{ command = {{ "{sys.executable}", "{HANDLER}" }} env = {{ {env} }} }}
task "work" {{ handler = "fault" max_attempts = 1000 backoff = "20ms" }}
task "kill_node" {{ handler = "fault" max_attempts = 3 backoff = "20ms" }}
task "echo" {{ handler = "fault" max_attempts = 1 }}
task "sized" {{ handler = "fault" max_attempts = 3 backoff = "20ms" }}
"""


class Run:
    """One start in the ledger, and its end if it had one. Times are nanoseconds since 1970."""
    __slots__ = ("id", "attempt", "pid", "worker", "node", "name", "start", "end", "failed")

    def __init__(self, entry):
        self.node, worker, self.name = entry["rest"].split()
        self.id, self.attempt, self.pid, self.worker = entry["id"], entry["attempt"], entry["pid"], int(worker)
        self.start, self.end, self.failed = entry["ns"], None, False

    def __repr__(self):
        end = f"+{(self.end - self.start) // 1000000} ms" if self.end else "never ended"
        return f"<{self.id} attempt {self.attempt} on {self.node} by {self.pid} at {self.start} {end}>"


class Book:
    """The ledger, read on as it grows."""

    def __init__(self, ledger):
        self.path = ledger.path
        self.offset = 0
        self.runs = {}
        self.of = collections.defaultdict(list)
        self.ended = 0
        self.lock = threading.Lock()

    def read(self):
        with self.lock, open(self.path, "rb") as file:
            file.seek(self.offset)
            data = file.read()
            data = data[:data.rfind(b"\n") + 1]
            self.offset += len(data)
            for line in data.decode().splitlines():
                self._line(line)
        return self

    def _line(self, line):
        ns, pid, kind, which, attempt, rest = line.split(" ", 5)
        if kind == "start":
            run = Run({"ns": int(ns), "pid": int(pid), "id": int(which), "attempt": int(attempt), "rest": rest})
            self.runs[run.name] = run
            self.of[run.id].append(run)
        else:
            run = self.runs[rest.split()[2]]
            run.end, run.failed = int(ns), kind == "fail"
            self.ended += 1

    def running(self, **having):
        """Runs that started and have not ended, with these attributes."""
        self.read()
        return [r for r in list(self.runs.values())
                if r.end is None and all(getattr(r, k) == v for k, v in having.items())]

    def live(self, **having):
        """Those of them whose process is there."""
        here = {}
        return [r for r in self.running(**having) if here.setdefault(r.pid, processes.alive(r.pid))]

    def since(self, ns, **having):
        """Runs that began later."""
        self.read()
        return [r for r in list(self.runs.values())
                if r.start > ns and all(getattr(r, k) == v for k, v in having.items())]


class Fault:
    """Something that was broken: between which times, and whose runs it may have cut off (None: anybody's).

    counts: does what it cut off lose an attempt? None: that depends. alive: what it cut off from the database may go on
    for a while, beside its repetition or even after it.
    """

    def __init__(self, kind, counts=None, alive=False, **whose):
        self.kind, self.whose, self.counts, self.alive = kind, whose, counts, alive
        self.begin = time.time_ns()
        self.finish = None
        self.hit = []

    def done(self):
        self.finish = time.time_ns()
        return self

    def _hit(self, run):
        return run.start <= (self.finish or self.begin) and all(getattr(run, k) == v for k, v in self.whose.items())

    def explains(self, former, later):
        """May the one run have been cut off by this, and the other one be its repetition?"""
        return self.begin <= later.start and (self._hit(former) or self.alive and self._hit(later))

    def __repr__(self):
        return f"<{self.kind} at {self.begin} of {self.whose or 'everybody'}, hit {len(self.hit)}>"


class Load:
    """Keeps a backlog of jobs, in batches and in transactions that stay open for a while or are rolled back; fails: the
    share of those that fail once or twice before they succeed.

    What it has committed stands in ids; a commit whose answer was lost stands in unknown, by its mark in the payload,
    and may or may not have happened.
    """

    def __init__(self, dsn, book, seed, backlog=150, ms=200, batch=40, fails=0.0):
        self.dsn, self.book, self.backlog, self.ms, self.batch = dsn, book, backlog, ms, batch
        self.fails = fails
        self.random = random.Random(seed)
        self.ids, self.unknown, self.undone = set(), set(), set()
        self.marks = iter(range(1 << 40))
        self.lock = threading.Lock()
        self.stopping = threading.Event()
        self.error = None
        self.threads = [threading.Thread(target=self._loop, args=(f, random.Random(f"{seed} {f.__name__}")), daemon=True)
                        for f in (self._batches, self._slow)]

    def __enter__(self):
        with psycopg.connect(self.dsn, autocommit=True) as conn:
            wait_for(lambda: conn.execute("select 1 from pgconductor.tasks where name = 'work'").fetchone(), 20, "its task is declared")
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *exc):
        self.stop()

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join(60)
            assert not thread.is_alive(), "the load does not end"
        if self.error:
            raise self.error

    def _loop(self, step, dice):
        conn = None
        while not self.stopping.is_set():
            try:
                if conn is None or conn.closed:
                    conn = psycopg.connect(self.dsn, autocommit=True)
                step(conn, dice)
            except psycopg.OperationalError:
                if conn is not None:
                    conn.close()
                conn = None
                self.stopping.wait(0.05)
            except Exception as error:  # shown by stop()
                self.error = error
                return
        if conn is not None:
            conn.close()

    def item(self, dice, mark):
        payload = {"ms": dice.randint(0, self.ms), "mark": mark}
        if dice.random() < self.fails:
            payload["fails"] = dice.randint(1, 2)
        item = {"payload": payload}
        if dice.random() < 0.1:
            item["priority"] = dice.choice((-1, 1))
        if dice.random() < 0.1:
            item["delay"] = f"{dice.randint(1, 300)} ms"
        return item

    def add(self, conn, dice, n):
        """Invoke n jobs in one batch."""
        mark = next(self.marks)
        items = json.dumps([self.item(dice, mark) for _ in range(n)])
        with self.lock:
            self.unknown.add(mark)
        ids = conn.execute("select pgconductor.invoke_batch(%s, %s)", ("work", items)).fetchone()[0]
        assert len(ids) == n
        with self.lock:
            self.unknown.discard(mark)
            self.ids.update(ids)

    def _batches(self, conn, dice):
        self.book.read()
        if len(self.ids) - len(self.book.of) > self.backlog:
            self.stopping.wait(0.02)
            return
        self.add(conn, dice, self.batch)

    def _slow(self, conn, dice):
        """A transaction that makes its rows ready with an xid below those of others, but commits after them."""
        mark = next(self.marks)
        commit = dice.random() < 0.7
        with self.lock:
            (self.unknown if commit else self.undone).add(mark)
        ids = []
        conn.execute("begin")
        for _ in range(dice.randint(1, 3)):
            text = json.dumps(self.item(dice, mark)["payload"])
            ids.append(conn.execute("select pgconductor.invoke(%s, %s)", ("work", text)).fetchone()[0])
            self.stopping.wait(dice.random() * 0.2)
        conn.execute("commit" if commit else "rollback")
        if commit:
            with self.lock:
                self.unknown.discard(mark)
                self.ids.update(ids)


def say(capsys, seed, text):
    """Figures for the log of the test run."""
    with capsys.disabled():
        print(f"\nPGC_SEED={seed}\n{text}")


def wait_finished(conn, timeout=60):
    def look():
        left = conn.execute("select count(*), count(ready_xid), min(shard), string_agg(distinct waiting, ' '),"
                            " min(attempt), max(attempt) from pgconductor.executions").fetchone()
        assert left[0] == 0, f"{left} are left (count, ready, a shard, waiting for, attempts)"
        return True
    wait_for(look, timeout, "everything is finished", poll=0.1)


def shares(conn, queue="default"):
    """Node -> number of shards, of those whose lock is held by that node's writer: who really may write."""
    rows = conn.execute("""
        select s.owner, count(*) from pgconductor.shards s
        join pg_locks l on l.locktype = 'advisory' and l.classid = 1346847490 and l.objid = s.id::oid and l.granted
        join pgconductor.live_nodes() n on n.node = s.owner and n.pid = l.pid
        where s.queue = %s and l.database = (select oid from pg_database where datname = current_database())
        group by 1""", (queue,)).fetchall()
    return dict(rows)


def wait_even(conn, nodes, shards=4, timeout=30):
    """Until the nodes with these masters share all shards evenly."""
    def even():
        ids = {node_id(conn, server.pid) for server in nodes}
        have = shares(conn)
        assert set(have) == ids and sum(have.values()) == shards, have
        assert max(have.values()) - min(have.values()) <= 1, have
        return True
    wait_for(even, timeout, f"{len(nodes)} nodes share {shards} shards evenly")


def node_id(conn, pid):
    """The node of a master, by its pid."""
    return conn.execute("select max(id) from pgconductor.nodes where pid = %s", (pid,)).fetchone()[0]


def check(conn, book, load, faults, besides=(), cancelled=()):
    """Compare the ledger with the database. Returns the number of repetitions, by (kind of the fault, had it ended).

    Nothing is lost and nothing is there that was not committed; each execution was finished once, with the result of a
    run that did end; each repetition is explained by a fault of its own that hit the run before it. besides: ids that
    are looked at elsewhere; cancelled: ids that may have been cancelled instead.
    """
    book.read()
    rows = conn.execute("select id, state, attempt, result->>'run', (payload->>'mark')::bigint"
                        " from pgconductor.finished_executions where not id = any (%s)", (list(besides),)).fetchall()
    assert conn.execute("select count(*) from pgconductor.executions").fetchone() == (0,)
    assert conn.execute("select count(*) from pgconductor.running").fetchone() == (0,)
    counts = collections.Counter(row[0] for row in rows)
    done = set(counts)
    assert not load.ids - done, f"lost: {sorted(load.ids - done)[:10]}"
    twice = [i for i, n in counts.items() if n != 1]
    assert not twice, f"finished more than once: {[(i, book.of[i], [r for r in rows if r[0] == i]) for i in twice[:5]]}"
    strangers = [row for row in rows if row[0] not in load.ids and row[4] not in load.unknown]
    assert not strangers, f"never committed: {strangers[:10]}"
    unknown = set(book.of) - done - set(besides)
    assert not unknown, f"run, but not in the database: {sorted(unknown)[:10]}"
    for execution, state, attempt, name, _ in rows:
        if state == "cancelled" and execution in cancelled:
            continue
        run = book.runs.get(name)
        assert state == "completed", f"{execution} has {state}"
        assert run is not None and run.id == execution and run.end is not None and not run.failed, \
            f"{execution}: the result is of {name}, {run}: {book.of[execution]}"
        assert run.attempt == attempt, f"{execution}: attempt {attempt} in the database, {run}"
    again, over = collections.Counter(), []
    for execution, runs in book.of.items():
        if execution in besides:
            continue
        runs.sort(key=lambda r: r.start)
        left = sorted(faults, key=lambda f: f.begin)
        for former, later in zip(runs, runs[1:]):
            if former.failed and former.attempt + 1 == later.attempt and former.end < later.start:
                continue
            # A repetition is written down before it is dispatched: a fault in between costs an attempt that no handler saw.
            unseen = later.attempt - former.attempt - 1
            between = [f for f in left if former.failed and former.end <= (f.finish or f.begin) and f.begin <= later.start]
            if 0 < unseen <= len(between) and former.end < later.start:
                for fault in between[:unseen]:
                    left.remove(fault)
                continue
            fault = next((f for f in left if f.explains(former, later)), None)
            assert fault, f"{execution} was run again without a cause: {former} {later}; faults {left}"
            left.remove(fault)
            again[fault.kind, former.end is not None] += 1
            if former.end is not None:
                assert fault.begin - former.end < SETTLED_WITHIN, f"{former} had long ended at {fault}: {later}"
            # What was handed to a handler and cut off before it could write that down has cost an attempt, too.
            most = sum(f.counts is not False and former.start <= f.finish and f.begin <= later.start for f in faults)
            assert fault.alive or int(fault.counts is True) <= later.attempt - former.attempt <= max(most, 1), \
                f"attempts: {former} {fault} {later}"
            if former.end is not None and former.end > later.start and not fault.alive:
                over.append((former, later, fault))
    assert not over, f"ran twice at the same time: {over[:5]}"
    return again
