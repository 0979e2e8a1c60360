/*
 * Events with schemas: anything that implements Standard Schema (Zod, Valibot, ArkType and others).
 *
 * What is emitted goes out as it was given, once its JSON has been found good; whoever gets it has what the schema makes of it.
 */
import { BadPayload, NonRetryableError } from "./errors.js";
import { toJSON } from "./json.js";

/**
 * @typedef {import("../index.d.ts").StandardSchema} StandardSchema
 * @typedef {import("../index.d.ts").Issue} Issue
 * @typedef {ReadonlyMap<string, StandardSchema | undefined>} Schemas  by the name of their event
 */

const NAME = /^[^\s\p{Cc}]{1,200}$/u;
/** As many as anybody reads. */
const MAX_ISSUES = 8;

/** @param {any} schema @returns {schema is StandardSchema} */
function isStandard(schema) {
	return typeof schema?.["~standard"]?.validate === "function" && schema["~standard"].version === 1;
}

/** @param {{ name: string, payload: any }} definition @returns {any} */
export function defineEvent({ name, payload }) {
	if (typeof name !== "string" || !NAME.test(name)) {
		throw new TypeError(`pgconductor: defineEvent: name: ${String(name)} is not an event's name: ` +
			"any characters but blanks, 200 at most");
	}
	if (!isStandard(payload)) {
		throw new TypeError(`pgconductor: defineEvent: ${name}: payload: not a Standard Schema, as those of Zod and Valibot`);
	}
	return Object.freeze({ name, payload });
}

/** The events that a program knows. */
export class EventSchemas {
	/** @type {Schemas} */
	byName;

	/** @param {Iterable<readonly [string, StandardSchema | undefined]>} [entries] */
	constructor(entries = []) {
		this.byName = new Map(entries);
	}

	/** @param {readonly any[]} events @returns {any} */
	static fromSchema(events) {
		const defined = events.map(defineEvent);
		const twice = defined.find(({ name }, at) => defined.findIndex((other) => other.name === name) !== at);
		if (twice !== undefined) {
			throw new TypeError(`pgconductor: EventSchemas.fromSchema: ${twice.name} stands there twice`);
		}
		return new EventSchemas(defined.map(({ name, payload }) => [name, payload]));
	}

	get names() {
		return [...this.byName.keys()];
	}

	/** The compiler alone knows them. @returns {any} */
	static fromTypes() {
		return new EventSchemas();
	}

	/** As HELLO has them. A schema that is no JSON Schema stays ours. */
	announced() {
		return [...this.byName].map(([name, schema]) => ({ name, schema: schema && jsonSchemaOf(schema) }));
	}
}

/** What is to be sent, as JSON Schema, if it can say so. @param {StandardSchema} schema @returns {string | undefined} */
function jsonSchemaOf(schema) {
	try {
		const found = schema["~standard"].jsonSchema?.input({ target: "draft-2020-12" });
		return found === undefined ? undefined : JSON.stringify(found);
	} catch {
		// There is no such thing as a Date in JSON.
		return undefined;
	}
}

/** Where in the payload that is: a JSON pointer. @param {Issue["path"]} path */
function pointer(path = []) {
	return path.map((part) => {
		const key = typeof part === "object" ? part.key : part;
		return `/${String(key).replaceAll("~", "~0").replaceAll("/", "~1")}`;
	}).join("");
}

/** @param {string} what @param {readonly Issue[]} issues */
function complaint(what, issues) {
	const said = issues.slice(0, MAX_ISSUES).map(({ path, message }) => {
		const where = pointer(path);
		return where === "" ? message : `${where}: ${message}`;
	});
	return `${what}: ${said.join("; ")}`;
}

/**
 * What `good` makes of what the schema makes of a value; at once, if the schema knows at once.
 * @template T
 * @param {StandardSchema} schema
 * @param {unknown} value
 * @param {(value: any) => T} good
 * @param {(issues: readonly Issue[]) => Error} bad
 * @returns {T | Promise<T>}
 */
function examine(schema, value, good, bad) {
	/** @param {import("../index.d.ts").SchemaResult} result */
	const judge = (result) => {
		if (result.issues !== undefined) {
			throw bad(result.issues);
		}
		return good(result.value);
	};
	const result = schema["~standard"].validate(value);
	return result instanceof Promise ? result.then(judge) : judge(result);
}

/**
 * The JSON of what is to be emitted: looked at as whoever gets it will.
 * @param {Schemas} schemas
 * @param {string} event
 * @param {unknown} payload
 * @returns {string | Promise<string>}
 */
export function eventText(schemas, event, payload) {
	const text = toJSON(payload);
	const schema = schemas.get(event);
	return schema === undefined ? text : examine(schema, JSON.parse(text), () => text,
		(issues) => new BadPayload(complaint(`the payload of ${event}`, issues), { issues }));
}

/**
 * What a task gets of an event: what its schema makes of it. One that is not as it should be never will be.
 * @param {StandardSchema | undefined} schema
 * @param {string} event
 * @param {any} payload
 * @returns {any}
 */
export function delivered(schema, event, payload) {
	return schema === undefined ? payload : examine(schema, payload, (value) => value,
		(issues) => new NonRetryableError(complaint(`the payload of ${event}`, issues), { code: "bad_payload", data: { event } }));
}
