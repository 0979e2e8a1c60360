#!/bin/bash
. "${0%/*}/common.sh"
pgconductor ctx cancel "$(of_payload -r .id)" --reason "by a task"
