"""Reading and settling: polls, outcomes, promotion, parking, re-homing."""

import datetime

import psycopg
import pytest

from support.sqlnode import ALL, Node, declare, invoke, one, row_of, session


@pytest.fixture
def node(db, connect):
    db.execute("select pgconductor.ensure_queue('default', 1)")
    declare(db)
    made = Node(connect).serve("default/work")
    made.settle_in()
    return made


def ids(rows):
    return [r[1] for r in rows]


def test_poll_ranges(db, node):
    shard = one(db, "select id from pgconductor.shards where owner is not null")[0]
    made = [invoke(db) for _ in range(5)] + db.execute(
        "select array(select pgconductor.invoke('work') from generate_series(1, 5))").fetchone()[0]
    high = invoke(db, priority=2, payload='{"k": 1}', metadata=psycopg.types.json.Json([1]))
    snapshot, lanes, (rows,) = node.poll([(shard, 0, "0", 0, ALL, 100)])
    assert snapshot == one(db, "select pg_current_snapshot()::text")[0]
    assert lanes == [(shard, -2)]
    assert ids(rows) == made
    _, lanes, (a, b, c, d, e) = node.poll([
        (shard, 0, "0", 0, ALL, 3), (shard, 0, rows[2][2], rows[2][1], ALL, 3), (shard, 0, rows[5][2], rows[5][1], rows[5][2], 100),
        (shard, -2, "0", 0, ALL, 100), (shard, 0, rows[9][2], rows[9][1], ALL, 100)])
    assert lanes == []
    assert (ids(a), ids(b), ids(c), ids(d), ids(e)) == (made[:3], made[3:6], made[6:], [high], [])
    assert d[0][3:] == (0, "work", '{"k": 1}', d[0][6], "[1]", None, shard, -2)
    assert abs(d[0][6] - len('{"k": 1}')) <= 4
    # A range with a bound: one transaction's rows.
    assert ids(node.poll([(shard, 0, rows[1][2], 0, rows[1][2], 100)])[2][0]) == [made[1]]
    assert node.poll([]) [1] == [(shard, -2), (shard, 0)]
    assert node.poll([(shard, 0, "0", 0, ALL, 0)])[2] == [[]]


def test_large_payloads_are_fetched_at_dispatch(db, node):
    shard = one(db, "select id from pgconductor.shards where owner is not null")[0]
    texts = ['"' + c * n + '"' for c, n in (("a", 8000), ("b", 8200), ("c", 300000))]
    made = [invoke(db, payload=t) for t in texts]
    rows = node.poll([(shard, 0, "0", 0, ALL, 100)])[2][0]
    assert [r[5] for r in rows] == [texts[0], None, None]
    assert [abs(r[6] - len(t)) <= 4 for r, t in zip(rows, texts)] == [True] * 3
    got = node.reader.execute("select id, ready_xid, payload::text from pgconductor.fetch(%s::bigint[], %s::xid8[])",
                              ([made[1], made[2], made[0]], [rows[1][2], rows[2][2], "1"])).fetchall()
    assert sorted(got) == [(made[1], rows[1][2], texts[1]), (made[2], rows[2][2], texts[2])]


def test_poll_sees_one_snapshot(db, node, connect):
    """A transaction that is in progress for the snapshot has no rows in the poll, and the other way round."""
    shard = one(db, "select id from pgconductor.shards where owner is not null")[0]
    open_one = connect(autocommit=False)
    made = invoke(open_one)
    xid = open_one.execute("select pg_current_xact_id()").fetchone()[0]
    after = invoke(db)
    snapshot, _, (rows,) = node.poll([(shard, 0, "0", 0, ALL, 100)])
    assert ids(rows) == [after]
    assert xid in snapshot.split(":")[2].split(",")
    open_one.commit()
    snapshot, _, (rows,) = node.poll([(shard, 0, "0", 0, ALL, 100)])
    assert ids(rows) == [made, after]
    assert snapshot.split(":")[2] == ""


def test_completed(db, node):
    made = [invoke(db) for _ in range(4)]
    runs = node.ready()
    assert node.settle_plain(runs[:2], result='{"a": 1}') == 2
    assert node.settle(runs[2:], result='{"a": 1}') == 2
    assert node.settle_plain(runs) == 0 == node.settle(runs)
    rows = db.execute("select id, state, result::text, attempt, node, took_ms, queue, task from pgconductor.finished_executions"
                      " order by id").fetchall()
    assert rows == [(i, "completed", '{"a": 1}', 1, node.id, 1, "default", "work") for i in made]


def test_settling_takes_the_run_and_not_the_id(db, node):
    made = invoke(db)
    old = node.ready()
    node.settle(old, "deferred", after_ms=0)
    new = node.ready()
    assert new[0][0] == made and new[0][1] != old[0][1]
    assert node.settle_plain(old) == 0 and node.settle(old) == 0 and node.settle_locked(old) == []
    assert node.settle_plain(new) == 1


def test_failed(db, node):
    """Attempts are counted, the task's waits kept, and the last one goes to history."""
    declare(db, max_attempts=3, backoff=["10s", "20s"])
    made = invoke(db)
    for attempt, wait in ((1, 10), (2, 20)):
        assert node.settle(node.ready(), "failed", error='{"n":%d}' % attempt) == 1
        row = row_of(db, made)
        assert (row["attempt"], row["ready_xid"], row["error"]) == (attempt, None, {"n": attempt})
        low, high = one(db, "select run_at - now() > %s * interval '0.89 s', run_at - now() < %s * interval '1.11 s'"
                            " from pgconductor.executions", wait, wait)
        assert low and high
        db.execute("update pgconductor.executions set run_at = now()")
        assert node.promote()[0] == 1
    assert [r[2] for r in node.ready()] == [2]
    node.settle(node.ready(), "failed", error='{"n":3}')
    assert one(db, "select state, attempt, error::text from pgconductor.finished_executions") == ("failed", 3, '{"n":3}')


def test_failed_for_good_and_named_delays(db, node):
    invoke(db)
    node.settle(node.ready(), "failed", retry=False)
    assert one(db, "select state, attempt from pgconductor.finished_executions") == ("failed", 1)
    made = invoke(db)
    node.settle(node.ready(), "failed", after_ms=3600000)
    assert one(db, "select run_at - now() between '59 min' and '1 hour' from pgconductor.executions") == (True,)
    node.promote()
    assert node.ready() == []
    db.execute("select pgconductor.cancel(%s)", (made,))
    # At once: ready again in the same transaction.
    made = invoke(db)
    for attempt in (1, 2):
        node.settle(node.ready(), "failed", after_ms=0)
        assert [(r[0], r[2]) for r in node.ready()] == [(made, attempt)]
    # For ever, as good as.
    node.settle(node.ready(), "deferred", after_ms=2**63 - 1)
    assert one(db, "select run_at > now() + interval '99 years' from pgconductor.executions") == (True,)


def test_deferred_does_not_count(db, node):
    declare(db, max_attempts=1, backoff="10s")
    made = invoke(db)
    for _ in range(3):
        node.settle(node.ready(), "deferred")
        row = row_of(db, made)
        assert (row["attempt"], row["ready_xid"]) == (0, None)
        assert one(db, "select run_at - now() between '8 s' and '12 s' from pgconductor.executions") == (True,)
        db.execute("update pgconductor.executions set run_at = now()")
        node.promote()
    node.settle(node.ready(), "failed")
    assert one(db, "select state, attempt from pgconductor.finished_executions") == ("failed", 1)


def test_mixed_batch(db, node):
    made = [invoke(db) for _ in range(4)]
    runs = node.ready() + [(999999, "1", 0)]
    assert node.settle(runs, ["completed", "failed", "deferred", "completed", "completed"]) == 4
    assert dict(db.execute("select id, state from pgconductor.executions_all").fetchall()) == dict(
        zip(made, ["completed", "delayed", "delayed", "completed"]))


def test_locked_rows_are_left_out(db, node, connect):
    made = [invoke(db) for _ in range(4)]
    runs = node.ready() + [(999999, "1", 0)]
    node.note(runs[:4])
    client = connect(autocommit=False)
    client.execute("select pgconductor.cancel(%s)", (made[1],))
    client.execute("select from pgconductor.executions where id = %s for share", (made[2],))
    for settle in (node.settle_plain, node.settle):
        with pytest.raises(psycopg.errors.LockNotAvailable):
            settle(runs)
    assert node.settle_locked(runs, ["completed", "completed", "failed", "failed", "completed"]) == [2, 3]
    assert dict(db.execute("select id, state from pgconductor.executions_all").fetchall()) == dict(
        zip(made, ["completed", "running", "running", "delayed"]))
    client.commit()
    assert node.settle_locked(runs) == []
    assert dict(db.execute("select id, state from pgconductor.executions_all").fetchall()) == dict(
        zip(made, ["completed", "cancelled", "completed", "delayed"]))
    assert one(db, "select count(*) from pgconductor.running") == (0,)


def test_missing_partition(db, node):
    """23514: make it, and repeat."""
    invoke(db)
    runs = node.ready()
    node.writer.execute("set pgconductor.fake_now = '2199-01-01 12:00+00'")
    for settle in (node.settle_plain, node.settle):
        with pytest.raises(psycopg.errors.CheckViolation):
            settle(runs)
    node.call("select pgconductor.ensure_partition(pgconductor.now())")
    assert node.settle_plain(runs) == 1


def rest(db, *executions):
    """Has them wait for their time as those do that wait for their next attempt."""
    db.execute("update pgconductor.executions set ready_xid = null, waiting = null where id = any (%s)", (list(executions),))


def test_promote(db, node):
    now = datetime.datetime(2030, 1, 1, tzinfo=datetime.timezone.utc)
    made = [invoke(db, run_at=now + datetime.timedelta(seconds=s)) for s in (30, 10, 20, 10, 3600)]
    rest(db, *made)
    parked = invoke(db)
    node.call("select pgconductor.park(%s::bigint[], %s::xid8[], 'unserved')", [parked], [node.ready()[0][1]])

    def at(seconds):
        node.writer.execute("select set_config('pgconductor.fake_now', %s, false)", (str(now + datetime.timedelta(seconds=seconds)),))
    at(0)
    assert node.promote() == (0, None, 10000)
    at(25)
    promoted, upto, due = node.promote(most=1)
    assert (promoted, due) == (1, 0)
    # Another one of the same moment is still found from there on.
    promoted, upto, due = node.promote(upto)
    assert (promoted, upto, due) == (2, now + datetime.timedelta(seconds=20), 5000)
    # What comes late, for a time before, is found by a full look.
    late = invoke(db, run_at=now + datetime.timedelta(seconds=5))
    rest(db, late)
    assert node.promote(upto)[:2] == (0, upto)
    assert node.promote(None)[0] == 1
    at(4000)
    assert node.promote(upto) == (2, now + datetime.timedelta(seconds=3600), None)
    assert sorted(r[0] for r in node.ready()) == sorted([*made, late])


def test_promote_does_not_wait(db, node, connect):
    a, b = invoke(db, delay="1 hour"), invoke(db, delay="1 hour")
    db.execute("update pgconductor.executions set run_at = now()")
    rest(db, a, b)
    client = connect(autocommit=False)
    client.execute("select pgconductor.cancel(%s)", (a,))
    assert node.promote()[0] == 1
    assert [r[0] for r in node.ready()] == [b]
    client.rollback()
    assert node.promote()[0] == 1


def test_poll_due(db, node):
    """In the order of time from the cursor on, each lane by itself; nothing is written for it."""
    now = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1)
    db.execute("update pgconductor.queues set shard_ids = shard_ids[:1]")
    made = [invoke(db, run_at=now + datetime.timedelta(seconds=s)) for s in (30, 10, 20, 10, 3600)]
    high = invoke(db, run_at=now + datetime.timedelta(seconds=25), priority=3)
    before = [row_of(db, i) for i in made]

    def at(seconds):
        for conn in (node.writer, node.reader):
            conn.execute("select set_config('pgconductor.fake_now', %s, false)", (str(now + datetime.timedelta(seconds=seconds)),))

    def look(after="-infinity", id=0, limit=10, lane=0):
        rows, due = node.poll_due([(1, lane, after, id, limit)])
        return [r[1] for r in rows[0]], due[0]
    at(0)
    assert look() == ([], 10000) and look(lane=-3) == ([], 25000) and node.ready() == []
    at(20)
    assert look() == ([made[1], made[3], made[2]], 10000) and look(limit=1) == ([made[1]], 10000)
    assert look(now + datetime.timedelta(seconds=10), made[1]) == ([made[3], made[2]], 10000)
    assert look(now + datetime.timedelta(seconds=20), made[2]) == ([], 10000)
    assert node.promote() == (0, None, None)
    at(4000)
    assert look() == ([made[1], made[3], made[2], made[0], made[4]], None) and look(lane=-3) == ([high], None)
    assert [row_of(db, i) for i in made] == before
    # A run as any other: it ends once, and what comes of a retry waits as all of them do.
    runs = {r[0]: r for r in node.ready()}
    assert node.settle_plain([runs[made[0]]]) == 1 and node.settle_plain([runs[made[0]]]) == 0
    assert node.settle([runs[made[1]]], "failed", error="{}", after_ms=1000) == 1
    assert made[1] not in look()[0] and node.promote()[2] == 1000
    at(4001)
    assert node.promote()[0] == 1 and node.run_of(made[1])[2] == 1


def test_what_somebody_has_touched_is_made_ready(db, node, connect):
    """It may be about to be changed. Fails when poll_due does not tell of it, or make_ready waits, or takes what has changed."""
    free, held, changed = (invoke(db, delay="1 hour") for _ in range(3))
    db.execute("update pgconductor.executions set run_at = now()")
    client = connect(autocommit=False)
    client.execute("select from pgconductor.executions where id = any (%s) for update", ([held, changed],))
    rows = node.poll_due([(s, 0, "-infinity", 0, 10) for s in (1, 2, 3, 4)])[0]
    touched = {r[1]: r[2] for part in rows for r in part if r[12]}
    assert sorted(touched) == [held, changed] and sorted(r[1] for part in rows for r in part) == [free, held, changed]

    def make_ready():
        return node.call("select pgconductor.make_ready(%s::bigint[], %s::xid8[])", list(touched), list(touched.values()))[0][0]
    assert make_ready() == 0
    client.execute("update pgconductor.executions set ready_xid = pg_current_xact_id() where id = %s", (changed,))
    client.commit()
    assert make_ready() == 1 and make_ready() == 0
    assert row_of(db, held)["waiting"] is None and int(row_of(db, held)["ready_xid"]) > int(touched[held])
    assert row_of(db, changed)["waiting"] == "delayed"
    assert sorted(r[0] for r in node.ready()) == [free, held, changed]


def test_park_and_unpark(db, node, connect):
    made = [invoke(db) for _ in range(3)]
    runs = node.ready()
    client = connect(autocommit=False)
    client.execute("select pgconductor.cancel(%s)", (made[1],))
    park = "select pgconductor.park(%s::bigint[], %s::xid8[], 'unserved')"
    args = [r[0] for r in runs] + [999999], [r[1] for r in runs] + ["1"]
    assert node.call(park, *args)[0][0] == [2]
    client.rollback()
    assert [r[0] for r in node.ready()] == [made[1]]
    assert node.call(park, *args)[0][0] == []
    assert node.ready() == []
    assert node.promote() == (0, None, None)
    node.serve("default/other")
    assert node.call("select pgconductor.unpark(%s)", sorted(node.epochs)) == [(0,)]
    node.serve("default/other", "default/work")
    client.execute("select pgconductor.cancel(%s)", (made[0],))
    assert node.call("select pgconductor.unpark(%s)", sorted(node.epochs)) == [(2,)]
    client.rollback()
    assert node.call("select pgconductor.unpark(%s)", sorted(node.epochs)) == [(1,)]
    assert sorted(r[0] for r in node.ready()) == made
    assert row_of(db, made[0])["waiting"] is None


def test_rehome(db, connect):
    """A run that this node does not serve goes to one that does; if there is none, the master parks it."""
    db.execute("select pgconductor.ensure_queue('default', 2)")
    declare(db)
    declare(db, "rare")
    first = Node(connect).serve("default/work")
    second = Node(connect).serve("default/work", "default/rare")
    assert len(first.settle_in()) == 1 == len(second.settle_in())
    mine = [i for i in (invoke(db, "rare", priority=2) for _ in range(30)) if row_of(db, i)["shard"] in first.epochs]
    db.execute("delete from pgconductor.executions where not id = any (%s)", (mine,))
    db.execute("delete from pgconductor.lanes where shard = any (%s) and lane <> 0", (sorted(second.epochs),))
    runs = first.ready()
    assert sorted(r[0] for r in runs) == mine
    client = connect(autocommit=False)
    client.execute("select pgconductor.cancel(%s)", (mine[0],))
    rehome = "select id, old_xid, new_xid, shard, locked from pgconductor.rehome(%s::bigint[], %s::xid8[], %s)"
    rows = first.call(rehome, [r[0] for r in runs] + [99999], [r[1] for r in runs] + ["1"], first.id)
    client.rollback()
    assert sorted(r[0] for r in rows) == mine
    by_id = {r[0]: r for r in rows}
    assert by_id[mine[0]][2:] == (None, None, True)
    for i in mine[1:]:
        assert by_id[i][2] != by_id[i][1] and by_id[i][3] in second.epochs and by_id[i][4] is False
    assert sorted(r[0] for r in second.ready()) == mine[1:]
    assert [r[0] for r in first.ready()] == mine[:1]
    # With nobody else to serve it, it stays; nothing is locked.
    second.serve("default/work")
    rows = first.call(rehome, [mine[0]], [by_id[mine[0]][1]], first.id)
    assert rows == [(mine[0], by_id[mine[0]][1], None, None, False)]
    # A node that has died serves nothing.
    second.serve("default/rare")
    second.die()
    while one(db, "select count(*) from pgconductor.live_nodes()") == (2,):
        pass
    assert first.call(rehome, [mine[0]], [by_id[mine[0]][1]], first.id)[0][2:] == (None, None, False)


def test_rehome_what_runs(db, node, connect):
    """Giving a shard up: what still runs moves to a kept one, and stays noted as running."""
    db.execute("select pgconductor.ensure_queue('default', 2)")
    node.settle_in()
    here, there = sorted(node.epochs)
    made = [i for i in (invoke(db, priority=1) for _ in range(40)) if row_of(db, i)["shard"] == here]
    db.execute("delete from pgconductor.lanes where shard = %s and lane <> 0", (there,))
    runs = [r for r in node.ready() if r[0] in made]
    node.note(runs)
    rows = node.call("select id, old_xid, new_xid, locked from pgconductor.rehome_to(%s::bigint[], %s::xid8[], %s)",
                     [r[0] for r in runs], [r[1] for r in runs], there)
    assert sorted((r[0], r[1]) for r in rows) == sorted((r[0], r[1]) for r in runs)
    moved = [(r[0], r[2], 0) for r in rows]
    assert one(db, "select count(*) from pgconductor.executions e join pgconductor.running r using (id, ready_xid, shard)"
                   " where shard = %s", there) == (len(made),)
    assert set(moved) <= {tuple(r) for r in node.ready()}
    assert node.settle_plain(runs) == 0
    assert node.settle(moved) == len(made)
    assert one(db, "select count(*) from pgconductor.running") == (0,)


def test_running(db, node):
    made = invoke(db)
    runs = node.ready()
    node.note(runs, program=None, pid=None)
    node.note(runs, age_ms=60000)
    assert one(db, "select program, pid, attempt, node, now() - started_at > '59 s' from pgconductor.running where id = %s",
               made) == ("app", 77, 1, node.id, True)
    # A run that is gone is not noted.
    node.note([(made, "1", 0)], shard=runs and row_of(db, made)["shard"])
    assert one(db, "select count(*) from pgconductor.running") == (1,)
    node.call("select pgconductor.forget_running(%s::bigint[], %s::xid8[])", [made], [runs[0][1]])
    assert one(db, "select count(*) from pgconductor.running") == (0,)
    assert row_of(db, made) is not None


def test_what_the_master_knows_of_tasks(db):
    declare(db, "a")
    declare(db, "b", queue="q", timeout="5s", remove_on_complete=0)
    declare(db, "c", remove_on_complete=False)
    assert sorted(db.execute("select name, queue, timeout_ms, keep_complete from pgconductor.load_tasks()"
                             " where name is not null").fetchall()) == [
        ("a", "default", None, True), ("b", "q", 5000, False), ("c", "default", None, True)]


@pytest.mark.parametrize("role", ["writer", "reader", "listener", "sleeper", "control", "upkeep"])
def test_sessions(connect, role):
    conn = session(connect, role, 8000)

    def setting(name):
        return conn.execute("select current_setting(%s)", (name,)).fetchone()[0]
    assert setting("application_name") == f"pgconductor {role}"
    assert (setting("TimeZone"), setting("search_path"), setting("default_transaction_isolation")) == (
        "UTC", "pg_catalog, pg_temp", "read committed")
    assert setting("idle_session_timeout") == ("8s" if role == "writer" else "0")
    assert setting("idle_in_transaction_session_timeout") == "8s"
    assert setting("statement_timeout") == ("0" if role in ("listener", "sleeper") else "1min" if role == "control" else "8s")
    assert setting("lock_timeout") == {"writer": "150ms", "sleeper": "0"}.get(role, "8s")
    assert setting("plan_cache_mode") == ("force_generic_plan" if role in ("writer", "reader") else "auto")
    assert setting("client_connection_check_interval") == "2s"


@pytest.mark.parametrize("arguments", ["'other', 1000", "'writer', 10", "'writer', null"])
def test_bad_sessions(db, arguments):
    with pytest.raises(psycopg.Error) as caught:
        db.execute(f"select pgconductor.setup_session({arguments})")
    assert caught.value.sqlstate == "PC009"
