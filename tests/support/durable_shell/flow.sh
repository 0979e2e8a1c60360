#!/bin/bash
. "${0%/*}/common.sh"
sum=0
for ((i = 0; i < 20; i++)); do
	sum=$((sum + $(pgconductor ctx step "step-$i" -- bash -c 'enter did "step-$1"; echo "$1"' - "$i")))
	if ((i % 5 == 4 && i < 19)); then
		pgconductor ctx sleep "$((5 + i))ms"
	fi
done
leaves=$(for i in 1 2 3 4 5; do
	printf '{"task": "%s", "payload": {"value": %d}}\n' "$( ((i < 4)) && echo leaf || echo far)" $((1000 * i))
done | pgconductor ctx invoke --all -)
echo $((sum + $(jq -s add <<<"$leaves")))
