# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which folder a source is asked for: its own, whatever the host that copies has. What it costs when it goes away."""

from __future__ import annotations

import json
import re
import sys
import typing as t
from pathlib import Path

import yaml

from support.paths import ROOT
from support.playbook import AnsiblePlaybook

HOSTS: dict[str, dict[str, t.Any]] = {
    "plain": {},
    "data": {"hf_cache_path": "/data"},
    "target1": {"hf_cache_source": "plain"},
    "target2": {"hf_cache_source": "plain", "hf_cache_path": "/mine"},
    "target3": {"hf_cache_source": "data", "hf_cache_path": "/mine"},
    "target4": {"hf_cache_source": "data"},
}


def play(hosts: str, name: str, **variables: str) -> dict[str, t.Any]:
    return {
        "hosts": hosts,
        "gather_facts": False,
        "vars": variables,
        "tasks": [
            {"include_role": {"name": "dgxspark.vllm.hf_cache", "tasks_from": "validate.yml", "public": True}},
            {"debug": {"msg": name + " {{ inventory_hostname }} asks for {{ __hf_cache_source_directory }}"}},
        ],
    }


def test_the_folder_is_the_one_of_the_source(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    (tmp_path / "hosts.json").write_text(json.dumps({"all": {"hosts": HOSTS}}))
    plays = [play("target*", "inventory:"), play("target1:target4", "play:", hf_cache_path="/play")]
    (tmp_path / "play.yml").write_text(json.dumps(plays))
    run = ansible_playbook("play.yml", inventory="hosts.json", folder=tmp_path)
    assert run.code == 0, run.output
    assert dict(re.findall(r"(\w+: \w+) asks for ([\w/]+)", run.output)) == {
        "inventory: target1": "/opt/hf",
        "inventory: target2": "/opt/hf",
        "inventory: target3": "/data",
        "inventory: target4": "/data",
        # a play's value counts for source and target, but for what the source has of its own
        "play: target1": "/play",
        "play: target4": "/data",
    }


def test_a_source_that_is_gone_after_the_copy_fails_nobody(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    tasks = yaml.safe_load((ROOT / "roles/hf_cache/tasks/copy.yml").read_text())
    (end, *_key) = next(task["always"] for task in tasks if "always" in task)
    assert end["name"] == "copy | End the export"
    here = {"ansible_connection": "local", "hf_cache_source": "gone", "__hf_cache_export": {"unit": "dgxspark-x"}}
    gone = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
    hosts = {"target": {**here, "ansible_python_interpreter": sys.executable}, "gone": gone}
    (tmp_path / "hosts.json").write_text(json.dumps({"all": {"hosts": hosts}}))
    went_on = {"debug": {"msg": "went on"}}
    (tmp_path / "play.yml").write_text(
        json.dumps([{"hosts": "target", "gather_facts": False, "tasks": [end, went_on]}])
    )
    run = ansible_playbook("play.yml", inventory="hosts.json", folder=tmp_path)
    assert run.code == 0, run.output
    assert "went on" in run.output
