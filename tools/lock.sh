#!/usr/bin/env bash
# Writes requirements.lock: what requirements-dev.txt needs, for every Python and processor that setup supports, with
# the hash of each file; and the one beside the list of what the sandbox's image of vLLM is made of. Versions that are in
# the first stay, unless a requirement asks for others; `tools/lock.sh --upgrade` takes the newest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

[ -x .cache/lock/bin/uv ] || python3 -m venv --clear .cache/lock
.cache/lock/bin/pip -qq --disable-pip-version-check --no-input install uv==0.13.9
.cache/lock/bin/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-annotate \
    --custom-compile-command "make lock" --output-file requirements.lock "$@" requirements-dev.txt

# PyTorch's own index has torch's CPU build, which is none of the package index: it is installed by its version.
image=molecule/shared/images/vllm
grep -v '^torch==' "$image/requirements.txt" |
    .cache/lock/bin/uv pip compile --quiet --no-deps --generate-hashes --python-version 3.11 --no-annotate \
        --custom-compile-command "make lock" --output-file "$image/requirements.lock" -
