# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The faults that a start meets: how each is made and undone on the host, and what the operator must be told."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from support.sandbox import CACHE
from support.sandbox import HUB_ADDRESS as HUB

from .second_service import FOLDER, KNOWN_MODEL, PORT, SERVICE, processes

SCRATCH = "/opt/hf-faults"  # a cache that a fault may break
HOOK = "/usr/bin/nvidia-container-runtime-hook"  # Docker has the GPU runtime if this is there when it starts

TINY = {"weights_bytes": 400000, "layers": 2, "kv_heads": 2, "head_dim": 32, "native_context": 40960}


@dataclass(frozen=True)
class Fault:
    """Shell text runs on the host as root."""

    name: str
    cause: str  # id of the cause; empty: the role refuses before anything is started
    remedy: str  # a piece of it
    verdict: str = "failed"
    variables: dict[str, Any] = field(default_factory=dict)
    make: str = ""
    undo: str = ""
    meanwhile: str = ""  # between the role's look at the host and the start of the server
    loading: str = ""  # as soon as vLLM has begun to load
    retried: bool = False  # the line comes with every try, and only the last one is fatal
    hub: list[dict[str, Any]] = field(default_factory=list)  # rules of the hub's /control


def model(name: str) -> dict[str, Any]:
    """A model of the user's own catalog, with an empty cache."""
    own = name.replace("/", "-")
    return {"vllm_model": own, "vllm_models": {**KNOWN_MODEL, own: {"id": name, **TINY}}, "hf_cache_path": SCRATCH}


EMPTY = f"rm -rf {SCRATCH} && mkdir {SCRATCH}"
GONE = f"rm -rf {SCRATCH}"
OFFLINE = {"hf_cache_path": SCRATCH, "vllm_hf_offline": True}
OWN = f"/opt/{SERVICE}/cache/fault"  # files of a fault that the container sees as /root/.cache/fault
OWN_GONE = f"rm -rf {OWN}"
COMPOSE = f"/opt/{SERVICE}/current/compose.yaml"


def broken_copy(command: str, **variables: Any) -> dict[str, Any]:
    """A copy of the model, broken by a command in its snapshot; offline, so that the hub cannot heal it."""
    copy = f"{EMPTY} && cp --archive {CACHE}/{FOLDER} {SCRATCH}/ && cd {SCRATCH}/{FOLDER}/snapshots/*"
    return {"variables": {**OFFLINE, **variables}, "make": f"{copy} && {command}", "undo": GONE}


def own_file(name: str, content: str) -> dict[str, str]:
    """A file that the container sees."""
    return {"make": f"mkdir -p {OWN} && cat > {OWN}/{name} << 'EOF'\n{content}\nEOF", "undo": OWN_GONE}


# Of an adapter, as much as vLLM reads before it refuses its rank.
ADAPTER = '{"r": 64, "lora_alpha": 64, "target_modules": ["q_proj"], "peft_type": "LORA"}'


def adapter(path: str) -> dict[str, Any]:
    """A LoRA adapter by its path in the container, for a model of the user's own catalog."""
    arguments = {"enforce_eager": True, "enable_lora": True, "max_lora_rank": 16, "lora_modules": [f"sql={path}"]}
    return {**model("sandbox/tiny"), "vllm_extra_args": arguments}


# Python finds all modules but one, as in an image that lacks it.
WITHOUT_UVLOOP = """\
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name == "uvloop":
            raise ModuleNotFoundError("No module named 'uvloop'", name=name)

sys.meta_path.insert(0, Missing())"""

LAST = "model-00002-of-00002.safetensors"
TAKER = f"{SERVICE}-taker"
TAKE_PORT = (
    f"systemctl is-active --quiet {TAKER}"
    f" || systemd-run --collect --unit={TAKER} python3 -m http.server {PORT} --bind 127.0.0.1\n"
    f"timeout 20 sh -c 'until ss -Hltn sport = :{PORT} | grep -q .; do sleep 0.1; done'"
)
GIVE_PORT = f"systemctl stop {TAKER}"
RESTART_DOCKER = "systemctl reset-failed docker && systemctl restart docker"

# The quick ones first: what stands at the top has failed long before what stands at the bottom.
FAULTS = [
    Fault(
        "port taken",
        cause="",
        remedy="Stop it, or set vllm_port to a free port",
        verdict="refused",
        make=TAKE_PORT,
        undo=GIVE_PORT,
    ),
    Fault(
        "disk too small for the model",
        cause="",
        remedy="Free up space there",
        verdict="refused",
        variables={"hf_cache_path": SCRATCH},
        make=f"{EMPTY} && mount -t tmpfs -o size=64m tmpfs {SCRATCH}",
        undo=f"umount {SCRATCH} && {GONE}",
    ),
    Fault(
        "port taken while the service starts",
        cause="docker_port_in_use",
        remedy="see who holds it with `ss -ltnp`; stop that service or set another vllm_port",
        meanwhile=TAKE_PORT,
        undo=GIVE_PORT,
    ),
    Fault(
        "no description of the GPU (CDI)",
        cause="docker_no_cdi_device",
        remedy="run playbooks/prepare.yml",
        variables={"vllm_gpu": "cdi"},
        make="mv /var/run/cdi/nvidia.yaml /var/run/cdi/nvidia.yaml.away",
        undo="mv /var/run/cdi/nvidia.yaml.away /var/run/cdi/nvidia.yaml",
    ),
    Fault(
        "no GPU runtime",
        cause="docker_no_gpu_runtime",
        remedy="run playbooks/prepare.yml",
        variables={"vllm_gpu": "nvidia"},
        make=f"mv {HOOK} {HOOK}.away && {RESTART_DOCKER}",
        undo=f"mv {HOOK}.away {HOOK} && {RESTART_DOCKER}",
    ),
    Fault(
        # as by hand in the release's file, from instructions for a host with another toolkit
        "runtime that Docker does not know",
        cause="docker_unknown_runtime",
        remedy="run playbooks/prepare.yml",
        meanwhile=f"sed -i 's/^    container_name:/    runtime: nvidia-legacy\\n&/' {COMPOSE}",
        undo=f"sed -i '/^    runtime:/d' {COMPOSE}",
    ),
    Fault(
        "Python module missing in the image",
        cause="python_module",
        remedy="use another vllm_image",
        variables={"vllm_extra_env": {"PYTHONPATH": "/root/.cache/fault"}},
        **own_file("sitecustomize.py", WITHOUT_UVLOOP),
    ),
    Fault(
        # known to the vLLM of the catalog's image, gone from the one that the sandbox really runs
        "unknown flag",
        cause="",
        remedy="unknown option of vLLM 0.32.0",
        verdict="refused",
        variables={"vllm_extra_args": {"swap_space": 4}},
    ),
    Fault(
        "chat template that is not there",
        cause="",
        remedy="Correct vllm_extra_args, or take another image",
        verdict="refused",
        variables={"vllm_extra_args": {"chat_template": "/root/.cache/missing.jinja"}},
    ),
    Fault(
        "unknown quantization",
        cause="unknown_quant",
        remedy="correct or remove quantization in vllm_extra_args",
        variables={"vllm_extra_args": {"quantization": "fp9"}},
    ),
    Fault(
        # the user's entry claims more than the model's own config.json
        "max_model_len over the model's limit",
        cause="max_len_gt_model",
        remedy="set vllm_max_model_len to 40960 or less",
        variables={
            "vllm_max_model_len": 65536,
            "vllm_models": {"qwen3-8b-fp8": {**KNOWN_MODEL["qwen3-8b-fp8"], "config_context": 131072}},
        },
    ),
    Fault(
        "empty config.json",
        "config_corrupt",
        "remove the damaged one (config.json first)",
        **broken_copy(": > config.json"),
    ),
    Fault(
        "offline with an empty cache",
        cause="hf_offline_missing",
        remedy="deploy once with vllm_hf_offline: false",
        variables=OFFLINE,
        make=EMPTY,
        undo=GONE,
    ),
    Fault(
        "model id that the hub does not have",
        cause="hf_repo_not_found",
        remedy="correct the id of the model",
        variables=model("sandbox/missing"),
        make=EMPTY,
        undo=GONE,
    ),
    Fault(
        "gated model, no token",
        cause="hf_gated_noauth",
        remedy="accept the license on the model's page and set vllm_hf_token",
        variables={**model("sandbox/gated"), "vllm_hf_token": ""},
        make=EMPTY,
        undo=GONE,
    ),
    Fault(
        "gated model, token without the grant",
        cause="hf_gated_denied",
        remedy="accept the license on the model's page with the account of vllm_hf_token",
        variables={**model("sandbox/gated"), "vllm_hf_token": "hf_sandboxnogrant"},
        make=EMPTY,
        undo=GONE,
    ),
    Fault(
        "gated model, bad token",
        cause="hf_bad_token",
        remedy="replace vllm_hf_token",
        variables={**model("sandbox/gated"), "vllm_hf_token": "hf_sandboxrevoked"},
        make=EMPTY,
        undo=GONE,
    ),
    Fault(
        "hub down (network cut)",
        cause="hf_network",
        remedy="vllm_hf_endpoint names a mirror",
        variables=model("sandbox/tiny"),
        make=f"{EMPTY} && ip route add unreachable {HUB}/32",
        undo=f"ip route del unreachable {HUB}/32; {GONE}",
    ),
    Fault(
        "disk full during the download",
        cause="disk_full",
        remedy="free space under hf_cache_path",
        variables={"hf_cache_path": SCRATCH},
        make=f"{EMPTY} && mount -t tmpfs -o size=3g tmpfs {SCRATCH}",
        meanwhile=f"mount -o remount,size=16m {SCRATCH}",
        undo=f"umount {SCRATCH} && {GONE}",
    ),
    Fault("missing shard", "weights_missing_shard", "deploy again", **broken_copy(f"rm $(readlink -f {LAST}) {LAST}")),
    Fault(
        "dangling link",
        "dangling_symlink",
        "remove that link",
        **broken_copy(f"rm $(readlink -f {LAST})"),
    ),
    Fault(
        "truncated safetensors",
        "weights_truncated",
        "remove that file of the model",
        **broken_copy(f"truncate --size=-1000 $(readlink -f {LAST})"),
    ),
    Fault(
        "missing shard, with debug logging",
        "weights_missing_shard",
        "deploy again",
        **broken_copy(f"rm $(readlink -f {LAST}) {LAST}", vllm_extra_env={"VLLM_LOGGING_LEVEL": "DEBUG"}),
    ),
    Fault(
        "LoRA adapter that is not there",
        cause="lora_path",
        remedy="correct its path in lora_modules",
        variables=adapter("/root/.cache/fault/none"),
        make=EMPTY,
        undo=GONE,
    ),
    Fault(
        "LoRA adapter with a rank above max_lora_rank",
        cause="lora_rank",
        remedy="set max_lora_rank: 64 in vllm_extra_args",
        variables=adapter("/root/.cache/fault"),
        make=f"{EMPTY}\n{own_file('adapter_config.json', ADAPTER)['make']}",
        undo=f"{GONE}; {OWN_GONE}",
    ),
    Fault(
        "/dev/shm too small",
        cause="shm_too_small",
        remedy="keep vllm_ipc: host",
        variables={"vllm_ipc": "private"},
    ),
    Fault(
        # the sandbox gives the cache 1 GiB, 2,097,152 tokens of this small model: only a stretched context is longer
        "KV cache too small",
        cause="kv_too_small",
        remedy="set vllm_max_model_len to 2",
        variables={
            "vllm_enforce_memory_plan": False,  # which would have refused it
            "vllm_max_model_len": 2200000,
            "vllm_models": {"qwen3-8b-fp8": {**KNOWN_MODEL["qwen3-8b-fp8"], "config_context": 2200000}},
            "vllm_extra_args": {"enforce_eager": True, "hf_overrides": {"max_position_embeddings": 2200000}},
        },
    ),
    Fault(
        "engine frozen with SIGSTOP while it loads",
        cause="stuck",
        remedy="check `docker logs` and `docker top`",
        verdict="stuck",
        variables={"vllm_stall_timeout": 30},
        loading=f"{processes()} | xargs kill -STOP",
    ),
    Fault(
        "hub that accepts and sends nothing",
        cause="hf_silent",
        remedy="vllm_hf_endpoint names a mirror",
        # the client tries six times; two seconds each instead of its ten
        variables={"hf_cache_path": SCRATCH, "vllm_extra_env": {"HF_HUB_DOWNLOAD_TIMEOUT": "2"}},
        retried=True,
        make=EMPTY,
        undo=GONE,
        hub=[{"match": LAST, "hang": True}],
    ),
    Fault(
        "hub that sends nothing to a client that waits for it",
        cause="stuck",
        remedy="check `docker logs` and `docker top`",
        verdict="stuck",
        variables={
            "hf_cache_path": SCRATCH,
            "vllm_stall_timeout": 30,
            "vllm_extra_env": {"HF_HUB_DOWNLOAD_TIMEOUT": "600"},
        },
        make=EMPTY,
        undo=GONE,
        hub=[{"match": LAST, "hang": True}],
    ),
]
