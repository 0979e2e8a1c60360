/*
 * The session with the worker, over descriptor 3: takes executions, runs several at once, writes their outcomes.
 *
 * It always reads. What it holds is bounded all the same: executions by its credit and window, and none is begun while
 * the worker is slow to read what was written.
 */
import { batchContext } from "./context.js";
import { FrameReader, FrameWriter, ProtocolError } from "./codec.js";
import { NonRetryableError } from "./errors.js";
import { clean, failureOf } from "./failure.js";
import { toJSON } from "./json.js";
import { SinkLogger, carrying, toStderr } from "./logger.js";
import { MESSAGES, NAMES, TO_HANDLER } from "./messages.js";
import { Run } from "./run.js";
import { delivered, returnedText } from "./standard.js";
import { VERSION } from "./version.js";

const PROTOCOL = 1;
const CAPABILITIES = ["call", "cancel", "credit", "drain", "log", "progress", "step", "suspend"];
/** Bytes of executions at once. */
const WINDOW = 64 << 20;
/** Bytes not taken by the worker: from here on nothing is begun, and no log line is taken. */
const WRITTEN_MAX = 4 << 20;
const LOGGED_MAX = 16 << 20;
/** What is gathered is written once it is so long, or the event loop comes by. */
const GATHERED_MAX = 256 << 10;
/** Milliseconds after which beginning executions gives way to reading and writing; and a loop with checkpoints. */
const SLICE = 2;
/** Signs of life in the time after which silence is death. */
const BEATS = 4;

/**
 * @typedef {import("./codec.js").Integer} Integer
 * @typedef {import("./codec.js").Frame} Frame
 *
 * @typedef {object} TaskEntry
 * @property {string} name
 * @property {string} queue
 * @property {boolean} named               the queue was named where the task was made
 * @property {string | undefined} options  JSON, for HELLO
 * @property {string} triggers             JSON, for HELLO
 * @property {(event: any, context: any) => unknown} handler
 * @property {import("../index.d.ts").StandardSchema} [payload]
 * @property {import("../index.d.ts").StandardSchema} [returns]
 * @property {string | undefined} [payload_schema]  JSON, for HELLO
 * @property {string | undefined} [returns_schema]  JSON, for HELLO
 * @property {{ size: number, timeout_ms: number | undefined }} [batch]  it takes several events at once
 *
 * @typedef {object} SessionOptions
 * @property {import("node:stream").Duplex} socket
 * @property {string | undefined} queue        the queue to serve; undefined: tell all tasks
 * @property {readonly TaskEntry[]} tasks
 * @property {number} concurrency
 * @property {number} credit
 * @property {readonly object[]} [settings]    of queues, as in HELLO
 * @property {typeof import("./context.js").Context} Context
 * @property {import("./schemas.js").EventSchemas} events  that the program knows
 * @property {(ref: any) => import("./options.js").Declared | undefined} [known]  what it knows of tasks
 * @property {import("../index.d.ts").Logger | undefined} logger  in place of LOG
 * @property {number | undefined} [heartbeat]  milliseconds of silence after which the process is to be ended
 *
 * @typedef {"starting" | "serving" | "draining" | "ended"} State
 */

/** The code of an execution that was asked to stop. @param {string} reason */
function stopCode(reason) {
	return reason === "timeout" ? "timeout" : "cancelled";
}

/** @param {string} task @param {unknown} results @param {number} n */
function checkResults(task, results, n) {
	if (!Array.isArray(results)) {
		throw new TypeError(`the task ${task} returned ${results === null ? "null" : typeof results} for a batch of ${n}, and not an array of its results`);
	}
	if (results.length !== n) {
		throw new Error(`the task ${task} returned ${results.length} results for a batch of ${n}`);
	}
}

export class Session {
	#socket;
	#reader = new FrameReader();
	#writer = new FrameWriter();
	#flushing = false;
	#pumping = false;
	/** Since when executions are begun without a look at the socket. */
	#slice = 0;

	/** @type {ReadonlyMap<string, TaskEntry>} */
	#tasks;
	#concurrency;
	#Context;
	#BatchContext;
	#customLogger;
	#heartbeat;
	/** Handed over and not begun, in the order they came. @type {Frame[]} */
	#waiting = [];
	/** Handed over with more steps than fit: begun when they are there. @type {Map<Integer, Frame>} */
	#incomplete = new Map();
	/** @type {Map<Integer, Run>} */
	#running = new Map();
	/** How many of these share a call with one before. */
	#joined = 0;
	/** Those that have nothing to do but to wait, unless they think of something. @type {Run[]} */
	#idle = [];
	#breath = 0;
	#strayed = false;
	/** @type {NodeJS.Timeout | undefined} */
	#beats;

	/** @type {State} */
	#state = "starting";
	#maxFrame = 0;
	/** @type {readonly string[]} */
	#capabilities = [];
	#lostLines = 0;
	#saidBye = false;

	/** Of the events that the program knows. @type {import("./schemas.js").Schemas} */
	schemas;
	/** The queue that is served; empty when only the tasks are asked for. */
	queue = "";
	/** Bytes of a payload or result. */
	maxPayload = 0;

	/** Settles when the worker has answered HELLO. @type {Promise<void>} */
	welcomed;
	/** The exit status, once the session is over: 0 after a drain, 1 when it was lost. @type {Promise<number>} */
	ended;
	/** @type {(error?: Error) => void} */
	#welcome = () => {};
	/** @type {(status: number) => void} */
	#finish = () => {};

	/** @param {SessionOptions} options */
	constructor({ socket, queue, tasks, concurrency, credit, settings, Context, events, known, logger, heartbeat }) {
		this.#socket = socket;
		this.#tasks = new Map(tasks.map((task) => [task.name, task]));
		this.#concurrency = concurrency;
		this.#Context = Context;
		this.#BatchContext = batchContext(Context);
		this.#customLogger = logger;
		this.#heartbeat = heartbeat;
		this.schemas = events.byName;
		this.known = known ?? (() => undefined);
		this.welcomed = new Promise((resolve, reject) => {
			this.#welcome = (error) => error === undefined ? resolve() : reject(error);
		});
		this.ended = new Promise((resolve) => {
			this.#finish = resolve;
		});
		socket.on("data", (chunk) => this.#read(chunk));
		socket.on("drain", () => this.#pumpSoon());
		socket.on("error", (error) => this.#lose(`the worker went away: ${error.message}`));
		socket.on("close", () => this.#lose("the worker went away"));
		this.send("HELLO", 0, {
			protocols: [PROTOCOL], sdk: "node", version: VERSION, credit, concurrency, window: WINDOW,
			capabilities: heartbeat === undefined ? CAPABILITIES : [...CAPABILITIES, "beat"], beat_ms: heartbeat,
			tasks: tasks.filter((task) => queue === undefined || task.queue === queue), events: events.announced(), queues: settings?.length ? settings : undefined,
		});
		this.#flush();
	}

	get state() {
		return this.#state;
	}

	get running() {
		return this.#running.size;
	}

	get waiting() {
		return this.#waiting.length + this.#incomplete.size;
	}

	/** Does the worker take that, too? @param {string} capability */
	can(capability) {
		return this.#capabilities.includes(capability);
	}

	/** Asks for no more; what runs is finished, then the session ends as after a DRAIN. */
	stop() {
		if (this.#state === "starting" || this.#state === "serving") {
			this.send("CREDIT", 0, { credit: 0 });
			this.#drain();
		}
	}

	/** @param {Run} run */
	loggerOf({ exec, fields: { id, task, attempt } }) {
		if (this.#customLogger !== undefined) {
			return carrying(this.#customLogger, { execution: id, task, attempt: Number(attempt), queue: this.queue });
		}
		return new SinkLogger((level, message, fields) => this.#log(exec, level, message, fields));
	}

	/** @param {string} task */
	loggerOfTask(task) {
		if (this.#customLogger !== undefined) {
			return carrying(this.#customLogger, { task, queue: this.queue });
		}
		return new SinkLogger((level, message, fields) => this.#log(0, level, message, fields));
	}

	/* ---- writing */

	/**
	 * What is sent in one turn of the event loop is written at once. False: it is longer than a frame may be.
	 * @param {keyof typeof MESSAGES} name
	 * @param {Integer} exec
	 * @param {Record<string, any>} fields
	 */
	send(name, exec, fields) {
		if (this.#state === "ended" || this.#saidBye) {
			return true;
		}
		const fits = this.#writer.frame(MESSAGES[name], exec, fields, this.#maxFrame || undefined);
		if (this.#writer.length > GATHERED_MAX) {
			this.#flush();
		} else {
			this.#flushSoon();
		}
		return fits;
	}

	/** For what may be left out. */
	get hasRoom() {
		return this.#socket.writableLength + this.#writer.length <= LOGGED_MAX;
	}

	#flushSoon() {
		if (!this.#flushing) {
			this.#flushing = true;
			setImmediate(() => {
				this.#flushing = false;
				this.#suspendIdle();
				this.#flush();
			});
		}
	}

	#flush() {
		if (this.#writer.length > 0 && this.#state !== "ended") {
			this.#socket.write(this.#writer.take());
		}
	}

	/** Says that we live. */
	#beat() {
		this.send("BEAT", 0, {});
		this.#flush();
	}

	/** @param {Integer} exec @param {string} level @param {string} message @param {string | undefined} fields */
	#log(exec, level, message, fields) {
		if (this.#state === "ended" || this.#saidBye || !this.#capabilities.includes("log")) {
			toStderr(/** @type {any} */ (level), message, fields);
			return;
		}
		if (!this.hasRoom) {
			this.#lostLines++;
			return;
		}
		if (this.#lostLines > 0) {
			const lost = `${this.#lostLines} log lines were lost: written faster than they could be taken`;
			this.#lostLines = 0;
			this.send("LOG", 0, { level: "warn", message: lost });
		}
		this.send("LOG", exec, { level, message: clean(message), fields });
	}

	/* ---- reading */

	/** @param {Buffer} chunk */
	#read(chunk) {
		this.#slice = performance.now();
		try {
			this.#reader.feed(chunk, (frame) => this.#dispatch(frame));
		} catch (error) {
			if (!(error instanceof ProtocolError)) {
				throw error;
			}
			this.#lose(`protocol error: ${error.message}`);
		}
		this.#pump();
	}

	/** @param {Frame} frame */
	#dispatch(frame) {
		const { type, exec, fields } = frame;
		if (NAMES[type] === undefined) {
			return;
		}
		if (!TO_HANDLER.has(type)) {
			throw new ProtocolError(`${NAMES[type]}: not for a handler`);
		}
		if ((this.#state === "starting") !== (type === MESSAGES.WELCOME || type === MESSAGES.REJECT) &&
			this.#state !== "draining") {
			throw new ProtocolError(`${NAMES[type]}: not at this time`);
		}
		switch (type) {
		case MESSAGES.WELCOME: return this.#onWelcome(fields);
		case MESSAGES.REJECT: return this.#lose(`the worker refused this program: ${fields.reason}`);
		case MESSAGES.RUN: return this.#onRun(frame);
		case MESSAGES.STEP_OK: return this.#running.get(exec)?.onStepOk(fields.key);
		case MESSAGES.RETURN: return this.#running.get(exec)?.onReturn(fields);
		case MESSAGES.STEPS: return this.#onSteps(exec, fields);
		case MESSAGES.CANCEL: return this.#onCancel(exec, fields.reason);
		case MESSAGES.DRAIN: return this.#drain();
		}
	}

	/** @param {Record<string, any>} fields */
	#onWelcome(fields) {
		if (fields.protocol !== PROTOCOL) {
			throw new ProtocolError(`the worker chose version ${fields.protocol}`);
		}
		this.queue = fields.queue;
		this.#reader.max = this.#maxFrame = Number(fields.max_frame);
		this.maxPayload = Number(fields.max_payload);
		this.#capabilities = fields.capabilities ?? [];
		if (this.#state === "starting") {
			this.#state = "serving";
		}
		if (this.#heartbeat !== undefined && this.can("beat")) {
			this.#beats = setInterval(() => this.#beat(), this.#heartbeat / BEATS);
		}
		this.#welcome();
	}

	/** One that comes while draining goes back with our BYE. @param {Frame} frame */
	#onRun(frame) {
		if (this.#state !== "serving") {
			return;
		}
		const { items, task } = frame.fields;
		const several = this.#tasks.get(task)?.batch !== undefined;
		if (several) {
			this.#waiting.push({ ...frame, exec: 0, fields: { task, items: items ?? [{ ...frame.fields, exec: frame.exec }] } });
		} else if (items?.length > 0) {
			for (const item of items) {
				this.#waiting.push({ ...frame, exec: item.exec, fields: { ...item, task } });
			}
		} else if (frame.fields.more_steps) {
			this.#incomplete.set(frame.exec, frame);
			this.#askForSteps(frame);
		} else {
			this.#waiting.push(frame);
		}
	}

	/** @param {Frame} frame */
	#askForSteps({ exec, fields }) {
		fields.steps ??= [];
		this.send("JOURNAL", exec, { after: fields.steps.length });
	}

	/** @param {Integer} exec @param {Record<string, any>} fields */
	#onSteps(exec, { steps, more_steps }) {
		const frame = this.#incomplete.get(exec);
		if (frame === undefined) {
			return;
		}
		for (const step of steps) {
			frame.fields.steps.push(step);
		}
		if (more_steps) {
			this.#askForSteps(frame);
		} else {
			// It came before those that wait.
			this.#incomplete.delete(exec);
			this.#waiting.unshift(frame);
		}
	}

	/**
	 * One that waits is over; one that runs is told; one that we do not know was just answered.
	 * @param {Integer} exec
	 * @param {string} reason
	 */
	#onCancel(exec, reason) {
		const at = this.#waiting.findIndex((frame) => frame.exec === exec);
		if (at !== -1) {
			this.#waiting.splice(at, 1);
		} else if (!this.#incomplete.delete(exec) && !this.#leaveOut(exec)) {
			this.#running.get(exec)?.cancel(reason);
			return;
		}
		this.send("FAIL", exec, { code: stopCode(reason), message: "stopped before it was started" });
	}

	/** One of a batch that waits. False: there is none. @param {Integer} exec */
	#leaveOut(exec) {
		const at = this.#waiting.findIndex(({ fields: { items } }) => items?.some((/** @type {any} */ item) => item.exec === exec));
		if (at === -1) {
			return false;
		}
		const { fields } = this.#waiting[at];
		fields.items = fields.items.filter((/** @type {any} */ item) => item.exec !== exec);
		if (fields.items.length === 0) {
			this.#waiting.splice(at, 1);
		}
		return true;
	}

	/* ---- running */

	/**
	 * Begins what waits, as far as concurrency allows. A function runs up to its first await in here: when that takes
	 * long, outcomes and news from the worker must not wait for all of them.
	 */
	#pump() {
		while (this.#waiting.length > 0 && this.#running.size - this.#joined < this.#concurrency && !this.#pumping) {
			if (performance.now() - this.#slice > SLICE) {
				this.#pumpSoon();
			} else if (this.#socket.writableLength > WRITTEN_MAX) {
				return;
			} else {
				const frame = /** @type {Frame} */ (this.#waiting.shift());
				if (frame.fields.items !== undefined) {
					this.#beginBatch(frame);
				} else {
					this.#begin(frame);
				}
			}
		}
	}

	#pumpSoon() {
		if (!this.#pumping) {
			this.#pumping = true;
			setImmediate(() => {
				this.#pumping = false;
				this.#slice = performance.now();
				this.#flush();
				this.#pump();
			});
		}
	}

	/** @param {Frame} frame */
	async #begin({ exec, fields }) {
		const run = new Run(this, exec, fields);
		this.#running.set(exec, run);
		const [name, answer] = await this.#outcome(run, fields);
		if (!run.over) {
			this.send(name, exec, answer);
			this.#end(run);
		}
	}

	/**
	 * @param {Run} run
	 * @param {Record<string, any>} fields  of RUN
	 * @returns {Promise<["DONE" | "FAIL", Record<string, any>]>}
	 */
	async #outcome(run, fields) {
		const task = this.#tasks.get(fields.task);
		let result;
		try {
			if (task === undefined) {
				throw new Error(`this program has no task ${JSON.stringify(fields.task)}`);
			}
			const event = this.#event(task, fields.event);
			result = await task.handler(event instanceof Promise ? await event : event, new this.#Context(run));
		} catch (error) {
			return this.#failed(run, error);
		}
		return run.fault === undefined ? this.#done(task, result) : ["FAIL", failureOf(run.fault)];
	}

	/** @param {Run} run @param {unknown} error @returns {["FAIL", Record<string, any>]} */
	#failed(run, error) {
		const reason = run.fault === undefined ? run.cancelled?.reason : undefined;
		const failure = failureOf(run.fault ?? error);
		return ["FAIL", reason === undefined ? failure : { ...failure, code: stopCode(reason) }];
	}

	/** What a function is given. @param {TaskEntry} task @param {any} event */
	#event(task, event) {
		const { name, kind = "invoke", at } = event;
		const given = this.#delivered(task, event);
		/** @param {unknown} payload */
		const whole = (payload) => ({ name, kind, payload, at: at === undefined ? null : new Date(at) });
		return given instanceof Promise ? given.then(whole) : whole(given);
	}

	/** @param {Frame} frame */
	async #beginBatch({ fields: { task: name, items } }) {
		const batch = { left: items.length };
		/** @type {Run[]} */
		const runs = items.map((/** @type {any} */ item) => Object.assign(new Run(this, item.exec, { ...item, task: name }), { batch }));
		runs.forEach((run) => this.#running.set(run.exec, run));
		this.#joined += runs.length - 1;
		const answers = await this.#outcomes(/** @type {TaskEntry} */ (this.#tasks.get(name)), runs);
		runs.forEach((run, at) => {
			this.send(...answers[at]);
			this.#end(run);
		});
	}

	/**
	 * Of each of a batch. One whose payload cannot be taken fails alone.
	 * @param {TaskEntry} task
	 * @param {readonly Run[]} runs
	 * @returns {Promise<["DONE" | "FAIL", Integer, Record<string, any>][]>}
	 */
	async #outcomes(task, runs) {
		const given = await Promise.allSettled(runs.map(async (run) => this.#event(task, run.fields.event)));
		const events = given.flatMap((one) => one.status === "fulfilled" ? [one.value] : []);
		const taken = runs.filter((run, at) => given[at].status === "fulfilled");
		let results = /** @type {any} */ ([]);
		/** @type {unknown} */
		let failure;
		try {
			results = events.length === 0 ? [] : await task.handler(events, new this.#BatchContext(this, task.name, taken));
			checkResults(task.name, results, events.length);
		} catch (error) {
			failure = error ?? new Error("undefined was thrown");
		}
		let next = 0;
		return Promise.all(runs.map(async (run, at) => {
			const one = given[at];
			const result = one.status === "rejected" ? one.reason : failure ?? results[next++];
			const [name, answer] = one.status === "rejected" || failure !== undefined || result instanceof Error
				? this.#failed(run, result) : await this.#done(task, result);
			return /** @type {["DONE" | "FAIL", Integer, Record<string, any>]} */ ([name, run.exec, answer]);
		}));
	}

	/** The payload of an event, as its schema has it, or that of the task. @param {TaskEntry} task @param {any} event */
	#delivered(task, { name, kind = "invoke", payload, parts }) {
		const value = JSON.parse(payload);
		if (kind === "event") {
			return delivered(parts ? undefined : this.schemas.get(name), name, value, { event: name });
		}
		// A schedule without a payload is not held against the schema.
		const isTasks = kind === "invoke" || (kind === "schedule" && value !== null);
		return delivered(isTasks ? task.payload : undefined, task.name, value, { task: task.name });
	}

	/** @param {TaskEntry} task @param {unknown} result @returns {Promise<["DONE" | "FAIL", Record<string, any>]>} */
	async #done({ name, returns }, result) {
		let text;
		try {
			const checked = returnedText(returns, name, toJSON(result));
			text = typeof checked === "string" ? checked : await checked;
		} catch (error) {
			return ["FAIL", { ...failureOf(error), code: "bad_result" }];
		}
		if (text === "null") {
			return ["DONE", {}];
		}
		const length = Buffer.byteLength(text);
		if (length > this.maxPayload) {
			const message = `the result is ${length} bytes long; the limit is ${this.maxPayload}`;
			return ["FAIL", { code: "oversize", message, retry: false }];
		}
		return ["DONE", { result: text }];
	}

	/** Its last frame is sent: the next one has its place. @param {Run} run */
	#end(run) {
		run.end();
		this.#running.delete(run.exec);
		if (run.batch !== undefined && --run.batch.left > 0) {
			this.#joined--;
		}
		if (this.#state === "serving") {
			this.#pump();
		} else if (this.#state === "draining" && this.#running.size === 0) {
			this.#bye();
		}
	}

	/* ---- what runs ask for */

	/** Once everything else of this turn has been done. @param {Run} run */
	suspendSoon(run) {
		this.#idle.push(run);
		this.#flushSoon();
	}

	#suspendIdle() {
		const idle = this.#idle;
		this.#idle = [];
		for (const run of idle) {
			run.suspend();
		}
	}

	/**
	 * Ends a run without an outcome.
	 * @param {Run} run
	 * @param {import("./waits.js").Wait[]} waits
	 * @param {boolean} [any]  one of them is enough
	 */
	suspend(run, waits, any = false) {
		if (this.send("SUSPEND", run.exec, { waits, any: any || undefined })) {
			run.suspended = true;
			this.#end(run);
		} else {
			this.fail(run, new NonRetryableError(`${waits.length} things to wait for do not fit in a message: ` +
				"wait for less at a time", { code: "oversize" }));
		}
	}

	/** @param {Run} run @param {Error} error */
	fail(run, error) {
		this.send("FAIL", run.exec, failureOf(error));
		this.#end(run);
	}

	/** Lets the worker be heard, in a loop that never waits. */
	async breathe() {
		if (performance.now() - this.#breath > SLICE) {
			await new Promise(setImmediate);
			this.#breath = performance.now();
		}
	}

	/** A function goes on though its run is over. @param {Run} run @param {string} what */
	strayed(run, what) {
		if (!run.suspended && !this.#strayed) {
			this.#strayed = true;
			this.#log(0, "warn", `task ${run.fields.task}: ${what} after its function had returned: is an await missing?`, undefined);
		}
	}

	/* ---- ending */

	/** What was not begun goes back with BYE, and costs no attempt. */
	#drain() {
		this.#state = "draining";
		this.#waiting = [];
		this.#incomplete.clear();
		if (this.#running.size === 0) {
			this.#bye();
		}
	}

	/** The worker closes the socket then. */
	#bye() {
		this.send("BYE", 0, {});
		this.#flush();
		this.#saidBye = true;
	}

	/** The end of the session, expected or not. @param {string} why */
	#lose(why) {
		if (this.#state === "ended") {
			return;
		}
		const early = this.#state === "starting";
		// Whoever only asked for the tasks has what he wanted.
		const expected = this.#saidBye || (this.#state === "serving" && this.queue === "");
		this.#flush();
		this.#state = "ended";
		this.#waiting = [];
		this.#incomplete.clear();
		clearInterval(this.#beats);
		for (const run of this.#running.values()) {
			run.cancel("lost");
		}
		this.#socket.destroy();
		if (!early && !expected) {
			process.stderr.write(`pgconductor: ${why}\n`);
		}
		this.#welcome(early ? new Error(`pgconductor: ${why}`) : undefined);
		this.#finish(expected ? 0 : 1);
	}
}
