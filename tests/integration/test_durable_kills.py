"""Workflows of 20 steps, 3 sleeps and 5 children in two queues, on two nodes, while every kind of process is killed: at
random, and masters at every named point. No step that a handler was told of as saved is done again, all of them finish,
their results are right, and each child counts once.
"""

import collections
import os
import random
import signal
import time

import psycopg

from support import faults, processes
from support.durable import POINTS, assert_no_acknowledged_step_again, config, has_crash_points
from support.engine import batch, value
from support.wait import wait_for

RESULT = sum(range(20)) + sum(1000 * i for i in range(1, 6))
# Kills cost attempts, and there are many.
OPTIONS = '{"backoff": "1ms", "max_attempts": 1000}'
# What is killed in a round, in any order.
KINDS = ["handler"] * 5 + ["worker"] * 3 + ["master"] * 2 + ["backend", "postmaster"]


class Fleet:
    """Two nodes on a PostgreSQL of their own, of which one thing at a time is killed."""

    def __init__(self, cluster, server, ledger, seed):
        self.cluster, self.server, self.dsn = cluster, server, cluster.dsn("test")
        self.config = config(ledger, processes=4, options=OPTIONS, queues=("default", "other"), credit=3,
                             top='takeover_timeout = "2s"')
        self.dice = random.Random(seed)
        self.deck = []
        self.planned, self.hit, self.kills = collections.Counter(), collections.Counter(), collections.Counter()
        self.nodes = [self.start(), self.start()]
        self.db = None

    def ask(self, query, *args):
        """The only column of the only row; None while PostgreSQL does not answer."""
        try:
            if self.db is None or self.db.closed:
                self.db = psycopg.connect(self.dsn, autocommit=True)
            return value(self.db, query, *args)
        except psycopg.OperationalError:
            self.db = None
            return None

    def start(self):
        """A master that dies at some point, sooner or later: points are taken in turn."""
        point = min(POINTS, key=lambda p: (self.planned[p], self.dice.random()))
        self.planned[point] += 1
        env = {"PGCONDUCTOR_CRASH": f"{point}:{self.dice.choice((1, 3, 20))}"}
        node = self.server(config=self.config, dsn=self.dsn, env=env, wait=False)
        node.point = point
        return node

    def raise_the_dead(self):
        for i, node in enumerate(self.nodes):
            if not node.running():
                assert node.process.returncode == -signal.SIGKILL, node.log
                self.hit[node.point] += 1
                self.nodes[i] = self.start()

    def kill_next(self):
        if not self.deck:
            self.deck = self.dice.sample(KINDS, len(KINDS))
        kind = self.deck.pop()
        if getattr(self, kind)():
            self.kills[kind] += 1

    def kill(self, pids):
        """One of these."""
        if pids:
            try:
                os.kill(self.dice.choice(pids), signal.SIGKILL)
            except ProcessLookupError:
                return False
        return bool(pids)

    def workers(self):
        return [pid for node in self.nodes for pid in sorted(node.workers().values())]

    def worker(self):
        return self.kill(self.workers())

    def handler(self):
        return self.kill([pid for worker in self.workers() for pid in sorted(processes.children_of(worker))])

    def master(self):
        i = self.dice.randrange(2)
        if not self.nodes[i].running():
            return False
        self.nodes[i].kill9()
        self.nodes[i] = self.start()
        return True

    def backend(self):
        """PostgreSQL ends all sessions and recovers, under the same postmaster."""
        pids = self.ask("select array_agg(pid order by application_name) from pg_stat_activity"
                        " where datname = 'test' and application_name like 'pgconductor %%'")
        return self.kill(pids)

    def postmaster(self):
        self.cluster.kill9()
        self.cluster.start()
        return True

    def peace(self):
        """Two nodes that nobody kills."""
        for node in self.nodes:
            node.kill9()
        self.nodes = [self.server(config=self.config, dsn=self.dsn) for _ in range(2)]


def test_workflows_survive_kills(own_cluster, server, ledger, seed, scale, capsys):
    n, began = scale(40, 1000), time.monotonic()
    fleet = Fleet(own_cluster(), server, ledger, seed)
    wait_for(lambda: fleet.ask("select count(*) from pgconductor.tasks where name in ('flow', 'leaf', 'far')") == 3, 30,
             "the tasks are declared")
    with psycopg.connect(fleet.dsn, autocommit=True) as conn:
        ids = batch(conn, "flow", n, '{"payload": null}')
    done = "select count(*) from pgconductor.finished_executions where id = any (%s)"

    def enough():
        fleet.raise_the_dead()
        if fleet.dice.random() < 0.5:
            fleet.kill_next()
        kinds = set(KINDS) - set(fleet.kills) or has_crash_points() and scale(set(), set(POINTS) - set(fleet.hit))
        return not kinds and (fleet.ask(done, ids) or 0) >= n * 2 // 3
    wait_for(enough, scale(120, 1500), "most have finished", poll=0.3)
    fleet.peace()
    wait_for(lambda: fleet.ask("select count(*) from pgconductor.executions") == 0, scale(120, 600), "all have finished", poll=0.1)
    check(fleet, ids)
    assert_no_acknowledged_step_again(ledger)
    faults.say(capsys, seed, f"{n} workflows, {time.monotonic() - began:.0f} s, kills: {dict(fleet.kills)},"
                             f" masters that died at a point: {dict(fleet.hit)}")


def check(fleet, ids):
    """Each workflow has ended once, with the sum of all of its steps and children."""
    with psycopg.connect(fleet.dsn, autocommit=True) as conn:
        rows = conn.execute("select id, state, result, error from pgconductor.finished_executions where id = any (%s)",
                            (ids,)).fetchall()
        assert sorted(row[0] for row in rows) == sorted(ids)
        wrong = [row for row in rows if row[1:3] != ("completed", RESULT)]
        assert not wrong, wrong[:3]
        of = conn.execute("select parent, count(*) from pgconductor.finished_executions"
                          " where parent is not null and state = 'completed' group by 1").fetchall()
        assert sorted(of) == [(i, 5) for i in sorted(ids)]
        for table in ("steps", "wakes", "running"):
            wait_for(lambda: value(conn, f"select count(*) from pgconductor.{table}") == 0, 10, f"{table} is empty")
