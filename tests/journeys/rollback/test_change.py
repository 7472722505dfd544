# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What becomes of a host that serves: a release that cannot start is rolled back, and the service can be removed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from testinfra.host import Host

HOST = "spark01"

KEY = "sk-sandbox-notToBePrinted8"
ASK = "curl --silent --output /dev/null --write-out '%{http_code}' http://127.0.0.1:8000/v1/models"


@pytest.fixture(scope="module")
def served(spark: Host, playbook: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> str:
    """The release that serves before: with a key."""
    secrets = tmp_path_factory.mktemp("secrets") / "vault.json"
    secrets.write_text(json.dumps({"vllm_api_key": KEY}))
    run = playbook("playbooks/deploy.yml", "--limit=spark01", f"--extra-vars=@{secrets}")
    assert run.code == 0, run.output
    with spark.sudo():
        release: str = spark.check_output("readlink /opt/vllm/current")
    return release


@pytest.fixture(scope="module")
def refused(playbook: Callable[..., Any], served: str) -> Any:
    """A release without the key, with a quantization that is not the checkpoint's: it parses, and cannot start.

    vllm_auto_remedy has nothing to offer for that.
    """
    wishes = {"vllm_extra_args": {"quantization": "awq"}, "vllm_auto_remedy": True}
    return playbook("playbooks/deploy.yml", "--limit=spark01", **wishes)


def test_the_run_fails_with_cause_and_remedy(refused: Any) -> None:
    assert refused.code != 0
    assert "the quantization asked for is not the one of the checkpoint" in refused.output
    assert "remove quantization from vllm_extra_args" in refused.output
    assert "serves again" in refused.output


def test_the_release_of_before_serves_again(spark: Host, served: str, refused: Any) -> None:
    with spark.sudo():
        assert spark.check_output("readlink /opt/vllm/current") == served
        assert spark.check_output("readlink /opt/vllm/good") == served
    assert spark.service("vllm").is_running
    assert spark.service("vllm").is_enabled


def test_its_key_is_in_force_again(spark: Host, refused: Any) -> None:
    assert spark.check_output(ASK) == "401"
    assert spark.check_output(f"{ASK} --header 'Authorization: Bearer {KEY}'") == "200"


@pytest.fixture(scope="module")
def removed(playbook: Callable[..., Any], refused: Any) -> Any:
    """The service removed; looked at in check mode before."""
    look = playbook("playbooks/uninstall.yml", "--limit=spark01", "--check")
    assert look.code == 0, look.output
    assert look.count("spark01", "changed") > 0, look.output
    return playbook("playbooks/uninstall.yml", "--limit=spark01")


def test_the_service_is_gone_and_the_models_stay(spark: Host, removed: Any) -> None:
    assert removed.code == 0, removed.output
    with spark.sudo():
        assert not spark.file("/etc/systemd/system/vllm.service").exists
        assert not spark.file("/opt/vllm").exists
        assert spark.check_output("docker ps --all --quiet --filter label=dgxspark.vllm.service") == ""
        assert spark.file("/opt/hf/models--Qwen--Qwen3-8B-FP8/snapshots").is_directory


def test_a_second_removal_changes_nothing(playbook: Callable[..., Any], removed: Any) -> None:
    again = playbook("playbooks/uninstall.yml", "--limit=spark01")
    assert again.code == 0, again.output
    assert again.count("spark01", "changed") == 0, again.output
