"""invoke: what a program that creates executions relies on."""

import datetime
import threading

import psycopg
import pytest

from support.sqlnode import Node, declare, invoke, one, row_of


@pytest.fixture(autouse=True)
def task(db):
    declare(db)


def sqlstate(db, query, *args):
    with pytest.raises(psycopg.Error) as caught:
        db.execute(query, args or None)
    return caught.value.sqlstate, caught.value.diag.message_primary


@pytest.mark.parametrize("argument", ["'{\"a\": 1}'", "'{\"a\": 1}'::text", "'{\"a\": 1}'::json", "'{\"a\": 1}'::jsonb",
                                      "payload => '{\"a\": 1}'", "payload => '{\"a\": 1}'::json"])
def test_every_kind_of_payload_resolves(db, argument):
    made = one(db, f"select pgconductor.invoke('work', {argument})")[0]
    assert one(db, "select payload::text, queue, task, attempt from pgconductor.executions where id = %s", made) == (
        '{"a": 1}', "default", "work", 0)


def test_driver_parameters_resolve(db):
    for payload in ('{"a": 1}', psycopg.types.json.Json({"a": 1}), psycopg.types.json.Jsonb({"a": 1})):
        made = one(db, "select pgconductor.invoke(%s, %s)", "work", payload)[0]
        assert row_of(db, made)["payload"] == {"a": 1}


def test_left_out_or_null_is_json_null(db):
    for call in ("invoke('work')", "invoke('work', null)", "invoke('work', null::text)", "invoke('work', null::json)",
                 "invoke('work', null::jsonb)"):
        made = one(db, f"select pgconductor.{call}")[0]
        assert one(db, "select payload::text from pgconductor.executions where id = %s", made) == ("null",)


@pytest.mark.parametrize("text", [
    '{"b":1,  "a":2, "a":3}', "12.50", "1e400", "9223372036854775808", r'"\u0000"', r'"\ud800"', r'"\/\\u0041"', '"é"', " [ ] ",
    '{"k": "' + "x" * 5000 + '"}'], ids=lambda t: t[:20])
def test_text_is_kept_exactly(db, text):
    for cast in ("text", "json"):
        made = one(db, f"select pgconductor.invoke('work', %s::{cast})", text)[0]
        assert one(db, "select payload::text from pgconductor.executions where id = %s", made) == (text,)


def test_options(db):
    at = datetime.datetime(2199, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc)
    made = invoke(db, queue="other", priority=-7, run_at=at, metadata=psycopg.types.json.Json({"m": 1}))
    got = one(db, "select e.queue, s.queue, priority, lane, ready_xid, run_at, metadata::text from pgconductor.executions e"
                  " join pgconductor.shards s on s.id = e.shard where e.id = %s", made)
    assert got[4] is not None and got[:4] + got[5:] == ("other", "other", -7, 7, at, '{"m": 1}')
    assert one(db, "select count(*) from pgconductor.lanes where lane = 7") == (1,)


def test_delay_and_times_past(db):
    made = invoke(db, delay="1 hour")
    assert one(db, "select waiting, run_at - created_at from pgconductor.executions where id = %s", made) == (
        "delayed", datetime.timedelta(hours=1))
    for options in ({"delay": "0"}, {"run_at": "2001-01-01"}):
        row = row_of(db, invoke(db, **options))
        assert row["ready_xid"] is not None and row["waiting"] is None


def test_priority_bounds(db):
    for level in (32767, -32768):
        made = invoke(db, priority=level)
        assert (row_of(db, made)["priority"], row_of(db, made)["lane"]) == (level, -level)


@pytest.mark.parametrize("call,code,message", [
    ("invoke('typo')", "PC001", "pgconductor.invoke: task: 'typo' was never declared"),
    ("invoke('typo', queue => 'default')", "PC001", "pgconductor.invoke: task: 'typo' was never declared"),
    ("invoke(null)", "PC001", "pgconductor.invoke: task: null was never declared"),
    ("invoke('work', '{\"a\":}')", "PC002", "pgconductor.invoke: payload: not JSON: Expected JSON value, but found \"}\"."),
    ("invoke('work', 'hello')", "PC002", "pgconductor.invoke: payload: not JSON: Token \"hello\" is invalid."),
    ("invoke('work', '')", "PC002", "pgconductor.invoke: payload: not JSON: The input string ended unexpectedly."),
    ("invoke('work', 'no', priority => 1)", "PC002", "pgconductor.invoke: payload: not JSON: Token \"no\" is invalid."),
    ("invoke('work', queue => 'Big Queue')", "PC004", "pgconductor.invoke: queue: 'Big Queue' is not a queue's name"),
    ("invoke('work', queue => '')", "PC004", "pgconductor.invoke: queue: '' is not a queue's name"),
    ("invoke('work', run_at => 'infinity')", "PC005", "pgconductor.invoke: run_at: an infinite time"),
    ("invoke('work', run_at => '-infinity')", "PC005", "pgconductor.invoke: run_at: an infinite time"),
    ("invoke('work', delay => '-1 s')", "PC005", "pgconductor.invoke: delay: -00:00:01 is not between 0 and 1000 years"),
    ("invoke('work', delay => '2000 years')", "PC005", "pgconductor.invoke: delay: 2000 years is not between 0 and 1000 years"),
    ("invoke('work', delay => '1 s', run_at => now())", "PC005", "pgconductor.invoke: run_at, delay: give one of them, not both"),
    ("invoke('work', priority => 40000)", "PC009", "pgconductor.invoke: priority: 40000 is not between -32768 and 32767"),
])
def test_bad_input_is_named(db, call, code, message):
    assert sqlstate(db, f"select pgconductor.{call}") == (code, message)
    assert one(db, "select count(*) from pgconductor.executions") == (0,)


def test_size_limit_is_exact(db):
    db.execute("select pgconductor.set_setting('max_payload', '4096')")
    for n, cast in ((4096, "text"), (4096, "json")):
        invoke_text = '"' + "x" * (n - 2) + '"'
        one(db, f"select pgconductor.invoke('work', %s::{cast})", invoke_text)
    for cast in ("text", "json"):
        assert sqlstate(db, f"select pgconductor.invoke('work', %s::{cast})", '"' + "x" * 4095 + '"') == (
            "PC003", "pgconductor.invoke: payload: 4097 bytes, the limit is 4096")
    # Bytes, not characters.
    assert sqlstate(db, "select pgconductor.invoke('work', %s::text)", '"' + "é" * 2048 + '"')[0] == "PC003"


def test_sixteen_mebibytes(db):
    text = '"' + "x" * (16 * 1048576 - 2) + '"'
    made = invoke(db, payload=text)
    assert one(db, "select payload::text = %s from pgconductor.executions where id = %s", text, made) == (True,)
    assert sqlstate(db, "select pgconductor.invoke('work', %s)", text[:-1] + 'x"')[0] == "PC003"


def test_part_of_the_callers_transaction(db, connect):
    other = connect(autocommit=False)
    made = invoke(other)
    assert row_of(db, made) is None
    other.rollback()
    assert row_of(db, made) is None
    made = invoke(other)
    other.commit()
    assert row_of(db, made)["task"] == "work"


@pytest.mark.parametrize("level", ["read committed", "repeatable read", "serializable"])
@pytest.mark.parametrize("path,zone", [("", "UTC"), ("public, pg_temp", "Asia/Kathmandu"), ("pg_temp, pgconductor", "America/St_Johns")])
def test_works_for_any_session(db, connect, level, path, zone):
    """Any search_path, with objects in it that would capture unqualified names, any zone, any isolation level."""
    conn = connect(autocommit=False)
    conn.execute("select set_config('search_path', %s, false), set_config('TimeZone', %s, false)", (path, zone))
    conn.execute("set default_transaction_isolation = '" + level + "'")
    conn.commit()
    conn.execute("create temp table tasks (name text)")
    conn.execute("create temp table executions (id bigint)")
    conn.execute("create function pg_temp.random() returns float8 language sql as 'select 1/0::float8'")
    conn.commit()
    made = one(conn, "select pgconductor.invoke('work', '{\"a\":1}', delay => interval '1 hour', priority => 3)")[0]
    ids = one(conn, "select pgconductor.invoke_batch('work', '[{\"payload\":1}, {\"payload\":\"\\n\",\"priority\":1}]')")[0]
    assert one(conn, "select state from pgconductor.result(%s)", made) == ("delayed",)
    assert one(conn, "select pgconductor.cancel(%s, 'no')", made) == (True,)
    assert one(conn, "select pgconductor.retry(%s)", made) == (True,)
    one(conn, "select pgconductor.declare_task('fresh', 'fresh')")
    one(conn, "select pgconductor.invoke('fresh')")
    assert one(conn, "select count(*) from pgconductor.executions_all") == (4,)
    conn.commit()
    assert row_of(db, made)["ready_xid"] is not None
    assert row_of(db, ids[1])["priority"] == 1
    assert one(db, "select created_at between now() - interval '1 minute' and now() + interval '1 minute'"
                   " from pgconductor.executions where id = %s", made) == (True,)


def test_new_lanes_and_queues_make_nobody_wait(db, connect):
    """Two transactions that use a new lane at once: neither waits for the end of the other."""
    first, second = connect(autocommit=False), connect(autocommit=False)
    for conn in (first, second):
        conn.execute("set local lock_timeout = '5s'")
    db.execute("select pgconductor.ensure_queue('default', 1)")
    a, b = invoke(first, priority=9), invoke(second, priority=9)
    first.commit()
    second.commit()
    assert one(db, "select count(*), count(distinct (shard, lane)) from pgconductor.lanes where lane = -9") == (2, 1)
    db.execute("select pgconductor.tidy()")
    assert one(db, "select count(*) from pgconductor.lanes where lane = -9") == (1,)
    assert row_of(db, a)["lane"] == row_of(db, b)["lane"] == -9


def test_spread_over_the_shards(db):
    for _ in range(100):
        invoke(db)
    assert one(db, "select count(distinct shard) from pgconductor.executions") == (4,)


def test_awaited_is_marked(db, connect):
    conn = connect()
    assert row_of(db, invoke(conn))["awaited"] is False
    with conn.transaction():
        conn.execute("set local pgconductor.await = on")
        inside = [invoke(conn), invoke(conn, priority=1), *one(conn, "select pgconductor.invoke_batch('work', '[{},{\"priority\":1}]')")[0]]
    assert [row_of(db, i)["awaited"] for i in inside] == [True] * 4
    assert row_of(db, invoke(conn))["awaited"] is False


class TestWaking:
    """A node that sleeps is notified; one that is awake is not."""

    @pytest.fixture
    def node(self, connect):
        one_node = Node(connect).serve("default/work")
        one_node.settle_in()
        return one_node

    @pytest.fixture
    def listener(self, connect, node):
        conn = connect()
        conn.execute(f"listen pgconductor_{node.id}")
        return conn

    def sleep(self, connect, node):
        conn = connect()
        conn.execute("select pg_advisory_lock(1346847491, %s)", (node.id,))
        return conn

    def test_awake_is_left_alone(self, db, node, listener):
        invoke(db)
        one(db, "select pgconductor.invoke_batch('work', '[{\"payload\":1}]')")
        assert drain(listener) == []

    def test_asleep_is_woken(self, db, connect, node, listener):
        sleeper = self.sleep(connect, node)
        calls = ["invoke('work')", "invoke('work', priority => 1)", "invoke('work', delay => '1 s')",
                 "invoke_batch('work', '[{\"payload\":1}]')", "invoke_batch('work', '[{\"priority\":1}]')"]
        for call in calls:
            db.execute(f"select pgconductor.{call}")
            assert drain(listener) == [""], call
        # Due after the next slow poll: that is early enough.
        db.execute("select pgconductor.invoke('work', delay => '1 hour')")
        db.execute("select pgconductor.invoke_batch('work', '[{\"delay\":\"1 hour\"}]')")
        assert drain(listener) == []
        sleeper.close()

    def test_about_to_sleep_counts_as_asleep(self, db, connect, node, listener):
        """From the moment it asks for its sleep lock, new transactions notify it; those before it hold it up."""
        before = connect(autocommit=False)
        invoke(before)
        sleeper = connect()
        waiting = threading.Thread(target=sleeper.execute, args=("select pg_advisory_lock(1346847491, %s)", (node.id,)))
        waiting.start()
        while one(db, "select count(*) from pg_locks where locktype = 'advisory' and classid = 1346847491 and not granted") != (1,):
            pass
        invoke(db)
        assert drain(listener) == [""]
        assert waiting.is_alive()
        before.commit()
        waiting.join(10)
        assert not waiting.is_alive()

    def test_never_with_notify_off(self, db, connect, node, listener):
        self.sleep(connect, node)
        conn = connect(autocommit=False)
        conn.execute("set local pgconductor.notify = off")
        made = invoke(conn)
        one(conn, "select pgconductor.cancel(%s)", made)
        conn.execute("prepare transaction 'two phases'")
        db.execute("commit prepared 'two phases'")
        assert drain(listener) == []

    def test_nobody_owns_it(self, db, listener):
        declare(db, "elsewhere", "elsewhere")
        invoke(db, "elsewhere")
        assert drain(listener) == []


def drain(listener):
    """Payloads of the notifications that have arrived."""
    got = []
    listener.add_notify_handler(lambda n: got.append(n.payload))
    listener.execute("select 1")
    listener.execute("select 1")
    listener._notify_handlers.clear()
    return got
