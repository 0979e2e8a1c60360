"""Completion in bash and in zsh: by the shells themselves, with a key in a terminal."""

import os
import re
import shutil
import subprocess

import pytest

from support import paths
from support.server import clean_environment, run_cli
from support.terminal import Terminal
from support.wait import wait_for

BASH = '''
source "$1"
COMP_LINE=$2 COMP_POINT=${#2} COMPREPLY=()
_pgconductor
printf '%s\\n' "${COMPREPLY[@]}"
'''


@pytest.fixture
def names(db):
    db.execute("select pgconductor.declare_task('mail.send', 'post'), pgconductor.declare_task('mail:sort', 'post'),"
               " pgconductor.declare_task('resize', 'media')")
    return db


@pytest.fixture
def complete(short_tmp, dsn):
    """complete("pgconductor inv"): what bash offers for the last word, as readline would get it."""
    script, words = f"{short_tmp}/completion", f"{short_tmp}/words"
    with open(script, "w", encoding="utf-8") as file:
        file.write(run_cli("completion", "bash", check=True).stdout)
    with open(words, "w", encoding="utf-8") as file:
        file.write(BASH)
    for name in ("one.conf", "two.jsonl"):
        open(f"{short_tmp}/{name}", "w", encoding="ascii").close()

    def run(line, **env):
        """The program's own path stands for its name, so that the script asks this one for names."""
        done = subprocess.run(["bash", "--norc", words, script, line.replace("pgconductor", paths.PGCONDUCTOR, 1)], text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=short_tmp, timeout=20,
                              env=clean_environment({"DATABASE_URL": dsn} | env))
        assert done.stderr == ""
        return done.stdout.split()
    return run


def commands():
    return re.findall(r"^  ([a-z]+) ", run_cli("--help").stdout, re.M)


def options(command):
    return re.findall(r"^  .{3} (--[a-z-]+)", run_cli(command, "--help").stdout, re.M)


def test_commands_and_options_are_those_of_the_program(complete, names):
    assert complete("pgconductor ") == commands() + ["help", "--help", "--version"]
    assert complete("pgconductor inv") == ["invoke"]
    assert complete("pgconductor help re") == [c for c in commands() if c.startswith("re")]
    for command in commands():
        assert complete(f"pgconductor {command} --") == options(command), command


@pytest.mark.parametrize("line, expected", [
    ("invoke ", ["mail.send", "mail:sort", "resize"]),
    ("invoke r", ["resize"]),
    ("invoke resize ", []),
    ("invoke --queue ", ["media", "post"]),
    ("invoke --queue post ma", ["mail.send", "mail:sort"]),
    ("invoke --queue=p", ["post"]),
    ("invoke mail:", ["sort"]),
    ("invoke resize @tw", ["@two.jsonl"]),
    ("invoke resize --batch t", ["two.jsonl"]),
    ("invoke resize --priority ", []),
    ("list --task mail.", ["mail.send"]),
    ("list --state ", ["ready", "delayed", "suspended", "running", "completed", "failed", "cancelled"]),
    ("list --state c", ["completed", "cancelled"]),
    ("list --state failed,c", ["failed,completed", "failed,cancelled"]),
    ("list --state=failed,c", ["failed,completed", "failed,cancelled"]),
    ("cancel --state ", ["ready", "delayed", "suspended", "running"]),
    ("retry --state=", ["failed", "cancelled", "completed"]),
    ("ready resize ", ["mail.send", "mail:sort", "resize"]),
    ("tasks re", ["resize"]),
    ("run -c one", ["one.conf"]),
    ("run --config=one", ["one.conf"]),
    ("run -- cat on", ["one.conf"]),
    ("run -c one.conf -- bas", None),
    ("completion ", ["bash", "zsh"]),
    ("ctx s", ["step", "sleep", "start", "schedule"]),
    ("ctx invoke r", ["resize"]),
    ("ctx invoke --queue p", ["post"]),
    ("ctx log --level w", ["warn"]),
    ("ctx step --", ["--json", "--help", "--version"]),
    ("ctx step key -- cat on", ["one.conf"]),
    ("show ", []),
    ("nonsense ", []),
    ("nonsense --", []),
])
def test_arguments(complete, names, line, expected):
    found = complete("pgconductor " + line)
    if expected is None:
        assert "bash" in found and "one.conf" not in found
    else:
        assert found == expected


def test_names_come_from_the_database_that_the_line_names(complete, names, dsn):
    other = "postgresql:///none?host=/nowhere"
    assert complete("pgconductor invoke ", DATABASE_URL=other) == []
    url = f"postgresql://postgres@/{re.search('dbname=([^ ]+)', dsn)[1]}?host={re.search('host=([^ ]+)', dsn)[1]}"
    assert complete(f"pgconductor invoke --db {url} r", DATABASE_URL=other) == ["resize"]


def test_what_the_scripts_ask(cli, names, empty_dsn):
    assert cli("completion", "tasks", check=True).stdout.split() == ["mail.send", "mail:sort", "resize"]
    assert cli("completion", "queues", check=True).stdout.split() == ["media", "post"]
    for dsn in (empty_dsn, "host=/nowhere"):
        done = cli("completion", "tasks", dsn=dsn)
        assert (done.stdout, done.stderr) == ("", "")
    assert cli("completion", "fish").returncode == 64
    assert cli("completion").returncode == 64


def test_they_are_installed_where_shells_look(short_tmp):
    for name, shell in (("pgconductor", "bash"), ("_pgconductor", "zsh")):
        with open(f"{paths.BUILD}/completion/{name}", encoding="utf-8") as file:
            assert file.read() == run_cli("completion", shell, check=True).stdout


def press_tab(terminal, line, expected):
    """Type this and a tab: the shell makes it the expected line."""
    terminal.send("\x15")
    terminal.send(line + "\t")
    wait_for(lambda: expected in terminal.text.rsplit("prompt>", 1)[-1].replace("\x07", ""), 15,
             f"{line!r} becomes {expected!r}: {terminal.text[-300:]!r}")


def in_path(directory):
    """The program under its name, so that a shell can be told of it by that."""
    os.symlink(paths.PGCONDUCTOR, f"{directory}/pgconductor")
    return f"{directory}:{os.environ['PATH']}"


def test_a_key_in_bash(names, dsn, short_tmp):
    env = {"PATH": in_path(short_tmp), "PS1": "prompt>", "DATABASE_URL": dsn, "HISTFILE": "", "TERM": "dumb"}
    with Terminal(["bash", "--norc", "-i"], env=env, columns=200) as t:
        t.send("bind 'set bell-style none'; source <(pgconductor completion bash)\n")
        t.wait("prompt>$")
        press_tab(t, "pgconductor inv", "pgconductor invoke ")
        press_tab(t, "pgconductor invoke mail:", "pgconductor invoke mail:sort ")
        press_tab(t, "pgconductor list --state=comp", "pgconductor list --state=completed ")
        press_tab(t, "pgconductor list --sta", "pgconductor list --state ")
        t.send("\x15exit\n")
        t.wait_exit()


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed (scripts/deps)")
def test_a_key_in_zsh(names, dsn, short_tmp):
    os.mkdir(f"{short_tmp}/functions")
    with open(f"{short_tmp}/functions/_pgconductor", "w", encoding="utf-8") as file:
        file.write(run_cli("completion", "zsh", check=True).stdout)
    open(f"{short_tmp}/one.conf", "w", encoding="ascii").close()
    env = {"PATH": in_path(short_tmp), "DATABASE_URL": dsn, "HOME": short_tmp, "TERM": "dumb"}
    with Terminal(["zsh", "-f", "-i"], env=env, columns=200, cwd=short_tmp) as t:
        t.send(f"fpath=({short_tmp}/functions $fpath); autoload -U compinit; compinit -u -d {short_tmp}/dump; "
               "unsetopt beep; PS1='prompt''>'\n")
        t.wait("prompt>", 30)
        press_tab(t, "pgconductor inv", "pgconductor invoke ")
        press_tab(t, "pgconductor invoke res", "pgconductor invoke resize ")
        press_tab(t, "pgconductor invoke --queue me", "pgconductor invoke --queue media ")
        press_tab(t, "pgconductor list --state=comp", "pgconductor list --state=completed")
        press_tab(t, "pgconductor list --state failed,canc", "pgconductor list --state failed,cancelled")
        press_tab(t, "pgconductor list --old", "pgconductor list --oldest ")
        press_tab(t, "pgconductor run -c one", "pgconductor run -c one.conf")
        press_tab(t, "pgconductor run -- cat one", "pgconductor run -- cat one.conf")
        press_tab(t, "pgconductor completion z", "pgconductor completion zsh")
        press_tab(t, "pgconductor ctx che", "pgconductor ctx checkpoint ")
        press_tab(t, "pgconductor ctx invoke res", "pgconductor ctx invoke resize ")
        press_tab(t, "pgconductor ctx log --level w", "pgconductor ctx log --level warn ")
        t.send("\x15exit\n")
        t.wait_exit()
