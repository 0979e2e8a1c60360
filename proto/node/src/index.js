export { Conductor } from "./conductor.js";
export { Orchestrator } from "./orchestrator.js";
export { RawJSON } from "./json.js";
export {
	BadArgument, BadPayload, BadQueue, BadTask, BadTime, Cancelled, ChildFailed, ChildTimeout, ClientError, NonRetryableError,
	NotAvailable, NotInstalled, PayloadTooLarge, PgconductorError, RetryAfter, UndeclaredTask,
} from "./errors.js";
