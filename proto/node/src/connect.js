/*
 * A connection of our own, when the program brings none.
 */

/** Parameters by which libpq is told where to connect to; postgres.js would hand them on to the server. */
const LIBPQ = { host: "host", port: "port", user: "user", password: "password", dbname: "database" };

/** Seconds until a connection that nobody needs is closed, so that a script which invoked something can end. */
const IDLE = 1;

/** @param {string} connectionString */
export function checkURL(connectionString) {
	if (!/^postgres(ql)?:\/\//.test(connectionString)) {
		throw new TypeError("pgconductor: connectionString: not a URL like postgres://user@host/database");
	}
}

/**
 * What postgres.js makes of a URL that libpq would take.
 * @param {string} connectionString
 * @returns {[url: string, options: Record<string, string>]}
 */
function translate(connectionString) {
	checkURL(connectionString);
	const [base, query] = connectionString.split("?", 2);
	const parameters = new URLSearchParams(query);
	/** @type {Record<string, string>} */
	const options = {};
	for (const [name, option] of Object.entries(LIBPQ)) {
		const value = parameters.get(name);
		if (value !== null) {
			options[option] = value;
			parameters.delete(name);
		}
	}
	// A user without a host is no URL to JavaScript.
	const url = base.replace(/@(?=\/|$)/, "@localhost");
	if (url !== base) {
		options.host ??= process.env.PGHOST ?? "localhost";
	}
	const rest = parameters.toString();
	return [rest === "" ? url : `${url}?${rest}`, options];
}

/**
 * @param {string | undefined} connectionString  else DATABASE_URL, else PG*
 * @returns {Promise<any>}
 */
export async function connect(connectionString = process.env.DATABASE_URL) {
	const { default: postgres } = await import("postgres");
	/** @type {import("postgres").Options<{}>} */
	const options = {
		max: 4, idle_timeout: IDLE, fetch_types: false, onnotice: () => {}, connection: { application_name: "pgconductor node" },
	};
	if (!connectionString) {
		return postgres(options);
	}
	const [url, more] = translate(connectionString);
	return postgres(url, { ...options, ...more });
}
