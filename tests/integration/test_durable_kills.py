"""Workflows of 20 steps, 3 sleeps and 5 children in two queues, on two nodes, while all kinds of process are killed: at
random, and masters at every named point. No step that a handler was told of as saved is done again, all of them finish,
and their results are right.
"""

import collections
import os
import random
import signal

from support import faults, paths, processes
from support.engine import batch, value
from support.wait import wait_for

PROGRAM = paths.built("tests/support/durable_c")
POINTS = ["step_received", "step_sent", "step_committed", "suspend_received", "suspend_committed", "child_settled",
          "wake_written", "wake_taken", "resume_written"]
RESULT = 190 + 15000
# Kills cost attempts, and there are many.
OPTIONS = '{"backoff": "1ms", "max_attempts": 1000}'.replace('"', '\\"')


def config(ledger):
    queue = 'handler = "c" concurrency = 20 processes = 4'
    return (f'takeover_timeout = "2s"\nhandler "c" {{ command = "{PROGRAM}"'
            f' env = {{ "LEDGER={ledger.path}", "DURABLE_OPTIONS={OPTIONS}", "DURABLE_CONCURRENCY=3" }} }}\n'
            f'queue "default" {{ {queue} }}\nqueue "other" {{ {queue} }}\n')


class Fleet:
    """Two nodes, of which one at a time is killed, or something of it."""

    def __init__(self, server, ledger, seed):
        self.server, self.ledger = server, ledger
        self.dice = random.Random(seed)
        self.points = collections.Counter()
        self.kills = collections.Counter()
        self.nodes = [self.start(), self.start()]

    def start(self):
        """A master that dies at some point, sooner or later: points are taken in turn."""
        point = min(POINTS, key=lambda p: (self.points[p], self.dice.random()))
        self.points[point] += 1
        env = {"PGCONDUCTOR_CRASH": f"{point}:{self.dice.choice((1, 3, 20))}"}
        return self.server(config=config(self.ledger), env=env, wait=False)

    def raise_the_dead(self):
        for i, node in enumerate(self.nodes):
            if not node.running():
                self.kills["at a point" if node.process.returncode == -signal.SIGKILL else "ended"] += 1
                self.nodes[i] = self.start()

    def kill_something(self):
        node = self.dice.choice(self.nodes)
        kind = self.dice.choice(("master", "worker", "handler", "handler"))
        workers = list(node.workers().values())
        victims = {"master": [node.pid], "worker": workers,
                   "handler": [pid for worker in workers for pid in processes.children_of(worker)]}[kind]
        if not victims:
            return
        self.kills[kind] += 1
        try:
            os.kill(self.dice.choice(victims), signal.SIGKILL)
        except ProcessLookupError:
            pass
        if kind == "master":
            node.process.wait(10)
            self.kills["at a point"] -= 1


def assert_kept(ledger):
    saved, again = set(), []
    for e in ledger.entries():
        if e.kind == "ok":
            saved.add((e.id, e.rest))
        elif e.kind == "did" and (e.id, e.rest) in saved:
            again.append(e)
    assert not again, f"saved, and done again: {again[:5]}"


def test_workflows_survive_kills(server, db, dsn, ledger, seed, scale, capsys):
    n = scale(40, 1000)
    fleet = Fleet(server, ledger, seed)
    wait_for(lambda: value(db, "select count(*) from pgconductor.tasks where name in ('flow', 'leaf', 'far')") == 3, 30,
             "the tasks are declared")
    ids = batch(db, "flow", n, '{"payload": null}')

    def finished():
        fleet.raise_the_dead()
        if fleet.dice.random() < 0.5:
            fleet.kill_something()
        return value(db, "select count(*) from pgconductor.finished_executions where id = any (%s)", ids) >= n * 2 // 3
    wait_for(finished, scale(40, 600), "most have finished", poll=0.3)
    # The rest in peace.
    for node in fleet.nodes:
        node.kill9()
    fleet.nodes = [server(config=config(ledger)), server(config=config(ledger))]
    wait_for(lambda: value(db, "select count(*) from pgconductor.executions") == 0, scale(60, 600), "all have finished", poll=0.1)
    rows = db.execute("select id, state, result, error from pgconductor.finished_executions where id = any (%s)", (ids,)).fetchall()
    assert sorted(row[0] for row in rows) == sorted(ids)
    wrong = [row for row in rows if row[1:3] != ("completed", RESULT)]
    assert not wrong, wrong[:3]
    assert value(db, "select count(*) from pgconductor.finished_executions where parent is not null") == 5 * n
    assert_kept(ledger)
    for table in ("steps", "wakes", "running"):
        wait_for(lambda: value(db, f"select count(*) from pgconductor.{table}") == 0, 10, f"{table} is empty")
    faults.say(capsys, seed, f"{n} workflows, kills: {dict(fleet.kills)}, points: {dict(fleet.points)}")
