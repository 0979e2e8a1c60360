"""A Node program that is started by hand: it runs pgconductor around itself."""

import os
import re
import shutil

import pytest

from support import paths, processes
from support.engine import invoke, result, value, wait_finished
from support.node import needs_node, node_program, node_tree, run_node, url_of  # noqa: F401
from support.terminal import Terminal
from support.wait import wait_for

pytestmark = needs_node

TASKS = """
const conductor = Conductor.create({ connectionString: process.env.JOBS_URL });
const tasks = [
    conductor.createTask({ name: "slow" }, { invocable: true }, async (event) => {
        console.log("begun", event.payload);
        await new Promise((resolve) => setTimeout(resolve, event.payload));
        return event.payload;
    }),
    conductor.createTask({ name: "about" }, { invocable: true }, () => ({
        argv: process.argv.slice(2), execArgv: process.execArgv, url: process.env.DATABASE_URL ?? null,
        db: process.env.PGCONDUCTOR_DB ?? null,
    })),
];
const orchestrator = Orchestrator.create({ conductor, tasks });
"""
SERVE = """
await orchestrator.start();
await orchestrator.stopped;
console.log(orchestrator.info().role, "is through");
"""


@pytest.fixture
def environment(dsn):
    return {"JOBS_URL": url_of(dsn), "PGCONDUCTOR": paths.PGCONDUCTOR}


def wait_serving(db):
    wait_for(lambda: value(db, "select count(*) from pgconductor.nodes where cardinality(serves) > 0"), 20, "a node serves")


def test_ctrl_c_is_seen_once(db, node_program, environment):
    """Were it seen twice, what runs would be stopped at once."""
    with Terminal(node_program(TASKS + SERVE), env=environment) as terminal:
        wait_serving(db)
        execution = invoke(db, "slow", "1000")
        terminal.wait("begun 1000")
        server, = processes.children_of(terminal.pid)
        terminal.send("\x03")
        assert terminal.wait_exit() == 0
        assert result(db, execution)[:2] == ("completed", 1000)
        terminal.wait("launcher is through")
        assert not processes.alive(server)
        assert len(re.findall("stopping", terminal.text)) == 1


def test_a_second_ctrl_c_stops_at_once(db, node_program, environment):
    with Terminal(node_program(TASKS + SERVE), env=environment) as terminal:
        wait_serving(db)
        execution = invoke(db, "slow", "100000")
        terminal.wait("begun 100000")
        terminal.send("\x03")
        terminal.wait("stopping")
        terminal.send("\x03")
        terminal.wait_exit()
        assert result(db, execution)[0] in ("ready", "running", "delayed")


def test_term_is_handed_on(db, node_program, environment):
    with Terminal(node_program(TASKS + SERVE), env=environment) as terminal:
        wait_serving(db)
        server, = processes.children_of(terminal.pid)
        terminal.process.terminate()
        assert terminal.wait_exit() == 0
        assert not processes.alive(server)


def test_how_it_is_started_again(db, node_program, environment):
    """With its arguments and Node's; the database is no argument, and is not what the handler's own URL is."""
    node, script = node_program(TASKS + SERVE)
    own = {"DATABASE_URL": "postgresql://elsewhere/app"}
    with Terminal([node, "--stack-size=900", script, "one", "two words"], env=environment | own) as terminal:
        wait_serving(db)
        server, = processes.children_of(terminal.pid)
        argv = processes.argv_of(server)
        assert argv[:3] == [paths.PGCONDUCTOR, "run", "--"] and argv[4:] == ["--stack-size=900", script, "one", "two words"]
        assert wait_finished(db, invoke(db, "about"))[1] == {
            "argv": ["one", "two words"], "execArgv": ["--stack-size=900"], "url": own["DATABASE_URL"], "db": None}


def test_drain_ends_when_nothing_is_left(db, node_program, node_tree, environment, dsn):
    command = node_program(TASKS + """
    if (process.env.PGCONDUCTOR_FD === undefined) {
        await conductor.ensureInstalled();
        await conductor.invoke(tasks[0], [{ payload: 1 }, { payload: 2 }, { payload: 300, delay: "300ms" }]);
    }
    await orchestrator.drain();
    console.log(orchestrator.info().role, orchestrator.info().state);
    """)
    done = run_node(*command, env=environment)
    assert "launcher stopped" in done.stdout
    states = db.execute("select state, count(*) from pgconductor.finished_executions group by 1").fetchall()
    assert states == [("completed", 3)]


def test_stop(db, node_program, environment):
    done = run_node(*node_program(TASKS + """
    await orchestrator.start();
    if (orchestrator.info().role === "launcher") {
        const id = await conductor.invoke({ name: "slow" }, 1);
        while ((await conductor.result(id)).state !== "completed") {
            await new Promise((resolve) => setTimeout(resolve, 20));
        }
        await orchestrator.stop();
        console.log("stopped", orchestrator.info().state);
    }
    """), env=environment)
    assert "stopped stopped" in done.stdout


def test_its_status_is_the_servers(node_program, environment):
    done = run_node(*node_program(TASKS + SERVE), env=environment | {"JOBS_URL": "postgresql:///x?sslmode=nonsense"}, check=False)
    assert done.returncode == 69 and "sslmode" in done.stdout


def test_without_pgconductor(node_program, environment, short_tmp):
    os.symlink(shutil.which("node"), f"{short_tmp}/node")
    for more, named in (({"PATH": short_tmp, "PGCONDUCTOR": ""}, "pgconductor"), ({"PGCONDUCTOR": "/nonexistent/x"}, "/nonexistent/x")):
        done = run_node(*node_program(TASKS + SERVE), env=environment | more, check=False)
        assert done.returncode == 69
        assert f"{named} was not found" in done.stdout and "./configure && make && make install" in done.stdout


@pytest.mark.parametrize("started", ["beside", "as a child of Node"])
def test_started_through_another_program(node_program, started):
    """Such as npx, which does not hand the descriptor on: what is there is nothing, or Node's own."""
    node, script = node_program(TASKS + SERVE)
    command = [node, script] if started == "beside" else \
        [node, "-e", f'require("child_process").fork("{script}").on("exit", (status) => process.exit(status))']
    done = run_node(*command, env={"PGCONDUCTOR_FD": "3", "PGCONDUCTOR_PROTO": "1"}, check=False)
    assert done.returncode == 1 and "PgconductorError: descriptor 3 is not pgconductor's: the command starts this program through" in done.stdout


def test_what_is_no_file_cannot_be_started_again(node_program, environment, short_tmp):
    node_program("")
    text = 'import { Conductor, Orchestrator } from "pgconductor"; const conductor = Conductor.create();' \
           "await Orchestrator.create({ conductor }).start();"
    done = run_node("node", "--input-type=module", "-e", text, cwd=short_tmp, env=environment, check=False)
    assert done.returncode == 1 and "is a file" in done.stdout
