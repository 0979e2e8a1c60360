/* Executions that last, against a worker that is played here. */
import assert from "node:assert/strict";
import { setFlagsFromString } from "node:v8";
import { test } from "node:test";
import { runInNewContext } from "node:vm";
import { ChildFailed, ChildTimeout, ClientError, RawJSON, RetryAfter, UndeclaredTask } from "../src/index.js";
import { WELCOME, finish, gate, start, until } from "./worker.js";

const turn = () => new Promise(setImmediate);

async function turns(n = 20) {
	for (let i = 0; i < n; i++) {
		await turn();
	}
}

test("HELLO says what is understood", async () => {
	const s = await start({ a: () => 1 });
	assert.deepEqual(s.worker.hello.capabilities, ["call", "cancel", "credit", "drain", "log", "progress", "step", "suspend"]);
	assert.equal(s.worker.hello.beat_ms, undefined);
	await finish(s);
});

test("a step resolves once it is saved, to what later runs will find", async () => {
	const seen = [];
	const s = await start({ t: async (event, ctx) => {
		seen.push(await ctx.step("date", async () => ({ at: new Date(0), no: undefined })));
		seen.push(await ctx.step("nothing", () => {}));
		return ctx.step(() => new RawJSON("[1.50]"));
	} });
	s.worker.run(7, "t");
	const { exec, fields } = await s.worker.next("STEP");
	assert.deepEqual([exec, fields], [7, { key: "date", result: '{"at":"1970-01-01T00:00:00.000Z"}' }]);
	await turns();
	assert.deepEqual(seen, []);
	s.worker.send("STEP_OK", 8, { key: "date" });
	s.worker.send("STEP_OK", 7, { key: "other" });
	s.worker.send("STEP_OK", 7, { key: "date" });
	assert.deepEqual((await s.worker.next("STEP")).fields, { key: "nothing" });
	assert.deepEqual(seen, [{ at: "1970-01-01T00:00:00.000Z" }]);
	s.worker.send("STEP_OK", 7, { key: "nothing" });
	assert.deepEqual((await s.worker.next("STEP")).fields, { key: "t#1", result: "[1.50]" });
	assert.equal(seen[1], null);
	s.worker.send("STEP_OK", 7, { key: "t#1" });
	assert.equal((await s.worker.next("DONE")).fields.result, "[1.5]");
	await finish(s);
});

test("what is saved is not done again", async () => {
	const s = await start({ t: async (event, ctx) => [
		await ctx.step("a", () => assert.fail("done again")), await ctx.step("b", () => assert.fail("done again")),
		await ctx.sleep("nap", "1h") ?? "slept",
	] });
	s.worker.run(1, "t", "null", { steps: [{ key: "b" }, { key: "nap" }, { key: "a", result: '{"x": [1]}' }] });
	assert.equal((await s.worker.next("DONE")).fields.result, '[{"x":[1]},null,"slept"]');
	await finish(s);
});

test("the journal may come in pieces, and others are not kept waiting", async () => {
	const s = await start({ long: (event, ctx) => ctx.step("z", () => assert.fail("done again")), short: () => 1 });
	s.worker.run(1, "long", "null", { steps: [{ key: "a" }, { key: "b" }], more_steps: true });
	s.worker.run(2, "short");
	s.worker.run(3, "long", "null", { more_steps: true });
	assert.deepEqual((await s.worker.next("JOURNAL")).fields, { after: 2 });
	assert.deepEqual((await s.worker.next("JOURNAL")).fields, { after: 0 });
	assert.equal((await s.worker.next("DONE")).exec, 2);
	s.worker.send("STEPS", 1, { steps: [{ key: "c" }], more_steps: true });
	assert.deepEqual((await s.worker.next("JOURNAL")).fields, { after: 3 });
	assert.equal(s.session.waiting, 2);
	s.worker.send("CANCEL", 3, { reason: "cancelled", grace_ms: 1000 });
	assert.deepEqual([(await s.worker.next("FAIL")).fields.code, s.session.waiting], ["cancelled", 1]);
	s.worker.send("STEPS", 3, { steps: [] });
	s.worker.send("STEPS", 1, { steps: [{ key: "z", result: "26" }] });
	assert.equal((await s.worker.next("DONE")).fields.result, "26");
	await finish(s);
});

test("errors of a step are its own, and are not saved", async () => {
	let tries = 0;
	const circle = {};
	circle.self = circle;
	const s = await start({
		again: async (event, ctx) => {
			const once = () => ctx.step("k", () => {
				if (++tries < 3) {
					throw new RetryAfter("1s", "not yet");
				}
				return tries;
			});
			await assert.rejects(once, /not yet/);
			return once().catch(once);
		},
		circle: (event, ctx) => ctx.step("round", () => circle),
		nan: (event, ctx) => ctx.step("number", () => ({ a: NaN })),
		long: (event, ctx) => ctx.step("long", () => "é".repeat(600_000)),
		key: (event, ctx) => ctx.step(event.payload, () => 1),
		none: (event, ctx) => ctx.step("no function"),
	});
	s.worker.run(1, "again");
	assert.deepEqual((await s.worker.next("STEP")).fields, { key: "k", result: "3" });
	s.worker.send("STEP_OK", 1, { key: "k" });
	assert.equal((await s.worker.next("DONE")).fields.result, "3");
	for (const [task, code, said] of [["circle", "bad_result", /"round" is not JSON: .*circular/s], ["nan", "bad_result", /"number" is not JSON: NaN/],
		["long", "oversize", /"long" is 1200002 bytes long; the limit is 1048576/]]) {
		s.worker.run(2, task);
		const { fields } = await s.worker.next("FAIL");
		assert.deepEqual([fields.code, fields.retry], [code, false]);
		assert.match(fields.message, said);
	}
	for (const key of ["", "x".repeat(1025), "é".repeat(513), "a\0", "\ud800"]) {
		s.worker.run(3, "key", JSON.stringify(key));
		assert.match((await s.worker.next("FAIL")).fields.message, /key: not a string of 1 to 1024 bytes/);
	}
	s.worker.run(3, "key", JSON.stringify("é".repeat(512)));
	await s.worker.next("STEP");
	s.worker.send("STEP_OK", 3, { key: "é".repeat(512) });
	await s.worker.next("DONE");
	s.worker.run(4, "none");
	assert.match((await s.worker.next("FAIL")).fields.message, /no function: a function is needed/);
	await finish(s);
});

test("a key used twice fails for good, even when nobody wants to hear of it", async () => {
	const s = await start({
		step: async (event, ctx) => {
			await ctx.step("same", () => 1);
			await ctx.step("same", () => assert.fail("done")).catch(() => {});
			return "well";
		},
		wait: async (event, ctx) => {
			await ctx.step("same", () => 1);
			await Promise.allSettled([ctx.sleep("nap", 1), ctx.sleep("same", 1)]);
		},
		other: async (event, ctx) => {
			await Promise.allSettled([ctx.step("same", () => 1), ctx.step("same", () => 2)]);
			throw new Error("another one");
		},
	});
	for (const task of ["step", "wait", "other"]) {
		s.worker.run(1, task);
		await s.worker.next("STEP");
		s.worker.send("STEP_OK", 1, { key: "same" });
		const { fields } = await s.worker.next("FAIL");
		assert.deepEqual([fields.code, fields.retry], ["nondeterminism", false]);
		assert.match(fields.message, /"same" is used twice/);
	}
	await finish(s);
});

test("steps side by side are sent in one write", async () => {
	const s = await start({ t: (event, ctx) => Promise.all([1, 2, 3].map((n) => ctx.step(`k${n}`, () => n))) });
	const before = s.writes();
	s.worker.run(1, "t");
	for (const key of ["k1", "k2", "k3"]) {
		assert.equal((await s.worker.next("STEP")).fields.key, key);
	}
	assert.equal(s.writes(), before + 1);
	s.worker.socket.cork();
	for (const key of ["k3", "k1", "k2"]) {
		s.worker.send("STEP_OK", 1, { key });
	}
	s.worker.socket.uncork();
	assert.equal((await s.worker.next("DONE")).fields.result, "[1,2,3]");
	assert.equal(s.writes(), before + 2);
	await finish(s);
});

test("a sleep ends the run, and frees its place", async () => {
	const seen = [];
	const s = await start({ t: async (event, ctx) => {
		try {
			await ctx.sleep("5m");
			seen.push("woke");
		} finally {
			seen.push("finally");
		}
	}, next: () => 1 }, { concurrency: 1 });
	s.worker.run(1, "t");
	s.worker.run(2, "next");
	assert.deepEqual((await s.worker.next("SUSPEND")).fields, { waits: [{ key: "t#1", timer_ms: 300_000 }] });
	assert.equal((await s.worker.next("DONE")).exec, 2);
	await turns();
	assert.deepEqual([seen, s.session.running], [[], 0]);
	// Too late: it is over.
	s.worker.send("CANCEL", 1, { reason: "cancelled", grace_ms: 1000 });
	s.worker.send("STEP_OK", 1, { key: "t#1" });
	s.worker.run(3, "t", "null", { steps: [{ key: "t#1" }] });
	await s.worker.next("DONE");
	assert.deepEqual(seen, ["woke", "finally"]);
	await finish(s);
});

test("several waits are one SUSPEND, once everything else is done", async () => {
	const slow = gate();
	const seen = [];
	const s = await start({ t: (event, ctx) => Promise.all([
		ctx.sleep("nap", 5), ctx.invoke("child", { name: "other", queue: "q" }, { a: 1 }, { priority: 3, timeout: "1s" }),
		ctx.step("slow", () => slow.opened).then(() => ctx.invoke({ name: "late" })),
		ctx.step("quick", () => 1).then(() => seen.push("quick")),
	]) });
	s.worker.run(1, "t");
	assert.equal((await s.worker.next("STEP")).fields.key, "quick");
	s.worker.send("STEP_OK", 1, { key: "quick" });
	await until(() => seen.length > 0);
	await turns();
	assert.equal(s.session.running, 1);
	slow.open("done");
	assert.equal((await s.worker.next("STEP")).fields.key, "slow");
	s.worker.send("STEP_OK", 1, { key: "slow" });
	assert.deepEqual((await s.worker.next("SUSPEND")).fields.waits, [
		{ key: "nap", timer_ms: 5 }, { key: "child", task: "other", queue: "q", payload: '{"a":1}', priority: 3, timeout_ms: 1000 },
		{ key: "t#1", task: "late" },
	]);
	await finish(s);
});

test("children: results, errors, and what is wrong with them", async () => {
	const leaf = { name: "leaf" };
	const s = await start({
		one: async (event, ctx) => ctx.invoke(leaf, 1),
		caught: (event, ctx) => ctx.invoke("k", leaf, 1).catch((error) => [error instanceof ChildFailed, error instanceof ChildTimeout,
			error.name, error.message, error.code, error.type, error.key, error.task, error.data]),
		all: (event, ctx) => ctx.invokeAll([{ task: leaf, payload: 1 }, { task: leaf, payload: 2, key: "k" }]),
		errors: async (event, ctx) => (await ctx.invokeAll([{ task: leaf, payload: 1 }, { task: leaf, payload: 2, key: "k" }],
			{ returnErrors: true })).map((one) => one instanceof Error ? one.message : one),
		none: (event, ctx) => ctx.invokeAll([]),
		wrong: async (event, ctx) => {
			await assert.rejects(ctx.invoke("leaf", 1), /ctx.invoke: a task, or \{ name \}, is needed/);
			await assert.rejects(ctx.invoke({ name: "a\0b" }, 1), /ctx.invoke: a task, or/);
			await assert.rejects(ctx.invoke(leaf, 1, { delay: "1s" }), /ctx.invoke: delay: no such option/);
			await assert.rejects(ctx.invoke(leaf, 1, { priority: 1.5 }), /priority: not a whole number/);
			await assert.rejects(ctx.invoke(leaf, 1n), TypeError);
			await assert.rejects(ctx.invokeAll(leaf, [1]), /ctx.invokeAll: (not an array|0: no such option)/);
			await assert.rejects(ctx.invoke(leaf, "é".repeat(600_000)), /payload of leaf is 1200002 bytes long/);
			await assert.rejects(ctx.sleep("soon"), /not a duration/);
		},
	});
	const error = '{"code":"odd","message":"no luck","type":"Oh","data":[1]}';
	s.worker.run(1, "one", "null", { steps: [{ key: "one#1", error }] });
	const { fields } = await s.worker.next("FAIL");
	assert.deepEqual([fields.message, fields.type, fields.retry, JSON.parse(fields.data)], ["Child execution failed: no luck",
		"ChildFailed", false, { code: "odd", message: "no luck", type: "Oh", data: [1], task: "leaf" }]);
	const result = async (task, steps = []) => {
		s.worker.run(2, task, "null", { steps });
		return JSON.parse((await s.worker.next("DONE")).fields.result ?? "null");
	};
	assert.deepEqual(await result("caught", [{ key: "k", error }]), [true, false, "ChildFailed", "no luck", "odd", "Oh", "k", "leaf", [1]]);
	assert.deepEqual((await result("caught", [{ key: "k", error: '{"code":"timeout","message":"late"}' }])).slice(0, 4),
		[true, true, "ChildTimeout", "late"]);
	const saved = [{ key: "k", result: "[2]" }, { key: "all#1", result: "1" }, { key: "errors#1", error }];
	assert.deepEqual([await result("all", saved), await result("errors", saved), await result("none")], [[1, [2]], ["no luck", [2]], []]);
	s.worker.run(3, "all", "null", { steps: [{ key: "k", error }, { key: "all#1" }] });
	assert.equal((await s.worker.next("FAIL")).fields.message, "Child execution failed: no luck");
	// Only what is missing is waited for.
	s.worker.run(4, "all", "null", { steps: [{ key: "k", error }] });
	assert.deepEqual((await s.worker.next("SUSPEND")).fields.waits, [{ key: "all#1", task: "leaf", payload: "1" }]);
	await result("wrong");
	await finish(s);
});

test("waits that do not fit in a frame", async () => {
	const s = await start({ t: (event, ctx) => ctx.invokeAll(Array.from({ length: 3 }, () => (
		{ task: { name: "x" }, payload: "x".repeat(1_000_000) }))) });
	s.worker.run(1, "t");
	const { fields } = await s.worker.next("FAIL");
	assert.deepEqual([fields.code, fields.retry], ["oversize", false]);
	await finish(s);
});

test("no waiting inside of a step", async () => {
	const s = await start({ t: (event, ctx) => ctx.step("outer", async () => ctx.sleep("inner", 1)) });
	s.worker.run(1, "t");
	assert.match((await s.worker.next("FAIL")).fields.message, /ctx.sleep inside of step "outer"/);
	await finish(s);
});

test("CANCEL stops steps, waits, calls and checkpoints", async () => {
	const slow = gate();
	const stopped = [];
	const noted = (fn) => async (event, ctx) => {
		try {
			await fn(event, ctx);
		} catch (error) {
			stopped.push([ctx.task, error.name, ctx.signal.aborted]);
			throw error;
		}
	};
	const s = await start({
		saving: noted((event, ctx) => ctx.step("k", () => 1)),
		doing: noted((event, ctx) => ctx.step("k", () => slow.opened)),
		waiting: noted((event, ctx) => Promise.all([ctx.sleep(1), ctx.step("k", () => new Promise(() => {}))])),
		calling: noted((event, ctx) => ctx.cancel("7")),
		looping: noted(async (event, ctx) => {
			for (;;) {
				await ctx.checkpoint();
			}
		}),
	});
	for (const [i, task] of ["saving", "doing", "waiting", "calling", "looping"].entries()) {
		s.worker.run(1, task);
		await until(() => s.session.running === 1);
		await turns();
		s.worker.send("CANCEL", 1, { reason: i === 0 ? "timeout" : "enough", grace_ms: 1000 });
		if (task === "saving" || task === "calling") {
			await s.worker.next(task === "saving" ? "STEP" : "CALL");
		}
		if (task === "doing") {
			await turns();
			assert.equal(s.session.running, 1);
			slow.open();
		}
		const { fields } = await s.worker.next("FAIL");
		assert.deepEqual([fields.code, fields.type], [i === 0 ? "timeout" : "cancelled", "Cancelled"]);
		assert.deepEqual(stopped.pop(), [task, "Cancelled", true]);
	}
	await finish(s);
});

test("what nobody awaits yet does no harm when it is stopped", async () => {
	const s = await start({ t: async (event, ctx) => {
		const early = [ctx.step("k", () => 1), ctx.step("slow", () => new Promise(() => {})), ctx.sleep("5m"), ctx.cancel("7"),
			ctx.invoke({ name: "x" }, 1), ctx.invokeAll([{ task: { name: "x" }, payload: 1 }])];
		await new Promise((resolve) => ctx.signal.addEventListener("abort", resolve));
		await turns();
		await assert.rejects(ctx.step("late", () => 1), /is to stop/);
		await Promise.all(early);
	}, fine: () => 1 });
	s.worker.run(1, "t");
	await s.worker.next("CALL");
	await s.worker.next("STEP");
	s.worker.send("CANCEL", 1, { reason: "cancelled", grace_ms: 1000 });
	assert.deepEqual((await s.worker.next("FAIL")).fields.type, "Cancelled");
	s.worker.run(2, "fine");
	await s.worker.next("DONE");
	await finish(s);
});

test("a checkpoint lets a drain through", async () => {
	let rounds = 0;
	const s = await start({ loop: async (event, ctx) => {
		for (;; rounds++) {
			await ctx.checkpoint();
		}
	}, end: async (event, ctx) => {
		await ctx.step("k", () => 1);
		return "end";
	} });
	s.worker.run(1, "loop");
	s.worker.run(2, "end");
	await until(() => rounds > 1000);
	await s.worker.next("STEP");
	s.worker.send("DRAIN", 0, { deadline_ms: 1000 });
	assert.deepEqual((await s.worker.next("SUSPEND")).fields, { waits: [] });
	s.worker.send("STEP_OK", 2, { key: "k" });
	assert.equal((await s.worker.next("DONE")).exec, 2);
	await s.worker.next("BYE");
	s.worker.socket.end();
	assert.equal(await s.session.ended, 0);
});

test("calls are answered in any order", async () => {
	const s = await start({ t: async (event, ctx) => {
		const [id, done, error] = await Promise.all([
			ctx.start({ name: "a", queue: "q" }, { x: 1 }, { delay: "1m", metadata: [1] }), ctx.cancel(7, { reason: "w\0hy" }),
			ctx.start({ name: "typo" }, null).catch((e) => e),
		]);
		assert.ok(error instanceof UndeclaredTask && error instanceof ClientError);
		await assert.rejects(ctx.cancel("x"), (e) => e instanceof ClientError && e.code === "bad_args" && e.message === "no id");
		return [id, done, error.message, error.code];
	} });
	s.worker.run(1, "t");
	const calls = [];
	for (let i = 0; i < 3; i++) {
		const { fields } = await s.worker.next("CALL");
		calls.push([fields.name, JSON.parse(fields.args)]);
	}
	assert.deepEqual(calls, [["invoke", { task: "a", payload: { x: 1 }, queue: "q", delay: "1m", metadata: [1] }],
		["cancel", { id: "7", reason: "w\0hy" }], ["invoke", { task: "typo", payload: null }]]);
	s.worker.send("RETURN", 1, { call: 3, error: '{"code":"PC001","message":"no typo"}' });
	s.worker.send("RETURN", 1, { call: 2, result: "true" });
	s.worker.send("RETURN", 1, { call: 1, result: '"12345678901234567890"' });
	assert.equal((await s.worker.next("CALL")).fields.call, 4);
	s.worker.send("RETURN", 1, { call: 4, error: '{"code":"bad_args","message":"no id"}' });
	assert.deepEqual(JSON.parse((await s.worker.next("DONE")).fields.result), ["12345678901234567890", true, "no typo", "PC001"]);
	await finish(s);
});

test("progress", async () => {
	const s = await start({ t: (event, ctx) => {
		ctx.progress(12.6, "a\0b");
		ctx.progress(null, "x".repeat(1000));
		ctx.progress(-5);
		ctx.progress(1e9);
		assert.throws(() => ctx.progress("half"), /percent: not a number/);
	} });
	s.worker.run(1, "t");
	for (const expected of [{ percent: 13, note: "a\ufffdb" }, { note: "x".repeat(250) }, { percent: 0 }, { percent: 100 }]) {
		assert.deepEqual((await s.worker.next("PROGRESS")).fields, expected);
	}
	await s.worker.next("DONE");
	await finish(s);
});

test("a heartbeat", async () => {
	const s = await start({ t: () => 1 }, { heartbeat: 100 });
	assert.equal(s.worker.hello.beat_ms, 100);
	assert.ok(s.worker.hello.capabilities.includes("beat"));
	await s.worker.next("BEAT");
	await s.worker.next("BEAT");
	s.worker.socket.end();
	await s.session.ended;
});

/** As much of postgres.js as a transaction needs. */
function fakeSql(refusal, log = []) {
	return { log, begin: async (fn) => {
		log.push("begin");
		try {
			const value = await fn({ unsafe: (text, parameters) => ({ values: async () => {
				log.push(parameters);
				if (refusal !== undefined) {
					throw Object.assign(new Error("refused"), { code: refusal });
				}
				return [];
			} }) });
			log.push("commit");
			return value;
		} catch (error) {
			log.push("rollback");
			throw error;
		}
	} };
}

test("a step within a transaction", async () => {
	let sql;
	const seen = [];
	const s = await start({ t: async (event, ctx) => {
		try {
			return await ctx.transaction("pay", sql, () => event.payload ?? { paid: new Date(0) });
		} catch (error) {
			seen.push(error.message);
			throw error;
		}
	}, wrong: (event, ctx) => ctx.transaction("pay", {}, () => 1) });
	sql = fakeSql();
	s.worker.run(5, "t");
	assert.equal((await s.worker.next("DONE")).fields.result, '{"paid":"1970-01-01T00:00:00.000Z"}');
	assert.deepEqual(sql.log, ["begin", ["5", "t5", "pay", '{"paid":"1970-01-01T00:00:00.000Z"}'], "commit"]);
	// Saved before: nothing is done.
	sql = fakeSql();
	s.worker.run(5, "t", "null", { steps: [{ key: "pay", result: "7" }] });
	assert.deepEqual([(await s.worker.next("DONE")).fields.result, sql.log], ["7", []]);
	// Of a former run, or saved without having been told: rolled back, and run again with its journal.
	for (const code of ["PC010", "PC011"]) {
		sql = fakeSql(code);
		s.worker.run(6, "t");
		assert.deepEqual((await s.worker.next("SUSPEND")).fields, { waits: [] });
		assert.equal(sql.log.at(-1), "rollback");
	}
	assert.deepEqual(seen, []);
	sql = fakeSql("40001");
	s.worker.run(7, "t");
	assert.equal((await s.worker.next("FAIL")).fields.message, "refused");
	sql = fakeSql();
	s.worker.run(8, "t", '{"a": [0]}');
	await s.worker.next("DONE");
	assert.deepEqual(sql.log[1][3], '{"a":[0]}');
	s.worker.run(9, "wrong");
	assert.match((await s.worker.next("FAIL")).fields.message, /a postgres.js instance \(not a transaction of it\) or a pool of pg, and a function, are needed/);
	await finish(s);
});

test("what goes on when its run is over is not heard", async () => {
	const later = gate();
	const s = await start({ forgot: (event, ctx) => {
		later.opened.then(() => ctx.step("late", () => 1));
		ctx.step("early", () => later.opened);
		return "done";
	}, fine: () => 1 });
	s.worker.run(1, "forgot");
	await s.worker.next("DONE");
	later.open();
	const { exec, fields } = await s.worker.next("LOG");
	assert.equal(exec, 0);
	assert.match(fields.message, /task forgot: ctx.step after its function had returned: is an await missing\?/);
	s.worker.run(2, "fine");
	await s.worker.next("DONE");
	await finish(s);
});

test("a worker that does not have it", async () => {
	const s = await start({ t: (event, ctx) => ctx.step("k", () => 1) }, { welcome: { ...WELCOME, capabilities: ["cancel"] } });
	s.worker.run(1, "t");
	assert.match((await s.worker.next("FAIL")).fields.message, /ctx.step: this version of pgconductor does not have it/);
	await finish(s);
});

test("nothing is left of ten thousand that suspend", async () => {
	setFlagsFromString("--expose-gc");
	const gc = runInNewContext("gc");
	const left = new Set();
	let begun = 0;
	const gone = new FinalizationRegistry((id) => left.delete(id));
	const s = await start({ t: async (event, ctx) => {
		const large = new Array(1000).fill(ctx.executionId);
		begun++;
		left.add(ctx.executionId);
		gone.register(large, ctx.executionId);
		ctx.signal.addEventListener("abort", () => large.pop());
		const seen = await ctx.step("k", () => 1);
		await Promise.all([ctx.sleep("nap", "1h"), ctx.invoke("child", { name: "x" }, null)]);
		return [large, seen];
	} });
	const rounds = 100;
	for (let i = 0; i < rounds; i++) {
		for (let exec = 1; exec <= 100; exec++) {
			s.worker.run(exec, "t", "null", { id: `${i}.${exec}`, steps: [{ key: "k" }] });
		}
		for (let n = 0; n < 100; n++) {
			await s.worker.next("SUSPEND");
		}
	}
	assert.equal(begun, rounds * 100);
	for (let i = 0; i < 50 && left.size > 0; i++) {
		gc();
		await turns(5);
	}
	assert.ok(left.size <= 10, `${left.size} of ${rounds * 100} are left`);
	await finish(s);
});
