# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""vllm_auto_remedy: a KV cache that is too small for the context costs one more start, and the operator is told."""

from __future__ import annotations

import re

import pytest

from support.deployments import EAGER
from support.playbook import AnsiblePlaybook, Run
from support.sandbox import CONTAINER, Spark

pytestmark = pytest.mark.usefixtures("prepared")

# 14 blocks of the CPU build hold 1792 tokens; the profile wants 32768
WANTED = {"vllm_auto_remedy": True, "vllm_extra_args": {**EAGER, "num_gpu_blocks_override": 14}}
DEPLOY = "playbooks/deploy.yml"
ARGUMENTS = "docker inspect --format '{{join .Args \" \"}}' " + CONTAINER


@pytest.fixture(scope="module")
def remedied(spark: Spark, ansible_playbook: AnsiblePlaybook) -> Run:
    return ansible_playbook(DEPLOY, spark.limit, **WANTED)


def test_it_serves_with_the_value_that_fits(spark: Spark, remedied: Run) -> None:
    assert remedied.code == 0, remedied.output
    said = remedied.words
    advice = re.search(r"set vllm_max_model_len to (\d+)", said)
    assert advice
    assert f'Trying once more with {{"vllm_max_model_len": {advice[1]}}} (vllm_auto_remedy)' in said
    assert f"Changed: vllm_max_model_len is {advice[1]} here" in said
    with spark.sudo():
        assert f"--max-model-len {advice[1]} " in spark.check_output(ARGUMENTS) + " "


def test_it_was_tried_once(spark: Spark, remedied: Run) -> None:
    assert remedied.output.count("Trying once more with") == 1
    assert remedied.count(spark.name, "rescued") == 1


def test_the_next_run_keeps_it(spark: Spark, ansible_playbook: AnsiblePlaybook, remedied: Run) -> None:
    again = ansible_playbook(DEPLOY, spark.limit, **WANTED)
    assert again.code == 0, again.output
    assert again.count(spark.name, "changed") == 0, again.output
    assert "Changed: vllm_max_model_len is" in again.words


def test_health_takes_it_for_what_is_wanted(spark: Spark, ansible_playbook: AnsiblePlaybook, remedied: Run) -> None:
    look = ansible_playbook("playbooks/health.yml", spark.limit, **WANTED)
    assert look.code == 0, look.output
    drift = ", and the inventory wants "
    assert drift not in look.words
    without = ansible_playbook("playbooks/health.yml", spark.limit)
    assert (without.code, drift in without.words) == (0, True), without.output
