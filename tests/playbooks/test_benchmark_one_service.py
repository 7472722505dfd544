# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Services of one machine are not measured at the same time, under whatever names the inventory has them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.paths import ROOT
from support.playbook import THIS_MACHINE, AnsiblePlaybook

ONE = {"ansible_host": "10.0.0.1"}


@pytest.mark.parametrize(
    ("beside", "refused"),
    [
        (ONE, "h1 and h2 share the GPU of one machine and would disturb each other; choose one, such as -l h1"),
        ({**ONE, "ansible_port": 23}, ""),
        ({"ansible_host": "10.0.0.2"}, ""),
    ],
)
def test_one_machine(
    beside: dict[str, object], refused: str, tmp_path: Path, ansible_playbook: AnsiblePlaybook
) -> None:
    inventory = {"spark": {"hosts": {"h1": ONE, "h2": beside}, "vars": THIS_MACHINE}}
    tasks = [
        {"include_tasks": str(ROOT / "roles/benchmark/tasks/one_service.yml")},
        {"debug": {"msg": "goes on"}},
    ]
    (tmp_path / "hosts.json").write_text(json.dumps(inventory))
    (tmp_path / "play.yml").write_text(json.dumps([{"hosts": "spark", "gather_facts": False, "tasks": tasks}]))
    run = ansible_playbook("play.yml", inventory="hosts.json", folder=tmp_path)
    assert (run.code != 0) == bool(refused), run.output
    assert refused in run.words
    assert ("goes on" in run.output) == (not refused)
