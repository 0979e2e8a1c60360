/*
 * The schema, where there is none: the package has it in schema.sql, from the program that it was packed beside. Run from its
 * sources it has not, and the program is asked for it.
 */
import { spawn } from "node:child_process";
import { readFile } from "node:fs/promises";
import { runScript } from "./drivers.js";
import { NotInstalled, explain } from "./errors.js";
import { BINARY, environment } from "./launch.js";

/** What `pgconductor migrate --print` says. */
const SCRIPT = new URL("../schema.sql", import.meta.url);

/** @returns {Promise<string | undefined>} */
async function packedScript() {
	try {
		return await readFile(SCRIPT, "utf8");
	} catch (error) {
		if (/** @type {NodeJS.ErrnoException} */ (error).code === "ENOENT") {
			return undefined;
		}
		throw error;
	}
}

/**
 * @param {import("./drivers.js").Sql} sql
 * @param {string | undefined} url  of the same database
 */
export async function install(sql, url) {
	const script = await packedScript();
	if (script === undefined) {
		return migrate(url);
	}
	try {
		await runScript(sql, script);
	} catch (error) {
		throw explain(error);
	}
}

/**
 * @param {string | undefined} url
 * @returns {Promise<void>}
 */
function migrate(url) {
	return new Promise((resolve, reject) => {
		const env = environment(url);
		const child = spawn(BINARY, ["migrate"], { stdio: ["ignore", "ignore", "pipe"], env });
		let said = "";
		child.stderr.setEncoding("utf8").on("data", (text) => {
			said += text;
		});
		child.on("error", (cause) => reject(new NotInstalled(
			`there is no schema pgconductor in this database, and the program ${BINARY} to install it was not found`, { cause })));
		child.on("close", (code) => {
			code === 0 ? resolve() : reject(new NotInstalled(said.trim() || `pgconductor migrate: exit status ${code}`));
		});
	});
}
