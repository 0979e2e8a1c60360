/*
 * Waiting for the end of an execution, outside of tasks: asks again and again, less often as time goes by.
 */
import { setTimeout as pause } from "node:timers/promises";
import { isWithin, result } from "./client.js";
import { milliseconds } from "./duration.js";
import { ExecutionFailed, PgconductorError, TimeoutError, UnknownExecution } from "./errors.js";

const FIRST_PAUSE = 10, LONGEST_PAUSE = 500;
const FINISHED = ["completed", "failed", "cancelled"];

/**
 * What a completed execution has returned.
 * @param {() => Promise<import("./drivers.js").Sql>} connection  one of the conductor's own is closed when it rests
 * @param {string} id
 * @param {unknown} [timeout]  a duration
 * @returns {Promise<any>}
 */
export async function finished(connection, id, timeout) {
	const limit = timeout === undefined ? Infinity : milliseconds(timeout);
	const until = performance.now() + limit;
	if (await isWithin(await connection())) {
		throw new PgconductorError("wait: the connection is in a transaction; commit first, what it invoked cannot run before");
	}
	for (let wait = FIRST_PAUSE; ; wait = Math.min(wait * 1.5, LONGEST_PAUSE)) {
		const found = await result(await connection(), id);
		if (found === null) {
			throw new UnknownExecution(`no execution ${id}, or it has finished and its history is gone`);
		}
		if (FINISHED.includes(found.state)) {
			if (found.state !== "completed") {
				throw new ExecutionFailed(id, found);
			}
			return found.result ?? null;
		}
		const left = until - performance.now();
		if (left <= 0) {
			throw new TimeoutError(`execution ${id} has not finished within ${limit} ms`);
		}
		await pause(Math.min(wait, left));
	}
}
