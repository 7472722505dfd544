# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan's tokens are those that real engines log: exactly where the pool's size is given, within 2 % otherwise."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.dgxspark.vllm.plugins.module_utils._model_config import entry_of
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm_log import parse
from ansible_collections.dgxspark.vllm.plugins.plugin_utils import _memory
from shapes import GIVEN, REFERENCE, SHARED, TOO_LONG, Case
from testinfra.host import Host

HOST = "spark01"
IMAGE = "172.30.111.3:5000/nvidia/vllm:25.09-py3"
CONTAINER = "plan-engines"
ENGINES = Path(__file__).with_name("engines.py")
BATCH = 2048  # tokens; the default is that of no machine in particular


@pytest.fixture(scope="module")
def logs(spark: Host) -> dict[str, str]:
    """The logs of all engines, by the name of the case."""
    cases = [*GIVEN, TOO_LONG, REFERENCE, *SHARED]
    batched = [{**case.as_dict(), "args": {"max_num_batched_tokens": BATCH, **case.args}} for case in cases]
    folder = spark.check_output("mktemp --directory")
    for name, text in (("engines.py", ENGINES.read_text()), ("cases.json", json.dumps(batched))):
        spark.check_output("printf %%s %s >%s/%s", text, folder, name)
    with spark.sudo():
        found = spark.check_output(
            "docker run --rm --name %s --network none --shm-size 1g --volume %s:/plan:ro --entrypoint python3 %s"
            " /plan/engines.py /plan/cases.json 2>/dev/null; rm -r %s",
            CONTAINER,
            folder,
            IMAGE,
            folder,
        )
    read: dict[str, str] = json.loads(found)
    return read


def planned(case: Case, total_bytes: int = 64 * _memory.GIB) -> dict[str, Any]:
    entry, assumed = entry_of(case.config, case.weights_bytes())
    assert assumed == []
    args = {"max_num_batched_tokens": BATCH, "enforce_eager": True, **case.args}
    environment = case.environment or {}
    return _memory.plan(entry, _memory.Host(total_bytes, highest=1.0), args, environment)


@pytest.mark.parametrize("case", GIVEN, ids=lambda case: case.name)
def test_the_tokens_are_the_logged_ones(logs: dict[str, str], case: Case) -> None:
    real, plan = parse(logs[case.name]), planned(case)
    assert real.kv_cache_tokens, logs[case.name]
    assert plan["kv_tokens"] == real.kv_cache_tokens
    assert plan["sequences"] == real.max_concurrency


def test_the_longest_context_is_the_logged_one(logs: dict[str, str]) -> None:
    advice = re.search(r"estimated maximum model length is (\d+)", logs[TOO_LONG.name])
    assert advice, logs[TOO_LONG.name]
    plan = planned(TOO_LONG)
    assert not plan["fits"]
    assert plan["max_context"] == int(advice[1])


def requested_and_consumed(log: str) -> tuple[float, float]:
    found = re.search(r"with ([\d.]+) GiB requested memory for the worker. ([\d.]+) GiB memory was consumed", log)
    assert found, log
    return float(found[1]) * _memory.GIB, float(found[2]) * _memory.GIB


@pytest.mark.parametrize("case", SHARED, ids=lambda case: case.name)
def test_a_share_of_the_memory(logs: dict[str, str], case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """The weights are taken off as they really are. What the engine takes is the CPU's, measured with a model of none."""
    monkeypatch.setattr(_memory, "ENGINE_BYTES", int(requested_and_consumed(logs[REFERENCE.name])[1]))
    monkeypatch.setattr(_memory, "ACTIVATION_BYTES", 0)
    monkeypatch.setattr(_memory._kv_cache, "BLOCK", _memory._kv_cache.CPU_BLOCK)
    requested = requested_and_consumed(logs[case.name])[0]
    plan = planned(case, int(requested / case.args["gpu_memory_utilization"]))
    assert plan["kv_tokens"] == pytest.approx(parse(logs[case.name]).kv_cache_tokens, rel=0.02)
