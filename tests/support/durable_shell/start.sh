#!/bin/bash
. "${0%/*}/common.sh"
id=$(of_payload .payload | pgconductor ctx start "$(of_payload -r .task)" -)
printf '"%s"\n' "$id"
