# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The daily clean of the role hf_cache is taken off by tasks that a second run can go on with."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from ansible_collections.dgxspark.vllm.plugins.module_utils._deploy.host_code import Store

from support.paths import ROOT
from support.playbook import AnsiblePlaybook, Run

TASKS = ROOT / "roles/hf_cache/tasks/timer.yml"
ENDS = ("service", "timer")

# Knows one timer, which runs until it is stopped; it may refuse that.
SYSTEMCTL = """#!{python}
import pathlib, sys
here, (verb, *_rest) = pathlib.Path({folder!r}), sys.argv[1:]
runs = here / "runs"
if verb == "show":
    print("Id=dgxspark-hf-clean.timer\\nLoadState=loaded\\nActiveState=" + ("active" if runs.exists() else "inactive"))
elif verb == "is-enabled":
    print("enabled" if runs.exists() else "disabled")
elif verb == "stop":
    if (here / "broken").exists():
        sys.exit("Failed to stop dgxspark-hf-clean.timer: Connection timed out")
    runs.unlink()
"""


def take_off(ansible_playbook: AnsiblePlaybook, folder: Path, daily: bool = False) -> Run:
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "connection": "local",
        "vars": {
            "ansible_python_interpreter": sys.executable,
            "hf_cache_clean_daily": daily,
            "__hf_cache_clean": "dgxspark-hf-clean",
        },
        "tasks": [{"import_tasks": str(folder / "timer.yml")}],
    }
    (folder / "play.yml").write_text(json.dumps([play]))
    environment = {"PATH": f"{folder}/bin:{os.environ['PATH']}"}
    return ansible_playbook(folder / "play.yml", inventory="localhost,", environment=environment)


@pytest.mark.parametrize("managed", ["# Ansible managed\n", "#\n# Managed by the office: do not edit\n#\n"])
def test_a_removal_that_broke_off_is_gone_on_with(
    tmp_path: Path, ansible_playbook: AnsiblePlaybook, managed: str
) -> None:
    units = tmp_path / "units"
    for name in ("bin", "units"):
        (tmp_path / name).mkdir()
    tasks = TASKS.read_text().replace("/etc/systemd/system", str(units))
    absent = "        state: absent\n"
    there = '        name: "{{ __hf_cache_clean }}"\n'
    assert there + absent in tasks
    (tmp_path / "timer.yml").write_text(tasks.replace(there + absent, f"{there}{absent}        root: {tmp_path}/lib\n"))
    tool = tmp_path / "bin" / "systemctl"
    tool.write_text(SYSTEMCTL.format(python=sys.executable, folder=str(tmp_path)))
    tool.chmod(0o755)
    Store(str(tmp_path / "lib")).install("dgxspark-hf-clean", {"__main__.py": ""})
    (units / "dgxspark-hf-clean.timer").write_text("# Written by dgxspark.vllm\n[Unit]\n")
    (units / "dgxspark-hf-clean.service").write_text(
        f"{managed}[Unit]\nDescription=Remove dead partial downloads from /opt/hf\n"
    )
    (tmp_path / "runs").touch()

    (tmp_path / "broken").touch()
    broken = take_off(ansible_playbook, tmp_path)
    assert broken.code != 0
    assert "Connection timed out" in broken.output, broken.output

    (tmp_path / "broken").unlink()
    again = take_off(ansible_playbook, tmp_path)
    assert again.code == 0, again.output
    assert not (tmp_path / "runs").exists()
    assert list(units.iterdir()) == []
    assert not (tmp_path / "lib").exists()


def test_units_of_somebody_else_stay(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    """They have the names of ours, and were neither written nor started by the collection."""
    units = tmp_path / "units"
    for name in ("bin", "units"):
        (tmp_path / name).mkdir()
    (tmp_path / "timer.yml").write_text(TASKS.read_text().replace("/etc/systemd/system", str(units)))
    tool = tmp_path / "bin" / "systemctl"
    tool.write_text(SYSTEMCTL.format(python=sys.executable, folder=str(tmp_path)))
    tool.chmod(0o755)
    (tmp_path / "runs").touch()
    theirs = {f"dgxspark-hf-clean.{end}": f"# Ansible managed\n[Unit]\nDescription=My own {end}\n" for end in ENDS}
    for name, text in theirs.items():
        (units / name).write_text(text)
    off = take_off(ansible_playbook, tmp_path)
    assert off.code == 0, off.output
    on = take_off(ansible_playbook, tmp_path, daily=True)
    assert on.code != 0
    assert "dgxspark-hf-clean.service exists, and this collection did not write it" in " ".join(on.output.split())
    assert {file.name: file.read_text() for file in units.iterdir()} == theirs
    assert (tmp_path / "runs").exists()
