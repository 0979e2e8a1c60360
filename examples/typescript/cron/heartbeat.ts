// A task that is started by a schedule, every three seconds, and by hand.
// What is missed while the server is stopped is made up for as `catchup` says: not at all, unless it is given.
import { Conductor, Orchestrator, TaskSchemas, type DefineTask } from "pgconductor";

type Heartbeat = DefineTask<{ name: "heartbeat"; payload: { by: string }; returns: string }>;

const conductor = Conductor.create({ tasks: TaskSchemas.fromTypes<[Heartbeat]>() });

const heartbeat = conductor.createTask({ name: "heartbeat" }, [
	{ invocable: true },
	{ cron: "*/3 * * * * *", name: "every-3-seconds", payload: { by: "the clock" } },
], async (event) => {
	const when = event.name === "every-3-seconds" ? ` of ${event.at.toISOString().slice(11, 19)}` : "";
	const line = `beat${when} by ${event.payload.by}`;
	console.log(line);
	return line;
});

const orchestrator = Orchestrator.create({ conductor, tasks: [heartbeat] });
await orchestrator.start();
await orchestrator.stopped;
