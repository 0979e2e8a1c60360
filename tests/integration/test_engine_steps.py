"""Steps and waits on a real server, with handlers that do as the protocol allows, and as it does not: the order of steps,
keys that are over, owners that change in good order, and commits of which nobody knows whether they happened.
"""

import collections
import os
import sys

import pytest

from support import faults, paths
from support.cutter import WAYS, Cutter
from support.durable import assert_no_acknowledged_step_again, config
from support.engine import batch, invoke, value, wait_finished
from support.wait import wait_for

# Of the workflow in tests/support/durable_c.c.
RESULT = sum(range(20)) + sum(1000 * i for i in range(1, 6))
PROGRAM = [sys.executable, f"{paths.SRC}/tests/support/step_handler.py"]


@pytest.fixture
def start(server, db, dsn, ledger, short_tmp):
    env = {"LEDGER": ledger.path, "STEPS_DIRECTORY": short_tmp, "STEPS_DSN": dsn}
    return lambda **options: server(cmd=PROGRAM, env=env, **options)


@pytest.fixture
def go(short_tmp):
    """go(key): lets a handler go through this gate."""
    return lambda key: os.close(os.open(f"{short_tmp}/go-{key}", os.O_WRONLY | os.O_CREAT, 0o644))


# ---- the order of steps

class Locked:
    """A client that has begun to cancel something, and thinks better of it."""

    def __init__(self, db, connect, execution):
        self.db = db
        self.conn = connect(autocommit=False)
        self.conn.execute("select from pgconductor.executions where id = %s for update", (execution,))

    def tried(self):
        """Wait until the master has tried to save a step, and found the row locked."""
        at = value(self.db, "select clock_timestamp()")
        wait_for(lambda: value(self.db, "select count(*) from pg_stat_activity where application_name = 'pgconductor writer'"
                                        " and query like '%%pgconductor.save_steps(%%' and query_start > %s and state = 'idle'",
                               at), 10, "a step was tried", poll=0.001)


def running(db, execution):
    wait_for(lambda: value(db, "select count(*) from pgconductor.running where id = %s", execution), 10, "it runs")


@pytest.mark.parametrize("end", ["done", "suspend"])
def test_a_step_that_is_tried_again_keeps_its_place(start, db, connect, go, end):
    """While the row of its execution is locked a step waits, and with it what came after it: other steps, and the end."""
    start()
    job = invoke(db, "gates", '{"steps": ["a", "b", "c"], "end": "%s"}' % end)
    running(db, job)
    other = invoke(db, "walk", '{"n": 20, "half": ""}')
    row = Locked(db, connect, job)
    go("a")
    row.tried()
    wait_finished(db, other)
    row.tried()
    # At this moment the second one may be saved, and the first one is to be tried again a little later.
    row.conn.rollback()
    go("b")
    go("c")
    wait_finished(db, job)
    keys = ["a", "b", "c"] + ["nap"] * (end == "suspend")
    assert [r[0] for r in db.execute("select key from pgconductor.execution_steps(%s)", (job,))] == keys


def test_many_steps_keep_their_order_behind_a_locked_row(start, db, connect, go):
    start()
    job = invoke(db, "gates", '{"steps": ["a"], "more": 600}')
    running(db, job)
    row = Locked(db, connect, job)
    go("a")
    for _ in range(3):
        row.tried()
    assert value(db, "select count(*) from pgconductor.steps") == 0
    row.conn.rollback()
    wait_finished(db, job)
    assert [r[0] for r in db.execute("select key from pgconductor.execution_steps(%s)", (job,))] == [
        "a", *(f"more-{n}" for n in range(600))]


def test_an_end_waits_for_a_step_that_is_locked(start, db, connect, go):
    start()
    job = invoke(db, "gates", '{"steps": ["a"]}')
    running(db, job)
    row = Locked(db, connect, job)
    go("a")
    for _ in range(4):
        row.tried()
        assert value(db, "select state from pgconductor.result(%s)", job) == "running"
    row.conn.rollback()
    assert wait_finished(db, job)[1] == ["a"]
    assert value(db, "select count(*) from pgconductor.execution_steps(%s)", job) == 1


# ---- keys that are over

@pytest.mark.parametrize("payload, key, runs", [
    ('{"waits": [{"key": "nap", "timer_ms": 1}]}', "nap", 2),
    ('{"waits": [{"key": "kid", "task": "child"}]}', "kid", 2),
    ('{"waits": [{"key": "kid", "task": "child"}, {"key": "long", "timer_ms": 600000}], "any": true}', "kid", 2),
    ('{"waits": [{"key": "none", "task": "nobody"}]}', "none", 2),
    ('{"waits": [{"key": "x", "timer_ms": 1}, {"key": "kid", "task": "child"}, {"key": "kid", "task": "child"}]}', "kid", 1),
])
def test_waiting_for_what_is_over_is_nondeterminism(start, db, ledger, payload, key, runs):
    """A handler that does not look at its steps would be resumed for ever."""
    start()
    job = invoke(db, "circle", payload)
    error = wait_finished(db, job, "failed")[2]
    assert error["code"] == "nondeterminism" and f'"{key}"' in error["message"]
    assert len(ledger.entries("circle", job)) == runs
    assert value(db, "select attempt from pgconductor.finished_executions where id = %s", job) == 1
    wait_for(lambda: value(db, "select count(*) from pgconductor.executions") == 0, 10, "its children have ended")


# ---- owners that change

@pytest.mark.parametrize("half", ["drain", "own", "fail", "sleep"])
def test_another_node_goes_on_after_a_release(start, db, ledger, half):
    """One node gives its shards up in good order, in the middle of a workflow: it is in no memory then, and whichever way it
    left that, its row says that there are steps."""
    one = start()
    jobs = [invoke(db, "walk", '{"n": 6, "half": "%s"}' % half) for _ in range(4)]
    wait_for(lambda: len([e for e in ledger.entries("ok") if e.rest == ("step-3" if half == "own" else "half")]) == 4, 10,
             "they are in the middle")
    if half in ("fail", "sleep"):
        wait_for(lambda: value(db, "select count(*) from pgconductor.executions where ready_xid is null") == 4, 10, "they wait")
    assert one.stop() == 0
    assert db.execute("select journal, count(*) from pgconductor.executions group by 1").fetchall() == [(True, 4)]
    assert value(db, "select count(*) from pgconductor.shards where owner is not null") == 0
    two = start()
    for job in jobs:
        wait_finished(db, job)
    assert "taken over" not in two.log
    assert_no_acknowledged_step_again(ledger)
    assert set(ledger.counts("did").values()) == {7}


def test_a_run_that_is_taken_along_saves_with_its_token(start, db, ledger, go):
    """Half of the shards go to another node; what runs in them is moved, with the handler that has it, and that one's
    transaction is as good as before."""
    start()
    jobs = [invoke(db, "own", "null") for _ in range(8)]
    wait_for(lambda: len(ledger.entries("own")) == 8, 10, "they run")
    start()
    moved = wait_for(lambda: value(db, "select count(*) from pgconductor.executions where moved is not null"), 15, "some are moved")
    go("own")
    assert [wait_finished(db, job)[1] for job in jobs] == [1] * 8
    assert len(ledger.entries("own")) == 8 and moved > 0
    assert {value(db, "select count(*) from pgconductor.execution_steps(%s)", job) for job in jobs} == {1}


# ---- commits of which nothing is known

@pytest.fixture
def cutter(cluster, short_tmp, seed):
    with Cutter(cluster.dir, short_tmp, seed, 0.15, statements=("settle_", "suspend_", "save_", "take_wakes")) as one:
        yield one


def test_commits_of_steps_waits_and_wakes_are_unknown(cutter, db, server, ledger, seed, scale, capsys):
    """The writer's connection ends around the COMMIT of whatever it writes. Alone, the node has its shards back each time:
    each step was done once, each child ran once, and every result is right."""
    wanted, ids = scale(60, 500), []
    node = server(config=config(ledger, credit=5, queues=("default", "other")), dsn=cutter.dsn(db.info.dbname))
    # Either queue has a program of its own.
    wait_for(lambda: value(db, "select count(*) from pgconductor.tasks where name in ('flow', 'far')") == 2, 20, "all is declared")
    cutter.cutting = True

    def enough():
        assert node.running(), f"the node has ended with {node.process.returncode}"
        if len(ids) - value(db, "select count(*) from pgconductor.finished_executions where task = 'flow'") < 5:
            ids.extend(batch(db, "flow", 5, '{"payload": null}'))
        return sum(cutter.cuts.values()) >= wanted and all(cutter.cuts[way] for way in WAYS)
    wait_for(enough, 60 + wanted, f"{wanted} cuts", poll=0.05)
    cutter.cutting = False
    wait_for(lambda: value(db, "select count(*) from pgconductor.executions") == 0, 30, "all have finished")
    faults.say(capsys, seed, f"{len(ids)} workflows, cuts {dict(cutter.cuts)}")
    rows = db.execute("select state, result::text, count(*) from pgconductor.finished_executions where task = 'flow' group by 1, 2")
    assert rows.fetchall() == [("completed", str(RESULT), len(ids))]
    done = collections.Counter((e.kind, e.id, e.rest) for e in ledger.entries() if e.kind in ("did", "leaf"))
    assert len(done) == 25 * len(ids) and set(done.values()) == {1}
    assert value(db, "select count(*) from pgconductor.finished_executions where parent is not null") == 5 * len(ids)
    for table in ("steps", "wakes", "running"):
        wait_for(lambda: value(db, f"select count(*) from pgconductor.{table}") == 0, 10, f"{table} is empty")
