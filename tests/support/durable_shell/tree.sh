#!/bin/bash
. "${0%/*}/common.sh"
depth=$(of_payload .depth)
if ((depth == 0)); then
	echo 0
	exit
fi
below=$(pgconductor ctx invoke tree "{\"depth\": $((depth - 1))}" --key below)
echo $((below + 1))
