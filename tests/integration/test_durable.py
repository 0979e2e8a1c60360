"""Executions that last, in each language: the same tasks, written in it, on a real server. See support/durable.py.

One server for each language serves all of these tests; each has executions of its own. What a step does is entered in the
ledger before it is saved. What depends on the engine alone is in test_durable_engine.py.
"""

import json

from support.durable import LANGUAGES, assert_no_acknowledged_step_again, children, did, steps_of
from support.engine import invoke, value, wait_finished
from support.node import node_tree  # noqa: F401
from support.server import run_cli
from support.wait import wait_for
from support.world import db, fixture, ledger, world  # noqa: F401

# Those whose program is there: add yours.
READY = ["c", "node", "python", "shell"]

# Both queues, each with its program.
served = fixture("durable", LANGUAGES, READY, {"default/leaf", "other/far"})


def nothing_runs(db):
    wait_for(lambda: value(db, "select count(*) from pgconductor.running") == 0, 10, "nothing runs")


# ---- steps

def test_steps_are_saved_and_kept_in_history(db, ledger):
    job = invoke(db, "steps", '{"n": 3}')
    assert wait_finished(db, job)[1] == 3
    assert did(ledger, job) == did(ledger, job, "ok") == ["step-0", "step-1", "step-2"]
    assert steps_of(db, job) == [(f"step-{i}", [i, ""], None) for i in range(3)]
    assert value(db, "select count(*) from pgconductor.steps where execution = %s", job) == 0


def test_a_killed_handler_does_not_do_steps_again(db, ledger):
    job = invoke(db, "steps", '{"n": 6, "die": 4}')
    assert wait_finished(db, job)[1] == 15
    assert did(ledger, job) == [f"step-{i}" for i in range(6)]
    assert {e.attempt for e in ledger.entries("ok", job)} == {1, 2}


def test_pipelined_steps_are_all_saved_before_the_end(world, db):
    n = world.language.many
    job = invoke(db, "steps", json.dumps({"n": n, "piped": True}))
    assert wait_finished(db, job, timeout=20)[1] == n * (n - 1) // 2
    assert {key for key, _, _ in steps_of(db, job)} == {f"step-{i}" for i in range(n)}


def test_many_steps_come_back(world, db, ledger):
    n = world.language.many
    job = invoke(db, "steps", json.dumps({"n": n, "piped": True, "die": n - 1}))
    assert wait_finished(db, job, timeout=20)[1] == n * (n - 1) // 2
    # What was still on its way may be done again, and is saved under the same keys.
    assert {e.rest for e in ledger.entries("did", job) if e.attempt == 1} == {f"step-{i}" for i in range(n - 1)}
    again = [e.rest for e in ledger.entries("did", job) if e.attempt == 2]
    assert len(set(again)) == len(again)


def test_a_mebibyte_of_steps_comes_back_in_pieces(db, ledger):
    """More than goes with RUN, which is 256 KiB: 9 steps of 40,000 bytes, and some of a megabyte."""
    job = invoke(db, "steps", '{"n": 10, "bytes": 40000, "die": 9}')
    assert wait_finished(db, job, timeout=20)[1] == 45
    assert did(ledger, job) == [f"step-{i}" for i in range(10)]
    large = invoke(db, "steps", '{"n": 3, "bytes": 1000000, "die": 2}')
    assert wait_finished(db, large, timeout=20)[1] == 3
    assert did(ledger, large) == ["step-0", "step-1", "step-2"]


def test_retry_of_a_failed_one_goes_on_behind_its_steps(db, ledger):
    job = invoke(db, "once", '{"n": 4, "die": 2}')
    wait_finished(db, job, "failed")
    # Its second life is attempt 1 again, and dies again unless it finds more.
    assert did(ledger, job) == ["step-0", "step-1"]
    assert [key for key, _, _ in steps_of(db, job)] == ["step-0", "step-1"]
    db.execute("select pgconductor.retry(%s)", (job,))
    wait_for(lambda: value(db, "select count(*) from pgconductor.finished_executions where id = %s", job) == 2, 10)
    assert did(ledger, job) == ["step-0", "step-1"]


def test_a_key_used_twice_is_nondeterminism(db, ledger):
    job = invoke(db, "twice", "null")
    error = wait_finished(db, job, "failed")[2]
    assert error["code"] == "nondeterminism" and "once" in error["message"]
    assert len(ledger.entries("first", job)) == 1 and not ledger.entries("second", job)
    assert value(db, "select attempt from pgconductor.finished_executions where id = %s", job) == 1


def test_errors_of_steps_are_not_kept(db, ledger):
    job = invoke(db, "flaky", '{"fails": 2}')
    assert wait_finished(db, job)[1] == 3
    assert did(ledger, job) == ["flaky"] * 3
    assert steps_of(db, job) == [("flaky", 3, None)]


VALUES = [0, False, "", None, [], 1.5, 2 ** 53 - 1, "grüße 😀 \"\\\n\t/", "\u2028", "null", [False, 0, None, ""],
          {"a": [None, {"b": True, "c": [[]]}, {}], "ключ": {"": -7}}]


def test_any_value_comes_back_as_it_was(db):
    job = invoke(db, "keep", json.dumps({"values": VALUES}))
    # false is not 0 here, as it is in Python.
    assert json.dumps(wait_finished(db, job)[1]) == json.dumps(VALUES)
    kept = [result for key, result, _ in steps_of(db, job) if key.startswith("value-")]
    assert json.dumps(kept) == json.dumps(VALUES)


def test_keys_left_out_are_numbered(db, ledger):
    job = invoke(db, "keyless", "null")
    assert wait_finished(db, job)[1] == 7
    assert [key for key, _, _ in steps_of(db, job)] == ["keyless#1", "keyless#2", "keyless#3"]
    child = value(db, "select id from pgconductor.finished_executions where parent = %s", job)
    assert len(ledger.entries("leaf", child)) == 1


# ---- sleeping

def test_sleep_gives_the_slot_back_and_counts_no_attempt(world, db, ledger):
    jobs = [invoke(db, "sleep", '{"ms": 3600000}') for _ in range(world.language.places + 2)]
    wait_for(lambda: value(db, "select count(*) from pgconductor.executions_all where id = any (%s) and state = 'suspended'",
                           jobs) == len(jobs), 20, "more sleep than could run at once")
    wait_finished(db, invoke(db, "leaf", '{"value": 1}'))
    assert not [job for job in jobs if ledger.entries("woke", job)]
    db.execute("select pgconductor.fake_now(pgconductor.now() + interval '1 hour')")
    for job in jobs:
        assert wait_finished(db, job)[1] == "slept"
        assert len(ledger.entries("began", job)) == 1 and len(ledger.entries("woke", job)) == 1
    assert {row[0] for row in db.execute("select attempt from pgconductor.finished_executions where id = any (%s)",
                                         (jobs,))} == {1}


def test_a_workflow_goes_on_after_its_sleep(db, ledger):
    """Check, convert, a while later save; when that fails, it alone is done again."""
    job = invoke(db, "fruit", '{"items": ["apple", "banana"], "ms": 100, "fail": true}')
    assert wait_finished(db, job)[1] == ["done", ["APPLE", "BANANA"]]
    assert did(ledger, job) == ["validate", "transform", "save", "save"]
    found = {key: result for key, result, _ in steps_of(db, job)}
    assert found["validate"] == 2 and found["transform"] == ["APPLE", "BANANA"] and len(found) == 4


# ---- children

def test_a_child(db, ledger):
    job = invoke(db, "parent", children({"task": "leaf", "payload": {"value": [1, None]}}))
    assert wait_finished(db, job)[1] == [{"result": [1, None]}]
    assert steps_of(db, job) == [("parent#1", [1, None], None)]
    child = value(db, "select id from pgconductor.finished_executions where parent = %s", job)
    assert len(ledger.entries("leaf", child)) == 1 and len(ledger.entries("parent", job)) == 2


def test_what_a_child_returns_is_used(db):
    job = invoke(db, "ten", '{"value": 5}')
    assert wait_finished(db, job)[1] == 20


def test_children_fail_and_succeed_in_order(db):
    job = invoke(db, "parent", children({"task": "leaf", "payload": {"value": 1}},
                                        {"task": "leaf", "payload": {"fail": "no \"luck\" \u00e4"}},
                                        {"task": "nobody", "payload": 1}, {"task": "leaf", "payload": {"value": None}},
                                        {"task": "far", "payload": {"value": False}, "key": "elsewhere"}))
    first, second, third, fourth, fifth = wait_finished(db, job)[1]
    assert first == {"result": 1} and fourth == {"result": None} and fifth == {"result": False}
    assert second["error"]["message"] == 'no "luck" ä' and third["error"]["code"] == "unknown_task"
    assert {key for key, _, _ in steps_of(db, job)} == {"parent#1", "parent#2", "parent#3", "parent#4", "elsewhere"}


def test_an_uncaught_failure_fails_the_parent_for_good(db):
    job = invoke(db, "parent", children({"task": "leaf", "payload": {"fail": 'no "luck" \u20ac'}}, caught=False))
    error = wait_finished(db, job, "failed")[2]
    assert error["message"] == 'Child execution failed: no "luck" €'
    assert value(db, "select attempt from pgconductor.finished_executions where id = %s", job) == 1


def test_many_children(world, db, ledger):
    n = min(world.language.many, 50)
    job = invoke(db, "many", json.dumps({"n": n, "task": "leaf"}))
    assert wait_finished(db, job, timeout=20)[1] == n * (n - 1) // 2
    ids = [row[0] for row in db.execute("select id from pgconductor.finished_executions where parent = %s", (job,))]
    counts = ledger.counts("leaf")
    assert [counts[i] for i in ids] == [1] * n


def test_a_child_that_takes_too_long_is_cancelled(db):
    job = invoke(db, "parent", children({"task": "loop", "payload": None, "timeout_ms": 500}))
    assert wait_finished(db, job)[1][0]["error"]["code"] == "timeout"
    child = value(db, "select id from pgconductor.executions_all where parent = %s", job)
    wait_finished(db, child, "cancelled")
    nothing_runs(db)


def test_cancelling_a_parent_cancels_its_children(db, ledger):
    loop = {"task": "loop", "payload": None}
    job = invoke(db, "parent", children(loop, loop, loop, {"task": "parent", "payload": {"children": [loop]}}))
    tree = ("with recursive below(id) as (select %s::bigint union select e.id from pgconductor.executions_all e, below"
            " where e.parent = below.id) select id from below")

    def loops():
        ids = {row[0] for row in db.execute(tree, (job,))}
        return ids if len(ids) == 6 and len([i for i in ids if ledger.entries("loop", i)]) == 4 else None
    ids = list(wait_for(loops, 15, "all of them run"))
    assert value(db, "select pgconductor.cancel(%s)", job)
    wait_for(lambda: value(db, "select count(*) from pgconductor.executions where id = any (%s)", ids) == 0, 10)
    assert value(db, "select count(*) from pgconductor.finished_executions where id = any (%s) and state = 'cancelled'", ids) == 6
    nothing_runs(db)
    # Their handlers are free again.
    wait_finished(db, invoke(db, "leaf", '{"value": 1}'))


# ---- the rest

def test_progress_is_shown(db):
    job = invoke(db, "loop", "null")

    def look():
        percent, note = db.execute("select percent, note from pgconductor.executions_all where id = %s", (job,)).fetchone()
        assert note == "looping"
        return percent is not None and percent > 3
    wait_for(look, 15, "its progress")
    assert value(db, "select pgconductor.cancel(%s)", job)
    nothing_runs(db)


def test_a_task_cancels_another(db):
    job = invoke(db, "loop", "null")
    by = invoke(db, "cancel", json.dumps({"id": str(job)}))
    assert wait_finished(db, by)[1] is True
    assert wait_finished(db, job, "cancelled")[2]["message"] == "by a task"
    assert wait_finished(db, invoke(db, "cancel", json.dumps({"id": str(job)})))[1] is False
    bad = invoke(db, "cancel", '{"id": "x"}')
    wait_for(lambda: "id" in (value(db, "select error ->> 'message' from pgconductor.executions_all where id = %s", bad) or ""),
             10, "it is told what is wrong with the id")
    db.execute("select pgconductor.cancel(%s)", (bad,))
    nothing_runs(db)


def test_a_task_starts_another(db):
    job = invoke(db, "start", '{"task": "leaf", "payload": {"value": "\\u00e9"}}')
    child = int(wait_finished(db, job)[1])
    assert wait_finished(db, child)[1] == "é"
    assert value(db, "select parent from pgconductor.executions_all where id = %s", child) is None


def test_a_task_starts_another_once(db):
    """One that was made already, one too many, and one that is put off."""
    def start(**options):
        job = invoke(db, "start", json.dumps({"task": "leaf", "payload": {"value": len(made)}, **options}))
        made.append(wait_finished(db, job)[1])
        return made[-1]
    made = []
    assert start(dedupe_key="k") == start(dedupe_key="k") is not None
    assert start(throttle_s=3600) is not None and start(throttle_s=3600) is None
    late = start(debounce_s=3600)
    assert start(debounce_s=1800) == late
    assert db.execute("select state, payload from pgconductor.executions_all where id = %s", (int(late),)).fetchone() == (
        "delayed", {"value": 5})
    assert len(set(made)) == 4 and db.execute("select pgconductor.cancel(%s)", (int(late),)).fetchone() == (True,)


def test_metadata_is_inherited_and_has_keys_of_its_own(db):
    job = invoke(db, "parent", children({"task": "leaf", "payload": {"value": 1}},
                                        {"task": "leaf", "payload": {"value": 2}, "metadata": {"tenant": "b", "more": [1.5]}}),
                 metadata='{"tenant": "a", "n": 1}')
    wait_finished(db, job)
    assert db.execute("select metadata from pgconductor.finished_executions where parent = %s order by id", (job,)).fetchall() == [
        ({"tenant": "a", "n": 1},), ({"tenant": "b", "n": 1, "more": [1.5]},)]
    job = invoke(db, "start", json.dumps({"task": "leaf", "payload": {"value": 1}, "metadata": {"tenant": "b"}}),
                 metadata='{"tenant": "a", "n": 1}')
    started = int(wait_finished(db, job)[1])
    assert wait_finished(db, started)[1] == 1
    assert value(db, "select metadata from pgconductor.finished_executions where id = %s", started) == {"tenant": "b", "n": 1}


def test_a_checkpoint_stops_when_the_window_closes(db, ledger):
    """It goes back with its steps, without having lost an attempt, and goes on when the window opens."""
    def window(days):
        options = {"window": ["00:00", "24:00"], "days": days.split()} if days else {}
        db.execute("select pgconductor.declare_task('loop', options => %s, source => 'set')", (json.dumps(options),))
    now, later = db.execute("""select string_agg(to_char(now() at time zone 'UTC' + n * interval '1 day', 'dy'), ' ') filter (where n < 2),
        string_agg(to_char(now() at time zone 'UTC' + n * interval '1 day', 'dy'), ' ') filter (where n = 3)
        from generate_series(0, 3) n""").fetchone()
    window(now)
    job = invoke(db, "loop", "null")
    wait_for(lambda: value(db, "select note from pgconductor.executions_all where id = %s", job) == "looping", 15)
    window(later)
    nothing_runs(db)
    row = db.execute("select attempt, journal, ready_xid is not null from pgconductor.executions where id = %s", (job,))
    assert row.fetchone() == (0, True, True)
    assert "ready (window)" in run_cli("show", str(job), dsn=db.info.dsn).stdout
    assert len(ledger.entries("loop", job)) == 1
    window(now)
    wait_for(lambda: len(ledger.entries("loop", job)) == 2, 15, "it runs again")
    assert [key for key, _, _ in steps_of(db, job)] == ["kept"]
    window(None)
    assert db.execute("select pgconductor.cancel(%s)", (job,)).fetchone() == (True,)
    nothing_runs(db)


def test_total_timeout(db, ledger):
    """The attempt that runs when it is over fails for good, and one that waits does."""
    job, asleep = invoke(db, "brief", "null"), invoke(db, "nap", '{"ms": 60000}')
    assert wait_finished(db, job, "failed", timeout=15)[2]["code"] == "timeout"
    assert wait_finished(db, asleep, "failed", timeout=15)[2]["code"] == "timeout"
    assert len(ledger.entries("loop", job)) == 1 and not ledger.entries("woke", asleep)


def test_a_checkpoint_lets_a_drain_through(world, db, ledger):
    """It goes back with its steps, without having lost an attempt, and its node ends at once."""
    job = invoke(db, "loop", "null")
    wait_for(lambda: value(db, "select note from pgconductor.executions_all where id = %s", job) == "looping", 10)
    assert world.server.stop(10) == 0
    row = db.execute("select attempt, journal, ready_xid is not null from pgconductor.executions where id = %s", (job,))
    assert row.fetchone() == (0, True, True)
    world.start()
    wait_for(lambda: len(ledger.entries("loop", job)) == 2, 15, "it runs again")
    assert [key for key, _, _ in steps_of(db, job)] == ["kept"]
    assert run_cli("cancel", str(job), dsn=world.dsn).returncode == 0
    nothing_runs(db)


def test_nothing_was_done_twice_in_all_of_this(db, ledger):
    assert_no_acknowledged_step_again(ledger)
    for table in ("executions", "steps", "wakes", "running"):
        wait_for(lambda: value(db, f"select count(*) from pgconductor.{table}") == 0, 10, f"{table} is empty")
