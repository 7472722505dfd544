# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Results as vllm_health and spark_info give them, and the report on them."""

from __future__ import annotations

import typing as t

from ansible_collections.dgxspark.vllm.plugins.module_utils._causes.causes import condition
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._report import fleet as report_fleet
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._report import fleet_table

Facts = dict[str, t.Any]

NOW = 1795446000.0  # 2026-11-23T15:00:00Z
MODEL = "Qwen/Qwen3-8B-FP8"
IMAGE = "nvcr.io/nvidia/vllm:25.09-py3"
WANTED = {"model": MODEL, "image": IMAGE}
FIRMWARE = {"dgx_os": "7.5.0", "bios": "5.36_0ACUM018", "vbios": "9A.0B.2D.00.00", "connectx7": "28.45.4028"}


def health(verdict: str = "ready", cause: str | None = None, **values: t.Any) -> Facts:
    metrics = {
        "running": 8,
        "waiting": 0,
        "kv_cache_usage": 0.034,
        "preemptions": 0,
        "prefix_cache_queries": 210000,
        "prefix_cache_hits": 149000,
        "prefix_cache_hit_rate": 0.7095,
        "draft_tokens": None,
        "draft_acceptance_rate": None,
        "generation_tokens_per_second": 402.5,
        "prompt_tokens_per_second": 1890.0,
    }
    metrics.update({key: values.pop(key) for key in list(values) if key in metrics})
    return {
        "changed": False,
        "verdict": verdict,
        "phase": "ready" if verdict == "ready" else None,
        "progress": {"percent": None},
        "cause": {**condition(cause, "the line")._asdict()} if cause else None,
        "previous_cause": None,
        "hint": None,
        "idle_seconds": None,
        "model": MODEL if verdict == "ready" else None,
        "vllm_version": "0.10.1.1",
        "kv_cache_tokens": 623104,
        "metrics": metrics if verdict == "ready" else None,
        "container": {
            "status": "running" if verdict in ("ready", "loading", "degraded", "stuck") else "exited",
            "image": IMAGE,
            "started_at": "2026-11-23T12:55:00.123456789Z",
            "labels": {
                "dgxspark.vllm.profile": "throughput",
                "dgxspark.vllm.release": "3f1c9a0b7d2e",
                "dgxspark.vllm.planned_tokens": "640000",
            },
        },
        **values,
    }


def spark(driver: str = "580.95.05", load: int = 96, clock: int = 2418, gib: float = 12.0, **firmware: str) -> Facts:
    return {
        "gpu": {"driver": driver, "temperature_c": 68, "sm_clock_mhz": clock, "utilization_percent": load},
        "throttle": {"throttled": clock < 1500 if load > 80 else None, "reason": "…"},
        "memory": {"total_bytes": 130 * 1024**3, "available_bytes": int(gib * 1024**3)},
        "low_memory": {"low": gib < 3, "reason": "…"},
        "firmware": {**FIRMWARE, **firmware},
    }


def build(healths: t.Mapping[str, Facts | None], sparks: t.Mapping[str, Facts | None] | None = None) -> Facts:
    known = {name: spark() for name in healths} if sparks is None else sparks
    return report_fleet.build(list(healths), healths, known, dict.fromkeys(healths, WANTED), NOW)


def fleet(number: int) -> dict[str, Facts | None]:
    return {f"spark{count:02}": health() for count in range(1, number + 1)}


def table_of(report: Facts) -> list[str]:
    return fleet_table.render(report).split("\n\n", 1)[0].splitlines()


def found(report: Facts, name: str) -> list[tuple[list[str], str]]:
    return [(note["hosts"], note["meaning"]) for note in report["notes"] if note["id"] == name]


LISTENER = {"port": 8000, "pid": 7, "process": "docker-proxy", "container": "by-hand"}
