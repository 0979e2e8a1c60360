"""pgconductor new task: what it writes runs, and so does its test."""

import os
import shutil
import stat
import subprocess
import sys

import pytest

from support import paths
from support.node import needs_node, node_tree  # noqa: F401
from support.server import clean_environment, run_cli

FILES = {"python": ["{}.py"], "typescript": ["{}.mts"], "c": ["{}.c"], "shell": ["{}.conf", "{}.sh"]}
needs_jq = pytest.mark.skipif(shutil.which("jq") is None, reason="needs jq (scripts/deps test)")


@pytest.fixture
def environment(short_tmp):
    """As if all of it were installed."""
    tools = f"{short_tmp}/tools"
    os.mkdir(tools)
    os.symlink(paths.PGCONDUCTOR, f"{tools}/pgconductor")
    # The one that has what the library needs.
    os.symlink(sys.executable, f"{tools}/python3")
    with open(f"{tools}/pgconductor.pc", "w", encoding="utf-8") as file:
        file.write(f"Name: pgconductor\nDescription: as built\nVersion: 0\nCflags: -I{paths.SRC}/proto/c\n"
                   f"Libs: -L{paths.BUILD}/.libs -Wl,-rpath,{paths.BUILD}/.libs -lpgconductor\n")
    env = {"PATH": f"{tools}:{os.environ['PATH']}", "PKG_CONFIG_PATH": tools, "PYTHONPATH": f"{paths.SRC}/proto/python",
           "PYTHONDONTWRITEBYTECODE": "1"}
    with open(f"{paths.BUILD}/Makefile", encoding="utf-8") as file:
        if "-fsanitize=address" in file.read():
            env["CC"] = "cc -fsanitize=address,undefined"
    return clean_environment(env)


def run_test(directory, environment):
    return subprocess.run(["./test-send-email.sh"], cwd=directory, env=environment, text=True, timeout=120,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


@pytest.mark.parametrize("lang", ["python", "c", pytest.param("typescript", marks=needs_node), pytest.param("shell", marks=needs_jq)])
def test_what_is_written_runs(request, lang, environment, short_tmp):
    if lang == "typescript":
        os.symlink(f"{request.getfixturevalue('node_tree')}/node_modules", f"{short_tmp}/node_modules")
        with open(f"{short_tmp}/tsconfig.json", "w", encoding="ascii") as file:
            file.write('{"compilerOptions": {"module": "commonjs"}}')
    done = run_cli("new", "task", "send-email", "--lang", lang, cwd=short_tmp, check=True)
    files = [name.format("send-email") for name in FILES[lang]] + ["test-send-email.sh"]
    assert sorted(done.stdout.split()) == files
    assert os.stat(f"{short_tmp}/test-send-email.sh").st_mode & stat.S_IXUSR
    ran = run_test(short_tmp, environment)
    assert ran.returncode == 0 and ran.stdout.endswith("send-email: ok\n"), ran.stdout
    if lang != "shell":
        return
    # It is a test: another result is an error.
    with open(f"{short_tmp}/send-email.sh", encoding="utf-8") as file:
        text = file.read()
    with open(f"{short_tmp}/send-email.sh", "w", encoding="utf-8") as file:
        file.write(text.replace("Hello", "Goodbye"))
    ran = run_test(short_tmp, environment)
    assert ran.returncode == 1 and 'send-email returned "Goodbye, Ann!"' in ran.stdout, ran.stdout


def test_nothing_is_written_over(short_tmp):
    with open(f"{short_tmp}/test-x.sh", "w", encoding="ascii") as file:
        file.write("mine\n")
    done = run_cli("new", "task", "x", "--lang", "python", cwd=short_tmp)
    assert (done.returncode, done.stdout, done.stderr) == (73, "", "pgconductor: new task: test-x.sh is there already\n")
    assert os.listdir(short_tmp) == ["test-x.sh"]


def test_mistakes(short_tmp):
    for argv, status in ((["x"], 64), (["x", "--lang", "perl"], 64), (["--lang", "c"], 64), (["../x", "--lang", "c"], 65), (["x", "y", "--lang", "c"], 64)):
        assert run_cli("new", "task", *argv, cwd=short_tmp).returncode == status, argv
    assert os.listdir(short_tmp) == []
