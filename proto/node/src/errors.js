/*
 * What a task may throw, and what the client throws.
 */
import { milliseconds } from "./duration.js";

/** @typedef {{ data?: unknown, code?: string, cause?: unknown }} FailureOptions */

/** Of everything below. */
export class PgconductorError extends Error {
	/** @param {string} [message] @param {ErrorOptions} [options] */
	constructor(message, options) {
		super(message, options);
		this.name = new.target.name;
	}
}

/* ---- thrown by tasks */

/** The execution fails for good: no further attempt will help. `data` is stored with it, as JSON. */
export class NonRetryableError extends PgconductorError {
	/** @param {string} [message] @param {FailureOptions} [options] */
	constructor(message = "failed for good", options = {}) {
		super(message, options);
		this.data = options.data;
		this.code = options.code ?? "app";
	}
}

/** The attempt failed, and the next one is to wait so long, whatever the task's backoff says. */
export class RetryAfter extends PgconductorError {
	/**
	 * @param {import("../index.d.ts").Duration | Date} delay
	 * @param {string} [message]
	 * @param {Omit<FailureOptions, "code">} [options]
	 */
	constructor(delay, message, options = {}) {
		const ms = delay instanceof Date ? Math.max(0, delay.getTime() - Date.now()) : milliseconds(delay);
		super(message ?? `to be tried again after ${ms} ms`, options);
		this.afterMs = ms;
		this.data = options.data;
	}
}

/** The reason of `ctx.signal`: `reason` is "cancelled", "timeout", "lost", or what the caller of cancel gave. */
export class Cancelled extends PgconductorError {
	/** @param {string} reason */
	constructor(reason) {
		super(`the execution is to stop: ${reason}`);
		this.reason = reason;
	}
}

/**
 * A child has failed for good, or was cancelled. Uncaught it fails its parent for good, too. `code`, `type` and `data` are
 * those of the child's error.
 */
export class ChildFailed extends PgconductorError {
	/** @param {string} [message] @param {{ code?: string, type?: string, data?: unknown, key?: string, task?: string }} [options] */
	constructor(message = "failed", { code = "app", type, data, key = "", task = "" } = {}) {
		super(message);
		this.code = code;
		this.type = type;
		this.data = data;
		this.key = key;
		this.task = task;
	}

	/** @param {any} error  as it is saved @param {string} key @param {string | undefined} task */
	static of(error, key, task) {
		const Class = error?.code === "timeout" ? ChildTimeout : ChildFailed;
		return new Class(error?.message, { ...error, key, task });
	}
}

/** A child was not finished in the time that was given to it: it was cancelled. */
export class ChildTimeout extends ChildFailed {}

/** An event cannot be waited for. */
export class WaitFailed extends PgconductorError {
	/** @param {string} [message] @param {{ code?: string, key?: string, event?: string }} [options] */
	constructor(message = "failed", { code = "app", key = "", event = "" } = {}) {
		super(message);
		this.code = code;
		this.key = key;
		this.event = event;
	}

	/** @param {any} error  as it is saved @param {string} key @param {string} event */
	static of(error, key, event) {
		return error?.code === "timeout"
			? new EventTimeout(`${event} has not come in time`, { ...error, key, event })
			: new WaitFailed(error?.message, { ...error, key, event });
	}
}

/** An event has not come in the time that was given to it. */
export class EventTimeout extends WaitFailed {}

/* ---- thrown by the client */

/** PostgreSQL refused a call; its own error is the `cause`. */
export class ClientError extends PgconductorError {
	/** @param {string} [message] @param {{ cause?: any }} [options] */
	constructor(message, options) {
		super(message, options);
		/** @type {string | undefined} */
		this.code = options?.cause?.code;
		/** @type {string | undefined} */
		this.hint = options?.cause?.hint;
	}
}

/** No program and no configuration ever declared this task: a slip of the pen, or nothing was deployed yet. */
export class UndeclaredTask extends ClientError {}
/** The payload is not JSON that PostgreSQL takes; or it is not what its schema wants, as `issues` say. */
export class BadPayload extends ClientError {
	/** @param {string} [message] @param {{ cause?: any, issues?: readonly import("../index.d.ts").Issue[] }} [options] */
	constructor(message, options) {
		super(message, options);
		this.issues = options?.issues;
	}
}
/** The payload is longer than `max_payload` of the server's configuration. */
export class PayloadTooLarge extends ClientError {}
/** Not the name of a queue. */
export class BadQueue extends ClientError {}
/** No time at which something can run. */
export class BadTime extends ClientError {}
/** An option that this version of the server does not have yet. */
export class NotAvailable extends ClientError {}
/** The name or an option of a task is not as it should be. */
export class BadTask extends ClientError {}
/** Another argument is not as it should be. */
export class BadArgument extends ClientError {}
/** The expression, the time zone or an option of a schedule is not as it should be; or the schedule is a program's. */
export class BadSchedule extends ClientError {}
/** Not the name of an event. */
export class BadEvent extends ClientError {}
/** The task is started by its triggers alone: it has none that is `{ invocable: true }`. */
export class NotInvocable extends ClientError {}
/** The database has no schema pgconductor, or not this version of it. */
export class NotInstalled extends ClientError {}

/* ---- thrown by wait */

/** What was waited for has failed for good, or was cancelled: `result` says how. */
export class ExecutionFailed extends PgconductorError {
	/** @param {string} id @param {any} result */
	constructor(id, result) {
		const what = [result.error?.type, result.error?.message].filter(Boolean).join(": ");
		super(`execution ${id} ${result.state}${what === "" ? "" : `: ${what}`}`);
		this.id = id;
		this.result = result;
	}
}

/** There is no such execution, or its history is gone. */
export class UnknownExecution extends PgconductorError {}
/** It has not finished in time. */
export class TimeoutError extends PgconductorError {}
/** The result is not what the schema of its task says. */
export class BadResult extends PgconductorError {
	/** @param {string} message @param {{ issues: readonly import("../index.d.ts").Issue[] }} options */
	constructor(message, { issues }) {
		super(message);
		this.issues = issues;
	}
}

/** @type {Record<string, typeof ClientError>} */
const BY_SQLSTATE = {
	PC001: UndeclaredTask,
	PC002: BadPayload,
	PC003: PayloadTooLarge,
	PC004: BadQueue,
	PC005: BadTime,
	PC006: NotAvailable,
	PC008: BadTask,
	PC009: BadArgument,
	PC012: BadSchedule,
	PC013: BadEvent,
	PC014: NotInvocable,
	bad_payload: BadPayload,
	"3F000": NotInstalled,
	"42P01": NotInstalled,
	"42883": NotInstalled,
};

/** The error for a call of a task that was refused. @param {any} error  an object of code and message */
export function refusal(error) {
	const cause = Object.assign(new Error(error?.message ?? "refused"), { code: error?.code });
	return new (BY_SQLSTATE[error?.code] ?? ClientError)(cause.message, { cause });
}

/**
 * The error to throw for one of the driver's: what is not ours to explain stays what it is.
 * @param {any} error
 */
export function explain(error) {
	const Class = BY_SQLSTATE[error?.code];
	if (Class === undefined) {
		return error;
	}
	const advice = Class === NotInstalled ? "; install the schema with `pgconductor migrate`, or start the server once" : "";
	return new Class(error.message + advice, { cause: error });
}
