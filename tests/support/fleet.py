"""Nodes of which everything is killed: handlers, workers, masters, backends and PostgreSQL itself."""

import collections
import os
import random
import signal

import psycopg

from . import processes
from .engine import value

# What is killed in a round, in any order.
KINDS = ["handler"] * 5 + ["worker"] * 3 + ["master"] * 2 + ["backend", "postmaster"]


class Fleet:
    """So many nodes on a PostgreSQL of their own, of which one thing at a time is killed; their masters also at one of these
    points."""
    kinds = KINDS

    def __init__(self, cluster, server, config, seed, points, nodes=2):
        self.cluster, self.server, self.dsn = cluster, server, cluster.dsn("test")
        self.config, self.points = config, points
        self.dice = random.Random(seed)
        self.deck = []
        self.planned, self.hit, self.kills = collections.Counter(), collections.Counter(), collections.Counter()
        self.nodes = [self.start() for _ in range(nodes)]
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
        point = min(self.points, key=lambda p: (self.planned[p], self.dice.random()))
        self.planned[point] += 1
        env = {"PGCONDUCTOR_CRASH": f"{point}:{self.dice.choice((1, 3, 20))}"}
        node = self.server(config=self.config, dsn=self.address(), env=env, wait=False)
        node.point = point
        return node

    def address(self):
        """Where the next node finds PostgreSQL."""
        return self.dsn

    def raise_the_dead(self):
        for i, node in enumerate(self.nodes):
            if not node.running():
                assert node.process.returncode == -signal.SIGKILL, node.log
                self.hit[node.point] += 1
                self.nodes[i] = self.start()

    def kill_next(self):
        if not self.deck:
            self.deck = self.dice.sample(self.kinds, len(self.kinds))
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
        i = self.dice.randrange(len(self.nodes))
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
        """Nodes that nobody kills."""
        for node in self.nodes:
            node.kill9()
        self.nodes = [self.server(config=self.config, dsn=self.dsn) for _ in self.nodes]
