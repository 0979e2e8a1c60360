#!/bin/bash
. "${0%/*}/common.sh"
pgconductor ctx step validate -- bash -c 'enter did validate; of_payload ".items | length"' >/dev/null
items=$(pgconductor ctx step transform -- bash -c 'enter did transform; of_payload ".items | map(ascii_upcase)"')
pgconductor ctx sleep "$(of_payload '.ms // 0')ms"
save() {
	enter did save
	if [ "$(of_payload .fail)" = true ] && ((PGCONDUCTOR_ATTEMPT == 1)); then
		echo "no room" >&2
		return 1
	fi
	jq -c '["done", .]' <<<"$1"
}
export -f save
pgconductor ctx step save -- bash -c 'save "$1"' - "$items"
