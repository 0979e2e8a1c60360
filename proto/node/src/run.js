/*
 * One run of an execution: what it has saved, what it does, and what it waits for.
 *
 * A function runs from its beginning each time; what is in the journal is not done again. The run is over when the function
 * has ended, and when it suspends: then the function is dropped, in the middle of its await, and whatever it still asks for
 * never settles. Nothing here may keep a run that is over, or a hundred thousand sleeps would fill the memory.
 */
import { Buffer } from "node:buffer";
import { milliseconds } from "./duration.js";
import { Cancelled, ChildFailed, PgconductorError, WaitFailed, refusal } from "./errors.js";
import { clean } from "./failure.js";
import { Journal, forGood, resultOf } from "./journal.js";
import { toJSON } from "./json.js";
import { begin, canBegin, rowsOf } from "./drivers.js";
import { checkedText, delivered, received } from "./standard.js";
import { checkKey, childWait } from "./waits.js";

/**
 * @typedef {import("./session.js").Session} Session
 * @typedef {import("./waits.js").Wait} Wait
 * @typedef {import("./waits.js").EventWait} EventWait
 * @typedef {import("./journal.js").Saved} Saved
 *
 * @typedef {{ resolve: (value: any) => void, reject: (error: unknown) => void }} Settle
 */

const NOTE_LENGTH = 250;
/** Milliseconds for which a step may keep a run from suspending before somebody is told. */
const HELD_UP = 10_000;

/** What whoever goes on in a run that is over gets. @returns {Promise<never>} */
function never() {
	return new Promise(() => {});
}

function ignore() {}

/**
 * What is thrown is the promise's, too.
 * @template T
 * @param {() => T | Promise<T>} fn
 * @returns {Promise<T>}
 */
function promised(fn) {
	try {
		return Promise.resolve(fn());
	} catch (error) {
		return Promise.reject(error);
	}
}

/** What a step's function returned, as every later run will find it. @param {unknown} value @param {string} text */
function asSaved(value, text) {
	return typeof value === "object" && value !== null ? JSON.parse(text) : value === undefined ? null : value;
}

export class Run {
	#session;
	/** @type {Journal | undefined} */
	#journal;
	/** Steps on their way, by key. @type {Map<string, Settle>} */
	#saving = new Map();
	/** @type {Map<number, Settle>} */
	#calls = new Map();
	#lastCall = 0;
	/** What is missing before it can go on. @type {Wait[]} */
	#waits = [];
	/** One of them is enough for something. */
	#any = false;
	/** What those who wait for it get: it never settles but when the run is to stop. @type {Promise<never> | undefined} */
	#halt;
	/** @type {(error: unknown) => void} */
	#stop = ignore;
	/** Steps that are being done or saved, and calls: it does not suspend meanwhile. @type {Set<Promise<any>>} */
	#open = new Set();
	/** At a checkpoint of a handler that is to end. */
	#leaving = false;
	/** The step whose function is just being called. @type {string | undefined} */
	#calling;
	/** @type {NodeJS.Timeout | undefined} */
	#heldUp;

	/** That it came with, and whose function it shares: how many of it are not over. @type {{ left: number } | undefined} */
	batch;
	/** Its last frame is sent: whatever its function still does, nobody hears of it. */
	over = false;
	/** That was SUSPEND. */
	suspended = false;
	/** Why it is to stop. @type {Cancelled | undefined} */
	cancelled;
	/** What was wrong with its keys: then it has failed, whatever it returns. @type {import("./errors.js").NonRetryableError | undefined} */
	fault;
	/** Called when it is to stop. @type {((reason: Cancelled) => void) | undefined} */
	onCancel;

	/**
	 * @param {Session} session
	 * @param {import("./codec.js").Integer} exec
	 * @param {Record<string, any>} fields  of RUN
	 */
	constructor(session, exec, fields) {
		this.#session = session;
		this.exec = exec;
		this.fields = fields;
		this.started = Date.now();
	}

	get queue() {
		return this.#session.queue;
	}

	get logger() {
		return this.#session.loggerOf(this);
	}

	/** Of the events that the program knows. */
	get schemas() {
		return this.#session.schemas;
	}

	/** What is known of a task. @param {any} ref */
	known(ref) {
		return this.#session.known(ref);
	}

	/* ---- keys */

	/** Made when it is needed: most runs save nothing. */
	get #keys() {
		return this.#journal ??= new Journal(this.fields);
	}

	/** The key of what has none. */
	turn() {
		return this.#keys.turn();
	}

	/**
	 * What is saved under a key that is named now, for the first time in this run.
	 * @param {string} key
	 */
	#use(key) {
		try {
			return this.#keys.use(key);
		} catch (error) {
			throw this.fault ??= /** @type {any} */ (error);
		}
	}

	/**
	 * Whether it may go on with that. Throws when it is to stop.
	 * @param {string} what
	 * @param {string} capability
	 */
	#mayGoOn(what, capability) {
		if (this.over) {
			this.#session.strayed(this, what);
			return false;
		}
		const stop = this.fault ?? this.cancelled;
		if (stop !== undefined) {
			throw stop;
		}
		if (!this.#session.can(capability)) {
			throw new PgconductorError(`${what}: this version of pgconductor does not have it`);
		}
		return true;
	}

	/* ---- steps */

	/** @param {string} key @param {() => unknown} fn @returns {Promise<any>} */
	step(key, fn) {
		return promised(() => {
			if (!this.#mayGoOn("ctx.step", "step")) {
				return never();
			}
			checkKey("ctx.step", key);
			if (typeof fn !== "function") {
				throw new TypeError(`pgconductor: ctx.step: ${key}: a function is needed`);
			}
			const saved = this.#use(key);
			return saved !== undefined ? resultOf(saved) : this.#busily(key, async () => {
				const value = await this.#call(key, fn);
				const text = this.#text(key, value);
				await this.#save(key, text);
				return asSaved(value, text);
			});
		});
	}

	/**
	 * Something that the run has to wait for before it suspends. What fails may be tried again under its key.
	 * @template T
	 * @param {string | undefined} key
	 * @param {() => Promise<T>} work
	 * @returns {Promise<T>}
	 */
	#busily(key, work) {
		const attempt = async () => {
			try {
				return await work();
			} catch (error) {
				if (key !== undefined) {
					this.#keys.release(key);
				}
				throw error;
			} finally {
				this.#open.delete(whole);
				this.#suspendSoon();
			}
		};
		const whole = attempt();
		this.#open.add(whole);
		return whole;
	}

	/** @param {string} key @param {() => unknown} fn */
	#call(key, fn) {
		this.#calling = key;
		try {
			return fn();
		} finally {
			this.#calling = undefined;
		}
	}

	/** The result of a step as JSON. @param {string} key @param {unknown} value */
	#text(key, value) {
		let text;
		try {
			text = toJSON(value);
		} catch (cause) {
			const why = /** @type {Error} */ (cause).message;
			throw forGood(`the result of step ${JSON.stringify(key)} is not JSON: ${why}`, "bad_result", cause);
		}
		this.#checkLength(text, `the result of step ${JSON.stringify(key)}`);
		return text;
	}

	/** @param {string} text @param {string} what */
	#checkLength(text, what) {
		const max = this.#session.maxPayload;
		// A character has three bytes at most.
		const length = text.length > max / 3 ? Buffer.byteLength(text) : 0;
		if (length > max) {
			throw forGood(`${what} is ${length} bytes long; the limit is ${max}`, "oversize");
		}
	}

	/** @param {string} key @param {string} text @returns {Promise<void>} */
	#save(key, text) {
		if (this.over) {
			return never();
		}
		if (this.cancelled !== undefined) {
			throw this.cancelled;
		}
		this.#session.send("STEP", this.exec, { key, result: text === "null" ? undefined : text });
		return new Promise((resolve, reject) => {
			this.#saving.set(key, { resolve, reject });
		});
	}

	/** @param {string} key */
	onStepOk(key) {
		const settle = this.#saving.get(key);
		this.#saving.delete(key);
		settle?.resolve(undefined);
	}

	/**
	 * A step and what else is written in a database transaction, committed together. It is not sent: the function
	 * save_step of the schema is the one that saves it.
	 * @param {string} key
	 * @param {any} sql                    of postgres.js, or a pool of pg
	 * @param {(tx: any) => unknown} fn
	 * @returns {Promise<any>}
	 */
	transaction(key, sql, fn) {
		return promised(() => {
			if (!this.#mayGoOn("ctx.transaction", "step")) {
				return never();
			}
			checkKey("ctx.transaction", key);
			if (!canBegin(sql) || typeof fn !== "function") {
				throw new TypeError(`pgconductor: ctx.transaction: ${key}: a postgres.js instance (not a transaction of it) ` +
					"or a pool of pg, and a function, are needed");
			}
			const saved = this.#use(key);
			return saved !== undefined ? resultOf(saved) : this.#busily(key, () => this.#transact(key, sql, fn));
		});
	}

	/** @param {string} key @param {any} sql @param {(tx: any) => unknown} fn @returns {Promise<any>} */
	async #transact(key, sql, fn) {
		let stale = false;
		try {
			return await begin(sql, async (tx) => {
				const value = await this.#call(key, () => fn(tx));
				const text = this.#text(key, value);
				try {
					await rowsOf(tx, "select pgconductor.save_step($1::text::bigint, $2::text, $3::text, $4::text::json)::text",
						[this.fields.id, this.fields.token, key, text === "null" ? null : text]);
				} catch (error) {
					const { code } = /** @type {any} */ (error);
					stale = code === "PC010" || code === "PC011";
					throw error;
				}
				return asSaved(value, text);
			});
		} catch (error) {
			if (!stale) {
				throw error;
			}
		}
		if (this.cancelled !== undefined) {
			throw this.cancelled;
		}
		// Somebody else runs it, or the step was committed and nobody heard of that: whoever runs it next knows.
		if (!this.over) {
			this.#session.suspend(this, []);
		}
		return never();
	}

	/* ---- waiting */

	/** @param {string} key @param {import("../index.d.ts").Duration} duration @returns {Promise<void>} */
	sleep(key, duration) {
		return promised(() => this.#wait("ctx.sleep", [{ key, timer_ms: milliseconds(duration) }], ignore));
	}

	/**
	 * What `pick` makes of the outcomes, which are in their order.
	 * @param {string} what
	 * @param {() => readonly any[]} items  { key, task, payload, queue, priority, timeout, known }
	 * @param {(found: { result?: any, error?: ChildFailed }[]) => any} pick
	 * @returns {Promise<any>}
	 */
	invoke(what, items, pick) {
		return promised(() => {
			const children = items();
			const waits = children.map((item) => {
				const wait = childWait(what, { ...item, key: item.key ?? this.turn() });
				this.#checkLength(wait.payload ?? "", `${what}: the payload of ${wait.task}`);
				return wait;
			});
			const wait = () => this.#wait(what, waits, (found) => this.#outcomes(found, waits, children, pick));
			const checks = this.over ? [] : waits.map(({ key, task, payload = "null" }, i) => (
				this.#keys.has(key) ? payload : checkedText(children[i].known?.payload, String(task), payload)));
			return checks.some((check) => typeof check !== "string")
				? this.#busily(undefined, () => Promise.all(checks)).then(wait) : wait();
		});
	}

	/**
	 * What `pick` makes of the outcomes of children, as their schemas have them.
	 * @param {Saved[]} found
	 * @param {Wait[]} waits
	 * @param {readonly any[]} children
	 * @param {(found: { result?: any, error?: any }[]) => any} pick
	 */
	#outcomes(found, waits, children, pick) {
		let isLater = false;
		const outcomes = found.map((saved, i) => {
			const { key, task = "" } = waits[i];
			if (saved.error !== undefined) {
				return { error: ChildFailed.of(JSON.parse(saved.error), key, task) };
			}
			try {
				const result = received(children[i].known?.returns, task, resultOf(saved), key);
				if (!(result instanceof Promise)) {
					return { result };
				}
				isLater = true;
				return result.then((later) => ({ result: later }), (error) => ({ error }));
			} catch (error) {
				return { error };
			}
		});
		return isLater ? Promise.all(outcomes).then(pick) : pick(/** @type {any} */ (outcomes));
	}

	/** @param {EventWait[]} events @returns {{ waits: Wait[], names: string[] }} */
	#events(events) {
		return {
			waits: events.map(({ name, key, ...rest }) => /** @type {Wait} */ ({ key: key ?? this.turn(), ...rest })),
			names: events.map(({ name }) => name),
		};
	}

	/**
	 * What came.
	 * @param {Saved} saved
	 * @param {Wait} wait
	 * @param {string} name
	 * @returns {Promise<{ result?: any, error?: Error }>}
	 */
	async #payload(saved, wait, name) {
		if (saved.error !== undefined) {
			return { error: WaitFailed.of(JSON.parse(saved.error), wait.key, name) };
		}
		const schema = wait.event === undefined ? undefined : this.schemas.get(wait.event);
		return { result: await delivered(schema, name, resultOf(saved), { event: name }) };
	}

	/**
	 * What `pick` makes of their payloads, which are in their order, once all are over.
	 * @param {string} what
	 * @param {() => EventWait[]} events
	 * @param {(found: { result?: any, error?: Error }[]) => any} pick
	 * @returns {Promise<any>}
	 */
	waitForAll(what, events, pick) {
		return promised(() => {
			const { waits, names } = this.#events(events());
			return this.#wait(what, waits, async (found) => (
				pick(await Promise.all(found.map((saved, i) => this.#payload(saved, waits[i], names[i]))))));
		});
	}

	/**
	 * The first that comes. Which one that was is saved as a step: others may come later, and nothing may change by that.
	 * @param {string} what
	 * @param {string | undefined} key
	 * @param {() => EventWait[]} events
	 * @returns {Promise<{ index: number, payload: any }>}
	 */
	waitForAny(what, key, events) {
		return promised(() => {
			const choice = key ?? this.turn();
			const { waits, names } = this.#events(events());
			if (!this.#mayWait(what, [...waits.map((wait) => wait.key), choice])) {
				return never();
			}
			const chosen = this.#use(choice);
			const found = waits.map((wait) => this.#use(wait.key));
			const index = chosen === undefined ? found.findIndex((saved) => saved !== undefined) : resultOf(chosen);
			if (index === -1) {
				this.#any = true;
				return this.#suspendFor(waits);
			}
			const saved = found[index];
			if (saved === undefined) {
				throw this.fault ??= forGood(`${what}: what ${JSON.stringify(choice)} went on with is not waited for any more`,
					"nondeterminism");
			}
			// The others may be waited for again.
			waits.forEach((wait, i) => i !== index && this.#keys.release(wait.key));
			return this.#busily(undefined, async () => {
				if (chosen === undefined) {
					await this.#save(choice, String(index));
				}
				const { result: payload, error } = await this.#payload(saved, waits[index], names[index]);
				if (error !== undefined) {
					throw error;
				}
				return { index, payload };
			});
		});
	}

	/**
	 * What `pick` makes of what came of all of these, if all are over. If not it ends the run.
	 * @template T
	 * @param {string} what
	 * @param {Wait[]} waits
	 * @param {(saved: Saved[]) => T} pick
	 * @returns {T | Promise<never>}
	 */
	#wait(what, waits, pick) {
		if (!this.#mayWait(what, waits.map(({ key }) => key))) {
			return never();
		}
		const found = waits.map(({ key }) => this.#use(key));
		const missing = waits.filter((_, i) => found[i] === undefined);
		return missing.length === 0 ? pick(/** @type {Saved[]} */ (found)) : this.#suspendFor(missing);
	}

	/**
	 * Whether it may wait under these keys. Throws when it is to stop.
	 * @param {string} what
	 * @param {string[]} keys
	 */
	#mayWait(what, keys) {
		if (!this.#mayGoOn(what, "suspend")) {
			return false;
		}
		if (this.#calling !== undefined) {
			throw new PgconductorError(`${what} inside of step ${JSON.stringify(this.#calling)}: ` +
				"a step is done in one go; wait before or after it");
		}
		keys.forEach((key) => checkKey(what, key));
		return true;
	}

	/** @param {Wait[]} missing */
	#suspendFor(missing) {
		for (const wait of missing) {
			this.#waits.push(wait);
		}
		this.#suspendSoon();
		return this.#halted();
	}

	/** Settles only when the run is to stop; that it may go unseen is nobody's fault. */
	#halted() {
		if (this.#halt === undefined) {
			this.#halt = new Promise((_, reject) => {
				this.#stop = reject;
			});
			this.#halt.catch(ignore);
		}
		return this.#halt;
	}

	/** When whoever was just given something has said what else he wants. */
	#suspendSoon() {
		if ((this.#waits.length > 0 || this.#leaving) && !this.over) {
			if (this.#open.size === 0) {
				clearTimeout(this.#heldUp);
				this.#heldUp = undefined;
				this.#session.suspendSoon(this);
			} else {
				this.#heldUp ??= setTimeout(() => this.#sayHeldUp(), HELD_UP).unref();
			}
		}
	}

	/** Suspends, if there is nothing else to do. Called by the session. */
	suspend() {
		if (this.over || this.cancelled !== undefined || this.#open.size > 0) {
			return;
		}
		if (this.fault !== undefined) {
			this.#session.fail(this, this.fault);
		} else if (this.#waits.length > 0 || this.#leaving) {
			this.#session.suspend(this, this.#waits, this.#any);
		}
	}

	#sayHeldUp() {
		if (!this.over && this.#open.size > 0) {
			const keys = this.#keys.fresh.filter((key) => !this.#waits.some((wait) => wait.key === key));
			this.logger.warn("it is to wait, and a step of it still goes on; one that waits itself would do so for ever",
				{ waits: this.#waits.length, steps: keys.slice(-8) });
		}
	}

	/* ---- the rest */

	/** Where it may stop: when it was cancelled, and when the handler is to end. */
	async checkpoint() {
		await this.#session.breathe();
		if (!this.#mayGoOn("ctx.checkpoint", "suspend")) {
			return never();
		}
		if (this.#session.state !== "draining") {
			return;
		}
		this.#leaving = true;
		this.#suspendSoon();
		await this.#halted();
	}

	/** @param {unknown} percent @param {unknown} note */
	progress(percent, note) {
		if (percent !== undefined && percent !== null && !Number.isFinite(percent)) {
			throw new TypeError("pgconductor: ctx.progress: percent: not a number from 0 to 100");
		}
		if (!this.over && this.#session.can("progress") && this.#session.hasRoom) {
			this.#session.send("PROGRESS", this.exec, {
				percent: percent === undefined || percent === null ? undefined
					: Math.round(Math.min(100, Math.max(0, Number(percent)))),
				note: note === undefined || note === null ? undefined : clean(note).slice(0, NOTE_LENGTH),
			});
		}
	}

	/**
	 * Has the server do something, and answer.
	 * @param {string} what
	 * @param {string} name
	 * @param {() => string | Promise<string>} args  JSON
	 * @param {(result: any) => any} [pick]
	 * @returns {Promise<any>}
	 */
	call(what, name, args, pick = (result) => result) {
		return promised(() => {
			if (!this.#mayGoOn(what, "call")) {
				return never();
			}
			const given = args();
			return this.#busily(undefined, async () => {
				const text = typeof given === "string" ? given : await given;
				this.#checkLength(text, what);
				return pick(await this.#send(name, text));
			});
		});
	}

	/** @param {string} name @param {string} args @returns {Promise<any>} */
	#send(name, args) {
		if (this.over) {
			return never();
		}
		if (this.cancelled !== undefined) {
			throw this.cancelled;
		}
		return new Promise((resolve, reject) => {
			const call = ++this.#lastCall;
			this.#calls.set(call, { resolve, reject });
			this.#session.send("CALL", this.exec, { call, name, args });
		});
	}

	/** @param {Record<string, any>} fields  of RETURN */
	onReturn({ call, result, error }) {
		const settle = this.#calls.get(Number(call));
		this.#calls.delete(Number(call));
		if (error === undefined) {
			settle?.resolve(result === undefined ? null : JSON.parse(result));
		} else {
			settle?.reject(refusal(JSON.parse(error)));
		}
	}

	/* ---- stopping */

	/** Asks the function to stop. The first reason is the one that counts. @param {string} reason */
	cancel(reason) {
		if (this.cancelled !== undefined) {
			return;
		}
		const cancelled = this.cancelled = new Cancelled(reason);
		this.onCancel?.(cancelled);
		// Who has not come to await one of these yet is told by the next that he asks for.
		this.#open.forEach((one) => one.catch(ignore));
		this.#stop(cancelled);
		for (const { reject } of [...this.#saving.values(), ...this.#calls.values()]) {
			reject(cancelled);
		}
		this.#saving.clear();
		this.#calls.clear();
	}

	/** It is over. Called by the session. */
	end() {
		this.over = true;
		clearTimeout(this.#heldUp);
	}
}
