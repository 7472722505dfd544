# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role hf_cache asks for a package only where its command is not there: a host may have no way to the packages."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

TASKS = Path(__file__).resolve().parents[3] / "roles" / "hf_cache" / "tasks" / "install.yml"
BIN = Path(sys.executable).parent
NO_WAY = {"msg": "no way to the packages"}


@pytest.mark.parametrize("mode", [[], ["--check"]])
@pytest.mark.parametrize(("command", "asked"), [("sh", False), ("no-such-command", True)])
def test_a_package_is_asked_for_only_when_it_is_missing(
    tmp_path: Path, mode: list[str], command: str, asked: bool
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
    argv = [BIN / "ansible-playbook", "-i", "localhost,", tmp_path / "play.yml", *mode]
    run = subprocess.run(argv, capture_output=True, check=False, text=True, timeout=120)
    assert ("package cannot be installed on localhost: no way to the packages" in run.stdout) is (asked and not mode)
    assert (run.returncode != 0) is (asked and not mode)
    assert ("changed=1" in run.stdout) is (asked and bool(mode))
