/* Tasks with schemas: what is said of them, and what is checked where, with a worker that is played here. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { toStandardJsonSchema } from "@valibot/to-json-schema";
import postgres from "postgres";
import pg from "pg";
import * as v from "valibot";
import { z } from "zod";
import {
	BadPayload, ChildFailed, Conductor, DatabaseSchema, EventSchemas, Orchestrator, RawJSON, TaskSchemas, defineTask,
} from "../src/index.js";
import { urlOf } from "../src/drivers.js";
import { jsonSchemaOf } from "../src/standard.js";
import { entryOf } from "../src/tasks.js";
import { finish, start } from "./worker.js";

const resize = defineTask({ name: "resize", queue: "media", maxAttempts: 5,
	payload: z.object({ width: z.number(), unit: z.string().default("px") }), returns: z.object({ at: z.coerce.date() }) });
/** As long as it takes. */
const slow = defineTask({ name: "slow", payload: z.object({ n: z.number().refine(async (n) => n > 0, "too little") }),
	returns: z.number().refine(async (n) => n > 0, "too little") });

/** A connection that keeps what is asked. */
function listening() {
	const asked = [];
	return { asked, query: async ({ text, values }) => {
		asked.push([/pgconductor\.(\w+)/.exec(text)[1], ...values]);
		return { rows: [["7"]] };
	} };
}

test("definitions", () => {
	assert.deepEqual(TaskSchemas.fromSchema([resize, { name: "plain" }]).names, ["resize", "plain"]);
	assert.deepEqual([TaskSchemas.fromTypes().names, DatabaseSchema.fromGeneratedTypes() instanceof DatabaseSchema,
		DatabaseSchema.fromSupabaseTypes() instanceof DatabaseSchema], [[], true, true]);
	assert.throws(() => TaskSchemas.fromSchema([resize, resize]), /resize stands there twice/);
	assert.throws(() => defineTask({ name: "x", payload: { type: "object" } }), /task x: payload: not a Standard Schema/);
	assert.throws(() => defineTask({ name: "x", returnsSchema: "true" }), /task x: returnsSchema: not a JSON Schema/);
	assert.throws(() => defineTask({ payload: z.string() }), /a task needs a name/);
	assert.throws(() => defineTask({ name: "x", retries: 1 }), /retries: no such option/);
	assert.throws(() => DatabaseSchema.fromSchema({ public: { users: {} } }), /public\.users: not a Standard Schema/);
	for (const [name, wrong] of [["tasks", EventSchemas.fromTypes()], ["events", TaskSchemas.fromTypes()], ["database", {}], ["sql", {}]]) {
		assert.throws(() => Conductor.create({ [name]: wrong }), new RegExp(`Conductor.create: ${name}: .*is needed`), name);
	}
});

test("what is said later counts, and the rest stays", () => {
	const conductor = Conductor.create({ tasks: TaskSchemas.fromSchema([resize]) });
	const said = (task) => {
		const { queue, options, payload, returns, payload_schema, returns_schema } = entryOf(task);
		return [queue, JSON.parse(options ?? "{}"), payload, returns, JSON.parse(payload_schema).required, returns_schema && JSON.parse(returns_schema)];
	};
	const made = conductor.createTask({ name: "resize", timeout: "1m", returnsSchema: { type: "object" } }, { invocable: true }, () => 1);
	assert.deepEqual(said(made), ["media", { max_attempts: 5, timeout: "1m" }, resize.payload, resize.returns, ["width"], { type: "object" }]);
	const other = Conductor.create().createTask(resize, { invocable: true }, () => 1);
	assert.deepEqual(said(other).slice(0, 5), ["media", { max_attempts: 5 }, resize.payload, resize.returns, ["width"]]);
});

test("JSON Schemas refuse nothing that their library takes", () => {
	const of = (schema) => JSON.parse(jsonSchemaOf(z.object({ x: schema }))).properties.x;
	for (const open of [z.coerce.number().min(3), z.coerce.date(), z.date(), z.bigint(), z.custom(() => true), z.set(z.string())]) {
		assert.deepEqual(of(open), {});
	}
	assert.deepEqual([of(z.url()), of(z.string().regex(/^x$/i)), of(z.string().regex(/^x$/i).startsWith("x")).allOf],
		[{ type: "string" }, { type: "string" }, undefined]);
	assert.equal(of(z.string().regex(/^x$/)).pattern, "^x$");
	assert.equal(of(z.iso.datetime({ local: true })).format, undefined);
	assert.deepEqual(of(z.string().default("free")), { type: "string", default: "free" });
	assert.equal(jsonSchemaOf(v.object({ a: v.string() })), undefined);
	assert.deepEqual(JSON.parse(jsonSchemaOf(toStandardJsonSchema(v.object({ a: v.string() })))).required, ["a"]);
});

test("a client checks, and sends what it was given", async () => {
	const sql = listening();
	const conductor = Conductor.create({ sql, tasks: TaskSchemas.fromSchema([resize]) });
	const options = { max_attempts: 5, payload_schema: JSON.parse(jsonSchemaOf(resize.payload)), returns_schema: JSON.parse(jsonSchemaOf(resize.returns)) };
	const asked = () => sql.asked.splice(0);
	assert.equal(await conductor.invoke({ name: "resize" }, { width: 1, more: 2 }), "7");
	const [[, ...declared], call] = asked();
	assert.deepEqual([declared[0], declared[1], JSON.parse(declared[2])], ["resize", "media", options]);
	assert.deepEqual(call, ["invoke", "resize", '{"width":1,"more":2}']);
	await conductor.invoke(resize, new RawJSON('{"width": 1.50}'));
	await conductor.invoke({ name: "resize" }, [{ payload: { width: 1 } }, { payload: { width: 2 }, priority: 3 }]);
	await conductor.schedule({ name: "resize" }, "daily", { cron: "@daily" });
	await conductor.invoke(slow, { n: 1 });
	assert.deepEqual(asked().map(([name, task, payload]) => name === "schedule" ? name : [name, task, payload]), [
		["invoke", "resize", '{"width": 1.50}'], ["invoke_batch", "resize", '[{"payload":{"width":1}},{"payload":{"width":2},"priority":3}]'],
		"schedule", ["declare_task", "slow", null], ["invoke", "slow", '{"n":1}']]);
	const refused = [
		[() => conductor.invoke({ name: "resize" }, { width: "1" }), /^the payload of resize: \/width: /],
		[() => conductor.invoke(resize, null), /^the payload of resize: Invalid input/],
		[() => conductor.invoke({ name: "resize" }, [{ payload: { width: 1 } }, { payload: {} }]), /^the payload of resize \(items\[1\]\): \/width: /],
		[() => conductor.schedule({ name: "resize" }, "daily", { cron: "@daily" }, {}), /^the payload of resize: \/width: /],
		[() => conductor.invoke(slow, { n: 0 }), /^the payload of slow: \/n: too little$/],
		[() => conductor.with(sql).invoke(resize, {}), /^the payload of resize: \/width: /],
	];
	for (const [call, message] of refused) {
		await assert.rejects(call, (error) => error instanceof BadPayload && error.issues.length > 0 && message.test(error.message));
	}
	assert.deepEqual(asked(), []);
});

test("what a function gets is what the schema makes of it; what it returns is what it returned", async () => {
	const tasks = { resize, slow };
	const s = await start({ resize: ({ payload }) => ({ at: payload.width, unit: payload.unit }), slow: ({ payload }) => payload.n - 1 },
		{ tasks: { resize: { ...resize, queue: "default", payload_schema: '{"a": 1}' }, slow: { ...slow, queue: "default" } } });
	assert.deepEqual(s.worker.hello.tasks.map(({ name, payload_schema, returns_schema }) => [name, payload_schema, returns_schema]),
		[["resize", '{"a": 1}', undefined], ["slow", undefined, undefined]]);
	const run = async (task, payload, frame, event = {}) => {
		s.worker.run(1, task, "", { event: { name: "pgconductor.invoke", payload, ...event } });
		return (await s.worker.next(frame)).fields;
	};
	assert.equal((await run("resize", '{"width":0}', "DONE")).result, '{"at":0,"unit":"px"}');
	assert.equal((await run("slow", '{"n":2}', "DONE")).result, "1");
	const schedule = { name: "daily", kind: "schedule" };
	assert.equal((await run("resize", '{"width":0}', "DONE", schedule)).result, '{"at":0,"unit":"px"}');
	for (const [task, payload, message] of [["resize", '{"width":"1"}', /^the payload of resize: \/width: /], ["slow", '{"n":0}', /^the payload of slow: \/n: too little$/]]) {
		const failed = await run(task, payload, "FAIL");
		assert.deepEqual([failed.code, failed.retry, failed.data], ["bad_payload", false, JSON.stringify({ task })]);
		assert.match(failed.message, message);
	}
	// A schedule without a payload is not held against it: then the function sees to that.
	assert.match((await run("resize", "null", "FAIL", schedule)).message, /Cannot read properties of null/);
	// A bad result is a failed attempt, no more.
	const failed = await run("slow", '{"n":1}', "FAIL");
	assert.deepEqual([failed.code, failed.retry, failed.message], ["bad_result", undefined, "the result of slow: too little"]);
	assert.ok(tasks);
	await finish(s);
});

test("children", async () => {
	const known = (ref) => ({ resize, slow })[ref.name];
	const seen = [];
	const s = await start({
		one: async (_, ctx) => seen.push(await ctx.invoke("k", { name: "resize" }, { width: 1 })),
		all: async (_, ctx) => seen.push(await ctx.invokeAll([{ task: slow, payload: { n: 1 } }, { task: resize, payload: { width: 2 } }], { returnErrors: true })),
		bad: (_, ctx) => ctx.invoke({ name: "resize" }, { width: "1" }),
		late: (_, ctx) => Promise.all([ctx.invoke("a", slow, { n: 0 }), ctx.sleep("b", 1000)]),
		start: (_, ctx) => ctx.start({ name: "resize" }, { wide: 1 }),
		schedule: (_, ctx) => ctx.schedule({ name: "slow" }, "n", { cron: "@daily" }, { n: 0 }),
	}, { known });
	const waits = async () => (await s.worker.next("SUSPEND")).fields.waits.map(({ key, task, payload }) => [key, task, payload]);
	s.worker.run(1, "one");
	assert.deepEqual(await waits(), [["k", "resize", '{"width":1}']]);
	s.worker.run(2, "one", "null", { steps: [{ key: "k", result: '{"at":"1970-01-01T00:00:00.250Z"}' }] });
	await s.worker.next("DONE");
	assert.equal(seen.pop().at.getTime(), 250);
	s.worker.run(3, "one", "null", { steps: [{ key: "k", result: '{"at":"never"}' }] });
	const failed = (await s.worker.next("FAIL")).fields;
	assert.match(failed.message, /^Child execution failed: the result of resize: \/at: /);
	assert.deepEqual([failed.retry, JSON.parse(failed.data).code, JSON.parse(failed.data).task], [false, "bad_result", "resize"]);
	s.worker.run(4, "all");
	assert.deepEqual(await waits(), [["all#1", "slow", '{"n":1}'], ["all#2", "resize", '{"width":2}']]);
	s.worker.run(5, "all", "null", { steps: [{ key: "all#1", result: "0" }, { key: "all#2", result: "{}" }] });
	await s.worker.next("DONE");
	assert.ok(seen.pop().every((error) => error instanceof ChildFailed && error.code === "bad_result"));
	for (const [task, message] of [["bad", /^the payload of resize: \/width: /], ["late", /^the payload of slow: \/n: too little$/],
		["start", /^the payload of resize: \/width: /], ["schedule", /^the payload of slow: \/n: too little$/]]) {
		s.worker.run(6, task);
		const { message: said, type } = (await s.worker.next("FAIL")).fields;
		assert.match(said, message);
		assert.equal(type, "BadPayload");
	}
	// What is saved was good once.
	s.worker.run(7, "late", "null", { steps: [{ key: "a", result: "1" }, { key: "b" }] });
	assert.equal((await s.worker.next("DONE")).fields.result, "[1,null]");
	await finish(s);
});

test("where a connection leads to", async () => {
	const cases = [
		[postgres("postgres://ann:p%40ss@db.example:5433/app"), "postgresql://ann:p%40ss@/app?host=db.example&port=5433"],
		[postgres({ host: "/run/pg sql", port: 5432, user: "ann", database: "a/b", ssl: false }), "postgresql://ann@/a%2Fb?host=%2Frun%2Fpg%20sql&port=5432"],
		[postgres("postgres://ann@a:1,b:2/app?sslmode=require"), "postgresql://ann@/app?host=a%2Cb&port=1,2&sslmode=require"],
		[postgres({ host: "db", user: "ann", database: "app", port: 1, pass: async () => "late", ssl: { rejectUnauthorized: false } }),
			"postgresql://ann:late@/app?host=db&port=1&sslmode=require"],
		[new pg.Pool({ connectionString: "postgres://ann:secret@db.example:5433/app" }), "postgresql://ann:secret@/app?host=db.example&port=5433"],
		[new pg.Client({ host: "/run/postgresql", port: 5432, user: "ann", database: "app", ssl: true }), "postgresql://ann@/app?host=%2Frun%2Fpostgresql&port=5432&sslmode=verify-full"],
	];
	for (const [sql, url] of cases) {
		assert.equal(await urlOf(sql), url);
		assert.equal(await Conductor.create({ sql }).url(), url);
	}
	assert.equal(Orchestrator.create({ conductor: Conductor.create() }).info().role, "none");
});
