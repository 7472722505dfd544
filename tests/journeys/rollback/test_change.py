# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What becomes of a host that serves: a release that cannot start is rolled back, and the service can be removed."""

from __future__ import annotations

import json

import pytest

from support.deployments import EAGER
from support.playbook import AnsiblePlaybook, Run
from support.sandbox import Spark

pytestmark = pytest.mark.usefixtures("prepared")

KEY = "sk-sandbox-notToBePrinted8"
ASK = "curl --silent --output /dev/null --write-out '%{http_code}' http://127.0.0.1:8000/v1/models"


@pytest.fixture(scope="module")
def before(spark: Spark, ansible_playbook: AnsiblePlaybook, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The release that serves before: with a key."""
    secrets = tmp_path_factory.mktemp("secrets") / "vault.json"
    secrets.write_text(json.dumps({"vllm_api_key": KEY, "vllm_extra_args": EAGER}))
    run = ansible_playbook("playbooks/deploy.yml", spark.limit, f"--extra-vars=@{secrets}")
    assert run.code == 0, run.output
    with spark.sudo():
        release: str = spark.check_output("readlink /opt/vllm/current")
    return release


@pytest.fixture(scope="module")
def refused(spark: Spark, ansible_playbook: AnsiblePlaybook, before: str) -> Run:
    """A release without the key, with a quantization that is not the checkpoint's: it parses, and cannot start.

    vllm_auto_remedy has nothing to offer for that.
    """
    wishes = {"vllm_extra_args": {**EAGER, "quantization": "awq"}, "vllm_auto_remedy": True}
    return ansible_playbook("playbooks/deploy.yml", spark.limit, **wishes)


def test_the_run_fails_with_cause_and_remedy(refused: Run) -> None:
    assert refused.code != 0
    assert "the quantization asked for is not the one of the checkpoint" in refused.output
    assert "remove quantization from vllm_extra_args" in refused.output
    assert "serves again" in refused.output


def test_the_release_of_before_serves_again(spark: Spark, before: str, refused: Run) -> None:
    with spark.sudo():
        assert spark.check_output("readlink /opt/vllm/current") == before
        assert spark.check_output("readlink /opt/vllm/good") == before
    assert spark.service("vllm").is_running
    assert spark.service("vllm").is_enabled


def test_its_key_is_in_force_again(spark: Spark, refused: Run) -> None:
    assert spark.check_output(ASK) == "401"
    assert spark.check_output(f"{ASK} --header 'Authorization: Bearer {KEY}'") == "200"


@pytest.fixture(scope="module")
def removed(spark: Spark, ansible_playbook: AnsiblePlaybook, refused: Run) -> Run:
    """The service removed; looked at in check mode before."""
    look = ansible_playbook("playbooks/uninstall.yml", spark.limit, "--check")
    assert look.code == 0, look.output
    assert look.count(spark.name, "changed") > 0, look.output
    return ansible_playbook("playbooks/uninstall.yml", spark.limit)


def test_the_service_is_gone_and_the_models_stay(spark: Spark, removed: Run) -> None:
    assert removed.code == 0, removed.output
    with spark.sudo():
        assert not spark.file("/etc/systemd/system/vllm.service").exists
        assert not spark.file("/opt/vllm").exists
        assert spark.check_output("docker ps --all --quiet --filter label=dgxspark.vllm.service") == ""
        assert spark.file("/opt/hf/models--Qwen--Qwen3-8B-FP8/snapshots").is_directory


def test_a_second_removal_changes_nothing(spark: Spark, ansible_playbook: AnsiblePlaybook, removed: Run) -> None:
    again = ansible_playbook("playbooks/uninstall.yml", spark.limit)
    assert again.code == 0, again.output
    assert again.count(spark.name, "changed") == 0, again.output
