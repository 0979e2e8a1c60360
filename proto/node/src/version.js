/* The version, from package.json: one file says it. */
import { createRequire } from "node:module";

/** @type {string} */
export const VERSION = createRequire(import.meta.url)("../package.json").version;
