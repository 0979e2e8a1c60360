"""What starts executions besides invoke, and what resumes them, in each language: the same tasks, written in it, on a real
server. See support/triggers.py.

One server for each language serves all of these tests; each has executions, and names of events, of its own. What SQL alone
does is in test_sql_events.py and test_sql_schedules.py, servers that are killed in test_event_kills.py.
"""

import datetime
import json

from support.engine import invoke, value, wait_finished
from support.node import node_tree  # noqa: F401
from support.triggers import LANGUAGES, TABLES, started, waits
from support.wait import wait_for
from support.world import db, fixture, ledger, world  # noqa: F401

# Those whose program is there: add yours.
READY = ["c", "node", "python", "shell"]

served = fixture("triggers", LANGUAGES, READY, {"default/seen", "default/wait", "default/unplan"},
                 lambda db: db.execute(TABLES))

VALUES = [0, False, "", None, [], 1.5, 2 ** 53 - 1, "grüße 😀 \"\\\n\t/", "\u2028", "null", [False, 0, None, ""],
          {"a": [None, {"b": True, "c": [[]]}, {}], "ключ": {"": -7}}]


def emit(db, event, payload=None):
    return value(db, "select pgconductor.emit(%s, %s::text)", event, json.dumps(payload))


def suspended(db, *ids):
    wait_for(lambda: value(db, "select count(*) from pgconductor.executions where id = any (%s) and waiting = 'suspended'",
                           list(ids)) == len(ids), 20, "they wait")


def wait_result(db, job):
    return wait_finished(db, job, timeout=20)[1]


def failure(db, job):
    """The error of one that fails, at the latest when it has no more attempts."""
    return wait_finished(db, job, "failed", timeout=20)[2]


def written(moment):
    return moment.astimezone(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03}Z"


def emitted_at(db, event):
    return written(value(db, "select created_at from pgconductor.events where id = %s", int(event)))


# ---- schedules

def test_schedules_are_those_of_the_code(db):
    rows = db.execute("select name, cron, timezone, payload, overlap, catchup, program is not null from pgconductor.schedules"
                      " where task = 'tick' order by name").fetchall()
    assert rows == [("@yearly", "@yearly", "UTC", None, "allow", 0, True),
                    ("every-second", "* * * * * *", "UTC", {"by": "cron"}, "allow", 0, True),
                    ("morning", "0 9 * * mon-fri", "Europe/Berlin", None, "skip", 1, True)]


def test_a_task_on_a_schedule_that_can_be_invoked_too(db, ledger):
    wait_for(lambda: len(started(ledger, "tick", "every-second")) >= 2, 20, "it was executed every second")
    job = invoke(db, "tick", '{"by": "hand"}')
    assert wait_result(db, job) == "pgconductor.invoke"
    assert value(db, "select pgconductor.enable_schedule('tick', 'every-second', false)")
    ticks = started(ledger, "tick", "every-second")
    assert [payload for _, _, payload in ticks] == [{"by": "cron"}] * len(ticks)
    moments = [datetime.datetime.fromisoformat(at.replace("Z", "+00:00")) for _, at, _ in ticks]
    assert written(moments[0]) == ticks[0][1] and all(m.microsecond == 0 for m in moments)
    assert len(set(moments)) == len(moments)
    assert started(ledger, "tick", "pgconductor.invoke") == [["pgconductor.invoke", "", {"by": "hand"}]]


def test_schedules_made_by_a_task(db, ledger):
    plan = {"task": "report", "name": "daily-reports", "cron": "* * * * * *", "payload": {"source": ["admin", None]}}
    due = wait_result(db, invoke(db, "plan", json.dumps(plan)))
    first = wait_for(lambda: started(ledger, "report", "daily-reports"), 20, "it was executed")[0]
    assert first == ["daily-reports", due, {"source": ["admin", None]}]
    # One of the same name is replaced.
    wait_result(db, invoke(db, "plan", json.dumps(plan | {"payload": 2})))
    wait_for(lambda: started(ledger, "report", "daily-reports")[-1][2] == 2, 20, "the other one was executed")
    gone = json.dumps({"task": "report", "name": "daily-reports"})
    assert wait_result(db, invoke(db, "unplan", gone)) is True
    assert wait_result(db, invoke(db, "unplan", gone)) is False
    assert value(db, "select count(*) from pgconductor.schedules where task = 'report'") == 0


def test_options_of_a_schedule(db, ledger):
    """As far as they go: the expression is the name of one without."""
    every = {"task": "report", "name": "full", "cron": "30 9 1 jan *", "timezone": "America/New_York", "overlap": "skip",
             "catchup": "all"}
    due = wait_result(db, invoke(db, "plan", json.dumps(every)))
    assert due == written(value(db, "select next_at from pgconductor.schedules where name = 'full'")) and due.endswith("-01-01T14:30:00.000Z")
    wait_result(db, invoke(db, "plan", '{"task": "report", "name": "least", "cron": "@monthly"}'))
    rows = db.execute("select name, cron, timezone, payload, overlap, catchup, program is null from pgconductor.schedules"
                      " where task = 'report' order by name").fetchall()
    assert rows == [("full", "30 9 1 jan *", "America/New_York", None, "skip", 2147483647, True),
                    ("least", "@monthly", "UTC", None, "allow", 0, True)]
    for name in ("full", "least"):
        assert wait_result(db, invoke(db, "unplan", json.dumps({"task": "report", "name": name}))) is True


def test_schedules_that_are_refused(db):
    bad = {"task": "report", "name": "x", "cron": "61 * * * *"}
    assert "minute" in failure(db, invoke(db, "plan", json.dumps(bad)))["message"]
    assert "Mars" in failure(db, invoke(db, "plan", json.dumps(bad | {"cron": "@daily", "timezone": "Mars/Base"})))["message"]
    assert "nobody" in failure(db, invoke(db, "plan", json.dumps(bad | {"cron": "@daily", "task": "nobody"})))["message"]
    # It is the program's.
    assert "morning" in failure(db, invoke(db, "unplan", '{"task": "tick", "name": "morning"}'))["message"]


def test_a_schedule_in_its_zone(db, ledger):
    """When the clock has gone beyond it; the execution knows for when it is."""
    due = value(db, "select next_at from pgconductor.schedules where task = 'tick' and name = 'morning'")
    assert value(db, "select to_char(%s::timestamptz at time zone 'Europe/Berlin', 'HH24:MI:SS')", due) == "09:00:00"
    db.execute("select pgconductor.fake_now(%s::timestamptz + interval '10 s')", (due,))
    wait_for(lambda: started(ledger, "tick", "morning"), 20, "it was executed")
    assert started(ledger, "tick", "morning") == [["morning", written(due), None]]


# ---- events that start tasks

def test_an_event_starts_all_tasks_that_are_subscribed(db, ledger):
    """What a payload has that looks like an event is just a payload."""
    payload = {"event": "x", "name": "y", "payload": [1, {"event": None}], "at": 3}
    event = emit(db, "order.sent", payload)
    wait_for(lambda: started(ledger, "seen", "order.sent") and started(ledger, "copy", "order.sent"), 20, "both were started")
    expected = [["order.sent", emitted_at(db, event), payload]]
    assert started(ledger, "seen", "order.sent") == started(ledger, "copy", "order.sent") == expected
    wait_for(lambda: value(db, "select count(*) from pgconductor.finished_executions where event = 'order.sent'") == 2, 10)
    assert value(db, "select bool_and(result::text = '\"order.sent\"') from pgconductor.finished_executions"
                     " where event = 'order.sent'")
    assert wait_result(db, invoke(db, "copy", "[]")) == "pgconductor.invoke"


def test_condition_and_fields(db, ledger):
    """Only some events count, and only a part of them is passed on."""
    rest = {"id": 7, "customer": {"name": "ann", "address": "x"}, "items": [1]}
    emit(db, "order.paid", rest | {"total": 50})
    event = emit(db, "order.paid", rest | {"total": 500})
    emit(db, "order.paid", rest | {"total": 100})
    emit(db, "order.sent", "the last")
    wait_for(lambda: "the last" in [payload for _, _, payload in started(ledger, "seen")], 20, "all were dispatched")
    expected = [["order.paid", emitted_at(db, event), {"id": 7, "customer": {"name": "ann"}}]]
    wait_for(lambda: started(ledger, "seen", "order.paid") == expected, 10, "one was started")


# ---- waiting

def test_listeners_and_an_emitter(db):
    """Many wait for one event that a task emits; without a key, with time enough."""
    jobs = [invoke(db, "wait", waits({"event": "news", "timeout_ms": 60000})) for _ in range(12)]
    suspended(db, *jobs)
    said = invoke(db, "say", '{"event": "news", "payload": {"message": "Hello World"}}')
    event = wait_result(db, said)
    assert isinstance(event, str)
    for job in jobs:
        assert wait_result(db, job) == [{"message": "Hello World"}]
    assert value(db, "select payload::text from pgconductor.events where id = %s", int(event)).replace(" ", "") \
        == '{"message":"HelloWorld"}'
    assert [(key, str(result)) for key, result in db.execute("select key, result from pgconductor.execution_steps(%s)", (said,))] \
        == [("said", event)]
    assert {row for row in db.execute("select attempt, state from pgconductor.finished_executions where id = any (%s)",
                                      (jobs,))} == {(1, "completed")}


def test_any_payload_comes_as_it_was(db):
    job = invoke(db, "wait", waits({"event": "values", "key": "v", "since": "start"}, turns=len(VALUES)))
    for one in VALUES:
        wait_result(db, invoke(db, "say", json.dumps({"event": "values", "payload": one})))
    # false is not 0 here, as it is in Python.
    assert json.dumps(wait_result(db, job)) == json.dumps(VALUES)
    keys = [row[0] for row in db.execute("select key from pgconductor.execution_steps(%s)", (job,))]
    assert keys == [f"v-{turn}" for turn in range(len(VALUES))]


def test_an_event_without_a_payload(db):
    job = invoke(db, "wait", waits({"event": "bare", "key": "k"}))
    suspended(db, job)
    wait_result(db, invoke(db, "say", '{"event": "bare"}'))
    assert wait_result(db, job) == [None]


def test_all_of_several(db):
    job = invoke(db, "wait", waits({"event": "all.a", "key": "a"}, {"event": "all.b"}, {"event": "all.a", "key": "again"}, mode="all"))
    suspended(db, job)
    emit(db, "all.b", "b")
    emit(db, "all.a", ["a"])
    assert wait_result(db, job) == [[["a"], "b", ["a"]]]


def test_any_of_several(db):
    """What was first stays so, though another one comes while it waits for something else."""
    job = invoke(db, "wait", waits({"event": "any.a", "key": "a"}, {"event": "any.b", "key": "b"}, mode="any", turns=2))
    suspended(db, job)
    latest = "select max(id) from pgconductor.event_waits where execution = %s and event = 'any.b'"
    first = value(db, latest, job)
    emit(db, "any.b", "first")
    wait_for(lambda: (value(db, latest, job) or 0) > first, 20, "it waits for the second time")
    emit(db, "any.a", {"n": 2})
    got = wait_result(db, job)
    assert got == [[1, "first"], [0, {"n": 2}]]


def test_conditions_of_waits(db):
    job = invoke(db, "wait", waits({"event": "if", "when": "(payload->>'n')::int > 3 and event = 'if'"}))
    suspended(db, job)
    for n in (1, "x", 3, 5, 7):
        emit(db, "if", {"n": n})
    assert wait_result(db, job) == [{"n": 5}]


def test_a_condition_that_is_none(db):
    job = invoke(db, "wait", waits({"event": "if", "when": "payload ->"}))
    assert failure(db, job)["code"] == "bad_filter"
    assert value(db, "select attempt from pgconductor.finished_executions where id = %s", job) == 1


def test_time_is_up(db):
    """Of one, of all, of any; caught where it waits, which goes on."""
    never, soon = {"event": "never", "timeout_ms": 50}, {"event": "soon", "timeout_ms": 3600000}
    assert wait_result(db, invoke(db, "wait", waits(never))) == ["timeout"]
    assert wait_result(db, invoke(db, "wait", waits(never | {"key": "k"}, never, mode="any"))) == ["timeout"]
    both = invoke(db, "wait", waits(never, soon, mode="all"))
    late = invoke(db, "wait", waits(soon | {"key": "k"}, turns=2))
    suspended(db, late)
    # A command has one limit for all that it waits for, and is over by itself.
    wait_for(lambda: value(db, "select state in ('suspended', 'completed') from pgconductor.executions_all where id = %s", both), 20,
             "it waits for both, or is over")
    emit(db, "soon", 1)
    assert wait_result(db, both) == ["timeout"]
    wait_for(lambda: value(db, "select count(*) from pgconductor.event_waits where execution = %s and key = 'k-1'", late) == 1, 20,
             "it waits for the second time")
    db.execute("select pgconductor.fake_now(pgconductor.now() + interval '1 hour')")
    assert wait_result(db, late) == [1, "timeout"]


def test_since_the_start(db):
    """What was emitted before it waited is found, each event once, in order; without it, it is not."""
    since = invoke(db, "wait", waits({"event": "early", "since": "start"}, {"event": "gate", "key": "gate"}, mode="all", turns=3))
    suspended(db, since)
    for n in range(3):
        emit(db, "early", n)
        emit(db, "gate", n)
    # The gates of the second and the third turn may have come before it waited for them.
    wait_for(lambda: emit(db, "gate", -1) and value(db, "select state from pgconductor.executions_all where id = %s", since)
             == "completed", 20, "it has ended", poll=0.2)
    assert [turn[0] for turn in wait_result(db, since)] == [0, 1, 2]


def test_an_event_before_the_wait_does_not_count(db):
    emit(db, "past", "old")
    job = invoke(db, "wait", waits({"event": "past"}))
    suspended(db, job)
    emit(db, "past", "new")
    assert wait_result(db, job) == ["new"]


# ---- changes of tables

def change(op, table, old, new):
    return {"old": old, "new": new, "tg_table": table, "tg_op": op}


def test_changes_start_a_task(db, ledger):
    """With the columns that it wants; of updates, only those for which its condition holds; not what is rolled back."""
    user = value(db, "insert into users (email, password) values ('ann', 'x') returning id")
    db.execute("insert into app.accounts values (1, 10, 'a'), (2, 20, 'b')")
    with db.transaction(force_rollback=True):
        db.execute("insert into users (email) values ('nobody')")
    db.execute("update app.accounts set balance = balance + 5")
    db.execute("update app.accounts set balance = balance - 7.50 where id = 2")
    db.execute("delete from users where id = %s", (user,))
    wait_for(lambda: len(started(ledger, "changed")) == 3, 20, "it was started for each of them")
    assert sorted((event, payload) for event, _, payload in started(ledger, "changed")) == [
        ("app.accounts.update", change("UPDATE", "accounts", {"id": 2, "balance": 25}, {"id": 2, "balance": 17.5})),
        ("public.users.delete", change("DELETE", "users", {"id": user, "email": "ann", "password": "x"}, None)),
        ("public.users.insert", change("INSERT", "users", None, {"id": user, "email": "ann"}))]


def test_waiting_for_a_change(db):
    job = invoke(db, "wait", waits({"table": "users", "operation": "update", "columns": "email", "when": "new.email like 'b%'",
                                    "key": "k", "timeout_ms": 60000}))
    suspended(db, job)
    db.execute("insert into users (email) values ('old')")
    db.execute("update users set email = 'ann'")
    db.execute("update users set email = 'bob'")
    assert wait_result(db, job) == [change("UPDATE", "users", {"email": "ann"}, {"email": "bob"})]
    late = invoke(db, "wait", waits({"schema": "app", "table": "accounts", "operation": "delete", "timeout_ms": 50}))
    assert wait_result(db, late) == ["timeout"]


def test_waiting_for_a_change_of_nothing(db):
    job = invoke(db, "wait", waits({"table": "nowhere", "operation": "insert"}))
    assert "nowhere" in failure(db, job)["message"]


# ---- emitting

def test_an_event_that_is_refused(db):
    assert "is not an event's name" in failure(db, invoke(db, "say", '{"event": "a b", "payload": 1}'))["message"]


def test_a_question_and_its_answer(db):
    """Two tasks that know of each other's events alone."""
    jobs = [invoke(db, "ask", "null") for _ in range(6)]
    assert [wait_result(db, job) for job in jobs] == [42] * 6
    assert value(db, "select count(*) from pgconductor.events where key in ('asked', 'answered')") == 12


def test_nothing_is_left_of_all_this(db):
    for table in ("executions", "steps", "wakes", "running"):
        wait_for(lambda: value(db, f"select count(*) from pgconductor.{table}") == 0, 10, f"{table} is empty")
    # Waits that something else has ended are forgotten later.
    db.execute("select pgconductor.sweep(1000)")
    assert value(db, "select count(*) from pgconductor.event_waits") == 0
