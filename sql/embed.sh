#!/bin/sh
# Print the C source that embeds the SQL: embed.sh SRCDIR [FILE…], the files relative to SRCDIR, e.g.
# sql/functions/invoke.sql. What they are for follows from their folder; within one they go by name.
set -eu
LC_ALL=C
export LC_ALL
src=$1
shift

list()
{
	for file; do
		case $file in
		$pattern) echo "$file" ;;
		esac
	done | sort
}

# Strings go by lines, so that no literal is long.
array()
{
	name=$1
	shift
	echo "const struct sql_file $name[] = {"
	for file; do
		base=${file##*/}
		base=${base%.sql}
		number=0
		case $file in
		sql/migrations/*)
			number=${base%%_*}
			number=$((1$number - 10000)) ;;
		esac
		printf '\t{ "%s",\n' "$base"
		awk '{ gsub(/\\/, "&&"); gsub(/"/, "\\\\\""); gsub(/\?/, "\\\\?"); printf "\t  \"%s\\n\"\n", $0 }' "$src/$file"
		printf '\t  , %d },\n' "$number"
	done
	echo "};"
	echo "const size_t ${name}_n = $#;"
	echo
}

pattern='sql/migrations/*.sql'
migrations=$(list "$@")
pattern='sql/functions/*.sql'
functions=$(list "$@")

echo "/* Made by sql/embed.sh. */"
echo '#include "sql/sql.h"'
echo
# The lists are split into words on purpose: no name has a blank.
# shellcheck disable=SC2086
{
	array sql_migrations $migrations
	array sql_functions $functions
	array sql_finish sql/finish.sql
}
digest=$(for file in $functions sql/finish.sql; do echo "$file"; cat "$src/$file"; done | cksum)
echo "const char sql_digest[] = \"$digest\";"
last=${migrations##*/}
echo "const int sql_version = $((1${last%%_*} - 10000));"
