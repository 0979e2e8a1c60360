#!/bin/bash
. "${0%/*}/common.sh"
n=$(of_payload '.n // 1') bytes=$(of_payload '.bytes // 0') die=$(of_payload '.die // -1') piped=$(of_payload .piped)
ran=$(mktemp)
trap 'rm -f "$ran"' EXIT
export ran

# What a step does: NUMBER BYTES
one() {
	enter did "step-$1"
	echo "$1" >>"$ran"
	printf '[%d,"' "$1"
	head -c "$2" /dev/zero | tr '\0' x
	printf '"]\n'
}
export -f one

sum=0
for ((i = 0; i < n; i++)); do
	if ((i == die && PGCONDUCTOR_ATTEMPT == 1)); then
		wait
		kill -KILL $$
	fi
	if [ "$piped" = true ]; then
		pgconductor ctx step "step-$i" -- bash -c 'one "$@"' - "$i" "$bytes" >/dev/null &
		sum=$((sum + i))
		continue
	fi
	: >"$ran"
	result=$(pgconductor ctx step "step-$i" -- bash -c 'one "$@"' - "$i" "$bytes")
	[ ! -s "$ran" ] || enter ok "step-$i"
	result=${result#[} sum=$((sum + ${result%%,*}))
done
while [ "$(jobs -p)" ]; do wait -n; done
echo $sum
