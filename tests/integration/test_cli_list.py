"""Choosing executions: list, cancel and retry by the same options. And ps and nodes, of several nodes."""

import json
import re

import pytest

from support.engine import invoke
from support.wait import wait_for


@pytest.fixture
def made(db):
    """Executions in every state that needs no server; by name, oldest first."""
    db.execute("select pgconductor.declare_task('t'), pgconductor.declare_task('other', 'q2')")
    ids = {}

    def make(name, task, **options):
        ids[name] = invoke(db, task, **options)
        db.execute("update pgconductor.executions set created_at = now() - %s * interval '1 hour' where id = %s",
                   (10 - len(ids), ids[name]))
    for name in ("cancelled", "failed", "completed"):
        make(name, "t")
    make("elsewhere", "other")
    make("delayed", "t", delay="1 hour")
    make("ready", "t")
    db.execute("select pgconductor.cancel(%s, 'Not %% Wanted')", (ids["cancelled"],))
    for name in ("failed", "completed"):
        db.execute("select pgconductor.settle_full(array[e.id], array[e.ready_xid], array[%s], array['1'::json],"
                   " array['{\"code\": \"app\", \"message\": \"Disk is FULL\"}'::json], array[false], array[null::bigint],"
                   " array[1], 1) from pgconductor.executions e where id = %s", (name, ids[name]))
    return ids


@pytest.mark.parametrize("options, expected", [
    ([], ["ready", "delayed", "elsewhere", "completed", "failed", "cancelled"]),
    (["--task", "t"], ["ready", "delayed", "completed", "failed", "cancelled"]),
    (["--queue", "q2"], ["elsewhere"]),
    (["--state", "failed,cancelled"], ["failed", "cancelled"]),
    (["--state", "failed", "--state=ready"], ["ready", "elsewhere", "failed"]),
    (["--state", "delayed"], ["delayed"]),
    (["--after", "6h30m"], None),
    (["--after", "390m"], ["ready", "delayed", "elsewhere"]),
    (["--before", "390m"], ["completed", "failed", "cancelled"]),
    (["--after", "450m", "--before", "330m"], ["elsewhere", "completed"]),
    (["--after", "2000-01-01", "--before", "2100-01-01 12:00+01", "--state", "ready"], ["ready", "elsewhere"]),
    (["--error", "disk is"], ["failed"]),
    (["--error", "% w"], ["cancelled"]),
    (["--error", "_"], []),
    (["--limit", "2"], ["ready", "delayed"]),
    (["--oldest", "--limit", "2"], ["cancelled", "failed"]),
    (["--oldest"], ["cancelled", "failed", "completed", "elsewhere", "delayed", "ready"]),
])
def test_list(cli, made, options, expected):
    done = cli("list", "--json", *options)
    if expected is None:
        assert done.returncode == 65 and "6h30m" in done.stderr
        return
    assert [json.loads(line)["id"] for line in done.stdout.splitlines()] == [str(made[name]) for name in expected], done.stderr
    lines = cli("list", *options, check=True).stdout.splitlines()
    assert [int(line.split()[0]) for line in lines[1:]] == [made[name] for name in expected]


@pytest.mark.parametrize("command, options, changed", [
    ("cancel", ["--state", "ready,delayed", "--task", "t"], ["ready", "delayed"]),
    ("cancel", ["--after", "330m"], ["ready", "delayed"]),
    ("cancel", ["--before", "330m"], ["elsewhere"]),
    ("cancel", ["--error", "disk"], []),
    ("retry", ["--task", "t"], ["failed"]),
    ("retry", ["--state", "cancelled,completed"], ["completed", "cancelled"]),
    ("retry", ["--error", "DISK"], ["failed"]),
    ("retry", ["--after", "450m"], []),
])
def test_cancel_and_retry_choose_as_list_does(cli, db, made, command, options, changed):
    state, done = ("cancelled", "cancelled") if command == "cancel" else ("ready", "made ready")
    before = dict(db.execute("select id, state from pgconductor.executions_all").fetchall())
    assert cli(command, *options, check=True).stdout == f"{len(changed)} {done}\n"
    after = dict(db.execute("select id, state from pgconductor.executions_all").fetchall())
    assert after == before | {made[name]: state for name in changed}


def test_states_that_are_none(cli, db):
    for command, states in (("list", "ready, delayed, suspended, running, completed, failed, cancelled"),
                            ("cancel", "ready, delayed, suspended, running"), ("retry", "failed, cancelled, completed")):
        for wrong in ("ready,", "happy", "", ",failed"):
            done = cli(command, "--state", wrong)
            assert done.returncode == 64
            assert re.search(rf'--state: "(happy|ready|)" is none of {states}$', done.stderr, re.M)
        assert re.search(r"^STATE is .* or \w+\.$", cli(command, "--help").stdout, re.M)


def test_ps_and_nodes_of_several_nodes(cli, server, app, db):
    """Each node says what runs there, with its pid; one that has died still stands there, and what it was running."""
    one = server(config=app.config("hold", queue="shards = 4", top="shutdown_timeout = 1s"))
    two = server(config='task "nap" { exec = "sleep 60" queue = "naps" }\nshutdown_timeout = 1s')
    held, naps = [invoke(db, "hold") for _ in range(2)], [invoke(db, "nap") for _ in range(3)]

    def look(*args):
        return [json.loads(line) for line in cli("ps", "--json", *args, check=True).stdout.splitlines()]
    wait_for(lambda: len(look()) == 5, 15, "ps shows all of them")
    nodes = {n["pid"]: n for n in map(json.loads, cli("nodes", "--json", check=True).stdout.splitlines())}
    first, second = nodes[one.pid], nodes[two.pid]
    assert (first["alive"], first["running"], first["queues"]) == (True, 2, ["default"])
    assert (second["alive"], second["running"], second["queues"]) == (True, 3, ["naps"])
    assert len(first["shards"]) == 4 and not set(first["shards"]) & set(second["shards"])
    # In the order in which they were started, which need not be that of their ids: they may be of several shards.
    assert {r["id"] for r in look("--node", str(first["node"]))} == {str(i) for i in held}
    assert {r["id"] for r in look("--node", str(second["node"]))} == {str(i) for i in naps}
    assert look("--task", "nap", "--queue", "default") == []
    assert {(r["node"], r["host"], r["alive"]) for r in look("--task", "nap")} == {(second["node"], second["host"], True)}
    assert {r["pid"] for r in look("--queue", "default")} <= set(one.handlers())
    table = cli("ps", check=True).stdout.splitlines()
    assert table[0].split() == ["id", "task", "queue", "attempt", "node", "host", "program", "pid", "started", "seconds", "progress"]
    assert len(table) == 6 and "(dead)" not in "".join(table)

    two.kill9()
    wait_for(lambda: not any(r["alive"] for r in look("--task", "nap")), 10, "the node is dead")
    assert len(look("--node", str(second["node"]))) == 3
    assert sum(f"{second['host']} (dead)" in line for line in cli("ps", check=True).stdout.splitlines()) == 3
    rows = {line.split()[2]: line.split() for line in cli("nodes", check=True).stdout.splitlines()[1:]}
    assert rows[str(one.pid)][6:] == ["yes", "4", "2", "default"]
    assert rows[str(two.pid)][6] == "no"
    app.release()
    for wrong in ("x", ""):
        assert cli("ps", "--node", wrong).returncode == 64
