#!/bin/bash
. "${0%/*}/common.sh"
of_payload '2 * .value'
