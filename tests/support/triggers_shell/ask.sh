#!/bin/bash
. "${0%/*}/common.sh"
emit_once asked "{\"of\": \"$PGCONDUCTOR_ID\"}" >/dev/null
pgconductor ctx wait --event answered --when "payload->>'to' = '$PGCONDUCTOR_ID'" --since start | jq .n
