/*
 * A program that was started by hand runs `pgconductor run` around itself.
 */
import { spawn } from "node:child_process";
import { constants } from "node:os";

/** In PATH, or where PGCONDUCTOR says. */
export const BINARY = process.env.PGCONDUCTOR || "pgconductor";
const EX_UNAVAILABLE = 69;
const FORWARDED = /** @type {const} */ (["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2"]);

const NOT_FOUND = `\
pgconductor: this program serves tasks and is run by pgconductor, but ${BINARY} was not found.
Install it from its source (./configure && make && make install), add the directory it is in to PATH, or name it in the
environment variable PGCONDUCTOR; then start this program again.
`;

/**
 * The environment that names the database. Not an argument: a password would stand in ps.
 * @param {string | undefined} connectionString
 */
export function environment(connectionString) {
	return connectionString === undefined ? process.env : { ...process.env, PGCONDUCTOR_DB: connectionString };
}

/** How to start this program again. */
function ownCommand() {
	const [, script, ...args] = process.argv;
	if (script === undefined || script === "-") {
		throw new Error("pgconductor: a program that serves tasks is a file: pgconductor starts it again, in several processes");
	}
	return [process.execPath, ...process.execArgv, script, ...args];
}

/**
 * Starts the server in a session of its own: what the terminal sends (Ctrl-C) comes here alone, and is handed on once.
 * @param {{ connectionString: string | undefined, drain: boolean }} options
 * @returns {{ pid: number | undefined, exited: Promise<number>, kill: (signal: NodeJS.Signals) => void }}
 */
export function launch({ connectionString, drain }) {
	const child = spawn(BINARY, ["run", ...(drain ? ["--drain"] : []), "--", ...ownCommand()], {
		stdio: "inherit", detached: true, env: environment(connectionString),
	});
	/** @param {NodeJS.Signals} signal */
	const forward = (signal) => {
		// A terminal that is gone says HUP, and the server would read its configuration again and go on.
		child.kill(signal === "SIGHUP" && process.stdin.isTTY ? "SIGTERM" : signal);
	};
	const end = () => {
		child.kill("SIGTERM");
	};
	for (const signal of FORWARDED) {
		process.on(signal, forward);
	}
	process.on("exit", end);
	const exited = new Promise((resolve) => {
		child.on("error", (/** @type {NodeJS.ErrnoException} */ error) => {
			process.stderr.write(error.code === "ENOENT" ? NOT_FOUND : `pgconductor: ${error.message}\n`);
			process.off("exit", end);
			process.exit(EX_UNAVAILABLE);
		});
		child.on("exit", (code, signal) => {
			for (const name of FORWARDED) {
				process.off(name, forward);
			}
			process.off("exit", end);
			resolve(code ?? 128 + constants.signals[/** @type {NodeJS.Signals} */ (signal)]);
		});
	});
	return { pid: child.pid, exited, kill: (signal) => child.kill(signal) };
}
