# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a rollback says that has no release to go to."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
import yaml

from support.paths import ROOT
from support.playbook import THIS_MACHINE, AnsiblePlaybook


def task(tasks: t.Any, name: str) -> dict[str, t.Any]:
    for each in tasks:
        if each.get("name") == name:
            return t.cast("dict[str, t.Any]", each)
        found = task(each.get("block", []), name)
        if found:
            return found
    return {}


@pytest.mark.parametrize(
    ("asked", "good", "said"),
    [
        ("", ["aaa"], "a has no good release before the current one (aaa); there is no other one. Nothing was changed"),
        ("", [], "a has no good release before the current one (aaa); there is none. Nothing was changed"),
        (
            "bbb",
            ["aaa", "ccc"],
            "vllm_rollback_release: bbb is not a good release of a; there are ccc. Nothing was changed",
        ),
        (
            "bbb",
            ["aaa"],
            "vllm_rollback_release: bbb is not a good release of a; there is no other one. Nothing was changed",
        ),
    ],
)
def test_only_other_releases_are_named(
    tmp_path: Path, ansible_playbook: AnsiblePlaybook, asked: str, good: list[str], said: str
) -> None:
    assert said in words(tmp_path, ansible_playbook, asked, good)


@pytest.mark.parametrize(("asked", "machine"), [("", {}), ("bbb", {"dgxspark_host": "spark02"})])
def test_what_is_not_deployed_has_no_current_release(
    tmp_path: Path, ansible_playbook: AnsiblePlaybook, asked: str, machine: dict[str, str]
) -> None:
    said = f"vllm-two is not deployed on {machine.get('dgxspark_host', 'a')}. Nothing was changed"
    assert said in words(tmp_path, ansible_playbook, asked, [], current=None, **machine)


def words(
    folder: Path,
    ansible_playbook: AnsiblePlaybook,
    asked: str,
    good: list[str],
    current: str | None = "aaa",
    **more: str,
) -> str:
    text = (ROOT / "roles/vllm/tasks/rollback.yml").read_text(encoding="utf-8")
    fail = task(yaml.safe_load(text), "rollback | Fail if there is no such good release")
    variables = {
        **THIS_MACHINE,
        "vllm_service_name": "vllm-two",
        "vllm_rollback_release": asked,
        "vllm_nodes": [],
        "__vllm_releases": {"current": current, "releases": [{"id": name, "facts": {}} for name in good]},
        "__vllm_good_ids": good,
        "__vllm_release": asked,
        "__vllm_rollback_target": {},
        **more,
    }
    (folder / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": {"a": {}}, "vars": variables}}))
    (folder / "play.yml").write_text(yaml.safe_dump([{"hosts": "all", "gather_facts": False, "tasks": [fail]}]))
    run = ansible_playbook(folder / "play.yml", inventory=folder / "hosts.yml")
    assert run.code == 2
    return run.words
