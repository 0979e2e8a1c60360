#!/bin/sh
# Print the C source that embeds the templates of `pgconductor new`: embed.sh SRCDIR FILE…, the files relative to SRCDIR.
set -eu
src=$1
shift
echo "/* Made by cli/embed.sh. */"
echo '#include "cli/templates.h"'
echo
echo "const struct template templates[] = {"
for file; do
	printf '\t{ "%s",\n' "${file##*/}"
	awk '{ gsub(/\\/, "&&"); gsub(/"/, "\\\\\""); gsub(/\?/, "\\\\?"); printf "\t  \"%s\\n\"\n", $0 }' "$src/$file"
	printf '\t},\n'
done
echo "};"
echo "const size_t templates_n = $#;"
