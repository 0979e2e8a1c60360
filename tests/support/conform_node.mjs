// The tasks of docs/conform.md, with the Node library: pgconductor conform -- node conform_node.mjs
import { setTimeout as sleep } from "node:timers/promises";
import { Conductor, NonRetryableError, Orchestrator, RawJSON, RetryAfter } from "pgconductor";

const conductor = Conductor.create();
const task = (name, handler, queue) => conductor.createTask({ name, queue }, { invocable: true }, handler);

const orchestrator = Orchestrator.create({ conductor, tasks: [
	task("conform.echo", (event, ctx) => new RawJSON(ctx.payloadText)),
	task("conform.fail", ({ payload }) => {
		if (payload.retry === false) {
			throw new NonRetryableError(payload.message);
		}
		if (payload.after_ms !== undefined) {
			throw new RetryAfter(payload.after_ms, payload.message);
		}
		throw new Error(payload.message);
	}),
	task("conform.sleep", (event, ctx) => sleep(event.payload.ms, event.payload.ms, { signal: ctx.signal })),
	task("conform.print", (event) => console.log(event.payload.text) ?? null),
	task("conform.null", () => {}),
	task("conform.log", ({ payload }, ctx) => ctx.logger[payload.level](payload.message)),
	task("conform.repeat", ({ payload }) => payload.text.repeat(payload.times)),
	task("conform.steps", async ({ payload: { steps, piped } }, ctx) => {
		const results = [];
		for (const [key, value] of steps) {
			const step = ctx.step(key, () => value);
			results.push(piped ? step : await step);
		}
		return Promise.all(results);
	}),
	task("conform.wait", async ({ payload: { key, ms } }, ctx) => {
		await ctx.sleep(key, ms);
		return "waited";
	}),
	task("conform.child", ({ payload: { key, task, payload, timeout_ms: timeout } }, ctx) => (
		ctx.invoke(key, { name: task }, payload, { timeout }))),
	task("conform.start", ({ payload: { task, payload } }, ctx) => ctx.start({ name: task }, payload)),
	task("conform.event", ({ payload: { key, timeout_ms: timeout, ...event } }, ctx) => ctx.waitForEvent(key, { ...event, timeout })),
	task("conform.change", ({ payload: { key, change } }, ctx) => ctx.waitForEvent(key, change)),
	task("conform.emit", ({ payload: { event, payload } }, ctx) => ctx.emit(event, payload)),
	task("conform.schedule", ({ payload: { task, name, cron, timezone, payload } }, ctx) => (
		ctx.schedule({ name: task }, name, { cron, timezone }, payload))),
	task("conform.unschedule", ({ payload: { task, name } }, ctx) => ctx.unschedule({ name: task }, name)),
	task("conform.progress", ({ payload: { percent, note } }, ctx) => ctx.progress(percent, note)),
	task("conform.checkpoint", async (event, ctx) => {
		for (;;) {
			await ctx.checkpoint();
			await sleep(5);
		}
	}),
	conductor.createTask({ name: "conform.batch", batch: { size: 8, timeoutMs: 100 } }, { invocable: true }, async (events) => {
		await sleep(Math.max(...events.map(({ payload: { ms = 0 } }) => ms)));
		return events.filter(({ payload }) => !payload.short).map(({ payload: { fail, value } }) => (
			fail === undefined ? value : new Error(fail)));
	}),
	task("conform.elsewhere", (event, ctx) => new RawJSON(ctx.payloadText), "other"),
], heartbeat: 1500 });

await orchestrator.start();
await orchestrator.stopped;
