"""Everything at once: faults of every kind, on three nodes, without waiting for one to be over before the next. Afterwards
nothing is lost and nothing was finished twice."""

import collections
import os
import random
import signal
import threading

import psycopg
import pytest

from support import faults
from support.faults import Book, Fault, Load
from support.wait import wait_for

TOP = 'takeover_timeout = "2s" shutdown_timeout = "1s"'


class Chaos:
    def __init__(self, cluster, server, ledger, seed):
        self.cluster, self.server, self.ledger = cluster, server, ledger
        self.dsn = cluster.dsn("test")
        self.dice = random.Random(seed)
        self.faults, self.cancelled, self.holders = [], set(), []
        self.counts = collections.Counter()
        self.book = Book(ledger)
        self.nodes, self.stopped = {}, {}
        for name in "abc":
            self.start(name)

    def start(self, name):
        self.nodes[name] = self.server(config=faults.configuration(self.ledger, name, shards=8, top=TOP), dsn=self.dsn,
                                       wait=False)

    def fault(self, kind, **whose):
        """Each may take shards from nodes that go on, and another one may follow before it is over."""
        self.counts[kind] += 1
        self.faults.append(Fault(kind, alive=True, **whose))
        return self.faults[-1]

    def database(self, statement, *args):
        """None when there is no answer."""
        try:
            with psycopg.connect(self.dsn, autocommit=True) as conn:
                return conn.execute(statement, args).fetchall()
        except psycopg.OperationalError:
            return None

    # ---- the faults ----

    def victim(self):
        name = self.dice.choice(sorted(self.nodes))
        return name, self.nodes[name]

    def handler(self):
        name, server = self.victim()
        for pid in server.handlers():
            self.fault("handler", node=name)
            kill(pid)

    def worker(self):
        name, server = self.victim()
        for pid in server.workers().values():
            self.fault("worker", node=name)
            kill(pid)

    def master(self):
        name, server = self.victim()
        self.fault("master", node=name)
        server.kill9()
        self.stopped.pop(name, None)
        self.start(name)

    def stop(self):
        """Until the next of this kind."""
        name, server = self.victim()
        for other, paused in list(self.stopped.items()):
            paused.resume()
            del self.stopped[other]
        if server.running() and name not in self.stopped:
            self.fault("stop", node=name)
            server.signal(signal.SIGSTOP)
            self.stopped[name] = server

    def leave(self):
        name, server = self.victim()
        if name in self.stopped:
            return
        # A drain that runs into another fault is given up.
        self.fault("leave", node=name)
        server.signal(signal.SIGTERM)
        wait_for(lambda: not server.running(), 20, "the node has stopped")
        self.start(name)

    def postgres(self):
        self.fault("postgres")
        self.dice.choice([self.cluster.kill9, lambda: self.cluster.stop("immediate")])()
        self.cluster.start()

    def session(self):
        """One session of a node, or its backend with all the others."""
        rows = self.database("select pid from pg_stat_activity where application_name like 'pgconductor %%'")
        if not rows:
            return
        pid = self.dice.choice(rows)[0]
        if self.dice.random() < 0.2:
            self.fault("crash")
            kill(pid)
        else:
            self.fault("session")
            self.database("select pg_terminate_backend(%s)", pid)

    def lock(self):
        """A client that is about to cancel something, and takes its time. Three at a time."""
        while len(self.holders) > 2:
            self.let_go(self.holders.pop(0))
        going_on = self.book.live()
        if not going_on:
            return
        one = self.dice.choice(going_on).id
        try:
            conn = psycopg.connect(self.dsn)
            conn.execute("set lock_timeout = '1s'")
            if conn.execute("select pgconductor.cancel(%s)", (one,)).fetchone()[0]:
                self.counts["lock"] += 1
                self.cancelled.add(one)
            self.holders.append(conn)
        except psycopg.OperationalError:
            pass

    def let_go(self, conn):
        try:
            self.dice.choice([conn.commit, conn.rollback])()
        except psycopg.OperationalError:
            pass
        conn.close()

    def all_well(self):
        for conn in self.holders:
            self.let_go(conn)
        for server in self.stopped.values():
            server.resume()
        for one in self.faults:
            one.done()


def kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


KINDS = ("handler", "worker", "master", "stop", "leave", "postgres", "session", "session", "lock", "lock", "lock")


@pytest.fixture
def chaos(own_cluster, server, ledger, seed):
    return Chaos(own_cluster(), server, ledger, seed)


def test_everything_at_once(chaos, seed, scale, capsys):
    for server in chaos.nodes.values():
        with psycopg.connect(chaos.dsn, autocommit=True) as conn:
            wait_for(lambda: faults.node_id(conn, server.pid), 20, "all nodes are there")
    pause = threading.Event()
    with Load(chaos.dsn, chaos.book, seed, ms=100, fails=0.05) as load:
        for _ in range(scale(15, 600)):
            getattr(chaos, chaos.dice.choice(KINDS))()
            # No luck is meant: the times between faults are a part of what is tried.
            pause.wait(chaos.dice.choice([0, 0.05, 0.2, 0.8]))
            for name, server in chaos.nodes.items():
                assert server.running(), f"{name} has ended with {server.process.returncode}"
    chaos.all_well()
    wait_for(lambda: chaos.database("select 1"), 30, "PostgreSQL is back")
    with psycopg.connect(chaos.dsn, autocommit=True) as conn:
        faults.wait_finished(conn, 90)
        faults.wait_even(conn, chaos.nodes.values(), 8, 60)
        again = faults.check(conn, chaos.book, load, chaos.faults, cancelled=chaos.cancelled)
    faults.say(capsys, seed, f"{len(load.ids)} jobs, {dict(chaos.counts)}; {sum(again.values())} runs again")
