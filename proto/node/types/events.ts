/*
 * Triggers and events, as check.ts.
 */
import { z } from "zod";
import * as api from "pgconductor";

const { Conductor, EventSchemas, defineEvent } = api;

type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends (<T>() => T extends B ? 1 : 2) ? true : false;
const same = <A, B>(_: Same<A, B>) => {};

/** A schema that a library would have made. */
declare function schema<Input, Output = Input>(): api.StandardSchema<Input, Output>;

const placed = defineEvent({ name: "order.placed", payload: schema<{ id: string; total?: number; customer: { name: string; age: number } },
	{ id: string; total: number; customer: { name: string; age: number } }>() });
const gone = defineEvent({ name: "customer.gone", payload: schema<null>() });
// @ts-expect-error a schema is needed
defineEvent({ name: "x", payload: {} });

const conductor = Conductor.create({ events: EventSchemas.fromSchema([placed, gone]), context: { unit: "m" } });

// What is emitted, and what comes: a schema may make something else of it.
void conductor.emit("order.placed", { id: "7", customer: { name: "Ann", age: 40 } });
void conductor.emit("order.placed", new api.RawJSON("{}"));
void conductor.emit("customer.gone");
void conductor.emit("customer.gone", null, { sql: undefined });
// @ts-expect-error there is no such event
void conductor.emit("order.paced", {});
// @ts-expect-error nor such an id
void conductor.emit("order.placed", { id: 7, customer: { name: "Ann", age: 40 } });
// @ts-expect-error a payload is needed
void conductor.emit("order.placed");

const made = conductor.createTask({ name: "bill" }, { event: "order.placed", when: "true" }, async (event, ctx) => {
	same<typeof event.name, "order.placed">(true);
	same<typeof event.payload, { id: string; total: number; customer: { name: string; age: number } }>(true);
	same<typeof event.at, Date>(true);
	ctx.unit.toUpperCase();
	return event.payload.total;
});
// @ts-expect-error it is not to be invoked
void conductor.invoke(made, { id: "7" });

conductor.createTask({ name: "parts" }, { event: "order.placed", fields: "id, customer.name" }, (event) => {
	same<typeof event.payload.id, string>(true);
	same<typeof event.payload.customer.name, string>(true);
	// @ts-expect-error this is not passed on
	event.payload.total;
	// @ts-expect-error nor is this
	event.payload.customer.age;
});
// @ts-expect-error there is no such event
conductor.createTask({ name: "x" }, { event: "order.paced" }, () => 1);
// @ts-expect-error nor such an option
conductor.createTask({ name: "x" }, { event: "order.placed", where: "true" }, () => 1);
// @ts-expect-error the name is text
conductor.createTask({ name: "x" }, { event: "order.placed" }, (event: api.TaskEvent<{ id: number }>) => event.payload.id);
conductor.createTask({ name: "x" }, { event: "order.placed" }, (event: api.TaskEvent<{ id: string }>) => event.payload.id);

// Several: told apart by the name.
const report = conductor.createTask({ name: "report" }, [
	{ invocable: true },
	{ cron: "0 9 * * *", name: "daily", payload: { days: 1 }, timezone: "Europe/Berlin", overlap: "skip", catchup: 2 },
	{ cron: "@yearly" },
	{ event: "order.placed" },
	{ schema: "app", table: "users", operation: "update", columns: "id, email" },
	{ table: "users", operation: "delete" },
], async (event) => {
	switch (event.name) {
	case "pgconductor.invoke":
		same<typeof event.at, null>(true);
		return event.payload.anything;
	case "daily":
		same<typeof event.payload, { days: number }>(true);
		return event.at.getTime();
	case "@yearly":
		same<typeof event.payload, null>(true);
		return 0;
	case "order.placed":
		return event.payload.total;
	case "app.users.update":
		event.payload.old.email satisfies unknown;
		// @ts-expect-error this column is not passed on
		event.payload.new.name;
		return event.payload.tg_table.length;
	case "public.users.delete":
		same<typeof event.payload.new, null>(true);
		return event.payload.old.name;
	}
});
void conductor.invoke(report, { anything: 1 });
void conductor.schedule(report, "weekly", { cron: "0 9 * * mon", enabled: false }, { anything: 1 }) satisfies Promise<Date | null> | void;
void conductor.unschedule({ name: "report" }, "weekly");
// @ts-expect-error an expression is needed
void conductor.schedule(report, "weekly", { timezone: "UTC" });
// @ts-expect-error there is no such option
void conductor.schedule(report, "weekly", { cron: "* * * * *", jitter: 1 });
// @ts-expect-error there is no such trigger
conductor.createTask({ name: "x" }, { crom: "* * * * *" }, () => 1);
// @ts-expect-error nor such an operation
conductor.createTask({ name: "x" }, { table: "users", operation: "truncate" }, () => 1);
conductor.createTask({ name: "listed" }, [{ invocable: true }, { cron: "* * * * *" }], async (event: api.TaskEvent<{ a: number } | null>) => event.payload?.a);

const annotated = conductor.createTask({ name: "typed" }, [{ invocable: true }], async (event: api.TaskEvent<{ a: number }>) => event.payload.a);
// @ts-expect-error a number
void conductor.invoke(annotated, { a: "1" });

conductor.createTask({ name: "waiting" }, { invocable: true }, async (_event, ctx) => {
	const order = await ctx.waitForEvent("placed", { event: "order.placed", when: "true", timeout: "2d", since: "start" });
	same<typeof order.total, number>(true);
	const { id } = await ctx.waitForEvent({ event: "order.placed", key: "again", timeout: 1000 });
	const row = await ctx.waitForEvent("row", { schema: "public", table: "users", operation: "insert", columns: "email,created_at", timeout: 60000 });
	same<typeof row.old, null>(true);
	row.new.email;
	// @ts-expect-error this column is not passed on
	row.new.name;
	// @ts-expect-error there is no such event
	await ctx.waitForEvent({ event: "order.paced" });
	// @ts-expect-error nor such an option
	await ctx.waitForEvent({ event: "order.placed", fields: "id" });
	// @ts-expect-error nor such a beginning
	await ctx.waitForEvent("k", { event: "order.placed", since: "yesterday" });
	const [first, nothing] = await ctx.waitForAll([{ event: "order.placed" }, { event: "customer.gone", key: "gone" }]);
	same<typeof first.id, string>(true);
	same<typeof nothing, null>(true);
	const one = await ctx.waitForAny("first", [{ event: "order.placed" }, { table: "users", operation: "delete" }]);
	if (one.index === 0) {
		same<typeof one.payload.id, string>(true);
	} else {
		same<typeof one.payload.new, null>(true);
	}
	const [whole] = await ctx.waitForAll([{ event: "order.placed" }], { returnErrors: true, timeout: "1h" });
	if (!(whole instanceof api.WaitFailed)) {
		same<typeof whole.id, string>(true);
	}
	const many = await ctx.waitForAll([1, 2].map((n) => ({ event: "order.placed" as const, key: `order ${n}` })));
	many[0].total.toFixed();
	const event: string = await ctx.emit("order.placed", { id, customer: { name: "Ann", age: 40 } });
	// @ts-expect-error the customer is missing
	await ctx.emit("order.placed", { id });
	const next: Date | null = await ctx.schedule({ name: "report" }, "again", { cron: "0 9 * * *" }, { source: "admin" });
	const was: boolean = await ctx.unschedule({ name: "report" }, "again");
	return { event, next, was };
});

// Of a library.
const users = Conductor.create({ events: EventSchemas.fromSchema([
	defineEvent({ name: "user.created", payload: z.object({ id: z.uuid(), at: z.coerce.date<string>(), plan: z.string().default("free") }) }),
	defineEvent({ name: "user.gone", payload: z.object({ id: z.string(), why: z.string().default("unknown") }) }),
]) });
void users.emit("user.created", { id: "7", at: "2030-01-31" });
void users.emit("user.gone", { id: "7" });
// @ts-expect-error text
void users.emit("user.created", { id: 7, at: "2030-01-31" });
// @ts-expect-error text
void users.emit("user.gone", { id: "7", why: 7 });
users.createTask({ name: "x" }, [{ event: "user.created" }, { event: "user.gone" }], (event) => (
	event.name === "user.created" ? event.payload.at.getTime() + event.payload.plan.length : event.payload.why.length));

// Types alone.
type Paid = api.DefineEvent<{ name: "paid"; payload: { cents: number } }>;
const typed = Conductor.create({ events: EventSchemas.fromTypes<[Paid]>() });
void typed.emit("paid", { cents: 1 });
// @ts-expect-error a number
void typed.emit("paid", { cents: "1" });
typed.createTask({ name: "x" }, { event: "paid" }, ({ payload }) => payload.cents.toFixed());

// None are declared: any name will do.
const loose = Conductor.create();
void loose.emit("anything", { at: "all" });
void loose.emit("nothing");
loose.createTask({ name: "x" }, [{ event: "anything" }, { event: "other", fields: "a.b" }], async (event, ctx) => {
	event.payload.goes;
	const found = await ctx.waitForEvent("k", { event: "more" });
	await ctx.emit("anything");
	return found.goes;
});
