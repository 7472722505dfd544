# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""vllm_auto_remedy: a KV cache that is too small for the context costs one more start, and the operator is told."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from testinfra.host import Host

HOST = "spark01"

# 14 blocks of the CPU build hold 1792 tokens; the profile wants 32768
WANTED = {"vllm_auto_remedy": True, "vllm_extra_args": {"num_gpu_blocks_override": 14}}
DEPLOY = ("playbooks/deploy.yml", "--limit=spark01")
ARGUMENTS = "docker inspect --format '{{join .Args \" \"}}' vllm-qwen3-8b-fp8"


def words(text: str) -> str:
    return " ".join(text.split())


@pytest.fixture(scope="module")
def remedied(playbook: Callable[..., Any]) -> Any:
    return playbook(*DEPLOY, **WANTED)


def test_it_serves_with_the_value_that_fits(spark: Host, remedied: Any) -> None:
    assert remedied.code == 0, remedied.output
    said = words(remedied.output)
    advice = re.search(r"set vllm_max_model_len to (\d+)", said)
    assert advice
    assert f'Trying once more with {{"vllm_max_model_len": {advice[1]}}} (vllm_auto_remedy)' in said
    assert f"Changed: vllm_max_model_len is {advice[1]} here" in said
    with spark.sudo():
        assert f"--max-model-len {advice[1]} " in spark.check_output(ARGUMENTS) + " "


def test_it_was_tried_once(remedied: Any) -> None:
    assert remedied.output.count("Trying once more with") == 1
    assert remedied.count(HOST, "rescued") == 1


def test_the_next_run_keeps_it(playbook: Callable[..., Any], remedied: Any) -> None:
    again = playbook(*DEPLOY, **WANTED)
    assert again.code == 0, again.output
    assert again.count(HOST, "changed") == 0, again.output
    assert "Changed: vllm_max_model_len is" in words(again.output)


def test_health_takes_it_for_what_is_wanted(playbook: Callable[..., Any], remedied: Any) -> None:
    look = playbook("playbooks/health.yml", "--limit=spark01", **WANTED)
    assert look.code == 0, look.output
    without = playbook("playbooks/health.yml", "--limit=spark01")
    assert without.code != 0
    assert "wanted: 32768" in words(without.output)
