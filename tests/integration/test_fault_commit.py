"""The writer's connection is lost while a COMMIT is on its way: whether it happened is not known, and does not matter."""

import pytest

from support import faults
from support.cutter import WAYS, Cutter
from support.faults import Book, Fault, Load
from support.wait import wait_for


@pytest.fixture
def cutter(cluster, short_tmp, seed):
    with Cutter(cluster.dir, short_tmp, seed) as one:
        yield one


def wait_cuts(cutter, number, node):
    """Until the connection was cut so often, and in every way."""
    def enough():
        if not node.running():
            raise RuntimeError(f"the node has ended with {node.process.returncode}")
        return sum(cutter.cuts.values()) >= number and all(cutter.cuts[way] for way in WAYS)
    wait_for(enough, 60 + number, f"{number} cuts", poll=0.05)


def test_one_node_loses_its_connection(cutter, db, server, ledger, seed, scale, capsys):
    """Alone, it has its shards back each time, so that nothing at all is run twice, however often it is cut."""
    dsn = cutter.dsn(db.info.dbname)
    node = server(config=faults.configuration(ledger, "a"), dsn=dsn)
    book = Book(ledger)
    with Load(db.info.dsn, book, seed, ms=20, fails=0.1) as load:
        cutter.cutting = True
        wait_cuts(cutter, scale(40, 1000), node)
        load.stop()
        cutter.cutting = False
    faults.wait_finished(db)
    again = faults.check(db, book, load, [])
    faults.say(capsys, seed, f"{len(load.ids)} jobs, cuts {dict(cutter.cuts)}")
    assert not again


def test_one_of_two_nodes_loses_its_connection(cutter, db, server, ledger, seed, scale, capsys):
    """The other one may take what it had: that is run again, and still finished once."""
    node = server(config=faults.configuration(ledger, "a"), dsn=cutter.dsn(db.info.dbname))
    server(config=faults.configuration(ledger, "b"))
    book = Book(ledger)
    wait_for(lambda: sorted(faults.shares(db).values()) == [2, 2], 20, "the nodes share the shards")
    cut = Fault("cut", alive=True, node="a")
    with Load(db.info.dsn, book, seed, ms=20, fails=0.1) as load:
        cutter.cutting = True
        wait_cuts(cutter, scale(20, 200), node)
        load.stop()
        cutter.cutting = False
    cut.done()
    faults.wait_finished(db)
    # It is one long fault: a run may be cut off by it more than once.
    again = faults.check(db, book, load, [cut] * 100)
    faults.say(capsys, seed, f"{len(load.ids)} jobs, cuts {dict(cutter.cuts)}, runs again {dict(again)}")
