/*
 * Schemas: anything that implements Standard Schema (Zod, Valibot, ArkType and others).
 *
 * What is sent goes out as it was given, once its JSON has been found good; whoever gets it has what the schema makes of it.
 */
import { BadPayload, BadResult, ChildFailed, NonRetryableError, PgconductorError } from "./errors.js";

/**
 * @typedef {import("../index.d.ts").StandardSchema} StandardSchema
 * @typedef {import("../index.d.ts").Issue} Issue
 */

/** As many as anybody reads. */
const MAX_ISSUES = 8;

/** @param {any} schema @returns {schema is StandardSchema} */
export function isStandard(schema) {
	return typeof schema?.["~standard"]?.validate === "function" && schema["~standard"].version === 1;
}

/** Formats of which Zod takes more than JSON Schema does: URLs that are no URIs, and local times. */
const WIDER = ["uri", "date-time"];

/**
 * What Zod says would have the server refuse what Zod takes: `z.coerce.number()` is said to want a number, and patterns lose their
 * flags. What cannot be said is left open: Zod itself looks at that, here.
 */
const ZOD = {
	unrepresentable: "any",
	/** @param {{ zodSchema: any, jsonSchema: Record<string, unknown> }} of */
	override: ({ zodSchema: { _zod: { def } }, jsonSchema }) => {
		const isOpen = def.coerce === true;
		const checks = [def, ...(def.checks ?? []).map((/** @type {any} */ check) => check._zod.def)];
		const isFlagged = checks.some(({ pattern }) => pattern instanceof RegExp && /[ims]/.test(pattern.flags));
		for (const key of Object.keys(jsonSchema)) {
			if (isOpen || (isFlagged && (key === "pattern" || key === "allOf")) ||
				(key === "format" && WIDER.includes(/** @type {string} */ (jsonSchema.format)))) {
				delete jsonSchema[key];
			}
		}
	},
};

/** What is to be sent, as JSON Schema, if it can say so. @param {StandardSchema} schema @returns {string | undefined} */
export function jsonSchemaOf(schema) {
	const { jsonSchema, vendor } = schema["~standard"];
	try {
		const found = jsonSchema?.input({ target: "draft-2020-12", ...vendor === "zod" && { libraryOptions: ZOD } });
		return found === undefined ? undefined : JSON.stringify(found);
	} catch {
		// There is no such thing as a Date in JSON.
		return undefined;
	}
}

/** Where in the value that is: a JSON pointer. @param {Issue["path"]} path */
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
 * The JSON of what is to be sent: looked at as whoever gets it will.
 * @param {StandardSchema | undefined} schema
 * @param {string} what
 * @param {string} text
 * @returns {string | Promise<string>}
 */
export function checkedText(schema, what, text) {
	return schema === undefined ? text : examine(schema, JSON.parse(text), () => text,
		(issues) => new BadPayload(complaint(`the payload of ${what}`, issues), { issues }));
}

/**
 * What a task gets of a payload: what its schema makes of it. One that is not as it should be never will be.
 * @param {StandardSchema | undefined} schema
 * @param {string} what                 an event or a task
 * @param {any} payload
 * @param {object} data                 for the error
 * @returns {any}
 */
export function delivered(schema, what, payload, data) {
	return schema === undefined ? payload : examine(schema, payload, (value) => value,
		(issues) => new NonRetryableError(complaint(`the payload of ${what}`, issues), { code: "bad_payload", data }));
}

/**
 * The JSON of what a function returned.
 * @param {StandardSchema | undefined} schema
 * @param {string} task
 * @param {string} text
 * @returns {string | Promise<string>}
 */
export function returnedText(schema, task, text) {
	return schema === undefined ? text : examine(schema, JSON.parse(text), () => text,
		(issues) => new PgconductorError(complaint(`the result of ${task}`, issues)));
}

/**
 * What whoever waited for a task gets of its result.
 * @param {StandardSchema | undefined} schema
 * @param {string} task
 * @param {any} result
 * @param {string} key
 * @returns {any}
 */
export function received(schema, task, result, key) {
	return schema === undefined ? result : examine(schema, result, (value) => value,
		(issues) => new ChildFailed(complaint(`the result of ${task}`, issues), { code: "bad_result", key, task }));
}

/**
 * What whoever waited for a task from outside gets of its result.
 * @param {StandardSchema | undefined} schema
 * @param {string} task
 * @param {any} result
 * @returns {any}
 */
export function taken(schema, task, result) {
	return schema === undefined ? result : examine(schema, result, (value) => value,
		(issues) => new BadResult(complaint(`the result of ${task}`, issues), { issues }));
}
