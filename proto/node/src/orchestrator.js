/*
 * Orchestrator: serves tasks. Started by pgconductor it is a handler; started by hand it starts pgconductor.
 */
import { isMainThread } from "node:worker_threads";
import { Conductor } from "./conductor.js";
import { milliseconds } from "./duration.js";
import { launch } from "./launch.js";
import { queueSettings, workerConfig } from "./options.js";
import { Session } from "./session.js";
import { openSocket } from "./socket.js";
import { entryOf } from "./tasks.js";

/** Milliseconds for the program's own last words, after which it is ended whatever it still holds open. */
const LAST_WORDS = 2000;

/** A shorter silence says nothing. */
const SHORTEST_BEAT = 100;

/** The descriptor of the worker, if pgconductor started this program. Programs that it starts are not to have it. */
function takeDescriptor() {
	const fd = process.env.PGCONDUCTOR_FD;
	delete process.env.PGCONDUCTOR_FD;
	// A server within a handler is nobody's wish.
	if (!isMainThread || (fd === undefined && process.env.PGCONDUCTOR_PROTO !== undefined)) {
		throw new Error("pgconductor: one orchestrator serves in a handler, and neither its threads nor the programs it starts");
	}
	return fd === undefined ? undefined : Number(fd);
}

/** @typedef {import("./session.js").TaskEntry} TaskEntry */

export class Orchestrator {
	#conductor;
	/** @type {Map<string, { concurrency: number, credit: number }>} */
	#queues = new Map();
	/** @type {Map<string, TaskEntry>} */
	#tasks = new Map();
	#defaults;
	/** What the program says of its queues. @type {Map<string, ReturnType<typeof queueSettings>>} */
	#settings = new Map();
	/** @type {number | undefined} */
	#heartbeat;
	/** @type {Session | undefined} */
	#session;
	/** @type {ReturnType<typeof launch> | undefined} */
	#server;
	/** @type {(value: void) => void} */
	#stop = () => {};
	#isStopped = false;

	/** Settles when it serves no more. @type {Promise<void>} */
	stopped;

	/** @param {any} options */
	static create(options) {
		return new Orchestrator(options);
	}

	/**
	 * @param {{ conductor: Conductor, tasks?: readonly any[], workers?: readonly any[], defaultWorker?: any,
	 *     heartbeat?: import("../index.d.ts").Duration }} options
	 */
	constructor({ conductor, tasks = [], workers = [], defaultWorker, heartbeat }) {
		if (!(conductor instanceof Conductor)) {
			throw new TypeError("pgconductor: Orchestrator.create: conductor: what Conductor.create returned is needed");
		}
		this.#conductor = conductor;
		this.#defaults = workerConfig(defaultWorker);
		this.#heartbeat = heartbeat === undefined ? undefined : milliseconds(heartbeat);
		if (this.#heartbeat !== undefined && this.#heartbeat < SHORTEST_BEAT) {
			throw new TypeError(`pgconductor: Orchestrator.create: heartbeat: at least ${SHORTEST_BEAT} ms`);
		}
		for (const task of tasks) {
			this.#add(entryOf(task));
		}
		for (const { queue, tasks: own, config } of workers) {
			this.#queues.set(queue, workerConfig(config));
			this.#settings.set(queue, queueSettings(queue, config));
			for (const task of own) {
				this.#add({ ...entryOf(task), queue });
			}
		}
		for (const { queue } of this.#tasks.values()) {
			if (!this.#queues.has(queue)) {
				this.#settings.set(queue, queueSettings(queue, defaultWorker));
			}
		}
		this.stopped = new Promise((resolve) => {
			this.#stop = resolve;
		});
	}

	/** @param {TaskEntry} task */
	#add(task) {
		if (this.#tasks.has(task.name)) {
			throw new TypeError(`pgconductor: Orchestrator.create: task ${task.name} stands there twice`);
		}
		this.#tasks.set(task.name, task);
	}

	/** Serves. Settles as soon as it does; `stopped` says when it is over. */
	async start() {
		await this.#start(false);
	}

	/** Serves until nothing is ready, running or due any more. */
	async drain() {
		await this.#start(true);
		await this.stopped;
	}

	/** Lets what runs finish, and stops. */
	async stop() {
		if (this.#session === undefined && this.#server === undefined) {
			return;
		}
		this.#session?.stop();
		this.#server?.kill("SIGTERM");
		await this.stopped;
	}

	/** @returns {import("../index.d.ts").Info} */
	info() {
		const session = this.#session;
		const queue = session?.queue ?? "";
		return {
			role: session !== undefined ? "handler" : this.#server !== undefined ? "launcher" : "none",
			state: this.#isStopped ? "stopped" : session?.state ?? (this.#server !== undefined ? "serving" : "created"),
			pid: this.#server?.pid ?? process.pid,
			queue,
			tasks: [...this.#tasks.values()].filter((task) => queue === "" || task.queue === queue).map((task) => task.name),
			concurrency: this.#configOf(queue || "default").concurrency,
			running: session?.running ?? 0,
			waiting: session?.waiting ?? 0,
		};
	}

	/** @param {string} queue */
	#configOf(queue) {
		return this.#queues.get(queue) ?? this.#defaults;
	}

	/** @param {boolean} drain */
	async #start(drain) {
		if (this.#session !== undefined || this.#server !== undefined) {
			throw new Error("pgconductor: this orchestrator was started already");
		}
		const fd = takeDescriptor();
		if (fd !== undefined) {
			await this.#serve(fd);
		} else {
			this.#server = launch({ connectionString: await this.#conductor.url(), drain });
			this.#server.exited.then((status) => this.#over(status));
		}
	}

	/** @param {number} fd */
	async #serve(fd) {
		const queue = process.env.PGCONDUCTOR_QUEUE;
		this.#session = new Session({
			socket: await openSocket(fd),
			queue,
			tasks: [...this.#tasks.values()],
			...this.#configOf(queue ?? "default"),
			settings: [...this.#settings.values()].filter((said) => said !== undefined),
			heartbeat: this.#heartbeat,
			Context: this.#conductor.Context,
			events: this.#conductor.events,
			known: (ref) => this.#conductor.known(ref),
			logger: this.#conductor.customLogger,
		});
		this.#session.ended.then((status) => this.#over(status));
		await this.#session.welcomed;
	}

	/** @param {number} status */
	#over(status) {
		this.#isStopped = true;
		process.exitCode = status;
		this.#conductor.close().catch(() => {});
		setTimeout(() => process.exit(), LAST_WORDS).unref();
		this.#stop();
	}
}
