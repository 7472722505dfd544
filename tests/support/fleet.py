# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts on a fleet as the modules return them, from recorded logs, metrics and nvidia-smi, for tests of the report.

Where nothing was recorded (names, times, the cache) the values are those of the modules' own pages.
"""

from __future__ import annotations

import copy
import functools
from typing import Any, NamedTuple

from ansible_collections.dgxspark.vllm.plugins.module_utils._host import spark
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.api import parse_metrics
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.diagnose import diagnose
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._report.fleet import build
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._report.fleet_page import page

from support.paths import FIXTURES

NOW = 1795446000.0  # 2026-11-23T15:00:00Z
MODEL = "Qwen/Qwen3-8B-FP8"
IMAGE = "nvcr.io/nvidia/vllm:25.09-py3"
RELEASE = "3f1c9a0b7d2e"


PLOT = ("spark01", "2026-11-28, mode quick <x>", '<svg xmlns="http://www.w3.org/2000/svg" width="990" height="405"/>')


class Fleet(NamedTuple):
    """By host: what vllm_health, spark_info, the inventory, vllm_releases_info and hf_cache_info say."""

    hosts: list[str]
    health: dict[str, Any]
    spark: dict[str, Any]
    wanted: dict[str, Any]
    releases: dict[str, Any]
    caches: dict[str, Any]
    problems: dict[str, Any]

    def report(self) -> dict[str, Any]:
        return build(self.hosts, self.health, self.spark, self.wanted, NOW)

    def page(self) -> str:
        return page(self.report(), self.releases, self.caches, self.problems, [PLOT])


def sixteen() -> Fleet:
    """Sixteen hosts, some of them ill, each in its own way."""
    hosts = [f"spark{number:02}" for number in range(1, 17)]
    fleet = Fleet(
        hosts,
        {host: copy.deepcopy(_ready()) for host in hosts},
        {host: copy.deepcopy(_spark("busy")) for host in hosts},
        {host: {"model": MODEL, "image": IMAGE, "release": RELEASE} for host in hosts},
        {host: copy.deepcopy(_releases()) for host in hosts},
        {host: copy.deepcopy(_cache()) for host in hosts},
        dict.fromkeys(hosts),
    )
    fleet.health["spark02"] = _failed("0.24/qwen3-8b-fp8_kv-too-small.log")
    fleet.health["spark03"] = {
        "unreachable": True,
        "msg": "ssh: connect to host spark03 port 22: No route to host",
    }
    fleet.spark["spark03"] = fleet.releases["spark03"] = fleet.caches["spark03"] = None
    fleet.health["spark04"] = {**_ready("loading"), "phase": "load", "progress": {"percent": 50}, "idle_seconds": 3.0}
    fleet.health["spark05"]["container"]["labels"]["dgxspark.vllm.release"] = "ba9876543210"
    fleet.spark["spark06"] = _spark("throttled")
    fleet.spark["spark07"]["gpu"]["driver"] = "580.142"
    fleet.caches["spark08"] = _cache(free=150_000_000_000, damaged=True)
    fleet.health["spark09"] = {"msg": 'vllm_model: "qwen3-9b" is not in the catalog; did you mean qwen3-8b-fp8?'}
    fleet.releases["spark09"] = fleet.caches["spark09"] = None
    fleet.problems["spark10"] = "/opt/vllm: Permission denied. It needs root: become: true"
    fleet.health["spark11"]["kv_cache_tokens"] = 401_000
    fleet.health["spark12"] = _failed("0.24/qwen3-8b-fp8_engine_killed_while_serving.log")
    return fleet


@functools.cache
def recorded(name: str) -> str:
    return (FIXTURES / name).read_text(encoding="utf-8")


def _ready(verdict: str = "ready") -> dict[str, Any]:
    found = parse_metrics(recorded("vllm/0.10.1.1/metrics.txt"))
    assert found
    return {
        "changed": False,
        "verdict": verdict,
        "phase": "ready",
        "progress": {"percent": None},
        "cause": None,
        "previous_cause": None,
        "hint": None,
        "idle_seconds": None,
        "machine": [],
        "model": MODEL if verdict == "ready" else None,
        "max_model_len": 32768,
        "vllm_version": "0.10.1.1",
        "kv_cache_tokens": 623104 if verdict == "ready" else None,
        "completion": {"text": " I", "tokens": 1, "seconds": 0.31},
        "metrics": {**found.values, "generation_tokens_per_second": 402.5} if verdict == "ready" else None,
        "container": {
            "name": "vllm-qwen3-8b-fp8",
            "status": "running",
            "image": IMAGE,
            "started_at": "2026-11-23T12:55:00.123456789Z",
            "labels": {
                "dgxspark.vllm.profile": "throughput",
                "dgxspark.vllm.release": RELEASE,
                "dgxspark.vllm.planned_tokens": "640000",
            },
        },
        "service": {"active_state": "active", "result": "success", "restarts": 0},
    }


def _failed(log: str) -> dict[str, Any]:
    said = _diagnosed(log)
    state = _ready("failed")
    state["container"]["status"] = "exited"
    return {**state, "cause": dict(said["cause"]), "phase": said["phase"]}


@functools.cache
def _diagnosed(log: str) -> dict[str, Any]:
    return diagnose(recorded(f"vllm/{log}"), exit_code=1)


def _spark(state: str) -> dict[str, Any]:
    gpu = spark.parse_gpu(recorded(f"spark/nvidia-smi-{state}.csv"), recorded("spark/nvidia-smi-banner-580.txt"))
    memory = {**spark.parse_meminfo(recorded("spark/meminfo")), "available_bytes": 12 * 1024**3}
    return {
        "gpu": gpu,
        "throttle": spark.throttle_verdict(gpu),
        "memory": memory,
        "low_memory": spark.low_memory_verdict(memory),
        "firmware": {"dgx_os": "7.5.0", "bios": "5.36_0ACUM018"},
    }


def _releases() -> dict[str, Any]:
    def one(name: str, good: float | None, staged: float, **facts: Any) -> dict[str, Any]:
        known = {"model": MODEL, "profile": "throughput", "image": IMAGE, "api_key_file": ".env", **facts}
        return {"id": name, "good": good, "staged": staged, "started": None, "facts": known, "other_secrets": []}

    return {
        "current": RELEASE,
        "good": RELEASE,
        "previous": "ba9876543210",
        "next_number": 7,
        "releases": [
            one(RELEASE, NOW - 7500, NOW - 9000),
            one("ba9876543210", NOW - 900_000, NOW - 901_000, profile="latency"),
            one("0123456789ab", None, NOW - 600, model="Qwen/Qwen3-30B-A3B-FP8", starts_are_recorded=True),
        ],
        "taken_over": {},
    }


def _cache(free: int = 3_519_069_872_128, damaged: bool = False) -> dict[str, Any]:
    partial = {"path": "/opt/hf/x.incomplete", "repo_id": MODEL, "live": False, "allocated_bytes": 1_048_576_000}
    broken = {"state": "truncated", "path": "/opt/hf/blobs/0", "file": "model.safetensors", "repo_id": MODEL}
    repository = {"repo_id": MODEL, "complete": not damaged, "missing": [], "partials": [], "broken": []}
    if damaged:
        repository.update(missing=["model-00002-of-00002.safetensors"], partials=[partial], broken=[broken])
    return {
        "path": "/opt/hf",
        "free_bytes": free,
        "total_bytes": 3_936_818_806_784,
        "repositories": [repository],
        "partials": repository["partials"],
        "broken": repository["broken"],
    }
