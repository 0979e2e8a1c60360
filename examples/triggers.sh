#!/bin/bash
# What starts tasks besides invoke, and what they may wait for, as scripts. In pgconductor.conf:
#	task "heartbeat" {
#		exec = "examples/triggers.sh heartbeat"
#		trigger { invocable = true }
#		trigger { cron = "*/3 * * * * *"  name = "every-3-seconds"  payload = "{\"by\": \"the clock\"}" }
#	}
#	task "report"    { exec = "examples/triggers.sh report" }
#	task "reports"   { exec = "examples/triggers.sh reports" }
#	task "listen"    { exec = "examples/triggers.sh listen" }
#	task "announce"  { exec = "examples/triggers.sh announce" }
# Then, and to see what came of it `pgconductor list` and `pgconductor logs ID`:
#	pgconductor invoke heartbeat '{"by": "hand"}' --wait
#	pgconductor invoke reports '{"do": "schedule"}' --wait      … and unschedule
#	pgconductor invoke listen                                   as often as you like
#	pgconductor invoke announce '{"text": "Hello World"}'
set -euo pipefail
payload=$(cat)
case $1 in
heartbeat)
	pgconductor ctx log "beat${PGCONDUCTOR_EVENT_AT:+ of $PGCONDUCTOR_EVENT_AT} by $(jq -r .by <<<"$payload")"
	;;
report)
	pgconductor ctx log "$PGCONDUCTOR_EVENT for $(jq -r .source <<<"$payload"), due at $PGCONDUCTOR_EVENT_AT"
	;;
reports)
	# Scheduling what is scheduled changes nothing, so that it may be done in each run.
	if [ "$(jq -r .do <<<"$payload")" = unschedule ]; then
		pgconductor ctx unschedule report reports
	else
		pgconductor ctx schedule --overlap skip report reports '*/3 * * * * *' '{"source": "admin"}'
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
