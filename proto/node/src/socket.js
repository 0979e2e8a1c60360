/*
 * The worker's socket, which this program was started with as a descriptor. Bun does not take such a one as Node does (its
 * net.Socket opens nothing), but has a way of its own.
 */
import { fstatSync } from "node:fs";
import { Socket } from "node:net";
import { Duplex } from "node:stream";
import { PgconductorError } from "./errors.js";

/**
 * As much of Bun as is used.
 * @typedef {{ write: (bytes: Uint8Array) => number, terminate: () => void }} BunSocket
 * @typedef {{ connect: (options: { fd: number, socket: Record<string, (socket: BunSocket, it: any) => void> }) => Promise<BunSocket> }} Bun
 */

/** @type {Bun | undefined} */
const bun = /** @type {any} */ (globalThis).Bun;

/** One of Bun, as a stream. */
class BunStream extends Duplex {
	/** @type {BunSocket | undefined} */
	#socket;
	/** What was not taken yet, and who waits for that. @type {{ bytes: Uint8Array, done: () => void } | undefined} */
	#rest;

	/** @param {Bun} bun @param {number} fd @returns {Promise<BunStream>} */
	static async open(bun, fd) {
		const stream = new BunStream();
		stream.#socket = await bun.connect({ fd, socket: {
			data: (_, bytes) => void stream.push(bytes),
			drain: () => stream.#writeRest(),
			error: (_, error) => void stream.destroy(error),
			end: () => void stream.destroy(),
			close: () => void stream.destroy(),
		} });
		return stream;
	}

	/** It comes by itself. @override */
	_read() {}

	/** @override @param {Uint8Array} bytes @param {string} _encoding @param {() => void} done */
	_write(bytes, _encoding, done) {
		this.#rest = { bytes, done };
		this.#writeRest();
	}

	#writeRest() {
		const rest = this.#rest;
		if (rest === undefined || this.#socket === undefined) {
			return;
		}
		const written = this.#socket.write(rest.bytes);
		if (written >= rest.bytes.length) {
			this.#rest = undefined;
			rest.done();
		} else if (written > 0) {
			rest.bytes = rest.bytes.subarray(written);
		}
	}

	/** @override @param {Error | null} error @param {(error: Error | null) => void} done */
	_destroy(error, done) {
		this.#socket?.terminate();
		done(error);
	}
}

/** Is it a socket at all, and not the one over which Node speaks to a parent that is Node, too? @param {number} fd */
function isOurs(fd) {
	try {
		return fstatSync(fd).isSocket() && /** @type {any} */ (process.channel)?.fd !== fd;
	} catch {
		return false;
	}
}

/** @param {number} fd @returns {Promise<Duplex>} */
export async function openSocket(fd) {
	if (!isOurs(fd)) {
		throw new PgconductorError(`descriptor ${fd} is not pgconductor's: the command starts this program through another one that does not ` +
			"hand it on, as npx, npm and tsx do not; have it start this one itself, as in `node worker.js` or `node --import tsx worker.ts`");
	}
	return bun === undefined ? new Socket({ fd, readable: true, writable: true }) : BunStream.open(bun, fd);
}
