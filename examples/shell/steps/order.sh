#!/bin/bash
# A workflow that lasts, as a script. It is run from its beginning each time: after a failure, a crash, a reboot, and after each
# wait. What is done under a key is not done again: then its output is printed from the database.
set -euo pipefail
order=$(cat)
if [ "${1-}" = invoice ]; then
	pgconductor ctx log "writing an invoice" --field order="$order"
	echo "{\"number\": $PGCONDUCTOR_ID, \"for\": $order}"
	exit
fi
reservation=$(pgconductor ctx step reserve -- bash -c 'echo "R-$RANDOM$RANDOM"')
pgconductor ctx progress 30 "reserved as $reservation"
# Neither a process nor a place in the queue is taken meanwhile; a month would do as well.
pgconductor ctx sleep cooling-off 2s
pgconductor ctx progress 60 "writing an invoice"
invoice=$(pgconductor ctx invoke invoice "$order" --key invoice --timeout 1m)
sent=$(pgconductor ctx step send -- date --utc +%FT%TZ)
echo "{\"reservation\": \"$reservation\", \"invoice\": $invoice, \"sent\": \"$sent\"}"
