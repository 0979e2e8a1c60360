#!/bin/bash
. "${0%/*}/common.sh"
enter loop
pgconductor ctx step kept -- echo true >/dev/null
pgconductor ctx progress 0 looping
for ((i = 1; ; i++)); do
	pgconductor ctx checkpoint
	pgconductor ctx progress $((i < 100 ? i : 100))
	sleep 0.005
done
