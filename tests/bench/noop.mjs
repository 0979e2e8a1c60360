// The Node handler of the benchmark: the task "noop" takes its payload apart and returns a little JSON.
// usage: node noop.mjs LIBRARY COUNTER
// COUNTER is a file of two little-endian 64-bit numbers: jobs run, and CLOCK_REALTIME of the first, in nanoseconds.
import { openSync, writeSync } from "node:fs";

const [library, counterPath] = process.argv.slice(2);
const { Conductor, Orchestrator } = await import(library);
const counter = openSync(counterPath, "r+");
const cell = Buffer.alloc(16);
let jobs = 0n;
let written = 0n;

const conductor = Conductor.create({ connectionString: "postgres://unused" });
const noop = conductor.createTask({ name: "noop" }, { invocable: true }, (event) => {
	if (jobs++ === 0n)
		cell.writeBigUInt64LE(BigInt(Math.round((performance.timeOrigin + performance.now()) * 1e6)), 8);
	return { length: event.payload.pad.length };
});

// A write for each job would be most of what is measured.
setInterval(() => {
	if (jobs !== written) {
		written = jobs;
		cell.writeBigUInt64LE(jobs, 0);
		writeSync(counter, cell, 0, 16, 0);
	}
}, 2).unref();

const orchestrator = Orchestrator.create({ conductor, tasks: [noop] });
await orchestrator.start();
await orchestrator.stopped;
