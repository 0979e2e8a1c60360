#!/bin/bash
. "${0%/*}/common.sh"
pgconductor ctx step began -- bash -c 'enter began; echo 1' >/dev/null
pgconductor ctx sleep "$(of_payload '.ms // 0')ms"
enter woke
echo slept
