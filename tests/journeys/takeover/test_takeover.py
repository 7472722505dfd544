# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host on which the guide's own Compose project serves: refused, given back, or taken over, and never removed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from support.deployments import EAGER, A, Client, guides_project, running
from support.playbook import AnsiblePlaybook
from support.sandbox import CONTAINER as NAME
from support.sandbox import Spark
from support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("prepared")

# As the guide has it: the folder gives the project its name, and the container has the name that ours has, too.
GUIDE = "/home/dgx/vllm"


def container(spark: Spark, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(spark.root(f"docker inspect {name}"))[0]
    return found


@pytest.fixture(scope="module")
def guide(spark: Spark, ansible_playbook: AnsiblePlaybook) -> Iterator[str]:
    """The guide's project serves, nothing of ours is there; the id of its container."""
    run = ansible_playbook("playbooks/uninstall.yml", spark.limit)
    assert run.code == 0, run.output
    guides_project(spark, GUIDE)
    with Client(spark) as client:
        spark.root(f"cd {GUIDE} && docker compose up -d")
        wait_until(lambda: client.answered, "the guide's server answers")
    yield container(spark, NAME)["Id"]
    spark.root(f"cd {GUIDE} && docker compose down; rm -rf {GUIDE}")


def test_it_is_refused_on_request(spark: Spark, ansible_playbook: AnsiblePlaybook, guide: str) -> None:
    run = ansible_playbook("playbooks/deploy.yml", spark.limit, **A, vllm_take_over=False)
    assert run.code != 0
    assert f"The container {NAME} of the Compose project vllm is in the way, and vllm_take_over is false" in run.words
    assert run.count(spark.name, "changed") == 0
    assert container(spark, guide)["State"]["Running"]


def test_it_serves_again_when_the_new_release_fails(
    spark: Spark, ansible_playbook: AnsiblePlaybook, guide: str
) -> None:
    run = ansible_playbook("playbooks/deploy.yml", spark.limit, vllm_extra_args={**EAGER, "quantization": "awq"})
    assert run.code != 0
    said = run.words
    assert f"the switch stops the container {NAME} of the Compose project vllm" in said
    assert "the quantization asked for is not the one of the checkpoint" in said
    assert f"{NAME}, which was stopped for it, serves again." in said
    its = container(spark, guide)
    assert its["Name"] == f"/{NAME}"
    assert its["State"]["Running"]
    assert its["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped"
    with Client(spark) as client:
        wait_until(lambda: client.answered, "it answers")


def test_it_is_taken_over_and_stays(spark: Spark, ansible_playbook: AnsiblePlaybook, guide: str) -> None:
    run = ansible_playbook("playbooks/deploy.yml", spark.limit, **A)
    assert run.code == 0, run.output
    lost = "clients of other machines lose access: address 0.0.0.0 -> 127.0.0.1"
    assert f"WARNING: after the switch, {lost}" in run.words
    assert f"Access: {lost}" in run.words
    assert f"Stopped: the container {NAME} of the Compose project vllm; it stays on the host" in run.words
    its = container(spark, guide)
    assert not its["State"]["Running"]
    assert its["Name"] == f"/{NAME}-before-1"
    assert running(spark)
    assert container(spark, NAME)["Id"] != guide
    again = ansible_playbook("playbooks/deploy.yml", spark.limit, **A)
    assert again.code == 0, again.output
    assert again.count(spark.name, "changed") == 0, again.output


def test_what_a_switch_would_change_is_shown(spark: Spark, ansible_playbook: AnsiblePlaybook, guide: str) -> None:
    look = ansible_playbook("playbooks/deploy.yml", spark.limit, "--check", "--diff", **A, vllm_profile="latency")
    assert look.code == 0, look.output
    assert "what the switch would change, compared with release" in look.words
    assert "- --max-model-len 32768 + --max-model-len 16384" in look.words
    assert "- profile: throughput + profile: latency" in look.words
    assert "+services:" not in look.output  # the new file as a whole


def test_it_stays_stopped_while_the_service_is_stopped_and_restarted(
    spark: Spark, ansible_playbook: AnsiblePlaybook, guide: str
) -> None:
    state = "systemctl is-active vllm || true; systemctl is-enabled vllm || true"
    look = ansible_playbook("playbooks/stop.yml", spark.limit, "--check")
    assert (look.code, spark.root(state).split()) == (0, ["active", "enabled"]), look.output
    stopped = ansible_playbook("playbooks/stop.yml", spark.limit)
    assert (stopped.code, spark.root(state).split()) == (0, ["inactive", "disabled"]), stopped.output
    assert "vllm.service is stopped, also after a reboot" in stopped.words
    again = ansible_playbook("playbooks/stop.yml", spark.limit)
    assert (again.code, again.count(spark.name, "changed")) == (0, 0), again.output
    release = spark.root("readlink /opt/vllm/current").strip().rpartition("/")[2]
    started = ansible_playbook("playbooks/restart.yml", spark.limit)
    assert (started.code, spark.root(state).split()) == (0, ["active", "enabled"]), started.output
    assert f"again (release {release}" in started.words
    assert running(spark)
    assert not container(spark, guide)["State"]["Running"]


def test_it_serves_again_when_the_service_is_removed(
    spark: Spark, ansible_playbook: AnsiblePlaybook, guide: str
) -> None:
    look = ansible_playbook("playbooks/uninstall.yml", spark.limit, "--check")
    assert look.code == 0, look.output
    command = f"sudo docker rename {NAME}-before-1 {NAME} && sudo docker start {NAME}"
    assert f"stays stopped. To start it again under its old name, on the host: `{command}`" in look.words
    assert "vllm would be removed, with its container." in look.words
    assert "WARNING" not in look.output, look.output
    run = ansible_playbook("playbooks/uninstall.yml", spark.limit, vllm_restore_replaced=True)
    assert run.code == 0, run.output
    assert f"the container {NAME} of the Compose project vllm, is started again under its old name." in run.words
    its = container(spark, guide)
    assert its["Name"] == f"/{NAME}"
    assert its["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped"
    with Client(spark) as client:
        wait_until(lambda: client.answered, "it answers")
    again = ansible_playbook("playbooks/uninstall.yml", spark.limit, vllm_restore_replaced=True)
    assert again.code == 0, again.output
    assert again.count(spark.name, "changed") == 0, again.output
    assert container(spark, guide)["State"]["Running"]
