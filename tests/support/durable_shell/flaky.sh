#!/bin/bash
. "${0%/*}/common.sh"
fails=$(of_payload '.fails // 0')
export fails
pgconductor ctx step flaky -- bash -c 'enter did flaky; ((PGCONDUCTOR_ATTEMPT > fails)) && echo "$PGCONDUCTOR_ATTEMPT"'
