#!/usr/bin/env bash
# What a GPU machine without internet needs, as files of 53 MiB that can be carried one at a time:
#   tests/gpu/build.sh FOLDER
#   FOLDER/part.NN    vLLM 0.24.0, or VLLM_VERSION, for CUDA 13 and the packages that the machine's Python lacks, packed with xz
#   FOLDER/host.NN    the host image of site/Dockerfile, packed with zstd, with zstd itself; left out if the sandbox's images are not there
#   FOLDER/kit/       these scripts, ansible-core and the collections that this one needs
# The machine brings Python 3.12, torch 2.11 (cu130), triton, transformers and tokenizers. Needs Python 3.12 with pip here, and 3 GB of disk.
# Left out, because an H100 or H200 does without: FlashAttention 2, FlashMLA, FlashInfer, DeepGEMM's headers.
set -euo pipefail
[ $# = 1 ] || { sed -n '2,8s/^# //p' "$0"; exit 2; }

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=$(realpath -m "$1")
version=${VLLM_VERSION:-0.24.0}
newer=$here/requirements-$version.txt # what this version has instead
core=2.21.5
python=${PYTHON312:-python3.12}
"$python" -c 'import ensurepip, sys; sys.exit(sys.version_info[:2] != (3, 12))' \
    || { echo "build: PYTHON312=$python is not a Python 3.12 with ensurepip" >&2; exit 1; }

work=$folder/work
mkdir -p "$work" "$folder/kit/ansible"
rm -f "$folder"/part.*
tree=$work/tree-$version # one for each: a folder may hold what was built for another
"$python" -m venv "$work/venv"
install() { PIP_CONSTRAINT='' "$work/venv/bin/pip" -q --disable-pip-version-check install --no-deps --no-compile "$@"; }
[ -d "$tree/vllm" ] || {
    install --target "$tree" -r "$here/requirements.txt"
    [ ! -f "$newer" ] || install --target "$tree" --upgrade --only-binary :all: -r "$newer"
    install --target "$tree" --only-binary :all: "vllm==$version"
}
[ -d "$folder/kit/ansible/ansible" ] && [ -d "$folder/kit/ansible/pyroute2" ] \
    || install --target "$folder/kit/ansible" "ansible-core==$core" resolvelib pyroute2==0.9.7
rm -rf "$folder/kit/ansible/ansible_test"
cp -r "$here"/*.py "$here/site" "$folder/kit/"
"$here/../../.venv/bin/python" "$here/ranks.py" > "$folder/kit/ranks.json"
mkdir -p "$folder/kit/collections"
cp -r "$here"/../../.venv/lib/python*/site-packages/ansible_collections/{ansible,community} "$folder/kit/collections/"

rm -f "$folder"/host.*
if docker image inspect dgxspark-sandbox/host:dgx >/dev/null 2>&1; then
    docker build --quiet --tag dgxspark-gpu/host "$here/site" >/dev/null
    container=$(docker create dgxspark-gpu/host)
    docker export "$container" | zstd -q -10 -T0 | split -b 52M -d - "$folder/host."
    docker rm "$container" >/dev/null
    cp "$(command -v zstd)" "$folder/zstd"
fi

# Of pycountry the names are enough; its translations are 20 MB.
tar -C "$tree" --exclude='_vllm_fa2_C*' --exclude='_flashmla*' --exclude=vllm-rs --exclude='deep_gemm/include' \
    --exclude='third_party/fmha_sm100' --exclude='_C.cpython-31[0134]*' --exclude='pycountry/locales' \
    --exclude='torch/include' --exclude='torch/test' --exclude=__pycache__ -cf - . | xz -T0 -4 | split -b 53M -d - "$folder/part."
ls -la "$folder"
