/*
 * What is waited for, as SUSPEND has it, of what users write.
 */
import { Buffer } from "node:buffer";
import { milliseconds } from "./duration.js";
import { toJSON } from "./json.js";
import { changeOf } from "./triggers.js";

/**
 * @typedef {object} Wait                  as in SUSPEND
 * @property {string} key
 * @property {number} [timer_ms]
 * @property {string} [event]
 * @property {string} [filter]
 * @property {string} [since]
 * @property {string} [change]            JSON
 * @property {string} [task]
 * @property {string} [queue]
 * @property {string} [payload]
 * @property {number} [priority]
 * @property {number} [timeout_ms]
 * @property {string} [metadata]
 *
 * @typedef {{ [Field in keyof Wait]?: Wait[Field] | undefined } & { name: string }} EventWait  name: of the event, for people
 */

const KEY_BYTES = 1024;
const PLAIN = /^[ -~]{1,1024}$/;
const UNSENDABLE = /\0|\p{Surrogate}/u;
const PRIORITY = { min: -32768, max: 32767 };
const EVENT_OPTIONS = ["key", "event", "when", "since", "timeout"];
const CHANGE_OPTIONS = ["key", "schema", "table", "operation", "columns", "when", "since", "timeout"];
const SINCE = ["start", "now"];

/** Text that is the same at the other end. @param {unknown} text */
function isSendable(text) {
	return typeof text === "string" && !UNSENDABLE.test(text);
}

/** @param {string} what @param {unknown} key */
export function checkKey(what, key) {
	if (typeof key !== "string" || (!PLAIN.test(key) &&
		(key === "" || Buffer.byteLength(key) > KEY_BYTES || !isSendable(key)))) {
		throw new TypeError(`pgconductor: ${what}: key: not a string of 1 to ${KEY_BYTES} bytes`);
	}
}

/** @param {string} what @param {object} options @param {readonly string[]} known */
export function checkOptions(what, options, known) {
	for (const [name, value] of Object.entries(options)) {
		if (!known.includes(name) && value !== undefined) {
			throw new TypeError(`pgconductor: ${what}: ${name}: no such option (there are ${known.join(", ")})`);
		}
	}
}

/** @param {unknown} timeout */
function limitOf(timeout) {
	return timeout === undefined || timeout === null ? undefined : milliseconds(timeout);
}

/** @param {string} what @param {any} item @returns {Wait} */
export function childWait(what, { key, task, payload, queue, priority, timeout, metadata }) {
	if (!isSendable(task) || task === "" || !(queue === undefined || isSendable(queue))) {
		throw new TypeError(`pgconductor: ${what}: a task, or { name }, is needed`);
	}
	if (priority !== undefined &&
		!(Number.isInteger(priority) && priority >= PRIORITY.min && priority <= PRIORITY.max)) {
		throw new TypeError(`pgconductor: ${what}: priority: not a whole number from ${PRIORITY.min} to ${PRIORITY.max}`);
	}
	const text = toJSON(payload);
	return /** @type {Wait} */ ({ key, task, queue, payload: text === "null" ? undefined : text, priority, timeout_ms: limitOf(timeout),
		metadata: metadata === undefined ? undefined : toJSON(metadata) });
}

/** Text, if anything. @param {string} what @param {string} name @param {unknown} value */
function checkText(what, name, value) {
	if (value !== undefined && (typeof value !== "string" || value === "")) {
		throw new TypeError(`pgconductor: ${what}: ${name}: not a string`);
	}
}

/**
 * What is waited for, as run.js has it: an event, or a change of a table.
 * @param {string} what
 * @param {any} given
 * @returns {EventWait}
 */
export function eventOf(what, given) {
	const { key, event, when, since, timeout } = given ?? {};
	const isChange = event === undefined && given?.table !== undefined;
	if (event === undefined && !isChange) {
		throw new TypeError(`pgconductor: ${what}: { event }, or { schema, table, operation }, is needed`);
	}
	checkOptions(what, given, isChange ? CHANGE_OPTIONS : EVENT_OPTIONS);
	if (since !== undefined && !SINCE.includes(since)) {
		throw new TypeError(`pgconductor: ${what}: since: there are ${SINCE.join(", ")}`);
	}
	for (const name of ["event", "schema", "table", "when"]) {
		checkText(what, name, given[name]);
	}
	const rest = { key, since, timeout_ms: limitOf(timeout) };
	if (!isChange) {
		return { ...rest, event, filter: when, name: event };
	}
	const change = changeOf(what, given);
	return { ...rest, change: toJSON(change), name: `${change.schema}.${change.table}.${change.operation}` };
}

/** @param {string} what @param {unknown} events @param {{ timeout?: unknown }} options  for what does not say otherwise */
export function eventsOf(what, events, { timeout }) {
	if (!Array.isArray(events) || events.length === 0) {
		throw new TypeError(`pgconductor: ${what}: not an array of { event } and { table, operation }`);
	}
	return events.map((event) => eventOf(what, timeout === undefined ? event : { timeout, ...event }));
}
