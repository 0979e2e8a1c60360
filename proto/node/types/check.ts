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
// @ts-expect-error there is no such trigger yet
conductor.createTask({ name: "x" }, { cron: "* * * * *", name: "x" }, async () => 1);
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
});

const orchestrator = Orchestrator.create({
	conductor,
	tasks: [greet, plain],
	workers: [conductor.createWorker({ queue: "media", tasks: [resize], config: { concurrency: 2 } })],
	defaultWorker: { concurrency: 4, pollIntervalMs: 100 },
});
const done: Promise<void> = orchestrator.stopped;
void done;
// @ts-expect-error made by Orchestrator.create
new Orchestrator({ conductor });
