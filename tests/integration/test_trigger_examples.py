"""The examples of triggers in C and as scripts, as their heads say. Those in Python and Node are tested with their libraries."""

import os
import re

import pytest

from support import paths
from support.engine import value, wait_finished
from support.wait import wait_for

SCRIPT = f"{paths.SRC}/examples/triggers.sh"
TASKS = ["announce", "heartbeat", "listen", "report", "reports"]


def configuration():
    """What the script's head asks for."""
    with open(SCRIPT, encoding="utf-8") as file:
        head = file.read().split("# Then", 1)[0]
    lines = [line[2:] for line in head.splitlines() if line.startswith("#\t")]
    assert len(lines) > 5
    return "\n".join(lines).replace("examples/triggers.sh", SCRIPT)


@pytest.fixture(params=["c", "shell"])
def example(request, server, db):
    env = {"PATH": f"{paths.BUILD}:{os.environ['PATH']}"}
    if request.param == "c":
        server(cmd=[paths.built("examples/triggers")], env=env)
    else:
        server(config=configuration(), env=env)
    wait_for(lambda: value(db, "select count(*) from pgconductor.tasks where name = any (%s)", TASKS) == len(TASKS), 20,
             "its tasks are declared")


def said(db, task, event):
    """What the executions of a task have logged, of that event."""
    return [row[0] for row in db.execute("select l.message from pgconductor.logs l join pgconductor.executions_all e"
                                         " on e.id = l.execution where e.task = %s and coalesce(e.event, 'pgconductor.invoke') = %s"
                                         " order by e.id", (task, event))]


def test_example(example, cli, db):
    """On a schedule and by hand; a schedule that a task makes and removes; listeners and what they listen to."""
    def run(*words):
        return cli("invoke", *words, "--wait", timeout=30).stdout.strip()
    due = run("reports", '{"do": "schedule"}').strip('"')
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.000Z", due)
    job = int(cli("invoke", "heartbeat", '{"by": "hand"}').stdout)
    listeners = [int(cli("invoke", "listen").stdout) for _ in range(3)]
    wait_for(lambda: value(db, "select count(*) from pgconductor.executions where waiting = 'suspended'") == 3, 20, "they listen")
    assert run("announce", '{"text": "Hello World"}').strip('"') == str(value(db, "select max(id) from pgconductor.events"))
    assert [wait_finished(db, one)[1] for one in listeners] == ["heard: Hello World"] * 3
    wait_finished(db, job)
    assert wait_for(lambda: said(db, "heartbeat", "pgconductor.invoke"), 10, "it has said so") == ["beat by hand"]
    ticks = wait_for(lambda: said(db, "heartbeat", "every-3-seconds"), 20, "its schedule has started it")
    assert re.fullmatch(r"beat of [-\d]+T[:\d]+\.000Z by the clock", ticks[0])
    assert wait_for(lambda: said(db, "report", "reports"), 20, "its schedule has started it")[0] == f"reports for admin, due at {due}"
    assert run("reports", '{"do": "unschedule"}') == "true"
    assert run("reports", '{"do": "unschedule"}') == "false"
