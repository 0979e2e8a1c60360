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
from pgconductor.pytest import Conductor

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


@pytest.fixture
def project(short_tmp):
    """project(*words): pytest in a copy of the example."""
    shutil.copytree(EXAMPLE, f"{short_tmp}/project", ignore=shutil.ignore_patterns("__pycache__"))
    env = clean_environment({"PYTHONPATH": f"{paths.SRC}/proto/python", "PYTHONDONTWRITEBYTECODE": "1", "TMPDIR": short_tmp,
                             "PGCONDUCTOR": paths.PGCONDUCTOR})
    env.pop("PYTEST_CURRENT_TEST", None)

    def run(*words, **extra):
        # As if it were installed.
        return subprocess.run([sys.executable, "-m", "pytest", "-p", "pgconductor.pytest", "-p", "no:cacheprovider", *words],
                              cwd=f"{short_tmp}/project", env=env | extra, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=120)
    run.directory = f"{short_tmp}/project"
    run.tmp = short_tmp
    return run


def left_over(project):
    return [name for name in os.listdir(project.tmp) if name.startswith("pgconductor-")]


def test_the_example_and_tests_that_fail(project):
    with open(f"{project.directory}/test_bad.py", "w", encoding="utf-8") as file:
        file.write(BAD)
    done = project()
    assert re.search(r"^test_bad\.py F\.\.\. .*\ntest_shop\.py \.{5} ", done.stdout, re.M), done.stdout
    assert "assert '1 pear' == '2 pear'" in done.stdout
    # The server's log stands with it.
    assert re.search(r"-+ log of pgconductor -+\n.*info  master", done.stdout)
    assert left_over(project) == []


def test_a_run_that_is_killed_leaves_no_server(project):
    with open(f"{project.directory}/test_killed.py", "w", encoding="utf-8") as file:
        file.write(KILLED)
    done = project("-s", "test_killed.py")
    assert done.returncode == -signal.SIGKILL, done.stdout
    pids = [int(pid) for pid in re.search(r"PIDS (.*)", done.stdout)[1].split()]
    wait_for(lambda: not any(processes.alive(pid) for pid in pids), 30, "the server has ended")
    wait_for(lambda: not any(project.tmp in " ".join(processes.argv_of(int(pid))) for pid in os.listdir("/proc") if pid.isdigit()),
             30, "PostgreSQL has ended")


def test_without_the_program(project):
    done = project("-k", "tables", PGCONDUCTOR="/nonexistent")
    assert done.returncode == 1 and "/nonexistent was not found" in done.stdout and "Traceback" not in done.stdout
