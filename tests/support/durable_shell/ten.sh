#!/bin/bash
. "${0%/*}/common.sh"
double=$(pgconductor ctx invoke double "$payload")
echo $((double + 10))
