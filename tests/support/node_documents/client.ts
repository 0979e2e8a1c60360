// Invokes the tasks of schemas.ts, which another program serves. Prints what it was told, one JSON value a line.
import postgres from "postgres";
import { BadPayload, Conductor, EventSchemas, TaskSchemas } from "pgconductor";
import { type Double, type Paid, double, events, tasks } from "./schemas.js";

const say = (value: unknown) => console.log(JSON.stringify(value ?? null));
const sql = postgres(JSON.parse(process.env.OPTIONS ?? "{}"));
const conductor = Conductor.create({ sql, tasks, events, context: {} });

await conductor.ensureInstalled();
say(await conductor.invoke({ name: "order" }, { n: 1 }));
say(await conductor.invoke({ name: "label" }, { parcel: "123e4567-e89b-12d3-a456-426614174000", to: "ann@example.com" },
	{ dedupe_key: "label-1", priority: 5, run_at: new Date(), metadata: { by: "client" } }));
say(await conductor.invoke({ name: "double" }, [{ payload: { n: 1 }, dedupe_key: "item-1" }, { payload: { n: 2 }, priority: 10 }]));
say(await conductor.invoke({ name: "double", queue: "default" }, { n: 4 }, { throttle: { seconds: 60 } }));
say(await conductor.invoke({ name: "double" }, { n: 5 }, { debounce: { seconds: 1 }, dedupe_key: "burst" }));
const late = await conductor.invoke(double, { n: 3 }, { run_at: new Date(Date.now() + 3_600_000) });
say([await conductor.cancel(late, { reason: "User requested" }), await conductor.cancel(late)]);
// What the compiler would not have: it is held against the schema all the same.
say(await conductor.invoke({ name: "double" }, JSON.parse('{"n": "4"}')).catch((error: BadPayload) => [error.name, error.issues?.length]));
say(await conductor.invoke({ name: "wait" }, { id: "7" }));
say([await conductor.invoke({ name: "again" }, { on: true })]);

// With types alone.
const typed = Conductor.create({ sql, tasks: TaskSchemas.fromTypes<[Double]>(), events: EventSchemas.fromTypes<[Paid]>() });
say(await sql.begin((tx) => typed.with(tx).invoke({ name: "double" }, { n: 21 })));
if (process.argv[2] === "pay") {
	say(await typed.emit("order.paid", { id: "7", cents: 250 }));
}
await sql.end();
