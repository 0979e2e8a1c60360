"""Nodes: who gets what, and what a lost connection or a takeover changes for what runs and for what waits."""

import random
import threading
import time

import psycopg
import pytest

from support.engine import (asleep, backend, batch, blocker, has_polled, invoke, node_of, owned, unfinished, value, wait_empty,
                            wait_finished)
from support.proxy import Proxy
from support.sqlnode import Node
from support.wait import wait_for


# ---- tasks that nobody here serves ----

def parked(db):
    return value(db, "select count(*) from pgconductor.executions where waiting = 'unserved' and ready_xid is null")


def test_unserved_waits_until_somebody_serves_it(server, app, db):
    """Parked with its reason, in nobody's way; run as soon as a node comes that serves it."""
    server(config=app.config("seen"))
    db.execute("select pgconductor.declare_task('echo')")
    ids = batch(db, "echo", 50) + [invoke(db, "echo", priority=3)]
    wait_for(lambda: parked(db) == 51)
    assert value(db, "select count(*) from pgconductor.executions_all where state = 'ready' and waiting = 'unserved'") == 51
    seen = batch(db, "seen", 50)
    wait_for(lambda: len(app.runs()) == 50)
    other = server(config=app.config("echo", name="other"))
    wait_empty(db)
    app.assert_once(ids + seen)
    # It goes, and what comes then waits again.
    other.stop()
    more = batch(db, "echo", 20)
    wait_for(lambda: parked(db) == 20)
    server(config=app.config("echo", name="other"))
    wait_empty(db)
    app.assert_once(ids + seen + more)


def test_unserved_by_any_node_of_a_restarted_one(server, app, db):
    """Parked by a node that has ended; found by the next one."""
    one = server(config=app.config("seen"))
    db.execute("select pgconductor.declare_task('echo')")
    i = invoke(db, "echo")
    wait_for(lambda: parked(db) == 1)
    one.stop()
    server(config=app.config("echo"))
    wait_finished(db, i)


def test_served_by_another_node_only(server, app, db):
    """Each node hands what it does not serve to the one that does."""
    first, second = server(config=app.config("seen", name="a")), server(config=app.config("echo", name="b"))
    wait_for(lambda: [len(owned(db, node_of(db, s)) or []) for s in (first, second)] == [2, 2], 10, "two shards each")
    ids = [invoke(db, task, priority=p) for p in (0, 1) for task in ("seen", "echo") for _ in range(40)]
    wait_empty(db)
    app.assert_once(ids)
    by_task = dict(db.execute("select task, array_agg(distinct node) from pgconductor.finished_executions group by 1").fetchall())
    assert by_task == {"seen": [node_of(db, first)], "echo": [node_of(db, second)]}


def test_unserved_and_locked(server, app, db, connect):
    """A row that a client has locked cannot be parked: it is read again, and then it is."""
    server(config=app.config("seen"))
    db.execute("select pgconductor.declare_task('echo')")
    making, locking = connect(autocommit=False), connect()
    ids = [invoke(making, "echo") for _ in range(8)]
    # A lock that stands before the row is seen.
    making.execute("savepoint s")
    making.commit()
    with locking.transaction():
        locking.execute("select from pgconductor.executions where id = %s for update", (ids[2],))
        wait_for(lambda: parked(db) >= 7)
    wait_for(lambda: parked(db) == 8)


# ---- lost connections ----

def test_what_runs_goes_on_when_the_writer_is_lost(server, app, db):
    """The shards are taken again by the same node: what runs is not run again, and what ends meanwhile is settled.
    Fails when a reconnect forgets what is running, or what was read."""
    server(config=app.config("seen", "hold", concurrency=20))
    held = [invoke(db, "hold") for _ in range(20)]
    wait_for(lambda: len(app.runs()) == 20)
    waiting = batch(db, "seen", 200)
    has_polled(db)
    epochs = value(db, "select array_agg(epoch order by id) from pgconductor.shards")
    for n in range(4):
        pid = backend(db, "writer")
        db.execute("select pg_terminate_backend(%s)", (pid,))
        for i in held[5 * n:5 * n + 5]:
            app.release(i)
        wait_for(lambda: backend(db, "writer") not in (None, pid))
    wait_empty(db)
    app.assert_once(held + waiting)
    assert value(db, "select array_agg(epoch order by id) from pgconductor.shards") == epochs


class Terminator(threading.Thread):
    """Ends the master's connections, one after the other."""

    def __init__(self, dsn, seed):
        super().__init__()
        self.dsn, self.random, self.ended, self.n = dsn, random.Random(seed), False, 0

    def run(self):
        with psycopg.connect(self.dsn, autocommit=True) as db:
            while not self.ended:
                time.sleep(self.random.uniform(0.01, 0.15))
                role = self.random.choice(["writer", "writer", "reader", "reader", "listener", "sleeper", "control"])
                pid = backend(db, role)
                if pid:
                    db.execute("select pg_terminate_backend(%s)", (pid,))
                    self.n += 1


def test_connections_lost_all_the_time(server, app, db, dsn, seed, scale):
    """Nothing is lost, and nothing runs twice: the handlers are the same all the time."""
    server(config=app.config("seen", queue="fetch_batch = 50", concurrency=20, credit=20))
    terminator = Terminator(dsn, seed)
    terminator.start()
    ids, rng, until = [], random.Random(seed + 1), time.monotonic() + scale(5, 60)
    try:
        while time.monotonic() < until:
            ids += batch(db, "seen", rng.randint(1, 60))
            ids.append(invoke(db, priority=rng.randint(-1, 1), delay=f"{rng.choice([0, 30, 200])} ms"))
            time.sleep(rng.uniform(0, 0.05))
    finally:
        terminator.ended = True
        terminator.join()
    wait_empty(db, 30)
    assert terminator.n > 10
    app.assert_once(ids)


def test_writer_of_a_former_life_of_the_server(own_cluster, server, app, short_tmp):
    """PostgreSQL went through a crash, and only the reader has noticed: what it reads now may bear numbers that were
    assigned anew. Both connections are dropped at once. Fails when the reader does not look for its writer."""
    cluster = own_cluster()
    with Proxy(cluster.dir, short_tmp) as proxy:
        one = server(config=app.config("seen", "hold", top='takeover_timeout = "60s"  poll_interval = "500ms"'), dsn=proxy.dsn("test"))
        with cluster.connect("test") as db:
            held = invoke(db, "hold")
            wait_for(lambda: app.runs(held))
            asleep(db)
        proxy.hide_end("writer")
        cluster.restart("immediate")
        one.wait_log("the server was restarted", 5)
        proxy.hide_end("writer", False)
        with cluster.connect("test") as db:
            ids = [invoke(db) for _ in range(10)]
            for i in ids:
                wait_finished(db, i, timeout=5)
            app.release(held)
            wait_finished(db, held)
            app.assert_once([held, *ids])


def test_no_dispatch_without_an_answer(server, app, cluster, db, short_tmp):
    """Half the timeout without a word from the database: somebody else may be about to take over, so nothing more is
    started. Fails when that is left out."""
    with Proxy(cluster.dir, short_tmp) as proxy:
        server(config=app.config("seen", "hold", top='takeover_timeout = "4s"'), dsn=proxy.dsn(db.info.dbname))
        ids = [invoke(db)]
        wait_finished(db, ids[0])
        proxy.hold("writer")
        begin = time.time()
        while time.time() < begin + 3.6:
            ids.append(invoke(db))
            time.sleep(0.05)
        proxy.let_go("writer")
        wait_empty(db)
        app.assert_once(ids)
        started = [e.ns / 1e9 - begin for e in app.runs()[1:]]
        # What was asked of the database first stands for how long it has been silent; a tick may have passed before.
        assert any(t < 2 for t in started)
        silent = [t for t in started if 2.6 < t < 3.5]
        assert not silent, silent


# ---- floors ----

def floors(db):
    return [r[0] for r in db.execute("select floor::text::bigint from pgconductor.shards order by id")]


def test_taking_over_does_not_walk_dead_rows(server, app, db, connect):
    """The floor follows what is done, not beyond what still runs; whoever takes over starts from there, in every lane.
    Fails when floors are not stored, or not used for each lane: the dead entries are read then."""
    config = app.config("seen", "hold", top='takeover_timeout = "1s"')
    one = server(config=config)
    old = connect(autocommit=False)
    old.execute("set transaction isolation level repeatable read")
    old.execute("select count(*) from pgconductor.executions")
    held = [invoke(db, "hold") for _ in range(12)]
    wait_for(lambda: len(app.runs()) == 12)
    first = min(app.xids(i)[0] for i in held)
    done = batch(db, "seen", 3000) + batch(db, "seen", 3000, '{"priority": 7}')
    wait_for(lambda: unfinished(db) == 12, 20)
    high = value(db, "select pg_snapshot_xmax(pg_current_snapshot())::text::bigint")
    at = value(db, "select seen_at from pgconductor.nodes")
    wait_for(lambda: value(db, "select seen_at from pgconductor.nodes") > at)
    shard_of = dict(db.execute("select id, shard from pgconductor.executions").fetchall())
    stored = dict(db.execute("select id, floor::text::bigint from pgconductor.shards").fetchall())
    for i in held:
        assert stored[shard_of[i]] <= app.xids(i)[0]
    assert min(floors(db)) >= first
    app.release()
    wait_empty(db)
    # The xmax of the old transaction's snapshot does not matter, nor that it is still there.
    wait_for(lambda: min(floors(db)) >= high)
    one.kill9()

    def entries_read():
        return value(db, "select idx_tup_read from pg_stat_user_indexes where indexrelname = 'executions_ready'")
    before = entries_read()
    server(config=config)
    last = invoke(db, priority=7)
    wait_finished(db, last)
    asleep(db)
    wait_for(lambda: entries_read() > before)
    assert entries_read() - before < 3000, entries_read() - before
    app.assert_once(held + done + [last])
    old.rollback()


def test_floor_stays_below_a_late_transaction(server, app, db, connect):
    """A transaction that is still open, older than everything that was read: fails (its rows are never run) when the
    floor does not mind the late list."""
    config = app.config("seen", top='takeover_timeout = "1s"')
    one = server(config=config)
    opened = connect(autocommit=False)
    late = [invoke(opened) for _ in range(10)] + [invoke(opened, priority=9)]
    xid = value(opened, "select pg_current_xact_id()::text::bigint")
    done = batch(db, "seen", 500)
    wait_empty(db)
    for _ in range(3):
        at = value(db, "select seen_at from pgconductor.nodes")
        wait_for(lambda: value(db, "select seen_at from pgconductor.nodes") > at)
    assert max(floors(db)) <= xid
    one.kill9()
    opened.commit()
    server(config=config)
    wait_empty(db)
    app.assert_once(late + done)


@pytest.mark.parametrize("clean", [True, False], ids=["stopped", "killed"])
def test_takeover_with_a_late_transaction_open(server, app, db, connect, clean):
    """The next node's first snapshot shows it in progress. It has no upper bound to begin with, and lists it."""
    config = app.config("seen", top='takeover_timeout = "1s"')
    one = server(config=config)
    opened = connect(autocommit=False)
    late = [invoke(opened) for _ in range(10)]
    done = batch(db, "seen", 100)
    wait_empty(db)
    if clean:
        one.stop()
    else:
        one.kill9()
    server(config=config)
    more = batch(db, "seen", 100)
    wait_for(lambda: len(app.runs()) == 200)
    opened.commit()
    wait_empty(db)
    app.assert_once(late + done + more)


def test_what_was_buffered_is_given_up_with_its_shard(server, app, db):
    """A node that stops while its only place is taken has read much that it does not run."""
    config = app.config("seen", "hold", concurrency=1, top='shutdown_timeout = "10s"')
    one = server(config=config)
    block = blocker(db, app)
    ids = batch(db, "seen", 300)
    has_polled(db)
    one.signal(15)
    app.release(block)
    assert one.wait_exit() == 0
    assert len(app.runs()) < 300
    server(config=config)
    wait_empty(db)
    app.assert_once([block, *ids])


def ended_by_their_node(db, app, ids, node, started):
    """Kill a node as soon as it has started one of these; returns which."""
    def look():
        return next((i for i in ids if len(app.runs(i)) > started[i]), None)
    execution = wait_for(look, 15, "one is started", poll=0.001)
    node.kill9()
    return execution


@pytest.mark.parametrize("how, options", [("reconnect", {}), ("release", {}), ("release", {"delay": "100 ms"})])
def test_what_waited_when_its_node_died_is_counted_later_too(server, app, db, how, options):
    """It may be what ends nodes, within its first second. So it is written down before it is dispatched, also when the
    next owner has connected anew, or has given the shard up in good order, before it came to that. What was delayed keeps its
    ready_xid, and is not in the log."""
    config = app.config("hold", concurrency=1, queue="shards = 1", top='shutdown_timeout = "1s"',
                        more='task "hold" { handler = "app"  backoff = "10ms"  max_attempts = 9 }')
    one = server(config=config)
    ids = [invoke(db, "hold", **options) for _ in range(3)]
    ended_by_their_node(db, app, ids, one, dict.fromkeys(ids, 0))
    before = {i: len(app.runs(i)) for i in ids}
    two = server(config=config)
    wait_for(lambda: any(len(app.runs(i)) > before[i] for i in ids), 15, "the next node has started one")
    if how == "reconnect":
        pid = backend(db, "writer")
        db.execute("select pg_terminate_backend(%s)", (pid,))
        wait_for(lambda: backend(db, "writer") not in (None, pid), 15, "the writer is back")
        first = next(i for i in ids if len(app.runs(i)) > before[i])
        before = {i: len(app.runs(i)) for i in ids}
        app.release(first)
    else:
        two.stop()
        before = {i: len(app.runs(i)) for i in ids}
        two = server(config=config)
    execution = ended_by_their_node(db, app, ids, two, before)
    server(config=config)
    app.release()
    wait_empty(db, 30)
    attempt = value(db, "select attempt from pgconductor.finished_executions where id = %s", execution)
    assert attempt > 1


def test_what_was_lost_and_came_back(server, ledger, db, connect, short_tmp):
    """A shard had another owner for a moment, who has done nothing: what this node began before is stopped, and run again,
    although it is not over yet when its row is read. Fails when that row is passed over: then nobody ever runs it."""
    with open(f"{short_tmp}/deaf.sh", "w", encoding="ascii") as file:
        file.write(f"trap '' TERM\n{ledger.shell('start')}\nsleep 1.5\n")
    one = server(config=f'''takeover_timeout = "2s"
        queue "default" {{ shards = 1 }}
        task "deaf" {{ exec = "/bin/sh {short_tmp}/deaf.sh" }}''')
    begun = invoke(db, "deaf")
    wait_for(lambda: ledger.counts("start")[begun] == 1, 10, "it runs")
    shard = value(db, "select id from pgconductor.shards")
    other = Node(connect)
    db.execute("select pg_terminate_backend(pid) from pgconductor.live_nodes() where node <> %s", (other.id,))
    wait_for(lambda: other.lock([shard]), 5, "the lock is taken", poll=0.001)
    other.take([shard])
    other.die()
    one.wait_log("was somebody else's meanwhile|has another owner now")
    wait_finished(db, begun)
    assert ledger.counts("start")[begun] == 2
