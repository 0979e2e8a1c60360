export { Conductor } from "./conductor.js";
export { Orchestrator } from "./orchestrator.js";
export { RawJSON } from "./json.js";
export { DatabaseSchema, EventSchemas, TaskSchemas, defineEvent, defineTask } from "./schemas.js";
export { literal } from "./triggers.js";
export {
	BadArgument, BadEvent, BadPayload, BadQueue, BadResult, BadSchedule, BadTask, BadTime, Cancelled, ChildFailed, ChildTimeout,
	ClientError, EventTimeout, ExecutionFailed, NonRetryableError, NotAvailable, NotInstalled, NotInvocable, PayloadTooLarge,
	PgconductorError, RetryAfter, TimeoutError, UndeclaredTask, UnknownExecution, WaitFailed,
} from "./errors.js";
