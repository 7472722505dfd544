#!/usr/bin/env bash
# What depends on the version of ansible-core, with the other one that is supported: 3.11 gets 2.19, 3.12 and newer 2.21.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

minor_version() { # 3.MINOR of a Python that works and can make virtual environments, otherwise nothing
    "$1" -c 'import ensurepip, sys; print(sys.version_info.minor)' 2>/dev/null || true
}

other_python() {
    local wanted="14 13 12" folders version folder candidate
    version=$(minor_version python3)
    if [ "${version:-0}" -ge 12 ]; then wanted=11; fi
    IFS=: read -ra folders <<<"$PATH"
    for version in $wanted; do
        for folder in "${folders[@]}"; do
            # pyenv keeps its versions beside its shims; a shim of a version that is not selected does not work
            for candidate in "$folder/python3.$version" "${folder%/shims}/versions/3.$version".*/bin/python3; do
                if [ "$(minor_version "$candidate")" = "$version" ]; then echo "$candidate"; return; fi
            done
        done
    done
}

other=$(other_python)
if [ -z "$other" ]; then
    echo "the other ansible-core was NOT tested: no fitting Python is on this machine (3.12 to 3.14; or 3.11)"
    exit
fi
echo "with $("$other" --version) ($other)"
export PYTHON=$other VENV=.venv-other

# With each commit another third of them, as with the journeys.
left=()
if [ "${JOURNEYS:-}" != --all ]; then
    turn=$(git rev-list --count HEAD 2>/dev/null || echo 0)
    while read -r file; do
        if ((turn++ % 3)); then left+=("--ignore=$file"); fi
    done < <(find tests/unit tests/playbooks -name 'test_*.py' | sort)
    echo "left to other commits: ${#left[@]} files"
fi
make --no-print-directory setup unit playbooks UNIT_ARGUMENTS="${left[*]}"
# The other sanity tests read the same text with the same programs.
tools/sanity.sh --test ansible-doc --test compile --test import --test validate-modules
