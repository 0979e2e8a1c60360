# What the tasks of this directory share; their contract is at the head of tests/support/durable_c.c.
set -euo pipefail

# KIND [REST]: a line for the ledger.
enter() {
	echo "$(date +%s%N) $$ $1 $PGCONDUCTOR_ID $PGCONDUCTOR_ATTEMPT${2:+ $2}" >>"$LEDGER"
}
export -f enter

payload=$(cat)
export payload

# FILTER [jq's options…]: of the payload.
of_payload() {
	jq -c "$@" <<<"$payload"
}
export -f of_payload
