#!/usr/bin/env bash
# Writes requirements.lock: what requirements-dev.txt needs, for every Python and processor that setup supports, with
# the hash of each file. Versions that are in it stay, unless a requirement asks for others; `tools/lock.sh --upgrade`
# takes the newest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

[ -x .cache/lock/bin/uv ] || python3 -m venv --clear .cache/lock
.cache/lock/bin/pip -qq --disable-pip-version-check --no-input install uv==0.13.9
.cache/lock/bin/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-annotate \
    --custom-compile-command "make lock" --output-file requirements.lock "$@" requirements-dev.txt
