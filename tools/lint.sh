#!/usr/bin/env bash
# All linters, also after one has found something; fails if any did.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit

failed=()
run() {
    printf -- '--- %s\n' "$*"
    "$@" || failed+=("$1")
}

mapfile -t scripts < <(git ls-files --cached --others --exclude-standard -- '*.sh' .ci/run)

run yamllint --strict .
run ansible-lint --strict
run ruff check .
run ruff format --check .
run tools/types.sh
run shellcheck "${scripts[@]}"
run antsibull-changelog lint
run python tools/models_table.py --check
run python tools/variables_table.py --check
run python tools/troubleshooting.py --check
run python tools/faults_table.py --check
run python tools/dashboards.py --check

[ ${#failed[@]} = 0 ] || { printf 'lint: %s\n' "${failed[*]}"; exit 1; }
