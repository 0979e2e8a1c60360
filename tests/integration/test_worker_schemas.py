"""The worker and schemas: what it hands to a handler, and to the master, complies; a program whose schemas cannot be used is
refused."""

import json

import pytest

from support.fakemaster import FakeMaster

# Whatever is not said in its HELLO (environment, JSON) has no schema. "emit" sends its payload as the arguments of that call.
PROGRAM = """
said = json.loads(os.environ.get("SAID", "{}"))
h = Handler(credit=8, concurrency=1, capabilities=["call"], events=said.get("events", []),
            tasks=[{"name": n} | said.get(n, {}) for n in ("echo", "other", "emit", "log")])
h.say_hello()
while True:
    name, x, fields = h.receive()
    if name == "RUN" and fields["task"] == "emit":
        h.send("CALL", x, {"call": 1, "name": "emit", "args": fields["event"]["payload"]})
    elif name == "RUN":
        h.send("DONE", x, {"result": fields["event"]["payload"]})
    elif name == "RETURN":
        h.send("DONE", x, {"result": fields.get("result") or fields["error"]})
"""

OBJECT = '{"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}'
NUMBER = '{"type": "number"}'


def program(m, name="app", **said):
    return m.program(name, PROGRAM, env={"SAID": json.dumps(said)})


def start(m, configured=(), **said):
    m.setup(program(m, **said), tasks=list(configured))
    return m.ready(8)


def ended(m, execution, code, why, retry):
    fields = m.failed(execution)
    assert (fields["code"], fields["message"]) == (code, why)
    assert fields.get("retry", True) is retry


def test_a_payload_that_does_not_comply_fails_for_good():
    with FakeMaster() as m:
        start(m, echo={"payload_schema": OBJECT})
        m.run(1, "echo", '{"n": "x"}')
        ended(m, 1, "bad_payload", "payload of task echo: /n: is a string; an integer is expected", False)
        m.run(2, "echo", "[]")
        ended(m, 2, "bad_payload", "payload of task echo: is an array; an object is expected", False)
        m.run(3, "echo", ' {"n":  12345678901234567890, "s": "\\u0000"} ')
        assert m.done(3) == ' {"n":  12345678901234567890, "s": "\\u0000"} '
        m.run(4, "other", '{"n": "x"}')
        assert m.done(4) == '{"n": "x"}'
        m.wait_slots(8)


def test_a_result_that_does_not_comply_fails_the_attempt():
    with FakeMaster() as m:
        start(m, echo={"returns_schema": NUMBER})
        m.run(1, "echo", '"x"')
        ended(m, 1, "bad_result", "result of task echo: is a string; a number is expected", True)
        m.run(2, "echo", "1e400")
        assert m.done(2) == "1e400"
        m.wait_slots(8)


def test_events_have_their_own_schema():
    schemas = [{"name": name, "schema": OBJECT} for name in ("order.paid", "public.users.insert")]
    with FakeMaster() as m:
        start(m, echo={"payload_schema": NUMBER}, events=schemas)
        part, change = {"kind": "event", "parts": True}, {"kind": "change"}
        # A schedule may have the name of an event.
        for n, (name, kind, payload) in enumerate([
                ("order.paid", {"kind": "event"}, '{"n": 1}'), ("order.paid", part, "{}"), ("order.paid", {"kind": "schedule"}, "1"),
                ("free", {"kind": "event"}, '"x"'), ("daily", {"kind": "schedule"}, "null"), ("public.users.insert", change, "[]"),
                ("pgconductor.invoke", {"kind": "invoke"}, "1"), ("pgconductor.invoke", {}, "1")], 1):
            m.run(n, "echo", event={"name": name, "payload": payload, **kind})
            assert m.done(n) == payload
        m.run(10, "echo", event={"name": "order.paid", "payload": "1", "kind": "event"})
        ended(m, 10, "bad_payload", "payload of event order.paid: is a number; an object is expected", False)
        for n, event in enumerate([{"name": "daily", "payload": '"x"', "kind": "schedule"}, {"name": "order.paid", "payload": '"x"', "kind": "schedule"},
                                   {"name": "pgconductor.invoke", "payload": '"x"'}], 11):
            m.run(n, "echo", event=event)
            ended(m, n, "bad_payload", "payload of task echo: is a string; a number is expected", False)
        m.wait_slots(8)


def test_what_is_emitted_complies():
    with FakeMaster() as m:
        start(m, events=[{"name": "order.paid", "schema": OBJECT}, {"name": "any"}])
        m.run(1, "emit", '{"event": "order.paid", "payload": {"n": 1.5}}')
        assert json.loads(m.done(1)) == {"code": "bad_payload",
                                         "message": "payload of event order.paid: /n: is a number; an integer is expected"}
        m.run(2, "emit", '{"event": "order.paid"}')
        assert json.loads(m.done(2))["message"] == "payload of event order.paid: is null; an object is expected"
        for n, args in enumerate(['{"event": "order.paid", "payload": {"n": 1}}', '{"event": "any", "payload": 1}',
                                  '{"event": "unknown", "payload": 1}', '{"event": 5}', "[]"], 3):
            m.run(n, "emit", args)
            assert m.expect(lambda name, x, fields: name == "CALL")[1:] == (n, {"call": 1, "name": "emit", "args": args})
            m.send("RETURN", n, {"call": 1, "result": '"7"'})
            assert m.done(n) == '"7"'


@pytest.mark.parametrize("said, why", [
    ({"echo": {"payload_schema": '{"type": "objekt"}'}}, "payload_schema of task echo: /type: is none of null, boolean"),
    ({"echo": {"returns_schema": "[]"}}, "returns_schema of task echo: is not a schema"),
    ({"echo": {"payload_schema": '{"$ref": "https://example.com/a.json"}'}}, "nothing is ever fetched"),
    ({"echo": {"payload_schema": "{"}}, "payload_schema of task echo: it is not JSON"),
    ({"events": [{"name": "a", "schema": '{"minimum": "1"}'}]}, "schema of event a: /minimum: is not a number"),
    ({"events": [{"name": "a"}, {"name": "a"}]}, "event a stands in it twice"),
    ({"events": [{"name": ""}]}, "the name of one is empty"),
])
def test_schemas_that_cannot_be_used_are_refused(said, why):
    with FakeMaster() as m:
        m.setup(program(m, **said))
        m.logged(why)
        m.logged("HELLO: ")


def test_the_configuration_comes_before_the_program():
    with FakeMaster() as m:
        start(m, [{"name": "echo", "payload_schema": NUMBER}], echo={"payload_schema": OBJECT,
              "returns_schema": '{"maximum": 5}'}, events=[{"name": "e", "schema": '{"maxLength": 1}'}])
        m.run(1, "echo", '{"n": 1}')
        ended(m, 1, "bad_payload", "payload of task echo: is an object; a number is expected", False)
        m.run(2, "echo", "6")
        ended(m, 2, "bad_result", "result of task echo: 6 is more than 5", True)
        m.run(3, "echo", event={"name": "e", "payload": '"xx"', "kind": "event"})
        ended(m, 3, "bad_payload", "payload of event e: has 2 characters; at most 1 are allowed", False)


def test_a_reload_changes_what_the_configuration_says():
    with FakeMaster() as m:
        app = program(m)
        m.setup(app, tasks=[{"name": "echo", "payload_schema": NUMBER}])
        m.ready(8)
        m.run(1, "echo", '"x"')
        assert m.failed(1)["code"] == "bad_payload"
        m.setup(app)
        m.ready(8)
        m.run(2, "echo", '"x"')
        assert m.done(2) == '"x"'


def test_commands_have_those_of_the_configuration():
    with FakeMaster() as m:
        m.setup(m.command("cat", "cat"), tasks=[{"name": "cat", "payload_schema": '{"not": {"const": 1}}',
                                                 "returns_schema": '{"not": {"const": 2}}'}])
        m.ready(100)
        m.run(1, "cat", "1")
        assert m.failed(1)["message"] == "payload of task cat: is of a kind that is not allowed"
        m.run(2, "cat", "2")
        ended(m, 2, "bad_result", "result of task cat: is of a kind that is not allowed", True)
        m.run(3, "cat", "3")
        assert m.done(3) == "3"
        m.wait_slots(100)
