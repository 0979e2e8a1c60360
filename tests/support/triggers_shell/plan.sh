#!/bin/bash
. "${0%/*}/common.sh"
mapfile -t options < <(of_payload -r 'to_entries[] | select(.key | IN("timezone", "overlap", "catchup")) | "--" + .key, .value')
mapfile -t json < <(of_payload 'select(has("payload")) | .payload')
next=$(pgconductor ctx schedule "${options[@]}" -- "$(of_payload -r .task)" "$(of_payload -r .name)" "$(of_payload -r .cron)" "${json[@]}")
echo "\"$next\""
