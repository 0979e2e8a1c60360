/*
 * Frames as bytes: a length, then one msgpack array [type, exec, fields], as docs/protocol.md has it. Driven by the
 * tables of messages.js, and stricter than msgpack: no key twice, no NUL, no bad UTF-8, nothing nested without end.
 */
import { FIELDS, NAMES } from "./messages.js";

const NIL = 0xc0;
const MAX_DEPTH = 16;
const MAX_LIST = 262144;
const HEAD = 4;

/**
 * A number, or a bigint where a number would not be exact.
 * @typedef {number | bigint} Integer
 *
 * @typedef {object} Frame
 * @property {number} type
 * @property {Integer} exec     names an execution on this connection; 0 is the session
 * @property {Record<string, any>} fields
 *
 * @typedef {object} Field
 * @property {string} name
 * @property {Buffer} key       the name's bytes
 * @property {string} type      of the field, or of the elements of its list
 * @property {boolean} many
 * @property {boolean} required
 * @property {string | undefined} unless  a list: if there is anything in it, this is not required
 */

/** Somebody does not keep to the protocol. */
export class ProtocolError extends Error {
	/** @type {string[]} */
	path = [];

	/** @param {string} why */
	constructor(why) {
		super(why);
		this.name = "ProtocolError";
	}
}

/** @type {ReadonlyMap<string, readonly Field[]>} */
const KINDS = new Map(Object.entries(FIELDS).map(([kind, fields]) => [kind, fields.map(([name, type, required]) => ({
	name,
	key: Buffer.from(name),
	type: type.replace("[]", ""),
	many: type.endsWith("[]"),
	required: required === true,
	unless: typeof required === "string" ? required : undefined,
}))]));

/**
 * The fields of a message or struct.
 * @param {string} kind
 * @returns {readonly Field[]}
 */
function fieldsOf(kind) {
	return /** @type {readonly Field[]} */ (KINDS.get(kind));
}

/** @param {bigint} n @returns {Integer} */
function narrow(n) {
	const small = Number(n);
	return Number.isSafeInteger(small) ? small : n;
}

/** Reads msgpack from a part of a buffer. */
class Reader {
	/** @param {Buffer} bytes @param {number} at @param {number} end */
	constructor(bytes, at, end) {
		this.bytes = bytes;
		this.at = at;
		this.end = end;
	}

	/** Takes so many bytes; returns where they begin. @param {number} n */
	take(n) {
		const at = this.at;
		if (n > this.end - at) {
			throw new ProtocolError("cut short, or a length beyond the end of the frame");
		}
		this.at = at + n;
		return at;
	}

	/** An unsigned number of 1, 2 or 4 bytes. @param {number} n */
	unsigned(n) {
		const at = this.take(n);
		return n === 1 ? this.bytes[at] : this.bytes.readUIntBE(at, n);
	}

	/** @returns {Integer} */
	integer() {
		const c = this.unsigned(1);
		if (c < 0x80) {
			return c;
		}
		switch (c) {
		case 0xcc: return this.unsigned(1);
		case 0xcd: return this.unsigned(2);
		case 0xce: return this.unsigned(4);
		case 0xcf: return narrow(this.bytes.readBigUInt64BE(this.take(8)));
		case 0xd0: return this.bytes.readInt8(this.take(1));
		case 0xd1: return this.bytes.readInt16BE(this.take(2));
		case 0xd2: return this.bytes.readInt32BE(this.take(4));
		case 0xd3: return narrow(this.bytes.readBigInt64BE(this.take(8)));
		}
		if (c >= 0xe0) {
			return c - 0x100;
		}
		throw new ProtocolError("not an integer");
	}

	/** The length of the string that follows. */
	textLength() {
		const c = this.unsigned(1);
		if (c >= 0xa0 && c <= 0xbf) {
			return c & 0x1f;
		}
		if (c >= 0xd9 && c <= 0xdb) {
			return this.unsigned(1 << (c - 0xd9));
		}
		throw new ProtocolError("not a string");
	}

	text() {
		const length = this.textLength();
		const at = this.take(length);
		const text = this.bytes.toString("utf8", at, this.at);
		// What is no UTF-8 was read as U+FFFD, and is not written as it was.
		if (text.includes("\0") ||
			(text.includes("\ufffd") && this.bytes.compare(Buffer.from(text), 0, undefined, at, this.at) !== 0)) {
			throw new ProtocolError("not a string of valid UTF-8");
		}
		return text;
	}

	/**
	 * The size of a list (fixed: 0x90) or a map (0x80). Each element is a byte at least.
	 * @param {number} c      its first byte
	 * @param {number} fixed
	 * @param {number} wide   first byte of the form with 16 bits
	 */
	size(c, fixed, wide) {
		let n = -1;
		if ((c & 0xf0) === fixed) {
			n = c & 0x0f;
		} else if (c === wide || c === wide + 1) {
			n = this.unsigned(c === wide ? 2 : 4);
		}
		if (n > this.end - this.at) {
			throw new ProtocolError("a count beyond the end of the frame");
		}
		return n;
	}

	listSize() {
		const n = this.size(this.unsigned(1), 0x90, 0xdc);
		if (n === -1 || n > MAX_LIST) {
			throw new ProtocolError("not a list, or too long");
		}
		return n;
	}

	mapSize() {
		const n = this.size(this.unsigned(1), 0x80, 0xde);
		if (n === -1) {
			throw new ProtocolError("not a map");
		}
		return n;
	}

	/** Reads over any value. @param {number} depth  of what it is in */
	skip(depth) {
		const c = this.unsigned(1);
		if (c < 0x80 || c >= 0xe0 || c === NIL || c === 0xc2 || c === 0xc3) {
			return;
		}
		if (c >= 0xca && c <= 0xd3) {
			this.take([4, 8, 1, 2, 4, 8, 1, 2, 4, 8][c - 0xca]);
		} else if (c >= 0xd4 && c <= 0xd8) {
			this.take(1 + (1 << (c - 0xd4)));
		} else if (c >= 0xc4 && c <= 0xc6) {
			this.take(this.unsigned(1 << (c - 0xc4)));
		} else if (c >= 0xc7 && c <= 0xc9) {
			this.take(this.unsigned(1 << (c - 0xc7)) + 1);
		} else if ((c & 0xe0) === 0xa0 || (c >= 0xd9 && c <= 0xdb)) {
			this.at--;
			this.take(this.textLength());
		} else {
			this.skipAll(c, depth + 1);
		}
	}

	/** @param {number} c @param {number} depth */
	skipAll(c, depth) {
		if (depth > MAX_DEPTH) {
			throw new ProtocolError("nested too deeply");
		}
		let n = this.size(c, 0x90, 0xdc);
		if (n === -1) {
			n = 2 * this.size(c, 0x80, 0xde);
		}
		if (n < 0) {
			throw new ProtocolError("a byte that begins no msgpack value");
		}
		for (; n > 0; n--) {
			this.skip(depth);
		}
	}

	/**
	 * Which field the next key names; -1: none that we know. The usual one is the one that comes next in the table.
	 * @param {readonly Field[]} fields
	 * @param {number} next
	 */
	key(fields, next) {
		const length = this.textLength();
		const at = this.take(length);
		for (let i = 0; i < fields.length; i++) {
			const found = (next + i) % fields.length;
			const { key } = fields[found];
			let n = key.length === length ? 0 : -1;
			while (n !== -1 && n < length) {
				n = this.bytes[at + n] === key[n] ? n + 1 : -1;
			}
			if (n === length) {
				return found;
			}
		}
		return -1;
	}

	/** @param {string} type @param {number} depth @returns {any} */
	value(type, depth) {
		switch (type) {
		case "str":
		case "json":
			return this.text();
		case "uint":
		case "int": {
			const n = this.integer();
			if (type === "uint" ? n < 0 : n >= 2n ** 63n) {
				throw new ProtocolError(type === "uint" ? "not an unsigned integer" : "not an integer");
			}
			return n;
		}
		case "bool": {
			const c = this.unsigned(1);
			if (c !== 0xc2 && c !== 0xc3) {
				throw new ProtocolError("not a boolean");
			}
			return c === 0xc3;
		}
		}
		return this.struct(fieldsOf(type), depth + 1);
	}

	/** @param {string} type @param {number} depth */
	list(type, depth) {
		const values = new Array(this.listSize());
		for (let i = 0; i < values.length; i++) {
			values[i] = this.value(type, depth + 1);
		}
		return values;
	}

	/**
	 * A map with these fields; others are ignored, nil is absent.
	 * @param {readonly Field[]} fields
	 * @param {number} depth
	 */
	struct(fields, depth) {
		/** @type {Record<string, any>} */
		const values = {};
		let seen = 0;
		let next = 0;
		for (let n = this.mapSize(); n > 0; n--) {
			const at = this.key(fields, next);
			if (at === -1) {
				this.skip(depth);
				continue;
			}
			const { name, type, many, required } = fields[at];
			try {
				if ((seen & (1 << at)) !== 0) {
					throw new ProtocolError("given twice");
				}
				seen |= 1 << at;
				next = at + 1;
				if (!required && this.bytes[this.at] === NIL && this.at < this.end) {
					this.at++;
				} else {
					values[name] = many ? this.list(type, depth) : this.value(type, depth);
				}
			} catch (error) {
				throw inside(name, error);
			}
		}
		for (let i = 0; i < fields.length; i++) {
			const { name, required, unless } = fields[i];
			if (required ? (seen & (1 << i)) === 0 : unless !== undefined && values[name] === undefined && !values[unless]?.length) {
				throw inside(name, new ProtocolError("missing"));
			}
		}
		return values;
	}
}

/** @param {string} name @param {unknown} error */
function inside(name, error) {
	if (error instanceof ProtocolError) {
		error.path.unshift(name);
	}
	return error;
}

/** @param {Reader} reader @returns {Frame} */
function readFrame(reader) {
	if (reader.listSize() !== 3) {
		throw new ProtocolError("not an array of three");
	}
	const type = reader.integer();
	const exec = reader.integer();
	if (typeof type !== "number" || type < 0 || type > 0xffff) {
		throw new ProtocolError("the type is not a small number");
	}
	if (exec < 0) {
		throw new ProtocolError("the execution is not a number");
	}
	const kind = NAMES[type];
	try {
		if (kind === undefined && type < 128) {
			throw new ProtocolError("unknown");
		}
		const fields = reader.struct(kind === undefined ? [] : fieldsOf(kind), 2);
		if (reader.at !== reader.end) {
			throw new ProtocolError("bytes after its end");
		}
		return { type, exec, fields };
	} catch (error) {
		throw inside(kind ?? `type ${type}`, error);
	}
}

/**
 * What a frame without its length says. Types from 128 up that are not known are read over: their fields are empty.
 * @param {Buffer} bytes
 * @param {number} [start]
 * @param {number} [end]
 * @returns {Frame}
 */
export function decode(bytes, start = 0, end = bytes.length) {
	try {
		return readFrame(new Reader(bytes, start, end));
	} catch (error) {
		if (error instanceof ProtocolError) {
			error.message = `${error.path.join(".") || "frame"}: ${error.message}`;
		}
		throw error;
	}
}

/** Puts frames together from the pieces they arrive in. */
export class FrameReader {
	#head = Buffer.alloc(HEAD);
	#headLength = 0;
	/** @type {Buffer | undefined} */
	#body;
	#bodyLength = 0;

	/** The longest frame that is taken. */
	max = 1 << 20;

	/**
	 * @param {Buffer} chunk
	 * @param {(frame: Frame) => void} found  called for each frame that is whole
	 */
	feed(chunk, found) {
		let at = 0;
		while (at < chunk.length) {
			if (this.#body === undefined && this.#headLength === 0 && chunk.length - at >= HEAD) {
				const length = this.#check(chunk.readUInt32BE(at));
				if (chunk.length - at - HEAD >= length) {
					at += HEAD + length;
					found(decode(chunk, at - length, at));
					continue;
				}
			}
			at = this.#gather(chunk, at, found);
		}
	}

	/** @param {number} length */
	#check(length) {
		if (length > this.max) {
			throw new ProtocolError(`a frame of ${length} bytes; the limit is ${this.max}`);
		}
		return length;
	}

	/**
	 * Of a frame that comes in pieces: as much as there is of its head, or of its body.
	 * @param {Buffer} chunk
	 * @param {number} at
	 * @param {(frame: Frame) => void} found
	 */
	#gather(chunk, at, found) {
		if (this.#body === undefined) {
			const n = chunk.copy(this.#head, this.#headLength, at);
			this.#headLength += n;
			if (this.#headLength === HEAD) {
				this.#body = Buffer.allocUnsafe(this.#check(this.#head.readUInt32BE()));
			}
			at += n;
		}
		if (this.#body !== undefined) {
			const n = chunk.copy(this.#body, this.#bodyLength, at);
			this.#bodyLength += n;
			at += n;
			if (this.#bodyLength === this.#body.length) {
				const body = this.#body;
				this.#body = undefined;
				this.#bodyLength = this.#headLength = 0;
				found(decode(body));
			}
		}
		return at;
	}
}

/** Gathers frames to be written. */
export class FrameWriter {
	static #BLOCK = 64 * 1024;
	#bytes = Buffer.allocUnsafe(FrameWriter.#BLOCK);
	#length = 0;

	/** Bytes gathered. */
	get length() {
		return this.#length;
	}

	/** What was gathered; it is the caller's from now on. */
	take() {
		const taken = this.#bytes.subarray(0, this.#length);
		const rest = this.#bytes.length - this.#length;
		this.#bytes = rest > FrameWriter.#BLOCK / 2 ? this.#bytes.subarray(this.#length)
			: Buffer.allocUnsafe(FrameWriter.#BLOCK);
		this.#length = 0;
		return taken;
	}

	/**
	 * Adds a frame, unless its body would be longer than `max`: then false.
	 * @param {number} type
	 * @param {Integer} exec
	 * @param {Record<string, any>} fields
	 * @param {number} [max]
	 */
	frame(type, exec, fields, max = 0xffffffff) {
		const start = this.#length;
		try {
			this.#room(HEAD);
			this.#length += HEAD;
			this.#byte(0x93);
			this.#integer(type);
			this.#integer(exec);
			this.#struct(NAMES[type], fields);
		} catch (error) {
			this.#length = start;
			throw error;
		}
		const length = this.#length - start - HEAD;
		if (length > max) {
			this.#length = start;
			return false;
		}
		this.#bytes.writeUInt32BE(length, start);
		return true;
	}

	/** @param {number} n */
	#room(n) {
		if (this.#bytes.length - this.#length < n) {
			const more = Buffer.allocUnsafe(Math.max(2 * this.#bytes.length, this.#length + n));
			this.#bytes.copy(more, 0, 0, this.#length);
			this.#bytes = more;
		}
	}

	/** @param {number} n */
	#byte(n) {
		this.#room(1);
		this.#bytes[this.#length++] = n;
	}

	/** A first byte, and a number of so many bytes. @param {number} first @param {number} n @param {number} bytes */
	#sized(first, n, bytes) {
		this.#room(1 + bytes);
		this.#bytes[this.#length++] = first;
		this.#length = this.#bytes.writeUIntBE(n, this.#length, bytes);
	}

	/** @param {Integer} value */
	#integer(value) {
		const n = typeof value === "bigint" ? narrow(value) : value;
		if (typeof n === "bigint" || n > 0xffffffff || n < -0x80000000) {
			this.#room(9);
			this.#bytes[this.#length++] = n < 0 ? 0xd3 : 0xcf;
			this.#length = this.#bytes.writeBigUInt64BE(BigInt.asUintN(64, BigInt(n)), this.#length);
		} else if (n >= -32 && n < 0x80) {
			this.#byte(n & 0xff);
		} else if (n < 0) {
			const bytes = n >= -0x80 ? 1 : n >= -0x8000 ? 2 : 4;
			this.#sized(bytes === 4 ? 0xd2 : 0xcf + bytes, n + 2 ** (8 * bytes), bytes);
		} else {
			const bytes = n <= 0xff ? 1 : n <= 0xffff ? 2 : 4;
			this.#sized(bytes === 4 ? 0xce : 0xcb + bytes, n, bytes);
		}
	}

	/** @param {string} value */
	#text(value) {
		const n = Buffer.byteLength(value);
		if (n < 32) {
			this.#byte(0xa0 | n);
		} else {
			const bytes = n <= 0xff ? 1 : n <= 0xffff ? 2 : 4;
			this.#sized(bytes === 4 ? 0xdb : 0xd8 + bytes, n, bytes);
		}
		this.#room(n);
		this.#length += this.#bytes.write(value, this.#length, n);
	}

	/** @param {Buffer} key  a field's name, which is short */
	#key(key) {
		this.#byte(0xa0 | key.length);
		this.#room(key.length);
		this.#bytes.set(key, this.#length);
		this.#length += key.length;
	}

	/** @param {number} n @param {number} fixed @param {number} wide */
	#size(n, fixed, wide) {
		if (n < 16) {
			this.#byte(fixed | n);
		} else {
			this.#sized(n <= 0xffff ? wide : wide + 1, n, n <= 0xffff ? 2 : 4);
		}
	}

	/** @param {string} type @param {any} value */
	#value(type, value) {
		if (type === "str" || type === "json") {
			this.#text(value);
		} else if (type === "uint" || type === "int") {
			this.#integer(value);
		} else if (type === "bool") {
			this.#byte(value ? 0xc3 : 0xc2);
		} else {
			this.#struct(type, value);
		}
	}

	/** @param {string} kind @param {Record<string, any>} values */
	#struct(kind, values) {
		const fields = fieldsOf(kind);
		let n = 0;
		for (const { name, required, unless } of fields) {
			if (values[name] != null) {
				n++;
			} else if (required || (unless !== undefined && !values[unless]?.length)) {
				throw new TypeError(`${kind}.${name}: missing`);
			}
		}
		this.#size(n, 0x80, 0xde);
		for (const { name, key, type, many } of fields) {
			const value = values[name];
			if (value == null) {
				continue;
			}
			this.#key(key);
			if (many) {
				this.#size(value.length, 0x90, 0xdc);
				for (const one of value) {
					this.#value(type, one);
				}
			} else {
				this.#value(type, value);
			}
		}
	}
}
