// A schedule that is made and removed while all runs.
// It stays when the program is deployed anew, and when it is stopped. From anywhere else: `pgconductor schedule`, `schedule()` in
// SQL, or `conductor.schedule`.
import { Conductor, Orchestrator, TaskSchemas, type DefineTask } from "pgconductor";

type Report = DefineTask<{ name: "report"; payload: { source: string }; returns: string }>;
type Reports = DefineTask<{
	name: "reports";
	payload: { do: "schedule"; every?: number } | { do: "unschedule" };
	returns: Date | boolean | null;
}>;

const conductor = Conductor.create({ tasks: TaskSchemas.fromTypes<[Report, Reports]>() });

const report = conductor.createTask({ name: "report" }, { invocable: true }, async (event) => {
	console.log(`report of ${event.name}`);
	return `report for ${event.payload.source}`;
});

// Scheduling what is scheduled changes nothing, so it may be done in each attempt.
const reports = conductor.createTask({ name: "reports" }, { invocable: true }, async ({ payload: wish }, ctx) => {
	if (wish.do === "unschedule") return ctx.unschedule({ name: "report" }, "reports");
	const cron = `*/${wish.every ?? 3} * * * * *`;
	return ctx.schedule({ name: "report" }, "reports", { cron, overlap: "skip" }, { source: "admin" });
});

const orchestrator = Orchestrator.create({ conductor, tasks: [report, reports] });
await orchestrator.start();
await orchestrator.stopped;
