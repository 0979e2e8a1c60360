#!/bin/bash
. "${0%/*}/common.sh"

# What is said of the first one holds for all: so it is in a command. One jq says it all, as each takes long to start.
mapfile -t said < <(of_payload -r '.waits[0].key // "", .mode, .turns // 1,
    (.waits[] | select(.event) | "--event", .event), (if .mode == "any" then "--any" else empty end),
    (.waits[0] | to_entries[] | select(.key | IN("key", "event") | not) |
    if .key == "timeout_ms" then "--timeout", "\(.value)ms" else "--" + .key, .value end)')
key=${said[0]} mode=${said[1]} turns=${said[2]}
options=("${said[@]:3}")

# What a wait has printed, as JSON: PRINTED
result() {
	case $mode in
	one) jq -c . <<<"$1" ;;
	all) jq -sc . <<<"$1" ;;
	any) of_payload --arg event "${1%% *}" --argjson payload "${1#* }" '[(.waits | map(.event) | index($event)), $payload]' ;;
	esac
}

list=
for ((turn = 0; turn < turns; turn++)); do
	status=0
	printed=$(pgconductor ctx wait ${key:+"$key-$turn"} "${options[@]}" --json) || status=$?
	case $status in
	0) got=$(result "$printed") ;;
	124) got='"timeout"' ;;
	*) exit "$status" ;;
	esac
	list+="${list:+,}$got"
done
echo "[$list]"
