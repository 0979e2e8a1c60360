/*
 * Tasks of any conductor, with what only this library is to know of them.
 */

/** @type {WeakMap<object, import("./session.js").TaskEntry>} */
const entries = new WeakMap();

/**
 * What a user gets for a task.
 * @param {import("./session.js").TaskEntry} entry
 */
export function publish(entry) {
	const task = Object.freeze({ name: entry.name, queue: entry.queue });
	entries.set(task, entry);
	return task;
}

/** @param {any} task */
export function findEntry(task) {
	return entries.get(task);
}

/** @param {any} task */
export function entryOf(task) {
	const entry = entries.get(task);
	if (entry === undefined) {
		throw new TypeError("pgconductor: tasks: what conductor.createTask returned is needed");
	}
	return entry;
}

/**
 * The queue that a reference names on purpose. Where a task of ours is at home the server knows, and it may be moved.
 * @param {any} ref
 * @returns {string | undefined}
 */
export function namedQueue(ref) {
	return entries.has(ref) ? undefined : ref?.queue;
}
