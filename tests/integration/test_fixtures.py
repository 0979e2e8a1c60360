"""The fixtures themselves: what other tests rely on."""

import os

import pytest

from support.wait import Timeout


def test_each_test_has_a_fresh_database(db):
    assert db.execute("select count(*) from pgconductor.executions").fetchone() == (0,)
    db.execute("create table leftover ()")


def test_nothing_is_left_of_the_test_before(db):
    assert db.execute("select to_regclass('leftover')").fetchone() == (None,)


def test_connect_opens_further_sessions(db, connect):
    other = connect(autocommit=False)
    assert other.info.backend_pid != db.info.backend_pid
    assert other.info.dbname == db.info.dbname


def test_a_killed_cluster_starts_again(own_cluster):
    one = own_cluster(migrate=False)
    one.connect("test").execute("create table t as select 1 as a")
    pid = one.pid()
    one.kill9()
    assert one.pid() is None
    one.start()
    assert one.pid() != pid
    assert one.connect("test").execute("select a from t").fetchone() == (1,)


def test_wait_for_says_what_it_waited_for(wait_for):
    with pytest.raises(Timeout, match="not within 0.1 s: the moon"):
        wait_for(lambda: False, 0.1, "the moon")


def test_ledger_reads_what_was_appended(ledger):
    from support.ledger import append
    append(ledger.path, "start", 7, 1)
    append(ledger.path, "end", 7, 1, "ok then")
    assert [(e.kind, e.id, e.attempt, e.rest, e.pid) for e in ledger.entries()] == [
        ("start", 7, 1, "", os.getpid()), ("end", 7, 1, "ok then", os.getpid())]
    assert ledger.counts("start") == {7: 1}
