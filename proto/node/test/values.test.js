import assert from "node:assert/strict";
import { test } from "node:test";
import { milliseconds } from "../src/duration.js";
import { explain } from "../src/errors.js";
import { Conductor, NotInstalled, Orchestrator, RetryAfter, UndeclaredTask } from "../src/index.js";
import { invokeOptions, queueSettings, taskOf, workerConfig } from "../src/options.js";

test("durations", () => {
	for (const [text, ms] of [["250ms", 250], ["1.5s", 1500], ["5m", 300_000], ["2h", 7_200_000], ["7d", 604_800_000], ["0", 0], [0, 0], [12, 12]]) {
		assert.equal(milliseconds(text), ms);
	}
	for (const wrong of ["", "5", "5 m", "-1s", "1w", NaN, -1, Infinity, null, undefined, true, "999999d"]) {
		assert.throws(() => milliseconds(wrong), /not a duration/, String(wrong));
	}
	const soon = new RetryAfter(new Date(Date.now() + 10_000)).afterMs;
	assert.ok(soon > 9000 && soon <= 10_000);
	assert.equal(new RetryAfter(new Date(0)).afterMs, 0);
});

test("options of a task are those of HELLO", () => {
	const { options, ...task } = taskOf({ name: "t", queue: "q", maxAttempts: 5, backoff: ["1s", "5s"], timeout: "2m", removeOnComplete: { days: 1 }, removeOnFail: false });
	assert.deepEqual(task, { name: "t", queue: "q" });
	assert.deepEqual(JSON.parse(options), { max_attempts: 5, backoff: ["1s", "5s"], timeout: "2m", remove_on_complete: { days: 1 }, remove_on_fail: false });
	assert.equal(taskOf({ name: "t", timeout: undefined }).options, undefined);
	assert.deepEqual(JSON.parse(taskOf({ name: "t", concurrency: 1 }).options), { concurrency: 1 });
	assert.deepEqual(JSON.parse(taskOf({ name: "t", fifoKey: "a.b", concurrencyKey: { key: "a.b", limit: 2 }, rateLimit: [{ limit: 1 }, { limit: 2, key: "a.b" }] }).options),
		{ fifo_key: "a.b", concurrency_key: { key: "a.b", limit: 2 }, rate_limit: [{ limit: 1 }, { limit: 2, key: "a.b" }] });
	assert.throws(() => taskOf({ name: "t", retries: 1 }), /task t: retries: no such option \(there are maxAttempts/);
	assert.throws(() => taskOf({}), /a task needs a name/);
});

test("options of a worker", () => {
	assert.deepEqual(workerConfig(), { concurrency: 100, credit: 100 });
	assert.deepEqual(workerConfig({ concurrency: 2, fetchBatchSize: 10, pollIntervalMs: 5 }), { concurrency: 2, credit: 10 });
	assert.deepEqual(workerConfig({ concurrency: 20, fetchBatchSize: 10 }), { concurrency: 20, credit: 20 });
	assert.throws(() => workerConfig({ concurrency: 0 }), /concurrency: 0 is not a whole number from 1 on/);
	assert.throws(() => workerConfig({ threads: 1 }), /threads: no such option/);
	assert.equal(queueSettings("q", { flushIntervalMs: 5 }), undefined);
	assert.deepEqual(queueSettings("q", { fetchBatchSize: 20_000, pollIntervalMs: 5 }),
		{ name: "q", concurrency: undefined, fetch_batch: 10_000, poll_ms: 100 });
	assert.deepEqual(queueSettings("q", { pollIntervalMs: 1e9 }), { name: "q", concurrency: undefined, fetch_batch: undefined, poll_ms: 3_600_000 });
});

test("options of invoke are SQL's", () => {
	const text = (options) => Object.fromEntries(invokeOptions(options).map((o) => [o.name, o.text]));
	assert.deepEqual(text({ priority: -3, runAt: new Date(0), delay: { minutes: 5 }, metadata: { a: 1 }, queue: undefined }),
		{ priority: "-3", run_at: "1970-01-01T00:00:00.000Z", delay: "5 minutes", metadata: '{"a":1}' });
	assert.deepEqual(text({ delay: 1500, throttle: "10s", dedupe_key: "k", maxWait: "1h" }),
		{ delay: "1500 milliseconds", throttle: "10s", dedupe_key: "k", max_wait: "1h" });
	assert.throws(() => text({ prio: 1 }), /invoke: prio: no such option/);
	assert.throws(() => text({ toString: 1 }), /no such option/);
});

test("errors by SQLSTATE", () => {
	const cause = Object.assign(new Error("no such task"), { code: "PC001", hint: "declare it" });
	const error = explain(cause);
	assert.ok(error instanceof UndeclaredTask);
	assert.deepEqual([error.name, error.message, error.code, error.hint, error.cause], ["UndeclaredTask", "no such task", "PC001", "declare it", cause]);
	assert.ok(explain(Object.assign(new Error("x"), { code: "3F000" })) instanceof NotInstalled);
	const other = Object.assign(new Error("x"), { code: "23505" });
	assert.equal(explain(other), other);
});

test("what cannot be is refused where it is written", () => {
	const conductor = Conductor.create();
	const task = conductor.createTask({ name: "t" }, { invocable: true }, () => 1);
	const media = conductor.createTask({ name: "m", queue: "media" }, { invocable: true }, () => 1);
	assert.deepEqual([{ ...task }, { ...media }], [{ name: "t", queue: "default" }, { name: "m", queue: "media" }]);
	assert.throws(() => Conductor.create({ sql: {}, connectionString: "x" }), /either sql or connectionString/);
	assert.throws(() => Conductor.create({ connectionString: "host=/tmp dbname=x" }), /connectionString: not a URL like/);
	assert.throws(() => Conductor.create({ events: {} }), /events: what EventSchemas makes is needed/);
	assert.throws(() => Conductor.create({ url: "x" }), /url: no such option/);
	assert.throws(() => Conductor.create({ context: { step: 1 } }), /context: step: /);
	assert.throws(() => conductor.createTask({ name: "x" }, { invocable: true }, undefined), /task x: the handler is not a function/);
	assert.throws(() => conductor.createWorker({ queue: "other", tasks: [media] }), /task m: its queue is media, not other/);
	assert.throws(() => Orchestrator.create({ conductor, tasks: [{ name: "t" }] }), /what conductor.createTask returned/);
	assert.throws(() => Orchestrator.create({ conductor, tasks: [task, task] }), /task t stands there twice/);
	assert.throws(() => Orchestrator.create({}), /what Conductor.create returned/);
	const worker = conductor.createWorker({ queue: "fast", tasks: [task], config: { concurrency: 3 } });
	const info = Orchestrator.create({ conductor, tasks: [media], workers: [worker] }).info();
	assert.deepEqual([info.role, info.state, info.tasks], ["none", "created", ["m", "t"]]);
});
