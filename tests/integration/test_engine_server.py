"""The server as a process: reading its configuration again, stopping, draining."""

import os
import signal
import time

from support import processes
from support.engine import (asleep, backend, batch, has_polled, invoke, node_of, result, unfinished, value, wait_empty,
                            wait_finished)
from support.wait import wait_for


# ---- HUP ----

def test_invalid_configuration_changes_nothing(server, app, db):
    one = server(config=app.config("seen", "hold"))
    held = invoke(db, "hold")
    wait_for(lambda: app.runs(held))
    handlers = one.handlers()
    one.set_config(app.config("seen", "hold", queue="frobnicate = 1"))
    one.hup()
    one.wait_log("nothing was changed")
    assert f"{one.config_path}:" in one.log and "frobnicate" in one.log
    i = invoke(db)
    wait_finished(db, i)
    assert one.handlers() == handlers
    app.release()
    wait_finished(db, held)
    app.assert_once([held, i])


def test_valid_configuration_applies(server, app, db):
    """New tasks, other settings of a task, another concurrency; a queue more and a queue less; another poll_interval,
    which invoke must know of too."""
    one = server(config=app.config("seen", "fail", concurrency=1, top='poll_interval = "1h"', more='task "fail" { handler = "app" max_attempts = 1 }'))
    wait_finished(db, invoke(db, "fail", '{"after_ms": 0}'), "failed")
    assert value(db, "select max_attempts from pgconductor.tasks where name = 'fail'") == 1
    asleep(db)
    one.set_config(app.config("seen", "fail", "hold", "echo", concurrency=3, top='poll_interval = "300ms"',
                              more=f'task "fail" {{ handler = "app" max_attempts = 2 }}\n'
                                   f'queue "more" {{ handler = "more" }} handler "more" {{ command = "{app.command("answer")}" }}\n'
                                   f'task "stamp" {{ queue = "third" exec = "cat" }}'))
    one.hup()
    one.wait_log("the configuration was read again")
    wait_for(lambda: set(value(db, "select serves from pgconductor.nodes where id = %s", node_of(db, one))) >=
             {"default/hold", "default/echo", "third/stamp"})
    i = invoke(db, "fail", '{"after_ms": 0}')
    wait_finished(db, i, "failed")
    assert len(app.runs(i)) == 2
    assert value(db, "select value from pgconductor.settings where name = 'poll_interval_ms'") == "300"
    asleep(db)
    with db.transaction():
        db.execute("set local pgconductor.notify = off")
        i = invoke(db)
    wait_finished(db, i, timeout=2)
    held = [invoke(db, "hold") for _ in range(4)]
    wait_for(lambda: len(app.ledger.entries("run")) == 7)
    assert wait_finished(db, invoke(db, "stamp", "[1]"))[1] == [1]
    app.release()
    wait_empty(db)
    # And back: what is not served any more waits.
    one.set_config(app.config("seen", concurrency=1))
    one.hup()
    one.wait_log("the configuration was read again", count=2)
    wait_for(lambda: set(one.workers()) == {"default"})
    i = invoke(db, "stamp", "[2]")
    wait_finished(db, invoke(db))
    assert result(db, i)[0] == "ready" and unfinished(db) == 1
    assert len(app.runs()) == 1 + 2 + 1 + 4 + 1 and held


def test_handlers_are_replaced_the_new_ones_first(server, app, db):
    """What runs in an old process runs to its end; there is never a moment without one."""
    one = server(config=app.config("seen", "hold"))
    held = [invoke(db, "hold") for _ in range(3)]
    wait_for(lambda: len(app.runs()) == 3)
    old = app.runs()[0].pid
    ids = []
    for n in range(3):
        one.hup()
        one.wait_log("the configuration was read again", count=n + 1)
        for _ in range(20):
            ids.append(invoke(db))
            wait_finished(db, ids[-1], timeout=2)
        wait_for(lambda: any(pid not in (old,) for pid in one.handlers()))
    wait_for(lambda: app.runs(invoke(db)) or app.runs()[-1].pid != old)
    assert processes.alive(old)
    app.release()
    wait_empty(db)
    wait_for(lambda: not processes.alive(old))
    counts = app.ledger.counts("run")
    assert set(counts.values()) == {1} and set(held + ids) <= set(counts)


def test_reload_under_load(server, app, db, scale):
    """Again and again, with other numbers each time. Nothing is lost, nothing runs twice."""
    one = server(config=app.config("seen", concurrency=20))
    ids = []
    for n in range(scale(6, 40)):
        ids += batch(db, "seen", 300) + batch(db, "seen", 100, '{"priority": %d}' % (n % 3))
        one.set_config(app.config("seen", concurrency=5 + n, credit=3 + n, queue=f"fetch_batch = {50 + n} processes = {1 + n % 3}"))
        one.hup()
        one.wait_log("the configuration was read again", count=n + 1)
    wait_empty(db, 30)
    app.assert_once(ids)


# ---- TERM ----

def test_term_drains(server, app, db):
    """What runs may end; what waits stays for the next server. The exit status is 0, and the shards are given up."""
    one = server(config=app.config("seen", "hold", concurrency=3))
    held = [invoke(db, "hold") for _ in range(3)]
    wait_for(lambda: len(app.runs()) == 3)
    waiting = [invoke(db) for _ in range(10)]
    has_polled(db)
    one.signal(signal.SIGTERM)
    one.wait_log("stopping")
    assert one.running()
    app.release()
    assert one.wait_exit(10) == 0
    assert [result(db, i)[0] for i in held] == ["completed"] * 3
    assert [result(db, i)[0] for i in waiting] == ["ready"] * 10
    assert value(db, "select count(*) from pgconductor.shards where owner is not null") == 0
    assert value(db, "select count(*) from pgconductor.running") == 0
    server(config=app.config("seen", "hold"))
    wait_empty(db)
    app.assert_once(held + waiting)


def test_drain_has_a_deadline(server, app, db):
    """What still runs then goes back, without losing an attempt."""
    config = app.config("hold", top='shutdown_timeout = "500ms"', queue="kill_grace = 200ms")
    one = server(config=config)
    i = invoke(db, "hold", '{"deaf": true}')
    wait_for(lambda: app.runs(i))
    pid = app.runs(i)[0].pid
    begin = time.monotonic()
    one.signal(signal.SIGINT)
    assert one.wait_exit(10) == 0
    assert 0.4 < time.monotonic() - begin < 5
    assert not processes.alive(pid)
    assert result(db, i)[0] == "ready"
    server(config=config)
    app.release()
    wait_finished(db, i)
    assert [r.attempt for r in app.runs(i)] == [1, 1]


def test_second_term_stops_at_once(server, app, db):
    config = app.config("hold", top='shutdown_timeout = "60s"', queue="kill_grace = 30s")
    one = server(config=config)
    i = invoke(db, "hold", '{"deaf": true}')
    wait_for(lambda: app.runs(i))
    everything = one.tree()
    one.signal(signal.SIGTERM)
    one.wait_log("stopping")
    begin = time.monotonic()
    one.signal(signal.SIGTERM)
    assert one.wait_exit(5) == 128 + signal.SIGTERM
    wait_for(lambda: not any(processes.alive(p) for p in everything), 5)
    assert time.monotonic() - begin < 3
    server(config=config)
    app.release()
    wait_finished(db, i)


def test_term_without_a_database(own_cluster, server, app):
    """Nothing can be written any more, and it ends all the same."""
    cluster = own_cluster()
    one = server(config=app.config("seen", "hold", top='shutdown_timeout = "1s"', queue="kill_grace = 200ms"), dsn=cluster.dsn("test"))
    with cluster.connect("test") as db:
        i = invoke(db, "hold")
        wait_for(lambda: app.runs(i))
        asleep(db)
    cluster.stop()
    one.wait_log("writer connection lost")
    one.signal(signal.SIGTERM)
    one.wait_exit(12)
    cluster.start()
    with cluster.connect("test") as db:
        # Nobody could say that it was stopped: an attempt, as if the node had been killed.
        server(config=app.config("seen", "hold", more='task "hold" { handler = "app" backoff = 100ms }'), dsn=cluster.dsn("test"))
        app.release()
        wait_finished(db, i)


# ---- run --drain ----

def test_run_drain(server, app, db):
    """Serves what is ready or due, also what comes of it, and ends."""
    db.execute("select pgconductor.declare_task('seen'); ")
    db.execute("select pgconductor.declare_task('fail')")
    ids = batch(db, "seen", 2000) + batch(db, "seen", 50, '{"priority": 5}') + [invoke(db, delay="1 ms") for _ in range(5)]
    again = invoke(db, "fail", '{"after_ms": 0}')
    later = invoke(db, delay="1 hour")
    one = server(config=app.config("seen", "fail"), args=["--drain"], wait=False)
    assert one.wait_exit(30) == 1       # something failed for good
    assert unfinished(db) == 1 and result(db, later)[0] == "delayed"
    assert len(app.runs(again)) == 3
    counts = app.ledger.counts("run")
    assert {i: counts[i] for i in ids} == dict.fromkeys(ids, 1)
    assert value(db, "select count(*) from pgconductor.shards where owner is not null") == 0
    # Nothing to do: it ends, well.
    one = server(config=app.config("seen", "fail"), args=["--drain"], wait=False)
    assert one.wait_exit(20) == 0


def test_run_drain_succeeds_in_the_end(server, app, db):
    """An attempt that failed is no failure: the exit status is that of what became of the executions."""
    db.execute("select pgconductor.declare_task('flaky')")
    flag = os.path.join(app.directory, "tried")
    i = invoke(db, "flaky")
    config = (f'task "flaky" {{ exec = "if [ -e {flag} ]; then echo ok; else touch {flag}; exit 1; fi" max_attempts = 2 backoff = 0 }}')
    one = server(config=config, args=["--drain"], wait=False)
    assert one.wait_exit(20) == 0
    assert result(db, i)[:2] == ("completed", "ok")


def test_run_drain_waits_for_what_runs(server, app, db):
    db.execute("select pgconductor.declare_task('hold')")
    i = invoke(db, "hold")
    one = server(config=app.config("hold"), args=["--drain"], wait=False)
    wait_for(lambda: app.runs(i), 10)
    more = invoke(db, "hold")
    wait_for(lambda: app.runs(more), 10)
    assert one.running()
    app.release()
    assert one.wait_exit(10) == 0
    assert [result(db, x)[0] for x in (i, more)] == ["completed", "completed"]


def test_command_after_dashes(server, app, db):
    """Without a configuration: every task that the program announces, in the queues it names."""
    one = server(cmd=app.command("seen", "echo"))
    i = invoke(db, "echo", '{"a": 1}')
    assert wait_finished(db, i)[1] == {"a": 1}
    assert set(one.workers()) == {"default"}
    # Nothing to read again; the program may be another one.
    one.hup()
    one.wait_log("handlers are started anew")
    wait_finished(db, invoke(db))
    assert backend(db, "writer") is not None
