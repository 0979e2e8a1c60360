"""The Node library under a real server: what handlers get, answer, and survive."""

import json
import re
import shutil

import pytest

from support import paths, processes
from support.engine import invoke, result, value, wait_finished
from support.node import needs_node, node_program, node_tree  # noqa: F401
from support.server import run_cli
from support.wait import wait_for

pytestmark = needs_node

SERVE = """
const orchestrator = Orchestrator.create({ conductor, tasks });
await orchestrator.start();
await orchestrator.stopped;
"""


def program(tasks, conductor="Conductor.create()", serve=SERVE):
    """Tasks as name -> JavaScript function, or name -> (reference, function)."""
    lines = []
    for name, task in tasks.items():
        ref, function = task if isinstance(task, tuple) else ("", task)
        lines.append(f'conductor.createTask({{ name: "{name}", {ref} }}, {{ invocable: true }}, {function}),')
    return f"const conductor = {conductor};\nconst tasks = [\n" + "\n".join(lines) + f"\n];\n{serve}"


@pytest.fixture
def serving(server, node_program):
    """serving(tasks, …): a server that runs a program of these."""
    def start(tasks, conductor="Conductor.create()", serve=SERVE, **options):
        return server(cmd=node_program(program(tasks, conductor, serve)), **options)
    return start


def answer(db, task, payload="null", state="completed", **options):
    """Result of a new execution, or its error."""
    state, text, error = wait_finished(db, invoke(db, task, payload, **options), state)
    return text if state == "completed" else error


def text_of(db, execution):
    """The result as it stands in the database."""
    return value(db, "select result::text from pgconductor.finished_executions where id = %s", execution)


def test_several_run_at_once(db, serving):
    # Each waits until all five have begun.
    serving({"meet": """(() => {
        const waiting = [];
        return () => new Promise((resolve) => {
            waiting.push(resolve);
            if (waiting.length === 5) waiting.forEach((one) => one(waiting.length));
        });
    })()"""})
    ids = value(db, "select pgconductor.invoke_batch('meet', %s::json)", "[" + ",".join(["{}"] * 5) + "]")
    for execution in ids:
        assert wait_finished(db, execution)[1] == 5


def test_values(db, serving):
    results = {"zero": "0", "no": "false", "empty": '""', "nul": "null", "nothing": "undefined",
               "deep": '{ a: [1, { b: "é😀\\u0000" }] }'}
    bad = {"nan": "NaN", "big": "10n", "bytes": "Buffer.from('x')", "circle": "(() => { const a = {}; a.a = a; return a; })()"}
    exact = '{"b": 9223372036854775808, "a": 12.50, "a": "\\u0000\\ud800"}'
    serving({name: f"async () => ({text})" for name, text in {**results, **bad}.items()}
            | {"echo": "(event) => event.payload", "exact": "(event, ctx) => new RawJSON(ctx.payloadText)",
               "no_json": '() => new RawJSON("{")', "ctx": """(event, ctx) => ({ id: ctx.executionId, type: typeof ctx.executionId,
                   task: ctx.task, attempt: ctx.attempt, queue: ctx.queue, event: event.name, meta: ctx.metadata, mine: ctx.mine,
                   left: ctx.deadline === null ? null : ctx.deadline - Date.now() })""",
               "timed": ('timeout: "1h"', "(event, ctx) => ctx.deadline - Date.now()")},
            conductor="Conductor.create({ context: { mine: 7 } })")
    ids = {name: invoke(db, name) for name in {**results, **bad, "no_json": None}}
    for name, text in {"zero": "0", "no": "false", "empty": '""', "nul": "null", "nothing": "null"}.items():
        wait_finished(db, ids[name])
        assert (text_of(db, ids[name]) or "null") == text, name
    wait_finished(db, ids["deep"])
    assert text_of(db, ids["deep"]) == '{"a":[1,{"b":"é😀\\u0000"}]}'
    for name in (*bad, "no_json"):
        error = wait_for(lambda: value(db, "select error from pgconductor.executions where id = %s", ids[name]), 10, name)
        assert error["code"] == "bad_result", name
    assert answer(db, "echo", '{"x": [0, false, "", null]}') == {"x": [0, False, "", None]}
    execution = invoke(db, "exact", exact)
    wait_finished(db, execution)
    assert text_of(db, execution) == exact
    execution = invoke(db, "ctx", metadata='{"tenant": 7}')
    assert wait_finished(db, execution)[1] == {
        "id": str(execution), "type": "string", "task": "ctx", "attempt": 1, "queue": "default", "event": "pgconductor.invoke",
        "meta": {"tenant": 7}, "mine": 7, "left": None}
    assert 3500_000 < answer(db, "timed") <= 3600_000


def test_errors_and_retries(db, serving, cli):
    serving({
        "own": ("maxAttempts: 1", """() => {
            class TooCold extends Error {}
            throw new TooCold("minus 40", { cause: new RangeError("no heating") });
        }"""),
        "never": '() => { throw new NonRetryableError("for good", { data: { why: [1] } }); }',
        "later": '(event, ctx) => { if (ctx.attempt === 1) throw new RetryAfter("1h", "busy"); }',
        "third": ('backoff: "10ms", maxAttempts: 3', '(event, ctx) => { if (ctx.attempt < 3) throw "again"; return ctx.attempt; }'),
        "spent": ('backoff: "10ms", maxAttempts: 2', '() => { throw new TypeError("no use"); }'),
    })
    execution = invoke(db, "own")
    error = wait_finished(db, execution, "failed")[2]
    assert (error["code"], error["type"], error["message"]) == ("app", "TooCold", "minus 40")
    assert re.fullmatch(r"TooCold: minus 40\n +at .*app\.mjs:.*\ncaused by: RangeError: no heating\n +at .*app\.mjs:.*",
                        error["stack"])
    shown = cli("show", str(execution), check=True).stdout
    assert "TooCold" in shown and "minus 40" in shown and "app.mjs:" in shown
    error = answer(db, "never", state="failed")
    assert (error["message"], error["type"], error["data"]) == ("for good", "NonRetryableError", {"why": [1]})
    assert answer(db, "third") == 3
    assert answer(db, "spent", state="failed")["message"] == "no use"
    execution = invoke(db, "later")
    wait_finished(db, execution, "delayed")
    away = value(db, "select extract(epoch from run_at - pgconductor.now()) from pgconductor.executions where id = %s", execution)
    assert 3500 < away <= 3600


def test_cancel_and_timeout_abort_the_signal(db, serving):
    wait = """(event, ctx) => new Promise((resolve, reject) => {
        console.log("begun", ctx.executionId);
        ctx.signal.addEventListener("abort", () => {
            console.log("aborted", ctx.executionId, ctx.signal.reason.name, ctx.signal.reason.reason);
            reject(ctx.signal.reason);
        });
    })"""
    one = serving({"wait": wait, "timed": ('timeout: "100ms", maxAttempts: 1', wait), "other": "() => 1"})
    execution = invoke(db, "wait")
    one.wait_log(f"begun {execution}$")
    assert value(db, "select pgconductor.cancel(%s, 'not needed')", execution)
    one.wait_log(f"aborted {execution} Cancelled ")
    assert result(db, execution)[0] == "cancelled"
    execution = invoke(db, "timed")
    error = wait_finished(db, execution, "failed")[2]
    assert error["code"] == "timeout"
    one.wait_log(f"aborted {execution} Cancelled timeout$")
    # It is still the same process.
    assert answer(db, "other") == 1
    assert len(one.handlers()) == 1 and "restart" not in one.log


def test_drain_lets_it_finish(db, serving):
    one = serving({"slow": """async (event, ctx) => {
        console.log("begun");
        await new Promise((resolve) => setTimeout(resolve, 700));
        return "finished";
    }"""}, serve=SERVE + 'console.log("last words");')
    execution = invoke(db, "slow")
    one.wait_log("begun$")
    assert one.stop() == 0
    assert result(db, execution)[:2] == ("completed", "finished")
    assert "last words" in one.log


def test_what_is_left_open_does_not_keep_it(db, serving):
    one = serving({"t": "() => 1"}, serve="setInterval(() => {}, 1000);\n" + SERVE)
    assert answer(db, "t") == 1
    handler, = one.handlers()
    assert one.stop(10) == 0
    assert not processes.alive(handler) and "SIG" not in one.log


def test_queues(db, serving):
    serve = """
    const media = conductor.createWorker({ queue: "media", tasks: [tasks[1]], config: { concurrency: 1 } });
    const orchestrator = Orchestrator.create({ conductor, tasks: [tasks[0], tasks[2]], workers: [media] });
    await orchestrator.start();
    console.log("serves", JSON.stringify(orchestrator.info()));
    await orchestrator.stopped;
    """
    queue = "(event, ctx) => ctx.queue"
    one = serving({"home": queue, "media": queue, "named": ('queue: "named"', queue)}, serve=serve)
    # Each process says by itself what it serves.
    wait_for(lambda: value(db, "select count(*) from pgconductor.tasks") == 3, 20, "its tasks are declared")
    assert [answer(db, task) for task in ("home", "media", "named")] == ["default", "media", "named"]
    wait_for(lambda: len(set(one.workers())) == 3, 10, "three workers")
    # The discovery tells all tasks, every other process those of its queue.
    for name, count in (("default", 100), ("media", 1), ("named", 100)):
        found = one.wait_log(r'serves (\{.*"queue":"%s".*\})' % name)
        info = json.loads(found[1])
        assert (info["role"], info["state"], info["tasks"], info["concurrency"]) == (
            "handler", "serving", [{"default": "home"}.get(name, name)], count)


def test_what_it_prints_and_starts_does_no_harm(db, serving):
    one = serving({
        "print": '() => { console.log("to stdout"); console.error("to stderr"); process.stdout.write("half a line"); return 1; }',
        "child": """async () => {
            const { execFileSync } = await import("node:child_process");
            const shell = 'ls /proc/self/fd | tr "\\\\n" " "; echo "${PGCONDUCTOR_FD-unset}"';
            return execFileSync("sh", ["-c", shell], { encoding: "utf8" }).trim().split(" ");
        }""",
        "log": """(event, ctx) => { ctx.logger.warn("low", { left: 3 }); ctx.logger.error("bad", new TypeError("oh")); }"""})
    assert answer(db, "print") == 1
    one.wait_log("to stdout$")
    one.wait_log("to stderr$")
    *descriptors, fd = answer(db, "child")
    # 3 is what ls reads the directory with.
    assert fd == "unset" and set(descriptors) <= {"0", "1", "2", "3"}
    execution = invoke(db, "log")
    wait_finished(db, execution)
    one.wait_log(f'warn .*execution={execution}: low {{"left":3}}$')
    one.wait_log(f'err.* .*execution={execution}: bad .*TypeError')


def test_no_server_within_a_handler(db, serving):
    """Neither by a second orchestrator, nor by a program or thread that has the same file."""
    more = """
    const start = () => Orchestrator.create({ conductor, tasks: [] }).start().then(() => null, (error) => error.message);
    """
    one = serving({
        "again": "() => start()",
        "child": """async () => {
            const { spawnSync } = await import("node:child_process");
            const { stderr, status } = spawnSync(process.execPath, [process.argv[1]], { encoding: "utf8" });
            return [status, stderr];
        }""",
        "thread": """async () => {
            const { Worker } = await import("node:worker_threads");
            return new Promise((resolve) => new Worker(process.argv[1]).on("error", (error) => resolve(error.message)));
        }"""}, serve=more + SERVE)
    refusal = "one orchestrator serves in a handler"
    assert refusal in answer(db, "again") and refusal in answer(db, "thread")
    status, text = answer(db, "child")
    assert status == 1 and refusal in text
    assert len(one.handlers()) == 1


def test_much_both_ways_at_once(db, serving):
    size, count = 1 << 20, 30
    serving({"echo": "(event) => event.payload + '!'"})
    items = json.dumps([{"payload": "x" * size}] * count)
    for execution in value(db, "select pgconductor.invoke_batch('echo', %s::json)", items):
        wait_finished(db, execution, timeout=30)
    assert value(db, "select count(*) from pgconductor.finished_executions where octet_length(result::text) = %s", size + 3) == count


def test_many_small_ones_in_order(db, serving, wait_for):
    serving({"seen": "(event) => event.payload.n"})
    n = 3000
    ids = value(db, "select pgconductor.invoke_batch('seen', (select json_agg(json_build_object('payload',"
                    " json_build_object('n', g)) order by g) from generate_series(1, %s) g))", n)
    wait_for(lambda: value(db, "select count(*) from pgconductor.finished_executions where state = 'completed'") == n, 30)
    rows = db.execute("select id, result::text::int from pgconductor.finished_executions order by id").fetchall()
    assert rows == [(execution, i + 1) for i, execution in enumerate(ids)]


def test_an_error_nobody_catches_ends_the_process_alone(db, serving):
    one = serving({"fatal": ("maxAttempts: 1", '() => new Promise(() => setTimeout(() => { throw new Error("loose"); }))'),
                   "fine": "() => 1"})
    assert answer(db, "fatal", state="failed")["code"] == "crash"
    one.wait_log("Error: loose")
    assert answer(db, "fine") == 1


def test_a_program_that_is_refused_says_why(node_program, dsn, cli):
    done = cli("run", "--drain", "--", *node_program(program({"not a name": "() => 1"})), timeout=40)
    assert done.returncode != 0
    assert "not a task name" in done.stderr + done.stdout


def test_conform(node_tree, short_tmp):
    shutil.copyfile(f"{paths.SRC}/tests/support/conform_node.mjs", f"{node_tree}/conform.mjs")
    done = run_cli("conform", "--json", "--", "node", f"{node_tree}/conform.mjs", cwd=short_tmp)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row for row in rows if row["result"] == "not ok"] == [] and done.returncode == 0
    # One that runs several at once need not keep an order.
    assert [row["case"] for row in rows if row["result"] == "skip"] == ["prefetch-order"]
    assert len(rows) > 50
