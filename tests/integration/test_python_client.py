"""The Python library: the client, in the caller's transaction and on connections of its own."""

import asyncio
import datetime
import sys

import psycopg
import pytest

from support import paths
from support.engine import value

sys.path.insert(0, f"{paths.SRC}/proto/python")
import pgconductor  # noqa: E402
from pgconductor import AsyncClient, Client, ExecutionFailed, RawJSON, Result  # noqa: E402
from support import python_tasks as tasks  # noqa: E402

PROGRAM = [sys.executable, f"{paths.SRC}/tests/support/python_tasks.py"]
ENVIRONMENT = {"PYTHONPATH": f"{paths.SRC}/proto/python", "PYTHONUNBUFFERED": ""}


@pytest.fixture
def client(dsn, db):
    with Client(dsn) as one:
        one.declare(tasks.greet, tasks.value, tasks.elsewhere)
        yield one


def executions(db):
    return value(db, "select count(*) from pgconductor.executions")


# ---- transactions


def test_it_is_part_of_the_callers_transaction(client, connect, db):
    db.execute("create table users (name text)")
    conn = connect(autocommit=False)
    mine = Client(conn)
    conn.execute("insert into users values ('ann')")
    i = mine.invoke(tasks.greet, {"name": "ann"})
    assert mine.invoke_batch(tasks.greet, [{"payload": {"name": "ben"}}])
    assert executions(db) == 0  # nothing is committed behind the caller's back
    conn.rollback()
    assert executions(db) == 0 and mine.result(i) is None
    conn.rollback()

    with conn.transaction():
        conn.execute("insert into users values ('ann')")
        i = mine.invoke(tasks.greet, {"name": "ann"})
    assert executions(db) == 1 and mine.result(i) == Result(i, "ready")
    conn.rollback()

    with pytest.raises(pgconductor.UndeclaredTask), conn.transaction():
        conn.execute("insert into users values ('ben')")
        mine.invoke("gret", {"name": "ben"})
    assert db.execute("select name from users").fetchall() == [("ann",)]
    mine.close()
    assert not conn.closed


def test_row_factories_and_cursors_of_the_caller_do_not_matter(client, connect):
    conn = connect(row_factory=psycopg.rows.dict_row)
    i = Client(conn).invoke(tasks.value, [1])
    assert Client(conn).result(i).state == "ready"
    assert Client(conn).cancel(i, "not wanted")
    assert Client(conn).result(i).error["message"] == "not wanted"


# ---- what is sent


def test_invoke(client, db):
    at = datetime.datetime(2040, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc)
    i = client.invoke(tasks.value, {"a": [1, "ü"]}, priority=7, run_at=at, metadata={"tenant": 7}, queue="slow")
    assert isinstance(i, str)
    assert db.execute("select task, payload::text, priority, run_at, metadata, queue, state from pgconductor.executions_all"
                      " where id = %s", (i,)).fetchone() == \
        ("value", '{"a": [1, "ü"]}', 7, at, {"tenant": 7}, "slow", "delayed")
    for delay in (3600, "1h", datetime.timedelta(hours=1)):
        i = client.invoke("value", None, delay=delay)
        assert value(db, "select run_at - created_at from pgconductor.executions where id = %s", i) == datetime.timedelta(hours=1)
    i = client.invoke("value", RawJSON('{"n":12.50}'))
    assert value(db, "select payload::text from pgconductor.executions where id = %s", i) == '{"n":12.50}'
    i = client.invoke(tasks.value, "\ud800")
    assert value(db, "select payload::text from pgconductor.executions where id = %s", i) == '"\\ud800"'
    assert value(db, "select queue from pgconductor.executions where id = %s", client.invoke(tasks.elsewhere)) == "other"


def test_invoke_batch(client, db):
    at = datetime.datetime(2040, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc)
    ids = client.invoke_batch(tasks.value, [{"payload": n} for n in range(3)] +
                              [{"payload": "x", "run_at": at}, {"payload": None, "delay": "90m", "priority": 3}])
    rows = db.execute("select id::text, payload, priority, run_at - created_at from pgconductor.executions order by id").fetchall()
    assert [row[0] for row in rows] == ids
    assert [row[1] for row in rows] == [0, 1, 2, "x", None]
    assert rows[3][3] > datetime.timedelta(days=365) and rows[4][2:] == (3, datetime.timedelta(minutes=90))
    assert client.invoke_batch("value", []) == []
    with pytest.raises(pgconductor.BadArgument, match=r"items\[1\]\.prio: no such option"):
        client.invoke_batch("value", [{"payload": 1}, {"payload": 1, "prio": 3}])
    assert executions(db) == 5


def test_declare(client, db):
    @pgconductor.task("declared", queue="mail", max_attempts=5, backoff=["1s", 30], timeout=datetime.timedelta(minutes=2),
                      remove_on_complete=0, remove_on_fail=False)
    def declared():
        pass
    client.declare(declared)
    assert db.execute("select queue, sources -> 'code:client' from pgconductor.tasks where name = 'declared'").fetchone() == \
        ("mail", {"queue": "mail", "max_attempts": 5, "backoff": ["1s", 30000], "timeout": 120000,
                  "remove_on_complete": 0, "remove_on_fail": False})
    client.invoke(declared)


def test_keys(client, db):
    """One that was made already, one too many, and one that is put off: with every way to say how long."""
    first = client.invoke("value", 1, dedupe_key="é", dedupe_for="1h")
    assert client.invoke("value", 2, dedupe_key="é") == first
    assert client.invoke_batch("value", [{"payload": 3, "dedupe_key": "é", "dedupe_for": 0}, {"payload": 4}])[0] == first
    hour = datetime.timedelta(hours=1)
    assert client.invoke("value", 5, throttle=3600) is not None and client.invoke("value", 6, throttle={"seconds": 10}) is None
    assert client.invoke_batch("value", [{"throttle": "1h"}, {"throttle": hour, "dedupe_key": "k"}, {"throttle": {"hours": 1}}])[::2] == [None, None]
    late = client.invoke("value", 7, debounce={"seconds": 60}, max_wait={"minutes": 10})
    assert client.invoke("value", 8, debounce=hour) == late
    assert client.invoke_batch("value", [{"payload": 9, "debounce": {"seconds": 120}, "max_wait": "1h"}]) == [late]
    assert db.execute("select payload, round(extract(epoch from run_at - created_at) / 60) from pgconductor.executions where id = %s",
                      (late,)).fetchone() == (9, 2)
    assert executions(db) == 5


# ---- errors


def test_errors_of_the_server_are_exceptions(client, dsn, empty_dsn):
    for call, kind, words in (
            (lambda: client.invoke("gret"), pgconductor.UndeclaredTask, "'gret' was never declared"),
            (lambda: client.invoke("value", RawJSON("{")), pgconductor.BadPayload, "JSON"),
            (lambda: client.invoke("value", "x" * (17 << 20)), pgconductor.PayloadTooLarge, "16777216"),
            (lambda: client.invoke("value", queue="Not One"), pgconductor.BadQueue, "Not One"),
            (lambda: client.invoke("value", delay=1, run_at=datetime.datetime.now()), pgconductor.BadTime, "not both"),
            (lambda: client.invoke("value", dedupe_key=""), pgconductor.BadArgument, "dedupe_key: an empty text"),
            (lambda: client.invoke("value", debounce=0), pgconductor.BadTime, "debounce: 00:00:00 is not above 0"),
            (lambda: client.invoke("value", debounce=1, throttle="1s"), pgconductor.BadArgument, "not both"),
            (lambda: client.invoke("value", priority=40000), pgconductor.BadArgument, "priority"),
            (lambda: Client(empty_dsn).invoke("value"), pgconductor.NotInstalled, "pgconductor migrate")):
        with pytest.raises(kind, match=words) as caught:
            call()
        assert isinstance(caught.value, pgconductor.ClientError) and isinstance(caught.value.__cause__, psycopg.Error)
    # What is wrong without asking the server.
    for payload, kind in (({1, 2}, TypeError), (float("nan"), ValueError), (b"x", TypeError)):
        with pytest.raises(kind):
            client.invoke("value", payload)
    with pytest.raises(ValueError, match="not a duration"):
        client.invoke("value", delay="soon")
    with pytest.raises(TypeError):
        client.invoke("value", 1, prio=3)
    with pytest.raises(psycopg.DataError):
        client.result("x")


def test_a_connection_of_its_own_comes_back(client, db):
    db.execute("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'pgconductor client'")
    with pytest.raises(psycopg.OperationalError):
        client.invoke("value")
    assert client.invoke("value")


# ---- results


def test_results(client, server, db, connect):
    server(cmd=PROGRAM, env=ENVIRONMENT)
    assert client.wait(client.invoke(tasks.greet, {"name": "World"}), timeout=20) == {"greeting": "Hello, World!"}
    for plain in (0, False, "", None):
        i = client.invoke(tasks.value, plain)
        assert client.wait(i, "20s") == plain
        assert client.result(i) == Result(i, "completed", plain)
    i = client.invoke(tasks.for_good)
    with pytest.raises(ExecutionFailed, match=f"^execution {i} failed: NonRetryableError: no such user$") as caught:
        client.wait(i, timeout=20)
    assert caught.value.result.error["data"]["user"] == 7
    assert client.retry(i)
    with pytest.raises(ExecutionFailed):
        client.wait(i, timeout=20)
    assert not client.edit(i, priority=1) and not client.move(i, "default")
    assert client.discard(i) and not client.discard(i)

    i = client.invoke(tasks.value, 1, delay="1h")
    with pytest.raises(TimeoutError, match=f"execution {i} has not finished within 0.05 s"):
        client.wait(i, timeout=0.05)
    assert not client.retry(i)
    assert client.cancel(i, "not wanted") and not client.cancel(i)
    with pytest.raises(ExecutionFailed, match="cancelled: not wanted"):
        client.wait(i)
    with pytest.raises(pgconductor.UnknownExecution):
        client.wait("123456789")
    assert client.result(123456789) is None and not client.cancel("123456789") and not client.retry(123456789)

    # On a connection of the caller: not while it is in a transaction, and leaving none behind.
    conn = connect(autocommit=False)
    mine = Client(conn)
    i = mine.invoke(tasks.value, 3)
    with pytest.raises(RuntimeError, match="commit first"):
        mine.wait(i)
    conn.commit()
    assert mine.wait(i, timeout=20) == 3
    assert conn.info.transaction_status == psycopg.pq.TransactionStatus.IDLE


def test_async_client(client, server, dsn, db):
    server(cmd=PROGRAM, env=ENVIRONMENT)

    async def use():
        async with AsyncClient(dsn) as mine:
            await mine.declare(tasks.greet)
            ids = await asyncio.gather(*(mine.invoke(tasks.value, n) for n in range(20)))
            assert await asyncio.gather(*(mine.wait(i, timeout=20) for i in ids)) == list(range(20))
            ids = await mine.invoke_batch(tasks.value, [{"payload": n} for n in range(3)])
            assert [await mine.wait(i, timeout=20) for i in ids] == [0, 1, 2]
            with pytest.raises(pgconductor.UndeclaredTask):
                await mine.invoke("gret")
            with pytest.raises(ExecutionFailed):
                await mine.wait(await mine.invoke(tasks.for_good), timeout=20)
            with pytest.raises(TimeoutError):
                await mine.wait(await mine.invoke(tasks.value, 1, delay="1h"), timeout=0.05)
            i = await mine.invoke(tasks.value, 1, delay="1h")
            assert await mine.cancel(i) and (await mine.result(i)).state == "cancelled"
            assert await mine.retry(i) and await mine.wait(i, timeout=20) == 1
            i = await mine.invoke(tasks.value, 1, delay="1h")
            assert await mine.edit(i, payload=None, priority=2, metadata={"a": 1}) and await mine.move(i, "default")
            with pytest.raises(TypeError, match="no such option: queue"):
                await mine.edit(i, queue="default")
            assert await mine.edit(i, run_at=datetime.datetime.now(datetime.timezone.utc)) and await mine.wait(i, timeout=20) is None
            assert not await mine.edit(i, priority=1) and not await mine.move(i, "default") and not await mine.discard(i)
        before = executions(db)
        async with await psycopg.AsyncConnection.connect(dsn) as conn:
            theirs = AsyncClient(conn)
            i = await theirs.invoke(tasks.greet, {"name": "ann"}, delay="1h")
            with pytest.raises(RuntimeError, match="commit first"):
                await theirs.wait(i)
            await conn.rollback()
            assert executions(db) == before
            i = await theirs.invoke(tasks.greet, {"name": "ann"})
            await conn.commit()
            assert await theirs.wait(i, timeout=20) == {"greeting": "Hello, ann!"}
            await theirs.close()
            assert not conn.closed
    asyncio.run(use())


def test_the_database_of_the_environment(client, dsn, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", dsn)
    with Client() as mine:
        assert mine.invoke("value")
