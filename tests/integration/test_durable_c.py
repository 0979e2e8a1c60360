"""Executions that last, with a handler in C on a real server: tests/support/durable_c.c.

What a step does is entered in the ledger before it is saved, and again when it is: nothing that was acknowledged is done
twice, whatever is killed in between.
"""

import json
import os
import signal

import pytest

from support import paths, processes
from support.engine import backend, invoke, value, wait_finished
from support.server import run_cli
from support.wait import wait_for

PROGRAM = paths.built("tests/support/durable_c")
RETRY_AT_ONCE = '{"backoff": "1ms"}'


def config(ledger, processes=2, concurrency=20, options=RETRY_AT_ONCE, queues=("default",), credit=1, top="", **env):
    names = {"LEDGER": ledger.path, "DURABLE_OPTIONS": options.replace('"', '\\"'), "DURABLE_CONCURRENCY": credit} | env
    env = ", ".join(f'"{name}={text}"' for name, text in names.items())
    text = f'{top}\nhandler "c" {{ command = "{PROGRAM}" env = {{ {env} }} }}\n'
    for queue in queues:
        text += f'queue "{queue}" {{ handler = "c" concurrency = {concurrency} processes = {processes} kill_grace = "2s" }}\n'
    return text


@pytest.fixture
def start(server, ledger):
    def one(**options):
        env = {"PGCONDUCTOR_CRASH": options.pop("crash")} if "crash" in options else None
        return server(config=config(ledger, **options), env=env)
    return one


def did(ledger, execution, kind="did"):
    return [e.rest for e in ledger.entries(kind, execution)]


def assert_no_acknowledged_step_again(ledger):
    """A step that was entered as saved is not entered as done later."""
    saved = set()
    for e in ledger.entries():
        if e.kind == "ok":
            saved.add((e.id, e.rest))
        elif e.kind == "did":
            assert (e.id, e.rest) not in saved, f"{e} was saved, and done again"


def steps_of(db, execution):
    return db.execute("select key, result, error from pgconductor.execution_steps(%s)", (execution,)).fetchall()


# ---- steps

def test_steps_are_saved_and_kept_in_history(start, db, ledger):
    start()
    job = invoke(db, "steps", '{"n": 3}')
    assert wait_finished(db, job)[1] == 3
    assert did(ledger, job) == did(ledger, job, "ok") == ["step-0", "step-1", "step-2"]
    assert steps_of(db, job) == [(f"step-{i}", [i, ""], None) for i in range(3)]
    assert value(db, "select count(*) from pgconductor.steps") == 0


def test_a_killed_handler_does_not_do_steps_again(start, db, ledger):
    start()
    job = invoke(db, "steps", '{"n": 6, "die": 4}')
    assert wait_finished(db, job)[1] == 15
    assert did(ledger, job) == [f"step-{i}" for i in range(6)]
    assert {e.attempt for e in ledger.entries("ok", job)} == {1, 2}


def test_pipelined_steps_are_all_saved_before_the_end(start, db, ledger):
    start()
    job = invoke(db, "steps", '{"n": 2000, "piped": true}')
    assert wait_finished(db, job)[1] == 1999000
    assert len(steps_of(db, job)) == 2000


def test_a_mebibyte_of_steps_comes_back_in_pieces(start, db, ledger):
    """More than goes with RUN: 30 steps of 40,000 bytes, and one of a megabyte."""
    start()
    job = invoke(db, "steps", '{"n": 31, "bytes": 40000, "die": 30}')
    assert wait_finished(db, job, timeout=20)[1] == 465
    assert did(ledger, job) == [f"step-{i}" for i in range(31)]
    large = invoke(db, "steps", '{"n": 3, "bytes": 1000000, "die": 2}')
    assert wait_finished(db, large, timeout=20)[1] == 3
    assert did(ledger, large) == ["step-0", "step-1", "step-2"]


def test_many_steps_come_back(start, db, ledger):
    start()
    job = invoke(db, "steps", '{"n": 3000, "piped": true, "die": 2999}')
    assert wait_finished(db, job, timeout=20)[1] == 4498500
    again = [e for e in ledger.entries("did", job) if e.attempt == 2]
    # What was still on its way may be done again, and is saved under the same keys.
    assert did(ledger, job)[:2999] == [f"step-{i}" for i in range(2999)]
    assert len({e.rest for e in again}) == len(again)


@pytest.mark.parametrize("victim", ["handler", "worker", "master"])
def test_kills_in_the_middle_of_steps(start, db, ledger, victim):
    """Whoever is killed, whenever: no acknowledged step is done again, and the sum is right."""
    one = start()
    jobs = [invoke(db, "steps", '{"n": 40}') for _ in range(6)]
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
        state, total, error = wait_for(lambda: value_of(db, job), 30, "it has ended")
        if state == "completed":
            assert total == 780
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


def value_of(db, execution):
    row = db.execute("select state, result, error from pgconductor.result(%s)", (execution,)).fetchone()
    return row if row and row[0] in ("completed", "failed", "cancelled") else None


def test_retry_of_a_failed_one_goes_on_behind_its_steps(start, db, ledger):
    start(options='{"max_attempts": 1}')
    job = invoke(db, "steps", '{"n": 4, "die": 2}')
    wait_finished(db, job, "failed")
    # Its second life is attempt 1 again, and dies again unless it finds more.
    assert did(ledger, job) == ["step-0", "step-1"]
    assert [k for k, _, _ in steps_of(db, job)] == ["step-0", "step-1"]
    db.execute("select pgconductor.retry(%s)", (job,))
    wait_for(lambda: len(db.execute("select from pgconductor.finished_executions where id = %s", (job,)).fetchall()) == 2, 10)
    assert did(ledger, job) == ["step-0", "step-1"]


def test_a_key_used_twice_is_nondeterminism(start, db, ledger):
    start()
    job = invoke(db, "twice", "null")
    error = wait_finished(db, job, "failed")[2]
    assert error["code"] == "nondeterminism" and "once" in error["message"]
    assert len(ledger.entries("first", job)) == 1 and not ledger.entries("second", job)


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

def test_sleep_gives_the_slot_back_and_counts_no_attempt(start, db, ledger):
    start(processes=1, concurrency=1)
    slow = invoke(db, "sleep", '{"ms": 1500}')
    wait_for(lambda: value(db, "select state from pgconductor.executions_all where id = %s", slow) == "suspended", 10)
    quick = invoke(db, "leaf", '{"value": 1}')
    wait_finished(db, quick)
    assert not ledger.entries("woke", slow)
    assert wait_finished(db, slow)[1] == "slept"
    assert len(ledger.entries("began", slow)) == 1 and len(ledger.entries("woke", slow)) == 1
    assert value(db, "select attempt from pgconductor.finished_executions where id = %s", slow) == 1


def test_sleeping_survives_the_node(start, db, ledger):
    one = start()
    job = invoke(db, "sleep", '{"ms": 1000}')
    wait_for(lambda: value(db, "select waiting from pgconductor.executions where id = %s", job) == "suspended", 10)
    one.kill9()
    start()
    assert wait_finished(db, job, timeout=20)[1] == "slept"
    assert len(ledger.entries("began", job)) == 1


# ---- children

def children(*list, caught=True):
    return json.dumps({"children": list, "caught": caught})


def test_a_child(start, db, ledger):
    start(processes=1, concurrency=1)
    job = invoke(db, "parent", children({"task": "leaf", "payload": {"value": [1, None]}}))
    assert wait_finished(db, job)[1] == [{"result": [1, None]}]
    assert steps_of(db, job) == [("parent#1", [1, None], None)]
    assert len(ledger.entries("leaf")) == 1 and len(ledger.entries("parent", job)) == 2


def test_children_fail_and_succeed_in_order(start, db):
    start()
    job = invoke(db, "parent", children({"task": "leaf", "payload": {"value": 1}},
                                        {"task": "leaf", "payload": {"fail": "no \"luck\" \u00e4"}},
                                        {"task": "nobody", "payload": 1}, {"task": "leaf", "payload": None}))
    first, second, third, fourth = wait_finished(db, job)[1]
    assert first == {"result": 1} and fourth == {"result": None}
    assert second["error"]["message"] == 'no "luck" ä' and third["error"]["code"] == "unknown_task"


def test_an_uncaught_failure_fails_the_parent_for_good(start, db):
    start()
    job = invoke(db, "parent", children({"task": "leaf", "payload": {"fail": 'no "luck" \u20ac'}}, caught=False))
    error = wait_finished(db, job, "failed")[2]
    assert error["message"] == 'Child execution failed: no "luck" €'
    assert value(db, "select attempt from pgconductor.finished_executions where id = %s", job) == 1


def test_a_child_that_takes_too_long_is_cancelled(start, db, ledger):
    start()
    job = invoke(db, "parent", children({"task": "loop", "payload": None, "timeout_ms": 500}))
    assert wait_finished(db, job)[1][0]["error"]["code"] == "timeout"
    child = value(db, "select id from pgconductor.executions_all where parent = %s", job)
    wait_finished(db, child, "cancelled")
    wait_for(lambda: value(db, "select count(*) from pgconductor.running") == 0, 10, "nothing runs")


def test_cancelling_a_parent_cancels_its_children(start, db, ledger):
    start(processes=6)
    job = invoke(db, "parent", children(*[{"task": "loop", "payload": None}] * 3,
                                        {"task": "parent", "payload": {"children": [{"task": "loop", "payload": None}]}}))
    wait_for(lambda: len(ledger.entries("loop")) == 4, 15, "all of them run")
    assert value(db, "select pgconductor.cancel(%s)", job)
    wait_for(lambda: value(db, "select count(*) from pgconductor.executions") == 0, 10)
    assert value(db, "select count(*) from pgconductor.finished_executions where state = 'cancelled'") == 6
    wait_for(lambda: value(db, "select count(*) from pgconductor.running") == 0, 10, "nothing runs")
    # Their handlers are free again.
    wait_finished(db, invoke(db, "leaf", '{"value": 1}'))


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

def test_a_checkpoint_lets_a_drain_through(start, db, ledger, dsn):
    """It goes back with its steps, without having lost an attempt, and its node ends at once."""
    one = start()
    job = invoke(db, "loop", "null")
    wait_for(lambda: value(db, "select note from pgconductor.executions_all where id = %s", job) == "looping", 10)
    assert one.stop(10) == 0
    row = db.execute("select attempt, journal, ready_xid is not null from pgconductor.executions where id = %s", (job,))
    assert row.fetchone() == (0, True, True)
    start()
    wait_for(lambda: len(ledger.entries("loop", job)) == 2, 15, "it runs again")
    assert value(db, "select count(*) from pgconductor.steps where execution = %s", job) == 1
    assert run_cli("cancel", str(job), dsn=dsn).returncode == 0
    wait_for(lambda: value(db, "select count(*) from pgconductor.running") == 0, 10)


def test_progress_is_shown(start, db):
    start()
    job = invoke(db, "loop", "null")

    def look():
        percent, note = db.execute("select percent, note from pgconductor.executions_all where id = %s", (job,)).fetchone()
        assert note == "looping"
        return percent is not None and percent > 20
    wait_for(look, 15, "its progress")


def test_a_task_cancels_another(start, db):
    start()
    job = invoke(db, "loop", "null")
    wait_finished(db, (call := invoke(db, "cancel", json.dumps({"id": str(job)}))))
    assert value(db, "select result from pgconductor.result(%s)", call) is True
    assert wait_finished(db, job, "cancelled")[2]["message"] == "by a task"
    again = invoke(db, "cancel", json.dumps({"id": str(job)}))
    assert wait_finished(db, again)[1] is False
    bad = invoke(db, "cancel", '{"id": "x"}', priority=1)
    wait_for(lambda: value(db, "select error ->> 'message' like 'cancel: id%%' from pgconductor.executions_all where id = %s", bad), 10)


def test_a_task_starts_another(start, db):
    start()
    job = invoke(db, "start", '{"task": "leaf", "payload": {"value": "\\u00e9"}}')
    child = int(wait_finished(db, job)[1])
    assert wait_finished(db, child)[1] == "é"
    assert value(db, "select parent from pgconductor.executions_all where id = %s", child) is None


def test_total_timeout(start, db, ledger):
    """The attempt that runs when it is over fails for good, and one that waits does."""
    start(options='{"total_timeout": "700ms", "backoff": "1ms"}')
    job = invoke(db, "loop", "null")
    error = wait_finished(db, job, "failed", timeout=15)[2]
    assert error["code"] == "timeout"
    assert len(ledger.entries("loop", job)) == 1
    asleep = invoke(db, "sleep", '{"ms": 60000}')
    assert wait_finished(db, asleep, "failed", timeout=15)[2]["code"] == "timeout"
    assert not ledger.entries("woke", asleep)


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

def has_crash_points():
    with open(paths.PGCONDUCTOR, "rb") as file:
        head = file.read(2)
    binary = paths.PGCONDUCTOR
    if head == b"#!":
        binary = os.path.join(os.path.dirname(binary), ".libs", os.path.basename(binary))
    with open(binary, "rb") as file:
        return b"PGCONDUCTOR_CRASH" in file.read()


POINTS = ["step_received", "step_sent", "step_committed", "suspend_received", "suspend_committed", "child_settled",
          "wake_written", "wake_taken", "resume_written"]


@pytest.mark.skipif(not has_crash_points(), reason="built without --enable-debug")
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
