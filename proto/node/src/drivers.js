/*
 * Connections that a program brings: those of postgres.js, and those of pg. Everything travels as text, so that neither the
 * driver's types nor its transforms change anything.
 */

/**
 * As much of postgres.js, or of pg, as is used.
 * @typedef {{ unsafe: (text: string, parameters: any[], options: { prepare: boolean }) => any }} PostgresJs
 * @typedef {{ query: (query: { text: string, values?: any[], rowMode?: string }) => Promise<{ rows: any[][], command?: string }> }} Pg
 * @typedef {PostgresJs | Pg} Sql
 */

/** @param {any} sql @returns {sql is PostgresJs} */
function isPostgresJs(sql) {
	return typeof sql?.unsafe === "function";
}

/** @param {any} sql @returns {sql is Sql} */
export function isConnection(sql) {
	return isPostgresJs(sql) || typeof sql?.query === "function";
}

/**
 * The rows of a statement, each an array of text.
 * @param {Sql} sql
 * @param {string} text
 * @param {(string | null)[]} parameters
 * @returns {Promise<any[][]>}
 */
export async function rowsOf(sql, text, parameters) {
	if (isPostgresJs(sql)) {
		return [...await sql.unsafe(text, parameters, { prepare: true }).values()];
	}
	return (await sql.query({ text, values: parameters, rowMode: "array" })).rows;
}

/** Several statements, without parameters, on one connection. @param {any} sql @param {string} script */
export async function runScript(sql, script) {
	if (isPostgresJs(sql)) {
		const one = await /** @type {any} */ (sql).reserve();
		try {
			await one.unsafe(script, [], { prepare: false }).simple();
		} finally {
			one.release();
		}
	} else {
		await sql.query(script);
	}
}

/** Can a transaction be begun on it? @param {any} sql */
export function canBegin(sql) {
	return typeof sql?.begin === "function" || isPool(sql);
}

/** A pool of pg: a client of it may be in a transaction already. @param {any} sql */
function isPool(sql) {
	return typeof sql?.query === "function" && typeof sql.connect === "function" && typeof sql.totalCount === "number";
}

/**
 * Does something in a transaction: commits, or throws and has not.
 * @param {any} sql
 * @param {(tx: any) => Promise<any>} fn
 * @returns {Promise<any>}
 */
export async function begin(sql, fn) {
	if (typeof sql.begin === "function") {
		return sql.begin(fn);
	}
	const client = await sql.connect();
	let broken;
	try {
		await client.query("begin");
		const value = await fn(client);
		const { command } = await client.query("commit");
		if (command !== "COMMIT") {
			throw new Error("the transaction was rolled back: a statement of it failed");
		}
		return value;
	} catch (error) {
		await client.query("rollback").catch((/** @type {Error} */ lost) => {
			broken = lost;
		});
		throw error;
	} finally {
		client.release(broken);
	}
}

/**
 * What is known of where a connection leads to.
 * @param {any} sql
 */
function placeOf(sql) {
	if (isPostgresJs(sql)) {
		const { host, port, path, database, user, pass, ssl } = /** @type {any} */ (sql).options;
		return {
			hosts: typeof path === "string" && host.length === 1 ? [path.replace(/\/\.s\.PGSQL\.\d+$/, "")] : host,
			ports: port, database, user, password: pass, ssl,
		};
	}
	const { host, port, database, user, password, ssl } = sql.connectionParameters ?? new sql.Client(sql.options).connectionParameters;
	return { hosts: [host], ports: [port], database, user, password, ssl };
}

/** @param {any} ssl  as both libraries have it */
function sslmode(ssl) {
	return typeof ssl === "string" ? ssl : ssl.rejectUnauthorized === false ? "require" : "verify-full";
}

/**
 * The URL of the database that a connection leads to, as libpq takes it.
 * @param {any} sql
 * @returns {Promise<string>}
 */
export async function urlOf(sql) {
	const { hosts, ports, database, user, password, ssl } = placeOf(sql);
	const secret = typeof password === "function" ? await password() : password;
	const part = encodeURIComponent;
	const more = [`host=${part(hosts.join(","))}`, `port=${ports.join(",")}`];
	if (ssl) {
		more.push(`sslmode=${sslmode(ssl)}`);
	}
	return `postgresql://${part(user)}${secret ? `:${part(secret)}` : ""}@/${part(database)}?${more.join("&")}`;
}
