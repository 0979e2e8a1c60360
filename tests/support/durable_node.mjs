// Executions that last, with the Node library: the tasks of durable_c.c, which says what they do, for test_durable.py.
import { appendFileSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";
import { ChildFailed, Conductor, NonRetryableError, Orchestrator } from "pgconductor";

function enter(ctx, kind, rest = "") {
	const line = `${BigInt(Date.now()) * 1_000_000n} ${process.pid} ${kind} ${ctx.executionId} ${ctx.attempt} ${rest}`;
	appendFileSync(process.env.LEDGER, `${line.trimEnd()}\n`);
}

const sum = (numbers) => numbers.reduce((a, b) => a + b, 0);

async function oneStep(ctx, i, { bytes = 0, piped = false } = {}) {
	const key = `step-${i}`;
	let done = false;
	const [n] = await ctx.step(key, () => {
		done = true;
		enter(ctx, "did", key);
		return [i, "x".repeat(bytes)];
	});
	if (done && !piped) {
		enter(ctx, "ok", key);
	}
	return n;
}

async function steps({ payload }, ctx) {
	const found = [];
	for (let i = 0; i < (payload.n ?? 1); i++) {
		if (i === payload.die && ctx.attempt === 1) {
			process.kill(process.pid, "SIGKILL");
		}
		const one = oneStep(ctx, i, payload);
		found.push(payload.piped ? one : await one);
	}
	return sum(await Promise.all(found));
}

async function sleeps({ payload }, ctx) {
	await ctx.step("began", () => {
		enter(ctx, "began");
		return 1;
	});
	await ctx.sleep(payload.ms);
	enter(ctx, "woke");
	return "slept";
}

async function leaf({ payload }, ctx) {
	enter(ctx, "leaf");
	if (payload.ms) {
		await pause(payload.ms);
	}
	if (payload.fail) {
		throw new NonRetryableError(payload.fail);
	}
	return payload.value;
}

async function loop(event, ctx) {
	enter(ctx, "loop");
	await ctx.step("kept", () => true);
	for (let i = 0; ; i++) {
		await ctx.checkpoint();
		ctx.progress(Math.min(i, 100), i === 0 ? "looping" : undefined);
		await pause(5);
	}
}

const tasks = {
	steps, sleep: sleeps, leaf, loop,

	async parent({ payload }, ctx) {
		enter(ctx, "parent");
		const children = payload.children.map(({ task, payload, queue, timeout_ms, key, priority, metadata }) => (
			{ task: { name: task }, payload, queue, timeout: timeout_ms, key, priority, metadata }));
		const found = await ctx.invokeAll(children, { returnErrors: payload.caught });
		return found.map((one) => one instanceof ChildFailed ? { error: { code: one.code, message: one.message } } : { result: one });
	},

	async many({ payload: { n = 1, task } }, ctx) {
		const children = Array.from({ length: n }, (_, value) => ({ task: { name: task }, payload: { value } }));
		return sum(await ctx.invokeAll(children));
	},

	async tree({ payload: { depth } }, ctx) {
		return depth === 0 ? 0 : 1 + await ctx.invoke("below", { name: "tree" }, { depth: depth - 1 });
	},

	async twice(event, ctx) {
		await ctx.step("once", () => 1);
		enter(ctx, "first");
		await ctx.step("once", () => 2);
		enter(ctx, "second");
	},

	cancel: ({ payload }, ctx) => ctx.cancel(payload.id, { reason: "by a task" }),

	start: ({ payload: { task, payload, dedupe_key, throttle_s, debounce_s, metadata } }, ctx) => ctx.start({ name: task }, payload, {
		dedupeKey: dedupe_key,
		metadata,
		throttle: throttle_s && { seconds: throttle_s },
		debounce: debounce_s && { seconds: debounce_s },
	}),

	async flow(event, ctx) {
		const found = [];
		for (let i = 0; i < 20; i++) {
			found.push(await oneStep(ctx, i));
			if (i % 5 === 4 && i < 19) {
				await ctx.sleep(5 + i);
			}
		}
		const children = Array.from({ length: 5 }, (_, i) => (
			{ task: { name: i < 3 ? "leaf" : "far" }, payload: { value: 1000 * (i + 1) } }));
		return sum(found) + sum(await ctx.invokeAll(children));
	},

	hang(event, ctx) {
		enter(ctx, "hang");
		process.kill(process.pid, "SIGSTOP");
	},

	async keep({ payload: { values } }, ctx) {
		const found = [];
		let all = true;
		for (const [i, value] of values.entries()) {
			found.push(await ctx.step(`value-${i}`, () => {
				all = false;
				return value;
			}));
		}
		await ctx.sleep(1);
		if (!all) {
			throw new Error("slept without having saved");
		}
		return found;
	},

	flaky: ({ payload }, ctx) => ctx.step("flaky", () => {
		enter(ctx, "did", "flaky");
		if (ctx.attempt <= payload.fails) {
			throw new Error("not yet");
		}
		return ctx.attempt;
	}),

	async keyless(event, ctx) {
		await ctx.sleep(1);
		const found = await ctx.invoke({ name: "leaf" }, { value: 7 });
		await ctx.sleep(1);
		return found;
	},

	async fruit({ payload: { items, ms, fail } }, ctx) {
		const step = (key, fn) => ctx.step(key, () => {
			enter(ctx, "did", key);
			return fn();
		});
		await step("validate", () => items.length);
		const list = await step("transform", () => items.map((item) => item.toUpperCase()));
		await ctx.sleep(ms);
		return step("save", () => {
			if (fail && ctx.attempt === 1) {
				throw new Error("no room");
			}
			return ["done", list];
		});
	},

	ten: async ({ payload }, ctx) => 10 + await ctx.invoke({ name: "double" }, payload),

	double: ({ payload: { value } }) => 2 * value,
};

const { LEDGER, DURABLE_OPTIONS = "{}", DURABLE_CONCURRENCY = "1", DURABLE_BEAT } = process.env;
if (LEDGER === undefined) {
	throw new Error("LEDGER is to name the ledger");
}
const options = Object.fromEntries(Object.entries(JSON.parse(DURABLE_OPTIONS)).map(([name, value]) => (
	[name.replace(/_./g, ([, letter]) => letter.toUpperCase()), value])));

const conductor = Conductor.create();
const task = (name, handler, more) => conductor.createTask({ name, ...options, ...more }, { invocable: true }, handler);

const orchestrator = Orchestrator.create({
	conductor,
	tasks: [
		...Object.entries(tasks).map(([name, handler]) => task(name, handler)),
		task("far", leaf, { queue: "other" }),
		task("once", steps, { maxAttempts: 1 }),
		task("brief", loop, { totalTimeout: "700ms" }),
		task("nap", sleeps, { totalTimeout: "700ms" }),
	],
	defaultWorker: { concurrency: Number(DURABLE_CONCURRENCY) },
	heartbeat: DURABLE_BEAT === undefined ? undefined : Number(DURABLE_BEAT),
});

await orchestrator.start();
await orchestrator.stopped;
