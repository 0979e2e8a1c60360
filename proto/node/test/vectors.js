/* The golden vectors, shared by all languages. */
import { readFileSync } from "node:fs";

const directory = process.env.PGC_SRCDIR === undefined ? new URL("../../vectors/", import.meta.url)
	: new URL(`file://${process.env.PGC_SRCDIR}/proto/vectors/`);

/** @param {string} name @returns {any[]} */
export function vectors(name) {
	return readFileSync(new URL(name, directory), "utf8").trimEnd().split("\n").map((line) => JSON.parse(line));
}
