"""Sleeping and waking: no transaction's work waits for the slow poll, whenever it commits; and at rest there is rest."""

import os
import random
import signal
import time

import psycopg
import pytest

from support.engine import asleep, backend, has_polled, invoke, nodding, sleep_locks, value, wait_empty
from support.wait import wait_for

# So long that whoever missed the notification is not served by the slow poll in time.
NEVER = 'poll_interval = "1h"'


def served(app, execution, within=2.0):
    """The time from now until the execution has been started."""
    begin = time.monotonic()
    wait_for(lambda: app.runs(execution), within, f"execution {execution} is started", poll=0.001)
    return time.monotonic() - begin


def test_woken_at_any_moment_around_falling_asleep(server, app, db, connect, seed, scale):
    """Hammers the moments between the last poll that finds something and sleep. Fails without the last look after the
    lock is granted, and when the lock is asked for without waiting in the queue for it."""
    server(config=app.config("seen", top=NEVER))
    rng = random.Random(seed)
    other = connect(autocommit=False)
    waits = []
    for n in range(scale(250, 5000)):
        kind = rng.random()
        time.sleep(rng.uniform(0, 0.045))
        if kind < 0.55:
            i = invoke(db)
        elif kind < 0.9:
            # Begun while the node was awake, committed when it is about to sleep.
            i = invoke(other)
            time.sleep(rng.uniform(0, 0.04))
            other.commit()
        elif kind < 0.95:
            i = invoke(other, delay=f"{rng.randint(1, 60)} ms")
            time.sleep(rng.uniform(0, 0.04))
            other.commit()
        else:
            asleep(db)
            i = invoke(db)
        waits.append(served(app, i))
    waits.sort()
    assert waits[len(waits) // 2] < 0.1, waits[len(waits) // 2]


def open_while_awake(app, db, opened):
    """Invokes in a transaction that stays open and found the node awake: it will not notify. Returns the execution."""
    while True:
        i = invoke(db)
        # Seen awake or not: it is so for some milliseconds, which a busy machine can let pass.
        for _ in range(100):
            if sleep_locks(db, True) + sleep_locks(db, False) == 0:
                break
        first = invoke(opened)
        if value(opened, "select count(*) from pg_locks where pid = pg_backend_pid() and locktype = 'advisory'"):
            served(app, i)
            nodding(db)
            return first
        opened.commit()
        served(app, first)


def test_open_transaction_keeps_the_node_from_sleeping(server, app, db, connect, scale):
    """Begun while the node was awake, it will not notify: the node must poll until it has ended, and then once more for
    what the poll shows as ended. Fails without either."""
    server(config=app.config("seen", top=NEVER))
    opened = connect(autocommit=False)
    for _ in range(scale(3, 30)):
        first = open_while_awake(app, db, opened)
        # Whoever comes now is not made to wait, and the node answers all the same.
        assert served(app, invoke(db)) < 1
        # What it has listed as late has been looked for once, in vain.
        for _ in range(3):
            has_polled(db)
        nodding(db)
        # Now the lock is granted; the last look must find what it waited for.
        opened.commit()
        assert served(app, first) < 1
        asleep(db)


def test_notify_off_is_served_by_the_slow_poll(server, app, db, connect):
    """What two-phase commit needs. The node is not woken, and finds it by itself."""
    server(config=app.config("seen", top='poll_interval = "1s"'))
    asleep(db)
    conn = connect()
    conn.execute("set pgconductor.notify = off")
    for _ in range(3):
        assert served(app, invoke(conn)) < 1.8
        asleep(db)
    prepared = connect(autocommit=False)
    prepared.execute("set local pgconductor.notify = off")
    i = invoke(prepared)
    prepared.execute("prepare transaction 'slow'")
    assert not app.runs(i)
    db.execute("commit prepared 'slow'")
    assert served(app, i) < 1.8


def test_listener_terminated_while_asleep(server, app, cluster, db, scale):
    """With nobody to hear, the sleep lock must be let go: fails (waits for the slow poll) if it is kept. Each other time
    the listener cannot come back at once, else its coming back would wake the node."""
    server(config=app.config("seen", top=NEVER))
    admin = cluster.connect()
    for n in range(scale(6, 50)):
        asleep(db)
        pid = backend(db, "listener")
        admin.execute(f'alter database "{db.info.dbname}" allow_connections {n % 2 == 0}')
        db.execute("select pg_terminate_backend(%s)", (pid,))
        assert served(app, invoke(db)) < 2
        admin.execute(f'alter database "{db.info.dbname}" allow_connections true')
        wait_for(lambda: backend(db, "listener") not in (None, pid))
    admin.close()


def test_sleeper_terminated(server, app, db, connect, scale):
    """Asleep, and while it waits for the lock."""
    server(config=app.config("seen", top=NEVER))
    opened = connect(autocommit=False)
    for n in range(scale(6, 60)):
        if n % 2:
            asleep(db)
        else:
            first = open_while_awake(app, db, opened)
        pid = backend(db, "sleeper")
        db.execute("select pg_terminate_backend(%s)", (pid,))
        assert served(app, invoke(db)) < 2
        wait_for(lambda: backend(db, "sleeper") not in (None, pid))
        if n % 2 == 0:
            opened.commit()
            served(app, first)


def test_sleep_lock_goes_with_the_node(server, app, db):
    one = server(config=app.config("seen", top=NEVER))
    asleep(db)
    one.stop()
    assert sleep_locks(db, True) == 0
    assert value(db, "select count(*) from pgconductor.shards where owner is not null") == 0


def test_listener_that_hears_nothing_is_found_out(server, app, db, scale):
    """A connection that is there and delivers nothing: the probe does not arrive, so there is no sleeping, and the
    connection is made anew."""
    if scale(True, False):
        pytest.skip("takes half a minute")
    server(config=app.config("seen", top=NEVER))
    asleep(db)
    pid = backend(db, "listener")
    os.kill(pid, signal.SIGSTOP)
    try:
        wait_for(lambda: sleep_locks(db, True) == 0, 60, "the sleep lock is let go")
        assert served(app, invoke(db)) < 2
    finally:
        os.kill(pid, signal.SIGCONT)
    asleep(db)


@pytest.fixture
def counted(own_cluster):
    """A cluster that counts statements."""
    cluster = own_cluster(shared_preload_libraries="pg_stat_statements", **{"pg_stat_statements.track": "top"})
    with cluster.connect("test") as conn:
        conn.execute("create extension pg_stat_statements")
    return cluster


def assert_rate(conn, seconds, at_most):
    """So many statements a second, but for our own."""
    def calls():
        return dict(conn.execute("select query, sum(calls)::int from pg_stat_statements where query not like '%pg_stat_%'"
                                 " and query not like '%setup_session%' group by query").fetchall())
    before, begin = calls(), time.monotonic()
    # The one place where time itself is what is measured.
    time.sleep(seconds)
    made = {query: n - before.get(query, 0) for query, n in calls().items() if n > before.get(query, 0)}
    assert sum(made.values()) / (time.monotonic() - begin) <= at_most, made


def test_rest(counted, server, app):
    """At rest 2 queries a second at most; beside an open transaction that has invoked something, 10."""
    dsn = counted.dsn("test")
    server(config=app.config("seen"), dsn=dsn)
    with psycopg.connect(dsn, autocommit=True) as db, psycopg.connect(dsn) as opened:
        asleep(db)
        assert_rate(db, 10, 2)
        first = open_while_awake(app, db, opened)
        # But for the open transaction it would sleep again.
        assert_rate(db, 5, 10)
        opened.commit()
        served(app, first)
        wait_empty(db)
