/*
 * What the compiler is to accept, and what it is to refuse. Checked by tsc, never run.
 */
import postgres from "postgres";
import * as api from "pgconductor";
import * as implementation from "../src/index.js";

// What is written is what is declared.
implementation satisfies typeof api;

const { Conductor, Orchestrator, NonRetryableError, RetryAfter, RawJSON } = api;

const conductor = Conductor.create({
	connectionString: "postgres://localhost/app",
	tasks: [{ name: "elsewhere", queue: "other" }],
	context: { db: { find: (id: number) => `row ${id}` } },
});

// Types by annotation: payload, return and context are all known.
const resize = conductor.createTask(
	{ name: "resize", queue: "media", maxAttempts: 5, backoff: ["1s", "5s"], timeout: "2m", removeOnComplete: { days: 1 } },
	{ invocable: true },
	async (event: api.TaskEvent<{ width: number }>, ctx) => {
		ctx.logger.info("resizing", { width: event.payload.width, row: ctx.db.find(7), attempt: ctx.attempt.toFixed() });
		// @ts-expect-error there is no such property of the payload
		event.payload.height;
		// @ts-expect-error there is no such property of the context
		ctx.cache;
		// @ts-expect-error the conductor's context is read only
		ctx.db = { find: () => "" };
		if (ctx.signal.aborted) throw new RetryAfter("30s", "busy");
		if (ctx.metadata === null) throw new NonRetryableError("no", { data: { why: "because" } });
		return { bytes: 7 };
	},
);

// What is saved, waited for and asked for.
const order = conductor.createTask({ name: "order", totalTimeout: "1d", concurrency: 2, rateLimit: { limit: 10, period: "1m" }, window: ["22:00", "06:00"], days: ["mon"] }, { invocable: true },
	async (event: api.TaskEvent<{ id: number }>, ctx) => {
		const found: { at: string; n: number } = await ctx.step("find", async () => ({ at: new Date(), n: event.payload.id }));
		const nothing: null = await ctx.step(() => {});
		const list: (string | undefined)[] = (await ctx.step("list", () => [{ a: "x" }, {}] as { a?: string }[])).map(({ a }) => a);
		const anything = await ctx.step("any", () => JSON.parse("{}"));
		anything.may.be.there;
		// @ts-expect-error a Date is text when it comes back
		found.at.getTime();
		// @ts-expect-error a function is needed
		await ctx.step("none");
		await ctx.sleep("5m");
		await ctx.sleep("a while", 1000);
		const { bytes } = await ctx.invoke(resize, { width: 1 }, { timeout: "1m", key: "one" });
		const same: { bytes: number } = await ctx.invoke("two", resize, { width: 1 }, { priority: 1 });
		const any = await ctx.invoke({ name: "unknown" }, { anything: true });
		any.goes;
		// @ts-expect-error the width is a number
		await ctx.invoke(resize, { width: "1" });
		// @ts-expect-error the key is given already
		await ctx.invoke("two", resize, { width: 1 }, { key: "two" });
		const [a, b] = await ctx.invokeAll([{ task: resize, payload: { width: 1 } }, { task: greet, payload: { name: "Ann" }, key: "k" }]);
		const [c] = await ctx.invokeAll([{ task: resize, payload: { width: 1 } }], { returnErrors: true });
		const sum: number = a.bytes + b.length + (c instanceof api.ChildFailed ? 0 : c.bytes);
		const all: { bytes: number }[] = await ctx.invokeAll([1, 2].map((width) => ({ task: resize, payload: { width } })));
		// @ts-expect-error a name is needed
		await ctx.invokeAll([{ task: greet, payload: { width: 1 } }]);
		const id: string = await ctx.start(greet, { name: "Ann" }, { delay: "1h", metadata: [1] });
		const perhaps: string | null = await ctx.start(greet, { name: "Ann" }, { throttle: "1h" });
		// @ts-expect-error it may be null
		const surely: string = await ctx.start(greet, { name: "Ann" }, { throttle: "1h" });
		void [perhaps, surely];
		const done: boolean = await ctx.cancel(id, { reason: "no more" });
		await ctx.checkpoint();
		ctx.progress(50, "half");
		const paid: { row: string } = await ctx.transaction("pay", sql, async (tx) => {
			await tx`insert into payments values (${event.payload.id})`;
			return { row: "1" };
		});
		return { same, nothing, list, bytes, sum, all, done, paid, at: new Date() };
	});
const saved: Promise<string> = Promise.resolve("" as api.ChildResult<typeof order>["at"]);
void saved;

// Types by parameters, or none.
const greet = conductor.createTask<{ name: string }, string>({ name: "greet" }, [{ invocable: true }],
	async (event) => `Hello, ${event.payload.name}!`);
const plain = conductor.createTask({ name: "plain" }, { invocable: true }, (event) => event.payload.anything);

const exact: api.Task<{ width: number }, { bytes: number }> = resize;
const one: Promise<string> = conductor.invoke(resize, { width: 1 }, { priority: 5, delay: "5m", runAt: new Date() });
const many: Promise<string[]> = conductor.invoke(resize, [{ payload: { width: 1 }, delay: { minutes: 5 } }]);
const raw: Promise<string> = conductor.invoke(resize, new RawJSON('{"width": 1}'));
const loose: Promise<string> = conductor.invoke({ name: "resize" }, { anything: true });
void [exact, one, many, raw, loose];

// @ts-expect-error the width is a number
conductor.invoke(resize, { width: "1" });
// @ts-expect-error there is no height
conductor.invoke(resize, { width: 1, height: 2 });
// @ts-expect-error a payload is needed
conductor.invoke(resize);
// @ts-expect-error also in a batch
conductor.invoke(resize, [{ payload: { width: "1" } }]);
// @ts-expect-error items have no such option
conductor.invoke(resize, [{ payload: { width: 1 }, prio: 1 }]);
// @ts-expect-error nor has invoke
conductor.invoke(resize, { width: 1 }, { prio: 1 });
// @ts-expect-error ids are strings
conductor.cancel(42);
// @ts-expect-error a task is not another one
const wrong: api.Task<{ width: string }> = resize;
// @ts-expect-error the result is a string
conductor.createTask<{ name: string }, string>({ name: "x" }, { invocable: true }, async () => 1);
// @ts-expect-error there is no such option
conductor.createTask({ name: "x", retries: 1 }, { invocable: true }, async () => 1);
void wrong;

const sql = postgres();
void sql.begin(async (tx) => {
	const id: string = await conductor.with(tx).invoke(greet, { name: "Ann" });
	// @ts-expect-error the transaction's client has types, too
	await conductor.with(tx).invoke(greet, { nom: "Ann" });
	await conductor.invoke(greet, { name: "Ann" }, { sql: tx });
	await conductor.cancel(id, { reason: "no more", sql: tx });
	const found = await conductor.result<api.ReturnOf<typeof greet>>(id, { sql: tx });
	found?.result?.toUpperCase();
	(await conductor.wait(id, { task: greet, timeout: "10s" })).toUpperCase();
	(await conductor.wait<string>(id)).toUpperCase();
	// @ts-expect-error the result is a string
	(await conductor.wait(id, { task: greet })).toFixed();
	// @ts-expect-error a transaction's client does not wait
	conductor.with(tx).wait(id);
	// @ts-expect-error there is no such option
	conductor.wait(id, { within: 1 });
});

const orchestrator = Orchestrator.create({
	conductor,
	tasks: [greet, plain],
	workers: [conductor.createWorker({ queue: "media", tasks: [resize], config: { concurrency: 2 } })],
	defaultWorker: { concurrency: 4, pollIntervalMs: 100 },
	heartbeat: "30s",
});
const done: Promise<void> = orchestrator.stopped;
void done;
// @ts-expect-error made by Orchestrator.create
new Orchestrator({ conductor });
