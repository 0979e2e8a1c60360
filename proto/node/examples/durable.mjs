// Tasks that last: node durable.mjs, and in another terminal
//
//	pgconductor invoke preserve '["apple", "banana"]' --wait
//	pgconductor invoke sum_up '{"value": 5}' --wait
//
// Kill whatever you like meanwhile: what was done is not done again.
import { setTimeout as work } from "node:timers/promises";
import { Conductor, Orchestrator } from "pgconductor";

const conductor = Conductor.create();
const retries = { maxAttempts: 5, backoff: "1s" };

// Three steps, and a pause that holds nothing: neither a process nor a place in its queue.
const preserve = conductor.createTask({ name: "preserve", ...retries }, { invocable: true }, async ({ payload }, ctx) => {
	const fruit = await ctx.step("sort", () => {
		console.log("sorting", payload.length);
		return /** @type {string[]} */ (payload).filter((name) => name !== "").sort();
	});
	const jars = await ctx.step("cook", async () => {
		console.log("cooking", fruit.join(", "));
		await work(100);
		return fruit.map((name) => `${name} jam`);
	});
	await ctx.sleep("cool down", "1s");
	return ctx.step("store", () => {
		console.log("storing", jars.join(", "));
		return { stored: jars.length, jars };
	});
});

const double = conductor.createTask({ name: "double", ...retries }, { invocable: true }, async ({ payload }) => {
	console.log("doubling", payload.value);
	return payload.value * 2;
});

// Waits for what another task makes of it, wherever that runs.
const sumUp = conductor.createTask({ name: "sum_up", ...retries }, { invocable: true }, async ({ payload }, ctx) => {
	const doubled = await ctx.invoke(double, { value: payload.value });
	return doubled + 10;
});

const orchestrator = Orchestrator.create({ conductor, tasks: [preserve, double, sumUp] });

await orchestrator.start();
await orchestrator.stopped;
