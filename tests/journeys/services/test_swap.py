# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two services that take turns. Their engine is a stand-in: what is tested is who runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from support.deployments import EAGER
from support.paths import SUPPORT
from support.playbook import AnsiblePlaybook, Run
from support.sandbox import Spark

pytestmark = pytest.mark.usefixtures("prepared")

PROGRAM = "/opt/files/standin_engine.py"
COMMON: dict[str, Any] = {
    "vllm_swap_group": "big",
    "vllm_files": [{"src": str(SUPPORT / "standin_engine.py"), "target": PROGRAM}],
    "vllm_entrypoint": ["python3", PROGRAM, "serve"],
}
ONE: dict[str, Any] = {"name": "vllm", "vllm_extra_args": {**EAGER, "served_model_name": "one"}}
TWO: dict[str, Any] = {"name": "vllm-b", "vllm_port": 8001, "vllm_extra_args": {**EAGER, "served_model_name": "two"}}
BROKEN = {**TWO, "vllm_extra_args": {**TWO["vllm_extra_args"], "quantization": "awq"}}
UNITS = "systemctl is-active vllm vllm-b || true; systemctl is-enabled vllm vllm-b || true"


class Group:
    def __init__(self, spark: Spark, ansible_playbook: AnsiblePlaybook) -> None:
        self.spark, self.ansible_playbook = spark, ansible_playbook

    def run(self, playbook: str, service: str = "", two: dict[str, Any] = TWO) -> Run:
        limit = f"{self.spark.limit}-{service}" if service else self.spark.limit
        return self.ansible_playbook(playbook, limit, vllm_services=[ONE, two], **COMMON)

    def on_turn(self) -> list[str]:
        """Each of both is either active and enabled, or neither."""
        states = self.spark.root(UNITS).split()
        assert [state == "active" for state in states[:2]] == [state == "enabled" for state in states[2:]], states
        return [name for name, state in zip(("vllm", "vllm-b"), states, strict=False) if state == "active"]


@pytest.fixture(scope="module")
def group(spark: Spark, ansible_playbook: AnsiblePlaybook) -> Iterator[Group]:
    group = Group(spark, ansible_playbook)
    first = group.run("playbooks/deploy.yml")
    assert first.code == 0, first.output
    assert f"{spark.name}-vllm has the turn of swap group big" in first.words
    assert group.on_turn() == ["vllm"]
    yield group
    removed = group.run("playbooks/uninstall.yml")
    assert removed.code == 0, removed.output


def test_a_swap_that_fails_goes_back(group: Group, spark: Spark) -> None:
    run = group.run("playbooks/swap.yml", "vllm-b", BROKEN)
    assert run.code != 0
    assert f"{spark.name}-vllm serves again, as before. The new release failed" in run.words, run.output
    assert group.on_turn() == ["vllm"]


def test_a_swap_and_what_follows_it(group: Group, spark: Spark) -> None:
    run = group.run("playbooks/swap.yml", "vllm-b")
    assert run.code == 0, run.output
    assert group.on_turn() == ["vllm-b"]
    again = group.run("playbooks/deploy.yml")
    assert again.code == 0, again.output
    assert [again.count(f"{spark.name}-{part}", "changed") for part in ("vllm", "vllm-b")] == [0, 0], again.output
    assert group.on_turn() == ["vllm-b"]
    health = group.run("playbooks/health.yml")
    assert health.code == 0, health.output
    assert f"{spark.name}-vllm waiting" in health.words and f"{spark.name}-vllm-b ready" in health.words
