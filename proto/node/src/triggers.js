/*
 * What tasks are started by, and schedules made at run time. Shapes and names are checked here, where a slip shows with a
 * stack; expressions, time zones, tables and conditions by the server.
 */
import { toJSON } from "./json.js";

/** Members of each kind of trigger. The first is the one by which it is known. */
const KINDS = {
	invocable: ["invocable"],
	cron: ["cron", "name", "timezone", "payload", "overlap", "catchup"],
	event: ["event", "when", "fields"],
	table: ["table", "schema", "operation", "columns", "when"],
};
const OPERATIONS = ["insert", "update", "delete"];
const SCHEDULE_OPTIONS = ["cron", "timezone", "overlap", "catchup", "enabled"];
/** What may be a list. */
const LISTS = ["fields", "columns"];

/** @param {string} what @param {any} trigger @returns {string} */
function checkTrigger(what, trigger) {
	const kind = Object.entries(KINDS).find(([name]) => trigger?.[name] !== undefined);
	if (kind === undefined || (trigger.invocable ?? true) !== true) {
		throw new TypeError(`pgconductor: ${what}: not a trigger: there are { invocable: true }, { cron, name }, { event } and ` +
			"{ schema, table, operation }");
	}
	for (const [name, value] of Object.entries(trigger)) {
		if (!kind[1].includes(name) && value !== undefined) {
			throw new TypeError(`pgconductor: ${what}: ${name}: no such option (there are ${kind[1].join(", ")})`);
		}
		const isList = LISTS.includes(name) && Array.isArray(value);
		if (name !== "payload" && name !== "invocable" && name !== "catchup" && value !== undefined && !isList &&
			typeof value !== "string") {
			throw new TypeError(`pgconductor: ${what}: ${name}: not a string`);
		}
	}
	return kind[0];
}

/**
 * A change of a table, as the server takes it: in the trigger of a task, and as what is waited for.
 * @param {string} what
 * @param {any} change
 */
export function changeOf(what, { schema = "public", table, operation, columns, when }) {
	if (!OPERATIONS.includes(operation)) {
		throw new TypeError(`pgconductor: ${what}: operation: ${String(operation)}: there are ${OPERATIONS.join(", ")}`);
	}
	return { schema, table, operation, columns, when };
}

/**
 * The triggers of a task, as JSON for HELLO.
 * @param {string} name
 * @param {any} triggers
 */
export function triggersText(name, triggers) {
	const all = Array.isArray(triggers) ? triggers : [triggers];
	if (all.length === 0) {
		throw new TypeError(`pgconductor: task ${name}: triggers: none; it is { invocable: true } at least`);
	}
	return `[${all.map((trigger, at) => {
		const what = `task ${name}: triggers${Array.isArray(triggers) ? `[${at}]` : ""}`;
		const kind = checkTrigger(what, trigger);
		const { payload, ...rest } = kind === "table" ? changeOf(what, trigger) : trigger;
		const text = toJSON(rest);
		return payload === undefined ? text : `${text.slice(0, -1)},"payload":${toJSON(payload)}}`;
	}).join(",")}]`;
}

/**
 * What is to be scheduled, each option as text; those left undefined are left out.
 * @param {string} what
 * @param {any} ref
 * @param {unknown} name
 * @param {any} options
 * @returns {{ task: string, name: string, options: Record<string, string | boolean> }}
 */
export function scheduleOf(what, ref, name, options) {
	const task = scheduled(what, ref, name);
	if (typeof options?.cron !== "string") {
		throw new TypeError(`pgconductor: ${what}: { cron: "0 9 * * *" } is needed`);
	}
	/** @type {Record<string, string | boolean>} */
	const found = {};
	for (const [option, value] of Object.entries(options)) {
		if (!SCHEDULE_OPTIONS.includes(option)) {
			throw new TypeError(`pgconductor: ${what}: ${option}: no such option (there are ${SCHEDULE_OPTIONS.join(", ")})`);
		}
		if (value !== undefined) {
			found[option] = option === "enabled" ? Boolean(value) : String(value);
		}
	}
	return { ...task, options: found };
}

/**
 * A value as it stands in an SQL expression, whatever is in it.
 * @param {string | number | bigint} value
 */
export function literal(value) {
	const text = String(value);
	if (text.includes("\0")) {
		throw new TypeError("pgconductor: literal: a text of PostgreSQL holds no NUL");
	}
	const quoted = `'${text.replaceAll("'", "''")}'`;
	return text.includes("\\") ? `E${quoted.replaceAll("\\", "\\\\")}` : quoted;
}

/**
 * The task and the name of a schedule.
 * @param {string} what
 * @param {any} ref
 * @param {unknown} name
 */
export function scheduled(what, ref, name) {
	if (typeof ref?.name !== "string") {
		throw new TypeError(`pgconductor: ${what}: a task, or { name }, is needed`);
	}
	if (typeof name !== "string" || name === "") {
		throw new TypeError(`pgconductor: ${what}: the name of the schedule is needed behind the task`);
	}
	return { task: /** @type {string} */ (ref.name), name };
}
