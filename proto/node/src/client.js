/*
 * The client: SQL calls, on the caller's own connection if he wants it.
 */
import { rowsOf } from "./drivers.js";
import { explain } from "./errors.js";
import { toJSON } from "./json.js";
import { invokeOptions } from "./options.js";

/** @typedef {import("./drivers.js").Sql} Sql */

/**
 * The rows of a statement, each an array of text.
 * @param {Sql} sql
 * @param {string} text
 * @param {(string | null)[]} parameters
 * @returns {Promise<any[][]>}
 */
export async function ask(sql, text, parameters) {
	try {
		return await rowsOf(sql, text, parameters);
	} catch (error) {
		throw explain(error);
	}
}

/**
 * @param {Sql} sql
 * @param {string} task
 * @param {string} payload  JSON
 * @param {Record<string, unknown>} options
 * @returns {Promise<string>}
 */
export async function invoke(sql, task, payload, options) {
	const given = invokeOptions(options);
	const named = given.map(({ name, cast }, i) => `, ${name} => $${i + 3}::text::${cast}`);
	const [[id]] = await ask(sql, `select pgconductor.invoke($1::text, $2::text${named.join("")})::text`,
		[task, payload, ...given.map(({ text }) => text)]);
	return id;
}

/**
 * An item of a batch.
 * @param {any} item
 * @param {number} at
 * @returns {Record<string, unknown> & { payload: unknown }}
 */
export function itemOf(item, at) {
	if (typeof item !== "object" || item === null || !Object.hasOwn(item, "payload")) {
		throw new TypeError(`pgconductor: invoke: items[${at}]: an array is a batch of { payload, … }; ` +
			"a payload that is an array is a batch of one, [{ payload: [ … ] }]");
	}
	return item;
}

/** Options of invoke as members of a JSON object, each with a comma in front. @param {Record<string, unknown>} options */
function members(options) {
	return invokeOptions(options).map(({ name, cast, text }) =>
		`,"${name}":${cast === "int" || cast === "json" ? text : JSON.stringify(text)}`).join("");
}

/**
 * What a task's call to invoke says.
 * @param {string} task
 * @param {string} payload  JSON
 * @param {Record<string, unknown>} options
 */
export function callText(task, payload, options) {
	return `{"task":${JSON.stringify(task)},"payload":${payload}${members(options)}}`;
}

/**
 * All or none.
 * @param {Sql} sql
 * @param {string} task
 * @param {readonly Record<string, unknown>[]} items
 * @param {readonly string[]} payloads  JSON, one for each
 * @param {Record<string, unknown>} defaults  for what an item does not say
 * @returns {Promise<string[]>}
 */
export async function invokeBatch(sql, task, items, payloads, defaults) {
	const text = `[${items.map(({ payload, ...options }, at) => (
		`{"payload":${payloads[at]}${members({ ...defaults, ...options })}}`)).join(",")}]`;
	const rows = await ask(sql, "select u.id::text from unnest(pgconductor.invoke_batch($1::text, $2::text::json))" +
		" with ordinality u (id, n) order by u.n", [task, text]);
	return rows.map(([id]) => id);
}

/** @param {Sql} sql @param {string} id @param {string | undefined} reason @returns {Promise<boolean>} */
export async function cancel(sql, id, reason) {
	const [[done]] = await ask(sql, "select pgconductor.cancel($1::text::bigint, $2::text)::text", [id, reason ?? null]);
	return done === "true";
}

/** @param {Sql} sql @param {string} id @returns {Promise<boolean>} */
export async function retry(sql, id) {
	const [[done]] = await ask(sql, "select pgconductor.retry($1::text::bigint)::text", [id]);
	return done === "true";
}

/**
 * @param {Sql} sql
 * @param {string} id
 * @param {{ payload?: unknown, priority?: number | undefined, runAt?: Date | string | undefined, metadata?: unknown }} what
 * @returns {Promise<boolean>}
 */
export async function edit(sql, id, { payload, priority, runAt, metadata }) {
	const text = (/** @type {unknown} */ value) => value === undefined ? null : toJSON(value);
	const at = runAt instanceof Date ? runAt.toISOString() : runAt ?? null;
	const [[done]] = await ask(sql, "select pgconductor.edit($1::text::bigint, $2::text, $3::text::int, $4::text::timestamptz," +
		" $5::text::json)::text", [id, text(payload), priority === undefined ? null : String(priority), at, text(metadata)]);
	return done === "true";
}

/** @param {Sql} sql @param {string} id @param {string} queue @returns {Promise<boolean>} */
export async function move(sql, id, queue) {
	const [[done]] = await ask(sql, "select pgconductor.move($1::text::bigint, $2::text)::text", [id, queue]);
	return done === "true";
}

/** @param {Sql} sql @param {string} id @returns {Promise<boolean>} */
export async function discard(sql, id) {
	const [[done]] = await ask(sql, "select pgconductor.discard($1::text::bigint)::text", [id]);
	return done === "true";
}

/** @param {Sql} sql @param {string} id */
export async function result(sql, id) {
	const [row] = await ask(sql, "select r.state, r.result::text, r.error::text from pgconductor.result($1::text::bigint) r",
		[id]);
	if (row === undefined) {
		return null;
	}
	const [state, value, error] = row;
	/** @param {string | null} text */
	const parse = (text) => text === null ? undefined : JSON.parse(text);
	return { state, result: parse(value), error: parse(error) };
}

/** Has it written anything in a transaction that is still open? @param {Sql} sql @returns {Promise<boolean>} */
export async function isWithin(sql) {
	const [[open]] = await ask(sql, "select (pg_catalog.pg_current_xact_id_if_assigned() is not null)::text", []);
	return open === "true";
}

/**
 * @param {Sql} sql
 * @param {string} event
 * @param {string} payload  JSON
 * @returns {Promise<string>}
 */
export async function emit(sql, event, payload) {
	const [[id]] = await ask(sql, "select pgconductor.emit($1::text, $2::text)::text", [event, payload]);
	return id;
}

/** When a schedule is due, as ISO 8601; null: never. */
const DUE = `to_char(nullif(s, 'infinity') at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')`;

/**
 * @param {Sql} sql
 * @param {ReturnType<import("./triggers.js").scheduleOf>} schedule
 * @param {string} payload  JSON
 * @returns {Promise<Date | null>}
 */
export async function schedule(sql, { task, name, options }, payload) {
	const named = Object.keys(options).map((option, i) => (
		`, ${option} => $${i + 4}::text${option === "enabled" ? "::boolean" : ""}`));
	const [[due]] = await ask(sql, `select ${DUE} from pgconductor.schedule(task => $1::text, name => $2::text, payload => $3::text${
		named.join("")}) s`, [task, name, payload, ...Object.values(options).map(String)]);
	return dateOf(due);
}

/** @param {string | null} text  ISO 8601 */
export function dateOf(text) {
	return text === null ? null : new Date(text);
}

/** @param {Sql} sql @param {{ task: string, name: string }} schedule @returns {Promise<boolean>} */
export async function unschedule(sql, { task, name }) {
	const [[done]] = await ask(sql, "select pgconductor.unschedule($1::text, $2::text)::text", [task, name]);
	return done === "true";
}

/** @param {Sql} sql @param {import("./options.js").Declared} task */
export async function declare(sql, { name, queue, options = "{}", payload_schema, returns_schema, batch }) {
	const schemas = Object.entries({ payload_schema, returns_schema }).filter(([, text]) => text !== undefined);
	const members = schemas.map(([option, text]) => `"${option}":${text}`);
	if (batch !== undefined) {
		members.push(`"batch":${JSON.stringify({ size: batch.size, timeout: batch.timeout_ms })}`);
	}
	const own = options.slice(1, -1);
	await ask(sql, "select pgconductor.declare_task($1::text, $2::text, $3::text::json)::text",
		[name, queue ?? null, `{${[...own === "" ? [] : [own], ...members].join(",")}}`]);
}

/** @param {Sql} sql @returns {Promise<boolean>} */
export async function isInstalled(sql) {
	const [[found]] = await ask(sql, "select (pg_catalog.to_regnamespace('pgconductor') is not null)::text", []);
	return found === "true";
}
