# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role gives the two hosts of vllm_nodes: arguments and environment of each rank, for pair.py. Needs no GPU.

ranks.py > ranks.json        of every model that pair.py starts
"""

from __future__ import annotations

import json
import sys
import typing as t
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.nodes import Node, Nodes
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.resolve import resolve
from plan import OWN

from support.services import CATALOG, spark, values

INTERFACE = "enp1s0f0np0"  # a Spark's own name for its first port
# no weights are there, and CUDA graphs take a minute
ARGS = {"load_format": "dummy", "enforce_eager": True}
HOSTS = (Node("spark01", "192.168.100.1"), Node("spark02", "192.168.100.2"))
MODELS = (
    "qwen3-8b-fp8",
    "qwen3-30b-a3b-fp8",
    "qwen36-35b-a3b-fp8",
    "gpt-oss-120b",
    "llama33-70b-fp8",
)
VARIABLES: dict[str, t.Any] = {
    "vllm_nodes": [host.host for host in HOSTS],
    "vllm_image": "nvcr.io/nvidia/vllm:26.07-py3",  # vLLM 0.24.0
    # the share of the profile, whatever a Spark has
    "vllm_gpu_memory_utilization": 0.90,
    "vllm_memory_reserve_gib": 0,
}


def rank(number: int, model: str) -> dict[str, t.Any]:
    interfaces = [{"name": INTERFACE, "addresses": [HOSTS[number].address]}]
    typed = values(**VARIABLES, vllm_model=model, vllm_extra_args={**ARGS, **OWN.get(model, {})})
    found = resolve(typed, CATALOG, spark(10**12, interfaces=interfaces), members=Nodes(HOSTS, number))
    return {"words": found.arguments, "environment": found.environment, "args": found.args}


def main() -> int:
    ranks = {model: [rank(number, model) for number in range(len(HOSTS))] for model in MODELS}
    addresses = [host.address for host in HOSTS]
    print(json.dumps({"interface": INTERFACE, "addresses": addresses, "models": ranks}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
