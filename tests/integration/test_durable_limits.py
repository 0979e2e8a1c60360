"""Limits: of time, of attempts; cancelling; checkpoints; serving until nothing is left; and a clock that tests move.

The nodes look into the database only once an hour by themselves: what happens within seconds is what they were told of.
"""

import json
import os
import re
import time

import psycopg
import pytest

from support import paths
from support.durable import children, config, did, steps_of
from support.engine import asleep, batch, invoke, node_of, result, value, wait_finished
from support.wait import wait_for

SELDOM = "poll_interval = 1h\n"
HOUR = 3600 * 1000


@pytest.fixture
def start(server, ledger):
    def one(args=(), wait=True, top="", more="", **options):
        return server(config=config(ledger, top=SELDOM + top, **options) + more, args=args, wait=wait)
    return one


def forward(db, interval):
    """Put the clock forward, for everybody."""
    return value(db, "select pgconductor.fake_now(pgconductor.now() + %s::interval)", interval)


def state(db, execution):
    return value(db, "select state from pgconductor.executions_all where id = %s", execution)


def in_state(db, execution, wanted):
    wait_for(lambda: state(db, execution) == wanted, 10, f"execution {execution} is {wanted}")


def attempts(db, execution):
    return value(db, "select attempt from pgconductor.executions_all where id = %s", execution)


# ---- a clock that is moved

def test_a_year_goes_by(start, db, ledger, connect):
    """Sleeping, backoff and delays end when the clock is put forward, and not before. Nobody asks for the time anew."""
    other = connect()
    other.execute(f"prepare early as select pgconductor.now() < '{value(db, 'select now()')}'::timestamptz + interval '1 day'")
    assert value(other, "execute early") is True
    start(options='{"backoff": ["50m", "1h"]}')
    year = invoke(db, "sleep", json.dumps({"ms": 365 * 24 * HOUR}))
    failing = invoke(db, "flaky", '{"fails": 1}')
    later = invoke(db, "leaf", '{"value": 1}', delay="30 days")
    for execution, waits in ((year, "suspended"), (failing, "delayed"), (later, "delayed")):
        in_state(db, execution, waits)
    asleep(db)

    forward(db, "1 hour")
    assert wait_finished(db, failing)[1] == 2
    assert [state(db, x) for x in (year, later)] == ["suspended", "delayed"]
    forward(db, "300 days")
    assert wait_finished(db, later)[1] == 1
    assert state(db, year) == "suspended"
    forward(db, "66 days")
    assert wait_finished(db, year)[1] == "slept"
    assert len(ledger.entries("began", year)) == len(ledger.entries("woke", year)) == 1
    assert value(other, "execute early") is False


def test_limits_go_by_the_moved_clock(start, db, ledger):
    """What runs when it is put forward is ended as if it had run for so long, and what waits too."""
    start(processes=4, more='''
        task "parent" { handler = "durable" total_timeout = 3h }
        task "attempt" { exec = "exec sleep 600" timeout = 30m max_attempts = 1 }
        task "whole" { exec = "exec sleep 600" total_timeout = 2h }
        ''')
    whole, attempt = invoke(db, "whole"), invoke(db, "attempt")
    waits = invoke(db, "parent", children({"task": "loop", "payload": None, "timeout_ms": 2 * HOUR}))
    limited = invoke(db, "parent", children({"task": "sleep", "payload": {"ms": 100 * HOUR}}))
    for execution in (whole, attempt):
        in_state(db, execution, "running")
    wait_for(lambda: value(db, "select count(*) from pgconductor.executions_all where parent in (%s, %s)"
                               " and state in ('running', 'suspended')", waits, limited) == 2, 10, "both children have begun")

    forward(db, "1 hour")
    assert wait_finished(db, attempt, "failed")[2]["code"] == "timeout"
    assert [state(db, x) for x in (whole, waits, limited)] == ["running", "suspended", "suspended"]
    forward(db, "61 minutes")
    assert wait_finished(db, whole, "failed")[2]["code"] == "timeout"
    assert wait_finished(db, waits)[1][0]["error"]["code"] == "timeout"
    wait_finished(db, value(db, "select id from pgconductor.executions_all where parent = %s", waits), "cancelled")
    assert state(db, limited) == "suspended"
    forward(db, "1 hour")
    assert wait_finished(db, limited, "failed")[2]["code"] == "timeout"
    wait_finished(db, value(db, "select id from pgconductor.executions_all where parent = %s", limited), "cancelled")


def test_the_clock_can_be_put_back(start, db, cli):
    """Nothing of it stays; and a node that is started meanwhile goes by it from the beginning."""
    body = "select prosrc from pg_proc where oid = 'pgconductor.now()'::regprocedure"
    before = value(db, body)
    forward(db, "10 years")
    start(options='{"total_timeout": "1h"}')
    job = invoke(db, "sleep", '{"ms": 1}')
    wait_finished(db, job)
    assert value(db, "select finished_at > now() + interval '9 years' from pgconductor.executions_all where id = %s", job)
    long = invoke(db, "sleep", json.dumps({"ms": HOUR}))
    in_state(db, long, "suspended")
    value(db, "select pgconductor.fake_now(null)")
    assert value(db, "select pgconductor.now() = statement_timestamp()") and value(db, body).split() == before.split()
    wait_finished(db, invoke(db, "sleep", '{"ms": 1}'))
    assert state(db, long) == "suspended"
    with pytest.raises(psycopg.errors.DatabaseError) as refused:
        db.execute("select pgconductor.fake_now('infinity')")
    assert refused.value.sqlstate == "PC005"


def test_a_clock_that_stands_still(start, db, dsn, connect):
    """As a setting of the database, for sessions that begin then. What takes no time is done."""
    name = value(db, "select current_database()")
    db.execute(f"alter database {name} set pgconductor.fake_now = '2030-01-01 12:00+00'")
    one = start(options='{"total_timeout": "1h"}')
    other = connect()
    job = invoke(other, "parent", children({"task": "leaf", "payload": {"value": 1}}))
    assert wait_finished(other, job)[1] == [{"result": 1}]
    assert value(db, "select finished_at = '2030-01-01 12:00+00' from pgconductor.executions_all where id = %s", job)
    asleep(db)
    assert one.log.count("clock is") == 1


def test_only_the_owner_moves_the_clock(db, connect):
    client = connect()
    client.execute("set role pgconductor_client")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        client.execute("select pgconductor.fake_now(now())")


# ---- what is shown

def lines_of(cli, *args):
    return [json.loads(line) for line in cli(*args, "--json", check=True).stdout.splitlines()]


def test_steps_and_waits_are_shown(start, db, cli):
    start(processes=3)
    family = invoke(db, "parent", children({"task": "loop", "payload": None, "key": "first", "timeout_ms": HOUR},
                                           {"task": "loop", "payload": None, "key": "second"}))
    child = wait_for(lambda: value(db, "select id from pgconductor.executions_all where parent = %s and state = 'running'"
                                       " order by id limit 1", family), 10, "a child runs")
    night = invoke(db, "sleep", json.dumps({"ms": HOUR}))
    in_state(db, night, "suspended")

    assert {(x["id"], x["waiting"]) for x in lines_of(cli, "list", "--state", "suspended")} == {
        (str(family), "first, second"), (str(night), "sleep#1")}
    assert "suspended (first, second)" in cli("list", check=True).stdout
    assert str(family) not in {x["id"] for x in lines_of(cli, "ps")}
    wait_for(lambda: all((x["percent"] or 0) > 0 and x["note"] == "looping" for x in lines_of(cli, "ps")), 10, "their progress")
    assert " % looping" in cli("ps", check=True).stdout
    look = json.loads(cli("top", "--json", check=True).stdout)
    assert {x["note"] for x in look["running"]} == {"looping"} and all(0 <= x["percent"] <= 100 for x in look["running"])
    assert [(q["suspended"], q["unserved"], q["delayed"]) for q in look["queues"]] == [(2, 0, 0)]
    assert " % looping" in cli("top", "--once", check=True).stdout
    assert [(q["suspended"], q["unserved"], q["delayed"]) for q in lines_of(cli, "queues")] == [(2, 0, 0)]

    shown = cli("show", str(child), check=True).stdout
    assert f"parent    {family}\n" in shown and " % looping\n" in shown and "kept" in shown
    document = json.loads(cli("show", str(child), "--json", check=True).stdout)
    assert (document["parent"], document["note"]) == (str(family), "looping")
    assert [(s["key"], s["state"], s["result"]) for s in document["steps"]] == [("kept", "done", True)]
    waits = json.loads(cli("show", str(family), "--json", check=True).stdout)["steps"]
    assert [(s["key"], s["state"], s["child"] is not None, s["due_at"] is not None) for s in waits] == [
        ("first", "waiting", True, True), ("second", "waiting", True, False)]
    shown = cli("show", str(family), check=True).stdout
    assert f"child {waits[0]['child']}, until " in shown and f"child {waits[1]['child']} " in shown

    assert cli("cancel", waits[0]["child"], "--reason", "enough of it", check=True).stdout
    assert cli("cancel", "--state", "suspended", "--task", "sleep", check=True).stdout == "1 cancelled\n"
    wait_for(lambda: "cancelled: enough of it" in cli("show", str(family), check=True).stdout, 10, "its error is a step's")
    assert "cancelled: enough of it" in cli("show", waits[0]["child"], check=True).stdout
    long = invoke(db, "steps", '{"n": 2, "bytes": 5000}')
    wait_finished(db, long)
    assert max(map(len, cli("show", str(long), check=True).stdout.splitlines())) < 160
    assert len(json.loads(cli("show", str(long), "--json", check=True).stdout)["steps"][1]["result"][1]) == 5000


# ---- cancelling

LISTENER = f"""
import os, sys
sys.path.insert(0, {os.path.join(paths.SRC, "tests")!r})
sys.dont_write_bytecode = True
from support.handler import Fail, Handler
from support.ledger import append
h = Handler(credit=20, concurrency=20, capabilities=["cancel"])
@h.task("patient")
def patient(run):
    append(sys.argv[1], "run", run.id, run.attempt)
    run.cancelled.wait()
    append(sys.argv[1], "stop", run.id, run.attempt, run.reason)
    raise Fail("stopped", code="cancelled")
h.serve()
"""


@pytest.fixture
def listening(server, ledger, short_tmp, db):
    """A handler whose task waits to be cancelled, and enters what it was told."""
    program = os.path.join(short_tmp, "listener.py")
    with open(program, "w", encoding="utf-8") as file:
        file.write(LISTENER)
    return server(config=f'{SELDOM} handler "it" {{ command = {{ "/usr/bin/python3", "{program}", "{ledger.path}" }} }}'
                         ' queue "default" { handler = "it" concurrency = 20 }')


def told(ledger, *executions):
    wait_for(lambda: all(ledger.entries("stop", x) for x in executions), 10, "their handler was told")
    return [ledger.entries("stop", x)[0].rest for x in executions]


def test_a_handler_is_told_at_once(listening, db, ledger, cli):
    """By a notification each time: what has been running for a while is looked after every ten seconds only."""
    began = time.monotonic()
    for i in range(6):
        job = invoke(db, "patient")
        wait_for(lambda j=job: ledger.entries("run", j), 10, "it runs")
        asleep(db)
        assert value(db, "select pgconductor.cancel(%s, %s)", job, f"no. {i}, \"\u00e9\"") is True
        assert told(ledger, job) == [f"no. {i}, \"\u00e9\""]
    assert time.monotonic() - began < 8
    assert value(db, "select pgconductor.cancel(%s)", job) is False
    assert value(db, "select pgconductor.cancel(4711)") is False

    jobs = batch(db, "patient", 4)
    wait_for(lambda: len([x for x in jobs if ledger.entries("run", x)]) == 4, 10, "they run")
    done = cli("cancel", *map(str, jobs[:3]), "4711", "--reason", "so be it")
    assert (done.returncode, done.stdout) == (1, "".join(f"{x} cancelled\n" for x in jobs[:3]))
    assert told(ledger, *jobs[:3]) == ["so be it"] * 3
    assert "cancelled: so be it\n" in cli("show", str(jobs[0]), check=True).stdout
    assert not ledger.entries("stop", jobs[3])
    assert value(db, "select pgconductor.cancel(%s)", jobs[3]) is True
    assert told(ledger, jobs[3]) == ["cancelled"]


def test_what_does_not_run_is_cancelled_at_once(start, db):
    start(processes=2)
    db.execute("select pgconductor.declare_task('nobody')")
    waiting = [invoke(db, "nobody"), *batch(db, "nobody", 2), invoke(db, "leaf", delay="1 hour"),
               invoke(db, "sleep", json.dumps({"ms": HOUR})),
               invoke(db, "parent", children({"task": "sleep", "payload": {"ms": HOUR}}))]
    for execution in waiting[-2:]:
        in_state(db, execution, "suspended")
    child = wait_for(lambda: value(db, "select id from pgconductor.executions_all where parent = %s and state = 'suspended'",
                                   waiting[-1]), 10, "the child sleeps")
    for execution in waiting:
        assert value(db, "select pgconductor.cancel(%s, 'all of it')", execution) is True
        assert result(db, execution)[0] == "cancelled" and result(db, execution)[2]["message"] == "all of it"
    assert result(db, child)[0] == "cancelled"
    for table in ("executions", "steps", "wakes"):
        assert value(db, f"select count(*) from pgconductor.{table}") == 0


def test_a_step_stops_what_was_cancelled_unheard(start, db, ledger):
    """At most the steps that were on their way when the cancel was committed are saved."""
    start(processes=1, concurrency=1)
    job = invoke(db, "steps", '{"n": 1000000}')
    wait_for(lambda: len(did(ledger, job, "ok")) > 5, 10, "steps are saved")
    db.execute("set pgconductor.notify = off")
    assert value(db, "select pgconductor.cancel(%s)", job) is True
    cancelled = time.time_ns()
    wait_finished(db, invoke(db, "leaf", '{"value": 1}'))
    assert len([e for e in ledger.entries("ok", job) if e.ns > cancelled]) <= 1
    assert len(steps_of(db, job)) >= len(did(ledger, job, "ok")) - 1


# ---- attempts

def test_who_is_tried_again_and_when(start, db, ledger):
    """Backoff as a list and with a factor, from all three sources; 65 and 75 of commands; what a handler says of it."""
    start(options='{"backoff": {"initial": "1h", "factor": 3, "max": "4h"}, "max_attempts": 5}', more=f'''
        task "listed" {{ exec = "exit 1" backoff = {{ 1h, 5h }} max_attempts = 4 }}
        task "doubled" {{ exec = "exit 1" backoff = "exponential(1h, 3h)" max_attempts = 4 }}
        task "final" {{ exec = "echo bad input >&2; exit 65" }}
        task "later" {{ exec = '{ledger.shell("run")}; exit 75' backoff = 2h }}
        task "plain" {{ exec = "exit 1" }}
        ''')
    db.execute("""select pgconductor.declare_task('by_sql', options => '{"backoff": ["3h"], "max_attempts": 2}');""")

    def waits(task, n, payload="null"):
        job, hours = invoke(db, task, payload), []
        for _ in range(n):
            wait_for(lambda: value(db, "select run_at > pgconductor.now() from pgconductor.executions where id = %s", job),
                     10, "it waits for its next attempt")
            hours.append(value(db, "select extract(epoch from run_at - pgconductor.now()) / 3600 from pgconductor.executions"
                                   " where id = %s", job))
            forward(db, f"{float(hours[-1]) + 0.001} hours")
        return job, [float(h) for h in hours]

    def about(found, *wanted):
        return len(found) == len(wanted) and all(0.89 * w < f < 1.11 * w for f, w in zip(found, wanted))

    listed, hours = waits("listed", 3)
    assert about(hours, 1, 5, 5), hours
    doubled, hours = waits("doubled", 3)
    assert about(hours, 1, 2, 3), hours
    flaky, hours = waits("flaky", 4, '{"fails": 4}')
    assert about(hours, 1, 3, 4, 4), hours
    plain, hours = waits("plain", 2)
    assert about([h * 3600 for h in hours], 15, 30), hours
    later, hours = waits("later", 4)
    assert about(hours, 2, 2, 2, 2), hours
    assert len(ledger.entries("run", later)) >= 4 and {e.attempt for e in ledger.entries("run", later)} == {1}
    assert attempts(db, later) == 0

    assert wait_finished(db, flaky)[1] == 5
    final = invoke(db, "final")
    assert "bad input" in wait_finished(db, final, "failed")[2]["message"] and attempts(db, final) == 1
    for job, n in ((listed, 4), (doubled, 4), (plain, 3)):
        wait_finished(db, job, "failed")
        assert attempts(db, job) == n
    assert value(db, "select backoff_ms from pgconductor.tasks where name = 'by_sql'") == [3 * HOUR]


def test_settings_say_where_they_come_from(start, db, cli):
    start(options='{"total_timeout": "1h", "timeout": "5m"}', more='task "leaf" { handler = "durable" total_timeout = 2h }')
    db.execute("""select pgconductor.declare_task('sleep', options => '{"total_timeout": "3h"}', source => 'set')""")

    def limits(task):
        options = json.loads(cli("tasks", task, "--json", check=True).stdout)["options"]
        return [tuple(options[name].values()) for name in ("timeout", "total_timeout")]
    assert limits("leaf") == [("5m", "code:durable"), ("2h", "config")]
    assert limits("sleep") == [("5m", "code:durable"), ("3h", "set")]
    table = cli("tasks", check=True).stdout
    assert "2h (config)" in table and "1h (code:durable)" in table and "3h (set)" in table
    for wrong in ("soon", "0", "-1s"):
        with pytest.raises(psycopg.errors.DatabaseError) as refused:
            db.execute("select pgconductor.declare_task('leaf', options => json_build_object('total_timeout', %s::text))", (wrong,))
        assert refused.value.sqlstate == "PC008" and "total_timeout" in str(refused.value)


def test_the_time_in_all_covers_backoff(start, db):
    """An attempt that could only begin behind the limit is not waited for; and one that waits for its turn ends there."""
    start(processes=1, concurrency=1, options='{"total_timeout": "1h", "backoff": "2h"}',
          more='task "loop" { handler = "durable" total_timeout = 1d }')
    failing = invoke(db, "flaky", '{"fails": 1}')
    error = wait_finished(db, failing, "failed")[2]
    assert error["code"] == "timeout" and error["cause"]["code"] == "app" and attempts(db, failing) == 1
    block = invoke(db, "loop", "null")
    in_state(db, block, "running")
    behind = invoke(db, "leaf", '{"value": 1}')
    forward(db, "61 minutes")
    assert wait_finished(db, behind, "failed")[2]["code"] == "timeout"
    assert state(db, block) == "running"


# ---- serving until nothing is left

def last_line(server):
    return server.log.rstrip().splitlines()[-1]


def test_a_drain_leaves_for_later_what_sleeps(start, db):
    start().stop()
    night = invoke(db, "sleep", json.dumps({"ms": 2 * HOUR}))
    failing = invoke(db, "flaky", '{"fails": 1}')
    done = invoke(db, "parent", children(*[{"task": "leaf", "payload": {"value": i}} for i in range(5)]))
    dream = invoke(db, "parent", children({"task": "sleep", "payload": {"ms": HOUR}}))
    one = start(args=["--drain"], wait=False, options='{"backoff": "3h"}')
    assert one.wait_exit(30) == 0
    assert [state(db, x) for x in (night, failing, done, dream)] == ["suspended", "delayed", "completed", "suspended"]
    last = re.search(r"drained: nothing is ready or due; (\d+) completed, 0 failed for good; the next one is due in (.*)$", last_line(one))
    assert last[1] == "6" and last[2] in ("1h", "3599s", "3598s", "3597s")
    # Its time comes: what was left is served by the next one, and one of them fails.
    forward(db, "4 hours")
    broken = invoke(db, "leaf", '{"fail": "no"}')
    one = start(args=["--drain"], wait=False)
    assert one.wait_exit(30) == 1
    assert [state(db, x) for x in (night, failing, dream, broken)] == ["completed"] * 3 + ["failed"]
    assert last_line(one).endswith("drained: nothing is ready or due; 4 completed, 1 failed for good")


def test_a_drain_tells_of_failures_without_history(start, db):
    start().stop()
    invoke(db, "leaf", '{"fail": "no"}')
    one = start(args=["--drain"], wait=False, more='task "leaf" { handler = "durable" remove_on_fail = 0 }')
    assert one.wait_exit(30) == 1
    assert last_line(one).endswith("0 completed, 1 failed for good")


def test_a_drain_waits_for_children_elsewhere(start, db, ledger):
    """Also for what they wait for in turn."""
    far = start(queues=("other",))
    start().stop()
    held = invoke(db, "parent", children({"task": "parent", "payload": {"caught": True, "children": [
        {"task": "far", "payload": {"ms": 600000}}]}}))
    one = start(args=["--drain"], wait=False)
    last = wait_for(lambda: value(db, "select id from pgconductor.executions_all where task = 'far' and state = 'running'"),
                    20, "the grandchild runs")
    assert value(db, "select node from pgconductor.executions_all where id = %s", last) == node_of(db, far)
    in_state(db, held, "suspended")
    node = wait_for(lambda: node_of(db, one), 10, "its node")
    wait_for(lambda: value(db, "select held from pgconductor.drained(%s, array(select id from pgconductor.shards where owner = %s))",
                           node, node), 10, "it is held")
    asleep(db, 2)
    assert one.running()
    assert value(db, "select pgconductor.cancel(%s)", last)
    assert one.wait_exit(30) == 0
    assert result(db, held)[0] == "completed"


# ---- checkpoints

def test_a_checkpoint_of_a_node_that_stops_goes_on_elsewhere(start, db, ledger, cli):
    """With its steps, and without having lost an attempt."""
    one = start()
    job = invoke(db, "loop", "null")
    in_state(db, job, "running")
    two = start()
    assert one.stop(10) == 0
    wait_for(lambda: len(ledger.entries("loop", job)) == 2, 10, "it runs on the other node")
    in_state(db, job, "running")
    assert value(db, "select node from pgconductor.executions_all where id = %s", job) == node_of(db, two)
    assert {e.attempt for e in ledger.entries("loop", job)} == {1}
    assert [key for key, _, _ in steps_of(db, job)] == ["kept"]
    # There a cancel stops it, and the handler is free.
    assert cli("cancel", str(job), check=True).stdout
    wait_finished(db, invoke(db, "leaf", '{"value": 1}'))
    assert len(ledger.entries("loop", job)) == 2
