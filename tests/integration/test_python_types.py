"""What the annotations of Python's tasks say: schemas, what functions are given, and what is refused."""

import dataclasses
import datetime
import decimal
import enum
import fcntl
import json
import os
import shutil
import subprocess
import sys
import typing
import uuid

import pytest

from support import paths
from support.engine import invoke, value, wait_finished
from support.server import clean_environment
from support.wait import wait_for

LIBRARY = f"{paths.SRC}/proto/python"
sys.path.insert(0, LIBRARY)
from pgconductor import BadPayload, Client, ClientError, Task, define_event  # noqa: E402
from pgconductor._json import dumps, dumps_plain, loads  # noqa: E402
from pgconductor._types import Mismatch, returned_by, shape_of  # noqa: E402

ENVIRONMENT = {"PYTHONPATH": LIBRARY}
ORDER = {"id": "6f1c1bd0-8f0f-4a9e-9a43-0d9c1a8a2f9b", "lines": [{"sku": "a", "number": 3}, {"sku": "b", "size": "L"}]}


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclasses.dataclass
class Node:
    name: str
    next: "Node | None" = None
    made: int = dataclasses.field(default=0, init=False)


class Half(typing.TypedDict, total=False):
    needed: "typing.Required[int]"
    wanted: "list[Node]"


class Point(typing.NamedTuple):
    x: float
    y: float = 0


Name = typing.NewType("Name", str)

NODE = {"type": "object", "required": ["name"], "properties": {
    "name": {"type": "string"}, "next": {"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}]}}}


# ---- types


@pytest.mark.parametrize("kind, schema, good, bad", [
    (str, {"type": "string"}, [("a", "a")], {"": [1, None]}),
    (int, {"type": "integer"}, [(3, 3), (3.0, 3), (2 ** 70, 2 ** 70)], {"": [True, 1.5, "1"]}),
    (float, {"type": "number"}, [(1.5, 1.5), (3, 3)], {"": [True, "1"]}),
    (bool, {"type": "boolean"}, [(True, True)], {"": [1, "true"]}),
    (int | None, {"anyOf": [{"type": "integer"}, {"type": "null"}]}, [(None, None), (1, 1)], {"": ["1"]}),
    (Name, {"type": "string"}, [("a", "a")], {"": [1]}),
    (typing.Annotated[int, "any remark"], {"type": "integer"}, [(1, 1)], {"": ["1"]}),
    (list, {"type": "array"}, [([1, "a"], [1, "a"])], {"": [{}]}),
    (typing.Sequence[int], {"type": "array", "items": {"type": "integer"}}, [([1], [1])], {"/1": [[1, "a"]], "": ["ab"]}),
    (dict[str, list[int]], {"type": "object", "additionalProperties": {"type": "array", "items": {"type": "integer"}}},
     [({"a": [1]}, {"a": [1]})], {"/a~1b/0": [{"a/b": ["x"]}], "": [[]]}),
    (tuple[int, str], {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}], "items": False, "minItems": 2},
     [([1, "a"], (1, "a"))], {"/0": [["a", "a"]], "": [[1], [1, "a", 2]]}),
    (tuple[int, ...], {"type": "array", "items": {"type": "integer"}}, [([1, 2], [1, 2])], {"/0": [["a"]]}),
    (Point, {"type": "array", "prefixItems": [{"type": "number"}, {"type": "number"}], "items": False, "minItems": 2},
     [([1.5, 2], Point(1.5, 2))], {"": [[1]]}),
    (Color, {"enum": ["red", "blue"]}, [("red", Color.RED)], {"": ["green", None, []]}),
    (typing.Literal["a", 1, None], {"enum": ["a", 1, None]}, [(1, 1), (None, None)], {"": [True, "b"]}),
    (datetime.datetime, {"type": "string", "format": "date-time"},
     [("2030-01-31T12:00:00.5Z", datetime.datetime(2030, 1, 31, 12, 0, 0, 500000, datetime.timezone.utc))],
     {"": ["2030-01-31T12:00:00", "soon", 5]}),
    (datetime.date, {"type": "string", "format": "date"}, [("2030-01-31", datetime.date(2030, 1, 31))], {"": ["31.1.2030"]}),
    (uuid.UUID, {"type": "string", "format": "uuid"}, [(str(uuid.UUID(int=7)), uuid.UUID(int=7))], {"": ["7", 7]}),
    (Node, {"$ref": "#/$defs/Node", "$defs": {"Node": NODE}},
     [({"name": "a", "next": {"name": "b", "more": 1}}, Node("a", Node("b")))],
     {"": [{}, [], None], "/next/name": [{"name": "a", "next": {"name": 3}}], "/name": [{"name": None}]}),
    (Half, {"title": "Half", "type": "object", "required": ["needed"], "properties": {
        "needed": {"type": "integer"}, "wanted": {"type": "array", "items": {"$ref": "#/$defs/Node"}}}, "$defs": {"Node": NODE}},
     [({"more": 1, "needed": 2.0, "wanted": [{"name": "a"}]}, {"more": 1, "needed": 2, "wanted": [Node("a")]})],
     {"": [{"wanted": []}, 3], "/wanted/0": [{"needed": 1, "wanted": [3]}]}),
], ids=str)
def test_a_type(kind, schema, good, bad):
    shape = shape_of(kind, "validation")
    assert shape.schema == schema
    for text, wanted in good:
        made = shape.load(text)
        assert made == wanted and type(made) is type(wanted)
        # And back: what is read of it is the same again.
        assert shape.load(loads(dumps(made))) == wanted
    for where, values in bad.items():
        for one in values:
            with pytest.raises(Mismatch) as caught:
                shape.load(one)
            assert str(caught.value).startswith(f"{where or '(all of it)'}: "), str(caught.value)


def test_decimals_are_text():
    shape = shape_of(decimal.Decimal, "validation")
    for text in ("12.50", "-1", "1E+3"):
        assert dumps(shape.load(text)) == f'"{text}"'
    for bad in (12.5, "NaN", "x", "Infinity"):
        with pytest.raises(Mismatch):
            shape.load(bad)
    with pytest.raises(TypeError):
        dumps(decimal.Decimal("NaN"))


def test_what_is_not_json():
    class Thing:
        pass
    for kind in (Thing, set[int], dict[int, str], bytes, list[Thing], complex, typing.TypeVar("T")):
        with pytest.raises(TypeError):
            shape_of(kind, "validation")
    for value_ in (Thing(), {1}, datetime.datetime(2030, 1, 31), b"", Thing):
        with pytest.raises(TypeError):
            dumps(value_)
    with pytest.raises(TypeError):
        dumps_plain(Node("a"))
    assert [shape_of(kind, "validation") for kind in (typing.Any, object)] == [None, None]


def made_of(fn, **options):
    return Task(fn, "t", None, {}, **options)


def test_what_a_function_says():
    def plain(payload, ctx): pass
    def typed(payload: Node, ctx) -> "list[Color]": pass
    def takes_nothing(payload: None) -> None: pass
    def none() -> int: pass
    assert made_of(plain).announcement() == {"name": "t"}
    said = made_of(typed).announcement()
    assert json.loads(said["payload_schema"])["$ref"] == "#/$defs/Node"
    assert json.loads(said["returns_schema"]) == {"type": "array", "items": {"enum": ["red", "blue"]}}
    assert made_of(takes_nothing).announcement() == {"name": "t", "returns_schema": '{"type": "null"}'}
    assert made_of(none).announcement() == {"name": "t", "returns_schema": '{"type": "integer"}'}
    # What is given counts for others; the function gets its type all the same.
    given = made_of(typed, payload_schema={"type": "object"}, returns_schema=True)
    assert given.announcement() == {"name": "t", "payload_schema": '{"type": "object"}', "returns_schema": "true"}
    assert given.payload_type.load({"name": "a"}) == Node("a")


def test_what_a_function_cannot_say():
    def late(payload: "Later"): pass  # noqa: F821
    def odd(payload, ctx) -> set: pass
    for fn, message in ((late, "task t: its payload: name 'Later' is not defined .*payload_schema"),
                        (odd, "task t: its result: set: nothing that is made of JSON.*returns_schema")):
        with pytest.raises(TypeError, match=message):
            made_of(fn).announcement()
    assert made_of(late, payload_schema=True).announcement() == {"name": "t", "payload_schema": "true"}
    with pytest.raises(TypeError, match="event e: its payload"):
        define_event("e", set).announcement()


def test_what_a_step_says():
    def typed() -> "list[Node]": pass
    def plain() -> int: pass
    def odd() -> set: pass
    def late() -> "Later": pass  # noqa: F821
    assert returned_by(typed).load([{"name": "a"}]) == [Node("a")]
    assert [returned_by(fn) for fn in (plain, odd, late, lambda: 3, len, 3)] == [None] * 6


# ---- a program


def start(server, db, name, env, tasks):
    one = server(cmd=[sys.executable, f"{paths.SRC}/tests/support/{name}.py"], env=ENVIRONMENT | env)
    wait_for(lambda: value(db, "select count(*) from pgconductor.tasks where name = any (%s)", tasks) == len(tasks), 20,
             "its tasks are declared")
    return one


def test_tasks_are_given_their_types(server, cli, db):
    """By whatever way a payload came."""
    start(server, db, "python_typed", {}, ["bill", "depth", "wrong", "lasting", "lasting_async", "pay", "thank", "ticking"])
    order = json.dumps(ORDER | {"due": "2030-01-31T23:00:00Z", "to": [52.5, 13.4]})
    assert wait_finished(db, invoke(db, "bill", order))[1] == {"order": ORDER["id"], "total": "5.50", "day": "2030-02-01"}
    tree = {"name": "a", "children": [{"name": "b", "children": []}]}
    assert wait_finished(db, invoke(db, "depth", json.dumps(tree)))[1] == 2
    # The command line and the worker know the schema; what no schema can say, the library does.
    done = cli("invoke", "bill", json.dumps(ORDER | {"lines": [{"sku": 3}]}))
    assert done.returncode == 65 and "/lines/0/sku" in done.stderr
    error = wait_finished(db, invoke(db, "bill", '{"id": "x", "lines": []}'), "failed")[2]
    assert error["code"] == "bad_payload" and "/id" in error["message"]
    error = wait_finished(db, invoke(db, "bill", json.dumps(ORDER | {"lines": []})), "failed")[2]
    assert (error["code"], error["message"]) == ("bad_payload", "payload of task bill: (all of it): an order of nothing")
    made = invoke(db, "wrong", '{"sku": "a"}')
    error = wait_for(lambda: value(db, "select error from pgconductor.result(%s)", made), 20, "an attempt has failed")
    assert error["code"] == "bad_result" and "/0" in error["message"]
    db.execute("select pgconductor.cancel(%s)", (made,))
    # What lasts.
    ids = [invoke(db, name, json.dumps(ORDER)) for name in ("lasting", "lasting_async")]
    invoke(db, "pay", json.dumps(ORDER["id"]))
    assert wait_finished(db, ids[0])[1] == ["a", "31 January", "SMALL", "5.5", "5.40"]
    assert wait_finished(db, ids[1])[1] == ["a", "31 January", "SMALL"]
    wait_for(lambda: value(db, "select result from pgconductor.finished_executions where task = 'thank'") == "8.80", 20, "thanks")
    wait_for(lambda: value(db, "select result from pgconductor.finished_executions where task = 'ticking' limit 1") == "nothing",
             20, "a schedule without a payload")
    db.execute("select pgconductor.emit('order.paid', '{\"total\": 3}')")
    error = wait_for(lambda: value(db, "select error from pgconductor.finished_executions where task = 'thank' and state = 'failed'"),
                     20, "what is no bill")
    assert error["code"] == "bad_payload"


def test_the_client_checks(db):
    """Before anything is sent, without any other package."""
    def bill(order: Node) -> Color: pass
    made, client = made_of(bill), Client(db)
    client.declare(made)
    id = client.invoke(made, Node("a", Node("b")))
    assert value(db, "select payload from pgconductor.executions where id = %s", int(id)) == \
        {"name": "a", "next": {"name": "b", "next": None, "made": 0}, "made": 0}
    client.invoke_batch(made, [{"payload": Node("a")}, {"payload": {"name": "b"}}])
    for call in (lambda: client.invoke(made, {"nam": "a"}), lambda: client.invoke_batch(made, [{"payload": Node("a")}, {"payload": 3}]),
                 lambda: client.schedule(made, "daily", "@daily", {"name": 3}), lambda: client.emit(define_event("e", Node), 3)):
        with pytest.raises(BadPayload, match="the payload is not of its type: "):
            call()
    assert value(db, "select count(*) from pgconductor.executions") == 3


def test_the_client_reads(server, db):
    start(server, db, "python_typed", {}, ["first_line"])
    def first_line() -> Node: pass
    client = Client(db)
    id = client.invoke("first_line", ORDER)
    assert client.wait(id, 10) == {"sku": "a", "number": 3, "size": "S"}
    with pytest.raises(ClientError, match=f'the result of execution {id} is not what t returns: .*no member "name"'):
        client.wait(id, 10, task=made_of(first_line))
    sys.path.insert(0, f"{paths.SRC}/tests/support")
    try:
        import python_typed
    finally:
        sys.path.pop(0)
    assert client.wait(id, 10, task=python_typed.first_line) == python_typed.Line("a", 3)


# ---- pydantic


@pytest.fixture(scope="module")
def pydantic():
    """A directory that has it: installed with pip into the build tree, once."""
    directory = f"{paths.BUILD}/tests/pydantic"
    os.makedirs(f"{paths.BUILD}/tests", exist_ok=True)
    with open(f"{directory}.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(f"{directory}/pydantic"):
            made = subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--no-compile", "--target", f"{directory}.new",
                                   "pydantic>=2,<3"],
                                  env=clean_environment({"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_ROOT_USER_ACTION": "ignore"}),
                                  text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            if made.returncode != 0:
                shutil.rmtree(f"{directory}.new", ignore_errors=True)
                pytest.skip(f"pip cannot install pydantic 2: {made.stdout[-300:]}")
            os.rename(f"{directory}.new", directory)
    return directory


def test_models_of_pydantic(server, cli, db, pydantic):
    path = {"PYTHONPATH": f"{LIBRARY}:{pydantic}"}
    start(server, db, "pydantic_tasks", path, ["move", "relay"])
    visit = {"customer": {"name": "Ann", "addresses": [{"zip": "54321", "since": "2020-01-01T00:00:00Z"}]}, "number": 1}
    made = wait_finished(db, invoke(db, "move", json.dumps(visit)))[1]
    assert made["addresses"][1] == {"zip": "12345", "since": "2030-01-31T00:00:00Z"} and made["referrer"]["name"] == "Ann"
    # Its addresses are one list with those of its referrer.
    assert wait_finished(db, invoke(db, "relay", json.dumps(visit)))[1] == 2032
    for change, where in (({"number": 0}, "/number"), ({"customer": {"name": ""}}, "/customer/name"),
                          ({"customer": {"name": "a", "addresses": [{"zip": "x", "since": "2020-01-01T00:00:00Z"}]}},
                           "/customer/addresses/0/zip")):
        done = cli("invoke", "move", json.dumps(visit | change))
        assert done.returncode == 65 and where in done.stderr
