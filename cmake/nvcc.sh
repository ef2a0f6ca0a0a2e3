#!/usr/bin/env bash
# nvcc.sh LOG NVCC ARGUMENT...: runs nvcc; what ptxas tells of each kernel goes to LOG, and everything else is shown.
set -uo pipefail
log=$1
shift
"$@" 2>"$log"
status=$?
grep -vE '^ptxas info|bytes stack frame' "$log" >&2
exit $status
