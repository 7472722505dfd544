# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""playbooks/releases.yml and logs.yml on hosts that cannot be read: these are shown, and say why."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from support.playbook import THIS_MACHINE, UNREACHABLE, AnsiblePlaybook

HOSTS = {
    "dead": UNREACHABLE,
    "empty": {"vllm_home": "/opt/no-such-folder-anywhere"},
    "mistyped": {"vllm_model": "qwen3-9b"},
}


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    path = tmp_path / "hosts.yml"
    common = {**THIS_MACHINE, "ansible_become": False, "vllm_service_name": "vllm-not-on-this-machine"}
    path.write_text(yaml.safe_dump({"spark": {"hosts": HOSTS, "vars": common}}), encoding="utf-8")
    return path


def test_every_host_is_in_the_table(inventory: Path, ansible_playbook: AnsiblePlaybook) -> None:
    run = ansible_playbook("playbooks/releases.yml", inventory=inventory)
    lines = run.output.splitlines()
    begin = next(number for number, line in enumerate(lines) if line.split()[:3] == ["host", "release", "verdict"])
    dead, empty, mistyped = lines[begin + 1 : begin + 4]
    assert dead.split()[:4] == ["dead", "-", "not", "read"], run.output
    assert re.search(r"^dead \| not read: .*127\.0\.0\.1", run.output, re.MULTILINE), run.output
    assert empty.split()[:3] == ["empty", "-", "none"]
    assert mistyped.split()[:4] == ["mistyped", "-", "not", "read"]
    assert '\nmistyped | not read: vllm_model: "qwen3-9b" is not in the catalog' in run.output


def test_every_host_is_below_the_log(inventory: Path, ansible_playbook: AnsiblePlaybook) -> None:
    run = ansible_playbook("playbooks/logs.yml", inventory=inventory, vllm_logs_since="2h")
    assert "dead      not read: " in run.output
    assert "mistyped  not read: see the error above" in run.output
    assert 'vllm_model: "qwen3-9b" is not in the catalog' in run.words
    assert run.code == 2
    assert "empty     " in run.output
