"""Steps, waiting and calls between a handler and the master: the worker against a master played by the test."""

import json

import pytest

from support.fakemaster import FakeMaster
from support.wait import wait_for

CAPABILITIES = ["call", "cancel", "progress", "step", "suspend"]

HANDLER = f"""
h = Handler(credit=4, concurrency=4, capabilities={CAPABILITIES})
""" + """
from support.handler import Suspend

@h.task("say")
def say(run):
    '''Sends [[name, map]…]; returns the answers to as many as "answers" says.'''
    for name, fields in run.payload["frames"]:
        h.send(name, run.exec, fields)
    return [run.inbox.get(timeout=20) for _ in range(run.payload.get("answers", 0))]

@h.task("suspend")
def suspend(run):
    raise Suspend(**run.payload)

@h.task("saved")
def saved(run):
    return {name: run.fields.get(name) for name in ("steps", "more_steps")}

@h.task("patient")
def patient(run):
    '''As say, then until it is cancelled; what it says then.'''
    for name, fields in run.payload["frames"]:
        h.send(name, run.exec, fields)
    run.cancelled.wait(20)
    if run.payload.get("end") == "suspend":
        raise Suspend([])
    if run.payload.get("end") == "fail":
        raise Fail("stopped", code="cancelled")
    return "as if nothing had been"

h.serve()
"""


def started(m):
    m.setup(m.program("app", HANDLER))
    return m.ready(4)


def said(m, name, execution):
    return m.expect(lambda n, x, f: n == name and x == execution, what=name)[2]


def say(*frames, **more):
    return json.dumps({"frames": frames} | more)


def test_welcome_answers_the_capabilities():
    source = """
h = Handler(capabilities=["step", "suspend", "telepathy", "call", "progress", "beat"], beat_ms=60000)
@h.task("welcome")
def welcome(run): return h.welcome
h.serve()
"""
    with FakeMaster() as m:
        m.setup(m.program("app", source))
        m.ready()
        m.run(1, "welcome")
        assert sorted(json.loads(m.done(1))["capabilities"]) == ["beat", "call", "progress", "step", "suspend"]


def test_frames_pass_as_they_are_in_order():
    frames = [["STEP", {"key": "a", "result": ' {"x":1.50} '}], ["PROGRESS", {"percent": 7, "note": "é"}],
              ["STEP", {"key": "b", "later": [1]}], ["CALL", {"call": 9, "name": "cancel", "args": '{"id":"1"}'}],
              ["JOURNAL", {"after": 3}]]
    with FakeMaster() as m:
        started(m)
        m.run(5, "say", say(*frames))
        assert m.started(5)
        seen = []
        while len(seen) < 6:
            name, _, fields = m.expect(lambda n, x, f: x == 5)
            seen.append([name, fields])
        assert seen == [*frames, ["DONE", {"result": "[]"}]]


def test_started_comes_before_a_step():
    with FakeMaster() as m:
        started(m)
        m.run(1, "say", say(["STEP", {"key": "a"}]))
        m.done(1)
        names = [n for n, x, f in m.frames if n in ("STARTED", "STEP")]
        assert names == ["STARTED", "STEP"]


def test_answers_reach_the_handler():
    with FakeMaster() as m:
        started(m)
        m.run(1, "say", say(["STEP", {"key": "a"}], answers=3))
        said(m, "STEP", 1)
        m.send("STEP_OK", 1, {"key": "a"})
        m.send("RETURN", 1, {"call": 1, "error": '{"code":"x"}'})
        m.send("STEPS", 1, {"steps": [{"key": "k", "result": "1"}], "more_steps": True})
        # Of an execution that is not there any more: late, no more.
        m.send("STEP_OK", 99, {"key": "a"})
        assert json.loads(m.done(1)) == [["STEP_OK", {"key": "a"}], ["RETURN", {"call": 1, "error": '{"code":"x"}'}],
                                         ["STEPS", {"steps": [{"key": "k", "result": "1"}], "more_steps": True}]]


def test_saved_steps_come_with_run():
    steps = [{"key": "a", "result": '"x"'}, {"key": "b", "error": '{"code":"timeout"}'}, {"key": "c"}]
    with FakeMaster() as m:
        started(m)
        m.run(1, "saved", steps=steps, more_steps=True)
        assert json.loads(m.done(1)) == {"steps": steps, "more_steps": True}


def test_suspend_ends_the_execution_and_gives_credit_back():
    waits = [{"key": "t", "timer_ms": 5}, {"key": "c", "task": "x", "queue": "q", "payload": "[1]", "priority": -3, "timeout_ms": 7}]
    with FakeMaster() as m:
        started(m)
        m.wait_slots(4)
        m.run(1, "suspend", json.dumps({"waits": waits, "any": True, "timeout_ms": 9}))
        assert said(m, "SUSPEND", 1) == {"waits": waits, "any": True, "timeout_ms": 9}
        m.wait_slots(4)
        # The number is free again.
        m.run(1, "suspend", '{"waits": []}')
        assert said(m, "SUSPEND", 1) == {"waits": []}
        m.wait_slots(4)


def test_a_suspended_execution_has_no_timeout_any_more():
    with FakeMaster() as m:
        started(m)
        m.run(1, "suspend", '{"waits": []}', deadline_ms=300)
        said(m, "SUSPEND", 1)
        m.none(lambda n, x, f: x == 1, 0.5)


def test_what_is_no_json_fails_that_execution_alone():
    with FakeMaster() as m:
        started(m)
        x, pids = 0, set()
        for frame, code, text in [(["STEP", {"key": "a", "result": "{x}"}], "bad_result", "step a is not JSON"),
                                  (["STEP", {"key": "", "result": "1"}], "app", "empty"),
                                  (["STEP", {"key": "k" * 1025, "result": "1"}], "app", "1024")]:
            for end in ("", "suspend", "fail"):
                x += 1
                m.run(x, "patient", say(frame, end=end))
                error = m.failed(x, code)
                assert text in error["message"] and error["retry"] is False
                pids.add(m.started(x))
        assert not [f for f in m.frames if f[0] == "STEP"]
        assert len(pids) == 1


def test_a_step_that_is_too_long():
    with FakeMaster(max_payload=1000) as m:
        started(m)
        m.run(1, "patient", say(["STEP", {"key": "a", "result": "1" * 400}], ["STEP", {"key": "b", "result": "1" * 1001}]))
        assert said(m, "STEP", 1)["key"] == "a"
        assert "step b is 1001 bytes" in m.failed(1, "oversize")["message"]


def test_bad_waits():
    with FakeMaster() as m:
        started(m)
        for wait, text in [({"key": "w", "task": "t", "payload": "{x}"}, "not JSON"), ({"key": "w"}, "neither"),
                           ({"key": "w", "task": "t", "timer_ms": 1}, "neither"), ({"key": "", "timer_ms": 1}, "empty")]:
            m.run(1, "suspend", json.dumps({"waits": [{"key": "good", "timer_ms": 1}, wait]}))
            assert text in m.failed(1, "app")["message"]
        m.wait_slots(4)


def test_a_bad_call_is_answered_here():
    with FakeMaster() as m:
        started(m)
        m.run(1, "say", say(["CALL", {"call": 4, "name": "invoke", "args": "{"}], answers=1))
        (name, fields), = json.loads(m.done(1))
        assert name == "RETURN" and fields["call"] == 4 and json.loads(fields["error"])["code"] == "bad_args"
        assert not [f for f in m.frames if f[0] == "CALL"]


def test_cancel_may_be_answered_with_suspend():
    with FakeMaster() as m:
        started(m)
        m.run(1, "patient", say(end="suspend"))
        m.started(1)
        m.cancel(1)
        assert said(m, "SUSPEND", 1) == {"waits": []}
        m.wait_slots(4)
        m.run(2, "say", say())
        m.done(2)


STRANGER = """
h = Handler(credit=2, concurrency=2, capabilities=["step"])
@h.task("stranger")
def stranger(run):
    h.send(run.payload["name"], 4711, run.payload["fields"])
    time.sleep(20)
h.serve()
"""


def test_about_an_execution_that_it_does_not_have():
    with FakeMaster() as m:
        m.setup(m.program("app", STRANGER))
        m.announced()
        for name, fields in [("STEP", {"key": "a"}), ("SUSPEND", {"waits": []}), ("JOURNAL", {"after": 0}),
                             ("CALL", {"call": 1, "name": "x", "args": "{}"}), ("PROGRESS", {})]:
            m.wait_slots(2)
            m.run(1, "stranger", json.dumps({"name": name, "fields": fields}))
            assert f"{name} for execution 4711" in m.failed(1, "crash")["message"]


def test_a_suspend_of_a_process_that_then_dies_counts():
    source = """
h = Handler(credit=1)
@h.task("last")
def last(run):
    h.send("STEP", run.exec, {"key": "a"})
    h.send("SUSPEND", run.exec, {"waits": [{"key": "t", "timer_ms": 1}]})
    os._exit(3)
h.serve()
"""
    with FakeMaster() as m:
        m.setup(m.program("app", source))
        m.ready()
        m.run(1, "last")
        said(m, "STEP", 1)
        said(m, "SUSPEND", 1)
        m.none(lambda n, x, f: x == 1 or n == "RETURNED", 0.3)


BEATING = """
h = Handler(credit=2, concurrency=2, beat_ms=400, capabilities=["beat"])
stop = threading.Event()
def beat():
    while not stop.wait(0.1):
        if h.welcome:
            h.send("BEAT")
threading.Thread(target=beat, daemon=True).start()
@h.task("work")
def work(run):
    time.sleep(run.payload["ms"] / 1000)
    return os.getpid()
@h.task("hang")
def hang(run):
    stop.set()
    time.sleep(60)
h.serve()
"""


MUTE = """
import signal
h = Handler(beat_ms=200, capabilities=["beat"])
def terminated(signo, frame):
    print("it was asked to end", flush=True)
    if DEAF:
        return
    sys.exit(0)
signal.signal(signal.SIGTERM, terminated)
@h.task("work")
def work(run):
    return os.getpid()
@h.task("hang")
def hang(run):
    while True:
        time.sleep(60)
h.serve()
"""


@pytest.mark.parametrize("deaf", [False, True])
def test_beats_are_asked_for_only_while_something_runs(deaf):
    """An idle one may be silent. One that runs something is sent TERM, and KILL if that does not help."""
    with FakeMaster(kill_grace_ms=300) as m:
        m.setup(m.program("app", MUTE.replace("DEAF", str(deaf))))
        m.ready()
        m.run(1, "work")
        pid = int(m.done(1))
        m.none(lambda n, x, f: n == "RETURNED", 1)
        m.run(2, "work")
        assert int(m.done(2)) == pid
        m.run(3, "hang")
        assert "silent for longer than 200 ms" in m.failed(3, "crash")["message"]
        m.logged("it was asked to end")
        assert pid not in m.children()


def test_a_silent_handler_is_ended():
    with FakeMaster() as m:
        m.setup(m.program("app", BEATING))
        m.ready(2)
        m.run(1, "work", '{"ms": 1500}')
        pid = int(m.done(1))
        m.run(2, "hang")
        assert "silent for longer than 400 ms" in m.failed(2, "crash")["message"]
        wait_for(lambda: pid not in m.children(), 10, "it is gone")
        m.wait_slots(2)
        m.run(3, "work", '{"ms": 1}')
        assert int(m.done(3)) != pid
