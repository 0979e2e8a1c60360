"""Batches: several executions of a task in one call. The engine, with a handler of plain messages: support/batch_handler.py."""

import contextlib
import json
import os
import random
import signal
import sys
import time

import pytest

from support.engine import batch, result, value, wait_empty, wait_finished
from support.paths import SRC
from support.wait import wait_for


class Batches:
    """A server whose handler takes batches, and what its ledger shows."""

    def __init__(self, server, ledger, directory):
        self.make, self.ledger, self.directory = server, ledger, directory

    def start(self, size=5, timeout_ms=200, more="", queue="", concurrency=10, processes=1, top="", **env):
        names = {"BATCH": json.dumps({"size": size, "timeout_ms": timeout_ms}), "BATCH_LEDGER": self.ledger.path,
                 "BATCH_DIR": self.directory, "BATCH_OPTIONS": '{"backoff": "1ms"}'} | env
        words = ", ".join(json.dumps(f"{name}={text}") for name, text in names.items())
        return self.make(config=f"""
{top}
queue "default" {{ handler = "batches" concurrency = {concurrency} processes = {processes} kill_grace = "500ms" {queue} }}
handler "batches" {{ command = {{ "{sys.executable}", "{SRC}/tests/support/batch_handler.py" }} env = {{ {words} }} }}
{more}
""")

    def create(self, name):
        open(f"{self.directory}/{name}", "w", encoding="ascii").close()

    def calls(self):
        """The ids of each call, in the order of their beginning; what is as old may come in any order."""
        # Each of a call enters all of it, the first at first.
        whole = [(entry.id, [int(i) for i in entry.rest.split()]) for entry in self.ledger.entries("start")]
        return [sorted(ids) for one, ids in whole if one == ids[0]]

    def sizes(self):
        return [len(ids) for ids in self.calls()]


@pytest.fixture
def batches(server, ledger, short_tmp):
    return Batches(server, ledger, short_tmp)


def pile(db, *payloads):
    items = json.dumps([{"payload": payload} for payload in payloads])
    return value(db, "select pgconductor.invoke_batch('pile', %s::json)", items)


def states(db, ids):
    return [result(db, i)[0] for i in ids]


def test_as_many_as_may_go_at_once(batches, db):
    """Without waiting for the time to pass; each execution is in one call, and has a result of its own."""
    batches.start(timeout_ms=60000)
    ids = pile(db, *range(20))
    wait_empty(db)
    assert sorted(sum(batches.calls(), [])) == sorted(ids)
    assert batches.sizes() == [5, 5, 5, 5]
    assert [result(db, i)[1] for i in ids] == list(range(20))


def test_a_part_goes_when_the_first_has_waited(batches, db):
    batches.start(timeout_ms=300)
    ids = pile(db, 1, 2)
    began = time.monotonic()
    wait_empty(db)
    assert batches.calls() == [ids]
    assert time.monotonic() - began >= 0.25
    one = pile(db, 3)
    wait_empty(db)
    assert batches.calls() == [ids, one]


def test_what_waits_for_others_is_in_nobodys_way(batches, db):
    batches.start(timeout_ms=60000, concurrency=1)
    waiting = pile(db, 1, 2, 3)
    plain = batch(db, "plain", 20)
    wait_for(lambda: len(batches.ledger.entries("plain")) == len(plain), 10, "the others have run")
    assert batches.calls() == [] and states(db, waiting) == ["ready"] * 3
    pile(db, 4, 5)
    wait_empty(db)
    assert batches.sizes() == [5]


def test_a_call_takes_one_place_of_its_queue(batches, db):
    batches.start(size=3, timeout_ms=60000, concurrency=2)
    ids = pile(db, *[{"file": "go"}] * 9)
    wait_for(lambda: len(batches.calls()) == 2, 10, "two calls run")
    assert value(db, "select count(*) from pgconductor.executions") == 9
    batches.create("go")
    wait_empty(db)
    assert batches.sizes() == [3, 3, 3]
    assert states(db, ids) == ["completed"] * 9


def test_a_call_counts_once_for_the_tasks_concurrency(batches, db):
    batches.start(size=4, timeout_ms=60000, BATCH_OPTIONS='{"concurrency": 1}')
    pile(db, *[{"file": "go"}] * 8)
    wait_for(lambda: len(batches.calls()) == 1, 10, "one call runs")
    assert batches.sizes() == [4]
    batches.create("go")
    wait_empty(db)
    assert batches.sizes() == [4, 4]


def test_one_that_fails_is_retried_without_the_others(batches, db):
    batches.start(size=4, timeout_ms=300, BATCH_OPTIONS='{"backoff": "1ms", "max_attempts": 2}')
    good = pile(db, 1, 2, {"fail": True}, 4)
    wait_empty(db)
    assert states(db, good) == ["completed", "completed", "failed", "completed"]
    assert batches.calls() == [good, [good[2]]]
    assert result(db, good[2])[2]["message"] == "as it was told"


def test_a_cancelled_one_is_left_out(batches, db):
    """Of a batch that waits for others; and one that runs is told, and the rest of its call goes on."""
    batches.start(size=3, timeout_ms=60000)
    ids = pile(db, 1, 2)
    wait_for(lambda: value(db, "select count(*) from pgconductor.executions") == 2, 5, "they are there")
    assert value(db, "select pgconductor.cancel(%s)", ids[0])
    more = pile(db, {"file": "go"}, {"file": "go"})
    wait_for(batches.calls, 10, "those that are left run")
    assert batches.calls() == [[ids[1], *more]]
    assert value(db, "select pgconductor.cancel(%s, 'enough')", more[0])
    wait_for(lambda: [(e.id, e.rest) for e in batches.ledger.entries("stopped")] == [(more[0], "enough")], 10, "it was told")
    batches.create("go")
    wait_empty(db)
    assert states(db, [*ids, *more]) == ["cancelled", "completed", "cancelled", "completed"]


def test_what_a_dead_handler_has_not_answered_is_retried(batches, db):
    """What it has answered counts."""
    batches.start(size=4, timeout_ms=200)
    ids = pile(db, 1, {"die": "now"}, {"die": "now"}, 4)
    wait_for(lambda: {e.id for e in batches.ledger.entries("done")} == {ids[0], ids[3]}, 10, "two are answered")
    wait_for(lambda: set(batches.ledger.counts("start")) == set(ids), 10, "all of them run")
    batches.create("now")
    wait_empty(db)
    assert states(db, ids) == ["completed"] * 4
    assert batches.ledger.counts("start") == {ids[0]: 1, ids[1]: 2, ids[2]: 2, ids[3]: 1}
    assert {e.attempt for e in batches.ledger.entries("done") if e.id in ids[1:3]} == {2}


def test_each_has_its_own_time(batches, db):
    """One that is not answered in time has failed, and its process ends; what the others got is theirs."""
    batches.start(size=3, timeout_ms=100, BATCH_OPTIONS='{"timeout": "300ms", "max_attempts": 1}')
    ids = pile(db, 1, 2, {"mute": True})
    wait_empty(db)
    assert states(db, ids) == ["completed", "completed", "failed"]
    assert result(db, ids[2])[2]["code"] == "timeout"


@pytest.mark.parametrize("message", ["STEP", "SUSPEND", "JOURNAL"])
def test_there_are_no_steps_in_a_batch(batches, db, message):
    server = batches.start(size=1, BATCH_OPTIONS='{"max_attempts": 1}')
    (one,) = pile(db, {"say": message})
    wait_finished(db, one, "failed")
    error = result(db, one)[2]
    assert error["code"] == "crash" and f"{message} for execution" in error["message"] and "of a batch" in error["message"]
    server.wait_log("it has no steps, and does not wait")


def test_large_payloads_are_split_to_fit_a_frame(batches, db):
    batches.start(size=100, timeout_ms=500, top='max_payload = "1M"', BATCH_OPTIONS='{"backoff": "1ms"}')
    text = "x" * 300_000
    ids = pile(db, *[text] * 12)
    wait_empty(db)
    assert states(db, ids) == ["completed"] * 12
    assert sorted(sum(batches.calls(), [])) == sorted(ids)
    assert max(batches.sizes()) in range(2, 6)
    assert value(db, "select bool_and(result #>> '{}' = %s) from pgconductor.finished_executions", text)


def test_one_whose_payload_does_not_comply_is_left_out(batches, db):
    batches.start(size=3, timeout_ms=60000, BATCH_PAYLOAD_SCHEMA='{"type": "integer"}')
    ids = pile(db, 1, "two", 3)
    wait_empty(db)
    assert batches.calls() == [[ids[0], ids[2]]]
    assert states(db, ids) == ["completed", "failed", "completed"]
    assert result(db, ids[1])[2]["code"] == "bad_payload"


def test_numbers_are_changed_at_run_time(batches, db, cli):
    batches.start(size=2, timeout_ms=60000)
    pile(db, 1, 2)
    wait_empty(db)
    cli("set", "task", "pile", 'batch={"size": 4}', check=True)
    wait_for(lambda: value(db, "select batch_size from pgconductor.tasks where name = 'pile'") == 4, 5, "it is set")

    def three_at_once():
        pile(db, 1, 2, 3)
        wait_empty(db)
        return 3 in batches.sizes()
    wait_for(three_at_once, 15, "three go together")


def test_what_takes_one_at_a_time_is_given_no_batches(batches, db, cli):
    """A command, and a function of one event: that is said, and nothing else is changed, either."""
    batches.start(more='task "command" { exec = "cat" }')
    for task in ("command", "plain"):
        done = cli("set", "task", task, 'batch={"size": 4}', "concurrency=3")
        assert done.returncode != 0 and f"batch: no program says that '{task}' takes several executions at once" in done.stderr
        assert value(db, "select batch_size is null and concurrency is null from pgconductor.tasks where name = %s", task)
        cli("set", "task", task, "batch=none", check=True)


def test_a_paused_task_waits_and_goes_on(batches, db):
    batches.start(size=2, timeout_ms=100)
    db.execute("select pgconductor.enable_task('pile', false)")
    ids = pile(db, 1, 2, 3)
    wait_for(lambda: value(db, "select count(*) from pgconductor.executions where waiting = 'paused'") == 3, 10, "they are put aside")
    assert batches.calls() == []
    db.execute("select pgconductor.enable_task('pile', true)")
    wait_empty(db)
    assert states(db, ids) == ["completed"] * 3


def test_kills(batches, db, seed, scale):
    """Of handlers, workers and masters, while batches run: none is lost, each has its own result, and what is killed counts as tried."""
    n, dice = scale(60, 2000), random.Random(seed)
    options = '{"backoff": "1ms", "max_attempts": 1000}'

    def start():
        return batches.start(size=4, timeout_ms=50, concurrency=4, processes=2, top='takeover_timeout = "2s"', BATCH_OPTIONS=options)
    server = start()
    server.worker()
    ids = pile(db, *[{"n": i, "ms": 20} for i in range(n)])
    for kind in ("handler", "worker", "handler", "master") * scale(1, 10):
        time.sleep(dice.uniform(0.05, 0.2))
        if kind == "master":
            server.kill9()
            server = start()
        else:
            pids = server.handlers() if kind == "handler" else list(server.workers().values())
            for pid in pids[:1]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
    wait_empty(db, 60)
    assert states(db, ids) == ["completed"] * n
    assert [result(db, i)[1]["n"] for i in ids] == list(range(n))
    # Nothing was answered again that was known to be done: what is done twice was not known.
    assert set(batches.ledger.counts("done")) == set(ids)
    assert max(batches.sizes()) <= 4


def test_options_that_cannot_be(db):
    for options in ({"size": 0}, {"size": 1001}, {"size": "x"}, {"size": 1, "timeout": "2 days"}, {"timeout": "1s"}, {"size": 1, "n": 2}, 5):
        with pytest.raises(Exception, match="options: batch: one is"):
            db.execute("select pgconductor.declare_task('t', options => %s)", (json.dumps({"batch": options}),))
    with pytest.raises(Exception, match="does not go with a key"):
        db.execute("select pgconductor.declare_task('t', options => %s)",
                   (json.dumps({"batch": {"size": 2}, "fifo_key": "id"}),))
