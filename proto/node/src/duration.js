/*
 * Durations, as they stand everywhere in pgconductor: "250ms", "10s", "5m", "2h", "7d", or a number of milliseconds.
 */

const UNITS = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const LONGEST = 100 * 366 * UNITS.d;

/**
 * @param {unknown} value
 * @returns {number}
 */
export function milliseconds(value) {
	let ms = typeof value === "number" ? value : NaN;
	const match = typeof value === "string" ? /^(\d{1,15}(?:\.\d{1,3})?)(ms|s|m|h|d)$/.exec(value) : null;
	if (match !== null) {
		ms = Number(match[1]) * UNITS[/** @type {keyof typeof UNITS} */ (match[2])];
	} else if (value === "0") {
		ms = 0;
	}
	if (!(ms >= 0 && ms <= LONGEST)) {
		throw new TypeError(`not a duration: ${String(value)} (milliseconds, or text such as "250ms", "10s", "5m", "2h", "7d")`);
	}
	return Math.round(ms);
}
