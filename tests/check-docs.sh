#!/bin/sh
# --help, the manual, docs/configuration.md, the sample and the table of options in the program agree.
# Run in the build directory, after pgconductor is built.
set -eu
srcdir=${srcdir:-.}
program=./pgconductor
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM
bad=0

same() {
	if ! cmp -s "$tmp/$1" "$tmp/$2"; then
		echo "$3 (<: $4, >: $5)"
		diff "$tmp/$1" "$tmp/$2" || true
		bad=1
	fi
}

# section|option|type|default|takes effect
$program check --options | awk 'NR > 1 {
	printf "%s|%s|", $1, $2
	type = substr($0, 30, 26); sub(/ +$/, "", type)
	def = substr($0, 56, 14); sub(/ +$/, "", def)
	print type "|" def "|" $NF
}' | sort > "$tmp/table"
[ -s "$tmp/table" ] || { echo "pgconductor check --options prints nothing"; exit 1; }

awk '/^## The server/ { section = "top" }
/^## `/ { section = $2; sub(/^`/, "", section) }
/^## What/ { section = "" }
section != "" && /^\| `/ {
	n = split($0, cell, / *\| */)
	gsub(/`/, "", cell[2])
	print section "|" cell[2] "|" cell[3] "|" cell[4] "|" cell[5]
}' "$srcdir/docs/configuration.md" | sort > "$tmp/document"
same table document "docs/configuration.md differs from the table" program document

# Every option stands in the sample, commented out or not, in its section; and with its default where it has one.
awk '/^(queue|handler|task) / { section = $1 }
BEGIN { section = "top" }
/^}/ { section = "top" }
/^\ttrigger / { section = "trigger" }
/^\t}/ { section = "task" }
/^\t?\t?(# )?[a-z_]+ = / {
	sub(/^\t?\t?(# )?/, "")
	if (!seen[section, $1]++)
		print section "|" $1
}' "$srcdir/docs/pgconductor.conf.sample" | sort > "$tmp/sample"
cut -d '|' -f 1,2 "$tmp/table" | sort > "$tmp/names"
same names sample "docs/pgconductor.conf.sample differs from the table" program sample
$program check -c "$srcdir/docs/pgconductor.conf.sample" > "$tmp/checked" 2>&1 || {
	cat "$tmp/checked"
	bad=1
}
while IFS='|' read -r section option type default effect; do
	case $default in
	-|*" "*) continue ;;
	esac
	if ! grep -q "^	*\(# \)\?$option = \"\{0,1\}$default\"\{0,1\}\( .*\)\?$" "$srcdir/docs/pgconductor.conf.sample"; then
		echo "docs/pgconductor.conf.sample: $section $option does not stand there with its default, $default"
		bad=1
	fi
done < "$tmp/table"

# Commands and options of --help and of the manual.
$program --help | awk '/^  [a-z]/ { print $1 }' | sort > "$tmp/commands"
sed -n 's/^\.It Cm \([a-z]*\)$/\1/p' "$srcdir/docs/pgconductor.1" | sort > "$tmp/manual-commands"
same commands manual-commands "the manual's commands differ from those of --help" program manual
while read -r command; do
	$program "$command" --help > "$tmp/help" || bad=1
	sed -n 's/^  [- ][a-zA-Z ][, ] --\([a-z][a-z-]*\).*/\1/p' "$tmp/help"
	for call in $(sed -n '/^calls:/,/^$/ s/^  \([a-z]*\) .*/\1/p' "$tmp/help"); do
		$program "$command" "$call" --help | sed -n 's/^  [- ][a-zA-Z ][, ] --\([a-z][a-z-]*\).*/\1/p'
		grep -q "^\.It Cm $command $call\>" "$srcdir/docs/pgconductor.1" ||
		    echo "not-in-the-manual-$command-$call"
	done
done < "$tmp/commands" | sort -u > "$tmp/options"
grep -o 'Fl -[a-z][a-z-]*' "$srcdir/docs/pgconductor.1" | sed 's/Fl -//' | sort -u > "$tmp/manual-options"
same options manual-options "the manual's options differ from those of --help" program manual
# The cases of conform.
{
	echo "| case | |"
	echo "|---|---|"
	$program conform --list | sed 's/^\([^ ]*\)  *\(.*\)/| `\1` | \2 |/'
} > "$tmp/cases"
sed -n '/^<!-- cases/,/^<!-- end/ { /^<!--/d; p; }' "$srcdir/docs/conform.md" > "$tmp/document-cases"
same cases document-cases "docs/conform.md differs from pgconductor conform --list" program document
exit $bad
