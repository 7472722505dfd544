# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host on which the owner has things under names of ours: none of them is changed, stopped or removed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from support.deployments import deployed, mark_home
from support.paths import SUPPORT
from support.playbook import AnsiblePlaybook
from support.sandbox import IMAGE, Spark

pytestmark = pytest.mark.usefixtures("prepared")

SERVICE = "vllm-owners"
HOME = f"/opt/{SERVICE}"
# The engine is not what is tested.
OURS: dict[str, Any] = {
    "vllm_service_name": SERVICE,
    "vllm_port": 8002,
    "vllm_images": {
        "nvcr.io/nvidia/vllm:25.09-py3": {"command_prefix": ["python3", "/root/.cache/standin_engine.py", "serve"]}
    },
    "vllm_enforce_memory_plan": False,
}
THINGS = f"""
mkdir -p {HOME}/cache/my-dataset {HOME}/state {HOME}/releases/v1.0
echo OPENWEBUI_SECRET=irreplaceable >{HOME}/.env
echo rows >{HOME}/cache/my-dataset/data
echo rows >{HOME}/state/db.sqlite
echo notes >{HOME}/releases/v1.0/notes
ln -s releases/v1.0 {HOME}/current
echo 'services: {{}}' >{HOME}/docker-compose.yml
"""
LOOK = f"cd {HOME} && find . -printf '%p %y %m %u %l %T@\\n' | sort && find . -type f | sort | xargs sha256sum"


@pytest.fixture
def gone(spark: Spark, ansible_playbook: AnsiblePlaybook) -> Iterator[None]:
    spark.root(f"rm -rf {HOME}")
    yield
    run = ansible_playbook("playbooks/uninstall.yml", spark.limit, **OURS)
    assert run.code == 0, run.output
    spark.root(f"rm -rf {HOME}")


@pytest.mark.usefixtures("gone")
def test_a_folder_of_the_owner_stays_byte_by_byte(spark: Spark, ansible_playbook: AnsiblePlaybook) -> None:
    spark.root(THINGS)
    before = spark.root(LOOK)
    runs = (("deploy", ["--check"]), ("deploy", []), ("stage", []), ("rollback", []), ("restart", []), ("stop", []))
    for playbook, arguments in runs:
        run = ansible_playbook(f"playbooks/{playbook}.yml", spark.limit, *arguments, **OURS)
        assert run.code != 0
        assert f"vllm_home: {HOME} holds .env, cache, current, docker-compose.yml and 2 more" in run.words
        assert "Set vllm_home to another folder" in run.words
        assert run.count(spark.name, "changed") == 0, run.output
        assert spark.root(LOOK) == before
    removed = ansible_playbook("playbooks/uninstall.yml", spark.limit, **OURS)
    assert removed.code == 0, removed.output
    assert removed.count(spark.name, "changed") == 0, removed.output
    assert spark.root(LOOK) == before


@pytest.mark.usefixtures("gone")
def test_what_the_owner_adds_to_our_folder_stays(spark: Spark, ansible_playbook: AnsiblePlaybook) -> None:
    mark_home(spark, SERVICE)
    spark.write(f"{HOME}/cache/standin_engine.py", (SUPPORT / "standin_engine.py").read_text())
    deployed(ansible_playbook, OURS, spark.limit)
    spark.root(f"mkdir -p {HOME}/mine {HOME}/releases/v1.0; echo 1 >{HOME}/mine/a; echo 2 >{HOME}/releases/v1.0/notes")
    look = f"cd {HOME} && find mine releases/v1.0 -printf '%p %y %m %u %T@\\n' && cat mine/a releases/v1.0/notes"
    before = spark.root(look)
    deployed(ansible_playbook, {**OURS, "vllm_profile": "latency"}, spark.limit)
    assert spark.root(look) == before
    back = ansible_playbook("playbooks/rollback.yml", spark.limit, **OURS)
    assert back.code == 0, back.output
    assert spark.root(look) == before
    removed = ansible_playbook("playbooks/uninstall.yml", spark.limit, **OURS)
    assert removed.code == 0, removed.output
    assert f"in {HOME} what is not of this collection: mine, releases" in removed.words
    assert spark.root(look) == before
    assert sorted(spark.root(f"ls -A {HOME}").split()) == ["mine", "releases"]


@pytest.fixture
def spoof(spark: Spark) -> Iterator[str]:
    """A web server of somebody's, whose image says that it is the service ssh of this collection."""
    name = "chat-ui"
    spark.root(
        f"docker run --detach --name {name} --label dgxspark.vllm.service=ssh --publish 8002:8000"
        f" --entrypoint python3 {IMAGE} -m http.server 8000"
    )
    yield name
    spark.root(f"docker rm --force {name}")


@pytest.mark.usefixtures("gone")
def test_a_label_does_not_cost_the_host_its_ssh(spark: Spark, ansible_playbook: AnsiblePlaybook, spoof: str) -> None:
    state = "systemctl is-active ssh || true; systemctl is-enabled ssh || true"
    before = spark.root(state)
    run = ansible_playbook("playbooks/deploy.yml", spark.limit, **OURS)
    assert run.code != 0
    assert f"Port 8002 is held by {spoof}" in run.words
    assert spark.root(state) == before
    assert spark.inspect(spoof)["State"]["Running"]
