/*
 * What a task threw, as the fields of FAIL.
 */
import { inspect } from "node:util";
import { ChildFailed, WaitFailed, NonRetryableError, RetryAfter } from "./errors.js";
import { toJSON } from "./json.js";

/** Characters, so that a frame has room for a message, a stack and data, whatever max_payload is. */
const LONGEST = 32 * 1024;
const LONGEST_DATA = 256 * 1024;
const MAX_CAUSES = 8;

/**
 * Text for people, of anything.
 * @param {unknown} text
 */
export function clean(text) {
	return String(text).slice(0, LONGEST).replaceAll("\0", "\ufffd");
}

/**
 * JSON of anything, for what must not fail: undefined for what is too long, or none.
 * @param {unknown} data
 */
export function dataOf(data) {
	let text;
	try {
		text = data === undefined ? undefined : toJSON(data);
	} catch {
		text = toJSON(inspect(data));
	}
	return text !== undefined && text.length <= LONGEST_DATA ? text : undefined;
}

/** Where a function is called from: what is below that in a stack is nothing to its author. */
const CALLER = new URL("./session.js", import.meta.url).href;

/** @param {Error} error */
function typeOf(error) {
	return error.constructor?.name || error.name;
}

/** With the name of its class in front, which JavaScript leaves out. @param {Error} error */
function ownStack(error) {
	const text = error.stack ?? String(error);
	const lines = (text.startsWith(error.name) ? typeOf(error) + text.slice(error.name.length) : text).split("\n");
	const end = lines.findIndex((line) => line.includes(CALLER));
	return (end > 0 ? lines.slice(0, end) : lines).join("\n");
}

/** The error's stack, and those of its causes. @param {Error} error */
function stackOf(error) {
	const stacks = [];
	/** @type {unknown} */
	let at = error;
	while (at !== undefined && at !== null && stacks.length < MAX_CAUSES) {
		stacks.push(at instanceof Error ? ownStack(at) : inspect(at));
		at = at instanceof Error ? at.cause : undefined;
	}
	return stacks.join("\ncaused by: ");
}

/**
 * @param {unknown} error  anything can be thrown
 * @returns {Record<string, any>}
 */
export function failureOf(error) {
	if (!(error instanceof Error)) {
		return { code: "app", message: clean(typeof error === "string" ? error : inspect(error)), type: typeof error };
	}
	const type = typeOf(error);
	/** @type {Record<string, any>} */
	const fields = { code: "app", message: clean(error.message || type), type: clean(type), stack: clean(stackOf(error)) };
	if (error instanceof NonRetryableError) {
		fields.code = clean(error.code);
		fields.retry = false;
		fields.data = dataOf(error.data);
	} else if (error instanceof ChildFailed) {
		fields.message = clean(`Child execution failed: ${error.message}`);
		fields.retry = false;
		fields.data = dataOf({ code: error.code, message: error.message, type: error.type, data: error.data, task: error.task });
	} else if (error instanceof WaitFailed) {
		fields.code = clean(error.code);
		fields.retry = false;
		fields.data = dataOf({ code: error.code, key: error.key, event: error.event });
	} else if (error instanceof RetryAfter) {
		fields.after_ms = error.afterMs;
		fields.data = dataOf(error.data);
	}
	return fields;
}
