// One graphile-worker process with a no-op task, for the row that compares it with pgconductor.
// usage: node graphile.mjs CONNECTION COUNTER     run from the directory that has node_modules
// COUNTER is a file of two little-endian 64-bit numbers: jobs run, and CLOCK_REALTIME of the first, in nanoseconds.
import { createRequire } from "node:module";
import { openSync, writeSync } from "node:fs";

const require = createRequire(process.cwd() + "/");
const { run, Logger } = require("graphile-worker");

const [connectionString, counterPath] = process.argv.slice(2);
const counter = openSync(counterPath, "r+");
const cell = Buffer.alloc(16);
let jobs = 0n;
let written = 0n;

const runner = await run({
	preset: {
		worker: {
			connectionString,
			concurrentJobs: 24,
			maxPoolSize: 26,
			localQueue: { size: 5000 },
			completeJobBatchDelay: 0,
			failJobBatchDelay: 0,
			logger: new Logger(() => () => {}),
		},
	},
	taskList: {
		noop: () => {
			if (jobs++ === 0n)
				cell.writeBigUInt64LE(BigInt(Math.round((performance.timeOrigin + performance.now()) * 1e6)), 8);
		},
	},
});

setInterval(() => {
	if (jobs !== written) {
		written = jobs;
		cell.writeBigUInt64LE(jobs, 0);
		writeSync(counter, cell, 0, 16, 0);
	}
}, 2);
process.on("SIGTERM", () => runner.stop().finally(() => process.exit(0)));
await runner.promise;
