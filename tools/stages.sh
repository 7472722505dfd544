#!/usr/bin/env bash
# Runs make targets one after the other, with the time that each of them takes:
#   stages.sh setup lint journeys+unit+hub+sanity
# Of those joined by +, the first runs here; the others run beside it, one after the other, on what it leaves of the
# processors, and are shown when it has ended. One that fails does not stop the others, but for setup, which they need.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit
beside_log=.cache/beside.log
mkdir -p .cache

failed=()
stage() {
    printf '\n===== %s  %s\n' "$(date +%H:%M:%S)" "$1"
    local start=$SECONDS
    if make --no-print-directory "$1"; then
        printf '===== %s: %s s\n' "$1" $((SECONDS - start))
    else
        printf '===== %s FAILED after %s s\n' "$1" $((SECONDS - start))
        failed+=("$1")
    fi
}
# Linux shares the processors between sessions first, and between processes by their nice value only within one: each
# ansible-playbook that a test starts would count as much as a journey. Root can make a group that gets what is left,
# and a tenth where nothing is: with less, what has to end within a minute does not.
group=dgxspark-beside
last_in_line() {
    local weight
    renice -n 19 -p "$1" >/dev/null
    for weight in cpu/"$group"/cpu.shares=128 "$group"/cpu.weight=12; do # of cgroup v1 and v2
        local file=/sys/fs/cgroup/${weight%=*}
        mkdir "${file%/*}" 2>/dev/null || [ -d "${file%/*}" ] || continue
        if [ -e "$file" ] && echo "${weight#*=}" >"$file" && echo "$1" >"${file%/*}/cgroup.procs"; then return; fi
        rmdir "${file%/*}"
    done 2>/dev/null
}
beside() {
    local name
    failed=()
    export UNIT_WORKERS=2 # what they wait for comes late here, and later with each of them
    for name in "$@"; do stage "$name"; done
    [ ${#failed[@]} = 0 ] || { echo "${failed[*]}" >"$beside_log.failed"; }
}

rest=
trap '[ -z "$rest" ] || kill -- "-$rest" 2>/dev/null' EXIT
trap 'exit 130' INT TERM
for word in "$@"; do
    IFS=+ read -ra names <<<"$word"
    if [ ${#names[@]} -gt 1 ]; then
        rm -f "$beside_log.failed"
        set -m # a process group of its own, so that all of it can be ended
        (last_in_line "$BASHPID"; beside "${names[@]:1}") >"$beside_log" 2>&1 </dev/null &
        rest=$!
        set +m
    fi
    stage "${names[0]}"
    if [ -n "$rest" ]; then
        wait "$rest" || true
        rest=
        rmdir /sys/fs/cgroup/{cpu/,}"$group" 2>/dev/null
        cat "$beside_log"
        [ ! -e "$beside_log.failed" ] || read -ra more <"$beside_log.failed"
        failed+=("${more[@]-}")
    fi
    [ "${failed[*]-}" != setup ] || break
done

read -ra failed <<<"${failed[*]-}"
[ ${#failed[@]} = 0 ] || { printf '\n===== FAILED: %s\n' "${failed[*]}"; exit 1; }
