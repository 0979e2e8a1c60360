/* The session against a worker that is played here. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { extendContext } from "../src/context.js";
import { NonRetryableError, RawJSON, RetryAfter } from "../src/index.js";
import { WELCOME, finish, gate, start, until } from "./worker.js";

test("HELLO names the tasks of the queue", async () => {
	const s = await start({ a: () => 1, "other.b": () => 2 }, { concurrency: 7 });
	assert.deepEqual(s.worker.hello.tasks, [{ name: "a", queue: "default", triggers: '[{"invocable":true}]' }]);
	assert.deepEqual([s.worker.hello.concurrency, s.worker.hello.credit, s.worker.hello.sdk], [7, 14, "node"]);
	await finish(s);
	const all = await start({ a: () => 1, "other.b": () => 2 }, { queue: null, welcome: { ...WELCOME, queue: "" } });
	assert.deepEqual(all.worker.hello.tasks.map((task) => task.name), ["a", "other.b"]);
	all.worker.socket.end();
	assert.equal(await all.session.ended, 0, "a discovery is over when it is over");
});

test("results", async () => {
	const circle = {};
	circle.self = circle;
	const results = {
		zero: [0, "0"], false: [false, "false"], empty: ["", '""'], null: [null, undefined], undefined: [undefined, undefined],
		list: [[1, undefined, "é"], '[1,null,"é"]'], date: [new Date(0), '"1970-01-01T00:00:00.000Z"'], half: ["\ud800", '"\\ud800"'],
		raw: [new RawJSON(" 12.50 "), " 12.50 "], nul: ["\0", '"\\u0000"'],
	};
	const refused = {
		circle, nan: NaN, infinity: { deep: [Infinity] }, bytes: Buffer.from("x"), array: { a: new Uint8Array(2) }, map: new Map([[1, 2]]),
		big: 1n, function: () => 1, inner: [new RawJSON("1")],
	};
	const handlers = Object.fromEntries([...Object.entries(results).map(([name, [value]]) => [name, () => value]),
		...Object.entries(refused).map(([name, value]) => [name, () => value])]);
	const s = await start(handlers);
	for (const [name, [, text]] of Object.entries(results)) {
		s.worker.run(1, name);
		assert.equal((await s.worker.next("DONE")).fields.result, text, name);
	}
	for (const name of Object.keys(refused)) {
		s.worker.run(1, name);
		assert.equal((await s.worker.next("FAIL")).fields.code, "bad_result", name);
	}
	await finish(s);
});

test("a result that is too long fails for good", async () => {
	const s = await start({ long: () => "é".repeat(600_000) });
	s.worker.run(1, "long");
	const { fields } = await s.worker.next("FAIL");
	assert.deepEqual([fields.code, fields.retry], ["oversize", false]);
	assert.match(fields.message, /1200002 bytes long; the limit is 1048576/);
	await finish(s);
});

test("errors", async () => {
	class TooCold extends Error {}
	const s = await start({
		own: () => { throw new TooCold("brr", { cause: new RangeError("-40") }); },
		good: () => { throw new NonRetryableError("never", { data: { why: [1] }, code: "bad_payload" }); },
		later: async () => { throw new RetryAfter("1.5s"); },
		string: () => { throw "just text"; },
		nothing: () => { throw undefined; },
		nul: () => { throw new Error(`a\0b${"x".repeat(100_000)}`); },
		odd: () => { throw new NonRetryableError("odd", { data: { n: 1n } }); },
	});
	const fail = async (task) => {
		s.worker.run(9, task);
		return (await s.worker.next("FAIL")).fields;
	};
	const own = await fail("own");
	assert.deepEqual([own.code, own.type, own.message, own.retry], ["app", "TooCold", "brr", undefined]);
	assert.match(own.stack, /^TooCold: brr\n +at .*session\.test\.js:[^\n]*\ncaused by: RangeError: -40\n +at [^\n]*$/);
	const good = await fail("good");
	assert.deepEqual([good.code, good.type, good.message, good.retry, good.data], ["bad_payload", "NonRetryableError", "never", false, '{"why":[1]}']);
	assert.equal((await fail("later")).after_ms, 1500);
	assert.deepEqual([await fail("string"), (await fail("nothing")).message], [{ code: "app", message: "just text", type: "string" }, "undefined"]);
	const nul = await fail("nul");
	assert.ok(nul.message.startsWith("a\ufffdb") && nul.message.length === 32 * 1024);
	assert.equal((await fail("odd")).data, '"{ n: 1n }"');
	assert.match((await fail("unheard of")).message, /this program has no task "unheard of"/);
	await finish(s);
});

test("the context", async () => {
	let seen;
	const s = await start({ t: (event, ctx) => { seen = { event, ctx }; } }, { context: { db: "mine", get now() { return 7; } } });
	s.worker.run(5, "t", '{"n": 9223372036854775808, "f": 12.50}', { attempt: 3, deadline_ms: 60_000, metadata: '{"a":1}', trace: "00-x" });
	await s.worker.next("DONE");
	const { event, ctx } = seen;
	assert.deepEqual(event, { name: "pgconductor.invoke", kind: "invoke", payload: { n: 9223372036854775808, f: 12.5 }, at: null });
	assert.equal(ctx.payloadText, '{"n": 9223372036854775808, "f": 12.50}');
	assert.deepEqual([ctx.executionId, ctx.task, ctx.attempt, ctx.queue, ctx.token, ctx.trace], ["5", "t", 3, "default", "t5", "00-x"]);
	assert.deepEqual([ctx.metadata, ctx.db, ctx.now], [{ a: 1 }, "mine", 7]);
	const left = ctx.deadline.getTime() - Date.now();
	assert.ok(left > 50_000 && left <= 60_000);
	s.worker.run(6, "t");
	await s.worker.next("DONE");
	assert.deepEqual([seen.ctx.deadline, seen.ctx.metadata, seen.ctx.trace], [null, null, null]);
	assert.throws(() => extendContext({ signal: 1 }), /context: signal: .* has this name itself/);
	await finish(s);
});

test("as many at once as concurrency says, the others in the order they came", async () => {
	const begun = [];
	const gates = Array.from({ length: 6 }, gate);
	const s = await start({ t: async (event) => {
		begun.push(event.payload);
		await gates[event.payload].opened;
	} }, { concurrency: 3 });
	for (let i = 0; i < 6; i++) {
		s.worker.run(i + 1, "t", String(i));
	}
	await until(() => s.session.waiting === 3);
	assert.deepEqual([begun, s.session.running, s.session.waiting], [[0, 1, 2], 3, 3]);
	gates[1].open();
	assert.equal((await s.worker.next("DONE")).exec, 2);
	assert.deepEqual(begun, [0, 1, 2, 3]);
	gates.forEach((g) => g.open());
	for (let i = 0; i < 5; i++) {
		await s.worker.next("DONE");
	}
	assert.deepEqual(begun, [0, 1, 2, 3, 4, 5]);
	await finish(s);
});

test("a function that does not wait lets outcomes out, and CANCEL in", async () => {
	const begun = [];
	const s = await start({ busy: (event, ctx) => {
		begun.push(ctx.executionId);
		const until = performance.now() + 30;
		while (performance.now() < until);
	} });
	for (let i = 1; i <= 5; i++) {
		s.worker.run(i, "busy");
	}
	assert.equal((await s.worker.next("DONE")).exec, 1);
	s.worker.send("CANCEL", 5, { reason: "cancelled", grace_ms: 1000 });
	const answers = [];
	for (let i = 0; i < 4; i++) {
		answers.push(await new Promise((resolve) => s.worker.next("DONE").then(resolve, () => resolve({ name: "FAIL", exec: 5 }))));
	}
	assert.ok(answers.some((a) => a.exec === 5 && a.name === "FAIL"), "the last one was cancelled before it began");
	assert.deepEqual(begun, ["1", "2", "3", "4"]);
	await finish(s);
});

test("CANCEL reaches the signal, and only that of its execution", async () => {
	const reasons = [];
	const s = await start({ wait: (event, ctx) => new Promise((resolve, reject) => {
		ctx.signal.addEventListener("abort", () => {
			reasons.push([ctx.executionId, ctx.signal.reason.name, ctx.signal.reason.reason]);
			reject(ctx.signal.reason);
		});
	}), late: async (event, ctx) => {
		await until(() => ctx.signal.aborted);
		await new Promise((resolve) => setTimeout(resolve, 5));
		ctx.signal.throwIfAborted();
	} });
	s.worker.run(1, "wait");
	s.worker.run(2, "wait");
	s.worker.run(3, "late");
	await until(() => s.session.running === 3);
	s.worker.send("CANCEL", 2, { reason: "timeout", grace_ms: 1000 });
	s.worker.send("CANCEL", 3, { reason: "no longer wanted", grace_ms: 1000 });
	s.worker.send("CANCEL", 99, { reason: "cancelled", grace_ms: 1000 });
	const first = await s.worker.next("FAIL");
	assert.deepEqual([first.exec, first.fields.code, first.fields.type], [2, "timeout", "Cancelled"]);
	const second = await s.worker.next("FAIL");
	assert.deepEqual([second.exec, second.fields.code], [3, "cancelled"]);
	assert.deepEqual(reasons, [[2, "Cancelled", "timeout"]].map(([id, ...rest]) => [String(id), ...rest]));
	s.worker.send("CANCEL", 1, { reason: "cancelled", grace_ms: 1000 });
	assert.equal((await s.worker.next("FAIL")).exec, 1);
	await finish(s);
});

test("DRAIN: what runs is finished, what waits goes back, then BYE", async () => {
	const g = gate();
	const begun = [];
	const s = await start({ t: async (event, ctx) => {
		begun.push(ctx.executionId);
		await g.opened;
		return "done";
	} }, { concurrency: 1 });
	s.worker.run(1, "t");
	s.worker.run(2, "t");
	await until(() => s.session.waiting === 1);
	s.worker.send("DRAIN", 0, { deadline_ms: 1000 });
	s.worker.run(3, "t");
	await until(() => s.session.state === "draining");
	g.open();
	assert.equal((await s.worker.next("DONE")).exec, 1);
	await s.worker.next("BYE");
	s.worker.socket.end();
	assert.equal(await s.session.ended, 0);
	assert.deepEqual(begun, ["1"]);
});

test("what was not begun is answered at once when it is cancelled, and not begun", async () => {
	const s = await start({ t: () => assert.fail("begun") });
	s.worker.socket.cork();
	s.worker.run(1, "t");
	s.worker.send("CANCEL", 1, { reason: "timeout", grace_ms: 1000 });
	s.worker.socket.uncork();
	assert.deepEqual((await s.worker.next("FAIL")).fields, { code: "timeout", message: "stopped before it was started" });
	await finish(s);
});

test("stop: no more is asked for, and BYE comes of its own accord", async () => {
	const s = await start({ t: () => 1 });
	s.session.stop();
	assert.equal((await s.worker.next("CREDIT")).fields.credit, 0);
	await s.worker.next("BYE");
	s.worker.socket.end();
	assert.equal(await s.session.ended, 0);
});

test("REJECT, and an early end, are errors of start", async () => {
	const refused = await start({}, { welcome: null });
	refused.worker.send("REJECT", 0, { reason: "no version in common" });
	await assert.rejects(refused.session.welcomed, /the worker refused this program: no version in common/);
	assert.equal(await refused.session.ended, 1);
	const lost = await start({}, { welcome: null });
	lost.worker.socket.destroy();
	await assert.rejects(lost.session.welcomed, /the worker went away/);
});

test("a worker that goes away stops what runs", async () => {
	let reason;
	const s = await start({ t: (event, ctx) => new Promise((resolve) => {
		ctx.signal.addEventListener("abort", () => {
			reason = ctx.signal.reason.reason;
			resolve();
		});
		s.worker.socket.destroy();
	}) });
	s.worker.run(1, "t");
	assert.equal(await s.session.ended, 1);
	assert.equal(reason, "lost");
});

test("unknown types from 128 up are ignored; a lower one ends the session", async () => {
	const s = await start({ t: () => 1 });
	s.worker.socket.write(Buffer.from("0000000593cc800080", "hex"));
	s.worker.run(1, "t");
	await s.worker.next("DONE");
	s.worker.socket.write(Buffer.from("00000004933f0080", "hex"));
	await s.worker.closed;
	assert.equal(await s.session.ended, 1);
	const wrong = await start({ t: () => 1 });
	wrong.worker.send("DONE", 1, {});
	assert.equal(await wrong.session.ended, 1);
});

test("ctx.logger sends LOG", async () => {
	const s = await start({ t: (event, ctx) => {
		ctx.logger.info("plain");
		ctx.logger.warn("with fields", { a: [1], big: undefined });
		ctx.logger.error("an error", new TypeError("oh"));
		ctx.logger.debug("odd", { n: 1n });
	} });
	s.worker.run(4, "t");
	const lines = [];
	for (let i = 0; i < 4; i++) {
		const { exec, fields } = await s.worker.next("LOG");
		lines.push([exec, fields.level, fields.message, fields.fields]);
	}
	assert.deepEqual(lines.slice(0, 2), [[4, "info", "plain", undefined], [4, "warn", "with fields", '{"a":[1]}']]);
	assert.match(lines[2][3], /"type":"TypeError","message":"oh","stack":"TypeError: oh/);
	assert.equal(lines[3][3], '{"value":"{ n: 1n }"}');
	await s.worker.next("DONE");
	await finish(s);
});

test("a logger of the program's own is told what a line is about", async () => {
	const lines = [];
	const logger = Object.fromEntries(["debug", "info", "warn", "error"].map((level) => [level, (...line) => lines.push([level, ...line])]));
	const oh = new TypeError("oh");
	const s = await start({ t: (event, ctx) => {
		ctx.logger.debug("plain");
		ctx.logger.info("with fields", { a: 1 });
		ctx.logger.warn("odd", 7);
		ctx.logger.error("an error", oh);
	} }, { logger });
	s.worker.run(4, "t", "null", { attempt: 2 });
	await s.worker.next("DONE");
	const about = { execution: "4", task: "t", attempt: 2, queue: "default" };
	assert.deepEqual(lines, [["debug", "plain", about], ["info", "with fields", { a: 1, ...about }], ["warn", "odd", { value: 7, ...about }],
		["error", "an error", { error: oh, ...about }]]);
	await finish(s);
});

test("while the worker does not read, nothing is begun, and log lines are bounded", async () => {
	const begun = [];
	const s = await start({
		big: (event, ctx) => {
			begun.push(ctx.executionId);
			return "x".repeat(1 << 20 >> 1);
		},
		chatty: (event, ctx) => {
			const text = "y".repeat(32 * 1024);
			for (let i = 0; i < 2000; i++) {
				ctx.logger.info(text);
			}
		},
	}, { concurrency: 2 });
	s.worker.socket.pause();
	for (let i = 1; i <= 100; i++) {
		s.worker.run(i, "big");
	}
	await until(() => s.session.waiting > 0 && begun.length >= 8);
	for (let i = 0; i < 50; i++) {
		await new Promise(setImmediate);
	}
	assert.ok(begun.length < 30, `${begun.length} were begun`);
	s.worker.socket.resume();
	for (let i = 1; i <= 100; i++) {
		await s.worker.next("DONE");
	}
	assert.equal(begun.length, 100);
	s.worker.run(101, "chatty");
	let lines = 0;
	let frame = await s.worker.next("LOG");
	for (; ; lines++) {
		const next = await new Promise((resolve) => s.worker.next("LOG").then(resolve, () => resolve(undefined)));
		if (next === undefined) {
			break;
		}
		frame = next;
	}
	assert.ok(frame && lines < 1000, `${lines} lines came`);
	await finish(s);
});
