/**
 * pgconductor: durable job execution on PostgreSQL.
 *
 * A program announces tasks and serves them (`Orchestrator`); any program invokes them (`Conductor`), in its own
 * transaction if it likes.
 */
import type { Sql, TransactionSql } from "postgres";

/** "250ms", "10s", "5m", "2h", "7d", or a number of milliseconds. */
export type Duration = string | number;

declare const types: unique symbol;
// Nothing is exported but what says so.
export {};

/* ---- Tasks */

/** Names a task. `queue`: its home queue, or, for invoke, another one. */
export interface TaskName {
	readonly name: string;
	readonly queue?: string | undefined;
}

/** A task and its options. What stands in the server's configuration, or was set at run time, counts before these. */
export interface TaskRef extends TaskName {
	/** Attempts in all; 3 unless given. */
	readonly maxAttempts?: number | undefined;
	/** The wait before the next attempt: always the same, a list, or exponential. 15 s, 30 s, then 60 s unless given. */
	readonly backoff?: Duration | readonly Duration[] | { initial: Duration; factor?: number; max?: Duration } | undefined;
	/** How long an attempt may take; no limit unless given. */
	readonly timeout?: Duration | undefined;
	/** How long a completed execution is kept; 0: not at all, false: for ever. 7 days unless given. */
	readonly removeOnComplete?: Retention | undefined;
	/** How long a failed or cancelled execution is kept. 30 days unless given. */
	readonly removeOnFail?: Retention | undefined;
}

export type Retention = Duration | { days: number } | false;

/** How a task is started. */
export type Trigger = { readonly invocable: true };

/** What a task was started by. */
export interface TaskEvent<Payload = any> {
	/** "pgconductor.invoke". */
	readonly name: string;
	readonly payload: Payload;
}

/** A task with its function; `Payload` and `Return` are known to the compiler alone. */
export interface Task<in Payload = any, out Return = unknown> extends TaskName {
	readonly queue: string;
	readonly [types]?: (payload: Payload) => Return;
}

export type Handler<Payload = any, Return = unknown, Own extends object = {}> =
	(event: TaskEvent<Payload>, ctx: TaskContext<Own>) => Return | PromiseLike<Return>;

/** What a task's function is given beside its event: this, and the properties of the conductor's own `context`. */
export type TaskContext<Own extends object = {}> = ExecutionContext & Readonly<Own>;

export interface ExecutionContext {
	/** A decimal number, as text: it may be larger than a JavaScript number holds. */
	readonly executionId: string;
	readonly task: string;
	/** 1 for the first. */
	readonly attempt: number;
	/** The queue whose worker runs it. */
	readonly queue: string;
	/** To the server's log, with the execution's id. */
	readonly logger: Logger;
	/** Aborted when the execution is to stop; its reason is a `Cancelled`. Hand it to fetch, timers and the like. */
	readonly signal: AbortSignal;
	/** When its time is over; null when it has no timeout. */
	readonly deadline: Date | null;
	/** What the caller attached, or null. */
	readonly metadata: any;
	/** The payload exactly as stored: JSON.parse changes integers above 2 ** 53, and 12.50. */
	readonly payloadText: string;
	/** W3C traceparent, or null. */
	readonly trace: string | null;
	/** Names this run of the execution. */
	readonly token: string;
}

/** `fields`: an object, or an Error. */
export interface Logger {
	debug(message: string, fields?: object): void;
	info(message: string, fields?: object): void;
	warn(message: string, fields?: object): void;
	error(message: string, fields?: object): void;
}

/** Text that is JSON already: as a task's result, or as a payload, it stays exactly as it is. */
export class RawJSON {
	constructor(text: string);
	readonly text: string;
	toString(): string;
}

/* ---- Conductor */

export interface ConductorOptions<Own extends object = {}> {
	/** A URL; else DATABASE_URL, else PG*. Either this or `sql`. It is also where a program started by hand serves. */
	connectionString?: string | undefined;
	/** A postgres.js instance. */
	sql?: Sql<any> | undefined;
	/** Tasks that this program invokes and another one serves: declared before they are invoked. */
	tasks?: readonly TaskRef[] | undefined;
	/** Properties for every task's context. */
	context?: Own | undefined;
	/** In place of the server's log. */
	logger?: Logger | undefined;
}

/** Intervals take a duration, or units as in `{ minutes: 5 }`. */
export type Interval = Duration | { readonly [unit: string]: number };

/** Those not yet implemented are refused by the server, with an error that says so. */
export interface InvokeOptions {
	/** Higher first, -32768 to 32767; 0 unless given. */
	priority?: number | undefined;
	run_at?: Date | string | undefined;
	runAt?: Date | string | undefined;
	delay?: Interval | undefined;
	dedupe_key?: string | undefined;
	dedupeKey?: string | undefined;
	dedupe_for?: Interval | undefined;
	dedupeFor?: Interval | undefined;
	throttle?: Interval | undefined;
	debounce?: Interval | undefined;
	max_wait?: Interval | undefined;
	maxWait?: Interval | undefined;
	/** Any JSON: `ctx.metadata`. */
	metadata?: unknown;
}

export interface BatchItem<Payload = unknown> extends InvokeOptions {
	payload: Payload | RawJSON;
	queue?: string | undefined;
}

/** Where a call is made: the caller's transaction (or any other postgres.js instance) in place of the conductor's own. */
export interface CallOptions {
	sql?: Sql<any> | TransactionSql<any> | undefined;
}

export type PayloadOf<T> = T extends Task<infer Payload, any> ? Payload : unknown;
export type ReturnOf<T> = T extends Task<any, infer Return> ? Return : unknown;

export interface Result<Return = any> {
	/** "ready", "delayed", "running", "completed", "failed", "cancelled". */
	state: string;
	/** Of a completed one. */
	result: Return | undefined;
	/** Of the last attempt that failed. */
	error: { code: string; message: string; type?: string; stack?: string; data?: unknown } | undefined;
}

/** What can be said to the database. All throw a `ClientError` when PostgreSQL refuses the call. */
export interface Client<Options> {
	/** Creates executions, all or none; returns their ids in the order of the items. */
	invoke<T extends TaskName>(
		task: T, items: readonly BatchItem<PayloadOf<T>>[], options?: InvokeOptions & Options,
	): Promise<string[]>;
	/** Creates an execution, and returns its id. A payload that is an array is a batch of one: `[{ payload: [1, 2] }]`. */
	invoke<T extends TaskName>(task: T, payload: PayloadOf<T> | RawJSON, options?: InvokeOptions & Options): Promise<string>;
	/** Cancels an unfinished execution, and stops it if it runs; false if there is no unfinished one. */
	cancel(id: string, options?: { reason?: string | undefined } & Options): Promise<boolean>;
	/** Runs a finished execution again; false if there is no finished one. */
	retry(id: string, options?: Options): Promise<boolean>;
	/** State, result and error; null if it is unknown, or its history is gone. */
	result<Return = any>(id: string, options?: Options): Promise<Result<Return> | null>;
}

export class Conductor<Own extends object = {}> implements Client<CallOptions> {
	static create<Own extends object = {}>(options?: ConductorOptions<Own>): Conductor<Own>;
	protected constructor(options?: ConductorOptions<Own>);

	/** A task and its function, to be served by an Orchestrator. */
	createTask<Payload = any, Return = unknown>(
		ref: TaskRef, triggers: Trigger | readonly Trigger[], handler: Handler<Payload, Return, Own>,
	): Task<Payload, Awaited<Return>>;
	/** A queue of its own for some tasks. */
	createWorker(options: { queue: string; tasks: readonly Task<any, any>[]; config?: WorkerConfig }): Worker;

	invoke<T extends TaskName>(
		task: T, items: readonly BatchItem<PayloadOf<T>>[], options?: InvokeOptions & CallOptions,
	): Promise<string[]>;
	invoke<T extends TaskName>(task: T, payload: PayloadOf<T> | RawJSON, options?: InvokeOptions & CallOptions): Promise<string>;
	cancel(id: string, options?: { reason?: string | undefined } & CallOptions): Promise<boolean>;
	retry(id: string, options?: CallOptions): Promise<boolean>;
	result<Return = any>(id: string, options?: CallOptions): Promise<Result<Return> | null>;
	/** The client within a transaction: `sql.begin((tx) => conductor.with(tx).invoke(…))`. */
	with(sql: Sql<any> | TransactionSql<any>): Client<{}>;

	/** Installs the schema if it is not there (with `pgconductor migrate`), and declares this conductor's tasks. */
	ensureInstalled(): Promise<void>;
	/** Closes the connections it opened itself; without it they close after a second of idleness. */
	close(): Promise<void>;

	readonly connectionString: string | undefined;
	/** Outside of tasks: the custom logger, else stderr. */
	readonly logger: Logger;
}

/* ---- Orchestrator */

export interface WorkerConfig {
	/**
	 * Executions of the queue that one process runs at once; 100 unless given. `concurrency` of the queue in the server's
	 * configuration, 10 unless given, is what counts for all processes of a node together.
	 */
	concurrency?: number | undefined;
	/** Executions handed to one process at once, those that wait in it included; as many as concurrency unless given. */
	fetchBatchSize?: number | undefined;
	/** Accepted, without effect: nothing is polled here. */
	pollIntervalMs?: number | undefined;
	/** Accepted, without effect: outcomes are gathered by the server. */
	flushIntervalMs?: number | undefined;
}

export interface Worker {
	readonly queue: string;
	readonly tasks: readonly Task<any, any>[];
	readonly config: WorkerConfig;
}

export interface OrchestratorOptions {
	conductor: Conductor<any>;
	/** Each in its own queue. */
	tasks?: readonly Task<any, any>[] | undefined;
	/** Tasks in queues of their own. */
	workers?: readonly Worker[] | undefined;
	/** For the queues that no worker is given for. */
	defaultWorker?: WorkerConfig | undefined;
}

export interface Info {
	/** "handler": runs executions; "launcher": started by hand, it runs the server; "none": not started. */
	role: "handler" | "launcher" | "none";
	state: "created" | "starting" | "serving" | "draining" | "ended" | "stopped";
	/** Of the server, or of this process. */
	pid: number;
	/** Of a handler; empty otherwise. */
	queue: string;
	tasks: string[];
	concurrency: number;
	running: number;
	waiting: number;
}

/**
 * Serves tasks. Started by pgconductor, the program is a handler. Started by hand it runs `pgconductor run` around
 * itself, which then starts it as a handler, and exits with its status; the rest of the program runs in both.
 */
export class Orchestrator {
	static create(options: OrchestratorOptions): Orchestrator;
	protected constructor(options: OrchestratorOptions);
	/** Serves. Settles as soon as it does. */
	start(): Promise<void>;
	/** Settles when it serves no more. */
	readonly stopped: Promise<void>;
	/** Lets what runs finish, and stops. */
	stop(): Promise<void>;
	/** Serves until nothing is ready, running or due any more. */
	drain(): Promise<void>;
	info(): Info;
}

/* ---- Errors */

export class PgconductorError extends Error {}

/** Thrown by a task: the execution fails for good. `data` is stored with it, as JSON. */
export class NonRetryableError extends PgconductorError {
	constructor(message?: string, options?: { data?: unknown; code?: string; cause?: unknown });
	readonly data: unknown;
	readonly code: string;
}

/** Thrown by a task: the attempt failed, and the next one waits so long, whatever the task's backoff says. */
export class RetryAfter extends PgconductorError {
	constructor(delay: Duration | Date, message?: string, options?: { data?: unknown; cause?: unknown });
	readonly afterMs: number;
	readonly data: unknown;
}

/** The reason of `ctx.signal`. */
export class Cancelled extends PgconductorError {
	constructor(reason: string);
	/** "cancelled", "timeout", "lost", or what the caller of cancel gave. */
	readonly reason: string;
}

/** PostgreSQL refused a call; the driver's error is the `cause`. */
export class ClientError extends PgconductorError {
	/** SQLSTATE. */
	readonly code: string | undefined;
	readonly hint: string | undefined;
}

/** PC001: no program and no configuration ever declared this task. */
export class UndeclaredTask extends ClientError {}
/** PC002: the payload is not JSON that PostgreSQL takes. */
export class BadPayload extends ClientError {}
/** PC003: the payload is longer than max_payload. */
export class PayloadTooLarge extends ClientError {}
/** PC004: not the name of a queue. */
export class BadQueue extends ClientError {}
/** PC005: no time at which something can run. */
export class BadTime extends ClientError {}
/** PC006: an option that this version of the server does not have yet. */
export class NotAvailable extends ClientError {}
/** PC008: the name or an option of a task is not as it should be. */
export class BadTask extends ClientError {}
/** PC009: another argument is not as it should be. */
export class BadArgument extends ClientError {}
/** The database has no schema pgconductor. */
export class NotInstalled extends ClientError {}
