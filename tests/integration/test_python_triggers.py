"""Triggers, events and schedules in Python: what is the library's own, and the examples. What all languages do is in
test_triggers.py."""

import asyncio
import builtins
import datetime
import json
import socket
import subprocess
import sys

import psycopg
import pytest

from support import paths
from support.engine import value
from support.played import ENVIRONMENT, Played, failed, saved
from support.server import clean_environment
from support.wait import wait_for

sys.path.insert(0, f"{paths.SRC}/proto/python")
import pgconductor  # noqa: E402
from pgconductor import (AsyncClient, BadEvent, BadPayload, BadSchedule, BadSchema, Client, RawJSON, Task, _triggers, _wire,  # noqa: E402
                         change, cron, define_event, event, literal, task)
from pgconductor._task import _defined  # noqa: E402

PROGRAM = "tests/support/python_events.py"


@pytest.fixture(scope="module")
def shared():
    with Played(PROGRAM) as m:
        yield m


@pytest.fixture
def m(shared):
    yield shared
    shared.nothing_left()


@pytest.fixture(autouse=True)
def own_definitions():
    before = dict(_defined), dict(_triggers._defined)
    yield
    for all_of, old in zip((_defined, _triggers._defined), before):
        all_of.clear()
        all_of.update(old)


BOTH = pytest.mark.parametrize("kind", ["", "_async"], ids=["sync", "async"])

# ---- what a program says of itself


def hello(program):
    """The fields of its HELLO."""
    ours, theirs = socket.socketpair()
    env = clean_environment(ENVIRONMENT | {"PGCONDUCTOR_FD": str(theirs.fileno())})
    with ours, ours.makefile("rb") as stream:
        process = subprocess.Popen([sys.executable, f"{paths.SRC}/{program}"], env=env, pass_fds=[theirs.fileno()],
                                   stderr=subprocess.DEVNULL)
        theirs.close()
        length = _wire.length_at(stream.read(_wire.HEAD), 0)[0]
        number, _, fields = _wire.unpack(stream.read(length))
    process.wait(20)
    _wire.check(number, fields)
    return fields


def test_triggers_and_events_are_announced():
    said = hello(PROGRAM)
    tasks = {one["name"]: one for one in said["tasks"]}
    assert json.loads(tasks["started"]["triggers"]) == [
        {"invocable": True},
        {"cron": "0 9 * * *", "name": "daily", "timezone": "Europe/Berlin", "payload": 12.5, "overlap": "skip", "catchup": 3},
        {"event": "order.paid", "when": "payload->>'total' = '1'", "fields": ["total", "id"]},
        {"table": "users", "operation": "update", "schema": "app", "columns": "id,email", "when": "new.id > 3"},
        {"table": "Odd Name", "operation": "delete"}]
    assert '"payload": 12.50' in tasks["started"]["triggers"]
    assert json.loads(tasks["started"]["payload_schema"])["items"] == {"type": "string"}
    assert tasks["started"]["returns_schema"] == "true"
    assert json.loads(tasks["daily"]["triggers"]) == [{"cron": "@daily"}]
    assert "triggers" not in tasks["one"] and "payload_schema" not in tasks["one"]
    assert {one["name"]: one.get("schema") for one in said["events"]} == {
        "order.paid": '{"type": "object", "required": ["total"]}', "order.sent": None}


@pytest.mark.parametrize("bad, message", [
    ({"every": "day"}, r"t: triggers\[0\]: one of cron, event, table and invocable"), ([{"invocable": True}, "cron"], r"triggers\[1\]: not a"),
    ({"cron": "@daily", "event": "x"}, "one of cron, event"), ({"cron": "@daily", "zone": "UTC"}, "zone: there are cron, name, timezone"),
    ({"table": "t", "operation": "insert", "fields": "id"}, "fields: there are table, schema, operation, columns, when"),
    (cron("@daily", payload={1}), r"t: triggers\[0\]: not JSON"),
], ids=["unknown", "text", "two", "member", "change", "payload"])
def test_what_is_no_trigger(bad, message):
    with pytest.raises((TypeError, ValueError), match=message):
        task("t", triggers=bad)(lambda: None)


def test_definitions_of_events():
    assert event("a") == {"event": "a"} and event(define_event("b", int)) == {"event": "b"}
    assert define_event("c", schema=False).announcement() == {"name": "c", "schema": "false"}
    assert define_event("c", schema=False).name == "c"
    with pytest.raises(ValueError, match="event c is defined twice"):
        define_event("c")
    for bad in ("", "a b", "a\n", "x" * 201):
        for name in (define_event, event):
            with pytest.raises(ValueError, match="is not an event's name"):
                name(bad)
    with pytest.raises(TypeError):
        event(3)
    with pytest.raises(ValueError, match="event d: schema: not JSON"):
        define_event("d", schema={"enum": {1}})
    made = task("t", triggers=[cron("@hourly"), change("t", "insert")])(lambda: None)
    assert isinstance(made, Task) and json.loads(made.announcement()["triggers"])[1] == {"table": "t", "operation": "insert"}
    assert json.loads(task("none", triggers=())(lambda: None).announcement()["triggers"]) == []


def test_what_started_it(m):
    x = m.start("started", event={"name": "daily", "payload": '["a"]', "at": "2030-01-31T12:00:00.000Z"})
    assert json.loads(m.done(x)) == ["daily", "2030-01-31T12:00:00+00:00", ["a"]]
    x = m.start("started", ["b"])
    assert json.loads(m.done(x)) == ["pgconductor.invoke", None, ["b"]]
    x = m.start("daily", event={"name": "@daily", "payload": "null", "at": "1970-01-02T00:00:00.250Z"})
    assert json.loads(m.done(x)) == ["@daily", 86400.25]


# ---- one event

WAITS = {
    "name": ("{}#1", {"event": "order.paid"}),
    "all": ("paid", {"event": "order.paid", "filter": "payload->>'id' = '7'", "since": "start", "timeout_ms": 172800000}),
    "change": ("user", {"change": '{"table": "users", "operation": "insert", "columns": "id,email"}', "timeout_ms": 500}),
    "pair": ("{}#1", {"change": '{"table": "users", "operation": "delete", "when": "old.id = 3"}'}),
    "dict": ("{}#1", {"change": '{"table": "users", "operation": "update", "schema": "app", "when": "new.id = 3"}'}),
}


@BOTH
@pytest.mark.parametrize("wait", WAITS)
def test_an_event_is_waited_for(m, wait, kind):
    key, fields = WAITS[wait]
    key = key.format(f"one{kind}")
    assert m.suspended(m.start(f"one{kind}", {"wait": wait})) == {key: fields}
    # Of an event that was defined with a type it is of that type.
    for payload in ({"id": 7, "total": 1.5},) if wait == "all" else ({"id": 7}, None, [1.5]):
        x = m.start(f"one{kind}", {"wait": wait}, steps=saved(**{key: payload}))
        assert json.loads(m.done(x) or "null") == payload
    x = m.start(f"one{kind}", {"wait": wait}, steps=[{"key": key}])
    if wait == "all":
        error = m.failed(x, "bad_payload")
        assert error["message"] == "the payload of order.paid is not of its type: (all of it): null is not an object"
    else:
        assert m.done(x) is None


@BOTH
def test_what_has_not_come(m, kind):
    """It can be caught; it is for good if it is not, as each attempt would hear the same."""
    caught = {"wait": "change", "caught": True}
    for code, name in (("timeout", "EventTimeout"), ("bad_change", "WaitFailed")):
        x = m.start(f"one{kind}", caught, steps=[failed("user", code, "no luck")])
        assert json.loads(m.done(x)) == [name, code, "public.users.insert", "user", "waiting for public.users.insert: no luck"]
        fields = m.failed(m.start(f"one{kind}", {"wait": "change"}, steps=[failed("user", code, "no luck")]), code)
        assert fields["retry"] is False and fields["type"] == name and fields["message"] == "waiting for public.users.insert: no luck"


@BOTH
@pytest.mark.parametrize("bad, message", [
    ("both", "either event or change"), ("neither", "either event or change"), ("since", 'there is only "start"'),
    ("number", "not 7"), ("duration", "not a duration"), ("no table", "a table and an operation are expected"),
    ("member", "fields: there are table")])
def test_what_cannot_be_waited_for(m, bad, message, kind):
    assert message in m.failed(m.start(f"one{kind}", {"wait": bad}), "app")["message"]


# ---- several


@BOTH
def test_all_of_several(m, kind):
    name = f"every{kind}"
    hour = {"timeout_ms": 3600000}
    waits = {f"{name}#1": {"event": "order.sent"} | hour, f"{name}#2": {"event": "plain"} | hour,
             f"{name}#3": {"event": "if", "filter": "payload = '1'"} | hour,
             f"{name}#4": {"change": '{"table": "users", "operation": "insert"}'} | hour,
             "own": {"event": "own", "since": "start", "timeout_ms": 60000}}
    assert m.suspended(m.start(name)) == waits
    some = {f"{name}#2": 2, "own": 5}
    assert m.suspended(m.start(name, steps=saved(**some))) == {key: wait for key, wait in waits.items() if key not in some}
    rest = some | {f"{name}#1": 1, f"{name}#3": 3}
    assert json.loads(m.done(m.start(name, steps=saved(**rest, **{f"{name}#4": 4})))) == [1, 2, 3, 4, 5]
    steps = saved(**rest) + [failed(f"{name}#4", "timeout", "too late")]
    assert m.failed(m.start(name, steps=steps), "timeout")["message"] == "waiting for public.users.insert: too late"
    assert json.loads(m.done(m.start(name, "errors", steps=steps))) == [
        1, 2, 3, ["EventTimeout", "timeout", "public.users.insert", f"{name}#4", "waiting for public.users.insert: too late"], 5]
    assert m.done(m.start(name, "none")) == "[]"


@BOTH
def test_which_was_first_stays_so(m, kind):
    """It is saved before the function goes on; what comes later, or is found beside it, changes nothing."""
    name = f"first{kind}"
    a, race = f"{name}#1", f"{name}#2"
    assert m.suspended(m.start(name), any=True) == {a: {"event": "a"}, "b": {"event": "b"}}
    x = m.start(name, steps=saved(b="second"))
    assert m.save(x) == (race, 1)
    assert m.suspended(x) == {"nap": {"timer_ms": 1000}}
    later = saved(b="second", nap=None, **{race: 1, a: "later"})
    assert json.loads(m.done(m.start(name, steps=later))) == [1, "second"]
    # Not saved yet, and both are there.
    x = m.start(name, steps=saved(b="second", **{a: "first"}))
    assert m.save(x) == (race, 0)
    assert m.suspended(x) == {"nap": {"timer_ms": 1000}}
    # The first that is over was too late.
    assert m.suspended(m.start(name, 5), any=True) == {a: {"event": "a", "timeout_ms": 5000}, "b": {"event": "b", "timeout_ms": 5000}}
    x = m.start(name, 5, steps=[failed("b", "timeout")])
    assert m.save(x) == (race, 1)
    assert json.loads(m.done(x)) == ["EventTimeout", "timeout", "b", "b", "waiting for b: it did not"]
    assert "nothing to wait for" in m.failed(m.start(name, "none"))["message"]
    # The function has changed meanwhile.
    assert m.failed(m.start(name, steps=saved(**{race: 7})), "nondeterminism")["retry"] is False


def test_a_race_beside_other_branches(m):
    """What is waited for ends with any of it; each branch sees by itself if that was enough."""
    x = m.start("branches")
    rest = {"c": {"event": "c"}, "child": {"task": "child"}}
    both = {"branches#1": {"event": "a"}, "branches#2": {"event": "b"}}
    assert m.suspended(x, any=True) == both | rest
    assert m.suspended(m.start("branches", steps=saved(c=3)), any=True) == both | {"child": {"task": "child"}}
    x = m.start("branches", steps=saved(**{"branches#2": 2}))
    assert m.save(x) == ("race", 1)
    assert m.suspended(x) == rest | {"after": {"timer_ms": 1000}}
    steps = saved(c=3, child=4, after=None, race=1, **{"branches#2": 2})
    assert json.loads(m.done(m.start("branches", steps=steps))) == [[1, 2], 3, 4]
    x = m.start("given_up")
    m.save(x, "gate")
    assert m.suspended(x) == {"x": {"timer_ms": 1000}, "y": {"timer_ms": 1000}}


def test_keys_by_their_turn(m):
    assert m.suspended(m.start("family", steps=saved(**{"family#1": None}))) == {"family#2": {"event": "a"}}
    steps = saved(**{"family#1": None, "family#2": 2}) + [failed("family#3", "crash")]
    assert json.loads(m.done(m.start("family", steps=steps))) == [2, "crash"]


# ---- calls


@BOTH
def test_calls(m, kind):
    x = m.start(f"calls{kind}")
    assert m.called(x, "1") == ("emit", {"event": "order.paid", "payload": {"total": 1}})
    assert m.save(x) == ("emit", "1")
    assert m.called(x, "2") == ("emit", {"event": "plain", "payload": None})
    assert m.called(x, "3") == ("emit", {"event": "raw", "payload": 1.5})
    due = "2030-01-31T12:00:00.000Z"
    assert m.called(x, due) == ("schedule", {"task": "started", "name": "s", "cron": "@daily", "payload": ["a"],
                                             "timezone": "Europe/Berlin", "overlap": "skip", "catchup": "3", "enabled": False})
    assert m.called(x) == ("schedule", {"task": "by.name", "name": "t", "cron": "* * * * *", "payload": None})
    assert m.called(x, True) == ("unschedule", {"task": "started", "name": "s"})
    m.called(x, code="PC013", message="bad name")
    m.called(x, code="bad_payload", message="/total: too much")
    m.called(x, code="PC012", message="minute: 99")
    assert json.loads(m.done(x)) == ["1", "2", "3", "2030-01-31 12:00:00+00:00", None, True, ["BadEvent", "bad name"],
                                     ["BadPayload", "/total: too much"], ["BadSchedule", "minute: 99"]]


# ---- the client


@pytest.fixture
def producer(connect, db):
    """A client on a connection that is in a transaction."""
    db.execute("select pgconductor.declare_task('report')")
    conn = connect(autocommit=False)
    yield Client(conn)
    conn.rollback()


def test_emit_is_part_of_the_callers_transaction(producer, db):
    def events():
        return db.execute("select id::text, key, payload::text from pgconductor.events order by id").fetchall()
    conn = producer._conn
    producer.emit("a", {"n": 1})
    assert events() == []
    conn.rollback()
    assert events() == []
    made = [producer.emit("a", {"n": 1}), producer.emit(define_event("b"), RawJSON("12.50")), producer.emit("c")]
    conn.commit()
    assert events() == [(made[0], "a", '{"n": 1}'), (made[1], "b", "12.50"), (made[2], "c", "null")]
    with pytest.raises(BadEvent, match="is not an event's name"):
        producer.emit("a b")
    conn.rollback()
    with pytest.raises(TypeError):
        producer.emit(3)


def test_schedules_of_the_client(producer, db):
    conn = producer._conn
    at_nine = producer.schedule("report", "nine", "0 9 * * *", {"by": "me"}, timezone="Europe/Berlin", overlap="skip", catchup=3,
                                enabled=True)
    assert db.execute("select count(*) from pgconductor.schedules").fetchone() == (0,)
    assert at_nine > datetime.datetime.now(datetime.timezone.utc)
    assert producer.schedule("report", "paused", "@daily", enabled=False) is not None
    conn.commit()
    rows = db.execute("select name, cron, payload::text, timezone, overlap, catchup, enabled, next_at from pgconductor.schedules"
                      " order by name").fetchall()
    assert rows[0] == ("nine", "0 9 * * *", '{"by": "me"}', "Europe/Berlin", "skip", 3, True, at_nine)
    assert rows[1][:7] == ("paused", "@daily", "null", "UTC", "allow", 0, False)
    assert producer.unschedule("report", "nine") and not producer.unschedule("report", "nine")
    conn.rollback()
    assert value(db, "select count(*) from pgconductor.schedules") == 2
    with pytest.raises(BadSchedule, match="minute"):
        producer.schedule("report", "x", "99 * * * *")
    conn.rollback()
    with pytest.raises(pgconductor.UndeclaredTask):
        producer.schedule("nobody", "x", "@daily")
    conn.rollback()
    with pytest.raises(TypeError, match="no such option: zone"):
        producer.schedule("report", "x", "@daily", zone="UTC")


def test_the_async_client(dsn, db):
    async def use():
        db.execute("select pgconductor.declare_task('report')")
        async with AsyncClient(dsn) as mine:
            one = await mine.emit("a", [1])
            assert value(db, "select payload::text from pgconductor.events where id = %s", int(one)) == "[1]"
            assert await mine.schedule("report", "s", "@daily", catchup="all") is not None
            assert await mine.unschedule("report", "s") and not await mine.unschedule("report", "s")
        async with await psycopg.AsyncConnection.connect(dsn) as conn:
            await AsyncClient(conn).emit("b")
            await conn.rollback()
        assert value(db, "select count(*) from pgconductor.events") == 1
    asyncio.run(use())


def test_values_in_conditions(db):
    for one in ("ann", "o'clock", "'; --", "back\\slash'", "\\", "", "ü\n%s", 7, -1.5):
        for standard in ("on", "off"):
            db.execute(f"set standard_conforming_strings = {standard}; set escape_string_warning = off")
            assert value(db, f"select {literal(one)}") == str(one)
    with pytest.raises(ValueError):
        literal("a\0b")


# ---- schemas, in the client

ORDER = {"type": "object", "required": ["total"], "properties": {"total": {"type": "number", "minimum": 0},
                                                               "a/b": {"items": {"$ref": "#/$defs/name"}}},
         "$defs": {"name": {"type": "string"}}}


def test_payloads_are_held_against_the_schema(producer):
    """Before anything is sent, so that the transaction goes on; whether the event is named or given."""
    pytest.importorskip("jsonschema")
    order = define_event("order", schema=ORDER)
    assert producer.emit(order, {"total": 1, "a/b": ["x"]}) and producer.emit("order", RawJSON('{"total": 1e2}'))
    for bad, message in (({"total": -1}, "/total: -1 is less than"), ({"total": 0, "a/b": ["x", 7]}, "/a~1b/1: 7 is not of type"),
                         ({}, r"\(all of it\): 'total' is a required property"), (None, r"\(all of it\): None is not of type")):
        for what in (order, "order"):
            with pytest.raises(BadPayload, match=f"emit: order: the payload is not as its schema says: {message}"):
                producer.emit(what, bad)
    assert producer.emit("other", {})
    assert not producer._conn.broken and producer.emit(define_event("any", schema=True), 1)
    with pytest.raises(BadPayload):
        producer.emit(define_event("none", schema=False), 1)


def test_payloads_of_tasks_are_held_against_theirs(producer):
    pytest.importorskip("jsonschema")
    report = task("report", payload_schema={"type": "integer"})(lambda payload: payload)
    assert producer.invoke(report, 3) and producer.invoke_batch(report, [{"payload": 4}]) and producer.schedule(report, "s", "@daily", 3)
    assert producer.schedule(report, "s", "@daily")  # no payload at all
    for call in (lambda: producer.invoke(report, "x"), lambda: producer.invoke_batch(report, [{"payload": 1}, {"payload": []}]),
                 lambda: producer.schedule(report, "s", "@daily", {})):
        with pytest.raises(BadPayload, match="report: the payload is not as its schema says"):
            call()
    assert producer.invoke("report", "x")  # by its name nothing is known of it here


def test_schemas_that_are_none(producer):
    pytest.importorskip("jsonschema")
    with pytest.raises(BadSchema, match="its schema is none"):
        producer.emit(define_event("a", schema={"type": "no such"}), 1)
    # Nothing is fetched.
    for uri in ("http://127.0.0.1:9/x.json", "file:///etc/passwd", "#/nowhere"):
        with pytest.raises(BadSchema, match="refers to what is not in it"):
            producer.emit(define_event(f"b{len(uri)}", schema={"$ref": uri}), 1)
    meta = define_event("c", schema={"$ref": "https://json-schema.org/draft/2020-12/schema"})
    assert producer.emit(meta, {"type": "object"})
    with pytest.raises(BadPayload):
        producer.emit(meta, {"type": 3})


def test_without_jsonschema(producer, monkeypatch):
    def missing(name, *rest):
        if name.split(".")[0] == "jsonschema":
            raise ImportError(name)
        return real(name, *rest)
    real = builtins.__import__
    monkeypatch.setattr(builtins, "__import__", missing)
    assert producer.emit("plain", 1) and producer.emit(define_event("bare"), 1)
    with pytest.raises(ImportError, match=r"pip install 'pgconductor\[schema\]'"):
        producer.emit(define_event("held", schema={"title": "only here"}), 1)


# ---- when processes end


def test_what_was_heard_is_heard_again(server, db, seed, scale):
    n = scale(30, 500)
    words = ", ".join(f'"{name}={text}"' for name, text in ENVIRONMENT.items())
    server(config=f'handler "app" {{ command = {{ "{sys.executable}", "{paths.SRC}/{PROGRAM}" }} env = {{ {words} }} }}\n'
                  'queue "default" { handler = "app" processes = 3 concurrency = 30 credit = 10 }\n')
    wait_for(lambda: value(db, "select count(*) from pgconductor.tasks where name = 'hunted'"), 20, "it is declared")
    ids = [row[0] for row in db.execute("select unnest(pgconductor.invoke_batch('hunted', %s))",
                                        (json.dumps([{"payload": seed}] * n),)).fetchall()]
    wait_for(lambda: value(db, "select count(*) from pgconductor.event_waits") == 2 * n, 60, "they wait")
    for event, payload in (("right", 1), ("left", 0), ("later", 2)):
        db.execute("select pgconductor.emit(%s, %s::text)", (event, str(payload)))
    wait_for(lambda: value(db, "select count(*) from pgconductor.finished_executions") == n, 60 + n, "all have finished", poll=0.05)
    rows = db.execute("select id, state, result, attempt from pgconductor.finished_executions").fetchall()
    assert sorted(row[0] for row in rows) == sorted(ids)
    # The payload of left is 0, as is its index.
    assert all(row[1:3] in [("completed", [[n, n], [n, n], 2]) for n in (0, 1)] for row in rows), rows
    assert any(row[3] > 1 for row in rows)
