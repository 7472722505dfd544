#!/usr/bin/env bash
# Runs make targets one after the other, with the time that each of them takes. One that fails does not stop the others,
# but for setup, which they need; the end says which failed.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit

failed=()
for stage in "$@"; do
    printf '\n===== %s  %s\n' "$(date +%H:%M:%S)" "$stage"
    start=$SECONDS
    if make --no-print-directory "$stage"; then
        printf '===== %s: %s s\n' "$stage" $((SECONDS - start))
    else
        printf '===== %s FAILED after %s s\n' "$stage" $((SECONDS - start))
        failed+=("$stage")
        [ "$stage" != setup ] || break
    fi
done
[ ${#failed[@]} = 0 ] || { printf '\n===== FAILED: %s\n' "${failed[*]}"; exit 1; }
