"""Executions that last, as far as the engine is concerned: nodes that die, take over and share, and much at once. The
program is the one in C; what each language does is in test_durable.py.
"""

import json
import os
import signal

import pytest

from support import paths, processes
from support.durable import (POINTS, assert_no_acknowledged_step_again, children, config, ended, has_crash_points,
                             steps_of)
from support.engine import backend, invoke, value, wait_finished
from support.wait import wait_for


@pytest.fixture
def start(server, ledger):
    def one(**options):
        env = {"PGCONDUCTOR_CRASH": options.pop("crash")} if "crash" in options else None
        return server(config=config(ledger, **options), env=env)
    return one


# ---- steps

@pytest.mark.parametrize("victim", ["handler", "worker", "master"])
def test_kills_in_the_middle_of_steps(start, db, ledger, victim):
    """Whoever is killed, whenever: no acknowledged step is done again, and the sum is right."""
    one = start()
    # As many steps as are not saved all before they have been counted.
    jobs = [invoke(db, "steps", '{"n": 200}') for _ in range(6)]
    for round in range(3):
        before = len(ledger.entries("ok"))
        wait_for(lambda: len(ledger.entries("ok")) >= before + 15, 20, "steps are saved")
        if victim == "handler":
            os.kill(one.handlers()[0], signal.SIGKILL)
        elif victim == "worker":
            os.kill(one.worker(), signal.SIGKILL)
        else:
            one.kill9()
            one = start()
    for job in jobs:
        state, total, error = wait_for(lambda: ended(db, job), 30, "it has ended")
        if state == "completed":
            assert total == sum(range(200))
        else:
            assert error["code"] == "crash"
    assert_no_acknowledged_step_again(ledger)


@pytest.mark.parametrize("between", ["release", "reconnect"])
def test_steps_of_a_dead_node_outlast_another_owner(start, db, ledger, between):
    """Who takes over from it, and does not come to run what was cut off, still knows that there may be steps; or leaves
    its shards so that the next one does."""
    one = start()
    # A new owner reads the usual lane first.
    job = invoke(db, "steps", '{"n": 300}', priority=-5)
    wait_for(lambda: len(ledger.entries("ok", job)) > 20, 20, "steps are saved")
    one.kill9()
    block = invoke(db, "loop", "null")
    two = start(processes=1, concurrency=1)
    wait_for(lambda: ledger.entries("loop", block), 20, "the other node is busy")
    assert value(db, "select journal from pgconductor.executions where id = %s", job) is None
    if between == "release":
        # It owns all shards, also the one with what it has not looked at.
        assert two.stop() == 0
        start()
    else:
        db.execute("select pg_terminate_backend(%s)", (backend(db, "writer"),))
        two.wait_log("writer connection is back", 20)
    assert value(db, "select pgconductor.cancel(%s)", block)
    assert wait_finished(db, job, timeout=30)[1] == 44850
    assert_no_acknowledged_step_again(ledger)


TWICE = """
@h.task("raw_twice")
def raw_twice(run):
    for result in ("1", "2"):
        h.send("STEP", run.exec, {"key": "same", "result": result})
    if run.cancelled.wait(10):
        return "it was told to stop"
    return "nobody said anything"
"""

PRELUDE = f"""
import sys
sys.path.insert(0, {os.path.join(paths.SRC, "tests")!r})
sys.dont_write_bytecode = True
from support.handler import Handler
h = Handler(credit=4, concurrency=4, capabilities=["cancel", "step"])
"""


def test_the_database_finds_a_key_used_twice(server, db, tmp_path, short_tmp):
    """A handler that does not look itself: it is told to stop, and has failed whatever it says."""
    program = os.path.join(short_tmp, "twice.py")
    with open(program, "w", encoding="utf-8") as file:
        file.write(PRELUDE + TWICE + "h.serve()\n")
    server(cmd=["/usr/bin/python3", program])
    job = invoke(db, "raw_twice", "null")
    error = wait_finished(db, job, "failed", timeout=15)[2]
    assert error["code"] == "nondeterminism" and '"same"' in error["message"]
    assert value(db, "select attempt from pgconductor.finished_executions where id = %s", job) == 1
    assert steps_of(db, job) == [("same", 1, None)]


# ---- sleeping

def test_sleeping_survives_the_node(start, db, ledger):
    one = start()
    job = invoke(db, "sleep", '{"ms": 1000}')
    wait_for(lambda: value(db, "select waiting from pgconductor.executions where id = %s", job) == "suspended", 10)
    one.kill9()
    start()
    assert wait_finished(db, job, timeout=20)[1] == "slept"
    assert len(ledger.entries("began", job)) == 1


# ---- children

def test_children_in_another_queue_and_on_another_node(start, db, ledger):
    start(queues=("default",))
    start(queues=("other",))
    job = invoke(db, "parent", children(*[{"task": "far", "payload": {"value": i}} for i in range(20)],
                                        {"task": "leaf", "payload": {"value": 20}}))
    assert wait_finished(db, job, timeout=20)[1] == [{"result": i} for i in range(21)]
    nodes = db.execute("select task, count(distinct node) from pgconductor.finished_executions group by 1").fetchall()
    assert dict(nodes) == {"parent": 1, "far": 1, "leaf": 1}
    assert value(db, "select count(distinct node) from pgconductor.finished_executions") == 2


def test_two_nodes_share_parents_and_children(start, db, ledger):
    start()
    start()
    jobs = [invoke(db, "many", '{"n": 5, "task": "leaf"}') for _ in range(40)]
    for job in jobs:
        assert wait_finished(db, job, timeout=30)[1] == 10
    assert max(ledger.counts("leaf").values()) == 1
    assert value(db, "select count(*) from pgconductor.wakes") == 0


def test_ten_thousand_children(start, db):
    start(credit=50)
    job = invoke(db, "many", '{"n": 10000, "task": "leaf"}')
    assert wait_finished(db, job, timeout=90)[1] == 49995000
    assert value(db, "select count(*) from pgconductor.finished_executions where parent = %s", job) == 10000


def test_a_hundred_levels(start, db):
    start()
    job = invoke(db, "tree", '{"depth": 100}')
    assert wait_finished(db, job, timeout=60)[1] == 100


# ---- stopping, and the rest

def test_a_silent_handler_is_replaced(start, db, ledger):
    one = start(processes=1, options='{"max_attempts": 2, "backoff": "1ms"}', DURABLE_BEAT=600)
    job = invoke(db, "hang", "null")
    error = wait_finished(db, job, "failed", timeout=20)[2]
    assert error["code"] == "crash" and "silent" in error["message"]
    assert len({e.pid for e in ledger.entries("hang", job)}) == 2
    # One that has nothing to do gives signs of life.
    pid = wait_for(lambda: one.handlers() and one.handlers()[0], 10)
    wait_finished(db, invoke(db, "sleep", '{"ms": 2500}'), timeout=20)
    assert one.handlers() == [pid] and processes.alive(pid)


def test_run_drain_waits_for_children_and_not_for_sleep(db, cli, ledger, server, dsn):
    server(config=config(ledger)).stop()
    job = invoke(db, "parent", children({"task": "leaf", "payload": {"value": 1}}))
    asleep = invoke(db, "sleep", '{"ms": 600000}')
    one = server(config=config(ledger), args=["--drain"], wait=False)
    assert one.wait_exit(30) == 0
    assert value(db, "select state from pgconductor.result(%s)", job) == "completed"
    assert value(db, "select state from pgconductor.result(%s)", asleep) == "suspended"


# ---- dying at every point

@pytest.mark.skipif(not has_crash_points(), reason="built without --enable-debug or --enable-asan")
@pytest.mark.parametrize("point", POINTS)
def test_a_master_that_dies_at(point, start, db, ledger):
    one = start(crash=f"{point}:2")
    jobs = [invoke(db, "steps", '{"n": 3}') for _ in range(2)]
    jobs += [invoke(db, "sleep", '{"ms": 20}') for _ in range(2)]
    more = []

    def died():
        # What is written together passes a point once.
        more.append(invoke(db, "many", '{"n": 3, "task": "leaf"}'))
        return not one.running()
    wait_for(died, 20, "the master has died", poll=0.2)
    assert one.process.returncode == -signal.SIGKILL
    start()
    assert [wait_finished(db, job, timeout=30)[1] for job in jobs] == [3, 3, "slept", "slept"]
    assert {wait_finished(db, job, timeout=30)[1] for job in more} == {3}
    assert_no_acknowledged_step_again(ledger)
    for table in ("steps", "wakes", "running", "executions"):
        wait_for(lambda: value(db, f"select count(*) from pgconductor.{table}") == 0, 10, f"{table} is empty")
