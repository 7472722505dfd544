#!/usr/bin/env bash
# Runs make targets one after the other, with the time that each of them takes. Stops at the first that fails.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

for stage in "$@"; do
    printf '\n===== %s  %s\n' "$(date +%H:%M:%S)" "$stage"
    start=$SECONDS
    make --no-print-directory "$stage" || { printf '===== %s FAILED after %s s\n' "$stage" $((SECONDS - start)); exit 1; }
    printf '===== %s: %s s\n' "$stage" $((SECONDS - start))
done
