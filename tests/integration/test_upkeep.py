"""What a server removes by itself, on a database in use: whose time is over goes, what is kept stays, and nobody waits for it."""

import threading
import time

from support.engine import batch, value, wait_empty
from support.wait import wait_for

# Whoever asks for one of these waits for others, or has them wait.
STRONG = ("ShareUpdateExclusiveLock", "ShareLock", "ShareRowExclusiveLock", "ExclusiveLock", "AccessExclusiveLock")
HELD_MS = 100


class Watch(threading.Thread):
    """Looks all the time which strong locks the server's upkeep has on which tables, and for how long at most."""

    def __init__(self, conn):
        super().__init__()
        self.conn, self.over, self.since, self.longest, self.looks = conn, threading.Event(), {}, {}, 0
        self.start()

    def run(self):
        while not self.over.is_set():
            began = time.monotonic()
            held = {tuple(row) for row in self.conn.execute(
                "select l.pid, c.relname, l.mode from pg_locks l join pg_stat_activity a on a.pid = l.pid"
                " join pg_class c on c.oid = l.relation where a.datname = current_database() and a.application_name = 'pgconductor upkeep'"
                " and c.relnamespace = 'pgconductor'::regnamespace and c.relkind in ('r', 'p') and l.granted and l.mode = any (%s)",
                (list(STRONG),)).fetchall()}
            self.looks += 1
            for lock in held:
                first = self.since.setdefault(lock, began)
                self.longest[lock[1:]] = max(self.longest.get(lock[1:], 0), began - first)
            self.since = {lock: at for lock, at in self.since.items() if lock in held}

    def stop(self):
        self.over.set()
        self.join()


def old(db, days, task, state, n):
    """So many of a task's executions that finished then."""
    db.execute("select pgconductor.ensure_partition(now() - %s * interval '1 day')", (days,))
    db.execute("insert into pgconductor.finished_executions (id, created_at, run_at, finished_at, state, attempt, priority, queue, task,"
               " payload) select nextval('pgconductor.executions_id_seq'), t, t, t, %s, 1, 0, 'default', %s, 'null'"
               " from (select now() - %s * interval '1 day') x(t), generate_series(1, %s)", (state, task, days, n))


def kept(db):
    return dict(db.execute("select task || ' ' || state || ' ' || extract(day from now() - finished_at)::int, count(*)"
                           " from pgconductor.finished_executions where task in ('brief', 'long') group by 1").fetchall())


def test_what_is_over_goes_while_work_goes_on(server, app, db, connect):
    for task, options in (("seen", "{}"), ("brief", '{"remove_on_complete": "2d", "remove_on_fail": "20d"}'),
                          ("long", '{"remove_on_complete": false, "remove_on_fail": "40d"}')):
        db.execute("select pgconductor.declare_task(%s, options => %s)", (task, options))
    for task in ("brief", "long"):
        for days in (1, 5, 25, 60):
            for state in ("completed", "failed"):
                old(db, days, task, state, 3000)
    # Whole days of which nothing is kept, and of events; steps that belong to nothing.
    old(db, 45, "brief", "completed", 10)
    day = db.execute("select to_char((now() - interval '30 days') at time zone 'UTC', 'YYYYMMDD')").fetchone()[0]
    for statement in db.execute("select pgconductor.partition_statements(%s::date, %s::date)", (day, day)).fetchall():
        db.execute(statement[0])
    assert value(db, "select to_regclass('pgconductor.events_' || %s) is not null", day)
    db.execute("insert into pgconductor.steps (execution, key, result) select 900000000 + n, 'k', '1' from generate_series(1, 3000) n")
    watch = Watch(connect())
    stop, made = threading.Event(), []

    def load():
        conn = connect()
        while not stop.is_set():
            made.extend(batch(conn, "seen", 20))
            conn.execute("select state from pgconductor.executions_all where id = any (%s)", (made[-20:],)).fetchall()
    loading = threading.Thread(target=load)
    loading.start()
    try:
        one = server(config=app.config("seen"))
        wanted = {f"brief {state} {days}": 3000 for state, days in (
            ("completed", 1), ("failed", 1), ("failed", 5))}
        wanted |= {f"long {state} {days}": 3000 for state, days in (
            ("completed", 1), ("completed", 5), ("completed", 25), ("completed", 60), ("failed", 1), ("failed", 5), ("failed", 25))}
        wait_for(lambda: kept(db) == wanted, 30, "what is over is gone")
        wait_for(lambda: value(db, "select count(*) from pgconductor.steps where execution > 900000000") == 0, 30, "no steps are left")
        wait_for(lambda: not value(db, "select to_regclass('pgconductor.events_' || %s) is not null", day), 30, "that day is gone")
        wait_for(lambda: len(made) > 200, 30, "the load went on")
    finally:
        stop.set()
        loading.join()
        watch.stop()
    wait_empty(db, 30)
    one.wait_log(r"upkeep: \d+ partitions made, [1-9]\d* dropped, 1801\d rows removed in \d+ ms")
    app.assert_once(made)
    # A day that goes is in nobody's use.
    days = {name for name, _ in watch.longest if value(db, "select to_regclass('pgconductor.' || %s) is null", name)}
    held = {lock: round(s * 1000) for lock, s in watch.longest.items() if lock[0] not in days}
    assert watch.looks > 50 and not {lock: ms for lock, ms in held.items() if ms > HELD_MS}, held
