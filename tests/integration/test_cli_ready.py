"""ready, for scripts; and what the server tells the service manager that has started it."""

import json
import os
import signal
import socket
import subprocess
import time

import pytest

from support import paths
from support.engine import invoke, wait_finished
from support.server import clean_environment, run_cli
from support.wait import wait_for

CONFIG = '''
shutdown_timeout = 1s
task "cat" { exec = "cat" }
task "env" { exec = "env" queue = "other" }
'''


# ---- ready ----

def test_not_ready_and_why(cli, db, dsn, empty_dsn):
    def why(*args, **options):
        done = cli("ready", *args, **options)
        assert done.stdout == "" and done.stderr.startswith("pgconductor: ready: ")
        return done.returncode, done.stderr.removeprefix("pgconductor: ready: ").rstrip("\n")
    assert why() == (1, "no node is running")
    assert why("cat", "--timeout", "100ms") == (75, "no node is running")
    assert why(dsn=empty_dsn) == (78, "the schema is not installed")
    assert why(dsn="host=/nowhere")[0] == 69
    assert why("--timeout", "0", dsn="host=/nowhere")[0] == 75
    assert cli("ready", "--timeout", "soon").returncode == 64


def test_ready(cli, server, db):
    one = server(config=CONFIG, wait=False)
    # The queues come one after the other.
    done = cli("ready", "cat", "env", "--timeout", "20s", check=True)
    assert done.stdout == "ready: 1 node, queues default other\n"
    assert cli("ready", check=True).stdout == done.stdout
    assert cli("ready", "env", check=True).stdout == "ready: 1 node, queue other\n"
    assert cli("ready", "--queue", "default", check=True).stdout == "ready: 1 node, queue default\n"
    db.execute("select pgconductor.declare_task('nobody'), pgconductor.declare_task('elsewhere', 'gone')")
    for args, reason in ((["nobody"], "no running program serves task nobody"),
                         (["cat", "elsewhere"], "no running program serves task elsewhere"),
                         (["never"], "never: no program and no configuration has declared this task"),
                         (['a"b\\c'], 'a"b\\c: no program'), (["--queue", "gone"], "no node serves queue gone")):
        done = cli("ready", *args)
        assert done.returncode == 1 and reason in done.stderr
    one.kill9()
    wait_for(lambda: cli("ready").returncode == 1, 10, "the node is dead")
    two = server(config=CONFIG, wait=False)
    cli("ready", "env", "--timeout", "30s", check=True)
    # Ready means: taken at once.
    wait_finished(db, invoke(db, "cat"), timeout=3)
    two.stop()
    assert cli("ready").returncode == 1


def test_a_shard_without_an_owner(cli, server, db):
    """As while one node takes over from another."""
    server(config=CONFIG)
    cli("ready", "--timeout", "20s", check=True)
    db.execute("update pgconductor.shards set owner = null where queue = 'other' and position = 1")
    done = cli("ready")
    assert (done.returncode, done.stderr) == (1, "pgconductor: ready: shards of queue other are being taken over\n")
    assert cli("ready", "--queue", "other").returncode == 1
    cli("ready", "cat", check=True)


def test_ready_waits_for_a_dev_server_and_a_schema(short_tmp, empty_dsn):
    """Begun before there is anything to be ready."""
    config = f"{short_tmp}/ready.conf"
    with open(config, "w", encoding="utf-8") as file:
        file.write(f'database = "{empty_dsn}"\n{CONFIG}')
    waiting = subprocess.Popen([paths.PGCONDUCTOR, "ready", "-c", config, "cat", "env", "--timeout", "30s"],
                               stdout=subprocess.PIPE, text=True, env=clean_environment())
    assert run_cli("ready", "-c", config).returncode == 78
    serving = subprocess.Popen([paths.PGCONDUCTOR, "run", "-c", config], env=clean_environment(), stderr=subprocess.DEVNULL)
    try:
        assert waiting.communicate(timeout=40)[0] == "ready: 1 node, queues default other\n"
        assert waiting.returncode == 0
    finally:
        serving.terminate()
        serving.wait(30)


# ---- sd_notify ----

class Manager:
    """A service manager's end of the socket: what it was told, one dict for each datagram."""

    def __init__(self, address):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address.replace("@", "\0", 1))
        self.socket.setblocking(False)
        self.told = []

    def read(self):
        while True:
            try:
                text = self.socket.recv(4096).decode()
            except BlockingIOError:
                return self.told
            self.told.append(dict(line.split("=", 1) for line in text.splitlines()))

    def wait(self, **wanted):
        """Wait for a datagram with these assignments; what came before is dropped. Returns it."""
        def look():
            for n, one in enumerate(self.read()):
                if wanted.items() <= one.items():
                    del self.told[:n + 1]
                    return one
            return None
        return wait_for(look, 20, f"the manager is told {wanted}; it was told {self.told}")

    def heard(self, name):
        return [one for one in self.read() if name in one]


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_notify(server, cli, db, short_tmp, kind):
    address = f"{short_tmp}/notify" if kind == "path" else f"@pgconductor-test-{os.getpid()}-{time.monotonic_ns()}"
    manager = Manager(address)
    one = server(config=CONFIG, wait=False, env={"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "400000"})
    manager.wait(READY="1", STATUS="node 1 serves 2 queues, owns 8 shards")
    assert cli("ready").returncode == 0
    assert not manager.heard("READY")

    # Nothing of it reaches a handler.
    done = json.loads(cli("invoke", "env", "--wait", "--timeout", "20s", check=True).stdout)
    assert "NOTIFY" not in done and "WATCHDOG" not in done

    manager.told.clear()
    for _ in range(3):
        manager.wait(WATCHDOG="1")

    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    one.hup()
    reloading = manager.wait(RELOADING="1")
    assert before / 1000 < int(reloading["MONOTONIC_USEC"]) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) / 1000
    manager.wait(READY="1")
    one.set_config("nonsense")
    one.hup()
    manager.wait(RELOADING="1")
    manager.wait(READY="1")

    one.signal(signal.SIGTERM)
    stopping = manager.wait(STOPPING="1", STATUS="stopping")
    # shutdown_timeout, then the grace of a kill, and some more.
    assert int(stopping["EXTEND_TIMEOUT_USEC"]) > 6000000
    assert one.wait_exit() == 0


def test_not_ready_before_programs_have_announced_their_tasks(server, short_tmp, app, db):
    manager = Manager(f"{short_tmp}/notify")
    gate = f"{short_tmp}/gate"
    program = f"{short_tmp}/program"
    with open(program, "w", encoding="utf-8") as file:
        file.write(f"#!/bin/sh\nwhile [ ! -e {gate} ]; do sleep 0.02; done\nexec {app.command('seen')}\n")
    os.chmod(program, 0o755)
    server(config=f'handler "app" {{ command = "{program}" }}\nqueue "default" {{ handler = "app" }}', wait=False,
           env={"NOTIFY_SOCKET": f"{short_tmp}/notify"})
    manager.wait(STATUS="starting")
    assert not manager.heard("READY") and not manager.heard("WATCHDOG")
    open(gate, "w", encoding="ascii").close()
    manager.wait(READY="1")


def test_status_without_a_database(server, own_cluster, short_tmp):
    cluster = own_cluster()
    manager = Manager(f"{short_tmp}/notify")
    one = server(config=CONFIG, dsn=cluster.dsn("test"), wait=False, env={"NOTIFY_SOCKET": f"{short_tmp}/notify"})
    manager.wait(READY="1")
    cluster.stop()
    manager.wait(STATUS="connecting to the database")
    cluster.start()
    wait_for(lambda: manager.heard("STATUS") and "serves 2 queues" in manager.heard("STATUS")[-1]["STATUS"], 30)
    assert not manager.heard("READY")
    assert one.running()


@pytest.mark.parametrize("address", ["relative", "@", "/" + "x" * 200, "/nowhere/socket"])
def test_a_socket_that_is_none_stops_nothing(server, db, address):
    server(config=CONFIG, env={"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1000000"})
    wait_finished(db, invoke(db, "cat"))


# ---- the journal ----

@pytest.mark.parametrize("form", ["text", "logfmt", "json"])
def test_priorities_of_the_journal(server, db, short_tmp, form):
    """Only where stderr is the journal's own socket; the variable alone may have been inherited."""
    def log_of(number, stream):
        one = server(config=f"log_format = {form}\n{CONFIG}", env={"JOURNAL_STREAM": stream})
        one.stop()
        return one.log.splitlines()
    path = f"{short_tmp}/server1.log"
    open(path, "w", encoding="ascii").close()
    st = os.stat(path)
    lines = log_of(1, f"{st.st_dev}:{st.st_ino}")
    assert lines and all(line.startswith("<6>") for line in lines), lines
    assert any("stopped" in line for line in lines)
    if form == "json":
        assert all(json.loads(line[3:])["level"] == "info" for line in lines)
    lines = log_of(2, f"{st.st_dev}:{st.st_ino}")
    assert lines and not any(line.startswith("<") for line in lines)
    lines = log_of(3, "nonsense")
    assert lines and not any(line.startswith("<") for line in lines)
