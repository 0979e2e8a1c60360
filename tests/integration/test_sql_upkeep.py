"""History by day: partitions ahead and gone, retention, and that nobody waits for any of it."""

import datetime
import threading

import psycopg
import pytest

from support.sqlnode import Node, declare, invoke, one, session

NOW = datetime.datetime(2031, 3, 15, 12, 0, tzinfo=datetime.timezone.utc)


def at(conn, moment):
    conn.execute("select set_config('pgconductor.fake_now', %s, false)", (str(moment),))


PARENTS = ("events", "finished_executions", "logs")


def days(db, table="finished_executions"):
    return [r[0] for r in db.execute(
        "select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid"
        " where i.inhparent = ('pgconductor.' || %s)::regclass order by 1", (table,)).fetchall()]


def run_upkeep(conn, force=False, skip=()):
    """As the master does; returns the statements."""
    statements = [r[0] for r in conn.execute("select pgconductor.upkeep(%s)", (force,)).fetchall()]
    for statement in statements:
        while True:
            if any(s in statement for s in skip):
                break
            cursor = conn.execute(statement)
            row = cursor.fetchone() if cursor.description else None
            if not row or not isinstance(row[0], int) or isinstance(row[0], bool) or row[0] <= 0:
                break
    return statements


@pytest.fixture
def control(connect):
    conn = session(connect, "control")
    at(conn, NOW)
    return conn


@pytest.fixture
def node(db, connect, control):
    declare(db)
    made = Node(connect).serve("default/work")
    made.settle_in()
    at(made.writer, NOW)
    run_upkeep(control)
    return made


def day(offset, stem="finished"):
    return f"{stem}_" + (NOW + datetime.timedelta(days=offset)).strftime("%Y%m%d")


def finish(db, node, moment, outcome="completed", task="work", n=1):
    """Executions that finish at this time; returns their ids."""
    # In life nothing finishes in the past that was already looked through.
    db.execute("delete from pgconductor.expiries")
    at(node.writer, moment)
    node.call("select pgconductor.ensure_partition(%s)", moment)
    ids = [invoke(db, task) for _ in range(n)]
    node.settle([r for r in node.ready() if r[0] in ids], outcome, retry=False)
    at(node.writer, NOW)
    return ids


def kept(db):
    return {r[0] for r in db.execute("select id from pgconductor.finished_executions").fetchall()}


def test_installed_a_week_ahead(db):
    today = one(db, "select (now() at time zone 'UTC')::date")[0]
    assert days(db) == [f"finished_{today + datetime.timedelta(days=n):%Y%m%d}" for n in range(-1, 8)]
    assert days(db, "logs") == [f"logs_{today + datetime.timedelta(days=n):%Y%m%d}" for n in range(-1, 8)]
    assert run_upkeep(db)[0].startswith("select")


def test_a_week_ahead_by_utc_day(db, connect):
    """Whatever zone the session has."""
    conn = connect()
    conn.execute("set timezone = 'Pacific/Kiritimati'")
    at(conn, "2031-03-15 23:59:59+00")
    run_upkeep(conn)
    assert days(db)[-9:] == [day(n) for n in range(-1, 8)]
    bounds = one(db, "select pg_get_expr(relpartbound, oid) from pg_class where relname = %s", day(0))[0]
    assert bounds == "FOR VALUES FROM ('2031-03-15 00:00:00+00') TO ('2031-03-16 00:00:00+00')"
    # The parts have what the whole has.
    assert one(db, "select count(*) from pg_index where indrelid = %s::regclass", "pgconductor." + day(0)) == (2,)
    at(conn, "2031-03-16 00:00:00+00")
    assert len([s for s in run_upkeep(conn) if s.startswith("create")]) == len(PARENTS)


def test_one_node_at_a_time(db, connect, control):
    assert control.execute("select pgconductor.upkeep()").fetchall() != []
    other = connect()
    assert other.execute("select pgconductor.upkeep()").fetchall() == []
    at(other, NOW)
    assert other.execute("select pgconductor.upkeep(true)").fetchall() != []
    assert control.execute("select pgconductor.upkeep()").fetchall() != []
    control.execute("select pg_advisory_unlock_all()")
    assert run_upkeep(other)
    # Done: it lets go.
    assert control.execute("select pgconductor.upkeep()").fetchall() != []


def test_settling_goes_on_beside_an_open_reader(db, connect, node, control):
    """An open transaction that has read history: making and removing partitions waits for nothing but itself."""
    finish(db, node, NOW - datetime.timedelta(days=60))
    finish(db, node, NOW)
    reader = connect(autocommit=False)
    reader.execute("select count(*) from pgconductor.executions_all")
    writer_reader = connect(autocommit=False)
    writer_reader.execute("set transaction isolation level repeatable read")
    writer_reader.execute("select count(*) from pgconductor.finished_executions")
    at(control, NOW + datetime.timedelta(days=5))
    statements = [r[0] for r in control.execute("select pgconductor.upkeep()").fetchall()]
    assert len([s for s in statements if "attach" in s]) == 5 * len(PARENTS)
    for statement in statements:
        if "attach" in statement or statement.startswith("create"):
            control.execute(statement)
    assert day(12) in days(db)
    detach = [s for s in statements if "detach" in s and day(-60) in s]
    assert len(detach) == 1
    remover = session(connect, "control", 1500)
    waiting = threading.Thread(target=lambda: pytest.raises(psycopg.Error, remover.execute, detach[0]))
    waiting.start()
    # Meanwhile everything goes on, also new readers.
    for _ in range(3):
        made = invoke(db)
        assert node.settle_plain([r for r in node.ready() if r[0] == made]) == 1
        assert one(db, "select state from pgconductor.executions_all where id = %s", made) == ("completed",)
    waiting.join(20)
    # What was begun is finished the next time.
    reader.commit()
    writer_reader.commit()
    again = run_upkeep(control)
    assert [s for s in again if s.endswith("finalize")] and day(-60) not in days(db)
    assert one(db, "select count(*) from pg_class where relname = %s", day(-60)) == (0,)


def test_leftovers_of_a_broken_upkeep(db, control):
    """A partition made and not attached; one detached and not dropped."""
    statements = [r[0] for r in control.execute("select pgconductor.upkeep()").fetchall()]
    control.execute(statements[0])
    assert run_upkeep(control)[0].startswith("alter table pgconductor.events attach")
    at(control, NOW + datetime.timedelta(days=30))
    for statement in [r[0] for r in control.execute("select pgconductor.upkeep()").fetchall()]:
        if "detach" in statement:
            control.execute(statement)
            break
    assert [s for s in run_upkeep(control) if s.startswith("drop")]
    assert one(db, "select count(*) from pg_class where relname ~ '^(events|finished|logs)_\\d{8}$' and relkind = 'r'"
                   " and oid not in (select inhrelid from pg_inherits)") == (0,)


def test_retention_of_each_task(db, node, control):
    declare(db, "short", remove_on_complete="1h", remove_on_fail="2d")
    declare(db, "ever", remove_on_complete=False, remove_on_fail=False)
    expected = {}
    for hours in (0, 0.9, 1.1, 24, 47, 49, 24 * 6.9, 24 * 7.1, 24 * 29.9, 24 * 30.1, 24 * 400):
        moment = NOW - datetime.timedelta(hours=hours)
        for task, limits in (("work", (168, 720)), ("short", (1, 48)), ("ever", (1e9, 1e9))):
            for outcome, limit in zip(("completed", "failed"), limits):
                expected[finish(db, node, moment, outcome, task)[0]] = hours < limit
    cancelled = invoke(db)
    at(db, NOW - datetime.timedelta(days=20))
    db.execute("select pgconductor.cancel(%s)", (cancelled,))
    db.execute("reset pgconductor.fake_now")
    expected[cancelled] = True
    run_upkeep(control)
    assert kept(db) == {i for i, stays in expected.items() if stays}
    assert day(-400) in days(db) and day(-8) not in days(db)
    # With nothing to be kept for ever, whole days go.
    declare(db, "ever")
    run_upkeep(control)
    assert day(-400) not in days(db)
    at(control, NOW + datetime.timedelta(days=40))
    run_upkeep(control)
    assert kept(db) == set()
    assert days(db)[0] == day(39)


def test_whole_days_are_dropped_without_deleting(db, node, control):
    ids = finish(db, node, NOW - datetime.timedelta(days=40), n=5)
    statements = run_upkeep(control, skip=("expire",))
    assert [s for s in statements if "detach" in s and day(-40) in s]
    assert not kept(db) & set(ids)


def test_nothing_is_looked_at_twice(db, node, control):
    finish(db, node, NOW - datetime.timedelta(days=8))
    run_upkeep(control)
    upto = dict(db.execute("select keep, upto from pgconductor.expiries").fetchall())
    assert upto == {datetime.timedelta(days=7): NOW - datetime.timedelta(days=7),
                    datetime.timedelta(days=30): NOW - datetime.timedelta(days=30)}
    # A shorter time for what was kept longer: all of it is looked at again.
    old = finish(db, node, NOW - datetime.timedelta(days=8), "failed")
    run_upkeep(control)
    assert set(old) <= kept(db)
    declare(db, remove_on_fail="7d")
    run_upkeep(control)
    assert not set(old) & kept(db)


def test_in_batches(db, node, control):
    ids = one(db, "select pgconductor.invoke_batch('work', (select json_agg('{}'::json) from generate_series(1, 2500)))")[0]
    at(node.writer, NOW - datetime.timedelta(days=8))
    node.call("select pgconductor.ensure_partition(pgconductor.now())")
    node.settle_plain([r for r in node.ready()])
    assert kept(db) == set(ids)
    db.execute("delete from pgconductor.expiries")
    got = []
    while not got or got[-1]:
        got.append(one(control, "select pgconductor.expire('7 days', 1000)")[0])
    assert got == [1000, 1000, 500, 0]
    assert kept(db) == set()


def test_awaited_without_history_is_kept_for_an_hour(db, node, control):
    declare(db, remove_on_complete=0, remove_on_fail=0)
    db.execute("set pgconductor.await = on")
    young = finish(db, node, NOW - datetime.timedelta(minutes=50))
    old = finish(db, node, NOW - datetime.timedelta(minutes=70))
    run_upkeep(control)
    assert kept(db) == set(young)
    assert old


def test_tidying(db, node, control, connect):
    other = Node(connect)
    dead = Node(connect)
    dead.die()
    while one(db, "select count(*) from pgconductor.live_nodes()") != (2,):
        pass
    db.execute("update pgconductor.nodes set seen_at = %s", (NOW - datetime.timedelta(days=2),))
    made = finish(db, node, NOW)
    db.execute("select pgconductor.retry(%s)", made)
    db.execute("insert into pgconductor.retried values (4711)")
    db.execute("insert into pgconductor.lanes select shard, lane from pgconductor.lanes")
    run_upkeep(control)
    assert db.execute("select id from pgconductor.nodes order by id").fetchall() == [(node.id,), (other.id,)]
    assert db.execute("select id from pgconductor.retried").fetchall() == [(made[0],)]
    assert one(db, "select count(*), count(distinct (shard, lane)) from pgconductor.lanes") == (4, 4)
