// The Node handler of the benchmark's row about steps: the task "steps" saves 20, each before the next.
// usage: node durable.mjs LIBRARY CONCURRENCY COUNTER
// COUNTER is a file of two little-endian 64-bit numbers: steps saved, and CLOCK_REALTIME of the first start, in nanoseconds.
import { openSync, writeSync } from "node:fs";

const STEPS = 20;
const [library, concurrency, counterPath] = process.argv.slice(2);
const { Conductor, Orchestrator } = await import(library);
const counter = openSync(counterPath, "r+");
const cell = Buffer.alloc(16);
let saved = 0n;
let written = 0n;

const conductor = Conductor.create({ connectionString: "postgres://unused" });
const charge = () => ({ charged: "0123456789abcdef", amount: 1250 });
const steps = conductor.createTask({ name: "steps" }, { invocable: true }, async (event, ctx) => {
	if (cell.readBigUInt64LE(8) === 0n)
		cell.writeBigUInt64LE(BigInt(Math.round((performance.timeOrigin + performance.now()) * 1e6)), 8);
	for (let i = 0; i < STEPS; i++) {
		await ctx.step(`step-${i}`, charge);
		saved++;
	}
});

// A write for each step would be most of what is measured.
setInterval(() => {
	if (saved !== written) {
		written = saved;
		cell.writeBigUInt64LE(saved, 0);
		writeSync(counter, cell, 0, 16, 0);
	}
}, 2).unref();

const orchestrator = Orchestrator.create({ conductor, tasks: [steps], defaultWorker: { concurrency: Number(concurrency) } });
await orchestrator.start();
await orchestrator.stopped;
