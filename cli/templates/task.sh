#!/bin/sh
# The task @TASK@. Its payload comes as JSON on standard input, what it prints is its result.
#
#	pgconductor dev -c @BASE@.conf
#	pgconductor invoke @TASK@ '{"name": "Ann"}' --wait
set -eu
name=$(jq -r .name)
# What is done in a step is not done again when the task is tried again.
pgconductor ctx step greet -- printf 'Hello, %s!' "$name"
pgconductor ctx log greeted --field name="$name"
