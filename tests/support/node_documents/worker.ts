// Serves the tasks of schemas.ts: four queues, each with its own concurrency, and every kind of trigger.
import { randomUUID } from "node:crypto";
import { Conductor, Orchestrator } from "pgconductor";
import { database, events, label, tasks } from "./schemas.js";

const conductor = Conductor.create({
	connectionString: process.env.DATABASE_URL,
	tasks,
	events,
	database,
	context: { printer: { print: (text: string) => `printed ${text}` } },
});

const labels = conductor.createTask(
	{ name: "label", maxAttempts: 2, removeOnComplete: { days: 1 }, removeOnFail: false },
	{ invocable: true },
	async (event, ctx) => {
		ctx.logger.info(ctx.printer.print(event.payload.parcel), { lines: event.payload.lines.length });
		return { code: event.payload.to.toUpperCase(), printed: new Date(0).toISOString() };
	},
);

const double = conductor.createTask({ name: "double", concurrency: 3, window: ["00:00", "24:00"] }, { invocable: true },
	async (event) => ({ n: event.payload.n * 2 }));

const order = conductor.createTask({ name: "order" }, { invocable: true }, async (event, ctx) => {
	const first = await ctx.step("first", () => event.payload.n + 1);
	const second = await ctx.step(async () => first + 1);
	await ctx.sleep("a while", 50);
	const child = await ctx.invoke({ name: "double" }, { n: second });
	const named = await ctx.invoke("named", { name: "double" }, { n: child.n });
	const many = await ctx.invokeAll([{ task: { name: "double" }, payload: { n: 1 } }, { task: labels, payload: { parcel: randomUUID(), to: "a@b.example" } }]);
	ctx.signal.throwIfAborted();
	await ctx.checkpoint();
	return { n: named.n + many[0].n, code: `${many[1].code} ${many[1].printed.getTime()} ${ctx.executionId.length > 0}` };
});

const wait = conductor.createTask({ name: "wait" }, { invocable: true }, async (event, ctx) => {
	const order = await ctx.waitForEvent("paid", { event: "order.paid", when: `payload->>'id' = '${event.payload.id}'`, timeout: 60_000 });
	const row = await ctx.waitForEvent("row", { schema: "public", table: "people", operation: "insert", columns: "id,email", timeout: 60_000 });
	await ctx.emit("order.sent", { id: order.id });
	return [order.cents.toFixed(2), row.new.email ?? "none"];
});

const seen = conductor.createTask({ name: "seen" }, [
	{ event: "order.sent" },
	{ schema: "public", table: "people", operation: "insert", columns: "id,email" },
	{ cron: "0 0 1 1 *", name: "new-year" },
], async (event) => {
	switch (event.name) {
	case "order.sent": return event.payload.id;
	case "public.people.insert": return event.payload.new.email?.toUpperCase() ?? null;
	case "new-year": return event.at.getFullYear();
	}
});

const again = conductor.createTask({ name: "again" }, { invocable: true }, async (event, ctx) => {
	if (event.payload.on) {
		await ctx.schedule({ name: "double" }, "each-year", { cron: "0 9 1 1 *" }, { n: 7 });
		const late = await ctx.step("late", () => ctx.start({ name: "never" }, null, { delay: "1h" }));
		return ctx.cancel(late, { reason: "changed my mind" });
	}
	return ctx.unschedule({ name: "double" }, "each-year");
});

const at = (queue: string) => conductor.createTask({ name: `at-${queue}` }, { invocable: true }, async (_event, ctx) => {
	await new Promise((resolve) => setTimeout(resolve, 20));
	return ctx.queue;
});

const orchestrator = Orchestrator.create({
	conductor,
	tasks: [labels, double, order, wait, seen, again, at("default")],
	workers: [
		conductor.createWorker({ queue: "fast", tasks: [at("fast")], config: { concurrency: 5, pollIntervalMs: 100, flushIntervalMs: 50, fetchBatchSize: 10 } }),
		conductor.createWorker({ queue: "slow", tasks: [at("slow")], config: { concurrency: 1 } }),
		conductor.createWorker({ queue: "normal", tasks: [at("normal")], config: { concurrency: 3 } }),
	],
	defaultWorker: { concurrency: 2 },
});

await orchestrator.start();
console.log(`serving ${label.name} and others`, process.argv.slice(2).join(" "));
await orchestrator.stopped;
