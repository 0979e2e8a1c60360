// Tasks that take several executions at once, with the package for Node: those of batch_c.c.
import { appendFileSync } from "node:fs";
import { Conductor, NonRetryableError, Orchestrator } from "pgconductor";

const conductor = Conductor.create({ connectionString: "postgresql://nobody@localhost/none", context: { who: "batch" } });
const WHOLE = { size: 2, timeoutMs: 60000 };

function enter({ executionIds }) {
	for (const id of executionIds) {
		const line = `${process.hrtime.bigint()} ${process.pid} start ${id} 0 ${executionIds.join(" ")}\n`;
		appendFileSync(process.env.LEDGER, line);
	}
}

function one({ payload: { n, fail, for_good: forGood } }, of) {
	return fail === undefined ? { n, of } : forGood ? new NonRetryableError(fail) : new Error(fail);
}

const tasks = [
	conductor.createTask({ name: "sum", batch: { size: 3, timeoutMs: 1000 }, backoff: "1ms" }, { invocable: true }, async (events, ctx) => {
		enter(ctx);
		ctx.logger.info(`${events.length} at once, ${ctx.who}`);
		return events.map((event) => one(event, events.length));
	}),
	conductor.createTask({ name: "short", batch: { size: 3, timeoutMs: 60000 }, maxAttempts: 1 }, { invocable: true },
		(events) => events.slice(1)),
	conductor.createTask({ name: "lasting", batch: WHOLE, maxAttempts: 1 }, { invocable: true },
		(events, ctx) => ctx.step("step", () => [1, 2])),
	conductor.createTask({ name: "wait", batch: WHOLE, maxAttempts: 1 }, { invocable: true }, (events, ctx) => {
		enter(ctx);
		return new Promise((resolve, reject) => {
			ctx.signal.addEventListener("abort", () => reject(ctx.signal.reason));
		});
	}),
];

const orchestrator = Orchestrator.create({ conductor, tasks });
await orchestrator.start();
await orchestrator.stopped;
