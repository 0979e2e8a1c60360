"""Pausing and resuming queues and tasks: on every node, whatever is deployed or dies meanwhile."""

import json
import time

from support.engine import asleep, blocker, invoke, unfinished, value, wait_empty
from support.wait import wait_for


def pause(db, what, name, *servers):
    """And wait until these have heard of it."""
    assert value(db, f"select pgconductor.enable_{what}(%s, false)", name)
    for one in servers:
        one.wait_log(f"{what} {name}: paused")


def resume(db, what, name):
    assert value(db, f"select pgconductor.enable_{what}(%s)", name)


def waits(db, execution):
    """Why it does."""
    return db.execute("select state, waiting from pgconductor.executions_all where id = %s", (execution,)).fetchone()


def quiet(db, nodes=1):
    """All that a node would do is done: it sleeps, with what has come in meanwhile looked at."""
    asleep(db, nodes)


def test_a_queue(server, app, db):
    """On both nodes; another queue goes on."""
    more = (f'handler "twin" {{ command = "env PGCONDUCTOR_QUEUE= {app.command("seen")}" }}\n'
            'queue "other" { handler = "twin" concurrency = 10 }')
    nodes = [server(config=app.config("seen", more=more)) for _ in range(2)]
    asleep(db, 2)
    pause(db, "queue", "default", *nodes)
    held = [invoke(db) for _ in range(20)]
    beside = invoke(db, queue="other")
    wait_for(lambda: app.runs(beside), 10, "the other queue goes on")
    quiet(db, 2)
    assert unfinished(db) == 20 and [e.id for e in app.runs()] == [beside]
    assert waits(db, held[0]) == ("ready", "paused")
    resume(db, "queue", "default")
    wait_empty(db, 10)
    app.assert_once(held + [beside])


def test_a_task(server, app, db):
    """Others of its queue go on; those that are resumed come in their order."""
    nodes = [server(config=app.config("seen", "echo")) for _ in range(2)]
    asleep(db, 2)
    pause(db, "task", "seen", *nodes)
    held = [invoke(db) for _ in range(50)]
    beside = [invoke(db, "echo") for _ in range(50)]
    wait_for(lambda: unfinished(db) == 50, 10, "the other task goes on")
    quiet(db, 2)
    assert {e.id for e in app.runs()} == set(beside)
    assert waits(db, held[-1]) == ("ready", "paused")
    resume(db, "task", "seen")
    wait_empty(db, 10)
    app.assert_once(held + beside)


def test_what_is_buffered_waits_and_what_runs_goes_on(server, app, db):
    """Fails when only what is read afterwards is held back."""
    one = server(config=app.config("seen", "hold", concurrency=1))
    block = blocker(db, app)
    held = [invoke(db) for _ in range(20)]
    other = [invoke(db) for _ in range(5)]
    for what, name in (("task", "seen"), ("queue", "default")):
        pause(db, what, name, one)
        if what == "task":
            app.release()
            wait_for(lambda: value(db, "select count(*) from pgconductor.finished_executions where id = %s", block), 10, "it ends")
            quiet(db)
            assert len(app.runs()) == 1
        else:
            # Both: to resume one of them is not enough.
            resume(db, "task", "seen")
            quiet(db)
            assert len(app.runs()) == 1 and waits(db, held[0]) == ("ready", "paused")
    resume(db, "queue", "default")
    wait_empty(db, 10)
    app.assert_once([block] + held + other)


def test_a_node_that_comes_later_knows(server, app, db):
    """Fails when it hands out before it has read what is paused."""
    server(config=app.config("seen", "echo")).stop()
    pause(db, "task", "seen")
    held = [invoke(db) for _ in range(20)]
    beside = invoke(db, "echo")
    one = server(config=app.config("seen", "echo"))
    wait_for(lambda: app.runs(beside), 10, "the other one runs")
    quiet(db)
    assert len(app.runs()) == 1
    # It dies, and the task is resumed while there is no node.
    one.kill9()
    resume(db, "task", "seen")
    server(config=app.config("seen", "echo"))
    wait_empty(db, 20)
    app.assert_once(held + [beside])


def test_it_stays_so_whatever_is_deployed(server, app, db):
    server(config=app.config("seen")).stop()
    pause(db, "task", "seen")
    db.execute("select pgconductor.declare_task('seen', 'default', '{\"max_attempts\": 7}', 'code:app')")
    one = server(config=app.config("seen"))
    made = invoke(db)
    wait_for(lambda: waits(db, made) == ("ready", "paused"), 10)
    one.hup()
    one.wait_log("reload|reread|configuration")
    quiet(db)
    assert app.runs() == []
    assert not value(db, "select pgconductor.enable_task('nothing', false)")
    assert not value(db, "select pgconductor.enable_queue('nothing', false)")


def test_many_that_wait_hold_up_nobody(server, app, db):
    """What is long and paused neither fills the memory nor holds up others."""
    one = server(config=app.config("seen", "echo", queue="fetch_batch = 100"))
    asleep(db)
    pause(db, "task", "seen", one)
    db.execute("select pgconductor.invoke_batch('seen', (select json_agg('{}'::json) from generate_series(1, 5000)))")
    made = invoke(db, "echo")
    wait_for(lambda: app.runs(made), 15, "the other one runs")
    wait_for(lambda: value(db, "select count(*) from pgconductor.executions where waiting = 'paused'") == 5000, 20, "they are put aside")
    began = time.monotonic()
    resume(db, "task", "seen")
    wait_empty(db, 30)
    assert time.monotonic() - began < 30 and len(app.runs()) == 5001


def test_drain_ends_beside_what_is_paused(server, app, db):
    """Nothing that may run is left."""
    server(config=app.config("seen")).stop()
    pause(db, "queue", "default")
    held = invoke(db)
    assert server(config=app.config("seen"), args=["--drain"], wait=False).wait_exit(20) == 0
    assert unfinished(db) == 1 and app.runs() == []
    resume(db, "queue", "default")
    assert server(config=app.config("seen"), args=["--drain"], wait=False).wait_exit(20) == 0
    assert [e.id for e in app.runs()] == [held]


def test_commands(cli, server, app, db):
    one = server(config=app.config("seen"))
    assert cli("pause", "task", "seen", check=True).stdout == "task seen paused\n"
    one.wait_log("task seen: paused")
    made = [invoke(db) for _ in range(3)]
    wait_for(lambda: value(db, "select count(*) from pgconductor.executions where waiting = 'paused'") == 3, 10, "they are put aside")
    assert "ready (paused)" in cli("show", str(made[0]), check=True).stdout

    def queue():
        return json.loads(cli("queues", "--json", check=True).stdout.splitlines()[0])
    assert (queue()["ready"], queue()["paused"], queue()["unserved"], queue()["state"]) == (0, 3, 0, "on")
    assert "served, paused" in cli("tasks", "seen", check=True).stdout
    assert json.loads(cli("tasks", "seen", "--json", check=True).stdout)["paused_at"]
    assert cli("resume", "task", "seen", check=True).stdout == "task seen resumed\n"
    wait_empty(db)
    assert cli("pause", "queue", "default", check=True).stdout == "queue default paused\n"
    one.wait_log("queue default: paused")
    invoke(db)
    assert (queue()["ready"], queue()["paused"], queue()["state"]) == (0, 1, "paused")
    cli("resume", "queue", "default", check=True)
    wait_empty(db)
    assert len(app.runs()) == 4
    done = cli("pause", "queue", "nothing")
    assert done.returncode == 1 and "there is no queue of this name" in done.stderr
