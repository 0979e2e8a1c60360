// Invokes the task from a program of its own, and looks what has become of it until that is known.
import { setTimeout as pause } from "node:timers/promises";
import { Conductor } from "pgconductor";
import { tasks } from "./greet.ts";

const conductor = Conductor.create({ tasks });
const id = await conductor.invoke({ name: "greet" }, { name: process.argv[2] ?? "World" });

let seen = await conductor.result<{ text: string }>(id);
while (seen !== null && !["completed", "failed", "cancelled"].includes(seen.state)) {
	await pause(50);
	seen = await conductor.result(id);
}
console.log(`execution ${id}: ${seen?.result?.text ?? seen?.error?.message ?? "cancelled"}`);
await conductor.close();
