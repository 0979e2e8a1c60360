"""Kills of every kind under load, on two nodes: nothing is lost, nothing is finished twice, and whatever is run again
was cut off by a kill. Each kill is shown to have hit running work, or it does not count.

Times of coming back: a worker within 1 s, a dead node's shards with the other node within 5 s, work going on within
5 s of PostgreSQL's return.
"""

import os
import random
import signal
import statistics
import time

import psycopg
import pytest

from support import faults, processes
from support.faults import Book, Fault, Load
from support.wait import wait_for

WORKER_BACK = 1.0
TAKEN_OVER = 5.0
RESUMED = 5.0


class Arena:
    """Two nodes on a PostgreSQL of their own, under load, and what has been done to them."""

    def __init__(self, cluster, server, ledger, seed):
        self.cluster, self.start_server, self.ledger = cluster, server, ledger
        self.dsn = cluster.dsn("test")
        self.book = Book(ledger)
        self.dice = random.Random(seed)
        self.faults, self.times, self.hits = [], {}, {}
        self.nodes = {}
        for name in "ab":
            self.start(name)
        self.wait_balanced()
        self.load = Load(self.dsn, self.book, seed)

    def db(self):
        return self.cluster.connect("test")

    def start(self, name):
        self.nodes[name] = self.start_server(config=faults.configuration(self.ledger, name), dsn=self.dsn)

    def wait_balanced(self, timeout=30):
        with self.db() as conn:
            wait_for(lambda: sorted(faults.shares(conn).values()) == [2, 2], timeout, "the nodes share the shards")

    def wait_busy(self, **having):
        """Until several runs with these attributes are going on."""
        return wait_for(lambda: len(runs := self.book.live(**having)) >= 3 and runs, 20, f"work that has {having}")

    def took(self, kind, since, until=None):
        self.times.setdefault(kind, []).append((until or time.monotonic()) - since)

    def note(self, fault, victims):
        fault.hit = victims
        self.faults.append(fault)
        if victims:
            self.hits.setdefault(fault.kind, []).append(len(victims))
        return bool(victims)

    def kill(self, fault, pid):
        os.kill(pid, signal.SIGKILL)
        # Its end is what shows which runs it was in the middle of: they never end.
        wait_for(lambda: not processes.alive(pid), 10, f"{fault.kind} {pid} is gone", poll=0.002)
        fault.done()

    def cut_off(self, fault):
        return [r for r in self.book.running(**fault.whose) if r.start <= fault.finish]

    # One of each kind. Each returns whether it hit running work, once everything has recovered.

    def handler(self):
        name = self.dice.choice("ab")
        victim = self.dice.choice(self.wait_busy(node=name)).pid
        began = time.monotonic()
        fault = Fault("handler", counts=True, pid=victim)
        self.kill(fault, victim)
        wait_for(lambda: [r for r in self.book.since(fault.finish, node=name) if r.pid != victim], 10,
                 "another handler process runs jobs", poll=0.005)
        self.took("handler: another one runs jobs", began)
        return self.note(fault, self.cut_off(fault))

    def worker(self):
        name = self.dice.choice("ab")
        server = self.nodes[name]
        self.wait_busy(node=name)
        victim = server.worker()
        began = time.monotonic()
        fault = Fault("worker", counts=True, worker=victim)
        handlers = processes.children_of(victim)
        self.kill(fault, victim)
        wait_for(lambda: server.workers().get("default", victim) != victim, 10, "another worker", poll=0.002)
        self.took("worker: another one is there", began)
        wait_for(lambda: [r for r in self.book.since(fault.finish, node=name) if r.worker != victim], 10,
                 "another worker's handlers run jobs", poll=0.005)
        self.took("worker: another one runs jobs", began)
        # Until then they may begin what they have been sent.
        wait_for(lambda: not any(processes.alive(p) for p in handlers), 5, "its handlers died with it")
        fault.done()
        return self.note(fault, self.cut_off(fault))

    def master(self):
        name = self.dice.choice("ab")
        server = self.nodes[name]
        self.wait_busy(node=name)
        tree = server.tree()
        with self.db() as conn:
            other = faults.node_id(conn, self.nodes["b" if name == "a" else "a"].pid)
            began = time.monotonic()
            fault = Fault("master", worker=server.worker())
            server.kill9()
            wait_for(lambda: faults.shares(conn).get(other) == 4, 30, "the other node has all shards", poll=0.01)
        self.took("master: shards taken over", began)
        wait_for(lambda: not any(processes.alive(p) for p in tree), 5, "its workers and handlers died with it")
        fault.done()
        self.start(name)
        self.wait_balanced()
        return self.note(fault, self.cut_off(fault))

    def _postgres(self, kind, stop):
        for name in "ab":
            self.wait_busy(node=name)
        fault = Fault(kind, counts=False)
        victims = self.book.live()
        stop()
        self.cluster.start()
        back, back_ns = time.monotonic(), time.time_ns()
        fault.done()
        self.wait_resumed(back, back_ns, f"{kind}: work goes on after its return")
        return self.note(fault, victims)

    def wait_resumed(self, back, back_ns, what):
        """Both nodes start jobs and write outcomes again."""
        with self.db() as conn:
            ids = [faults.node_id(conn, self.nodes[name].pid) for name in "ab"]

            def going_on():
                rows = conn.execute("select count(distinct node) from pgconductor.finished_executions"
                                    " where node = any (%s) and finished_at > to_timestamp(%s)",
                                    (ids, back_ns / 1e9)).fetchone()
                return rows == (2,) and all(self.book.since(back_ns, node=name) for name in "ab")
            wait_for(going_on, 30, "both nodes go on", poll=0.01)
        self.took(what, back)
        self.wait_balanced()

    def postgres(self):
        return self._postgres("postgres killed", self.cluster.kill9)

    def immediate(self):
        return self._postgres("postgres stopped immediately", lambda: self.cluster.stop("immediate"))

    def backend(self):
        """One backend dies, and PostgreSQL recovers under the same postmaster."""
        for name in "ab":
            self.wait_busy(node=name)
        witness = self.db()
        pids = [r[0] for r in witness.execute("select pid from pg_stat_activity where datname = 'test'"
                                              " and application_name like 'pgconductor %'").fetchall()]
        fault = Fault("backend killed", counts=False)
        victims = self.book.live()
        self.cluster.crash_backend(self.dice.choice(pids))
        # Every session ends before the recovery begins.
        wait_for(lambda: not self.answers(witness), 30, "all sessions end", poll=0.005)
        wait_for(self.answers, 30, "PostgreSQL answers again", poll=0.01)
        back, back_ns = time.monotonic(), time.time_ns()
        fault.done()
        self.wait_resumed(back, back_ns, "backend killed: work goes on after the recovery")
        return self.note(fault, victims)

    def answers(self, conn=None):
        try:
            (conn or self.db()).execute("select 1").fetchone()
            return True
        except psycopg.OperationalError:
            return False

    def report(self, again):
        lines = [f"{len(self.load.ids)} jobs, {sum(again.values())} runs again"]
        lines += [f"{kind}: {len(n)} times, {sum(n)} runs hit; run again {again[kind, False]} that were cut off,"
                  f" {again[kind, True]} that had just ended" for kind, n in sorted(self.hits.items())]
        lines += [f"{what}: median {statistics.median(t) * 1000:.0f} ms, longest {max(t) * 1000:.0f} ms, {len(t)} times"
                  for what, t in sorted(self.times.items())]
        return "\n".join(lines)


KINDS = ("handler", "worker", "master", "postgres", "immediate", "backend")


@pytest.fixture
def arena(own_cluster, server, ledger, seed):
    return Arena(own_cluster(), server, ledger, seed)


def test_kills_of_every_kind(arena, scale, seed, capsys):
    todo = [kind for kind in KINDS for _ in range(scale(2, 20))]
    arena.dice.shuffle(todo)
    with arena.load:
        while todo:
            # One that came between two jobs proves nothing, and is repeated.
            if getattr(arena, todo[-1])():
                todo.pop()
    with arena.db() as conn:
        faults.wait_finished(conn)
        again = faults.check(conn, arena.book, arena.load, arena.faults)
    faults.say(capsys, seed, arena.report(again))
    for kind, hits in arena.hits.items():
        assert again[kind, False] <= sum(hits), f"{kind}: {again[kind, False]} runs again, {sum(hits)} were hit"
    assert max(arena.times["worker: another one is there"]) <= WORKER_BACK
    assert max(arena.times["master: shards taken over"]) <= TAKEN_OVER
    for kind in ("postgres killed", "postgres stopped immediately"):
        assert max(arena.times[f"{kind}: work goes on after its return"]) <= RESUMED
