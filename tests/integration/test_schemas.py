"""Schemas on running servers and in SQL: what programs and the configuration declare, who is told of what does not comply, and
when."""

import json
import os
import sys

import pytest

from support import paths
from support.engine import value, wait_finished
from support.server import run_cli
from support.wait import wait_for

# Its tasks are those of SAID (JSON): what HELLO says of them, and of events. "echo" returns its payload, "emit" what a call of
# that name with its payload as arguments comes to, "wait" the event that its payload names, and "wait_far" does so after
# a step that is too large to come with RUN.
PROGRAM = f"""
import json, os, sys
sys.path.insert(0, {os.path.join(paths.SRC, "tests")!r})
sys.dont_write_bytecode = True
from support.handler import Handler
said = json.loads(os.environ["SAID"])
h = Handler(credit=8, concurrency=1, capabilities=["call", "step", "suspend", "cancel"], **said)
h.say_hello()
while True:
    name, x, fields = h.receive()
    if name == "RUN" and fields["task"].startswith("wait"):
        saved = fields.get("steps", [])
        if fields.get("more_steps"):
            h.send("JOURNAL", x, {{"after": 0}})
        elif saved:
            h.send("DONE", x, {{"result": saved[0]["result"]}})
        else:
            if fields["task"] == "wait_far":
                h.send("STEP", x, {{"key": "large", "result": json.dumps("x" * 300000)}})
            h.send("SUSPEND", x, {{"waits": [{{"key": "come", "event": json.loads(fields["event"]["payload"])}}]}})
    elif name == "STEPS":
        if fields.get("more_steps"):
            h.send("JOURNAL", x, {{"after": 1}})
        else:
            h.send("DONE", x, {{"result": fields["steps"][-1]["result"]}})
    elif name == "CANCEL":
        h.send("DONE", x, {{}})
    elif name == "RUN" and fields["task"] == "emit":
        h.send("CALL", x, {{"call": 1, "name": "emit", "args": fields["event"]["payload"]}})
    elif name == "RUN":
        h.send("DONE", x, {{"result": fields["event"]["payload"]}})
    elif name == "RETURN":
        h.send("DONE", x, {{"result": fields.get("result") or fields["error"]}})
    elif name == "DRAIN":
        h.send("BYE")
        break
"""

ORDER = {"type": "object", "properties": {"id": {"type": "integer"}, "mail": {"format": "email"}}, "required": ["id"]}


@pytest.fixture
def serve(server, short_tmp):
    """serve(tasks, events=[], conf=""): a server with that program; schemas are given as Python has them."""
    path = os.path.join(short_tmp, "program.py")
    with open(path, "w", encoding="utf-8") as file:
        file.write(PROGRAM)

    def texts(what):
        return {k: json.dumps(v) if k in ("payload_schema", "returns_schema", "schema", "triggers", "options") else v for k, v in what.items()}

    def config(tasks, events=(), conf="", handler="app", queue="default"):
        said = json.dumps({"tasks": [texts(t) for t in tasks], "events": [texts(e) for e in events]})
        return (f'handler "{handler}" {{ command = "{sys.executable} {path}" env = {{ {json.dumps("SAID=" + said)}, "PGC_SRCDIR={paths.SRC}" }} }}\n'
                f'queue "{queue}" {{ handler = "{handler}" }}\n{conf}')

    def start(*args, wait=True, **more):
        return server(config=config(*args, **more), wait=wait)
    start.config = config
    return start


def error(db, execution):
    return wait_finished(db, execution, "failed") and value(db, "select error from pgconductor.result(%s)", execution)


def invoke(db, task, payload):
    return value(db, "select pgconductor.invoke(%s, %s)", task, json.dumps(payload))


def emit(db, event, payload):
    return value(db, "select pgconductor.emit(%s, %s)", event, json.dumps(payload))


def stored(db):
    return value(db, "select count(*) from pgconductor.executions_all")


def test_payloads_and_results(serve, db):
    serve([{"name": "echo", "payload_schema": ORDER, "options": {"max_attempts": 5}},
           {"name": "answer", "returns_schema": {"type": "integer"}, "options": {"max_attempts": 2, "backoff": "1ms"}}])
    good, bad, wrong = invoke(db, "echo", {"id": 1}), invoke(db, "echo", {"id": "x"}), invoke(db, "answer", 1.5)
    wait_finished(db, good)
    assert error(db, bad) == {"code": "bad_payload", "message": "payload of task echo: /id: is a string; an integer is expected"}
    assert value(db, "select attempt from pgconductor.executions_all where id = %s", bad) == 1
    assert error(db, wrong)["message"] == "result of task answer: is a number; an integer is expected"
    assert error(db, wrong)["code"] == "bad_result"
    assert value(db, "select attempt from pgconductor.executions_all where id = %s", wrong) == 2


def test_the_command_line_checks_before_it_stores(serve, db, cli, short_tmp):
    serve([{"name": "echo", "payload_schema": ORDER}], [{"name": "order.paid", "schema": ORDER}, {"name": "any"}])
    why = "echo: payload: /mail: \"x\" is not of the format email\n"

    def refused(*args, **more):
        done = cli(*args, **more)
        assert (done.returncode, done.stdout) == (65, ""), done
        return done.stderr.removeprefix(f"pgconductor: {args[0]}: ")
    assert refused("invoke", "echo", '{"id": 1, "mail": "x"}') == why
    assert refused("schedule", "echo", "daily", "@daily", '{"id": 1, "mail": "x"}') == why
    assert refused("invoke", "echo") == "echo: payload: is null; an object is expected\n"
    assert refused("invoke", "echo", "--batch", "-", input='{"id": 1}\n{"id": null}\n') == (
        "-:2: payload of task echo: /id: is null; an integer is expected; nothing was created\n")
    assert refused("emit", "order.paid", "{}") == 'order.paid: payload: "id" is missing (the schema is code:app\'s)\n'
    # Of what is not JSON the database tells, as ever.
    assert "not JSON" in refused("invoke", "echo", "{")
    assert (stored(db), value(db, "select count(*) from pgconductor.schedules"), value(db, "select count(*) from pgconductor.events")) == (0, 0, 0)

    assert cli("invoke", "echo", '{"id": 12345678901234567890}', "--wait").stdout == '{"id": 12345678901234567890}\n'
    assert cli("invoke", "echo", "--batch", "-", input='{"id": 1}\n{"id": 2}\n').stdout.count("\n") == 2
    # What has no payload of its own is not held against the schema.
    for args in (("schedule", "echo", "a", "@daily"), ("schedule", "echo", "b", "@daily", '{"id": 1}'),
                 ("emit", "order.paid", '{"id": 1}'), ("emit", "any", "[]"), ("emit", "unknown")):
        assert cli(*args).returncode == 0


def test_events_are_held_against_their_own(serve, db):
    serve([{"name": "echo", "payload_schema": {"type": "null"}, "triggers": [{"event": "order.paid"}, {"event": "other"}]}, {"name": "emit"}],
          [{"name": "order.paid", "schema": ORDER}])
    wait_for(lambda: value(db, "select count(*) from pgconductor.subscriptions") == 2, 20, "the program has subscribed")
    # SQL does not look; the worker does.
    for event, payload in (("order.paid", {"id": "x"}), ("order.paid", {"id": 1}), ("other", "free")):
        emit(db, event, payload)
    wait_for(lambda: value(db, "select count(*) from pgconductor.finished_executions") == 3, 20, "all are done")
    assert db.execute("select payload::text, state, error ->> 'message' from pgconductor.executions_all order by id").fetchall() == [
        ('{"id": "x"}', "failed", "payload of event order.paid: /id: is a string; an integer is expected"),
        ('{"id": 1}', "completed", None), ('"free"', "completed", None)]

    # A schedule of the event's name is none of it.
    db.execute("select pgconductor.schedule('echo', 'order.paid', '* * * * * *', 'null')")
    wait_for(lambda: value(db, "select count(*) from pgconductor.finished_executions where event = 'order.paid' and state = 'completed'") > 2, 20,
             "it has come")
    db.execute("select pgconductor.unschedule('echo', 'order.paid')")
    assert db.execute("select distinct event_kind, state from pgconductor.executions_all where payload::text <> '\"free\"' order by 1, 2").fetchall() == [
        ("event", "completed"), ("event", "failed"), ("schedule", "completed")]

    refused, taken = (invoke(db, "emit", {"event": "order.paid", "payload": p}) for p in ({}, {"id": 2}))
    wait_finished(db, refused)
    assert value(db, "select result from pgconductor.result(%s)", refused) == {
        "code": "bad_payload", "message": 'payload of event order.paid: "id" is missing'}
    wait_finished(db, taken)
    assert value(db, "select count(*) from pgconductor.events where key = 'order.paid'") == 3


OTHERS = "payload of event order.paid: /id: is a string; an integer is expected (the schema is code:shop's)"
SHOP = {"tasks": [{"name": "own", "queue": "shop"}], "events": [{"name": "order.paid", "schema": ORDER}], "handler": "shop", "queue": "shop"}


def test_events_are_held_against_what_other_programs_say(serve, db, short_tmp):
    script = os.path.join(short_tmp, "emit.sh")
    with open(script, "w", encoding="utf-8") as file:
        file.write('#!/bin/sh\npgconductor ctx emit order.paid "$(cat)" 2>&1 || true\n')
    os.chmod(script, 0o755)
    serve(**SHOP)
    wait_for(lambda: value(db, "select count(*) from pgconductor.event_types") == 1, 20, "the event is declared")
    # On another node, which knows of it before it runs anything.
    names = [{"name": name} for name in ("emit", "wait", "wait_far")]
    serve([*names, {"name": "echo", "triggers": [{"event": "order.paid"}]},
           {"name": "part", "triggers": [{"event": "order.paid", "fields": "id"}]}],
          conf=f'task "script" {{ exec = "{script}" queue = "default" max_attempts = 1 }}\n')
    wait_for(lambda: value(db, "select count(*) from pgconductor.subscriptions") == 2, 20, "the program has subscribed")
    # By a call it is not stored; and nothing is started.
    called, script = invoke(db, "emit", {"event": "order.paid", "payload": {"id": "x"}}), invoke(db, "script", {"id": "x"})
    wait_finished(db, called)
    assert value(db, "select result from pgconductor.result(%s)", called) == {"code": "bad_payload", "message": OTHERS}
    wait_finished(db, script)
    assert OTHERS in value(db, "select result from pgconductor.result(%s)", script)
    assert value(db, "select count(*) from pgconductor.events") == 0

    # SQL does not look. What gets it does not see it; who only asked for parts may have them.
    waits = [invoke(db, name, "order.paid") for name in ("wait", "wait_far")]
    wait_for(lambda: value(db, "select count(*) from pgconductor.event_waits") == 2, 20, "both wait")
    emit(db, "order.paid", {"id": "x"})
    for job in waits:
        assert error(db, job) == {"code": "bad_payload", "message": OTHERS}
    wait_for(lambda: value(db, "select count(*) from pgconductor.finished_executions") == 6, 20, "all are done")
    assert db.execute("select task, state, error ->> 'message' from pgconductor.executions_all where event is not null order by task").fetchall() == [
        ("echo", "failed", OTHERS), ("part", "completed", None)]
    # And what complies comes through.
    waits = [invoke(db, name, "order.paid") for name in ("wait", "wait_far")]
    wait_for(lambda: value(db, "select count(*) from pgconductor.event_waits") == 2, 20, "both wait")
    emit(db, "order.paid", {"id": 7})
    for job in waits:
        wait_finished(db, job)
        assert value(db, "select result from pgconductor.result(%s)", job) == {"id": 7}


def test_nodes_are_told_when_a_program_says_something_else(serve, db):
    def emitted():
        job = invoke(db, "emit", {"event": "order.paid", "payload": {"id": "x"}})
        wait_finished(db, job)
        result = value(db, "select result from pgconductor.result(%s)", job)
        return result["message"] if isinstance(result, dict) else "taken"
    serve([{"name": "emit"}])
    assert emitted() == "taken"
    other = serve(**SHOP)
    wait_for(lambda: emitted() == OTHERS, 20, "the other node's worker was told")
    other.set_config(serve.config(**(SHOP | {"events": [{"name": "order.paid", "schema": {"type": "object"}}]})))
    other.hup()
    wait_for(lambda: emitted() == "taken", 20, "the schema is another one")
    other.set_config(serve.config(**SHOP))
    other.hup()
    wait_for(lambda: emitted() == OTHERS, 20, "the schema is the former one")
    # Of a program that is out of service nobody is left who would care.
    db.execute("select pgconductor.retire('own')")
    wait_for(lambda: emitted() == "taken", 20, "the program was retired")


def test_what_a_program_does_not_say_any_more_is_gone(serve, db, cli):
    one = serve([{"name": "echo", "payload_schema": ORDER}], [{"name": "a", "schema": ORDER}, {"name": "b", "schema": True}])
    wait_for(lambda: value(db, "select count(*) from pgconductor.event_types") == 2, 20, "the events are declared")
    assert value(db, "select pgconductor.payload_schema('echo')") == ORDER
    assert cli("emit", "a", "{}").returncode == 65
    one.set_config(serve.config([{"name": "echo"}], [{"name": "a", "schema": {"type": "object"}}]))
    one.hup()
    wait_for(lambda: value(db, "select count(*) from pgconductor.event_types") == 1, 20, "the events are declared again")
    assert value(db, "select pgconductor.payload_schema('echo')") is None
    assert cli("emit", "a", "{}").returncode == cli("invoke", "echo", "1").returncode == 0


def test_a_program_whose_schema_cannot_be_used_does_not_serve(serve, db):
    one = serve([{"name": "echo", "payload_schema": {"$ref": "https://example.com/order.json"}}], wait=False)
    one.wait_log("payload_schema of task echo: /\\$ref: there is no schema https://example.com/order.json here; nothing is ever fetched")
    assert value(db, "select count(*) from pgconductor.tasks") == 0


def test_declared_in_sql(db, cli):
    def declare(schema, source="code:client"):
        db.execute("select pgconductor.declare_task('t', options => %s, source => %s)", (json.dumps({"payload_schema": schema}), source))
    declare({"minimum": 5})
    assert value(db, "select pgconductor.payload_schema('t')") == {"minimum": 5}
    assert cli("invoke", "t", "4").stderr == "pgconductor: invoke: t: payload: 4 is less than 5\n"
    declare({"minimum": 3}, "set")
    assert cli("invoke", "t", "4").returncode == 0
    declare({"minimum": "3"}, "set")
    assert "cannot be used: /minimum: is not a number" in cli("invoke", "t", "4").stderr
    for bad in ("text", 5, []):
        with pytest.raises(Exception, match="not a JSON Schema, that is an object, true or false"):
            declare(bad)
    with pytest.raises(Exception, match="longer than 1 MiB"):
        declare({"description": "x" * (1 << 20)})
    assert value(db, "select pgconductor.payload_schema('unknown')") is None


def test_clients_may_ask(db, connect):
    client = connect()
    client.execute("set role pgconductor_client")
    assert value(client, "select pgconductor.payload_schema('t')") is None
    assert client.execute("select * from pgconductor.event_schemas('e')").fetchall() == []
    with pytest.raises(Exception, match="permission denied"):
        client.execute("select pgconductor.declare_events('code:x', 'default', '[]')")


# ---- in the configuration: files that refer to each other ----

FILES = {
    "schemas/common/address.json": {"$id": "https://example.com/address.json", "type": "object",
                                    "properties": {"zip": {"$ref": "#/$defs/zip"}}, "$defs": {"zip": {"pattern": "^[0-9]{5}$"}}},
    "schemas/common/tree.json": {"properties": {"of": {"items": {"$ref": "../ship/payload.json"}}}},
    "schemas/ship/payload.json": {"type": "object", "required": ["to"], "properties": {
        "to": {"$ref": "../common/address.json"}, "zip": {"$ref": "../common/address.json#/$defs/zip"}, "parts": {"$ref": "../common/tree.json"}}},
    "schemas/ship/returns.json": True,
    "schemas/one.json": {"$ref": "#/$defs/a", "$defs": {"a": {"type": "integer"}}},
}
SHIP = 'task "ship" { exec = "cat" payload_schema = "schemas/ship/payload.json" returns_schema = "schemas/ship/returns.json" max_attempts = 1 }\n'


@pytest.fixture
def tree(short_tmp):
    """tree(files, conf) → the path of a configuration beside these files."""
    def make(files, conf):
        for name, what in (files | {"pgconductor.conf": conf}).items():
            path = os.path.join(short_tmp, "etc", name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="utf-8") as file:
                file.write(what if isinstance(what, str) else json.dumps(what))
        return os.path.join(short_tmp, "etc", "pgconductor.conf")
    return make


@pytest.mark.parametrize("files, option, why", [
    ({}, "payload_schema", "schemas/ship/payload.json: No such file or directory"),
    ({"schemas/ship/payload.json": "{"}, "payload_schema", "schemas/ship/payload.json: it is not JSON: a string as key is expected at byte 1"),
    ({"schemas/ship/payload.json": {"properties": {"a": {"type": "int"}}}}, "payload_schema",
     "schemas/ship/payload.json: /properties/a/type: is none of null, boolean"),
    ({"schemas/ship/payload.json": {"$ref": "none.json"}}, "payload_schema",
     "schemas/ship/payload.json: /$ref: there is no schema conf:/schemas/ship/none.json here; nothing is ever fetched"),
    ({"schemas/ship/payload.json": {"$ref": "../../../secret.json"}}, "payload_schema", "there is no schema conf:/secret.json here"),
    ({"schemas/ship/payload.json": {"$ref": "%2e%2e/%2e%2e/%2e%2e/secret.json"}}, "payload_schema", "there is no schema conf:/schemas/ship/%2e%2e"),
    ({"schemas/ship/payload.json": {"$ref": "../common/address.json"}, "schemas/common/address.json": {"minimum": "x"}}, "payload_schema",
     "conf:/schemas/common/address.json#/minimum: is not a number"),
    ({"schemas/ship/returns.json": "[]"}, "returns_schema", "schemas/ship/returns.json: is not a schema"),
])
def test_mistakes_in_files_have_a_place(tree, files, option, why):
    good = {} if not files else {"schemas/ship/payload.json": True, "schemas/ship/returns.json": True}
    path = tree({"../secret.json": True} | good | files, "\n" + SHIP)
    done = run_cli("check", "-c", path)
    assert done.returncode == 78 and f'{path}:2: task "ship": {option}: ' in done.stderr and why in done.stderr, done.stderr


def test_configured_schemas(tree, server, db, cli):
    path = tree(FILES, SHIP + 'task "one" { exec = "cat" payload_schema = "schemas/one.json" max_attempts = 1 }\n')
    one = server(args=("-c", path))
    # What is one file is kept as it is.
    wait_for(lambda: value(db, "select pgconductor.payload_schema('one')") == FILES["schemas/one.json"], 20, "the task is declared")
    good = {"to": {"zip": "12345"}, "zip": "54321", "parts": {"of": [{"to": {}}]}}
    assert json.loads(cli("invoke", "ship", json.dumps(good), "--wait").stdout) == good
    for bad, why in (({"to": {"zip": "x"}}, '/to/zip: "x" does not match the pattern'), ({"to": {}, "zip": "x"}, '/zip: "x" does not match'),
                     ({"to": {}, "parts": {"of": [{}]}}, '/parts/of/0: "to" is missing')):
        done = cli("invoke", "ship", json.dumps(bad))
        assert done.returncode == 65 and why in done.stderr, done
        assert why in error(db, invoke(db, "ship", bad))["message"]

    # An invalid one changes nothing, a valid one holds from then on.
    tree({"schemas/one.json": {"type": 5}}, open(path, encoding="utf-8").read())
    one.hup()
    one.wait_log("payload_schema: schemas/one.json: /type: is none of")
    assert error(db, invoke(db, "one", "x"))["code"] == "bad_payload"
    tree({"schemas/one.json": {"type": "string"}}, open(path, encoding="utf-8").read())
    one.hup()
    wait_for(lambda: value(db, "select pgconductor.payload_schema('one')") == {"type": "string"}, 20, "it is declared again")
    wait_finished(db, invoke(db, "one", "x"))


def test_the_configuration_comes_before_the_program(serve, short_tmp, db):
    path = os.path.join(short_tmp, "n.json")
    with open(path, "w", encoding="utf-8") as file:
        file.write('{"type": "number"}')
    serve([{"name": "echo", "payload_schema": {"type": "string"}}], conf=f'task "echo" {{ payload_schema = "{path}" }}')
    assert error(db, invoke(db, "echo", "x"))["message"] == "payload of task echo: is a string; a number is expected"
    wait_finished(db, invoke(db, "echo", 5))
    wait_for(lambda: value(db, "select pgconductor.payload_schema('echo')") == {"type": "number"}, 20, "both are declared")
