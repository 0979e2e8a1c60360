/*
 * What an execution has saved, and which keys its run has named.
 */
import { NonRetryableError } from "./errors.js";

/**
 * @typedef {object} Saved                 what stands under a key
 * @property {string} [result]             JSON; null when error is left out too
 * @property {string} [error]              JSON
 */

/** @param {string} why @param {string} code @param {unknown} [cause] */
export function forGood(why, code, cause) {
	return new NonRetryableError(why, { code, cause });
}

/** @param {Saved} saved */
export function resultOf(saved) {
	return saved.result === undefined ? null : JSON.parse(saved.result);
}

export class Journal {
	#task;
	/** @type {Map<string, Saved>} */
	#saved;
	/** Keys named in this run. @type {Set<string>} */
	#used = new Set();
	/** Keys given by turn. */
	#unnamed = 0;

	/** @param {Record<string, any>} fields  of RUN */
	constructor({ task, steps }) {
		this.#task = task;
		this.#saved = new Map(steps?.map((/** @type {any} */ step) => [step.key, step]));
	}

	/** The key of what has none: by its turn, which is the same in each run. */
	turn() {
		return `${this.#task}#${++this.#unnamed}`;
	}

	/**
	 * What is saved under a key that is named now, for the first time in this run.
	 * @param {string} key
	 */
	use(key) {
		if (this.#used.has(key)) {
			throw forGood(`the key ${JSON.stringify(key)} is used twice in one run: each stands for one step, sleep or child`,
				"nondeterminism");
		}
		this.#used.add(key);
		return this.#saved.get(key);
	}

	/** Is something saved under this key? @param {string} key */
	has(key) {
		return this.#saved.has(key);
	}

	/** It may be named again. @param {string} key */
	release(key) {
		this.#used.delete(key);
	}

	/** Keys that were named, and that nothing was saved under when the run began. */
	get fresh() {
		return [...this.#used].filter((key) => !this.#saved.has(key));
	}
}
