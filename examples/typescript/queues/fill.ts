// Invokes each of the four tasks so many times, and says how many ran at the same time.
import { setTimeout as pause } from "node:timers/promises";
import { Conductor, TaskSchemas } from "pgconductor";
import type { Span, Tasks } from "./queues.ts";

const conductor = Conductor.create({ tasks: TaskSchemas.fromTypes<Tasks>() });
const numbers = Array.from({ length: Number(process.argv[2] ?? 10) }, (_, number) => ({ payload: number }));

async function spanOf(id: string): Promise<Span> {
	for (;;) {
		const seen = await conductor.result<Span>(id);
		if (seen?.result !== undefined) return seen.result;
		await pause(50);
	}
}

/** The most that ran at one time. */
function atOnce(spans: Span[]): number {
	return Math.max(...spans.map(({ begin }) => spans.filter((other) => other.begin <= begin && begin < other.end).length));
}

const made = await Promise.all((["plain", "fast", "normal", "slow"] as const).map(async (name) => (
	{ name, ids: await conductor.invoke({ name }, numbers) })));
for (const { name, ids } of made) {
	const spans = await Promise.all(ids.map(spanOf));
	console.log(`${name}: ${spans.length} done, ${atOnce(spans)} at a time`);
}
await conductor.close();
