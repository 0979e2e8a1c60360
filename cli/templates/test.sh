#!/bin/sh
# Runs the task @TASK@ on a PostgreSQL of its own, and looks at what it returns.
set -eu
cd "$(dirname "$0")"
here=$PWD
dir=$(mktemp -d)
chmod 755 "$dir"
server=
# shellcheck disable=SC2317
end() {
	if [ "$server" ]; then
		kill "$server"
		wait "$server" || true
	fi
	rm -rf "$dir"
}
trap end EXIT
trap 'exit 1' HUP INT TERM

@BUILD@
cd "$dir"
pgconductor dev @SERVE@ > log 2>&1 &
server=$!
until pgconductor dev --url > url 2> /dev/null; do
	kill -0 "$server" 2> /dev/null || { cat log >&2; exit 1; }
	sleep 0.1
done
pgconductor ready '@TASK@' --timeout 60s > /dev/null
got=$(pgconductor invoke '@TASK@' '{"name": "Ann"}' --wait --timeout 60s)
if [ "$got" != '"Hello, Ann!"' ]; then
	echo "@TASK@ returned $got" >&2
	cat log >&2
	exit 1
fi
echo "@TASK@: ok"
