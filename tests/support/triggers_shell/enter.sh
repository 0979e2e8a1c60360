#!/bin/bash
. "${0%/*}/common.sh"
rest="$PGCONDUCTOR_EVENT|${PGCONDUCTOR_EVENT_AT-}|$(of_payload .)"
echo "$(date +%s%N) $$ $PGCONDUCTOR_TASK $PGCONDUCTOR_ID $PGCONDUCTOR_ATTEMPT $rest" >>"$LEDGER"
echo "\"$PGCONDUCTOR_EVENT\""
