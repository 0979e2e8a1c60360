// A task for each of four queues, and how many run at once in each.
import { setTimeout as pause } from "node:timers/promises";
import { Conductor, Orchestrator, TaskSchemas, type DefineTask } from "pgconductor";

/** From when to when it ran. */
export type Span = { begin: number; end: number };
export type Tasks = [
	DefineTask<{ name: "plain"; payload: number; returns: Span }>,
	DefineTask<{ name: "fast"; payload: number; returns: Span }>,
	DefineTask<{ name: "normal"; payload: number; returns: Span }>,
	DefineTask<{ name: "slow"; payload: number; returns: Span }>,
];

const conductor = Conductor.create({ tasks: TaskSchemas.fromTypes<Tasks>() });

const work = (ms: number) => async (): Promise<Span> => {
	const begin = Date.now();
	await pause(ms);
	return { begin, end: Date.now() };
};

const plain = conductor.createTask({ name: "plain" }, { invocable: true }, work(100));
const fast = conductor.createTask({ name: "fast" }, { invocable: true }, work(50));
const normal = conductor.createTask({ name: "normal" }, { invocable: true }, work(150));
const slow = conductor.createTask({ name: "slow" }, { invocable: true }, work(250));

const orchestrator = Orchestrator.create({
	conductor,
	tasks: [plain],
	defaultWorker: { concurrency: 2 },
	workers: [
		conductor.createWorker({ queue: "fast", tasks: [fast], config: { concurrency: 5 } }),
		conductor.createWorker({ queue: "normal", tasks: [normal], config: { concurrency: 3 } }),
		conductor.createWorker({ queue: "slow", tasks: [slow], config: { concurrency: 1 } }),
	],
});
await orchestrator.start();
await orchestrator.stopped;
