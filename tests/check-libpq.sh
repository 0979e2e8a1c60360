#!/bin/sh
# Only master/ and cli/ include libpq, and nothing but them is compiled or linked with it: the other processes cannot
# talk to the database.
set -eu
srcdir=${srcdir:-.}
bad=0
folders=
for makefile in "$srcdir"/*/local.mk; do
	case $makefile in
	*/master/local.mk|*/cli/local.mk|*/tests/local.mk) ;;
	*) folders="$folders ${makefile%/local.mk}" ;;
	esac
done
for file in $(find $folders -name '*.[ch]'); do
	name=${file#"$srcdir"/}
	if grep -n -E '#[[:space:]]*include[[:space:]]*[<"](.*/)?libpq' "$file" /dev/null; then
		echo "$name: includes libpq"
		bad=1
	fi
	if grep -n -E '#[[:space:]]*include[[:space:]]*[<"](master|cli)/' "$file" /dev/null; then
		echo "$name: includes a header of a folder that includes libpq"
		bad=1
	fi
done
for file in "$srcdir"/*/local.mk; do
	name=${file#"$srcdir"/}
	case $name in
	master/*|cli/*|tests/*) continue ;;
	esac
	if grep -n LIBPQ "$file"; then
		echo "$name: uses libpq"
		bad=1
	fi
done
exit $bad
