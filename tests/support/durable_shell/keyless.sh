#!/bin/bash
. "${0%/*}/common.sh"
pgconductor ctx sleep 1ms
pgconductor ctx invoke leaf '{"value": 7}'
pgconductor ctx sleep 1ms
