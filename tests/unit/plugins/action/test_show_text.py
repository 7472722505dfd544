# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""show_text: the lines of a text are lines, also with the settings that Ansible has of itself."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from support.paths import NO_SETTINGS
from support.playbook import THIS_MACHINE, AnsiblePlaybook


@pytest.mark.parametrize(("callback", "shown"), [("default", 1), ("dgxspark.vllm.brief", 1), ("ansible.posix.json", 0)])
def test_lines_stay_lines(callback: str, shown: int, tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    tasks = [{"name": "Show", "dgxspark.vllm.show_text": {"msg": "spark01 serves\nURL: here\n"}}]
    plays = [{"hosts": "all", "gather_facts": False, "tasks": tasks}]
    (tmp_path / "play.yml").write_text(yaml.safe_dump(plays), encoding="utf-8")
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": {"spark01": THIS_MACHINE}}}), encoding="utf-8")
    run = ansible_playbook(
        tmp_path / "play.yml",
        inventory=tmp_path / "hosts.yml",
        config=NO_SETTINGS,
        environment={"ANSIBLE_STDOUT_CALLBACK": callback},
    )
    assert run.code == 0, run.output
    assert run.output.count("\nspark01 serves\nURL: here\n") == shown
