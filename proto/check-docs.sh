#!/bin/sh
# The tables of docs/protocol.md are what proto/gen-messages.awk makes of proto/messages.def.
# With --write they are brought up to date in the source tree.
set -eu
srcdir=${srcdir:-.}
document=$srcdir/docs/protocol.md
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM

for link in handler master; do
	${AWK:-awk} -v mode=table -v link=$link -f "$srcdir/proto/gen-messages.awk" "$srcdir/proto/messages.def" >"$tmp/$link"
done

# Puts each table where its marks stand.
${AWK:-awk} -v dir="$tmp" '
/^<!-- generated: / {
	print
	while ((getline line < (dir "/" $3)) > 0)
		print line
	skip = 1
	next
}
/^<!-- end -->/ { skip = 0 }
!skip { print }' "$document" >"$tmp/document"

for link in handler master; do
	grep -q "^<!-- generated: $link -->" "$document" || { echo "$document: no place for the table of $link"; exit 1; }
done
if [ "${1-}" = --write ]; then
	cat "$tmp/document" >"$document"
	exit 0
fi
if ! diff -u "$document" "$tmp/document"; then
	echo "docs/protocol.md is behind proto/messages.def: run proto/check-docs.sh --write"
	exit 1
fi
