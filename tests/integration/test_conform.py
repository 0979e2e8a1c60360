"""pgconductor conform: right handlers pass, and for each case a handler that is wrong in it fails that one alone."""

import concurrent.futures
import json
import os
import py_compile
import shutil
import signal
import subprocess
import sys

import pytest

from support import paths, processes
from support.engine import value
from support.server import clean_environment, run_cli
from support.wait import wait_for

TIMEOUT = "8s"           # for what never comes; long enough for a busy machine
PATIENCE = "60s"         # with a right handler, where all of it comes
AT_ONCE = 12
# Handlers that are wrong in these keep conform waiting: they are started first.
SLOW = ["shut", "cancel", "cancel-at-once", "closed-running", "print", "welcome-and-run", "term", "closed-early",
        "leaves-nothing", "closed-mid-frame", "reject", "closed-idle", "hello-in-time"]
HANDLER = f"{paths.SRC}/tests/support/conform_handler.py"
PERL = ["perl", f"{paths.SRC}/examples/handler.pl"]
RUBY = ["ruby", f"{paths.SRC}/examples/handler.rb"]


def listed():
    done = subprocess.run([paths.PGCONDUCTOR, "conform", "--list"], stdout=subprocess.PIPE, text=True, check=True)
    return [line.split()[0] for line in done.stdout.splitlines()]


CASES = listed()
# Those about executions that last, which a handler offers or not.
LASTING = CASES[CASES.index("step"):]


class Judgement:
    """What conform has to say about one command."""

    def __init__(self, command, *args, timeout=PATIENCE):
        argv = [paths.PGCONDUCTOR, "conform", "--json", "--timeout", timeout, *args, "--", *command]
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              env=clean_environment(), timeout=300, check=False)
        self.status, self.stderr = done.returncode, done.stderr
        self.rows = [json.loads(line) for line in done.stdout.splitlines()]

    def named(self, result):
        return {row["case"]: row for row in self.rows if row["result"] == result}

    @property
    def not_ok(self):
        return self.named("not ok")

    @property
    def skipped(self):
        return self.named("skip")


@pytest.fixture(scope="module")
def handler(tmp_path_factory):
    """The command of conform_handler.py, translated once and started without what a site has added."""
    program = str(tmp_path_factory.mktemp("conform") / "handler.pyc")
    py_compile.compile(HANDLER, cfile=program, doraise=True)
    return [sys.executable, "-I", "-S", program]


def judged_with(case):
    """The cases that a handler which is wrong in this one is judged by: its neighbours."""
    families = [["beat"], [other for other in LASTING if other.startswith("step")],
                [other for other in LASTING if not other.startswith("step")],
                [other for other in CASES if other not in ["beat", *LASTING]]]
    return next(family for family in families if case in family)


@pytest.fixture(scope="module")
def judgements(handler):
    """Every wrong handler's judgement. Most of the time they wait."""
    order = sorted(CASES, key=lambda case: case not in SLOW)
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        judged = {case: pool.submit(Judgement, [*handler, "--wrong", case], "--case", ",".join(judged_with(case)),
                                    timeout=TIMEOUT) for case in order}
        return {case: future.result() for case, future in judged.items()}


@pytest.fixture(scope="module")
def right(handler):
    """What conform says about the right handlers, by their language."""
    commands = {"python": handler, "c": [paths.built("tests/support/conform_c")], "perl": PERL, "ruby": RUBY}
    with concurrent.futures.ThreadPoolExecutor(len(commands)) as pool:
        judged = {name: pool.submit(Judgement, command) for name, command in commands.items() if shutil.which(command[0])}
        return {name: future.result() for name, future in judged.items()}


def test_there_are_cases():
    assert len(CASES) == len(set(CASES)) >= 30


def test_right_handler_passes(right):
    python = right["python"]
    assert (python.status, python.stderr, python.not_ok) == (0, "", {})
    assert [row["case"] for row in python.rows] == CASES
    assert set(python.skipped) == {"prefetch-order"}  # which is for handlers that run one at a time


def all_behind(case):
    among = judged_with(case)
    return among[among.index(case) + 1:]


# What cannot be judged without the case that failed.
BEHIND = {
    "hello-in-time": all_behind("hello-in-time"),
    "hello-fields": all_behind("hello-fields"),
    "echo": all_behind("echo"),
    "shut": ["leaves-nothing", "prefetch-order"],
    "prefetch-order": ["several-at-once", "cancel-one"],
} | {case: [] for case in ["beat", *LASTING]}


@pytest.mark.parametrize("case", CASES)
def test_wrong_handler_fails_exactly_its_case(judgements, case):
    wrong = judgements[case]
    assert list(wrong.not_ok) == [case], wrong.not_ok
    assert wrong.status == 1 and wrong.stderr == ""
    row = wrong.not_ok[case]
    assert row["expected"] and row["came"]
    assert set(wrong.skipped) == set(BEHIND.get(case, ["prefetch-order"]))


def only(*commands):
    return pytest.mark.skipif(not all(shutil.which(c) for c in commands), reason=f"needs {' '.join(commands)}")


@only("perl")
def test_perl_from_scratch(right):
    perl = right["perl"]
    assert (perl.status, perl.not_ok) == (0, {}), perl.not_ok
    assert set(perl.skipped) == {"beat", "several-at-once", "cancel", "cancel-at-once", "cancel-late", "cancel-one",
                                 *LASTING}


@only("ruby")
def test_ruby_from_scratch(right):
    ruby = right["ruby"]
    assert (ruby.status, ruby.not_ok) == (0, {}), ruby.not_ok
    assert set(ruby.skipped) == {"beat", "prefetch-order", *LASTING}


def test_c_library(right):
    c = right["c"]
    assert (c.status, c.not_ok) == (0, {}), c.not_ok
    assert set(c.skipped) == {"prefetch-order"}


@pytest.mark.parametrize("path", [PERL[1], RUBY[1]])
def test_from_scratch_is_short(path):
    with open(path, encoding="utf-8") as file:
        assert len(file.readlines()) < 100


@pytest.mark.parametrize("command", [pytest.param(PERL, marks=only("perl"), id="perl"),
                                     pytest.param(RUBY, marks=only("ruby"), id="ruby")])
def test_from_scratch_under_a_server(server, cli, db, command):
    node = server(cmd=command)
    # It is there when the first of its two queues is.
    wait_for(lambda: value(db, "select count(*) from pgconductor.tasks where invocable"
                           " and name in ('greet', 'conform.fail', 'conform.elsewhere')") == 3, 20, "its tasks are declared")
    greeted = cli("invoke", "greet", '{"name": "World"}', "--wait", check=True)
    assert json.loads(greeted.stdout) == {"greeting": "Hello, World!"}
    failed = cli("invoke", "conform.fail", '{"message": "no disk", "retry": false}', "--wait")
    assert failed.returncode == 1 and "no disk" in failed.stderr
    assert cli("invoke", "conform.elsewhere", "--wait", check=True).stdout == "null\n"  # of another queue
    assert node.stop() == 0


# ---- the command itself

def test_what_is_printed(handler):
    done = run_cli("conform", "--case", "hello-first,fail-after,prefetch-order", "--", *handler, "--wrong", "fail-after")
    assert done.returncode == 1 and done.stderr == ""
    assert done.stdout.splitlines() == [
        "ok hello-first",
        "not ok fail-after",
        "    expected: FAIL with after_ms 1234",
        "    came:     FAIL without after_ms",
        "skip prefetch-order: it runs several at once",
        "3 cases: 1 ok, 1 not ok, 1 skipped",
    ]


def test_long_texts_are_cut(handler):
    done = run_cli("conform", "--case", "large", "--", *handler, "--wrong", "large")
    assert 'with the result "lll' in done.stdout and "… (1048576 bytes)\n" in done.stdout
    assert all(len(line) < 250 for line in done.stdout.splitlines())


def test_output_of_the_handler_is_shown():
    done = run_cli("conform", "--case", "hello-*", "--", "sh", "-c", r"echo first; printf '\033[31mlast'; exit 3")
    assert done.returncode == 1
    assert "came:     it exited with status 3" in done.stdout
    assert "output:   first\n              \\x1b[31mlast\n" in done.stdout
    assert done.stdout.splitlines()[-2:] == ["skip all that needs what hello-in-time asks for",
                                             "8 cases: 0 ok, 1 not ok, 7 skipped"]


def test_choosing_cases():
    chosen = run_cli("conform", "--list", "--case", "hello-*,echo").stdout
    assert [line.split()[0] for line in chosen.splitlines()] == \
        [case for case in CASES if case.startswith("hello-") or case == "echo"]


def test_mistakes_on_the_command_line():
    for args, status, words in (
            ((), 64, "which handler"),
            (("--case", "nonsense", "--", "true"), 64, "nonsense"),
            (("--timeout", "soon", "--", "true"), 64, "soon"),
            (("--jobs", "0", "--", "true"), 64, "--jobs"),
            (("x", "--", "true"), 64, "x"),
            (("--", "/no/such/handler"), 69, "cannot execute /no/such/handler: No such file or directory")):
        done = run_cli("conform", *args)
        assert done.returncode == status and words in done.stderr, (args, done)
        assert done.stdout == ""


def marked(mark):
    """Processes that have this word in their arguments."""
    return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if mark in processes.argv_of(pid)]


def test_interrupted_it_leaves_nothing(handler, short_tmp):
    mark = f"{short_tmp}/mark"
    command = [*handler, "--wrong", "hello-in-time", mark]
    process = subprocess.Popen([paths.PGCONDUCTOR, "conform", "--timeout", "60s", "--", *command],
                               stdout=subprocess.DEVNULL, env=clean_environment(),
                               preexec_fn=processes.die_with_parent())
    wait_for(lambda: [pid for pid in marked(mark) if processes.argv_of(pid)[0] == command[0]], what="the handler runs")
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == -signal.SIGINT
    wait_for(lambda: not marked(mark), what="nothing is left")
