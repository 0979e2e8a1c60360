#!/bin/bash
. "${0%/*}/common.sh"
enter leaf
sleep "$(of_payload '(.ms // 0) / 1000')"
fail=$(of_payload -r '.fail // empty')
if [ "$fail" ]; then
	pgconductor ctx fail "$fail"
fi
of_payload .value
