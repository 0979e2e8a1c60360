"""A master that is stopped in the middle of its work, and goes on later: others take over, and what it writes then is
refused."""

import random
import time
import types

import pytest

from support import faults
from support.cutter import Cutter
from support.faults import Book, Fault
from support.wait import wait_for

TIMEOUT = 2.0
MIB = 1 << 20


class Pair:
    """Two nodes, and jobs of 1 MiB payloads and results. The first one may reach PostgreSQL by another way."""

    def __init__(self, db, server, ledger, seed, dsn=None):
        self.db, self.dice, self.book = db, random.Random(seed), Book(ledger)
        self.load = types.SimpleNamespace(ids=set(), unknown=set())
        self.marks = iter(range(1 << 30))
        top = f'takeover_timeout = "{TIMEOUT:g}s"'
        self.a = server(config=faults.configuration(ledger, "a", top=top), dsn=dsn or db.info.dsn)
        self.b = server(config=faults.configuration(ledger, "b", top=top))
        self.a_id, self.b_id = faults.node_id(db, self.a.pid), faults.node_id(db, self.b.pid)
        self.wait_balanced()

    def wait_balanced(self):
        wait_for(lambda: faults.shares(self.db) == {self.a_id: 2, self.b_id: 2}, 30, "the nodes share the shards")

    def invoke(self, number):
        ids = self.db.execute("""
            select pgconductor.invoke_batch('work', json_agg(json_build_object('payload',
                json_build_object('ms', 200 + floor(random() * 400), 'mark', %s::int, 'fill', %s::int, 'pad', repeat('x', %s)))))
            from generate_series(1, %s)""", (next(self.marks), MIB, MIB, number)).fetchone()[0]
        self.load.ids.update(ids)
        return set(ids)

    def invoke_and_wait(self, number, ended):
        """Invoke jobs, and wait until so many of them have ended and the first node is at work."""
        ids = self.invoke(number)

        def far_enough():
            book = self.book.read()
            return (sum(1 for i in ids if i in book.of and book.of[i][-1].end) >= ended
                    and len([r for r in self.book.running(node="a") if r.id in ids]) >= 3)
        wait_for(far_enough, 30, f"{ended} of {number} jobs have ended", poll=0.001)
        return ids

    def backend(self):
        """The backend of the first node's writer."""
        row = self.db.execute("select pid from pgconductor.live_nodes() where node = %s", (self.a_id,)).fetchone()
        return row and row[0]

    def backends(self):
        """What the stopped node's backends are doing."""
        rows = self.db.execute("""
            select substr(application_name, 13), state, wait_event from pg_stat_activity
            where pid in (select pid from pg_locks where locktype = 'advisory' and classid = 1346847489 and objid = %s::oid)
            """, (self.a_id,)).fetchall()
        return [" ".join(filter(None, row)) for row in rows]

    def wait_taken_over(self, times, states):
        """From now on: how long it takes, and what the stopped node's writer was last seen doing."""
        began, last = time.monotonic(), []

        def taken_over():
            last[:] = self.backends() or last
            return faults.shares(self.db).get(self.b_id) == 4
        wait_for(taken_over, 10 * TIMEOUT, "the other node has all shards", poll=0.01)
        times.append(time.monotonic() - began)
        states += last

    def history(self):
        return self.db.execute("select id, finished_at, node, attempt, state, xmin::text, result->>'run'"
                               " from pgconductor.finished_executions order by 1, 2").fetchall()


@pytest.fixture
def pair(db, server, ledger, seed):
    return Pair(db, server, ledger, seed)


@pytest.fixture
def cutter(cluster, short_tmp, seed):
    with Cutter(cluster.dir, short_tmp, seed) as one:
        yield one


def test_a_stopped_master_is_replaced_and_refused(pair, seed, scale, capsys):
    stops, times, backends, refused = [], [], [], 0
    for _ in range(scale(1, 10)):
        ids = pair.invoke_and_wait(40, pair.dice.randint(5, 20))
        fault = Fault("stop", alive=True, node="a")
        pair.a.pause()
        pair.wait_taken_over(times, backends)
        faults.wait_finished(pair.db)
        before = pair.history()
        # Its handlers went on: these outcomes wait for the master, and belong to runs that were repeated.
        results = {row[6] for row in before}
        late = [r for r in pair.book.read().runs.values() if r.id in ids and r.node == "a" and r.end
                and r.name not in results]
        assert late, "nothing was running when the master was stopped"
        refused += len(late)
        pair.a.resume()
        pair.wait_balanced()
        assert pair.history() == before, "the stopped master wrote something after it had been replaced"
        stops.append(fault.done())
        # It is of use again.
        more = pair.invoke(10)
        wait_for(lambda: any(r.id in more for r in pair.book.since(fault.finish, node="a")), 10, "it runs jobs again")
        faults.wait_finished(pair.db)
    again = faults.check(pair.db, pair.book, pair.load, stops)
    faults.say(capsys, seed, f"taken over after {', '.join(f'{t:.1f}' for t in times)} s of {TIMEOUT:g} s;"
                             f" writers were {sorted(backends)}; {refused} outcomes refused; runs again {dict(again)}")
    assert max(times) <= 2 * TIMEOUT


def test_a_short_stop_is_nothing(pair, scale):
    """Shorter than the timeout: it goes on as if nothing had been, and nothing is run twice."""
    for _ in range(scale(1, 5)):
        pair.invoke_and_wait(30, pair.dice.randint(3, 10))
        pair.a.pause()
        time.sleep(TIMEOUT / 4)  # the length of the stop is what is tested
        pair.a.resume()
        faults.wait_finished(pair.db)
    assert not faults.check(pair.db, pair.book, pair.load, [])


@pytest.mark.parametrize("part", ["half", "unsynced"])
def test_a_stop_in_the_middle_of_a_write(cutter, db, server, ledger, seed, scale, part, capsys):
    """PostgreSQL has a part of a settling statement, or all but the end of its transaction, and waits for more: no
    timeout of the session ends that. The rest comes when the shards have another owner."""
    if part not in scale(["unsynced"], ["half", "unsynced"]):
        pytest.skip("in make check-long")
    pair = Pair(db, server, ledger, seed, dsn=cutter.dsn(db.info.dbname))
    pair.invoke_and_wait(30, 5)
    fault = Fault("stop", alive=True, node="a")
    cutter.stall(part)
    wait_for(lambda: cutter.stalled, 10, "a write is held back", poll=0.001)
    pair.a.pause()
    times, states = [], []
    pair.wait_taken_over(times, states)
    faults.wait_finished(db)
    before = pair.history()
    cutter.go_on()
    pair.a.resume()
    pair.wait_balanced()
    assert pair.history() == before, "the stopped master wrote something after it had been replaced"
    again = faults.check(db, pair.book, pair.load, [fault.done()])
    faults.say(capsys, seed, f"taken over after {times[0]:.1f} s of {TIMEOUT:g} s; the writer was {states};"
                             f" runs again {dict(again)}")
    assert times[0] <= 2 * TIMEOUT


def test_a_stalled_connection(cutter, db, server, ledger, seed, capsys):
    """The master runs, its writer's connection stands still: it starts nothing more after half the timeout, and lets go
    after all of it. Whoever has the shards then, the rest of what it was writing comes too late."""
    pair = Pair(db, server, ledger, seed, dsn=cutter.dsn(db.info.dbname))
    # More than can be done until then, so that it would go on if it could.
    pair.invoke_and_wait(80, 5)
    fault = Fault("stall", alive=True, node="a")
    cutter.stall("unsynced")
    stalled = wait_for(lambda: cutter.stalled and time.time_ns(), 10, "a write is held back", poll=0.001)
    former = pair.backend()
    wait_for(lambda: former != pair.backend(), 5 * TIMEOUT, "the node's writer is another session, or none", poll=0.01)
    took = (time.time_ns() - stalled) / 1e9
    # What it had sent to its handlers before may begin a little later.
    limit = stalled + int((TIMEOUT / 2 + 0.5) * 1e9)
    late = [r for r in pair.book.since(limit, node="a") if r.start < stalled + took * 1e9]
    assert not late, late
    cutter.go_on()
    faults.wait_finished(db)
    again = faults.check(db, pair.book, pair.load, [fault.done()])
    faults.say(capsys, seed, f"the session was given up after {took:.1f} s of {TIMEOUT:g} s; runs again {dict(again)}")
    assert took <= 2 * TIMEOUT
