# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What it costs that several services of a host serve one model."""

from __future__ import annotations

import re
import typing as t

import pytest
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.budget import Unread, budget
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.resolve import resolve

from support.services import CATALOG, GIB, spark, values

ONE: dict[str, t.Any] = {"vllm_model": "qwen3-32b-fp8", "vllm_gpu_memory_utilization": 0.45}
TWO: dict[str, t.Any] = {**ONE, "vllm_service_name": "vllm-b", "vllm_port": 8001}
OTHER: dict[str, t.Any] = {**TWO, "vllm_service_name": "vllm-c", "vllm_port": 8002}


def copies(*services: dict[str, t.Any]) -> tuple[str, ...]:
    return budget([values(**each) for each in services], CATALOG, spark()).copies


def test_the_line_has_the_tokens_of_each_and_those_of_one_with_the_memory_of_both() -> None:
    (line,) = copies(ONE, TWO)
    head, _colon, tail = line.partition("; ")
    assert head.startswith("vllm and vllm-b serve the same model, Qwen/Qwen3-32B-FP8, with ")
    first, second = (int(each.replace(",", "")) for each in re.findall(r"[\d,]{5,}", head.partition(" with ")[2]))
    (one,) = (int(each.replace(",", "")) for each in re.findall(r"[\d,]{5,}", tail))
    alone = resolve(values(**{**ONE, "vllm_gpu_memory_utilization": 0.9}), CATALOG, spark())
    assert (first, one) == (second, alone.plan["kv_tokens"])
    weights = alone.plan["weights_bytes"] / alone.plan["kv_bytes_per_token"]
    assert one - first - second > weights  # they are in memory twice


def test_it_is_that_of_the_service_in_the_lookup() -> None:
    found = budget([values(**ONE), values(**TWO)], CATALOG, spark())
    assert resolve(values(**ONE), CATALOG, spark(), budget=found).copies == list(found.copies) != []


def test_of_a_swap_group_one_counts() -> None:
    turns = {"vllm_gpu_memory_utilization": 0.3, "vllm_swap_group": "big"}
    assert copies({**ONE, **turns}, {**TWO, **turns}) == ()
    (line,) = copies({**ONE, **turns}, {**TWO, **turns}, {**OTHER, "vllm_gpu_memory_utilization": 0.45})
    assert line.startswith("vllm and vllm-c serve the same model")


@pytest.mark.parametrize(
    "services",
    [
        [ONE, {**TWO, "vllm_model": "qwen3-8b-fp8"}],
        [ONE, {**TWO, "vllm_extra_args": {"served_model_name": "mine"}}],  # requests choose one of them
        [{**each, "vllm_extra_args": {"kv_cache_memory_bytes": 10 * GIB}} for each in (ONE, TWO)],  # one has no more
        [{**each, "vllm_model": "who/knows"} for each in (ONE, TWO)],
        [{**each, "vllm_model": "qwen3-8b-pf8"} for each in (ONE, TWO)],
    ],
)
def test_there_is_no_line(services: list[dict[str, t.Any]]) -> None:
    assert copies(*services) == ()


def test_three_in_one_line_and_a_wrong_one_is_left_out() -> None:
    three = [{**each, "vllm_model": "qwen3-8b-fp8", "vllm_gpu_memory_utilization": 0.3} for each in (ONE, TWO, OTHER)]
    (line,) = copies(*three)
    assert line.startswith("vllm and vllm-b and vllm-c serve the same model, Qwen/Qwen3-8B-FP8, with ")
    wrong = Unread("vllm-d", "h-vllm-d: vllm_port: no", None)
    (same,) = budget([*(values(**each) for each in three), wrong], CATALOG, spark()).copies
    assert same == line
