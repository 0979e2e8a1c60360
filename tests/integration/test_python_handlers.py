"""The Python library: programs that serve tasks, under a real server."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading

import pytest

from support import paths, processes
from support.engine import asleep, batch, invoke, result, value, wait_finished
from support.fakemaster import FakeMaster
from support.server import clean_environment
from support.wait import wait_for

PROGRAM = f"{paths.SRC}/tests/support/python_tasks.py"
ENVIRONMENT = {"PYTHONPATH": f"{paths.SRC}/proto/python", "PYTHONUNBUFFERED": ""}


class Files:
    """What a held execution writes, and waits for."""

    def __init__(self, directory):
        self.log = f"{directory}/log"
        self.until = f"{directory}/until"
        self.payload = json.dumps({"log": self.log, "until": self.until})

    def entries(self, *words):
        if not os.path.exists(self.log):
            return []
        with open(self.log, encoding="utf-8") as file:
            lines = [line.split() for line in file]
        return [line for line in lines if line[:len(words)] == [str(word) for word in words]]

    def release(self):
        open(self.until, "w", encoding="ascii").close()


@pytest.fixture
def files(short_tmp):
    return Files(short_tmp)


@pytest.fixture
def program(server, db):
    def start(*words, **options):
        one = server(cmd=[sys.executable, PROGRAM, *words], env=ENVIRONMENT, **options)
        # It has two queues, each with a process that says by itself what it serves.
        wait_for(lambda: value(db, "select count(*) from pgconductor.tasks where name in ('value', 'elsewhere')") == 2, 20,
                 "its tasks are declared")
        return one
    return start


def done(db, *args, **options):
    return wait_finished(db, invoke(db, *args, **options))[1]


# ---- results


VALUES = [0, False, "", None, [], {}, 1.5, -0.0, 2 ** 70, "grüße 😀", "\u0000", {"a": [None, {"b": True}]}]


def test_results_and_contexts(program, db):
    program()
    ids = {(name, n): invoke(db, name, json.dumps(v)) for n, v in enumerate(VALUES) for name in ("value", "value_async")}
    for (_, n), i in ids.items():
        wait_finished(db, i)
        text = value(db, "select result::text from pgconductor.executions_all where id = %s", i)
        assert text == json.dumps(VALUES[n], ensure_ascii="\\u0000" in text)
    assert done(db, "greet", '{"name": "World"}') == {"greeting": "Hello, World!"}
    assert done(db, "nothing") is None
    assert done(db, "elsewhere") != done(db, "pid")

    i = invoke(db, "context", ' {"n": 12.50} ', metadata='{"tenant": 7}')
    seen = wait_finished(db, i)[1]
    assert seen.pop("token")
    assert seen == {"id": str(i), "task": "context", "queue": "default", "attempt": 1, "event": "pgconductor.invoke",
                    "metadata": {"tenant": 7}, "text": ' {"n": 12.50} ', "time_left": None, "cancelled": False,
                    "current": True, "main": True}
    # In a program of both kinds the main thread is for sync functions.
    seen = done(db, "context_async")
    assert 3500 < seen.pop("time_left") <= 3600 and seen == {"current": True, "main": False}


# ---- failures


def test_failures(program, db, cli):
    program()
    i = invoke(db, "broken", '{"name": "key"}')
    error = wait_finished(db, i, "failed")[2]
    assert error["code"] == "app" and error["type"] == "ValueError" and error["message"] == "what a pity"
    shown = cli("show", str(i), check=True).stdout
    for line in ("ValueError", "what a pity", "and what a long story", "KeyError: 'key'", "python_tasks.py", "in broken",
                 "direct cause"):
        assert line in shown
    assert error["stack"].startswith("Traceback (most recent call last)") and "_runners.py" not in error["stack"]
    assert value(db, "select attempt from pgconductor.executions_all where id = %s", i) == 2

    error = wait_finished(db, invoke(db, "broken_async", '{"name": "x"}'), "failed")[2]
    assert (error["type"], error["message"]) == ("LookupError", "x") and "_runners.py" not in error["stack"]

    i = invoke(db, "for_good")
    error = wait_finished(db, i, "failed")[2]
    assert error["type"] == "NonRetryableError" and error["data"] == {"user": 7, "odd": "{1, 2}"}
    assert value(db, "select attempt from pgconductor.executions_all where id = %s", i) == 1
    assert done(db, "again", "null") == 2  # within the test's patience: the backoff is an hour

    for payload, code, message in (
            ("set", "bad_result", "the result is not JSON: Object of type set is not JSON serializable"),
            ("bytes", "bad_result", "bytes"), ("ring", "bad_result", "Circular"), ("nan", "bad_result", "JSON"),
            ("exit", "app", "good bye"), ("unprintable", "app", "Unprintable"), ("other", "app", "\\ud800 and \\0")):
        error = wait_finished(db, invoke(db, "odd", json.dumps(payload)), "failed")[2]
        assert error["code"] == code and message in error["message"], error
    i = invoke(db, "odd", '"surrogate"')
    assert value(db, "select result::text from pgconductor.result(%s)", wait_finished(db, i) and i) == '"\\ud800"'

    # More digits than Python takes for a number, unless told to.
    error = wait_finished(db, invoke(db, "value", "1" * 5000), "failed")[2]
    assert error["code"] == "bad_payload" and "digits" in error["message"]
    error = wait_finished(db, invoke(db, "slow"), "failed")[2]
    assert error["code"] == "timeout"


# ---- printing


def test_what_is_printed_comes_at_once(program, db, files):
    one = program()
    i = invoke(db, "chatter", files.payload)
    one.wait_log(f"execution={i}: printed grüße$")
    said = re.escape('said {"width": 100, "odd": "{1}"}')
    one.wait_log(f"info.*execution={i}: {said}$")
    one.wait_log(f"warn.*execution={i}: logged 7 ")
    one.wait_log(f"error.*execution={i}: oh .*Traceback.*ValueError: caught")
    assert result(db, i)[0] != "completed"
    files.release()
    # The descriptors of a program that a task starts: its own three, and what ls opens.
    assert not [line for line in wait_finished(db, i)[1] if "socket:" in line]


def test_a_fork_leaves_the_session_alone(program, db):
    one = program()
    assert done(db, "fork") == [False, True]
    assert done(db, "pid") in one.handlers()


# ---- several at once, one at a time


@pytest.mark.parametrize("words, task", [(("async=6",), "hold_async"), (("sync=6",), "hold")])
def test_several_at_once(program, db, files, words, task):
    one = program(*words)
    ids = [invoke(db, task, files.payload) for _ in range(6)]
    wait_for(lambda: len(files.entries("start")) == 6, what="all have started")
    assert len(one.handlers()) == 1
    files.release()
    for i in ids:
        assert wait_finished(db, i)[1] == "held"


def test_async_functions_go_on_beside_a_sync_one(program, db, files):
    program()
    held = [invoke(db, "hold", files.payload) for _ in range(2)]
    wait_for(lambda: files.entries("start"))
    for n in range(20):
        assert done(db, "value_async", str(n)) == n
    assert len(files.entries("start")) == 1
    files.release()
    for i in held:
        wait_finished(db, i)


def test_many(program, db):
    """More than the socket holds, handed over far ahead, and every one its own result."""
    program("credit=500")
    payload = "x" * 5000
    for name in ("value", "value_async"):
        ids = value(db, "select pgconductor.invoke_batch(%s, %s::json)", name,
                    json.dumps([{"payload": [n, payload]} for n in range(1000)]))
        wait_finished(db, ids[-1], timeout=20)
        wait_for(lambda: value(db, "select count(*) from pgconductor.executions") == 0, 20)
        rows = db.execute("select id, result -> 0, json_array_length(result) from pgconductor.finished_executions"
                          " where id = any(%s) order by id", (ids,)).fetchall()
        assert rows == [(i, n, 2) for n, i in enumerate(sorted(ids))]


# ---- cancelling


@pytest.mark.parametrize("words, task", [((), "hold"), (("sync=2",), "hold"), ((), "hold_async")])
def test_cancel(program, db, files, words, task):
    one = program(*words)
    i = invoke(db, task, files.payload)
    wait_for(lambda: files.entries("start", i))
    handlers = one.handlers()
    assert value(db, "select pgconductor.cancel(%s, 'not wanted')", i)
    wait_for(lambda: files.entries("cancelled", i))
    assert result(db, i)[0] == "cancelled"
    assert done(db, "pid") in handlers


# ---- ending


@pytest.mark.parametrize("task", ["hold", "hold_async"])
def test_drain_lets_what_runs_end(program, db, files, task):
    """What runs is finished, what waits in the program goes back and loses no attempt."""
    one = program("credit=4", "async=1")
    ids = [invoke(db, task, files.payload) for _ in range(3)]
    wait_for(lambda: files.entries("start"))
    one.signal(signal.SIGTERM)
    wait_for(lambda: files.entries("drain"))
    files.release()
    assert one.wait_exit() == 0
    assert len(files.entries("start")) == 1
    started = int(files.entries("start")[0][1])
    assert result(db, started)[:2] == ("completed", "held")
    for i in set(ids) - {started}:
        assert result(db, i)[0] == "ready"
        assert value(db, "select attempt from pgconductor.executions where id = %s", i) == 0


def test_a_program_that_has_had_enough_is_replaced(program, db):
    program()
    first = done(db, "give_up")
    second = wait_for(lambda: (found := done(db, "pid")) != first and found)
    assert second != first


# ---- between the worker and the program


def played(*words):
    return lambda m: m.setup(m.program("app", argv=[sys.executable, PROGRAM, *words], env=ENVIRONMENT))


def test_outcomes_do_not_wait_for_a_function_that_takes_its_time(files):
    with FakeMaster() as m:
        played("credit=100")(m)
        m.ready(100)
        m.run(1, "deaf", files.payload)
        wait_for(lambda: files.entries("start", 1))
        for n in range(2, 40):
            m.run(n, "value", str(n))
        second = json.dumps({"log": files.log, "until": f"{files.until}-2"})
        m.run(40, "deaf", second)
        m.run(41, "value", "41")
        files.release()
        assert m.done(1) is None
        for n in range(2, 40):
            assert m.done(n) == str(n)
        wait_for(lambda: files.entries("start", 40))
        assert not any(x == 40 and name == "DONE" for name, x, _ in m.frames)
        open(f"{files.until}-2", "w", encoding="ascii").close()
        assert m.done(40) is None and m.done(41) == "41"


@pytest.mark.parametrize("words, task", [(("credit=3",), "hold"), (("credit=3", "async=1"), "hold_async")])
def test_drain_returns_what_waits(files, words, task):
    with FakeMaster() as m:
        played(*words)(m)
        m.ready(3)
        for n in (1, 2, 3):
            m.run(n, task, files.payload)
        wait_for(lambda: files.entries("start", 1))
        if task == "hold":
            m.cancel(3)  # has not begun, and never will
            assert m.failed(3, "cancelled")
        m.drain()
        wait_for(lambda: files.entries("drain"))
        files.release()
        assert m.done(1) == '"held"'
        assert m.final(2)[0] == "RETURNED"
        m.expect(lambda name, x, fields: name == "BYE")
        assert len(files.entries("start")) == 1
        assert "exited with status 0" in m.log()


def test_a_task_of_another_queue_is_not_announced():
    with FakeMaster(queue="other") as m:
        played()(m)
        assert [t["name"] for t in m.announced()["tasks"]] == ["elsewhere"]


# ---- started by hand


def by_hand(words, dsn, cwd, **environment):
    """The program with a terminal of its own."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(cwd)
        env = clean_environment({**ENVIRONMENT, "DATABASE_URL": dsn, "PGCONDUCTOR": paths.PGCONDUCTOR, **environment})
        os.execvpe(sys.executable, [sys.executable, *words], env)
    return pid, terminal


def read_all(terminal, into):
    while True:
        try:
            data = os.read(terminal, 65536)
        except OSError:
            return
        if not data:
            return
        into.append(data.decode(errors="replace"))


def test_started_by_hand_one_interrupt_ends_it(db, dsn, files, short_tmp):
    pid, terminal = by_hand(["-u", "-m", "support.python_tasks", "sync=1"], dsn, f"{paths.SRC}/tests")
    output = []
    reader = threading.Thread(target=read_all, args=(terminal, output))
    reader.start()
    status = None
    try:
        wait_for(lambda: value(db, "select count(*) from pgconductor.tasks where name = 'hold'"), 20, "it serves")
        i = invoke(db, "hold", files.payload)
        wait_for(lambda: files.entries("start", i), 20)
        handler = int(files.entries("start", i)[0][2])
        assert processes.argv_of(handler)[1:] == ["-u", "-m", "support.python_tasks", "sync=1"]
        assert processes.argv_of(pid)[1:3] == ["run", "--"]
        os.write(terminal, b"\x03")
        files.release()
        wait_finished(db, i)
        status = wait_for(lambda: (found := os.waitpid(pid, os.WNOHANG))[0] and found, 20, "it has ended")[1]
    finally:
        if status is None:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        reader.join(10)
        os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 0
    assert "Traceback" not in "".join(output) and "KeyboardInterrupt" not in "".join(output)
    assert not processes.alive(handler)


def run_by_hand(*words, input=None, **environment):
    return subprocess.run([sys.executable, *words], input=input, text=True, capture_output=True, timeout=30,
                          env=clean_environment({**ENVIRONMENT, **environment}))


def test_without_the_binary():
    found = run_by_hand(PROGRAM, PATH="/nonexistent")
    assert found.returncode == 69
    assert "pgconductor was not found" in found.stderr and "PATH" in found.stderr and "Traceback" not in found.stderr
    found = run_by_hand(PROGRAM, PGCONDUCTOR="/nonexistent/pgconductor")
    assert found.returncode == 69 and "/nonexistent/pgconductor" in found.stderr


def test_what_cannot_be_started_again():
    found = run_by_hand(input="import pgconductor\npgconductor.task('t')(print)\npgconductor.serve()\n")
    assert found.returncode != 0 and "cannot be started again" in found.stderr
    found = run_by_hand("-c", "import pgconductor; pgconductor.serve()")
    assert found.returncode != 0 and "no tasks" in found.stderr


def test_a_child_process_does_not_serve(short_tmp):
    """A program without `if __name__ == "__main__"`, whose children import it anew."""
    program = f"{short_tmp}/program.py"
    with open(program, "w", encoding="utf-8") as file:
        file.write("import multiprocessing, pgconductor\npgconductor.task('t')(print)\n"
                   "if __name__ == '__main__':\n"
                   "    child = multiprocessing.get_context('spawn').Process(target=print)\n    child.start()\n    child.join()\n"
                   "pgconductor.serve()\n")
    found = run_by_hand(program, PGCONDUCTOR="/nonexistent/pgconductor")
    assert "called in a child process" in found.stderr and found.stderr.count("was not found") == 1


QUEUES = """
import asyncio
from pgconductor import serve, task

now = most = 0

async def busy():
    global now, most
    now += 1
    most = max(most, now)
    await asyncio.sleep(0.1)
    now -= 1
    return most

@task(queue="wide")
async def wide(payload): return await busy()

@task(queue="narrow")
async def narrow(payload): return await busy()

serve(queues=%s)
"""


def test_what_it_says_of_its_queues(server, db, short_tmp):
    """More at once than the ten of the server, and an untold execution found although the server looks once in an hour; but a section of
    the configuration counts."""
    with open(f"{short_tmp}/queues.py", "w", encoding="ascii") as file:
        file.write(QUEUES % {"wide": {"concurrency": 30, "fetch_batch": 500, "poll_interval": 0.2}, "narrow": {"concurrency": 20}})
    server('poll_interval = "1h"\nqueue "narrow" { concurrency = 2 }\n', cmd=[sys.executable, file.name], env=ENVIRONMENT)
    wait_for(lambda: value(db, "select count(*) from pgconductor.tasks where name in ('wide', 'narrow')") == 2, 20, "its tasks are declared")
    for task, jobs, most in (("wide", 60, 30), ("narrow", 6, 2)):
        assert max(wait_finished(db, job)[1] for job in batch(db, task, jobs)) == most
    asleep(db)
    with db.transaction():
        db.execute("set local pgconductor.notify = off")
        untold = invoke(db, "wide")
    wait_finished(db, untold)


@pytest.mark.parametrize("queues, why", [
    ({"fast": {}}, "none of its tasks is in this queue .they are in narrow, wide"), ({"wide": {"concurrency": 0}}, "not a whole number between 1 and 100000: 0"),
    ({"wide": {"poll_interval": "10ms"}}, "poll_interval: not between 100ms and 1h"), ({"wide": {"poll_interval": "often"}}, "not a duration"),
    ({"wide": {"processes": 2}}, "wide: processes: no such setting")])
def test_what_cannot_be_said_of_queues(queues, why):
    done = subprocess.run([sys.executable, "-c", QUEUES % queues], env=clean_environment(ENVIRONMENT), stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1 and re.search(f"ValueError: serve: queues: .*{why}", done.stderr), done.stderr
