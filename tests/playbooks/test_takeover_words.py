# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a take-over and the uninstallation after it say of the server that was stopped."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
import yaml

from support.paths import ROOT
from support.playbook import THIS_MACHINE, AnsiblePlaybook, Run


def shown(ansible_playbook: AnsiblePlaybook, folder: Path, file: str, name: str, variables: dict[str, t.Any]) -> Run:
    """What the task NAME of FILE says with VARIABLES."""
    tasks = yaml.safe_load((ROOT / "roles/vllm/tasks" / file).read_text(encoding="utf-8"))
    (task,) = (each for each in tasks if each["name"] == name)
    hosts = {"all": {"hosts": {"a": {}}, "vars": {**THIS_MACHINE, **variables}}}
    (folder / "hosts.yml").write_text(yaml.safe_dump(hosts), encoding="utf-8")
    plays = [{"hosts": "all", "gather_facts": False, "tasks": [task]}]
    (folder / "play.yml").write_text(yaml.safe_dump(plays), encoding="utf-8")
    run = ansible_playbook(folder / "play.yml", inventory=folder / "hosts.yml")
    assert run.code == 0, run.output
    return run


@pytest.mark.parametrize(
    ("lines", "clients", "says", "not_says"),
    [
        (["image: a -> b"], [], "a: what the switch changes, compared with release aaa image: a -> b", "WARNING"),
        ([], ["the key is gone"], "a: what the switch changes WARNING: after the switch, the key is gone", "compared"),
        ([], [], "PLAY RECAP", "a: what"),
    ],
)
def test_a_list_of_changes_without_changes_is_not_shown(
    lines: list[str],
    clients: list[str],
    says: str,
    not_says: str,
    tmp_path: Path,
    ansible_playbook: AnsiblePlaybook,
) -> None:
    variables = {
        "__vllm_resolved": {"container_release": "aaa"},
        "__vllm_releases": {"current": "aaa", "releases": [{"id": "aaa"}]},
        "__vllm_changes": {"short": lines, "long": lines, "clients": clients},
        "__vllm_stage_only": False,
    }
    file, name = "deploy/show_changes.yml", "deploy | show_changes | Show what changes"
    run = shown(ansible_playbook, tmp_path, file, name, variables)
    assert says in run.words
    assert not_says not in run.words


@pytest.mark.parametrize(
    ("changes", "is_named"),
    [({}, True), ({"running": True}, False), ({"is_vllm": False}, False), ({"name": "x"}, False)],
)
def test_a_second_uninstallation_names_the_server_that_is_still_there(
    changes: dict[str, t.Any], is_named: bool, tmp_path: Path, ansible_playbook: AnsiblePlaybook
) -> None:
    server = {"name": "v-before-1", "is_vllm": True, "running": False, "description": "the container v-before-1"}
    variables = {
        "vllm_service_name": "vllm",
        "vllm_restore_replaced": False,
        "__vllm_installed": {"owned": False, "current": None, "units": []},
        "__vllm_removed": {"left": []},
        "__vllm_replaced": {"skipped": True},
        "__vllm_renamed": {"holders": [{**server, **changes}]},
        "__vllm_resolved": {"container": "v", "hf_cache": "/opt/hf", "image_ref": "i", "home": "/opt/vllm"},
    }
    run = shown(ansible_playbook, tmp_path, "uninstall.yml", "uninstall | Show what stays", variables)
    command = "on the host: `sudo docker rename v-before-1 v && sudo docker start v`."
    assert (command in run.words) is is_named
    assert "a has no service vllm of this collection: nothing is removed." in run.words
    assert "Left in place" not in run.words
