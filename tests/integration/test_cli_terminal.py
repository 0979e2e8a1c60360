"""run in a terminal: a line for each execution that ends, with what went wrong below it; and invoke --batch in one."""

import json
import os
import re
import signal
import subprocess

import pytest

from support import paths
from support.engine import batch, invoke, value, wait_empty, wait_finished
from support.server import clean_environment, run_cli
from support.terminal import Terminal
from support.wait import wait_for

TIME = r"^\d\d:\d\d:\d\d "


@pytest.fixture
def config(app, short_tmp):
    """The path of a configuration with a long-lived program and commands."""
    path = f"{short_tmp}/terminal.conf"
    with open(path, "w", encoding="utf-8") as file:
        file.write(app.config("seen", "hold", "raise", "fail", more='''
task "fail" { max_attempts = 3 backoff = {"50ms", "2h"} }
task "raise" { max_attempts = 1 }
task "broken" { exec = "echo some words >&2; exit 3" max_attempts = 1 queue = "commands" }
shutdown_timeout = 1s
'''))
    return path


def run(dsn, config, **options):
    """A server in a terminal, that serves."""
    t = Terminal([paths.PGCONDUCTOR, "run", "--db", dsn, "-c", config], columns=200, **options)
    done = run_cli("ready", "seen", "--timeout", "20s", dsn=dsn)
    assert done.returncode == 0, done.stderr + t.text
    return t


def test_a_line_for_each_execution(dsn, db, app, config):
    with run(dsn, config) as t:
        i = invoke(db)
        t.wait(TIME + rf"seen {i} ok  \d+ ms$")
        assert "\x1b[32mok\x1b[0m" in t.output

        i = invoke(db, "fail", json.dumps({"message": "no\x1b[31m luck\nat all"}))
        t.wait(TIME + rf"fail {i} failed \(attempt 1 of 3, again in 50 ms\)  \d+ ms\n    no\\x1b\[31m luck\n    at all$")
        t.wait(TIME + rf"fail {i} failed \(attempt 2 of 3, again in 2 h 0 min\)  ")
        i = invoke(db, "fail", '{"message": "never", "retry": false}')
        t.wait(TIME + rf"fail {i} failed \(attempt 1 of 3, not to be tried again\)  ")
        i = invoke(db, "fail", '{"message": "later", "after_ms": 90000}')
        t.wait(TIME + rf"fail {i} failed \(attempt 1 of 3, again in 1 min 30 s\)  ")

        i = invoke(db, "raise")
        found = t.wait(TIME + rf"raise {i} failed \(attempt 1 of 1\)  \d+ ms\n((    .*\n)+)")
        assert "    Traceback (most recent call last):\n" in found[1]
        assert found[1].count("what a pity") == 1 + found[1].count('raise ValueError("what a pity")')

        i = invoke(db, "hold")
        wait_for(lambda: app.runs(i))
        db.execute("select pgconductor.cancel(%s)", (i,))
        t.wait(TIME + rf"hold {i} cancelled  ")

        # What a command writes is seen as it comes; its error stands below its line, once more and not twice.
        i = invoke(db, "broken")
        t.wait(TIME + rf"broken {i} failed \(attempt 1 of 1\)  \d+ ms\n    .* exited with status 3: some words\n(?!    )")
        assert len(re.findall(r"^broken\[\d+\]: some words$", t.text, re.M)) == 1
        os.kill(t.pid, signal.SIGTERM)
        assert t.wait_exit(30) == 0


def test_without_colours(dsn, db, config):
    with run(dsn, config, env={"NO_COLOR": "1"}) as t:
        t.wait(TIME + rf"seen {invoke(db)} ok  \d+ ms$")
        assert "\x1b" not in t.output


def test_too_many_to_read(dsn, db, config):
    """Of 5,000 a few are shown, the others counted, and none is counted twice; what failed has room of its own."""
    with run(dsn, config) as t:
        batch(db, "seen", 5000)
        wait_empty(db, 30)
        t.wait(r"^… and \d+ more")

        def all_told():
            shown = len(re.findall(r"^.* seen \d+ ok ", t.text, re.M))
            rest = sum(int(n) for n in re.findall(r"^… and (\d+) more$", t.text, re.M))
            assert shown + rest == 5000, (shown, rest)
            return shown
        assert wait_for(all_told, 10) < 2500


def test_nothing_in_a_log(server, db, app):
    one = server(config=app.config("seen", "fail", more='task "fail" { max_attempts = 1 }'))
    i = invoke(db, "fail", '{"message": "unmistakable"}')
    wait_finished(db, i, "failed")
    wait_finished(db, invoke(db))
    one.stop()
    assert "unmistakable" not in one.log and "seen" not in one.log


# ---- invoke --batch ----

@pytest.fixture
def declared(db):
    db.execute("select pgconductor.declare_task('t')")
    return db


def write_lines(path, n):
    with open(path, "w", encoding="ascii") as file:
        for i in range(n):
            file.write('{"n": %d, "text": "%s"}\n' % (i, "x" * 100))
    return path


def peak_kib(argv, lines):
    """The most memory that a command ever had; what it prints goes to a file that is counted."""
    with open(f"{lines}.out", "wb") as out:
        process = subprocess.Popen(argv, stdout=out, env=clean_environment({"ASAN_OPTIONS": "quarantine_size_mb=1:detect_leaks=0"}))
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    with open(f"{lines}.out", encoding="ascii") as out:
        return usage.ru_maxrss, [int(line) for line in out]


def test_memory_does_not_grow_with_the_file(declared, dsn, short_tmp, scale):
    """The lines alone would take seven megabytes more."""
    def invoke_file(n):
        path = write_lines(f"{short_tmp}/lines", n)
        return peak_kib([paths.PGCONDUCTOR, "invoke", "t", "--batch", path, "--db", dsn, "--delay", "1h"], path)
    small, ids = invoke_file(5000)
    assert len(ids) == 5000
    n = scale(60000, 1000000)
    large, ids = invoke_file(n)
    assert len(ids) == n and ids == sorted(ids)
    assert value(declared, "select count(*) from pgconductor.executions") == n + 5000
    assert large - small < 2048


def test_progress_of_a_file(declared, dsn, short_tmp, scale):
    path = write_lines(f"{short_tmp}/lines", scale(30000, 1000000))
    with open(f"{short_tmp}/ids", "wb") as out:
        with Terminal([paths.PGCONDUCTOR, "invoke", "t", "--batch", path, "--db", dsn], stdout=out) as t:
            found = t.wait(r"^(?:.*\r)? *(\d+)% \[#* *\] \d+ executions, \d+/s, \d+ s left", 30)
            assert 0 <= int(found[1]) <= 100
            assert t.wait_exit(scale(60, 900)) == 0
            t.wait(r"\rpgconductor: invoke: \d+000 executions in \d+\.\d s$")
    with open(f"{short_tmp}/ids", encoding="ascii") as out:
        assert len(out.readlines()) == scale(30000, 1000000)


def test_progress_of_a_pipe_and_of_an_error(declared, dsn):
    """How much is to come is not known; a message takes the place of what is drawn."""
    read, write = os.pipe()
    with Terminal([paths.PGCONDUCTOR, "invoke", "t", "--batch", "-", "--db", dsn], stdin=read) as t:
        os.close(read)
        with os.fdopen(write, "w", encoding="ascii") as file:
            def more():
                file.write("1\n" * 1000)
                file.flush()
                return re.search(r"\d000 executions, \d+/s$", t.text)
            wait_for(more, 15, "the count is shown")
            assert "%" not in t.text
            file.write("{\n")
        assert t.wait_exit() == 65
        t.wait(r"\rpgconductor: invoke: -:\d+: not JSON: .*; nothing was created$")
        assert value(declared, "select count(*) from pgconductor.executions") == 0


@pytest.mark.parametrize("sig", ["^C", signal.SIGTERM])
@pytest.mark.parametrize("moment", ["reading", "waiting for the database"])
def test_interrupted_creates_nothing(declared, connect, dsn, sig, moment):
    read, write = os.pipe()
    locker = connect(autocommit=False)
    if moment != "reading":
        locker.execute("lock table pgconductor.executions in access exclusive mode")
    with Terminal([paths.PGCONDUCTOR, "invoke", "t", "--batch", "-", "--db", dsn], stdin=read) as t:
        os.close(read)
        with os.fdopen(write, "w", encoding="ascii") as file:
            file.write("1\n" * 5000)
            file.flush()
            backend = "select state from pg_stat_activity where application_name = 'pgconductor invoke'"
            if moment == "reading":
                wait_for(lambda: value(declared, backend) == "idle in transaction", 15, "it has sent what there was")
            else:
                wait_for(lambda: value(declared, f"{backend} and wait_event_type = 'Lock'") == "active", 15)
            if sig == "^C":
                t.send("\x03")
            else:
                os.kill(t.pid, sig)
            assert t.wait_exit() == -(signal.SIGINT if sig == "^C" else sig)
        t.wait(r"pgconductor: invoke: interrupted; nothing was created$")
    locker.rollback()
    assert value(declared, "select count(*) from pgconductor.executions") == 0


def test_an_end_that_nobody_has_seen(declared, dsn, short_tmp):
    """The connection goes after the work: what is said about it is true."""
    read, write = os.pipe()
    process = subprocess.Popen([paths.PGCONDUCTOR, "invoke", "t", "--batch", "-", "--db", dsn], stdin=read,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=clean_environment())
    os.close(read)
    backend = "select pid from pg_stat_activity where application_name = 'pgconductor invoke' and state = 'idle in transaction'"
    with os.fdopen(write, "w", encoding="ascii") as file:
        file.write("1\n" * 1000)
        file.flush()
        pid = wait_for(lambda: value(declared, backend), 15)
        declared.execute("select pg_terminate_backend(%s)", (pid,))
        wait_for(lambda: value(declared, backend) is None, 15)
    out, err = process.communicate(timeout=15)
    assert (process.returncode, out) == (69, "")
    assert "nothing was created" in err or "is not known" in err
    assert value(declared, "select count(*) from pgconductor.executions") == 0
