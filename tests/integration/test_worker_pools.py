"""The worker's pools: restarts, replacement, idling, draining, reloads, discovery."""

import json
import os
import time

from support.fakemaster import FakeMaster
from support.wait import wait_for

APP = """
h = Handler(credit=int(os.environ.get("CREDIT", "2")), **json.loads(os.environ.get("HELLO", "{}")))
def task(name):
    def register(f):
        h.task(name)(f)
        h.hello.setdefault("tasks", []).append({"name": name})
    return register
@task("pid")
def pid(run): return os.getpid()
@task("crash")
def crash(run): os.kill(os.getpid(), 9)
@task("wait")
def wait(run):
    while not os.path.exists(run.payload): time.sleep(0.01)
    return os.getpid()
@task("grow")
def grow(run):
    global ballast
    ballast = bytearray(os.urandom(1 << 20)) * run.payload
    return os.getpid()
@task("version")
def version(run): return os.environ.get("VERSION")
if os.environ.get("EXTRA"):
    @task(os.environ["EXTRA"])
    def extra(run): return "extra"
h.serve()
"""
DRAINS = {"HELLO": '{"capabilities": ["drain", "cancel"]}'}


def test_restarts_at_once_after_a_crash():
    with FakeMaster() as m:
        m.setup(m.program("app", APP))
        m.ready(2)
        m.run(1, "pid")
        pid = m.done(1)
        begin = time.monotonic()
        m.run(2, "crash")
        m.failed(2, "crash")
        m.wait_slots(2)
        assert time.monotonic() - begin < 1
        m.run(3, "pid")
        assert m.done(3) not in (pid, None)


def test_one_that_crashes_at_every_execution_is_restarted_more_slowly():
    with FakeMaster() as m:
        m.setup(m.program("app", APP))
        m.ready(2)
        for x in range(1, 4):
            m.run(x, "crash")
            m.failed(x, "crash")
            m.wait_slots(2)
        m.run(9, "pid")
        m.done(9)


def test_max_runs_replaces_the_new_one_first():
    with FakeMaster() as m:
        m.setup(m.program("app", APP, max_runs=3, env=DRAINS))
        m.ready(2)
        pids = set()

        def third():
            x = len(pids) + int(time.monotonic() * 1e6)
            m.run(x, "pid")
            pids.add(m.done(x))
            m.wait_slots(2)  # never without a handler
            return len(pids) >= 3
        wait_for(third)
        assert not [f for f in m.frames if f[0] in ("FAIL", "RETURNED")]


def test_memory_limit_replaces():
    with FakeMaster() as m:
        m.setup(m.program("app", APP, memory=40 << 20, env=DRAINS))
        m.ready(2)
        m.run(1, "grow", "80")
        old = m.done(1)
        m.logged("resident; the limit is 40960")

        def replaced():
            x = 1000 + len(m.frames) + int(time.monotonic() * 1000) % 1000000
            m.run(x, "pid")
            return m.done(x) != old
        wait_for(replaced, poll=0.1)
        wait_for(lambda: len(m.children()) == 1)


def test_idle_process_ends_and_comes_back():
    with FakeMaster() as m:
        m.setup(m.program("app", APP, idle_timeout_ms=200, processes=2))
        m.ready(4)
        wait_for(lambda: m.children() == [])
        m.read()
        assert m.slots[0] == 4  # it is offered all the same
        m.run(1, "pid")
        pid = m.done(1)
        m.wait_slots(4)
        m.run(2, "pid")
        assert m.done(2) == pid
        wait_for(lambda: m.children() == [])


def test_idle_process_that_does_not_come_back():
    with FakeMaster() as m:
        flag = m.directory + "/flag"
        m.setup(m.program("app", f"if os.path.exists({flag!r}): sys.exit(1)\n" + APP, idle_timeout_ms=100))
        m.ready(2)
        wait_for(lambda: m.children() == [])
        open(flag, "w").close()
        m.run(1, "pid")
        assert m.final(1)[0] == "RETURNED"
        m.wait_slots(0)
        os.unlink(flag)
        m.wait_slots(2)


def test_drain_finishes_what_runs():
    for env in ({}, DRAINS):
        with FakeMaster() as m:
            flag = m.directory + "/flag"
            m.setup(m.program("app", APP, processes=2, env=env))
            m.ready(4)
            for x in (1, 2, 3):
                m.run(x, "wait", json.dumps(flag))
                m.started(x)
            m.drain()
            m.run(4, "pid")
            assert m.final(4)[0] == "RETURNED"
            open(flag, "w").close()
            for x in (1, 2, 3):
                m.done(x)
            m.expect(lambda n, x, f: n == "BYE")
            assert m.process.wait(10) == 0


def test_drain_of_nothing():
    with FakeMaster() as m:
        m.setup()
        m.drain()
        m.expect(lambda n, x, f: n == "BYE")
        assert m.process.wait(10) == 0


def test_drain_while_starting():
    with FakeMaster() as m:
        m.setup(m.program("app", "time.sleep(1000)"))
        m.drain()
        m.expect(lambda n, x, f: n == "BYE")
        assert m.process.wait(10) == 0


def test_drain_returns_what_does_not_finish_in_time():
    with FakeMaster() as m:
        m.setup(m.program("app", APP, env={"CREDIT": "2"}))
        m.ready(2)
        m.run(1, "wait", '"/never"')
        m.run(2, "wait", '"/never"')
        m.started(2)
        begin = time.monotonic()
        m.drain(deadline_ms=300)
        for x in (1, 2):
            assert m.final(x)[0] == "RETURNED"
        m.expect(lambda n, x, f: n == "BYE")
        assert m.process.wait(10) == 0 and 0.25 < time.monotonic() - begin < 3


def test_reload_replaces_the_new_ones_first():
    with FakeMaster() as m:
        source = m.program("app", APP, processes=2, env=DRAINS | {"VERSION": "1"})
        m.setup(source)
        m.ready(4)
        flag = m.directory + "/flag"
        m.run(1, "wait", json.dumps(flag))
        old = m.started(1)
        m.setup(m.program("app", APP, processes=2, env=DRAINS | {"VERSION": "2"}))
        # The same tasks at once, from the process that is there; then its replacement.
        m.announced()

        def second():
            x = int(time.monotonic() * 1e6)
            m.run(x, "version")
            name, fields = m.final(x)
            return fields.get("result") == '"2"'
        wait_for(second)
        open(flag, "w").close()
        assert m.done(1) == str(old)  # what it was running ended in peace
        wait_for(lambda: old not in m.children())
        m.wait_slots(4)


def test_reload_drops_and_adds_programs():
    with FakeMaster() as m:
        flag = m.directory + "/flag"
        gone = APP.replace('@task("pid")', '@task("gone")').replace('@task("wait")', '@task("linger")')
        for name in ("crash", "grow", "version"):
            gone = gone.replace(f'@task("{name}")', f'@task("{name}2")')
        m.setup(m.program("a", APP), m.program("b", gone))
        m.ready(2, 0)
        m.ready(2, 1)
        m.run(1, "linger", json.dumps(flag), pool=1)
        pid = m.started(1)
        m.setup(m.command("c", "echo c"), m.program("a", APP))
        m.ready(100, 0)
        m.ready(2, 1)
        m.run(2, "c")
        assert m.done(2) == '"c"'
        m.run(3, "gone", pool=7)
        assert m.final(3)[0] == "RETURNED"
        m.run(4, "pid", pool=1)
        assert m.final(4)[0] == "DONE"
        open(flag, "w").close()
        assert m.done(1) == str(pid)
        wait_for(lambda: pid not in m.children())
        m.wait_slots(2, 1)
        m.wait_slots(100, 0)


def test_reload_of_a_broken_program_keeps_the_old_one():
    with FakeMaster() as m:
        m.setup(m.program("app", APP, env=DRAINS))
        m.ready(2)
        m.setup(m.program("app", "sys.exit(5)\n"))
        m.announced()
        m.expect(lambda n, x, f: n == "BROKEN")
        m.wait_slots(2)
        m.run(1, "pid")
        assert m.done(1)


def test_new_tasks_after_a_restart_are_announced():
    with FakeMaster() as m:
        flag = m.directory + "/extra"
        source = f"if os.path.exists({flag!r}): os.environ['EXTRA'] = 'more'\n" + APP
        m.setup(m.program("app", source))
        assert "more" not in [t["name"] for t in m.ready(2)["tasks"]]
        open(flag, "w").close()
        m.run(1, "crash")
        m.failed(1)
        assert "more" in [t["name"] for t in m.announced()["tasks"]]
        m.wait_slots(2)
        m.run(2, "more")
        assert m.done(2) == '"extra"'
        os.unlink(flag)
        m.run(3, "crash")
        m.failed(3)
        assert "more" not in [t["name"] for t in m.announced()["tasks"]]
        m.wait_slots(2)
        m.run(4, "more")  # sent before the master knew: its slot is not lost
        assert m.final(4)[0] == "RETURNED"
        m.wait_slots(2)


def test_a_task_belongs_to_the_first_that_announced_it():
    with FakeMaster() as m:
        slow = m.directory + "/slow"
        m.setup(m.program("late", f"while not os.path.exists({slow!r}): time.sleep(0.01)\n" + APP, env={"VERSION": "l"}),
                m.program("early", APP, env={"VERSION": "e"}))
        m.ready(2, 1)
        open(slow, "w").close()
        m.ready(2, 0)
        for x in range(1, 6):
            m.run(x, "version", pool=1)
            assert m.done(x) == '"e"'
            m.wait_slots(2, 1)
            m.wait_slots(2, 0)


def test_discovery():
    for env in ({}, DRAINS):
        with FakeMaster(queue="") as m:
            m.setup(m.program("app", "print('queue', os.environ.get('PGCONDUCTOR_QUEUE'), flush=True)\n" + APP,
                              discover=True, env=env))
            announced = m.announced()
            assert "pid" in [t["name"] for t in announced["tasks"]]
            m.expect(lambda n, x, f: n == "BYE")
            assert m.process.wait(10) == 0
            assert "queue None" in m.log()
            assert not m.slots.get(0)


def test_discovery_of_what_does_not_start():
    for program in ({"argv": ["/no/such"]}, {"source": "sys.exit(3)\n"}):
        with FakeMaster(queue="") as m:
            m.setup(m.program("app", discover=True, **program))
            assert m.expect(lambda n, x, f: n == "BROKEN")[2]["reason"]
            m.expect(lambda n, x, f: n == "BYE")
            assert m.process.wait(10) == 0


def test_master_that_does_not_read():
    """Results for it are bounded: handlers wait."""
    with FakeMaster(concurrency=1000) as m:
        source = """
h = Handler(credit=60, concurrency=1, tasks=[{"name": "big"}])
@h.task("big")
def big(run): return "x" * (1 << 20)
h.serve()
"""
        m.setup(m.program("app", source))
        m.ready(60)
        for x in range(1, 61):
            m.run(x, "big")
        peak = 0
        for _ in range(50):
            with open(f"/proc/{m.process.pid}/statm", encoding="ascii") as file:
                peak = max(peak, int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE"))
            time.sleep(0.01)
        for x in range(1, 61):
            assert len(m.done(x)) == (1 << 20) + 2
        assert peak < (60 << 20)
        m.wait_slots(60)


def test_log_lines_for_a_master_that_does_not_read():
    """They are dropped, and neither the outcomes nor memory suffer."""
    with FakeMaster(level="error", concurrency=20) as m:
        m.setup(m.command("job", f"yes \"$(printf '%2000s' x)\" | head -n 1000 >&2; echo 1; touch {m.directory}/$PGCONDUCTOR_ID.end"))
        m.ready(20)
        for x in range(1, 21):
            m.run(x, "job")
        wait_for(lambda: sum(name.endswith(".end") for name in os.listdir(m.directory)) == 20 and not m.children(), 20,
                 "all have ended")
        with open(f"/proc/{m.process.pid}/statm", encoding="ascii") as file:
            assert int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE") < 60 << 20
        for x in range(1, 21):
            assert m.done(x) == "1"
        lines = [f["message"] for n, _, f in m.frames if n == "LOG"]
        assert sum(len(line) for line in lines) < 3 << 20
        m.run(50, "job")
        m.done(50)
        assert [x for n, x, f in m.frames if n == "LOG"][-1] == 50


def test_more_than_was_offered_comes_back_once():
    """A master that counts a slot too many is not offered it again and again."""
    with FakeMaster() as m:
        flag = m.directory + "/flag"
        m.setup(m.program("app", APP))
        m.ready(2)
        for x in (1, 2):
            m.run(x, "wait", json.dumps(flag))
        m.started(2)
        m.run(3, "pid")
        assert m.final(3)[0] == "RETURNED"
        m.none(lambda n, x, f: n == "SLOTS" and f["slots"] == 1 and m.slots[0] >= 0, 0.3)
        assert m.slots[0] == -1  # it sent one more than it had; by the worker's count that slot never was
        m.slots[0] = 0
        open(flag, "w").close()
        for x in (1, 2):
            m.done(x)
        m.wait_slots(2)
