/* A worker that is played, over a Unix socket, and a session with it. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after } from "node:test";
import { FrameReader, FrameWriter } from "../src/codec.js";
import { extendContext } from "../src/context.js";
import { MESSAGES, NAMES } from "../src/messages.js";
import { EventSchemas } from "../src/schemas.js";
import { Session } from "../src/session.js";
import { triggersText } from "../src/triggers.js";

const directory = mkdtempSync(join(tmpdir(), "pgc-"));
const open = [];
after(() => {
	// Of a test that failed.
	open.forEach((socket) => socket.destroy());
	rmSync(directory, { recursive: true });
});
let sockets = 0;

/** Both ends of a connection. @returns {Promise<[net.Socket, net.Socket]>} */
function pair() {
	return new Promise((resolve) => {
		const path = join(directory, String(++sockets));
		const server = net.createServer((theirs) => {
			server.close();
			open.push(ours, theirs);
			resolve([ours, theirs]);
		});
		const ours = new net.Socket();
		server.listen(path, () => ours.connect(path));
	});
}

export class Worker {
	#writer = new FrameWriter();
	#reader = new FrameReader();
	#frames = [];
	#wanted = [];

	constructor(socket) {
		this.socket = socket;
		this.#reader.max = 64 << 20;
		this.closed = new Promise((resolve) => socket.on("close", resolve));
		socket.on("error", () => {});
		socket.on("data", (chunk) => this.#reader.feed(chunk, (frame) => {
			const named = { name: NAMES[frame.type], ...frame };
			const wanted = this.#wanted.shift();
			wanted === undefined ? this.#frames.push(named) : wanted(named);
		}));
	}

	send(name, exec = 0, fields = {}) {
		this.#writer.frame(typeof name === "number" ? name : MESSAGES[name], exec, fields);
		this.socket.write(this.#writer.take());
	}

	run(exec, task, payload = "null", more = {}) {
		this.send("RUN", exec, { id: String(exec), task, attempt: 1, token: `t${exec}`, event: { name: "pgconductor.invoke", payload }, ...more });
	}

	/** The next frame that comes, of this name. */
	async next(name) {
		const frame = this.#frames.shift() ?? await new Promise((resolve) => this.#wanted.push(resolve));
		assert.equal(frame.name, name, JSON.stringify(frame.fields));
		return frame;
	}
}

export const WELCOME = { protocol: 1, queue: "default", max_frame: 2 << 20, max_payload: 1 << 20,
	capabilities: ["beat", "call", "cancel", "credit", "drain", "log", "progress", "step", "suspend"] };

export async function start(handlers, { welcome = WELCOME, concurrency = 10, context = {}, queue = "default", heartbeat = undefined, logger = undefined, triggers = {}, events = new EventSchemas(), known = undefined, tasks = {} } = {}) {
	const [ours, theirs] = await pair();
	const write = ours.write.bind(ours);
	let writes = 0;
	ours.write = (bytes) => {
		writes++;
		return write(bytes);
	};
	const worker = new Worker(theirs);
	const entries = Object.entries(handlers).map(([name, handler]) => {
		return { name, queue: name.startsWith("other.") ? "other" : "default", named: false, options: undefined,
			triggers: triggersText(name, triggers[name] ?? { invocable: true }), handler, ...tasks[name] };
	});
	const session = new Session({
		socket: ours, queue: queue ?? undefined, tasks: entries, concurrency, credit: 2 * concurrency, Context: extendContext(context),
		events, known, logger, heartbeat,
	});
	worker.hello = (await worker.next("HELLO")).fields;
	if (welcome !== null) {
		worker.send("WELCOME", 0, welcome);
		await session.welcomed;
	}
	return { session, worker, writes: () => writes };
}

export async function finish({ session, worker }) {
	worker.send("DRAIN", 0, { deadline_ms: 1000 });
	await worker.next("BYE");
	worker.socket.end();
	assert.equal(await session.ended, 0);
}

export async function until(condition) {
	while (!condition()) {
		await new Promise(setImmediate);
	}
}

export function gate() {
	let open;
	const opened = new Promise((resolve) => {
		open = resolve;
	});
	return { open, opened };
}
