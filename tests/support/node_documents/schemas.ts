// What a worker and its clients share: tasks, events and tables, in each of the ways there are.
import { DatabaseSchema, EventSchemas, TaskSchemas, defineEvent, defineTask } from "pgconductor";
import type { DefineEvent, DefineTask } from "pgconductor";
import { z } from "zod";

export const label = defineTask({
	name: "label",
	payload: z.object({ parcel: z.uuid(), to: z.email(), lines: z.array(z.object({ item: z.string(), count: z.number().positive() })).default([]) }),
	returns: z.object({ code: z.string(), printed: z.coerce.date() }),
});
export const double = defineTask({ name: "double", payload: z.object({ n: z.number() }), returns: z.object({ n: z.number() }) });
export const order = defineTask({ name: "order", payload: z.object({ n: z.number() }), returns: z.object({ n: z.number(), code: z.string() }) });
export const wait = defineTask({ name: "wait", payload: z.object({ id: z.string() }), returns: z.array(z.string()) });
export const again = defineTask({ name: "again", payload: z.object({ on: z.boolean() }) });
export const never = defineTask({ name: "never" });

export const paid = defineEvent({ name: "order.paid", payload: z.object({ id: z.string(), cents: z.number().positive() }) });
export const sent = defineEvent({ name: "order.sent", payload: z.object({ id: z.string() }) });

export type Database = {
	public: {
		Tables: { people: { Row: { id: number; email: string | null; born: string | null }; Insert: { email?: string }; Update: { email?: string } } };
		Views: {};
	};
};

export const tasks = TaskSchemas.fromSchema([label, double, order, wait, again, never]);
export const events = EventSchemas.fromSchema([paid, sent]);
export const database = DatabaseSchema.fromGeneratedTypes<Database>();

// The same for the compiler alone.
export type Double = DefineTask<{ name: "double"; payload: { n: number }; returns: { n: number } }>;
export type Paid = DefineEvent<{ name: "order.paid"; payload: { id: string; cents: number } }>;
