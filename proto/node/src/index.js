export { Conductor } from "./conductor.js";
export { Orchestrator } from "./orchestrator.js";
export { RawJSON } from "./json.js";
export { EventSchemas, defineEvent } from "./schemas.js";
export { literal } from "./triggers.js";
export {
	BadArgument, BadEvent, BadPayload, BadQueue, BadSchedule, BadTask, BadTime, Cancelled, ChildFailed, ChildTimeout, ClientError,
	WaitFailed, EventTimeout, NonRetryableError, NotAvailable, NotInstalled, PayloadTooLarge, PgconductorError, RetryAfter,
	UndeclaredTask,
} from "./errors.js";
