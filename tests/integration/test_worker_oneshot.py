"""The worker and one-shot commands: streams, exit statuses, limits, and what they leave behind."""

import json
import os
import resource
import time

import pytest

from support.fakemaster import FakeMaster
from support.wait import wait_for


def one(m, script, payload="null", execution=1, **fields):
    """Run one command; the worker serves that alone."""
    m.setup(m.command("job", script, **fields))
    m.announced()
    m.run(execution, "job", payload)
    return m.final(execution)


@pytest.mark.parametrize("script, result", [
    ("cat", '{"a": 1.50}'),
    ("echo '[1, 2]'", "[1, 2]"),
    ("printf '[1]\\n\\n'", "[1]\n"),
    ("echo hello", '"hello"'),
    ("printf 'two\\nlines\\n\\n'", '"two\\nlines\\n"'),
    ("echo '\"\\u0000\"'", '"\\u0000"'),
    ("true", None),
    ("echo", None),
    ("echo é", '"é"'),
    ("echo '{bad'", '"{bad"'),
    ("echo 1e400", "1e400"),
])
def test_stdout_is_the_result(script, result):
    with FakeMaster() as m:
        name, fields = one(m, script, '{"a": 1.50}')
        assert (name, fields.get("result")) == ("DONE", result)


@pytest.mark.parametrize("script", ["printf '\\377'", "printf 'a\\000b'", "printf '\\355\\240\\200'"])
def test_what_is_not_utf8_fails(script):
    with FakeMaster() as m:
        name, fields = one(m, script)
        assert name == "FAIL" and fields["code"] == "bad_result" and "UTF-8" in fields["message"]


def test_environment_and_argv():
    with FakeMaster() as m:
        m.setup(m.program("job", argv=["/usr/bin/env"], command_task="job", env={"COLOUR": "red"}))
        m.ready(100)
        m.run(1, "job", id=12345, attempt=3, deadline_ms=60000)
        env = dict(line.split("=", 1) for line in json.loads(m.done(1)).split("\n"))
        assert env["PGCONDUCTOR_ID"] == "12345" and env["PGCONDUCTOR_TASK"] == "job"
        assert env["PGCONDUCTOR_ATTEMPT"] == "3" and env["PGCONDUCTOR_QUEUE"] == "default"
        assert env["PGCONDUCTOR_DEADLINE_MS"] == "60000" and env["PGCONDUCTOR_EVENT"] == "pgconductor.invoke" and env["PGCONDUCTOR_EVENT_KIND"] == "invoke"
        assert env["COLOUR"] == "red" and "PGCONDUCTOR_FD" not in env and "HOME" not in env
        m.run(2, "job")
        assert "PGCONDUCTOR_DEADLINE_MS" not in m.done(2)


def test_large_result_through_a_large_pipe():
    source = ("import fcntl, os; fcntl.fcntl(1, 1031, 1 << 20); "
              "os.write(1, b'\"' + b'x' * ((1 << 20) - 2) + b'\"'); os._exit(0)")
    with FakeMaster() as m:
        m.setup(m.program("job", argv=["/usr/bin/python3", "-c", source], command_task="job"))
        m.ready(100)
        for x in range(1, 11):
            m.run(x, "job")
        for x in range(1, 11):
            assert len(m.done(x)) == 1 << 20


def test_signals_are_as_for_any_program():
    with FakeMaster() as m:
        name, fields = one(m, "grep -E 'Sig(Blk|Ign)' /proc/self/status | tr -d '\n\t'")
        assert json.loads(fields["result"]) == "SigBlk:" + "0" * 16 + "SigIgn:" + "0" * 16


def test_descriptors_and_session():
    with FakeMaster() as m:
        source = ("import os; print(sorted(int(n) for n in os.listdir('/proc/self/fd') "
                  "if os.path.exists('/proc/self/fd/' + n)), os.getpgid(0) == os.getpid(), os.getcwd())")
        m.setup(m.program("job", argv=["python3", "-c", source], command_task="job", directory="/"))
        m.ready(100)
        m.run(1, "job")
        assert json.loads(m.done(1)) == "[0, 1, 2] True /"


def test_relative_command_and_script_without_interpreter_line():
    with FakeMaster() as m:
        m.file("job.sh", "echo \"$1\"\n")
        m.setup(m.program("job", argv=["./job.sh", "one two"], command_task="job", directory=m.directory))
        m.ready(100)
        m.run(1, "job")
        assert m.done(1) == '"one two"'


@pytest.mark.parametrize("size", [65536, 65537, 1 << 20, 16 << 20])
def test_payload_that_is_not_read(size):
    with FakeMaster() as m:
        m.setup(m.command("job", "exit 0"), m.command("count", "wc -c"))
        m.ready(100, 0)
        m.ready(100, 1)
        payload = '"' + "x" * (size - 2) + '"'
        m.run(1, "job", payload)
        m.run(2, "count", payload, pool=1)
        assert m.done(1) is None
        assert int(m.done(2)) == size


def test_failure_carries_the_last_of_stderr():
    with FakeMaster() as m:
        name, fields = one(m, "echo first >&2; printf 'no such \\377 image\\n\\n' >&2; exit 3")
        assert name == "FAIL" and fields["code"] == "app" and fields.get("retry", True) is True
        assert "exited with status 3" in fields["message"] and fields["message"].endswith("no such \ufffd image")
        assert fields["stack"].startswith("first\n")
        m.logged("program=job pid=")
        m.logged("execution=1: first")


def test_only_the_end_of_a_long_stderr():
    with FakeMaster() as m:
        name, fields = one(m, "head -c 300000 /dev/zero | tr '\\000' x >&2; echo >&2; echo the end >&2; exit 1")
        assert name == "FAIL" and fields["message"].endswith(": the end")
        assert len(fields["stack"]) <= 4096


@pytest.mark.parametrize("status, expected", [(65, ("FAIL", "app", False)), (1, ("FAIL", "app", True)),
                                              (75, ("DEFERRED", None, None)), (76, ("FAIL", "app", True))])
def test_exit_statuses(status, expected):
    with FakeMaster() as m:
        name, fields = one(m, f"echo why >&2; exit {status}")
        assert (name, fields.get("code"), fields.get("retry", True) if name == "FAIL" else None) == expected
        assert "why" in fields["message"]
        m.wait_slots(100)


def test_killed_by_a_signal():
    with FakeMaster() as m:
        name, fields = one(m, "kill -9 $$")
        assert name == "FAIL" and fields["code"] == "crash" and "killed by signal 9" in fields["message"]


@pytest.mark.parametrize("argv, reason", [
    (["/no/such/program"], "No such file"), (["no-such-program"], "No such file"), (["/etc/passwd"], "ermission denied"),
    (["/"], "ermission denied"),
])
def test_what_cannot_be_executed(argv, reason):
    with FakeMaster() as m:
        m.setup(m.program("job", argv=argv, command_task="job"))
        m.ready(100)
        m.run(1, "job")
        assert reason in m.failed(1, "crash")["message"]
        m.wait_slots(100)


def test_no_such_directory():
    with FakeMaster() as m:
        m.setup(m.command("job", "true", directory="/no/such"))
        m.ready(100)
        m.run(1, "job")
        assert "/no/such" in m.failed(1, "crash")["message"]


def test_results_at_the_limit():
    with FakeMaster(max_payload=100000) as m:
        m.setup(m.command("job", 'printf \\"; head -c "$(cat)" /dev/zero | tr "\\000" x; echo \\"'),
                m.command("quoted", 'head -c 60000 /dev/zero | tr "\\000" "\\042"'))
        m.ready(100, 0)
        m.ready(100, 1)
        m.run(1, "job", "99998")
        assert len(m.done(1)) == 100000
        m.run(2, "job", "99999")
        assert m.failed(2, "oversize")["retry"] is False
        m.run(3, "job", "50000000")
        assert m.failed(3, "oversize")["retry"] is False
        m.run(4, "quoted", pool=1)  # as a JSON string it is twice as long
        assert m.failed(4, "oversize")["retry"] is False


def test_concurrency_of_commands():
    with FakeMaster(concurrency=2) as m:
        flag = m.directory + "/flag"
        m.setup(m.command("job", f"while [ ! -e {flag} ]; do sleep 0.01; done; echo $$"))
        m.ready(2)
        m.run(1, "job")
        m.run(2, "job")
        pids = {str(m.started(1)), str(m.started(2))}
        m.run(3, "job")
        assert m.final(3)[0] == "RETURNED"
        m.slots[0] = 0  # one more than was offered
        open(flag, "w").close()
        assert {m.done(1), m.done(2)} == pids
        m.wait_slots(2)


def test_timeout_terminates_then_kills():
    with FakeMaster(kill_grace_ms=300) as m:
        m.setup(m.command("soft", "sleep 1000 & wait"), m.command("hard", "trap '' TERM; while :; do sleep 0.1; done"),
                m.command("last", "trap 'echo 5; exit 0' TERM; while :; do sleep 0.05; done"))
        for pool in range(3):
            m.ready(100, pool)
        begin = time.monotonic()
        m.run(1, "soft", deadline_ms=100)
        assert "100 ms" in m.failed(1, "timeout")["message"]
        assert time.monotonic() - begin < 0.39
        m.run(2, "hard", deadline_ms=100, pool=1)
        m.failed(2, "timeout")
        assert time.monotonic() - begin > 0.4
        m.run(3, "last", deadline_ms=200, pool=2)  # what is done within the grace counts
        assert m.done(3) == "5"


def test_cancel():
    with FakeMaster(kill_grace_ms=100) as m:
        m.setup(m.command("job", "sleep 1000 & wait"))
        m.ready(100)
        m.run(1, "job")
        m.started(1)
        m.cancel(1)
        assert m.failed(1, "cancelled")["retry"] is False


def test_children_left_behind_are_ended():
    # In the process group; in a session of its own; without an environment; holding stdout open.
    script = ("sleep 1001 & setsid -f sleep 1002; env -i setsid -f sleep 1003 </dev/null >/dev/null 2>&1; "
              "(setsid sh -c 'sleep 1004 & setsid -f sleep 1005; sleep 1006' &); sleep 0.1; echo done")
    with FakeMaster() as m:
        name, fields = one(m, script)
        assert (name, fields["result"]) == ("DONE", '"done"')
        wait_for(lambda: m.children() == [])


def test_sweep_spares_the_children_of_others():
    flag = "while [ ! -e {0}/flag ]; do sleep 0.01; done"
    with FakeMaster() as m:
        # Its helpers have become children of the worker while it runs.
        long = (f"(sleep 1001 &); setsid -f sleep 1002 >/dev/null 2>&1; touch {m.directory}/up; "
                + flag.format(m.directory) + "; pgrep -c -f 'sleep 100[12]' ; true")
        m.setup(m.command("long", long), m.command("short", "setsid -f sleep 1003; true"))
        m.ready(100, 0)
        m.ready(100, 1)
        m.run(1, "long")
        wait_for(lambda: os.path.exists(m.directory + "/up"))
        for x in range(2, 7):
            m.run(x, "short", pool=1)
            m.done(x)
        wait_for(lambda: sleeping(m, "1003") == 0)
        assert sleeping(m, "1001") == 1 and sleeping(m, "1002") == 1
        open(m.directory + "/flag", "w").close()
        m.done(1)
        wait_for(lambda: m.children() == [])


def sleeping(m, argument):
    """How many `sleep argument` are children of the worker."""
    count = 0
    for pid in m.children():
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                count += file.read().split(b"\0")[:2] == [b"sleep", argument.encode()]
        except FileNotFoundError:
            pass
    return count


def test_flood_of_stderr_is_dropped_and_counted():
    with FakeMaster() as m:
        name, fields = one(m, "yes a line that is written over and over | head -n 500000 >&2; exit 1")
        assert name == "FAIL"
        log = m.log()
        assert log.count("a line that is written") < 20000 and "lines dropped" in log
        stored = [f for n, x, f in m.frames if n == "LOG"]
        assert len(stored) < 20000 and stored[-1]["level"] == "warn" and "lines dropped" in stored[-1]["message"]


def test_stderr_goes_to_the_master_before_the_final_frame():
    with FakeMaster(level="error") as m:
        name, _ = one(m, "echo result; echo one >&2; echo >&2; printf 'two and \\377' >&2; exit 1")
        assert name == "FAIL"
        assert [(x, f) for n, x, f in m.frames if n == "LOG"] == [
            (1, {"level": "info", "message": text}) for text in ("one", "", "two and \ufffd")]


def test_drain_lets_commands_finish():
    with FakeMaster() as m:
        flag = m.directory + "/flag"
        m.setup(m.command("job", f"while [ ! -e {flag} ]; do sleep 0.01; done; echo 1"))
        m.ready(100)
        m.run(1, "job")
        m.started(1)
        m.drain()
        m.run(2, "job")
        assert m.final(2)[0] == "RETURNED"
        open(flag, "w").close()
        assert m.done(1) == "1"
        m.expect(lambda n, x, f: n == "BYE")
        assert m.process.wait(10) == 0


def test_drain_returns_what_does_not_finish_in_time():
    with FakeMaster() as m:
        m.setup(m.command("job", "sleep 1000"))
        m.ready(100)
        m.run(1, "job")
        m.started(1)
        m.drain(deadline_ms=200)
        assert m.final(1)[0] == "RETURNED"
        m.expect(lambda n, x, f: n == "BYE")
        assert m.process.wait(10) == 0


def test_many_commands_at_once():
    """More descriptors than programs may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, soft), hard))
    try:
        with FakeMaster(concurrency=200) as m:
            flag = m.directory + "/flag"
            m.setup(m.command("job", f"while [ ! -e {flag} ]; do sleep 0.5; done; ulimit -n"))
            m.ready(200)
            for x in range(1, 201):
                m.run(x, "job")
            for x in range(1, 201):
                m.started(x)
            open(flag, "w").close()
            assert {m.done(x) for x in range(1, 201)} == {str(min(256, soft))}
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
