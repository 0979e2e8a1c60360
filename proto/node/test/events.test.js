/* Triggers, events and schedules: what is written, and what is sent to a worker that is played here. */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as v from "valibot";
import { z } from "zod";
import {
	BadEvent, BadPayload, BadSchedule, WaitFailed, EventSchemas, EventTimeout, RawJSON, defineEvent,
} from "../src/index.js";
import { scheduleOf, triggersText } from "../src/triggers.js";
import { finish, start } from "./worker.js";

/** A Standard Schema that takes { n } with a number, and gives n a default and d as a Date. */
function numbered({ later = false, jsonSchema = undefined } = {}) {
	const validate = (value) => typeof (value?.n ?? 0) === "number" ? { value: { n: 1, ...value } }
		: { issues: [{ message: "not a number", path: ["n"] }, { message: "odd", path: ["a/b", { key: "~c" }] }] };
	return { "~standard": { version: 1, vendor: "test", validate: later ? async (value) => validate(value) : validate, jsonSchema } };
}

const events = EventSchemas.fromSchema([
	defineEvent({ name: "now", payload: numbered({ jsonSchema: { input: ({ target }) => ({ $comment: target, type: "object" }) } }) }),
	defineEvent({ name: "later", payload: numbered({ later: true, jsonSchema: { input() { throw new Error("no such thing"); } } }) }),
]);
const ISSUES = "/n: not a number; /a~1b/~0c: odd";

test("triggers are those of HELLO", () => {
	const text = (triggers) => JSON.parse(triggersText("t", triggers));
	assert.deepEqual(text({ invocable: true }), [{ invocable: true }]);
	assert.equal(triggersText("t", { cron: "* * * * *", payload: new RawJSON('{"a": 1.50}') }), '[{"cron":"* * * * *","payload":{"a": 1.50}}]');
	const many = [{ cron: "@daily", name: "n", timezone: "Europe/Berlin", overlap: "skip", catchup: 3 },
		{ event: "e", when: "true", fields: ["a", "b.c"] }, { event: "e", fields: "a,b" }, { event: "f", when: undefined }];
	assert.deepEqual(text(many), [many[0], many[1], many[2], { event: "f" }]);
	assert.deepEqual(text({ table: "Users", operation: "insert", columns: "id,email" }),
		[{ schema: "public", table: "Users", operation: "insert", columns: "id,email" }]);
	assert.deepEqual(text({ schema: "app", table: "users", operation: "update", columns: ["id"], when: "true" }),
		[{ schema: "app", table: "users", operation: "update", columns: ["id"], when: "true" }]);
	for (const wrong of [{}, undefined, null, "x", { invocable: false }, { invocable: "yes" }, { name: "x" }, { cron: null }]) {
		assert.throws(() => text(wrong), /task t: triggers: (not a trigger|cron: not a string)/, JSON.stringify(wrong));
	}
	assert.throws(() => text([]), /task t: triggers: none/);
	assert.throws(() => text([{ invocable: true }, { invocable: true, cron: "x" }]), /task t: triggers\[1\]: cron: no such option/);
	assert.throws(() => text({ cron: "x", event: "e" }), /triggers: event: no such option \(there are cron, name, timezone,/);
	assert.throws(() => text({ event: 7 }), /triggers: event: not a string/);
	assert.throws(() => text({ event: "e", when: () => true }), /triggers: when: not a string/);
	assert.throws(() => text({ table: "users", operation: "upsert" }), /operation: upsert: there are insert, update, delete/);
	assert.throws(() => text({ table: "users", operation: "insert", fields: "id" }), /fields: no such option/);
	assert.throws(() => text({ cron: "@daily", payload: NaN }), /NaN is not JSON/);
});

test("schedules", () => {
	assert.deepEqual(scheduleOf("x", { name: "t" }, "n", { cron: "@daily", catchup: 3, enabled: false, overlap: undefined }),
		{ task: "t", name: "n", options: { cron: "@daily", catchup: "3", enabled: false } });
	assert.throws(() => scheduleOf("x", "t", "n", { cron: "@daily" }), /x: a task, or \{ name \}, is needed/);
	assert.throws(() => scheduleOf("x", { name: "t" }, { cron: "@daily" }), /x: the name of the schedule is needed behind the task/);
	assert.throws(() => scheduleOf("x", { name: "t" }, "n", {}), /cron.* is needed/);
	assert.throws(() => scheduleOf("x", { name: "t" }, "n", { cron: "@daily", zone: "UTC" }), /zone: no such option/);
});

test("definitions of events", () => {
	for (const name of ["", "a b", "a\nb", 7, undefined, "x".repeat(201)]) {
		assert.throws(() => defineEvent({ name, payload: numbered() }), /is not an event's name/);
	}
	for (const payload of [undefined, {}, { parse() {} }, { "~standard": { version: 2, validate() {} } }]) {
		assert.throws(() => defineEvent({ name: "x", payload }), /defineEvent: x: payload: not a Standard Schema/);
	}
	const x = defineEvent({ name: "x", payload: numbered() });
	assert.throws(() => EventSchemas.fromSchema([x, x]), /x stands there twice/);
	assert.deepEqual([EventSchemas.fromSchema([x]).names, EventSchemas.fromTypes().names], [["x"], []]);
});

test("Zod and Valibot", async () => {
	const user = EventSchemas.fromSchema([
		defineEvent({ name: "created", payload: z.object({ id: z.uuid(), at: z.coerce.date(), plan: z.string().default("free") }) }),
		defineEvent({ name: "renamed", payload: z.object({ name: z.string(), plan: z.string().default("free") }) }),
		defineEvent({ name: "gone", payload: v.object({ id: v.string(), why: v.optional(v.string(), "unknown") }) }),
	]);
	const s = await start({ t: (event) => event.payload, e: (event, ctx) => ctx.emit("created", { id: "7", at: new Date(0) }) },
		{ events: user, triggers: { t: user.names.map((event) => ({ event })) } });
	const said = s.worker.hello.events.map(({ name, schema }) => [name, schema && JSON.parse(schema)]);
	assert.deepEqual([said[0][1].required, said[0][1].properties.at, said[2]], [["id", "at"], {}, ["gone", undefined]]);
	assert.deepEqual([said[1][1].type, said[1][1].required, said[1][1].properties.name], ["object", ["name"], { type: "string" }]);
	const deliver = async (name, payload, frame) => {
		s.worker.run(1, "t", "", { event: { name, kind: "event", payload } });
		const { fields } = await s.worker.next(frame);
		return fields.message ?? JSON.parse(fields.result);
	};
	const id = "123e4567-e89b-12d3-a456-426614174000", at = "2030-01-31T12:00:00.000Z";
	assert.deepEqual(await deliver("created", JSON.stringify({ id, at, more: 1 }), "DONE"), { id, at, plan: "free" });
	assert.deepEqual(await deliver("gone", '{"id": "7"}', "DONE"), { id: "7", why: "unknown" });
	assert.match(await deliver("created", '{"id": "7", "at": "x"}', "FAIL"), /^the payload of created: \/id: Invalid UUID; \/at: /);
	assert.match(await deliver("gone", '{"id": 7}', "FAIL"), /^the payload of gone: \/id: .*string/);
	s.worker.run(1, "e");
	assert.match((await s.worker.next("FAIL")).fields.message, /^the payload of created: \/id: Invalid UUID$/);
	await finish(s);
});

test("HELLO has triggers and events", async () => {
	const s = await start({ t: () => 1 }, { events, triggers: { t: [{ event: "now" }, { cron: "@daily" }] } });
	assert.deepEqual(JSON.parse(s.worker.hello.tasks[0].triggers), [{ event: "now" }, { cron: "@daily" }]);
	assert.deepEqual(s.worker.hello.events, [{ name: "now", schema: '{"$comment":"draft-2020-12","type":"object"}' }, { name: "later" }]);
	await finish(s);
});

test("what an event brings is what its schema makes of it", async () => {
	const seen = [];
	const s = await start({ t: (event) => { seen.push(event); } }, { events, triggers: { t: [
		{ invocable: true }, { event: "now" }, { event: "later" }, { event: "unknown" }, { cron: "@daily", name: "now" }] } });
	const at = "2030-01-31T12:00:00.000Z";
	const run = (name, payload, kind = "event") => s.worker.run(1, "t", "", { event: { name, kind, payload, at } });
	for (const name of ["now", "later"]) {
		run(name, '{"a": 1}');
		await s.worker.next("DONE");
		assert.deepEqual(seen.pop(), { name, kind: "event", payload: { n: 1, a: 1 }, at: new Date(at) });
		run(name, '{"n": "x"}');
		const { fields } = await s.worker.next("FAIL");
		assert.deepEqual([fields.code, fields.retry, fields.message], ["bad_payload", false, `the payload of ${name}: ${ISSUES}`]);
	}
	run("unknown", '{"n": "x"}');
	await s.worker.next("DONE");
	// A schedule is not the event of its name.
	run("now", '{"n": "x"}', "schedule");
	await s.worker.next("DONE");
	s.worker.run(1, "t", '{"n": "x"}');
	await s.worker.next("DONE");
	assert.deepEqual(seen.map((event) => [event.kind, event.payload, event.at?.toISOString() ?? null]),
		[["event", { n: "x" }, at], ["schedule", { n: "x" }, at], ["invoke", { n: "x" }, null]]);
	await finish(s);
	// A part of it may not be what the whole is to be.
	const parts = await start({ t: (event) => event.payload }, { events, triggers: { t: { event: "now", fields: "n" } } });
	parts.worker.run(1, "t", "", { event: { name: "now", kind: "event", parts: true, payload: '{"n": "x"}' } });
	assert.equal((await parts.worker.next("DONE")).fields.result, '{"n":"x"}');
	await finish(parts);
});

test("events are waited for", async () => {
	const s = await start({
		one: (event, ctx) => ctx.waitForEvent("paid", { event: "order.paid", when: "payload->>'id' = '7'", timeout: "2d", since: "start" }),
		turn: (event, ctx) => ctx.waitForEvent({ event: "e" }),
		change: (event, ctx) => ctx.waitForEvent("row", { table: "users", operation: "insert", columns: "id,email", when: "true", timeout: 60_000 }),
		all: (event, ctx) => ctx.waitForAll([{ event: "e" }, { event: "f", key: "k" }, { schema: "a", table: "b", operation: "delete" }]),
		checked: (event, ctx) => ctx.waitForAll([{ event: "now", key: "a" }, { event: "later", key: "b" }]),
		limited: (event, ctx) => ctx.waitForAll([{ event: "e" }, { event: "f", timeout: 5 }], { timeout: "1s" }),
		errors: async (event, ctx) => (await ctx.waitForAll([{ event: "now", key: "a" }, { event: "later", key: "b" }], { returnErrors: true }))
			.map((one) => one instanceof WaitFailed ? one.name : one),
		caught: (event, ctx) => ctx.waitForEvent("k", { event: "e" }).catch((error) => [error instanceof WaitFailed,
			error instanceof EventTimeout, error.name, error.message, error.code, error.key, error.event]),
		wrong: async (event, ctx) => {
			for (const [given, why] of [[undefined, /\{ event \}, or/], ["k", /\{ event \}, or/], [{}, /\{ event \}, or/], [{ event: 7 }, /event: not a string/],
				[{ event: "e", fields: "a" }, /fields: no such option/], [{ event: "e", since: "ever" }, /since: there are start, now/],
				[{ event: "e", timeout: "soon" }, /not a duration/], [{ table: "t" }, /operation: undefined: there are/],
				[{ table: "t", operation: "insert", fields: "x" }, /fields: no such option/], [{ event: "e", key: "" }, /key: not a string/]]) {
				await assert.rejects(ctx.waitForEvent(given), why);
			}
			for (const given of [undefined, [], {}, "k"]) {
				await assert.rejects(ctx.waitForAll(given), /ctx.waitForAll: not an array/);
				await assert.rejects(ctx.waitForAny(given), /ctx.waitForAny: not an array/);
			}
			await assert.rejects(ctx.waitForAll([{ event: "e" }], { limit: 1 }), /ctx.waitForAll: limit: no such option/);
			await assert.rejects(ctx.waitForAny("k", [{ event: "e" }], { returnErrors: true }), /ctx.waitForAny: returnErrors: no such option/);
		},
	}, { events });
	const waits = async (task, steps = []) => {
		s.worker.run(1, task, "null", { steps });
		const { fields: { waits: found, ...rest } } = await s.worker.next("SUSPEND");
		assert.deepEqual(rest, {});
		return found.map((wait) => wait.change === undefined ? wait : { ...wait, change: JSON.parse(wait.change) });
	};
	const result = async (task, steps = []) => {
		s.worker.run(2, task, "null", { steps });
		return JSON.parse((await s.worker.next("DONE")).fields.result ?? "null");
	};
	const failure = async (task, steps) => {
		s.worker.run(3, task, "null", { steps });
		return (await s.worker.next("FAIL")).fields;
	};
	assert.deepEqual(await waits("one"), [{ key: "paid", event: "order.paid", filter: "payload->>'id' = '7'", since: "start", timeout_ms: 172_800_000 }]);
	assert.deepEqual(await result("one", [{ key: "paid", result: '{"id":7}' }]), { id: 7 });
	assert.deepEqual(await waits("turn"), [{ key: "turn#1", event: "e" }]);
	assert.deepEqual(await waits("change"), [{ key: "row", timeout_ms: 60_000,
		change: { schema: "public", table: "users", operation: "insert", columns: "id,email", when: "true" } }]);
	assert.deepEqual(await waits("all", [{ key: "k", result: "1" }]),
		[{ key: "all#1", event: "e" }, { key: "all#2", change: { schema: "a", table: "b", operation: "delete" } }]);
	assert.deepEqual((await waits("limited")).map((wait) => wait.timeout_ms), [1000, 5]);
	const mixed = [{ key: "a", error: '{"code":"timeout","message":"late"}' }, { key: "b", result: "{}" }];
	assert.deepEqual(await result("errors", mixed), ["EventTimeout", { n: 1 }]);
	assert.equal((await failure("checked", mixed)).type, "EventTimeout");
	assert.deepEqual(await result("all", [{ key: "all#2" }, { key: "k", result: "2" }, { key: "all#1", result: "1" }]), [1, 2, null]);
	assert.deepEqual(await result("checked", [{ key: "a", result: "{}" }, { key: "b", result: '{"n":2}' }]), [{ n: 1 }, { n: 2 }]);
	const bad = await failure("checked", [{ key: "a", result: "{}" }, { key: "b", result: '{"n":"2"}' }]);
	assert.deepEqual([bad.code, bad.retry, bad.message], ["bad_payload", false, `the payload of later: ${ISSUES}`]);
	assert.deepEqual(await result("caught", [{ key: "k", error: '{"code":"timeout","message":"late"}' }]),
		[true, true, "EventTimeout", "e has not come in time", "timeout", "k", "e"]);
	assert.deepEqual(await result("caught", [{ key: "k", error: '{"code":"bad_filter","message":"no column x"}' }]),
		[true, false, "WaitFailed", "no column x", "bad_filter", "k", "e"]);
	for (const [error, code, type] of [['{"code":"timeout","message":"late"}', "timeout", "EventTimeout"], ['{"code":"bad_filter","message":"m"}', "bad_filter", "WaitFailed"]]) {
		const fields = await failure("turn", [{ key: "turn#1", error }]);
		assert.deepEqual([fields.code, fields.type, fields.retry], [code, type, false]);
	}
	await result("wrong");
	await finish(s);
});

test("the first of several stays the first", async () => {
	const s = await start({ t: async (event, ctx) => {
		const { index, payload } = await ctx.waitForAny("first", [{ event: "a", key: "a" }, { event: "b", key: "b" }]);
		// The other one may be waited for again.
		return [index, payload, index === 1 ? await ctx.waitForEvent("a", { event: "a" }) : null];
	}, late: (event, ctx) => ctx.waitForAny([{ event: "a" }], { timeout: 5 }),
	both: (event, ctx) => Promise.all([ctx.waitForAny("first", [{ event: "a", key: "a" }]), ctx.sleep("nap", 5)]) });
	s.worker.run(1, "t");
	assert.deepEqual((await s.worker.next("SUSPEND")).fields, { any: true, waits: [{ key: "a", event: "a" }, { key: "b", event: "b" }] });
	s.worker.run(1, "t", "null", { steps: [{ key: "b", result: "2" }] });
	assert.deepEqual((await s.worker.next("STEP")).fields, { key: "first", result: "1" });
	s.worker.send("STEP_OK", 1, { key: "first" });
	assert.deepEqual((await s.worker.next("SUSPEND")).fields, { waits: [{ key: "a", event: "a" }] });
	// Both have come by now, and it goes on with the one it went on with.
	s.worker.run(1, "t", "null", { steps: [{ key: "a", result: "1" }, { key: "b", result: "2" }, { key: "first", result: "1" }] });
	assert.equal((await s.worker.next("DONE")).fields.result, "[1,2,1]");
	s.worker.run(1, "t", "null", { steps: [{ key: "a", result: "1" }, { key: "b", result: "2" }] });
	assert.deepEqual((await s.worker.next("STEP")).fields, { key: "first", result: "0" });
	s.worker.send("STEP_OK", 1, { key: "first" });
	assert.equal((await s.worker.next("DONE")).fields.result, "[0,1,null]");
	s.worker.run(1, "t", "null", { steps: [{ key: "a", result: "1" }, { key: "first", result: "1" }] });
	assert.equal((await s.worker.next("FAIL")).fields.code, "nondeterminism");
	s.worker.run(1, "late", "null", { steps: [{ key: "late#1", result: "0" }, { key: "late#2", error: '{"code":"timeout","message":"late"}' }] });
	assert.equal((await s.worker.next("FAIL")).fields.type, "EventTimeout");
	// Beside something else, whatever is over first resumes it.
	s.worker.run(1, "both");
	assert.deepEqual((await s.worker.next("SUSPEND")).fields, { any: true, waits: [{ key: "a", event: "a" }, { key: "nap", timer_ms: 5 }] });
	s.worker.run(1, "both", "null", { steps: [{ key: "a", result: "1" }] });
	await s.worker.next("STEP");
	s.worker.send("STEP_OK", 1, { key: "first" });
	assert.deepEqual((await s.worker.next("SUSPEND")).fields, { waits: [{ key: "nap", timer_ms: 5 }] });
	await finish(s);
});

test("emitting and scheduling", async () => {
	const s = await start({ t: async (event, ctx) => [
		await ctx.emit("plain"), await ctx.emit("now", { n: 1 }), await ctx.emit("later", new RawJSON('{"n": 1.50}')),
		await ctx.schedule({ name: "x" }, "s", { cron: "@daily", timezone: "UTC", catchup: 2, enabled: false }, { a: 1 }),
		await ctx.schedule({ name: "x" }, "s", { cron: "@daily" }), await ctx.unschedule({ name: "x" }, "s"),
	], bad: async (event, ctx) => {
		for (const name of ["now", "later"]) {
			const error = await ctx.emit(name, { n: "x" }).catch((caught) => caught);
			assert.ok(error instanceof BadPayload);
			assert.deepEqual([error.message, error.issues.length], [`the payload of ${name}: ${ISSUES}`, 2]);
		}
		await assert.rejects(ctx.emit(7), /ctx.emit: the name of an event is needed/);
		await assert.rejects(ctx.schedule("x", "s", { cron: "@daily" }), /ctx.schedule: a task, or/);
		await assert.rejects(ctx.unschedule({ name: "x" }), /ctx.unschedule: the name of the schedule/);
		const refused = [];
		for (const call of [ctx.emit("a b"), ctx.schedule({ name: "x" }, "s", { cron: "x" }), ctx.emit("theirs", 1)]) {
			refused.push(await call.catch((error) => error.constructor));
		}
		return refused.map((one, i) => one === [BadEvent, BadSchedule, BadPayload][i]);
	} }, { events });
	const answered = async (more) => {
		const { fields: { call, name, args } } = await s.worker.next("CALL");
		s.worker.send("RETURN", 1, { call, ...more });
		return [name, args];
	};
	s.worker.run(1, "t");
	assert.deepEqual(await answered({ result: '"5"' }), ["emit", '{"event":"plain","payload":null}']);
	assert.deepEqual(await answered({ result: '"6"' }), ["emit", '{"event":"now","payload":{"n":1}}']);
	assert.deepEqual(await answered({ result: '"7"' }), ["emit", '{"event":"later","payload":{"n": 1.50}}']);
	assert.deepEqual(await answered({ result: '"2030-01-31T12:00:00.000Z"' }),
		["schedule", '{"task":"x","name":"s","cron":"@daily","timezone":"UTC","catchup":"2","enabled":false,"payload":{"a":1}}']);
	assert.deepEqual(await answered({}), ["schedule", '{"task":"x","name":"s","cron":"@daily","payload":null}']);
	assert.deepEqual(await answered({ result: "true" }), ["unschedule", '{"task":"x","name":"s"}']);
	assert.equal((await s.worker.next("DONE")).fields.result, '["5","6","7","2030-01-31T12:00:00.000Z",null,true]');
	s.worker.run(1, "bad");
	for (const code of ["PC013", "PC012", "bad_payload"]) {
		await answered({ error: JSON.stringify({ code, message: "no" }) });
	}
	assert.equal((await s.worker.next("DONE")).fields.result, "[true,true,true]");
	await finish(s);
});

test("who cancels it while it waits or emits ends nothing else", async () => {
	const s = await start({
		t: async (event, ctx) => {
			const stray = [ctx.waitForEvent("a", { event: "a" }), ctx.waitForAny("c", [{ event: "b", key: "b" }]), ctx.emit("later", {}),
				ctx.schedule({ name: "x" }, "s", { cron: "@daily" })];
			await new Promise((resolve) => ctx.signal.addEventListener("abort", resolve));
			return stray.length;
		},
	}, { events });
	s.worker.run(1, "t");
	await s.worker.next("CALL");
	await s.worker.next("CALL");
	s.worker.send("CANCEL", 1, { reason: "cancelled", grace_ms: 1000 });
	await s.worker.next("DONE");
	await finish(s);
});
