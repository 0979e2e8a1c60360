#!/bin/sh
# usage: work.sh SECONDS: takes so long, and returns from when to when, in nanoseconds.
begin=$(date +%s%N)
sleep "$1"
echo "[$begin, $(date +%s%N)]"
