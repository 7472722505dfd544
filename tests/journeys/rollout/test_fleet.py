# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two hosts that serve: a bad release stops at the first, which serves the old one again; a good one reaches both.

What was staged is switched to without hub and registry.
"""

from __future__ import annotations

import re
from typing import Any

import pytest

from support.deployments import EAGER, TINY, A, B, deployed, running
from support.playbook import AnsiblePlaybook
from support.sandbox import CACHE, Spark

pytestmark = pytest.mark.usefixtures("two_hosts")

# It says it serves one model, and serves it under another name.
LIAR = ["sh", "-c", 'exec vllm serve "$@" --served-model-name somebody/else', "vllm"]
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "a flag that vLLM reads and cannot follow": (
        {"vllm_extra_args": {**EAGER, "quantization": "awq"}},
        "the quantization asked for is not the one of the checkpoint",
    ),
    "a model that cannot be loaded": (
        {"vllm_extra_args": {**EAGER, "hf_overrides": '{"hidden_size": 128}'}},
        "in phase load",
    ),
    "healthy, with another model": (
        {**A, "vllm_images": {"nvcr.io/nvidia/vllm:25.09-py3": {"command_prefix": LIAR}}},
        "served: somebody/else; wanted: Qwen/Qwen3-8B-FP8",
    ),
}


@pytest.fixture(scope="module")
def good(two_hosts: dict[str, Spark], ansible_playbook: AnsiblePlaybook) -> dict[str, tuple[str, str]]:
    """What the hosts serve before: release, and since when."""
    deployed(ansible_playbook, A)
    return {name: running(spark) for name, spark in two_hosts.items()}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_release_touches_one_host(
    name: str,
    two_hosts: dict[str, Spark],
    ansible_playbook: AnsiblePlaybook,
    good: dict[str, tuple[str, str]],
    no_hub_no_registry: None,
) -> None:
    variables, cause = BAD[name]
    run = ansible_playbook("playbooks/deploy.yml", **variables)
    assert run.code != 0
    said = run.words
    assert cause in said, run.output
    assert f"The last good release ({good['spark01'][0]}) serves again." in said
    assert re.search(r"spark01 +\w{12} +\w{12} +\d+ s +rolled back", run.output), run.output
    assert re.search(rf"spark02 +{good['spark02'][0]} +- +- +not touched", run.output), run.output
    assert running(two_hosts["spark01"])[0] == good["spark01"][0]
    assert running(two_hosts["spark02"]) == good["spark02"], "the container of the second host is another one"


# Another model, of which nothing is on the hosts, as a release that they have not had.
NEW = {**B, "vllm_profile": "latency"}


@pytest.fixture(scope="module")
def staged(two_hosts: dict[str, Spark], ansible_playbook: AnsiblePlaybook, good: dict[str, tuple[str, str]]) -> None:
    before = {name: running(spark) for name, spark in two_hosts.items()}
    for spark in two_hosts.values():
        spark.root(f"rm -rf {CACHE}/{TINY}")
    run = ansible_playbook("playbooks/stage.yml", **NEW)
    assert run.code == 0, run.output
    assert {name: running(spark) for name, spark in two_hosts.items()} == before, "the containers are other ones"


def test_a_staged_release_reaches_both_without_hub_and_registry(
    two_hosts: dict[str, Spark],
    ansible_playbook: AnsiblePlaybook,
    good: dict[str, tuple[str, str]],
    staged: None,
    no_hub_no_registry: None,
) -> None:
    run = deployed(ansible_playbook, NEW)
    for name, spark in two_hosts.items():
        release = running(spark)[0]
        assert release != good[name][0]
        assert "sandbox/tiny" in spark.check_output("curl --fail --silent http://127.0.0.1:8000/v1/models")
        assert re.search(rf"{name} +{good[name][0]} +{release} +\d+ s +ready", run.output), run.output
