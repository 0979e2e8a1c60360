#!/bin/sh
# Every file that the tests need is named in tests/local.mk: a test that is not listed would not run, and a helper that
# is not listed would be missing from the release.
set -eu
srcdir=${srcdir:-.}
bad=0
for file in "$srcdir"/tests/integration/test_*.py "$srcdir"/tests/support/*.py "$srcdir"/tests/bench/*; do
	name=${file#"$srcdir"/}
	case $name in
	*/__pycache__|*.o|*.lo|*.log|*.trs|*/ceiling|*/noop_handler|*/forkloop|tests/bench/\*) continue ;;
	esac
	if ! grep -q -F -w -e "$name" "$srcdir/tests/local.mk"; then
		echo "$name: not in tests/local.mk"
		bad=1
	fi
done
exit $bad
