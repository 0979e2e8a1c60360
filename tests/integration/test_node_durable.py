"""Executions that last, in Node: what is not in the table of all languages (test_durable.py)."""

import collections
import json
import os
import signal

import pytest
from psycopg.conninfo import conninfo_to_dict

from support import faults, paths
from support.engine import batch, invoke, value, wait_finished
from support.node import needs_node, node_program, node_tree, run_node  # noqa: F401
from support.wait import wait_for

pytestmark = needs_node

SERVE = """
const orchestrator = Orchestrator.create({ conductor, tasks, ...more });
await orchestrator.start();
await orchestrator.stopped;
"""


def program(tasks, more="{}", head=""):
    lines = [f'conductor.createTask({{ name: "{name}", backoff: "1ms", maxAttempts: 5 }}, {{ invocable: true }}, {function}),'
             for name, function in tasks.items()]
    return f"{head}\nconst conductor = Conductor.create();\nconst more = {more};\nconst tasks = [\n" + "\n".join(lines) + f"\n];{SERVE}"


@pytest.fixture
def serving(server, node_program):
    """serving(tasks, …): a server that runs a program of these."""
    def start(tasks, more="{}", head="", **options):
        return server(cmd=node_program(program(tasks, more, head)), **options)
    return start


def steps_of(db, execution):
    return {row[0]: row[1] for row in db.execute("select key, result from pgconductor.execution_steps(%s)", (execution,))}


def test_several_things_at_once_are_waited_for_together(db, serving):
    one = serving({
        "both": """async (event, ctx) => {
            console.log("begun");
            try {
                const branch = async (n) => {
                    const doubled = await ctx.invoke(`child ${n}`, { name: "double" }, n);
                    return ctx.step(`after ${n}`, () => doubled + 1);
                };
                return await Promise.all([ctx.step("first", () => 1), ctx.sleep("nap", 50), branch(10), branch(20)]);
            } finally {
                console.log("left");
            }
        }""",
        "double": "({ payload }) => 2 * payload"})
    job = invoke(db, "both")
    assert wait_finished(db, job)[1] == [1, None, 21, 41]
    assert steps_of(db, job) == {"first": 1, "nap": None, "child 10": 20, "child 20": 40, "after 10": 21, "after 20": 41}
    # The function was left to itself where it waited: its finally block ran once.
    one.wait_log("left$")
    assert one.log.count(": begun") == 2 and one.log.count(": left") == 1


def test_what_is_logged_carries_its_execution(db, serving, cli):
    one = serving({"say": """async (event, ctx) => {
        await ctx.step("k", () => ctx.logger.info("doing", { part: 7 }));
        await ctx.sleep(1);
        ctx.logger.warn("done");
    }"""})
    job = invoke(db, "say")
    wait_finished(db, job)
    one.wait_log(f'info .*execution={job}.*: doing {{"part":7}}$')
    one.wait_log(f"warn .*execution={job}.*: done$")
    lines = wait_for(lambda: found if len(found := cli("logs", str(job), check=True).stdout.splitlines()) >= 2 else None, 10)
    assert "doing" in lines[0] and "done" in lines[-1]


def test_a_process_that_stands_still_is_ended(db, serving):
    serving({"stand": """(event, ctx) => {
        if (ctx.attempt === 1) {
            for (;;);
        }
        return new Promise((resolve) => setTimeout(resolve, 1000, "busy, and alive"));
    }"""}, more='{ heartbeat: "500ms" }')
    job = invoke(db, "stand")
    assert wait_finished(db, job, timeout=20)[1] == "busy, and alive"
    assert value(db, "select attempt from pgconductor.finished_executions where id = %s", job) == 2


# ---- transactions

# What happens around the COMMIT of the first attempts: the process dies, or its connection is cut; before COMMIT is sent,
# when half of it is, when all of it is, a moment later, or when it is answered.
SHOP = """
import net from "node:net";
import { appendFileSync } from "node:fs";
import postgres from "postgres";

const WAYS = ["die", "cut"].flatMap((what) => ["before", "half", "sent", "soon", "answered"].map((when) => ({ what, when })));
let armed;

function strike(socket) {
    armed.what === "die" ? process.kill(process.pid, "SIGKILL") : socket.destroy();
    armed = undefined;
}

function guarded(socket) {
    const write = socket.write.bind(socket);
    socket.write = (bytes, ...rest) => {
        const at = armed === undefined ? -1 : Buffer.from(bytes).indexOf("commit");
        if (at === -1) {
            return write(bytes, ...rest);
        }
        const { when } = armed;
        if (when === "half") {
            write(bytes.subarray(0, at + 3), () => strike(socket));
        } else if (when === "sent") {
            write(bytes, () => strike(socket));
        } else if (when === "soon") {
            write(bytes);
            setImmediate(() => strike(socket));
        } else if (when === "answered") {
            socket.prependOnceListener("data", () => strike(socket));
            write(bytes, ...rest);
        } else {
            strike(socket);
        }
        return true;
    };
    return socket;
}

const sql = postgres({ ...JSON.parse(process.env.SHOP), max: 1, fetch_types: false, socket: ({ path }) => new Promise((resolve, reject) => {
    const socket = net.connect(path, () => resolve(guarded(socket))).on("error", reject);
}) });

async function pay({ payload }, ctx) {
    const paid = await ctx.transaction("pay", sql, async (tx) => {
        const mark = `${process.pid}.${Math.random()}`;
        await tx`insert into business values (${ctx.executionId}, ${mark})`;
        if (ctx.attempt <= payload.faults) {
            armed = WAYS[(payload.seed + 7 * Number(ctx.executionId) + 3 * ctx.attempt) % WAYS.length];
            appendFileSync(process.env.LEDGER, `1 ${process.pid} way ${ctx.executionId} ${ctx.attempt} ${armed.what} ${armed.when}\\n`);
        }
        return mark;
    });
    return { paid };
}
"""


@pytest.fixture
def shop(db, dsn, ledger, serving):
    db.execute("create table business (execution bigint not null, mark text not null)")

    def start(tasks=None, **options):
        parts = conninfo_to_dict(dsn)
        where = {"path": "{host}/.s.PGSQL.{port}".format(**parts), "database": parts["dbname"], "username": parts["user"]}
        return serving(tasks or {"pay": "pay"}, head=SHOP, env={"SHOP": json.dumps(where), "LEDGER": ledger.path}, **options)
    return start


def assert_each_paid_once(db, ids):
    rows = db.execute("select f.id, f.result ->> 'paid', b.marks from pgconductor.finished_executions f,"
                      " lateral (select array_agg(mark) as marks from business where execution = f.id) b"
                      " where f.state = 'completed' and f.task = 'pay'").fetchall()
    assert sorted(row[0] for row in rows) == sorted(ids)
    wrong = [row for row in rows if row[2] != [row[1]]]
    assert not wrong, wrong[:3]


def test_a_transaction_is_done_once_whatever_dies_at_its_commit(db, shop, ledger, seed, scale, capsys):
    # One at a time: what strikes its transaction is to strike that one.
    shop(more="{ defaultWorker: { concurrency: 1 } }")
    wanted, ids = scale(20, 1000), []
    while len(ledger.entries("way")) < wanted:
        ids += batch(db, "pay", n := scale(6, 50), '{"payload": {"faults": 4, "seed": %d}}' % seed)
        wait_for(lambda: value(db, "select count(*) from pgconductor.finished_executions") == len(ids), 30 + 2 * n,
                 "all have finished", poll=0.05)
    assert_each_paid_once(db, ids)
    ways = collections.Counter(e.rest for e in ledger.entries("way"))
    assert scale(len(ways) > 3, len(ways) == 10), ways
    faults.say(capsys, seed, f"{len(ids)} executions, {sum(ways.values())} times: {dict(sorted(ways.items()))}")


def test_a_cancelled_one_pays_nothing(db, shop):
    one = shop({"pay": """async (event, ctx) => {
        await ctx.transaction("pay", sql, async (tx) => {
            await tx`insert into business values (${ctx.executionId}, 'too late')`;
            console.log("begun");
            await new Promise((resolve) => ctx.signal.addEventListener("abort", resolve));
        });
    }""", "fine": "() => 1"})
    job = invoke(db, "pay")
    one.wait_log("begun$")
    assert value(db, "select pgconductor.cancel(%s)", job)
    wait_for(lambda: value(db, "select count(*) from pgconductor.running") == 0, 10, "it has stopped")
    assert wait_finished(db, invoke(db, "fine"))[1] == 1
    assert value(db, "select count(*) from business") == 0
    assert len(one.handlers()) == 1 and "restart" not in one.log


# ---- the example

STRIP = """
import { readFileSync } from "node:fs";
import ts from "typescript";
const compilerOptions = { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2022 };
console.log(ts.transpileModule(readFileSync(process.argv[1], "utf8"), { compilerOptions }).outputText);
"""


def test_the_example(db, server, node_tree, short_tmp):
    """That its types hold says test_examples.py."""
    text = run_node("node", "--input-type=module", "-e", STRIP, f"{paths.SRC}/examples/typescript/steps/labels.ts").stdout
    os.symlink(f"{node_tree}/node_modules", f"{short_tmp}/node_modules")
    with open(f"{short_tmp}/labels.mjs", "w", encoding="utf-8") as file:
        file.write(text)
    one = server(cmd=["node", f"{short_tmp}/labels.mjs"])
    labels = invoke(db, "labels", '["apple", "Äpfel"]')
    wait_for(lambda: value(db, "select state from pgconductor.executions_all where id = %s", labels) == "suspended", 20, "it dries")
    for pid in one.handlers():
        os.kill(pid, signal.SIGKILL)
    assert wait_finished(db, labels, timeout=20)[1] == "2 labels: APPLE, ÄPFEL"
    assert steps_of(db, labels) == {"check": 2, "print": ["APPLE", "ÄPFEL"], "dry": None, "store": "2 labels: APPLE, ÄPFEL"}
    assert value(db, "select attempt from pgconductor.finished_executions where id = %s", labels) == 1
    one.wait_log("stored ")
