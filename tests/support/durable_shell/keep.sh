#!/bin/bash
. "${0%/*}/common.sh"
n=$(of_payload '.values | length')
kept=$(for ((i = 0; i < n; i++)); do
	pgconductor ctx step "value-$i" --json -- bash -c 'of_payload ".values[$1]"' - "$i"
done)
pgconductor ctx sleep 1ms
jq -s -c . <<<"$kept"
