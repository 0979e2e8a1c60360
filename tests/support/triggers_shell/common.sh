# What the tasks of this directory share; their contract is at the head of tests/support/triggers_c.c.
set -euo pipefail

payload=$(cat)

# FILTER [jq's options…]: of the payload.
of_payload() {
	jq -c "$@" <<<"$payload"
}

# EVENT [JSON]: emits it, in a step; prints its id.
emit_once() {
	pgconductor ctx step said -- pgconductor ctx emit "$@"
}
