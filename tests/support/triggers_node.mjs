// What starts and resumes executions, with the Node library: the tasks of triggers_c.c, which says what they do, for
// test_triggers.py.
import { appendFileSync } from "node:fs";
import { Conductor, EventTimeout, Orchestrator } from "pgconductor";

const { LEDGER } = process.env;
if (LEDGER === undefined) {
	throw new Error("LEDGER is to name the ledger");
}

function enter(event, ctx) {
	const at = event.at?.toISOString() ?? "";
	const line = `${BigInt(Date.now()) * 1_000_000n} ${process.pid} ${ctx.task} ${ctx.executionId} ${ctx.attempt} ` +
		`${event.name}|${at}|${ctx.payloadText}`;
	appendFileSync(LEDGER, `${line}\n`);
	return event.name;
}

/** What is not there is left out of the call. */
function awaited({ key, timeout_ms: timeout, ...rest }, turn) {
	return { ...rest, ...(key !== undefined && { key: `${key}-${turn}` }), ...(timeout !== undefined && { timeout }) };
}

async function waitOnce(mode, waits, ctx) {
	try {
		if (mode === "one") {
			const [{ key, ...rest }] = waits;
			return await (key === undefined ? ctx.waitForEvent(rest) : ctx.waitForEvent(key, rest));
		} else if (mode === "all") {
			return await ctx.waitForAll(waits);
		}
		const { index, payload } = await ctx.waitForAny(waits);
		return [index, payload];
	} catch (error) {
		if (error instanceof EventTimeout) {
			return "timeout";
		}
		throw error;
	}
}

async function wait({ payload: { mode, waits, turns = 1 } }, ctx) {
	const found = [];
	for (let turn = 0; turn < turns; turn++) {
		found.push(await waitOnce(mode, waits.map((one) => awaited(one, turn)), ctx));
	}
	return found;
}

const invocable = { invocable: true };
const paid = { event: "order.paid", when: "(payload->>'total')::numeric > 100", fields: "id,customer.name" };
const sent = { event: "order.sent" };
const tasks = {
	seen: [[paid, sent], enter],
	copy: [[invocable, sent], enter],
	tick: [[
		invocable,
		{ cron: "* * * * * *", name: "every-second", payload: { by: "cron" } },
		{ cron: "0 9 * * mon-fri", name: "morning", timezone: "Europe/Berlin", overlap: "skip", catchup: "last" },
		{ cron: "@yearly" },
	], enter],
	report: [invocable, enter],
	changed: [[
		{ table: "users", operation: "insert", columns: "id,email" },
		{ schema: "app", table: "accounts", operation: "update", columns: ["id", "balance"], when: "new.balance < old.balance" },
		{ table: "users", operation: "delete" },
	], enter],
	wait: [invocable, wait],
	say: [invocable, ({ payload: { event, ...rest } }, ctx) => ctx.step("said", () => (
		"payload" in rest ? ctx.emit(event, rest.payload) : ctx.emit(event)))],
	ask: [invocable, async (event, ctx) => {
		await ctx.step("said", () => ctx.emit("asked", { of: ctx.executionId }));
		const when = `payload->>'to' = '${ctx.executionId}'`;
		const { n } = await ctx.waitForEvent({ event: "answered", when, since: "start" });
		return n;
	}],
	answer: [{ event: "asked" }, async ({ payload: { of } }, ctx) => {
		await ctx.step("said", () => ctx.emit("answered", { to: of, n: 42 }));
	}],
	plan: [invocable, ({ payload: { task, name, payload, ...options } }, ctx) => ctx.schedule({ name: task }, name, options, payload)],
	unplan: [invocable, ({ payload: { task, name } }, ctx) => ctx.unschedule({ name: task }, name)],
};

const conductor = Conductor.create();
const orchestrator = Orchestrator.create({
	conductor,
	tasks: Object.entries(tasks).map(([name, [triggers, handler]]) => conductor.createTask({ name, backoff: "1ms" }, triggers, handler)),
});

await orchestrator.start();
await orchestrator.stopped;
