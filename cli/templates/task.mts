/*
 * The task @TASK@. Node from 22.18 on runs it as it stands:
 *
 *	pgconductor dev --watch -- node @FILE@
 *	pgconductor invoke @TASK@ '{"name": "Ann"}' --wait
 *
 * For an older one, `npx tsc --target es2022 --module nodenext --types node @FILE@` makes a @BASE@.mjs of it.
 */
import { Conductor, Orchestrator, type TaskEvent } from "pgconductor";

const conductor = Conductor.create();

export const task = conductor.createTask(
	{ name: "@TASK@" },
	{ invocable: true },
	async (event: TaskEvent<{ name: string }>, ctx) => {
		// What is done in a step is not done again when the task is tried again.
		const greeting = await ctx.step("greet", () => `Hello, ${event.payload.name}!`);
		ctx.logger.info("greeted", { name: event.payload.name });
		return greeting;
	},
);

const orchestrator = Orchestrator.create({ conductor, tasks: [task] });

await orchestrator.start();
await orchestrator.stopped;
