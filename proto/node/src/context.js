/*
 * What a task's function is given beside its event.
 */
import { Cancelled } from "./errors.js";

/** @typedef {import("./session.js").Session} Session */
/** @typedef {import("../index.d.ts").Logger} Logger */

/** Names that Conductor.create's `context` may not use: those of today, and those that are promised. */
const PROMISED = ["step", "sleep", "invoke", "invokeAll", "waitForEvent", "emit", "schedule", "unschedule", "cancel",
	"checkpoint", "event", "progress"];

/** The context of one execution. What takes time to make is made when it is asked for. */
export class Context {
	#session;
	#exec;
	#run;
	#started = Date.now();
	/** @type {AbortController | undefined} */
	#controller;
	/** @type {Cancelled | undefined} */
	#cancelled;
	/** @type {Logger | undefined} */
	#logger;

	/**
	 * @param {Session} session
	 * @param {import("./codec.js").Integer} exec
	 * @param {Record<string, any>} run  the fields of RUN
	 */
	constructor(session, exec, run) {
		this.#session = session;
		this.#exec = exec;
		this.#run = run;
		/** @type {string} */
		this.executionId = run.id;
		/** @type {string} */
		this.task = run.task;
		/** @type {number} */
		this.attempt = Number(run.attempt);
		/** @type {string} */
		this.queue = session.queue;
	}

	get signal() {
		if (this.#controller === undefined) {
			this.#controller = new AbortController();
			if (this.#cancelled !== undefined) {
				this.#controller.abort(this.#cancelled);
			}
		}
		return this.#controller.signal;
	}

	get logger() {
		return this.#logger ??= this.#session.loggerOf(this.#exec);
	}

	/** When its time is over; null when it has as long as it needs. */
	get deadline() {
		const ms = this.#run.deadline_ms;
		return ms === undefined ? null : new Date(this.#started + Number(ms));
	}

	/** What the caller attached, or null. */
	get metadata() {
		return this.#run.metadata === undefined ? null : JSON.parse(this.#run.metadata);
	}

	/** The payload exactly as it is stored: JSON.parse does not keep integers above 2 ** 53, nor 12.50. */
	get payloadText() {
		return this.#run.event.payload;
	}

	/** W3C traceparent of whoever invoked it, or null. */
	get trace() {
		return this.#run.trace ?? null;
	}

	/** Names this run, in whatever writes for it. */
	get token() {
		return this.#run.token;
	}

	/**
	 * Asks the function to stop. The first reason is the one that counts.
	 * @param {Context} context
	 * @param {string} reason
	 */
	static cancel(context, reason) {
		if (context.#cancelled === undefined) {
			context.#cancelled = new Cancelled(reason);
			context.#controller?.abort(context.#cancelled);
		}
	}

	/** Why it was asked to stop; undefined if it was not. @param {Context} context */
	static cancelled(context) {
		return context.#cancelled?.reason;
	}
}

const RESERVED = new Set([...Object.getOwnPropertyNames(Context.prototype), "executionId", "task", "attempt", "queue",
	...PROMISED]);

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
