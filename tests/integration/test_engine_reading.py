"""Reading: every run is seen, each exactly once, whatever the transactions that make them ready do."""

import random
import threading
import time

import psycopg

from support import processes
from support.engine import asleep, batch, blocker, finished, has_polled, invoke, value, wait_empty, waits_for_lock
from support.proxy import Proxy

class Writer(threading.Thread):
    """Transactions of every kind, until the time is up. Keeps the ids of what was committed."""

    def __init__(self, dsn, seed, until, new_lanes):
        super().__init__()
        self.random = random.Random(seed)
        self.dsn = dsn
        self.until = until
        self.name = f"w{seed}"
        self.priorities = [0, 0, 0, 1, -1, 5]
        self.new_lanes = new_lanes
        self.committed = []
        self.prepared = []
        self.error = None

    def run(self):
        try:
            with psycopg.connect(self.dsn, autocommit=True) as conn:
                conn.execute("set pgconductor.notify = on")
                while time.monotonic() < self.until:
                    self.one(conn)
                for name, ids in self.prepared:
                    self.end_prepared(conn, name, ids)
        except Exception as error:
            self.error = error

    def priority(self):
        # A lane that is new, made by two transactions at once if chance will have it.
        if self.random.random() < 0.02:
            return self.new_lanes[int(time.monotonic() * 4) % len(self.new_lanes)]
        return self.random.choice(self.priorities)

    def some(self, conn, n):
        if self.random.random() < 0.2:
            return batch(conn, "seen", n)
        return [invoke(conn, priority=self.priority()) for _ in range(n)]

    def one(self, conn):
        dice = self.random.random()
        n = self.random.randint(1, 12)
        if dice < 0.35:
            self.committed += [invoke(conn, priority=self.priority())]
        elif dice < 0.5:
            conn.execute("begin")
            self.some(conn, n)
            conn.execute("rollback")
        elif dice < 0.75:
            self.with_savepoints(conn, n)
        elif dice < 0.85:
            self.prepare(conn, n)
        else:
            conn.execute("begin")
            ids = self.some(conn, n)
            # Held open: beyond many polls, sometimes beyond a sleep of the node.
            time.sleep(self.random.choice([0.001, 0.05, 0.3, 1.2]))
            ids += self.some(conn, n)
            conn.execute("commit")
            self.committed += ids

    def with_savepoints(self, conn, n):
        conn.execute("begin")
        ids = self.some(conn, n)
        for _ in range(self.random.randint(1, 4)):
            conn.execute("savepoint s")
            more = self.some(conn, n)
            time.sleep(self.random.choice([0, 0, 0.01]))
            if self.random.random() < 0.5:
                conn.execute("rollback to s")
            else:
                conn.execute("release s")
                ids += more
        conn.execute("commit")
        self.committed += ids

    def prepare(self, conn, n):
        name = f"{self.name}-{len(self.prepared)}-{self.random.random()}"
        conn.execute("begin")
        # Two-phase commit and NOTIFY do not go together.
        conn.execute("set local pgconductor.notify = off")
        ids = self.some(conn, n)
        try:
            conn.execute(f"prepare transaction '{name}'")
        except psycopg.errors.ConfigurationLimitExceeded:
            conn.execute("rollback")
            return
        self.prepared.append((name, ids))
        while len(self.prepared) > 1 or (self.prepared and self.random.random() < 0.5):
            self.end_prepared(conn, *self.prepared.pop(0))

    def end_prepared(self, conn, name, ids):
        if self.random.random() < 0.5:
            conn.execute(f"commit prepared '{name}'")
            self.committed += ids
        else:
            conn.execute(f"rollback prepared '{name}'")


def test_hostile_writers(server, app, db, dsn, seed, scale, wait_for):
    """The batch rule: cursors, snapshots, late lists. Fails when the late list, or its snapshot, is left out."""
    server(config=app.config("seen", top='poll_interval = "300ms"', queue="fetch_batch = 50"))
    until = time.monotonic() + scale(5, 120)
    lanes = random.Random(seed).sample(range(-2000, 2000), 8)
    writers = [Writer(dsn, seed + i, until, lanes) for i in range(scale(12, 24))]
    for w in writers:
        w.start()
    for w in writers:
        w.join()
    assert [w.error for w in writers if w.error] == []
    committed = [i for w in writers for i in w.committed]
    assert len(committed) == len(set(committed))
    wait_empty(db, scale(20, 60))
    app.assert_once(committed)
    assert finished(db) == len(committed)


def test_two_transactions_make_the_same_lane(server, app, db, connect, wait_for):
    """Neither waits for the other, as each would with a unique constraint on lanes; the reader drops the duplicate."""
    server(config=app.config("seen"))
    first, second = connect(autocommit=False), connect(autocommit=False)
    ids = []
    for conn in (first, second):
        conn.execute("set statement_timeout = '5s'")
        shards = db.execute("select count(*) from pgconductor.shards").fetchone()[0]
        # Enough to meet in each shard.
        ids += [invoke(conn, priority=77) for _ in range(shards * 8)]
    # Each sees its own; afterwards one of them may be tidied up at any time.
    made = [set(conn.execute("select shard from pgconductor.lanes where lane = -77").fetchall()) for conn in (first, second)]
    assert made[0] & made[1]
    second.commit()
    wait_for(lambda: len(app.runs()) == len(ids) // 2)
    first.commit()
    wait_empty(db)
    app.assert_once(ids)


def test_priority_then_age(server, app, db, seed, wait_for):
    server(config=app.config("seen", "hold", concurrency=1))
    block = blocker(db, app)
    rng = random.Random(seed)
    invoked = []
    for _ in range(120):
        priority = rng.choice([-3, 0, 0, 4, 32767, -32768])
        invoked.append((-priority, invoke(db, priority=priority)))
    has_polled(db)
    app.release(block)
    wait_empty(db)
    assert [e.id for e in app.runs()] == [block] + [i for _, i in sorted(invoked)]


def test_late_urgent_one_does_not_wait_behind_a_prefetch(server, app, db, wait_for):
    """A buffer of 4,000 stands before it; what waits longer for it than a poll and the worker's credit is a bug."""
    server(config=app.config("seen", credit=10, concurrency=10))
    batch(db, "seen", 6000)
    wait_for(lambda: len(app.runs()) > 200)
    urgent = invoke(db, priority=9)
    before = len(app.runs())
    wait_for(lambda: app.runs(urgent))
    place = [e.id for e in app.runs()].index(urgent)
    assert place - before < 2500, f"{place - before} others went first"
    wait_empty(db, 20)


def test_full_buffer_gives_way_and_is_read_again(server, app, db, wait_for):
    """Evicting turns the lane's cursor back: fails (rows are missed) without that."""
    server(config=app.config("seen", "hold", concurrency=1, queue="fetch_batch = 10"))
    block = blocker(db, app)
    low = [invoke(db) for _ in range(150)]
    # Seen at once, as the buffer has its fill of the others.
    high = [invoke(db, priority=1) for _ in range(150)]
    urgent = [invoke(db, priority=2) for _ in range(3)]
    has_polled(db)
    app.release(block)
    wait_empty(db, 20)
    app.assert_once([block, *low, *high, *urgent])
    order = [e.id for e in app.runs()]
    assert set(order[1:4]) == set(urgent)
    assert set(order[4:34]) <= set(high)


ENTRIES_READ = "select idx_tup_read from pg_stat_user_indexes where indexrelname = 'executions_ready'"


def test_less_important_lanes_are_not_read_to_be_evicted(server, app, db, wait_for):
    """A backlog of several priorities is read about once. Fails when each lane reads a batch, whatever is buffered."""
    server(config=app.config("seen"))

    before = value(db, ENTRIES_READ)
    with db.transaction():
        for priority in (0, 7, 9):
            batch(db, "seen", 3000, '{"priority": %d}' % priority)
    wait_empty(db, 30)
    wait_for(lambda: value(db, ENTRIES_READ) - before >= 9000)
    assert value(db, ENTRIES_READ) - before < 3 * 9000, value(db, ENTRIES_READ) - before


def test_what_is_not_committed_is_not_walked_through(server, app, db, connect, wait_for):
    """Beside a transaction that has invoked much and stays open the node goes on polling. Fails when each poll reads its
    rows in the index, to find that they cannot be seen."""
    server(config=app.config("seen"))
    opened = connect(autocommit=False)
    batch(opened, "seen", 3000)
    before = value(db, ENTRIES_READ)
    polls = value(db, "select idx_scan from pg_stat_user_indexes where indexrelname = 'executions_ready'")
    for _ in range(10):
        has_polled(db)
    wait_for(lambda: value(db, "select idx_scan from pg_stat_user_indexes where indexrelname = 'executions_ready'")
             > polls + 20)
    # At most by one poll as what comes next, and by one as what is late.
    assert value(db, ENTRIES_READ) - before <= 2 * 3000
    opened.commit()
    wait_empty(db, 30)


# So that a sleeping node has soon read what is there.
OFTEN = 'poll_interval = "200ms"'
SMALL_QUARANTINE = {"ASAN_OPTIONS": "detect_leaks=0:quarantine_size_mb=1"}


def test_late_transactions_share_the_room(server, app, db, connect):
    """Twelve that end at once bring 36 MB. Fails when each is asked for as much as the lane can take."""
    one = server(config=app.config("seen", "hold", concurrency=1, queue="shards = 1", top=OFTEN), env=SMALL_QUARANTINE)
    block = blocker(db, app)
    opened = [connect(autocommit=False) for _ in range(12)]
    for conn in opened:
        batch(conn, "seen", 400, '{"payload": "' + "x" * 7600 + '"}')
    invoke(db)
    for _ in range(3):
        has_polled(db)
    before = processes.resident_kib(one.pid)[1]
    one.pause()
    for conn in opened:
        conn.commit()
    one.resume()
    for _ in range(3):
        has_polled(db)
    grown = processes.resident_kib(one.pid)[1] - before
    assert grown < 36 * 1024, f"{grown} KiB"
    db.execute("delete from pgconductor.executions where id > %s", (block + 200,))
    app.release(block)
    wait_empty(db)


def test_buffer_is_bounded_in_bytes(server, app, db, wait_for, cli):
    """60 MB of ready payloads do not come into memory at once."""
    one = server(config=app.config("seen", "hold", concurrency=1, queue="fetch_batch = 10000", top=OFTEN),
                 env=SMALL_QUARANTINE)
    block = blocker(db, app)
    for _ in range(8):
        batch(db, "seen", 1000, '{"payload": "' + "x" * 7600 + '"}')
    for _ in range(3):
        has_polled(db)
    highest = processes.resident_kib(one.pid)[1]
    assert highest < 64 * 1024, f"{highest} KiB"
    # The rest would tell nothing more.
    assert db.execute("delete from pgconductor.executions where id > %s", (block + 7000,)).rowcount == 1000
    db.execute("delete from pgconductor.executions where id between %s and %s", (block + 500, block + 7000))
    app.release(block)
    wait_empty(db)
    assert processes.resident_kib(one.pid)[1] < 64 * 1024


def test_cursor_turned_back_while_a_poll_is_under_way(server, app, db, connect, wait_for):
    """The answer to a poll that was sent before must not move the cursor over what is to be read again."""
    one = server(config=app.config("seen", "hold", concurrency=1))
    block = blocker(db, app)
    ids = [invoke(db) for _ in range(50)]
    locker = connect(autocommit=False)
    locker.execute("lock table pgconductor.lanes in access exclusive mode")
    waits_for_lock(db, "reader")
    # Which program takes what may change: what is buffered is forgotten, to be read again.
    one.hup()
    one.wait_log("the configuration was read again")
    locker.rollback()
    app.release(block)
    wait_empty(db)
    app.assert_once([block, *ids])


def test_run_that_ends_while_a_poll_is_under_way_is_not_repeated(server, app, cluster, db, dsn, connect, short_tmp, wait_for):
    """A poll that reads a stretch once more shows what runs in there, though it may have ended when the answer comes.
    Fails when a settled run leaves memory at once."""
    with Proxy(cluster.dir, short_tmp) as proxy:
        one = server(config=app.config("seen", "hold", concurrency=1, queue="shards = 1"), dsn=proxy.dsn(db.info.dbname))
        # Older than what runs, but committed later: the cursor has passed it.
        late = connect(autocommit=False)
        ids = [invoke(late)]
        block = blocker(db, app, priority=0)
        late.commit()
        has_polled(db)
        asleep(db)
        # The reload turns the cursor back to it.
        proxy.hold("reader")
        one.hup()
        one.wait_log("the configuration was read again")
        wait_for(lambda: proxy.held("reader"))
        app.release(block)
        wait_for(lambda: db.execute("select 1 from pgconductor.executions where id = %s", (block,)).fetchone() is None)
        proxy.let_go("reader")
        ids.append(invoke(db))
        wait_empty(db)
        app.assert_once([block, *ids])


def test_large_payloads_come_when_they_are_dispatched(server, app, db, wait_for):
    server(config=app.config("echo", "hold", concurrency=1))
    block = blocker(db, app)
    texts = ['"' + "é" * n + '"' for n in (4094, 4095, 4096, 4097, 100000, 1000000)]
    ids = [invoke(db, "echo", text) for text in texts]
    gone = invoke(db, "echo", '"' + "x" * 50000 + '"')
    last = invoke(db, "echo", "7")
    has_polled(db)
    # Nobody tells the node: it finds out when it asks for the payload, and its place is free again.
    db.execute("set pgconductor.notify = off")
    assert db.execute("select pgconductor.cancel(%s)", (gone,)).fetchone() == (True,)
    app.release(block)
    wait_empty(db)
    app.assert_once([block, *ids, last])
    for i, text in zip(ids, texts):
        assert db.execute("select (pgconductor.result(%s)).result::text", (i,)).fetchone() == (text,)


def burn_xids(conn, n):
    """Have transaction numbers assigned, and none of that written: subtransactions that end do not press for it."""
    conn.execute("create temp table burnt (a int)")
    conn.execute("begin")
    conn.execute(f"do $$ begin for i in 1..{n} loop begin insert into burnt values (1); raise 'burnt';"
                 " exception when raise_exception then null; end; end loop; end $$")


def test_xids_assigned_again_after_a_crash(own_cluster, server, app, wait_for):
    """PostgreSQL assigns numbers anew that it had not written. Fails when cursors outlive the writer's connection."""
    cluster = own_cluster(wal_writer_delay="10s", wal_writer_flush_after="1GB", checkpoint_timeout="1h", autovacuum="off")
    dsn = cluster.dsn("test")
    server(config=app.config("seen", top='poll_interval = "100ms"  takeover_timeout = "60s"'), dsn=dsn)
    ids = []
    for _ in range(10):
        conn, burner = cluster.connect("test"), cluster.connect("test")
        ids.append(invoke(conn))
        wait_empty(conn)
        burn_xids(burner, 1000)
        high = value(conn, "select pg_snapshot_xmax(pg_current_snapshot())::text::bigint")
        has_polled(conn)
        cluster.restart("immediate")
        with psycopg.connect(dsn, autocommit=True) as conn:
            again = value(conn, "select pg_snapshot_xmax(pg_current_snapshot())::text::bigint") < high - 500
            ids += [invoke(conn, priority=p) for p in (0, 0, 0, 0, 0, 1)]
            wait_empty(conn)
        if again:
            break
    assert again, "the numbers were written each time"
    app.assert_once(ids)
