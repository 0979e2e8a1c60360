// Tasks that wait for each other's events: pgconductor dev -- node events.ts (before Node 22.18 compile it first), and in another terminal
//
//	pgconductor invoke listen '{"name": "Ann"}'
//	pgconductor invoke listen '{"name": "Bob"}'
//	pgconductor invoke announce '{"message": "Hello World"}' --wait
import { Conductor, EventSchemas, EventTimeout, Orchestrator, type DefineEvent, type TaskEvent } from "pgconductor";

type Posted = DefineEvent<{ name: "message.posted"; payload: { message: string; by: string } }>;

const conductor = Conductor.create({ events: EventSchemas.fromTypes<[Posted]>() });

// Any number of them may wait; meanwhile they hold nothing.
const listen = conductor.createTask({ name: "listen" }, { invocable: true },
	async (event: TaskEvent<{ name: string; timeout?: string }>, ctx) => {
		const { name, timeout = "60s" } = event.payload;
		try {
			const { message } = await ctx.waitForEvent("posted", { event: "message.posted", timeout });
			console.log(`${name} has heard: ${message}`);
			return { heard: message };
		} catch (error) {
			if (error instanceof EventTimeout) {
				console.log(`${name} has heard nothing`);
				return { heard: null };
			}
			throw error;
		}
	});

// In a step, so that it is not said again when the function is.
const announce = conductor.createTask({ name: "announce" }, { invocable: true },
	async (event: TaskEvent<{ message: string }>, ctx) => ({
		event: await ctx.step("post", () => ctx.emit("message.posted", { message: event.payload.message, by: ctx.executionId })),
	}));

// The same event starts this one.
const archive = conductor.createTask({ name: "archive" }, { event: "message.posted", fields: "message" }, async (event) => {
	console.log(`archived: ${event.payload.message}, of ${event.at.toISOString()}`);
});

const orchestrator = Orchestrator.create({ conductor, tasks: [listen, announce, archive] });

await orchestrator.start();
await orchestrator.stopped;
