# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""playbooks/tune.yml and export.yml refuse in one line, before anything changes, what cannot be done."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from support.playbook import THIS_MACHINE, AnsiblePlaybook


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    path = tmp_path / "hosts.yml"
    own = {"ansible_become": False, "vllm_service_name": "vllm-not-here", "vllm_home": "/opt/no-such-folder-anywhere"}
    path.write_text(yaml.safe_dump({"spark": {"hosts": {"host": {**THIS_MACHINE, **own}}}}), encoding="utf-8")
    return path


def test_check_mode_names_the_profiles(inventory: Path, ansible_playbook: AnsiblePlaybook) -> None:
    run = ansible_playbook("playbooks/tune.yml", "--check", inventory=inventory, benchmark_profiles=["latency"])
    assert run.code == 0, run.output
    assert "host: would deploy and measure latency, then deploy what the inventory wants" in run.words


def test_an_unknown_profile(inventory: Path, ansible_playbook: AnsiblePlaybook) -> None:
    run = ansible_playbook("playbooks/tune.yml", inventory=inventory, benchmark_profiles=["latency", "latncy"])
    assert run.code == 2
    assert 'vllm_profile: "latncy"' in run.words
    assert run.count("host", "changed") == 0


def test_a_profile_that_no_task_can_change(inventory: Path, ansible_playbook: AnsiblePlaybook) -> None:
    run = ansible_playbook("playbooks/tune.yml", inventory=inventory, vllm_profile="latency")
    assert run.code == 2
    assert "vllm_profile is set with -e, which nothing can change during a run" in run.words


@pytest.mark.parametrize("playbook", ["tune.yml", "benchmark.yml"])
def test_services_that_share_a_gpu(playbook: str, tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    beside = {**THIS_MACHINE, "ansible_become": False, "dgxspark_host": "spark01", "ansible_host": "spark01"}
    services = {"spark01-vllm": {}, "spark01-vllm-two": {"vllm_service_name": "vllm-two", "vllm_port": 8001}}
    path = tmp_path / "hosts.yml"
    path.write_text(yaml.safe_dump({"spark": {"children": {"spark01": {"hosts": services, "vars": beside}}}}))
    run = ansible_playbook(f"playbooks/{playbook}", inventory=path)
    assert run.code == 2
    assert "spark01-vllm and spark01-vllm-two share the GPU of spark01" in run.words
    assert "such as -l spark01-vllm" in run.words


def test_nothing_to_export(inventory: Path, ansible_playbook: AnsiblePlaybook) -> None:
    run = ansible_playbook("playbooks/export.yml", inventory=inventory)
    assert run.code == 2
    assert "host: service vllm-not-here has no release in service; deploy it first" in run.words
