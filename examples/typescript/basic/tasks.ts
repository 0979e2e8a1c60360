// Tasks that fail, that say how far they are, that stop when they are cancelled. Their types are for the compiler alone: what
// comes is not checked. (../first_task has schemas.)
import { setTimeout as pause } from "node:timers/promises";
import { Conductor, NonRetryableError, Orchestrator, RetryAfter, TaskSchemas, type DefineTask } from "pgconductor";

type Greet = DefineTask<{ name: "greet"; payload: { name: string }; returns: { greeting: string } }>;
type Fetch = DefineTask<{ name: "fetch"; payload: string; returns: number }>;
type Crawl = DefineTask<{ name: "crawl"; payload: string[]; returns: Record<string, number> }>;
type Count = DefineTask<{ name: "count"; payload: { to: number }; returns: number }>;

const conductor = Conductor.create({ tasks: TaskSchemas.fromTypes<[Greet, Fetch, Crawl, Count]>() });

const greet = conductor.createTask({ name: "greet" }, { invocable: true },
	async ({ payload }) => ({ greeting: `Hello, ${payload.name}!` }));

// The length of a page. What is not there will not come; what is busy says when to come again.
async function lengthOf(url: string, signal: AbortSignal): Promise<number> {
	const page = await fetch(url, { signal });
	if (page.status === 404) throw new NonRetryableError(`${url} does not exist`);
	if (page.status === 429 || page.status === 503) {
		throw new RetryAfter(`${page.headers.get("retry-after") ?? 60}s`, `${url} is busy`);
	}
	if (!page.ok) throw new Error(`${url}: ${page.statusText}`);
	return (await page.arrayBuffer()).byteLength;
}

const fetches = conductor.createTask(
	{ name: "fetch", maxAttempts: 5, backoff: ["1s", "10s", "1m"], timeout: "30s" },
	{ invocable: true },
	({ payload: url }, ctx) => lengthOf(url, ctx.signal),
);

// In a queue of its own. Whatever takes a signal stops when the execution is cancelled, or out of time.
const crawl = conductor.createTask({ name: "crawl", queue: "crawler", timeout: "5m" }, { invocable: true },
	async ({ payload: urls }, ctx) =>
		Object.fromEntries(await Promise.all(urls.map(async (url) => [url, await lengthOf(url, ctx.signal)]))));

// Takes its time, and says how far it is.
const count = conductor.createTask({ name: "count" }, { invocable: true }, async ({ payload: { to } }, ctx) => {
	for (let number = 1; number <= to; number++) {
		ctx.logger.info("counting", { number, attempt: ctx.attempt });
		await pause(500, undefined, { signal: ctx.signal });
		ctx.progress(100 * number / to, `counted to ${number}`);
	}
	return to;
});

const orchestrator = Orchestrator.create({ conductor, tasks: [greet, fetches, crawl, count] });
await orchestrator.start();
await orchestrator.stopped;
