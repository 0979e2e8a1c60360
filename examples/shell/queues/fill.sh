#!/bin/sh
# usage: fill.sh [NUMBER]: has each of the four tasks done so many times, and says how many ran at the same time.
set -eu
number=${1:-10}
results=$(mktemp -d)
trap 'rm -r "$results"' EXIT
for task in plain fast normal slow; do
	seq "$number" | xargs -P "$number" -I N pgconductor invoke "$task" N --wait >"$results/$task" &
done
wait
for task in plain fast normal slow; do
	# One more runs from each begin on, one less from each end; at the same moment the end is first.
	tr -d '[], ' <"$results/$task" | sed 's/^\(.\{19\}\)\(.*\)/\1 1\n\2 -1/' | sort -k1,1n -k2,2n |
	    awk -v task="$task" '{ n += $2; if (n > most) most = n } END { print task ": " NR / 2 " done, " most " at a time" }'
done
