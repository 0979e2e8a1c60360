#!/bin/bash
. "${0%/*}/common.sh"
pgconductor ctx unschedule "$(of_payload -r .task)" "$(of_payload -r .name)"
