"""What executions log and print: stored by the engine, and shown and followed by `pgconductor logs`."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time

import pytest

from support import paths
from support.engine import batch, invoke, result, unfinished, value, wait_empty, wait_finished
from support.server import clean_environment
from support.wait import wait_for

PRELUDE = f"""
import os, sys, threading, time
sys.path.insert(0, {os.path.join(paths.SRC, "tests")!r})
from support.handler import Fail, Handler
"""

TALK = PRELUDE + """
h = Handler(tasks=[{"name": "talk"}], capabilities=["log"])
@h.task("talk")
def talk(run):
    print("printed by", run.id, flush=True)
    h.send("LOG", run.exec, {"level": "warn", "message": "logged by %d" % run.id, "fields": '{"n": 1.50, "attempt": %d}' % run.attempt})
    h.send("LOG", run.exec, {"level": "debug", "message": "not of interest"})
    if run.attempt == 1:
        h.send("LOG", run.exec, {"level": "error", "message": "Traceback:\\n  it \\x1b[2Jbroke"})
        raise Fail("once", after_ms=0)
h.serve()
"""


def lines(db, execution, columns="message"):
    rows = db.execute(f"select {columns} from pgconductor.execution_logs(%s, 0, null)", (execution,)).fetchall()
    return [r[0] for r in rows] if columns == "message" else rows


def wait_lines(db, execution, *expected, timeout=10):
    def look():
        assert lines(db, execution) == list(expected)
        return True
    wait_for(look, timeout, f"execution {execution} has its lines")


@pytest.fixture
def commands(short_tmp):
    """A configuration of one-shot commands: commands(name=script, …). $D is a directory for files."""
    def config(concurrency=20, top="", options="", **scripts):
        text = f'{top}\nqueue "default" {{ concurrency = {concurrency} }}\n'
        for name, script in scripts.items():
            path = os.path.join(short_tmp, f"{name}.sh")
            with open(path, "w", encoding="utf-8") as file:
                file.write(f"#!/bin/sh\nD={shlex.quote(short_tmp)}\n{script}\n")
            os.chmod(path, 0o755)
            text += f'task "{name}" {{ exec = {{ "{path}" }} {options} }}\n'
        return text
    return config


@pytest.fixture
def handler(short_tmp):
    """A configuration with a handler of this source."""
    def config(source, queue="", top=""):
        path = os.path.join(short_tmp, "handler.py")
        with open(path, "w", encoding="utf-8") as file:
            file.write(source)
        return (f'{top}\nhandler "app" {{ command = {{ "{sys.executable}", "-B", "{path}" }} }}\n'
                f'queue "default" {{ handler = "app" {queue} }}\n')
    return config


class Follower:
    """A running `pgconductor logs -f`."""

    def __init__(self, dsn, path, execution, *args):
        self.path = path
        with open(path, "wb") as out:
            self.process = subprocess.Popen([paths.PGCONDUCTOR, "logs", "--db", dsn, "-f", str(execution), *args], stdout=out,
                                            stderr=out, stdin=subprocess.DEVNULL, env=clean_environment())

    @property
    def text(self):
        with open(self.path, encoding="utf-8") as file:
            return file.read()

    def wait(self, text):
        wait_for(lambda: text in self.text, 10, f"{text!r} was printed")

    def end(self):
        assert self.process.wait(10) == 0, self.text
        return [line[24:] for line in self.text.splitlines()]


@pytest.fixture
def follow(dsn, short_tmp):
    started = []

    def start(execution, *args, dsn=dsn):
        one = Follower(dsn, os.path.join(short_tmp, f"follower{len(started)}"), execution, *args)
        started.append(one)
        return one
    yield start
    for one in started:
        one.process.kill()
        one.process.wait()


def release(short_tmp, name="go"):
    open(os.path.join(short_tmp, name), "w", encoding="ascii").close()


WAIT = 'while [ ! -e "$D/go" ]; do sleep 0.02; done'


def test_what_a_command_prints(server, db, cli, commands):
    server(config=commands(work="printf 'one\\ntw\\033[31mo\\nbad \\377 byte' >&2; echo 7"))
    made = invoke(db, "work")
    assert wait_finished(db, made)[1] == 7
    assert lines(db, made, "attempt, level, message, fields") == [
        (1, "info", "one", None), (1, "info", "tw\x1b[31mo", None), (1, "info", "bad \ufffd byte", None)]
    assert value(db, "select bool_and(at between e.created_at and e.finished_at) from pgconductor.logs l"
                     " join pgconductor.executions_all e on e.id = l.execution")
    shown = cli("logs", str(made), check=True).stdout.splitlines()
    assert [line[24:] for line in shown] == ["one", "tw\\x1b[31mo", "bad \ufffd byte"]
    assert value(db, "select %s::timestamptz between now() - interval '1 minute' and now()", shown[0][:23])
    seen = [json.loads(line) for line in cli("logs", "--json", str(made), check=True).stdout.splitlines()]
    assert [s["message"] for s in seen] == ["one", "tw\x1b[31mo", "bad \ufffd byte"]
    assert list(seen[0]) == ["seq", "at", "attempt", "level", "message", "fields"] and isinstance(seen[0]["seq"], str)


def test_what_there_is_not(server, db, cli):
    done = cli("logs", "4711")
    assert done.returncode == 1 and "4711: there is no execution with this id" in done.stderr
    assert cli("logs", "-f", "4711").returncode == 1
    assert cli("logs", "one").returncode == 64
    assert cli("logs").returncode == 64
    db.execute("select pgconductor.declare_task('work')")
    made = invoke(db, "work")
    done = cli("logs", str(made))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_what_a_handler_logs_and_prints(server, db, cli, handler):
    """Levels and fields of LOG, what it prints in between, and which attempt it was."""
    server(config=handler(TALK))
    made = invoke(db, "talk")
    wait_finished(db, made)
    assert lines(db, made, "attempt, level, message, fields::text") == [
        (1, "info", f"printed by {made}", None), (1, "warn", f"logged by {made}", '{"n": 1.50, "attempt": 1}'),
        (1, "error", "Traceback:\n  it \x1b[2Jbroke", None),
        (2, "info", f"printed by {made}", None), (2, "warn", f"logged by {made}", '{"n": 1.50, "attempt": 2}')]
    shown = cli("logs", str(made), check=True).stdout.splitlines()
    assert [line[24:] if line[:2] == "20" or line[0] == " " else line for line in shown] == [
        f"printed by {made}", f'warn: logged by {made} {{"n": 1.50, "attempt": 1}}',
        "error: Traceback:", "  it \\x1b[2Jbroke", "attempt 2", f"printed by {made}",
        f'warn: logged by {made} {{"n": 1.50, "attempt": 2}}']


def test_every_line_is_its_executions_own(server, db, handler):
    """One after the other in one process: what is printed just before the end is not taken for the next one's."""
    server(config=handler(PRELUDE + """
h = Handler(tasks=[{"name": "say"}])
@h.task("say")
def say(run):
    os.write(1, ("hello\\n" + "%s\\n" % run.id * 2).encode())
h.serve()
"""))
    made = batch(db, "say", 200)
    wait_empty(db)
    # Not waited for: they are there when the outcome is.
    assert {i: lines(db, i) for i in made} == {i: ["hello"] + [str(i)] * 2 for i in made}


def test_lines_are_there_when_the_outcome_is(server, db, commands):
    server(config=commands(work='seq 1 50 >&2; echo "$PGCONDUCTOR_ID" >&2'))
    made = batch(db, "work", 60)
    finished = set()
    deadline = time.monotonic() + 20
    while len(finished) < len(made):
        assert time.monotonic() < deadline, f"finished: {sorted(finished)}"
        for execution in set(made) - finished:
            if (result(db, execution) or [None])[0] == "completed":
                finished.add(execution)
                assert lines(db, execution) == [str(n) for n in range(1, 51)] + [str(execution)]


def test_several_at_once_in_a_process(server, db, handler, short_tmp):
    """What is printed then is nobody's, what is logged belongs to its execution."""
    one = server(config=handler(PRELUDE + f"""
h = Handler(credit=2, concurrency=2, tasks=[{{"name": "both"}}], capabilities=["log"])
@h.task("both")
def both(run):
    while len(h.running) < 2: time.sleep(0.01)
    print("from", run.id, flush=True)
    h.send("LOG", run.exec, {{"level": "info", "message": "by %d" % run.id}})
    while not os.path.exists({short_tmp!r} + "/go"): time.sleep(0.01)
h.serve()
"""))
    made = [invoke(db, "both") for _ in range(2)]
    for execution in made:
        wait_lines(db, execution, f"by {execution}")
        one.wait_log(f"pid=\\d+: from {execution}$")
    release(short_tmp)
    wait_empty(db)
    assert [lines(db, i) for i in made] == [[f"by {i}"] for i in made]


def test_following(server, db, follow, commands, short_tmp):
    """A command that runs, from its first line to its last."""
    server(config=commands(work=f"echo begun >&2; {WAIT}; echo ended >&2"))
    made = invoke(db, "work")
    one = follow(made)
    one.wait("begun")
    assert one.process.poll() is None and unfinished(db) == 1
    late = follow(made, "--json")
    late.wait("begun")
    release(short_tmp)
    assert one.end() == ["begun", "ended"]
    late.process.wait(10)
    assert [json.loads(line)["message"] for line in late.text.splitlines()] == ["begun", "ended"]
    assert follow(made).end() == ["begun", "ended"]


def test_following_what_has_not_begun(db, server, follow, commands, short_tmp, cli):
    db.execute("select pgconductor.declare_task('work')")
    made = invoke(db, "work")
    one, other = follow(made), follow(invoke(db, "work"))
    cli("cancel", str(made + 1), check=True)
    assert other.end() == []
    server(config=commands(work="echo begun >&2; exit 65"))
    assert one.end() == ["begun"]


def test_nobody_reads_any_more(server, db, dsn, commands, short_tmp):
    server(config=commands(work=f"echo begun >&2; {WAIT}"))
    made = invoke(db, "work")
    done = subprocess.run(f"{paths.PGCONDUCTOR} logs --db {shlex.quote(dsn)} -f {made} | head -n 1", shell=True, timeout=10,
                          stdout=subprocess.PIPE, text=True, env=clean_environment())
    assert done.stdout.endswith(" begun\n")
    release(short_tmp)
    wait_empty(db)


def test_interrupted(server, db, follow, commands, short_tmp):
    server(config=commands(work=f"echo begun >&2; {WAIT}"))
    one = follow(invoke(db, "work"))
    one.wait("begun")
    one.process.send_signal(signal.SIGINT)
    assert one.process.wait(10) == -signal.SIGINT
    release(short_tmp)
    wait_empty(db)


def test_several_nodes(server, db, follow, commands):
    config = commands(work='echo "$PGCONDUCTOR_ID" >&2; echo "$PPID" >&2')
    one, two = server(config=config), server(config=config)
    wait_for(lambda: value(db, "select count(distinct owner) from pgconductor.shards") == 2, 20, "both own shards")
    made = batch(db, "work", 40)
    wait_empty(db)
    found = {i: lines(db, i) for i in made}
    assert {i: f[0] for i, f in found.items()} == {i: str(i) for i in made}
    assert {int(f[1]) for f in found.values()} == {one.worker(), two.worker()}


def test_a_killed_worker_and_a_killed_master(server, db, follow, commands, short_tmp):
    """What was written stays; what runs again goes on behind it, and who follows sees all of it."""
    config = commands(work=f'echo "begun $PGCONDUCTOR_ATTEMPT" >&2; {WAIT}; echo ended >&2', options="backoff = 0",
                      top='takeover_timeout = "1s"')
    first = server(config=config)
    made = invoke(db, "work")
    one = follow(made)
    one.wait("begun 1")
    os.kill(first.worker(), signal.SIGKILL)
    one.wait("begun 2")
    first.kill9()
    assert lines(db, made) == ["begun 1", "begun 2"]
    server(config=config)
    one.wait("begun 3")
    release(short_tmp)
    assert [line for line in one.end() if line] == ["begun 1", "begun 2", "begun 3", "ended"]
    assert "attempt 2\n" in one.text and "attempt 3\n" in one.text


def resident(pid):
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def test_a_flood_is_bounded(server, db, commands, short_tmp):
    """It neither holds up the others nor fills memory, and what is missing is marked."""
    one = server(config=commands(flood=f'{WAIT}; yes "a line that is written over and over" | head -n 400000 >&2', quick="echo 1",
                                 options="max_attempts = 1", top="log_level = error"))
    before = resident(one.pid)
    floods = batch(db, "flood", 10)
    wait_for(lambda: value(db, "select count(*) from pgconductor.running") == 10, 10, "they run")
    release(short_tmp)
    for _ in range(20):
        wait_finished(db, invoke(db, "quick", priority=1), timeout=5)
    wait_empty(db, 40)
    assert resident(one.pid) - before < 64 << 20
    for execution in floods:
        found = lines(db, execution, "level, message")
        said = [m for level, m in found if level == "warn"]
        assert len(found) < 10000 and said and all("dropped" in m or "not stored" in m for m in said), said


def test_more_of_them_than_a_second_holds(server, db, commands):
    """Each has all of its lines, or one that says where they are missing."""
    server(config=commands(work="seq 1 1000 >&2", concurrency=40, top="log_level = error"))
    made = batch(db, "work", 40)
    wait_empty(db, 30)
    for execution in made:
        found = lines(db, execution)
        numbers = [int(m) for m in found if m.isdigit()]
        assert numbers == sorted(set(numbers))
        assert len(numbers) == 1000 or any("dropped" in m or "not stored" in m for m in found)


def test_an_attempt_has_its_limit(server, db, commands, scale):
    if not scale(False, True):
        pytest.skip("takes twelve seconds, as a process may print a thousand lines in each")
    server(config=commands(work="for i in $(seq 12); do seq 1000 >&2; sleep 1.05; done", top="log_level = error"))
    made = invoke(db, "work")
    wait_finished(db, made, timeout=60)
    found = lines(db, made)
    assert len(found) == 10001 and found[-1] == "no more than 10000 lines of an attempt are stored"


def test_lines_do_not_stop_outcomes(server, db, commands):
    """Nowhere to write them: they are lost, and nothing else."""
    db.execute("alter table pgconductor.logs rename to other")
    one = server(config=commands(work="echo lost >&2; echo 1"))
    for _ in range(3):
        assert wait_finished(db, invoke(db, "work"))[1] == 1
    one.wait_log("lines of executions are lost: ")
    db.execute("alter table pgconductor.other rename to logs")
    made = invoke(db, "work")
    wait_finished(db, made)
    assert lines(db, made) == ["lost"]


def test_a_missing_partition_is_made(server, db, commands):
    today = value(db, "select to_char(now() at time zone 'UTC', 'YYYYMMDD')")
    one = server(config=commands(work="echo first >&2; echo second >&2"))
    wait_for(lambda: value(db, "select count(*) from pg_stat_activity where datname = current_database()"
                               " and application_name = 'pgconductor upkeep'") == 0, 10, "there is no upkeep under way")
    db.execute(f"drop table pgconductor.logs_{today}")
    made = invoke(db, "work")
    wait_finished(db, made)
    wait_lines(db, made, "first", "second")
    assert "are lost" not in one.log


def test_not_stored_if_not_wanted(server, db, commands):
    config = commands(work="echo said >&2")
    one = server(config="keep_logs = 0\n" + config)
    made = invoke(db, "work")
    wait_finished(db, made)
    one.wait_log(f"queue=default .* task=work attempt=1 execution={made}: said")
    assert value(db, "select value from pgconductor.settings where name = 'keep_logs_ms'") == "0"
    one.set_config("keep_logs = 2d\n" + config)
    one.hup()
    one.wait_log("read again")
    made = invoke(db, "work")
    wait_finished(db, made)
    assert value(db, "select count(*) from pgconductor.logs") == 1 and lines(db, made) == ["said"]
    assert value(db, "select value from pgconductor.settings where name = 'keep_logs_ms'") == "172800000"


def test_stopping_writes_what_was_said(server, db, commands):
    """Of an execution that goes back unfinished, at the very end."""
    one = server(config=commands(work="trap 'echo stopped >&2; exit 75' TERM; echo begun >&2; sleep 60 & wait",
                                 top='shutdown_timeout = "500ms"'))
    made = invoke(db, "work")
    wait_lines(db, made, "begun")
    one.signal(signal.SIGTERM)
    assert one.wait_exit() == 0
    assert lines(db, made)[0] == "begun" and unfinished(db) == 1
