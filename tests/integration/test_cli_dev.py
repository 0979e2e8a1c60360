"""pgconductor dev: a private PostgreSQL for a directory, whatever the directory, and however it ends."""

import os
import re
import shutil
import signal
import subprocess

import pytest

from support import paths, processes
from support.server import clean_environment, run_cli
from support.wait import wait_for

CONFIG = 'task "cat" { exec = "cat" }\n'


class Dev:
    """`pgconductor dev` in a directory, with its output in a file."""

    def __init__(self, directory, *args):
        self.dir = directory
        self.out = f"{directory}/out"
        with open(f"{directory}/dev.conf", "w", encoding="utf-8") as file:
            file.write(CONFIG)
        with open(self.out, "wb") as out:
            self.process = subprocess.Popen([paths.PGCONDUCTOR, "dev", *(args or ["-c", "dev.conf"])], cwd=directory,
                                            stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
                                            env=clean_environment({"PATH": "/usr/bin:/bin"}), preexec_fn=processes.die_with_parent())

    @property
    def text(self):
        with open(self.out, encoding="utf-8") as file:
            return file.read()

    def ready(self):
        def look():
            if self.process.poll() is not None:
                raise RuntimeError(self.text)
            return re.search(r"^database: (\S+)$", self.text, re.M)
        self.url = wait_for(look, 60, "dev prints its URL")[1]
        self.postmaster = self.find_postmaster()
        return self

    def find_postmaster(self):
        for pid in processes.descendants_of(self.process.pid):
            if [os.path.basename(word) for word in processes.argv_of(pid)[:1]] == ["postgres"]:
                return pid
        raise AssertionError("no postgres below dev")

    def gone(self):
        wait_for(lambda: not processes.alive(self.postmaster), 30, "PostgreSQL has ended")
        wait_for(lambda: not os.path.exists(f"{self.dir}/.pgconductor/server"), 10, "the state is removed")

    def end(self, sig=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(sig)
        return self.process.wait(60)

    def cli(self, *args):
        return run_cli(*args, cwd=self.dir)

    def cat(self, text):
        """Work goes from invoke through master, worker and command to a stored result."""
        done = self.cli("invoke", "cat", text, "--wait", "--timeout", "30s")
        assert (done.returncode, done.stdout) == (0, text + "\n"), done.stderr + self.text


@pytest.fixture
def dev(short_tmp):
    started = []

    def start(*args, directory=short_tmp, wait=True):
        one = Dev(directory, *args)
        started.append(one)
        return one.ready() if wait else one
    yield start
    for one in started:
        one.end()
        if hasattr(one, "postmaster"):
            wait_for(lambda: not processes.alive(one.postmaster), 30, "PostgreSQL has ended")


def sockets_of(url):
    return re.search(r"host=(.*)", url)[1].replace("%2F", "/")


def test_dev(dev):
    one = dev()
    one.cat('{"name": "World"}')
    assert run_cli("tasks", dsn=one.url, check=True).stdout.count("\n") == 2
    assert os.listdir(f"{one.dir}/.pgconductor")
    fsync = subprocess.run(["psql", "-X", "-At", "-d", one.url, "-c", "show fsync"], stdout=subprocess.PIPE, text=True)
    assert fsync.stdout == "on\n"
    # A second one in the same directory.
    done = one.cli("dev", "-c", "dev.conf")
    assert done.returncode == 69
    assert f"a dev server runs in this directory already, as process {one.process.pid}" in done.stderr
    assert one.end(signal.SIGINT) == 0
    one.gone()
    done = one.cli("list")
    assert done.returncode == 69
    assert "the dev server of this directory is not running" in done.stderr
    # Started again, it has its data.
    two = dev()
    assert '"World"' in two.cli("list", "--json").stdout
    assert two.end() == 0
    two.gone()


@pytest.mark.parametrize("command", ["dev", "run"])
@pytest.mark.parametrize("text", ["", 'queue "default" { concurrency = 2 }\n', 'task "a" { max_attempts = 2 }\n'])
def test_a_configuration_without_anything_to_serve(short_tmp, command, text):
    """Said at once: no database is made for it, or asked."""
    with open(f"{short_tmp}/empty.conf", "w", encoding="utf-8") as file:
        file.write(text)
    done = run_cli(command, "-c", "empty.conf", cwd=short_tmp)
    assert (done.returncode, done.stdout) == (78, "")
    assert done.stderr.startswith(f"pgconductor: {command}: empty.conf: nothing to serve: ")
    assert os.listdir(short_tmp) == ["empty.conf"]


def test_nothing_to_serve(short_tmp):
    done = run_cli("dev", cwd=short_tmp)
    assert (done.returncode, done.stdout) == (64, "") and "dev: nothing to serve" in done.stderr
    assert os.listdir(short_tmp) == []


def test_a_command_waits_for_a_server_that_is_starting(dev, short_tmp):
    one = dev(wait=False)
    wait_for(lambda: os.path.exists(f"{short_tmp}/.pgconductor/lock"), 20, "dev has begun")
    one.cat('"early"')
    one.ready()


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_postgresql_ends_with_it(dev, sig):
    one = dev()
    one.end(sig)
    one.gone()
    assert not os.path.exists(sockets_of(one.url) + "/.s.PGSQL.5432")


def test_after_kill_9_of_everything(dev):
    one = dev()
    keeper = [pid for pid in processes.children_of(one.process.pid) if one.postmaster in processes.children_of(pid)][0]
    os.kill(keeper, signal.SIGSTOP)
    one.process.kill()
    one.process.wait(10)
    os.kill(one.postmaster, signal.SIGSTOP)
    os.kill(keeper, signal.SIGKILL)
    wait_for(lambda: not processes.alive(keeper), 10, "the keeper is dead")
    # Now there are a stopped PostgreSQL, its socket, its lock files and the state of the dead.
    assert os.path.exists(f"{one.dir}/.pgconductor/server")
    two = dev(wait=False)
    os.kill(one.postmaster, signal.SIGCONT)
    two.ready()
    two.cat("1")
    assert two.end() == 0
    two.gone()


def test_started_anew_at_once_after_kill_9(dev):
    one = dev()
    one.process.kill()
    two = dev()
    assert two.postmaster != one.postmaster
    two.cat("2")


def test_an_initdb_that_was_interrupted(dev, short_tmp):
    os.makedirs(f"{short_tmp}/.pgconductor/data.new/base")
    with open(f"{short_tmp}/.pgconductor/data.new/PG_VERSION", "w", encoding="utf-8") as file:
        file.write("15\n")
    assert dev().cli("list").returncode == 0


def test_postgresql_that_dies_ends_the_server(dev):
    one = dev()
    os.kill(one.postmaster, signal.SIGQUIT)
    assert one.process.wait(60) is not None
    assert "PostgreSQL has ended by itself" in one.text


def test_a_long_path(dev, short_tmp):
    """A socket's path has at most 107 bytes."""
    directory = os.path.join(short_tmp, *["d" * 60] * 3, "with a blank, and a comma")
    os.makedirs(directory)
    one = dev(directory=directory)
    assert len(sockets_of(one.url)) < 90
    one.cat("3")
    assert one.end() == 0
    one.gone()
    assert not os.path.exists(sockets_of(one.url))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_root_in_a_closed_directory(dev, short_tmp):
    directory = f"{short_tmp}/closed"
    os.makedirs(f"{directory}/inner", mode=0o700)
    os.chmod(directory, 0o700)
    one = dev(directory=f"{directory}/inner", wait=False)
    try:
        one.ready()
        data = os.path.dirname(sockets_of(one.url))
        assert data.startswith("/var/lib/pgconductor/")
        assert os.stat(f"{data}/data").st_uid != 0
        one.cat("4")
        assert one.end() == 0
        one.gone()
    finally:
        one.end()
        for data in re.findall(r"making a private PostgreSQL in (/var/lib/pgconductor/\w+)", one.text):
            wait_for(lambda d=data: not os.path.exists(f"{d}/data/postmaster.pid"), 30, "PostgreSQL has ended")
            shutil.rmtree(data)


def test_a_handler_inherits_the_environment(dev, short_tmp):
    program = f"{short_tmp}/h.py"
    with open(program, "w", encoding="utf-8") as file:
        file.write(f"""import os, sys
sys.path.insert(0, {os.path.join(paths.SRC, "tests")!r})
from support.handler import Handler
h = Handler()
@h.task("env")
def env(run): return os.environ.get(run.payload)
h.serve()
""")
    os.environ["CLI_DEV_TEST"] = "seen"
    try:
        one = dev("--", "/usr/bin/python3", program)
    finally:
        del os.environ["CLI_DEV_TEST"]
    wait_for(lambda: "env" in one.cli("tasks").stdout, 20, "the program's task is declared")
    assert one.cli("invoke", "env", '"CLI_DEV_TEST"', "--wait", "--timeout", "20s").stdout == '"seen"\n'


PROGRAM = '''
from pgconductor import serve, task
@task
def look(payload):
    return "%s"
serve()
'''


def test_watch(dev, short_tmp):
    """Handlers are replaced when their files change, and only then; what cannot be started replaces nothing."""
    def write(text, name="app.py"):
        with open(f"{short_tmp}/{name}.new", "w", encoding="ascii") as file:
            file.write(text)
        os.rename(f"{short_tmp}/{name}.new", f"{short_tmp}/{name}")

    def looks(timeout="30s"):
        return one.cli("invoke", "look", "--wait", "--timeout", timeout).stdout.strip()
    write(PROGRAM % "first")
    env = {"PYTHONPATH": f"{paths.SRC}/proto/python", "PYTHONDONTWRITEBYTECODE": "1"}
    one = dev("--watch", "--", "/usr/bin/env", *(f"{k}={v}" for k, v in env.items()), "/usr/bin/python3", "app.py")
    wait_for(lambda: looks() == '"first"', 30, "it serves")
    write("something", "data.json")
    assert [looks() for _ in range(10)] == ['"first"'] * 10 and "started anew" not in one.text
    write(PROGRAM % "second")
    wait_for(lambda: looks() == '"second"', 30, "the new one serves")
    os.makedirs(f"{short_tmp}/lib/deep")
    write("answer = 'third'", "lib/deep/more.py")
    write("from lib.deep.more import answer\n" + PROGRAM.replace('"%s"', "answer"))
    wait_for(lambda: looks() == '"third"', 30, "and the next")
    write("answer = 'fourth'", "lib/deep/more.py")
    wait_for(lambda: looks() == '"fourth"', 30, "what it imports was changed")
    write("syntax error", "app.py")
    wait_for(lambda: "SyntaxError" in one.text, 30, "it says so")
    write(PROGRAM % "mended")
    wait_for(lambda: looks() == '"mended"', 30, "mended")
    assert one.end(signal.SIGINT) == 0
    one.gone()
