#!/bin/bash
# usage: triggers.sh TASK: what starts tasks besides invoke, and what they may wait for; see triggers.conf.
set -euo pipefail
payload=$(cat)
case $1 in
heartbeat)
	jq --arg of "${PGCONDUCTOR_EVENT_AT:+ of $PGCONDUCTOR_EVENT_AT}" '"beat\($of) by \(.by)"' <<<"$payload"
	;;
report)
	pgconductor ctx log "due at $PGCONDUCTOR_EVENT_AT"
	jq '"report for \(.source)"' <<<"$payload"
	;;
reports)
	# Scheduling what is scheduled changes nothing, so that it may be done in each run.
	if [ "$(jq -r .do <<<"$payload")" = unschedule ]; then
		pgconductor ctx unschedule report reports
	else
		pgconductor ctx schedule --overlap skip report reports '* * * * * *' '{"source": "admin"}'
	fi
	;;
listen)
	# Meanwhile it is a row in the database: any number may listen, for as long as they like.
	if heard=$(pgconductor ctx wait announcement --event announcement --timeout 60s); then
		jq '"heard: " + .text' <<<"$heard"
	elif [ $? = 124 ]; then
		echo '"heard nothing"'
	fi
	;;
announce)
	# In a step, so that it is not said again once that is saved.
	pgconductor ctx step say -- pgconductor ctx emit announcement "$payload"
	;;
esac
