#!/usr/bin/env node
/*
 * `npx pgconductor gen`: what `pgconductor gen` prints, where the program of that name is not installed. The database makes the text.
 */
import { parseArgs } from "node:util";
import { connect } from "./connect.js";
import { VERSION } from "./version.js";

const EX_USAGE = 64;
const EX_DATAERR = 65;
const EX_UNAVAILABLE = 69;
const EX_CONFIG = 78;
/** SQLSTATEs of a database without the schema, or with that of an older version. */
const NOT_INSTALLED = ["3F000", "42883"];
const LANGUAGES = ["typescript", "python"];
const HELP = `\
usage: npx pgconductor gen types typescript|python [--schemas public,…] [--db URL]
       npx pgconductor gen tasks typescript|python [--db URL]
Prints types of the database's tables, or of its tasks and events. Without --db (or --db-url) the database is that of DATABASE_URL,
else of the PG* variables. All other commands are those of the program pgconductor.
`;

/** @param {number} status @param {string} message @returns {never} */
function fail(status, message) {
	process.stderr.write(`pgconductor: ${message}\n`);
	process.exit(status);
}

function parse() {
	try {
		return parseArgs({
			allowPositionals: true,
			options: {
				schemas: { type: "string", multiple: true }, db: { type: "string" }, "db-url": { type: "string" },
				help: { type: "boolean", short: "h" }, version: { type: "boolean", short: "V" },
			},
		});
	} catch (error) {
		return fail(EX_USAGE, error instanceof Error ? error.message : String(error));
	}
}

/** The statement that makes the text. @param {string[]} words @param {string[] | undefined} schemas */
function statement([command, what, language = "", ...more], schemas) {
	if (command !== "gen" || (what !== "types" && what !== "tasks") || !LANGUAGES.includes(language) || more.length > 0) {
		return fail(EX_USAGE, `${process.argv.slice(2).join(" ") || "no command"}: here there is only gen types and gen tasks, ` +
			"followed by typescript or python; all else is for the program pgconductor");
	}
	if (what === "tasks" && schemas !== undefined) {
		return fail(EX_USAGE, "gen tasks: --schemas is an option of gen types");
	}
	const names = (schemas ?? ["public"]).flatMap((some) => some.split(",")).map((name) => name.trim());
	return what === "types" ? { query: "select pgconductor.generate_types($1, array(select jsonb_array_elements_text($2))) as text", values: [language, names] }
		: { query: "select pgconductor.generate_tasks($1) as text", values: [language] };
}

const { values, positionals } = parse();
if (values.help) {
	process.stdout.write(HELP);
} else if (values.version) {
	process.stdout.write(`pgconductor ${VERSION}\n`);
} else {
	const { query, values: parameters } = statement(positionals, values.schemas);
	try {
		const sql = await connect(values.db ?? values["db-url"]);
		const [{ text }] = await sql.unsafe(query, parameters);
		process.stdout.write(text);
		await sql.end();
	} catch (error) {
		const { code = "", message } = /** @type {Error & { code?: string }} */ (error);
		fail(code === "PC009" ? EX_DATAERR : NOT_INSTALLED.includes(code) ? EX_CONFIG : EX_UNAVAILABLE, NOT_INSTALLED.includes(code)
			? "gen: this database does not have the schema pgconductor, or that of an older version: run `pgconductor migrate`"
			: `gen: ${message || code}`);
	}
}
