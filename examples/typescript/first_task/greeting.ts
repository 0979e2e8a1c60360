// The first task. What it is given and what it returns have the types of greet.ts, and are held against its schemas.
import { Conductor, Orchestrator } from "pgconductor";
import { tasks } from "./greet.ts";

const conductor = Conductor.create({ tasks });

const greeting = conductor.createTask({ name: "greet" }, { invocable: true }, async ({ payload: person }, ctx) => {
	ctx.logger.info(`Hello, ${person.name}!`);
	return { text: `Hello, ${person.name}!` };
});

const orchestrator = Orchestrator.create({ conductor, tasks: [greeting] });
await orchestrator.start();
await orchestrator.stopped;
