"""Outcomes: retries, cancelling, and that nothing keeps the others from being written."""

import json
import time

import psycopg
import pytest

from support import processes
from support.engine import (asleep, backend, batch, blocker, has_polled, invoke, result, unfinished, value, wait_empty, wait_finished)
from support.proxy import Proxy


def row(db, execution, columns):
    return db.execute(f"select {columns} from pgconductor.executions where id = %s", (execution,)).fetchone()


def history(db, execution):
    return [r[0] for r in db.execute("select state from pgconductor.finished_executions where id = %s order by finished_at",
                                     (execution,))]


# ---- retries ----

def test_attempts_and_backoff(server, app, db):
    server(config=app.config("fail", more='task "fail" { handler = "app" max_attempts = 4 backoff = { 200ms, 600ms } }'))
    i = invoke(db, "fail", '{"message": "no", "type": "Sad", "stack": "here\\nthere", "code": "app", "data": "{\\"a\\": 1}"}')
    state, _, error = wait_finished(db, i, "failed")
    assert error == {"code": "app", "message": "no", "type": "Sad", "stack": "here\nthere", "data": {"a": 1}}
    runs = app.runs(i)
    assert [r.attempt for r in runs] == [1, 2, 3, 4]
    waits = [(b.ns - a.ns) / 1e9 for a, b in zip(runs, runs[1:])]
    for wait, wanted in zip(waits, (0.2, 0.6, 0.6)):
        assert 0.9 * wanted - 0.005 <= wait <= 1.1 * wanted + 0.4, waits
    assert value(db, "select attempt from pgconductor.finished_executions where id = %s", i) == 4
    assert len(set(app.xids(i))) == 4


def test_one_whose_process_always_dies(server, app, db, wait_for):
    """It has failed for good after its attempts. Meanwhile the others go on: of their runs no more than one in ten is in vain."""
    server(config=app.config("seen", "die", credit=4, queue="processes = 2", more="""
        task "die" { handler = "app" max_attempts = 4 backoff = "500ms" priority = 1 }
        task "seen" { handler = "app" backoff = "1ms" }"""))
    others = batch(db, "seen", 3000)
    dying = invoke(db, "die", priority=None)
    # Some are there until it has died for the last time, however fast they are.
    while not value(db, "select exists (select from pgconductor.finished_executions where id = %s)", dying):
        others += batch(db, "seen", 500)
    error = wait_finished(db, dying, "failed", timeout=30)[2]
    assert error["code"] == "crash" and "killed by" in error["message"], error
    assert [r.attempt for r in app.runs(dying)] == [1, 2, 3, 4]
    wait_empty(db, 60)
    assert value(db, "select count(*) from pgconductor.finished_executions where task = 'seen' and state = 'completed'") == len(others)
    runs = [r for r in app.runs() if r.id != dying]
    assert {r.id for r in runs} == set(others) and len(runs) <= 1.1 * len(others)
    deaths = [r.ns for r in app.runs(dying)]
    for begin, end in zip(deaths, deaths[1:]):
        assert any(begin < r.ns < end for r in runs)


def test_default_backoff_and_what_is_kept_meanwhile(server, app, db, wait_for):
    server(config=app.config("raise"))
    i = invoke(db, "raise")
    wait_for(lambda: row(db, i, "1")[0] and row(db, i, "attempt")[0] == 1)
    wait, ready, error = row(db, i, "extract(epoch from run_at - now())::float8, ready_xid, error")
    assert 13.0 < wait < 16.5 and ready is None
    assert error["code"] == "app" and error["type"] == "ValueError" and error["message"] == "what a pity"
    assert "raise_" in error["stack"]
    assert value(db, "select state from pgconductor.executions_all where id = %s", i) == "delayed"


def test_handler_decides(server, app, db):
    """For good; or when."""
    server(config=app.config("fail"))
    i = invoke(db, "fail", '{"message": "never", "retry": false}')
    wait_finished(db, i, "failed")
    assert [r.attempt for r in app.runs(i)] == [1]
    i = invoke(db, "fail", '{"message": "soon", "after_ms": 100}')
    wait_finished(db, i, "failed")
    runs = app.runs(i)
    assert [r.attempt for r in runs] == [1, 2, 3]
    i = invoke(db, "fail", '{"message": "now", "after_ms": 0}')
    wait_finished(db, i, "failed")
    assert [r.attempt for r in app.runs(i)] == [1, 2, 3]


def test_retry_runs_it_anew(server, app, db, cli):
    server(config=app.config("fail", "hold", more='task "fail" { handler = "app" max_attempts = 1 }'))
    i = invoke(db, "fail", '{"message": "no"}')
    wait_finished(db, i, "failed")
    assert value(db, "select pgconductor.retry(%s)", i) is True
    wait_empty(db)
    assert history(db, i) == ["failed", "failed"]
    assert [r.attempt for r in app.runs(i)] == [1, 1]
    # Unfinished: nothing to retry.
    held = invoke(db, "hold")
    assert value(db, "select pgconductor.retry(%s)", held) is False
    app.release()
    wait_finished(db, held)
    assert len(app.runs(held)) == 1


# ---- cancelling ----

def test_cancel_of_what_has_not_started(server, app, db):
    server(config=app.config("seen", "hold", concurrency=1))
    block = blocker(db, app)
    ready, delayed = invoke(db), invoke(db, delay="300 ms")
    has_polled(db)
    for i in (ready, delayed):
        assert value(db, "select pgconductor.cancel(%s, 'changed my mind')", i) is True
        state, _, error = result(db, i)
        assert state == "cancelled" and error == {"code": "cancelled", "message": "changed my mind"}
        assert value(db, "select pgconductor.cancel(%s)", i) is False
    last = invoke(db, delay="400 ms")
    app.release(block)
    wait_finished(db, last)
    app.assert_once([block, last])


def test_cancel_stops_the_handler(server, app, db, wait_for):
    """And its place is free again."""
    server(config=app.config("seen", "hold", concurrency=1))
    i = blocker(db, app)
    assert value(db, "select pgconductor.cancel(%s)", i) is True
    wait_for(lambda: app.ledger.entries("stopped", i), 2)
    after = invoke(db)
    wait_finished(db, after)
    assert history(db, i) == ["cancelled"] and len(app.runs(i)) == 1
    assert value(db, "select count(*) from pgconductor.running") == 0


def test_cancel_of_one_that_does_not_listen(server, app, db, wait_for):
    """Its process is ended; what else runs there goes back without losing an attempt."""
    one = server(config=app.config("seen", "hold", concurrency=2, queue="kill_grace = 300ms"))
    deaf = invoke(db, "hold", '{"deaf": true}')
    wait_for(lambda: app.runs(deaf))
    other = invoke(db, "hold")
    wait_for(lambda: app.runs(other))
    pid = app.runs(deaf)[0].pid
    assert value(db, "select pgconductor.cancel(%s)", deaf) is True
    wait_for(lambda: not processes.alive(pid), 3)
    wait_for(lambda: len(app.runs(other)) == 2)
    app.release(other)
    wait_finished(db, other)
    assert [r.attempt for r in app.runs(other)] == [1, 1]
    assert len(app.runs(deaf)) == 1 and history(db, deaf) == ["cancelled"]
    assert one.running()


def test_cancel_that_overtakes_the_reading(server, app, cluster, db, short_tmp, wait_for):
    """Read before the cancel committed, in hand after the node was told: it must not be started. Fails when the node
    forgets a cancel of a run that it does not know yet."""
    with Proxy(cluster.dir, short_tmp) as proxy:
        one = server(config=app.config("seen", "hold", top="log_level = debug"), dsn=proxy.dsn(db.info.dbname))
        asleep(db)
        proxy.hold("reader")
        gone = [invoke(db, "hold") for _ in range(3)]
        wait_for(lambda: proxy.held("reader") > 3 * 60)
        for i in gone:
            assert value(db, "select pgconductor.cancel(%s)", i) is True
        one.wait_log(r"notified: cancel", count=3)
        proxy.let_go("reader")
        last = invoke(db)
        wait_finished(db, last)
        app.assert_once([last])


def test_cancel_that_overtakes_a_large_payload(server, app, cluster, db, short_tmp, wait_for):
    """The same for one whose payload is on its way."""
    with Proxy(cluster.dir, short_tmp) as proxy:
        one = server(config=app.config("seen", "hold", "echo", concurrency=1, top="log_level = debug"),
                     dsn=proxy.dsn(db.info.dbname))
        block = blocker(db, app)
        gone = invoke(db, "echo", json.dumps("x" * 50000))
        has_polled(db)
        asleep(db)
        proxy.hold("reader")
        app.release(block)
        wait_for(lambda: proxy.held("reader") > 50000)
        assert value(db, "select pgconductor.cancel(%s)", gone) is True
        one.wait_log(r"notified: cancel")
        proxy.let_go("reader")
        last = invoke(db)
        wait_finished(db, last)
        app.assert_once([block, last])


def test_cancel_that_was_not_heard(server, app, cluster, db, scale, wait_for):
    """Sent while nobody listened, or (which takes ten seconds) not sent at all: found out all the same, and nothing else
    is stopped."""
    server(config=app.config("seen", "hold"))
    unheard, silent, other = [invoke(db, "hold") for _ in range(3)]
    wait_for(lambda: value(db, "select count(*) from pgconductor.running") == 3)
    admin = cluster.connect()
    admin.execute(f'alter database "{db.info.dbname}" allow_connections false')
    pid = backend(db, "listener")
    db.execute("select pg_terminate_backend(%s)", (pid,))
    wait_for(lambda: backend(db, "listener") is None)
    assert value(db, "select pgconductor.cancel(%s)", unheard) is True
    admin.execute(f'alter database "{db.info.dbname}" allow_connections true')
    wait_for(lambda: app.ledger.entries("stopped", unheard), 8)
    if scale(False, True):
        db.execute("set pgconductor.notify = off")
        assert value(db, "select pgconductor.cancel(%s)", silent) is True
        wait_for(lambda: app.ledger.entries("stopped", silent), 15)
    app.release()
    wait_finished(db, other)
    assert not app.ledger.entries("stopped", other)
    admin.close()


def test_late_cancel_does_not_hit_the_new_run(server, app, db, scale, wait_for):
    """Cancelled and retried at once: the former run is stopped, the new one is not. Fails when a cancel, or an outcome,
    is about an execution instead of a run."""
    server(config=app.config("hold"))
    for n in range(scale(20, 300)):
        i = invoke(db, "hold")
        wait_for(lambda: app.runs(i))
        if n % 2:
            db.execute("begin")
        assert value(db, "select pgconductor.cancel(%s)", i) is True
        assert value(db, "select pgconductor.retry(%s)", i) is True
        if n % 2:
            db.execute("commit")
        wait_for(lambda: len(app.runs(i)) == 2)
        wait_for(lambda: len(app.ledger.entries("stopped", i)) == 1)
        app.release(i)
        state, got, _ = wait_finished(db, i)
        assert got == app.xids(i)[1]
        assert len(app.ledger.entries("stopped", i)) == 1
        assert history(db, i) == ["cancelled", "completed"]


def test_outcome_of_a_former_run_does_nothing(server, app, db, wait_for):
    """A row that was made ready anew while its former run went on, as a debounce would: the former run's result is not
    taken for the new one's. Fails when settling goes by the id alone."""
    server(config=app.config("hold", "fail"))
    i = invoke(db, "hold")
    wait_for(lambda: app.runs(i))
    db.execute("update pgconductor.executions set ready_xid = pg_current_xact_id() where id = %s", (i,))
    invoke(db, "fail", '{"retry": false}')
    wait_for(lambda: len(app.runs(i)) == 2)
    first, second = app.xids(i)
    app.release(i, first)
    wait_for(lambda: app.ledger.entries("end", i))
    # What is settled behind it has been written: so was that.
    wait_finished(db, invoke(db, "fail", '{"retry": false}'), "failed")
    assert result(db, i)[0] not in ("completed", "failed") and unfinished(db) == 1
    app.release(i, second)
    assert wait_finished(db, i)[1] == second
    assert history(db, i) == ["completed"]


# ---- what keeps outcomes from being written ----

def test_locked_row_delays_only_itself(server, app, db, connect, wait_for):
    """Fails when one locked row holds back, or makes fail, the statement that settles the others."""
    one = server(config=app.config("seen", "hold", "fail", more='task "fail" { handler = "app" max_attempts = 1 }'))
    held = [invoke(db, "hold") for _ in range(4)]
    wait_for(lambda: len(app.runs()) == 4)
    locker = connect(autocommit=False)
    locker.execute("select pgconductor.cancel(%s)", (held[0],))
    # All four in one batch.
    one.pause()
    app.release()
    wait_for(lambda: len(app.ledger.entries("end")) == 4)
    one.resume()
    others = batch(db, "seen", 300) + [invoke(db, "fail", "{}") for _ in range(5)]
    begin = time.monotonic()
    wait_for(lambda: unfinished(db) == 1, 5)
    # Again and again, beside the lock that stays.
    for _ in range(10):
        wait_finished(db, invoke(db), timeout=2)
    assert time.monotonic() - begin < 5
    locker.rollback()
    assert wait_finished(db, held[0], timeout=3)[1] == app.xids(held[0])[0]
    app.assert_once(held + others + [e.id for e in app.runs()][-10:])


def test_locked_row_that_is_cancelled(server, app, db, connect, wait_for):
    """Whichever commits first wins."""
    server(config=app.config("seen", "hold"))
    i = invoke(db, "hold")
    wait_for(lambda: app.runs(i))
    locker = connect(autocommit=False)
    locker.execute("select pgconductor.cancel(%s)", (i,))
    app.release(i)
    wait_finished(db, invoke(db))
    locker.commit()
    wait_finished(db, invoke(db))
    assert history(db, i) == ["cancelled"] and unfinished(db) == 0


def test_missing_partition_is_made(server, app, db, wait_for):
    server(config=app.config("seen", "hold", "fail", more='task "fail" { handler = "app" max_attempts = 1 }'))
    held = [invoke(db, "hold") for _ in range(3)]
    wait_for(lambda: len(app.runs()) == 3)

    def partitions():
        return [r[0] for r in db.execute("select inhrelid::regclass::text from pg_inherits where inhparent ="
                                         " 'pgconductor.finished_executions'::regclass order by 1")]
    # The server may still be making those of the days ahead.
    wait_for(lambda: len(partitions()) >= 8)
    asleep(db)
    for name in partitions():
        db.execute(f"alter table pgconductor.finished_executions detach partition {name}")
        db.execute(f"drop table {name}")
    app.release()
    ids = held + batch(db, "seen", 50) + [invoke(db, "fail", "{}")]
    wait_empty(db)
    app.assert_once(ids)
    assert value(db, "select count(*) from pgconductor.finished_executions") == len(ids)


def test_what_postgresql_refuses_fails_alone(own_cluster, server, app):
    """Nested more deeply than this server's stack takes: only the run with that result fails, with bad_result."""
    cluster = own_cluster(max_stack_depth="100kB")
    dsn = cluster.dsn("test")
    server(config=app.config("echo", "answer", more='task "answer" { handler = "app" max_attempts = 1 }'), dsn=dsn)
    with psycopg.connect(dsn, autocommit=True) as db:
        deep = "[" * 5000 + "]" * 5000
        with pytest.raises(psycopg.errors.StatementTooComplex):
            db.execute("select %s::json", (deep,))
        with db.transaction():
            good = [invoke(db, "echo", str(n)) for n in range(100)]
            bad = [invoke(db, "answer", json.dumps(deep)) for _ in range(2)]
            good += [invoke(db, "echo", str(n)) for n in range(100, 200)]
        wait_empty(db)
        for i in bad:
            state, _, error = result(db, i)
            assert state == "failed" and error["code"] == "bad_result" and "stack depth" in error["message"]
        assert [result(db, i)[:2] for i in good] == [("completed", n) for n in range(200)]
        app.assert_once(good + bad)


# ---- history and what runs ----

def test_retention(server, app, db, connect):
    """remove_on_complete and remove_on_fail 0: no history, unless somebody waits for the result."""
    server(config=app.config("echo", "fail", more='task "echo" { handler = "app" remove_on_complete = 0 }\n'
                             'task "fail" { handler = "app" max_attempts = 1 remove_on_fail = 0 }'))
    gone = [invoke(db, "echo"), invoke(db, "fail", "{}")]
    wait_empty(db)
    assert [result(db, i) for i in gone] == [None, None]
    waiting = connect()
    waiting.execute("set pgconductor.await = on")
    kept = [invoke(waiting, "echo", "5"), invoke(waiting, "fail", "{}")]
    assert wait_finished(db, kept[0])[1] == 5
    wait_finished(db, kept[1], "failed")
    assert value(db, "select count(*) from pgconductor.finished_executions") == 2


def test_running_for_a_second(server, app, db, cli, wait_for):
    """Then it stands in the table `running`, and in ps; not before, and no longer than it runs."""
    one = server(config=app.config("seen", "hold"))
    i = invoke(db, "hold")
    wait_for(lambda: app.runs(i))
    found = wait_for(lambda: db.execute("select id, ready_xid::text::bigint, node, program, pid, attempt,"
                                        " extract(epoch from now() - started_at)::float8 from pgconductor.running").fetchone(), 5)
    assert found[:2] == (i, app.xids(i)[0]) and found[3] == "app" and found[5] == 1
    assert found[2] == value(db, "select id from pgconductor.nodes where pid = %s", one.pid)
    assert found[4] == app.runs(i)[0].pid
    assert 1.0 <= found[6] < 3.0, found
    listed = json.loads(cli("ps", "--json", check=True).stdout.splitlines()[0])
    assert str(i) in json.dumps(listed)
    app.release(i)
    wait_finished(db, i)
    assert value(db, "select count(*) from pgconductor.running") == 0
    batch(db, "seen", 100)
    wait_empty(db)
    assert value(db, "select count(*) from pgconductor.running") == 0


def test_partitions_are_kept_by_the_server(server, app, db, connect, wait_for):
    """A week ahead are made, old ones removed, and rows past their time. Beside an open reader of history, nobody waits:
    fails when partitions are made in place, or dropped while they are attached."""
    def days():
        return [r[0] for r in db.execute("select substr(inhrelid::regclass::text, 22)::date - (now() at time zone 'UTC')::date"
                                         " from pg_inherits where inhparent = 'pgconductor.finished_executions'::regclass"
                                         " order by 1")]
    db.execute("select pgconductor.declare_task('seen')")
    for old in (40, 9, 8):
        db.execute("select pgconductor.ensure_partition(now() - make_interval(days => %s))", (old,))
        db.execute("insert into pgconductor.finished_executions (id, finished_at, created_at, attempt, priority, state, queue,"
                   " task, payload) values (%s, now() - make_interval(days => %s), now(), 1, 0, 'completed', 'default', 'seen',"
                   " 'null')", (-old, old))
    assert {-40, -9, -8} <= set(days())
    reader = connect(autocommit=False)
    reader.execute("select count(*) from pgconductor.finished_executions")
    server(config=app.config("seen"))
    for _ in range(40):
        wait_finished(db, invoke(db), timeout=2)
    reader.rollback()
    wait_for(lambda: set(range(0, 8)) <= set(days()), 15)
    wait_for(lambda: value(db, "select count(*) from pgconductor.finished_executions where id < 0") == 0, 25)
    # With the control connection anew, upkeep is done again.
    wait_for(lambda: backend(db, "upkeep") is None, 15)
    db.execute("select pg_terminate_backend(%s)", (backend(db, "control"),))
    wait_for(lambda: min(days()) >= -1, 15)
