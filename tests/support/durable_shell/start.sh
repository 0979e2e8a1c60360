#!/bin/bash
. "${0%/*}/common.sh"
options=()
while read -r option value; do
	options+=("$option" "$value")
done < <(of_payload -r '(.dedupe_key // empty | "--dedupe-key \(.)"), (.throttle_s // empty | "--throttle \(.)s"), (.debounce_s // empty | "--debounce \(.)s"), (.metadata // empty | "--metadata \(tojson)")')
id=$(of_payload .payload | pgconductor ctx start "$(of_payload -r .task)" - "${options[@]}")
if [ -n "$id" ]; then
	printf '"%s"\n' "$id"
fi
