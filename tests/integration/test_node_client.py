"""The client of the Node library: what it writes, in whose transaction, and how refusals look."""

import json

import pytest

from support import paths
from support.engine import value
from support.node import needs_node, node_program, node_tree, run_node, url_of  # noqa: F401
from support.wait import wait_for

pytestmark = needs_node


@pytest.fixture
def script(node_program, dsn):
    """script(text, …): runs it with `conductor`, `url` and `caught`; returns what it handed to `say`, parsed."""
    def run(text, head="", env=None, dsn=dsn, close="\nawait conductor.close();"):
        begin = """
        import postgres from "postgres";
        const url = process.env.TEST_URL;
        const open = (options) => {
            const { searchParams: at } = new URL(url.replace("@/", "@x/"));
            return postgres(url.split("?")[0].replace("@/", "@localhost/"), { host: at.get("host"), port: at.get("port"), ...options });
        };
        const say = (...values) => values.forEach((value) => console.log(JSON.stringify(value ?? null)));
        const caught = (promise) => promise.then(() => null, (e) => [e.constructor.name, e.message, e.code, e.cause?.name]);
        """
        done = run_node(*node_program(begin + (head or "const conductor = Conductor.create({ connectionString: url });") + text + close),
                        env={"TEST_URL": url_of(dsn)} | (env or {}))
        return [json.loads(line) for line in done.stdout.splitlines()]
    return run


@pytest.fixture(autouse=True)
def greet(request):
    if "dsn" in request.fixturenames:
        request.getfixturevalue("db").execute("select pgconductor.declare_task('greet', 'default')")


def rows(db, what="payload"):
    return [row[0] for row in db.execute(f"select {what} from pgconductor.executions order by id").fetchall()]


def test_ids_are_strings_and_batches_keep_their_order(db, script):
    db.execute("alter sequence pgconductor.executions_id_seq restart with 9007199254740993")
    one, many, none = script("""
        say(await conductor.invoke({ name: "greet" }, { n: 0 }));
        say(await conductor.invoke({ name: "greet" }, Array.from({ length: 500 }, (_, n) => ({ payload: { n }, priority: n % 3 }))));
        say(await conductor.invoke({ name: "greet" }, []));
    """)
    assert one == "9007199254740993" and none == [] and len(set(many)) == 500
    found = dict(db.execute("select id::text, (payload ->> 'n')::int from pgconductor.executions").fetchall())
    assert [found[i] for i in many] == list(range(500)) and found[one] == 0


def test_payloads_are_exact_text(db, script):
    exact = '{"b": 9223372036854775808, "a": 12.50, "a": "\\u0000\\ud800"}'
    script("""
        for (const value of [0, false, "", null, undefined, { a: [1, "é\\u0000\\ud800"] }, new RawJSON(process.env.EXACT)])
            await conductor.invoke({ name: "greet" }, value);
        await conductor.invoke({ name: "greet" }, [{ payload: [1, 2] }, { payload: new RawJSON(process.env.EXACT), metadata: "m" }]);
    """, env={"EXACT": exact})
    assert rows(db, "payload::text") == ["0", "false", '""', "null", "null", '{"a":[1,"é\\u0000\\ud800"]}', exact, "[1,2]", exact]
    assert rows(db, "metadata")[-1] == "m"


def test_options(db, script):
    before = value(db, "select pgconductor.now()")
    script("""
        await conductor.invoke({ name: "greet" }, 1, { priority: -7, metadata: { a: 1 } });
        await conductor.invoke({ name: "greet", queue: "other" }, 2, { run_at: new Date("2100-01-02T03:04:05Z") });
        await conductor.invoke({ name: "greet" }, 3, { runAt: "2100-01-02 03:04:05+00" });
        await conductor.invoke({ name: "greet" }, 4, { delay: "2h", priority: undefined });
        await conductor.invoke({ name: "greet" }, 5, { delay: 7_200_000 });
        await conductor.invoke({ name: "greet", queue: "third" }, [{ payload: 6, delay: { hours: 2 } }, { payload: 7, queue: "default" }], { priority: 3 });
    """)
    assert rows(db, "payload::text::int") == [1, 2, 3, 4, 5, 6, 7]
    assert rows(db, "priority") == [-7, 0, 0, 0, 0, 3, 3]
    assert rows(db, "metadata")[0] == {"a": 1}
    assert rows(db, "queue") == ["default", "other", "default", "default", "default", "third", "default"]
    due = rows(db, "run_at")
    assert due[1].isoformat() == due[2].isoformat() == "2100-01-02T03:04:05+00:00"
    for at in due[3:6]:
        assert 7190 < (at - before).total_seconds() < 7230


def test_in_the_callers_transaction(db, script):
    seen, = script("""
        const sql = open({ transform: postgres.camel, fetch_types: false, max: 1 });
        const theirs = Conductor.create({ sql, tasks: [{ name: "later", queue: "other", maxAttempts: 7 }] });
        await sql`create table orders (n int)`;
        await sql.begin(async (tx) => {
            await tx`insert into orders values (1)`;
            await theirs.with(tx).invoke({ name: "greet" }, "kept");
            await theirs.invoke({ name: "greet" }, [{ payload: "also kept" }], { sql: tx });
            const id = await theirs.with(tx).invoke({ name: "later" }, "declared as well");
            await theirs.with(tx).cancel(await theirs.with(tx).invoke({ name: "greet" }, "cancelled"), { reason: "changed my mind" });
            say((await theirs.with(tx).result(id)).state);
        });
        await sql.begin(async (tx) => {
            await tx`insert into orders values (2)`;
            await theirs.with(tx).invoke({ name: "greet" }, "gone");
            throw new Error("no");
        }).catch(() => {});
        await sql.end();
    """)
    assert seen == "ready"
    assert rows(db) == ["kept", "also kept", "declared as well"]
    assert value(db, "select array_agg(n) from orders") == [1]
    assert value(db, "select max_attempts from pgconductor.tasks where name = 'later' and queue = 'other'") == 7
    assert value(db, "select error ->> 'message' from pgconductor.finished_executions") == "changed my mind"


def test_cancel_retry_result(db, script):
    assert script("""
        const id = await conductor.invoke({ name: "greet" }, 1);
        say(await conductor.result(id), await conductor.retry(id));
        say(await conductor.cancel(id, { reason: "no more" }), await conductor.cancel(id), await conductor.result(id));
        say(await conductor.retry(id), (await conductor.result(id)).state, await conductor.result("123456789"));
    """) == [{"state": "ready"}, False, True, False,
             {"state": "cancelled", "error": {"code": "cancelled", "message": "no more"}}, True, "ready", None]


def test_wait(db, server, script):
    """For the end, wherever it comes from; what cannot be waited for is told apart."""
    server('task "echo" { exec = "cat" }\ntask "fail" { exec = "echo no >&2; exit 65" }\n')
    wait_for(lambda: value(db, "select count(*) from pgconductor.tasks where name in ('echo', 'fail')") == 2)
    found = script("""
        const echo = conductor.createTask({ name: "echo", returns: z.object({ n: z.number(), more: z.string().default("x") }) }, { invocable: true }, () => ({ n: 1 }));
        const invoke = (name, payload) => conductor.invoke({ name }, payload);
        say(await conductor.wait(await invoke("echo", { n: 7 })), await conductor.wait(await invoke("echo", { n: 7 }), { task: echo, timeout: "1m" }));
        say(await conductor.wait(await invoke("echo", { n: 7 }), { task: { name: "echo" } }), await conductor.wait(await invoke("echo", null)));
        say(await caught(conductor.wait(await invoke("echo", { n: "7" }), { task: echo })));
        const no = await invoke("fail");
        say((await conductor.wait(no).catch((error) => error.result)).error.code, (await caught(conductor.wait(no)))[0]);
        const waiting = await invoke("greet");
        say(await caught(conductor.wait(waiting, { timeout: 30 })), (await conductor.result(waiting)).state);
        setTimeout(() => conductor.cancel(waiting, { reason: "no more" }), 30);
        say(await caught(conductor.wait(waiting)));
        say((await caught(conductor.wait("123456789")))[0]);
        const sql = open({ max: 1 });
        await sql.begin(async (tx) => {
            const id = await conductor.invoke(echo, { n: 8 }, { sql: tx });
            say((await caught(conductor.wait(id, { sql: tx })))[1]);
        });
        await sql.end();
    """, head="""import { z } from "zod"; const conductor = Conductor.create({ connectionString: url });""")
    assert found[:4] == [{"n": 7}, {"n": 7, "more": "x"}, {"n": 7, "more": "x"}, None]
    assert found[4][0] == "BadResult" and found[4][1].startswith("the result of echo: /n: ")
    assert found[5:7] == ["app", "ExecutionFailed"]
    assert found[7][0] == "TimeoutError" and "has not finished within 30 ms" in found[7][1] and found[8] == "ready"
    assert found[9][0] == "ExecutionFailed" and found[9][1].endswith(" cancelled: no more")
    assert found[10] == "UnknownExecution" and "is in a transaction; commit first" in found[11]


def test_edit_move_discard(db, script):
    assert script("""
        const id = await conductor.invoke({ name: "greet" }, 1, { delay: "1h" });
        say(await conductor.edit(id, { payload: null, priority: 3, runAt: new Date("2100-01-01"), metadata: { a: 1 } }));
        say(await conductor.move(id, "far"), await conductor.discard(id), await conductor.edit("123456789", { priority: 1 }));
    """) == [True, True, False, False]
    assert db.execute("select payload::text, priority, run_at = '2100-01-01 00:00+00', metadata::text, queue from pgconductor.executions"
                      ).fetchone() == ("null", 3, True, '{"a":1}', "far")


def test_what_is_refused(db, script):
    found = script("""
        const greet = { name: "greet" };
        say(await caught(conductor.invoke({ name: "nope" }, 1)));
        say(await caught(conductor.invoke(greet, new RawJSON("{"))));
        say(await caught(conductor.invoke(greet, "x".repeat(17 << 20))));
        say(await caught(conductor.invoke({ ...greet, queue: "No Queue" }, 1)));
        say(await caught(conductor.invoke(greet, 1, { runAt: new Date(), delay: "1s" })));
        say(await caught(conductor.invoke(greet, 1, { dedupe_key: "" })));
        say(await caught(conductor.invoke(greet, [{ payload: 1, throttle: { seconds: 0 } }])));
        say(await caught(conductor.invoke(greet, 1, { priority: 99999 })));
        say(await caught(conductor.invoke(greet, NaN)));
        say(await caught(conductor.invoke(greet, [1, 2])));
        say(await caught(conductor.invoke(greet, 1, { prio: 1 })));
        say(await caught(conductor.cancel("not a number")));
        say(await caught(Conductor.create({ connectionString: url, tasks: [{ name: "t", timeout: "soon" }] }).invoke({ name: "t" }, 1)));
    """)
    assert [(e[0], e[2]) for e in found] == [
        ("UndeclaredTask", "PC001"), ("BadPayload", "PC002"), ("PayloadTooLarge", "PC003"), ("BadQueue", "PC004"),
        ("BadTime", "PC005"), ("BadArgument", "PC009"), ("BadTime", "PC005"), ("BadArgument", "PC009"), ("TypeError", None),
        ("TypeError", None), ("TypeError", None), ("PostgresError", "22P02"), ("BadTask", "PC008")]
    assert "'nope' was never declared" in found[0][1] and found[0][3] == "PostgresError"
    assert "dedupe_key: an empty text" in found[5][1] and "batch of one" in found[9][1]
    assert rows(db) == []


def test_keys(db, script):
    """One that was made already, one too many, and one that is put off."""
    first, same, batch, accepted, refused, many, late, later, latest = script("""
        const greet = { name: "greet" };
        say(await conductor.invoke(greet, 1, { dedupe_key: "é", dedupeFor: "1h" }));
        say(await conductor.invoke(greet, 2, { dedupeKey: "é" }));
        say(await conductor.invoke(greet, [{ payload: 3, dedupe_key: "é", dedupe_for: 0 }, { payload: 4 }]));
        say(await conductor.invoke(greet, 5, { throttle: { seconds: 3600 } }));
        say(await conductor.invoke(greet, 6, { throttle: { seconds: 3600 } }));
        say(await conductor.invoke(greet, [{ payload: 7, throttle: 1000 }, { payload: 8, throttle: "1h", dedupeKey: "k" }]));
        say(await conductor.invoke(greet, 9, { debounce: { seconds: 60 }, maxWait: "1h" }));
        say(await conductor.invoke(greet, 10, { debounce: "5m" }));
        say(await conductor.invoke(greet, [{ payload: 11, debounce: { seconds: 120 }, max_wait: "1h" }]));
    """)
    assert first == same == batch[0] and batch[1] not in (first, None)
    assert accepted is not None and refused is None and many[0] is None and many[1] is not None
    assert late == later == latest[0]
    assert db.execute("select payload, round(extract(epoch from run_at - created_at) / 60) from pgconductor.executions where id = %s",
                      (late,)).fetchone() == (11, 2)


def test_declared_before_it_is_deployed(db, script):
    head = """const conductor = Conductor.create({ connectionString: url, tasks: [{ name: "later", queue: "other", timeout: "5s" }, { name: "never" }] });
    const made = conductor.createTask({ name: "made", maxAttempts: 9 }, { invocable: true }, () => 1);"""
    script("""
        await conductor.invoke({ name: "later" }, 1);
        await conductor.invoke(made, [{ payload: 2 }]);
    """, head)
    assert db.execute("select queue, payload from pgconductor.executions order by id").fetchall() == [("other", 1), ("default", 2)]
    tasks = dict(db.execute("select name, (queue, max_attempts, timeout_ms)::text from pgconductor.tasks").fetchall())
    assert (tasks["later"], tasks["made"]) == ("(other,3,5000)", "(default,9,)") and "never" not in tasks
    script("await conductor.ensureInstalled();", head)
    assert value(db, "select count(*) from pgconductor.tasks where name = 'never'") == 1


def test_ensure_installed(script, empty_dsn, connect):
    text = """
        say((await caught(conductor.invoke({ name: "greet" }, 1)))?.[0]);
        say((await caught(conductor.ensureInstalled()))?.slice(0, 2));
        say((await caught(conductor.invoke({ name: "greet" }, 1)))?.[0]);
    """
    refused = script(text, dsn=empty_dsn, env={"PGCONDUCTOR": "/nonexistent/x"})
    assert refused[0] == refused[1][0] == refused[2] == "NotInstalled"
    assert "/nonexistent/x to install it was not found" in refused[1][1]
    assert script(text, dsn=empty_dsn, env={"PGCONDUCTOR": paths.PGCONDUCTOR}) == ["NotInstalled", None, "UndeclaredTask"]
    theirs = "const conductor = Conductor.create({ sql: postgres({ ...options, database: 'template1' }) });"
    head = 'const at = new URL(url.replace("@/", "@x/")); const options = { host: at.searchParams.get("host"),' \
           ' port: at.searchParams.get("port"), user: "postgres", idle_timeout: 1 };' + theirs
    found, = script("say((await caught(conductor.ensureInstalled()))?.slice(0, 2));", head, dsn=empty_dsn, env={"PGCONDUCTOR": "/nonexistent/x"})
    assert found[0] == "NotInstalled" and "/nonexistent/x to install it was not found" in found[1]


def test_where_it_connects_to(db, script, dsn):
    """DATABASE_URL, else PG*; and a script that is through ends by itself, soon."""
    head = "const conductor = Conductor.create();"
    script('await conductor.invoke({ name: "greet" }, 1);', head, env={"DATABASE_URL": url_of(dsn)}, close="")
    words = dict(word.split("=", 1) for word in dsn.split())
    script('await conductor.invoke({ name: "greet" }, 2);', head, env={
        "PGHOST": words["host"], "PGPORT": words["port"], "PGUSER": words["user"], "PGDATABASE": words["dbname"]})
    assert rows(db) == [1, 2]
    error, = script('say(await caught(conductor.invoke({ name: "greet" }, 3)));', head, env={"DATABASE_URL": "dbname=x"})
    assert error[0] == "TypeError" and "not a URL" in error[1]
