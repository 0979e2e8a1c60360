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
declare const defined: unique symbol;
declare const taskTypes: unique symbol;
declare const rowTypes: unique symbol;
// Nothing is exported but what says so.
export {};

/* ---- Tasks */

/** Names a task. `queue`: its home queue, or, for invoke, another one. */
export interface TaskName {
	readonly name: string;
	readonly queue?: string | undefined;
}

/** A task and its options. What stands in the server's configuration, or was set at run time, counts before these. */
export interface TaskRef<
	Name extends string = string, Payload extends StandardSchema = StandardSchema, Returns extends StandardSchema = StandardSchema,
> extends TaskName {
	readonly name: Name;
	/**
	 * What it is invoked with: checked when it is invoked and when it runs; its function is given what the schema makes of it. The
	 * server is told it as JSON Schema, if the schema can say itself so.
	 */
	readonly payload?: Payload | undefined;
	/** What its function returns; whoever waits for it gets what the schema makes of that. */
	readonly returns?: Returns | undefined;
	/** The JSON Schema of the payload, for the server, in place of what `payload` says of itself. */
	readonly payloadSchema?: object | boolean | undefined;
	/** The JSON Schema of the result, likewise. */
	readonly returnsSchema?: object | boolean | undefined;
	/** Attempts in all; 3 unless given. */
	readonly maxAttempts?: number | undefined;
	/** The wait before the next attempt: always the same, a list, or exponential. 15 s, 30 s, then 60 s unless given. */
	readonly backoff?: Duration | readonly Duration[] | { initial: Duration; factor?: number; max?: Duration } | undefined;
	/** How long an attempt may take; no limit unless given. */
	readonly timeout?: Duration | undefined;
	/** How long all of it may take: attempts, and what is waited for between them. No limit unless given. */
	readonly totalTimeout?: Duration | undefined;
	/** How long a completed execution is kept; 0: not at all, false: for ever. 7 days unless given. */
	readonly removeOnComplete?: Retention | undefined;
	/** How long a failed or cancelled execution is kept. 30 days unless given. */
	readonly removeOnFail?: Retention | undefined;
	/** Of executions that are made without one: higher first; 0 unless given. */
	readonly priority?: number | undefined;
	/** How many of it may run at once, on all nodes together; any number unless given. */
	readonly concurrency?: number | undefined;
	/** When it may run: ["22:00", "06:00"]. */
	readonly window?: readonly [string, string] | undefined;
	/** By whose clock: "Europe/Berlin"; UTC unless given. */
	readonly timezone?: string | undefined;
	/** On which days the window opens; all unless given. */
	readonly days?: readonly ("mon" | "tue" | "wed" | "thu" | "fri" | "sat" | "sun")[] | undefined;
	/** How many may begin in a period (a second unless given), on all nodes together, and how many of them at once (the limit). */
	readonly rateLimit?: RateLimit | KeyRateLimit | readonly [RateLimit, KeyRateLimit] | readonly [KeyRateLimit, RateLimit] | undefined;
	/**
	 * Where in the payload its key stands: "customer.id". Keys take turns; with a limit, so many of each may run at once. A task has
	 * one key.
	 */
	readonly concurrencyKey?: string | { readonly key: string; readonly limit?: number } | undefined;
	/** Where in the payload its key stands: of each key one runs at a time, in their order. */
	readonly fifoKey?: string | undefined;
	/** Many at a time: its function is given a list of events. */
	readonly batch?: BatchOptions | undefined;
}

export interface RateLimit {
	readonly limit: number;
	readonly period?: Duration;
	readonly burst?: number;
}

/** So many of each key. */
export interface KeyRateLimit extends RateLimit {
	/** Where in the payload it stands: "customer.id". */
	readonly key: string;
}

export interface BatchOptions {
	/** Executions of one call, at most. */
	readonly size: number;
	/** How long the first of them waits for others. */
	readonly timeoutMs: number;
}

export type Retention = Duration | { days: number } | false;

/** A task that is written in one place and known in others: what `defineTask` returns. */
export interface TaskDefinition<
	Name extends string = string, Payload extends StandardSchema = any, Returns extends StandardSchema = any,
> extends TaskRef<Name, Payload, Returns> {
	readonly batch?: undefined;
	readonly [defined]: readonly [Payload, Returns];
}

/** A task: its name, what it is invoked with and what it returns, as any Standard Schema has it; and its options, if they are known. */
export function defineTask<const Name extends string, Payload extends StandardSchema = never, Returns extends StandardSchema = never>(
	task: TaskRef<Name, Payload, Returns> & { readonly batch?: undefined },
): TaskDefinition<Name, Payload, Returns>;

/** A task for the compiler alone. */
export type DefineTask<T extends { name: string; payload?: unknown; returns?: unknown }> = T;

/**
 * The tasks that a program serves or invokes. With schemas, payloads are checked before they are stored, and when they come, where
 * they are what the schema makes of them; so are results.
 */
export class TaskSchemas<Tasks extends object = {}> {
	static fromSchema<const D extends readonly TaskDefinition[]>(
		tasks: D,
	): TaskSchemas<{ [E in D[number] as E["name"]]: SaidBySchemas<E[typeof defined][0], E[typeof defined][1]> }>;
	static fromTypes<D extends readonly { name: string; payload?: unknown; returns?: unknown }[]>(): TaskSchemas<{
		[E in D[number] as E["name"]]: SaidByTypes<E>;
	}>;
	protected constructor();
	/** Of those with schemas. */
	readonly names: string[];
	readonly [taskTypes]?: Tasks;
}

/** input: what it is invoked with; output: what its function gets; returned: what that returns; result: what whoever waits gets. */
interface SaidBySchemas<P extends StandardSchema, R extends StandardSchema> {
	input: [P] extends [never] ? unknown : SchemaTypes<P>["input"];
	output: [P] extends [never] ? any : SchemaTypes<P>["output"];
	returned: [R] extends [never] ? unknown : SchemaTypes<R>["input"];
	result: [R] extends [never] ? any : SchemaTypes<R>["output"];
}
interface SaidByTypes<T> {
	input: T extends { payload: infer P } ? P : unknown;
	output: T extends { payload: infer P } ? Saved<P> : any;
	returned: T extends { returns: infer R } ? R : unknown;
	result: T extends { returns: infer R } ? Saved<R> : any;
}
/** What is said of a task: with it, else by the conductor's TaskSchemas. */
type SaidOf<Tasks extends object, Name, P extends StandardSchema, R extends StandardSchema> = {
	[K in keyof SaidBySchemas<P, R>]: [K extends "input" | "output" ? P : R] extends [never]
		? Name extends keyof Tasks ? Tasks[Name] extends { [_ in K]: infer Type } ? Type : never : SaidBySchemas<never, never>[K]
		: SaidBySchemas<P, R>[K];
};
/** What names a task: itself, its definition, or its name; one that is declared, if any are. */
export type Named<Tasks extends object = {}> = Task<never, any, any> | TaskDefinition
	| ([keyof Tasks] extends [never] ? TaskName : { readonly name: keyof Tasks & string; readonly queue?: string | undefined });

/** What a task was started by. */
export interface TaskEvent<Payload = any, Name extends string = string, At extends Date | null = Date | null> {
	/** "pgconductor.invoke", the name of the schedule, or that of the event: "order.paid", "public.users.insert". */
	readonly name: Name;
	/** What that is. */
	readonly kind: "invoke" | "schedule" | "event" | "change";
	readonly payload: Payload;
	/** Of a schedule, the time for which it was started, whenever it runs; of an event, when it was emitted. */
	readonly at: At;
}

/**
 * A task with its function; what it takes, what it returns, and what whoever waits for it gets of that, are known to the compiler
 * alone.
 */
export interface Task<in Payload = any, out Return = unknown, out Result = Saved<Return>> extends TaskName {
	readonly queue: string;
	/** There is no such property. */
	readonly [types]: (payload: Payload) => readonly [Return, Result];
}

export type Handler<Payload = any, Return = unknown, Own extends object = {}, Events extends object = {}, Tasks extends object = {}> =
	(event: TaskEvent<Payload>, ctx: TaskContext<Own, Events, Tasks>) => Return | PromiseLike<Return>;

/* ---- Triggers */

/** What starts a task. A task may have any number of them, in a list. */
export type Trigger<Events extends object = {}, Tables extends object = {}> =
	InvocableTrigger | CronTrigger | EventTrigger<EventName<Events>> | ChangeOfTables<Tables>;

/** Invoked by name. */
export interface InvocableTrigger {
	readonly invocable: true;
}

/** Again and again. It stays when the program ends, and is gone when the program does not have it any more. */
export interface CronTrigger extends ScheduleOptions {
	/** `event.name`, unique in its task; the expression unless given. */
	readonly name?: string | undefined;
	/** null unless given. */
	readonly payload?: unknown;
}

export interface ScheduleOptions {
	/** "30 9 * * mon-fri": minute, hour, day of month, month, day of week; of six fields the first is seconds; "@daily" and the like. */
	readonly cron: string;
	/** "Europe/Berlin"; "UTC" unless given. */
	readonly timezone?: string | undefined;
	/** "skip": nothing is started while the execution of a former time is unfinished. "allow" unless given. */
	readonly overlap?: "allow" | "skip" | undefined;
	/** What is made up for when nothing ran for more than a minute: nothing ("skip", unless given), "last", "all", the last so many. */
	readonly catchup?: "skip" | "last" | "all" | number | undefined;
}

/** When an event is emitted. */
export interface EventTrigger<Name extends string = string> {
	readonly event: Name;
	/** An SQL expression over `event`, its name, and `payload`, a jsonb: "(payload->>'total')::numeric > 100". */
	readonly when?: string | undefined;
	/** The parts of the payload that are passed on: "id,customer.name", or a list; all unless given. */
	readonly fields?: string | readonly string[] | undefined;
}

export type Operation = "insert" | "update" | "delete";

/** When a row of a table changes: `event.name` is "public.users.insert", `event.payload` a Change. */
export interface ChangeTrigger<Schema extends string = string, Table extends string = string> {
	/** "public" unless given. */
	readonly schema?: Schema | undefined;
	readonly table: Table;
	readonly operation: Operation;
	/** The columns that are passed on: "id,email", or a list; all unless given. */
	readonly columns?: string | readonly string[] | undefined;
	/** The condition of the database's trigger, an SQL expression over `old` and `new`: "new.email is distinct from old.email". */
	readonly when?: string | undefined;
}

/** A value as it stands in an SQL expression, whatever is in it: `"payload->>'id' = " + literal(id)`. */
export function literal(value: string | number | bigint): string;

/** A row that changed, before and after. */
export interface Change<Row = any, Op extends Operation = Operation> {
	readonly old: Op extends "insert" ? null : Row;
	readonly new: Op extends "delete" ? null : Row;
	readonly tg_table: string;
	/** In capitals. */
	readonly tg_op: Uppercase<Op>;
	/** The row is longer than `max_payload`: then `old` and `new` are both null. */
	readonly tg_error?: string;
}

/** What the function of a task with these triggers is given. Payload: what it is invoked with, if that is said. */
export type EventOf<T, Events extends object = {}, Payload = any, Tables extends object = {}> =
	T extends readonly (infer One)[] ? EventOfOne<One, Events, Payload, Tables> : EventOfOne<T, Events, Payload, Tables>;

type EventOfOne<T, Events extends object, Payload, Tables extends object> =
	T extends { readonly invocable: true } ? TaskEvent<Payload, "pgconductor.invoke", null>
	: T extends { readonly cron: infer Cron extends string }
		? TaskEvent<T extends { readonly payload: infer P } ? 0 extends 1 & Payload ? Plain<P> : Payload : null,
			T extends { readonly name: infer N extends string } ? N : Cron, Date>
	: T extends { readonly event: infer N extends string }
		? TaskEvent<T extends { readonly fields: infer F } ? Picked<EventPayload<Events, N>, Names<F>> : EventPayload<Events, N>, N, Date>
	: T extends ChangeTrigger ? TaskEvent<ChangeOf<T, Tables>, ChangeName<T>, Date>
	: never;

type SchemaOf<T> = T extends { readonly schema: infer S extends string } ? S : "public";
type ChangeName<T extends ChangeTrigger> = `${SchemaOf<T>}.${T["table"]}.${T["operation"]}`;
type RowOf<T extends ChangeTrigger, Tables extends object> =
	SchemaOf<T> extends infer S extends keyof Tables ? T["table"] extends infer N extends keyof Tables[S] ? Tables[S][N] : any : any;
type ChangeOf<T extends ChangeTrigger, Tables extends object = {}> = Change<
	T extends { readonly columns: infer C } ? ColumnsOf<RowOf<T, Tables>, Names<C>> : RowOf<T, Tables>, T["operation"]>;
type ColumnsOf<Row, Column extends string> = string extends Column ? Row
	: { readonly [C in Column]: C extends keyof Row ? Row[C] : any };
/** Of a conductor that knows the database, one of its tables. */
type ChangeOfTables<Tables extends object> = [keyof Tables] extends [never] ? ChangeTrigger : {
	[S in keyof Tables & string]: ChangeTrigger<S, keyof Tables[S] & string> & (S extends "public" ? unknown : { readonly schema: S })
}[keyof Tables & string];
/** Columns that its table does not have. */
type StrayColumns<T, Tables extends object> = T extends ChangeTrigger & { readonly columns: infer C }
	? string extends Names<C> ? never : Exclude<Names<C>, "" | keyof RowOf<T, Tables>> : never;

/* ---- The database */

/**
 * The tables of the database, for the compiler alone: what `pgconductor gen types typescript` writes, or `supabase gen types typescript`.
 */
export class DatabaseSchema<Tables extends object = {}> {
	static fromGeneratedTypes<Database extends object>(): DatabaseSchema<TablesOf<Database>>;
	static fromSupabaseTypes<Database extends object>(): DatabaseSchema<TablesOf<Database>>;
	/** By schema and table, what the JSON of a row is: `{ public: { users: z.object({ id: z.string() }) } }`. Rows are not checked. */
	static fromSchema<const D extends { readonly [schema: string]: { readonly [table: string]: StandardSchema } }>(
		tables: D,
	): DatabaseSchema<{ [S in keyof D]: { [T in keyof D[S]]: SchemaTypes<D[S][T]>["input"] } }>;
	protected constructor();
	readonly [rowTypes]?: Tables;
}

/** By schema and table, the rows. */
export type TablesOf<Database extends object> = {
	[S in keyof Database as Database[S] extends { Tables: object } ? S : never]:
		Database[S] extends { Tables: infer All } ? { [T in keyof All]: All[T] extends { Row: infer Row } ? Row : any } : never;
};

/** "id, email" as "id" | "email". */
type Names<List> = List extends readonly (infer Name extends string)[] ? Name : List extends string ? Split<List> : string;
type Split<List extends string> = string extends List ? string
	: List extends `${infer First},${infer Rest}` ? Trimmed<First> | Split<Rest> : Trimmed<List>;
type Trimmed<Text extends string> = Text extends ` ${infer Rest}` | `${infer Rest} ` ? Trimmed<Rest> : Text;
/** The parts that dotted names stand for. */
type Picked<P, Name extends string> = 0 extends 1 & P ? any : string extends Name ? any : P extends object ? {
	readonly [K in keyof P & string as K extends Heads<Name> ? K : never]: K extends Name ? P[K] : Picked<P[K], Tails<Name, K>>
} : P;
type Heads<Name extends string> = Name extends `${infer Head}.${string}` ? Head | Name : Name;
type Tails<Name extends string, Head extends string> = Name extends `${Head}.${infer Tail}` ? Tail : never;
/** As the compiler would have it if it were not for `const`. */
type Plain<T> = T extends string ? string : T extends number ? number : T extends boolean ? boolean
	: T extends object ? { -readonly [K in keyof T]: Plain<T[K]> } : T;

/** What invokes a task: an annotation of its event says so, or that there is such a trigger. */
type InvokedPayload<E> = E extends { readonly name: infer Name; readonly payload: infer P }
	? string extends Name ? P : Name extends "pgconductor.invoke" ? P : never : any;

/* ---- Events */

/** As Zod, Valibot, ArkType and others have them: https://standardschema.dev. */
export interface StandardSchema<Input = any, Output = any> {
	readonly "~standard": {
		readonly version: 1;
		readonly vendor: string;
		readonly validate: (value: unknown) => SchemaResult<Output> | Promise<SchemaResult<Output>>;
		readonly types?: { readonly input: Input; readonly output: Output } | undefined;
		/** Some can say what they want as JSON Schema, which is what the server is told. */
		readonly jsonSchema?: { readonly input: (options: { readonly target: "draft-2020-12" }) => Record<string, unknown> } | undefined;
	};
}

export type SchemaResult<Output = any> =
	| { readonly value: Output; readonly issues?: undefined }
	| { readonly issues: readonly Issue[] };

/** What is wrong with a value, and where. */
export interface Issue {
	readonly message: string;
	readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined;
}

export interface EventDefinition<Name extends string = string, Schema extends StandardSchema = StandardSchema> {
	readonly name: Name;
	readonly payload: Schema;
}

/** An event and what its payload is to be. */
export function defineEvent<const Name extends string, Schema extends StandardSchema>(
	event: { readonly name: Name; readonly payload: Schema },
): EventDefinition<Name, Schema>;

/** An event for the compiler alone. */
export type DefineEvent<T extends { name: string; payload: unknown }> = T;

/**
 * The events that a program emits, is started by and waits for. With schemas, payloads are checked before they are emitted, and
 * when they are delivered, where they are what the schema makes of them: defaults and conversions apply there.
 */
export class EventSchemas<Events extends object = {}> {
	static fromSchema<const D extends readonly EventDefinition[]>(
		events: D,
	): EventSchemas<{ [E in D[number] as E["name"]]: SchemaTypes<E["payload"]> }>;
	static fromTypes<D extends readonly { name: string; payload: unknown }[]>(): EventSchemas<{
		[E in D[number] as E["name"]]: { input: E["payload"]; output: E["payload"] };
	}>;
	protected constructor();
	/** Of those with schemas. */
	readonly names: string[];
	readonly [types]?: Events;
}

type SchemaTypes<S extends StandardSchema> = NonNullable<S["~standard"]["types"]>;
/** Those that were given to Conductor.create; any, if none were. */
export type EventName<Events extends object> = [keyof Events] extends [never] ? string : keyof Events & string;
/** What is delivered. */
export type EventPayload<Events extends object, Name> =
	Name extends keyof Events ? Events[Name] extends { readonly output: infer P } ? P : any : any;
/** What is emitted. */
export type EmittedPayload<Events extends object, Name> =
	Name extends keyof Events ? Events[Name] extends { readonly input: infer P } ? P : unknown : unknown;
/** null may be left out. */
type Emitted<P> = unknown extends P ? [payload?: P] : null extends P ? [payload?: P | RawJSON] : [payload: P | RawJSON];

/** An event to wait for. */
export interface AwaitedEvent<Name extends string = string> extends WaitOptions {
	readonly event: Name;
	/** An SQL expression over `event` and `payload`, a jsonb, that is to hold. */
	readonly when?: string | undefined;
}

/** The change of a table to wait for. */
export interface AwaitedChange extends ChangeTrigger, WaitOptions {}

export interface WaitOptions {
	/** What its payload is saved as. */
	readonly key?: string | undefined;
	/** Waits so long at most: then `EventTimeout` is thrown. */
	readonly timeout?: Duration | undefined;
	/** "start": also what has happened since the execution was invoked, or behind the last one of that name that it got. "now" unless given. */
	readonly since?: "start" | "now" | undefined;
}

export type Awaitable<Events extends object = {}, Tables extends object = {}> =
	AwaitedEvent<EventName<Events>> | (ChangeOfTables<Tables> & WaitOptions);
/** There are no other options. W: what is waited for, or a list of that. */
type ExactlyAwaited<W, Tables extends object> = [ExtraAwaited<W>] extends [never] ? HasColumns<W, Tables>
	: { "pgconductor: no such option": ExtraAwaited<W> };
type ExtraAwaited<W> = W extends readonly (infer One)[] ? ExtraOfAwaited<One> : ExtraOfAwaited<W>;
type ExtraOfAwaited<W> = Exclude<keyof W, W extends { readonly event: string } ? keyof AwaitedEvent : keyof AwaitedChange>;
/** The payload of what is waited for. */
export type PayloadAwaited<W, Events extends object = {}, Tables extends object = {}> =
	W extends { readonly event: infer N } ? EventPayload<Events, N> : W extends ChangeTrigger ? ChangeOf<W, Tables> : any;

/* ---- Executions */

/** What a task's function is given beside its event: this, and the properties of the conductor's own `context`. */
export type TaskContext<Own extends object = {}, Events extends object = {}, Tasks extends object = {}, Tables extends object = {}> =
	ExecutionContext<Events, Tasks, Tables> & Readonly<Own>;

/**
 * A function runs from its beginning each time: after a failure, after the end of its process, and when what it waited for
 * is over. What is saved under a key is there again, so that what was done is not done twice. A key names one step, sleep or
 * child of an execution; one used twice in a run fails it for good. One left out is `task#1`, `task#2`, … by its turn.
 *
 * `sleep`, `invoke`, `invokeAll`, `waitForEvent`, `waitForAll` and `waitForAny` suspend: the function is dropped where it awaits
 * them, its `finally` blocks do not run, and it begins anew later. It does so once nothing else is to be done; several waits at a
 * time are waited for together.
 */
export interface ExecutionContext<Events extends object = {}, Tasks extends object = {}, Tables extends object = {}> {
	/**
	 * Does it, and saves the result; later runs get what was saved. Resolves once it is committed. What it throws is not saved.
	 * The result is JSON: a Date comes back as text, undefined as null.
	 */
	step<T>(key: string, fn: () => T | PromiseLike<T>): Promise<Saved<T>>;
	step<T>(fn: () => T | PromiseLike<T>): Promise<Saved<T>>;
	/**
	 * A step whose result is committed together with what `fn` writes in the transaction, or not at all. When it is saved
	 * already `fn` is not called. `sql`: a postgres.js instance, or a pool of pg.
	 */
	transaction<T, Types extends Record<string, unknown>>(
		key: string, sql: Sql<Types>, fn: (tx: TransactionSql<Types>) => T | PromiseLike<T>,
	): Promise<Saved<T>>;
	transaction<T, Tx extends PgClient = PgClient>(key: string, pool: PgPool, fn: (tx: Tx) => T | PromiseLike<T>): Promise<Saved<T>>;
	/** Goes on after that time, counted from when it was first asked for. Meanwhile nothing is held. */
	sleep(key: string, duration: Duration): Promise<void>;
	sleep(duration: Duration): Promise<void>;
	/** Waits for an execution of another task, and returns its result. Throws `ChildFailed`, or `ChildTimeout`. */
	invoke<const T extends Named<Tasks>>(task: T, payload: PayloadOf<T, Tasks> | RawJSON, options?: ChildOptions): Promise<ChildResult<T, Tasks>>;
	invoke<const T extends Named<Tasks>>(
		key: string, task: T, payload: PayloadOf<T, Tasks> | RawJSON, options?: Omit<ChildOptions, "key">,
	): Promise<ChildResult<T, Tasks>>;
	/**
	 * Many at a time. Results in the order of the children, once all are over; throws the first error, or, with
	 * `returnErrors`, has each error in its place.
	 */
	invokeAll<const T extends readonly Named<Tasks>[]>(
		children: { readonly [I in keyof T]: Child<T[I], Tasks> }, options: { returnErrors: true },
	): Promise<{ -readonly [I in keyof T]: ChildResult<T[I], Tasks> | ChildFailed }>;
	invokeAll<const T extends readonly Named<Tasks>[]>(
		children: { readonly [I in keyof T]: Child<T[I], Tasks> }, options?: { returnErrors?: false },
	): Promise<{ -readonly [I in keyof T]: ChildResult<T[I], Tasks> }>;
	/** Waits for an event, or for the change of a table, and returns its payload. Throws `EventTimeout`. */
	waitForEvent<const W extends Awaitable<Events, Tables>>(key: string, event: W & ExactlyAwaited<W, Tables>): Promise<PayloadAwaited<W, Events, Tables>>;
	waitForEvent<const W extends Awaitable<Events, Tables>>(event: W & ExactlyAwaited<W, Tables>): Promise<PayloadAwaited<W, Events, Tables>>;
	/**
	 * Waits for all of these. Their payloads in this order, once all are over; throws the first error, or, with `returnErrors`, has
	 * each error in its place. `timeout`: of those that do not say otherwise.
	 */
	waitForAll<const W extends readonly Awaitable<Events, Tables>[]>(
		events: W & ExactlyAwaited<W, Tables>, options: { timeout?: Duration | undefined; returnErrors: true },
	): Promise<{ -readonly [I in keyof W]: PayloadAwaited<W[I], Events, Tables> | WaitFailed }>;
	waitForAll<const W extends readonly Awaitable<Events, Tables>[]>(
		events: W & ExactlyAwaited<W, Tables>, options?: { timeout?: Duration | undefined; returnErrors?: false },
	): Promise<{ -readonly [I in keyof W]: PayloadAwaited<W[I], Events, Tables> }>;
	/**
	 * Waits for the first of these, and says which it was: the one it went on with is saved under the key, so that it is the same in
	 * later runs. One that takes longer than its `timeout` is over, too: then it throws `EventTimeout`.
	 */
	waitForAny<const W extends readonly Awaitable<Events, Tables>[]>(
		events: W & ExactlyAwaited<W, Tables>, options?: { timeout?: Duration | undefined },
	): Promise<FirstOf<W, Events, Tables>>;
	waitForAny<const W extends readonly Awaitable<Events, Tables>[]>(
		key: string, events: W & ExactlyAwaited<W, Tables>, options?: { timeout?: Duration | undefined },
	): Promise<FirstOf<W, Events, Tables>>;
	/**
	 * Says that something has happened, which starts tasks and resumes those who wait for it; returns the event's id. It is not
	 * saved: do it in a step, or each run does it. Throws `BadPayload` if the payload is not as the event's schema wants.
	 */
	emit<N extends EventName<Events>>(event: N, ...payload: Emitted<EmittedPayload<Events, N>>): Promise<string>;
	/**
	 * Has a task executed again and again; returns when for the first time, null if that is never. One of the same task and name is
	 * replaced, so that it may be done in each run. It stays, whatever becomes of programs, until it is unscheduled.
	 */
	schedule<const T extends Named<Tasks>>(
		task: T, name: string, options: DynamicScheduleOptions, payload?: PayloadOf<T, Tasks> | RawJSON,
	): Promise<Date | null>;
	/** Removes a schedule; false if there is none. */
	unschedule(task: Named<Tasks>, name: string): Promise<boolean>;
	/**
	 * Invokes a task, and does not wait for what comes of it; returns its id. It is not saved: do it in a step, or each run
	 * does it. Not in the caller's transaction.
	 */
	start<const T extends Named<Tasks>>(
		task: T, payload: PayloadOf<T, Tasks> | RawJSON, options?: CertainOptions & { queue?: string | undefined },
	): Promise<string>;
	start<const T extends Named<Tasks>>(
		task: T, payload: PayloadOf<T, Tasks> | RawJSON, options: InvokeOptions & { queue?: string | undefined },
	): Promise<string | null>;
	/** Cancels another execution; false if there is no unfinished one. */
	cancel(id: string, options?: { reason?: string | undefined }): Promise<boolean>;
	/**
	 * For a loop that takes long: where it may stop. Throws `Cancelled` if it is to; when its process is to end it is run
	 * again elsewhere, with what it has saved and without having lost an attempt.
	 */
	checkpoint(): Promise<void>;
	/** How far it is, for people: 0 to 100, and a line. May be called often. */
	progress(percent?: number | null, note?: string): void;
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

/** What the function of a task with `batch` is given beside its events: this, and the properties of the conductor's own `context`. */
export type BatchContext<Own extends object = {}> =
	Pick<ExecutionContext, "task" | "queue" | "logger" | "signal"> & Readonly<Own> & {
		/** In the order of the events. */
		readonly executionIds: readonly string[];
	};

/** What comes back of a value that was saved as JSON. */
export type Saved<T> =
	0 extends 1 & T ? T :
	T extends string | number | boolean | null ? T
	: T extends undefined | void ? null
	: T extends { toJSON(): infer Text } ? Saved<Text>
	: T extends readonly unknown[] ? { [I in keyof T]: Saved<T[I]> }
	: T extends (...args: any[]) => unknown ? never
	: T extends object ? { [K in keyof T]: undefined extends T[K] ? Saved<Exclude<T[K], undefined>> | undefined : Saved<T[K]> }
	: T;

/** Which one came first, and its payload. */
export type FirstOf<W extends readonly unknown[], Events extends object = {}, Tables extends object = {}> = {
	[I in keyof W]: {
		readonly index: I extends `${infer N extends number}` ? N : number;
		readonly payload: PayloadAwaited<W[I], Events, Tables>;
	}
}[number];

export interface DynamicScheduleOptions extends ScheduleOptions {
	/** false: it is paused. */
	readonly enabled?: boolean | undefined;
}

export interface ChildOptions {
	/** What its outcome is saved as. */
	readonly key?: string | undefined;
	/** In place of the task's own. */
	readonly queue?: string | undefined;
	/** Higher first, -32768 to 32767; the task's own unless given. */
	readonly priority?: number | undefined;
	/** Waits so long at most: then the child is cancelled, and `ChildTimeout` is thrown. */
	readonly timeout?: Duration | undefined;
	/** Besides what it inherits: an object's keys count before those. */
	readonly metadata?: unknown;
}

export interface Child<T = TaskName, Tasks extends object = {}> extends ChildOptions {
	readonly task: T;
	readonly payload: PayloadOf<T, Tasks> | RawJSON;
}

/** Of a task that the compiler does not know: anything. */
export type ChildResult<T, Tasks extends object = {}> = T extends Task<never, any, infer Result> ? Result
	: T extends { readonly [defined]: readonly [any, infer R extends StandardSchema] } ? SaidBySchemas<never, R>["result"]
	: T extends { readonly name: infer N } ? SaidOf<Tasks, N, never, never>["result"] : any;

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

export interface ConductorOptions<Own extends object = {}, Events extends object = {}, Tasks extends object = {}, Tables extends object = {}> {
	/** A URL; else DATABASE_URL, else PG*. Either this or `sql`. It is also where a program started by hand serves. */
	connectionString?: string | undefined;
	/** A postgres.js instance, or a pool or client of pg. A program started by hand serves the same database. */
	sql?: Connection | undefined;
	/**
	 * Tasks that this program invokes, served by whatever program: `TaskSchemas.fromSchema([…])`, or a list of references. They are
	 * declared before they are invoked.
	 */
	tasks?: TaskSchemas<Tasks> | readonly TaskRef[] | undefined;
	/** Events that it knows: `EventSchemas.fromSchema([…])`. */
	events?: EventSchemas<Events> | undefined;
	/** The tables whose changes start tasks: `DatabaseSchema.fromGeneratedTypes<Database>()`. */
	database?: DatabaseSchema<Tables> | undefined;
	/** Properties for every task's context. */
	context?: Own | undefined;
	/** In place of the server's log. A task's lines come with `execution`, `task`, `attempt` and `queue` among their fields. */
	logger?: Logger | undefined;
}

/** Intervals take a duration, or units as in `{ minutes: 5 }`. */
export type Interval = Duration | { readonly [unit: string]: number };

export interface InvokeOptions {
	/** Higher first, -32768 to 32767; the task's own unless given. */
	priority?: number | undefined;
	run_at?: Date | string | undefined;
	runAt?: Date | string | undefined;
	delay?: Interval | undefined;
	/** Made once with this key: afterwards the id is that of the first. Also the key of `throttle` and `debounce`, else the task is. */
	dedupe_key?: string | undefined;
	dedupeKey?: string | undefined;
	/** For so long from when it was made, 0 while it is unfinished; as long as its history is kept if left out. */
	dedupe_for?: Interval | undefined;
	dedupeFor?: Interval | undefined;
	/** One in so long; more are not made, and null is returned. */
	throttle?: Interval | undefined;
	/** One, when so long no other was asked for, with the last payload. */
	debounce?: Interval | undefined;
	/** With `debounce`: so long after the first at the latest. */
	max_wait?: Interval | undefined;
	maxWait?: Interval | undefined;
	/** Any JSON: `ctx.metadata`. */
	metadata?: unknown;
}

/** With these there is always an id. */
export interface CertainOptions extends InvokeOptions {
	throttle?: undefined;
}

export interface BatchItem<Payload = unknown> extends InvokeOptions {
	payload: Payload | RawJSON;
	queue?: string | undefined;
}

export interface CertainItem<Payload = unknown> extends BatchItem<Payload> {
	throttle?: undefined;
}

/** Of pg: a Client, a Pool or what that lends. */
export interface PgClient {
	query(...args: any[]): any;
}

/** Of pg: a Pool. */
export interface PgPool extends PgClient {
	connect(...args: any[]): any;
	readonly totalCount: number;
}

/** A connection of postgres.js, a transaction of it, or one of pg. */
export type Connection = Sql<any> | TransactionSql<any> | PgClient;

/** Where a call is made: the caller's transaction (or any other connection) in place of the conductor's own. */
export interface CallOptions {
	sql?: Connection | undefined;
}

/** What a task is invoked with: of itself, of its definition, or of its name. */
export type PayloadOf<T, Tasks extends object = {}> = T extends Task<infer Payload, any, any> ? Payload
	: T extends { readonly [defined]: readonly [infer P extends StandardSchema, any] } ? SaidBySchemas<P, never>["input"]
	: T extends { readonly name: infer N } ? SaidOf<Tasks, N, never, never>["input"] : unknown;
/** What its function returns. */
export type ReturnOf<T> = T extends Task<never, infer Return, any> ? Return : unknown;

export interface Result<Return = any> {
	/** "ready", "delayed", "running", "suspended", "completed", "failed", "cancelled". */
	state: string;
	/** Of a completed one. */
	result: Return | undefined;
	/** Of the last attempt that failed. */
	error: { code: string; message: string; type?: string; stack?: string; data?: unknown } | undefined;
}

/** What can be said to the database. All throw a `ClientError` when PostgreSQL refuses the call. */
export interface Client<Options, Events extends object = {}, Tasks extends object = {}> {
	/** Creates executions, all or none; returns their ids in the order of the items. */
	invoke<const T extends Named<Tasks>>(
		task: T, items: readonly CertainItem<PayloadOf<T, Tasks>>[], options?: CertainOptions & Options,
	): Promise<string[]>;
	invoke<const T extends Named<Tasks>>(
		task: T, items: readonly BatchItem<PayloadOf<T, Tasks>>[], options?: InvokeOptions & Options,
	): Promise<(string | null)[]>;
	/** Creates an execution, and returns its id. A payload that is an array is a batch of one: `[{ payload: [1, 2] }]`. */
	invoke<const T extends Named<Tasks>>(task: T, payload: PayloadOf<T, Tasks> | RawJSON, options?: CertainOptions & Options): Promise<string>;
	invoke<const T extends Named<Tasks>>(task: T, payload: PayloadOf<T, Tasks> | RawJSON, options: InvokeOptions & Options): Promise<string | null>;
	/**
	 * Says that something has happened: starts the tasks that this event triggers, and resumes those that wait for it. Returns the
	 * event's id. Throws `BadPayload` if the payload is not as the event's schema wants.
	 */
	emit<N extends EventName<Events>>(event: N, ...payload: [...Emitted<EmittedPayload<Events, N>>, options?: Options]): Promise<string>;
	/** Has a task executed again and again; returns when for the first time, null if that is never. */
	schedule<const T extends Named<Tasks>>(
		task: T, name: string, schedule: DynamicScheduleOptions, payload?: PayloadOf<T, Tasks> | RawJSON, options?: Options,
	): Promise<Date | null>;
	/** Removes a schedule; false if there is none. */
	unschedule(task: Named<Tasks>, name: string, options?: Options): Promise<boolean>;
	/** Cancels an unfinished execution, and stops it if it runs; false if there is no unfinished one. */
	cancel(id: string, options?: { reason?: string | undefined } & Options): Promise<boolean>;
	/** Runs a finished execution again; false if there is no finished one. */
	retry(id: string, options?: Options): Promise<boolean>;
	/** Changes an unfinished execution that does not run; what is not given stays. False if there is none, or it is known to run. */
	edit(id: string, what: Edit, options?: Options): Promise<boolean>;
	/** Moves such an execution to another queue. */
	move(id: string, queue: string, options?: Options): Promise<boolean>;
	/** Has lists leave out a failed execution; false if it has not failed, or was discarded before. */
	discard(id: string, options?: Options): Promise<boolean>;
	/** State, result and error; null if it is unknown, or its history is gone. */
	result<Return = any>(id: string, options?: Options): Promise<Result<Return> | null>;
}

/** What is to be different about an execution. */
export interface Edit {
	payload?: unknown;
	priority?: number | undefined;
	runAt?: Date | string | undefined;
	metadata?: unknown;
}

/** Own: properties of the context; Events, Tasks, Tables: what it was told of these. */
export class Conductor<Own extends object = {}, Events extends object = {}, Tasks extends object = {}, Tables extends object = {}>
implements Client<CallOptions, Events, Tasks> {
	static create<Own extends object = {}, Events extends object = {}, Tasks extends object = {}, Tables extends object = {}>(
		options?: ConductorOptions<Own, Events, Tasks, Tables>,
	): Conductor<Own, Events, Tasks, Tables>;
	protected constructor(options?: ConductorOptions<Own, Events, Tasks, Tables>);

	/** A task, what starts it, and its function, to be served by an Orchestrator. */
	createTask<Payload = Unsaid, Return = unknown>(
		ref: Payload extends Unsaid ? never : TaskRef & { readonly batch?: undefined },
		triggers: Trigger<Events, Tables> | readonly Trigger<Events, Tables>[],
		handler: Handler<NoInfer<Payload>, Return, Own, Events, Tasks>,
	): Task<Payload, Awaited<Return>>;
	/** Many executions at a time: it returns a result, or an Error, for each event, in their order. */
	createTask<
		const Name extends string, const T extends Trigger<Events, Tables> | readonly Trigger<Events, Tables>[], Return,
		Payload extends StandardSchema = never, Returns extends StandardSchema = never,
		Event = EventOf<T, Events, SaidOf<Tasks, Name, Payload, Returns>["output"], Tables>,
	>(
		ref: TaskRef<Name, Payload, Returns> & { readonly batch: BatchOptions },
		triggers: T & Fits<EventOf<T, Events, SaidOf<Tasks, Name, Payload, Returns>["output"], Tables>, Event> & Exactly<T, Tables>,
		handler: BatchHandlerOf<Event, BatchContext<Own>, SaidOf<Tasks, Name, Payload, Returns>["returned"], Return>,
	): MadeTask<SaidOf<Tasks, Name, Payload, Returns>, Event, Exclude<Return, Error>>;
	createTask<
		const Name extends string, const T extends Trigger<Events, Tables> | readonly Trigger<Events, Tables>[], Return,
		Payload extends StandardSchema = never, Returns extends StandardSchema = never,
		Event = EventOf<T, Events, SaidOf<Tasks, Name, Payload, Returns>["output"], Tables>,
	>(
		ref: TaskRef<Name, Payload, Returns> & { readonly batch?: undefined },
		triggers: T & Fits<EventOf<T, Events, SaidOf<Tasks, Name, Payload, Returns>["output"], Tables>, Event> & Exactly<T, Tables>,
		handler: HandlerOf<Event, TaskContext<Own, Events, Tasks, Tables>, SaidOf<Tasks, Name, Payload, Returns>["returned"], Return>,
	): MadeTask<SaidOf<Tasks, Name, Payload, Returns>, Event, Awaited<Return>>;
	/** A queue of its own for some tasks. */
	createWorker(options: { queue: string; tasks: readonly Task<never, any, any>[]; config?: WorkerConfig }): Worker;

	invoke<const T extends Named<Tasks>>(
		task: T, items: readonly CertainItem<PayloadOf<T, Tasks>>[], options?: CertainOptions & CallOptions,
	): Promise<string[]>;
	invoke<const T extends Named<Tasks>>(
		task: T, items: readonly BatchItem<PayloadOf<T, Tasks>>[], options?: InvokeOptions & CallOptions,
	): Promise<(string | null)[]>;
	invoke<const T extends Named<Tasks>>(task: T, payload: PayloadOf<T, Tasks> | RawJSON, options?: CertainOptions & CallOptions): Promise<string>;
	invoke<const T extends Named<Tasks>>(task: T, payload: PayloadOf<T, Tasks> | RawJSON, options: InvokeOptions & CallOptions): Promise<string | null>;
	emit<N extends EventName<Events>>(
		event: N, ...payload: [...Emitted<EmittedPayload<Events, N>>, options?: CallOptions]
	): Promise<string>;
	schedule<const T extends Named<Tasks>>(
		task: T, name: string, schedule: DynamicScheduleOptions, payload?: PayloadOf<T, Tasks> | RawJSON, options?: CallOptions,
	): Promise<Date | null>;
	unschedule(task: Named<Tasks>, name: string, options?: CallOptions): Promise<boolean>;
	cancel(id: string, options?: { reason?: string | undefined } & CallOptions): Promise<boolean>;
	retry(id: string, options?: CallOptions): Promise<boolean>;
	edit(id: string, what: Edit, options?: CallOptions): Promise<boolean>;
	move(id: string, queue: string, options?: CallOptions): Promise<boolean>;
	discard(id: string, options?: CallOptions): Promise<boolean>;
	result<Return = any>(id: string, options?: CallOptions): Promise<Result<Return> | null>;
	/**
	 * Waits for an execution's end, and returns its result: what the task's `returns` makes of it, if that is given. Throws
	 * `ExecutionFailed` if it failed for good or was cancelled, `TimeoutError`, and `UnknownExecution`. Not on a connection that is in a
	 * transaction; within a task it is `ctx.invoke` that waits.
	 */
	wait<const T extends Named<Tasks>>(id: string, options: { task: T; timeout?: Duration | undefined } & CallOptions): Promise<ChildResult<T, Tasks>>;
	wait<Return = any>(id: string, options?: { timeout?: Duration | undefined } & CallOptions): Promise<Return>;
	/** The client within a transaction: `sql.begin((tx) => conductor.with(tx).invoke(…))`. */
	with(sql: Connection): Client<{}, Events, Tasks>;

	/** Installs the schema if it is not there (with `pgconductor migrate`), and declares this conductor's tasks. */
	ensureInstalled(): Promise<void>;
	/** Closes the connections it opened itself; without it they close after a second of idleness. */
	close(): Promise<void>;

	readonly connectionString: string | undefined;
	/** Outside of tasks: the custom logger, else stderr. */
	readonly logger: Logger;
}

/** Types are inferred. */
declare const unsaid: unique symbol;
interface Unsaid { readonly [unsaid]: true }

/** Said: what it is to return, if that is known. (One type for all of the function: so the compiler knows it when it looks inside.) */
type HandlerOf<Event, Context, Said, Return> = unknown extends Said
	? (event: Event, ctx: Context) => Return | PromiseLike<Return>
	: (event: Event, ctx: Context) => Said | PromiseLike<Said>;
type BatchHandlerOf<Event, Context, Said, Return> = unknown extends Said
	? (events: readonly Event[], ctx: Context) => readonly Return[] | PromiseLike<readonly Return[]>
	: (events: readonly Event[], ctx: Context) => readonly (Said | Error)[] | PromiseLike<readonly (Said | Error)[]>;
/** The task of a function that takes this event and returns that. Said: what its schemas say. */
type MadeTask<Said extends { input: unknown; returned: unknown; result: unknown }, Event, Return> = Task<
	[InvokedPayload<Event>] extends [never] ? never : unknown extends Said["input"] ? InvokedPayload<Event> : Said["input"],
	unknown extends Said["returned"] ? Return : Said["returned"],
	0 extends 1 & Said["result"] ? Saved<Return> : Said["result"]>;

/** There are no other options. T: what has options, or a list of those. */
type Exactly<T, Tables extends object> = [Extra<T>] extends [never] ? HasColumns<T, Tables> : { "pgconductor: no such option": Extra<T> };
type HasColumns<T, Tables extends object> = [StrayColumnsOf<T, Tables>] extends [never] ? unknown
	: { "pgconductor: no such column": StrayColumnsOf<T, Tables> };
type StrayColumnsOf<T, Tables extends object> =
	T extends readonly (infer One)[] ? One extends unknown ? StrayColumns<One, Tables> : never : StrayColumns<T, Tables>;
type Extra<T> = T extends readonly (infer One)[] ? ExtraOf<One> : ExtraOf<T>;
type ExtraOf<T> = T extends { readonly event: string } ? Exclude<keyof T, keyof EventTrigger>
	: T extends { readonly cron: string } ? Exclude<keyof T, keyof CronTrigger>
	: T extends { readonly table: string } ? Exclude<keyof T, keyof ChangeTrigger>
	: T extends InvocableTrigger ? Exclude<keyof T, keyof InvocableTrigger> : never;
/** What is annotated has to be what comes. */
type Fits<Comes, Event> = [Comes] extends [Event] ? unknown : { "pgconductor: the function takes another event": Comes };

/* ---- Orchestrator */

export interface WorkerConfig {
	/**
	 * Executions of the queue that run at once: on a node that runs this program (by hand, or as `run -- CMD`), unless its
	 * configuration has a section for the queue, which counts; and in one process in any case. 10 on a node, and 100 in a process, unless
	 * given.
	 */
	concurrency?: number | undefined;
	/**
	 * Executions read at once, likewise (`fetch_batch` in the configuration; 1000 unless given), and handed to one process at once, those that
	 * wait in it included (as many as concurrency unless given).
	 */
	fetchBatchSize?: number | undefined;
	/**
	 * How often a server at rest looks for work although nobody has told it of any, likewise (`poll_interval` in the configuration; 5000
	 * unless given): 100 at least, and what is less is that. The shortest of all queues counts for all of them. Work is told of as it is
	 * committed and waits for no poll, unless a transaction says `set pgconductor.notify = off`.
	 */
	pollIntervalMs?: number | undefined;
	/** Accepted, without effect: outcomes are gathered by the server. */
	flushIntervalMs?: number | undefined;
}

export interface Worker {
	readonly queue: string;
	readonly tasks: readonly Task<never, any, any>[];
	readonly config: WorkerConfig;
}

export interface OrchestratorOptions {
	conductor: Conductor<any, any, any, any>;
	/** Each in its own queue. */
	tasks?: readonly Task<never, any, any>[] | undefined;
	/** Tasks in queues of their own. */
	workers?: readonly Worker[] | undefined;
	/** For the queues that no worker is given for. */
	defaultWorker?: WorkerConfig | undefined;
	/**
	 * Ends a process of which nothing was heard for so long, as its event loop stands still; what it was running has crashed.
	 * None unless given.
	 */
	heartbeat?: Duration | undefined;
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

/**
 * Thrown by `ctx.invoke` and `ctx.invokeAll`: the child has failed for good, or was cancelled. Uncaught it fails its parent for
 * good, as "Child execution failed: " and its message.
 */
export class ChildFailed extends PgconductorError {
	constructor(message?: string, options?: { code?: string; type?: string; data?: unknown; key?: string; task?: string });
	/** Of its error: "app", "cancelled", "unknown_task", or another one. */
	readonly code: string;
	/** Class of its error, if it had one. */
	readonly type: string | undefined;
	readonly data: unknown;
	/** The key and the task it was invoked with. */
	readonly key: string;
	readonly task: string;
}

/** The child was not finished within its `timeout`, and is cancelled. */
export class ChildTimeout extends ChildFailed {}

/** Thrown by `ctx.waitForEvent` and the like: it cannot be waited for. Uncaught it fails the execution for good. */
export class WaitFailed extends PgconductorError {
	constructor(message?: string, options?: { code?: string; key?: string; event?: string });
	/** "bad_filter" (`when` is no condition), "bad_change" (there is no such table or column), "timeout", or another one. */
	readonly code: string;
	readonly key: string;
	/** Its name. */
	readonly event: string;
}

/** It has not come within its `timeout`. */
export class EventTimeout extends WaitFailed {}

/** PostgreSQL refused a call; the driver's error is the `cause`. */
export class ClientError extends PgconductorError {
	/** SQLSTATE. */
	readonly code: string | undefined;
	readonly hint: string | undefined;
}

/** PC001: no program and no configuration ever declared this task. */
export class UndeclaredTask extends ClientError {}
/** PC002: the payload is not JSON that PostgreSQL takes; or it is not what the schema of its event wants, as `issues` say. */
export class BadPayload extends ClientError {
	readonly issues: readonly Issue[] | undefined;
}
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
/** PC012: the expression, the time zone or an option of a schedule is not as it should be; or the schedule is a program's own. */
export class BadSchedule extends ClientError {}
/** PC013: not the name of an event. */
export class BadEvent extends ClientError {}
/** PC014: the task is started by its triggers alone: it has none that is `{ invocable: true }`. */
export class NotInvocable extends ClientError {}
/** The database has no schema pgconductor. */
export class NotInstalled extends ClientError {}

/** Thrown by `conductor.wait`: the execution has failed for good, or was cancelled. `result` says how. */
export class ExecutionFailed extends PgconductorError {
	protected constructor(id: string, result: Result);
	readonly id: string;
	readonly result: Result;
}
/** Likewise: there is no such execution, or its history is gone. */
export class UnknownExecution extends PgconductorError {}
/** Likewise: it has not finished in time. It goes on. */
export class TimeoutError extends PgconductorError {}
/** Likewise: the result is not what the task's `returns` says. */
export class BadResult extends PgconductorError {
	protected constructor(message: string, options: { issues: readonly Issue[] });
	readonly issues: readonly Issue[];
}
