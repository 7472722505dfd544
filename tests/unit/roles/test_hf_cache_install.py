# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role hf_cache asks for a package only where its command is not there: a host may have no way to the packages."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import yaml

from support.paths import ROOT
from support.playbook import AnsiblePlaybook

TASKS = ROOT / "roles/hf_cache/tasks/install.yml"
NO_WAY = {"msg": "no way to the packages"}


@pytest.mark.parametrize("mode", [[], ["--check"]])
@pytest.mark.parametrize(("command", "asked"), [("sh", False), ("no-such-command", True)])
def test_a_package_is_asked_for_only_when_it_is_missing(
    tmp_path: Path, ansible_playbook: AnsiblePlaybook, mode: list[str], command: str, asked: bool
) -> None:
    tasks = yaml.safe_load(TASKS.read_text())
    install = tasks[1]["block"][0]
    assert install.pop("ansible.builtin.apt")["name"] == "{{ __hf_cache_package }}"
    (tmp_path / "install.yml").write_text(json.dumps([tasks[0], {**tasks[1], "block": [{**install, "fail": NO_WAY}]}]))
    variables = {
        "ansible_python_interpreter": sys.executable,
        "__hf_cache_command": command,
        "__hf_cache_package": "package",
        "__hf_cache_reason": "hf_cache_source",
    }
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "connection": "local",
        "vars": variables,
        "tasks": [{"include_tasks": str(tmp_path / "install.yml")}],
    }
    (tmp_path / "play.yml").write_text(json.dumps([play]))
    run = ansible_playbook(tmp_path / "play.yml", *mode, inventory="localhost,")
    assert ("package cannot be installed on localhost: no way to the packages" in run.output) is (asked and not mode)
    assert (run.code != 0) is (asked and not mode)
    assert ("changed=1" in run.output) is (asked and bool(mode))
