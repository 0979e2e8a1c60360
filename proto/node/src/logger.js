/*
 * ctx.logger: lines that travel to the server's log as LOG, or to stderr where nobody takes them.
 */
import { inspect } from "node:util";
import { dataOf } from "./failure.js";

/**
 * @typedef {import("../index.d.ts").Logger} Logger
 * @typedef {"debug" | "info" | "warn" | "error"} Level
 * @typedef {(level: Level, message: string, fields: string | undefined) => void} Sink
 */

/** @param {unknown} message */
function line(message) {
	return typeof message === "string" ? message : inspect(message, { breakLength: Infinity });
}

/**
 * The fields as a JSON object, whatever they are.
 * @param {unknown} fields
 */
function object(fields) {
	if (fields === undefined || fields === null) {
		return undefined;
	}
	if (fields instanceof Error) {
		return dataOf({ type: fields.constructor.name, message: fields.message, stack: fields.stack });
	}
	const text = dataOf(fields);
	return text === undefined || text.startsWith("{") ? text : `{"value":${text}}`;
}

/** @implements {Logger} */
export class SinkLogger {
	#sink;

	/** @param {Sink} sink */
	constructor(sink) {
		this.#sink = sink;
	}

	/** @param {unknown} message @param {unknown} [fields] */
	debug(message, fields) {
		this.#sink("debug", line(message), object(fields));
	}

	/** @param {unknown} message @param {unknown} [fields] */
	info(message, fields) {
		this.#sink("info", line(message), object(fields));
	}

	/** @param {unknown} message @param {unknown} [fields] */
	warn(message, fields) {
		this.#sink("warn", line(message), object(fields));
	}

	/** @param {unknown} message @param {unknown} [fields] */
	error(message, fields) {
		this.#sink("error", line(message), object(fields));
	}
}

/**
 * The program's own logger, with what a line is about among its fields.
 * @param {Logger} logger
 * @param {object} about
 * @returns {Logger}
 */
export function carrying(logger, about) {
	/** @param {unknown} [fields] */
	const all = (fields) => fields instanceof Error ? { error: fields, ...about }
		: typeof fields === "object" ? { ...fields, ...about } : fields === undefined ? about : { value: fields, ...about };
	return {
		debug: (message, fields) => logger.debug(message, all(fields)),
		info: (message, fields) => logger.info(message, all(fields)),
		warn: (message, fields) => logger.warn(message, all(fields)),
		error: (message, fields) => logger.error(message, all(fields)),
	};
}

/** Where there is nobody to send LOG to. @type {Sink} */
export function toStderr(level, message, fields) {
	process.stderr.write(`${level}: ${message}${fields === undefined ? "" : ` ${fields}`}\n`);
}
