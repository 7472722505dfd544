# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role hf_cache on three hosts, in batches or all at once, while the branch moves: all of them get one commit."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from support.paths import ROOT
from support.playbook import THIS_MACHINE, AnsiblePlaybook

STANDIN = """
from ansible.plugins.action import ActionBase

class ActionModule(ActionBase):
    _requires_connection = False
    def run(self, tmp=None, task_vars=None):
        host, asked = task_vars["inventory_hostname"], self._task.args
        commit = asked.get("commit") or asked["model"][0] + host
        with open(task_vars["calls"], "a") as file:
            file.write("" if self._task.check_mode else f"{host} {asked['model']} {asked['revision']} {commit}\\n")
        return dict(changed=False, commit=commit)
"""


@pytest.mark.parametrize("batches", [[1, "100%"], ["100%"]], ids=["batches", "all at once"])
def test_hosts_of_one_run_get_one_commit(
    tmp_path: Path, ansible_playbook: AnsiblePlaybook, batches: list[int | str]
) -> None:
    mine = tmp_path / "collections" / "ansible_collections" / "dgxspark" / "vllm"
    for part in ("catalog", "plugins", "roles/hf_cache"):
        shutil.copytree(ROOT / part, mine / part, ignore=shutil.ignore_patterns("__pycache__"))
    (mine / "plugins" / "action" / "hf_download.py").write_text(STANDIN)
    calls = tmp_path / "calls"
    variables = {**THIS_MACHINE, "calls": str(calls)}
    hosts = {"all": {"hosts": {"h1": {}, "h2": {}, "h3": {}}, "vars": variables}}
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump(hosts))
    download = {"name": "dgxspark.vllm.hf_cache", "tasks_from": "download.yml"}
    tasks = [
        {"include_role": download, "vars": {"hf_cache_download_model": model, "hf_cache_download_revision": revision}}
        for model, revision in (("a/x", ""), ("a/x", "v2"))
    ]
    plays = [
        {"hosts": "all", "serial": batches, "gather_facts": False, "tasks": [task]}
        for task in (*tasks, {**tasks[0], "vars": {"hf_cache_download_model": "b/y"}})
    ]
    (tmp_path / "play.yml").write_text(yaml.safe_dump(plays))
    run = ansible_playbook(tmp_path / "play.yml", inventory=tmp_path / "hosts.yml", folder=tmp_path)
    assert run.code == 0, run.output
    assert sorted(calls.read_text().splitlines()) == [
        f"{host} {model} {revision} {model[0]}h1"
        for host in ("h1", "h2", "h3")
        for model, revision in (("a/x", "main"), ("a/x", "v2"), ("b/y", "main"))
    ]
