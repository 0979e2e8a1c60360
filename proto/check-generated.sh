#!/bin/sh
# The constants of the Python and Node libraries are what proto/gen-messages.awk makes of proto/messages.def, and the
# libraries have the version of the whole. With --write the constants are brought up to date in the source tree.
set -eu
srcdir=${srcdir:-.}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM
bad=0

# mode, file
same() {
	${AWK:-awk} -v mode="$1" -f "$srcdir/proto/gen-messages.awk" "$srcdir/proto/messages.def" >"$tmp/$1"
	if [ "$write" = yes ]; then
		cat "$tmp/$1" >"$srcdir/$2"
	elif ! diff -u "$srcdir/$2" "$tmp/$1"; then
		echo "$2 is behind proto/messages.def: run proto/check-generated.sh --write"
		bad=1
	fi
}

# file, sed expression that prints its version
version() {
	[ -f "$srcdir/$1" ] || return 0
	found=$(sed -n "$2" "$srcdir/$1" | head -n 1)
	if [ "$found" != "$wanted" ]; then
		echo "$1: version \"$found\"; configure.ac says \"$wanted\""
		bad=1
	fi
}

write=no
[ "${1-}" != --write ] || write=yes
same python proto/python/pgconductor/_messages.py
same javascript proto/node/src/messages.js

wanted=$(sed -n 's/^AC_INIT(\[[a-z]*\], *\[\([^]]*\)\].*/\1/p' "$srcdir/configure.ac")
version proto/python/pgconductor/_version.py 's/^__version__ = "\(.*\)"/\1/p'
version proto/node/package.json 's/^[[:space:]]*"version": "\(.*\)",*/\1/p'
exit $bad
