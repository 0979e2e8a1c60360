"""Transactional steps: a step and what else its transaction writes are committed together, or not at all."""

import threading

import psycopg
import pytest

from support.sqlnode import Node, declare, invoke, one, row_of

SAVE = "select pgconductor.save_step(%s, %s, %s, %s::json)"


@pytest.fixture
def node(db, connect):
    db.execute("select pgconductor.ensure_queue('default', 1)")
    declare(db)
    db.execute("create table business (n int)")
    made = Node(connect).serve("default/work")
    made.settle_in()
    return made


@pytest.fixture
def run(db, node):
    made = invoke(db)
    return node.run_of(made)


def refused(conn, code, *args):
    with pytest.raises(psycopg.Error) as caught:
        conn.execute(SAVE, args)
    assert caught.value.sqlstate == code, caught.value
    conn.rollback()


def rows(db):
    return one(db, "select count(*) from business")[0]


def test_committed_together(db, node, run, connect):
    handler = connect(autocommit=False)
    handler.execute("insert into business values (1)")
    handler.execute(SAVE, (run[0], node.token(run), "pay", '{"x" : 1}'))
    assert node.journal(run) == {} and rows(db) == 0
    handler.rollback()
    assert node.journal(run) == {} and row_of(db, run[0])["journal"] is None
    handler.execute("insert into business values (1)")
    handler.execute(SAVE, (run[0], node.token(run), "pay", '{"x" : 1}'))
    handler.commit()
    assert [s[2:4] for s in node.steps(run)] == [("pay", '{"x" : 1}')] and rows(db) == 1
    assert row_of(db, run[0])["journal"] is True
    db.execute("select pgconductor.save_step(%s, %s, 'none')", (run[0], node.token(run)))
    assert node.journal(run)["none"] is None
    assert node.save(run, {"pay": "2"}) == ["used"]


def test_an_existing_key(db, node, run, connect):
    handler = connect(autocommit=False)
    node.save(run, {"a": "1"})
    refused(handler, "PC011", run[0], node.token(run), "a", "2")
    handler.execute(SAVE, (run[0], node.token(run), "b", "2"))
    refused(handler, "PC011", run[0], node.token(run), "b", "2")
    assert node.journal(run) == {"a": 1}
    node.suspend((run, [{"key": "c", "task": "work"}, {"key": "t", "timer_ms": 0}], True))
    run = node.run_of(run[0])
    # Waited for still, so that the next run will not find it either: to be run again would not help.
    refused(handler, "PC009", run[0], node.token(run), "c", "2")
    refused(handler, "PC009", run[0], node.token(run), "", "2")


def test_a_stale_token(db, node, run, connect):
    handler = connect(autocommit=False)
    good = node.token(run)
    xid, epoch, me = good.split(".")
    for token in ("", "x", None, f"{xid}.{epoch}", f"{int(xid) + 1}.{epoch}.{me}", f"{xid}.{int(epoch) - 1}.{me}", f"{xid}.{epoch}.{int(me) + 1}"):
        refused(handler, "PC010", run[0], token, "k", "1")
    refused(handler, "PC010", run[0] + 1, good, "k", "1")
    # A former owner's: the same run, another epoch.
    node.die()
    second = Node(connect).serve("default/work")
    while not second.settle_in():
        pass
    assert second.run_of(run[0]) == run
    refused(handler, "PC010", run[0], good, "k", "1")
    handler.execute(SAVE, (run[0], second.token(run), "k", "1"))
    handler.commit()
    # A former run's.
    second.settle([run], "failed", after_ms=0)
    refused(handler, "PC010", run[0], second.token(run), "l", "1")
    again = second.run_of(run[0])
    handler.execute(SAVE, (run[0], second.token(again), "l", "1"))
    db2 = connect()
    handler.commit()
    db2.execute("select pgconductor.cancel(%s)", (run[0],))
    refused(handler, "PC010", run[0], f"{again[1]}.{second.epochs[sorted(second.epochs)[0]]}.{second.id}", "m", "1")


def move(node, run, shard):
    """Its owner takes it along, while it runs."""
    (new,), = node.call("select new_xid from pgconductor.rehome_to(array[%s]::bigint[], array[%s]::xid8[], %s)", run[0], run[1], shard)
    return run[0], new, run[2]


def test_a_run_that_was_moved_keeps_its_token(db, connect):
    """Its handler does not hear of it. However often it is moved, that one token is good, and no other."""
    db.execute("select pgconductor.ensure_queue('default', 3)")
    declare(db)
    node = Node(connect).serve("default/work")
    shards = node.settle_in()
    made = invoke(db)
    run = node.run_of(made)
    handler = connect(autocommit=False)
    given = node.token(run)
    stale = [given]
    for key, shard in enumerate(shards + shards[:1]):
        run = move(node, run, shard)
        xid, epoch, me = node.token(run).split(".")
        for token in (f"{xid}.{int(epoch) + 1}.{me}", f"{xid}.{epoch}.{int(me) + 1}", f"{xid}.{epoch}.{me}={given}", given + "0", None):
            refused(handler, "PC010", made, token, "k", "1")
        handler.execute(SAVE, (made, given, f"old{key}", "1"))
        handler.execute(SAVE, (made, node.token(run), f"new{key}", "1"))
        handler.commit()
        # What it had in between was nobody's.
        for token in stale[1:]:
            refused(handler, "PC010", made, token, "k", "1")
        stale.append(node.token(run))
    assert len(node.journal(run)) == 8 and node.save(run, {"old0": "2"}) == ["used"]
    # The next run's is another.
    node.settle([run], "failed", after_ms=0)
    for token in stale:
        refused(handler, "PC010", made, token, "k", "1")
    again = node.run_of(made)
    handler.execute(SAVE, (made, node.token(again), "again", "1"))
    handler.commit()
    # Suspended, it is nobody's.
    node.suspend((again, [{"key": "t", "timer_ms": 3600000}]))
    for token in [*stale, "", f".{node.epochs[shards[0]]}.{node.id}"]:
        refused(handler, "PC010", made, token, "k", "1")


def test_a_moved_run_whose_node_died(db, connect):
    """The run is the same, and another node's: the old handler's token is good no more."""
    db.execute("select pgconductor.ensure_queue('default', 2)")
    declare(db)
    node = Node(connect).serve("default/work")
    shards = node.settle_in()
    made = invoke(db)
    run = node.run_of(made)
    given = node.token(run)
    run = move(node, run, [s for s in shards if s != row_of(db, made)["shard"]][0])
    handler = connect(autocommit=False)
    handler.execute(SAVE, (made, given, "before", "1"))
    handler.commit()
    node.die()
    second = Node(connect).serve("default/work")
    while len(second.epochs) < 2:
        second.settle_in()
    assert second.run_of(made) == run and second.journal(run) == {"before": 1}
    refused(handler, "PC010", made, given, "after", "1")
    token = second.token(run)
    handler.execute(SAVE, (made, token, "after", "1"))
    handler.commit()
    # Nor when that one takes it along.
    run = move(second, run, [s for s in shards if s != row_of(db, made)["shard"]][0])
    refused(handler, "PC010", made, given, "k", "1")
    handler.execute(SAVE, (made, token, "k", "1"))
    handler.commit()


def test_the_run_stays_until_its_transaction_has_ended(db, node, run, connect):
    """Its outcome, a retry, a cancel: they wait, or are tried again later. None gets in between."""
    handler = connect(autocommit=False)
    handler.execute("insert into business values (1)")
    handler.execute(SAVE, (run[0], node.token(run), "pay", "1"))
    for outcome in ("completed", "failed", "deferred"):
        with pytest.raises(psycopg.errors.LockNotAvailable):
            node.settle([run], outcome, after_ms=0)
        assert node.settle_locked([run], outcome, after_ms=0) == [1]
    with pytest.raises(psycopg.errors.LockNotAvailable):
        node.settle_plain([run])
    assert node.suspend((run, [])) == [1]
    done = []
    client = connect()
    cancel = threading.Thread(target=lambda: done.append(client.execute("select pgconductor.cancel(%s)", (run[0],)).fetchone()[0]))
    cancel.start()
    while one(db, "select count(*) from pg_locks where not granted") == (0,):
        pass
    assert not done
    handler.commit()
    cancel.join()
    assert done == [True] and rows(db) == 1
    assert one(db, "select state, to_json(steps)::text from pgconductor.finished_executions") == (
        "cancelled", '[{"key":"pay","result":1,"error":null}]')
    assert one(db, "select count(*) from pgconductor.steps") == (0,)


def test_a_failure_waits_for_the_step(db, node, run, connect):
    """The handler was killed while its transaction was committing."""
    handler = connect(autocommit=False)
    handler.execute(SAVE, (run[0], node.token(run), "pay", "1"))
    node.writer.execute("set lock_timeout = 0")
    settle = threading.Thread(target=lambda: node.settle([run], "failed", retry=False))
    settle.start()
    while one(db, "select count(*) from pg_locks where not granted") == (0,):
        pass
    handler.commit()
    settle.join()
    assert one(db, "select (steps[1]).key from pgconductor.finished_executions") == ("pay",)
    assert one(db, "select count(*) from pgconductor.steps") == (0,)


def test_several_transactions_of_one_run(db, node, run, connect):
    """They do not wait for each other, whichever comes first; the same key twice does."""
    a, b = connect(autocommit=False), connect(autocommit=False)
    b.execute("set lock_timeout = '5s'")
    for first, second in (("a", "b"), ("c", "d")):
        a.execute(SAVE, (run[0], node.token(run), first, "1"))
        b.execute(SAVE, (run[0], node.token(run), second, "1"))
        b.commit()
        a.commit()
    assert sorted(node.journal(run)) == ["a", "b", "c", "d"]
    a.execute(SAVE, (run[0], node.token(run), "e", "1"))
    failed = []

    def other():
        try:
            b.execute(SAVE, (run[0], node.token(run), "e", "2"))
        except psycopg.Error as error:
            failed.append(error.sqlstate)
    token = node.token(run)
    assert token
    thread = threading.Thread(target=other)
    thread.start()
    while one(db, "select count(*) from pg_locks where not granted") == (0,):
        pass
    a.commit()
    thread.join()
    assert failed == ["PC011"]
    b.rollback()
    # Rolled back, the other one may.
    a.execute(SAVE, (run[0], node.token(run), "f", "1"))
    a.rollback()
    b.execute(SAVE, (run[0], node.token(run), "f", "2"))
    b.commit()
    assert node.journal(run)["f"] == 2 and node.journal(run)["e"] == 1


def test_one_business_row_whoever_runs_it(db, node, run, connect):
    """A former owner's handler and its successor's do the same step at once: one of them commits."""
    zombie, fresh = connect(autocommit=False), connect(autocommit=False)
    zombie.execute("insert into business values (1)")
    zombie.execute(SAVE, (run[0], node.token(run), "pay", "1"))
    node.die()
    second = Node(connect).serve("default/work")
    while not second.settle_in():
        pass
    assert second.journal(run) == {}
    fresh.execute("insert into business values (2)")
    outcome = []
    token = second.token(run)

    def work():
        try:
            fresh.execute(SAVE, (run[0], token, "pay", "2"))
            fresh.commit()
            outcome.append("done")
        except psycopg.Error as error:
            outcome.append(error.sqlstate)
            fresh.rollback()
    thread = threading.Thread(target=work)
    thread.start()
    while one(db, "select count(*) from pg_locks where not granted") == (0,):
        pass
    zombie.commit()
    thread.join()
    assert outcome == ["PC011"] and rows(db) == 1
    assert second.journal(run) == {"pay": 1}


def test_the_client_role_may(db, node, run, connect):
    client = connect(autocommit=False)
    client.execute("set role pgconductor_client")
    client.execute(SAVE, (run[0], node.token(run), "k", "1"))
    assert client.execute("select key, result::text from pgconductor.execution_steps(%s)", (run[0],)).fetchall() == [("k", "1")]
    client.commit()
    for call in ("save_steps('{}', '{}', '{}', '{}', false)", "end_cancelled('{1}', '{}', true)", "take_wakes('{}', '{}', '{}')",
                 "make_call(1, '1', 'cancel', '{}', null, false)"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            client.execute(f"select pgconductor.{call}")
        client.rollback()
        client.execute("set role pgconductor_client")
