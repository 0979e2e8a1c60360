"""The worker and long-lived handlers: credit, concurrency, order, results, time limits, cancelling."""

import json
import signal

import pytest

from support.fakemaster import FakeMaster

ECHO = """
h = Handler(credit=int(os.environ.get("CREDIT", "1")), concurrency=int(os.environ.get("CONCURRENCY", "1")))
@h.task("echo")
def echo(run): return RawJSON(run.text)
@h.task("pid")
def pid(run): return os.getpid()
@h.task("env")
def env(run): return dict(os.environ)
@h.task("wait")
def wait(run):
    while not os.path.exists(run.payload): time.sleep(0.01)
    return "waited"
@h.task("fail")
def fail(run): raise Fail("no", **run.payload)
h.serve()
"""

# Answers CANCEL at once, whatever it is doing; never runs anything to the end by itself.
CANCELLABLE = """
h = Handler(credit=4, concurrency=2, capabilities=["cancel", "drain"], tasks=[{"name": "hang"}, {"name": "stray"}])
h.say_hello()
runs = {}
while True:
    name, x, fields = h.receive()
    if name == "RUN":
        runs[x] = fields["task"]
    if name == "CANCEL" and runs[x] == "stray":
        h.send("DONE", x, {"result": '"late"'})
        h.send("FAIL", x, {"code": "cancelled", "message": "and once more"})
    elif name == "CANCEL":
        h.send("FAIL", x, {"code": "app", "message": fields["reason"]})
"""

# Goes on whatever it is told: TERM is ignored.
STUBBORN = """
signal.signal(signal.SIGTERM, signal.SIG_IGN)
h = Handler(credit=4, concurrency=2)
@h.task("hang")
def hang(run): time.sleep(1000)
@h.task("echo")
def echo(run): return RawJSON(run.text)
h.serve()
"""


def test_announces_and_runs():
    with FakeMaster(queue="media") as m:
        m.setup(m.program("app", ECHO, env={"CREDIT": "3"}))
        announced = m.ready(3)
        assert announced["program"] == "app" and announced["sdk"] == "test"
        assert [t["name"] for t in announced["tasks"]] == []  # this handler announces only its queue's tasks


def test_result_is_forwarded_byte_for_byte():
    text = '{"b":1.50, "a": 18446744073709551616,"a":"\\u0000 \\ud800 é",  "x":1e400}'
    with FakeMaster() as m:
        m.setup(m.program("app", ECHO))
        m.ready()
        m.run(1, "echo", text)
        assert m.done(1) == text
        m.wait_slots(1)


def test_started_comes_before_the_final_frame_and_names_the_process():
    with FakeMaster() as m:
        m.setup(m.program("app", ECHO, env={"CREDIT": "8"}))
        m.ready(8)
        for x in range(1, 9):
            m.run(x, "pid")
        seen = {}
        for _ in range(8):
            name, x, fields = m.expect(lambda n, x, f: n == "DONE")
            seen[x] = fields["result"]
            started = [f for n, _, f in m.frames if n == "STARTED" and x in f["execs"]]
            assert started and str(started[0]["pid"]) == seen[x]
        assert len(seen) == 8


def test_environment_of_a_handler():
    with FakeMaster() as m:
        m.setup(m.program("app", ECHO, env={"COLOUR": "blue", "PGCONDUCTOR_QUEUE": "lies"}))
        m.ready()
        m.run(1, "env")
        env = json.loads(m.done(1))
        assert env["PGCONDUCTOR_FD"] == "3" and env["PGCONDUCTOR_PROTO"] == "1"
        assert env["PGCONDUCTOR_QUEUE"] == "default" and env["COLOUR"] == "blue"
        assert "HOME" not in env


PROCESS = """
import resource, stat
def state():
    return {
        "fds": sorted(int(n) for n in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{n}")),
        "stdin": os.readlink("/proc/self/fd/0"),
        "group": os.getpgid(0) == os.getpid(),
        "cwd": os.getcwd(),
        "nofile": resource.getrlimit(resource.RLIMIT_NOFILE),
        "blocked": [l.split()[1] for l in open("/proc/self/status") if l.startswith(("SigBlk", "SigIgn"))],
        "nnp": [l.split()[1] for l in open("/proc/self/status") if l.startswith("NoNewPrivs")],
        "ids": [os.getuid(), os.getgid(), os.getgroups()],
    }
"""


def test_what_a_process_is_given():
    with FakeMaster() as m:
        source = PROCESS + """
first = state()
h = Handler()
@h.task("state")
def state_task(run): return first
h.serve()
"""
        m.setup(m.program("app", source, directory=m.directory, rlimits=[{"key": "nofile", "value": "64:128"}]))
        m.ready()
        m.run(1, "state")
        state = json.loads(m.done(1))
        assert state["fds"][:4] == [0, 1, 2, 3] and len(state["fds"]) == 4
        assert state["stdin"] == "/dev/null" and state["group"] and state["cwd"] == m.directory
        assert state["nofile"] == [64, 128] and state["nnp"] == ["1"]
        # Python itself ignores PIPE and XFSZ; make's children inherit that 32 and 33, which are libc's own, are ignored.
        assert state["blocked"][0] == "0" * 16 and int(state["blocked"][1], 16) & ~0x181001000 == 0


@pytest.mark.skipif("os.geteuid() != 0", reason="only root can become another user")
def test_runs_as_another_user(tmp_path_factory):
    with FakeMaster() as m:
        import os
        os.chmod(m.directory, 0o755)
        m.setup(m.command("state", "id -u; id -g; id -G", user="nobody"))
        m.ready(100)
        m.run(1, "state")
        import grp
        import pwd
        nobody = pwd.getpwnam("nobody")
        groups = os.getgrouplist("nobody", nobody.pw_gid)
        assert json.loads(m.done(1)).split("\n") == [str(nobody.pw_uid), str(nobody.pw_gid),
                                                     " ".join(map(str, groups))]


def test_unknown_user_is_told_to_the_master():
    with FakeMaster() as m:
        m.setup(m.program("app", ECHO, user="no-such-user"))
        broken = m.expect(lambda n, x, f: n == "BROKEN")[2]
        assert "no-such-user" in broken["reason"] and broken["pool"] == 0


def test_credit_is_kept_and_given_back():
    with FakeMaster() as m:
        flag = m.directory + "/flag"
        m.setup(m.program("app", ECHO, env={"CREDIT": "4", "CONCURRENCY": "2"}))
        m.ready(4)
        for x in range(1, 5):
            m.run(x, "wait", json.dumps(flag))
        for x in range(1, 5):
            m.started(x)
        m.run(5, "echo", "5")  # more than was offered
        name, fields = m.final(5)
        assert name == "RETURNED"
        m.slots[0] = 0  # that slot never was
        open(flag, "w").close()
        for x in range(1, 5):
            assert m.done(x) == '"waited"'
        m.wait_slots(4)


def test_configured_credit_overrides_hello():
    with FakeMaster() as m:
        m.setup(m.program("app", ECHO, credit=50, env={"CREDIT": "3"}))
        m.ready(50)


def test_several_processes_share_the_work():
    with FakeMaster() as m:
        m.setup(m.program("app", ECHO, processes=3, env={"CREDIT": "2"}))
        m.ready(6)
        flag = m.directory + "/flag"
        for x in range(1, 4):
            m.run(x, "wait", json.dumps(flag))
        assert len({m.started(x) for x in range(1, 4)}) == 3  # prefetch comes after concurrency
        open(flag, "w").close()
        for x in range(1, 4):
            m.done(x)
        m.wait_slots(6)


def test_two_programs_each_get_their_tasks():
    with FakeMaster() as m:
        one = 'h = Handler(tasks=[{"name": "one"}])\n@h.task("one")\ndef f(run): return 1\nh.serve()\n'
        two = 'h = Handler(tasks=[{"name": "two"}])\n@h.task("two")\ndef f(run): return 2\nh.serve()\n'
        m.setup(m.program("one", one), m.program("two", two))
        m.ready(1, 0)
        m.ready(1, 1)
        m.run(1, "two", pool=1)
        m.run(2, "one")
        assert m.done(1) == "2" and m.done(2) == "1"
        m.run(3, "three", pool=2)
        name, fields = m.final(3)
        assert name == "RETURNED"
        m.wait_slots(1, 0)
        m.wait_slots(1, 1)


def test_failure_is_forwarded():
    with FakeMaster() as m:
        m.setup(m.program("app", ECHO))
        m.ready()
        m.run(1, "fail", '{"type": "X", "stack": "a\\nb", "retry": false, "after_ms": 5, "data": "[1]"}')
        assert m.failed(1) == {"code": "app", "message": "no", "type": "X", "stack": "a\nb", "retry": False,
                               "after_ms": 5, "data": "[1]"}
        m.run(2, "fail", '{"data": "[1"}')  # not JSON: dropped, the failure counts
        assert m.failed(2) == {"code": "app", "message": "no"}


def test_bad_and_oversized_results():
    with FakeMaster(max_payload=1000) as m:
        m.setup(m.program("app", ECHO, env={"CREDIT": "4"}))
        m.ready(4)
        m.run(1, "echo", '{"a": nope}')
        assert "not JSON" in m.failed(1, "bad_result")["message"]
        m.run(2, "echo", '"' + "x" * 998 + '"')
        assert len(m.done(2)) == 1000
        m.run(3, "echo", '"' + "x" * 999 + '"')
        failed = m.failed(3, "oversize")
        assert failed["retry"] is False and "1001" in failed["message"] and "1000" in failed["message"]


def test_timeout_with_a_handler_that_stops():
    with FakeMaster(kill_grace_ms=10000) as m:
        m.setup(m.program("app", CANCELLABLE))
        m.ready(4)
        m.run(1, "hang", deadline_ms=100)
        m.run(2, "hang")
        failed = m.failed(1, "timeout")
        assert "100 ms" in failed["message"] and failed.get("retry", True) is True
        m.cancel(2, "enough")
        assert m.failed(2, "cancelled")["retry"] is False
        m.wait_slots(4)


def test_done_within_the_grace_counts():
    with FakeMaster() as m:
        m.setup(m.program("app", CANCELLABLE))
        m.ready(4)
        m.run(1, "stray", deadline_ms=100)
        assert m.done(1) == '"late"'
        m.run(2, "hang", deadline_ms=50)  # its second answer to one CANCEL was forgiven
        m.failed(2, "timeout")
        assert "protocol error" not in m.log()


def test_timeout_counts_from_the_start_of_the_function():
    with FakeMaster() as m:
        flag = m.directory + "/flag"
        m.setup(m.program("app", ECHO, env={"CREDIT": "2"}))
        m.ready(2)
        m.run(1, "wait", json.dumps(flag))
        m.run(2, "echo", "2", deadline_ms=300)
        m.none(lambda n, x, f: n in ("FAIL", "DONE", "RETURNED"), 0.6)
        open(flag, "w").close()
        assert m.done(1) == '"waited"' and m.done(2) == "2"


def test_timeout_of_a_handler_that_ignores_everything():
    with FakeMaster(kill_grace_ms=200) as m:
        m.setup(m.program("app", STUBBORN))
        m.ready(4)
        m.run(1, "hang", deadline_ms=100)
        m.run(2, "hang")
        m.run(3, "hang")
        pid = m.started(1)
        m.failed(1, "timeout")
        # What else was in the process goes back without losing an attempt, and a new process takes over.
        for x in (2, 3):
            assert m.final(x)[0] == "RETURNED"
        m.wait_slots(4)
        m.run(5, "echo", "5")
        assert m.started(5) != pid
        assert m.done(5) == "5"


def test_cancel_of_one_that_waits_behind_others_does_not_kill():
    with FakeMaster() as m:
        flag = m.directory + "/flag"
        m.setup(m.program("app", ECHO, env={"CREDIT": "2"}))
        m.ready(2)
        m.run(1, "wait", json.dumps(flag))
        m.run(2, "echo", "2")
        m.started(2)
        m.cancel(2, grace_ms=100)
        m.none(lambda n, x, f: n in ("FAIL", "DONE", "RETURNED"), 0.5)
        open(flag, "w").close()
        assert m.done(1) == '"waited"'
        assert m.final(2)[0] == "DONE"  # it was over before it could be stopped; the master drops it


def test_cancel_kills_what_does_not_stop():
    with FakeMaster(kill_grace_ms=200) as m:
        m.setup(m.program("app", STUBBORN))
        m.ready(4)
        m.run(1, "hang")
        m.started(1)
        m.cancel(1, grace_ms=0)
        assert m.failed(1, "cancelled")["retry"] is False
        m.cancel(1)  # and again, for nothing
        m.cancel(99)


CREDITS = """
h = Handler(tasks=[{"name": "more"}])
h.say_hello()
while True:
    name, x, fields = h.receive()
    if name == "RUN":
        h.send("CREDIT", 0, {"credit": int(fields["event"]["payload"])})
        h.send("LOG", x, {"level": "warn", "message": "asked for credit", "fields": '{"n":1}'})
        h.send(200, x, {"future": 1})
        h.send("DONE", x, {"unknown": [1, {"a": None}]})
"""


def test_credit_log_and_what_is_unknown():
    with FakeMaster() as m:
        m.setup(m.program("app", CREDITS))
        m.ready(1)
        m.run(1, "more", "5", id=77)
        assert m.done(1) is None
        m.wait_slots(5)
        m.logged('execution=77: asked for credit {"n":1}')
        m.run(2, "more", "0")
        m.done(2)
        m.wait_slots(0)


def log_of(m, execution):
    """(level, message, fields) of the LOG frames that came for an execution, in order."""
    return [(f["level"], f["message"], f.get("fields")) for n, x, f in m.frames if n == "LOG" and x == execution]


LOGS = """
h = Handler(credit=3, concurrency=2, tasks=[{"name": "log"}, {"name": "print"}, {"name": "wait"}], capabilities=["log"])
@h.task("log")
def log(run):
    for level, message, fields in run.payload:
        h.send("LOG", run.exec, {"level": level, "message": message} | ({"fields": fields} if fields else {}))
    h.send("LOG", 0, {"level": "error", "message": "of the process"})
    h.send("LOG", run.exec + 1000, {"level": "error", "message": "of nobody"})
@h.task("print")
def say(run): os.write(1, run.payload.encode())
@h.task("wait")
def wait(run):
    while not os.path.exists(run.payload): time.sleep(0.01)
h.serve()
"""


def test_log_messages_go_to_the_master():
    with FakeMaster(level="warn") as m:
        m.setup(m.program("app", LOGS))
        m.ready(3)
        long = "x" * 4095 + "é"
        m.run(7, "log", json.dumps([("info", "one", None), ("warn", "", '{"a": [1.50,  2]}'), ("debug", "no", None),
                                    ("error", long, "{not json}"), ("strange", "two\nlines", '"' + "y" * (16 << 10) + '"')]))
        m.done(7)
        # Before the final frame, what cannot be kept left out, and nothing that is nobody's.
        assert log_of(m, 7) == [("info", "one", None), ("warn", "", '{"a": [1.50,  2]}'), ("error", "x" * 4095, None),
                                ("error", "two\nlines", None)]
        assert {x for n, x, _ in m.frames if n == "LOG"} == {7}
        m.logged("of the process")
    with FakeMaster(level="debug") as m:
        m.setup(m.program("app", LOGS))
        m.ready(3)
        m.run(7, "log", json.dumps([("debug", "yes", None)]))
        m.done(7)
        assert log_of(m, 7) == [("debug", "yes", None)]


def test_what_is_printed_goes_to_the_master():
    with FakeMaster(level="error", terminal=True) as m:
        m.setup(m.program("app", LOGS))
        m.ready(3)
        for x in range(1, 50):
            m.run(x, "print", json.dumps(f"printed by {x}\nbad \x00 \x1b[0m\nand no end"))
            m.done(x)
            start = "and no end" if x > 1 else ""
            assert log_of(m, x) == [("info", f"{start}printed by {x}", None), ("info", "bad \ufffd \x1b[0m", None)]
        # Another one runs there: nobody knows whose it is.
        flag = m.directory + "/flag"
        m.run(100, "wait", json.dumps(flag))
        m.run(101, "print", '"whose?\\n"')
        m.done(101)
        m.logged("whose?")
        open(flag, "w").close()
        m.done(100)
        assert log_of(m, 100) == log_of(m, 101) == []


def test_last_words_belong_to_the_execution():
    source = """
h = Handler(tasks=[{"name": "die"}])
@h.task("die")
def die(run):
    os.write(2, b"Traceback\\nout of luck\\n")
    os._exit(3)
h.serve()
"""
    with FakeMaster() as m:
        m.setup(m.program("app", source))
        m.ready(1)
        m.run(1, "die")
        m.failed(1, "crash")
        assert [message for _, message, _ in log_of(m, 1)] == ["Traceback", "out of luck"]


WINDOW = """
h = Handler(credit=10, concurrency=10, window=5000, tasks=[{"name": "big"}])
h.say_hello()
waiting, sizes = [], []
while True:
    name, x, fields = h.receive()
    if name == "RUN":
        waiting.append(x)
        sizes.append(len(fields["event"]["payload"]))
        if fields["event"]["payload"].startswith('"go'):
            for y in waiting: h.send("DONE", y, {"result": json.dumps(sizes)})
            waiting, sizes = [], []
"""


def test_byte_window():
    with FakeMaster() as m:
        m.setup(m.program("app", WINDOW))
        m.ready(10)
        m.run(1, "big", '"' + "x" * 3000 + '"')
        m.run(2, "big", '"' + "x" * 3000 + '"')  # waits: both together are too much
        m.run(3, "big", '"go"')  # does not overtake
        m.started(1)
        m.none(lambda n, x, f: n == "STARTED", 0.3)
        m.cancel(2)
        m.failed(2, "cancelled")
        m.started(3)
        assert json.loads(m.done(1)) == [3002, 4] and m.done(3)


def test_larger_than_the_window_goes_alone():
    with FakeMaster() as m:
        m.setup(m.program("app", WINDOW))
        m.ready(10)
        m.run(1, "big", '"go' + "x" * 9000 + '"')
        assert m.done(1)
        m.wait_slots(10)


@pytest.mark.parametrize("size", [1 << 20, 16 << 20])
def test_large_payloads_both_ways(size):
    with FakeMaster() as m:
        m.setup(m.program("app", ECHO, env={"CREDIT": "3"}))
        m.ready(3)
        text = '"' + "p" * (size - 2) + '"'
        for x in range(1, 4):
            m.run(x, "echo", text)
        for x in range(1, 4):
            # What the handler leaves unread is kept for it within limits; beyond them it goes back.
            while (final := m.final(x, 60))[0] == "RETURNED":
                m.run(x, "echo", text)
            assert final == ("DONE", {"result": text})
        m.wait_slots(3)


def test_handlers_own_output_reaches_the_log():
    source = """
h = Handler(credit=2, concurrency=2)
print("starting up", flush=True)
@h.task("say")
def say(run):
    sys.stderr.write("half a ")
    sys.stderr.flush()
    sys.stderr.write("line\\nbad \\x1b[31m \\udcff bytes\\n" if False else "line\\n")
    sys.stderr.flush()
    os.write(1, b"bytes \\xff\\x00 end\\n" + b"y" * 10000 + b"\\nlast without newline")
    return 1
h.serve()
"""
    with FakeMaster(queue="media") as m:
        m.setup(m.program("app", source.replace("Handler(", 'Handler(tasks=[{"name": "say"}], ')))
        m.ready(2)
        m.logged("queue=media program=app pid=")
        m.logged(": starting up")
        m.run(1, "say", id=4711)
        m.done(1)
        m.logged("execution=4711: half a line")
        m.logged("bytes \ufffd\ufffd end")
        m.drain()
        m.expect(lambda n, x, f: n == "BYE")
        log = m.log()
        assert "y" * 4096 in log and "y" * 4097 not in log
        assert "last without newline" in log


def test_output_to_a_terminal():
    with FakeMaster(terminal=True) as m:
        m.setup(m.command("job", "echo 'to a \033[1mperson' >&2"))
        m.ready(100)
        m.run(1, "job")
        pid = m.started(1)
        m.done(1)
        assert f"\njob[{pid}]: to a \033[1mperson\n" in "\n" + m.log()


def test_worker_ends_its_handlers_when_the_master_is_gone():
    m = FakeMaster()
    with m:
        m.setup(m.program("app", STUBBORN, processes=2), m.command("sleep", "sleep 1000 & setsid sleep 1000 & wait"))
        m.ready(8)
        m.ready(100, 1)
        m.run(1, "sleep", pool=1)
        m.started(1)
        pids = [m.process.pid]
        from support.wait import wait_for
        wait_for(lambda: len(family(m.process.pid)) >= 6)
        pids = family(m.process.pid)
    wait_for(lambda: not any(alive(p) for p in pids))


def test_worker_ends_its_handlers_on_term():
    with FakeMaster() as m:
        m.setup(m.program("app", STUBBORN, processes=2))
        m.ready(8)
        pids = family(m.process.pid)
        assert len(pids) >= 3
        m.process.send_signal(signal.SIGTERM)
        m.process.wait(timeout=10)
        assert not any(alive(p) for p in pids)


def family(pid):
    """A process and all that descend from it."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            children = [int(p) for p in file.read().split()]
    except FileNotFoundError:
        return []
    return [pid] + [p for child in children for p in family(child)]


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
