# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A number or a switch that is none is refused in this collection's one line, whichever playbook runs the role."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.catalog import Catalog
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.specs import options_of, role_names
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._validate.problems import problems

from support.paths import ROOT
from support.playbook import THIS_MACHINE, AnsiblePlaybook

PLAYBOOKS = sorted((ROOT / "playbooks").glob("*.yml"))
CATALOG = Catalog()
TYPED = [
    pytest.param(role, name, id=f"{role}-{name}")
    for role in role_names()
    for name, option in options_of(role).items()
    if option.get("type") in ("int", "float", "bool")
]


def uses(tasks: t.Any) -> t.Iterator[dict[str, t.Any]]:
    """The roles that tasks use by their entry point main, whose argument specification Ansible checks by itself."""
    for task in tasks or ():
        for action in ("ansible.builtin.include_role", "ansible.builtin.import_role"):
            if action in task and "tasks_from" not in task[action]:
                yield task[action]
        for part in ("block", "rescue", "always"):
            yield from uses(task.get(part))


@pytest.mark.parametrize("playbook", PLAYBOOKS, ids=lambda path: path.stem)
def test_no_playbook_lets_ansible_check_the_types_first(playbook: Path) -> None:
    for play in yaml.safe_load(playbook.read_text(encoding="utf-8")):
        assert "roles" not in play, "it always checks the argument specification; use import_role"
        for part in ("pre_tasks", "tasks", "post_tasks"):
            assert [use["name"] for use in uses(play.get(part)) if use.get("rolespec_validate", True)] == []


@pytest.mark.parametrize(("role", "name"), TYPED)
def test_every_number_and_switch_has_its_line(role: str, name: str) -> None:
    lines = problems(role, {name: "32k?"}, options_of(role), CATALOG)
    assert [line for line in lines if line.startswith(f'{name}: "32k?" is not allowed; use ')]


@pytest.mark.parametrize(
    ("playbook", "variable", "line"),
    [
        (
            "deploy",
            "vllm_max_model_len=32k",
            'vllm_max_model_len: "32k" is not allowed; use a whole number, such as 32000',
        ),
        ("prepare", "spark_host_limits=maybe", 'spark_host_limits: "maybe" is not allowed; use true or false'),
        ("gateway", "gateway_port=http", 'gateway_port: "http" is not allowed; use a whole number'),
    ],
)
def test_a_playbook_says_it_in_one_line(
    tmp_path: Path, ansible_playbook: AnsiblePlaybook, playbook: str, variable: str, line: str
) -> None:
    hosts = {"hosts": {"spark01": None}, "vars": {**THIS_MACHINE, "spark_host_allow_other_hardware": True}}
    inventory = tmp_path / "hosts.yml"
    inventory.write_text(yaml.safe_dump({"spark": hosts, "gateway": {"hosts": {"spark01": None}}}), encoding="utf-8")
    run = ansible_playbook(f"playbooks/{playbook}.yml", "--check", "-e", variable, inventory=inventory)
    assert run.code == 2
    assert line in run.words
    assert "Validation of arguments" not in run.output
