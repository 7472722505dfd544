# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan's tokens are those of vLLM's own classes, for many architectures. Its folder has the tool."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.model_config import entry_of
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.memory import Host, plan
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.words import GIB

VERSION = "0.32.0"
RECORDED = Path(__file__).parents[3] / "fixtures" / "kv_reference"
CASES: list[dict[str, t.Any]] = [
    case for name in (VERSION, f"{VERSION}-small") for case in json.loads((RECORDED / f"{name}.json").read_text())
]
HOST = Host(120 * GIB, highest=0.95)


def planned(case: dict[str, t.Any], **changes: t.Any) -> dict[str, t.Any]:
    entry, _assumed = entry_of(case["config"], 10**9)
    return plan(entry, HOST, {**case["args"], "kv_cache_memory_bytes": case["pool"], **changes}, {}, VERSION)


def test_there_are_enough_of_them() -> None:
    architectures = {name for case in CASES for name in case["config"]["architectures"]}
    assert len(architectures) >= 40


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_the_tokens_are_those_of_vllm(case: dict[str, t.Any]) -> None:
    real, found = case["vllm"], planned(case)
    assert found["kv_tokens"] == (real["tokens"] or 0)
    if real["tokens"]:
        assert found["sequences"] == real["sequences"]
        assert found["block_tokens"] == real["block_tokens"]


@pytest.mark.parametrize("case", [case for case in CASES if case["vllm"]["tokens"]], ids=lambda case: case["name"])
def test_so_is_the_longest_context(case: dict[str, t.Any]) -> None:
    found = planned(case, kv_cache_memory_bytes=case["pool"] // 8)
    assert min(found["max_context"], case["args"]["max_model_len"]) == case["vllm"]["longest_in_an_eighth"]
