# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What vllm_health can see of a server."""

from __future__ import annotations

import typing as t
from pathlib import Path

from ansible_collections.dgxspark.vllm.plugins.module_utils._host.docker import Container, Unit
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.api import Metrics, Model
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.health import (
    Api,
    Completion,
    Observation,
    Wanted,
)
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.log import parse

LOGS = Path(__file__).parents[4] / "tests" / "fixtures" / "vllm" / "0.32"
STARTED, NOW = "1970-01-01T00:16:40Z", 1100.0  # 1000 s, and 100 s later

NEVER = "0001-01-01T00:00:00Z"


def container(status: str = "running", **values: t.Any) -> Container:
    defaults: dict[str, t.Any] = {
        "name": "vllm-x",
        "id": "0123456789ab",
        "exit_code": 0,
        "oom_killed": False,
        "error": "",
        "started_at": STARTED,
        "finished_at": NEVER if status in ("running", "created") else "1970-01-01T00:18:00Z",
        "image": "vllm:1",
        "restarts": 0,
    }
    return Container(status=status, **{**defaults, **values})


def unit(active: str, sub: str = "", restarts: int = 0, result: str = "success") -> Unit:
    return Unit(active, sub, result, restarts, "abc", 5.0)


def log(name: str, until: str | None = None) -> t.Any:
    text = (LOGS / name).read_bytes().decode()
    return parse(text[: text.index(until)] if until else text)


HEALTHY = Api(
    health=200,
    models_status=200,
    models=[Model("Qwen/Qwen3-8B-FP8", 32768)],
    version="0.32.0",
    completion=Completion(" I", 1, 0.3),
    metrics=Metrics({"running": 0}, 623_104, 19.02),
)
WANTED = Wanted(model="Qwen/Qwen3-8B-FP8", max_model_len=32768)
QUIET_100 = Wanted(stall_timeout=100)


def api(**values: t.Any) -> Api:
    return Api(**{**HEALTHY.__dict__, **values})


def seen(**values: t.Any) -> Observation:
    return Observation(**{"now": NOW, "wanted": WANTED, **values})


REFUSED, RESET = Api(error="refused"), Api(error="reset")

SERVING = log("startup_ok.log", "(APIServer pid=26367) INFO 11-23 09:34:38")
OOM = "x 09:33:15 [x.py:1] torch.OutOfMemoryError: CUDA out of memory"
