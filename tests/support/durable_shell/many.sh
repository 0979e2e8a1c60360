#!/bin/bash
. "${0%/*}/common.sh"
of_payload '.task as $task | range(.n) | {task: $task, payload: {value: .}}' | pgconductor ctx invoke --all - | jq -s add
