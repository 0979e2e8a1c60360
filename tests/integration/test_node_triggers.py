"""Triggers and events in Node: what is not in the table of all languages (test_triggers.py)."""

import json
import re

import pytest

from support.engine import invoke, value, wait_finished
from support.node import needs_node, node_program, node_tree, run_node  # noqa: F401
from support.wait import wait_for

pytestmark = needs_node

ORDER = """
import { EventSchemas, defineEvent } from "pgconductor";
import { z } from "zod";

const events = EventSchemas.fromSchema([
    defineEvent({ name: "order.placed", payload: z.object({ id: z.string(), total: z.number().default(0) }) }),
    defineEvent({ name: "order.timed", payload: z.object({ at: z.coerce.date() }) }),
]);
"""
SERVE = """
const orchestrator = Orchestrator.create({ conductor, tasks });
await orchestrator.start();
await orchestrator.stopped;
"""


@pytest.fixture
def serving(server, node_program):
    """serving(tasks): a server that runs a program of these, [(name, triggers, function)], which knows the events of ORDER."""
    def start(*tasks, **options):
        lines = [f'conductor.createTask({{ name: "{name}", backoff: "1ms" }}, {triggers}, {function}),'
                 for name, triggers, function in tasks]
        return server(cmd=node_program(f"{ORDER}\nconst conductor = Conductor.create({{ events }});\nconst tasks = [\n"
                                       + "\n".join(lines) + f"\n];{SERVE}"), **options)
    return start


def emit(db, event, payload=None):
    return value(db, "select pgconductor.emit(%s, %s::text)", event, json.dumps(payload))


def started(db, task, n=1):
    """What became of its executions: [state, result, error] in order."""
    def rows():
        return db.execute("select state, result, error from pgconductor.finished_executions where task = %s order by id", (task,)).fetchall()
    wait_for(lambda: len(rows()) >= n, 20, f"{task} has run")
    return rows()


def suspended(db, job):
    wait_for(lambda: value(db, "select waiting from pgconductor.executions where id = %s", job) == "suspended", 20, "it waits")


# ---- schemas

def test_what_is_delivered_is_what_the_schema_makes_of_it(db, serving):
    serving(("place", '[{ invocable: true }, { event: "order.placed" }, { event: "order.timed" }]',
             '({ name, payload, at }) => [name, payload.at?.getTime() ?? payload, at === null]'),
            ("part", '{ event: "order.placed", fields: "id" }', "({ payload }) => payload"),
            ("refused", "{ invocable: true }", '(event, ctx) => ctx.start({ name: "part" }, {}).catch((error) => error.constructor.name)'),
            ("wait", "{ invocable: true }", '(event, ctx) => ctx.waitForEvent("k", { event: "order.placed" })'),
            ("both", "{ invocable: true }", '(event, ctx) => ctx.waitForAll([{ event: "order.placed" }, { event: "order.timed" }])'))
    wait_for(lambda: value(db, "select count(*) from pgconductor.subscriptions") == 3, 20, "it has subscribed")
    good, bad = invoke(db, "wait"), invoke(db, "both")
    suspended(db, good)
    suspended(db, bad)
    emit(db, "order.placed", {"id": "7", "more": 1})
    emit(db, "order.timed", {"at": "1970-01-01T00:00:00.250Z"})
    assert wait_finished(db, good)[1] == {"id": "7", "total": 0}
    assert wait_finished(db, bad)[1] == [{"id": "7", "total": 0}, {"at": "1970-01-01T00:00:00.250Z"}]
    assert [row[1] for row in started(db, "place", 2)] == [["order.placed", {"id": "7", "total": 0}, False], ["order.timed", 250, False]]
    # A part of it is not held against what the whole has to be.
    assert [row[1] for row in started(db, "part")] == [{"id": "7"}]
    assert wait_finished(db, invoke(db, "refused"))[1] == "NotInvocable"
    # What invokes it is another thing.
    assert wait_finished(db, invoke(db, "place", '{"id": 7}'))[1] == ["pgconductor.invoke", {"id": 7}, True]


def test_what_is_not_as_its_schema_wants_fails_for_good(db, serving):
    serving(("place", '[{ event: "order.placed" }, { event: "order.timed" }]', '() => "not reached"'),
            ("wait", "{ invocable: true }", '(event, ctx) => ctx.waitForEvent("k", { event: "order.timed" })'))
    wait_for(lambda: value(db, "select count(*) from pgconductor.subscriptions") == 2, 20, "it has subscribed")
    job = invoke(db, "wait")
    suspended(db, job)
    emit(db, "order.timed", {"at": "noon"})
    emit(db, "order.placed", {"id": 7})
    for error in [wait_finished(db, job, "failed")[2], *(row[2] for row in started(db, "place", 2))]:
        assert error["code"] == "bad_payload" and re.search("/(at|id)", error["message"]), error
    assert value(db, "select max(attempt) from pgconductor.finished_executions") == 1


def test_what_a_task_emits_is_checked_first(db, serving):
    serving(("say", "{ invocable: true }", """async ({ payload }, ctx) => {
        const ids = [];
        for (const one of payload) {
            ids.push(await ctx.emit("order.placed", one).catch((error) => [error.constructor.name, error.message]));
        }
        return ids;
    }"""))
    first, refused, second = wait_finished(db, invoke(db, "say", '[{"id": "1"}, {"id": 2}, {"id": "3", "total": 1.5}]'))[1]
    assert refused[0] == "BadPayload" and "order.placed" in refused[1] and "/id" in refused[1]
    # It goes out as it was given.
    assert db.execute("select id::text, payload from pgconductor.events order by id").fetchall() \
        == [(first, {"id": "1"}), (second, {"id": "3", "total": 1.5})]


def test_the_client(db, node_program, dsn):
    """The client: in whose transaction, what it returns, what is refused."""
    db.execute("select pgconductor.declare_task('report')")
    program = ORDER + """
    import postgres from "postgres";
    const sql = postgres(JSON.parse(process.env.OPTIONS));
    const say = (value) => console.log(JSON.stringify(value));
    const caught = (promise) => promise.then((found) => found, (e) => [e.constructor.name, e.message, e.code]);
    const conductor = Conductor.create({ sql, events, tasks: [{ name: "later" }] });
    const report = { name: "report" };
    say(await conductor.emit("plain"));
    say(await conductor.emit("order.placed", new RawJSON('{"id":  "1"}')));
    await sql.begin(async (tx) => {
        await conductor.with(tx).emit("rolled.back", 1);
        await conductor.emit("rolled.back", 2, { sql: tx });
        await conductor.with(tx).schedule(report, "rolled back", { cron: "@daily" });
        throw new Error("no");
    }).catch(() => {});
    await sql.begin(async (tx) => {
        await conductor.with(tx).emit("kept", [1]);
        say(await conductor.with(tx).schedule(report, "kept", { cron: "0 9 1 1 *", timezone: "Europe/Berlin", overlap: "skip", catchup: 2 }, { a: 1 }));
    });
    say(await conductor.schedule({ name: "later" }, "paused", { cron: "@monthly", enabled: false }));
    say(await conductor.unschedule(report, "kept"));
    say(await conductor.unschedule(report, "kept"));
    say(await caught(conductor.emit("a b", 1)));
    say(await caught(conductor.emit("order.placed", { id: 1 })));
    say(await caught(conductor.schedule(report, "x", { cron: "61 * * * *" })));
    say(await caught(conductor.schedule({ name: "nobody" }, "x", { cron: "@daily" })));
    say(await caught(conductor.schedule(report, { cron: "@daily" })));
    await sql.end();
    """
    parts = dict(word.split("=", 1) for word in dsn.split())
    options = {"path": f"{parts['host']}/.s.PGSQL.{parts['port']}", "database": parts["dbname"], "username": parts["user"]}
    done = run_node(*node_program(program), env={"OPTIONS": json.dumps(options)})
    plain, raw, due, paused, gone, none, *refused = [json.loads(line) for line in done.stdout.splitlines()]
    assert db.execute("select id::text, key, payload::text from pgconductor.events order by id").fetchall()[:2] \
        == [(plain, "plain", "null"), (raw, "order.placed", '{"id":  "1"}')]
    assert [row[0] for row in db.execute("select key from pgconductor.events order by id")] == ["plain", "order.placed", "kept"]
    assert re.fullmatch(r"\d{4}-01-01T08:00:00\.000Z", due) and re.fullmatch(r"\d{4}-\d\d-01T00:00:00\.000Z", paused)
    assert (gone, none) == (True, False)
    assert db.execute("select task, name, cron, timezone, enabled from pgconductor.schedules").fetchall() \
        == [("later", "paused", "@monthly", "UTC", False)]
    assert [one[0] for one in refused] == ["BadEvent", "BadPayload", "BadSchedule", "UndeclaredTask", "TypeError"]
    assert "/id" in refused[1][1] and "minute" in refused[2][1] and "name of the schedule" in refused[4][1]
    assert [one[2] for one in refused[::2]] == ["PC013", "PC012", None]


def test_values_in_conditions(db, node_program):
    texts = ["ann", "o'clock", "'; --", "back\\slash'", "\\", "", "ü\n%s", "7"]
    done = run_node(*node_program('import { literal } from "pgconductor";\nconsole.log(JSON.stringify('
                                  f'{json.dumps(texts)}.map(literal)));\ntry {{ literal("a\\0b"); }} catch {{ console.log("refused"); }}'))
    quoted, refused = done.stdout.splitlines()
    assert refused == "refused"
    for standard in ("on", "off"):
        db.execute(f"set standard_conforming_strings = {standard}; set escape_string_warning = off")
        assert [value(db, f"select {one}") for one in json.loads(quoted)] == texts


def test_triggers_that_cannot_be_are_told(db, serving):
    """By the number of the trigger, in the log; the task is there all the same."""
    one = serving(("bad", '[{ invocable: true }, { cron: "0 25 * * *" }]', "() => 1"), ("fine", "{ invocable: true }", "() => 2"))
    assert wait_finished(db, invoke(db, "fine"))[1] == 2
    one.wait_log(r"bad.*triggers\[1\].*hour")


def test_what_was_first_stays_so_whatever_is_killed(db, server, node_program, seed, scale):
    """Some of the processes that hear of it end at some moment or other. What a run was told the next one is told again."""
    n = scale(20, 500)
    command = node_program("""
    function dice(text) {
        let hash = 7;
        for (const letter of text) hash = Math.imul(hash ^ letter.charCodeAt(0), 2654435761) >>> 0;
        return hash / 2 ** 32;
    }
    const conductor = Conductor.create();
    const hunted = conductor.createTask({ name: "hunted", backoff: "1ms", maxAttempts: 1000 }, { invocable: true }, async ({ payload }, ctx) => {
        const chance = dice(`${payload.seed} ${ctx.executionId} ${ctx.attempt}`);
        if (ctx.attempt < 4 && chance < 0.2) setTimeout(() => process.kill(process.pid, "SIGKILL"), chance * 250);
        const first = await ctx.waitForAny("race", [{ event: "left", key: "left" }, { event: "right", key: "right" }]);
        if (payload.die && ctx.attempt === 1) process.kill(process.pid, "SIGKILL");
        const noted = await ctx.step("noted", () => [first.index, first.payload]);
        const other = first.index === 0 ? "right" : "left";
        return [first.index === first.payload, noted[0] === first.index, await ctx.waitForEvent(other, { event: other })];
    });
    const tasks = [hunted];
    """ + SERVE)
    words = ", ".join(json.dumps(word) for word in command)
    server(config=f'handler "app" {{ command = {{ {words} }} }}\n'
                  'queue "default" { handler = "app" processes = 3 concurrency = 30 credit = 10 }\n')
    wait_for(lambda: value(db, "select count(*) from pgconductor.tasks where name = 'hunted'"), 20, "it is declared")
    ids = value(db, "select pgconductor.invoke_batch('hunted', %s::json)", json.dumps([{"payload": {"seed": seed, "die": i % 5 == 0}} for i in range(n)]))
    wait_for(lambda: value(db, "select count(*) from pgconductor.event_waits") == 2 * n, 60 + n, "they wait")
    emit(db, "right", 1)
    emit(db, "left", 0)
    wait_for(lambda: value(db, "select count(*) from pgconductor.finished_executions") == n, 60 + n, "all have finished", poll=0.05)
    rows = db.execute("select id, state, result, attempt from pgconductor.finished_executions").fetchall()
    assert sorted(row[0] for row in rows) == sorted(ids)
    assert all(row[1:3] in [("completed", [True, True, other]) for other in (0, 1)] for row in rows), rows
    assert sum(row[3] > 1 for row in rows) >= n / 5


# ---- changes of tables

def test_rows_that_change(db, serving):
    db.execute('create table users (id int generated always as identity primary key, email text, password text);'
               'create schema "Odd"; create table "Odd"."Ta ble" (n int, "co,l" text)')
    serving(("changed", """[
                { invocable: true },
                { table: "users", operation: "insert", columns: "id, email" },
                { schema: "Odd", table: "Ta ble", operation: "delete", columns: ["co,l"] },
                { schema: "public", table: "users", operation: "update", when: "new.email <> old.email", columns: ["email"] },
            ]""", "({ name, payload, at }) => [name, payload, at instanceof Date]"),
            ("wait", "{ invocable: true }", """async (event, ctx) => {
                const update = { schema: "public", table: "users", operation: "update", columns: "email", timeout: "1h" };
                const row = await ctx.waitForEvent("row", { ...update, when: "new.id = 2" });
                const both = await ctx.waitForAll([{ event: "said" }, { table: "users", operation: "delete", columns: "id" }]);
                const first = await ctx.waitForAny("first", [{ event: "never" }, { table: "users", operation: "insert", since: "start" }]);
                return [row, both, first];
            }"""),
            ("late", "{ invocable: true }", '(event, ctx) => ctx.waitForEvent({ table: "users", operation: "delete", when: "old.id < 0", timeout: 5 })'),
            ("nowhere", "{ invocable: true }", '(event, ctx) => ctx.waitForEvent({ table: "userz", operation: "insert" })'),
            ("column", "{ invocable: true }", """(event, ctx) => ctx.waitForEvent({ table: "users", operation: "insert", columns: "id,name" })
                .catch((error) => [error.constructor.name, error.code, error.message, error.event])"""))
    wait_for(lambda: value(db, "select count(*) from pgconductor.subscriptions") == 3, 20, "it has subscribed")
    wait_for(lambda: value(db, "select count(*) from pg_trigger where not tgisinternal") >= 3, 20, "the triggers are there")
    db.execute("insert into users (email, password) values ('ann', 'x'), ('bob', 'y')")
    db.execute("update users set email = 'ann@x' where id = 1")
    db.execute("update users set password = 'z'")
    db.execute("""insert into "Odd"."Ta ble" values (1, 'a'); delete from "Odd"."Ta ble" """)
    expected = [["public.users.insert", {"old": None, "new": {"id": i, "email": email}, "tg_table": "users", "tg_op": "INSERT"}, True]
                for i, email in ((1, "ann"), (2, "bob"))]
    expected.append(["public.users.update", {"old": {"email": "ann"}, "new": {"email": "ann@x"}, "tg_table": "users", "tg_op": "UPDATE"}, True])
    expected.append(["Odd.Ta ble.delete", {"old": {"co,l": "a"}, "new": None, "tg_table": "Ta ble", "tg_op": "DELETE"}, True])
    assert [row[1] for row in started(db, "changed", 4)] == expected
    job = invoke(db, "wait")
    suspended(db, job)
    db.execute("update users set email = 'bob@x' where id = 2")
    steps = "select count(*) from pgconductor.steps where execution = %s"
    wait_for(lambda: value(db, steps, job) == 3, 20, "it waits for the next ones")
    suspended(db, job)
    emit(db, "said", 1)
    db.execute("delete from users where id = 1")
    wait_for(lambda: value(db, steps, job) == 5, 20, "it waits for the first of two")
    suspended(db, job)
    db.execute("insert into users (email) values ('cid')")
    row, both, first = wait_finished(db, job)[1]
    assert row["new"] == {"email": "bob@x"} and both == [1, {"old": {"id": 1}, "new": None, "tg_table": "users", "tg_op": "DELETE"}]
    assert (first["index"], first["payload"]["new"]) == (1, {"id": 3, "email": "cid", "password": None})
    error = wait_finished(db, invoke(db, "late"), "failed")[2]
    assert (error["code"], error["type"]) == ("timeout", "EventTimeout") and "public.users.delete" in error["message"]
    error = wait_finished(db, invoke(db, "nowhere"), "failed")[2]
    assert (error["code"], error["type"]) == ("bad_change", "WaitFailed") and "userz" in error["message"]
    found = wait_finished(db, invoke(db, "column"))[1]
    assert found[:2] + found[3:] == ["WaitFailed", "bad_change", "public.users.insert"] and "name" in found[2]
