/*
 * What a program says of its events, tasks and tables: definitions, and sets of them.
 */
import { taskOf } from "./options.js";
import { isStandard, jsonSchemaOf } from "./standard.js";

/**
 * @typedef {import("./standard.js").StandardSchema} StandardSchema
 * @typedef {ReadonlyMap<string, StandardSchema | undefined>} Schemas  by the name of their event
 */

const NAME = /^[^\s\p{Cc}]{1,200}$/u;

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

/** Made by defineTask. @type {WeakSet<object>} */
const definitions = new WeakSet();

/** @param {any} task @returns {any} */
export function defineTask(task) {
	taskOf(task);
	const definition = Object.freeze({ ...task });
	definitions.add(definition);
	return definition;
}

/** @param {any} task */
export function isDefinition(task) {
	return definitions.has(task);
}

/** @param {string} what @param {readonly { name: string }[]} all */
function checkOnce(what, all) {
	const twice = all.find(({ name }, at) => all.findIndex((other) => other.name === name) !== at);
	if (twice !== undefined) {
		throw new TypeError(`pgconductor: ${what}: ${twice.name} stands there twice`);
	}
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
		checkOnce("EventSchemas.fromSchema", defined);
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

/** The tasks that a program knows. */
export class TaskSchemas {
	/** @param {readonly any[]} [definitions] */
	constructor(definitions = []) {
		this.definitions = definitions;
	}

	/** @param {readonly any[]} tasks @returns {any} */
	static fromSchema(tasks) {
		const defined = tasks.map((task) => isDefinition(task) ? task : defineTask(task));
		checkOnce("TaskSchemas.fromSchema", defined);
		return new TaskSchemas(defined);
	}

	get names() {
		return this.definitions.map(({ name }) => name);
	}

	/** The compiler alone knows them. @returns {any} */
	static fromTypes() {
		return new TaskSchemas();
	}
}

/** Tables: the compiler alone knows them. */
export class DatabaseSchema {
	/** @returns {any} */
	static fromGeneratedTypes() {
		return new DatabaseSchema();
	}

	/** @returns {any} */
	static fromSupabaseTypes() {
		return new DatabaseSchema();
	}

	/** @param {Record<string, Record<string, unknown>>} tables @returns {any} */
	static fromSchema(tables) {
		for (const [schema, all] of Object.entries(tables)) {
			for (const [table, row] of Object.entries(all)) {
				if (!isStandard(row)) {
					throw new TypeError(`pgconductor: DatabaseSchema.fromSchema: ${schema}.${table}: not a Standard Schema`);
				}
			}
		}
		return new DatabaseSchema();
	}
}
