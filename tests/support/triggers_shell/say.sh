#!/bin/bash
. "${0%/*}/common.sh"
event=$(of_payload -r .event)
# Without a payload: no argument.
mapfile -t json < <(of_payload 'select(has("payload")) | .payload')
id=$(emit_once "$event" "${json[@]}")
echo "\"$id\""
