"""Delayed executions: when they become ready, and that none is left behind."""

import json
import time

import pytest

from support.engine import asleep, invoke, unfinished, value, wait_empty

# What was invoked for later is read when it is due; what has no ready_xid until then, as it waits for its next attempt, has a
# key, or is of a burst, is made ready. The index of each.
KINDS = {"read": "executions_due", "made ready": "executions_delayed"}
both = pytest.mark.parametrize("kind", KINDS)


def delayed(db, kind, items):
    with db.transaction():
        ids = value(db, "select pgconductor.invoke_batch('seen', %s::json)", items if isinstance(items, str) else json.dumps(items))
        if kind == "made ready":
            db.execute("update pgconductor.executions set ready_xid = null, waiting = null where id = any (%s)", (ids,))
    return ids


def lateness(db, app, execution):
    """How long after its time an execution was started, in seconds."""
    due = value(db, "select extract(epoch from run_at) from pgconductor.finished_executions where id = %s", execution)
    return app.runs(execution)[0].ns / 1e9 - float(due)


def test_each_starts_at_its_time(server, app, db):
    """Also of a sleeping node: those due before the next slow poll wake it, later ones it knows of when they come.
    Fails when either the notification or the look ahead is left out."""
    server(config=app.config("seen", top='poll_interval = "1500ms"'))
    # The schema's own setting is what invoke goes by.
    assert value(db, "select value from pgconductor.settings where name = 'poll_interval_ms'") == "1500"
    asleep(db)
    ids = [invoke(db, delay=f"{ms} ms") for ms in (2600, 2000, 900, 400, 150, 20, 0)]
    wait_empty(db)
    for i in ids:
        assert -0.001 < lateness(db, app, i) < 0.4, (i, lateness(db, app, i))
    app.assert_once(ids)
    assert [e.id for e in app.runs()] == list(reversed(ids))


def test_run_at_in_the_past_is_now_and_parked_at_infinity_never(server, app, db, wait_for):
    server(config=app.config("seen"))
    past = value(db, "select pgconductor.invoke('seen', run_at => now() - interval '1 year')")
    wait_for(lambda: app.runs(past))
    wait_empty(db)
    assert value(db, "select pgconductor.now() - run_at < interval '1 minute' or run_at < now() from"
                     " pgconductor.finished_executions where id = %s", past)


@both
def test_more_than_one_update_takes(server, app, db, wait_for, kind):
    """12,000 due at once: 10,000 at most go in one update, those that were due first among them."""
    config = app.config("seen", "hold")
    server(config=config).stop()
    # In falling order of time, so that the order of ids would be the wrong one.
    delayed(db, kind, value(db, "select json_agg(json_build_object('run_at', now() + make_interval(secs => 1 - n / 20000.0)))::text"
                                " from generate_series(1, 12000) n"))
    first = set(r[0] for r in db.execute("select id from pgconductor.executions order by run_at limit 10000"))
    wait_for(lambda: value(db, "select max(run_at) < now() from pgconductor.executions"))
    server(config=config)
    wait_empty(db, 30)
    order = [e.id for e in app.runs()]
    assert len(order) == len(set(order)) == 12000
    # Shards are read beside each other, so the border is not sharp.
    early = sum(i in first for i in order[:9000])
    assert early > 8500, early


@both
def test_many_of_one_moment_on_a_node_that_saw_an_empty_table(server, app, db, kind):
    """Its plans were made then. Fails (the update does not end in its time, and nothing becomes ready) when a row that
    is due is looked up in the index of what is delayed; and, by a pause, when what one update leaves of a moment waits
    for the full look."""
    db.execute("alter table pgconductor.executions set (autovacuum_enabled = off)")
    server(config=app.config("seen"))
    delayed(db, kind, [{"delay": "1 s"}] * 25000)
    wait_empty(db, 40)
    times = [e.ns for e in app.runs()]
    assert len(times) == 25000
    assert max(b - a for a, b in zip(times, times[1:])) < 4e9


def test_what_the_ticks_pass_over_is_found(server, app, db, connect, wait_for):
    """Reading and promoting go on from the last time that was due, and wait for nobody. What a client has locked delays only
    itself (fails without skipping), and that and what commits behind is found by the full look (fails without one)."""
    server(config=app.config("seen", top='poll_interval = "500ms"'))
    late, locker = connect(autocommit=False), connect(autocommit=False)
    late.execute("set pgconductor.notify = off")
    behind = [i for kind in KINDS for i in delayed(late, kind, [{"delay": f"{n} ms"} for n in range(1, 20)])]
    ids = [i for kind in KINDS for i in delayed(db, kind, [{"delay": "1 s"}] * 20)]
    locker.execute("select from pgconductor.executions where id = any (%s) for update", ([ids[3], ids[23]],))
    wait_for(lambda: len(app.runs()) == 38)
    wait_for(lambda: unfinished(db) == 2)
    locker.rollback()
    late.commit()
    wait_empty(db, 25)
    app.assert_once(ids + behind)


@both
def test_a_tick_does_not_walk_dead_index_entries(server, app, db, connect, wait_for, kind):
    """Beside a transaction that keeps them from being removed, the entries of what is over stand before the due ones.
    Fails when a tick looks from the beginning, or from the last promoted moment on: it would read them all again."""
    server(config=app.config("seen"))
    old = connect(autocommit=False)
    old.execute("set transaction isolation level repeatable read")
    old.execute("select count(*) from pgconductor.executions")
    delayed(db, kind, [{"delay": "500 ms"}] * 3000)
    wait_empty(db, 20)

    def entries_read():
        return value(db, "select idx_tup_read from pg_stat_user_indexes where indexrelname = %s", KINDS[kind])

    def another():
        i, = delayed(db, kind, [{"delay": "40 ms"}])
        wait_for(lambda: app.runs(i))
    # Sessions tell of what they have read once in a second, as long as they do something.
    told = time.monotonic() + 2.5
    while time.monotonic() < told or entries_read() < 3000:
        another()
    before = entries_read()
    for _ in range(30):
        another()
    # Statistics come a little later.
    wait_for(lambda: entries_read() >= before + 30)
    # One full look may have come between.
    assert entries_read() - before < 3 * 3000, entries_read() - before
    old.rollback()
