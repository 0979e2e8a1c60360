// A task that has another one do a part of it, wherever that runs, and goes on with what it returns.
import { ChildFailed, Conductor, NonRetryableError, Orchestrator, TaskSchemas, defineTask } from "pgconductor";
import { z } from "zod";

const goods = z.object({ price: z.number() });
const conductor = Conductor.create({
	tasks: TaskSchemas.fromSchema([
		defineTask({ name: "double", payload: goods, returns: z.number() }),
		defineTask({ name: "quote", payload: goods, returns: z.number().nullable() }),
	]),
});

const double = conductor.createTask({ name: "double" }, { invocable: true }, async ({ payload: { price } }) => {
	if (price < 0) throw new NonRetryableError("nobody is paid for taking it away");
	return 2 * price;
});

const quote = conductor.createTask({ name: "quote" }, { invocable: true }, async ({ payload }, ctx) => {
	try {
		return await ctx.invoke({ name: "double" }, payload, { timeout: "1m" }) + 10;
	} catch (error) {
		if (!(error instanceof ChildFailed)) throw error;
		ctx.logger.warn("no price", { why: error.message });
		return null;
	}
});

const orchestrator = Orchestrator.create({ conductor, tasks: [double, quote] });
await orchestrator.start();
await orchestrator.stopped;
