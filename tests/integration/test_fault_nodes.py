"""Nodes that come and go under load, what runs long meanwhile, and jobs that end their own node."""

import json
import random
import signal
import statistics
import time

import pytest

from support import faults
from support.faults import Book, Fault, Load
from support.wait import wait_for


class Nodes:
    """Any number of nodes on the test's database, by name."""

    def __init__(self, db, server, ledger, **configuration):
        self.db, self.server, self.ledger, self.configuration = db, server, ledger, configuration
        self.shards = configuration.get("shards", 4)
        self.up = {}
        self.names = iter(f"n{i}" for i in range(1000))

    def join(self, wait=True):
        name = next(self.names)
        self.up[name] = self.server(config=faults.configuration(self.ledger, name, **self.configuration), wait=wait)
        return name

    def wait_even(self, timeout=30):
        began = time.monotonic()
        faults.wait_even(self.db, self.up.values(), self.shards, timeout)
        return time.monotonic() - began

    def leave(self, name):
        server = self.up.pop(name)
        server.signal(signal.SIGTERM)
        return server

    def kill(self, name):
        """Returns the fault, once what the node had started is gone."""
        server = self.up.pop(name)
        fault = Fault("master", node=name)
        tree = server.tree()
        server.kill9()
        wait_for(lambda: not any(faults.processes.alive(p) for p in tree), 5, "its workers and handlers died with it")
        return fault.done()


@pytest.fixture
def nodes(db, server, ledger):
    return lambda **configuration: Nodes(db, server, ledger, **configuration)


def test_nodes_join_and_leave_under_load(nodes, db, ledger, seed, scale, capsys):
    """One node, two, three, and back; later at random. Those that leave in good order repeat nothing."""
    group = nodes(shards=12)
    book, dice = Book(ledger), random.Random(seed)
    killed, times = [], {"join": [], "leave": [], "kill": []}
    group.join()
    group.wait_even()
    with Load(db.info.dsn, book, seed) as load:
        for step in ["join", "join", "leave", "join", "kill"] + dice.choices(["join", "leave", "kill"], k=scale(0, 40)):
            if step == "join" and len(group.up) == 4 or step != "join" and len(group.up) == 1:
                continue
            name = dice.choice(sorted(group.up))
            wait_for(lambda: len(book.live(node=name)) >= 3, 20, f"{name} is at work")
            if step == "join":
                group.join()
            elif step == "leave":
                leaving = group.leave(name)
            else:
                killed.append(group.kill(name))
            times[step].append(group.wait_even())
            if step == "leave":
                assert leaving.wait_exit(20) == 0
    faults.wait_finished(db)
    again = faults.check(db, book, load, killed)
    lines = [f"{step}: even after {statistics.median(t):.1f} s, at most {max(t):.1f} s" for step, t in times.items() if t]
    faults.say(capsys, seed, f"{len(load.ids)} jobs; {'; '.join(lines)}; runs again {dict(again)}")


def test_three_nodes_share_four_shards(nodes):
    group = nodes()
    for _ in range(3):
        group.join()
    group.wait_even()
    assert sorted(faults.shares(group.db).values()) == [1, 1, 2]


def test_what_runs_long_goes_on_beside_a_new_node(nodes, db, ledger, seed, scale, capsys):
    """After the grace a shard is given up although some of its executions still run: they go on in another one."""
    group = nodes(top='shutdown_timeout = "1s"', concurrency=24, shards=8)
    book = Book(ledger)
    first = group.join()
    group.wait_even()
    for _ in range(scale(1, 10)):
        text = json.dumps([{"payload": {"ms": 4000}}] * 16)
        long = set(db.execute("select pgconductor.invoke_batch('work', %s)", (text,)).fetchone()[0])
        with Load(db.info.dsn, book, f"{seed} {_}", ms=50) as load:
            wait_for(lambda: {r.id for r in book.live()} >= long, 20, "all of them run")
            second = group.join()
            took = group.wait_even()
            assert {r.id for r in book.live(node=first)} >= long, "they ended before the shards were shared"
            homes = db.execute("select distinct s.owner from pgconductor.executions e join pgconductor.shards s"
                               " on s.id = e.shard where e.id = any (%s)", (list(long),)).fetchall()
            assert homes == [(faults.node_id(db, group.up[first].pid),)]
        faults.wait_finished(db)
        load.ids |= long
        assert not faults.check(db, book, load, [], besides=set(book.of) - load.ids)
        group.leave(second).wait_exit(20)
        group.wait_even()
    faults.say(capsys, seed, f"shared after {took:.1f} s")


def test_the_only_shard_of_a_queue_is_not_held_up(nodes, db, ledger):
    """It should be another node's, and one of its executions runs long: there is nowhere to take that along to. The
    shard stays where it is, and what is ready in it does not wait for the long one."""
    group = nodes(shards=1)
    book = Book(ledger)
    # Of nodes 3 and 4 this queue prefers the latter.
    db.execute("select setval(pg_get_serial_sequence('pgconductor.nodes', 'id'), 2)")
    first = group.join()
    group.wait_even()
    long = db.execute("select pgconductor.invoke('work', '{\"ms\":6000}')").fetchone()[0]
    wait_for(lambda: [r for r in book.live() if r.id == long], 10, "it runs")
    node = faults.node_id(db, group.up[first].pid)
    group.join()
    assert db.execute("select action from pgconductor.balance(%s, 10000, true)", (node,)).fetchall() == [("give",)]
    waited = []
    while [r for r in book.live() if r.id == long]:
        began = time.monotonic()
        short = db.execute("select pgconductor.invoke('work', '{}')").fetchone()[0]
        wait_for(lambda: short in book.read().of, 15, "a short one has run")
        waited.append(time.monotonic() - began)
    faults.wait_finished(db)
    assert max(waited) < 5, waited
    assert all(len(runs) == 1 for runs in book.of.values())


@pytest.mark.parametrize("ms, starts", [(0, (3, 4)), (1500, (3, 3))])
def test_a_job_that_kills_its_node_ends(nodes, db, ledger, seed, scale, ms, starts):
    """Three attempts and it has failed; the first is counted only if it had been running for a second. What was running
    beside it goes on elsewhere."""
    if ms not in scale([0], [0, 1500]):
        pytest.skip("in make check-long")
    group = nodes()
    book = Book(ledger)
    for _ in "ab":
        group.join()
    group.wait_even()
    with Load(db.info.dsn, book, seed, backlog=60) as load:
        killer = db.execute("select pgconductor.invoke('kill_node', %s)", (json.dumps({"ms": ms}),)).fetchone()[0]
        killed, trees = [], {}

        def ended():
            for name, server in list(group.up.items()):
                if server.running():
                    trees[name] = server.tree()
                else:
                    del group.up[name]
                    # Until then its handlers may begin what they have been sent.
                    wait_for(lambda tree=trees.get(name, ()): not any(faults.processes.alive(p) for p in tree), 5, "its handlers died with it")
                    # Since when, is known only by the run that did it.
                    fault = Fault("master", node=name)
                    fault.begin = min(r.start for r in book.read().of[killer] if r.node == name)
                    killed.append(fault.done())
                    # It may be the next victim before it is up.
                    group.join(wait=False)
            return db.execute("select state, error->>'code', attempt from pgconductor.finished_executions where id = %s",
                              (killer,)).fetchone()
        assert wait_for(ended, 90, "it has failed") == ("failed", "crash", 3)
    group.wait_even()
    faults.wait_finished(db)
    runs = book.of[killer]
    assert starts[0] <= len(runs) <= starts[1], runs
    assert len({r.node for r in runs}) == len(runs)
    faults.check(db, book, load, killed, besides={killer})


def test_delayed_work_of_a_dead_node_is_not_forgotten(nodes, db, ledger, wait_for):
    """It was due before something that the other node has made ready already."""
    group = nodes()
    book = Book(ledger)
    dead, alive = group.join(), group.join()
    group.wait_even()
    fault = group.kill(dead)
    # These fall due while nobody owns half of the shards; the node that is left goes on with its own.
    ids = set()

    def taken_over():
        ids.update(db.execute("select pgconductor.invoke_batch('work', %s)", (json.dumps(
            [{"payload": {}, "delay": "50 ms"}] * 8),)).fetchone()[0])
        return faults.shares(db).get(faults.node_id(db, group.up[alive].pid)) == 4
    wait_for(taken_over, 10, "the other node has all shards", poll=0.1)
    wait_for(lambda: {r.id for r in book.since(fault.begin)} >= ids, 5, "they have all run")
