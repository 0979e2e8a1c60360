import assert from "node:assert/strict";
import { test } from "node:test";
import { Encoder, decode as unpack } from "@msgpack/msgpack";
import { decode, FrameReader, FrameWriter, ProtocolError } from "../src/codec.js";
import { MESSAGES } from "../src/messages.js";
import { vectors } from "./vectors.js";

const HEAD = 4;
const frames = vectors("frames.jsonl");
const bad = vectors("bad.jsonl");

function encode({ type, exec, fields }) {
	const writer = new FrameWriter();
	writer.frame(type, exec, fields);
	return writer.take();
}

/** Numbers as JSON.parse of the vectors has them, which is not exact above 2 ** 53. */
function rounded(value) {
	return JSON.parse(JSON.stringify(value, (_, v) => (typeof v === "bigint" ? Number(v) : v)));
}

test("golden vectors say what they are said to say", () => {
	assert.ok(frames.length >= 40);
	for (const { name, hex, type, exec, decoded } of frames) {
		const frame = decode(Buffer.from(hex, "hex"), HEAD);
		assert.deepEqual(rounded({ ...frame }), { type, exec, fields: decoded }, name);
	}
});

test("golden vectors are what is written", () => {
	for (const { name, hex, same_as } of frames) {
		const written = encode(decode(Buffer.from(hex, "hex"), HEAD));
		const wanted = same_as === undefined ? hex : frames.find((v) => v.name === same_as).hex;
		assert.equal(written.toString("hex"), wanted, name);
	}
});

test("bad vectors are refused, with the place in the frame", () => {
	assert.ok(bad.length >= 30);
	for (const { name, hex, at, why } of bad) {
		assert.throws(() => decode(Buffer.from(hex, "hex"), HEAD), (error) => {
			assert.ok(error instanceof ProtocolError, `${name}: ${error}`);
			if (at === "decode") {
				assert.equal(error.message.split(":")[0], why.split(":")[0].replace(/\[\d+\]/g, ""), name);
			}
			return true;
		}, name);
	}
});

test("64-bit numbers are exact", () => {
	for (const n of [2n ** 63n, 2n ** 64n - 1n, 9007199254740993n]) {
		const frame = decode(encode({ type: MESSAGES.DONE, exec: n, fields: {} }), HEAD);
		assert.equal(frame.exec, n);
	}
	for (const n of [2n ** 53n - 1n, 2n ** 32n, 1n]) {
		assert.equal(decode(encode({ type: MESSAGES.DONE, exec: n, fields: {} }), HEAD).exec, Number(n));
	}
});

test("numbers of every width agree with another msgpack", () => {
	const edges = [0, 1, 31, 32, 33, 127, 128, 129, 255, 256, 32767, 32768, 65535, 65536, 2147483647, 2147483648, 4294967295, 4294967296];
	for (const n of edges.flatMap((n) => [n, -n - 1])) {
		const body = encode({ type: MESSAGES.SLOTS, exec: 0, fields: { pool: 0, slots: n } }).subarray(HEAD);
		assert.deepEqual(unpack(body), [MESSAGES.SLOTS, 0, { pool: 0, slots: n }]);
		assert.deepEqual(decode(Buffer.from(new Encoder().encode([MESSAGES.SLOTS, 0, { pool: 0, slots: n }]))).fields.slots, n);
	}
});

test("strings of every length agree with another msgpack", () => {
	for (const n of [0, 1, 31, 32, 255, 256, 65535, 65536, 200_000]) {
		for (const letter of ["x", "é", "😀", "\ufffd"]) {
			const result = letter.repeat(n);
			const body = encode({ type: MESSAGES.DONE, exec: 1, fields: { result } }).subarray(HEAD);
			assert.deepEqual(unpack(body), [MESSAGES.DONE, 1, { result }]);
			assert.equal(decode(body).fields.result, result);
		}
	}
});

test("a byte order mark is a character like any other", () => {
	const body = encode({ type: MESSAGES.DONE, exec: 1, fields: { result: "\ufeff{}" } }).subarray(HEAD);
	assert.equal(decode(body).fields.result, "\ufeff{}");
});

test("what a frame does not know is read over, whatever it is", () => {
	const strange = { float: 1.5, bytes: new Uint8Array(300), nested: [{ a: [null, true, -1] }], __proto__x: 1, big: 2 ** 40 };
	const body = new Encoder().encode([MESSAGES.CANCEL, 7, { ...strange, reason: "timeout", grace_ms: 5 }]);
	assert.deepEqual(decode(Buffer.from(body)).fields, { reason: "timeout", grace_ms: 5 });
	assert.deepEqual(decode(Buffer.from(new Encoder().encode([200, 0, strange]))), { type: 200, exec: 0, fields: {} });
});

test("frames are put together from pieces of any size", () => {
	const all = frames.filter((v) => v.same_as === undefined);
	const bytes = Buffer.concat(all.map((v) => Buffer.from(v.hex, "hex")));
	for (const size of [1, 2, 3, 4, 5, 7, 64, 1000, bytes.length]) {
		const reader = new FrameReader();
		const found = [];
		for (let at = 0; at < bytes.length; at += size) {
			reader.feed(bytes.subarray(at, at + size), (frame) => found.push(frame.type));
		}
		assert.deepEqual(found, all.map((v) => v.type), `in pieces of ${size}`);
	}
});

test("a frame over the limit is refused before it is held", () => {
	for (const pieces of [["00200000"], ["00", "200000"]]) {
		const reader = new FrameReader();
		reader.max = 1 << 20;
		assert.throws(() => pieces.forEach((hex) => reader.feed(Buffer.from(hex, "hex"), () => {})), /2097152 bytes; the limit is 1048576/);
	}
});

test("cut short anywhere, it is refused", () => {
	for (const { name, hex } of frames) {
		const bytes = Buffer.from(hex, "hex");
		for (let end = HEAD; end < bytes.length; end++) {
			assert.throws(() => decode(bytes, HEAD, end), ProtocolError, `${name} cut at ${end}`);
		}
	}
});

test("any damage is refused or decoded, never anything else", () => {
	let state = 12345;
	const random = (n) => {
		state = (state * 1103515245 + 12345) & 0x7fffffff;
		return state % n;
	};
	for (let i = 0; i < 20_000; i++) {
		const bytes = Buffer.from(frames[random(frames.length)].hex, "hex");
		for (let n = random(4); n >= 0; n--) {
			bytes[HEAD + random(bytes.length - HEAD)] = random(256);
		}
		try {
			decode(bytes, HEAD);
		} catch (error) {
			assert.ok(error instanceof ProtocolError, `${bytes.toString("hex")}: ${error}`);
		}
	}
});

test("a message without what it must have is not written, and leaves nothing behind", () => {
	const writer = new FrameWriter();
	assert.throws(() => writer.frame(MESSAGES.RUN, 1, { id: "1", task: "t" }), /RUN\.attempt: missing/);
	assert.equal(writer.length, 0);
});

test("what was taken stays as it is", () => {
	const writer = new FrameWriter();
	const done = (result) => writer.frame(MESSAGES.DONE, 1, { result });
	done('"first"');
	const first = writer.take();
	const copy = Buffer.from(first);
	done(JSON.stringify("x".repeat(300_000)));
	done('"third"');
	assert.deepEqual(first, copy);
	assert.equal(decode(first, HEAD).fields.result, '"first"');
});
