"""Limits: of time, of attempts; cancelling; checkpoints; serving until nothing is left; and a clock that tests move.

The nodes look into the database only once an hour by themselves: what happens within seconds is what they were told of.
"""

import json

import psycopg
import pytest

from support.durable import children, config, ended, steps_of
from support.engine import asleep, invoke, value, wait_finished
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
    assert max(map(len, cli("show", str(long), check=True).stdout.splitlines())) < 300
    assert len(json.loads(cli("show", str(long), "--json", check=True).stdout)["steps"][1]["result"][1]) == 5000
