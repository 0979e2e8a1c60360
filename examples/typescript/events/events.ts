// Tasks that know of each other's events, and not of each other.
import {
	Conductor, DatabaseSchema, EventSchemas, EventTimeout, Orchestrator, TaskSchemas, defineEvent, type DefineTask,
} from "pgconductor";
import { z } from "zod";

const announcement = defineEvent({ name: "announcement", payload: z.object({ text: z.string().min(1) }) });

const conductor = Conductor.create({
	tasks: TaskSchemas.fromTypes<[
		DefineTask<{ name: "listen"; payload: null; returns: string }>,
		DefineTask<{ name: "announce"; payload: string; returns: string }>,
		DefineTask<{ name: "applaud"; returns: string }>,
		DefineTask<{ name: "welcome"; payload: null; returns: string }>,
	]>(),
	events: EventSchemas.fromSchema([announcement]),
	// pgconductor gen types typescript would write this down for all tables.
	database: DatabaseSchema.fromSchema({ public: { users: z.object({ id: z.number(), email: z.string() }) } }),
});

// Meanwhile it is a row in the database: any number may listen, for as long as you like.
const listen = conductor.createTask({ name: "listen" }, { invocable: true }, async (_event, ctx) => {
	try {
		const { text } = await ctx.waitForEvent("announcement", { event: "announcement", timeout: "60s" });
		return `heard: ${text}`;
	} catch (error) {
		if (error instanceof EventTimeout) return "heard nothing";
		throw error;
	}
});

// In a step, so that it is said once.
const announce = conductor.createTask({ name: "announce" }, { invocable: true },
	({ payload: text }, ctx) => ctx.step("say", () => ctx.emit("announcement", { text })));

// Started by each announcement that is worth it.
const applaud = conductor.createTask({ name: "applaud" }, { event: "announcement", when: "length(payload->>'text') > 3" },
	async ({ payload }) => `clap for ${payload.text}`);

// Waits for the next row of a table.
const welcome = conductor.createTask({ name: "welcome" }, { invocable: true }, async (_event, ctx) => {
	const { new: user } = await ctx.waitForEvent("user", { table: "users", operation: "insert", columns: "email", timeout: "1h" });
	return `welcome, ${user.email}`;
});

const orchestrator = Orchestrator.create({ conductor, tasks: [listen, announce, applaud, welcome] });
await orchestrator.start();
await orchestrator.stopped;
