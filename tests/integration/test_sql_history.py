"""cancel, retry, result and executions_all: what a client sees of an execution's life."""

import threading

import psycopg
import pytest

from support.sqlnode import Node, declare, invoke, one, row_of


@pytest.fixture
def node(db, connect):
    declare(db)
    made = Node(connect).serve("default/work", "other/work")
    made.settle_in()
    return made


def result(db, execution):
    return db.execute("select state, result::text, error::text from pgconductor.result(%s)", (execution,)).fetchone()


def view(db, execution, columns="state, waiting, attempt"):
    return one(db, f"select {columns} from pgconductor.executions_all where id = %s", execution)


def history(db, execution):
    return [r[0] for r in db.execute("select state from pgconductor.finished_executions where id = %s order by finished_at",
                                     (execution,)).fetchall()]


def error(code="app", message="no"):
    return f'{{"code":"{code}","message":"{message}"}}'


def test_states(db, node):
    made = invoke(db, delay="1 hour")
    assert result(db, made) == ("delayed", None, None) and view(db, made) == ("delayed", None, 0)
    made = invoke(db)
    assert result(db, made) == ("ready", None, None) and view(db, made) == ("ready", None, 0)
    run = node.ready()
    node.call("select pgconductor.park(%s::bigint[], %s::xid8[], 'unserved')", [run[0][0]], [run[0][1]])
    assert result(db, made) == ("ready", None, None) and view(db, made) == ("ready", "unserved", 0)
    node.call("select pgconductor.unpark(%s)", sorted(node.epochs))
    run = node.ready()
    node.note(run, age_ms=1500)
    assert result(db, made) == ("running", None, None) and view(db, made) == ("running", None, 1)
    assert view(db, made, "node, program, pid, clock_timestamp() - started_at between '1.5 s' and '1 min'") == (
        node.id, "app", 77, True)
    node.settle(run, "failed", error=error())
    assert result(db, made) == ("delayed", None, error()) and view(db, made) == ("delayed", None, 1)
    db.execute("update pgconductor.executions set run_at = now() where id = %s", (made,))
    node.promote()
    node.settle(node.ready(), result='{"b":1, "a":12.50}', took_ms=70)
    assert result(db, made) == ("completed", '{"b":1, "a":12.50}', None)
    assert view(db, made, "state, attempt, took_ms, node, finished_at - started_at = '70 ms', result::text") == (
        "completed", 2, 70, node.id, True, '{"b":1, "a":12.50}')
    assert db.execute("select count(*) from pgconductor.running").fetchone() == (0,)


def test_unknown(db):
    assert result(db, 4711) is None
    assert db.execute("select pgconductor.cancel(4711)").fetchone() == (False,)
    assert db.execute("select pgconductor.retry(4711)").fetchone() == (False,)
    assert db.execute("select pgconductor.cancel(null), pgconductor.retry(null)").fetchone() == (False, False)


def test_null_result_is_json_null(db, node):
    plain, full, failed = invoke(db), invoke(db), invoke(db)
    runs = node.ready()
    node.settle_plain(runs[:1])
    node.settle(runs[1:2])
    node.settle(runs[2:], "failed", retry=False)
    assert result(db, plain) == ("completed", "null", None) == result(db, full)
    assert result(db, failed) == ("failed", None, None)


def test_cancel(db, node):
    for number, (options, reason, message) in enumerate([({}, None, "cancelled"), ({"delay": "1 hour"}, "no longer wanted", "no longer wanted"),
                                                         ({"priority": 3, "queue": "other"}, "é", "é")]):
        made = invoke(db, payload='{"n": %d}' % number, **options)
        assert one(db, "select pgconductor.cancel(%s, %s)", made, reason) == (True,)
        state, value, why = one(db, "select state, result, error from pgconductor.result(%s)", made)
        assert (state, value, why) == ("cancelled", None, {"code": "cancelled", "message": message})
        assert view(db, made, "payload, queue, priority, attempt, created_at is not null") == (
            {"n": number}, options.get("queue", "default"), options.get("priority", 0), 0, True)
        assert row_of(db, made) is None
        assert one(db, "select pgconductor.cancel(%s)", made) == (False,)


def test_cancel_of_a_running_one(db, node, connect):
    listener = connect()
    listener.execute(f"listen pgconductor_{node.id}")
    got = []
    listener.add_notify_handler(lambda n: got.append(n.payload))
    made, delayed = invoke(db), invoke(db, delay="1 hour")
    runs = node.ready()
    node.note(runs)
    db.execute("select pgconductor.cancel(%s), pgconductor.cancel(%s)", (made, delayed))
    listener.execute("select 1")
    listener.execute("select 1")
    # The owner is told which run it was; of a delayed one it knows nothing.
    assert got == [f"cancel {made} {runs[0][1]} cancelled"]
    assert view(db, made, "attempt, node, took_ms is not null") == (1, node.id, True)
    assert db.execute("select count(*) from pgconductor.running").fetchone() == (0,)
    # What the handler still sends finds nothing.
    assert node.settle_plain(runs) == 0 and node.settle(runs, "failed") == 0
    assert history(db, made) == ["cancelled"]


def test_cancel_of_a_parked_one(db, node):
    made = invoke(db)
    runs = node.ready()
    node.call("select pgconductor.park(%s::bigint[], %s::xid8[], 'unserved')", [made], [runs[0][1]])
    assert one(db, "select pgconductor.cancel(%s)", made) == (True,)
    assert view(db, made, "state, run_at") == ("cancelled", None)


def test_whichever_commits_first_wins(db, node, connect):
    made = invoke(db)
    runs = node.ready()
    client = connect(autocommit=False)
    client.execute("select pgconductor.cancel(%s)", (made,))
    with pytest.raises(psycopg.errors.LockNotAvailable):
        node.settle_plain(runs)
    with pytest.raises(psycopg.errors.LockNotAvailable):
        node.settle(runs)
    client.rollback()
    assert node.settle_plain(runs) == 1
    assert client.execute("select pgconductor.cancel(%s)", (made,)).fetchone() == (False,)


def test_retry(db, node):
    made = invoke(db, payload=r'{"z": 1,"a":"\u0000"}', priority=4, queue="other", metadata=psycopg.types.json.Json({"m": 1}))
    before = node.ready()
    assert one(db, "select pgconductor.retry(%s)", made) == (False,)
    node.settle(before, "failed", error=error(), retry=False)
    created = view(db, made, "created_at")
    assert one(db, "select pgconductor.retry(%s)", made) == (True,)
    assert one(db, "select pgconductor.retry(%s)", made) == (False,)
    assert view(db, made, "state, attempt, error, created_at, queue, priority") == ("ready", 0, None, *created, "other", 4)
    assert one(db, "select payload::text, metadata from pgconductor.executions where id = %s", made) == (
        r'{"z": 1,"a":"\u0000"}', {"m": 1})
    after = node.ready()
    assert [r[0] for r in after] == [made] and after[0][1] != before[0][1]
    # A reply to the former run comes too late.
    assert node.settle_plain(before) == 0
    node.settle(after, result="1")
    assert result(db, made) == ("completed", "1", None)
    assert history(db, made) == ["failed", "completed"]
    assert one(db, "select count(*) from pgconductor.executions_all") == (1,)


def test_retry_of_anything_finished(db, node):
    for outcome in ("completed", "failed", "cancelled"):
        made = invoke(db)
        if outcome == "cancelled":
            db.execute("select pgconductor.cancel(%s)", (made,))
        else:
            node.settle(node.ready(), outcome, retry=False)
        assert one(db, "select pgconductor.retry(%s)", made) == (True,)
        assert node.run_all() == [made]
        assert history(db, made) == [outcome, "completed"]


def test_cancelled_and_retried_within_one_statement(db, node):
    made = invoke(db)
    late = node.ready()
    db.execute(f"do $$ begin for i in 1..3 loop perform pgconductor.cancel({made}); perform pgconductor.retry({made});"
               " end loop; end $$")
    assert view(db, made) == ("ready", None, 0)
    assert node.settle_plain(late) == 0
    assert node.run_all() == [made]
    assert result(db, made)[0] == "completed"


def test_retry_wakes_the_owner(db, node, connect):
    made = invoke(db)
    node.run_all()
    sleeper, listener = connect(), connect()
    sleeper.execute("select pg_advisory_lock(1346847491, %s)", (node.id,))
    listener.execute(f"listen pgconductor_{node.id}")
    got = []
    listener.add_notify_handler(lambda n: got.append(n.payload))
    db.execute("select pgconductor.retry(%s)", (made,))
    listener.execute("select 1")
    listener.execute("select 1")
    assert got == [""]


def test_two_retries_at_once(db, node, connect):
    made = invoke(db)
    node.run_all()
    first, second = connect(autocommit=False), connect()
    assert first.execute("select pgconductor.retry(%s)", (made,)).fetchone() == (True,)
    got = []
    thread = threading.Thread(target=lambda: got.append(second.execute("select pgconductor.retry(%s)", (made,)).fetchone()))
    thread.start()
    while one(db, "select count(*) from pg_locks where not granted") == (0,):
        pass
    first.commit()
    thread.join(10)
    assert got == [(False,)]
    assert one(db, "select count(*) from pgconductor.executions") == (1,)


def test_no_history(db, node):
    """remove_on_… = 0: nothing is left, unless someone waits for the result."""
    declare(db, remove_on_complete=0, remove_on_fail=0)
    for awaited in (False, True):
        for how in ("plain", "completed", "failed", "cancelled"):
            db.execute("select set_config('pgconductor.await', %s, false)", ("on" if awaited else "",))
            made = invoke(db)
            runs = node.ready()
            if how == "plain":
                node.settle_plain(runs, keep=False)
            elif how == "cancelled":
                assert one(db, "select pgconductor.cancel(%s)", made) == (True,)
            else:
                node.settle(runs, how, retry=False)
            assert row_of(db, made) is None
            assert len(history(db, made)) == awaited, (awaited, how)
            assert (result(db, made) is not None) == awaited


def test_view_has_one_row_for_each(db, node):
    """Whatever was retried and however often; and it looks twice only at those that were."""
    ids = [invoke(db) for _ in range(6)]
    node.run_all()
    for n in range(1, 4):
        for made in ids[n:]:
            db.execute("select pgconductor.retry(%s)", (made,))
        node.run_all(result=str(n))
    db.execute("select pgconductor.retry(%s)", (ids[5],))
    rows = dict(db.execute("select id, state || coalesce(' ' || result::text, '') from pgconductor.executions_all").fetchall())
    assert rows == dict(zip(ids, ["completed null", "completed 1", "completed 2", "completed 3", "completed 3", "ready"]))
    assert one(db, "select count(*) from pgconductor.retried") == (5,)


def test_cancel_after_the_last_partition(db, node):
    """A client may cancel though no node has made partitions for long."""
    made = invoke(db)
    db.execute("set pgconductor.fake_now = '2199-05-06 23:59:59+00'")
    assert one(db, "select pgconductor.cancel(%s)", made) == (True,)
    assert history(db, made) == ["cancelled"]
    assert one(db, "select count(*) from pgconductor.finished_21990506") == (1,)
    db.execute("reset pgconductor.fake_now")


def test_a_task_removed_by_hand(db, node):
    """Its executions still come to an end."""
    done, failed, cancelled = invoke(db), invoke(db), invoke(db)
    runs = [r for r in node.ready() if r[0] != cancelled]
    db.execute("delete from pgconductor.tasks")
    assert node.settle([r for r in runs if r[0] == done]) == 1
    assert node.settle([r for r in runs if r[0] == failed], "failed", retry=False) == 1
    assert one(db, "select pgconductor.cancel(%s)", cancelled) == (True,)
    assert [result(db, i)[0] for i in (done, failed, cancelled)] == ["completed", "failed", "cancelled"]
