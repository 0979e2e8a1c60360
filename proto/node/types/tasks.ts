/*
 * Tasks with schemas, tables, batches and the connections of both drivers, as check.ts.
 */
import postgres from "postgres";
import pg from "pg";
import * as v from "valibot";
import { z } from "zod";
import * as api from "pgconductor";
import type { DefineTask } from "pgconductor";

const { Conductor, DatabaseSchema, EventSchemas, Orchestrator, TaskSchemas, defineEvent, defineTask } = api;

type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends (<T>() => T extends B ? 1 : 2) ? true : false;
const same = <A, B>(_: Same<A, B>) => {};

/* ---- schemas of a library */

const ship = defineTask({
	name: "ship", queue: "depot", maxAttempts: 5,
	payload: z.object({ id: z.string(), parcels: z.number().default(1), due: z.coerce.date<string>() }),
	returns: z.object({ label: z.string(), state: z.enum(["sent", "held"]), at: z.coerce.date<string>().optional() }),
});
const greet = defineTask({ name: "greet", payload: v.object({ name: v.string() }), returns: v.string() });
const tidy = defineTask({ name: "tidy" });
// @ts-expect-error a name is needed
defineTask({ payload: z.string() });
// @ts-expect-error not a schema
defineTask({ name: "x", payload: { type: "string" } });
// @ts-expect-error there is no such option
defineTask({ name: "x", retries: 3 });

const conductor = Conductor.create({
	connectionString: process.env.DATABASE_URL,
	tasks: TaskSchemas.fromSchema([ship, greet, tidy]),
	events: EventSchemas.fromSchema([defineEvent({ name: "order.placed", payload: z.object({ id: z.string() }) })]),
	context: { unit: "kg" },
});

const shipping = conductor.createTask({ name: "ship" }, [{ invocable: true }, { event: "order.placed" }], async (event, ctx) => {
	if (event.name === "order.placed") {
		return { label: event.payload.id, state: "held" };
	}
	same<typeof event.payload, { id: string; parcels: number; due: Date }>(true);
	ctx.unit.toUpperCase();
	const text = await ctx.invoke({ name: "greet" }, { name: "Ann" });
	same<typeof text, string>(true);
	const sent = await ctx.invoke("again", { name: "ship" }, { id: "8", due: "2030-01-31" }, { timeout: "1m" });
	same<typeof sent, { label: string; state: "sent" | "held"; at?: Date | undefined }>(true);
	const same1 = await ctx.invoke(ship, { id: "8", due: "2030-01-31" });
	same<typeof same1, typeof sent>(true);
	const [one, two, three] = await ctx.invokeAll([
		{ task: { name: "greet" }, payload: { name: "Ann" } }, { task: ship, payload: { id: "9", due: "2030-01-31" } }, { task: { name: "tidy" }, payload: null },
	]);
	same<typeof one, string>(true);
	same<typeof two, typeof sent>(true);
	same<typeof three, any>(true);
	await ctx.start({ name: "greet" }, { name: "Ann" });
	await ctx.schedule({ name: "greet" }, "daily", { cron: "@daily" }, { name: "Ann" });
	await ctx.unschedule({ name: "greet" }, "daily");
	// @ts-expect-error the name is text
	await ctx.invoke({ name: "greet" }, { name: 7 });
	// @ts-expect-error there is no such task
	await ctx.invoke({ name: "great" }, { name: "Ann" });
	// @ts-expect-error the name is text
	await ctx.invokeAll([{ task: { name: "greet" }, payload: { name: 7 } }]);
	// @ts-expect-error there is no such task
	await ctx.invokeAll([{ task: { name: "great" }, payload: {} }]);
	// @ts-expect-error the name is text
	await ctx.start(greet, { name: 7 });
	// @ts-expect-error there is no such task
	await ctx.unschedule({ name: "great" }, "daily");
	// @ts-expect-error the name is text
	await ctx.schedule({ name: "greet" }, "daily", { cron: "@daily" }, { name: 7 });
	return { label: `${event.payload.parcels}`, state: "sent", at: event.payload.due.toISOString() };
});
same<api.PayloadOf<typeof shipping>, { id: string; due: string; parcels?: number | undefined }>(true);
same<api.ChildResult<typeof shipping>, { label: string; state: "sent" | "held"; at?: Date | undefined }>(true);

const id: Promise<string> = conductor.invoke({ name: "ship" }, { id: "7", due: "2030-01-31" });
const ids: Promise<string[]> = conductor.invoke({ name: "greet", queue: "other" }, [{ payload: { name: "Ann" }, dedupe_key: "k" }]);
void [id, ids, conductor.invoke(shipping, { id: "7", due: "2030-01-31" }), conductor.invoke(ship, { id: "7", due: "2030-01-31" }),
	conductor.invoke({ name: "tidy" }, { any: "thing" }), conductor.invoke(greet, new api.RawJSON('{"name": "Ann"}'))];
// @ts-expect-error the id is text
void conductor.invoke({ name: "ship" }, { id: 7, due: "2030-01-31" });
// @ts-expect-error a date is to be given
void conductor.invoke({ name: "ship" }, { id: "7" });
// @ts-expect-error there is no such member
void conductor.invoke({ name: "greet" }, { name: "Ann", nom: "Ann" });
// @ts-expect-error there is no such task
void conductor.invoke({ name: "shop" }, {});
// @ts-expect-error nor with a queue
void conductor.invoke({ name: "shop", queue: "default" }, {});
// @ts-expect-error also in a batch
void conductor.invoke({ name: "greet" }, [{ payload: { name: 7 } }]);
// @ts-expect-error also of a definition
void conductor.invoke(greet, { name: 7 });
// @ts-expect-error also in a transaction
void conductor.with(postgres()).invoke({ name: "greet" }, { name: 7 });
// @ts-expect-error also again and again
void conductor.schedule({ name: "greet" }, "daily", { cron: "@daily" }, { name: 7 });

// @ts-expect-error a label is to be returned
conductor.createTask({ name: "ship" }, { invocable: true }, async () => ({ state: "sent" }));
// @ts-expect-error there is no such state
conductor.createTask({ name: "ship" }, { invocable: true }, async () => ({ label: "", state: "lost" }));
// @ts-expect-error something is to be returned
conductor.createTask({ name: "greet" }, { invocable: true }, async () => {});
// @ts-expect-error a text is to be returned
conductor.createTask(greet, { invocable: true }, () => 7);
// @ts-expect-error the payload has no such member
conductor.createTask({ name: "greet" }, { invocable: true }, (event) => event.payload.nom);
conductor.createTask({ name: "greet" }, { invocable: true }, (event: api.TaskEvent<{ name: string }>) => event.payload.name);
// @ts-expect-error the name is text
conductor.createTask({ name: "greet" }, { invocable: true }, (event: api.TaskEvent<{ name: number }>) => String(event.payload.name));

// Of a definition, of the reference itself, and of no schema at all.
const defined = Conductor.create().createTask(greet, { invocable: true }, ({ payload }) => payload.name);
const own = conductor.createTask({ name: "own", payload: z.object({ n: z.number() }), returns: z.number() }, { invocable: true }, ({ payload }) => payload.n);
const undeclared = conductor.createTask({ name: "undeclared" }, { invocable: true }, async ({ payload }) => ({ was: payload.goes, at: new Date() }));
void [conductor.invoke(defined, { name: "Ann" }), conductor.invoke(own, { n: 1 }), conductor.invoke(undeclared, { any: "thing" })];
same<api.ChildResult<typeof undeclared>["at"], string>(true);
// @ts-expect-error a number
void conductor.invoke(own, { n: "1" });
// @ts-expect-error a number
conductor.createTask({ name: "own", returns: z.number() }, { invocable: true }, () => "1");
const timed = conductor.createTask({ name: "greet" }, { cron: "@daily", payload: { name: "Ann" } }, ({ payload, name }) => `${payload.name} ${name satisfies "@daily"}`);
// @ts-expect-error it is not to be invoked
void conductor.invoke(timed, { name: "Ann" });

/* ---- types alone */

type Resize = DefineTask<{ name: "resize"; payload: { width: number }; returns: { bytes: number; at: Date } }>;
type Sweep = DefineTask<{ name: "sweep" }>;
const typed = Conductor.create({ tasks: TaskSchemas.fromTypes<[Resize, Sweep]>(), context: {} });
typed.createTask({ name: "resize" }, { invocable: true }, async ({ payload }, ctx) => {
	const { at } = await ctx.invoke({ name: "resize" }, { width: 1 });
	same<typeof at, string>(true);
	return { bytes: payload.width, at: new Date() };
});
void [typed.invoke({ name: "resize" }, { width: 1 }), typed.invoke({ name: "sweep" }, null)];
// @ts-expect-error a number
void typed.invoke({ name: "resize" }, { width: "1" });
// @ts-expect-error there is no such task
void typed.invoke({ name: "reside" }, { width: 1 });
// @ts-expect-error bytes are missing
typed.createTask({ name: "resize" }, { invocable: true }, () => ({ at: new Date() }));

/* ---- tables */

interface Database {
	__Internal: { version: "1" };
	public: {
		Tables: {
			users: { Row: { id: string; email: string; age: number | null }; Insert: { id?: string; email: string }; Update: { email?: string } };
			orders: { Row: { id: number; total: string }; Insert: {}; Update: {} };
		};
		Views: { active: { Row: { id: string } } };
		Enums: {};
	};
	app: { Tables: { jobs: { Row: { id: number } } }; Views: {} };
}

for (const database of [DatabaseSchema.fromGeneratedTypes<Database>(), DatabaseSchema.fromSupabaseTypes<Database>()]) {
	const known = Conductor.create({ tasks: TaskSchemas.fromSchema([greet]), database });
	known.createTask({ name: "on-user" }, { schema: "public", table: "users", operation: "insert", columns: "id,email" }, (event) => {
		same<typeof event.payload.new, { readonly id: string; readonly email: string }>(true);
		same<typeof event.payload.old, null>(true);
		// @ts-expect-error this column is not passed on
		event.payload.new.age;
	});
	known.createTask({ name: "on-any" }, [{ table: "users", operation: "update" }, { schema: "app", table: "jobs", operation: "delete", columns: ["id"] }], async (event, ctx) => {
		const row = await ctx.waitForEvent("k", { table: "orders", operation: "insert", columns: "total" });
		same<typeof row.new, { readonly total: string }>(true);
		const [whole] = await ctx.waitForAll([{ schema: "public", table: "orders", operation: "insert" }]);
		same<typeof whole.new, { id: number; total: string }>(true);
		// @ts-expect-error there is no such column
		await ctx.waitForEvent("k", { table: "orders", operation: "insert", columns: "sum" });
		// @ts-expect-error there is no such table
		await ctx.waitForEvent("k", { table: "ordres", operation: "insert" });
		return event.name === "app.jobs.delete" ? event.payload.old.id.toFixed() : event.payload.new.age?.toFixed();
	});
	// @ts-expect-error there is no such column
	known.createTask({ name: "x" }, { schema: "public", table: "users", operation: "insert", columns: "id,mail" }, () => 1);
	// @ts-expect-error nor in a list of them, of a list of triggers
	known.createTask({ name: "x" }, [{ invocable: true }, { table: "users", operation: "insert", columns: ["id", "mail"] }], () => 1);
	// @ts-expect-error there is no such table
	known.createTask({ name: "x" }, { schema: "public", table: "jobs", operation: "insert" }, () => 1);
	// @ts-expect-error of a view there are no triggers
	known.createTask({ name: "x" }, { schema: "public", table: "active", operation: "insert" }, () => 1);
	// @ts-expect-error it is in another schema
	known.createTask({ name: "x" }, { table: "jobs", operation: "insert" }, () => 1);
	// @ts-expect-error there is no such schema
	known.createTask({ name: "x" }, { schema: "other", table: "users", operation: "insert" }, () => 1);
}
const rows = Conductor.create({ database: DatabaseSchema.fromSchema({ public: { users: z.object({ id: z.string(), at: z.string() }) } }) });
rows.createTask({ name: "x" }, { table: "users", operation: "insert", columns: "at" }, ({ payload }) => payload.new.at.length);
// @ts-expect-error there is no such column
rows.createTask({ name: "x" }, { table: "users", operation: "insert", columns: "when" }, () => 1);

/* ---- batches */

conductor.createTask({ name: "ship", batch: { size: 100, timeoutMs: 1000 } }, { invocable: true }, async (events, ctx) => {
	ctx.logger.info(ctx.unit, { of: ctx.queue, gone: ctx.signal.aborted });
	// @ts-expect-error nothing is remembered
	await ctx.step("x", () => 1);
	return events.map(({ payload }) => payload.parcels > 0 ? { label: payload.id, state: "sent" as const } : new Error("nothing to send"));
});
conductor.createTask({ name: "loose", batch: { size: 2, timeoutMs: 0 } }, [{ invocable: true }], (events) => events.map((event) => event.payload.goes));
// @ts-expect-error a list is to be returned
conductor.createTask({ name: "loose", batch: { size: 2, timeoutMs: 0 } }, { invocable: true }, () => 1);
// @ts-expect-error of labels
conductor.createTask({ name: "ship", batch: { size: 2, timeoutMs: 0 } }, { invocable: true }, () => [1]);

/* ---- connections */

const pool = new pg.Pool();
const client = new pg.Client();
void Conductor.create({ sql: postgres() }).invoke({ name: "x" }, 1, { sql: postgres() });
const theirs = Conductor.create({ sql: pool, tasks: TaskSchemas.fromSchema([greet]) });
void theirs.with(client).invoke({ name: "greet" }, { name: "Ann" });
void pool.connect().then((lent) => theirs.invoke({ name: "greet" }, { name: "Ann" }, { sql: lent }));
theirs.createTask({ name: "paying" }, { invocable: true }, (_event, ctx) => ctx.transaction("pay", pool, async (tx: pg.PoolClient) => (await tx.query("select 1")).rowCount));
theirs.createTask({ name: "paying" }, { invocable: true }, (_event, ctx) => ctx.transaction("pay", pool, (tx) => tx.query("select 1")));
// @ts-expect-error not a connection
Conductor.create({ sql: {} });

const worker = conductor.createWorker({ queue: "fast", tasks: [own, defined], config: { concurrency: 5, pollIntervalMs: 100, flushIntervalMs: 10, fetchBatchSize: 50 } });
const orchestrator = Orchestrator.create({ conductor, tasks: [shipping, undeclared, timed], workers: [worker], defaultWorker: { concurrency: 2 } });
void orchestrator.info().state;
