"""A handler in plain Python, which does with steps as it is told, right or wrong, for test_engine_steps.py.

gates    {"steps", "more", "end"}: each step when the file STEPS_DIRECTORY/go-KEY is there, without waiting for its STEP_OK,
         and so many more; then ends, by SUSPEND for a moment if "end" says so
walk     {"n", "half"}: n steps, each entered as "did" before it is sent and as "ok" when it is saved; in the middle, in its
         first run, as "half" says: "fail" for now, "sleep", wait for a drain and go back ("drain"), or save the next by a
         transaction of its own and go back then ("own")
circle   {"waits", "any"}: waits for the same again and again, whatever its steps say
own      saves a step by save_step() when the file go-own is there
"""

import json
import os
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from support.handler import Fail, Handler, Suspend  # noqa: E402
from support.ledger import append  # noqa: E402

h = Handler(credit=8, concurrency=8, capabilities=["cancel", "drain", "step", "suspend"])
draining = threading.Event()


def await_file(name):
    while not os.path.exists(f"{os.environ['STEPS_DIRECTORY']}/{name}"):
        time.sleep(0.001)


def enter(run, kind, rest):
    append(os.environ["LEDGER"], kind, run.id, run.attempt, rest)


@h.task("gates", backoff="1ms")
def gates(run):
    if run.fields.get("steps"):
        return [step["key"] for step in run.fields["steps"]]
    for key in run.payload["steps"]:
        await_file(f"go-{key}")
        h.send("STEP", run.exec, {"key": key, "result": "1"})
    for n in range(run.payload.get("more", 0)):
        h.send("STEP", run.exec, {"key": f"more-{n}", "result": "1"})
    if run.payload.get("end") == "suspend":
        raise Suspend([{"key": "nap", "timer_ms": 1}])
    return run.payload["steps"]


def step(run, key):
    enter(run, "did", key)
    h.send("STEP", run.exec, {"key": key, "result": "1"})
    while run.inbox.get(timeout=20) != ("STEP_OK", {"key": key}):
        pass
    enter(run, "ok", key)


def save_own(run, key):
    # Imported only here: it takes longer than all the rest of a run.
    import psycopg
    enter(run, "did", key)
    with psycopg.connect(os.environ["STEPS_DSN"]) as conn:
        conn.execute("select pgconductor.save_step(%s, %s, %s, '1')", (run.id, run.fields["token"], key))
    enter(run, "ok", key)


def halfway(run, how, key):
    if how == "fail" and run.attempt == 1:
        raise Fail("halfway", after_ms=1200)
    if how == "sleep":
        raise Suspend([{"key": "nap", "timer_ms": 1200}])
    if how == "own":
        save_own(run, key)
    if how in ("drain", "own"):
        draining.wait(30)
        raise Suspend([])


@h.task("walk")
def walk(run):
    saved = {s["key"] for s in run.fields.get("steps") or []}
    for n in range(run.payload["n"]):
        key = f"step-{n}"
        if n == run.payload["n"] // 2 and key not in saved and "half" not in saved:
            step(run, "half")
            halfway(run, run.payload["half"], key)
        if key not in saved:
            step(run, key)
    return sorted(saved)


@h.task("circle")
def circle(run):
    enter(run, "circle", "")
    raise Suspend(run.payload["waits"], any=run.payload.get("any", False))


@h.task("own")
def own(run):
    enter(run, "own", run.fields["token"])
    await_file("go-own")
    save_own(run, "own")
    return run.attempt


@h.task("child")
def child(run):
    return 1


def drain():
    draining.set()
    Handler._drain(h)


h._drain = drain
h.serve()
