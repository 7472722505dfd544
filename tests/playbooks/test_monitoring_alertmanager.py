# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Alertmanager reads what was written, also if the run that wrote it was broken off. systemd is a stand-in."""

from __future__ import annotations

from pathlib import Path

import yaml

from support.paths import ROOT
from support.playbook import THIS_MACHINE, AnsiblePlaybook

TASKS = ROOT / "roles" / "monitoring" / "tasks" / "load_alertmanager.yml"


def test_a_new_configuration_is_read_once(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    look, load = yaml.safe_load(TASKS.read_text())
    restart, _wait, record = load["block"]
    assert restart.pop("ansible.builtin.systemd_service")["state"] == "restarted"
    restart["ansible.builtin.shell"] = f"echo restarted >>{tmp_path}/told"
    for key in ("owner", "group"):
        record["ansible.builtin.copy"].pop(key)
    load["block"] = [restart, record]
    note = "{{ __monitoring_folder }}/alertmanager.loaded"
    content = f"{{{{ lookup('ansible.builtin.file', '{tmp_path}/alertmanager.loaded', errors='ignore') or none }}}}"
    values = {
        **THIS_MACHINE,
        "__monitoring_folder": str(tmp_path),
        "__monitoring_alertmanager_loaded": note,
        "__monitoring_host": {"spark": {"files": {f"{tmp_path}/alertmanager.loaded": {"content": content}}}},
    }
    play = {"hosts": "localhost", "gather_facts": False, "vars": values, "tasks": [look, load]}
    (tmp_path / "play.yml").write_text(yaml.safe_dump([play]))
    (tmp_path / "told").touch()
    (tmp_path / "hosts.ini").write_text("localhost\n")

    def restarts() -> int:
        run = ansible_playbook("play.yml", inventory="hosts.ini", folder=tmp_path)
        assert run.code == 0, run.output
        return len((tmp_path / "told").read_text().splitlines())

    configuration = tmp_path / "alertmanager.yml"
    configuration.write_text("a")
    assert [restarts(), restarts()] == [1, 1]
    (tmp_path / "new").write_text("b")  # written as Ansible does it, and nothing more of that run
    (tmp_path / "new").rename(configuration)
    assert [restarts(), restarts()] == [2, 2]
