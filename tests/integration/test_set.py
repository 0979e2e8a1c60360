"""Options of a task that are set at run time, in SQL and with `pgconductor set`: they count before what is declared."""

import json

import pytest
from psycopg import errors

from support.engine import invoke, value, wait_empty
from support.server import run_cli
from support.sqlnode import declare
from support.wait import wait_for


def options(db, task="t"):
    """Those that are no defaults: what they are, and who says so."""
    return {name: (what, source) for name, what, source in db.execute(
        "select option, value, source from pgconductor.task_options() where task = %s and source <> 'default'", (task,))}


def said(db, **changes):
    return value(db, "select pgconductor.set_options('t', %s)", json.dumps(changes))


def limits(db):
    return db.execute("select concurrency, rate_limit, timeout_ms, key_path, limited from pgconductor.tasks where name = 't'").fetchone()


def test_what_is_set_counts_and_what_is_not_named_stays(db):
    declare(db, "t", concurrency=5, timeout="1m", max_attempts=7)
    assert said(db, concurrency=2)
    assert said(db, max_attempts=1)
    assert (options(db)["concurrency"], options(db)["max_attempts"]) == ((2, "set"), (1, "set"))
    assert options(db)["timeout"][0] == "1m" and options(db)["timeout"][1] != "set"


def test_null_gives_it_back_and_false_lifts_it(db):
    declare(db, "t", concurrency=5, rate_limit={"limit": 3}, timeout="1m", fifo_key="k")
    assert said(db, concurrency=False, rate_limit=False, timeout=False, fifo_key=False)
    assert limits(db) == (None, None, None, None, False)
    assert options(db)["concurrency"] == (False, "set")
    assert said(db, concurrency=None, timeout=None)
    assert limits(db) == (5, None, 60000, None, True)
    assert said(db, rate_limit=None, fifo_key=None)
    assert limits(db) == (5, 3, 60000, ["k"], True)
    assert "set" not in {source for _, source in options(db).values()}


def test_history_that_is_kept_for_ever_is_no_limit_lifted(db):
    declare(db, "t", remove_on_complete="1d")
    assert said(db, remove_on_complete=False)
    assert value(db, "select keep_complete is null from pgconductor.tasks where name = 't'")


def test_the_queue(db):
    declare(db, "t")
    assert said(db, queue="slow", concurrency=3)
    assert value(db, "select queue from pgconductor.tasks where name = 't'") == "slow"
    assert said(db, concurrency=4)
    assert value(db, "select queue from pgconductor.tasks where name = 't'") == "slow"
    assert said(db, queue=None)
    assert value(db, "select queue from pgconductor.tasks where name = 't'") == "default"
    assert options(db)["concurrency"] == (4, "set")


@pytest.mark.parametrize("changes, why", [
    ({"concurrency": 0}, "concurrency: not a whole number from 1 on"),
    ({"max_attempts": False}, "max_attempts: not a whole number"),
    ({"colour": "red"}, "colour: no such option"),
    ([], "not a JSON object"),
])
def test_what_is_refused_changes_nothing(db, changes, why):
    declare(db, "t", concurrency=5)
    with pytest.raises(errors.DatabaseError, match=why):
        db.execute("select pgconductor.set_options('t', %s)", (json.dumps(changes),))
    assert limits(db)[0] == 5


def test_a_task_that_is_not_there(db):
    assert not said(db, concurrency=1)


def test_a_limit_is_set_under_load_and_lifted_again(server, app, db, dsn):
    """On a server that runs: it holds for what begins from then on, and no more once it was lifted."""
    server(config=app.config("hold"))
    first = [invoke(db, "hold") for _ in range(6)]
    wait_for(lambda: len(app.runs()) == 6, 10, "all run")
    assert run_cli("set", "task", "hold", "concurrency=2", dsn=dsn, check=True).stdout == "task hold set\n"
    more = [invoke(db, "hold") for _ in range(6)]
    for one in first:
        app.release(one)
    wait_for(lambda: len(app.runs()) == 8, 20, "two more run")
    # Those that run are known to after a second.
    wait_for(lambda: value(db, "select count(*) from pgconductor.executions_all where state = 'ready' and waiting = 'limit'") == 4,
             10, "the others wait for the limit")
    assert len(app.runs()) == 8
    run_cli("set", "task", "hold", "concurrency=none", dsn=dsn, check=True)
    wait_for(lambda: len(app.runs()) == 12, 20, "all of them run")
    app.release()
    wait_empty(db, 10)
    app.assert_once(first + more)


def test_the_command(db, dsn):
    declare(db, "t", timeout="1m")
    done = run_cli("set", "task", "t", "concurrency=2", 'rate_limit={"limit": 100, "period": "1m"}', "timeout=none", "backoff=5s",
                   "queue=slow", 'window=["09:00", "17:00"]', dsn=dsn, check=True)
    assert done.stdout == "task t set\n"
    assert {o: v for o, (v, s) in options(db).items() if s == "set"} == {
        "concurrency": 2, "rate_limit": {"limit": 100, "period": "1m"}, "timeout": False, "backoff": "5s", "queue": "slow",
        "window": ["09:00", "17:00"]}
    run_cli("set", "task", "t", "timeout=", "rate_limit=", dsn=dsn, check=True)
    assert options(db)["timeout"][0] == "1m" and "rate_limit" not in options(db)
    done = run_cli("set", "task", "nobody", "concurrency=2", dsn=dsn)
    assert (done.returncode, done.stdout) == (1, "")
    assert "no program and no configuration has declared this task" in done.stderr
    done = run_cli("set", "task", "t", "concurrency=many", dsn=dsn)
    assert done.returncode == 65 and "concurrency: not a whole number from 1 on" in done.stderr


@pytest.mark.parametrize("arguments, why", [
    ([], "what is to be set is missing"),
    (["queue", "q", "a=1"], "queue: not what can be set: task"),
    (["task"], "NAME is missing"),
    (["task", "t"], "OPTION=VALUE is missing"),
    (["task", "t", "concurrency"], "concurrency: not OPTION=VALUE"),
    (["task", "t", "=1"], "=1: not OPTION=VALUE"),
    (["task", "t", "window=[1"], "window=[1: not JSON"),
])
def test_wrong_usage(arguments, why):
    done = run_cli("set", *arguments)
    assert (done.returncode, done.stdout) == (64, "")
    assert why in done.stderr
