/*
 * What a task's function is given beside its event: names and shapes for users, in front of a run.
 */
import { callText, dateOf } from "./client.js";
import { toJSON } from "./json.js";
import { checkedText } from "./standard.js";
import { namedQueue } from "./tasks.js";
import { scheduleOf, scheduled } from "./triggers.js";
import { checkOptions, eventOf, eventsOf } from "./waits.js";

/** @typedef {import("./run.js").Run} Run */
/** @typedef {import("../index.d.ts").Logger} Logger */

/** Names that Conductor.create's `context` may not use, as they are promised. */
const PROMISED = ["event"];
const CHILD_OPTIONS = ["key", "queue", "priority", "timeout", "metadata"];

/** @typedef {{ result?: any, error?: Error }} Outcome */

/** @param {readonly Outcome[]} found */
function resultsAndErrors(found) {
	return found.map(({ result, error }) => error ?? result);
}

/** The first error is thrown. @param {readonly Outcome[]} found */
function results(found) {
	const failed = found.find(({ error }) => error !== undefined);
	if (failed !== undefined) {
		throw failed.error;
	}
	return resultsAndErrors(found);
}

/** The context of one execution. What takes time to make is made when it is asked for. */
export class Context {
	#run;
	/** @type {AbortController | undefined} */
	#controller;
	/** @type {Logger | undefined} */
	#logger;

	/** @param {Run} run */
	constructor(run) {
		this.#run = run;
		/** @type {string} */
		this.executionId = run.fields.id;
		/** @type {string} */
		this.task = run.fields.task;
		/** @type {number} */
		this.attempt = Number(run.fields.attempt);
		/** @type {string} */
		this.queue = run.queue;
	}

	/**
	 * A child as run.js has it.
	 * @param {string} what
	 * @param {any} task
	 * @param {unknown} payload
	 * @param {any} [options]
	 */
	#child(what, task, payload, options = {}) {
		checkOptions(what, options, CHILD_OPTIONS);
		return { ...options, task: task?.name, queue: options.queue ?? namedQueue(task), payload, known: this.#run.known(task) };
	}

	/* ---- what is remembered */

	/** @param {any} key @param {any} [fn] @returns {Promise<any>} */
	step(key, fn) {
		return typeof key === "function" ? this.#run.step(this.#run.turn(), key) : this.#run.step(key, fn);
	}

	/** @param {any} key @param {any} [duration] @returns {Promise<void>} */
	sleep(key, duration) {
		return duration === undefined ? this.#run.sleep(this.#run.turn(), key) : this.#run.sleep(key, duration);
	}

	/** @param {any[]} given  a key (or none), a task, its payload, and options @returns {Promise<any>} */
	invoke(...given) {
		const key = typeof given[0] === "string" ? given.shift() : undefined;
		const [task, payload, options] = given;
		const child = () => this.#child("ctx.invoke", task, payload, key === undefined ? options : { key, ...options });
		return this.#run.invoke("ctx.invoke", () => [child()], (found) => results(found)[0]);
	}

	/** @param {readonly any[]} children @param {{ returnErrors?: boolean }} [options] @returns {Promise<any>} */
	invokeAll(children, options = {}) {
		return this.#run.invoke("ctx.invokeAll", () => {
			checkOptions("ctx.invokeAll", options, ["returnErrors"]);
			if (!Array.isArray(children)) {
				throw new TypeError("pgconductor: ctx.invokeAll: not an array of { task, payload }");
			}
			return children.map(({ task, payload, ...rest }) => this.#child("ctx.invokeAll", task, payload, rest));
		}, options.returnErrors ? resultsAndErrors : results);
	}

	/** @param {any} key @param {any} [event] @returns {Promise<any>} */
	waitForEvent(key, event) {
		const what = "ctx.waitForEvent";
		const given = () => typeof key === "string" ? { key, ...event } : key;
		return this.#run.waitForAll(what, () => [eventOf(what, given())], (found) => results(found)[0]);
	}

	/** @param {readonly any[]} events @param {any} [options] @returns {Promise<any[]>} */
	waitForAll(events, options = {}) {
		return this.#run.waitForAll("ctx.waitForAll", () => {
			checkOptions("ctx.waitForAll", options, ["timeout", "returnErrors"]);
			return eventsOf("ctx.waitForAll", events, options);
		}, options.returnErrors ? resultsAndErrors : results);
	}

	/** @param {any[]} given  a key (or none), what is waited for, and options @returns {Promise<any>} */
	waitForAny(...given) {
		const key = typeof given[0] === "string" ? given.shift() : undefined;
		const [events, options = {}] = given;
		return this.#run.waitForAny("ctx.waitForAny", key, () => {
			checkOptions("ctx.waitForAny", options, ["timeout"]);
			return eventsOf("ctx.waitForAny", events, options);
		});
	}

	/** @param {string} key @param {any} sql @param {(tx: any) => unknown} fn @returns {Promise<any>} */
	transaction(key, sql, fn) {
		return this.#run.transaction(key, sql, fn);
	}

	/* ---- what is asked for */

	/** @param {any} task @param {unknown} payload @param {Record<string, unknown>} [options] @returns {Promise<string>} */
	start(task, payload, options = {}) {
		return this.#run.call("ctx.start", "invoke", () => {
			if (typeof task?.name !== "string") {
				throw new TypeError("pgconductor: ctx.start: a task, or { name }, is needed");
			}
			const given = { ...options, queue: options.queue ?? namedQueue(task) };
			return this.#checked(this.#run.known(task)?.payload, task.name, payload, (text) => callText(task.name, text, given));
		});
	}

	/** @param {string} id @param {{ reason?: string }} [options] @returns {Promise<boolean>} */
	cancel(id, { reason } = {}) {
		return this.#run.call("ctx.cancel", "cancel", () => JSON.stringify({ id: String(id), reason }));
	}

	/** @param {string} event @param {unknown} [payload] @returns {Promise<string>} */
	emit(event, payload) {
		return this.#run.call("ctx.emit", "emit", () => {
			if (typeof event !== "string") {
				throw new TypeError("pgconductor: ctx.emit: the name of an event is needed");
			}
			return this.#checked(this.#run.schemas.get(event), event, payload, (text) => `{"event":${toJSON(event)},"payload":${text}}`);
		});
	}

	/**
	 * What `args` makes of a payload that is as its schema wants it.
	 * @param {import("./standard.js").StandardSchema | undefined} schema
	 * @param {string} what
	 * @param {unknown} payload
	 * @param {(text: string) => string} args
	 */
	#checked(schema, what, payload, args) {
		const text = checkedText(schema, what, toJSON(payload));
		return typeof text === "string" ? args(text) : text.then(args);
	}

	/** @param {any} ref @param {string} name @param {any} options @param {unknown} [payload] @returns {Promise<Date | null>} */
	schedule(ref, name, options, payload) {
		return this.#run.call("ctx.schedule", "schedule", () => {
			const { options: given, ...task } = scheduleOf("ctx.schedule", ref, name, options);
			const schema = payload === undefined ? undefined : this.#run.known(ref)?.payload;
			return this.#checked(schema, task.task, payload, (text) => (
				`${JSON.stringify({ ...task, ...given }).slice(0, -1)},"payload":${text}}`));
		}, dateOf);
	}

	/** @param {any} ref @param {string} name @returns {Promise<boolean>} */
	unschedule(ref, name) {
		return this.#run.call("ctx.unschedule", "unschedule", () => JSON.stringify(scheduled("ctx.unschedule", ref, name)));
	}

	/** @returns {Promise<void>} */
	checkpoint() {
		return this.#run.checkpoint();
	}

	/** @param {number | null} [percent] @param {string} [note] */
	progress(percent, note) {
		this.#run.progress(percent, note);
	}

	/* ---- what there is to know */

	get signal() {
		if (this.#controller === undefined) {
			const controller = this.#controller = new AbortController();
			if (this.#run.cancelled !== undefined) {
				controller.abort(this.#run.cancelled);
			}
			this.#run.onCancel = (reason) => controller.abort(reason);
		}
		return this.#controller.signal;
	}

	get logger() {
		return this.#logger ??= this.#run.logger;
	}

	/** When its time is over; null when it has as long as it needs. */
	get deadline() {
		const ms = this.#run.fields.deadline_ms;
		return ms === undefined ? null : new Date(this.#run.started + Number(ms));
	}

	/** What the caller attached, or null. */
	get metadata() {
		const { metadata } = this.#run.fields;
		return metadata === undefined ? null : JSON.parse(metadata);
	}

	/** The payload exactly as it is stored: JSON.parse does not keep integers above 2 ** 53, nor 12.50. */
	get payloadText() {
		return this.#run.fields.event.payload;
	}

	/** W3C traceparent of whoever invoked it, or null. */
	get trace() {
		return this.#run.fields.trace ?? null;
	}

	/** Names this run, in whatever writes for it. */
	get token() {
		return this.#run.fields.token;
	}
}

const RESERVED = new Set([...Object.getOwnPropertyNames(Context.prototype), "executionId", "task", "attempt", "queue",
	...PROMISED]);

/** What the context of one execution has, and that of several has not. */
const LASTING = ["step", "sleep", "invoke", "invokeAll", "start", "waitForEvent", "emit", "schedule", "unschedule", "cancel",
	"checkpoint", "transaction", "progress"];

/** The context of several executions that one call of a function has. */
export class BatchContext {
	#runs;
	#session;
	/** @type {AbortController | undefined} */
	#controller;
	/** @type {Logger | undefined} */
	#logger;

	/** @param {import("./session.js").Session} session @param {string} task @param {readonly Run[]} runs */
	constructor(session, task, runs) {
		this.#session = session;
		this.#runs = runs;
		this.task = task;
		this.queue = session.queue;
		/** In the order of the events. @type {string[]} */
		this.executionIds = runs.map((run) => run.fields.id);
	}

	/** Aborts when all of them are to stop. */
	get signal() {
		if (this.#controller === undefined) {
			const controller = this.#controller = new AbortController();
			const look = () => {
				if (this.#runs.every((run) => run.cancelled !== undefined)) {
					controller.abort(this.#runs[0]?.cancelled);
				}
			};
			for (const run of this.#runs) {
				run.onCancel = look;
			}
			look();
		}
		return this.#controller.signal;
	}

	/** Its lines are of the process: they are about several executions. */
	get logger() {
		return this.#logger ??= this.#session.loggerOfTask(this.task);
	}
}

for (const name of LASTING) {
	Object.defineProperty(BatchContext.prototype, name, { value: () => {
		throw new TypeError(`pgconductor: ctx.${name}: a batch has no steps, and cannot wait: make a task of its own of what lasts`);
	} });
}

/**
 * A BatchContext with what a conductor has added to its Context.
 * @param {typeof Context} Extended
 * @returns {typeof BatchContext}
 */
export function batchContext(Extended) {
	class ExtendedContext extends BatchContext {}
	if (Extended !== Context) {
		const { constructor, ...own } = Object.getOwnPropertyDescriptors(Extended.prototype);
		Object.defineProperties(ExtendedContext.prototype, own);
	}
	return ExtendedContext;
}

/**
 * A Context which also has the properties of the conductor's own context.
 * @param {object} own
 * @returns {typeof Context}
 */
export function extendContext(own) {
	class ExtendedContext extends Context {}
	for (const name of Reflect.ownKeys(own)) {
		if (RESERVED.has(/** @type {string} */ (name))) {
			throw new TypeError(`pgconductor: context: ${String(name)}: the context of a task has this name itself`);
		}
		const property = /** @type {PropertyDescriptor} */ (Object.getOwnPropertyDescriptor(own, name));
		Object.defineProperty(ExtendedContext.prototype, name, property);
	}
	return ExtendedContext;
}
