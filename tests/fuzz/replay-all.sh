#!/bin/sh
# Runs every fuzz target that was built with libFuzzer over its corpus, once. In the build directory.
set -eu
srcdir=${srcdir:-.}
for program in tests/fuzz/fuzz_*; do
	[ -x "$program" ] && [ -f "$program" ] || continue
	target=${program##*/fuzz_}
	echo "$target"
	"$program" -runs=0 "$srcdir/tests/fuzz/corpus/$target"
done
