"""A client that holds a row locked delays that row only."""

import json
import pathlib
import statistics

import pytest

from support import faults
from support.faults import Book, Fault, Load
from support.wait import wait_for


def invoke(db, payload=None, **options):
    names = "".join(f", {name} => %s" for name in options)
    return db.execute(f"select pgconductor.invoke('work', %s{names})",
                      (json.dumps(payload or {}), *options.values())).fetchone()[0]


def state(db, execution):
    return db.execute("select state from pgconductor.executions_all where id = %s", (execution,)).fetchone()[0]


class Holder:
    """A session that has begun to cancel executions, and neither commits nor rolls back."""

    def __init__(self, connect, ids):
        self.conn = connect(autocommit=False)
        for one in ids:
            assert self.conn.execute("select pgconductor.cancel(%s, 'changed my mind')", (one,)).fetchone() == (True,)


@pytest.fixture
def node(server, ledger, db):
    one = server(config=faults.configuration(ledger, "a"))
    wait_for(lambda: sum(faults.shares(db).values()) == 4, 10, "the node has its shards")
    return one


def delays(db, book, ids):
    """Seconds from the end of each run, as its handler wrote it down, to its outcome."""
    rows = db.execute("select id, extract(epoch from finished_at)::float8 from pgconductor.finished_executions"
                      " where id = any (%s)", (list(ids),)).fetchall()
    book.read()
    return [at - book.of[i][-1].end / 1e9 for i, at in rows]


@pytest.fixture
def gate(short_tmp):
    """Until this file exists some runs go on."""
    return pathlib.Path(short_tmp, "gate")


def test_rows_that_run_are_locked(node, db, connect, ledger, gate, seed, scale, capsys):
    """Their outcomes wait; all others are written as ever. Then the first half is cancelled, the other is not."""
    book = Book(ledger)
    number = 8
    held = [invoke(db, {"until": str(gate)}) for _ in range(number)]
    wait_for(lambda: len([r for r in book.live() if r.id in held]) == number, 10, "they run")
    cancelled, kept = Holder(connect, held[::2]), Holder(connect, held[1::2])
    gate.touch()
    with Load(db.info.dsn, book, seed, ms=20) as load:
        wait_for(lambda: all(book.read().of[i][-1].end for i in held), 10, "they have ended")
        # Many batches: each held row has been in the way of all others, or in a batch of its own.
        enough = len(load.ids) + scale(400, 4000)
        wait_for(lambda: len(load.ids) >= enough, 60, "work goes on")
    wait_for(lambda: db.execute("select count(*) from pgconductor.executions").fetchone() == (number,), 30,
             "all others are finished")
    times = delays(db, book, load.ids)
    assert [state(db, i) for i in held] == ["ready"] * number or {state(db, i) for i in held} <= {"ready", "running"}
    cancelled.conn.commit()
    kept.conn.rollback()
    faults.wait_finished(db, 5)
    assert [state(db, i) for i in held] == ["cancelled", "completed"] * (number // 2)
    assert not faults.check(db, book, load, [], besides=held)
    faults.say(capsys, seed, f"{len(times)} outcomes beside {number} locked rows: median {statistics.median(times) * 1000:.0f}"
                             f" ms after the end, longest {max(times) * 1000:.0f} ms")
    assert max(times) < 2


def test_the_node_stays_fast_beside_a_locked_row(node, db, connect, ledger, gate):
    """One job after the other, while an outcome cannot be written for a second: each is there at once."""
    book = Book(ledger)
    held = invoke(db, {"until": str(gate)})
    wait_for(lambda: [r for r in book.live() if r.id == held], 10, "it runs")
    holder = Holder(connect, [held])
    gate.touch()
    wait_for(lambda: book.read().of[held][-1].end, 10, "it has ended")
    ids = []
    for _ in range(40):
        ids.append(invoke(db))
        wait_for(lambda: state(db, ids[-1]) == "completed", 5, "it is completed", poll=0.005)
    times = delays(db, book, ids)
    assert statistics.median(times) < 0.1 and max(times) < 1, times
    holder.conn.rollback()
    wait_for(lambda: state(db, held) == "completed", 2, "the held one is completed")


def test_a_delayed_row_is_locked(node, db, connect, ledger, scale):
    """Others fall due beside it; it is looked at again, every ten seconds."""
    book = Book(ledger)
    held = invoke(db, delay="300 ms")
    holder = Holder(connect, [held])
    others = [invoke(db, delay=f"{n * 20} ms") for n in range(1, 50)]
    wait_for(lambda: set(others) <= set(book.read().of), 5, "the others have run")
    assert held not in book.of
    holder.conn.rollback()
    if scale(False, True):
        wait_for(lambda: state(db, held) == "completed", 12, "the held one is completed")


def test_a_ready_row_is_locked_and_cancelled(node, db, connect, ledger):
    """It runs, for its cancelling is not decided yet; then it is cancelled all the same, once."""
    book = Book(ledger)
    blocker = [invoke(db, {"ms": 400}) for _ in range(12)]
    held = invoke(db)
    holder = Holder(connect, [held])
    wait_for(lambda: held in book.read().of and book.of[held][-1].end, 10, "it runs, as nobody is asked for the row")
    others = [invoke(db) for _ in range(20)]
    wait_for(lambda: all(state(db, i) == "completed" for i in others + blocker), 10, "the others are completed")
    holder.conn.commit()
    wait_for(lambda: state(db, held) == "cancelled", 2, "it is cancelled")
    faults.wait_finished(db, 5)
    rows = db.execute("select state from pgconductor.finished_executions where id = %s", (held,)).fetchall()
    assert rows == [("cancelled",)]


def test_what_a_dead_node_was_running_is_locked(server, db, connect, ledger, seed):
    """Taking over is not held up: all but that row go on; that row does when it is let go."""
    book = Book(ledger)
    a = server(config=faults.configuration(ledger, "a"))
    wait_for(lambda: sum(faults.shares(db).values()) == 4, 10, "the node has its shards")
    held = [invoke(db, {"ms": 3000}) for _ in range(4)]
    wait_for(lambda: db.execute("select count(*) from pgconductor.running where id = any (%s)",
                                (held,)).fetchone() == (4,), 10, "they are noted as running")
    b = server(config=faults.configuration(ledger, "b"))
    holder = Holder(connect, held[:2])
    with Load(db.info.dsn, book, seed, ms=20) as load:
        fault = Fault("master", node="a")
        tree = a.tree()
        a.kill9()
        wait_for(lambda: not any(faults.processes.alive(p) for p in tree), 5, "its handlers died with it")
        fault.done()
        wait_for(lambda: faults.shares(db) == {faults.node_id(db, b.pid): 4}, 5, "its shards are taken over")
        wait_for(lambda: {r.id for r in book.since(fault.finish)} >= set(held[2:]), 2,
                 "those that are not locked run again")
        began = len(load.ids)
        wait_for(lambda: len(load.ids) > began + 200, 20, "work goes on")
        wait_for(lambda: all(state(db, i) == "completed" for i in held[2:]), 15, "those that are not locked are completed")
    holder.conn.rollback()
    faults.wait_finished(db, 15)
    load.ids |= set(held)
    faults.check(db, book, load, [fault])
    late = [t for t in delays(db, book, load.ids - set(held)) if t > 1]
    assert not late, late


def test_a_long_running_row_is_locked_when_its_shard_is_given_up(server, db, connect, ledger, seed, scale):
    """It cannot be moved: its shard is kept, and read, until it is let go; the others go before."""
    book = Book(ledger)
    a = server(config=faults.configuration(ledger, "a", top='shutdown_timeout = "1s"', shards=8))
    wait_for(lambda: sum(faults.shares(db).values()) == 8, 10, "the node has its shards")
    held = invoke(db, {"ms": 2000})
    wait_for(lambda: [r for r in book.live() if r.id == held], 10, "it runs")
    home = db.execute("select shard from pgconductor.executions where id = %s", (held,)).fetchone()[0]
    holder = Holder(connect, [held])
    with Load(db.info.dsn, book, seed, ms=20) as load:
        b = server(config=faults.configuration(ledger, "b", top='shutdown_timeout = "1s"', shards=8))
        wait_for(lambda: faults.shares(db).get(faults.node_id(db, b.pid), 0) >= 3, 10, "the others are given up")
        wait_for(lambda: book.read().of[held][-1].end, 10, "it has ended")
        began = len(load.ids)
        wait_for(lambda: len(load.ids) > began + 200, 20, "work goes on")
        assert state(db, held) != "completed"
        holder.conn.rollback()
        wait_for(lambda: state(db, held) == "completed", 5, "it is completed")
    faults.wait_finished(db)
    if scale(False, True):
        faults.wait_even(db, [a, b], 8, 40)
    load.ids.add(held)
    assert not faults.check(db, book, load, []), home
