// The same with types; node --import tsx tasks.ts
import { Conductor, Orchestrator, type TaskEvent } from "pgconductor";

const conductor = Conductor.create();

export const greet = conductor.createTask(
	{ name: "greet", maxAttempts: 5, timeout: "30s" },
	{ invocable: true },
	async (event: TaskEvent<{ name: string }>, ctx) => {
		ctx.logger.info("somebody to greet", { attempt: ctx.attempt });
		return { greeting: `Hello, ${event.payload.name}!` };
	},
);

const orchestrator = Orchestrator.create({ conductor, tasks: [greet] });

await orchestrator.start();
await orchestrator.stopped;
