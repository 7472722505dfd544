# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cache in a home, with its models in hub/, taken over as it is, by a real vLLM that runs as its owner."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from support.deployments import EAGER
from support.playbook import AnsiblePlaybook, Run
from support.sandbox import CACHE, CONTAINER, Spark

pytestmark = pytest.mark.usefixtures("prepared")

OWNERS = "/home/dgx/.cache/huggingface"
VARIABLES: dict[str, Any] = {
    "hf_cache_path": OWNERS,
    "vllm_container_user": "1000:1000",
    "vllm_api_key": "a-key-of-24-characters--",
    "vllm_extra_args": {**EAGER, "max_num_seqs": 3},  # a release that no other journey has
}
LOOK = f"cd {OWNERS} && find . -not -path '*/.locks*' -printf '%p %y %u:%g %m %T@\\n' | sort"


@pytest.fixture(scope="module")
def cache(spark: Spark) -> Iterator[str]:
    """What was there before: the model and a token, all of it the user's alone."""
    spark.root(
        f"rm -rf {OWNERS}; mkdir -p {OWNERS}/hub; cp -a {CACHE}/models--* {OWNERS}/hub/; echo hf_mine >{OWNERS}/token;"
        f" chown -R 1000:1000 {OWNERS}; chmod -R go= {OWNERS}"
    )
    yield spark.root(LOOK)
    spark.root(f"rm -rf {OWNERS}")


@pytest.fixture(scope="module")
def run(spark: Spark, cache: str, ansible_playbook: AnsiblePlaybook) -> Run:
    return ansible_playbook("site.yml", spark.limit, **VARIABLES)


def test_the_cache_is_taken_over_as_it_is(spark: Spark, run: Run, cache: str) -> None:
    assert run.code == 0, run.output
    assert f"{spark.name} serves" in run.words
    assert spark.root(LOOK) == cache
    its = spark.inspect(CONTAINER)
    assert f"{OWNERS}/hub:/root/.cache/huggingface:ro" in its["HostConfig"]["Binds"]
    assert OWNERS not in {mount["Source"] for mount in its["Mounts"]}


def test_the_server_is_that_user_and_nobody_more(spark: Spark, run: Run) -> None:
    said = spark.root(f"docker exec {CONTAINER} sh -c 'id -u; id -g; grep CapEff /proc/1/status; echo $HOME'")
    assert said.split() == ["1000", "1000", "CapEff:", "0" * 16, "/root"]
    assert spark.root("stat --format %u:%a /opt/vllm/caches /opt/vllm/caches/1000").split() == ["0:755", "1000:700"]


def test_a_second_run_changes_nothing(spark: Spark, run: Run, ansible_playbook: AnsiblePlaybook) -> None:
    again = ansible_playbook("site.yml", spark.limit, **VARIABLES)
    assert again.code == 0, again.output
    assert again.count(spark.name, "changed") == 0, again.output
    health = ansible_playbook("playbooks/health.yml", spark.limit, **VARIABLES)
    assert f"{spark.name}  ready" in health.output, health.output
    assert "drift" not in health.output, health.output
