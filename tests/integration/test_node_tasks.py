"""Tasks with schemas in TypeScript: programs of several files, compiled, that serve and invoke them; pg; and bun."""

import json
import os
import re
import shutil
import subprocess

import pytest
from psycopg.conninfo import conninfo_to_dict

from support import paths
from support.engine import asleep, invoke, result, value, wait_finished
from support.node import needs_node, node_program, node_tree, run_node, url_of  # noqa: F401
from support.terminal import Terminal
from support.wait import wait_for

pytestmark = needs_node

PROGRAMS = f"{paths.SRC}/tests/support/node_documents"
TSC = ("--target", "es2022", "--module", "nodenext", "--strict", "--exactOptionalPropertyTypes", "--skipLibCheck", "--types", "node")
BUN = os.environ.get("PGC_BUN") or shutil.which("bun")


def options_of(dsn):
    """Those of postgres.js and of pg."""
    parts = conninfo_to_dict(dsn)
    return {"host": parts["host"], "port": int(parts["port"]), "user": parts["user"], "database": parts["dbname"]}


@pytest.fixture
def programs(node_tree, short_tmp):
    """Their sources, with the library beside them."""
    target = f"{short_tmp}/programs"
    shutil.copytree(PROGRAMS, target, copy_function=shutil.copyfile)
    os.symlink(f"{node_tree}/node_modules", f"{target}/node_modules")
    with open(f"{target}/package.json", "w", encoding="ascii") as file:
        file.write('{"type": "module"}')
    return target


@pytest.fixture
def compiled(programs):
    run_node("node_modules/.bin/tsc", *TSC, "client.ts", "worker.ts", cwd=programs)
    return programs


def wait_declared(db, *tasks):
    """Each queue says what it has when it comes up."""
    wait_for(lambda: value(db, "select count(*) from pgconductor.tasks where name = any (%s) and sources::text like '%%code:%%'", list(tasks)) == len(tasks),
             20, "all queues have come up")


def client(programs, dsn, *args, command=("node", "client.js")):
    done = run_node(*command, *args, cwd=programs, env={"OPTIONS": json.dumps(options_of(dsn) | {"max": 2}), "TZ": "UTC"})
    return [json.loads(line) for line in done.stdout.splitlines()]


def all_is_done(db, said):
    """What the client invoked, by what the worker makes of it."""
    order, label, (first, second), throttled, debounced, cancelled, refused, waiting, (again,), typed = said[:10]
    assert cancelled == [True, False] and refused == ["BadPayload", 1]
    assert wait_finished(db, order, timeout=20)[1] == {"n": 14, "code": "A@B.EXAMPLE 0 true"}
    assert wait_finished(db, label)[1] == {"code": "ANN@EXAMPLE.COM", "printed": "1970-01-01T00:00:00.000Z"}
    assert [wait_finished(db, one)[1]["n"] for one in (first, second, throttled, typed)] == [2, 4, 8, 42]
    assert wait_finished(db, debounced)[1] == {"n": 10}
    assert wait_finished(db, again)[1] is True
    return waiting


def test_programs_of_several_files(db, dsn, server, compiled):
    """Four queues, each kind of trigger, and a client that has nothing but PostgreSQL."""
    db.execute("create table people (id int generated always as identity primary key, email text, born date)")
    server(cmd=["node", f"{compiled}/worker.js"], env={"DATABASE_URL": "postgresql://nobody@/nowhere"})
    waiting = all_is_done(db, client(compiled, dsn))
    queues = ("default", "fast", "slow", "normal")
    wait_declared(db, *(f"at-{queue}" for queue in queues))
    for queue in queues:
        assert wait_finished(db, invoke(db, f"at-{queue}", "null"))[1] == queue
    wait_for(lambda: value(db, "select waiting from pgconductor.executions where id = %s", waiting) == "suspended", 20, "it waits for the event")
    value(db, "select pgconductor.emit('order.paid', '{\"id\": \"7\", \"cents\": 250}'::text)")
    wait_for(lambda: value(db, "select count(*) from pg_trigger where tgrelid = 'people'::regclass and not tgisinternal") > 0, 20, "rows are noted")

    def bought():
        db.execute("insert into people (email) values ('ann@example.com')")
        return result(db, waiting)[0] == "completed"
    wait_for(bought, 20, "the row was seen")
    assert result(db, waiting)[1] == ["250.00", "ann@example.com"]
    wait_for(lambda: {"7", "ANN@EXAMPLE.COM"} <= {row[0] for row in db.execute(
        "select result from pgconductor.finished_executions where task = 'seen'").fetchall()}, 20, "what the event and the row have started")
    # What a program says of its tasks is there for everybody else.
    schema = value(db, "select pgconductor.payload_schema('label')")
    assert schema["required"] == ["parcel", "to"] and schema["properties"]["to"]["format"] == "email"
    bad = wait_finished(db, invoke(db, "label", '{"parcel": "x", "to": "ann@example.com"}'), "failed")[2]
    assert bad["code"] == "bad_payload" and "/parcel" in bad["message"]


EVERY_FORMAT = """
import { z } from "zod";
import { TaskSchemas, defineTask } from "pgconductor";
const all = {
    uuid: z.uuid(), guid: z.guid(), email: z.email(), url: z.url(), datetime: z.iso.datetime({ offset: true }), date: z.iso.date(), time: z.iso.time(),
    duration: z.iso.duration(), ipv4: z.ipv4(), ipv6: z.ipv6(), cidr: z.cidrv4(), base64: z.base64(), jwt: z.jwt().optional(), emoji: z.emoji(),
    nanoid: z.nanoid(), ulid: z.ulid(), e164: z.e164(), upper: z.string().regex(/^[A-Z]+$/i), begins: z.string().startsWith("a.b").endsWith("c"),
    int: z.int().min(3).max(5), step: z.number().multipleOf(0.01), set: z.enum(["a", "b"]), one: z.literal(7), either: z.union([z.string(), z.number()]),
    tagged: z.discriminatedUnion("kind", [z.object({ kind: z.literal("x"), n: z.number() }), z.object({ kind: z.literal("y") })]),
    pair: z.tuple([z.string(), z.number()]), map: z.record(z.string(), z.number()), nothing: z.null(), maybe: z.string().nullish(),
    default: z.number().default(1), later: z.coerce.date(), converted: z.string().transform(Number), number: z.coerce.number(), template: z.templateLiteral(["v", z.number()]),
    get self() { return z.array(z.strictObject({ a: z.string() })).max(3); },
};
const value = {
    uuid: "123e4567-e89b-12d3-a456-426614174000", guid: "123e4567-e89b-02d3-0456-426614174000", email: "ann@example.com", url: "https://exämple.com/ü b",
    datetime: "2030-01-31T12:00:00+01:00", date: "2030-01-31", time: "12:00:00", duration: "P1DT2H", ipv4: "10.0.0.1", ipv6: "::1", cidr: "10.0.0.0/8",
    base64: "aGVsbG8=", emoji: "\\u{1f600}", nanoid: "V1StGXR8_Z5jdHi6B-myT", ulid: "01ARZ3NDEKTSV4RRFFQ69G5FAV", e164: "+491701234567", upper: "abc",
    begins: "a.b..c", int: 4, step: 0.07, set: "b", one: 7, either: 3, tagged: { kind: "x", n: 1 }, pair: ["a", 1], map: { a: 1 }, nothing: null,
    maybe: null, later: "2030-01-31", converted: "7", number: "8", template: "v12", self: [{ a: "b" }],
};
const wrong = { uuid: "x", email: "x", date: "2030-02-31", ipv4: "10.0.0.256", ipv6: "::x", emoji: "x", int: 6, set: "c", pair: ["a"], template: "v", map: { a: "1" },
    self: [{ b: 1 }], tagged: { kind: "z" }, step: 0.005, converted: 7, nothing: 1 };
const formats = defineTask({ name: "formats", payload: z.object(all), returns: z.object({ n: z.number() }) });
const conductor = Conductor.create({ tasks: TaskSchemas.fromSchema([formats]) });
"""


def test_schemas_of_zod_are_taken_by_the_server(db, dsn, server, node_program):
    """All that it says of its schemas, what it takes is taken, and what it refuses is refused."""
    serve = """
    const task = conductor.createTask({ name: "formats" }, { invocable: true }, ({ payload }) => payload.converted === 8 ? { n: "8" } : { n: payload.converted });
    const orchestrator = Orchestrator.create({ conductor, tasks: [task] });
    await orchestrator.start();
    await orchestrator.stopped;
    """
    server(cmd=node_program(EVERY_FORMAT + serve))
    say = "console.log(JSON.stringify([value, wrong]));"
    good, wrong = json.loads(run_node(*node_program(EVERY_FORMAT + say, "say.mjs")).stdout)
    assert wait_finished(db, invoke(db, "formats", json.dumps(good)))[1] == {"n": 7}
    jobs = {name: invoke(db, "formats", json.dumps(good | {name: bad})) for name, bad in wrong.items()}
    for name, job in jobs.items():
        error = wait_finished(db, job, "failed")[2]
        assert error["code"] == "bad_payload" and f"/{name}" in error["message"], (name, error)
    db.execute("select pgconductor.declare_task('formats', null, '{\"max_attempts\": 1}', 'set')")
    error = wait_finished(db, invoke(db, "formats", json.dumps(good | {"converted": "8"})), "failed")[2]
    assert error["code"] == "bad_result" and re.fullmatch(r"the result of formats: /n: .*number.*", error["message"])


def test_pg(db, dsn, node_program):
    """Its pools and clients, in the caller's transaction."""
    db.execute("create table orders (n int)")
    done = run_node(*node_program("""
    import pg from "pg";
    const say = (value) => console.log(JSON.stringify(value ?? null));
    const pool = new pg.Pool(JSON.parse(process.env.OPTIONS));
    const conductor = Conductor.create({ sql: pool, tasks: [{ name: "greet", maxAttempts: 7 }] });
    await conductor.ensureInstalled();
    const client = await pool.connect();
    for (const end of ["commit", "rollback"]) {
        await client.query("begin");
        await client.query("insert into orders values (1)");
        const id = await conductor.with(client).invoke({ name: "greet" }, { name: end });
        await conductor.invoke({ name: "greet" }, [{ payload: end, run_at: new Date("2100-01-01") }], { sql: client });
        say((await conductor.result(id, { sql: client })).state);
        await client.query(end);
    }
    client.release();
    say(await conductor.cancel(await conductor.invoke({ name: "greet" }, 1), { reason: "no" }));
    say(await conductor.emit("said", { a: 1 }));
    say((await conductor.schedule({ name: "greet" }, "n", { cron: "0 0 1 1 *" })).getUTCMonth());
    say(await conductor.invoke({ name: "nope" }, 1).catch((error) => [error.constructor.name, error.code, error.cause.constructor.name]));
    await pool.end();
    """), env={"OPTIONS": json.dumps(options_of(dsn))})
    *said, refused = [json.loads(line) for line in done.stdout.splitlines()]
    assert said == ["ready", "ready", True, "1", 0] and refused == ["UndeclaredTask", "PC001", "DatabaseError"]
    assert db.execute("select payload from pgconductor.executions order by id").fetchall() == [({"name": "commit"},), ("commit",)]
    assert value(db, "select count(*) from orders") == 1
    assert value(db, "select max_attempts from pgconductor.tasks where name = 'greet'") == 7


PAYING = """
import pg from "pg";
const pool = new pg.Pool(JSON.parse(process.env.OPTIONS));
const conductor = Conductor.create({ sql: pool });
const pay = conductor.createTask({ name: "pay", backoff: "1ms" }, { invocable: true }, async ({ payload }, ctx) => {
    const paid = await ctx.transaction("pay", pool, async (tx) => {
        await tx.query("insert into payments values ($1, $2)", [payload, ctx.attempt]);
        if (ctx.attempt === 1) {
            await tx.query("select 1/0").catch(() => {});
        }
        return { n: payload };
    });
    await ctx.sleep(20);
    return paid;
});
const orchestrator = Orchestrator.create({ conductor, tasks: [pay] });
await orchestrator.start();
await orchestrator.stopped;
await pool.end();
"""


def test_started_by_hand_it_serves_the_database_of_its_connection(db, dsn, node_program):
    """And a step in a transaction of pg is done whole or not at all, also if somebody catches what went wrong within it."""
    db.execute("create table payments (n int, attempt int)")
    env = {"OPTIONS": json.dumps(options_of(dsn)), "PGCONDUCTOR": paths.PGCONDUCTOR, "DATABASE_URL": "postgresql://nobody@/nowhere"}
    with Terminal(node_program(PAYING), env=env) as terminal:
        wait_for(lambda: value(db, "select count(*) from pgconductor.nodes where cardinality(serves) > 0"), 20, "a node serves")
        assert wait_finished(db, invoke(db, "pay", "7"))[1] == {"n": 7}
        assert db.execute("select n, attempt from payments").fetchall() == [(7, 2)]
        terminal.process.terminate()
        assert terminal.wait_exit() == 0


WIDE = """
let now = 0, most = 0;
const conductor = Conductor.create();
const both = ["wide", "narrow"].map((name) => conductor.createTask({ name }, { invocable: true }, async (_, ctx) => {
    most = Math.max(most, ++now);
    await new Promise((resolve) => setTimeout(resolve, 100));
    now--;
    return [ctx.queue, most];
}));
const worker = (n, concurrency) => conductor.createWorker({ queue: both[n].name, tasks: [both[n]], config: { concurrency, fetchBatchSize: 60, pollIntervalMs: 1, flushIntervalMs: 1 } });
const orchestrator = Orchestrator.create({ conductor, workers: [worker(0, 30), worker(1, 20)] });
await orchestrator.start();
await orchestrator.stopped;
"""


def test_what_a_worker_says_of_its_queue(db, server, node_program):
    """More than the ten that run at once unless somebody says otherwise; also after a reload; but a section of the configuration counts."""
    one = server('queue "narrow" { concurrency = 2 }\n', cmd=node_program(WIDE))

    wait_declared(db, "wide", "narrow")

    def most(task, jobs):
        ids = value(db, "select pgconductor.invoke_batch(%s, (select json_agg(json_build_object('payload', n)) from generate_series(1, %s) n))", task, jobs)
        return max(wait_finished(db, job)[1][1] for job in ids)
    assert most("wide", 60) == 30 and most("narrow", 6) == 2
    one.hup()
    one.wait_log("the configuration was read again")
    assert most("wide", 60) == 30 and most("narrow", 6) == 2


LOOKS = """
const conductor = Conductor.create();
const task = conductor.createTask({ name: "said" }, { invocable: true }, ({ payload }) => payload);
const worker = conductor.createWorker({ queue: "often", tasks: [task], config: { pollIntervalMs: 1, flushIntervalMs: 1 } });
const orchestrator = Orchestrator.create({ conductor, workers: [worker] });
await orchestrator.start();
await orchestrator.stopped;
"""


def untold(db):
    """An execution of which the sleeping server is not told."""
    asleep(db)
    with db.transaction():
        db.execute("set local pgconductor.notify = off")
        return invoke(db, "said", "7")


def test_how_often_a_worker_has_the_server_look(db, server, node_program):
    """Without its pollIntervalMs nothing would be found for an hour; so also after a reload, and with a section of the configuration."""
    hourly = 'poll_interval = "1h"\n'
    one = server(hourly, cmd=node_program(LOOKS))
    wait_declared(db, "said")
    assert wait_finished(db, untold(db))[1] == 7
    one.hup()
    one.wait_log("the configuration was read again")
    assert wait_finished(db, untold(db))[1] == 7
    one.set_config(hourly + 'queue "often" { poll_interval = "200ms" }\n')
    one.hup()
    one.wait_log("the configuration was read again", count=2)
    assert wait_finished(db, untold(db))[1] == 7


@pytest.mark.skipif(BUN is None, reason="bun is not installed (npm install bun; PGC_BUN names it)")
def test_bun(db, dsn, programs):
    """It runs the sources as they are, and is what the server starts, with the arguments that it was given."""
    db.execute("create table people (id int generated always as identity primary key, email text, born date)")
    env = {"DATABASE_URL": url_of(dsn), "PGCONDUCTOR": paths.PGCONDUCTOR}
    with Terminal([BUN, f"{programs}/worker.ts", "one", "two words"], env=env) as terminal:
        wait_for(lambda: value(db, "select count(*) from pgconductor.nodes where cardinality(serves) > 3"), 30, "a node serves")
        waiting = all_is_done(db, client(programs, dsn, command=(BUN, "client.ts")))
        assert value(db, "select pgconductor.cancel(%s)", int(waiting))
        terminal.wait("serving label and others one two words")
        terminal.process.terminate()
        assert terminal.wait_exit() == 0
    assert subprocess.run([BUN, "--version"], stdout=subprocess.PIPE, text=True, check=True).stdout.startswith("1.")
