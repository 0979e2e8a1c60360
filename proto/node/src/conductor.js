/*
 * Conductor: the tasks of a program, and the client that invokes them.
 */
import * as client from "./client.js";
import { checkURL, connect } from "./connect.js";
import { extendContext } from "./context.js";
import { finished } from "./finish.js";
import { install } from "./install.js";
import { isConnection, urlOf } from "./drivers.js";
import { toJSON } from "./json.js";
import { SinkLogger, toStderr } from "./logger.js";
import { mergeTasks, taskOf, workerConfig } from "./options.js";
import { DatabaseSchema, EventSchemas, TaskSchemas, isDefinition } from "./schemas.js";
import { checkedText, taken } from "./standard.js";
import { entryOf, findEntry, namedQueue, publish } from "./tasks.js";
import { scheduleOf, scheduled, triggersText } from "./triggers.js";

/**
 * @typedef {import("./client.js").Sql} Sql
 * @typedef {import("./options.js").Declared} Declared
 */

const CREATE_OPTIONS = ["connectionString", "sql", "tasks", "events", "database", "context", "logger"];

/**
 * What was given as one of these.
 * @template T
 * @param {string} name
 * @param {T | undefined} value
 * @param {{ name: string, prototype: T }} Class
 */
function checkClass(name, value, Class) {
	if (value !== undefined && !(value instanceof /** @type {any} */ (Class))) {
		throw new TypeError(`pgconductor: Conductor.create: ${name}: what ${Class.name} makes is needed`);
	}
}

export class Conductor {
	#connectionString;
	/** @type {Promise<any> | undefined} */
	#own;
	#given;
	/** What this program says of tasks: those it was created with, and those it made. @type {Map<string, Declared>} */
	#known = new Map();
	/** Those that the database has heard of from us. @type {Set<string>} */
	#declared = new Set();

	/** @param {any} [options] */
	static create(options) {
		return new Conductor(options);
	}

	/** @param {any} [options] */
	constructor(options = {}) {
		for (const key of Object.keys(options)) {
			if (!CREATE_OPTIONS.includes(key) && options[key] !== undefined) {
				throw new TypeError(`pgconductor: Conductor.create: ${key}: no such option (there are ${CREATE_OPTIONS.join(", ")})`);
			}
		}
		if (options.sql !== undefined && options.connectionString !== undefined) {
			throw new TypeError("pgconductor: Conductor.create: either sql or connectionString");
		}
		if (options.connectionString !== undefined) {
			checkURL(options.connectionString);
		}
		if (options.sql !== undefined && !isConnection(options.sql)) {
			throw new TypeError("pgconductor: Conductor.create: sql: a postgres.js instance, or a pool or client of pg, is needed");
		}
		checkClass("events", options.events, EventSchemas);
		checkClass("database", options.database, DatabaseSchema);
		this.events = options.events ?? new EventSchemas();
		this.#connectionString = options.connectionString;
		this.#given = options.sql;
		this.customLogger = options.logger;
		this.Context = extendContext(options.context ?? {});
		if (options.tasks !== undefined && !(options.tasks instanceof TaskSchemas) && !Array.isArray(options.tasks)) {
			throw new TypeError("pgconductor: Conductor.create: tasks: what TaskSchemas makes, or a list of { name }, is needed");
		}
		for (const ref of options.tasks instanceof TaskSchemas ? options.tasks.definitions : options.tasks ?? []) {
			this.#know(findEntry(ref) ?? taskOf(ref));
		}
	}

	/** Where its schema is, if it was told so. @returns {string | undefined} */
	get connectionString() {
		return this.#connectionString;
	}

	/** Where its schema is, if it was told so, or given a connection. @returns {Promise<string | undefined>} */
	async url() {
		return this.#given === undefined ? this.#connectionString : urlOf(this.#given);
	}

	/** What is known of the task that a reference names. @param {any} ref @returns {Declared | undefined} */
	known(ref) {
		return findEntry(ref) ?? (isDefinition(ref) ? taskOf(ref) : this.#known.get(ref?.name));
	}

	get logger() {
		return this.customLogger ?? new SinkLogger(toStderr);
	}

	/** @param {Declared} task */
	#know(task) {
		this.#known.set(task.name, task);
		this.#declared.delete(task.name);
	}

	/** @param {any} ref @param {any} triggers @param {any} handler @returns {any} */
	createTask(ref, triggers, handler) {
		const said = taskOf(ref);
		const text = triggersText(said.name, triggers);
		if (typeof handler !== "function") {
			throw new TypeError(`pgconductor: task ${said.name}: the handler is not a function`);
		}
		const before = this.#known.get(said.name);
		const declared = before === undefined ? said : mergeTasks(before, said);
		this.#know(declared);
		return publish({
			...declared, queue: declared.queue ?? "default", named: declared.queue !== undefined, triggers: text,
			handler,
		});
	}

	/** @param {{ queue: string, tasks: readonly any[], config?: any }} options */
	createWorker({ queue, tasks, config }) {
		if (typeof queue !== "string" || !Array.isArray(tasks)) {
			throw new TypeError("pgconductor: createWorker: queue and tasks are needed");
		}
		for (const task of tasks) {
			const entry = entryOf(task);
			if (entry.named && entry.queue !== queue) {
				throw new TypeError(`pgconductor: createWorker: task ${entry.name}: its queue is ${entry.queue}, not ${queue}`);
			}
			const { name, options, payload_schema, returns_schema, batch } = entry;
			this.#know({ ...this.#known.get(name), name, queue, options, payload_schema, returns_schema, ...batch && { batch } });
		}
		workerConfig(config);
		return Object.freeze({ queue, tasks: Object.freeze([...tasks]), config: Object.freeze({ ...config }) });
	}

	/* ---- the client */

	/** Connects when it is first needed. @returns {Promise<Sql>} */
	async #sql() {
		return this.#given ?? await (this.#own ??= connect(this.#connectionString));
	}

	/**
	 * So that a program that only invokes may be deployed before the one that serves. In the caller's transaction it is
	 * a part of that, so it is said again in the next one.
	 * @param {string} name
	 * @param {Sql | undefined} transaction
	 * @param {Sql} sql
	 */
	async #declare(name, transaction, sql) {
		const task = this.#known.get(name);
		if (task === undefined || this.#declared.has(name)) {
			return;
		}
		await client.declare(sql, task);
		if (transaction === undefined) {
			this.#declared.add(name);
		}
	}

	/** @param {any} ref @param {unknown} payload @param {any} [options] @returns {Promise<any>} */
	async invoke(ref, payload, { sql: transaction, ...options } = {}) {
		if (typeof ref?.name !== "string") {
			throw new TypeError("pgconductor: invoke: a task, or { name }, is needed");
		}
		const task = this.known(ref);
		if (isDefinition(ref) && !this.#known.has(ref.name)) {
			this.#know(/** @type {Declared} */ (task));
		}
		const named = namedQueue(ref);
		const queue = named === (this.#known.get(ref.name)?.queue ?? "default") ? undefined : named;
		/** @param {unknown} value @param {string} [where] */
		const text = (value, where = "") => checkedText(task?.payload, `${ref.name}${where}`, toJSON(value));
		if (!Array.isArray(payload)) {
			const json = await text(payload);
			const sql = await this.#ready(ref.name, transaction);
			return client.invoke(sql, ref.name, json, { queue, ...options });
		}
		const items = payload.map(client.itemOf);
		const payloads = await Promise.all(items.map((item, at) => text(item.payload, ` (items[${at}])`)));
		const sql = await this.#ready(ref.name, transaction);
		return client.invokeBatch(sql, ref.name, items, payloads, { queue, ...options });
	}

	/** A connection, over which the task is declared. @param {string} name @param {Sql | undefined} transaction */
	async #ready(name, transaction) {
		const sql = transaction ?? await this.#sql();
		await this.#declare(name, transaction, sql);
		return sql;
	}

	/** @param {string} event @param {any[]} given  a payload (or none), and options */
	async emit(event, ...given) {
		const [payload, { sql } = {}] = given;
		if (typeof event !== "string") {
			throw new TypeError("pgconductor: emit: the name of an event is needed");
		}
		const text = await checkedText(this.events.byName.get(event), event, toJSON(payload));
		return client.emit(sql ?? await this.#sql(), event, text);
	}

	/**
	 * @param {any} ref
	 * @param {string} name
	 * @param {any} options
	 * @param {unknown} [payload]
	 * @param {{ sql?: Sql | undefined }} [more]
	 */
	async schedule(ref, name, options, payload, { sql: transaction } = {}) {
		const given = scheduleOf("schedule", ref, name, options);
		// Without a payload it is not held against the schema.
		const schema = payload === undefined ? undefined : this.known(ref)?.payload;
		const text = await checkedText(schema, ref.name, toJSON(payload));
		return client.schedule(await this.#ready(ref.name, transaction), given, text);
	}

	/** @param {any} ref @param {string} name @param {{ sql?: Sql | undefined }} [options] */
	async unschedule(ref, name, { sql } = {}) {
		const given = scheduled("unschedule", ref, name);
		return client.unschedule(sql ?? await this.#sql(), given);
	}

	/** @param {string} id @param {{ reason?: string | undefined, sql?: Sql | undefined }} [options] */
	async cancel(id, { reason, sql } = {}) {
		return client.cancel(sql ?? await this.#sql(), id, reason);
	}

	/** @param {string} id @param {{ sql?: Sql | undefined }} [options] */
	async retry(id, { sql } = {}) {
		return client.retry(sql ?? await this.#sql(), id);
	}

	/** @param {string} id @param {any} what @param {{ sql?: Sql | undefined }} [options] */
	async edit(id, what, { sql } = {}) {
		return client.edit(sql ?? await this.#sql(), id, what);
	}

	/** @param {string} id @param {string} queue @param {{ sql?: Sql | undefined }} [options] */
	async move(id, queue, { sql } = {}) {
		return client.move(sql ?? await this.#sql(), id, queue);
	}

	/** @param {string} id @param {{ sql?: Sql | undefined }} [options] */
	async discard(id, { sql } = {}) {
		return client.discard(sql ?? await this.#sql(), id);
	}

	/** @param {string} id @param {{ sql?: Sql | undefined }} [options] @returns {Promise<any>} */
	async result(id, { sql } = {}) {
		return client.result(sql ?? await this.#sql(), id);
	}

	/** @param {string} id @param {{ timeout?: unknown, task?: any, sql?: Sql | undefined }} [options] @returns {Promise<any>} */
	async wait(id, { timeout, task, sql } = {}) {
		const value = await finished(async () => sql ?? await this.#sql(), id, timeout);
		return task === undefined ? value : taken(this.known(task)?.returns, task.name, value);
	}

	/** The client within a transaction. @param {any} sql */
	with(sql) {
		return {
			/** @param {any} ref @param {unknown} payload @param {object} [options] */
			invoke: (ref, payload, options) => this.invoke(ref, payload, { ...options, sql }),
			/** @param {string} event @param {any[]} given */
			emit: (event, ...given) => this.emit(event, given[0], { sql }),
			/** @param {any} ref @param {string} name @param {any} options @param {unknown} [payload] */
			schedule: (ref, name, options, payload) => this.schedule(ref, name, options, payload, { sql }),
			/** @param {any} ref @param {string} name */
			unschedule: (ref, name) => this.unschedule(ref, name, { sql }),
			/** @param {string} id @param {object} [options] */
			cancel: (id, options) => this.cancel(id, { ...options, sql }),
			/** @param {string} id */
			retry: (id) => this.retry(id, { sql }),
			/** @param {string} id @param {any} what */
			edit: (id, what) => this.edit(id, what, { sql }),
			/** @param {string} id @param {string} queue */
			move: (id, queue) => this.move(id, queue, { sql }),
			/** @param {string} id */
			discard: (id) => this.discard(id, { sql }),
			/** @param {string} id */
			result: (id) => this.result(id, { sql }),
		};
	}

	/** Sees to it that the schema is there, and that it knows this program's tasks. */
	async ensureInstalled() {
		const sql = await this.#sql();
		if (!await client.isInstalled(sql)) {
			await install(sql, await this.url());
		}
		for (const name of this.#known.keys()) {
			await this.#declare(name, undefined, sql);
		}
	}

	/** Closes the connections that it opened; not those it was given. */
	async close() {
		const own = this.#own;
		this.#own = undefined;
		await (await own?.catch(() => undefined))?.end({ timeout: 5 });
	}
}
