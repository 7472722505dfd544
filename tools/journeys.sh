#!/usr/bin/env bash
# The Molecule scenarios that are named, in that order, on one sandbox. A sandbox that is up is taken down first,
# so that every run starts from the same state; none is left behind, whatever happens. Caches and images stay.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

take_down() { ansible-playbook -i localhost, molecule/default/destroy.yml >.cache/destroy.log 2>&1 || { cat .cache/destroy.log; return 1; }; }

trap take_down EXIT
trap 'exit 130' INT TERM
take_down

scenarios=()
for name in "$@"; do scenarios+=(--scenario-name "$name"); done

export MOLECULE_GLOB='molecule/*/molecule.yml'
export MOLECULE_EPHEMERAL_DIRECTORY=$PWD/.cache/molecule # where a run that broke off has left its memory
rm -rf "$MOLECULE_EPHEMERAL_DIRECTORY"
molecule test --no-command-borders "${scenarios[@]}"
