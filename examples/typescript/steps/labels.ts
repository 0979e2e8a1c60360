// A task of three steps and a pause. It is run from its top each time; a step that was done is not done again.
// Kill any process of this meanwhile, or all of them and start them again, and it goes on.
import { Conductor, NonRetryableError, Orchestrator, TaskSchemas, defineTask } from "pgconductor";
import { z } from "zod";

const tasks = TaskSchemas.fromSchema([
	defineTask({ name: "labels", payload: z.array(z.string()), returns: z.string() }),
]);
const conductor = Conductor.create({ tasks });

const labels = conductor.createTask({ name: "labels", maxAttempts: 5, backoff: "1s" }, { invocable: true },
	async ({ payload: fruits }, ctx) => {
		const number = await ctx.step("check", () => {
			if (!fruits.every((fruit) => /^\p{Letter}+$/u.test(fruit))) {
				throw new NonRetryableError(`not the names of fruits: ${fruits}`);
			}
			return fruits.length;
		});
		const texts = await ctx.step("print", async () => fruits.map((fruit) => fruit.toUpperCase()));
		await ctx.sleep("dry", "1s"); // a row in the database meanwhile, and nothing else
		return ctx.step("store", () => {
			ctx.logger.info("stored", { labels: texts });
			return `${number} labels: ${texts.join(", ")}`;
		});
	});

const orchestrator = Orchestrator.create({ conductor, tasks: [labels] });
await orchestrator.start();
await orchestrator.stopped;
