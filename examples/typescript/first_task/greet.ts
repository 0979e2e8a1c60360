// What the program that serves the task and those that invoke it share: its name, what it takes, what it returns.
import { TaskSchemas, defineTask } from "pgconductor";
import { z } from "zod";

export const greet = defineTask({
	name: "greet",
	payload: z.object({ name: z.string() }),
	returns: z.object({ text: z.string() }),
});

export const tasks = TaskSchemas.fromSchema([greet]);
