"""The Python library by itself: frames, options, types, and the package that pip makes of it."""

import datetime
import glob
import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from support import paths
from support.mypy import LIBRARY, mypy, needs_mypy
from support.server import clean_environment

sys.path.insert(0, LIBRARY)
from pgconductor import RawJSON, Task, _json, _wire, task  # noqa: E402
from pgconductor._messages import FIELDS, NAMES  # noqa: E402
from pgconductor._task import _defined  # noqa: E402


def vectors(name):
    with open(f"{paths.SRC}/proto/vectors/{name}.jsonl", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


FRAMES = {v["name"]: v for v in vectors("frames")}


# ---- frames


@pytest.mark.parametrize("vector", FRAMES.values(), ids=FRAMES)
def test_frames_are_read_and_written_alike(vector):
    data = bytes.fromhex(vector["hex"])
    assert _wire.length_at(data, 0) == (len(data) - _wire.HEAD,)
    number, execution, fields = _wire.unpack(data[_wire.HEAD:])
    _wire.check(number, fields)
    assert (number, execution) == (vector["type"], vector["exec"]) and NAMES[number] == vector["message"]
    fields = _wire.ordered(NAMES[number], fields)
    assert fields == vector["decoded"]
    wanted = FRAMES[vector["same_as"]]["hex"] if "same_as" in vector else vector["hex"]
    assert _wire.Packer().frame(number, execution, fields).hex() == wanted


@pytest.mark.parametrize("vector", vectors("bad"), ids=lambda v: v["name"])
def test_bad_frames_are_refused(vector):
    with pytest.raises(_wire.ProtocolError):
        number, _, fields = _wire.unpack(bytes.fromhex(vector["hex"])[_wire.HEAD:])
        _wire.check(number, fields)


def test_every_message_is_known():
    assert set(NAMES.values()) == {name for name in FIELDS if name.isupper()}


# ---- JSON


def test_json():
    assert _json.loads(' {"a": 1}\n') == {"a": 1} and _json.loads("18446744073709551616") == 2 ** 64
    for bad in ("", "1 2", "{", "nul"):
        with pytest.raises(ValueError):
            _json.loads(bad)
    assert _json.dumps({"ü": 1}) == '{"ü": 1}' and _json.dumps("\ud800ü") == '"\\ud800\\u00fc"'
    assert _json.dumps(RawJSON("12.50")) == "12.50"
    for bad in (float("inf"), RawJSON("\ud800"), RawJSON("\0")):
        with pytest.raises(ValueError):
            _json.dumps(bad)


# ---- tasks


@pytest.fixture(autouse=True)
def own_tasks():
    before = dict(_defined)
    yield
    _defined.clear()
    _defined.update(before)


def test_functions_that_make_tasks():
    def none(): pass
    def one(payload): pass
    def two(payload, ctx): pass
    def more(payload, ctx, tries=3): pass
    def optional(payload=None, ctx=None, *, verbose=False): pass
    def any_number(*args): pass
    class Callable:
        async def __call__(self, payload): pass
    for function, parameters in ((none, 0), (one, 1), (two, 2), (more, 2), (optional, 2), (any_number, 2)):
        made = task(function)
        assert isinstance(made, Task) and made.name == function.__name__ and made.parameters == parameters
        assert not made.is_async
    made = task("callable", queue="mail")(Callable())
    assert made.is_async and made.parameters == 1 and made.announcement() == {"name": "callable", "queue": "mail"}
    assert task("lambda")(lambda payload: payload + 1)(1) == 2  # still a function

    def three(a, b, c): pass
    def keyword(payload, *, must): pass
    for bad in (three, keyword):
        with pytest.raises(TypeError):
            task(bad)
    with pytest.raises(TypeError):
        task(3)
    with pytest.raises(ValueError, match="not a task's name"):
        task(lambda: None)
    with pytest.raises(ValueError, match="not a queue's name"):
        task("t", queue="Mail")(none)
    with pytest.raises(ValueError, match="defined twice"):
        task("one")(two)


def test_options():
    def options(**given):
        return json.loads(task("t", **given)(test_options).announcement()["options"])
    assert options(max_attempts=5, backoff={"initial": "1s", "factor": 3, "max": 60}, timeout=1.5, total_timeout="1h",
                   remove_on_fail="7d") == \
        {"max_attempts": 5, "backoff": {"initial": "1s", "factor": 3, "max": 60000}, "timeout": 1500, "total_timeout": "1h",
         "remove_on_fail": "7d"}
    assert options(backoff=["10s", datetime.timedelta(minutes=1)], remove_on_complete=0, remove_on_fail=False) == \
        {"backoff": ["10s", 60000], "remove_on_complete": 0, "remove_on_fail": False}
    assert options(concurrency=3, rate_limit={"limit": 10, "period": datetime.timedelta(minutes=1), "burst": 2}) == \
        {"concurrency": 3, "rate_limit": {"limit": 10, "period": 60000, "burst": 2}}
    assert options(fifo_key="a.b", concurrency_key={"key": "a.b", "limit": 2}, rate_limit=[{"limit": 1}, {"limit": 2, "key": "a.b"}]) == \
        {"fifo_key": "a.b", "concurrency_key": {"key": "a.b", "limit": 2}, "rate_limit": [{"limit": 1}, {"limit": 2, "key": "a.b"}]}
    assert options(concurrency_key="a") == {"concurrency_key": "a"}
    assert options(window=("22:00", "06:00"), timezone="Europe/Berlin", days="mon") == \
        {"window": ["22:00", "06:00"], "timezone": "Europe/Berlin", "days": ["mon"]}
    for bad in ({"window": "09:00"}, {"concurrency": 0}, {"concurrency": "3"}, {"rate_limit": 5}, {"rate_limit": {"period": "1s"}},
                {"rate_limit": {"limit": 0}}, {"rate_limit": {"limit": 1, "bust": 1}},
                {"rate_limit": {"limit": 1, "key": ""}}, {"rate_limit": [5]}, {"fifo_key": ""}, {"fifo_key": 5}, {"concurrency_key": "a..b"},
                {"concurrency_key": {"limit": 1}}, {"concurrency_key": {"key": "a", "limit": 0}}, {"max_attempts": 0}, {"max_attempts": "3"}, {"backoff": []}, {"backoff": {"first": 1}}, {"backoff": "soon"},
                {"timeout": 0}, {"timeout": "0s"}, {"total_timeout": 0}, {"timeout": -1}, {"timeout": "1 week"}, {"remove_on_fail": True}, {"timeout": float("nan")}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            task("t", **bad)


# ---- types

WRONG = '''
import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypedDict
import psycopg
from pgconductor import (INVOCABLE, AsyncClient, AsyncContext, Child, ChildFailed, Client, Context, EventWait, WaitFailed,
                         change, cron, define_event, event, invocable, task)

class Name(TypedDict):
    name: str

@task
def greet(payload: Name) -> str:
    return payload["name"]

@task("count", queue="other", timeout="1s")
async def count(payload: int, ctx: AsyncContext) -> int:
    return payload

@task(max_attempts=3)
def nothing() -> None: ...

@dataclass
class Parcel:
    to: str

@task
def ship(parcel: Parcel, ctx: Context) -> Parcel:
    other: Parcel = ctx.invoke(ship, parcel)
    number: int = ctx.invoke(ship, Parcel("ann"))  # wrong
    ctx.invoke(ship, "ann")  # wrong
    return Parcel(other.to + parcel.too)  # wrong

def use(client: Client) -> None:
    client.invoke(greet, {"name": "World"}, delay="1s")
    client.invoke(count, 3, priority=1)
    client.invoke(nothing)
    client.invoke("by.name", {"anything": 1})
    client.invoke_batch(greet, [{"payload": {"name": "World"}, "priority": 1}])
    client.invoke_batch("by.name", [{"payload": 1}])
    client.invoke(greet, {"nam": "World"})  # wrong
    client.invoke(greet)  # wrong
    client.invoke(count, "three")  # wrong
    client.invoke(greet, {"name": "World"}, prio=3)  # wrong
    client.invoke_batch(greet, [{"payload": {"nam": "World"}}])  # wrong

    greeting: str = client.wait("1", task=greet)
    number: int = client.wait("1", 10, task=count)
    anything: str = client.wait("1", 10)
    number = client.wait("1", task=greet)  # wrong
    client.invoke(ship, Parcel("ann"))
    client.invoke(ship, {"to": "ann"})  # wrong
    client.invoke_batch(ship, [{"payload": Parcel("ann")}])
    client.invoke_batch(ship, [{"payload": {"to": "ann"}}])  # wrong

async def use_async(client: AsyncClient) -> str:
    number: int = await client.wait("1", task=count)
    await client.invoke(count, "three")  # wrong
    return await client.invoke(count, 3)

@task
def lasting(payload: Name, ctx: Context) -> list[int]:
    number: int = ctx.step("number", lambda: 3) + ctx.step(len, "text")
    text: str = ctx.invoke(greet, {"name": "World"}, timeout="1h")
    both: list[int] = ctx.invoke_all([Child(count, 3, key="a"), Child(count, 4)])
    more: list[str] = ctx.invoke_all([(greet, {"name": name}) for name in "ab"])
    some: list[int | ChildFailed] = ctx.invoke_all([Child(count, 3)], return_errors=True)
    ctx.sleep("nap", timedelta(days=1))
    ctx.sleep("1h")
    ctx.progress(10, "ten")
    ctx.checkpoint()
    id: str = ctx.step(lambda: ctx.start(greet, {"name": "World"}, delay=3))
    ctx.invoke(greet, {"nam": "World"})  # wrong
    ctx.invoke(greet, {"name": "World"}, timeout=[])  # wrong
    bad: str = ctx.step("number", lambda: 3)  # wrong
    worse: list[str] = ctx.invoke_all([Child(count, 3)])  # wrong
    ctx.sleep()  # wrong
    ctx.start(count, "three")  # wrong
    await_it = ctx.step("number", number_later)  # a coroutine, which the library refuses
    return both

async def number_later() -> int:
    return 3

@task(total_timeout="1d", backoff={"initial": 1, "max": "1h"})
async def lasting_async(payload: Name, ctx: AsyncContext) -> int:
    number: int = await ctx.step("number", number_later) + await ctx.step(lambda: 3)
    one = ctx.invoke(greet, {"name": "World"})
    two = await asyncio.gather(one, ctx.step("text", lambda: "text"))
    await ctx.sleep(3)
    number = await one  # wrong
    ctx.sleep(3)  # wrong
    number = ctx.step("number", number_later)  # wrong
    return len(two) + await ctx.invoke(count, 3)

def write(connection: psycopg.Connection[Any]) -> int:
    return 3

async def write_async(connection: psycopg.AsyncConnection[Any]) -> int:
    return 3

@task
def paying(payload: None, ctx: Context) -> int:
    with psycopg.connect() as connection:
        number: str = ctx.transaction("pay", connection, write)  # wrong
        return ctx.transaction("pay", connection, write)

@task
async def paying_async(payload: None, ctx: AsyncContext) -> int:
    async with await psycopg.AsyncConnection.connect() as connection:
        await ctx.transaction("pay", connection, write)  # wrong
        return await ctx.transaction("pay", connection, write_async)

named = define_event("named", Name, schema={"type": "object"})
anything = define_event("anything")

@task(triggers=[INVOCABLE, invocable(), cron("@daily", catchup=3), event(named, fields=["name"]), {"event": "x", "when": "true"},
                change("users", "insert", columns="id,email"), {"table": "users", "operation": "delete"}])
def triggered(payload: Name, ctx: Context) -> int:
    got: Name = ctx.wait_for_event("key", event=named, since="start", timeout="1h")
    row: str = ctx.wait_for_event(change=("users", "insert"))["new"]["email"]
    some: int = ctx.wait_for_event(event="by.name", when="true")
    every: list[int] = ctx.wait_for_all([named, "by.name", EventWait("x", timeout=3), change("users", "insert")])
    errors: list[int | WaitFailed] = ctx.wait_for_all(["a"], return_errors=True)
    which, what = ctx.wait_for_any(["a", "b"], timeout="1h")
    id: str = ctx.step("emit", ctx.emit, "by.name", {"anything": 1}) + ctx.emit(named, {"name": "x"}) + ctx.emit(anything, 3)
    ctx.schedule(greet, "daily", "@daily", {"name": "x"}, timezone="UTC", overlap="skip", catchup="all")
    ctx.schedule(nothing, "daily", "@daily")
    ctx.schedule("by.name", "daily", "@daily", 3)
    gone: bool = ctx.unschedule(greet, "daily")
    number: int = ctx.wait_for_event(event=named)  # wrong
    ctx.wait_for_event(event=named, change=("users", "insert"))  # wrong
    ctx.wait_for_event(change=("users", "inserted"))  # wrong
    ctx.wait_for_event(event="a", since="now")  # wrong
    ctx.wait_for_event(event=7)  # wrong
    ctx.emit(named, {"nam": "x"})  # wrong
    ctx.emit(named)  # wrong
    ctx.schedule(greet, "daily", "@daily", {"nam": "x"})  # wrong
    ctx.schedule(greet, "daily", "@daily")  # wrong
    ctx.schedule(nothing, "daily", "@daily", catchup="never")  # wrong
    return which

@task(triggers=cron("@daily"))
async def triggered_async(payload: Name, ctx: AsyncContext) -> None:
    got: Name = await ctx.wait_for_event(event=named)
    which, what = await ctx.wait_for_any(["a", "b"])
    id: str = await ctx.step("emit", ctx.emit, named, {"name": "x"})
    when = await ctx.schedule(greet, "daily", "@daily", {"name": "x"})
    number: int = await ctx.wait_for_event(event=named)  # wrong
    id = ctx.emit(named, {"name": "x"})  # wrong
    await ctx.emit(named, 3)  # wrong

def produce(client: Client) -> str:
    client.schedule(greet, "daily", "@daily", {"name": "x"}, enabled=False)
    client.emit(named, 3)  # wrong
    client.schedule(greet, "daily", "@daily", 3)  # wrong
    client.unschedule(3, "daily")  # wrong
    made: str = client.invoke(greet, {"name": "x"}, dedupe_key="k", dedupe_for="1h", debounce={"seconds": 1}, max_wait=3)
    perhaps: str | None = client.invoke(greet, {"name": "x"}, throttle=10)
    made = client.invoke(greet, {"name": "x"}, throttle=10)  # wrong
    client.invoke(greet, {"name": 3}, dedupe_key="k")  # wrong
    many: list[str] = client.invoke_batch(greet, [{"payload": {"name": "x"}, "dedupe_key": "k"}])
    some: list[str | None] = client.invoke_batch(greet, [{"payload": {"name": "x"}, "throttle": "1s"}])
    return client.emit(named, {"name": "x"}) + client.emit("by.name") + client.emit(anything)

@task(triggers={"cron": "@daily", "zone": "UTC"})  # wrong
def bad_member() -> None: ...

@task(triggers=cron("@daily", overlap="never"))  # wrong
def bad_overlap() -> None: ...

@task
async def mixed_up(payload: None, ctx: Context) -> None:  # a coroutine gets an AsyncContext
    await ctx.sleep(3)  # wrong

@task(queue=3)  # wrong
def bad_option() -> None: ...

@task  # wrong
def too_many(a: int, b: int, c: int) -> None: ...
'''


@needs_mypy
def test_types(tmp_path):
    """The library, and the programs that use it, are clean; what is wrong in a program is found, and nothing else."""
    with open(f"{tmp_path}/wrong.py", "w", encoding="utf-8") as file:
        file.write(WRONG)
    programs = [*glob.glob(f"{paths.SRC}/examples/*.py"), *glob.glob(f"{paths.SRC}/examples/python/*/*.py"), *glob.glob(f"{paths.SRC}/tests/support/*python*.py")]
    errors, said = mypy("wrong.py", f"{LIBRARY}/pgconductor", *programs, cwd=tmp_path)
    wrong = {("wrong.py", n) for n, line in enumerate(WRONG.splitlines(), 1) if line.endswith("# wrong")}
    assert errors == wrong, said


# ---- the package


def test_installed_with_pip(tmp_path):
    """A wheel made of the directory as it is shipped, installed where nothing else is, and used from elsewhere."""
    shutil.copytree(LIBRARY, f"{tmp_path}/source", ignore=shutil.ignore_patterns("__pycache__", "build", "*.egg-info"))
    env = clean_environment({"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INDEX": "1", "PIP_ROOT_USER_ACTION": "ignore",
                             "PYTHONPATH": f"{tmp_path}/installed"})
    made = subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--no-build-isolation", "--no-deps", "--target",
                           f"{tmp_path}/installed", f"{tmp_path}/source"], cwd=tmp_path, env=env, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if "No module named" in made.stdout:
        pytest.skip("needs python3-pip, python3-setuptools and python3-wheel (scripts/deps)")
    assert made.returncode == 0, made.stdout
    code = "import pgconductor; print(pgconductor.__version__, pgconductor.__file__)"
    version, file = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, text=True, check=True,
                                   stdout=subprocess.PIPE).stdout.split()
    assert file == f"{tmp_path}/installed/pgconductor/__init__.py"
    shipped = {os.path.basename(file) for file in glob.glob(f"{LIBRARY}/pgconductor/*.*")}
    assert shipped <= set(os.listdir(os.path.dirname(file)))
    # The plugin is there without being named.
    fixtures = subprocess.run([sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--fixtures", "-q"], cwd=tmp_path, env=env,
                              text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT).stdout
    assert re.search(r"^pgconductor -- ", fixtures, re.M), fixtures
    with open(f"{paths.SRC}/configure.ac", encoding="utf-8") as file:
        assert f"[{version}]" in file.read()
