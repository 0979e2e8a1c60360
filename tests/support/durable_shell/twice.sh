#!/bin/bash
# The status of what fails is thrown away: that must not help.
. "${0%/*}/common.sh"
pgconductor ctx step once -- echo 1 || true
enter first
pgconductor ctx step once -- echo 2 || true
enter second
