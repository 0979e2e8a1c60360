// Tasks on a schedule: pgconductor dev -- node schedules.ts (before Node 22.18 compile it first), and in another terminal
//
//	pgconductor invoke beat '{"by": "hand"}'
//	pgconductor invoke admin '{"action": "schedule"}' --wait
//	pgconductor schedules
//	pgconductor invoke admin '{"action": "unschedule"}' --wait
import { Conductor, Orchestrator, type TaskEvent } from "pgconductor";

const conductor = Conductor.create();

// Every three seconds, and whenever somebody invokes it. The schedule is there when the program was started once, and as long as the
// program says so.
const beat = conductor.createTask(
	{ name: "beat" },
	[{ invocable: true }, { cron: "*/3 * * * * *", name: "every-3-seconds", payload: { by: "clock" } }],
	async (event) => {
		const at = event.name === "every-3-seconds" ? `, for ${event.at.toISOString()}` : "";
		console.log(`beat: ${event.name}, by ${event.payload.by}${at}`);
	},
);

// Nothing starts this one, until somebody schedules it.
const report = conductor.createTask({ name: "report" }, { invocable: true }, async (event: TaskEvent<{ source: string }>) => {
	console.log(`report: ${event.name}, for ${event.payload.source}`);
});

// A schedule made at run time stays, whatever becomes of the program, until it is removed.
const admin = conductor.createTask({ name: "admin" }, { invocable: true },
	async (event: TaskEvent<{ action: "schedule" | "unschedule" }>, ctx) => {
		if (event.payload.action === "unschedule") {
			return { removed: await ctx.unschedule(report, "by-admin") };
		}
		const next = await ctx.schedule(report, "by-admin", { cron: "*/3 * * * * *" }, { source: "admin" });
		return { next };
	});

const orchestrator = Orchestrator.create({ conductor, tasks: [beat, report, admin] });

await orchestrator.start();
await orchestrator.stopped;
