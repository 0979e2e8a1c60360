/*
 * JSON as it stands in PostgreSQL: text in, text out.
 */

/** Text that is JSON already: as a task's result, or as a payload, it stays exactly as it is. */
export class RawJSON {
	/** @param {string} text */
	constructor(text) {
		if (typeof text !== "string") {
			throw new TypeError("RawJSON: not a string");
		}
		this.text = text;
	}

	/** @returns {never} */
	toJSON() {
		throw new TypeError("RawJSON stands for a whole payload or result, not for a part of one");
	}

	toString() {
		return this.text;
	}
}

/** How that looks in the text what JSON.stringify writes without a word: NaN as null, bytes and maps as objects. */
const SUSPECT = /null|\{\}|\{"0":|"type":"Buffer"/;

/**
 * A replacer that changes nothing.
 * @this {any}
 * @param {string} key
 * @param {unknown} value
 */
function refuse(key, value) {
	const original = this[key];
	if (typeof original === "number" && !Number.isFinite(original)) {
		throw new TypeError(`${original} is not JSON`);
	}
	if (ArrayBuffer.isView(original) || original instanceof ArrayBuffer || original instanceof Map ||
		original instanceof Set) {
		throw new TypeError(`${original.constructor.name} is not JSON`);
	}
	return value;
}

/**
 * The value as JSON text; undefined is null. TypeError (or RangeError) for what is not JSON: NaN, bytes, a bigint, a
 * function, a Map, a circle.
 * @param {unknown} value
 * @returns {string}
 */
export function toJSON(value) {
	if (value === undefined) {
		return "null";
	}
	if (value instanceof RawJSON) {
		if (value.text.includes("\0")) {
			throw new TypeError("RawJSON: a NUL character is not JSON");
		}
		return value.text;
	}
	const text = JSON.stringify(value);
	if (text === undefined) {
		throw new TypeError(`a ${typeof value} is not JSON`);
	}
	if (value !== null && SUSPECT.test(text)) {
		JSON.stringify(value, refuse);
	}
	return text;
}
