"""`pgconductor ctx`: one-shot commands that save steps, wait and have children. The first part has a master of its own, the
second a whole server. The scenarios that all languages share are in test_durable.py."""

import contextlib
import glob
import json
import os
import pwd
import signal
import socket
import stat
import struct
import subprocess

import msgpack
import pytest

from support import paths, processes
from support.durable import assert_no_acknowledged_step_again, ended
from support.engine import invoke, value, wait_finished
from support.fakemaster import NAME, NUMBER, FakeMaster
from support.server import clean_environment, run_cli
from support.wait import wait_for

CTX = [paths.PGCONDUCTOR, "ctx"]


@pytest.fixture
def master():
    with FakeMaster(kill_grace_ms=1000) as m:
        yield m


def begin(m, script, execution=1, shell="bash", **fields):
    """Serve a script, and run it. Its PATH does not lead to pgconductor by itself."""
    path = m.file(f"job-{execution}.sh", f"#!/usr/bin/env {shell}\n{script}\n")
    m.setup(m.program("job", argv=[path], command_task="job", env={"PATH": "/usr/bin:/bin", "DIR": m.directory}))
    m.ready(100)
    m.run(execution, "job", token=f"token-{execution}", **fields)


def frame(m, name, execution=1):
    return m.expect(lambda n, x, f: n == name and x == execution, what=name)[2]


def saved(m, key, result=None, execution=1):
    """It saves that, and is told so."""
    step = frame(m, "STEP", execution)
    assert step["key"] == key and (result is None or step["result"] == result)
    m.send("STEP_OK", execution, {"key": key})
    return step["result"]


def lines(m, name):
    path = os.path.join(m.directory, name)
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8") as file:
        return file.read().split("\n")[:-1]


# ---- steps

def test_a_step_is_run_and_saved_and_then_not_run(master):
    script = 'x=$(pgconductor ctx step fetch -- sh -c "echo ran >>$DIR/ran; echo hello"); echo "<$x>"'
    begin(master, script)
    frame(master, "STEP")
    # Not before it is saved.
    master.none(lambda n, x, f: n == "DONE", 0.2)
    master.send("STEP_OK", 1, {"key": "fetch"})
    assert master.done(1) == '"<hello>"'
    master.run(2, "job", token="other", steps=[{"key": "fetch", "result": '"saved"'}])
    assert master.done(2) == '"<saved>"'
    assert lines(master, "ran") == ["ran"]


PRINTED = [('"a\\nb \\u00e9"', "", "a\nb é"), ("null", "", ""), (None, "", ""), (None, "-j", "null"), ('"x"', "--json", '"x"'),
           ('{"a": 1.50}', "", '{"a": 1.50}'), ("12.50", "-j", "12.50"), ('""', "", ""), ('"\\u0000"', "", "\\u0000")]


def test_what_is_saved_is_printed_raw_or_as_json(master):
    script = "\n".join(f"echo \"<$(pgconductor ctx step k{i} {flag} -- false)>\"" for i, (_, flag, _) in enumerate(PRINTED))
    steps = [{"key": f"k{i}"} | ({"result": r} if r else {}) for i, (r, _, _) in enumerate(PRINTED)]
    begin(master, script, steps=steps)
    assert json.loads(master.done(1)) == "\n".join(f"<{text}>" for _, _, text in PRINTED)


@pytest.mark.parametrize("command, result", [("cat", '"from stdin"'), ("printf '[1, 2]\\n\\n'", "[1, 2]\n"), ("true", "null"),
                                             ("echo 1e400", "1e400"), ("printf 'a\\nb'", '"a\\nb"')])
def test_the_result_is_as_of_a_command(master, command, result):
    begin(master, f'echo from stdin | pgconductor ctx step one -- sh -c "{command}" >/dev/null')
    saved(master, "one", result)
    assert master.done(1) is None


def test_what_fails_is_not_saved_and_may_be_done_again(master):
    """Also when it has no key: then it gets its turn back."""
    begin(master, """
        pgconductor ctx step one -- sh -c 'exit 7'; echo $?
        pgconductor ctx step -- sh -c 'kill -9 $$'; echo $?
        pgconductor ctx step -- no-such-command; echo $?
        pgconductor ctx step one -- printf '\\377'; echo $?
        pgconductor ctx step -- echo first; pgconductor ctx step -- echo second
        pgconductor ctx step one -- echo done""")
    saved(master, "job#1", '"first"')
    saved(master, "job#2", '"second"')
    saved(master, "one", '"done"')
    assert json.loads(master.done(1)).split("\n") == ["7", "137", "127", "65", "first", "second", "done"]


def test_a_call_that_was_killed_does_not_keep_its_key(master):
    begin(master, "timeout -s KILL 0.2 pgconductor ctx step slow -- sleep 100; pgconductor ctx step slow -- echo quick")
    saved(master, "slow", '"quick"')
    assert master.done(1) == '"quick"'


def test_a_result_that_is_too_long(master):
    begin(master, "pgconductor ctx step long -- head -c 17000000 /dev/zero; pgconductor ctx step long -- "
                  "sh -c 'head -c 17000000 /dev/zero | tr \"\\0\" x'; echo $?")
    assert master.done(1) == "65"


def test_a_key_used_twice_fails_the_run_for_good(master):
    begin(master, "pgconductor ctx step once -- echo 1; pgconductor ctx step once -- touch $DIR/twice || true; sleep 100")
    saved(master, "once", "1")
    fail = master.failed(1, "nondeterminism")
    assert '"once"' in fail["message"] and fail["retry"] is False
    assert not os.path.exists(f"{master.directory}/twice")


def test_a_key_used_twice_at_once(master):
    begin(master, "pgconductor ctx step same -- sleep 100 & sleep 0.3; pgconductor ctx step same -- sleep 100 & wait")
    assert '"same"' in master.failed(1, "nondeterminism")["message"]


def test_several_at_once(master):
    begin(master, "for k in a b c; do pgconductor ctx step $k -- echo $k >/dev/null & done; wait; echo all")
    keys = {frame(master, "STEP")["key"] for _ in range(3)}
    assert keys == {"a", "b", "c"}
    for key in "cab":
        master.send("STEP_OK", 1, {"key": key})
    assert master.done(1) == '"all"'


def test_what_did_not_come_with_the_run_is_asked_for(master):
    """Once, for two calls that come at the same time, and until it is all there."""
    begin(master, "pgconductor ctx step c -- echo no & pgconductor ctx step z -- echo z & wait",
          steps=[{"key": "a", "result": "1"}], more_steps=True)
    assert frame(master, "JOURNAL") == {"after": 1}
    master.send("STEPS", 1, {"steps": [{"key": "b", "result": "2"}], "more_steps": True})
    assert frame(master, "JOURNAL") == {"after": 2}
    master.send("STEPS", 1, {"steps": [{"key": "c", "result": '"' + "c" * 5000000 + '"'}]})
    saved(master, "z", '"z"')
    assert len(json.loads(master.done(1))) == 5000002
    master.none(lambda n, x, f: n == "JOURNAL", 0.1)


# ---- waiting

def test_after_a_suspend_the_command_is_ended(master):
    """Whatever it makes of the status; what it does at its end is done; and it is over before anybody is told."""
    begin(master, 'trap "echo cleaned >>$DIR/said" EXIT; x=$(pgconductor ctx sleep nap 1h || true); echo "went on" >>$DIR/said; sleep 100')
    pid = master.started(1)
    assert frame(master, "SUSPEND") == {"waits": [{"key": "nap", "timer_ms": 3600000}]}
    assert not processes.alive(pid) and lines(master, "said") == ["cleaned"]
    master.wait_slots(100)
    master.run(2, "job", token="again", steps=[{"key": "nap"}])
    wait_for(lambda: lines(master, "said")[1:] == ["went on"], 10, "it is resumed")


def test_one_that_does_not_want_to_end_is_killed(master):
    begin(master, "trap '' TERM; pgconductor ctx sleep 2d; pgconductor ctx log late; while :; do sleep 1; done")
    pid = master.started(1)
    assert frame(master, "SUSPEND")["waits"] == [{"key": "job#1", "timer_ms": 172800000}]
    assert not processes.alive(pid)


def test_one_that_has_left_its_process_group(master):
    begin(master, "setsid -w pgconductor ctx sleep nap 1h; touch $DIR/on; sleep 100")
    frame(master, "SUSPEND")
    assert not os.path.exists(f"{master.directory}/on")


CHILD = {"key": "job#1", "task": "resize"}


@pytest.mark.parametrize("words, wait", [
    ("resize", CHILD), ("resize '{\"w\": 1.50}'", CHILD | {"payload": '{"w": 1.50}'}), ("resize -", CHILD | {"payload": "[2]"}),
    # Not the task's own.
    ("resize --priority 0", CHILD | {"priority": 0}),
    ("resize 1 --key k --queue media --priority -5 --timeout 2m",
     {"key": "k", "task": "resize", "payload": "1", "queue": "media", "priority": -5, "timeout_ms": 120000})])
def test_a_child_is_asked_for(master, words, wait):
    begin(master, f"printf '[2]' | pgconductor ctx invoke {words}")
    assert frame(master, "SUSPEND") == {"waits": [wait]}


def test_children_at_once(master):
    file = '{"task": "a", "key": "first", "timeout": "5s"}\\n\\n{"payload": [1.50, "x"], "task": "b", "priority": 3}\\n'
    begin(master, f"printf '{file}' | pgconductor ctx invoke --all -")
    waits = [{"key": "first", "task": "a", "timeout_ms": 5000}, {"key": "job#1", "task": "b", "payload": '[1.50, "x"]', "priority": 3}]
    assert frame(master, "SUSPEND") == {"waits": waits}
    results = [{"key": "first", "result": '"one"'}, {"key": "job#1"}]
    master.run(2, "job", token="again", steps=results)
    assert json.loads(master.done(2)) == '"one"\nnull'


ERROR = json.dumps({"code": "app", "message": 'no "luck" \u20ac'})


@pytest.mark.parametrize("error, status", [(ERROR, 65), ('{"code": "timeout", "message": "too long"}', 124)])
def test_a_failed_child(master, error, status):
    """Uncaught it is the error of its parent, for good; caught it is what a script makes of it."""
    step = [{"key": "c", "error": error}]
    begin(master, "set -e; x=$(pgconductor ctx invoke resize --key c); echo $x", steps=step)
    fail = master.failed(1, "app")
    assert fail["message"] == "Child execution failed: " + json.loads(error)["message"]
    assert fail["retry"] is False and fail["type"] == "ChildFailed" and json.loads(fail["data"]) == json.loads(error)
    begin(master, "pgconductor ctx invoke resize --key c; echo $?", 2, steps=step)
    assert master.done(2) == str(status)
    begin(master, "pgconductor ctx invoke resize --key c || pgconductor ctx step other -- true; exit 65", 3, steps=step)
    saved(master, "other", execution=3)
    assert "exited with status 65" in master.failed(3, "app")["message"]
    begin(master, "pgconductor ctx invoke resize --key c --return-errors", 4, steps=step)
    assert json.loads(master.done(4)) == {"error": json.loads(error)}


def test_failing_with_a_message_of_ones_own(master):
    begin(master, "set -e; pgconductor ctx fail 'no \"luck\"'")
    fail = master.failed(1, "app")
    assert fail["message"] == 'no "luck"' and fail["retry"] is False
    begin(master, "set -e; pgconductor ctx fail later --retry-after 2m", 2)
    fail = master.failed(2, "app")
    assert fail["message"] == "later" and fail["after_ms"] == 120000 and fail.get("retry", True)
    begin(master, "pgconductor ctx fail never || echo $?", 3)
    assert master.done(3) == "65"


# ---- the rest

def test_log_and_progress(master):
    begin(master, """
        pgconductor ctx log 'a "line"' --level warn --field a=1,2 --field b=x=y
        pgconductor ctx log plain
        pgconductor ctx progress 40 'page 4'; pgconductor ctx progress 0; pgconductor ctx progress - waiting""")
    assert master.done(1) is None
    said = [(n, f) for n, x, f in master.frames if x == 1 and n in ("LOG", "PROGRESS")]
    assert said == [("LOG", {"level": "warn", "message": 'a "line"', "fields": '{"a":"1,2","b":"x=y"}'}),
                    ("LOG", {"level": "info", "message": "plain"}), ("PROGRESS", {"percent": 40, "note": "page 4"}),
                    ("PROGRESS", {"percent": 0}), ("PROGRESS", {"note": "waiting"})]


def test_calls_of_several_at_once_do_not_mix(master):
    begin(master, """
        pgconductor ctx start one '[1]' >$DIR/one & pgconductor ctx start two --priority 0 >$DIR/two & pgconductor ctx cancel 7 >$DIR/three &
        wait""")
    calls = [frame(master, "CALL") for _ in range(3)]
    assert len({call["call"] for call in calls}) == 3
    for call in calls:
        args = json.loads(call["args"])
        answer = "true" if call["name"] == "cancel" else '"11"' if args["task"] == "one" else '"22"'
        # 0 is not the task's own.
        assert args.get("priority") == (0 if args.get("task") == "two" else None)
        master.send("RETURN", 1, {"call": call["call"], "result": answer})
    assert master.done(1) is None
    assert [lines(master, name) for name in ("one", "two", "three")] == [["11"], ["22"], ["true"]]


def test_a_call_that_is_refused(master):
    begin(master, "pgconductor ctx start nobody 2>&1; echo $?")
    call = frame(master, "CALL")
    master.send("RETURN", 1, {"call": call["call"], "error": '{"code": "PC001", "message": "no such task"}'})
    assert json.loads(master.done(1)) == "pgconductor: ctx start: no such task\n1"


LOOP = "while :; do pgconductor ctx checkpoint; echo . >>$DIR/said; done"


def test_a_checkpoint_lets_a_drain_through(master):
    begin(master, LOOP)
    wait_for(lambda: len(lines(master, "said")) > 2, 10, "it runs")
    master.drain()
    assert frame(master, "SUSPEND") == {"waits": []}
    master.expect(lambda n, x, f: n == "BYE")


def test_cancelling(master):
    begin(master, LOOP)
    wait_for(lambda: len(lines(master, "said")) > 2, 10, "it runs")
    master.cancel(1)
    assert master.failed(1)["code"] == "cancelled"


# ---- who may come

def ctx(*words, env=None, **options):
    return subprocess.run([*CTX, *words], env=clean_environment(env), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          timeout=30, **options)


def test_outside_of_a_command():
    done = ctx("step", "a", "--", "true")
    assert done.returncode == 69 and "PGCONDUCTOR_SOCKET is not set" in done.stderr
    for words in (["wait", "paid", "--event", "order.paid"], ["emit", "order.paid"]):
        assert ctx(*words).returncode == 69
    for words in ([], ["step"], ["step", "a"], ["sleep", "a", "soon"], ["progress", "101"], ["log", "x", "--level", "loud"],
                  ["log", "x", "--field", "y"], ["invoke"], ["wait"], ["wait", "a", "b", "--event", "e"],
                  ["wait", "--event", "e", "--since", "yesterday"], ["emit"], ["invoke", "a", "--all", "b"], ["nothing"], ["sleep", "k" * 1025, "1s"]):
        assert ctx(*words).returncode == 64, words
    assert ctx("invoke", "a", "{").returncode == 65


ENVIRON = 'env >$DIR/env.new; mv $DIR/env.new $DIR/env; while ! test -e $DIR/go; do sleep 0.02; done; pgconductor ctx step a -- echo a'


def environ(m):
    """The environment of a command that runs until there is a file go."""
    wait_for(lambda: os.path.exists(f"{m.directory}/env"), 10, "the command runs")
    return dict(line.split("=", 1) for line in lines(m, "env") if "=" in line)


def go(m):
    m.file("go", "")
    saved(m, "a")
    assert m.done(1) == '"a"'


def test_a_token_is_of_one_run(master):
    begin(master, ENVIRON)
    env = environ(master)
    mine = {k: v for k, v in env.items() if k.startswith("PGCONDUCTOR_")}
    assert ctx("log", "hello", env=mine).returncode == 0
    for wrong in ({"PGCONDUCTOR_TOKEN": "token-0"}, {"PGCONDUCTOR_ID": "2"}):
        done = ctx("step", "a", "--", "touch", f"{master.directory}/ran", env=mine | wrong)
        assert done.returncode == 75 and "this run is over" in done.stderr
    go(master)
    done = ctx("log", "late", env=mine)
    assert done.returncode == 75 and "this run is over" in done.stderr
    assert not os.path.exists(f"{master.directory}/ran")


def test_the_socket_is_private_and_goes_with_its_worker():
    with FakeMaster() as m:
        begin(m, ENVIRON)
        env = environ(m)
        path = env["PGCONDUCTOR_SOCKET"]
        directory = os.path.dirname(path)
        assert len(path) < 100 and stat.S_IMODE(os.stat(directory).st_mode) == 0o700
        go(m)
    assert not os.path.exists(directory)
    mine = {k: v for k, v in env.items() if k.startswith("PGCONDUCTOR_")}
    assert ctx("log", "late", env=mine).returncode == 75


def test_what_a_killed_worker_leaves_the_next_one_removes(master):
    begin(master, ENVIRON)
    path = environ(master)["PGCONDUCTOR_SOCKET"]
    killed = FakeMaster()
    begin(killed, ENVIRON)
    left = os.path.dirname(environ(killed)["PGCONDUCTOR_SOCKET"])
    os.kill(killed.process.pid, signal.SIGKILL)
    killed.process.wait()
    killed.sock.close()
    assert os.path.exists(left)
    with FakeMaster() as m:
        begin(m, ENVIRON)
        environ(m)
        assert not os.path.exists(left)
        go(m)
    # Not that of one who lives.
    assert os.path.exists(path)
    go(master)


def packed(name, execution, fields):
    body = msgpack.packb([NUMBER.get(name, name), execution, fields])
    return struct.pack(">I", len(body)) + body


def dial(path):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(20)
    s.connect(path)
    return s


def answers(s):
    """The names of all frames until the worker closes."""
    data, names = b"", []
    try:
        while more := s.recv(65536):
            data += more
    except ConnectionResetError:
        pass
    while len(data) >= 4:
        length = struct.unpack(">I", data[:4])[0]
        names.append(NAME[msgpack.unpackb(data[4:4 + length])[0]])
        data = data[4 + length:]
    return names


def hello(env, *keys):
    return packed("HELLO", 0, {"protocols": [1], "tasks": [], "run": env["PGCONDUCTOR_ID"], "token": env["PGCONDUCTOR_TOKEN"],
                               "keys": list(keys)})


def test_what_a_call_may_not_say(master):
    begin(master, ENVIRON)
    env = environ(master)
    path, me = env["PGCONDUCTOR_SOCKET"], hello(env, "k")
    for said, answer in (
            (packed("STEP", 1, {"key": "k"}), ["REJECT"]), (packed("HELLO", 0, {"protocols": [1], "tasks": []}), ["REJECT"]),
            (b"\xff\xff\xff\xff", []), (struct.pack(">I", 3) + b"\x93\x01", []), (packed("HELLO", 0, {"keys": 1}), ["REJECT"]),
            (packed("HELLO", 0, {"protocols": [2], "tasks": []}), ["REJECT"]), (hello(env, "k" * 1025), ["REJECT"]),
            (me + packed("DONE", 1, {}), ["WELCOME", "RUN", "REJECT"]), (me + me, ["WELCOME", "RUN", "REJECT"]),
            (me + packed("STEP", 2, {"key": "k"}), ["WELCOME", "RUN", "REJECT"]),
            (me + packed("STEP", 1, {"key": "other"}), ["WELCOME", "RUN", "REJECT"]),
            (me + packed("CREDIT", 0, {"credit": 9}), ["WELCOME", "RUN", "REJECT"]),
            (me + packed("CALL", 1, {"call": 1 << 40, "name": "cancel", "args": "{}"}) + packed("BYE", 0, {}),
             ["WELCOME", "RUN", "RETURN"]),
            (me + packed("JOURNAL", 1, {"after": 1 << 60}) + packed("BYE", 0, {}), ["WELCOME", "RUN", "STEPS"])):
        with dial(path) as s:
            s.sendall(said)
            s.shutdown(socket.SHUT_WR)
            assert answers(s) == answer, said
    go(master)


def test_a_call_that_does_not_read(master):
    begin(master, ENVIRON, steps=[{"key": "k", "result": '"' + "x" * 5000000 + '"'}])
    env = environ(master)
    with dial(env["PGCONDUCTOR_SOCKET"]) as s, pytest.raises((BrokenPipeError, ConnectionResetError)):
        s.sendall(hello(env, "k"))
        while True:
            s.sendall(packed("JOURNAL", 1, {"after": 0}))
    go(master)


def test_garbage_does_no_harm(master):
    """The fuzzers' corpora, as they are and as frames, from strangers and from calls of the run; and many who say nothing."""
    script = ENVIRON.replace("pgconductor ctx step", "exec pgconductor ctx step")
    begin(master, script)
    env = environ(master)
    path = env["PGCONDUCTOR_SOCKET"]
    master.run(2, "job", token="victim")
    victim = env | {"PGCONDUCTOR_ID": "2", "PGCONDUCTOR_TOKEN": "victim"}
    idle = [dial(path) for _ in range(150)]
    for name in sorted(glob.glob(f"{paths.SRC}/tests/fuzz/corpus/codec/*") + glob.glob(f"{paths.SRC}/tests/fuzz/corpus/peer/*")):
        with open(name, "rb") as file:
            data = file.read()[:60000]
        for said in (data, struct.pack(">I", len(data)) + data, hello(victim, name[-8:]) + struct.pack(">I", len(data)) + data):
            with dial(path) as s:
                try:
                    s.sendall(said)
                except (BrokenPipeError, ConnectionResetError):
                    pass
    for s in idle:
        s.close()
    go(master)


# ---- a whole server

DURABLE = f"{paths.SRC}/examples/shell/steps/order.sh"


def test_the_example(server, db, dsn, cli):
    """A script of twenty lines; its worker is killed while it sleeps, and nothing that it saved is done again."""
    one = server(config=f'task "order" {{ exec = "{DURABLE}" backoff = "1ms" }}\n'
                        f'task "invoice" {{ exec = "{DURABLE} invoice" backoff = "1ms" }}\n')
    job = invoke(db, "order", '{"amount": 12.50}')
    wait_for(lambda: value(db, "select state from pgconductor.executions_all where id = %s", job) == "suspended", 20)
    reserved = value(db, "select result #>> '{}' from pgconductor.execution_steps(%s) where key = 'reserve'", job)
    os.kill(one.worker(), signal.SIGKILL)
    result = wait_finished(db, job, timeout=20)[1]
    assert result["reservation"] == reserved and result["invoice"]["for"] == {"amount": 12.5} and result["sent"][:2] == "20"
    assert [key for key, _, _ in db.execute("select key, result, error from pgconductor.execution_steps(%s)", (job,))] == [
        "reserve", "cooling-off", "invoice", "send"]
    assert value(db, "select attempt from pgconductor.finished_executions where id = %s", job) == 1
    assert "writing an invoice" in run_cli("logs", str(result["invoice"]["number"]), dsn=dsn, check=True).stdout
    with open(DURABLE, encoding="utf-8") as file:
        assert len([line for line in file if line.strip() and line[0] != "#"]) <= 20


def test_kills_in_the_middle(server, db, ledger):
    """Of the script, of a call within it, and of the worker: nothing that a call has said is saved is done again."""
    script = f"{paths.SRC}/tests/support/durable_shell/steps.sh"
    one = server(config=f'task "steps" {{ exec = "{script}" backoff = "1ms" max_attempts = 50 }}\n'
                        f'queue "default" {{ concurrency = 3 env = {{ "LEDGER={ledger.path}" }} }}\n')
    jobs = [invoke(db, "steps", '{"n": 20}') for _ in range(3)]
    for words in ("steps.sh", "ctx", "_worker", "ctx", "steps.sh"):
        before = len(ledger.entries("ok"))
        wait_for(lambda: len(ledger.entries("ok")) >= before + 3 or all(ended(db, job) for job in jobs), 20, "steps are saved")
        victims = [p for p in one.tree() if any(word.endswith(words) for word in processes.argv_of(p)[:2])]
        for pid in victims[:1]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    for job in jobs:
        assert wait_finished(db, job, timeout=40)[1] == 190
        assert {entry.rest for entry in ledger.entries("did", job)} == {f"step-{i}" for i in range(20)}
    assert_no_acknowledged_step_again(ledger)


def test_progress_and_log_are_shown(server, db, dsn, cli, short_tmp):
    with open(f"{short_tmp}/job.sh", "w", encoding="utf-8") as file:
        file.write("pgconductor ctx progress 40 'page four'\npgconductor ctx log 'a line' --field page=4\nwhile :; do sleep 0.1; done\n")
    server(config=f'task "job" {{ exec = "/bin/sh {short_tmp}/job.sh" }}\nqueue "default" {{ kill_grace = "500ms" }}\n')
    job = str(invoke(db, "job"))

    def look():
        assert "page four" in cli("ps", check=True).stdout
        assert "page four" in cli("show", job, check=True).stdout
        return "a line" in cli("logs", job, check=True).stdout
    wait_for(look, 20, "its progress is shown")
    assert cli("cancel", job).returncode == 0


def reachable_by(user):
    """May it execute this build? Below a home directory it may not."""
    return subprocess.run(["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", paths.PGCONDUCTOR,
                           "--version"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_the_queues_user_may_use_it(server, db, short_tmp):
    nobody = pwd.getpwnam("nobody")
    if not reachable_by(nobody):
        pytest.skip("the build cannot be reached by other users")
    script = f"{short_tmp}/job.sh"
    with open(script, "w", encoding="utf-8") as file:
        file.write('echo "$(id -u) $(pgconductor ctx step where -- stat -c "%u %a" "${PGCONDUCTOR_SOCKET%/*}")"\n')
    server(config=f'task "job" {{ exec = "/bin/sh {script}" }}\nqueue "default" {{ user = "nobody" }}\n')
    assert wait_finished(db, invoke(db, "job"), timeout=20)[1] == f"{nobody.pw_uid} {nobody.pw_uid} 700"
