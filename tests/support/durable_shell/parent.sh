#!/bin/bash
. "${0%/*}/common.sh"
enter parent
errors=
[ "$(of_payload .caught)" != true ] || errors=--return-errors
outcomes=$(of_payload '.children[] | if .timeout_ms then .timeout = "\(.timeout_ms)ms" else . end | del(.timeout_ms)' |
    pgconductor ctx invoke --all - $errors)
if [ "$errors" ]; then
	jq -s -c . <<<"$outcomes"
else
	jq -s -c 'map({result: .})' <<<"$outcomes"
fi
