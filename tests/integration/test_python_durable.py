"""What lasts, in Python: what is the library's own. What all languages do is in test_durable.py."""

import json
import sys

import pytest

from support import faults, paths
from support.engine import batch, invoke, value, wait_finished
from support.played import ENVIRONMENT, Played, saved
from support.wait import wait_for

PROGRAM = "tests/support/python_lasting.py"


@pytest.fixture(scope="module")
def shared():
    with Played(PROGRAM, max_payload=4096) as m:
        yield m


@pytest.fixture
def m(shared):
    yield shared
    shared.nothing_left()


# ---- steps


def test_results_are_what_later_runs_see(m):
    x = m.start("results")
    wanted = [("tuple", [1, [2, 3]]), ("keys", {"1": "one"}), ("none", None), ("raw", 100.0), ("called", [3, 1]),
              ("results#1", ["b", "a"]), ("results#2", "")]
    assert [m.save(x) for _ in wanted] == wanted
    assert json.loads(m.done(x)) == [value for _, value in wanted]
    # Nothing of it is done again, and what others have saved is taken as it is.
    steps = [{"key": key, "result": json.dumps(value)} for key, value in wanted[:6]] + [{"key": "results#2"}]
    x = m.start("results", steps=steps)
    assert json.loads(m.done(x)) == [value for _, value in wanted[:6]] + [None]
    x = m.start("results_async")
    assert [m.save(x) for _ in range(3)] == [("tuple", [1, [2, 3]]), ("later", 5), ("results_async#1", 6)]
    assert json.loads(m.done(x)) == [[1, [2, 3]], 5, 6]


@pytest.mark.parametrize("payload, code, message", [
    ("set", "bad_result", 'the result of step "set" is not JSON: Object of type set'), ("nan", "bad_result", '"nan" is not JSON'),
    ("raw", "bad_result", '"raw" is not JSON'), ("long", "oversize", 'of step "long" is 6002 bytes long; the limit is 4096'),
    ("", "app", "not the key of a step"), ("ü" * 513, "app", "not the key of a step"), ("a\0b", "app", "not the key"),
    (7, "app", "not the key of a step: '7'"), ("surrogate", "app", "not the key"),
    ("async", "app", "is async: its task has to be"), ("nothing", "app", "a key and a function"), ("waits", "app", "between steps"),
], ids=["set", "nan", "raw", "long", "empty", "too long", "nul", "number", "surrogate", "async", "nothing", "waits"])
def test_a_step_that_cannot_be_saved(m, payload, code, message):
    fields = m.failed(m.start("bad_step", payload), code)
    assert message in fields["message"]
    assert fields.get("retry") is (None if payload in ("async", "nothing", "waits") else False)


def test_a_step_that_failed_may_be_tried_again_in_the_same_run(m):
    x = m.start("again")
    assert m.save(x, "again") == ("again", 10)
    assert m.done(x) == "10"
    x = m.start("bad_step", "caught")
    assert m.save(x, "set") == ("set", "better")
    assert json.loads(m.done(x))[1] == "better"


def test_steps_of_several_threads(m):
    x = m.start("pooled")
    keys = [m.next("STEP", x)["key"] for _ in range(4)]
    for key in reversed(keys):
        m.send("STEP_OK", x, {"key": key})
    assert sorted(keys) == [f"step-{n}" for n in range(4)] and json.loads(m.done(x)) == [0, 1, 2, 3]


def test_a_key_used_twice_fails_whatever_is_made_of_it(m):
    x = m.start("twice")
    m.save(x, "same")
    fields = m.failed(x, "nondeterminism")
    assert '"same"' in fields["message"] and fields["retry"] is False


# ---- waiting


def test_branches_wait_together_once_none_has_a_step_under_way(m):
    x = m.start("branches", steps=saved(second="saved"))
    # The last branch is not cut off: it would be missing in what is waited for.
    m.save(x, "first")
    assert m.suspended(x) == {"branches#1": {"task": "a", "payload": "1"}, "nap": {"timer_ms": 3600000},
                              "after": {"task": "other", "payload": '"saved"'}, "b": {"task": "b", "payload": "2"},
                              "branches#2": {"task": "c"}}
    assert m.said(x) == ("unwound", {})
    # Some of it is over.
    steps = saved(second="saved", first=1, nap=None, after="x") + [
        {"key": "b", "error": '{"code": "app", "message": "broken"}'}, {"key": "branches#2"}]
    x = m.start("branches", steps=steps)
    assert m.suspended(x) == {"branches#1": {"task": "a", "payload": "1"}}
    m.said(x)
    x = m.start("branches", steps=steps + [{"key": "branches#1", "error": '{"code": "crash", "message": "gone"}'}])
    fields = m.failed(x)
    assert (fields["message"], fields["type"], fields["retry"]) == ("Child execution failed: gone", "ChildFailed", False)
    m.said(x)


def test_a_task_group(m):
    x = m.start("group")
    assert m.suspended(x) == {"a": {"task": "a"}, "b": {"task": "b"}}
    x = m.start("group", steps=saved(a=1, b=[2]))
    assert json.loads(m.done(x)) == [1, [2]]
    x = m.start("group", steps=saved(a=1) + [{"key": "b", "error": '{"code": "app", "message": "broken", "data": {"n": 7}}'}])
    fields = m.failed(x)
    assert (fields["message"], fields["type"], fields["retry"]) == ("Child execution failed: broken", "ChildFailed", False)
    assert json.loads(fields["data"]) == {"n": 7}


def test_a_branch_that_was_given_up_is_not_waited_for(m):
    x = m.start("given_up")
    m.save(x, "gate")
    assert m.suspended(x) == {"nap": {"timer_ms": 1000}}


def test_a_function_that_waits_for_its_own_branch_is_ended(m):
    x = m.start("stuck")
    assert m.said(x) == ("unwound", {"branch": True})
    assert m.suspended(x) == {"a": {"task": "a"}}


@pytest.mark.parametrize("task", ["swallow", "swallow_async"])
@pytest.mark.parametrize("payload", ["raise", "return"])
def test_a_suspension_that_was_swallowed(m, task, payload):
    """It stays suspended, waits for what came first, and does nothing more."""
    x = m.start(task, payload)
    assert [m.said(x) for _ in range(3)] == [("caught", {"kind": "Suspended"})] * 3
    assert m.suspended(x) == {"nap": {"timer_ms": 1000}}


def test_who_sleeps_holds_no_thread():
    with Played(PROGRAM, "threads=1", credit=4) as m:
        m.run(1, "naps")
        assert m.suspended(1) == {"nap": {"timer_ms": 3600000}}
        m.run(2, "number", "2")
        assert json.loads(m.done(2))[0] == 2
        m.run(3, "naps", steps=saved(nap=None))
        threads, pid = json.loads(m.done(3))
        # That of the loop, the one that reads, and the one for functions.
        assert threads == 3 and pid in m.children()
        m.wait_slots(4)


def test_children(m):
    waits = {"a": {"task": "a", "queue": "other", "priority": 7, "timeout_ms": 60000},
             "family#1": {"task": "b", "payload": '{"x": 1}'}, "family#2": {"task": "number", "payload": "3"}}
    x = m.start("family")
    assert m.suspended(x) == waits
    steps = {"a": '{"code": "app", "type": "ValueError", "message": "bad", "data": [1]}', "family#1": '{"code": "timeout"}'}
    errors = [{"key": key, "error": error} for key, error in steps.items()]
    done = [{"key": "family#2", "result": "3"}]
    x = m.start("family", steps=errors + done)
    assert json.loads(m.done(x)) == ["bad", "ValueError", "app", "a", [1]]
    x = m.start("family", steps=saved(a=1) + errors[1:] + done)
    assert json.loads(m.done(x)) == ["timeout", "family#1", "Child execution failed: (no message)"]
    x = m.start("family", "uncaught", steps=errors + done)
    fields = m.failed(x, "app")
    assert (fields["message"], fields["retry"]) == ("Child execution failed: bad", False)


@pytest.mark.parametrize("payload, message", [
    ("nan", "not a duration between"), ("soon", "not a duration: 'soon'"), ("queue", "not a queue's name: 'No such'"),
    ("payload", 'the payload of child "bad_wait#1" is not JSON'), ("long", "does not fit in a message")],
    ids=["nan", "soon", "queue", "payload", "long"])
def test_what_cannot_be_waited_for(m, payload, message):
    assert message in m.failed(m.start("bad_wait", payload))["message"]


# ---- cancelling, draining


@pytest.mark.parametrize("task, kinds", [("long_loop", {"Cancelled"}), ("long_loop_async", {"Cancelled", "CancelledError"})])
def test_a_checkpoint_stops_a_cancelled_one(m, task, kinds):
    x = m.start(task)
    m.said(x)
    m.cancel(x, "no longer wanted")
    message, fields = m.said(x)
    assert message == "stopped" and fields["kind"] in kinds and fields["reason"] == "no longer wanted"
    m.failed(x, "cancelled")


@pytest.mark.parametrize("task", ["long_loop", "long_loop_async"])
def test_a_checkpoint_lets_go_when_the_server_stops(task):
    with Played(PROGRAM) as m:
        m.run(1, task)
        m.said(1)
        m.drain()
        assert m.said(1) == ("stopped", {"kind": "Suspended", "reason": None})
        assert m.suspended(1) == {}
        m.expect(lambda name, x, fields: name == "BYE")


@pytest.mark.parametrize("task, kind", [("unanswered", "Cancelled"), ("unanswered_async", "CancelledError")])
def test_a_step_that_is_never_acknowledged(m, task, kind):
    """Its run is no more: it is told to stop, there where it waits."""
    x = m.start(task)
    m.next("STEP", x)
    m.cancel(x, "lost")
    assert m.said(x) == ("raised", {"kind": kind})
    m.failed(x, "cancelled")


def test_cancelled_before_all_of_its_steps_are_there(m):
    """It was not started, and what still comes is nobody's."""
    x = m.start("results", steps=saved(tuple=1), more_steps=True)
    assert m.next("JOURNAL", x) == {"after": 1}
    m.cancel(x)
    m.failed(x, "cancelled")
    m.send("STEPS", x, {"steps": saved(keys=1)})
    # Others go on.
    x = m.start("given_up", steps=saved(gate=1), more_steps=True)
    assert m.next("JOURNAL", x) == {"after": 1}
    m.send("STEPS", x, {"steps": saved(a=1), "more_steps": True})
    assert m.next("JOURNAL", x) == {"after": 2}
    m.send("STEPS", x, {"steps": saved(nap=None)})
    assert m.done(x) is None


# ---- calls, progress, signs of life


def test_calls(m):
    x = m.start("calls")
    answers = [({"result": '"77"'}, "invoke", {"task": "report", "payload": {"n": 1}, "queue": "other", "priority": 3,
                                              "delay": "5.0 seconds", "metadata": [7]}),
               ({"error": '{"code": "PC001", "message": "no task number"}'}, "invoke", {"task": "number", "payload": 3}),
               ({"error": '{"code": "bad_args", "message": "not an id"}'}, "cancel", {"id": "7", "reason": "no use"})]
    for number, (answer, name, args) in enumerate(answers, 1):
        call = m.next("CALL", x)
        assert (call["call"], call["name"], json.loads(call["args"])) == (number, name, args)
        m.send("RETURN", x, {"call": number} | answer)
        if number == 1:
            assert m.save(x) == ("start", "77")
    assert json.loads(m.done(x)) == ["77", ["UndeclaredTask", "no task number"], ["BadArgument", "not an id"]]


def test_several_calls_at_once(m):
    x = m.start("calls_async")
    first, second = m.next("CALL", x), m.next("CALL", x)
    m.save(x, "one")
    m.send("RETURN", x, {"call": second["call"], "result": "true"})
    m.send("RETURN", x, {"call": first["call"], "result": '"5"'})
    assert json.loads(m.done(x)) == ["5", True, 1]
    fields = m.failed(m.start("calls_async", "long"))
    assert fields["type"] == "PayloadTooLarge" and "does not fit" in fields["message"]


def test_progress(m):
    x = m.start("progress")
    said = [m.next("PROGRESS", x) for _ in range(3)]
    assert said == [{"percent": 12}, {"percent": 100, "note": "ü" * 500}, {"note": "\\ud800\\0"}]
    assert m.failed(x)["type"] == "ValueError"


def test_signs_of_life():
    """Given by a program whose function takes its time, and not by one that holds the loop."""
    with Played(PROGRAM, "heartbeat=400", credit=2) as m:
        m.run(1, "takes_its_time", "1.2")
        assert m.done(1) == '"still here"'
        m.run(2, "blocks_the_loop", "60")
        assert "silent" in m.failed(2, "crash")["message"]


# ---- the example


def test_the_example(server, db):
    def start():
        return server(cmd=[sys.executable, f"{paths.SRC}/examples/python/steps/labels.py"], env=ENVIRONMENT)

    one = start()
    labels = invoke(db, "labels", '["apple", "banana"]')
    wait_for(lambda: value(db, "select state from pgconductor.executions_all where id = %s", labels) == "suspended")
    one.kill9()
    start()
    assert wait_finished(db, labels)[1] == "2 labels: APPLE, BANANA"
    assert value(db, "select attempt from pgconductor.finished_executions where id = %s", labels) == 1
    steps = db.execute("select key, result from pgconductor.execution_steps(%s)", (labels,)).fetchall()
    assert steps == [("check", 2), ("print", ["APPLE", "BANANA"]), ("dry", None), ("store", "2 labels: APPLE, BANANA")]
    assert wait_finished(db, invoke(db, "labels", '["10"]'), "failed")[2]["message"] == "not the names of fruits: ['10']"


# ---- transactions


@pytest.fixture
def business(db, server, cluster):
    """A program that may do what a client of pgconductor may, and write to the table business."""
    db.execute("create table business (execution bigint not null, what text not null)")
    db.execute("create role shop login in role pgconductor_client")
    db.execute("grant select, insert on business to shop")

    def start(processes):
        env = ENVIRONMENT | {"LASTING_DSN": cluster.dsn(db.info.dbname, user="shop")}
        words = ", ".join(f'"{name}={text}"' for name, text in env.items())
        return server(config=f'handler "shop" {{ command = {{ "{sys.executable}", "{paths.SRC}/{PROGRAM}" }} env = {{ {words} }} }}\n'
                             f'queue "default" {{ handler = "shop" processes = {processes} credit = 1 }}\n')
    yield start
    db.execute("revoke all on business from shop")
    db.execute("drop role shop")


def rows_of(db, execution):
    return [row[0] for row in db.execute("select what from business where execution = %s", (execution,))]


def test_a_transaction_is_done_once_whatever_dies_around_its_commit(business, db, seed, scale, capsys):
    one, ids = business(3), []

    def kills():
        return one.log.count("was killed by signal 9")
    while kills() < scale(20, 1000):
        for name in ("pay", "pay_async"):
            ids += batch(db, name, n := scale(6, 100), json.dumps({"payload": {"faults": 4, "seed": seed}}))
        wait_for(lambda: value(db, "select count(*) from pgconductor.finished_executions") == len(ids), 60 + 2 * n,
                 "all have finished", poll=0.05)
    rows = db.execute("select f.state, f.attempt, f.result #>> '{}',"
                      " (select array_agg(what) from business where execution = f.id)"
                      " from pgconductor.finished_executions f").fetchall()
    assert not [row for row in rows if row[0] != "completed" or row[3] != [row[2]]], rows
    # Of those that were cut off some had been committed.
    before = sum(int(row[2]) < row[1] for row in rows)
    after = sum(int(row[2]) > 1 for row in rows)
    assert scale(before + after > 0, before > 0 and after > 0)
    faults.say(capsys, seed, f"{kills()} deaths, {len(ids)} commits: {before} found done, {after} done in a later attempt")


CARELESS = {"fails": "ValueError not yet", "rollback": 'RuntimeError transaction: the function of "write" has rolled back',
            "result": 'NonRetryableError the result of step "write" is not JSON', "used": "Suspended",
            "open": "RuntimeError transaction: this connection is in a transaction", "cancelled": "Cancelled lost"}


def test_transactions_that_come_to_nothing(business, db):
    one = business(1)
    for payload, message in CARELESS.items():
        job = invoke(db, "careless", json.dumps(payload))
        one.wait_log(f"{payload} raised {message}")
        if payload in ("fails", "rollback"):
            # Done once more, and then once.
            assert wait_finished(db, job)[1] == payload and rows_of(db, job) == [payload]
        elif payload == "used":
            # What it wrote is undone, and the next run has what was saved.
            assert wait_finished(db, job)[1] == "saved before" and rows_of(db, job) == []
            assert value(db, "select attempt from pgconductor.finished_executions where id = %s", job) == 1
        else:
            wait_finished(db, job, "cancelled" if payload == "cancelled" else "failed")
            assert rows_of(db, job) == []
