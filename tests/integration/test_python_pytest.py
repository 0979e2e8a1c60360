"""The plugin of pytest: an example's tests, run as a user runs them, and what becomes of tests that fail or are killed."""

import os
import re
import shutil
import signal
import subprocess
import sys

import pytest

from support import paths, processes
from support.server import clean_environment
from support.wait import wait_for

EXAMPLE = f"{paths.SRC}/examples/python/testing"
BAD = '''
import os, signal, time
import pytest, shop
from pgconductor import define_event, task
from pgconductor import pytest as plugin
from pgconductor.pytest import Conductor

plugin.STOP = 0.2   # seconds that are given to what goes on for too long

@task
def slow(payload: str) -> None:
    open(payload, "w").close()
    time.sleep(600)

def test_wrong(pgconductor: Conductor) -> None:
    pgconductor.serve(shop.ship)
    assert pgconductor.run(shop.ship, shop.Order("pear")) == "2 pear"

def test_unserved(pgconductor: Conductor) -> None:
    pgconductor.serve(shop.sell)
    pgconductor.declare(shop.ship)
    pgconductor.invoke(shop.ship, shop.Order("pear"))
    with pytest.raises(TimeoutError, match="nobody serves ship"):
        pgconductor.drain(timeout=0.5)
    # Whoever serves it afterwards gets it.
    pgconductor.serve()
    pgconductor.drain()
    assert pgconductor.wait("1", task=shop.ship) == "1 pear"

def test_goes_on(pgconductor: Conductor, tmp_path) -> None:
    pgconductor.serve(slow)
    pgconductor.invoke(slow, str(tmp_path / "begun"))
    with pytest.raises(TimeoutError, match="not within 0.5 s: slow 1 r"):
        pgconductor.drain(timeout=0.5)

def test_alone(pgconductor: Conductor) -> None:
    """Of the tests before it nothing is left."""
    pgconductor.declare(shop.ship)
    assert pgconductor.invoke(shop.ship, shop.Order("pear")) == "1"
'''
KILLED = '''
import os, signal, shop

def test_killed(pgconductor):
    pgconductor.serve(shop.ship)
    print("PIDS", os.getpid(), pgconductor._process.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
'''


class Project:
    """A copy of the example, with one more file of tests, and pytest that runs in it."""

    def __init__(self, directory, text, *words, **environment):
        self.tmp, self.directory = directory, f"{directory}/project"
        shutil.copytree(EXAMPLE, self.directory, ignore=shutil.ignore_patterns("__pycache__"))
        os.chmod(self.directory, 0o755)
        with open(f"{self.directory}/test_more.py", "w", encoding="utf-8") as file:
            file.write(text)
        env = clean_environment({"PYTHONPATH": f"{paths.SRC}/proto/python", "PYTHONDONTWRITEBYTECODE": "1", "TMPDIR": directory,
                                 "PGCONDUCTOR": paths.PGCONDUCTOR} | environment)
        env.pop("PYTEST_CURRENT_TEST", None)
        # As if it were installed.
        command = [sys.executable, "-m", "pytest", "-p", "pgconductor.pytest", "-p", "no:cacheprovider", *words]
        with open(f"{directory}/output", "wb") as output:
            self.process = subprocess.Popen(command, cwd=self.directory, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                                            preexec_fn=processes.die_with_parent())

    def end(self):
        """Exit status, and what it has printed."""
        self.process.wait(120)
        with open(f"{self.tmp}/output", encoding="utf-8") as file:
            return self.process.returncode, file.read()

    def left_over(self):
        return [name for name in os.listdir(self.tmp) if name.startswith("pgconductor-")]


@pytest.fixture(scope="module")
def projects(module_tmp):
    """All of them, which run beside each other."""
    def begin(name, *words, **environment):
        os.mkdir(f"{module_tmp}/{name}")
        os.chmod(f"{module_tmp}/{name}", 0o755)
        return Project(f"{module_tmp}/{name}", *words, **environment)
    begun = {"bad": begin("bad", BAD), "killed": begin("killed", KILLED, "-s", "test_more.py"),
             "without": begin("without", "", "-k", "tables", PGCONDUCTOR="/nonexistent")}
    yield begun
    for one in begun.values():
        one.process.kill()
        one.process.wait()


def test_the_example_and_tests_that_fail(projects):
    _, printed = projects["bad"].end()
    assert re.search(r"^test_more\.py F\.\.\. .*\ntest_shop\.py \.{5} ", printed, re.M), printed
    assert "assert '1 pear' == '2 pear'" in printed
    # The server's log stands with it.
    assert re.search(r"-+ log of pgconductor -+\n.*info  master", printed)
    assert projects["bad"].left_over() == []


def test_a_run_that_is_killed_leaves_no_server(projects):
    status, printed = projects["killed"].end()
    assert status == -signal.SIGKILL, printed
    pids = [int(pid) for pid in re.search(r"PIDS (.*)", printed)[1].split()]
    wait_for(lambda: not any(processes.alive(pid) for pid in pids), 30, "the server has ended")
    wait_for(lambda: not any(projects["killed"].tmp in " ".join(processes.argv_of(int(pid))) for pid in os.listdir("/proc") if pid.isdigit()),
             30, "PostgreSQL has ended")


def test_without_the_program(projects):
    status, printed = projects["without"].end()
    assert status == 1 and "/nonexistent was not found" in printed and "Traceback" not in printed
