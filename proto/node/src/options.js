/*
 * What users write, camelCase, as what the server takes. The server checks values; names are checked here, where a
 * slip shows with a stack.
 */
import { toJSON } from "./json.js";
import { isStandard, jsonSchemaOf } from "./standard.js";

/** Options of a task that the server has. */
const TASK_OPTIONS = ["maxAttempts", "backoff", "timeout", "totalTimeout", "removeOnComplete", "removeOnFail",
	"concurrency", "rateLimit", "concurrencyKey", "fifoKey", "window", "timezone", "days", "priority"];
const BATCH_MAX = 1000;
/** What a task takes and returns: as a Standard Schema, and as JSON Schema. */
const TASK_SCHEMAS = /** @type {const} */ ([["payload", "payloadSchema"], ["returns", "returnsSchema"]]);
/** Options of a worker. flushIntervalMs is accepted, and has no effect. */
const WORKER_OPTIONS = ["concurrency", "fetchBatchSize", "pollIntervalMs", "flushIntervalMs"];

const DEFAULT_CONCURRENCY = 100;
/** Of the server's configuration. */
const MAX_FETCH_BATCH = 10_000;
const MIN_POLL_INTERVAL = 100, MAX_POLL_INTERVAL = 3_600_000;

/** How each option of invoke is cast in SQL. All travel as text. */
const INVOKE_OPTIONS = {
	queue: "text",
	priority: "int",
	run_at: "timestamptz",
	delay: "interval",
	dedupe_key: "text",
	dedupe_for: "interval",
	throttle: "interval",
	debounce: "interval",
	max_wait: "interval",
	metadata: "json",
};

/** @typedef {keyof typeof INVOKE_OPTIONS} InvokeOption */

/** @param {string} name */
function snake(name) {
	return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

/**
 * @typedef {object} Declared
 * @property {string} name
 * @property {string | undefined} queue
 * @property {string | undefined} options                    JSON
 * @property {import("../index.d.ts").StandardSchema} [payload]
 * @property {import("../index.d.ts").StandardSchema} [returns]
 * @property {string | undefined} [payload_schema]           JSON
 * @property {string | undefined} [returns_schema]           JSON
 * @property {{ size: number, timeout_ms: number | undefined }} [batch]  its function takes several at once
 */

/** @param {string} name @param {any} batch */
function batchOf(name, batch) {
	const { size, timeoutMs, ...rest } = Object(batch);
	if (Object.keys(rest).length > 0 || !Number.isInteger(size) || size < 1 || size > BATCH_MAX ||
		(timeoutMs !== undefined && (!Number.isSafeInteger(timeoutMs) || timeoutMs < 0))) {
		throw new TypeError(`pgconductor: task ${name}: batch: one is { size: 100, timeoutMs: 1000 }, with a size from 1 to ${BATCH_MAX}`);
	}
	return { size, timeout_ms: timeoutMs };
}

/** @param {any} ref @param {Declared} task */
function addSchemas(ref, task) {
	for (const [name, json] of TASK_SCHEMAS) {
		const { [name]: schema, [json]: given } = ref;
		if (schema !== undefined && !isStandard(schema)) {
			throw new TypeError(`pgconductor: task ${ref.name}: ${name}: not a Standard Schema, as those of Zod and Valibot`);
		}
		if (given !== undefined && (typeof given !== "boolean" && typeof given !== "object" || given === null)) {
			throw new TypeError(`pgconductor: task ${ref.name}: ${json}: not a JSON Schema, that is an object, true or false`);
		}
		const text = given !== undefined ? toJSON(given) : schema && jsonSchemaOf(schema);
		if (schema !== undefined) {
			task[name] = schema;
		}
		if (text !== undefined) {
			task[name === "payload" ? "payload_schema" : "returns_schema"] = text;
		}
	}
}

/**
 * What is said of a task in two places. What is said later counts.
 * @param {Declared} before
 * @param {Declared} later
 * @returns {Declared}
 */
export function mergeTasks(before, later) {
	const options = before.options === undefined || later.options === undefined ? later.options ?? before.options
		: toJSON({ ...JSON.parse(before.options), ...JSON.parse(later.options) });
	return { ...before, ...later, queue: later.queue ?? before.queue, options };
}

/**
 * The task of a reference, with its options as JSON.
 * @param {any} ref
 * @returns {Declared}
 */
export function taskOf(ref) {
	if (typeof ref?.name !== "string" || ref.name === "") {
		throw new TypeError("pgconductor: a task needs a name: { name: \"greet\" }");
	}
	if (ref.queue !== undefined && typeof ref.queue !== "string") {
		throw new TypeError(`pgconductor: task ${ref.name}: queue: not a string`);
	}
	/** @type {Record<string, unknown>} */
	const options = {};
	for (const [key, value] of Object.entries(ref)) {
		if (value === undefined || key === "name" || key === "queue" || key === "batch" || TASK_SCHEMAS.flat().includes(/** @type {any} */ (key))) {
			continue;
		}
		if (!TASK_OPTIONS.includes(key)) {
			const names = [...TASK_OPTIONS, "batch"].join(", ");
			throw new TypeError(`pgconductor: task ${ref.name}: ${key}: no such option (there are ${names})`);
		}
		options[snake(key)] = value;
	}
	/** @type {Declared} */
	const task = { name: ref.name, queue: ref.queue, options: undefined };
	if (Object.keys(options).length > 0) {
		task.options = toJSON(options);
	}
	if (ref.batch !== undefined) {
		task.batch = batchOf(ref.name, ref.batch);
	}
	addSchemas(ref, task);
	return task;
}

/**
 * @param {any} config
 * @returns {{ concurrency: number, credit: number }}
 */
export function workerConfig(config = {}) {
	for (const [key, value] of Object.entries(config)) {
		if (!WORKER_OPTIONS.includes(key)) {
			throw new TypeError(`pgconductor: worker: ${key}: no such option (there are ${WORKER_OPTIONS.join(", ")})`);
		}
		if (value !== undefined && (!Number.isSafeInteger(value) || Number(value) < 1)) {
			throw new TypeError(`pgconductor: worker: ${key}: ${String(value)} is not a whole number from 1 on`);
		}
	}
	const concurrency = config.concurrency ?? DEFAULT_CONCURRENCY;
	return { concurrency, credit: Math.max(concurrency, config.fetchBatchSize ?? 0) };
}

/** @param {number | undefined} value @param {number} least @param {number} most */
function within(value, least, most) {
	return value === undefined ? undefined : Math.min(Math.max(value, least), most);
}

/**
 * What a worker's options say of its queue, for HELLO; undefined: nothing. What is more, or less, than the server takes is what it takes.
 * @param {string} name
 * @param {any} [config]
 */
export function queueSettings(name, { concurrency, fetchBatchSize, pollIntervalMs } = {}) {
	return [concurrency, fetchBatchSize, pollIntervalMs].every((value) => value === undefined) ? undefined : {
		name,
		concurrency,
		fetch_batch: within(fetchBatchSize, 1, MAX_FETCH_BATCH),
		poll_ms: within(pollIntervalMs, MIN_POLL_INTERVAL, MAX_POLL_INTERVAL),
	};
}

/** @param {unknown} value */
function interval(value) {
	if (typeof value === "number") {
		return `${value} milliseconds`;
	}
	if (typeof value === "object" && value !== null) {
		return Object.entries(value).map(([unit, n]) => `${n} ${unit}`).join(" ");
	}
	return String(value);
}

/** @param {string} cast @param {unknown} value */
function asText(cast, value) {
	switch (cast) {
	case "interval": return interval(value);
	case "json": return toJSON(value);
	case "timestamptz": return value instanceof Date ? value.toISOString() : String(value);
	}
	return String(value);
}

/**
 * Options of invoke under their SQL names, each with its cast and its text. Those left undefined or null are left out.
 * @param {Record<string, unknown>} options
 * @returns {{ name: InvokeOption, cast: string, text: string }[]}
 */
export function invokeOptions(options) {
	const found = [];
	for (const [key, value] of Object.entries(options)) {
		const name = /** @type {InvokeOption} */ (snake(key));
		const cast = Object.hasOwn(INVOKE_OPTIONS, name) ? INVOKE_OPTIONS[name] : undefined;
		if (cast === undefined) {
			const names = Object.keys(INVOKE_OPTIONS).join(", ");
			throw new TypeError(`pgconductor: invoke: ${key}: no such option (there are ${names})`);
		}
		if (value !== undefined && value !== null) {
			found.push({ name, cast, text: asText(cast, value) });
		}
	}
	return found;
}
