#!/bin/bash
. "${0%/*}/common.sh"
emit_once answered "$(of_payload '{to: .of, n: 42}')" >/dev/null
echo null
