# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The service that the faults are made on: a second one beside the main one, with a port and a unit of its own."""

from __future__ import annotations

from typing import Any

from support.sandbox import Spark

SERVICE = "vllm-faults"
CONTAINER = f"{SERVICE}-qwen3-8b-fp8"
PORT = 8001
FOLDER = "models--Qwen--Qwen3-8B-FP8"
KNOWN_MODEL = {"qwen3-8b-fp8": {"weights_bytes": 112840384, "layers": 2, "kv_heads": 2, "head_dim": 32}}
# No main service is replaced, so a failed start has no good release to go back to.
# vLLM itself is to meet the hub's faults: the role downloads nothing for it.
ITS_OWN: dict[str, Any] = {
    "vllm_service_name": SERVICE,
    "vllm_port": PORT,
    "vllm_models": KNOWN_MODEL,
    "vllm_download": False,
}

DROP_IN = f"/run/systemd/system/{SERVICE}.service.d"


def processes(name: str = "") -> str:
    """Prints the pids of vLLM's own processes; they call themselves VLLM::EngineCore and VLLM::Worker."""
    return f"docker top {CONTAINER} -eo pid,args | awk '/VLLM::{name}/ {{print $1}}'"


def amend_unit(spark: Spark, setting: str) -> None:
    """A setting of the unit that lasts until restore_unit."""
    spark.write(f"{DROP_IN}/fault.conf", f"[Service]\n{setting}")
    spark.root("systemctl daemon-reload")


def restore_unit(spark: Spark) -> None:
    spark.root(f"rm -rf {DROP_IN}; systemctl daemon-reload")
