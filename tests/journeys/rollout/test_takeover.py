# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host on which the guide's own Compose project serves: refused, given back, or taken over, and never removed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pieces import EAGER, A, Client, guides_project, root, served, words
from testinfra.host import Host

HOST = "spark01"
ON_THE_HOST = "--limit=spark01"
# As the guide has it: the folder gives the project its name, and the container has the name that ours has, too.
GUIDE = "/home/dgx/vllm"
NAME = "vllm-qwen3-8b-fp8"


def container(spark: Host, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(root(spark, f"docker inspect {name}"))[0]
    return found


@pytest.fixture(scope="module")
def guide(spark: Host, ssh: Any, playbook: Callable[..., Any], until: Callable[..., Any]) -> Iterator[str]:
    """The guide's project serves, nothing of ours is there; the id of its container."""
    run = playbook("playbooks/uninstall.yml", ON_THE_HOST)
    assert run.code == 0, run.output
    guides_project(spark, GUIDE)
    with Client(ssh) as client:
        root(spark, f"cd {GUIDE} && docker compose up -d")
        until(lambda: client.answered, "the guide's server answers")
    yield container(spark, NAME)["Id"]
    root(spark, f"cd {GUIDE} && docker compose down; rm -rf {GUIDE}")


def test_it_is_refused_on_request(spark: Host, playbook: Callable[..., Any], guide: str) -> None:
    run = playbook("playbooks/deploy.yml", ON_THE_HOST, **A, vllm_take_over=False)
    assert run.code != 0
    assert f"the container {NAME} of the Compose project vllm is in the way, and vllm_take_over is false" in words(
        run.output
    )
    assert run.count(HOST, "changed") == 0
    assert container(spark, guide)["State"]["Running"]


def test_it_serves_again_when_the_new_release_fails(
    spark: Host, ssh: Any, playbook: Callable[..., Any], until: Callable[..., Any], guide: str
) -> None:
    run = playbook("playbooks/deploy.yml", ON_THE_HOST, vllm_extra_args={**EAGER, "quantization": "awq"})
    assert run.code != 0
    said = words(run.output)
    assert f"the switch stops the container {NAME} of the Compose project vllm" in said
    assert "the quantization asked for is not the one of the checkpoint" in said
    assert f"{NAME}, which was stopped for it, serves again." in said
    its = container(spark, guide)
    assert its["Name"] == f"/{NAME}"
    assert its["State"]["Running"]
    assert its["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped"
    with Client(ssh) as client:
        until(lambda: client.answered, "it answers")


def test_it_is_taken_over_and_stays(spark: Host, playbook: Callable[..., Any], guide: str) -> None:
    run = playbook("playbooks/deploy.yml", ON_THE_HOST, **A)
    assert run.code == 0, run.output
    its = container(spark, guide)
    assert not its["State"]["Running"]
    assert its["Name"] == f"/{NAME}-before-1"
    assert served(spark)
    assert container(spark, NAME)["Id"] != guide
    again = playbook("playbooks/deploy.yml", ON_THE_HOST, **A)
    assert again.code == 0, again.output
    assert again.count(HOST, "changed") == 0, again.output
